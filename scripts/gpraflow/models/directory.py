"""Writing of models, loading of model directories, and parameters of interpretable models."""

import importlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from gpraflow.core import files
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.models import about
from gpraflow.models.backend import select_backend
from gpraflow.models.registry import REGISTRY, describe
from gpraflow.models.scale import Scale, layers

WEIGHTS = "model.weights.h5"  # in model.keras
_CONFIG, _METADATA = "config.json", "metadata.json"
_FILES = (_CONFIG, WEIGHTS, _METADATA)
_SHARED = "shared_object_id"
_MOST_COMPRESSED = 20  # times
_LARGEST_CONFIG, _LARGEST_SIZE = 64 << 20, 10_000_000


def _without_draws(config: Any) -> Any:
    """Return a serialised Keras object with all initialisers replaced by zeros."""
    if isinstance(config, dict):
        if config.get("module") == "keras.initializers":
            return {"module": "keras.initializers", "class_name": "Zeros", "config": {}, "registered_name": None}
        return {key: _without_draws(value) for key, value in config.items()}
    return [_without_draws(value) for value in config] if isinstance(config, list) else config


def _check_sizes(archive: zipfile.ZipFile, parameters: int | None) -> None:
    """Check the sizes that a ``.keras`` file declares, before anything is unpacked. Keras stores its files uncompressed.

    Raises
    ------
    ValueError
        If a file is missing or there is another one, it unpacks to much more than it takes, or the weights are larger than
        those of ``parameters``.
    """
    entries = archive.infolist()
    for name in _FILES:
        if [entry.filename for entry in entries].count(name) != 1:
            raise ValueError(f"the archive has no {name}, or several")
    for entry in entries:
        if entry.filename not in (*_FILES, "assets/"):
            raise ValueError(f"the archive holds '{entry.filename}', which Keras does not write for such a model")
        files.check_unpacked(entry, _MOST_COMPRESSED)
    if archive.getinfo(_CONFIG).file_size > _LARGEST_CONFIG:
        raise ValueError(f"{_CONFIG} has {archive.getinfo(_CONFIG).file_size:,} bytes, more than {_LARGEST_CONFIG:,}")
    weights = archive.getinfo(WEIGHTS).file_size
    if parameters is not None and weights > 8 * parameters + _LARGEST_CONFIG:  # float64 at most, and what HDF5 adds
        raise ValueError(f"{WEIGHTS} has {weights:,} bytes, more than those of the {parameters:,} parameters that model.json gives")


def _check_config(config: Any) -> None:
    """Check that no layer is larger than networks for promoters are, before memory is taken for its weights.

    Raises
    ------
    ValueError
        If a number is larger than any size.
    """
    waiting = [config]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            waiting += [value for key, value in part.items() if key not in ("seed", _SHARED)]
        elif isinstance(part, list):
            waiting += part
        elif isinstance(part, int) and abs(part) > _LARGEST_SIZE:
            raise ValueError(f"a layer has the size {part:,}, more than {_LARGEST_SIZE:,}")


def save(model: Any, path: str | os.PathLike) -> None:
    """Write a model as ``.keras``, so that equal models give equal bytes.

    Keras writes the date, and as the numbers of shared objects their addresses in memory. Here the date is that of the earliest zip
    archive, and shared objects are numbered in the order of the config.
    """
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    config, about = json.loads(parts[_CONFIG]), json.loads(parts[_METADATA])
    parts[_CONFIG] = json.dumps(_numbered(config, {})).encode()
    parts[_METADATA] = json.dumps(about | {"date_saved": "1980-01-01@00:00:00"}).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), content)


