"""Figures of scores: forest plots of data sets, models and subgroups; coverage of prediction intervals; scatter plots."""

import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib import pyplot as plt
from matplotlib import ticker

from gpraflow.core.drawing import BLUE, STYLE, VERMILION, count_bar
from gpraflow.evaluation import metrics

_SMALL = 7.5
_COLUMNS = 2
_SPAN = 0.1  # least range of an axis of r, so that small differences do not look large
_ROW, _HEAD = 0.22, 1.0  # inches
# Okabe and Ito's colour-blind-safe palette, with markers that differ too
_SETS = ((BLUE, "o"), (VERMILION, "s"), ("#009E73", "D"), ("#CC79A7", "^"), ("#E69F00", "v"), ("#56B4E9", "P"), ("#000000", "X"))


def _forest(axes: Any, rows: pl.DataFrame, places: np.ndarray, colour: str, marker: str, label: str | None) -> None:
    """Draw r with its interval at heights ``places``; rows whose r is not defined are left empty."""
    r, low, high = (rows[name].cast(pl.Float64).to_numpy() for name in ("r", "r_low", "r_high"))
    errors = np.stack([r - low, high - r]).clip(0)
    axes.errorbar(r, places, xerr=errors, fmt=marker, color=colour, markersize=4, linewidth=1.2, capsize=0, label=label)


def _label(name: str, scored: Mapping[str, Any]) -> str:
    """Return the name of a row with its number of promoters, and that there is no interval if they are too few for one."""
    without = ": too few for an interval" if metrics.too_few(scored["n"], name) else ""
    return f"{name}  (n = {scored['n']:,}{without})"


def _widen(axes: Any) -> None:
    low, high = axes.get_xlim()
    spare = max(0.0, _SPAN - (high - low)) / 2
    axes.set_xlim(low - spare, high + spare)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))


def summary(datasets: Mapping[str, Mapping[str, Any]]) -> Any:
    """Draw r of the model on every data set, with 95 % intervals, the noise ceiling, and published models below it.

    Parameters
    ----------
    datasets
        Of metrics.json: name -> ``title``, ``n``, ``r``, ``r_low``, ``r_high``, ``ceiling``, ``published_models``.
    """
    rows: list[tuple[str, str, Mapping[str, Any], float | None]] = []
    for scored in datasets.values():
        rows.append(("run", _label(scored["title"], scored), scored, (scored["ceiling"] or {}).get("r")))
        best_first = sorted(scored["published_models"].items(), key=lambda model: -(model[1]["r"] if model[1]["r"] is not None else -2))
        rows += [("published model", _label(name, of), of, None) for name, of in best_first]
    kinds = np.array([kind for kind, *_ in rows])
    place = -np.arange(len(rows), dtype=np.float64)
    schema = dict.fromkeys(("r", "r_low", "r_high"), pl.Float64)
    numbers = pl.DataFrame([[of[name] for name in schema] for _, _, of, _ in rows], schema=schema, orient="row")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, _HEAD + 0.25 * len(rows)), layout="constrained")
        _forest(axes, numbers.filter(pl.Series(kinds == "run")), place[kinds == "run"], BLUE, "o", "this model, 95 % interval")
        published = kinds == "published model"
        if published.any():
            _forest(axes, numbers.filter(pl.Series(published)), place[published], VERMILION, "D", "published models")
        known = [(at, ceiling) for at, (*_, ceiling) in zip(place, rows, strict=True) if ceiling is not None]
        if known:
            axes.plot(
                [r for _, r in known],
                [at for at, _ in known],
                "|",
                color="black",
                markersize=12,
                markeredgewidth=1.6,
                label="noise ceiling",
            )
        for at in place[kinds == "run"][1:]:
            axes.axhline(at + 0.5, color="0.85", linewidth=0.6)
        axes.set_yticks(place, [label for _, label, *_ in rows], fontsize=_SMALL)
        axes.set_ylim(-len(rows) + 0.4, 0.6)
        axes.set_xlabel("Pearson r", fontsize=_SMALL + 0.5)
        axes.grid(axis="x", color="0.9", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.tick_params(axis="x", labelsize=_SMALL)
        _widen(axes)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(7, steps=[1, 2, 5, 10]))
        figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False, fontsize=_SMALL)
    return figure


