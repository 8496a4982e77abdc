"""The trainer: objectives, schedules, averages, weights, ensembles, the guard, resuming, many devices."""

import dataclasses
import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from scipy import stats

from gpraflow.core.errors import ConfigError, TrainingError
from gpraflow.models import backend as models_backend
from gpraflow.models import directory, registry
from gpraflow.prediction import predictor
from gpraflow.shards import batches as shards_batches
from gpraflow.training import data as training_data
from gpraflow.training import network, objectives, range_test, run, schedules, steppers
from gpraflow.training import options as training_options
from gpraflow.training import train as training_train

models_backend.select_backend("jax")
import keras  # noqa: E402

from tests.models.test_models import OPTIONS, blueprint, library, train, upload  # noqa: E402

NAME = "vaishnav_cnn"  # quick to compile, and has dropout


@pytest.fixture(scope="module")
def receipt(tmp_path_factory):
    cells = np.random.default_rng(5).poisson(3, (96, 6)).astype(float)
    extra = {"weight": np.arange(96) / 48, "n_reads": np.arange(96) + 1, "bin_cells": pl.Series(cells.tolist(), dtype=pl.List(pl.Float32))}
    table = library(96, 1).with_columns(**{name: pl.Series(values) for name, values in extra.items()})
    features = ("singleton", "weight", "n_reads", "bin_cells")
    return upload(tmp_path_factory.mktemp("training"), features, train=table, val=table.head(32))


# Objectives and schedules


def test_soft_labels_are_the_normal_distribution_cut_at_whole_numbers():
    expression = np.array([-0.4, 0.0, 3.3, 16.9, 17.0])
    edges = np.array([-np.inf, *range(1, 18), np.inf])
    expected = np.diff(stats.norm.cdf(edges[None], loc=expression[:, None] + 0.5, scale=0.5), axis=1)
    found = objectives.soft_labels(expression, 18)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    assert found[2] @ np.arange(18) == pytest.approx(3.3, abs=0.03)


def fit(loss, expression, cells=None):
    return objectives.fit(np.asarray(expression, np.float32), cells, loss=loss, bins=18, huber_delta=0.5, cells_prior=2.0)


def test_losses_are_the_formulas():
    raw, expression = np.array([[0.2], [-3.0], [1.1]], np.float32), np.array([1.0, 4.0, 7.0], np.float32)
    batch = {"expression": expression[:, None]}
    for loss in ("mse", "huber"):
        objective = fit(loss, expression)
        error = np.abs(raw[:, 0] - (expression - expression.mean()) / expression.std())
        target = objective.targets(batch)
        expected = error**2 if loss == "mse" else np.where(error < 0.5, error**2, 2 * 0.5 * (error - 0.25))
        np.testing.assert_allclose(np.asarray(objective.losses(raw, target)), expected, rtol=1e-5)
        np.testing.assert_allclose(np.asarray(objective.expression(target))[:, 0], expression, rtol=1e-5)
    objective = fit("bins", expression)
    logits = np.random.default_rng(0).normal(size=(3, 18)).astype(np.float32)
    target = objective.targets(batch)
    share = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.asarray(objective.losses(logits, target)), stats.entropy(target, share, axis=1), rtol=1e-4)
    np.testing.assert_allclose(np.asarray(objective.expression(logits))[:, 0], share @ np.arange(18), rtol=1e-5)


def test_cells_become_smoothed_labels_and_their_mean_bin_expression():
    rng = np.random.default_rng(0)
    cells = rng.poisson(4, (500, 6)).astype(np.float32)
    cells[0] = 0  # no cell: the prior alone
    prior = cells.sum(axis=0) / cells.sum()
    share = (cells + 2 * prior) / (cells.sum(axis=1, keepdims=True) + 2)
    objective = fit("bins", 1.5 * share @ np.arange(6) - 2, cells)
    target = objective.targets({"bin_cells": cells})
    np.testing.assert_allclose(target, share, rtol=1e-5)
    assert objective.scale == pytest.approx(1.5, rel=1e-4)
    assert objective.offset == pytest.approx(-2, rel=1e-3)
    assert objective.outputs == 6


