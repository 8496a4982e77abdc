"""Figures: PNG for the screen, SVG for the paper; the same data give the same bytes."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import polars as pl

from gpraflow import files

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib import ticker

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "svg.hashsalt": "gpraflow",
    "svg.fonttype": "none",
}
_TRAIN, _VAL = "#0072B2", "#D55E00"  # Okabe and Ito's colour-blind-safe blue and vermilion


def save(figure: Any, png: str | os.PathLike, svg: str | os.PathLike) -> None:
    """Write a figure as PNG and SVG and close it."""
    for path, metadata in ((png, {"Software": None}), (svg, {"Date": None, "Creator": None})):
        with files.whole(path) as temporary, plt.rc_context(STYLE):
            figure.savefig(temporary, metadata=metadata, format=Path(path).suffix[1:], bbox_inches="tight")
    plt.close(figure)


def training_curves(history: pl.DataFrame, best_epoch: int) -> Any:
    """Draw loss on training and validation promoters and r on validation promoters against epochs.

    Parameters
    ----------
    history
        ``epoch`` (from 0), ``loss``, ``val_loss``, ``val_r``.
    best_epoch
        The epoch (from 1) that became the model.
    """
    epochs = history["epoch"].to_numpy() + 1
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
        left.plot(epochs, history["loss"], color=_TRAIN, marker="o", markersize=3, label="training")
        left.plot(epochs, history["val_loss"], color=_VAL, marker="s", markersize=3, label="validation")
        left.set(xlabel="epoch", ylabel="mean squared error\n(share of label variance)", title="Loss", ylim=(0, None))
        right.plot(epochs, history["val_r"], color=_VAL, marker="s", markersize=3)
        right.set(xlabel="epoch", ylabel="Pearson r, validation", title="Correlation")
        for axes in (left, right):
            axes.axvline(best_epoch, color="0.6", linewidth=0.8, linestyle="--", zorder=0, label=f"best epoch ({best_epoch})")
            axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        left.legend(frameon=False)
    return figure


def prediction_scatter(predictions: pl.DataFrame, scores: Mapping[str, Any], title: str, unit: str, hexagons: int) -> Any:
    """Draw measured against predicted expression as hexagons, the line of equality, and the scores with their intervals.

    Parameters
    ----------
    predictions
        ``expression`` and ``predicted``.
    scores
        What `metrics.evaluate` gave for them.
    title
        Name of the data set.
    unit
        Of expression, for the axes.
    hexagons
        How many across.
    """
    measured, predicted = predictions["expression"].to_numpy(), predictions["predicted"].to_numpy()
    low = float(min(measured.min(), predicted.min()))
    high = float(max(measured.max(), predicted.max()))
    margin = 0.03 * (high - low) or 1.0
    limits = (low - margin, high + margin)

    def interval(key: str) -> str:
        if scores[key] is None:
            return "not defined"
        return f"{scores[key]:.3f} [{scores[f'{key}_low']:.3f}, {scores[f'{key}_high']:.3f}]"

    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.4, 3.9), layout="constrained")
        cells = axes.hexbin(
            predicted, measured, gridsize=hexagons, extent=(*limits, *limits), mincnt=1, bins="log", cmap="viridis", linewidths=0
        )
        axes.plot(limits, limits, color="0.4", linewidth=0.8, linestyle="--")
        axes.set(xlim=limits, ylim=limits, xlabel=f"predicted expression ({unit})", ylabel=f"measured expression ({unit})", aspect="equal")
        axes.set_title(title, fontsize=10, pad=30)
        text = f"n = {scores['n']:,}    r = {interval('r')}\nR² = {interval('R2')}    ρ = {interval('rho')}"
        axes.text(0, 1.02, text, transform=axes.transAxes, va="bottom", fontsize=7.5, linespacing=1.4)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(6))
        axes.yaxis.set_major_locator(ticker.MaxNLocator(6))
        count_bar(figure, axes, cells)
    return figure


def count_bar(figure: Any, axes: Any, cells: Any) -> None:
    """Add the colour bar of hexagons that show the logarithm of a number of promoters."""
    bar = figure.colorbar(cells, ax=axes, label="promoters per hexagon", shrink=0.85)
    bar.outline.set_visible(False)
    counts = np.asarray(cells.get_array())
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if t <= np.max(counts)]
    bar.set_ticks(ticks, labels=[f"{t:,}" for t in ticks])
    bar.minorticks_off()
