"""Every architecture of the registry: builds, learns, is saved, and gives the same numbers in a fresh process on both backends."""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gpraflow.core.errors import ConfigError, GpraflowError, InputError, TrainingError
from gpraflow.explanation import mutagenesis
from gpraflow.models import backend as models_backend
from gpraflow.models import build, registry
from gpraflow.models import directory as models_directory
from gpraflow.prediction import predictor
from gpraflow.shards import upload as shards_upload
from gpraflow.shards import write
from gpraflow.training import data, network
from gpraflow.training import options as training_options
from gpraflow.training import train as training_train
from tests.conftest import ROOT

models_backend.select_backend("jax")
import keras  # noqa: E402

from gpraflow.models import gradients  # noqa: E402

MOTIFS = """>MA0001.1	LEFT
A [ 98 1 1 1 98 ]
C [ 1 97 1 1 1 ]
G [ 1 1 97 1 1 ]
T [ 0 1 1 97 0 ]
>MA0002.1	RIGHT
A [ 1 1 98 1 ]
C [ 97 1 1 1 ]
G [ 1 97 1 1 ]
T [ 1 1 0 97 ]
"""
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
    },
    "compact": {
        "motif_width": 6,
        "learned_motifs": 6,
        "bin_width": 5,
        "channels": 8,
        "residual_blocks": 1,
        "kernel_size": 3,
        "narrow_channels": 4,
        "dense_units": 8,
        "norm_momentum": 0.9,
        "dropout": 0.1,
        "head_dropout": 0.1,
    },
    "biochemical": {"motif_width": 6, "unknown_factors": 6},
    "vaishnav_transformer": {
        "strand_filters": 8,
        "filters": 8,
        "kernel_size": 5,
        "convolutions": 1,
        "attention_blocks": 1,
        "attention_heads": 2,
        "attention_dropout": 0.1,
        "feed_forward_units": 4,
        "lstm_units": 3,
        "dense_units": 8,
        "dropout": 0.1,
        "norm_momentum": 0.9,
        "l2": 1e-4,
    },
    "vaishnav_cnn": {"filters": 8, "kernel_size": 5, "deep_kernel_size": 1, "dense_units": 6, "dropout": 0.1},
    "legnet": {"window": 48, "first_filters": 8, "block_filters": [8], "kernel_size": 3, "expansion": 2, "squeeze_reduction": 2},
    "dream_cnn": {
        "window": 48,
        "first_filters": 8,
        "first_kernel_sizes": [3, 5],
        "block_filters": [8],
        "kernel_size": 3,
        "expansion": 2,
        "squeeze_reduction": 2,
    },
    "dream_rnn": {
        "window": 48,
        "first_filters": 8,
        "first_kernel_sizes": [3, 5],
        "lstm_units": 4,
        "core_filters": 8,
        "core_kernel_sizes": [3, 5],
        "core_dropout": 0.1,
    },
    "dream_attn": {"window": 48, "filters": 8, "conformer_blocks": 1, "attention_heads": 2, "feed_forward_factor": 2, "kernel_size": 5},
    "baseline_kmer": {"kmer": 3},
    "baseline_motif": {},
}
NETWORKS = [name for name in registry.REGISTRY if not registry.describe(name).baseline]
OPTIONS = training_options.Options(
    backend="jax",
    device="auto",
    seed=1,
    epochs=3,
    batch_size=32,
    loss="mse",
    huber_delta=1.0,
    bin_labels="normal",
    bins=18,
    cells_prior=1.0,
    difference_weight=1.0,
    sample_weight="none",
    reads_half=10.0,
    optimizer="adamw",
    learning_rate=0.01,
    schedule="cosine",
    warmup_steps=4,
    weight_decay=0.01,
    gradient_clip=1.0,
    ema=0.0,
    patience=9,
    rc_augmentation=False,
    rc_averaging=False,
    precision="float32",
    ensemble=1,
    divergence_factor=4.0,
    checkpoint_steps=100,
    initial_model="",
    teacher="",
    teacher_promoters=50,
    teacher_mutants=0.5,
)


