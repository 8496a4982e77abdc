"""The model card says what the files of a run say, in JSON and in Markdown."""

import hashlib
import json

import pytest

from gpraflow.core import config as configs
from gpraflow.report import model_card
from tests.report.test_page import ABOUT

SCAFFOLD = {"five_prime": "ACGT", "three_prime": "TTT"}
SCORE = {"r": 0.9, "r_low": 0.85, "r_high": 0.95, "rho": 0.8, "R2": -1.5, "mse": 2.0, "n": 1234, "ceiling": {"r": 0.97}, "remark": None}
METRICS = {
    "datasets": {
        "val": SCORE | {"title": "validation", "independent": False, "ceiling": None},
        "other": SCORE | {"title": "a|b", "independent": True, "remark": "another scale"},
    }
}
INTERVALS = [
    {"dataset": "other", "level": "0.5", "inside": "0.4", "low": "0.3", "high": "0.5"},
    {"dataset": "other", "level": "0.950000", "inside": "0.91", "low": "0.89", "high": "0.93"},
]
SOURCES = [{"what": "library", "file": "/home/me/secret/table.tsv.gz", "bytes": "1", "sha256": "00ff", "published as": ""}]


def made(**keys):
    config = configs.load({"run": "mine", "evaluation": {"datasets": ""}, **keys})
    given = {"about": ABOUT | {"conditions": []}, "metrics": METRICS, "intervals": INTERVALS, "sources": SOURCES, "scaffold": SCAFFOLD}
    return model_card.card(config=config, **given)


def test_a_card_has_scores_with_intervals_and_coverage():
    content = made(card={"assay": "sort-seq", "data": "a paper", "licence": "CC0", "limits": ["weekends"]})
    by_name = {row["dataset"]: row for row in content["scores"]}
    assert by_name["other"] | {"r": 0.9, "r_low": 0.85, "coverage_95": 0.91, "coverage_95_low": 0.89, "ceiling": 0.97} == by_name["other"]
    assert "coverage_95" not in by_name["val"]
    assert content["use"]["not_for"][-1] == "weekends"
    assert content["training"]["files"] == [{"what": "library", "file": "table.tsv.gz", "sha256": "00ff"}]
    text = model_card.markdown(content)
    assert "| a\\|b | yes | 1,234 | 0.900 [0.850, 0.950] | 0.800 (no interval) | -1.500 (no interval) |" in text
    assert "| 0.970 | 0.910 [0.890, 0.930] |" in text
    assert "- a\\|b: another scale" in text
    for line in ("- Assay: sort-seq", "- Source: a paper", "- Licence: CC0", "- weekends", "(`ACGT ... TTT`)"):
        assert line in text
    assert "/home" not in text + json.dumps(content)


def test_a_distilled_network_names_its_teacher(monkeypatch):
    teacher = {"architecture": "compact", "members": 3, "sha256": "ab" * 32, "promoters": 150_000}
    monkeypatch.setitem(ABOUT, "teacher", teacher)
    content = made()
    assert content["training"]["teacher"] == teacher
    assert (
        "- Distilled: also trained on the predictions of an ensemble of 3 `compact` for 150,000 unlabelled promoters (SHA-256 of its "
        f"`model.keras` `{'ab' * 32}`)"
    ) in model_card.markdown(content)
    monkeypatch.delitem(ABOUT, "teacher")
    assert "Distilled" not in model_card.markdown(made())


def test_what_the_config_does_not_say_is_not_stated():
    text = model_card.markdown(made())
    assert text.count("not stated (section `card` of the config)") == 3


@pytest.mark.parametrize(
    ("keys", "scale"),
    [
        ({}, "mean bin"),
        ({"input": {"table": "x.tsv", "expression_min": -2, "expression_max": 20}}, "lie between -2 and 20"),
    ],
)
def test_the_scale_is_that_of_the_input(keys, scale):
    assert scale in made(**keys)["use"]["scale"]


