"""Checks of predictions that know the assay, with verdicts in plain words."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from gpraflow.evaluation import metrics

REVERSE_COMPLEMENT, IN_PLASMID, PADDED_OTHERWISE = (
    "predicted_reverse_complement",
    "predicted_in_plasmid",
    "predicted_padded_otherwise",
)  # of `Predictor.probe`
_LEARNT = 0.1  # share of variance, more than which a model that was trained on permuted labels cannot explain by chance
COLUMNS = {"dataset": pl.String, "check": pl.String, "value": pl.Float64, "verdict": pl.String, "text": pl.String}
_CONSTANT = 0.05  # of the sd of measurements: predictions that vary less are as good as constant
_SHIFT, _STRETCH = 2.0, 3.0  # sd by which means differ, and ratio of sd, from which on scales are others
_GC_SHARE = 0.5  # of r that must be left when GC content is held fixed
_SINGLETONS = 0.2  # share of promoters known by one bin or read only
_SAME = 0.01  # of the sd of predictions: inserts whose prediction changes less when they are turned around are the same to the model
_UNRELATED = 0.2  # r of predictions of promoters and of their turned inserts, below which they have nothing to do with each other
_PADDING = 0.25  # of the sd of predictions, from which on what stands beside a short promoter matters too much


def check(predictions: pl.DataFrame, dataset: str, both_strands: bool = False) -> list[dict[str, Any]]:
    """Look for what makes scores mean less than they seem.

    Parameters
    ----------
    predictions
        A promoter table with ``predicted``.
    dataset
        Its name.
    both_strands
        Whether the model was trained on both strands of promoters, or predicts their mean.

    Returns
    -------
    list of dict
        `COLUMNS`; ``verdict`` is ok, warning or not applicable. Strand asymmetry and padding are judged by the columns of
        `prediction.Predictor.probe`, and are not applicable without them.
    """
    p, m = (predictions[name].to_numpy().astype(np.float64) for name in ("predicted", "expression"))
    return [
        {"dataset": dataset} | found
        for found in (
            _constant(p, m),
            _scale(p, m),
            _gc(predictions["sequence"], p, m),
            _singletons(predictions),
            _strand(predictions, both_strands),
            _padding(predictions),
        )
    ]


def permuted_labels(control: Mapping[str, Any]) -> dict[str, Any]:
    """Return the finding of a training on shuffled labels: ``n`` promoters of val, ``epochs``, ``r`` and ``val_loss`` that were reached."""
    r, explained = control["r"] or 0.0, 1 - control["val_loss"]  # r is none of constant predictions
    text = f"trained on permuted labels for {control['epochs']} epochs, the model reaches r = {r:.3f} and explains {100 * explained:.1f} %"
    text += f" of the variance of the {control['n']} promoters of val"
    return {"dataset": "val"} | _finding(
        "label permutation",
        r,
        explained > _LEARNT,
        f"{text}: nothing, as it must be",
        f"{text}: there is nothing to learn from such labels; look for copies of val in train, and how labels came about",
    )


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


def _not_applicable(name: str, text: str) -> dict[str, Any]:
    return {"check": name, "value": None, "verdict": "not applicable", "text": text}


def _differences(predictions: pl.DataFrame, other: str) -> tuple[int, float, float]:
    """Return for how many promoters another prediction is known, the mean absolute difference from the usual one, and that over its sd."""
    if other not in predictions.columns:
        return 0, float("nan"), float("nan")
    known, sd = predictions.drop_nulls(other), predictions["predicted"].to_numpy().astype(np.float64).std()
    if not known.height or not sd > 0:
        return known.height, float("nan"), float("nan")
    size = float(np.abs(known[other].to_numpy().astype(np.float64) - known["predicted"].to_numpy()).mean())
    return known.height, size, size / sd


def _strand(predictions: pl.DataFrame, both_strands: bool) -> dict[str, Any]:
    n, size, share = _differences(predictions, REVERSE_COMPLEMENT)
    if n < 2 or not np.isfinite(share):
        return _not_applicable(
            "strand asymmetry", "no predictions of promoters whose inserts are turned around, or all predictions are the same"
        )
    known = predictions.drop_nulls(REVERSE_COMPLEMENT)
    r = metrics.pearson(known["predicted"].to_numpy(), known[REVERSE_COMPLEMENT].to_numpy())
    text = f"{n} inserts turned around (reverse complement): r with their predictions as they are is {r:.3f}, mean difference {size:.2g}"
    text += f" ({share:.2f} sd)"
    blind = share < _SAME
    why = (
        "the model does not know which way a promoter points, though it was trained on one strand"
        if blind
        else ("the two have next to nothing in common, though most factors bind either way around: the model goes by more than their sites")
    )
    good = (
        "as it is meant to be, for it was trained on both strands" if blind else "sites count either way around, and the direction matters"
    )
    return _finding("strand asymmetry", r, (blind and not both_strands) or r < _UNRELATED, f"{text}: {good}", f"{text}: {why}")


def _padding(predictions: pl.DataFrame) -> dict[str, Any]:
    n, size, share = _differences(predictions, PADDED_OTHERWISE)
    in_plasmid, plasmid_size, plasmid_share = _differences(predictions, IN_PLASMID)
    if not n or not np.isfinite(share):
        return _not_applicable("padding", "no promoter is shorter than the window, or all predictions are the same")
    text = f"{n} promoters shorter than the window: with N at the other end predictions change by {size:.2g} on average ({share:.2f} sd)"
    if in_plasmid:
        text += f", with the plasmid in the place of N by {plasmid_size:.2g} ({plasmid_share:.2f} sd, n = {in_plasmid})"
    worst = max(share, plasmid_share) if in_plasmid else share
    bad = "what stands beside a short promoter decides too much of its prediction; do not compare promoters of different lengths"
    return _finding("padding", worst, worst > _PADDING, f"{text}: padding matters little", f"{text}: {bad}")
