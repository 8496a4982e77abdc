"""Scores in subgroups of a data set: by reads, expression, length, distance to the training set, and the user's groups."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from gpraflow.evaluation import metrics

READS = (1, 2, 10, 100)  # lower ends of subgroups
DISTANCES = (0, 1, 4, 9, 17, 25, 33)
DECILES, FIFTHS = 10, 5
_MOST = 20  # distinct values of a column that form subgroups of their own
_ORDER = ("reads", "expression decile", "length (bp)", "edits to nearest training promoter")
COLUMNS = {"dataset": pl.String, "by": pl.String, "part": pl.String, "n": pl.Int64, "mean_error": pl.Float64}
COLUMNS |= {f"{score}{end}": pl.Float64 for score in metrics.SCORES for end in ("", "_low", "_high")}


def by_edges(values: pl.Series, edges: Sequence[int]) -> pl.Series:
    """Return the subgroup of each whole number, such as "2 to 9" or "100 or more"; null below the first edge and for null."""
    parts = pl.Series([None] * len(values), dtype=pl.String)
    for low, following in zip(edges, [*edges[1:], None], strict=True):
        inside = values >= low if following is None else (values >= low) & (values < following)
        name = f"{low} or more" if following is None else str(low) if following == low + 1 else f"{low} to {following - 1}"
        parts = parts.to_frame("p").select(pl.when(inside.fill_null(False)).then(pl.lit(name)).otherwise("p").alias("p"))["p"]
    return parts


def by_quantiles(values: pl.Series, number: int) -> pl.Series:
    """Return the quantile, of ``number`` quantiles, of each value; equal values stay together.

    Quantiles are named ``1: least to greatest`` by the values in them.
    """
    known = values.is_not_null() & values.is_finite() if values.dtype.is_float() else values.is_not_null()
    numbers = values.cast(pl.Float64).to_numpy()
    edges = np.unique(np.quantile(numbers[known.to_numpy()], np.linspace(0, 1, number + 1))) if known.any() else np.array([0.0, 0.0])
    if len(edges) == 1:
        edges = np.repeat(edges, 2)
    place = np.clip(np.searchsorted(edges, numbers, side="right") - 1, 0, len(edges) - 2)
    there = known.to_numpy()
    inside = {i: numbers[there & (place == i)] for i in np.unique(place[there])}
    names = {i: f"{i + 1}: {part.min():.3g} to {part.max():.3g}" for i, part in inside.items()}
    return pl.Series([names[i] if known_ else None for i, known_ in zip(place, there, strict=True)], dtype=pl.String)


def by_values(values: pl.Series) -> pl.Series:
    """Return subgroups by a user's column: its values; fifths of more than 20 numbers; else the 19 most frequent labels and "other"."""
    if values.dtype.is_numeric() and values.n_unique() > _MOST:
        return by_quantiles(values, FIFTHS)
    text = values.cast(pl.Float64).cast(pl.String).str.strip_suffix(".0") if values.dtype.is_float() else values.cast(pl.String)
    if text.n_unique() <= _MOST:
        return text
    counts = text.drop_nulls().value_counts().sort("count", values.name, descending=[True, False])
    frequent = counts[values.name].head(_MOST - 1)
    return text.to_frame("p").select(
        pl.when(pl.col("p").is_in(frequent.implode()) | pl.col("p").is_null()).then("p").otherwise(pl.lit("other"))
    )["p"]


def parts_of(predictions: pl.DataFrame, groups: Sequence[str], distance: pl.Series | None) -> dict[str, pl.Series]:
    """Return the subgroup of each promoter (null: none) by grouping; groupings with a single subgroup are left out.

    Parameters
    ----------
    predictions
        ``sequence``, ``expression`` and, if known, ``n_reads``.
    groups
        The user's columns.
    distance
        Edits to the nearest training promoter, null if none is near; None if not computed.
    """
    lengths = predictions["sequence"].str.len_bytes().cast(pl.Int64)
    groupings = {"reads": by_edges(predictions["n_reads"], READS)} if "n_reads" in predictions.columns else {}
    groupings["expression decile"] = by_quantiles(predictions["expression"], DECILES)
    groupings["length (bp)"] = lengths.cast(pl.String) if lengths.n_unique() <= 8 else by_quantiles(lengths, FIFTHS)
    if distance is not None:
        groupings["edits to nearest training promoter"] = by_edges(distance, DISTANCES).fill_null("none near")
    groupings |= {name: by_values(predictions[name]) for name in groups}
    return {by: parts for by, parts in groupings.items() if parts.drop_nulls().n_unique() > 1 or by.startswith("edits")}


def score(
    predictions: pl.DataFrame, parts: dict[str, pl.Series], *, dataset: str, resamples: int, seed: int, threads: int = 1
) -> list[dict]:
    """Score each subgroup as a data set of its own.

    Returns
    -------
    list of dict
        Columns `COLUMNS`; ``mean_error`` is the mean of predicted - measured. Subgroups of fewer than 20 promoters have no scores.
    """
    rows = []
    for by, of in parts.items():
        names = sorted(of.drop_nulls().unique().to_list(), key=_natural)
        for name in names:
            part = predictions.filter(of == name)
            x, y = part["predicted"].to_numpy(), part["expression"].to_numpy()
            row = {"dataset": dataset, "by": by, "part": name, "n": part.height, "mean_error": float(np.mean(x - y, dtype=np.float64))}
            scored = (
                metrics.with_intervals(x, y, resamples, metrics.seed_of(seed, f"{dataset}/{by}/{name}"), threads)
                if part.height >= metrics.FEWEST
                else {}
            )
            rows.append(dict.fromkeys(COLUMNS) | row | scored)
    return rows


def _natural(name: str) -> tuple[int, float, str]:
    """Order subgroups by the number that their name begins with; others come last."""
    first = name.split()[0].rstrip(":")
    try:
        return 0, float(first), name
    except ValueError:
        return 1, 0.0, name
