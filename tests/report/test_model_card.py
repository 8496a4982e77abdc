"""The model card says what the files of a run say, in JSON and in Markdown."""

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
