"""Scores of predictions over whole test sets, in float64, with bootstrap intervals."""

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from gpraflow.core import files, randomness
from gpraflow.core.errors import InputError

SCORES = ("r", "r2", "R2", "rho", "mse", "slope")
MEANING = {
    "r": "Pearson correlation",
    "r2": "square of r",
    "R2": "coefficient of determination, 1 - sum of squared errors / total sum of squares; not r2",
    "rho": "Spearman rank correlation",
    "mse": "mean squared error, squared units of expression",
    "slope": "slope of the regression of measured on predicted expression; above 1: predicted differences are too small",
}
INTERVALS = "95 %, percentiles 2.5 and 97.5 of bootstrap resamples of promoters"
MEMBERS = "predicted_members"  # column of `prediction.predict`: predictions of each ensemble member
FEWEST = 20  # promoters of which scores get an interval and a verdict
_CORRELATED = 3  # promoters of which a correlation is defined: through two points there is always a line
_CHUNK_CELLS = 100_000  # elements of a block of resamples, which fits a core's cache


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Return Pearson's r in float64; NaN if either is constant or there are fewer than 3 values."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    x, y = x - x.mean(), y - y.mean()
    scale = np.sqrt((x @ x) * (y @ y))
    return float(x @ y / scale) if scale > 0 and len(x) >= _CORRELATED else float("nan")


