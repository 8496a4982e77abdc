"""Automatic checks of predictions for known artefacts of the assay, with verdicts in words."""

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
_LEARNT = 0.1  # share of variance; a model trained on permuted labels does not explain more by chance
_SPLITS = ("train", "val", "test")
_EQUAL_MEASUREMENTS, _EQUAL_PREDICTIONS = "all measurements are equal", "all predictions are equal"
_OF_PREDICTIONS = ("label distribution", "constant predictions", "scale", "GC content", "singletons", "strand asymmetry", "padding")
_FEW, _MOST_VARIANCE = 0.01, 0.5  # share of the promoters that must not hold more than this share of the variance
_CONSTANT = 0.05  # ratio of standard deviations, predicted to measured, below which predictions count as constant
_SHIFT, _STRETCH = 2.0, 3.0  # difference of means in sd, and ratio of sd, above which scales count as different
_Z = 1.96  # r of independent values exceeds this divided by sqrt(n) in 2.5 % of cases
_DETERMINED = 1 - 1e-9  # absolute correlation with GC content from which GC content determines the values
_GC_SHARE = 0.5  # of r that must remain when GC content is controlled for
_SINGLETONS = 0.2  # fraction of promoters observed in one bin or read only
_SAME = 0.01  # of the sd of predictions: a model with smaller mean differences does not distinguish strands
_UNRELATED = 0.2  # r between predictions for both insert orientations, below which they count as unrelated
_NEAR = 0.05  # share of scored promoters near a training promoter, from which scores are not of unrelated promoters
_PADDING = 0.25  # of the sd of predictions: larger mean changes with the padding are a warning


def check(
    predictions: pl.DataFrame, dataset: str, both_strands: bool = False, transform: str = "none", strand: str = "unknown"
) -> list[dict[str, Any]]:
    """Check predictions for artefacts that inflate or limit scores.

    Parameters
    ----------
    predictions
        A promoter table with ``predicted``.
    dataset
        Name of the data set.
    both_strands
        Whether the model was trained on both strands of promoters, or averages predictions over both.
    transform
        Transform of expression (``input.transform``).
    strand
        Strands on which elements act (``assay.strand``): both, one or unknown. Strand asymmetry is judged for both only.

    Returns
    -------
    list of dict
        `verdicts.COLUMNS`; ``verdict`` is ok, warning, note (a value that is not judged), not applicable (the data do not allow the check)
        or not assessed (too few promoters, or a statistic that is not defined). Strand asymmetry and padding are judged by the columns of
        `prediction.Predictor.probe`, and are not applicable without them.
    """
    if remark := metrics.too_few(predictions.height, dataset, "a verdict"):
        unassessed = [_too_few(predictions.height, dataset), *(_not_assessed(name, remark) for name in _OF_PREDICTIONS)]
        return [{"dataset": dataset} | row for row in unassessed]
    p, m = (predictions[name].to_numpy().astype(np.float64) for name in ("predicted", "expression"))
    return [
        {"dataset": dataset} | verdict
        for verdict in (
            _enough(predictions.height),
            _labels(m, transform),
            _constant(p, m),
            _scale(p, m),
            _gc(predictions["sequence"], p, m),
            _singletons(predictions, transform),
            _strand(predictions, both_strands, strand),
            _padding(predictions),
        )
    ]


