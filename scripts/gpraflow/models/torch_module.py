"""A network as a PyTorch module of one-hot promoters, for tools written for PyTorch, such as tangermeme and Ledidi."""

import os
from typing import Any

import numpy as np

from gpraflow.core import conditions
from gpraflow.core.errors import ConfigError
from gpraflow.models import directory as models_directory
from gpraflow.sequences.scaffold import BASES


def load(directory: str | os.PathLike, readout: str = "") -> Any:
    """Return a ``torch.nn.Module`` that maps ``(promoters, 4, length)`` channels A, C, G, T to expression, ``(promoters, 1)``.

    Expression is the mean over ensemble members in the model's own (transformed) unit. A position without a 1 is N. Channels may have any
    values, and have a gradient. PyTorch is not among gpraflow's dependencies.

    Parameters
    ----------
    directory
        Model directory.
    readout
        Condition or difference of a model of several conditions, by default the first condition.

    Raises
    ------
    ConfigError
        If PyTorch is missing, Keras runs on another backend already, the model lacks the readout, or does not one-hot encode promoters.
    """
    model, about = models_directory.load(directory, "torch")
    import torch

    from gpraflow.models.gradients import perturbed_model  # imports Keras; the backend must be selected before

    known = conditions.readouts(about["conditions"]) or [""]
    if (readout or known[0]) not in known:
        raise ConfigError(f"{directory}: the model has no condition '{readout}' (it has {', '.join(known)})")
    perturbed = perturbed_model(model)
    if perturbed is None:
        raise ConfigError(f"{directory}: {about['architecture']} does not one-hot encode promoters, so it has no such module")
    network, channels = perturbed
    weights = np.tile(conditions.weights(readout or known[0], about["conditions"]), about["members"]) / about["members"]

    class Expression(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network
            self.register_buffer("weights", torch.as_tensor(weights, dtype=torch.float32)[:, None])
            self.register_buffer("of_a", torch.eye(BASES)[0])  # encoding of A

        def forward(self, given: Any) -> Any:
            """Return the expression of channels: added to the encoding of A, less that encoding, they are the network's input."""
            length = about["input"]["length"]
            if given.shape[1:] != (BASES, length):
                raise ConfigError(f"channels have the shape {tuple(given.shape)}; expected (promoters, {BASES}, {length})")
            channels.value = given.transpose(1, 2) - self.of_a
            every_a = torch.zeros((len(given), length), dtype=torch.int32, device=given.device)  # PyTorch's one_hot refuses N
            return self.network(every_a, training=False) @ self.weights

    return Expression().eval()
