"""Loading of model directories, and parameters of interpretable models."""

import importlib
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import polars as pl

from gpraflow.core.errors import ConfigError, InputError
from gpraflow.models import about
from gpraflow.models.backend import select_backend
from gpraflow.models.registry import REGISTRY, describe


def _without_draws(config: Any) -> Any:
    """Return a serialised Keras object with all initialisers replaced by zeros."""
    if isinstance(config, dict):
        if config.get("module") == "keras.initializers":
            return {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}
        return {key: _without_draws(value) for key, value in config.items()}
    return [_without_draws(value) for value in config] if isinstance(config, list) else config


def read_model(path: Path) -> Any:
    """Return the model of a ``.keras`` file.

    ``keras.saving.load_model`` samples initial weights, which JAX compiles for each shape, and then overwrites them. Building the model
    from its config with zeros as initial weights and then loading the weights takes a fifth of the time.
    """
    import keras

    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    model = keras.saving.deserialize_keras_object(_without_draws(config | {"compile_config": None}))
    model.load_weights(path)
    return model


def load(directory: str | os.PathLike, backend: str = "auto") -> tuple[Any, dict[str, Any]]:
    """Load a model directory.

    Returns
    -------
    tuple
        The ``keras.Model``, which maps tokens to expression (one column per ensemble member), and the content of ``model.json``.

    Raises
    ------
    InputError
        If a file is missing or damaged, or ``model.keras`` and ``model.json`` do not belong together.
    """
    select_backend(backend)
    directory = Path(directory)
    for name in ("model.json", "model.keras"):
        if not (directory / name).is_file():
            raise InputError(f"{directory / name}: this file does not exist; a model directory has model.keras and model.json")
    description = about.read(directory / "model.json")
    try:
        model = read_model(directory / "model.keras")
    except Exception as error:
        raise InputError(f"{directory / 'model.keras'}: not a readable Keras model ({error}); train it again") from error
    if model.count_params() != description["parameters"] or model.name != description["architecture"]:
        raise InputError(
            f"{directory / 'model.keras'}: a '{model.name}' model of {model.count_params():,} parameters, but model.json beside it "
            f"describes '{description['architecture']}' of {description['parameters']:,}; the checkpoint is from another architecture"
        )
    return model, description


def parameters(directory: str | os.PathLike, backend: str = "auto") -> pl.DataFrame:
    """Return the parameters of an interpretable model, one row per factor and ensemble member.

    Returns
    -------
    polars.DataFrame
        ``member``, from 0, and the columns of the architecture's ``parameters``; those of a condition end in its name.

    Raises
    ------
    ConfigError
        If the architecture's parameters cannot be interpreted.
    InputError
        As in `load`.
    """
    model, description = load(directory, backend)
    name = description["architecture"]
    if not describe(name).parameters:
        able = [other for other in REGISTRY if describe(other).parameters]
        raise ConfigError(f"{directory}: parameters of '{name}' cannot be interpreted; train {' or '.join(able)} (model.name)")
    read = importlib.import_module(describe(name).module).parameters
    tables = [read(model.get_layer(f"member_{member}")) for member in range(description["members"])]
    of_conditions = {f"concentration.{number}": f"concentration.{name}" for number, name in enumerate(description["conditions"], start=1)}
    tables = [table.rename(of_conditions, strict=False) for table in tables]
    return pl.concat(table.select(pl.lit(member, pl.Int64).alias("member"), pl.all()) for member, table in enumerate(tables))