def library(rows, seed, expression=None):
    """Promoters whose expression is their share of G and C."""
    rng = np.random.default_rng(seed)
    bases = rng.integers(0, 4, (rows, 40))
    share = ((bases == 1) | (bases == 2)).mean(axis=1) * 17
    return pl.DataFrame(
        {
            "sequence": ["".join(row) for row in np.array(list("ACGT"))[bases]],
            "expression": share if expression is None else expression,
            "singleton": rng.random(rows) < 0.3,
        }
    )


def upload(folder, extra_features=("singleton",), conditions=(), **tables):
    for split, table in tables.items():
        write.write(
            table,
            folder / split / "manifest.json",
            split=split,
            scaffold="none",
            length=40,
            keep="right",
            pad="left",
            rows_per_shard=100,
            extra_features=extra_features,
            seed=1,
            conditions=conditions,
        )
    manifests = {split: folder / split / "manifest.json" for split in tables}
    shards_upload.upload(manifests, f"file://{folder}/bucket", folder / "upload.json")
    return folder / "upload.json"


def blueprint(name, sizes=None):
    preset = "small" if "small" in registry.describe(name).presets else "auto"
    assert name in TINY, f"add sizes of '{name}' that train within seconds to TINY in {__file__}"
    preset, full = registry.choose_sizes(name, preset, TINY[name] | (sizes or {}))
    motifs = Path(tempfile.gettempdir()) / f"gpraflow-{os.getpid()}.jaspar"
    motifs.write_text(MOTIFS)
    return training_options.Blueprint(name, preset, full, upstream="GATTACA", motifs=str(motifs))


def train(receipt, directory, name="slides", sizes=None, **options):
    given = training_options.Options(**(vars(OPTIONS) | options))
    return training_train.train(receipt, directory, blueprint=blueprint(name, sizes), options=given)


@pytest.fixture(scope="module")
def of_each(tmp_path_factory):
    """Return a function from the name of an architecture to the folder and model.json of a training; each is trained once."""
    folder = tmp_path_factory.mktemp("models")
    receipt = upload(folder, train=library(320, 1), val=library(64, 2))

    @functools.cache
    def trained(name):
        return folder / name, train(receipt, folder / name, name, epochs=8)

    return trained


@pytest.fixture(params=registry.REGISTRY)
def trained(request, of_each):
    return of_each(request.param)


def test_parameters_that_can_be_read_are_those_of_the_saved_members(of_each):
    folder, _ = of_each("biochemical")
    table = models_directory.parameters(folder)
    assert table["member"].to_list() == [0] * table.height
    model, _ = models_directory.load(folder)
    (activities, _) = model.get_layer("member_0").get_layer("activities").get_weights()
    assert table["activity"].to_list() == activities[:, 0].tolist()
    positions = models_directory.position_parameters(folder)
    mean = positions.group_by("factor", maintain_order=True).agg(pl.col("activity").min(), last=pl.col("last").max())
    weights = model.get_layer("member_0").get_layer("position_activities").get_weights()[0].reshape(-1, table.height)
    assert mean["factor"].to_list() == table["factor"].to_list()
    assert np.allclose(mean["activity"], activities[:, 0] + weights.min(axis=0), atol=1e-6)
    assert set(mean["last"]) == {model.input_shape[1]}
    with pytest.raises(ConfigError, match=r"parameters of 'slides' cannot be interpreted; train biochemical \(model\.name\)"):
        models_directory.parameters(of_each("slides")[0])


def test_it_learns(trained):
    folder, about = trained
    assert about["val_r"] > 0.5, about["val_r"]
    history = pl.read_csv(folder / "history.csv")
    assert history.height == about["epochs"] == (1 if registry.describe(about["architecture"]).baseline else 8)
    assert history["val_loss"].arg_min() + 1 == about["best_epoch"]
    assert history["val_loss"].min() == pytest.approx(about["val_loss"], rel=1e-6)
    assert sorted(path.name for path in folder.iterdir()) == sorted(training_train.MODEL_FILES)
    assert list((folder / "tensorboard").glob("events.*"))


