"""Files model.keras: a valid one, mutated archives, configs and weights, and Keras's own reader."""

import io
import json
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import gpraflow
from tests import toy
from tests.fuzz import mutations

_PARTS = ("config.json", "metadata.json", "model.weights.h5")
_TOKENS = np.random.default_rng(0).integers(0, 5, (4, toy.LENGTH)).astype(np.int32)
# Values that make layers large or other than they are.
_HOSTILE = [10**12, 10**7, 2**31, -1, 0, None, True, 1e300, "x", "../x", [], [[1]], {"class_name": "Lambda"}, [10**6, 10**6], "float16"]


def example_in(folder: Path) -> Callable[[random.Random], bytes]:
    """Write a model directory; return what gives the content of its model.keras."""
    content = (toy.write_model(folder) / "model.keras").read_bytes()
    return lambda rng: content


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return a file with changed bytes, another config, other weights, or another archive."""
    kind = rng.random()
    if kind < 0.2:
        return mutations.of_bytes(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in _PARTS}
    compression = zipfile.ZIP_STORED
    if kind < 0.7:
        config = json.loads(parts["config.json"])
        config = mutations.of_tree(config, rng) if rng.random() < 0.5 else _hostile(config, rng)
        parts["config.json"] = json.dumps(config).encode()
    elif kind < 0.85:
        name = rng.choice(_PARTS)
        parts[name] = mutations.of_bytes(parts[name], rng)
    elif kind < 0.9:
        compression, size = zipfile.ZIP_DEFLATED, rng.choice([1 << 10, 100 << 20])
        parts[rng.choice(_PARTS)] = bytes(size)
    else:
        parts |= {rng.choice(["assets/x", "../x", "model.weights.h5/", "x.py", "config.json "]): b"x"}
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part, compression)
    return packed.getvalue()


def _hostile(config: Any, rng: random.Random) -> Any:
    """Return a config with one other value in the config of a layer."""
    layer = rng.choice(config["config"]["layers"])
    holder = rng.choice([layer, layer["config"], layer["config"], layer["config"]])
    holder[rng.choice(sorted(holder))] = rng.choice(_HOSTILE)
    return config


def _without_initializers(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: None if str(key).endswith("_initializer") else _without_initializers(value) for key, value in config.items()}
    return [_without_initializers(value) for value in config] if isinstance(config, list) else config


def read_in(folder: Path) -> Callable[[Path], np.ndarray]:
    """Return a reader of a model.keras as that of a model directory that has the other files."""

    def read(path: Path) -> np.ndarray:
        (folder / "model.keras").write_bytes(path.read_bytes())
        return gpraflow.load(folder).model(_TOKENS)

    return read


def differs(content: bytes, found: Any) -> str:
    """Compare outputs with those of the model as Keras loads it, in its safe mode; initial weights do not matter."""
    import keras

    path = Path("keras-own.keras")
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(path, "w") as own:
        for name in archive.namelist():
            part = archive.read(name)
            own.writestr(name, json.dumps(_without_initializers(json.loads(part))) if name == _PARTS[0] else part)
    expected = np.asarray(keras.saving.load_model(path, compile=False)(_TOKENS))
    found = np.asarray(found)
    same = expected.shape == found.shape and np.allclose(expected, found, rtol=1e-5, equal_nan=True)
    return "" if same else f"outputs {expected} became {found}"
