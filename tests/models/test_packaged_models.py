"""The models that come with the package: small, loaded by name, and as good as their cards say."""

import json
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

import gpraflow
from gpraflow.app import cli, package
from gpraflow.core import checksums, resources
from gpraflow.core.errors import ConfigError
from gpraflow.models import directory, light
from gpraflow.prediction import calibration
from gpraflow.report import model_card
from tests.command import run
from tests.conftest import ROOT
from tests.models import test_light

NAMES = ("yeast-ypd", "ecoli-lac")
INSERTS = {"yeast-ypd": 80, "ecoli-lac": 75}
INDEPENDENT = ("random", "native", "drift", "sswm", "gini")


def random_inserts(name, rows, seed=0):
    drawn = np.random.default_rng(seed).choice(list("ACGT"), (rows, INSERTS[name]))
    return ["".join(row) for row in drawn]


def test_the_models_are_there_and_small():
    assert tuple(sorted(resources.models(), reverse=True)) == NAMES
    for name in NAMES:
        folder = resources.model(name)
        assert {path.name for path in folder.iterdir()} == {
            "model.keras",
            "model.json",
            "calibration.json",
            model_card.JSON,
            model_card.MARKDOWN,
        }
        assert sum(path.stat().st_size for path in folder.iterdir()) <= package.LARGEST_SIZE
        assert directory.describe_model(folder)["members"] == 3
        card = model_card.read(folder / model_card.JSON)
        assert (folder / model_card.MARKDOWN).read_text() == model_card.markdown(card)
        assert "not stated (" not in model_card.markdown(card)


@pytest.mark.parametrize("name", NAMES)
def test_predictions_by_name_are_those_of_keras(name):
    folder = resources.model(name)
    inserts = random_inserts(name, 20)
    found = gpraflow.load(name).predict(inserts)
    assert found["expression"].std() > 0.1
    assert (found["expression_low"] < found["expression"]).all()
    about = directory.describe_model(folder)
    tokens = np.random.default_rng(1).integers(0, 5, (40, about["input"]["length"])).astype(np.uint8)
    network = light.read(folder, about)
    model, _ = directory.load(folder)
    assert {str(variable.dtype) for variable in model.variables if "seed" not in variable.path} == {"float32"}
    np.testing.assert_allclose(network.predict(tokens), model.predict(tokens, verbose=0), rtol=1e-6, atol=1e-5)


def test_a_name_that_is_no_model_and_a_folder_of_that_name(tmp_path, monkeypatch):
    with pytest.raises(ConfigError, match=r"yeast-yp: neither a model directory, .* did you mean 'yeast-ypd'\? \(ecoli-lac, yeast-ypd;"):
        gpraflow.load("yeast-yp")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "yeast-ypd").mkdir()
    assert resources.model("yeast-ypd") == resources.Path("yeast-ypd")


def test_scores_on_a_part_of_the_data_are_those_of_the_card(shared):
    """200 promoters of each data set, by NumPy: with n promoters, Fisher's z has the standard deviation 1 / sqrt(n - 3)."""
    model = gpraflow.load("yeast-ypd")
    card = {row["dataset"]: row for row in model_card.read(resources.model("yeast-ypd") / model_card.JSON)["scores"]}
    network, rows = light.read(model.directory, model.about), 200
    for name in INDEPENDENT:
        table = pl.read_csv(shared / f"yeast_test_{name}.tsv.gz", separator="\t").sample(rows, seed=1)
        tokens = prediction_tokens(model, table["sequence"])
        r = np.corrcoef(network.predict(tokens).mean(axis=1), table["expression"])[0, 1]
        known = card[f"yeast_test_{name}"]
        assert known["independent"]
        assert known["r_low"] < known["r"] < known["r_high"]
        assert abs(np.arctanh(r) - np.arctanh(known["r"])) < 4 / np.sqrt(rows - 3), name


def prediction_tokens(model, sequences):
    from gpraflow.sequences.scaffold import tokenize

    return tokenize(sequences, **model.window)


def test_packaging_halves_the_weights_if_predictions_stay(tmp_path, monkeypatch):
    source = test_light.write(tmp_path / "model")
    known = json.loads((resources.model("yeast-ypd") / calibration.FILE).read_text())
    (source / calibration.FILE).write_text(json.dumps(known))
    card = model_card.read(resources.model("yeast-ypd") / model_card.JSON) | {"name": "run", "remarks": []}
    assert package.LARGEST_CHANGE == 1e-3
    monkeypatch.setattr(package, "LARGEST_CHANGE", 1.0)  # weights of this network are random
    change = package.package(source, tmp_path / "small", card)
    assert 0 < change < 0.1
    assert (tmp_path / "small/model.keras").stat().st_size < (source / "model.keras").stat().st_size
    found = json.loads((tmp_path / "small" / calibration.FILE).read_text())
    assert found == known | {"model_sha256": checksums.digests(tmp_path / "small/model.keras")["sha256"]}
    assert "half precision, which changes predictions by at most" in (tmp_path / "small" / model_card.MARKDOWN).read_text()
    monkeypatch.setattr(package, "LARGEST_CHANGE", change / 2)
    package.package(source, tmp_path / "exact", card)
    assert (tmp_path / "exact/model.keras").read_bytes() == (source / "model.keras").read_bytes()
    assert "in single precision, because" in (tmp_path / "exact" / model_card.MARKDOWN).read_text()


def test_make_models_names_the_configs_of_the_cards():
    recipe = (ROOT / "Makefile").read_text()
    for name in NAMES:
        assert f"resources/models/{name}" in recipe


def test_the_command_lists_models_and_shows_their_cards(capsys):
    assert run("models") == cli.DONE
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split("\t")[:3] == ["name", "architecture", "members"]
    assert {"yeast-ypd", "ecoli-lac"} <= {line.split("\t")[0] for line in lines[1:]}
    assert run("models", "yeast-ypd") == cli.DONE
    assert capsys.readouterr().out.startswith("# Model card: yeast-ypd\n")


@pytest.mark.slow
def test_100_controls_bring_intervals_back_to_their_coverage(shared):
    """Recalibration on each independent data set; docs/benchmarks.md has the figures of more draws."""
    command = [sys.executable, "benchmarks/recalibrate.py", "--data", str(shared), "--draws", "20"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    figures = json.loads(done.stdout.splitlines()[-1])["sets"]
    assert set(figures) == set(INDEPENDENT)
    for name, found in figures.items():
        assert 0.93 <= found["coverage"] <= 0.975, name
        assert abs(found["coverage"] - 0.95) < abs(found["coverage_before"] - 0.95) + 0.01, name
        assert found["R2"] > found["R2_before"] - 0.01, name
