"""How high r could be at all: labels are measurements, and no model predicts their noise."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from gpraflow.evaluation import metrics

_FEWEST = 10  # promoters from which a reliability is told
_DEEP = 20  # reads from which the spread over a promoter's reads is taken as known


def from_replicates(replicates: np.ndarray) -> float:
    """Return the reliability of the mean of replicates, the square of the highest r with it that a perfect model can be expected to have.

    Spearman and Brown's formula k r / (1 + (k - 1) r), r the mean Pearson correlation of the pairs of k replicates.

    Parameters
    ----------
    replicates
        ``(n, k)``, k at least 2, all finite.
    """
    number = replicates.shape[1]
    pairs = [metrics.pearson(replicates[:, i], replicates[:, j]) for i in range(number) for j in range(i)]
    r = float(np.mean(pairs))
    return number * r / (1 + (number - 1) * r)


def from_errors(measured: np.ndarray, errors: np.ndarray) -> float:
    """Return the reliability 1 - mean squared standard error / variance of measurements, ``(n,)`` both."""
    return float(1 - np.mean(np.square(errors, dtype=np.float64)) / np.var(measured, dtype=np.float64))


def errors_of_spread(spread: np.ndarray, n_reads: np.ndarray) -> np.ndarray:
    """Return standard errors from the spread (sd) over a promoter's reads: the usual spread / sqrt(reads).

    The usual one is the root mean square of promoters with 20 reads or more: that of a promoter with few reads is hardly known, and 0 for
    one read. Reads of the same cell are not independent, so that these errors are too small, and the ceiling is too high if anything.
    """
    deep = n_reads >= _DEEP
    usual = np.sqrt(np.mean(np.square(spread[deep if deep.any() else slice(None)], dtype=np.float64)))
    return usual / np.sqrt(np.maximum(n_reads, 1))


def ceiling(predictions: pl.DataFrame, replicates: Sequence[str], sd_is: Literal["standard_error", "spread"]) -> dict[str, Any] | None:
    """Return the noise ceiling of a data set and how near the model's r comes to it.

    Parameters
    ----------
    predictions
        ``expression``, ``predicted`` and, for a ceiling, columns of replicates, or ``expression_sd`` (and for ``spread`` ``n_reads``).
    replicates
        Columns of replicate measurements whose mean ``expression`` is; fewer than two for none.
    sd_is
        What ``expression_sd`` is.

    Returns
    -------
    dict or None
        ``from`` (replicates or errors), ``n``, ``reliability``, ``r`` (its root: the ceiling), ``model_r`` (on the same promoters) and
        ``share`` (model_r / r); None if nothing tells of the noise.
    """
    if len(replicates) > 1:
        rows = predictions.drop_nulls(list(replicates))
        values = rows.select(replicates).to_numpy().astype(np.float64)
        found, origin = (from_replicates(values) if len(values) >= _FEWEST else np.nan), "replicates"
    else:
        needed = ["expression_sd"] if sd_is == "standard_error" else ["expression_sd", "n_reads"]
        rows, origin = predictions.drop_nulls(needed), "errors"
        errors = rows["expression_sd"].to_numpy()
        if sd_is == "spread" and rows.height:
            errors = errors_of_spread(errors, rows["n_reads"].to_numpy())
        found = from_errors(rows["expression"].to_numpy(), errors) if rows.height >= _FEWEST else np.nan
    if not np.isfinite(found):
        return None
    highest = float(np.sqrt(max(found, 0.0)))
    r = metrics.pearson(rows["predicted"].to_numpy(), rows["expression"].to_numpy())
    share = metrics.finite(r / highest) if highest else None
    return {"from": origin, "n": rows.height, "reliability": found, "r": highest, "model_r": metrics.finite(r), "share": share}
