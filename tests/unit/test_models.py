"""Every architecture of the registry: builds, learns, is saved, and gives the same numbers in a fresh process on both backends."""

import json
import os
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import yaml
from gpraflow import models, prediction, shards, storage, training
from gpraflow.errors import ConfigError, GpraflowError, InputError, TrainingError

models.select_backend("jax")
import keras  # noqa: E402

TINY = {
    "slides": {
        "conv1d_filters": 8,
        "conv2d_filters": 8,
        "kernel_size": 5,
        "residual_blocks": 1,
        "pool_size": 4,
        "bottleneck_units": 8,
        "attention_blocks": 1,
        "attention_heads": 2,
        "feed_forward_units": 4,
        "lstm_layers": 2,
        "lstm_units": 3,
        "dense_units": [6],
        "norm_momentum": 0.9,
        "dropout": 0.1,
        "l1": 0.0,
        "l2": 1e-4,
    }
}
PLAIN = {"residual_blocks": 0, "attention_blocks": 0, "lstm_layers": 0}  # quick to compile, where the architecture is not the point
OPTIONS = training.Options(
    backend="jax",
    seed=1,
    epochs=3,
    batch_size=32,
    optimizer="adamw",
    learning_rate=0.01,
    schedule="cosine",
    warmup_steps=4,
    weight_decay=0.01,
    gradient_clip=1.0,
    patience=9,
    reverse_complement=False,
    initial_model="",
)


def library(rows, seed, expression=None):
    """Promoters whose expression is their share of G and C."""
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 4, (rows, 40))
    share = ((bases == 1) | (bases == 2)).mean(axis=1) * 17
    return pl.DataFrame(
        {"sequence": ["".join(row) for row in np.array(list("ACGT"))[bases]], "expression": share if expression is None else expression}
    )


def upload(folder, **tables):
    for split, table in tables.items():
        shards.write(
            table,
            folder / split / "manifest.json",
            split=split,
            scaffold="none",
            length=40,
            keep="right",
            pad="left",
            rows_per_shard=100,
            extra_features=[],
            seed=1,
        )
    manifests = {split: folder / split / "manifest.json" for split in tables}
    storage.upload(manifests, f"file://{folder}/bucket", folder / "upload.json")
    return folder / "upload.json"


def train(receipt, directory, name="slides", sizes=None, **options):
    given = training.Options(**(vars(OPTIONS) | options))
    return training.train(receipt, directory, name=name, preset="tiny", sizes=TINY[name] | (sizes or {}), options=given)


