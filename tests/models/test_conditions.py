"""Models of several conditions: one output each, promoters that were not measured in all, and differences."""

import functools

import numpy as np
import polars as pl
import pytest

from gpraflow.core.errors import ConfigError, TrainingError
from gpraflow.explanation import mutagenesis
from gpraflow.formats import conditions
from gpraflow.models import directory as models_directory
from gpraflow.models import registry
from gpraflow.prediction import calibrate, calibration, predictor
from gpraflow.sequences.scaffold import Scaffold, tokenize
from gpraflow.shards import upload as shards_upload
from gpraflow.training import network, objectives
from tests.models.test_models import OPTIONS, blueprint, train
from tests.models.test_models import upload as upload_tables

BOTH = ["glucose", "galactose"]
TRAINED = {"compact": 0.7, "biochemical": 0.3, "baseline_kmer": 0.4}  # least r; the last cannot tell A from T


def _expression(gc, a):
    return 17 * gc, 300 * gc + 200 * a - 30


def library(rows, seed):
    """Expression is the share of G and C in glucose, and in galactose also follows that of A, on another scale; a third misses either."""
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 4, (rows, 40))
    glucose, galactose = _expression(((bases == 1) | (bases == 2)).mean(axis=1), (bases == 0).mean(axis=1))
    which = rng.integers(0, 3, rows)
    return pl.DataFrame(
        {
            "sequence": ["".join(row) for row in np.array(list("ACGT"))[bases]],
            "expression": np.zeros(rows, "f4"),
            "expression.glucose": pl.Series(np.where(which == 1, np.nan, glucose), dtype=pl.Float32).fill_nan(None),
            "expression.galactose": pl.Series(np.where(which == 2, np.nan, galactose), dtype=pl.Float32).fill_nan(None),
            "n_reads.glucose": pl.Series([None if each == 1 else 10 for each in which], dtype=pl.Int64),
            "n_reads.galactose": pl.Series([None if each == 2 else 40 for each in which], dtype=pl.Int64),
            "singleton": np.zeros(rows, bool),
        }
    )


def upload(folder, extra_features=("singleton",), **tables):
    return upload_tables(folder, extra_features, BOTH, **tables)


@pytest.fixture(scope="module")
def of_each(tmp_path_factory):
    """Return a function from the name of an architecture to the folder and model.json of a training; each is trained once."""
    folder = tmp_path_factory.mktemp("conditions")
    receipt = upload(folder, train=library(480, 1), val=library(96, 2))

    @functools.cache
    def trained(name):
        return folder / name, train(receipt, folder / name, name, epochs=8)

    return trained


def both(sequences):
    """What the labels of `library` are."""
    text = sequences.to_list()
    return np.array([_expression((s.count("C") + s.count("G")) / 40, s.count("A") / 40) for s in text])


