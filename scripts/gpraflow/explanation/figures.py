"""Figures for model interpretation: factor parameters, contribution logos and motifs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib import pyplot as plt

from gpraflow.core.drawing import BLUE, STYLE, VERMILION

_BASE_COLOURS = {"A": "#009E73", "C": "#0072B2", "G": "#E69F00", "T": "#D55E00"}  # base colours of sequence logos


def factors(parameters: pl.DataFrame, most: int = 30) -> Any:
    """Plot the parameters of factors with a known motif: one row per factor, one dot per ensemble member, and a bar for the mean.

    With several conditions, each has a panel of concentrations.

    Parameters
    ----------
    parameters
        ``factor``, ``matrix_id`` ("-" for factors without a known motif, which are excluded), ``activity``, ``potentiation`` and
        ``concentration`` (relative to the dissociation constant of the best site), or such columns of each condition.
    most
        Maximum number of factors, ranked by activity and potentiation at the best site times its occupancy c / (1 + c), averaged over
        members and conditions.
    """
    columns = [name for name in parameters.columns if name.partition(".")[0] == "concentration"]
    known = parameters.filter(pl.col("matrix_id") != "-").with_columns(label=pl.col("factor") + "  " + pl.col("matrix_id"))
    occupancy = pl.mean_horizontal(pl.col(name) / (1 + pl.col(name)) for name in columns)
    effect = (occupancy * (pl.col("activity").abs() + pl.col("potentiation").abs())).mean().alias("effect")
    mean = known.group_by("label").agg(effect, pl.col("activity").mean()).sort("effect", "label", descending=[True, False])
    drawn = mean.head(most).sort("activity", "label")["label"].to_list()
    row_of = {label: row for row, label in enumerate(drawn)}
    members = parameters["member"].n_unique()
    with plt.rc_context(STYLE):
        size = (5.4 + 1.8 * len(columns), 1.2 + 0.17 * len(drawn))
        figure, panels = plt.subplots(1, 2 + len(columns), figsize=size, layout="constrained", sharey=True)
        for axes, column in zip(panels, ["activity", "potentiation", *columns], strict=True):
            concentration, condition = column in columns, column.partition(".")[2]
            text = "concentration / K of best site" + (f",\n{condition}" if condition else "") if concentration else column
            for label, part in known.filter(pl.col("label").is_in(drawn)).group_by("label", maintain_order=True):
                row, values = row_of[label[0]], part[column].to_numpy()
                middle = float(np.exp(np.log(values).mean()) if concentration else values.mean())
                axes.plot([1 if concentration else 0, middle], [row, row], color="0.8", linewidth=3, zorder=1)
                axes.plot(values, np.full(len(values), row), "o", color=BLUE, markersize=3.5, alpha=0.8, zorder=2)
            if concentration:
                axes.set_xscale("log")
            axes.axvline(1 if concentration else 0, color="0.6", linewidth=0.8, zorder=0)
            axes.set(xlabel=text)
        panels[0].set_yticks(range(len(drawn)), drawn, fontsize=7)
        panels[0].set_ylim(-1, len(drawn))
        of = f"{len(drawn)} of {len(mean)} factors with a known motif"
        figure.suptitle(of + (f", {members} ensemble members" if members > 1 else ""), x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure


def contribution_logos(
    promoters: Sequence[tuple[str, np.ndarray, int, pl.DataFrame | None, str]], unit: str = "units of expression"
) -> Any:
    """Plot the contribution of each base to predicted expression as sequence logos, with motif sites below if motifs were searched for.

    Parameters
    ----------
    promoters
        For each promoter: sequence, 5' to 3'; ``(length,)`` contributions within the model's window; position in the window of the
        promoter's first base; table of sites with ``factor``, ``strand``, ``start``, ``end`` (from 1 in the promoter) and ``similarity``,
        or None if no motifs were searched for; name.
    unit
        Unit of expression.
    """
    with plt.rc_context(STYLE):
        height = 2.9 if any(sites is not None for *_, sites, _ in promoters) else 2.2
        figure = plt.figure(figsize=(9.5, height * len(promoters)), layout="constrained")
        for part, promoter in zip(figure.subfigures(len(promoters), 1, squeeze=False)[:, 0], promoters, strict=True):
            _contribution_logo(part, *promoter, unit=unit)
    return figure


def logos_of(
    promoters: pl.DataFrame, contributions: pl.DataFrame, sites: pl.DataFrame | None, title: str, number: int
) -> list[tuple[str, np.ndarray, int, pl.DataFrame | None, str]]:
    """Return the input of `contribution_logos` for ``number`` evenly spaced promoters of an `explain.Explanation`.

    ``sites`` is None if no motifs were searched for.
    """
    chosen = promoters[np.unique(np.linspace(0, promoters.height - 1, min(number, promoters.height)).round().astype(int))]
    logos = []
    for name, sequence, measured, predicted in chosen.select("name", "sequence", "expression", "predicted").iter_rows():
        bases = contributions.filter(name=name)
        text = f"{title}, promoter {name}: predicted {predicted:.1f}, measured {measured:.1f}"
        window = np.zeros(len(sequence))
        window[bases["position"].to_numpy() - 1] = bases["contribution"].to_numpy()
        logos.append((sequence, window, 0, None if sites is None else sites.filter(name=name), text))
    return logos


def _contribution_logo(
    figure: Any, sequence: str, values: np.ndarray, begin: int, sites: pl.DataFrame | None, title: str, unit: str
) -> None:
    import logomaker
    import pandas

    window = np.arange(max(begin, 0), min(begin + len(sequence), len(values)))
    heights = np.zeros((len(window), 4))
    for row, place in enumerate(window):
        base = "ACGT".find(sequence[place - begin])
        if base >= 0:
            heights[row, base] = values[place]
    panels = figure.subplots(1 if sites is None else 2, 1, sharex=True, squeeze=False, height_ratios=[3] if sites is None else [3, 1])[:, 0]
    logo = pandas.DataFrame(heights, columns=list("ACGT"), index=window - begin + 1)
    logomaker.Logo(logo, ax=panels[0], color_scheme=_BASE_COLOURS, flip_below=False)
    panels[0].axhline(0, color="0.5", linewidth=0.6)
    panels[0].set(ylabel=f"contribution\n({unit})", title=title)
    panels[0].set_xlim(logo.index[0] - 0.5, logo.index[-1] + 0.5)
    panels[-1].set_xlabel("position in the promoter (bp, 5' to 3')")
    if sites is not None:
        _sites(panels[1], sites)


def _sites(axes: Any, sites: pl.DataFrame) -> None:
    """Draw motif sites as bars in lanes, so that none overlap."""
    lanes: list[int] = []  # end of the last site in each lane
    if not sites.height:
        axes.text(0.5, 0.5, "no motif site found", ha="center", va="center", color="0.4", transform=axes.transAxes)
    for site in sites.sort("start").iter_rows(named=True):
        lane = next((index for index, end in enumerate(lanes) if end < site["start"] - 1), len(lanes))
        lanes[lane : lane + 1] = [site["end"]]
        colour = BLUE if site["similarity"] > 0 else VERMILION
        axes.plot([site["start"] - 0.5, site["end"] + 0.5], [-lane, -lane], color=colour, linewidth=5, solid_capstyle="butt")
        label = f"{site['factor']} {site['strand']}"
        axes.text((site["start"] + site["end"]) / 2, -lane - 0.2, label, ha="center", va="top", fontsize=6.5, color=colour)
    axes.set(ylim=(-max(len(lanes), 1) - 0.3, 0.6), yticks=[])
    axes.set_ylabel("sites", rotation=0, ha="right", va="center")
    axes.spines["left"].set_visible(False)


def motifs(motifs: pl.DataFrame, sites: pl.DataFrame, summary: Mapping[str, Any], title: str, unit: str, most: int = 25) -> Any:
    """Plot site ablation effects per motif (one dot per site, a bar for the mean), and the fraction of promoters with a site.

    Parameters
    ----------
    motifs, sites, summary
        Tables of `explain.Explanation`; motifs with a known true activity (``planted``) are marked.
    title
        Name of the data set.
    unit
        Unit of expression.
    most
        Maximum number of motifs; the first ones are shown.
    """
    drawn = motifs.head(most)[::-1]
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(7.2, 1.5 + 0.2 * max(drawn.height, 4)), layout="constrained", sharey=True, width_ratios=[2, 1]
        )
        for row, motif in enumerate(drawn.iter_rows(named=True)):
            effects = sites.filter(matrix=motif["matrix"])["effect"].to_numpy()
            if len(effects):
                mean = float(motif["mean_effect"])
                left.plot(
                    [0, mean], [row, row], color=BLUE if mean > 0 else VERMILION, linewidth=6, alpha=0.5, solid_capstyle="butt", zorder=1
                )
                left.plot(effects, np.full(len(effects), row), "o", color="0.2", markersize=2.5, alpha=0.7, zorder=2)
        right.barh(np.arange(drawn.height), 100 * drawn["promoters"].to_numpy(), color="0.6", height=0.6)
        planted = drawn["planted"].is_not_null().to_list() if "planted" in drawn.columns else [False] * drawn.height
        labels = drawn.select(pl.format("{}  {}  ({})", "factor", "matrix", "sites")).to_series().to_list()
        left.set_yticks(
            np.arange(drawn.height), [f"{label}  *" if mark else label for label, mark in zip(labels, planted, strict=True)], fontsize=7
        )
        left.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        left.set(xlabel=f"effect of a site on expression\n({unit})", ylabel="motif (sites)", ylim=(-0.8, max(drawn.height, 1) - 0.2))
        right.set(xlabel=f"promoters with a site\n(%, n = {summary['promoters']})", xlim=(0, 100))
        if not drawn.height:
            left.text(0.5, 0.5, "no motif explains the effects", ha="center", va="center", color="0.4", transform=left.transAxes)
        number = f"{motifs.height}" if drawn.height == motifs.height else f"{motifs.height}, the first {drawn.height} shown"
        text = f"{title}: motifs that explain {100 * summary['explained']:.0f} % of the effects ({number})"
        if recovery := summary["recovery"]:
            shares = [f"{key} {recovery[key]:.2f}" for key in ("precision", "recall") if recovery[key] is not None]
            text += f"\n* one of the {recovery['active']} factors that decide expression in the simulation: {', '.join(shares)}"
        figure.suptitle(text, x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure
