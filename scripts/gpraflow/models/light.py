"""Predictions of a saved network with NumPy: for a few promoters, the import of Keras and JAX takes much longer than the predictions.

The graph of layers and the weights are read from ``model.keras`` itself. Only the layers that `compact` needs are known here; a model with
any other layer is left to Keras.
"""

import io
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpraflow.models import directory as models_directory

_ROWS = 64  # promoters that are computed at a time
_GROUPS = 10_000  # of a file of weights
_ALLOWED = {"<f2", "<f4", "<f8"}
_Function = Callable[..., np.ndarray]


class Network:
    """A saved network, which maps ``(promoters, length)`` tokens to ``(promoters, outputs)`` float32."""

    def __init__(self, function: _Function):
        self._function = function

    def predict(self, tokens: np.ndarray) -> np.ndarray:
        """Return the network's outputs, as Keras would."""
        return np.concatenate([self._function(tokens[begin : begin + _ROWS]) for begin in range(0, len(tokens), _ROWS)])


class _UnknownError(Exception):
    """Something that this module cannot compute."""


def read(directory: str | os.PathLike, about: dict[str, Any]) -> Network | None:
    """Return the network of a model directory; None if Keras has to load it.

    Parameters
    ----------
    directory
        Model directory.
    about
        Content of its ``model.json``.

    Notes
    -----
    None also stands for a damaged file: Keras and `directory.load` say what is wrong with it.
    """
    path = Path(directory) / "model.keras"
    try:
        import h5py

        config = models_directory.read_config(path, about["parameters"])
        with zipfile.ZipFile(path) as archive, h5py.File(io.BytesIO(archive.read(models_directory.WEIGHTS)), "r") as weights:
            if config["config"]["name"] != about["architecture"] or _count(weights) != about["parameters"]:
                return None
            network = Network(_graph(config, weights))
        outputs = about["members"] * (len(about["conditions"]) or 1)
        found = network.predict(np.zeros((1, about["input"]["length"]), np.int32))
    except Exception:  # noqa: BLE001 (whatever it is, Keras reads the file anew)
        return None
    return network if found.shape == (1, outputs) and found.dtype == np.float32 else None


def _count(weights: Any) -> int:
    """Return the number of values in an HDF5 file, without reading them; raise `_UnknownError` for what Keras does not write."""
    import h5py

    count, visited, waiting = 0, 0, [weights]
    while waiting:
        group = waiting.pop()
        visited += 1
        if visited > _GROUPS:  # also a group that holds itself
            raise _UnknownError("groups")
        for name in group:
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                raise _UnknownError(name)
            part = group[name]
            if isinstance(part, h5py.Group):
                waiting.append(part)
            elif "seed_generator" in part.name:
                continue
            elif part.external or part.is_virtual or part.dtype.str not in _ALLOWED:
                raise _UnknownError(part.name)
            else:
                count += int(np.prod(part.shape, dtype=object))
    return count


def _graph(config: Any, weights: Any) -> _Function:
    """Return a functional model as a function of its single input."""
    if config["class_name"] != "Functional":
        raise _UnknownError(config["class_name"])
    inner = config["config"]
    counts: dict[str, int] = {}
    functions: dict[str, _Function] = {}
    nodes: dict[str, list[Any]] = {}
    for layer in inner["layers"]:
        kind, name = layer["class_name"], layer["name"]
        if layer["module"].startswith("keras.src.ops"):
            functions[name] = _operation(layer)
        else:
            number = counts[kind] = counts.get(kind, -1) + 1
            stored = weights[f"layers/{_snake_case(kind)}{f'_{number}' if number else ''}"]
            functions[name] = _graph(layer, stored) if "layers" in layer["config"] else _layer(layer, stored["vars"])
        nodes[name] = layer["inbound_nodes"]
        if any(value is not None for node in nodes[name] for key, value in node["kwargs"].items() if key not in ("mask", "training")):
            raise _UnknownError(name)
    ((entry, *_),) = _pairs(inner["input_layers"])
    ((name, node, _),) = _pairs(inner["output_layers"])

    def evaluate(tokens: np.ndarray) -> np.ndarray:
        known = {(entry, 0): tokens}

        def value(part: Any) -> Any:
            if isinstance(part, list):
                return [value(each) for each in part]
            if not isinstance(part, dict):
                return part
            if part["class_name"] == "__slice__":
                return slice(*(part["config"][end] for end in ("start", "stop", "step")))
            if part["class_name"] == "__numpy__":
                return np.array(part["config"]["value"], part["config"]["dtype"])
            if part["class_name"] != "__keras_tensor__":
                raise _UnknownError(part["class_name"])
            return output(*part["config"]["keras_history"][:2])

        def output(name: str, node: int) -> np.ndarray:
            if (name, node) not in known:
                given = nodes[name][node]
                known[name, node] = functions[name](*map(value, given["args"]))
            return known[name, node]

        return output(name, node)

    return evaluate


def _pairs(places: Any) -> list[Any]:
    """Return the input or output places of a model, of which Keras writes a single one without a list around it."""
    return [places] if isinstance(places[0], str) else places


def _snake_case(kind: str) -> str:
    """Return the name of a layer's class as Keras writes it into HDF5 files; classes that are not known here have no layers either."""
    names = {"InputLayer": "input_layer", "BatchNormalization": "batch_normalization", "Conv1D": "conv1d"}
    return names.get(kind, kind.lower())


