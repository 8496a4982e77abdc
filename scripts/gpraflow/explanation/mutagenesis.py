"""In-silico mutagenesis (ISM), gradients, and the contribution of each base."""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from gpraflow.models import backend
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences import scaffold
from gpraflow.sequences.scaffold import ALPHABET, BASES, PADDING, tokenize

_WITH_GRADIENT = 256  # maximum promoters per gradient batch, which keeps all activations in memory
_PLACES = 1 << 14  # positions mutated per block, with three mutants each
_COMPILED = 20_000  # mutants from which compiling a function for them pays
Mutants = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]  # see `gpraflow.models.mutants`
EFFECTS = {
    "name": pl.String,
    "position": pl.Int64,
    "ref": pl.String,
    "alt": pl.String,
    "effect_alt_minus_ref": pl.Float32,
    "gradient_alt_minus_ref": pl.Float32,
}


def offsets(predictor: Predictor, sequences: pl.Series) -> np.ndarray:
    """Return the position of each promoter's first base in the model's window (negative if it is cut off), ``(promoters,)``."""
    return scaffold.offsets(sequences, **predictor.window)


def places(predictor: Predictor, sequences: pl.Series) -> np.ndarray:
    """Return the positions of the window to mutate: the insert if both flanks are intact, else all, ``(promoters, length)`` bool."""
    return scaffold.insert_positions(sequences, predictor.flanks, **predictor.window)


def mutational_effects(predictor: Predictor, tokens: np.ndarray, mutated: np.ndarray) -> np.ndarray:
    """Return the effects of all single substitutions (in-silico mutagenesis, ISM).

    Many mutants of a model that can recompute only what a mutation changes (`gpraflow.models.mutants`) are predicted so.

    Parameters
    ----------
    predictor
        The model.
    tokens
        ``(promoters, length)``.
    mutated
        ``(promoters, length)`` bool: positions to mutate; N is never mutated.

    Returns
    -------
    numpy.ndarray
        ``(promoters, length, 4)`` float32: expression with A, C, G or T at the position minus that of the promoter; 0 for the promoter's
        own base, NaN at positions that were not mutated.
    """
    return effects_of_readouts([predictor], tokens, mutated)[0]


def effects_of_readouts(predictors: Sequence[Predictor], tokens: np.ndarray, mutated: np.ndarray) -> list[np.ndarray]:
    """Return the `mutational_effects` in several readouts of one model (`Predictor.of`), whose mutants are predicted once."""
    one = predictors[0]
    unchanged = one.outputs(tokens)
    references = [predictor.members(tokens, unchanged).mean(axis=1) for predictor in predictors]
    rows, at = np.nonzero(mutated & (tokens < PADDING))
    if (BASES - 1) * len(rows) >= _COMPILED and (outputs := _mutants_of(one)) is not None:
        return _recomputed(predictors, outputs, tokens, rows, at, references)
    found = [np.full((*tokens.shape, BASES), np.nan, np.float32) for _ in predictors]
    for begin in range(0, len(rows), _PLACES):
        row, place = rows[begin : begin + _PLACES], at[begin : begin + _PLACES]
        own = tokens[row, place]
        others = (own[:, None] + np.arange(1, BASES, dtype=np.uint8)) % BASES
        mutants = np.repeat(tokens[row], BASES - 1, axis=0)
        mutants[np.arange(len(mutants)), np.repeat(place, BASES - 1)] = others.ravel()
        of_mutants = one.outputs(mutants)
        for predictor, effects, reference in zip(predictors, found, references, strict=True):
            expression = predictor.members(mutants, of_mutants).mean(axis=1).reshape(others.shape)
            effects[row[:, None], place[:, None], others] = expression - reference[row, None]
            effects[row, place, own] = 0
    return found


def _recomputed(
    predictors: Sequence[Predictor], outputs: Mutants, tokens: np.ndarray, rows: np.ndarray, at: np.ndarray, references: list[np.ndarray]
) -> list[np.ndarray]:
    """Return `effects_of_readouts` from a function that recomputes only what a mutation changes."""
    places, index = np.unique(at, return_inverse=True)
    own = np.minimum(tokens[:, places], PADDING - 1)
    others = (own[:, :, None] + np.arange(1, BASES, dtype=np.uint8)) % BASES
    of_mutants = outputs(tokens, places, others)[rows, index]
    predictors[0].require_finite(of_mutants)
    found = []
    for predictor, reference in zip(predictors, references, strict=True):
        effects = np.full((*tokens.shape, BASES), np.nan, np.float32)
        expression = of_mutants.astype(np.float64) @ predictor.output_weights
        effects[rows[:, None], at[:, None], others[rows, index]] = expression - reference[rows, None]
        effects[rows, at, own[rows, index]] = 0
        found.append(effects)
    return found


def _mutants_of(predictor: Predictor) -> Mutants | None:
    return _compiled_mutants(predictor.model, predictor.about["architecture"], predictor.about.get("sizes", {}).get("bin_width"))


