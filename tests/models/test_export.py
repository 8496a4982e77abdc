"""Exported networks are those of the model: SavedModel always, ONNX where its packages are installed."""

import importlib.util
import os
import subprocess
import sys

import numpy as np
import pytest

from gpraflow.app import cli
from gpraflow.models import export
from tests.command import refused, run
from tests.conftest import ROOT
from tests.models import test_light

EXPORT = """
import sys
import numpy as np
from gpraflow.app import cli
from gpraflow.models import directory
model, out, form, inputs = sys.argv[1:]
assert cli.main(["export", model, "-o", out, "--format", form, "--input", inputs]) == 0
network, about = directory.load(model, "tensorflow")
tokens = np.random.default_rng(5).integers(0, 5, (7, about["input"]["length"])).astype(np.int32)
given = np.eye(5, 4, dtype=np.float32)[tokens] if inputs == "one_hot" else tokens
if form == "onnx":
    import onnxruntime
    session = onnxruntime.InferenceSession(out)
    (entry,) = session.get_inputs()
    found = session.run(None, {entry.name: given})[0]
else:
    import tensorflow
    loaded = tensorflow.saved_model.load(out)
    found = loaded.serve(given).numpy()
expected = network.predict(tokens, verbose=0)
assert found.shape == expected.shape == (7, 2) and expected.std() > 0.01
assert (abs(found - expected) <= 1e-5 * np.maximum(abs(expected), 1)).all(), abs(found - expected).max()
"""
needs_onnx = pytest.mark.skipif(not importlib.util.find_spec("tf2onnx"), reason="needs the extra export")


@pytest.mark.parametrize(
    ("form", "inputs"),
    [
        ("saved_model", "tokens"),
        pytest.param("saved_model", "one_hot", marks=pytest.mark.slow),
        pytest.param("onnx", "tokens", marks=needs_onnx),
        pytest.param("onnx", "one_hot", marks=needs_onnx),
    ],
)
def test_an_exported_network_predicts_the_same(tmp_path, form, inputs):
    """In a process of its own: it needs TensorFlow, and Keras runs on JAX here."""
    model = test_light.write(tmp_path / "model", members=2)
    command = [sys.executable, "-c", EXPORT, str(model), str(tmp_path / "out"), form, inputs]
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"} | {"PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "largest difference to the model on 64 promoters" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "out"]


def test_an_export_does_not_overwrite(folder, tmp_path, capsys):
    (tmp_path / "there").write_text("mine")
    assert "this exists already" in refused(capsys, "export", folder, "--format", "saved_model", "-o", tmp_path / "there")
    assert (tmp_path / "there").read_text() == "mine"


def test_missing_packages_are_named(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(export, "find_spec", lambda name: None)
    said = refused(capsys, "export", folder, "--format", "onnx", "-o", tmp_path / "x.onnx")
    assert "needs onnx, tf2onnx, onnxruntime; install them with: pip install 'gpraflow[export]'" in said


def test_an_export_that_differs_is_not_kept(folder, tmp_path, capsys, monkeypatch):
    import keras

    def write(self, path, **_):
        np.save(path, np.zeros(1))
        os.rename(f"{path}.npy", path)

    monkeypatch.setattr(keras.Model, "export", write)
    monkeypatch.setitem(export._READERS, "saved_model", lambda path: lambda given: np.zeros((len(given), 1)))
    assert run("export", folder, "--backend", "jax", "--format", "saved_model", "-o", tmp_path / "x") == cli.FAILED
    assert "the exported network differs from" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
