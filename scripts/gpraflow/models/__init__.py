"""Architectures by name, Keras's backend, and model directories.

A name in the config is a module here with a function ``build(length, **sizes) -> keras.Model``.
"""

import importlib.abc
import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

from gpraflow.errors import ConfigError, InputError, nearest

REGISTRY = {"slides": "gpraflow.models.slides"}


class _WithoutTensorFlow(importlib.abc.MetaPathFinder):
    """Makes TensorFlow look as if it were not installed.

    On JAX, Keras looks for it only to recognise its types, and importing it would cost every job 8 s.
    """

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name == "tensorflow":
            raise ModuleNotFoundError("TensorFlow is not used on JAX", name=name)


def select_backend(backend: str) -> str:
    """Choose Keras's backend; ``auto`` takes JAX where it is installed, else TensorFlow. To be called before Keras is imported.

    Raises
    ------
    ConfigError
        If the backend is not installed, or Keras already runs on another one.
    """
    if backend == "auto":
        backend = "jax" if importlib.util.find_spec("jax") else "tensorflow"
    if not importlib.util.find_spec(backend):
        raise ConfigError(f"training.backend: '{backend}' is not installed in this environment")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = backend
    if backend == "jax" and not any(isinstance(finder, _WithoutTensorFlow) for finder in sys.meta_path):
        sys.meta_path.insert(0, _WithoutTensorFlow())
    if "keras" in sys.modules and sys.modules["keras"].backend.backend() != backend:
        raise ConfigError(f"training.backend: Keras already runs on {sys.modules['keras'].backend.backend()}, not {backend}")
    return backend


def load(directory: str | os.PathLike, backend: str = "auto") -> tuple[Any, dict[str, Any]]:
    """Load a model directory.

    Returns
    -------
    tuple
        The ``keras.Model`` (tokens in, expression out) and the content of ``model.json``.

    Raises
    ------
    InputError
        If a file is missing or damaged, or ``model.keras`` and ``model.json`` do not belong together.
    """
    select_backend(backend)
    import keras

    directory = Path(directory)
    for name in ("model.json", "model.keras"):
        if not (directory / name).is_file():
            raise InputError(f"{directory / name}: this file does not exist; a model directory has model.keras and model.json")
    about = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    try:
        model = keras.saving.load_model(directory / "model.keras", compile=False)
    except Exception as error:
        raise InputError(f"{directory / 'model.keras'}: not a readable Keras model ({error}); train it again") from error
    if model.count_params() != about["parameters"] or model.name != about["architecture"]:
        raise InputError(
            f"{directory / 'model.keras'}: a '{model.name}' model of {model.count_params():,} parameters, but model.json beside it "
            f"describes '{about['architecture']}' of {about['parameters']:,}; the checkpoint is from another architecture"
        )
    return model, about


def build(name: str, length: int, sizes: dict[str, Any]) -> Any:
    """Build an architecture by name; choose the backend first (`select_backend`).

    Raises
    ------
    ConfigError
        If there is no such architecture, or its sizes do not go together.
    """
    if name not in REGISTRY:
        raise ConfigError(f"model.name: no architecture '{name}'{nearest(name, REGISTRY)} (there are {', '.join(REGISTRY)})")
    try:
        return importlib.import_module(REGISTRY[name]).build(length, **sizes)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model.{name}: these sizes cannot be built: {error}") from error