def scores(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Return `SCORES` of ``(n,)`` predictions against measurements; NaN where a score is not defined."""
    predicted, measured = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    r = pearson(predicted, measured)
    errors = ((predicted - measured) ** 2).sum()
    total = ((measured - measured.mean()) ** 2).sum()
    rho = pearson(stats.rankdata(predicted), stats.rankdata(measured))
    deviation = predicted - predicted.mean()
    variation = deviation @ deviation
    return {
        "r": r,
        "r2": r * r,
        "R2": float(1 - errors / total) if total > 0 else float("nan"),
        "rho": rho,
        "mse": float(errors / len(measured)),
        "slope": float(deviation @ measured / variation) if variation > 0 and len(measured) >= _CORRELATED else float("nan"),
    }


class _Ranks:
    """Average ranks within resamples, less their mean, from one sort of the whole sample."""

    def __init__(self, values: np.ndarray):
        self.order = np.argsort(values, kind="stable")
        ordered = values[self.order]
        first = np.concatenate([[True], ordered[1:] != ordered[:-1]])
        self.starts = np.flatnonzero(first)
        self.place = np.empty(len(values), np.intp)  # of each value among the distinct ones
        self.place[self.order] = np.cumsum(first) - 1
        self.rising = bool((self.order[1:] > self.order[:-1]).all())

    def of(self, weights: np.ndarray) -> np.ndarray:
        """Return the rank of each value in resamples given as ``(resamples, n)`` counts."""
        counts = weights if self.rising else np.take(weights, self.order, axis=1)
        distinct = len(self.starts) == len(self.order)
        if not distinct:
            counts = np.add.reduceat(counts, self.starts, axis=1)
        ranks = np.cumsum(counts, axis=1)
        ranks -= (counts + len(self.order)) / 2  # cumsum - (counts - 1) / 2 - (n + 1) / 2
        return ranks if self.rising and distinct else np.take(ranks, self.place, axis=1)


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.full(len(above), np.nan), where=below > 0)


def _dot(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("bn,bn->b", a, b)


def bootstrap(predicted: np.ndarray, measured: np.ndarray, resamples: int, seed: int, threads: int = 1) -> dict[str, np.ndarray]:
    """Return `SCORES` of bootstrap resamples of promoters, each ``(resamples,)``.

    A resample is a vector of counts (multinomial): sums over resampled promoters are matrix products, ranks are cumulative sums in the
    order of the whole sample. The same seed and number of promoters give the same resamples, whatever the values and ``threads``.
    """
    x, y = np.asarray(predicted, np.float64), np.asarray(measured, np.float64)
    x, y = x - y.mean(), y - y.mean()  # sums of squares lose no digits
    n, shift = len(x), x.mean()
    rising = np.argsort(x, kind="stable")  # ranks of x then need no look-up
    x, y = x[rising], y[rising]
    moments = np.stack([x - shift, y, (x - shift) ** 2, y * y, (x - shift) * y, (x - y) ** 2]).T
    rank_x, rank_y = _Ranks(x), _Ranks(y)
    rows = max(1, _CHUNK_CELLS // n)

    def block(start: int) -> np.ndarray:
        number = min(rows, resamples - start)
        drawn = randomness.generator(seed, "bootstrap", start).integers(0, n, (number, n), dtype=np.int32)
        if number > 1:
            drawn += np.arange(number, dtype=np.int32)[:, None] * np.int32(n)
        counts = np.bincount(drawn.ravel(), minlength=number * n).reshape(number, n).astype(np.float64)
        weights = np.take(counts, rising, axis=1)
        mean_x, mean_y, xx, yy, xy, errors = (weights @ moments / n).T
        var_x, var_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
        r = _ratio(covariance, np.sqrt(var_x.clip(0) * var_y.clip(0)))
        ranks_x, ranks_y = rank_x.of(weights), rank_y.of(weights)
        weighted_y = weights * ranks_y
        weights *= ranks_x
        rho = _ratio(_dot(weights, ranks_y), np.sqrt(_dot(weights, ranks_x) * _dot(weighted_y, ranks_y)))
        return np.stack([r, r * r, 1 - _ratio(errors, var_y), rho, errors, _ratio(covariance, var_x)])

    with ThreadPoolExecutor(threads) as pool:
        resampled = np.concatenate(list(pool.map(block, range(0, resamples, rows))), axis=1)
    return dict(zip(SCORES, resampled, strict=True))


def interval(drawn: np.ndarray) -> tuple[float, float]:
    """Return percentiles 2.5 and 97.5 of the resamples for which a score is defined; NaN if there are none."""
    defined = drawn[np.isfinite(drawn)]
    low, high = np.percentile(defined, [2.5, 97.5]) if len(defined) else (np.nan, np.nan)
    return float(low), float(high)


def with_intervals(predicted: np.ndarray, measured: np.ndarray, resamples: int, seed: int, threads: int = 1) -> dict[str, float | None]:
    """Return each of `SCORES`, ``<score>_low`` and ``<score>_high``; None where not defined, ends also of fewer than `FEWEST` promoters."""
    drawn = bootstrap(predicted, measured, resamples, seed, threads) if len(measured) >= FEWEST else {}
    return described(predicted, measured, drawn)


def described(predicted: np.ndarray, measured: np.ndarray, drawn: Mapping[str, np.ndarray]) -> dict[str, float | None]:
    """Return what `with_intervals` does, from resamples that were drawn already; those of fewer than `FEWEST` promoters are not used."""
    values = scores(predicted, measured)
    summary: dict[str, float | None] = {}
    for score in SCORES:
        low, high = interval(drawn[score]) if len(measured) >= FEWEST else (np.nan, np.nan)
        summary |= {key: finite(value) for key, value in ((score, values[score]), (f"{score}_low", low), (f"{score}_high", high))}
    return summary


def too_few(n: int, name: str, use: str = "an interval") -> str | None:
    """Return why the scores of a data set have no interval (or no other ``use``); None if it has `FEWEST` promoters or more."""
    return f"{name} has {n} promoter{'s' if n != 1 else ''}; at least {FEWEST} are needed for {use}" if n < FEWEST else None


def finite(value: float) -> float | None:
    """Return a number for JSON: None if it is not finite."""
    return float(value) if np.isfinite(value) else None


def of_members(members: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """Return ``<score>_members_mean`` and ``<score>_members_sd`` over ensemble members; ``members`` has shape ``(n, members)``."""
    each = [scores(column, measured) for column in members.T]
    summary = {}
    for score in SCORES:
        values = np.array([one[score] for one in each])
        summary[f"{score}_members_mean"], summary[f"{score}_members_sd"] = finite(values.mean()), finite(values.std(ddof=1))
    return summary


def evaluate(predictions: pl.DataFrame, *, resamples: int, seed: int, name: str, threads: int = 1) -> dict[str, Any]:
    """Score one data set.

    Parameters
    ----------
    predictions
        Columns ``predicted`` and ``expression``; for an ensemble also `MEMBERS`.
    resamples
        Bootstrap resamples of promoters; intervals are percentiles 2.5 and 97.5.
    seed, name
        Seed of the config, and name of the data set; resamples of one data set do not depend on the others.
    threads
        Threads for resampling.

    Returns
    -------
    dict
        ``n``, ``remark`` (`too_few`) and for each score its value, ``<score>_low`` and ``<score>_high``; for an ensemble also
        ``<score>_members_mean`` and ``<score>_members_sd``; None if undefined.

    Raises
    ------
    InputError
        If there are no promoters.
    """
    if not predictions.height:
        raise InputError(f"{name}: no promoters to score; leave it out of evaluation.splits or evaluation.datasets")
    predicted, measured = predictions["predicted"].to_numpy(), predictions["expression"].to_numpy()
    result: dict[str, Any] = {"n": predictions.height, "remark": too_few(predictions.height, name)}
    result |= with_intervals(predicted, measured, resamples, seed_of(seed, name), threads)
    if MEMBERS in predictions.columns:
        result |= of_members(predictions[MEMBERS].to_numpy(), measured)
    return result


def seed_of(seed: int, name: str) -> int:
    """Return the seed of the resamples of a data set, shared by all models scored on it, so that their differences are paired."""
    return randomness.derive(seed, "evaluate_model", name)


def write(content: Mapping[str, Any], json_path: str | os.PathLike, tsv_path: str | os.PathLike) -> None:
    """Write scores of data sets as JSON (all of ``content``) and as TSV (one row per data set in ``content["datasets"]``)."""
    text = files.json_text(content)
    nested = ("ceiling", "effects", "published_models", "checks")
    flat = {name: {key: value for key, value in of.items() if key not in nested} for name, of in content["datasets"].items()}
    for name, of in content["datasets"].items():
        for part in ("ceiling", "effects"):
            keys = {"ceiling": ("r", "share"), "effects": ("n", "r", "r_low", "r_high")}[part]
            flat[name] |= {f"{part}_{key}": (of.get(part) or {}).get(key) for key in keys}
    rows = [{"dataset": name, **of} for name, of in flat.items()]
    files.write_text(tsv_path, pl.DataFrame(rows, infer_schema_length=None).write_csv(separator="\t", float_precision=6))
    files.write_text(json_path, text)