def test_expression_that_is_not_in_bins_is_refused():
    with pytest.raises(TrainingError, match="needs expression in bins, 0 to 17, but it is -3 to 4"):
        fit("bins", [-3, 4])


def test_cosine_is_keras_s_and_one_cycle_is_pytorch_s():
    steps, warmup, peak = 200, 30, 0.01
    stock = keras.optimizers.schedules.CosineDecay(0.04 * peak, steps - warmup, alpha=0.01, warmup_target=peak, warmup_steps=warmup)
    ours = [schedules.rate("cosine", peak, step, steps, warmup) for step in range(steps)]
    np.testing.assert_allclose(ours[::20], [float(stock(step)) for step in range(0, steps, 20)], rtol=1e-3)
    assert ours[-1] == pytest.approx(0.01 * peak, rel=0.02)
    # torch.optim.lr_scheduler.OneCycleLR(max_lr=1, total_steps=10), its two phases written out: up to step 2, down to step 9
    up, down = 0.04 + 0.96 / 2 * (1 - np.cos(np.pi * np.arange(3) / 2)), 4e-6 + (1 - 4e-6) / 2 * (1 + np.cos(np.pi * np.arange(1, 8) / 7))
    ours = [schedules.rate("one_cycle", 1.0, step, 10, 0) for step in range(10)]
    np.testing.assert_allclose(ours, [*up, *down], atol=1e-9)
    assert {schedules.rate("constant", 0.3, step, 10, 4) for step in range(10)} == {0.3}


def test_weights_of_promoters():
    batch = {"expression": np.zeros((3, 1)), "weight": np.array([[0.0], [1], [2]]), "n_reads": np.array([[1.0], [10], [90]])}
    assert training_data.sample_weights(batch, "none", 10).ravel().tolist() == [1, 1, 1]
    assert training_data.sample_weights(batch, "weight", 10).ravel().tolist() == [0, 1, 2]
    assert training_data.sample_weights(batch, "n_reads", 10).ravel().tolist() == [1 / 11, 0.5, 0.9]


# Steps


def tiny_stepper(ema=0.0, optimizer="adam"):
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    model = keras.Model([inputs], keras.layers.Dense(1, name="last")(keras.layers.Dense(3, activation="tanh", name="first")(inputs)))
    objective = objectives.Objective("mse", 1, 1.0, 0.0)
    return model, steppers.stepper(model, steppers.optimizer_of(optimizer, 0.01, 1.0), objective, ema)


def batches(number):
    rng = np.random.default_rng(0)
    for _ in range(number):
        x = rng.normal(size=(8, 4)).astype(np.float32)
        yield [x], x[:, :1] * 2, rng.random(8).astype(np.float32)


def test_steps_are_keras_s_own():
    """The same batches through `Model.fit`'s own step, with sample weights."""
    model, stepper = tiny_stepper()
    twin = keras.models.clone_model(model)
    twin.set_weights(model.get_weights())
    twin.compile(keras.optimizers.Adam(0.05, global_clipnorm=1.0), "mse")
    for (inputs, target, weight), _ in zip(batches(6), range(6), strict=True):
        ours = float(stepper.step(inputs, target, weight, 0.05, None))
        assert ours == pytest.approx(float(twin.train_on_batch(inputs, target, sample_weight=weight)), rel=1e-2)
    for ours, theirs in zip(stepper.state()[0], twin.trainable_weights, strict=True):
        np.testing.assert_allclose(ours, np.array(theirs), rtol=2e-2, atol=2e-3)