def test_best_checkpoint_is_the_best_epochs_and_gives_units_of_the_table(trained):
    folder, about = trained
    val = library(64, 2)
    predicted = predictor.predict(folder, val)["predicted"].to_numpy()
    measured = val["expression"].to_numpy()
    assert np.corrcoef(predicted, measured)[0, 1] == pytest.approx(about["val_r"], abs=1e-5)
    assert np.mean((predicted - measured) ** 2) / library(320, 1)["expression"].var(ddof=0) == pytest.approx(about["val_loss"], rel=1e-4)


@pytest.mark.parametrize("backend", ["jax", "tensorflow"])
def test_a_fresh_process_gives_the_same_numbers_on_either_backend(of_each, tmp_path, backend):
    table = library(50, 3)
    table.write_parquet(tmp_path / "in.parquet")
    folders = {name: of_each(name)[0] for name in registry.REGISTRY}
    code = (
        "import sys, polars as pl\nfrom gpraflow.prediction import predictor\n"
        "for folder in sys.argv[3:]:\n"
        "    done = predictor.predict(folder, pl.read_parquet(sys.argv[1]), backend=sys.argv[2])\n"
        "    done.write_parquet(f'{sys.argv[1]}.{folder.split(chr(47))[-1]}')\n"
        "import keras\nassert keras.backend.backend() == sys.argv[2]\n"
    )
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"} | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, str(tmp_path / "in.parquet"), backend, *map(str, folders.values())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-2000:]
    for name, folder in folders.items():
        ours = predictor.predict(folder, table)["predicted"].to_numpy()
        theirs = pl.read_parquet(tmp_path / f"in.parquet.{name}")["predicted"].to_numpy()
        assert np.abs(ours - theirs).max() < 1e-5 * np.abs(ours).max(), name


@pytest.mark.parametrize(
    ("name", "both_strands"),  # both strands: two networks of tokens, and one with three inputs
    [*((name, False) for name in NETWORKS), *((name, True) for name in ("compact", "slides", "dream_cnn"))],
)
def test_gradients_are_those_of_finite_differences(of_each, name, both_strands):
    core = models_directory.load(of_each(name)[0])[0].get_layer("member_0")
    objective = data.objective_of(library(64, 1)["expression"].to_numpy().astype("f4")[:, None], None, OPTIONS)
    tokens = np.random.default_rng(4).integers(0, 4, (3, 40)).astype("int32")
    step = 2e-4
    # Maxima and ReLU have no derivative where numbers are equal, as they are at N; a new model with either belongs in this tuple.
    if name not in ("slides", "vaishnav_cnn", "vaishnav_transformer"):
        tokens[0, :5] = tokens[1, 20] = 4
        step = 2e-3
    found = gradients.gradient_of(network.serving([core], objective, 40, both_strands, name), np.ones(1))(tokens)
    assert found.shape == (3, 40, 4)
    (place,) = (operation for operation in core.operations if type(operation).__name__ == "OneHot")
    inner = keras.Model([place.output, *core.inputs], core.output)
    as_given = keras.Model(core.inputs, place.output)

    def expression(change):
        seen = []
        for turned in (False, True) if both_strands else (False,):
            inputs, here = [tokens], change
            if len(core.inputs) == 3:
                inputs += [np.zeros((3, 1), "f4"), np.full((3, 1), turned, "f4")]
            elif turned:
                inputs, here = [np.where(tokens < 4, 3 - tokens, 4)[:, ::-1]], change[:, ::-1, ::-1]
            one_hot = np.array(as_given(inputs))
            one_hot[:, -40:] += here
            seen.append(np.asarray(objective.expression(inner([one_hot, *inputs])), np.float64).ravel())
        return np.mean(seen, axis=0)

    for seed in range(3):
        change = np.random.default_rng(seed).normal(size=found.shape).astype("f4")
        change /= np.abs(change).max()
        expected = (expression(step * change) - expression(-step * change)) / (2 * step)
        assert (found * change).sum(axis=(1, 2)) == pytest.approx(expected, rel=0.02, abs=0.02 * float(np.abs(found).max())), (
            f"gradient of '{name}'; if it has ReLU or a maximum over positions, add it to the tuple above"
        )


