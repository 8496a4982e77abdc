"""Noise ceiling: the maximum r that a perfect model can reach, given that labels are noisy measurements."""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import polars as pl

from gpraflow.core.conditions import column
from gpraflow.evaluation import metrics

_DEEP = 20  # reads from which the spread over a promoter's reads is considered well estimated


def from_replicates(replicates: np.ndarray) -> float:
    """Return the reliability of the mean of replicates: the square of the maximum r expected for a perfect model.

    Spearman-Brown formula k r / (1 + (k - 1) r), where r is the mean Pearson correlation over pairs of the k replicates.

    Parameters
    ----------
    replicates
        ``(n, k)``, k at least 2, all finite.
    """
    number = replicates.shape[1]
    pairs = [metrics.pearson(replicates[:, i], replicates[:, j]) for i in range(number) for j in range(i)]
    r = float(np.mean(pairs))
    return number * r / (1 + (number - 1) * r)


def from_errors(measured: np.ndarray, errors: np.ndarray, shrunk: bool = False) -> float:
    """Return the reliability of labels from their standard errors, ``(n,)``: the square of their correlation with the truth.

    Unbiased labels vary by truth and error, so that it is 1 - mean squared error / variance. Labels that are means of posteriors
    (``shrunk``) vary less than the truth, whose variance is theirs plus the mean squared error: it is variance / (variance + mean squared
    error).
    """
    error, variance = np.mean(np.square(errors, dtype=np.float64)), np.var(measured, dtype=np.float64)
    return float(variance / (variance + error) if shrunk else 1 - error / variance)


def from_difference(labels: Sequence[np.ndarray], errors: Sequence[np.ndarray], shrunk: bool = False) -> float:
    """Return the reliability of differences between two conditions: the square of their correlation with the true differences.

    The errors of the two conditions are independent. With unbiased labels, the variance of the true differences is that of the measured
    ones minus both mean squared errors. Labels that are means of posteriors (``shrunk``) are shrunk in each condition on its own, and the
    more so the greater their error: by the factor k = 1 - error^2 / V, where V is the variance of the truth (`from_errors`). Then the
    covariance C of the truth in both conditions is that of the labels divided by the mean of k_a k_b, the true differences have the
    variance V_a + V_b - 2 C, and their covariance with the measured differences is mean(k_a) (V_a - C) + mean(k_b) (V_b - C).

    Parameters
    ----------
    labels, errors
        ``(n,)`` measured expression and its error in each of the two conditions.
    shrunk
        As for `from_errors`.

    Returns
    -------
    float
        At most 1; 0 if the measured differences vary no more than their errors.
    """
    a, b = (np.asarray(each, np.float64) for each in labels)
    squares = [np.square(each, dtype=np.float64) for each in errors]
    if not shrunk:
        return float(max(0.0, 1 - (squares[0] + squares[1]).mean() / np.var(a - b)))
    variances = [np.var(each) + square.mean() for each, square in zip((a, b), squares, strict=True)]
    factors = [np.clip(1 - square / variance, 0, 1) for square, variance in zip(squares, variances, strict=True)]
    together = float((factors[0] * factors[1]).mean())
    if not together:
        return 0.0
    common = float(np.cov(a, b, ddof=0)[0, 1]) / together
    true = variances[0] + variances[1] - 2 * common
    with_measured = sum(factor.mean() * (variance - common) for factor, variance in zip(factors, variances, strict=True))
    if true <= 0 or with_measured <= 0:
        return 0.0
    return float(min(1.0, with_measured**2 / (true * np.var(a - b))))


def errors_of_spread(spread: np.ndarray, n_reads: np.ndarray) -> np.ndarray:
    """Return standard errors from the spread (sd) over a promoter's reads: typical spread / sqrt(reads).

    The typical spread is the root mean square over promoters with 20 reads or more, because the spread of a promoter with few reads is
    poorly estimated and that of a single read is 0. Reads of the same cell are not independent. These errors are therefore too small, and
    the ceiling is an upper bound.
    """
    deep = n_reads >= _DEEP
    usual = np.sqrt(np.mean(np.square(spread[deep if deep.any() else slice(None)], dtype=np.float64)))
    return usual / np.sqrt(np.maximum(n_reads, 1))


def ceiling(
    predictions: pl.DataFrame,
    replicates: Sequence[str],
    sd_is: Literal["standard_error", "posterior_sd", "spread"],
    difference: Sequence[str] = (),
) -> dict[str, Any] | None:
    """Return the noise ceiling of a data set and the model's r relative to it.

    Parameters
    ----------
    predictions
        ``expression``, ``predicted`` and, for a ceiling, columns of replicates, or ``expression_sd`` (with ``spread`` also ``n_reads``).
    replicates
        Columns of replicate measurements whose mean is ``expression``; ignored if fewer than two.
    sd_is
        Meaning of ``expression_sd``: standard error, sd of the posterior that ``expression`` is the mean of, or spread over the promoter's
        reads.
    difference
        The two conditions, if expression is the difference between them; the columns of both, such as ``expression.glucose``, are needed.

    Returns
    -------
    dict or None
        ``from`` (replicates or errors), ``n``, ``reliability``, ``r`` (its square root: the ceiling), ``model_r`` (on the same promoters)
        and ``share`` (model_r / r); None if the noise cannot be estimated, as from fewer than `metrics.FEWEST` promoters.
    """
    if difference:
        names = {role: [column(role, name) for name in difference] for role in ("expression", "expression_sd")}
        if sd_is == "spread" or any(name not in predictions.columns for name in names["expression_sd"]):
            return None
        rows, origin = predictions.drop_nulls(names["expression_sd"]), "errors"
        labels, errors_of_both = ([rows[name].to_numpy() for name in of_role] for of_role in names.values())
        reliability = from_difference(labels, errors_of_both, sd_is == "posterior_sd") if rows.height >= metrics.FEWEST else np.nan
    elif len(replicates) > 1:
        rows = predictions.drop_nulls(list(replicates))
        values = rows.select(replicates).to_numpy().astype(np.float64)
        reliability, origin = (from_replicates(values) if len(values) >= metrics.FEWEST else np.nan), "replicates"
    else:
        needed = ["expression_sd", "n_reads"] if sd_is == "spread" else ["expression_sd"]
        rows, origin = predictions.drop_nulls(needed), "errors"
        errors = rows["expression_sd"].to_numpy()
        if sd_is == "spread" and rows.height:
            errors = errors_of_spread(errors, rows["n_reads"].to_numpy())
        shrunk = sd_is == "posterior_sd"
        reliability = from_errors(rows["expression"].to_numpy(), errors, shrunk) if rows.height >= metrics.FEWEST else np.nan
    if not np.isfinite(reliability):
        return None
    highest = float(np.sqrt(max(reliability, 0.0)))
    r = metrics.pearson(rows["predicted"].to_numpy(), rows["expression"].to_numpy())
    share = metrics.finite(r / highest) if highest else None
    return {"from": origin, "n": rows.height, "reliability": reliability, "r": highest, "model_r": metrics.finite(r), "share": share}