@pytest.fixture(scope="module", params=sorted(models.REGISTRY))
def trained(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    receipt = upload(folder, train=library(320, 1), val=library(64, 2))
    about = train(receipt, folder / "model", request.param, epochs=8)
    return folder, about


def test_it_learns(trained):
    folder, about = trained
    assert about["val_r"] > 0.5
    history = pl.read_csv(folder / "model/history.csv")
    assert history.height == about["epochs"] == 8
    assert history["val_loss"].arg_min() + 1 == about["best_epoch"]
    assert history["val_loss"].min() == pytest.approx(about["val_loss"], rel=1e-6)
    assert sorted(path.name for path in (folder / "model").iterdir()) == sorted(training.MODEL_FILES)
    assert list((folder / "model/tensorboard").glob("events.*"))


def test_best_checkpoint_is_the_best_epochs_and_gives_units_of_the_table(trained):
    folder, about = trained
    val = library(64, 2)
    predicted = prediction.predict(folder / "model", val)["predicted"].to_numpy()
    measured = val["expression"].to_numpy()
    assert np.corrcoef(predicted, measured)[0, 1] == pytest.approx(about["val_r"], abs=1e-5)
    assert np.mean((predicted - measured) ** 2) / about["label_transform"]["scale"] ** 2 == pytest.approx(about["val_loss"], rel=1e-4)


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_a_fresh_process_gives_the_same_numbers_on_either_backend(trained, tmp_path, backend):
    folder, _ = trained
    table = library(50, 3)
    ours = prediction.predict(folder / "model", table)["predicted"].to_numpy()
    table.write_parquet(tmp_path / "in.parquet")
    code = (
        "import sys, polars as pl\nfrom gpraflow import prediction\n"
        "prediction.predict(sys.argv[1], pl.read_parquet(sys.argv[2]), backend=sys.argv[3]).write_parquet(sys.argv[4])\n"
        "import keras\nassert keras.backend.backend() == sys.argv[3]\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(folder / "model"), str(tmp_path / "in.parquet"), backend, str(tmp_path / "out.parquet")]
    subprocess.run(command, check=True, env=environment, capture_output=True, timeout=300)
    theirs = pl.read_parquet(tmp_path / "out.parquet")["predicted"].to_numpy()
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(ours).max()


def test_paper_preset_is_near_the_published_count(root):
    presets = yaml.safe_load((root / "config/config.yaml").read_text())["model"]["slides"]
    count = models.build("slides", 110, presets["paper"]).count_params()
    assert count == 13_635_369  # published: 13,602,217; docs/models.md
    assert abs(count / 13_602_217 - 1) < 0.0025
    assert models.build("slides", 110, presets["small"]).count_params() == 477_385


def test_convolution_over_joined_channels_is_the_slides_conv2d():
    """A Conv2D of kernel (2, k) over the two strands, written out, with the same weights."""
    rng = np.random.default_rng(0)
    strands = rng.normal(size=(3, 2, 20, 5)).astype("f4")
    two_d = keras.layers.Conv2D(6, (2, 7), use_bias=False)
    padded = np.pad(strands, ((0, 0), (0, 0), (3, 3), (0, 0)))
    expected = np.asarray(two_d(padded))[:, 0]
    one_d = keras.layers.Conv1D(6, 7, padding="same", use_bias=False)
    joined = np.concatenate([strands[:, 0], strands[:, 1]], axis=-1)
    one_d(joined)
    kernel = np.asarray(two_d.kernel)  # (2, 7, channels, filters)
    one_d.kernel.assign(np.concatenate([kernel[0], kernel[1]], axis=1))
    assert np.abs(np.asarray(one_d(joined)) - expected).max() < 1e-5


def test_strand_features_are_aligned_and_shared():
    """The second half of the joined channels is the first half of the other strand, mirrored."""
    model = models.build("slides", 40, TINY["slides"])
    joined = keras.Model(model.input, model.get_layer("both_strands").output)
    from gpraflow.scaffold import reverse_complement

    tokens = np.random.default_rng(0).integers(0, 5, (4, 40)).astype("uint8")
    here, there = np.asarray(joined(tokens)), np.asarray(joined(reverse_complement(tokens)))
    assert np.abs(here[:, :, 8:] - there[:, ::-1, :8]).max() < 1e-6
    assert np.abs(here[:, :, :8] - there[:, ::-1, :8]).max() > 0.01


def test_same_seed_same_model(tmp_path):
    receipt = upload(tmp_path, train=library(96, 1), val=library(32, 2))
    first, second, other = (train(receipt, tmp_path / str(i), sizes=PLAIN, seed=seed) for i, seed in enumerate([1, 1, 2]))
    assert first["val_loss"] == second["val_loss"]
    assert first["val_loss"] != other["val_loss"]


def test_nan_stops_with_a_message_and_leaves_no_model(tmp_path):
    receipt = upload(tmp_path, train=library(96, 1), val=library(32, 2))
    with pytest.raises(TrainingError, match=r"training loss is (nan|inf) in epoch \d, batch \d: .*smaller training\.learning_rate"):
        train(receipt, tmp_path / "model", sizes=PLAIN, learning_rate=1e30, gradient_clip=0.0, schedule="constant", optimizer="adam")
    assert not [path for path in (tmp_path / "model").iterdir() if path.name in training.MODEL_FILES]


def test_constant_labels_are_refused(tmp_path):
    receipt = upload(tmp_path, train=library(64, 1, expression=[3.0] * 64), val=library(32, 2))
    with pytest.raises(TrainingError, match="all 64 training promoters have expression 3"):
        train(receipt, tmp_path / "model")


def test_one_validation_promoter_has_no_correlation(tmp_path):
    about = train(upload(tmp_path, train=library(96, 1), val=library(1, 2)), tmp_path / "model", sizes=PLAIN, epochs=1)
    assert about["val_r"] is None
    assert json.loads((tmp_path / "model/model.json").read_text())["val_r"] is None


def test_full_disk_during_training_is_one_message(tmp_path, monkeypatch):
    receipt = upload(tmp_path, train=library(96, 1), val=library(32, 2))

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training.os, "replace", full)
    with pytest.raises(GpraflowError, match=r"could not be written \(No space left on device\)"):
        train(receipt, tmp_path / "model", sizes=PLAIN, epochs=1)
    assert not [path for path in (tmp_path / "model").iterdir() if path.name in training.MODEL_FILES]


def test_early_stop(tmp_path):
    noise = np.random.default_rng(0).normal(8, 2, 32)
    receipt = upload(tmp_path, train=library(96, 1), val=library(32, 2, expression=noise))
    about = train(receipt, tmp_path / "model", sizes=PLAIN, epochs=40, patience=2, schedule="constant")
    assert about["epochs"] == about["best_epoch"] + 2 < 40


def test_warm_start_takes_the_weights_and_refuses_another_architecture(trained, tmp_path):
    folder, about = trained
    receipt = folder / "upload.json"
    cold = train(receipt, tmp_path / "cold", about["architecture"], epochs=1, learning_rate=1e-9)
    warm = train(receipt, tmp_path / "warm", about["architecture"], epochs=1, learning_rate=1e-9, initial_model=str(folder / "model"))
    assert warm["val_loss"] == pytest.approx(about["val_loss"], rel=0.05)
    assert cold["val_loss"] > 2 * warm["val_loss"]
    with pytest.raises(ConfigError, match="a checkpoint from another architecture"):
        train(receipt, tmp_path / "bad", "slides", {"bottleneck_units": 16}, initial_model=str(folder / "model"))
    with pytest.raises(InputError, match=r"model\.json: this file does not exist"):
        train(receipt, tmp_path / "bad", "slides", initial_model=str(tmp_path / "none"))


def test_checkpoint_of_another_architecture_is_refused(trained, tmp_path):
    folder, about = trained
    for name in ("model.keras", "model.json"):
        (tmp_path / name).write_bytes((folder / "model" / name).read_bytes())
    (tmp_path / "model.json").write_text(json.dumps(about | {"parameters": 5}))
    with pytest.raises(InputError, match="the checkpoint is from another architecture"):
        prediction.predict(tmp_path, library(3, 1))
    (tmp_path / "model.keras").write_bytes(b"no model")
    with pytest.raises(InputError, match="not a readable Keras model"):
        prediction.predict(tmp_path, library(3, 1))


def test_strand_augmentation_is_used(tmp_path):
    receipt = upload(tmp_path, train=library(96, 1), val=library(32, 2))
    plain, turned = (train(receipt, tmp_path / str(flag), sizes=PLAIN, reverse_complement=flag)["val_loss"] for flag in (False, True))
    assert plain != turned


def test_unknown_architecture_and_sizes_that_do_not_fit():
    with pytest.raises(ConfigError, match=r"no architecture 'slide'; did you mean 'slides'\?"):
        models.build("slide", 40, {})
    with pytest.raises(ConfigError, match="must be a multiple of attention_heads"):
        models.build("slides", 40, TINY["slides"] | {"attention_heads": 3})


def test_backend_that_is_not_installed():
    with pytest.raises(ConfigError, match="'torch_xla_none' is not installed"):
        models.select_backend("torch_xla_none")
    with pytest.raises(ConfigError, match="Keras already runs on jax, not tensorflow"):
        models.select_backend("tensorflow")
    models.select_backend("jax")