def distance_to_training(audit: pl.DataFrame, total: int, split_method: str) -> dict[str, Any]:
    """Check whether scored promoters are nearer to training promoters than shuffled sequences of the same composition are.

    Parameters
    ----------
    audit
        Rows of `audit.AUDIT` of one data set, or of none.
    total
        Promoters of the data set, of which ``audit`` holds a sample.
    split_method
        ``split.method`` of the run for a split of its library; empty for an independent data set.

    Returns
    -------
    dict
        `verdicts.COLUMNS` without ``dataset``; ``value`` is the share of promoters near a training promoter. The verdict is a warning if
        at least 5 % of promoters are near (`audit.near_edits`), or if at least 5 %, and twice as many as of shuffled sequences, are nearer
        than half of the median distance of shuffled sequences.
    """
    scored, null = (audit.drop_nulls("distance").filter(kind=kind) for kind in ("scored", "shuffled"))
    n = scored.height
    if not n:
        return _not_applicable("distance to training", "there are no promoters, or no training promoters, to compare")
    near, null_near = (int((rows["distance"] <= rows["near"]).sum()) for rows in (scored, null))
    median, null_median = float(scored["distance"].median()), float(null["distance"].median())  # type: ignore[arg-type]
    nearer, null_nearer = (int((rows["distance"] < null_median / 2).sum()) for rows in (scored, null))
    edits = scored["near"].unique().sort().to_list()
    within = _edits(edits[0]) if len(edits) == 1 else f"{edits[0]} to {_edits(edits[-1])} (depending on length)"
    sampled = f" (drawn from {total:,})" if n < total else ""
    text = f"{_number(near)} of {n:,} promoters{sampled} are within {within} of a training promoter"
    text += f" ({_number(null_near)} with shuffled bases). The median distance is {_edits(median)} (shuffled: {null_median:g});"
    text += f" {_number(nearer)} are nearer than half the median of shuffled promoters"
    related = near >= _NEAR * n or (nearer >= _NEAR * n and nearer > 2 * null_nearer)
    if split_method == "positions":
        why = "split.method: positions keeps near-duplicates, and scores are for unseen positions of one parent"
    elif null_near > near / 2:
        why = "sequences this short, or a library this dense, contain no promoters unrelated to training"
    else:
        why = "scored promoters are related to training promoters, so scores do not test generalisation; possible causes are barcodes in"
        why += " the sequences, variants of one parent, or too low a neighbours.max_edits"
    return _finding("distance to training", near / n, related, text, f"{text}: {why}", "no distance is defined")


def _edits(number: float) -> str:
    return f"{number:g} edit{'' if number == 1 else 's'}"


def _number(count: int) -> str:
    return f"{count:,}" if count else "none"


def permuted_labels(control: Mapping[str, Any]) -> dict[str, Any]:
    """Return the check of a label-permutation control: ``n`` validation promoters, ``epochs``, and the ``r`` and ``val_loss`` reached."""
    if remark := metrics.too_few(control["n"], "val", "a verdict"):
        return {"dataset": "val"} | _not_assessed("label permutation", remark)
    r, explained = control["r"] or 0.0, 1 - control["val_loss"]  # r is None for constant predictions
    text = f"trained on permuted labels for {control['epochs']} epochs, the model reaches r = {r:.3f} and explains {100 * explained:.1f} %"
    text += f" of the variance of the {control['n']} validation promoters"
    return {"dataset": "val"} | _finding(
        "label permutation",
        r,
        explained > _LEARNT,
        f"{text}: nothing was learnt, as expected",
        f"{text}: permuted labels cannot be predicted; look for copies of validation promoters in train, and check how labels were made",
        "the validation loss is not a finite number",
    )


def _finding(name: str, value: float, bad: bool, good_text: str, bad_text: str, undefined_text: str) -> dict[str, Any]:
    """Return a row of `COLUMNS`; a value that is not a finite number is not assessed, because of ``undefined_text``."""
    if not np.isfinite(value):
        return _not_assessed(name, undefined_text)
    return {"check": name, "value": metrics.finite(value), "verdict": "warning" if bad else "ok", "text": bad_text if bad else good_text}


def _enough(n: int) -> dict[str, Any]:
    return _finding("number of promoters", n, False, f"{n:,} promoters", "", "")


def _too_few(n: int, dataset: str) -> dict[str, Any]:
    remark = metrics.too_few(n, dataset, "intervals and verdicts")
    advice = f"; raise split.fractions.{dataset}" if dataset in _SPLITS else ""
    return {"check": "number of promoters", "value": float(n), "verdict": "warning", "text": f"{remark}{advice}"}


