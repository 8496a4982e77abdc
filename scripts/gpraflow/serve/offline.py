"""The page as one file that works without a server: weights of `compact` and the calibration, evaluated by the page's own script."""

import base64
import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import special

from gpraflow.core import files
from gpraflow.core.errors import ConfigError
from gpraflow.models import directory as models_directory
from gpraflow.models.scale import Scale
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.scaffold import BASES, one_hot
from gpraflow.serve import answers, page

ARCHITECTURE = "compact"
_COMPARED, _TOLERANCE = 16, 1e-4  # random promoters on which `evaluate` is compared with the network, and the largest difference
_SIZES = ("motif_width", "bin_width", "channels", "mix_size", "residual_blocks", "kernel_size")


def write(predictor: Predictor, name: str, path: str | os.PathLike) -> int:
    """Write the page of a model as one HTML file, and return its size in bytes.

    Parameters
    ----------
    predictor
        The model, with its calibration.
    name
        What the page calls it.
    path
        The file.

    Raises
    ------
    ConfigError
        If the network is none that the page can evaluate.
    """
    calibrations = [asdict(predictor.of(readout).require_calibration()) for readout in predictor.readouts]
    data = {"model": answers.describe(predictor, name), "motifs": False, "network": network(predictor), "calibrations": calibrations}
    text = page.html(data, "network", connect="'none'")
    files.write_text(path, text)
    return len(text.encode())


def network(predictor: Predictor) -> dict[str, Any]:
    """Return the weights of all ensemble members, for the page's script.

    Returns
    -------
    dict
        ``sizes``; ``members``, for each the names and sizes of its arrays; ``scale``, the map of a model that was recalibrated, or None;
        ``values``, all arrays one after the other as float32 (base64);
        ``readouts``, the weights of a member's outputs in each readout.

    Raises
    ------
    ConfigError
        If the network is none that the page can evaluate.
    """
    about = predictor.about
    label = about.get("label_transform", {})
    objectives = [label["conditions"][name] for name in predictor.conditions] if predictor.conditions else [label]
    usable = about["architecture"] == ARCHITECTURE and not about["training"]["rc_averaging"]
    if not usable or any(part["loss"] == "bins" for part in objectives):
        raise ConfigError(
            f"{predictor.directory}: the offline page evaluates networks of the architecture {ARCHITECTURE}, without training.rc_averaging "
            "and with a loss on expression; for other models use gpraflow serve"
        )
    model, _ = models_directory.load(predictor.directory)
    cores = [layer for layer in model.layers if hasattr(layer, "layers")]
    members = [_arrays(core, objectives, about["sizes"]["residual_blocks"]) for core in cores]
    if len(members) != about["members"]:
        raise ConfigError(f"{predictor.directory}: {len(members)} networks for {about['members']} ensemble members; train the model again")
    tokens = np.random.default_rng(0).integers(0, BASES + 1, (_COMPARED, predictor.window["length"]), np.uint8)
    stored = {key: about["scale"][key] for key in ("slope", "offset", "knots", "values")} if "scale" in about else None
    scale = Scale(**stored) if stored else Scale(1.0, 0.0)
    written = scale(np.stack([evaluate(arrays, about["sizes"], tokens) for arrays in members], axis=1))
    if not np.abs(written - predictor.outputs(tokens)).max() <= _TOLERANCE * max(1.0, np.abs(written).max()):
        raise ConfigError(
            f"{predictor.directory}: the network is more than its architecture and sizes say, such as one that was changed after training; "
            "the offline page cannot evaluate it, use gpraflow serve"
        )
    values = np.concatenate([values.ravel() for arrays in members for values in arrays.values()]).astype("<f4")
    return {
        "sizes": {key: about["sizes"][key] for key in _SIZES},
        "members": [[[key, array.size] for key, array in arrays.items()] for arrays in members],
        "scale": stored,
        "values": base64.b64encode(values.tobytes()).decode(),
        "readouts": [predictor.of(readout).weights.tolist() for readout in predictor.readouts],
    }


def _arrays(core: Any, objectives: list[dict[str, Any]], blocks: int) -> dict[str, np.ndarray]:
    """Return the weights of one network by name; normalisations are a factor and a shift for each channel."""

    def weights(layer: str) -> list[np.ndarray]:
        return [np.asarray(value, np.float64) for value in core.get_layer(layer).get_weights()]

    from gpraflow.models.layers.blocks import factor_and_shift  # imports Keras; the backend must be selected before

    def norm(layer: str) -> tuple[np.ndarray, np.ndarray]:
        return factor_and_shift(core.get_layer(layer), "float64")

    found: dict[str, np.ndarray] = {}
    found["motifs_kernel"], found["motifs_bias"] = weights("motifs")
    found["occupancy_factor"], found["occupancy_shift"] = norm("occupancy_norm")
    for part in ("mix", *(f"residual_{block}" for block in range(1, blocks + 1))):
        (found[f"{part}_kernel"],) = weights(f"{part}_conv1d")
        found[f"{part}_factor"], found[f"{part}_shift"] = norm(f"{part}_norm")
    found["narrow_kernel"], found["narrow_bias"] = weights("narrow_dense")
    (found["dense_kernel"],) = weights("dense")
    found["dense_factor"], found["dense_shift"] = norm("dense_norm")
    found["output_kernel"], found["output_bias"] = weights("expression")
    found["scale"] = np.array([part["scale"] for part in objectives])
    found["offset"] = np.array([part["offset"] for part in objectives])
    return found


def evaluate(arrays: Mapping[str, np.ndarray], sizes: Mapping[str, int], tokens: np.ndarray) -> np.ndarray:
    """Return the outputs of one network, ``(promoters, conditions)``, as the page's script computes them, in float64.

    Parameters
    ----------
    arrays
        Weights (`_arrays`).
    sizes
        Sizes of the architecture.
    tokens
        ``(promoters, length)``.
    """
    width, size, length = sizes["motif_width"], sizes["bin_width"], tokens.shape[1]
    before = (width - 1) // 2
    bases = np.pad(one_hot(tokens).astype(np.float64), ((0, 0), (before, width - 1 - before), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(bases, width, axis=1).transpose(0, 1, 3, 2).reshape(len(tokens), length, -1)
    scores = np.concatenate([strand @ arrays["motifs_kernel"] + arrays["motifs_bias"] for strand in (windows, windows[..., ::-1])], axis=2)
    occupied = np.pad(special.expit(scores), ((0, 0), (0, -length % size), (0, 0)))
    x = occupied.reshape(len(tokens), -1, size, occupied.shape[2]).sum(axis=2) / size
    x = x * arrays["occupancy_factor"] + arrays["occupancy_shift"]
    for part in ("mix", *(f"residual_{block}" for block in range(1, sizes["residual_blocks"] + 1))):
        kernel = arrays[f"{part}_kernel"]
        before = (len(kernel) - 1) // 2
        padded = np.pad(x, ((0, 0), (before, len(kernel) - 1 - before), (0, 0)))
        total = sum(padded[:, tap : tap + x.shape[1]] @ weights for tap, weights in enumerate(kernel))
        active = _gelu(total * arrays[f"{part}_factor"] + arrays[f"{part}_shift"])
        x = active if part == "mix" else x + active
    flat = (x @ arrays["narrow_kernel"] + arrays["narrow_bias"]).reshape(len(tokens), -1)
    dense = _gelu(flat @ arrays["dense_kernel"] * arrays["dense_factor"] + arrays["dense_shift"])
    return (dense @ arrays["output_kernel"] + arrays["output_bias"]) * arrays["scale"] + arrays["offset"]


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * special.ndtr(x)
