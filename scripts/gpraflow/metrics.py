"""Scores of predictions over whole test sets, in float64, with bootstrap intervals."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from gpraflow import files, randomness
from gpraflow.errors import InputError

SCORES = ("r", "r2", "R2", "rho", "mse")
MEANING = {
    "r": "Pearson correlation",
    "r2": "square of r",
    "R2": "coefficient of determination, 1 - sum of squared errors / total sum of squares; not r2",
    "rho": "Spearman rank correlation",
    "mse": "mean squared error, squared units of expression",
}
_CHUNK_CELLS = 4_000_000


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's r in float64; NaN if either is constant."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 else float("nan")


def scores(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Return `SCORES` of ``(n,)`` predictions against measurements; NaN where a score is not defined."""
    predicted, measured = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    r = pearson(predicted, measured)
    errors = ((predicted - measured) ** 2).sum()
    total = ((measured - measured.mean()) ** 2).sum()
    rho = pearson(stats.rankdata(predicted), stats.rankdata(measured))
    return {
        "r": r,
        "r2": r * r,
        "R2": float(1 - errors / total) if total > 0 else float("nan"),
        "rho": rho,
        "mse": float(errors / len(measured)),
    }


def _weighted_pearson(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return r of each row of ``weights`` (resamples x n); x and y are ``(n,)`` or of the weights' shape."""
    total = weights.sum(axis=1)
    dot = (lambda v: weights @ v) if x.ndim == 1 else (lambda v: np.einsum("bn,bn->b", weights, v))
    mean_x, mean_y = dot(x) / total, dot(y) / total
    covariance = dot(x * y) / total - mean_x * mean_y
    variance = (dot(x * x) / total - mean_x**2) * (dot(y * y) / total - mean_y**2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(variance > 0, covariance / np.sqrt(variance), np.nan)


class _Ranks:
    """Average ranks within resamples, from one sort of the whole sample."""

    def __init__(self, values: np.ndarray):
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        self.starts = np.flatnonzero(first)
        self.group = np.cumsum(first) - 1

    def of(self, weights: np.ndarray) -> np.ndarray:
        """Return the rank of each value in resamples given as ``(resamples, n)`` counts."""
        counts = np.add.reduceat(weights[:, self.order], self.starts, axis=1)
        ranks = np.cumsum(counts, axis=1) - (counts - 1) / 2
        out = np.empty_like(weights)
        out[:, self.order] = ranks[:, self.group]
        return out


def bootstrap(predicted: np.ndarray, measured: np.ndarray, resamples: int, seed: int) -> dict[str, np.ndarray]:
    """Return `SCORES` of bootstrap resamples of promoters, each ``(resamples,)``.

    A resample is a vector of counts (multinomial), so that sums over resampled promoters are matrix products.
    """
    x, y = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    x, y = x - y.mean(), y - y.mean()  # sums of squares lose no digits
    rng, n = randomness.generator(seed, "bootstrap"), len(x)
    rank_x, rank_y = _Ranks(x), _Ranks(y)
    out: dict[str, list[np.ndarray]] = {name: [] for name in SCORES}
    chunk = max(1, _CHUNK_CELLS // n)
    for start in range(0, resamples, chunk):
        rows = min(chunk, resamples - start)
        drawn = rng.integers(0, n, (rows, n)) + np.arange(rows)[:, None] * n
        weights = np.bincount(drawn.ravel(), minlength=rows * n).reshape(rows, n).astype(np.float64)
        r = _weighted_pearson(weights, x, y)
        errors = weights @ (x - y) ** 2
        total = weights @ (y * y) - (weights @ y) ** 2 / n
        out["r"].append(r)
        out["r2"].append(r * r)
        with np.errstate(invalid="ignore", divide="ignore"):
            out["R2"].append(np.where(total > 0, 1 - errors / total, np.nan))
        out["rho"].append(_weighted_pearson(weights, rank_x.of(weights), rank_y.of(weights)))
        out["mse"].append(errors / n)
    return {name: np.concatenate(parts) for name, parts in out.items()}


def evaluate(predictions: pl.DataFrame, *, resamples: int, seed: int, name: str) -> dict[str, Any]:
    """Score one data set.

    Parameters
    ----------
    predictions
        Columns ``predicted`` and ``expression``.
    resamples
        Bootstrap resamples of promoters; intervals are percentiles 2.5 and 97.5.
    seed, name
        Seed of the config and name of the data set: the resamples of one set do not depend on which others there are.

    Returns
    -------
    dict
        ``n`` and for each score its value, ``<score>_low`` and ``<score>_high``; None where not defined.

    Raises
    ------
    InputError
        If there are fewer than two promoters.
    """
    if predictions.height < 2:
        raise InputError(f"{name}: {predictions.height} promoters; at least 2 are needed for a score")
    predicted, measured = predictions["predicted"].to_numpy(), predictions["expression"].to_numpy()
    result: dict[str, Any] = {"n": predictions.height}
    values = scores(predicted, measured)
    drawn = bootstrap(predicted, measured, resamples, randomness.derive(seed, "evaluate_model", name))
    for score in SCORES:
        defined = drawn[score][np.isfinite(drawn[score])]
        low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) else (np.nan, np.nan)
        for key, value in ((score, values[score]), (f"{score}_low", low), (f"{score}_high", high)):
            result[key] = float(value) if np.isfinite(value) else None
    return result


def write(content: Mapping[str, Any], json_path: str | os.PathLike, tsv_path: str | os.PathLike) -> None:
    """Write scores of data sets as JSON (all of ``content``) and as TSV (one line a data set of ``content["datasets"]``)."""
    text = files.json_text(content)
    rows = [{"dataset": name, **scores_of} for name, scores_of in content["datasets"].items()]
    files.write_text(tsv_path, pl.DataFrame(rows).write_csv(separator="\t", float_precision=6))
    files.write_text(json_path, text)
