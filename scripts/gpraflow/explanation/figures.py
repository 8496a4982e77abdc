"""Figures for model interpretation: factor parameters, contribution logos and motifs."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib import pyplot as plt

from gpraflow.core.drawing import BLUE, STYLE, VERMILION
from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.motifs import load as read_motifs

_SMALLEST_Q = 1e-6  # as tables have six decimals
_NAME = (0.12, 0.035)  # width and height of a factor's name, as fractions of the axes
_SMALL = 0.02  # interaction, in units of expression, that the axis shows at least
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
    columns, known = _concentrations(parameters), _with_labels(parameters)
    mean = _ranked(parameters)
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


def _concentrations(parameters: pl.DataFrame) -> list[str]:
    """Return the columns of concentrations."""
    return [name for name in parameters.columns if name.partition(".")[0] == "concentration"]


def _with_labels(table: pl.DataFrame) -> pl.DataFrame:
    """Return the factors with a known motif, with ``label``."""
    return table.filter(pl.col("matrix_id") != "-").with_columns(label=pl.col("factor") + "  " + pl.col("matrix_id"))


def _ranked(parameters: pl.DataFrame) -> pl.DataFrame:
    """Return ``label``, ``effect`` and mean ``activity`` of the factors with a known motif, strongest first."""
    occupancy = pl.mean_horizontal(pl.col(name) / (1 + pl.col(name)) for name in _concentrations(parameters))
    effect = (occupancy * (pl.col("activity").abs() + pl.col("potentiation").abs())).mean().alias("effect")
    means = _with_labels(parameters).group_by("label").agg(effect, pl.col("activity").mean())
    return means.sort("effect", "label", descending=[True, False])


def factor_positions(positions: pl.DataFrame, parameters: pl.DataFrame, most: int = 12) -> Any:
    """Plot the activity of factors by position on both strands: the mean over ensemble members, and their range.

    Parameters
    ----------
    positions
        `models.directory.position_parameters`.
    parameters, most
        As in `factors`.
    """
    ranked = _ranked(parameters)["label"]
    drawn = ranked.head(most).to_list()
    labelled = _with_labels(positions).with_columns(middle=(pl.col("first") + pl.col("last")) / 2)
    activity = pl.col("activity")
    lines = labelled.group_by("label", "strand", "middle").agg(
        activity.mean().alias("mean"), activity.min().alias("low"), activity.max().alias("high")
    )
    with plt.rc_context(STYLE):
        figure, panels = _grid(len(drawn))
        for axes, label in zip(panels.ravel(), drawn, strict=False):
            for strand, colour in (("+", BLUE), ("-", VERMILION)):
                line = lines.filter(label=label, strand=strand).sort("middle")
                axes.plot(line["middle"], line["mean"], color=colour, linewidth=1.2, label=f"{strand} strand")
                axes.fill_between(line["middle"], line["low"], line["high"], color=colour, alpha=0.2, linewidth=0)
            axes.set_title(label, fontsize=8)
        panels[0, 0].legend(fontsize=7, frameon=False)
        figure.supxlabel("centre of the site in the promoter (bp)", fontsize=9)
        figure.supylabel("activity of the bound factor", fontsize=9)
        shown = f" (the strongest {len(drawn)} of {len(ranked)})" if len(ranked) > len(drawn) else ""
        figure.suptitle(f"Activity by position{shown}", x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure


def beside_motifs(parameters: pl.DataFrame, found: pl.DataFrame) -> pl.DataFrame:
    """Return the motifs of ``found`` (`sites.FACTORS`) that are factors of the model, with both activities.

    Columns ``factor``, ``matrix``, ``activity`` (units of expression), ``parameter`` (mean over members).
    """
    of_model = parameters.group_by(matrix=pl.col("matrix_id")).agg(pl.col("activity").mean().alias("parameter"))
    return found.join(of_model, on="matrix", maintain_order="left").select("factor", "matrix", "activity", "parameter")


def _apart(points: pl.DataFrame) -> pl.DataFrame:
    """Return the points, (name, x, y), whose names do not cover those of points before them."""
    places = points[:, 1:].to_numpy()
    scaled = places / np.maximum(np.ptp(places, axis=0), 1e-12) if len(places) else places
    kept: list[int] = []
    for row, place in enumerate(scaled):
        if all(abs(place[0] - scaled[other][0]) > _NAME[0] or abs(place[1] - scaled[other][1]) > _NAME[1] for other in kept):
            kept.append(row)
    return points[kept]


def factors_and_motifs(parameters: pl.DataFrame, found: pl.DataFrame, unit: str = "units of expression") -> Any:
    """Plot the activity of motifs found by in-silico mutagenesis against the model's parameters (`beside_motifs`)."""
    both = beside_motifs(parameters, found)
    agree = int((both["activity"].sign() == both["parameter"].sign()).sum())
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(5.6, 4.4), layout="constrained")
        axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
        colours = [BLUE if above else VERMILION for above in both["activity"] > 0]
        axes.scatter(both["parameter"], both["activity"], c=colours, s=16)
        for factor, x, y in _apart(both.sort(pl.col("activity").abs(), descending=True).select("factor", "parameter", "activity")).rows():
            axes.annotate(factor, (x, y), xytext=(3, 3), textcoords="offset points", fontsize=6.5)
        axes.set(xlabel="activity, parameter of the model (before the sigmoid)", ylabel=f"activity by in-silico mutagenesis ({unit})")
        text = f"{agree} of {both.height} motifs have the sign of their factor" if both.height else "No motif is a factor of the model"
        figure.suptitle(text, x=0.01, ha="left", fontsize=9, fontweight="bold")
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


