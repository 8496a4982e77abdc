"""Ledidi on the model and the starts of design.py, which calls `main` in a Python that has PyTorch and Ledidi.

Its arguments are MODEL STARTS.npz CALLS. STARTS.npz holds ``tokens``, constructs ``(designs, length)``, and ``fixed``, ``(length,)``, for
positions that keep their base (flanks). The model runs on Keras' backend for PyTorch; Ledidi's loss is the negative prediction, without
its penalty for edits. Each iteration counts three model calls for each of the sequences that it draws, as a gradient does in gpraflow.
Ledidi knows no constraints but fixed positions.
The last line is JSON: best, mean, calls, seconds and cpu_seconds, as design.py prints them, of the best of the sequences that Ledidi
returns for each start.
"""

import json
import os
import sys
from pathlib import Path

os.environ["KERAS_BACKEND"] = "torch"

import common
import keras
import ledidi
import numpy as np
import torch

from gpraflow.models import gradients

BATCH = 4  # sequences that Ledidi draws in each iteration; with its default of 16, few calls are few iterations


class Oracle(torch.nn.Module):
    """The ensemble mean of a model for one-hot promoters, ``(batch, 4, length)``."""

    def __init__(self, model):
        super().__init__()
        self.model, self.change = gradients.perturbed_model(model)

    def forward(self, encoded):
        """Return predictions, ``(batch, 1)``; the gradient passes through the perturbation, which is 0."""
        self.change.value = (encoded - encoded.detach()).transpose(1, 2)
        tokens = encoded.detach().argmax(dim=1).to(torch.int32)
        return self.model(tokens, training=False).mean(dim=1, keepdim=True)


def main():
    """Design a sequence from each start."""
    model, path, calls = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    torch.manual_seed(1)
    with np.load(path) as starts:
        tokens, fixed = starts["tokens"], torch.tensor(starts["fixed"])
    oracle = Oracle(keras.models.load_model(model / "model.keras", compile=False))
    iterations = max(1, calls // (3 * BATCH))
    found = []
    with common.timed() as lap:
        for start in torch.tensor(tokens.astype(np.int64)):
            encoded = torch.nn.functional.one_hot(start, 4).T[None].float()
            search = ledidi.Ledidi(
                oracle,
                tuple(encoded.shape[1:]),
                output_loss=lambda predicted, target: -predicted.mean(),
                l=0.0,
                batch_size=BATCH,
                max_iter=iterations,
                input_mask=fixed,
                verbose=False,
            )
            designs = search.fit_transform(encoded, torch.zeros(1, 1))
            with torch.no_grad():
                found.append(float(oracle(designs).max()))
    figures = {"best": max(found), "mean": float(np.mean(found)), "calls": iterations * 3 * BATCH}
    print(json.dumps(figures | {"seconds": lap.seconds / len(tokens), "cpu_seconds": lap.cpu_seconds / len(tokens)}))