def coverage(table: pl.DataFrame, titles: Mapping[str, str]) -> Any:
    """Draw the coverage of prediction intervals against their nominal level, one line per data set.

    Parameters
    ----------
    table
        `calibration.COVERAGE`.
    titles
        Title of each data set, by name.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.6, 3.6), layout="constrained")
        axes.plot([0, 100], [0, 100], color="0.6", linewidth=0.8, linestyle="--", label="nominal", zorder=0)
        drawn = [name for name in titles if name in set(table["dataset"])]
        for number, name in enumerate(drawn):
            rows = table.filter(dataset=name)
            colour, marker = _SETS[number % len(_SETS)]
            level, inside, low, high = (100 * rows[column].to_numpy() for column in ("level", "inside", "low", "high"))
            level = level + 0.8 * (number - (len(drawn) - 1) / 2)  # side by side
            around, label = np.stack([inside - low, high - inside]).clip(0), f"{titles[name]} (n = {rows['n'][0]:,})"
            axes.errorbar(level, inside, yerr=around, color=colour, marker=marker, markersize=4, linewidth=1, label=label)
        if not drawn:
            axes.text(50, 50, "no intervals: too few validation promoters", ha="center", va="center")
        levels = 100 * table["level"].unique().sort().to_numpy()
        axes.set_xticks(levels, [f"{level:g}" for level in levels])
        lowest = 100 * float(table["low"].min()) if drawn else 0.0  # type: ignore[arg-type]
        axes.set(xlim=(min(levels, default=0) - 6, 100), ylim=(min(lowest - 5, min(levels, default=0) - 10), 101))
        axes.set(xlabel="nominal level (%)", ylabel="measurements inside (%),\n95 % interval")
        axes.legend(frameon=False, fontsize=_SMALL, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def comparison(table: pl.DataFrame) -> Any:
    """Draw r of every model on every data set, with 95 % intervals, best model first.

    Parameters
    ----------
    table
        ``dataset``, ``title``, ``label``, ``kind`` (run or published model), ``n``, ``r``, ``r_low``, ``r_high``.
    """
    datasets = table["dataset"].unique(maintain_order=True).to_list()
    across = min(len(datasets), _COLUMNS)
    down = -(-len(datasets) // across)
    most = max(table.filter(dataset=name).height for name in datasets)
    with plt.rc_context(STYLE):
        size = (4.1 * across + 0.3, down * (_HEAD + _ROW * most) + 0.3)
        figure, panels = plt.subplots(down, across, figsize=size, layout="constrained", squeeze=False)
        labels: dict[str, Any] = {}
        for axes, name in zip(panels.flat, datasets, strict=False):
            rows = table.filter(dataset=name).sort("r", descending=True, nulls_last=True, maintain_order=True)
            place = -np.arange(rows.height, dtype=np.float64)
            for kind, colour, marker, label in (("run", BLUE, "o", "runs"), ("published model", VERMILION, "D", "published models")):
                mine = (rows["kind"] == kind).to_numpy()
                if mine.any():
                    _forest(axes, rows.filter(pl.Series(mine)), place[mine], colour, marker, label)
            labels |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
            axes.set_yticks(place, rows["label"].to_list(), fontsize=_SMALL)
            axes.set_ylim(-rows.height + 0.4, 0.6)
            numbers = sorted(set(rows["n"].to_list()))
            number = "n = " + " to ".join(f"{n:,}" for n in dict.fromkeys((numbers[0], numbers[-1])))
            axes.set_title(f"{rows['title'][0]} ({number})", fontsize=8.5)
            axes.set_xlabel("Pearson r, 95 % interval", fontsize=_SMALL + 0.5)
            axes.grid(axis="x", color="0.9", linewidth=0.6)
            axes.set_axisbelow(True)
            axes.tick_params(axis="x", labelsize=_SMALL)
            _widen(axes)
        for axes in panels.flat[len(datasets) :]:
            axes.set_visible(False)
        figure.legend(labels.values(), labels, loc="outside lower center", ncols=2, frameon=False, fontsize=_SMALL)
    return figure


def parts(table: pl.DataFrame, title: str, unit: str) -> Any:
    """Draw r and root mean squared error in subgroups of a data set, one row of panels per grouping.

    Parameters
    ----------
    table
        `subgroups.COLUMNS` of one data set.
    title
        Its name.
    unit
        Of expression.
    """
    by = table["by"].unique(maintain_order=True).to_list()
    heights = [table.filter(by=name).height for name in by]
    with plt.rc_context(STYLE):
        size = (7.2, sum(_HEAD + _ROW * rows for rows in heights) + 0.4)
        ratios = {"height_ratios": [_HEAD + _ROW * rows for rows in heights] or [1]}
        figure, panels = plt.subplots(len(by) or 1, 2, figsize=size, layout="constrained", squeeze=False, gridspec_kw=ratios)
        number = f" (n = {table.filter(by=by[0])['n'].sum():,})" if by else ""
        figure.suptitle(title + number, fontsize=10, fontweight="bold", x=0.01, ha="left")
        for (left, right), name in zip(panels, by, strict=False):
            rows = table.filter(by=name)
            place = -np.arange(rows.height, dtype=np.float64)
            _forest(left, rows, place, BLUE, "o", None)
            errors = rows.select(pl.col("mse", "mse_low", "mse_high").cast(pl.Float64).sqrt())
            value, low, high = (errors[column].cast(pl.Float64).to_numpy() for column in errors.columns)
            around = np.stack([value - low, high - value]).clip(0)
            right.errorbar(value, place, xerr=around, fmt="s", color=VERMILION, markersize=3.5, linewidth=1.2)
            labels = [f"{part}  (n = {n:,})" for part, n in rows.select("part", "n").iter_rows()]
            left.set_yticks(place, labels, fontsize=_SMALL)
            left.set_title(name, fontsize=8.5)
            right.set_yticks(place, [])
            left.set_xlabel("Pearson r, 95 % interval", fontsize=_SMALL + 0.5)
            right.set_xlabel(f"root mean squared error ({unit})", fontsize=_SMALL + 0.5)
            for axes in (left, right):
                axes.set_ylim(-rows.height + 0.4, 0.6)
                axes.grid(axis="x", color="0.9", linewidth=0.6)
                axes.set_axisbelow(True)
                axes.tick_params(axis="x", labelsize=_SMALL)
                axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
            _widen(left)
            right.set_xlim(0, None)
        if not by:
            for axes in panels.flat:
                axes.set_visible(False)
    return figure


def prediction_scatter(
    predictions: pl.DataFrame, scores: Mapping[str, Any], title: str, unit: str, hexagons: int, quantity: str = "expression"
) -> Any:
    """Draw measured against predicted expression as hexagons, the line of equality, and the scores with their intervals.

    Parameters
    ----------
    predictions
        ``expression`` and ``predicted``.
    scores
        Scores of these predictions (`metrics.evaluate`).
    title
        Name of the data set.
    unit
        Of expression, for the axes.
    hexagons
        Number of hexagons across.
    quantity
        What is measured and predicted, for the axes.
    """
    measured, predicted = predictions["expression"].to_numpy(), predictions["predicted"].to_numpy()
    low = float(min(measured.min(), predicted.min()))
    high = float(max(measured.max(), predicted.max()))
    margin = 0.03 * (high - low) or 1.0
    limits = (low - margin, high + margin)

    def interval(key: str) -> str:
        if scores[key] is None:
            return "not defined"
        ends = [scores[f"{key}_low"], scores[f"{key}_high"]]
        return f"{scores[key]:.3f}" + ("" if None in ends else f" [{ends[0]:.3f}, {ends[1]:.3f}]")

    remark = textwrap.fill(metrics.too_few(scores["n"], title) or "", 50)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.4, 3.9), layout="constrained")
        cells = axes.hexbin(
            predicted, measured, gridsize=hexagons, extent=(*limits, *limits), mincnt=1, bins="log", cmap="viridis", linewidths=0
        )
        axes.plot(limits, limits, color="0.4", linewidth=0.8, linestyle="--")
        axes.set(xlim=limits, ylim=limits, xlabel=f"predicted {quantity} ({unit})", ylabel=f"measured {quantity} ({unit})", aspect="equal")
        axes.set_title(title, fontsize=10, pad=30 + 11 * len(remark.splitlines()))
        text = f"n = {scores['n']:,}, r = {interval('r')}\nR² = {interval('R2')}, ρ = {interval('rho')}"
        text += f"\n{remark}" if remark else ""
        axes.text(0, 1.02, text, transform=axes.transAxes, va="bottom", fontsize=7.5, linespacing=1.4)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
        axes.yaxis.set_major_locator(ticker.MaxNLocator(6))
        count_bar(figure, axes, cells)
    return figure