def _labels(m: np.ndarray, transform: str) -> dict[str, Any]:
    """Check that the variance of the measurements does not come from few promoters, as that of log-normal expression does."""
    few, squares = max(1, round(_FEW * len(m))), np.sort((m - m.mean()) ** 2)[::-1]
    share = float(squares[:few].sum() / squares.sum()) if squares[0] > 0 else float("nan")
    text = f"{few} of {len(m):,} promoters account for {100 * share:.0f} % of the variance of the measurements"
    floor = " and input.transform_floor" if m.min() <= 0 else ""
    advice = f"set input.transform: log2{floor}" if transform == "none" else f"input.transform is {transform}: check these measurements"
    bad = f"{text}; training and all scores but rho depend on them; {advice}"
    return _finding("label distribution", share, share >= _MOST_VARIANCE, text, bad, _EQUAL_MEASUREMENTS)


def _constant(p: np.ndarray, m: np.ndarray) -> dict[str, Any]:
    share = float(p.std() / m.std()) if m.std() > 0 else float("nan")
    return _finding(
        "constant predictions",
        share,
        bool(share < _CONSTANT),
        f"the standard deviation of predictions is {share:.2f} of that of measurements",
        f"the standard deviation of predictions is only {share:.3f} of that of measurements: all predictions are nearly equal",
        _EQUAL_MEASUREMENTS,
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
        f"different scale: {ranges} (for example bins 0 to 17 and MAUDE units). Only r and rho are meaningful here, not R2, mse and slope",
        _EQUAL_MEASUREMENTS,
    )


def _gc(sequences: pl.Series, p: np.ndarray, m: np.ndarray) -> dict[str, Any]:
    known = sequences.str.count_matches("[ACGT]").clip(1)
    gc = (sequences.str.count_matches("[GC]") / known).to_numpy().astype(np.float64)
    r, with_p, with_m = metrics.pearson(p, m), metrics.pearson(p, gc), metrics.pearson(m, gc)
    if r <= _Z / np.sqrt(len(p)):
        return _not_assessed("GC content", f"r is {r:.3f}, not significantly above 0, so there is no agreement to explain")
    # Predictions or measurements that GC content determines have no other variation that could agree.
    partial = 0.0 if max(abs(with_p), abs(with_m)) > _DETERMINED else partial_correlation(r, with_p, with_m)
    return _finding(
        "GC content",
        partial,
        bool(partial < _GC_SHARE * r),
        f"r is {r:.3f}, and {partial:.3f} with GC content controlled for (GC alone: {with_m:.3f}): not explained by GC content",
        f"r is {r:.3f}, but only {partial:.3f} with GC content controlled for (GC alone: {with_m:.3f}): mostly explained by GC content",
        "r is not defined: predictions or measurements are all equal",
    )


def partial_correlation(r_xy: float, r_xz: float, r_yz: float) -> float:
    """Return the partial correlation of x and y given z; r_xy if z is constant, NaN if z determines x or y."""
    if not np.isfinite(r_xz) or not np.isfinite(r_yz):
        return r_xy
    left = (1 - r_xz**2) * (1 - r_yz**2)
    return (r_xy - r_xz * r_yz) / np.sqrt(left) if left > 0 else float("nan")


def _singletons(predictions: pl.DataFrame, transform: str) -> dict[str, Any]:
    if not predictions["singleton"].is_null().all():
        one, what = predictions["singleton"].fill_null(False), "have all reads in one bin"
    elif not predictions["n_reads"].is_null().all():
        one, what = (predictions["n_reads"] == 1).fill_null(False), "have one read"
    else:
        one, what = predictions["expression"] % 1 == 0, "have integer expression, like means over a single bin"
        if transform != "none" or one.all() or not one.any():
            return _not_applicable("singletons", "neither singleton nor n_reads is known")
    share = float(one.mean())  # type: ignore[arg-type]
    return _finding(
        "singletons",
        share,
        share > _SINGLETONS,
        f"{100 * share:.1f} % of promoters {what}",
        f"{100 * share:.1f} % of promoters {what}: their labels are the noisiest, which limits r (see the noise ceiling)",
        "no promoters",
    )