def test_average_is_the_naive_one():
    model, stepper = tiny_stepper(ema=0.6)
    mean = [np.array(variable) for variable in model.trainable_variables]
    for number, (inputs, target, weight) in enumerate(batches(12)):
        stepper.step(inputs, target, weight, 0.05, None)
        momentum = min(0.6, (1 + number) / (10 + number))
        mean = [momentum * old + (1 - momentum) * new for old, new in zip(mean, stepper.state()[0], strict=True)]
    for ours, naive in zip(stepper.state()[3], mean, strict=True):
        np.testing.assert_allclose(ours, naive, rtol=1e-5, atol=1e-6)


def test_statistics_of_averaged_weights_are_means_over_batches():
    """Those of training belong to the last weights, which moved after the average."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((3,)), keras.layers.BatchNormalization(momentum=0.9, epsilon=1e-3)])
    x = keras.layers.Dropout(0.0)(inner(keras.layers.Dense(3, use_bias=False)(inputs)))
    model = keras.Model([inputs], keras.layers.Dense(1)(x))
    stepper = steppers.stepper(model, steppers.optimizer_of("adam", 0.0, 1.0), objectives.Objective("mse", 1, 1.0, 0.0), 0.9)
    for batch in batches(20):
        stepper.step(*batch, 0.05, None)
    parts = [x for (x,), _, _ in batches(5)]
    stepper.average_statistics([part] for part in parts)
    state = stepper.state()
    (kernel, scale, shift, last, bias), statistics = stepper.served(state)
    mean = np.mean([(part @ kernel).mean(axis=0) for part in parts], axis=0)
    variance = np.mean([(part @ kernel).var(axis=0) for part in parts], axis=0)
    np.testing.assert_allclose(statistics, [mean, variance], rtol=1e-4, atol=1e-6)
    assert np.abs(state[1][0] - mean).max() > 0.01
    assert kernel is state[3][0]
    stepper.restore(state, stepper.steps)
    whole = np.round(3 * parts[0])  # a predictor takes tokens
    predicted = stepper.predictor(model, 8)(whole)
    naive = ((whole @ kernel - mean) / np.sqrt(variance + 1e-3) * scale + shift) @ last + bias
    np.testing.assert_allclose(predicted, naive, rtol=1e-3, atol=1e-4)


def test_without_average_or_normalisation_nothing_is_computed():
    for average in (0.0, 0.9):
        _, stepper = tiny_stepper(ema=average)
        stepper.average_statistics(pytest.fail("batches were read") for _ in range(1))
        state = stepper.state()
        assert state[4] == []
        assert stepper.served(state)[0] is state[3 if average else 0]


def test_only_the_layers_of_a_stage_are_trained():
    _, stepper = tiny_stepper(optimizer="adamw")
    before = stepper.state()[0]
    for inputs, target, weight in batches(3):
        stepper.step(inputs, target, weight, 0.05, stepper.trained(["last"]))
    moved = [(old != new).any() for old, new in zip(before, stepper.state()[0], strict=True)]
    assert moved == [False, False, True, True]


# Whole trainings


@pytest.mark.parametrize(
    "options",
    [
        {"loss": "huber", "optimizer": "rmsprop", "schedule": "one_cycle"},
        {"loss": "bins", "optimizer": "lion", "learning_rate": 0.001, "ema": 0.9},
        {"loss": "bins", "bin_labels": "cells", "sample_weight": "n_reads"},
        {"sample_weight": "weight", "precision": "mixed_bfloat16", "rc_averaging": True, "rc_augmentation": True},
    ],
    ids=["huber", "bins", "cells", "bfloat16"],
)
def test_every_way_of_training_works(receipt, tmp_path, options):
    about = train(receipt, tmp_path / "model", NAME, epochs=6, **options)
    history = pl.read_csv(tmp_path / "model/history.csv")
    assert history["loss"][-1] < history["loss"][0]
    table = library(20, 9)
    predicted = predictor.predict(tmp_path / "model", table)["predicted"].to_numpy()
    assert np.isfinite(predicted).all()
    assert about["training"]["loss"] == options.get("loss", "mse")
    if options.get("rc_averaging"):
        other = table.with_columns(sequence=pl.Series([s[::-1].translate(str.maketrans("ACGT", "TGCA")) for s in table["sequence"]]))
        np.testing.assert_allclose(predictor.predict(tmp_path / "model", other)["predicted"], predicted, rtol=1e-2)


def test_nothing_is_learnt_from_permuted_labels(receipt, tmp_path):
    for name, permuted in (("own", False), ("others", True)):
        about = training_train.train(
            receipt, tmp_path / name, blueprint=blueprint("baseline_kmer"), options=OPTIONS, permuted_labels=permuted
        )
        assert (about["val_loss"] < 0.3) == (not permuted), about["val_loss"]
        assert (about["val_loss"] > 0.9) == permuted, about["val_loss"]


def test_an_ensemble_is_the_mean_of_its_members(receipt, tmp_path):
    about = train(receipt, tmp_path / "model", NAME, ensemble=2)
    alone = train(receipt, tmp_path / "alone", NAME)
    model, _ = directory.load(tmp_path / "model")
    tokens = np.random.default_rng(0).integers(0, 4, (5, 40))
    both = model.predict(tokens, verbose=0)
    assert both.shape == (5, 2)
    np.testing.assert_allclose(both[:, 0], directory.load(tmp_path / "alone")[0].predict(tokens, verbose=0)[:, 0], rtol=1e-5)
    assert (both[:, 0] != both[:, 1]).all()
    table = library(20, 9)
    predicted = predictor.predict(tmp_path / "model", table)
    assert predicted["predicted_sd"].min() > 0
    each = predicted[predictor.MEMBERS]
    assert each.dtype == pl.Array(pl.Float32, 2)
    np.testing.assert_allclose(each.to_numpy().mean(axis=1), predicted["predicted"], rtol=1e-6)
    np.testing.assert_allclose(each.to_numpy().std(axis=1, ddof=1), predicted["predicted_sd"], rtol=1e-4, atol=1e-6)
    alone_predicted = predictor.predict(tmp_path / "alone", table)
    assert predictor.MEMBERS not in alone_predicted.columns
    np.testing.assert_allclose(each.to_numpy()[:, 0], alone_predicted["predicted"], rtol=1e-5)
    with_parents = table.with_columns(parent_sequence=table["sequence"].shift(1))
    effects = predictor.predict(tmp_path / "model", with_parents)
    assert effects["predicted"].to_list() == predicted["predicted"].to_list()
    assert effects["predicted_parent"][0] is None
    np.testing.assert_allclose(effects["predicted_parent"][1:], predicted["predicted"][:-1], rtol=1e-6)
    assert about["val_of_members"]["val_loss"][0] == pytest.approx(alone["val_loss"], rel=1e-5)
    assert pl.read_csv(tmp_path / "model/history.csv")["member"].to_list() == [0] * 3 + [1] * 3


def test_a_loss_that_is_no_number_sends_training_back_with_a_smaller_rate(receipt, tmp_path, monkeypatch, capsys):
    step, seen = steppers._JaxStepper.step, []

    def once(self, inputs, target, weight, learning_rate, trained):
        seen.append(learning_rate)
        return step(self, inputs, target * (np.nan if len(seen) == 5 else 1), weight, learning_rate, trained)

    monkeypatch.setattr(steppers._JaxStepper, "step", once)
    about = train(receipt, tmp_path / "model", NAME, schedule="constant")
    assert about["restarts"] == 1
    assert about["epochs"] == 3
    assert seen == [0.01] * 6 + [0.01 * run._SHRINK] * 6
    assert "the training loss is nan in epoch 2, batch 2; back to the best state, learning rate times 0.3" in capsys.readouterr().out
    history = pl.read_csv(tmp_path / "model/history.csv")
    assert history["restarts"].to_list() == [0, 1, 1]


def test_a_validation_loss_far_beyond_the_best_sends_training_back(receipt, tmp_path, monkeypatch):
    scores, given = run.validation_scores, iter([1.0, 9.0, 0.5])

    def told(predicted, expression, variance):
        return scores(predicted, expression, variance) | {"val_loss": next(given, 0.5)}

    monkeypatch.setattr(run, "validation_scores", told)
    about = train(receipt, tmp_path / "model", NAME, divergence_factor=3.0)
    assert about["restarts"] == 1
    assert about["best_epoch"] == 3


DRIVER = """
import json, os, signal, sys
backend, receipt, folder, kill = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
os.environ["KERAS_BACKEND"] = backend
from gpraflow.models.backend import select_backend
select_backend(backend)
from gpraflow.training import options, run, train
saves, save = [], run.MemberTraining._save
def saving(self, name):
    save(self, name)
    saves.append(name)
    if len(saves) == kill:
        os.kill(os.getpid(), signal.SIGKILL)