def write_half(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Write a ``.keras`` file with kernels in half precision, half as large; Keras and `light` read them as float32.

    Vectors (biases, and statistics of normalisation, which can be very small) keep their precision.
    """
    import h5py
    import numpy as np

    with zipfile.ZipFile(source) as archive:
        parts = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    content = io.BytesIO()
    with h5py.File(io.BytesIO(parts[WEIGHTS]), "r") as old, h5py.File(content, "w") as new:

        def copy(name: str, part: Any) -> None:
            if isinstance(part, h5py.Group):
                made = new.require_group(name)
            else:
                kernel = part.dtype == np.float32 and part.ndim > 1
                made = new.create_dataset(name, data=part[()].astype(np.float16) if kernel else part[()])
            for key, value in part.attrs.items():
                made.attrs[key] = value

        for key, value in old.attrs.items():
            new.attrs[key] = value
        old.visititems(copy)
    parts[WEIGHTS] = content.getvalue()
    with files.whole(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part)


def write_scaled(path: str | os.PathLike, model: Any, scales: Sequence[Scale], outputs: Sequence[int] | None = None) -> None:
    """Write a network that ends in maps to another scale as ``.keras``.

    Parameters
    ----------
    path
        The file.
    model
        The loaded network; its layers become part of the new one.
    scales
        The map of each output that is kept.
    outputs
        Outputs that are kept; all by default.
    """
    import keras
    from keras import ops

    kept = model.outputs[0]
    if outputs is not None:
        kept = ops.concatenate([kept[:, output : output + 1] for output in outputs], axis=-1)
    whole = keras.Model(model.inputs[0], layers(kept, scales), name=model.name)
    with files.whole(path) as temporary:
        save(whole, temporary)


def _numbered(config: Any, numbers: dict[int, int]) -> Any:
    """Return a serialised Keras object whose shared objects are numbered from 1; ``numbers`` are those given so far."""
    if isinstance(config, dict):
        return {
            key: numbers.setdefault(value, len(numbers) + 1) if key == _SHARED else _numbered(value, numbers)
            for key, value in config.items()
        }
    return [_numbered(value, numbers) for value in config] if isinstance(config, list) else config


def read_config(path: Path, parameters: int | None = None) -> Any:
    """Return the config of the model in a ``.keras`` file, after checks of the sizes that the file declares.

    Raises
    ------
    ValueError
        If the file is damaged or declares sizes that such a model cannot have.
    """
    with zipfile.ZipFile(path) as archive:
        _check_sizes(archive, parameters)
        if damaged := archive.testzip():
            raise ValueError(f"{damaged} does not have its checksum")
        config = json.loads(archive.read(_CONFIG))
    _check_config(config)
    return config


def read_model(path: Path, parameters: int | None = None) -> Any:
    """Return the model of a ``.keras`` file; ``parameters`` is their number, if it is known from ``model.json``.

    ``keras.saving.load_model`` samples initial weights, which JAX compiles for each shape, and then overwrites them. Building the model
    from its config with zeros as initial weights and then loading the weights takes a fifth of the time.

    Raises
    ------
    ValueError
        If the file declares sizes that such a model cannot have; they are checked before memory is taken for them.
    """
    import keras

    config = read_config(path, parameters)
    model = keras.saving.deserialize_keras_object(_without_draws(config | {"compile_config": None}))
    if not isinstance(model, keras.Model):
        raise ValueError(f"it holds a {type(model).__name__}, not a model")
    if parameters in (None, model.count_params()):  # otherwise `load` says what differs
        model.load_weights(path)
    return model


def describe_model(directory: str | os.PathLike) -> dict[str, Any]:
    """Return the content of ``model.json`` in a model directory.

    Raises
    ------
    InputError
        If a file is missing or damaged.
    """
    for name in ("model.json", "model.keras"):
        if not (Path(directory) / name).is_file():
            raise InputError(f"{Path(directory) / name}: this file does not exist; a model directory has model.keras and model.json")
    return about.read(Path(directory) / "model.json")


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
    description = describe_model(directory)
    try:
        model = read_model(directory / "model.keras", description["parameters"])
    except Exception as error:
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, (ValueError, zipfile.BadZipFile)) else str(error)
        raise InputError(f"{directory / 'model.keras'}: not a readable Keras model ({reason[:500]}); train it again") from error
    if model.count_params() != description["parameters"] or model.name != description["architecture"]:
        raise InputError(
            f"{directory / 'model.keras'}: a '{model.name}' model of {model.count_params():,} parameters, but model.json beside it "
            f"describes '{description['architecture']}' of {description['parameters']:,}; the checkpoint is from another architecture"
        )
    outputs = description["members"] * (len(description["conditions"]) or 1)
    expected, found = [(None, description["input"]["length"]), (None, outputs)], [model.input_shape, model.output_shape]
    if found != expected:
        raise InputError(
            f"{directory / 'model.keras'}: a model from {found[0]} to {found[1]}, but model.json beside it describes one from "
            f"{expected[0]} to {expected[1]}; train it again"
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
    architecture, members, description = _interpretable(directory, backend)
    of_conditions = {f"concentration.{number}": f"concentration.{name}" for number, name in enumerate(description["conditions"], start=1)}
    return _of_members([architecture.parameters(member).rename(of_conditions, strict=False) for member in members])


def position_parameters(directory: str | os.PathLike, backend: str = "auto") -> pl.DataFrame:
    """Return the activity of each factor by position and strand: ``member``, and the columns of `biochemical.position_parameters`.

    Raises
    ------
    ConfigError, InputError
        As in `parameters`.
    """
    architecture, members, description = _interpretable(directory, backend)
    return _of_members([architecture.position_parameters(member, description["sizes"]["bin_width"]) for member in members])


def _interpretable(directory: str | os.PathLike, backend: str) -> tuple[Any, list[Any], dict[str, Any]]:
    """Return the module of the architecture, the ensemble members and ``model.json``."""
    model, description = load(directory, backend)
    name = description["architecture"]
    if not describe(name).parameters:
        able = [other for other in REGISTRY if describe(other).parameters]
        raise ConfigError(f"{directory}: parameters of '{name}' cannot be interpreted; train {' or '.join(able)} (model.name)")
    members = [model.get_layer(f"member_{member}") for member in range(description["members"])]
    return importlib.import_module(describe(name).module), members, description


def _of_members(tables: Sequence[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(table.select(pl.lit(member, pl.Int64).alias("member"), pl.all()) for member, table in enumerate(tables))