@pytest.mark.parametrize("name", ["baseline_kmer", "baseline_motif"])
def test_baselines_have_no_gradient(of_each, name):
    assert mutagenesis.gradients(predictor.Predictor(of_each(name)[0]), np.zeros((2, 40), np.uint8)) is None


def test_paper_preset_is_near_the_published_count():
    presets = registry.describe("slides").presets
    count = build.build("slides", 110, presets["paper"]).count_params()
    assert count == 13_635_369  # published: 13,602,217; docs/models.md
    assert abs(count / 13_602_217 - 1) < 0.0025
    assert build.build("slides", 110, presets["small"]).count_params() == 477_385


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
    model = build.build("slides", 40, blueprint("slides").sizes)
    joined = keras.Model(model.input, model.get_layer("both_strands").output)
    from gpraflow.sequences.scaffold import reverse_complement

    tokens = np.random.default_rng(0).integers(0, 5, (4, 40)).astype("uint8")
    here, there = np.asarray(joined(tokens)), np.asarray(joined(reverse_complement(tokens)))
    assert np.abs(here[:, :, 8:] - there[:, ::-1, :8]).max() < 1e-6
    assert np.abs(here[:, :, :8] - there[:, ::-1, :8]).max() > 0.01


def test_same_seed_same_model(tmp_path):
    receipt = upload(tmp_path, train=library(96, 1), val=library(32, 2))
    first, second, other = (train(receipt, tmp_path / str(i), "vaishnav_cnn", seed=seed) for i, seed in enumerate([1, 1, 2]))
    assert first["val_loss"] == second["val_loss"]
    assert first["val_loss"] != other["val_loss"]


def test_nan_stops_with_a_message_and_leaves_no_model(tmp_path):
    receipt = upload(tmp_path, train=library(96, 1), val=library(32, 2))
    with pytest.raises(TrainingError, match=r"training loss is (nan|inf) in epoch \d, batch \d: .*smaller training\.learning_rate"):
        train(receipt, tmp_path / "model", "vaishnav_cnn", learning_rate=1e30, gradient_clip=0.0, schedule="constant", optimizer="adam")
    assert not [path for path in (tmp_path / "model").iterdir() if path.name in training_train.MODEL_FILES]


def test_constant_labels_are_refused(tmp_path):
    receipt = upload(tmp_path, train=library(64, 1, expression=[3.0] * 64), val=library(32, 2))
    with pytest.raises(TrainingError, match="all 64 training promoters have expression 3"):
        train(receipt, tmp_path / "model")


def test_one_validation_promoter_has_no_correlation(tmp_path):
    about = train(upload(tmp_path, train=library(96, 1), val=library(1, 2)), tmp_path / "model", "vaishnav_cnn", epochs=1)
    assert about["val_r"] is None
    assert json.loads((tmp_path / "model/model.json").read_text())["val_r"] is None


