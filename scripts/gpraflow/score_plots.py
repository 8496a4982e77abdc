"""Figures of scores: forest plots of models side by side and of the parts of a data set."""

from typing import Any

import numpy as np
import polars as pl
from matplotlib import pyplot as plt
from matplotlib import ticker

from gpraflow.plots import BLUE, STYLE, VERMILION

_SMALL = 7.5
_COLUMNS = 2
_SPAN = 0.1  # of an axis of r at least, so that next to nothing does not look like much
_ROW, _HEAD = 0.22, 1.0  # inches


def _forest(axes: Any, rows: pl.DataFrame, places: np.ndarray, colour: str, marker: str, label: str | None) -> None:
    """Draw r with its interval at heights ``places``; rows whose r is not defined are left empty."""
    r, low, high = (rows[name].cast(pl.Float64).to_numpy() for name in ("r", "r_low", "r_high"))
    errors = np.stack([r - low, high - r]).clip(0)
    axes.errorbar(r, places, xerr=errors, fmt=marker, color=colour, markersize=4, linewidth=1.2, capsize=0, label=label)


def _widen(axes: Any) -> None:
    low, high = axes.get_xlim()
    spare = max(0.0, _SPAN - (high - low)) / 2
    axes.set_xlim(low - spare, high + spare)
    axes.xaxis.set_major_locator(ticker.MaxNLocator(4, steps=[1, 2, 5, 10]))


def comparison(table: pl.DataFrame) -> Any:
    """Draw r of every model on every data set, with 95 % intervals; the better of each data set's models stand higher.

    Parameters
    ----------
    table
        ``dataset``, ``title``, ``label``, ``kind`` (run, or peer: stored predictions), ``n``, ``r``, ``r_low``, ``r_high``.
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
            for kind, colour, marker, label in (("run", BLUE, "o", "runs"), ("peer", VERMILION, "D", "stored predictions of others")):
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
    """Draw r and the root mean squared error of the parts of a data set, a row of panels for what it is divided by.

    Parameters
    ----------
    table
        `strata.COLUMNS` of one data set.
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
