"""Checks of predictions that know the assay, with verdicts in plain words."""

from typing import Any

import numpy as np
import polars as pl

from gpraflow import metrics

COLUMNS = {"dataset": pl.String, "check": pl.String, "value": pl.Float64, "verdict": pl.String, "text": pl.String}
_CONSTANT = 0.05  # of the sd of measurements: predictions that vary less are as good as constant
_SHIFT, _STRETCH = 2.0, 3.0  # sd by which means differ, and ratio of sd, from which on scales are others
_GC_SHARE = 0.5  # of r that must be left when GC content is held fixed
_SINGLETONS = 0.2  # share of promoters known by one bin or read only


def check(predictions: pl.DataFrame, dataset: str) -> list[dict[str, Any]]:
    """Look for what makes scores mean less than they seem.

    Parameters
    ----------
    predictions
        A promoter table with ``predicted``.
    dataset
        Its name.

    Returns
    -------
    list of dict
        `COLUMNS`; ``verdict`` is ok or warning.
    """
    p, m = (predictions[name].to_numpy().astype(np.float64) for name in ("predicted", "expression"))
    return [
        {"dataset": dataset} | found
        for found in (_constant(p, m), _scale(p, m), _gc(predictions["sequence"], p, m), _singletons(predictions))
    ]


def _finding(name: str, value: float, bad: bool, good_text: str, bad_text: str) -> dict[str, Any]:
    return {"check": name, "value": metrics.finite(value), "verdict": "warning" if bad else "ok", "text": bad_text if bad else good_text}


def _constant(p: np.ndarray, m: np.ndarray) -> dict[str, Any]:
    share = float(p.std() / m.std()) if m.std() > 0 else float("nan")
    return _finding(
        "constant predictions",
        share,
        bool(share < _CONSTANT),
        f"predictions vary by {share:.2f} of what measurements do (sd)",
        f"predictions vary by only {share:.3f} of what measurements do (sd): the model says nearly the same of every promoter",
    )


def _scale(p: np.ndarray, m: np.ndarray) -> dict[str, Any]:
    sd = m.std()
    shift, stretch = (abs(p.mean() - m.mean()) / sd, p.std() / sd) if sd > 0 else (float("nan"), float("nan"))
    ranges = f"predicted {p.min():.1f} to {p.max():.1f}, measured {m.min():.1f} to {m.max():.1f}"
    return _finding(
        "scale",
        shift,
        bool(shift > _SHIFT or stretch > _STRETCH),
        f"same scale: {ranges}",
        f"other scale: {ranges} (as bins 0 to 17 against MAUDE units). Only r and rho mean something here, R2, mse and slope do not",
    )


def _gc(sequences: pl.Series, p: np.ndarray, m: np.ndarray) -> dict[str, Any]:
    known = sequences.str.count_matches("[ACGT]").clip(1)
    gc = (sequences.str.count_matches("[GC]") / known).to_numpy().astype(np.float64)
    r, with_p, with_m = metrics.pearson(p, m), metrics.pearson(p, gc), metrics.pearson(m, gc)
    partial = partial_correlation(r, with_p, with_m)
    return _finding(
        "GC content",
        partial,
        bool(partial < _GC_SHARE * r),
        f"r is {r:.3f}, and {partial:.3f} with GC content held fixed (GC alone: {with_m:.3f}): not a matter of GC content",
        f"r is {r:.3f}, but only {partial:.3f} with GC content held fixed (GC alone: {with_m:.3f}): most of the agreement is GC content",
    )


def partial_correlation(r_xy: float, r_xz: float, r_yz: float) -> float:
    """Return the correlation of x and y with z held fixed; r_xy where z is constant, NaN where nothing is left."""
    if not np.isfinite(r_xz) or not np.isfinite(r_yz):
        return r_xy
    left = (1 - r_xz**2) * (1 - r_yz**2)
    return (r_xy - r_xz * r_yz) / np.sqrt(left) if left > 0 else float("nan")


def _singletons(predictions: pl.DataFrame) -> dict[str, Any]:
    if not predictions["singleton"].is_null().all():
        one, what = predictions["singleton"].fill_null(False), "have all reads in one bin"
    elif not predictions["n_reads"].is_null().all():
        one, what = (predictions["n_reads"] == 1).fill_null(False), "have one read"
    else:
        one, what = predictions["expression"] % 1 == 0, "have a whole number for expression, as of one bin"
    share = float(one.mean())  # type: ignore[arg-type]
    return _finding(
        "singletons",
        share,
        share > _SINGLETONS,
        f"{100 * share:.1f} % of promoters {what}",
        f"{100 * share:.1f} % of promoters {what}: these are the noisiest labels, and r with them cannot be high (see the noise ceiling)",
    )
