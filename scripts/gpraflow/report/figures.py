"""Figures for checking a run: losses per step, distance to the training set, effect of data leakage, cost."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib import pyplot as plt
from matplotlib import ticker

from gpraflow.core.drawing import BLUE, STYLE, VERMILION

_GREY, _SKY = "#999999", "#56B4E9"
_SMALL = 7.5
_WRAP = 38  # characters per line of a label
_ROW, _HEAD = 0.22, 0.75  # inches
_HEADROOM = 1.3  # height of a panel over that of its highest bar
_EDITS = "edits to nearest training promoter"  # as named in `subgroups`
DISTANCES = {
    "dataset": pl.String,
    "n": pl.Int64,
    "within_max_edits": pl.Int64,
    "median": pl.Float64,
    "least": pl.Int64,
    "none_near": pl.Int64,
}


def waterfall(bars: pl.DataFrame) -> Any:
    """Plot reads and promoters retained at each step, one panel per unit.

    Parameters
    ----------
    bars
        Bars from `accounting.retained`.
    """
    units = bars["unit"].unique(maintain_order=True).to_list()
    heights = [_HEAD + (_ROW + 0.06) * bars.filter(unit=unit).height for unit in units]
    colours = {"total": BLUE, "lost": VERMILION, "part": _SKY}
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(units), 1, figsize=(7.2, sum(heights) + 0.3), layout="constrained", squeeze=False, gridspec_kw={"height_ratios": heights}
        )
        for axes, unit in zip(panels.flat, units, strict=True):
            rows = bars.filter(unit=unit)
            most, before = int(rows["rows"].max()), 1  # type: ignore[arg-type]
            for place, (kind, number, start) in enumerate(rows.select("kind", "rows", "start").iter_rows()):
                axes.barh(-place, number, left=start, color=colours[kind], height=0.7)
                before = number if kind == "total" else before
                text = {"total": f"{number:,}", "lost": f"\N{MINUS SIGN}{number:,}", "part": f"{number:,}"}[kind]
                axes.text(1.16, -place, text, ha="right", va="center", fontsize=_SMALL, transform=axes.get_yaxis_transform())
                if kind != "total":
                    share = 100 * number / max(before, 1)
                    text = "<0.01 %" if share < 0.01 else f"{share:.2f} %" if share < 10 else f"{share:.0f} %"
                    axes.text(1.29, -place, text, ha="right", va="center", fontsize=_SMALL, transform=axes.get_yaxis_transform())
            before_label = {"lost": "lost: ", "part": "to ", "total": ""}
            names = [textwrap.fill(before_label[kind] + label, _WRAP) for kind, label in rows.select("kind", "label").iter_rows()]
            axes.set_yticks(-np.arange(rows.height), names, fontsize=_SMALL, linespacing=1.05)
            axes.set_ylim(-max(rows.height, 2) + 0.4, 0.6)
            axes.set_xlim(0, most)
            axes.tick_params(axis="y", length=0)
            axes.tick_params(axis="x", labelsize=_SMALL)
            axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
            axes.xaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
            axes.set_xlabel(unit, fontsize=_SMALL + 0.5)
            axes.set_title(f"{unit[0].upper()}{unit[1:]}", fontsize=8.5)
    return figure


def distances(nearest: pl.DataFrame, datasets: Sequence[str], max_edits: int) -> pl.DataFrame:
    """Summarise the distances of data sets to the training promoters.

    Parameters
    ----------
    nearest
        ``dataset`` and ``distance`` (edits to the nearest training promoter; null if there is none nearby).
    datasets
        Names of the data sets.
    max_edits
        Edits within which promoters count as near-duplicates (``neighbours.max_edits``).

    Returns
    -------
    polars.DataFrame
        `DISTANCES`. ``within_max_edits``: number of promoters at most ``max_edits`` from a training promoter. ``median`` and ``least`` are
        over promoters with a finite distance.
    """
    rows = []
    for name in datasets:
        edits = nearest.filter(dataset=name)["distance"]
        within = int((edits <= max_edits).sum())
        rows.append((name, len(edits), within, edits.median(), edits.min(), edits.null_count()))
    return pl.DataFrame(rows, schema=DISTANCES, orient="row")


def leak(
    nearest: pl.DataFrame,
    audit: pl.DataFrame,
    subgroups: pl.DataFrame,
    titles: Mapping[str, str],
    max_edits: int,
    sources: Mapping[str, str] | None = None,
) -> Any:
    """Plot the distance of each data set to the training promoters, and r by that distance, one row of panels per data set.

    Parameters
    ----------
    nearest
        As in `distances`.
    audit
        Distances of shuffled sequences, with the columns `audit.AUDIT`.
    subgroups
        Table with the columns `subgroups.COLUMNS`.
    titles
        Title of each data set, by name.
    max_edits
        Edits within which promoters count as near-duplicates (``neighbours.max_edits``).
    sources
        Name of each data set in ``nearest`` and ``audit``, where the same promoters are scored in several conditions; None if all are
        the same.
    """
    sources = sources or dict(zip(titles, titles, strict=True))
    parts = {name: subgroups.filter(dataset=name, by=_EDITS) for name in titles}
    heights = [max(1.55, _HEAD + _ROW * part.height) for part in parts.values()]
    null = audit.filter(kind="shuffled")
    farthest = max(max_edits, *(int(part["distance"].max() or 0) for part in (nearest, null))) + 1  # type: ignore[arg-type]
    beyond = farthest + 3
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            len(titles),
            2,
            figsize=(7.2, sum(heights) + 0.3),
            layout="constrained",
            squeeze=False,
            gridspec_kw={"height_ratios": heights},
        )
        for (left, right), (name, title) in zip(panels, titles.items(), strict=True):
            edits = nearest.filter(dataset=sources[name])["distance"]
            shares = _shares(edits, farthest)
            null_shares = _shares(null.filter(dataset=sources[name])["distance"], farthest)
            none = 100 * edits.null_count() / max(len(edits), 1)
            left.bar(np.arange(len(shares)), shares, width=1.0, color=BLUE)
            left.bar(beyond, none, width=1.6, color=_GREY)
            left.stairs(null_shares, np.arange(len(null_shares) + 1) - 0.5, color="black", linewidth=0.8)
            left.axvline(max_edits + 0.5, color=VERMILION, linewidth=1, linestyle="--")
            # The text stands above the bars, which end at 1 / _HEADROOM of the height.
            left.set_ylim(0, _HEADROOM * max(*shares, *null_shares, none, 1.0))
            within = int((edits <= max_edits).sum())
            at = max_edits + 0.5 + 0.02 * (beyond + 2.5)
            left.text(
                at, 0.97, f"{within:,} within {max_edits} edits", color=VERMILION, fontsize=_SMALL, va="top",
                transform=left.get_xaxis_transform(),
            )  # fmt: skip
            step = 10 if farthest > 20 else 5 if farthest > 10 else 1
            ticks = [tick for tick in range(0, farthest, step) if tick < beyond - 3]
            left.set_xticks([*ticks, beyond], [*map(str, ticks), "none\nnear"])
            left.set_xlim(-1, beyond + 1.5)
            left.set_title(f"{title} (n = {len(edits):,})", fontsize=8.5)
            left.set_xlabel("edits to nearest training promoter", fontsize=_SMALL + 0.5)
            left.set_ylabel("promoters (%)", fontsize=_SMALL + 0.5)
            rows = parts[name]
            place = -np.arange(rows.height, dtype=np.float64)
            r, low, high = (rows[column].cast(pl.Float64).to_numpy() for column in ("r", "r_low", "r_high"))
            right.errorbar(r, place, xerr=np.stack([r - low, high - r]).clip(0), fmt="o", color=BLUE, markersize=4, linewidth=1.2)
            scored = np.isfinite(r)
            ends = [float(np.nanmin(low)), float(np.nanmax(high))] if scored.any() else [0.0, 1.0]
            spare = max(0.1, ends[1] - ends[0]) * 0.55
            middle = (ends[0] + ends[1]) / 2
            right.set_xlim(middle - spare, middle + spare)
            for at in place[~scored]:
                right.text(middle, at, "too few to score", ha="center", va="center", fontsize=_SMALL, color="0.4")
            right.set_yticks(place, [f"{part}  (n = {number:,})" for part, number in rows.select("part", "n").iter_rows()])
            right.set_ylim(-max(rows.height, 1) + 0.4, 0.6)
            right.set_xlabel("Pearson r, 95 % interval", fontsize=_SMALL + 0.5)
            right.grid(axis="x", color="0.9", linewidth=0.6)
            right.set_axisbelow(True)
            right.xaxis.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))
            for axes in (left, right):
                axes.tick_params(labelsize=_SMALL)
    return figure


def _shares(edits: pl.Series, farthest: int) -> np.ndarray:
    """Return the percentage of promoters at each distance from 0 to ``farthest``; promoters without a distance count in the total."""
    return 100 * np.bincount(edits.drop_nulls().to_numpy(), minlength=farthest + 1) / max(len(edits), 1)


def demonstration(table: pl.DataFrame, val_r: float | None, val_n: int) -> Any:
    """Plot r of k-mer ridge regression with the index error, with leakage-controlled splits and with permuted labels, and r of the model.

    Parameters
    ----------
    table
        Table with the columns `leak.COLUMNS`.
    val_r, val_n
        Pearson r of the run's model on the val split, and number of promoters in it.
    """
    names = {
        "index error": "k-mer ridge regression, index error",
        "leakage-controlled": "k-mer ridge regression, splits of this run",
        "permuted labels": "k-mer ridge regression, permuted labels",
    }
    rows = [
        (
            names.get(condition, condition),
            r,
            f"n = {n:,}; {100 * seen:.3g} % also in training",
            VERMILION if condition == "index error" else _GREY,
        )
        for condition, n, seen, r in table.select("condition", "test_records", "tested_and_trained", "r").iter_rows()
    ]
    rows.append(("model of this run, splits of this run", val_r, f"n = {val_n:,}; 0 % also in training", BLUE))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, 0.9 + 0.3 * len(rows)), layout="constrained")
        for place, (_, r, text, colour) in enumerate(rows):
            if r is not None:
                axes.plot([0, r], [-place, -place], color="0.85", linewidth=2, zorder=1)
                axes.plot([r], [-place], "o", color=colour, markersize=6, zorder=2)
                axes.annotate(f"{r:.3f}", (max(r, 0), -place), (7, 0), textcoords="offset points", va="center", fontsize=_SMALL)
            axes.text(1.2, -place, text, ha="left", va="center", fontsize=_SMALL)
        axes.set_yticks(-np.arange(len(rows)), [label for label, *_ in rows], fontsize=_SMALL)
        axes.set(ylim=(-len(rows) + 0.4, 0.6), xlim=(min(-0.05, *(r for _, r, *_ in rows if r is not None)) - 0.05, 1.15))
        axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        axes.set_xlabel("Pearson r on test records", fontsize=_SMALL + 0.5)
        axes.tick_params(axis="x", labelsize=_SMALL)
    return figure


def cost(table: pl.DataFrame, most: int = 14) -> Any:
    """Plot the CPU time of each rule.

    Parameters
    ----------
    table
        Table with the columns `cost.COLUMNS`.
    most
        Maximum number of rules to show; all others are summed.
    """
    drawn = table.head(most).select("rule", "jobs", "wall_seconds", "core_seconds", "peak_memory_mb").rows()
    rest = table.slice(most)
    if rest.height:
        sums = rest.select(pl.col("jobs", "wall_seconds", "core_seconds").sum(), pl.col("peak_memory_mb").max()).row(0)
        drawn.append((f"{rest.height} other rules", *sums))
    hours = table["core_seconds"].sum() > 7200
    unit, scale, clock = ("core-hours", 3600, "h") if hours else ("core-minutes", 60, "min")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, _HEAD + 0.2 + _ROW * max(len(drawn), 4)), layout="constrained")
        columns = ((1.2, unit), (1.31, "jobs"), (1.5, "wall time"), (1.74, "peak memory"))
        for x, text in columns:
            axes.text(x, 0.9, text, ha="right", va="center", fontsize=_SMALL, transform=axes.get_yaxis_transform())
        for place, (_, jobs, wall, cores, memory) in enumerate(drawn):
            axes.barh(-place, cores / scale, color=BLUE, height=0.7)
            texts = (
                f"{cores / scale:,.2f}",
                f"{jobs:,}",
                f"{wall / scale:,.2f} {clock}",
                "unknown" if memory is None else f"{memory:,.0f} MB",
            )
            for (x, _), text in zip(columns, texts, strict=True):
                axes.text(x, -place, text, ha="right", va="center", fontsize=_SMALL, transform=axes.get_yaxis_transform())
        axes.set_yticks(-np.arange(len(drawn)), [name for name, *_ in drawn], fontsize=_SMALL)
        axes.set_ylim(-len(drawn) + 0.4, 0.6)
        axes.tick_params(axis="y", length=0)
        axes.tick_params(axis="x", labelsize=_SMALL)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(4))
        total = table["core_seconds"].sum() / scale
        axes.set_xlabel(f"CPU time ({unit}); all rules: {total:,.2f}", fontsize=_SMALL + 0.5)
    return figure