def test_a_card_is_written_and_read(tmp_path):
    content = made()
    model_card.write(content, tmp_path)
    assert model_card.read(tmp_path / "model_card.json") == json.loads(json.dumps(content))
    assert (tmp_path / "model_card.md").read_text() == model_card.markdown(content)


MAP = {"kind": "affine", "controls": 40, "lowest": 1.25, "highest": 9.0, "r": 0.91, "slope": 2.0, "offset": -5.0, "knots": [], "values": []}
MAP |= {"rmse_before": 3.0, "rmse": 0.5, "R2_before": -2.0, "R2": 0.875, "of": "ab" * 32}


def recalibrated(tmp_path, before, maps, name="new"):
    controls = tmp_path / "lab" / "controls.tsv"
    controls.parent.mkdir(exist_ok=True)
    controls.write_text("sequence\texpression\n")
    about = ABOUT | {"conditions": [name for name in maps if name]}
    return model_card.recalibrated(before, name=name, about=about, maps=maps, controls=controls, date="2026-12-01")


def test_the_card_of_a_recalibrated_model_says_with_what(tmp_path):
    content = recalibrated(tmp_path, made(), {"": MAP})
    text = model_card.markdown(content)
    digest = hashlib.sha256(b"sequence\texpression\n").hexdigest()
    for line in (
        "# Model card: new",
        "- Date: 2026-12-01",
        f"- Controls: `controls.tsv`, SHA-256 `{digest}`",
        f"- Model before: mine, SHA-256 of `model.keras` `{'ab' * 32}`",
        "| all | 40 | 1.25 | 9 | 0.910 | affine: 2 x - 5 | 3.000 | 0.500 | -2.000 | 0.875 |",
        "- Unit of predictions: units of the controls in controls.tsv (brought to their scale by gpraflow recalibrate)",
        "- expression beyond that of the controls (1.25 to 9), where the map is extrapolated",
        "They are those of the model before recalibration, on its own scale.",
        "| a\\|b | yes | 1,234 | 0.900 [0.850, 0.950] |",
    ):
        assert line in text
    assert str(tmp_path) not in text + json.dumps(content)
    assert "recalibrat" not in model_card.markdown(made()).replace("only `gpraflow recalibrate`", "")


def test_a_second_recalibration_keeps_the_first(tmp_path):
    maps = {"a": MAP, "b": MAP | {"kind": "isotonic", "knots": [1, 2], "values": [3, 4], "lowest": -1.0}}
    content = recalibrated(tmp_path, recalibrated(tmp_path, made(), {"": MAP}), maps, "newer")
    assert [row["before"]["name"] for row in content["recalibrations"]] == ["mine", "new"]
    assert content["model"]["conditions"] == ["a", "b"]
    (beyond,) = [each for each in content["use"]["not_for"] if "extrapolated" in each]
    assert "(1.25 to 9 in a, -1 to 9 in b)" in beyond
    assert "isotonic, 2 knots; beyond them the slope of 2 x - 5" in model_card.markdown(content)


def test_the_card_of_a_model_is_its_own_or_that_of_its_run(tmp_path):
    scaffold = {"name": "toy"} | SCAFFOLD
    folder, about = tmp_path / "run" / "model", ABOUT | {"data": {"train": "00" * 32}}
    folder.mkdir(parents=True)
    without = model_card.of_model(folder, about, scaffold)
    text = model_card.markdown(without)
    assert "- Source: not stated (the model had no model card)" in text
    assert "Not stated." in text.split("## Scores")[1]
    assert "(`ACGT ... TTT`)" in text
    of_run = made()
    model_card.write(of_run, tmp_path / "run")
    assert model_card.of_model(folder, about, scaffold)["name"] == "model"  # the card is of another training
    of_run["training"]["splits"] = about["data"]
    model_card.write(of_run, tmp_path / "run")
    assert model_card.of_model(folder, about, scaffold)["name"] == "mine"
    model_card.write(of_run | {"name": "own"}, folder)
    assert model_card.of_model(folder, about, scaffold)["name"] == "own"