run.MemberTraining._save = saving
given = json.loads(sys.argv[5])
train.train(receipt, folder, blueprint=options.Blueprint(**given["blueprint"]), options=options.Options(**given["options"]))
"""


def drive(backend, receipt, folder, kill, **options):
    plan = blueprint(NAME)
    given = {
        "blueprint": {"name": plan.name, "preset": plan.preset, "sizes": plan.sizes},
        "options": vars(OPTIONS) | {"backend": backend, "batch_size": 16, "ema": 0.9, "checkpoint_steps": 2} | options,
    }
    environment = os.environ | {"KERAS_BACKEND": backend, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", DRIVER, backend, str(receipt), str(folder), str(kill), json.dumps(given)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


def saved_weights(folder, backend):
    code = (
        "import os, sys\nos.environ['KERAS_BACKEND'] = sys.argv[1]\nimport keras, numpy as np\n"
        "model = keras.saving.load_model(sys.argv[2] + '/model.keras', compile=False)\n"
        "np.savez(sys.argv[2] + '/weights.npz', *[np.array(w) for w in model.weights])\n"
    )
    subprocess.run([sys.executable, "-c", code, backend, str(folder)], check=True, capture_output=True)
    with np.load(folder / "weights.npz") as found:
        return [found[key] for key in found.files]


@pytest.mark.parametrize("backend", ["jax", pytest.param("tensorflow", marks=pytest.mark.slow)])
def test_a_training_killed_in_the_middle_of_an_epoch_ends_with_the_same_weights(receipt, tmp_path, backend):
    whole = drive(backend, receipt, tmp_path / "whole", 0)
    assert whole.returncode == 0, whole.stderr[-2000:]
    killed = drive(backend, receipt, tmp_path / "killed", 6)  # 96 promoters, 6 batches: the second checkpoint within the second epoch
    assert killed.returncode == -9
    assert not (tmp_path / "killed/model.keras").exists()
    resumed = drive(backend, receipt, tmp_path / "killed", 0)
    assert resumed.returncode == 0, resumed.stderr[-2000:]
    assert "resuming from a checkpoint, epoch 2, batch 3" in resumed.stdout
    for ours, expected in zip(saved_weights(tmp_path / "killed", backend), saved_weights(tmp_path / "whole", backend), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert (tmp_path / "killed/history.csv").read_text() == (tmp_path / "whole/history.csv").read_text()
    assert not (tmp_path / "killed/.training").exists()


def test_checkpoints_of_another_training_are_not_taken_up(receipt, tmp_path):
    assert drive("jax", receipt, tmp_path / "model", 4).returncode == -9
    done = drive("jax", receipt, tmp_path / "model", 0, learning_rate=0.02)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "resuming" not in done.stdout


DEVICES = """
import os, sys
import numpy as np
from gpraflow.models.backend import select_backend
select_backend("jax")
import jax, keras
from gpraflow.training import network, objectives, steppers
from tests.models.test_models import blueprint
assert len(jax.devices()) == int(sys.argv[1])
keras.utils.set_random_seed(1)
core = network.build_core(blueprint("legnet"), 40, objectives.Objective("mse", 1, 1.0, 0.0), "core")
stepper = steppers.stepper(core, steppers.optimizer_of("adam", 0, 1.0), objectives.Objective("mse", 1, 1.0, 0.0), 0.9)
assert stepper.devices == len(jax.devices())
rng = np.random.default_rng(0)
inputs = [rng.integers(0, 4, (64, 40), dtype=np.uint8), np.zeros((64, 1), np.float32), np.zeros((64, 1), np.float32)]
target = rng.normal(size=(64, 1)).astype(np.float32)
print(*[float(stepper.step(inputs, target, np.ones(64, np.float32), 1e-3, None)) for _ in range(4)])
"""


def test_eight_devices_give_the_losses_of_one():
    found = []
    for number in (1, 8):
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={number}"}
        environment = os.environ | flags | {"PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()])}
        done = subprocess.run([sys.executable, "-c", DEVICES, str(number)], env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        found.append([float(value) for value in done.stdout.split()[-4:]])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-4)


TENSORFLOW_DEVICES = """
import json, sys
import numpy as np
from gpraflow.models.backend import select_backend
select_backend("tensorflow")
import keras
import tensorflow as tf
from gpraflow.training import network, objectives, options, steppers
number = int(sys.argv[1])
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * number)
objective = objectives.Objective("mse", 1, 1.0, 0.0)
keras.utils.set_random_seed(1)
with steppers.all_devices():
    core = network.build_core(options.Blueprint(**json.loads(sys.argv[2])), 40, objective, "core")
    stepper = steppers.stepper(core, steppers.optimizer_of("adamw", 0.01, 0.1), objective, 0.9)