def test_full_disk_during_training_is_one_message(tmp_path, monkeypatch):
    receipt = upload(tmp_path, train=library(96, 1), val=library(32, 2))

    def full(*_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(training_train.os, "replace", full)
    with pytest.raises(GpraflowError, match=r"could not be written \(No space left on device\)"):
        train(receipt, tmp_path / "model", "vaishnav_cnn", epochs=1)
    assert not [path for path in (tmp_path / "model").iterdir() if path.name in training_train.MODEL_FILES]


def test_early_stop(tmp_path):
    noise = np.random.default_rng(0).normal(8, 2, 32)
    receipt = upload(tmp_path, train=library(96, 1), val=library(32, 2, expression=noise))
    about = train(receipt, tmp_path / "model", "vaishnav_cnn", epochs=40, patience=2, schedule="constant")
    assert about["epochs"] == about["best_epoch"] + 2 < 40


def test_warm_start_takes_the_weights_and_refuses_another_architecture(of_each, tmp_path):
    folder, about = of_each("slides")
    receipt = folder.parent / "upload.json"
    cold = train(receipt, tmp_path / "cold", epochs=1, learning_rate=1e-9)
    warm = train(receipt, tmp_path / "warm", epochs=1, learning_rate=1e-9, initial_model=str(folder))
    assert warm["val_loss"] == pytest.approx(about["val_loss"], rel=0.05)
    assert cold["val_loss"] > 2 * warm["val_loss"]
    with pytest.raises(ConfigError, match="a checkpoint from another architecture"):
        train(receipt, tmp_path / "bad", "slides", {"bottleneck_units": 16}, initial_model=str(folder))
    with pytest.raises(InputError, match=r"model\.json: this file does not exist"):
        train(receipt, tmp_path / "bad", "slides", initial_model=str(tmp_path / "none"))


def test_checkpoint_of_another_architecture_is_refused(of_each, tmp_path):
    folder, about = of_each("vaishnav_cnn")
    for name in ("model.keras", "model.json"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    (tmp_path / "model.json").write_text(json.dumps(about | {"parameters": 5}))
    with pytest.raises(InputError, match="the checkpoint is from another architecture"):
        predictor.predict(tmp_path, library(3, 1))
    (tmp_path / "model.keras").write_bytes(b"no model")
    with pytest.raises(InputError, match="not a readable Keras model"):
        predictor.predict(tmp_path, library(3, 1))


def test_strand_augmentation_is_used(tmp_path):
    receipt = upload(tmp_path, train=library(96, 1), val=library(32, 2))
    plain, turned = (train(receipt, tmp_path / str(flag), "vaishnav_cnn", rc_augmentation=flag)["val_loss"] for flag in (False, True))
    assert plain != turned


def test_unknown_architecture_and_sizes_that_do_not_fit():
    with pytest.raises(ConfigError, match=r"no architecture 'slide'; did you mean 'slides'\?"):
        build.build("slide", 40, {})
    with pytest.raises(ConfigError, match="must be a multiple of attention_heads"):
        build.build("slides", 40, blueprint("slides").sizes | {"attention_heads": 3})


def test_backend_that_is_not_installed():
    with pytest.raises(ConfigError, match="'torch_xla_none' is not installed"):
        models_backend.select_backend("torch_xla_none")
    with pytest.raises(ConfigError, match="Keras already runs on jax, not tensorflow"):
        models_backend.select_backend("tensorflow")
    models_backend.select_backend("jax")


@pytest.mark.parametrize("device", ["gpu", "tpu"])
def test_a_device_that_is_wanted_and_missing_stops(device):
    with pytest.raises(ConfigError, match=rf"training.device: {device} is wanted, but JAX sees \d+ x cpu; .*or set training.device: cpu"):
        models_backend.select_device(device, "jax")


def test_the_device_that_is_taken_is_named(monkeypatch, tmp_path, capsys):
    assert models_backend.select_device("auto", "jax").endswith(" x cpu")
    assert models_backend.select_device("cpu", "jax").endswith(" x cpu")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(models_backend, "_NVIDIA", tmp_path)
    models_backend.select_device("auto", "jax")
    assert "although this machine has an NVIDIA GPU; install the CUDA builds" in capsys.readouterr().err


def test_devices_of_tensorflow():
    code = """
from gpraflow.core.errors import ConfigError
from gpraflow.models import backend
print(backend.select_device("cpu", "tensorflow"))
print(backend.select_device("auto", "tensorflow"))
try:
    backend.select_device("gpu", "tensorflow")
except ConfigError as error:
    print(error)
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    chosen, auto, error = done.stdout.splitlines()
    assert chosen == auto == "1 x CPU"
    assert error.startswith("training.device: gpu is wanted, but TensorFlow sees 1 x CPU; install the CUDA builds")