@pytest.mark.parametrize("name", [name for name in registry.REGISTRY if not registry.describe(name).baseline])
def test_every_network_has_an_output_for_each_condition(name):
    parts = {condition: objectives.Objective("mse", 1, scale, offset) for condition, scale, offset in (("a", 2.0, 1.0), ("b", 3.0, -5.0))}
    core = network.build_core(blueprint(name), 40, objectives.Objectives(parts), "core")
    assert core.output_shape == (None, 2)
    model = network.serving([core], objectives.Objectives(parts), 40, False, name)
    tokens = tokenize(library(8, 5)["sequence"], 40, "right", "left")
    features = [tokens.astype("i4")] + [np.zeros((8, 1), "f4")] * (len(core.inputs) - 1)
    raw = np.asarray(core(features if len(features) > 1 else features[0]))
    assert np.ptp(raw[:, 0] - raw[:, 1]) > 0 or name == "biochemical"  # whose conditions start with the same concentrations
    np.testing.assert_allclose(np.asarray(model(tokens)), raw * [2, 3] + [1, -5], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", TRAINED)
def test_each_condition_is_learnt_on_its_own_scale_from_promoters_with_missing_values(of_each, name):
    folder, about = of_each(name)
    assert about["conditions"] == BOTH
    test = library(200, 3)
    found, truth = predictor.predict(folder, test), both(test["sequence"])
    for index, condition in enumerate(BOTH):
        predicted = found[f"predicted.{condition}"].to_numpy()
        assert np.corrcoef(predicted, truth[:, index])[0, 1] > TRAINED[name], (name, condition)
        assert predicted.std() < 1.3 * truth[:, index].std()
        assert predicted.mean() == pytest.approx(truth[:, index].mean(), abs=truth[:, index].std() / 2)
    difference = found["predicted.galactose"] - found["predicted.glucose"]
    np.testing.assert_allclose(found["predicted.galactose-glucose"], difference, rtol=1e-4, atol=1e-3)


def test_scores_of_the_best_epoch_are_means_over_conditions(of_each):
    folder, about = of_each("compact")
    val, train_labels = library(96, 2), library(480, 1)
    found, losses, correlations = predictor.predict(folder, val), [], []
    for condition in BOTH:
        rows = found.drop_nulls(f"expression.{condition}")
        p, m = (rows[f"{column}.{condition}"].cast(pl.Float64).to_numpy() for column in ("predicted", "expression"))
        losses.append(np.mean((p - m) ** 2) / train_labels[f"expression.{condition}"].drop_nulls().var(ddof=0))
        correlations.append(np.corrcoef(p, m)[0, 1])
    assert about["val_loss"] == pytest.approx(np.mean(losses), rel=1e-3)
    assert about["val_r"] == pytest.approx(np.mean(correlations), abs=1e-4)


def test_biochemical_conditions_share_all_but_concentrations_and_scale(of_each):
    folder, _ = of_each("biochemical")
    table = models_directory.parameters(folder)
    assert {"concentration.glucose", "concentration.galactose"} <= set(table.columns)
    assert not np.allclose(table["concentration.glucose"], table["concentration.galactose"])
    core = models_directory.load(folder)[0].get_layer("member_0")
    shapes = {layer.name: [weight.shape for weight in layer.get_weights()] for layer in core.layers}
    factors = table.height
    assert (shapes["concentrations"], shapes["activities"], shapes["expression"]) == (
        [(1, 2 * factors)],
        [(factors, 1), (1,)],
        [(2,), (2,)],
    )


def test_missing_labels_have_no_weight_and_no_gradient():
    parts = {"a": objectives.Objective("mse", 1, 2.0, 1.0), "b": objectives.Objective("mse", 1, 10.0, 0.0)}
    objective = objectives.Objectives(parts)
    batch = {"expression": np.array([[3, np.nan], [np.nan, 20], [1, 5]], "f4")}
    target = objective.targets(batch)
    assert target.tolist() == [[1, 0], [0, 2], [0, 0.5]]
    losses = np.asarray(objective.losses(np.zeros((3, 2), "f4"), target))
    assert losses.tolist() == [[1, 0], [0, 4], [0, 0.25]]
    assert np.asarray(objective.expression(target)).tolist() == [[3, 0], [1, 20], [1, 5]]


@pytest.mark.parametrize("loss", ["mse", "huber", "bins"])
def test_losses_of_differences_are_those_of_standardised_errors(loss):
    rng = np.random.default_rng(2)
    expression = rng.uniform(0, 3, (50, 3)).astype("f4")
    expression[:10, 0], expression[5:20, 2] = np.nan, np.nan
    options = {"loss": loss, "bins": 4, "huber_delta": 0.5, "cells_prior": 1.0}
    objective = objectives.fit_conditions(expression, None, ["a", "b", "c"], 0.7, **options)
    plain = objectives.fit_conditions(expression, None, ["a", "b", "c"], 0.0, **options)
    assert list(objective.spreads) == ["b-a", "c-a", "c-b"]
    target = objective.targets({"expression": expression})
    raw = rng.normal(size=target.shape).astype("f4")
    losses = np.asarray(objective.losses(raw, target))
    np.testing.assert_allclose(losses[:, :3], np.asarray(plain.losses(raw, target)), rtol=1e-6)
    predicted, measured = (np.asarray(of) for of in (objective.expression(raw), expression))
    if loss == "bins":  # of soft labels the mean bin, which outer bins bound
        parts = np.split(target, 3, axis=1)
        measured = np.stack([part @ np.arange(4) for part in parts], axis=1)
    for place, (b, a) in enumerate([(1, 0), (2, 0), (2, 1)], start=3):
        both = np.isfinite(expression[:, a]) & np.isfinite(expression[:, b])
        spread = (expression[both, b].astype(float) - expression[both, a]).std()
        error = np.abs((predicted[:, b] - predicted[:, a]) - (measured[:, b] - measured[:, a])) / spread
        expected = np.where(error < 0.5, error**2, error - 0.25) if loss == "huber" else error**2
        np.testing.assert_allclose(losses[both, place], expected[both], rtol=1e-3, atol=1e-4)
    weights = np.where(np.isfinite(expression), [1.0, 3.0, 2.0], 0).astype("f4")
    found = objective.weights(weights)
    both = np.isfinite(expression[:, 0]) & np.isfinite(expression[:, 1])
    np.testing.assert_allclose(found[:, 3], both * 0.7 * 1.5, rtol=1e-6)  # harmonic mean of 1 and 3
    assert plain.weights(weights).shape == (50, 3)


def test_sample_weights_are_of_each_condition(tmp_path):
    from gpraflow.training.data import TrainingData
    from gpraflow.training.options import Options

    receipt = shards_upload.read_receipt(upload(tmp_path, ("n_reads",), train=library(60, 1), val=library(20, 2)))
    options = Options(**(vars(OPTIONS) | {"sample_weight": "n_reads", "reads_half": 10.0}))
    data = TrainingData(receipt, tmp_path / "work", registry.describe("compact"), options)
    batch = data.table.take(np.arange(60))
    weights, there = data.weights(batch), np.isfinite(batch["expression"])
    assert there.sum() < 120
    np.testing.assert_allclose(weights, there * [0.5, 0.8], rtol=1e-6)
    assert data.mean_weight == pytest.approx(weights.mean())


def test_a_condition_without_promoters_or_without_variation_is_named(tmp_path):
    empty = library(60, 1).with_columns(
        pl.lit(None, pl.Float32).alias("expression.galactose"), pl.lit(None, pl.Int64).alias("n_reads.galactose")
    )
    receipt = upload(tmp_path, train=empty.drop_nulls("expression.glucose"), val=library(20, 2))
    with pytest.raises(TrainingError, match="condition 'galactose': no training promoter was measured in it"):
        train(receipt, tmp_path / "model", "compact", epochs=1)


def calibrated(folder):
    rows = library(400, 4)
    window = {"length": 40, "keep": "right", "pad": "left"}
    known = {"scaffold": Scaffold("none", "", ""), "damaged_flanks": "keep", "max_flank_edits": 1, "transform": calibration.NONE}
    fitted = calibrate.calibrate(predictor.Predictor(folder), rows.lazy(), rows, [], **known, **window)
    calibration.write(fitted, folder / calibration.FILE)
    return fitted


def test_predictions_effects_and_explanations_are_of_each_condition_and_difference(of_each, monkeypatch):
    folder, _ = of_each("compact")
    fitted = calibrated(folder)
    assert list(fitted) == [*BOTH, "galactose-glucose"]
    assert fitted["galactose"].quantile
    assert fitted["galactose-glucose"].reads == 10
    model = predictor.Predictor(folder)
    assert model.readout == "glucose"
    text = library(5, 6)["sequence"].to_list()
    found = model.predict(text)
    ends = ["", "_low", "_high"]
    expected = [f"expression{end}.{name}" for name in BOTH for end in ends] + [f"difference{end}.galactose-glucose" for end in ends]
    assert found.columns == ["sequence", *expected, "out_of_distribution"]
    assert (found["difference_low.galactose-glucose"] < found["difference.galactose-glucose"]).all()
    # coverage of the calibration set itself: 95 % intervals of the difference
    rows = conditions.select(model.table(library(400, 4)), "galactose-glucose", BOTH)
    covered = rows["expression"].is_between(rows["predicted_low"], rows["predicted_high"]).mean()
    assert 0.9 < covered < 0.99

    alt = [("T" if s[20] != "T" else "G").join([s[:20], s[21:]]) for s in text]
    effects = model.effects(pl.Series(text), pl.Series(alt))
    for name in [*BOTH, "galactose-glucose"]:
        of_alt, of_ref = (model.of(name).members(tokenize(pl.Series(each), 40, "right", "left"))[:, 0] for each in (alt, text))
        np.testing.assert_allclose(effects[f"effect_alt_minus_ref.{name}"], of_alt - of_ref, rtol=1e-4, atol=1e-4)
    assert {"difference_ref.galactose-glucose", "effect_low.glucose", "out_of_distribution_ref"} <= set(effects.columns)

    tokens = tokenize(pl.Series(text), 40, "right", "left")
    mutated = np.zeros(tokens.shape, bool)
    mutated[:, 18:22] = True
    ism = {name: mutagenesis.mutational_effects(model.of(name), tokens, mutated) for name in model.readouts}
    np.testing.assert_allclose(ism["galactose-glucose"], ism["galactose"] - ism["glucose"], atol=1e-3)
    with monkeypatch.context() as patch:
        calls, outputs = [], predictor.Predictor.outputs
        patch.setattr(predictor.Predictor, "outputs", lambda self, some: calls.append(len(some)) or outputs(self, some))
        at_once = mutagenesis.effects_of_readouts([model.of(name) for name in model.readouts], tokens, mutated)
    assert calls == [5, 5 * 4 * 3]  # the mutants are predicted once
    for name, effects_of_one in zip(model.readouts, at_once, strict=True):
        np.testing.assert_array_equal(effects_of_one, ism[name])
    slopes = {name: mutagenesis.gradients(model.of(name), tokens) for name in model.readouts}
    np.testing.assert_allclose(slopes["galactose-glucose"], slopes["galactose"] - slopes["glucose"], atol=1e-3)
    assert np.abs(slopes["glucose"] - slopes["galactose"]).max() > 0.1


def test_an_unknown_condition_is_refused_with_those_that_exist(of_each):
    model = predictor.Predictor(of_each("compact")[0])
    with pytest.raises(ConfigError, match=r"no condition 'glucos'.*glucose.*\(it has glucose, galactose, galactose-glucose\)"):
        model.of("glucos")


def test_members_of_an_ensemble_are_kept_apart_from_conditions(tmp_path):
    receipt = upload(tmp_path, train=library(120, 1), val=library(40, 2))
    train(receipt, tmp_path / "model", "compact", epochs=1, ensemble=2)
    model, raw = predictor.Predictor(tmp_path / "model"), models_directory.load(tmp_path / "model")[0]
    tokens = tokenize(library(7, 3)["sequence"], 40, "right", "left")
    outputs = np.asarray(raw(tokens))
    assert outputs.shape == (7, 4)
    np.testing.assert_allclose(model.members(tokens), outputs[:, [0, 2]], rtol=1e-5)
    np.testing.assert_allclose(model.of("galactose").members(tokens), outputs[:, [1, 3]], rtol=1e-5)
    np.testing.assert_allclose(model.output_weights, [0.5, 0, 0.5, 0])
    cores = [raw.get_layer(f"member_{number}") for number in range(2)]
    assert all(core.output_shape == (None, 2) for core in cores)
