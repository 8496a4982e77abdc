"""Effects of random single-base variants of the library, with which the effect of a variant is compared (`background.json`)."""

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import files, randomness
from gpraflow.core import schema as schemas
from gpraflow.core.errors import InputError
from gpraflow.prediction.calibration import advice
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.scaffold import BASES, PADDING, insert_positions, tokenize

FILE = "background.json"
_VARIANTS = 2_000
_QUANTILES = 201


def compute(predictor: Predictor, sequences: pl.Series, flanks: tuple[str, str], seed: int = 0) -> dict[str, Any]:
    """Return quantiles of the effects of random single-base substitutions in inserts, for each readout.

    Parameters
    ----------
    predictor
        The model.
    sequences
        Whole promoters of the library, such as those of validation.
    flanks
        5' and 3' flank, which are not changed where they are intact.
    seed
        Random seed.

    Returns
    -------
    dict
        ``variants``, their number, and ``effects``: readout (empty for one condition) -> effects at evenly spaced probabilities from 0 to
        1. Without a base that can be changed, ``variants`` is 0 and ``effects`` empty.
    """
    tokens = tokenize(sequences, **predictor.window)
    rows, places = np.nonzero(insert_positions(sequences, flanks, **predictor.window) & (tokens < PADDING))
    if not len(rows):
        return {"variants": 0, "effects": {}}
    rng = randomness.generator(seed, "background")
    chosen = rng.integers(0, len(rows), min(_VARIANTS, (BASES - 1) * len(rows)))
    rows, places = rows[chosen], places[chosen]
    mutants = tokens[rows]
    own = mutants[np.arange(len(rows)), places]
    mutants[np.arange(len(rows)), places] = (own + rng.integers(1, BASES, len(rows)).astype(np.uint8)) % BASES
    used, index = np.unique(rows, return_inverse=True)
    before, after = predictor.outputs(tokens[used])[index], predictor.outputs(mutants)
    levels = np.linspace(0, 1, _QUANTILES)
    effects = {}
    for readout in predictor.readouts:
        of = predictor.of(readout)
        values = (of.members(mutants, after) - of.members(mutants, before)).mean(axis=1)
        effects[readout] = [float(f"{value:.5g}") for value in np.quantile(values, levels)]
    return {"variants": len(rows), "effects": effects}


def write(background: Mapping[str, Any], path: str | os.PathLike) -> None:
    """Write ``background.json``."""
    files.write_json(path, background)


def read(directory: str | os.PathLike) -> dict[str, Any] | None:
    """Return the content of a model directory's ``background.json``, as `load`; None without one."""
    path = Path(directory) / FILE
    return load(path) if path.is_file() else None


def load(path: str | os.PathLike) -> dict[str, Any]:
    """Return the content of a file of `write`.

    Raises
    ------
    InputError
        If it is damaged, has other keys or values than ``workflow/schemas/files/background.schema.yaml``, or quantiles fall.
    """
    again = f"make it again: {advice(Path(path).parent)}"
    found = schemas.read_json(path, "background", again)
    for readout, values in found["effects"].items():
        if any(low > high for low, high in itertools.pairwise(values)):
            raise InputError(f"{path}: effects{f'.{readout}' if readout else ''}: quantiles are not ascending; {again}")
    return found


def percentiles(effects: np.ndarray, quantiles: list[float] | np.ndarray) -> np.ndarray:
    """Return the percentile of each effect, 0 to 100, among values with these quantiles at evenly spaced probabilities; NaN for NaN.

    The percentile of a value that occurs several times is the middle of theirs.
    """
    levels, values = np.linspace(0, 100, len(quantiles)), np.asarray(quantiles, np.float64)
    low = np.searchsorted(values, effects, "left")
    high = np.searchsorted(values, effects, "right")
    tied = (levels[np.minimum(low, len(values) - 1)] + levels[np.maximum(high - 1, 0)]) / 2
    return np.where(np.isnan(effects), np.nan, np.where(high > low, tied, np.interp(effects, values, levels)))
