"""Compare models on the same promoters: paired bootstrap, Williams' test, and correction for multiple testing."""

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from gpraflow.evaluation import metrics

FEWEST = 4  # minimum promoters for a comparison
# A row per comparison: does r of `model` differ from r of `other` on this data set?
COLUMNS = {
    "dataset": pl.String,
    "n": pl.Int64,
    "model": pl.String,
    "other": pl.String,
    "r": pl.Float64,
    "r_other": pl.Float64,
    "difference": pl.Float64,
    "difference_low": pl.Float64,
    "difference_high": pl.Float64,
    "p": pl.Float64,
    "p_holm": pl.Float64,
}


def williams(r_a: float, r_b: float, r_ab: float, n: int) -> tuple[float, float]:
    """Test if two correlations with the same measurements differ (Williams 1959; T2 of Steiger 1980, doi:10.1037/0033-2909.87.2.245).

    Parameters
    ----------
    r_a, r_b
        Pearson r of the measurements with predictions a and b.
    r_ab
        Pearson r between predictions a and b.
    n
        Number of promoters.

    Returns
    -------
    tuple of float
        t, positive if a is better, and its two-sided p-value with n - 3 degrees of freedom; NaN if undefined. Equal predictions: 0 and 1.
    """
    if n < 4 or not np.isfinite([r_a, r_b, r_ab]).all():
        return float("nan"), float("nan")
    determinant = 1 - r_a**2 - r_b**2 - r_ab**2 + 2 * r_a * r_b * r_ab
    mean = (r_a + r_b) / 2
    below = 2 * (n - 1) / (n - 3) * max(determinant, 0.0) + mean**2 * (1 - r_ab) ** 3
    if r_a == r_b:
        return 0.0, 1.0
    t = (r_a - r_b) * np.sqrt((n - 1) * (1 + r_ab) / below) if below > 0 else np.copysign(np.inf, r_a - r_b)
    return float(t), float(2 * stats.t.sf(abs(t), n - 3))


def holm(p: Sequence[float | None]) -> list[float | None]:
    """Adjust p-values for multiple testing by Holm 1979 (doi:10.2307/4615733); None stays None and is not counted."""
    tested = sorted((value, place) for place, value in enumerate(p) if value is not None)
    corrected: list[float | None] = [None] * len(p)
    least = 0.0
    for rank, (value, place) in enumerate(tested):
        least = max(least, min(1.0, value * (len(tested) - rank)))
        corrected[place] = least
    return corrected


def compare(
    measured: np.ndarray,
    predictions: Mapping[str, np.ndarray],
    drawn: Mapping[str, np.ndarray],
    *,
    dataset: str,
) -> dict[str, Any]:
    """Compare r of two models on the same promoters.

    Parameters
    ----------
    measured
        Measured expression, shape ``(n,)``.
    predictions
        Name of the model and of the other model -> predictions, shape ``(n,)``, all finite.
    drawn
        Model -> r of its bootstrap resamples (`metrics.bootstrap`). All models use the same seed and hence the same promoters, so that the
        interval is that of a paired difference.
    dataset
        Name of the data set.

    Returns
    -------
    dict
        `COLUMNS` without ``p_holm``; ``p`` is from `williams`. The ends of the difference are None below `metrics.FEWEST` promoters.
    """
    model, other = predictions
    r = {name: metrics.pearson(values, measured) for name, values in predictions.items()}
    _, p = williams(r[model], r[other], metrics.pearson(predictions[model], predictions[other]), len(measured))
    low, high = metrics.interval(drawn[model] - drawn[other]) if len(measured) >= metrics.FEWEST else (np.nan, np.nan)
    values = {
        "r": r[model],
        "r_other": r[other],
        "difference": r[model] - r[other],
        "difference_low": low,
        "difference_high": high,
        "p": p,
    }
    about = {"dataset": dataset, "n": len(measured), "model": model, "other": other}
    return about | {key: metrics.finite(value) for key, value in values.items()}


def table(rows: Sequence[dict]) -> pl.DataFrame:
    """Return comparisons as a table with `COLUMNS`; p-values are adjusted for all comparisons together."""
    corrected = holm([row["p"] for row in rows])
    return pl.DataFrame([row | {"p_holm": p} for row, p in zip(rows, corrected, strict=True)], schema=COLUMNS)


def across(
    runs: Mapping[str, Mapping[str, Any]], read: Callable[[str, str], pl.DataFrame | None], *, resamples: int, seed: int, threads: int = 1
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Collect the scores of runs and of published models on the same data in one table, and compare all pairs of runs.

    Parameters
    ----------
    runs
        Run -> content of its metrics.json.
    read
        Function that returns the predictions of a run for a data set; None if there are none.
    resamples, seed, threads
        As `metrics.bootstrap`.

    Returns
    -------
    tuple of polars.DataFrame
        Scores: ``dataset``, ``title``, ``label``, ``kind``, properties of the model, and scores with intervals as saved by the runs.
        Comparisons: `COLUMNS`, on promoters (by sequence) that both runs predicted with the same measured expression; Holm over all.
    """
    rows, compared = [], []
    datasets = [*dict.fromkeys(name for content in runs.values() for name in content["datasets"])]
    for dataset in datasets:
        of = {run: content["datasets"][dataset] for run, content in runs.items() if dataset in content["datasets"]}
        published: dict[str, dict] = {}
        for run, scored in of.items():
            about = runs[run]["model"]
            rows.append(_row(dataset, scored["title"], run, "run", scored, about))
            published |= scored.get("published_models", {})
        title = next(iter(of.values()))["title"]
        rows += [_row(dataset, title, name, "published model", scored, {}) for name, scored in published.items()]
        predictions = {run: predicted for run in of if (predicted := read(run, dataset)) is not None}
        known: dict[bytes, np.ndarray] = {}  # cached bootstrap r: most pairs of runs share the same promoters
        for run, other in combinations(predictions, 2):
            mine = predictions[run].select("sequence", "expression", "predicted")
            theirs = predictions[other].select("sequence", "expression", theirs="predicted")
            same = ["sequence", "expression"]
            both = mine.join(theirs.unique(same, keep="first"), on=same, maintain_order="left")  # barcodes can share both
            if both.height >= FEWEST:
                values = {run: both["predicted"].to_numpy(), other: both["theirs"].to_numpy()}
                measured, own = both["expression"].to_numpy(), metrics.seed_of(seed, dataset)
                drawn = {}
                for name, one in values.items():
                    if (key := one.tobytes() + measured.tobytes()) not in known:
                        known[key] = metrics.bootstrap(one, measured, resamples, own, threads)["r"]
                    drawn[name] = known[key]
                compared.append(compare(measured, values, drawn, dataset=dataset))
    return pl.DataFrame(rows, infer_schema_length=None), table(compared)


def _row(dataset: str, title: str, name: str, kind: str, scored: Mapping[str, Any], about: Mapping[str, Any]) -> dict[str, Any]:
    scores = {f"{score}{end}": scored.get(f"{score}{end}") for score in metrics.SCORES for end in ("", "_low", "_high")}
    members = {key: scored.get(key) for key in (f"{score}_members_{what}" for score in ("r", "rho") for what in ("mean", "sd"))}
    model = {
        "model": about.get("architecture"),
        "preset": about.get("preset"),
        "parameters": about.get("parameters"),
        "networks": about.get("members"),
        "training_promoters": about.get("promoters", {}).get("train"),
        "seed": about.get("training", {}).get("seed"),
        "seconds": about.get("seconds"),
    }
    return {"dataset": dataset, "title": title, "label": name, "kind": kind} | model | {"n": scored["n"]} | scores | members
