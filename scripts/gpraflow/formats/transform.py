"""Transforms of measured expression: the model is trained and scored on transformed expression, predictions for users are inverted."""

import itertools
import os
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from gpraflow.core import documents, files
from gpraflow.core import schema as schemas
from gpraflow.core.errors import InputError

LOG2, RANK_NORMAL = "log2", "rank_normal"
ADVICE = "remove the file and run again"
_POINTS = 2001  # most values of the library that are stored, evenly spaced in normal scores


@dataclass(frozen=True)
class Transform:
    """A strictly increasing transform of expression, and its inverse.

    Attributes
    ----------
    name
        ``none``, ``log2`` or ``rank_normal`` (rank-based inverse normal transform, `fit`).
    floor
        For ``log2``: lower values count as this value; None for no floor.
    values, scores
        For ``rank_normal``: ascending values of the library in the unit of the input, and their normal scores. Between them the transform
        and its inverse are linear; beyond them they are constant.
    """

    name: str = "none"
    floor: float | None = None
    values: tuple[float, ...] = field(default=(), repr=False)
    scores: tuple[float, ...] = field(default=(), repr=False)

    def forward(self, expression: np.ndarray) -> np.ndarray:
        """Return transformed expression, float64 of the same shape; NaN stays NaN."""
        x = np.asarray(expression, np.float64)
        if self.name == LOG2:
            return np.log2(self._floored(x))
        return np.where(np.isnan(x), np.nan, np.interp(x, self.values, self.scores)) if self.name == RANK_NORMAL else x

    def inverse(self, transformed: np.ndarray) -> np.ndarray:
        """Return expression in the unit of the input, float64 of the same shape; NaN stays NaN."""
        y = np.asarray(transformed, np.float64)
        if self.name == LOG2:
            return np.exp2(y)
        return np.where(np.isnan(y), np.nan, np.interp(y, self.scores, self.values)) if self.name == RANK_NORMAL else y

    def spread(self, expression: np.ndarray, sd: np.ndarray) -> np.ndarray:
        """Return the standard deviation of transformed expression, that of expression times the local slope (delta method).

        The slope is 1 / (x ln 2) for ``log2``, and for ``rank_normal`` that of the line through the transform of x - sd and x + sd, because
        the distances between neighbouring values of the library vary too much for a derivative.

        Parameters
        ----------
        expression, sd
            In the unit of the input, same shape; NaN stays NaN.
        """
        x, sd = np.asarray(expression, np.float64), np.asarray(sd, np.float64)
        if self.name == LOG2:
            return sd / (self._floored(x) * np.log(2))
        if self.name == RANK_NORMAL:
            low, high = (np.clip(end, self.values[0], self.values[-1]) for end in (x - sd, x + sd))
            width, change = high - low, self.forward(high) - self.forward(low)
            return sd * np.divide(change, width, out=np.zeros(width.shape), where=width != 0)
        return sd

    def outside(self, expression: np.ndarray) -> np.ndarray:
        """Return which values the transform changes to a limit: those at or below the floor, or beyond the values of the library."""
        x = np.asarray(expression, np.float64)
        if self.name == RANK_NORMAL:
            return (x < self.values[0]) | (x > self.values[-1])
        return x <= self.floor if self.floor is not None else np.zeros(x.shape, bool)

    def _floored(self, x: np.ndarray) -> np.ndarray:
        return x if self.floor is None else np.maximum(x, self.floor)


NONE = Transform()


def fit(name: str, floor: float | None, expression: np.ndarray) -> Transform:
    """Return the transform of a library.

    Normal scores are those of Blom 1958: the quantile (r - 3/8) / (n + 1/4) of the standard normal distribution for rank r of n; equal
    values have their mean rank.

    Parameters
    ----------
    name, floor
        As in `Transform`.
    expression
        Expression of the library in the unit of the input, shape ``(n,)``, finite.

    Raises
    ------
    InputError
        If all values are equal, so that they have no ranks.
    """
    if name != RANK_NORMAL:
        return Transform(name, floor)
    from scipy import special

    values, counts = np.unique(np.asarray(expression, np.float64), return_counts=True)
    if len(values) < 2:
        raise InputError("input.transform: rank_normal needs at least two different values of expression; set input.transform: none")
    ranks = np.cumsum(counts) - (counts - 1) / 2
    scores = special.ndtri((ranks - 3 / 8) / (counts.sum() + 1 / 4))
    if len(values) > _POINTS:
        kept = np.unique(np.searchsorted(scores, np.linspace(scores[0], scores[-1], _POINTS)).clip(0, len(values) - 1))
        values, scores = values[kept], scores[kept]
    return Transform(name, None, tuple(values.tolist()), tuple(scores.tolist()))


def of_content(content: dict[str, Any], origin: str, advice: str = ADVICE) -> Transform:
    """Return a transform from its JSON (`write`).

    Raises
    ------
    InputError
        If it is none; ``origin`` and ``advice`` are for the message.
    """
    valid = schemas.validate(content, schemas.load("files/transform"), origin, InputError, advice)
    values, scores = tuple(valid["values"]), tuple(valid["scores"])
    ranks = valid["name"] == RANK_NORMAL
    ascending = all(low < high for each in (values, scores) for low, high in itertools.pairwise(each))
    if len(values) != len(scores) or not ascending or (len(values) < 2) == ranks or (ranks and valid["floor"] is not None):
        raise InputError(f"{origin}: values and scores do not fit together, or to '{valid['name']}'; {advice}")
    return Transform(valid["name"], valid["floor"], values, scores)


def write(transform: Transform, path: str | os.PathLike) -> None:
    """Write a transform as JSON."""
    files.write_json(path, asdict(transform))


def read(path: str | os.PathLike) -> Transform:
    """Return the transform in a file.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    return of_content(documents.of_json(documents.read_text(path), str(path)), str(path))
