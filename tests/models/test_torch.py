"""The network as a PyTorch module, with tools written for PyTorch; skipped without them (docs/using.md says how to install them)."""

import importlib.util
import os
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.models import test_light

CODE = """
import sys
import numpy as np
import torch
from gpraflow.models import directory, light, torch_module
from tangermeme.saturation_mutagenesis import saturation_mutagenesis

folder = sys.argv[1]
module = torch_module.load(folder)
about = directory.describe_model(folder)
network = light.read(folder, about)  # NumPy; Keras on PyTorch refuses tokens of N
length = about["input"]["length"]
tokens = np.random.default_rng(5).integers(0, 4, (3, length)).astype(np.int32)
tokens[2, :7] = 4
channels = torch.tensor(np.eye(5, 4, dtype=np.float32)[tokens].transpose(0, 2, 1))

def predicted(some):
    return network.predict(some).mean(axis=1)

expected = predicted(tokens)
assert expected.std() > 0.01
assert np.abs(module(channels).detach().numpy()[:, 0] - expected).max() < 1e-5

# In-silico mutagenesis, position by position.
_, found = saturation_mutagenesis(module, channels[:2], device="cpu", raw_outputs=True)
found = found.numpy().reshape(2, 4, length)
for row in range(2):
    for place in (0, 3, length - 1):
        for base in range(4):
            mutant = tokens[row : row + 1].copy()
            mutant[0, place] = base
            assert abs(found[row, base, place] - predicted(mutant)[0]) < 1e-5

# Gradients are those of finite differences.
some = channels[:1].double().float().requires_grad_(True)
module(some).sum().backward()
step = torch.zeros_like(channels[:1])
step[0, 1, 5] = 1e-2
slope = (module(channels[:1] + step) - module(channels[:1] - step)).item() / 2e-2
assert abs(some.grad[0, 1, 5].item() - slope) < 1e-3 + 0.02 * abs(slope), (some.grad[0, 1, 5].item(), slope)

try:
    module(channels[:, :, 1:])
except Exception as error:
    assert "expected (promoters, 4," in str(error)
else:
    raise AssertionError
"""


@pytest.mark.skipif(
    not (importlib.util.find_spec("torch") and importlib.util.find_spec("tangermeme")), reason="needs PyTorch and tangermeme"
)
def test_the_module_predicts_the_same_under_tangermeme(tmp_path):
    """In a process of its own: Keras runs on JAX here."""
    model = test_light.write(tmp_path / "model", members=2)
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"} | {"PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run([sys.executable, "-c", CODE, str(model)], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
