"""Every architecture goes through the whole workflow, on 500 promoters, with nothing but `model.name` changed."""

import json

import numpy as np
import polars as pl
import pytest

from gpraflow.models import registry
from gpraflow.sequences import scaffold
from tests.conftest import ROOT, copy_workflow, snakemake

PROMOTERS = 500
# Left to `make test-slow`: these take a minute or more. tests/models/test_models.py trains, saves and reloads all of them.
SLOW = (
    "slides",
    "biochemical",
    "compact",
    "legnet",
    "dream_cnn",
    "dream_rnn",
    "dream_attn",
    "vaishnav_transformer",
    "vaishnav_cnn",
    "baseline_motif",
)
CONFIG = """\
run: mine
input: {table: mine.tsv}
training: {epochs: 1, batch_size: 64}
evaluation: {datasets: "", bootstrap: 100}
explain: {dataset: ""}
split: {fractions: {train: 0.8, val: 0.1, test: 0.1}}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Promoters whose expression follows their GC content, up to their shards."""
    folder = copy_workflow(tmp_path_factory.mktemp("architectures") / "copy")
    flanks = scaffold.load(ROOT / "resources/scaffolds.yaml", "pTpA")
    rng = np.random.default_rng(3)
    inserts = ["".join("ACGT"[base] for base in rng.choice(4, 80, p=p)) for p in rng.dirichlet([4] * 4, PROMOTERS)]
    expression = [10 * sum(base in "GC" for base in insert) / 80 + rng.normal(scale=0.5) for insert in inserts]
    sequences = [flanks.five_prime + insert + flanks.three_prime for insert in inserts]
    pl.DataFrame({"sequence": sequences, "expression": expression}).write_csv(folder / "mine.tsv", separator="\t")
    (folder / "mine.yaml").write_text(CONFIG)
    done = snakemake(folder, "--configfile", "mine.yaml", "--until", "upload_shards")
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in registry.REGISTRY])
def test_only_the_name_has_to_be_changed(folder, name):
    done = snakemake(folder, "--configfile", "mine.yaml", "--config", f"model={{name: {name}}}")
    assert done.returncode == 0, done.stderr[-3000:]
    results = folder / "results/mine"
    metrics = json.loads((results / "metrics.json").read_text())
    about = registry.describe(name)
    assert metrics["model"]["architecture"] == name
    assert metrics["model"]["preset"] == ("default" if "default" in about.presets else "small")
    assert 30 <= metrics["datasets"]["test"]["n"] <= 80
    predictions = pl.read_parquet(results / "predictions/test.parquet")
    assert predictions["predicted"].is_finite().all()
    assert predictions["predicted"].std() > 0
    if about.baseline:
        assert metrics["datasets"]["test"]["r"] > 0.8
    assert (results / "figures/predictions/test.svg").stat().st_size > 1000
    report = (results / "report.html").read_text()
    assert f"<dd>{name}, preset" in report
    assert ("Parameters of the factors" in report) == bool(about.parameters)
    assert "There is no independent data set" in report
    assert 'id="assay"' not in report
    if about.parameters:
        factors = pl.read_csv(results / "factors.tsv", separator="\t")
        assert factors["member"].unique().to_list() == [0]
        assert (factors["concentration"] > 0).all()
        assert "MCM1" in {factor.upper() for factor in factors["factor"]}
        assert (results / "figures/factors.png").stat().st_size > 1000
