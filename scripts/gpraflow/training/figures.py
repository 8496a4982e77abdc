"""Figures of training: learning curves, learning-rate range test and tuning."""

from typing import Any

import polars as pl
from matplotlib import pyplot as plt
from matplotlib import ticker

from gpraflow.core.drawing import BLUE, STYLE, VERMILION


def training_curves(history: pl.DataFrame, best_epoch: int) -> Any:
    """Plot training loss, validation loss and validation r against epochs, one line per ensemble member.

    Parameters
    ----------
    history
        ``member``, ``epoch`` (both from 0), ``loss``, ``val_loss``, ``val_r``.
    best_epoch
        Selected epoch (from 1), of the first member for an ensemble.
    """
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 2.9), layout="constrained")
        for number, (_, part) in enumerate(history.group_by("member", maintain_order=True)):
            epochs = part["epoch"].to_numpy() + 1
            names = {} if number else {"training": "training", "validation": "validation"}
            left.plot(epochs, part["loss"], color=BLUE, marker="o", markersize=3, label=names.get("training"))
            left.plot(epochs, part["val_loss"], color=VERMILION, marker="s", markersize=3, label=names.get("validation"))
            right.plot(epochs, part["val_r"], color=VERMILION, marker="s", markersize=3)
        left.set(xlabel="epoch", ylabel="loss", title="Loss", ylim=(0, None))
        right.set(xlabel="epoch", ylabel="Pearson r, validation", title="Correlation")
        for axes in (left, right):
            axes.axvline(best_epoch, color="0.6", linewidth=0.8, linestyle="--", zorder=0, label=f"best epoch ({best_epoch})")
            axes.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        left.legend(frameon=False)
    return figure


def learning_rates(rates: pl.DataFrame, suggested: float) -> Any:
    """Plot the loss of a learning-rate range test against the learning rate.

    Parameters
    ----------
    rates
        ``learning_rate``, ``loss``, ``smoothed``.
    suggested
        Suggested learning rate, at the steepest decrease of the loss.
    """
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.6, 3.2), layout="constrained")
        axes.plot(rates["learning_rate"], rates["loss"], ".", color="0.75", markersize=3, label="batch")
        axes.plot(rates["learning_rate"], rates["smoothed"], color=BLUE, label="running mean")
        axes.axvline(suggested, color=VERMILION, linewidth=1, linestyle="--", label=f"steepest fall ({suggested:.2g})")
        axes.set(xscale="log", xlabel="learning rate", ylabel="training loss", title="Learning-rate range test")
        axes.set_ylim(0, 1.5 * rates["smoothed"].to_numpy().max())
        axes.legend(frameon=False)
    return figure


def tuning(trials: pl.DataFrame, importance: pl.DataFrame) -> Any:
    """Plot the validation loss of each tuning trial, and the importance of each hyper-parameter.

    Parameters
    ----------
    trials
        ``trial``, ``state``, ``val_loss``, ``best_so_far``.
    importance
        ``key``, ``importance``; may be empty.
    """
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.0), layout="constrained")
        for state, marker, color in (("complete", "o", BLUE), ("pruned", "x", "0.5")):
            part = trials.filter(pl.col("state") == state)
            left.plot(part["trial"] + 1, part["val_loss"], marker, color=color, markersize=4, label=f"{state} (n = {part.height})")
        left.step(trials["trial"] + 1, trials["best_so_far"], where="post", color=VERMILION, label="best so far")
        left.set(xlabel="trial", ylabel="validation loss\n(share of label variance)", title="Trials")
        left.xaxis.set_major_locator(ticker.MaxNLocator(integer=True))
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=3, frameon=False)
        right.barh(importance["key"].to_list()[::-1], importance["importance"].to_list()[::-1], color=BLUE)
        right.set(xlabel="importance (fANOVA)", title="Hyper-parameters", xlim=(0, 1))
        if not importance.height:
            right.text(0.5, 0.5, "fewer than four complete trials", ha="center", va="center", transform=right.transAxes)
            right.set_yticks([])
    return figure
