"""Conformal prediction: half-widths of intervals from residuals, scaled by a model of their variance."""

from collections.abc import Sequence

import numpy as np

LEVELS = (0.5, 0.8, 0.9, 0.95)  # calibrated levels; predictions get intervals of the last one
FOLDS = 5  # of cross-fitting
_SHARE, _FEWEST, _MOST = 5, 100, 8  # windows hold a fifth of the residuals, but at least 100; at most 8 windows


def variance_factors(residual: np.ndarray, parts: np.ndarray) -> np.ndarray:
    """Return the factors of variance components, at least 0, that maximise the likelihood of normal residuals with mean 0.

    Parameters
    ----------
    residual
        ``(rows,)``.
    parts
        ``(components, rows)``; the variance of a residual is the sum of ``factor x part``. The factor of a component that is 0 in all rows
        is 0.
    """
    from scipy import optimize  # local import: slow, and not needed for predictions

    there = parts.any(axis=1)
    size = np.where(there, parts.mean(axis=1), 1)
    total = float(np.mean(residual**2)) + 1e-12

    def unlikely(logarithms: np.ndarray) -> tuple[float, np.ndarray]:
        shares = np.exp(logarithms)
        variance = (shares / size[there] * total) @ parts[there]
        slope = (1 / variance - residual**2 / variance**2) / len(residual)
        return float(np.mean(np.log(variance) + residual**2 / variance)), shares / size[there] * total * (parts[there] @ slope)

    bounds = [(np.log(1e-6), np.log(1e3))] * int(there.sum())  # relative to the mean squared residual
    best = optimize.minimize(unlikely, np.log(np.full(len(bounds), 1 / len(bounds))), jac=True, method="L-BFGS-B", bounds=bounds)
    factors = np.zeros(len(parts))
    factors[there] = np.exp(best.x) / size[there] * total
    return factors


def scores(residual: np.ndarray, parts: np.ndarray, folds: np.ndarray | None = None) -> np.ndarray:
    """Return absolute residuals in standard deviations, ``(rows,)``.

    Parameters
    ----------
    residual, parts
        As for `variance_factors`.
    folds
        ``(rows,)`` fold of each row, at least two: the standard deviations of a fold are from a fit to all others (cross-fitting), so that
        the scores are those of new data. None: one fit to all rows, for models of few parameters.
    """
    if folds is None:
        return np.abs(residual) / np.sqrt(variance_factors(residual, parts) @ parts)
    scored = np.empty(len(residual))
    for fold in np.unique(folds):
        own = folds == fold
        scored[own] = np.abs(residual[own]) / np.sqrt(variance_factors(residual[~own], parts[:, ~own]) @ parts[:, own])
    return scored


def quantiles(scored: np.ndarray, levels: Sequence[float] = LEVELS) -> tuple[float | None, ...]:
    """Return the score of rank ``ceil(level (n + 1))`` among n scores, for each level; None if n is too small.

    A new, exchangeable score is at most this large with a probability of at least ``level`` (split conformal prediction; Lei et al. 2018,
    doi:10.1080/01621459.2017.1307116).
    """
    ordered = np.sort(scored)
    ranks = [int(np.ceil(level * (len(ordered) + 1))) for level in levels]
    return tuple(float(ordered[rank - 1]) if rank <= len(ordered) else None for rank in ranks)


def windows(values: np.ndarray) -> list[np.ndarray]:
    """Return the rows of overlapping windows, in ascending order of ``values``, each with about a fifth of the rows.

    Windows have at least 100 rows. There are at most 8, evenly spaced by rank, and none for fewer than 200 rows. Of windows with the same
    median only the first is kept.
    """
    rows, order = len(values), np.argsort(values, kind="stable")
    size = max(_FEWEST, rows // _SHARE)
    if rows < 2 * _FEWEST:
        return []
    begins = np.linspace(0, rows - size, min(_MOST, 2 * rows // size - 1)).round().astype(int)
    parts = [order[begin : begin + size] for begin in begins]
    _, kept = np.unique([np.median(values[part]) for part in parts], return_index=True)
    return [parts[place] for place in kept]


def weights(values: np.ndarray, knots: Sequence[float]) -> np.ndarray:
    """Return the ``(knots, rows)`` weights of linear interpolation between ascending knots, constant beyond the outermost."""
    return np.stack([np.interp(values, knots, unit) for unit in np.eye(len(knots))])