def inserted(table: pl.DataFrame, factors: Mapping[str, str], unit: str = "units of expression", most: int = 12) -> Any:
    """Plot the effect of inserting motifs against position, on both strands, with its standard error (`grammar.insert`).

    ``factors`` has the name of each motif; the first ``most`` motifs are shown.
    """
    names = table["motif"].unique(maintain_order=True).to_list()
    drawn = names[:most]
    with plt.rc_context(STYLE):
        figure, panels = _grid(len(drawn))
        for axes, name in zip(panels.ravel(), drawn, strict=False):
            for strand, colour in (("+", BLUE), ("-", VERMILION)):
                _with_errors(axes, table.filter(motif=name, strand=strand), "start", "effect", colour, f"{strand} strand")
            axes.set_title(f"{factors[name]}  {name}" if factors[name] != name else name, fontsize=8)
        panels[0, 0].legend(fontsize=7, frameon=False)
        figure.supxlabel("first position of the motif in the insert (bp)", fontsize=9)
        figure.supylabel(f"effect ({unit})", fontsize=9)
        shown = "" if len(names) == len(drawn) else f" (the first {len(drawn)} of {len(names)})"
        text = f"Motifs inserted into {table['backgrounds'][0]} backgrounds{shown}"
        figure.suptitle(text, x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure


def inserted_pairs(table: pl.DataFrame, factors: Mapping[str, str], unit: str = "units of expression", most: int = 6) -> Any:
    """Plot the interaction of pairs of motifs against their spacing, for each orientation (`grammar.insert_pairs`).

    ``factors`` has the name of each motif; the first ``most`` pairs are shown.
    """
    names = table.select("motif_1", "motif_2").unique(maintain_order=True).rows()
    drawn = names[:most]
    with plt.rc_context(STYLE):
        figure, panels = _grid(len(drawn))
        for axes, (one, other) in zip(panels.ravel(), drawn, strict=False):
            for orientation, colour in zip(("++", "+-", "-+", "--"), (BLUE, VERMILION, "#009E73", "0.4"), strict=True):
                part = table.filter(motif_1=one, motif_2=other, orientation=orientation)
                _with_errors(axes, part, "spacing", "interaction", colour, orientation)
            axes.set_title(f"{factors[one]}, {factors[other]}", fontsize=8)
            largest = max(_SMALL, *map(abs, axes.get_ylim()))
            axes.set_ylim(-largest, largest)  # not the rounding errors of an additive model
        if drawn:
            panels[0, 0].legend(fontsize=7, frameon=False, title="orientation", title_fontsize=7)
        figure.supxlabel("bases between the motifs", fontsize=9)
        figure.supylabel(f"interaction ({unit})", fontsize=9)
        figure.suptitle("Pairs of motifs: effect of both minus the sum of each", x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure


def _grid(number: int) -> tuple[Any, Any]:
    """Return a figure of up to three columns of panels with a line at 0."""
    columns = min(3, max(number, 1))
    rows = max(-(-number // columns), 1)
    size = (3.0 * columns + 0.6, 0.8 + 1.8 * rows)
    figure, panels = plt.subplots(rows, columns, figsize=size, layout="constrained", squeeze=False, sharex=True)
    for index, axes in enumerate(panels.ravel()):
        if index < number:
            axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
        else:
            axes.set_axis_off()
    return figure, panels


def _with_errors(axes: Any, table: pl.DataFrame, at: str, value: str, colour: str, label: str) -> None:
    """Draw a line with a band of two standard errors."""
    x, y, error = (table[name].to_numpy() for name in (at, value, "standard_error"))
    axes.plot(x, y, color=colour, linewidth=1.2, label=label, marker="o" if len(x) < 8 else None, markersize=3)
    axes.fill_between(x, y - 2 * error, y + 2 * error, color=colour, alpha=0.2, linewidth=0)


def epistasis(found: np.ndarray, places: Sequence[int] | np.ndarray, name: str, unit: str = "units of expression", bases: str = "") -> Any:
    """Plot the strongest epistasis of each pair of positions of a promoter as a heat map (`grammar.strongest`).

    ``places`` are the positions from 1 in the promoter, ascending; ``bases``, if given, the promoter's bases there.
    """
    at = np.asarray(places) - places[0]
    grid = np.full((at[-1] + 1, at[-1] + 1), np.nan)  # positions with N between others stay empty
    grid[np.ix_(at, at)] = found
    largest = (float(np.nanmax(np.abs(found))) if np.isfinite(found).any() else 0) or 1.0
    side = float(np.clip(1.2 + 0.07 * len(grid), 4.4, 9))
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(side + 0.9, side), layout="constrained")
        extent = (places[0] - 0.5, places[-1] + 0.5, places[-1] + 0.5, places[0] - 0.5)
        image = axes.imshow(grid, cmap="RdBu", vmin=-largest, vmax=largest, extent=extent, interpolation="nearest")
        axes.set_facecolor("0.9")
        axes.locator_params(integer=True)
        axes.set(xlabel="position in the promoter (bp)", ylabel="position in the promoter (bp)")
        size = float(np.clip(56 * side / len(grid), 3, 7))
        for place, base in zip(places, bases, strict=False):
            axes.text(place, places[0] - 0.7, base, fontsize=size, ha="center", va="bottom")
            axes.text(places[-1] + 0.8, place, base, fontsize=size, ha="left", va="center")
        figure.colorbar(image, ax=axes, label=f"epistasis ({unit})", fraction=0.045)
        text = f"{name}: effect of two substitutions minus the sum of each,\nthe largest of the nine pairs at two positions"
        figure.suptitle(text, x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure


def saturation_map(
    sequence: str, effects: np.ndarray, marked: Sequence[tuple[int, str]], name: str, unit: str = "units of expression"
) -> Any:
    """Plot the effects of all single mutants of a promoter as a heat map of positions and bases.

    Parameters
    ----------
    sequence
        The promoter, 5' to 3'.
    effects
        ``(length, 4)`` effects of A, C, G and T at each position; NaN where none was predicted.
    marked
        Position from 1 and new base of variants to mark.
    name
        Name of the promoter.
    unit
        Unit of expression.
    """
    length = len(sequence)
    largest = float(np.nanmax(np.abs(effects))) if np.isfinite(effects).any() else 1.0
    with plt.rc_context(STYLE):
        figure, (top, bottom) = plt.subplots(
            2, 1, figsize=(max(6.0, 1.2 + 0.105 * length), 2.7), layout="constrained", sharex=True, height_ratios=[2, 3]
        )
        mean = np.nansum(effects, axis=1) / 3
        top.bar(np.arange(1, length + 1), mean, width=0.9, color=np.where(mean > 0, BLUE, VERMILION))
        top.axhline(0, color="0.5", linewidth=0.6)
        top.set_ylabel("mean effect", fontsize=8)
        image = bottom.imshow(
            effects.T,
            aspect="auto",
            cmap="RdBu",
            vmin=-largest or -1,
            vmax=largest or 1,
            extent=(0.5, length + 0.5, 3.5, -0.5),
            interpolation="nearest",
        )
        bottom.set_facecolor("0.9")
        own = [(place, "ACGT".index(base)) for place, base in enumerate(sequence, start=1) if base in "ACGT"]
        bottom.plot([place for place, _ in own], [base for _, base in own], "o", color="0.25", markersize=1.6)
        for place, base in marked:
            bottom.add_patch(plt.Rectangle((place - 0.5, "ACGT".index(base) - 0.5), 1, 1, fill=False, edgecolor="black", linewidth=1.2))
        bottom.set(yticks=range(4), yticklabels=list("ACGT"), xlabel="position in the promoter (bp, 5' to 3'); dots: bases of the promoter")
        figure.colorbar(image, ax=bottom, label=f"effect\n({unit})", fraction=0.03, pad=0.01)
        marks = f"; boxes: {len(marked)} variant{'s' if len(marked) > 1 else ''}" if marked else ""
        figure.suptitle(f"{name}: effects of all single mutants{marks}", x=0.01, ha="left", fontsize=9, fontweight="bold")
    return figure


def read_de_novo(
    table: str | os.PathLike, sites: str | os.PathLike, meme: str | os.PathLike
) -> tuple[pl.DataFrame, pl.DataFrame, list[Motif]]:
    """Read the first three arguments of `de_novo` from the files of an explanation."""
    found, places = (
        pl.read_csv(
            Path(path), separator="\t", schema_overrides={"name": pl.String, "factor": pl.String, "q_value": pl.Float64}, glob=False
        )
        for path in (table, sites)
    )
    return found, places, read_motifs(meme) if found.height else []


def de_novo(
    table: pl.DataFrame, sites: pl.DataFrame, matrices: Sequence[Motif], title: str, unit: str = "units of expression", most: int = 20
) -> Any:
    """Plot de novo motifs: logo and best match, activity, and positions of sites on both strands.

    Parameters
    ----------
    table, sites
        Tables ``de_novo`` and ``de_novo_sites`` of `explain.Explanation`.
    matrices
        The motifs of ``table``, in its order.
    title
        Name of the data set.
    unit
        Unit of expression.
    most
        Maximum number of motifs; the first ones are shown.
    """
    drawn = table.head(most)
    with plt.rc_context(STYLE):
        rows = max(drawn.height, 1)
        figure, panels = plt.subplots(
            rows, 3, figsize=(9.5, 0.9 + 0.62 * rows), layout="constrained", squeeze=False, width_ratios=[3, 1.6, 4], sharex="col"
        )
        share = f"{100 * float(table['explained'][-1]):.0f} % of the effects" if table.height else "none of the effects"
        shown = f"{table.height}" if drawn.height == table.height else f"{table.height}, the first {drawn.height} shown"
        text = f"{title}: motifs found without known motifs, which explain {share} ({shown})"
        figure.suptitle(text, x=0.01, ha="left", fontsize=9, fontweight="bold")
        if not drawn.height:
            panels[0, 1].text(0.5, 0.5, "no motif found", ha="center", va="center", color="0.4", transform=panels[0, 1].transAxes)
            for axes in panels[0]:
                axes.set_axis_off()
            return figure
        edges = np.arange(0, int(np.max(sites["end"].to_numpy(), initial=1)) + 5, 5) + 0.5
        centres = (sites["start"] + sites["end"]).to_numpy() / 2
        widest = max(len(motif.log_odds) for motif in matrices[: drawn.height])
        for (left, middle, right), motif, matrix in zip(panels, drawn.iter_rows(named=True), matrices, strict=False):
            _information_logo(left, matrix, widest)
            match = "no match"
            if motif["factor"]:
                q_value = f"q {motif['q_value']:.0e}" if motif["q_value"] >= _SMALLEST_Q else f"q < {_SMALLEST_Q:.0e}"
                match = f"{motif['factor']} ({q_value})"
            left.set_ylabel(f"{motif['motif'].removeprefix('denovo_')}  {match}", rotation=0, ha="right", va="center", fontsize=7)
            colour = BLUE if motif["activity"] > 0 else VERMILION
            middle.barh([0], [motif["activity"]], color=colour, height=0.5)
            middle.axvline(0, color="0.6", linewidth=0.8)
            middle.set(yticks=[], ylim=(-0.6, 0.6))
            for strand, sign in (("+", 1), ("-", -1)):
                of = (sites["motif"] == motif["motif"]).to_numpy() & (sites["strand"] == strand).to_numpy()
                counts, _ = np.histogram(centres[of], edges)
                right.bar(edges[:-1] + 2.5, sign * counts, width=4.6, color=colour, alpha=1 if sign > 0 else 0.5)
            right.axhline(0, color="0.5", linewidth=0.6)
            most_sites = int(np.abs(right.get_ylim()).max()) or 1
            right.set(ylim=(-most_sites, most_sites), yticks=[0, most_sites])
            right.tick_params(labelsize=6)
        panels[-1, 0].set_xlabel("position in the motif (bp)")
        panels[-1, 1].set_xlabel(f"activity\n({unit})")
        panels[-1, 2].set_xlabel("position in the promoter (bp); + strand up, - strand down")
    return figure


def _information_logo(axes: Any, motif: Motif, widest: int) -> None:
    """Draw a motif with letters scaled by information content, in bits."""
    import logomaker
    import pandas

    frequencies = motif.frequencies
    information = 2 + (frequencies * np.log2(frequencies)).sum(axis=1, keepdims=True)
    frame = pandas.DataFrame(frequencies * information, columns=list("ACGT"), index=np.arange(1, len(frequencies) + 1))
    logomaker.Logo(frame, ax=axes, color_scheme=_BASE_COLOURS)
    axes.set(ylim=(0, 2), yticks=[], xlim=(0.5, widest + 0.5))
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
