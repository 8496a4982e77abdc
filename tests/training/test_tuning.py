"""Tuning: the space is checked, trials are trained, pruned and told, and the best becomes a config."""

import json
from dataclasses import replace

import pytest
import yaml

from gpraflow.core import config as configs
from gpraflow.core.errors import ConfigError, TrainingError
from gpraflow.models import backend
from gpraflow.training import options, run, train

backend.select_backend("jax")
from gpraflow.training import tuning  # noqa: E402
from tests.models.test_models import OPTIONS, blueprint, library, upload  # noqa: E402

SPACE = [
    {"key": "training.learning_rate", "low": 1e-4, "high": 0.1, "log": True},
    {"key": "training.batch_size", "choices": [16, 32]},
    {"key": "model.sizes.dense_units", "low": 4, "high": 9},
]


@pytest.fixture(scope="module")
def receipt(tmp_path_factory):
    return upload(tmp_path_factory.mktemp("tuning"), train=library(96, 1), val=library(32, 2))


def trial(receipt, folder, number, **changes):
    given = {"space": SPACE, "epochs": 2, "seed": 5, "blueprint": blueprint("vaishnav_cnn"), "options": OPTIONS}
    return tuning.run_trial(receipt, folder / f"trials/{number}.json", number=number, **(given | changes))


def test_trials_are_within_the_space_and_the_best_becomes_a_config(receipt, tmp_path):
    results = [trial(receipt, tmp_path, number) for number in range(4)]
    assert [json.loads((tmp_path / f"trials/{number}.json").read_text()) for number in range(4)] == results
    for result in results:
        assert result["state"] == "complete"
        assert result["epochs"] == 2
        assert 1e-4 <= result["parameters"]["training.learning_rate"] <= 0.1
        assert result["parameters"]["training.batch_size"] in (16, 32)
        assert type(result["parameters"]["model.sizes.dense_units"]) is int
    assert len({result["parameters"]["training.learning_rate"] for result in results}) == 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["study.journal", "trials"]

    trials, importance, best = tuning.collect(results)
    least = min(results, key=lambda result: result["val_loss"])
    assert trials["best_so_far"][-1] == least["val_loss"]
    assert importance["importance"].sum() == pytest.approx(1)
    assert set(importance["key"]) == {entry["key"] for entry in SPACE}
    tuning.write_overlay(tmp_path / "best.yaml", best, least["val_loss"], 4)
    content = yaml.safe_load((tmp_path / "best.yaml").read_text())
    assert content["training"]["learning_rate"] == least["parameters"]["training.learning_rate"]
    assert content["model"]["sizes"]["dense_units"] == least["parameters"]["model.sizes.dense_units"]
    again = train.train(
        receipt,
        tmp_path / "model",
        blueprint=options.Blueprint(
            **(vars(blueprint("vaishnav_cnn")) | {"sizes": blueprint("vaishnav_cnn", content["model"]["sizes"]).sizes})
        ),
        options=options.Options(**(vars(OPTIONS) | content["training"] | {"epochs": 2})),
    )
    assert again["val_loss"] == pytest.approx(least["val_loss"], rel=1e-4)


def test_a_trial_worse_than_the_median_is_ended_early_and_divergence_fails_one_only(receipt, tmp_path, monkeypatch):
    scores = run.validation_scores
    monkeypatch.setattr(run, "validation_scores", lambda *given_: scores(*given_) | {"val_loss": next(losses)})
    losses = iter([0.3, 0.2, 0.2] * 5)
    for number in range(5):
        assert trial(receipt, tmp_path, number)["state"] == "complete"
    losses = iter([9.0] * 9)
    found = trial(receipt, tmp_path, 5)
    assert found["state"] == "pruned"
    assert found["val_loss"] == 9.0

    def diverge(*_arguments, **_options):
        raise TrainingError("the training loss is nan")

    monkeypatch.setattr(train, "train", diverge)
    assert trial(receipt, tmp_path, 6)["state"] == "failed"


def test_a_killed_trial_is_made_again(receipt, tmp_path, monkeypatch):
    real = train.train

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", killed)
    with pytest.raises(KeyboardInterrupt):
        trial(receipt, tmp_path, 0)
    assert not (tmp_path / "trials/0.json").exists()
    monkeypatch.setattr(train, "train", real)
    assert trial(receipt, tmp_path, 0)["state"] == "complete"
    journal = [json.loads(line) for line in (tmp_path / "study.journal").read_text().splitlines()]
    states = [entry["state"] for entry in journal if entry["op_code"] == 6]
    assert states[-2:] == [3, 1]  # failed, complete


def test_a_baseline_has_nothing_to_tune(tmp_path):
    with pytest.raises(ConfigError, match="'baseline_kmer' has no hyper-parameters to tune"):
        trial(tmp_path / "receipt.json", tmp_path, 0, blueprint=replace(blueprint("vaishnav_cnn"), name="baseline_kmer"))


def test_no_complete_trial_is_an_error():
    with pytest.raises(TrainingError, match=r"no trial was completed \(0: failed\); set other ranges"):
        tuning.collect([{"trial": 0, "state": "failed", "val_loss": None, "epochs": 0, "parameters": {}}])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"key": "training.learning_rat", "low": 1, "high": 2}, r"'training\.learning_rat' is not a key .*; did you mean"),
        ({"key": "training.epochs", "low": 2, "high": 1}, r"training\.epochs: expected low, high \(greater than low\)"),
        ({"key": "training.learning_rate", "low": 0, "high": 1, "log": True}, "low must be above 0 for log, found 0"),
        ({"key": "training.optimizer", "choices": ["adam"], "low": 1}, "choices must not be empty or combined with other keys"),
        ({"key": "model.sizes.filters"}, "low, high"),
    ],
)
def test_spaces_that_cannot_be(entry, message):
    with pytest.raises(ConfigError, match=message):
        configs.check_space([entry], vars(OPTIONS), blueprint("vaishnav_cnn").sizes)