assert stepper.devices == number
rng = np.random.default_rng(0)
inputs = [rng.integers(0, 4, (64, 40), dtype=np.uint8), np.zeros((64, 1), np.float32), np.zeros((64, 1), np.float32)]
target = 5 * rng.normal(size=(64, 1)).astype(np.float32)
weight = rng.random(64).astype(np.float32)
of_layers = stepper.trained([core.layers[-1].name])
losses = [float(stepper.step(inputs, target, weight, 1e-2, trained)) for trained in (None, None, of_layers, None)]
stepper.average_statistics([inputs, [part[::2] for part in inputs]])
state = stepper.state()
stepper.restore(state, stepper.steps)
predict = stepper.predictor(network.serving([core], objective, 40, False, "single"), 64)
assert [(old == new).all() for old, new in zip(state[1], stepper.state()[1], strict=True)] == [True] * len(state[1])
print("FOUND", *losses, *predict(inputs[0])[:8, 0], *(float(values[0]) for values in state[4]))
"""


@pytest.mark.slow
def test_tensorflow_on_four_devices_gives_the_losses_of_one():
    """Also where gradients are clipped, batches normalised and some layers fixed; and the same predictions by averaged weights."""
    found = []
    for number in (1, 4):
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, os.getcwd()])}
        command = [sys.executable, "-c", TENSORFLOW_DEVICES, str(number), json.dumps(dataclasses.asdict(blueprint("legnet")))]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("FOUND"))
        found.append([float(value) for value in line.split()[1:]])
    np.testing.assert_allclose(found[0][:4], found[1][:4], rtol=1e-4)
    np.testing.assert_allclose(found[0][4:], found[1][4:], atol=5e-4)


def test_a_batch_is_a_multiple_of_the_devices():
    assert run.batch_size_of(100, 90, 8) == 88
    with pytest.raises(TrainingError, match="5 training promoters in batches of 100 cannot be distributed over 8 devices"):
        run.batch_size_of(100, 5, 8)


def test_strands_of_a_model_that_turns_itself_are_flags(receipt, tmp_path):
    architecture = registry.describe("legnet")
    found = json.loads(receipt.read_text())
    options = training_options.Options(**(vars(OPTIONS) | {"rc_augmentation": True}))
    data = training_data.TrainingData(found, tmp_path, architecture, options)
    (tokens, singleton, reverse), target, weight = next(data.batches(32, 7, 0, 0))
    plain = next(shards_batches.MemoryMap(shards_batches.open_split(found, "train")).batches(32, seed=7))
    np.testing.assert_array_equal(tokens, plain["sequence"])
    np.testing.assert_array_equal(reverse[:, 0] > 0, shards_batches.strands(32, 7, 0, 0))
    assert set(singleton.ravel()) == {0.0, 1.0}
    assert weight.tolist() == [1.0] * 32
    assert target.shape == (32, 1)


def test_range_test_ends_where_the_loss_explodes(receipt, tmp_path):
    options = training_options.Options(**(vars(OPTIONS) | {"gradient_clip": 0.0, "optimizer": "adam"}))
    rates, suggested = range_test.range_test(receipt, tmp_path, blueprint=blueprint(NAME), options=options, low=1e-6, high=1e3, steps=120)
    assert 10 <= rates.height < 119
    assert rates["learning_rate"][0] == pytest.approx(1e-6)
    assert (rates["learning_rate"].log().diff().drop_nulls() - np.log(1e9) / 119).abs().max() < 1e-9
    assert rates["smoothed"][-1] <= 4 * rates["smoothed"].min()
    assert suggested in rates["learning_rate"].to_list()[10:-5]
    mean = 0.0
    for number, loss in enumerate(rates["loss"]):
        mean = 0.9 * mean + 0.1 * loss
        assert rates["smoothed"][number] == pytest.approx(mean / (1 - 0.9 ** (number + 1)))
    with pytest.raises(ConfigError, match="'baseline_kmer' has no learning rate"):
        range_test.range_test(receipt, tmp_path, blueprint=blueprint("baseline_kmer"), options=options, low=1e-6, high=1, steps=20)


def test_a_training_is_another_one_if_its_motifs_or_initial_weights_have_changed(tmp_path):
    """Contents count, not names: an interrupted training does not resume with other motifs."""
    receipt = {"splits": {"train": {"sha256": "a"}}}
    (tmp_path / "initial").mkdir()
    for name in ("motifs.jaspar", "initial/model.keras"):
        (tmp_path / name).write_text("one")
    plan = dataclasses.replace(blueprint("compact"), motifs=str(tmp_path / "motifs.jaspar"))
    options = dataclasses.replace(OPTIONS, initial_model=str(tmp_path / "initial"))
    marks = [training_train._mark(receipt, plan, options)]
    for name in ("motifs.jaspar", "initial/model.keras"):
        (tmp_path / name).write_text("two")
        marks.append(training_train._mark(receipt, plan, options))
    assert len(set(marks)) == 3
    assert training_train._mark(receipt, plan, options) == marks[-1]


def test_a_step_gives_back_a_state_as_it_took_it_so_that_jax_compiles_it_once():
    import jax

    core = network.build_core(blueprint(NAME), 110, objectives.Objective("mse", 1, 1.0, 0.0), "core")
    optimizer = steppers.optimizer_of("adamw", 0.01, 1.0)
    optimizer.build(core.trainable_variables)
    step = steppers.jax_step(core, optimizer, objectives.Objective("mse", 1, 1.0, 0.0), 0.99)
    groups = (core.trainable_variables, core.non_trainable_variables, optimizer.variables, core.trainable_variables)
    state = [[np.array(variable) for variable in group] for group in groups]
    given = [np.zeros((4, 110), np.uint8)], np.zeros((4, 1), np.float32), np.ones(4, np.float32), np.float32(1e-3), np.float32(0.9), None
    after, loss = jax.eval_shape(step, state, *given)
    assert loss.shape == ()
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(after)] == [(x.shape, x.dtype) for x in jax.tree.leaves(state)]
