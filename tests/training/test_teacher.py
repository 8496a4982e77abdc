"""Distillation: unlabelled promoters, a teacher's labels for them, and training on both."""

import json

import numpy as np
import polars as pl
import pytest

from gpraflow.core.errors import ConfigError, InputError
from gpraflow.models import backend as models_backend
from gpraflow.models import directory
from gpraflow.sequences.scaffold import PADDING, tokenize
from gpraflow.shards import batches as shards_batches
from gpraflow.shards import upload as shards_upload
from gpraflow.training import teacher
from gpraflow.training import train as training_train

models_backend.select_backend("jax")

from tests.models.test_models import OPTIONS, blueprint, library, train, upload  # noqa: E402

NAME = "compact"


@pytest.fixture(scope="module")
def receipt(tmp_path_factory):
    noise = np.random.default_rng(7).normal(size=96) * 3  # which the teacher learns, and the student from the teacher
    table = library(96, 1).with_columns(pl.col("expression") + pl.Series(noise), weight=pl.Series(np.arange(96) / 48))
    return upload(tmp_path_factory.mktemp("distilled"), ("weight",), train=table, val=library(64, 2).with_columns(weight=pl.lit(1.0)))


@pytest.fixture(scope="module")
def ensemble(receipt, tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    train(receipt, folder, NAME, ensemble=2, epochs=60)
    return folder


def flanked(rows, seed=0):
    """Tokens of promoters of 12 bp and, one in four, 11 bp, padded on the left, with flanks of 2 bp at both ends."""
    rng = np.random.default_rng(seed)
    tokens = rng.integers(0, 4, (rows, 12)).astype(np.uint8)
    tokens[:, :2], tokens[:, -2:] = (0, 1), (2, 3)
    short = rng.random(rows) < 0.25
    tokens[short] = np.roll(tokens[short], 1, axis=1)
    tokens[short, 0], tokens[short, -2:] = PADDING, (2, 3)
    tokens[1, 6] = PADDING
    return tokens


def test_mutants_differ_from_a_training_promoter_by_1_to_15_substitutions_between_the_flanks():
    rng = np.random.default_rng(0)
    tokens = np.concatenate([rng.integers(0, 4, (5, 60)), np.full((5, 8), 2)], axis=1).astype(np.uint8)
    tokens[0, 20] = PADDING
    made = teacher.unlabelled(tokens, 400, 1.0, seed=3)
    assert made.dtype == np.uint8
    differences = made[:, None] != tokens[None]  # each mutant with each promoter, of which only its own is near
    origin = differences.sum(axis=2).argmin(axis=1)
    substitutions = differences[np.arange(400), origin].sum(axis=1)
    assert set(substitutions.tolist()) == set(range(1, 16))
    assert set(origin.tolist()) == set(range(5))
    assert (made[:, 60:] == 2).all()
    np.testing.assert_array_equal(made == PADDING, tokens[origin] == PADDING)


def test_the_others_have_random_bases_between_the_flanks():
    tokens = flanked(300)
    made = teacher.unlabelled(tokens, 4000, 0.25, seed=3)
    shares = np.stack([(made[1000:, 2:10] == base).mean(axis=0) for base in range(4)])
    np.testing.assert_allclose(shares, 0.25, atol=0.04)
    assert set(map(tuple, made[:, [0, 1, 10, 11]].tolist())) == {(0, 1, 2, 3)}  # none has the other length
    np.testing.assert_array_equal(made, teacher.unlabelled(tokens, 4000, 0.25, seed=3))
    assert (made != teacher.unlabelled(tokens, 4000, 0.25, seed=4)).any()
    with pytest.raises(ConfigError, match="no position varies between the training promoters"):
        teacher.unlabelled(np.repeat(tokens[:1], 50, axis=0), 10, 0.5, seed=0)


def test_all_positions_of_a_mutagenised_promoter_vary():
    """In 19 of 20 promoters a position has the base of the wild type, which is no flank for that."""
    rng = np.random.default_rng(0)
    wild = rng.integers(0, 4, 40)
    tokens = np.where(rng.random((2000, 40)) < 0.05, rng.integers(0, 4, (2000, 40)), wild).astype(np.uint8)
    tokens[:, :5] = wild[:5]
    made = teacher.unlabelled(tokens, 2000, 0.5, seed=1)
    assert ((made[:1000, 5:] != wild[5:]).mean(axis=0) > 0.15).all()  # 8 of 35 positions, and those that differed before
    assert (made[:, :5] == wild[:5]).all()


def test_rows_are_those_of_the_shards_and_then_the_teacher_s(receipt):
    source = shards_batches.open_split(shards_upload.read_receipt(receipt), "train")
    table = shards_batches.MemoryMap(source, None, ("sequence", "expression", "weight"))
    tokens, labels = np.random.default_rng(0).integers(0, 4, (30, 40)).astype(np.uint8), np.arange(30, dtype=np.float32)[:, None]
    both = teacher.Distilled(table, tokens, labels)
    assert len(both) == 126
    measured = table.take(np.arange(96))
    naive = {
        "sequence": np.concatenate([measured["sequence"], tokens]),
        "expression": np.concatenate([measured["expression"], labels]),
        "weight": np.concatenate([measured["weight"], np.full((30, 1), measured["weight"].mean(), np.float32)]),
    }
    order = np.random.default_rng(1).permutation(126)[:80]
    for rows in (order, np.arange(96, 126), np.array([], int)):
        for name, values in both.take(rows).items():
            np.testing.assert_allclose(values, naive[name][rows], rtol=1e-6)
            assert values.dtype == naive[name].dtype
    seen = np.concatenate([batch["expression"] for batch in both.batches(21, seed=1)])
    np.testing.assert_allclose(np.sort(seen, axis=None), np.sort(naive["expression"], axis=None))


def test_a_network_learns_the_predictions_of_an_ensemble(receipt, ensemble, tmp_path, monkeypatch):
    asked = []
    predict = teacher.predict
    monkeypatch.setattr(teacher, "predict", lambda *args: asked.append(args[1]) or predict(*args))
    options = {"teacher": str(ensemble), "teacher_promoters": 2000, "epochs": 20}
    about = train(receipt, tmp_path / "student", NAME, **options)
    plain = train(receipt, tmp_path / "plain", NAME, epochs=60)
    assert about["promoters"] == plain["promoters"] == {"train": 96, "val": 64}
    model, _ = directory.load(ensemble)
    assert about["teacher"] == {"architecture": NAME, "members": 2, "promoters": 2000, "sha256": about["teacher"]["sha256"]}
    assert "teacher" not in plain
    assert json.loads((tmp_path / "student/model.json").read_text())["members"] == 1
    (tokens,) = asked
    expected = model.predict(tokens, verbose=0).mean(axis=1)
    np.testing.assert_allclose(teacher.predict(str(ensemble), tokens, "auto")[:, 0], expected, rtol=1e-4)
    new = tokenize(library(300, 77)["sequence"], 40)
    said = {name: directory.load(tmp_path / name)[0].predict(new, verbose=0)[:, 0] for name in ("student", "plain")}
    of_ensemble = model.predict(new, verbose=0).mean(axis=1)
    errors = {name: np.mean((values - of_ensemble) ** 2) for name, values in said.items()}
    assert errors["student"] < 0.8 * errors["plain"], errors


def test_a_resumed_training_does_not_ask_the_teacher_again(receipt, ensemble, tmp_path, monkeypatch):
    source = shards_upload.read_receipt(receipt)
    table = shards_batches.MemoryMap(shards_batches.open_split(source, "train"))
    first = teacher.distil(table, tmp_path, source, str(ensemble), 40, 0.5, 1, "auto")
    monkeypatch.setattr(teacher, "predict", None)
    again = teacher.distil(table, tmp_path, source, str(ensemble), 40, 0.5, 1, "auto")
    np.testing.assert_array_equal(first.take(np.arange(136))["expression"], again.take(np.arange(136))["expression"])
    with pytest.raises(TypeError):  # other promoters have other labels
        teacher.distil(table, tmp_path, source, str(ensemble), 40, 0.5, 2, "auto")


def test_a_teacher_of_other_splits_is_refused(receipt, ensemble, tmp_path):
    tables = {"train": library(96, 5), "val": library(64, 2)}
    other = upload(tmp_path / "other", ("weight",), **{name: table.with_columns(weight=pl.lit(1.0)) for name, table in tables.items()})
    with pytest.raises(ConfigError, match=r"training\.teacher: .* was trained on another train split, so it may have seen this run's"):
        train(other, tmp_path / "student", NAME, teacher=str(ensemble))
    with pytest.raises(InputError, match=r"model\.json: this file does not exist"):
        train(receipt, tmp_path / "student", NAME, teacher=str(tmp_path))


def test_a_teacher_of_unknown_splits_or_on_another_scale_is_refused(receipt, ensemble):
    about, source = json.loads((ensemble / "model.json").read_text()), shards_upload.read_receipt(receipt)
    teacher.require_same_splits("t", about, source)
    unknown = {key: value for key, value in about.items() if key != "data"}
    only_val = about | {"data": {"val": about["data"]["val"]}}
    for other in (unknown, only_val):
        with pytest.raises(ConfigError, match="t was trained on another train split"):
            teacher.require_same_splits("t", other, source)
    for key in ("scale", "scales"):
        with pytest.raises(
            ConfigError, match="t was recalibrated to the scale of another experiment; take the model that it was made from"
        ):
            teacher.require_same_splits("t", about | {key: {"kind": "affine"}}, source)


def test_permuted_labels_and_baselines_have_no_teacher(receipt, ensemble, tmp_path):
    options = {"teacher": str(ensemble), "epochs": 1}
    about = train(receipt, tmp_path / "baseline", "baseline_kmer", **options)
    assert "teacher" not in about
    given = type(OPTIONS)(**(vars(OPTIONS) | options))
    about = training_train.train(receipt, tmp_path / "permuted", blueprint=blueprint(NAME), options=given, permuted_labels=True)
    assert "teacher" not in about
