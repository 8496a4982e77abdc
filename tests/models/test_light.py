"""Predictions with NumPy are those of Keras, and what NumPy cannot compute is left to Keras."""

import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest

from gpraflow.models import backend as models_backend
from gpraflow.models import build, light, registry
from gpraflow.models import directory as models_directory
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.training import network, objectives
from tests import toy
from tests.conftest import ROOT

models_backend.select_backend("jax")
import h5py  # noqa: E402
import keras  # noqa: E402

LENGTH = 43  # not a multiple of the width of bins
SIZES = {"learned_motifs": 6, "motif_width": 6, "channels": 8, "narrow_channels": 4, "dense_units": 5}
ONE = objectives.Objective("mse", 1, 2.5, 1.25)
BINS = objectives.Objective("bins", 4, 1.0, 0.0)
SEVERAL = objectives.Objectives({"a": ONE, "b": BINS})


def write(folder, name="compact", members=1, objective=ONE, both_strands=False, length=LENGTH, sizes=SIZES):
    """Write a model with random weights, statistics of normalisation included."""
    rng = np.random.default_rng(3)
    _, all_sizes = registry.choose_sizes(name, "auto", sizes)
    cores = []
    for member in range(members):
        core = build.build(name, length, all_sizes, outputs=objective.outputs, conditions=objective.conditions)
        shapes = [weight.shape for weight in core.get_weights()]
        core.set_weights([rng.normal(size=s) * (2 / np.prod(s[:-1])) ** 0.5 if len(s) > 1 else rng.uniform(0.5, 1.5, s) for s in shapes])
        cores.append(keras.Model(core.inputs, core.outputs[0], name=f"member_{member}"))
    model = network.serving(cores, objective, length, both_strands, name)
    folder.mkdir(parents=True)
    models_directory.save(model, folder / "model.keras")
    conditions = list("ab")[: objective.conditions] if objective.conditions > 1 else []
    about = {"architecture": name, "parameters": model.count_params(), "members": members, "conditions": conditions}
    about["input"] = {"alphabet": "ACGTN", "length": length, "scaffold": "toy", "keep": "right", "pad": "left"}
    (folder / "model.json").write_text(json.dumps(about))
    return folder


def tokens(rows=70, length=LENGTH):
    drawn = np.random.default_rng(1).integers(0, 5, (rows, length)).astype(np.uint8)
    drawn[::5, :20] = 4  # padding
    return drawn


def network_of(folder):
    return light.read(folder, models_directory.describe_model(folder))


@pytest.mark.parametrize(
    "options",
    [{}, {"members": 2, "both_strands": True}, {"objective": BINS}, {"objective": SEVERAL, "members": 2}],
    ids=["single", "strands", "bins", "conditions"],
)
def test_numpy_predicts_what_keras_predicts(tmp_path, options):
    folder = write(tmp_path / "model", **options)
    found = network_of(folder).predict(tokens())
    expected = models_directory.load(folder)[0].predict(tokens(), verbose=0)
    assert found.dtype == np.float32
    assert expected.std(axis=0).min() > 0.005  # or the comparison says nothing
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_half_precision_weights_are_computed_in_single_precision(tmp_path):
    folder = write(tmp_path / "model")
    rounded = models_directory.load(folder)[0]
    kernels = [weight.astype(np.float16).astype(np.float32) if weight.ndim > 1 else weight for weight in rounded.get_weights()]
    rounded.set_weights(kernels)
    halve(folder)
    found = network_of(folder).predict(tokens())
    assert models_directory.load(folder)[0].weights[0].dtype == "float32"
    np.testing.assert_allclose(found, rounded.predict(tokens(), verbose=0), rtol=0, atol=1e-5)


def halve(folder):
    models_directory.write_half(folder / "model.keras", folder / "model.keras")


def test_networks_with_other_layers_are_left_to_keras(tmp_path):
    assert network_of(toy.write_model(tmp_path / "toy")) is None


def edited(folder, change):
    """Change the weights of a model."""
    with zipfile.ZipFile(folder / "model.keras") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    content = io.BytesIO(members[models_directory.WEIGHTS])
    with h5py.File(content, "a") as weights:
        change(weights["layers/functional/layers"])
    members[models_directory.WEIGHTS] = content.getvalue()
    with zipfile.ZipFile(folder / "model.keras", "w") as archive:
        for name, value in members.items():
            archive.writestr(name, value)


def outside(layers):
    """Weights in a file outside the model, which a hostile model could use to read files of the machine."""
    shape = layers["dense_3/vars/0"].shape
    del layers["dense_3/vars/0"]
    layers["dense_3/vars"].create_dataset("0", shape, "float32", external=[("/etc/hostname", 0, 4 * int(np.prod(shape)))])


def linked(layers):
    del layers["dense_3/vars/0"]
    layers["dense_3/vars/0"] = h5py.ExternalLink("/etc/hostname", "x")


def soft(layers):
    del layers["dense_3/vars/1"]
    layers["dense_3/vars/1"] = h5py.SoftLink("/layers/functional/layers/dense_1/vars/1")


def endless(layers):
    layers["dense"]["again"] = layers


def reshaped(layers):
    content = layers["dense_1/vars/0"][()]
    del layers["dense_1/vars/0"]
    layers["dense_1/vars/0"] = content.T


def whole(layers):
    content = layers["dense_3/vars/1"][()]
    del layers["dense_3/vars/1"]
    layers["dense_3/vars/1"] = content.astype(np.int32)


@pytest.mark.parametrize("change", [outside, linked, soft, endless, reshaped, whole])
def test_weights_that_keras_would_not_write_are_left_to_it(tmp_path, change):
    folder = write(tmp_path / "model")
    assert network_of(folder)
    edited(folder, change)
    assert network_of(folder) is None


def test_a_model_that_its_description_does_not_fit_is_left_to_keras(tmp_path):
    folder = write(tmp_path / "model")
    about = models_directory.describe_model(folder)
    for change in (
        {"parameters": about["parameters"] + 1},
        {"architecture": "other"},
        {"members": 2},
        {"input": about["input"] | {"length": 40}},
    ):
        assert light.read(folder, about | change) is None


def test_keras_takes_over_when_there_are_more_promoters(tmp_path):
    """In a process of its own, because Keras is loaded in this one."""
    folder = write(tmp_path / "model")
    code = f"""
import sys
from gpraflow.prediction import predictor
import numpy as np
model = predictor.Predictor({str(folder)!r}, light=True)
tokens = np.random.default_rng(1).integers(0, 5, (100, {LENGTH})).astype("u1")
few = model.outputs(tokens[:3])
assert "keras" not in sys.modules and "jax" not in sys.modules
of = model.of("").outputs(tokens[:3])
many = model.outputs(tokens)
assert "keras" in sys.modules
assert (few == of).all() and abs(few - many[:3]).max() < 1e-5 and many.std() > 1e-3
"""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]


def test_other_backends_are_taken_at_their_word(tmp_path):
    folder = write(tmp_path / "model")
    assert prediction_predictor.Predictor(folder).model is not None
    assert isinstance(prediction_predictor.Predictor(folder, light=True)._network._light, light.Network)