def _not_applicable(name: str, text: str) -> dict[str, Any]:
    return {"check": name, "value": None, "verdict": "not applicable", "text": text}


def _not_assessed(name: str, reason: str) -> dict[str, Any]:
    return {"check": name, "value": None, "verdict": "not assessed", "text": f"not assessed: {reason}"}


def _differences(predictions: pl.DataFrame, other: str) -> tuple[int, float, float]:
    """Return the number of promoters with the other prediction, the mean absolute difference, and this difference in sd of predictions."""
    if other not in predictions.columns:
        return 0, float("nan"), float("nan")
    known, sd = predictions.drop_nulls(other), predictions["predicted"].to_numpy().astype(np.float64).std()
    if not known.height or not sd > 0:
        return known.height, float("nan"), float("nan")
    size = float(np.abs(known[other].to_numpy().astype(np.float64) - known["predicted"].to_numpy()).mean())
    return known.height, size, size / sd


def _unusable(n: int, share: float, what: str) -> str | None:
    """Return why differences of ``n`` predictions cannot be judged; None if they can."""
    if n < metrics.FEWEST:
        return f"{n} {what}; at least {metrics.FEWEST} are needed"
    return None if np.isfinite(share) else _EQUAL_PREDICTIONS


def _strand(predictions: pl.DataFrame, both_strands: bool, strand: str) -> dict[str, Any]:
    if strand == "one":
        return _not_assessed("strand asymmetry", "elements act on one strand only (assay.strand: one)")
    n, size, share = _differences(predictions, REVERSE_COMPLEMENT)
    if not n:
        return _not_applicable("strand asymmetry", "no predictions for reverse-complemented inserts")
    if remark := _unusable(n, share, "reverse-complemented inserts"):
        return _not_assessed("strand asymmetry", remark)
    known = predictions.drop_nulls(REVERSE_COMPLEMENT)
    r = metrics.pearson(known["predicted"].to_numpy(), known[REVERSE_COMPLEMENT].to_numpy())
    text = f"{n} inserts reverse-complemented: r with the original predictions is {r:.3f}, mean difference {size:.2g}"
    text += f" ({share:.2f} sd)"
    if strand == "unknown" and np.isfinite(r):
        text += "; not judged, because assay.strand is unknown"
        return {"check": "strand asymmetry", "value": r, "verdict": "note", "text": text}
    blind = share < _SAME
    why = (
        "the model does not distinguish strands, although it was trained on one strand"
        if blind
        else "predictions for the two orientations are unrelated, although most factors bind in either"
    )
    good = (
        "as intended, since the model was trained on both strands" if blind else "sites act in both orientations, and orientation matters"
    )
    return _finding(
        "strand asymmetry", r, (blind and not both_strands) or r < _UNRELATED, f"{text}: {good}", f"{text}: {why}", _EQUAL_PREDICTIONS
    )


def _padding(predictions: pl.DataFrame) -> dict[str, Any]:
    n, size, share = _differences(predictions, PADDED_OTHERWISE)
    in_plasmid, plasmid_size, plasmid_share = _differences(predictions, IN_PLASMID)
    if not n:
        return _not_applicable("padding", "no promoter is shorter than the window")
    if remark := _unusable(n, share, "promoters shorter than the window"):
        return _not_assessed("padding", remark)
    text = f"{n} promoters shorter than the window: padding at the other end changes predictions by {size:.2g} on average ({share:.2f} sd)"
    if in_plasmid:
        text += f", plasmid sequence in place of N by {plasmid_size:.2g} ({plasmid_share:.2f} sd, n = {in_plasmid})"
    worst = max(share, plasmid_share) if in_plasmid else share
    bad = "predictions of short promoters depend too much on the padding; do not compare promoters of different lengths"
    return _finding("padding", worst, worst > _PADDING, f"{text}: padding has little effect", f"{text}: {bad}", _EQUAL_PREDICTIONS)