@lru_cache(maxsize=1)  # compiled once for all batches and readouts
def _compiled_mutants(model: Any, architecture: str, bin_width: Any) -> Mutants | None:
    from gpraflow.models.mutants import outputs_of_mutants  # imports Keras; the backend must be selected before

    return outputs_of_mutants(model, architecture, bin_width)


def gradients(predictor: Predictor, tokens: np.ndarray) -> np.ndarray | None:
    """Return the gradient of expression (ensemble mean) with respect to one-hot promoters, ``(promoters, length, 4)`` float32.

    None if the model has no gradient (the baselines).
    """
    gradient = _gradient_of(predictor)
    if gradient is None:
        return None
    if not len(tokens):
        return np.empty((0, tokens.shape[1], BASES), np.float32)
    size = backend.size_of_batches(len(tokens), min(predictor.batch_size, _WITH_GRADIENT))
    return backend.in_batches(gradient, tokens, size)


def has_gradient(predictor: Predictor) -> bool:
    """Return whether the model has `gradients`."""
    return _gradient_of(predictor) is not None


@lru_cache(maxsize=1)  # compiled once for all batches
def _gradient_of(predictor: Predictor) -> Callable[[np.ndarray], np.ndarray] | None:
    from gpraflow.models.gradients import gradient_of  # imports Keras; the backend must be selected before

    return gradient_of(predictor.model, predictor.output_weights)


def gradient_effects(predictor: Predictor, tokens: np.ndarray, mutated: np.ndarray) -> np.ndarray:
    """Return a first-order approximation of `mutational_effects`: the gradient for the new base minus that for the promoter's base.

    It needs one gradient per promoter instead of three predictions per base. Its `contributions` are gradient x input: 4/3 of the gradient
    for the promoter's base, centred by the mean over the four bases. Centring removes the gradient component orthogonal to the simplex of
    one-hot inputs, on which the model was not trained (Majdandzic et al. 2023, doi:10.1186/s13059-023-02956-3).

    Parameters
    ----------
    predictor, tokens, mutated
        As in `mutational_effects`.

    Returns
    -------
    numpy.ndarray
        ``(promoters, length, 4)`` float32, NaN at positions that were not mutated; all NaN if the model has no gradient.
    """
    effects = np.full((*tokens.shape, BASES), np.nan, np.float32)
    rows, at = np.nonzero(mutated & (tokens < PADDING))
    slopes = gradients(predictor, tokens)
    if slopes is not None:
        own = np.take_along_axis(slopes[rows, at], tokens[rows, at, None].astype(np.int64), axis=1)
        effects[rows, at] = slopes[rows, at] - own
    return effects


def contributions(effects: np.ndarray) -> np.ndarray:
    """Return the contribution of each base: minus the mean effect of its three substitutions, ``(promoters, length)``."""
    return -np.nan_to_num(effects).sum(axis=-1) / (BASES - 1)


def effects_table(names: pl.Series, sequences: pl.Series, effects: np.ndarray, estimated: np.ndarray, begin: np.ndarray) -> pl.DataFrame:
    """Return `mutational_effects` and `gradient_effects` as a table with the columns `EFFECTS`; unknown values are null.

    Positions count from 1 in the promoter with its flanks.
    """
    window = np.arange(effects.shape[1])
    text = np.full(effects.shape[:2], "N", "U1")
    for row, sequence in enumerate(sequences):
        inside = (window >= begin[row]) & (window < begin[row] + len(sequence))
        text[row, inside] = [sequence[place] for place in window[inside] - begin[row]]
    bases = np.array(list(ALPHABET[:BASES]))
    rows, at, base = np.nonzero((np.isfinite(effects) | np.isfinite(estimated)) & (text[:, :, None] != bases))
    columns = (
        names.to_numpy()[rows],
        at - begin[rows] + 1,
        text[rows, at],
        bases[base],
        *(of[rows, at, base] for of in (effects, estimated)),
    )
    return pl.DataFrame(dict(zip(EFFECTS, columns, strict=True)), schema=EFFECTS).with_columns(pl.col(pl.Float32).fill_nan(None))


class Explained(NamedTuple):
    """Tokens, `mutational_effects`, `gradient_effects` and `offsets` of whole promoters."""

    tokens: np.ndarray
    effects: np.ndarray
    estimated: np.ndarray
    begin: np.ndarray


def explain(predictor: Predictor, sequences: pl.Series, mutants: bool = True) -> Explained:
    """Compute `Explained` for whole promoters; without ``mutants``, `mutational_effects` are NaN."""
    tokens, mutated = tokenize(sequences, **predictor.window), places(predictor, sequences)
    effects = mutational_effects(predictor, tokens, mutated & mutants)
    return Explained(tokens, effects, gradient_effects(predictor, tokens, mutated), offsets(predictor, sequences))
