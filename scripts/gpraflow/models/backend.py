"""Selection of the Keras backend, and predictions in batches of constant shape."""

import importlib.util
import os
import sys
from collections.abc import Callable

import numpy as np

from gpraflow.core import startup
from gpraflow.core.errors import ConfigError


def select_backend(backend: str) -> str:
    """Select the Keras backend and import Keras; ``auto`` selects JAX if it is installed, otherwise TensorFlow.

    Raises
    ------
    ConfigError
        If the backend is not installed, or Keras is already running on another one.
    """
    if backend == "auto":
        backend = "jax" if importlib.util.find_spec("jax") else "tensorflow"
    if not importlib.util.find_spec(backend):
        raise ConfigError(f"training.backend: '{backend}' is not installed in this environment")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = backend
    startup.import_keras()
    if (running := sys.modules["keras"].backend.backend()) != backend:
        raise ConfigError(f"training.backend: Keras already runs on {running}, not {backend}")
    return backend


def size_of_batches(rows: int, most: int) -> int:
    """Return the size of batches for ``rows`` rows: ``most``, or for fewer rows a power of two, so that few shapes are compiled."""
    return max(1, min(most, 1 << max(rows - 1, 0).bit_length()))


def in_batches(call: Callable[..., np.ndarray], tokens: np.ndarray, batch_size: int, *others: np.ndarray) -> np.ndarray:
    """Apply ``call`` to at least one row of ``(promoters, length)`` tokens in batches of constant shape; the last batch is padded.

    ``others`` are further arguments with a row for each promoter.
    """
    outputs = []
    for begin in range(0, len(tokens), batch_size):
        part, *more = (each[begin : begin + batch_size] for each in (tokens, *others))
        parts, rows = [part.astype(np.int32), *more], len(part)
        if rows < batch_size:
            parts = [np.concatenate([each, np.repeat(each[:1], batch_size - rows, axis=0)]) for each in parts]
        outputs.append(call(*parts)[:rows])
    return np.concatenate(outputs)
