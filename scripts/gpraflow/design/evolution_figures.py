"""Figures of the evolution of promoters: trajectories, robustness and evolvability, conservation of expression."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib import pyplot as plt
from matplotlib.ticker import MaxNLocator

from gpraflow.core.drawing import BLUE, STYLE, VERMILION
from gpraflow.design.evolution import QUANTILES

TITLES = {
    "drift": "Neutral drift",
    "up": "Selection for high expression",
    "down": "Selection for low expression",
    "stabilising": "Stabilising selection",
}
_LINES = 15  # single trajectories and vectors that are drawn


def trajectories(predicted: Mapping[str, np.ndarray], unit: str) -> Any:
    """Plot predicted expression over generations, one panel per regime: median, quantiles, and the first trajectories.

    Parameters
    ----------
    predicted
        Regime -> ``(trajectories, generations + 1)``.
    unit
        Unit of predicted expression.
    """
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(
            1, len(predicted), figsize=(0.8 + 2.7 * len(predicted), 3.0), layout="constrained", sharey=True, squeeze=False
        )
        for axes, (regime, values) in zip(panels[0], predicted.items(), strict=True):
            generations = np.arange(values.shape[1])
            low, quarter, median, three_quarters, high = np.quantile(values, list(QUANTILES.values()), axis=0)
            if len(values) > 1:
                axes.fill_between(generations, low, high, color=BLUE, alpha=0.15, linewidth=0, label="5 to 95 %")
                axes.fill_between(generations, quarter, three_quarters, color=BLUE, alpha=0.3, linewidth=0, label="25 to 75 %")
                lines = axes.plot(generations, values[:_LINES].T, color="0.4", linewidth=0.5, alpha=0.7)
                lines[0].set_label("single trajectories")
            axes.plot(generations, median, color=BLUE, linewidth=2, label="median")
            title = f"{TITLES[regime]}\n({len(values):,} trajectories)"
            axes.set(xlabel="generation", title=title, xlim=(0, generations[-1]))
            axes.title.set_fontsize(9)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        panels[0, 0].set_ylabel(f"predicted expression\n({unit})")
        handles, labels = panels[0, 0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False, fontsize=8)
    return figure


def robustness(sorted_effects: np.ndarray, table: pl.DataFrame, epsilon: float, unit: str) -> Any:
    """Plot evolvability vectors (median, quantiles and the first promoters) and mutational robustness against expression.

    Parameters
    ----------
    sorted_effects, table
        Of `evolution.Landscape`.
    epsilon
        Threshold of robustness.
    unit
        Unit of predicted expression.
    """
    mutants = np.isfinite(sorted_effects).sum(axis=1)
    # Promoters may differ in length: ranks as shares of all mutants.
    grid = np.linspace(0, 1, int(mutants.max()))
    vectors = np.array([np.interp(grid, np.linspace(0, 1, n), row[:n]) for row, n in zip(sorted_effects, mutants, strict=True)])
    low, quarter, median, three_quarters, high = np.quantile(vectors, list(QUANTILES.values()), axis=0)
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.6, 3.2), layout="constrained")
        share = 100 * grid
        left.axhspan(-epsilon, epsilon, color=VERMILION, alpha=0.2, linewidth=0, label=f"below {epsilon:g}")
        if len(vectors) > 1:
            left.fill_between(share, low, high, color=BLUE, alpha=0.15, linewidth=0, label="5 to 95 %")
            left.fill_between(share, quarter, three_quarters, color=BLUE, alpha=0.3, linewidth=0, label="25 to 75 %")
            lines = left.plot(share, vectors[:_LINES].T, color="0.4", linewidth=0.4, alpha=0.7)
            lines[0].set_label("single promoters")
        left.plot(share, median, color=BLUE, linewidth=2, label="median")
        left.set(xlabel="single mutants, sorted by effect (%)", ylabel=f"effect on expression\n({unit})", xlim=(0, 100))
        left.set_title("Evolvability vectors", fontsize=9)
        left.legend(frameon=False, fontsize=7.5, loc="upper left")
        right.plot(table["predicted"], 100 * table["robustness"], "o", color=BLUE, markersize=3, alpha=0.5, markeredgewidth=0)
        right.set(xlabel=f"predicted expression ({unit})", ylabel=f"mutants with an effect\nbelow {epsilon:g} (%)", ylim=(0, 102))
        right.set_title(f"Mutational robustness ({table.height:,} promoters)", fontsize=9)
    return figure


def conservation(table: pl.DataFrame) -> Any:
    """Plot the distribution of the expression conservation coefficient over sets of orthologs, columns as `evolution.CONSERVATION`."""
    values = table["ecc"].drop_nulls().to_numpy()
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.6, 3.0), layout="constrained")
        most = max(1.0, float(np.ceil(np.abs(values).max())))
        bins = np.linspace(-most, most, 2 * max(5, min(20, len(values) // 4)) + 1)
        below = values < 0
        axes.hist(values[~below], bins=list(bins), color=BLUE, alpha=0.7, label="varies less than random mutants")
        axes.hist(values[below], bins=list(bins), color=VERMILION, alpha=0.7, label="varies more")
        axes.axvline(0, color="0.3", linewidth=0.8)
        axes.set(xlabel="expression conservation coefficient (log2)", ylabel="sets of orthologs", xlim=(-most, most))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_title(f"{len(values):,} sets, {100 * np.mean(values > 0):.0f} % above 0", fontsize=9)
        axes.legend(facecolor="white", edgecolor="none", framealpha=1, fontsize=7.5, loc="upper left")
        axes.margins(y=0.3)
    return figure
