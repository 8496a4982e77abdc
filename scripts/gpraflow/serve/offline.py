"""The page as one file that works without a server: weights of `compact`, calibration and motifs, evaluated by the page's own script."""

import base64
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from scipy import special

from gpraflow.core import files
from gpraflow.core.errors import ConfigError
from gpraflow.design import constraints, starts
from gpraflow.design import objectives as design_objectives
from gpraflow.explanation import sites
from gpraflow.models import directory as models_directory
from gpraflow.models.scale import Scale
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.iupac import IUPAC
from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.scaffold import BASES, one_hot
from gpraflow.serve import answers, page
from gpraflow.serve.model import survey

ARCHITECTURE = "compact"
_REPLACEMENTS = 1 << 16  # bases; a site of 10 bp takes 80
_COMPARED, _TOLERANCE = 16, 1e-4  # random promoters on which `evaluate` is compared with the network, and the largest difference
_SIZES = ("motif_width", "bin_width", "channels", "mix_size", "residual_blocks", "kernel_size")


def write(predictor: Predictor, name: str, path: str | os.PathLike, known: Sequence[Motif] = ()) -> int:
    """Write the page of a model as one HTML file, and return its size in bytes.

    Designs are searched for by the page's own script (simulated annealing), sites are those of the motifs that explain the model's effects
    in random promoters (`model.survey`).

    Parameters
    ----------
    predictor
        The model, with its calibration.
    name
        What the page calls it.
    path
        The file.
    known
        Known motifs; none for a page without motif sites.

    Raises
    ------
    ConfigError
        If the network is none that the page can evaluate.
    """
    calibrations = [asdict(predictor.of(readout).require_calibration()) for readout in predictor.readouts]
    data: dict[str, Any] = {"model": answers.describe(predictor, name), "network": network(predictor), "calibrations": calibrations}
    data |= {"motifs": _motifs(survey(predictor, known)) or False, "replacements": _replacements(), "designs": _for_designs(predictor)}
    text = page.html(data, "sites", "search", "network", connect="'none'")
    files.write_text(path, text)
    return len(text.encode())


def _motifs(motifs: Sequence[Motif]) -> list[dict[str, Any]]:
    """Return motifs as the page's script reads them."""
    return [
        {"factor": each.factor, "matrix": each.matrix_id, "log_odds": each.log_odds.astype(np.float64).round(6).tolist()} for each in motifs
    ]


def _replacements() -> str:
    """Return the bases of the random sequences that replace sites (`sites.replacements`), 2 bits each, as base64."""
    bases = sites.replacements(0).integers(0, BASES, _REPLACEMENTS, np.uint8).reshape(-1, 4)
    return base64.b64encode((bases @ np.array([64, 16, 4, 1], np.uint8)).astype(np.uint8).tobytes()).decode()


def _for_designs(predictor: Predictor) -> dict[str, Any]:
    """Return what the page's search for designs starts from: shares of 3-mers in inserts, tolerances of targets, enzymes."""
    return {
        "shares": starts.composition_without_flanks(predictor.require_calibration()).round(8).tolist(),
        "tolerances": [design_objectives.model_of(predictor.of(readout)).error for readout in predictor.readouts],
        "enzymes": {name.lower(): site for name, site in constraints.enzyme_sites().items() if site and set(site) <= set(IUPAC)},
    }


def network(predictor: Predictor) -> dict[str, Any]:
    """Return the weights of all ensemble members, for the page's script.

    Returns
    -------
    dict
        ``sizes``; ``members``, for each the names and sizes of its arrays; ``scales``, the map of each output of a model that was
        recalibrated, or None;
        ``values``, all arrays one after the other as float32 (base64);
        ``readouts``, the weights of a member's outputs in each readout.

    Raises
    ------
    ConfigError
        If the network is none that the page can evaluate.
    """
    about = predictor.about
    label = about.get("label_transform", {})
    scaled = {about["scale"].get("condition", ""): about["scale"]} if "scale" in about else about.get("scales", {})
    kept = predictor.conditions or [next(iter(scaled), "")]  # a recalibrated model may have fewer conditions than its network
    conditions = about.get("network_conditions", kept)
    objectives = [label["conditions"][name] for name in conditions] if kept[0] else [label]
    if about["architecture"] != ARCHITECTURE or about["training"]["rc_averaging"]:
        raise ConfigError(
            f"{predictor.directory}: the offline page evaluates networks of the architecture {ARCHITECTURE}, without "
            "training.rc_averaging; for other models use gpraflow serve"
        )
    model, _ = models_directory.load(predictor.directory)
    cores = [layer for layer in model.layers if hasattr(layer, "layers")]
    members = [_arrays(core, objectives, about["sizes"]["residual_blocks"]) for core in cores]
    if len(members) != about["members"]:
        raise ConfigError(f"{predictor.directory}: {len(members)} networks for {about['members']} ensemble members; train the model again")
    tokens = np.random.default_rng(0).integers(0, BASES + 1, (_COMPARED, predictor.window["length"]), np.uint8)
    identity = {"slope": 1.0, "offset": 0.0, "knots": [], "values": []}
    scales = [{key: scaled[name][key] for key in identity} if name in scaled else identity for name in conditions]
    raw = np.stack([evaluate(arrays, about["sizes"], tokens) for arrays in members], axis=1)
    places = [conditions.index(name) for name in kept]
    written = np.stack([Scale(**scales[place])(raw[:, :, place]) for place in places], axis=2)
    if not np.abs(written - predictor.outputs(tokens)).max() <= _TOLERANCE * max(1.0, np.abs(written).max()):
        raise ConfigError(
            f"{predictor.directory}: the network is more than its architecture and sizes say, such as one that was changed after training; "
            "the offline page cannot evaluate it, use gpraflow serve"
        )
    values = np.concatenate([values.ravel() for arrays in members for values in arrays.values()]).astype("<f4")
    return {
        "sizes": {key: about["sizes"][key] for key in _SIZES},
        "members": [[[key, array.size] for key, array in arrays.items()] for arrays in members],
        "scales": scales if scaled else None,
        "values": base64.b64encode(values.tobytes()).decode(),
        "readouts": [_spread_out(predictor.of(readout).weights, places, len(conditions)) for readout in predictor.readouts],
    }


def _spread_out(weights: np.ndarray, places: list[int], number: int) -> list[float]:
    """Return weights of ``number`` outputs, 0 but at some places."""
    found = np.zeros(number)
    found[places] = weights
    return found.tolist()


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
    return found | {key: np.array([part[key] for part in objectives]) for key in ("outputs", "scale", "offset")}


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
    raw = np.split(dense @ arrays["output_kernel"] + arrays["output_bias"], np.cumsum(arrays["outputs"])[:-1], axis=1)
    values = [special.softmax(part, axis=1) @ np.arange(part.shape[1]) if part.shape[1] > 1 else part[:, 0] for part in raw]
    return np.stack(values, axis=1) * arrays["scale"] + arrays["offset"]


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * special.ndtr(x)
