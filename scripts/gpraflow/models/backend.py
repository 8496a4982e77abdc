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


def in_batches(call: Callable[[np.ndarray], np.ndarray], tokens: np.ndarray, batch_size: int) -> np.ndarray:
    """Apply ``call`` to at least one row of ``(promoters, length)`` tokens in batches of constant shape; the last batch is padded."""
    outputs = []
    for begin in range(0, len(tokens), batch_size):
        part = tokens[begin : begin + batch_size]
        missing = batch_size - len(part)
        padded = np.concatenate([part, np.repeat(part[:1], missing, axis=0)]) if missing else part
        outputs.append(call(padded.astype(np.int32))[: len(part)])
    return np.concatenate(outputs)
