"""The configs of other organisms: each is planned by a dry run, and reads, tokenises and models a library of its shape."""

import gzip
import os
import re
import subprocess
import sys
import venv

import numpy as np
import polars as pl
import pytest
import yaml

from gpraflow.app.plan import Plan
from gpraflow.core.ledger import Ledger
from gpraflow.models import backend
from gpraflow.sequences import flanks, scaffold
from gpraflow.tables import ingest
from tests.conftest import ROOT, copy_workflow, snakemake

backend.select_backend("jax")
from gpraflow.models.build import build  # noqa: E402

# Overlay -> bp of an insert, and of a promoter with its flanks, which is the window.
SHAPES = {
    "ecoli_lac": (75, 75),
    "utr5": (50, 100),
    "plant_core_promoters": (170, 170),
    "human_mpra_200": (200, 200),
    "human_mpra_230": (200, 230),
}
ROWS = 40
SMALL = {"learned_motifs": 4, "channels": 4, "narrow_channels": 2, "dense_units": 4, "residual_blocks": 1}


def inserts(length):
    rng = np.random.default_rng(length)
    return ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (ROWS, length))]]


def library(folder, name, length):
    """Write a library of inserts where the overlay expects it; return the config and the inserts."""
    config = yaml.safe_load((ROOT / f"config/{name}.yaml").read_text())
    sequences = inserts(length)
    if name == "ecoli_lac":
        bins = [line.split("\t")[0] for line in (ROOT / "config/ecoli_lac_sample_sheet.tsv").read_text().splitlines()[1:]]
        columns = {"sequence": sequences, "set": ["training"] * ROWS} | {column: [3] * ROWS for column in bins}
        file = config["counts"]["table"]
    else:
        columns = {"sequence": sequences, "expression": [0.25 * row for row in range(ROWS)]}
        file = config["input"]["table"]
    path = folder / file.replace("{data}", "data")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(gzip.compress(pl.DataFrame(columns).write_csv(separator="\t").encode()))
    return config, sequences


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    folder = copy_workflow(tmp_path_factory.mktemp("overlays") / "copy")
    for name, (length, _) in SHAPES.items():
        library(folder, name, length)
    return folder


@pytest.mark.parametrize("name", SHAPES)
def test_a_dry_run_plans_the_whole_run(checkout, name):
    done = snakemake(checkout, "-n", "--configfile", f"config/{name}.yaml")
    assert done.returncode == 0, done.stderr[-2000:]
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", done.stdout.split("Job stats:")[1].split("\n\n")[0], flags=re.MULTILINE))
    assert {rule: jobs[rule] for rule in ("ingest_table", "train_model", "explain_model", "write_report")} == dict.fromkeys(
        ("ingest_table", "train_model", "explain_model", "write_report"), "1"
    )
    assert ("estimate_expression" in jobs) == (name == "ecoli_lac")
    assert not {"simulate_assay", "count_reads", "fetch_dataset"} & jobs.keys()


@pytest.mark.parametrize("name", [name for name in SHAPES if name != "ecoli_lac"])
def test_a_library_of_that_shape_is_read_tokenised_and_modelled(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    length, whole = SHAPES[name]
    config, sequences = library(tmp_path, name, length)
    plan = Plan(config | {"model": config["model"] | {"sizes": SMALL}})
    constant = scaffold.load(plan.scaffolds, plan.config["scaffold"]["name"])
    window = plan.config["scaffold"]
    policy = flanks.Policy(insert_length=window["insert_length"], max_flank_edits=window["max_flank_edits"])
    table = ingest.ingest(
        plan.fill(plan.config["input"]["table"]),
        scaffold=constant,
        policy=policy,
        ledger=Ledger("ingest", ""),
        **plan.reading_of("library"),
    )
    assert table["sequence"].to_list() == [constant.five_prime + insert + constant.three_prime for insert in sequences]
    assert table["expression"].to_list() == pytest.approx([0.25 * row for row in range(ROWS)])
    assert plan.foreign_motifs == []
    assert plan.motifs == []
    tokens = scaffold.tokenize(table["sequence"], window["length"], window["keep"], window["pad"])
    assert tokens.shape == (ROWS, whole)
    assert (tokens < 4).all()  # the window is the promoter: nothing is cut, nothing is padded
    model = build(plan.model["name"], whole, plan.model["sizes"])
    predicted = model.predict(tokens, verbose=0)
    assert predicted.shape == (ROWS, 1)
    assert np.isfinite(predicted).all()
    assert predicted.std() > 0


def test_a_wrong_motif_file_stops_the_workflow_before_its_first_job(checkout):
    (checkout / "wrong.meme").write_text("MEME version 4\n\nMOTIF a\nletter-probability matrix: w= 1\n0.9 0.1 0.1 0.1\n")
    done = snakemake(checkout, "--configfile", "config/utr5.yaml", "--config", "model={motifs: wrong.meme}")
    assert done.returncode != 0
    assert "model.motifs: wrong.meme, line 5: the probabilities add up to 1.2, not 1" in done.stderr
    assert not (checkout / "results").exists()


def test_a_python_in_a_folder_with_a_blank_stops_the_workflow_too(checkout, tmp_path):
    (tmp_path / "a b").mkdir()
    venv.create(tmp_path / "a b/environment", symlinks=True)
    python = tmp_path / "a b/environment/bin/python"
    paths = os.pathsep.join(path for path in sys.path if path)
    command = [str(python), "-m", "snakemake", "--cores", "1", "-n", "--configfile", "config/utr5.yaml"]
    done = subprocess.run(command, cwd=checkout, text=True, capture_output=True, timeout=300, env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode != 0
    assert f"{python}: the path of Python has the character ' ', which Snakemake cannot run; move the environment" in done.stdout


def test_a_window_of_500_bp_is_modelled():
    model = build("compact", 500, Plan({"model": {"name": "compact", "motifs": "", "sizes": SMALL}}).model["sizes"])
    tokens = np.random.default_rng(0).integers(0, 4, (6, 500))
    changed = tokens.copy()
    changed[:, -1] = (changed[:, -1] + 1) % 4
    first, last = (model.predict(rows, verbose=0) for rows in (tokens, changed))
    assert np.isfinite(first).all()
    assert (first != last).any()  # the last base is seen


def test_scaffolds_are_those_of_the_publications():
    """Total lengths as published, and what is known of the ends: a start codon after 5' UTRs."""
    totals = {"pTpA": 110, "utr5_egfp": 100, "lentiMPRA": 230, "MPRA": 230}
    insert = {"pTpA": 80, "utr5_egfp": 50, "lentiMPRA": 200, "MPRA": 200}
    for name, total in totals.items():
        constant = scaffold.load(ROOT / "resources/scaffolds.yaml", name)
        assert len(constant.five_prime) + insert[name] + len(constant.three_prime) == total
    assert scaffold.load(ROOT / "resources/scaffolds.yaml", "utr5_egfp").three_prime.startswith("ATGGGCGAATTAAGTAAGGGCGAGG")