def _gelu(x: np.ndarray) -> np.ndarray:
    from scipy import special

    return x * np.float32(0.5) * (1 + special.erf(x * np.float32(0.5**0.5)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    from scipy import special

    return special.expit(x)


_ACTIVATIONS: dict[str, _Function] = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "gelu": _gelu,
    "sigmoid": _sigmoid,
}


def _layer(layer: Any, stored: Any) -> _Function:
    """Return a layer as a function; its weights are read as float32."""
    kind, config = layer["class_name"], layer["config"]
    weights = [stored[str(place)][()].astype(np.float32) for place in range(len(stored))]
    if (policy := config.get("dtype")) and kind != "InputLayer" and policy["config"]["name"] != "float32":
        raise _UnknownError(policy)
    if kind in ("Dropout", "InputLayer"):
        return lambda x: x
    if kind == "Flatten":
        return lambda x: x.reshape(len(x), -1)
    if kind == "Add":
        return lambda parts: sum(parts[1:], parts[0])
    if kind == "Concatenate":
        return lambda parts: np.concatenate(parts, axis=config["axis"])
    activation = _ACTIVATIONS[config.get("activation", "linear")]
    if kind == "Activation":
        return activation
    if kind == "Dense":
        kernel, bias = weights[0], weights[1] if config["use_bias"] else np.float32(0)
        return lambda x: activation(x @ kernel + bias)
    if kind == "BatchNormalization" and config["axis"] == -1 and config["center"] and config["scale"] and not config["renorm"]:
        gamma, beta, mean, variance = weights
        factor = gamma / np.sqrt(variance + np.float32(config["epsilon"]))
        shift = beta - mean * factor
        return lambda x: x * factor + shift
    plain = {"strides": [1], "dilation_rate": [1], "groups": 1, "padding": "same", "data_format": "channels_last"}
    if kind == "Conv1D" and all(config[key] == value for key, value in plain.items()):
        kernel, bias = weights[0], weights[1] if config["use_bias"] else np.float32(0)
        return lambda x: activation(_convolve(x, kernel) + bias)
    raise _UnknownError(kind)


def _convolve(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Return the convolution of ``(rows, length, channels)`` with ``(width, channels, filters)``, padded with zeros to the same length."""
    width, length = len(kernel), x.shape[1]
    left = (width - 1) // 2
    padded = np.pad(x, ((0, 0), (left, width - 1 - left), (0, 0)))
    return sum((padded[:, shift : shift + length] @ kernel[shift] for shift in range(1, width)), padded[:, :length] @ kernel[0])


def _operation(layer: Any) -> _Function:
    """Return an operation of ``keras.ops`` as a function; numbers are float32 as in Keras."""
    kind, config = layer["class_name"], layer["config"]
    axis = config.get("axis", -1)
    axes = tuple(axis) if isinstance(axis, list) else axis
    bases = np.eye(config.get("num_classes", 0), dtype=np.float32)
    known: dict[str, _Function] = {
        "Flip": lambda x: np.flip(x, axis=axes),
        "Concatenate": lambda parts: np.concatenate(parts, axis=axis),
        "GetItem": lambda x, places: x[tuple(places) if isinstance(places, list) else places],
        "Softmax": lambda x: _softmax(x, axis),
        "Sum": lambda x: np.sum(x, axis=axes, keepdims=config["keepdims"]),
        "Reshape": lambda x: x.reshape([len(x), *config["newshape"][1:]]),
        "Pad": lambda x, value=None: np.pad(x, config["pad_width"], constant_values=value or 0),
        "OneHot": lambda x: np.concatenate([bases, np.zeros_like(bases[:1])])[np.minimum(x, len(bases))],
        "Cast": lambda x: x.astype(config["dtype"]),
        "Add": lambda x, y: _number(x, y) + _number(y, x),
        "Subtract": lambda x, y: _number(x, y) - _number(y, x),
        "Multiply": lambda x, y: _number(x, y) * _number(y, x),
        "TrueDivide": lambda x, y: _number(x, y) / _number(y, x),
        "ExpandDims": lambda x: np.expand_dims(x, axes),
        "Clip": lambda x, low, high: np.clip(x, low, high),
        "Minimum": lambda x, y: np.minimum(_number(x, y), _number(y, x)),
        "Maximum": lambda x, y: np.maximum(_number(x, y), _number(y, x)),
        "Less": lambda x, y: _number(x, y) < _number(y, x),
        "Where": np.where,
    }
    if kind not in known or (kind == "Pad" and config["mode"] != "constant") or (kind == "Reshape" and config["newshape"][0] != -1):
        raise _UnknownError(kind)
    if kind == "OneHot" and (axis != -1 or config["dtype"] != "float32" or config["sparse"]):
        raise _UnknownError(kind)
    return known[kind]


def _number(x: Any, other: Any) -> Any:
    """Return an array, or a number in the type of the array that it is combined with."""
    if isinstance(x, np.ndarray) or not isinstance(other, np.ndarray):
        return x
    return np.asarray(x, other.dtype if isinstance(x, int) else np.float32)


def _softmax(x: np.ndarray, axis: int) -> np.ndarray:
    powers = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)
