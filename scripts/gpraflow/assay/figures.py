"""Figures of assay quality control: read losses, sequencing depth, inserts, expression and replicates."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
from matplotlib import cm, colors, ticker
from matplotlib import pyplot as plt

from gpraflow.assay.estimators import expected_profile
from gpraflow.assay.replicates import Replicate, reads_per_population_cell
from gpraflow.assay.sheet import replicate_of
from gpraflow.core.drawing import STYLE, shared_count_bar
from gpraflow.sequences.scaffold import Scaffold

# Colour-blind-safe palette of Okabe and Ito
_BLUE, _VERMILION, _ORANGE, _GREEN, _PURPLE, _SKY, _YELLOW = "#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#F0E442"
_REASONS = (_VERMILION, _ORANGE, _SKY, _PURPLE, _YELLOW, _GREEN, "#000000")
_REPLICATES = (_BLUE, _ORANGE, _GREEN, _PURPLE, _SKY, _VERMILION)
_BASES = {"A": _GREEN, "C": _BLUE, "G": _ORANGE, "T": _VERMILION, "N": "#000000"}
_STEPS = {"merge_pairs": "merged", "count_reads": "counted"}  # rule -> what its output reads are called
_SMALL = 7.5
_STEP = [1, 2, 2.5, 5, 10]  # step sizes for axis ticks
_BLOCK = 100_000
_ONE_PARENT = 0.6  # share of the most frequent base at half of the positions, from which inserts are variants of one parent
_FLAT = 0.04  # median absolute deviation between positions of the share of a base, below which inserts are random
_QUANTILES = (0.10, 0.35, 0.65, 0.90)
_SHALLOW = (6, 20)  # range of reads of a poorly covered example promoter

Sheet = Sequence[Mapping[str, Any]]
Histogram = tuple[np.ndarray, np.ndarray]  # read counts, and the number of inserts with each count


@dataclass(frozen=True)
class Survey:
    """Summary of the counted inserts, as needed by the figures of read quality.

    ``bins`` has one histogram per bin and ``library`` is the histogram of all bins together. ``length_reads`` is the number of reads
    with inserts of ``lengths`` bp. ``composition``, shape ``(length, 5)``, is the number of distinct inserts of the most frequent
    length with A, C, G, T or N at each position.
    """

    bins: list[Histogram]
    library: Histogram
    lengths: np.ndarray
    length_reads: np.ndarray
    composition: np.ndarray

    @property
    def reads(self) -> np.ndarray:
        """Reads per bin, shape ``(bins,)``."""
        return np.array([n @ inserts for n, inserts in self.bins])

    @property
    def distinct(self) -> np.ndarray:
        """Distinct inserts per bin, shape ``(bins,)``."""
        return np.array([inserts.sum() for _, inserts in self.bins])


def reads_histogram(reads: pl.Series) -> Histogram:
    """Return the distinct read counts, ascending, and the number of inserts with each count."""
    counts = reads.value_counts(name="inserts").sort(reads.name)
    return counts[reads.name].to_numpy(), counts["inserts"].to_numpy().astype(np.int64)


def base_composition(inserts: pl.Series, block: int = _BLOCK) -> np.ndarray:
    """Return the number of inserts with A, C, G, T or N at each position from the 5' flank, ``(length, 5)`` int64.

    Parameters
    ----------
    inserts
        Sequences of equal length.
    block
        Number of inserts processed at a time.
    """
    if inserts.is_empty():
        return np.zeros((0, 5), np.int64)
    length = len(inserts[0])
    counts = np.zeros((length, 5), np.int64)
    for begin in range(0, len(inserts), block):
        text = inserts[begin : begin + block].str.join("").item()
        letters = np.frombuffer(text.encode("ascii"), np.uint8).reshape(-1, length)
        counts += np.stack([(letters == ord(base)).sum(axis=0) for base in _BASES], axis=1)
    return counts


def inserts_of_bins(counts: pl.LazyFrame, columns: Sequence[str], scaffold: Scaffold) -> list[pl.LazyFrame]:
    """Return ``insert, reads`` of each bin from a table of counts with ``sequence`` and one column per bin."""
    size = pl.col("sequence").str.len_chars() - len(scaffold.five_prime) - len(scaffold.three_prime)
    insert = pl.col("sequence").str.slice(len(scaffold.five_prime), size)
    return [counts.filter(pl.col(column) > 0).select(insert=insert, reads=column) for column in columns]


def survey(counts: Sequence[pl.LazyFrame]) -> Survey:
    """Summarise the counts of all bins.

    Parameters
    ----------
    counts
        Table of each bin with ``insert`` and ``reads``, one row per distinct insert.
    """
    bins = [reads_histogram(table.select("reads").collect(engine="streaming")["reads"]) for table in counts]
    library = pl.concat([table.select("insert", "reads") for table in counts]).group_by("insert").agg(pl.col("reads").sum())
    distinct = library.collect(engine="streaming").with_columns(length=pl.col("insert").str.len_bytes())
    lengths = distinct.group_by("length").agg(pl.col("reads").sum(), inserts=pl.len()).sort("length")
    usual = lengths.sort("inserts", descending=True, maintain_order=True)["length"].head(1)
    composition = base_composition(distinct.filter(pl.col("length").is_in(usual.implode()))["insert"])
    return Survey(bins, reads_histogram(distinct["reads"]), lengths["length"].to_numpy(), lengths["reads"].to_numpy(), composition)


def rarefy(histogram: Histogram, share: np.ndarray) -> np.ndarray:
    """Return the expected number of distinct inserts in a random subsample of the reads.

    ``sum_i 1 - (1 - f)^n_i`` over inserts i with n_i reads: each read is kept with probability f (binomial form of the rarefaction of
    Hurlbert 1971, doi:10.2307/1934145). Run time depends on the number of distinct n, not on the number of inserts.

    Parameters
    ----------
    histogram
        n and the number of inserts with n reads.
    share
        Subsampled fractions f, from 0 to 1, shape ``(points,)``.

    Returns
    -------
    np.ndarray
        Expected number of distinct inserts, shape ``(points,)``.
    """
    n, inserts = histogram
    with np.errstate(divide="ignore"):  # log(0) at f = 1, where every insert is observed
        lost = np.log1p(-np.asarray(share, np.float64))
    return np.array([-np.expm1(n * each) @ inserts for each in lost])


def reads_lost(ledger: pl.DataFrame, columns: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return the reasons for lost reads, most frequent first, and the reads lost, ``(columns, reasons)`` int64.

    Parameters
    ----------
    ledger
        Table with the columns `ledger.COLUMNS`. Only the rules merge_pairs and count_reads are used.
    columns
        Bin columns, named as in the ledger's ``dataset``.
    """
    label = pl.when(pl.col("rule") == "count_reads").then("what").otherwise(pl.concat_str("rule", pl.lit(": "), "what"))
    dropped = ledger.filter(kind="dropped").filter(pl.col("rule").is_in(list(_STEPS)) & pl.col("dataset").is_in(list(columns)))
    dropped = dropped.group_by("dataset", reason=label).agg(pl.col("rows").sum())
    total = dropped.group_by("reason").agg(pl.col("rows").sum()).filter(pl.col("rows") > 0).sort("rows", "reason", descending=[True, False])
    reasons = total["reason"].to_list()
    lost = np.zeros((len(columns), len(reasons)), np.int64)
    for column, reason, rows in dropped.filter(pl.col("reason").is_in(reasons)).select("dataset", "reason", "rows").iter_rows():
        lost[columns.index(column), reasons.index(reason)] = rows
    return reasons, lost


def reads_through(ledger: pl.DataFrame, columns: Sequence[str]) -> dict[str, list[int | None]]:
    """Return the input reads of each bin column and its reads after each step (None if the bin did not pass through that step)."""
    rows = {(rule, column, kind): n for rule, column, kind, _, n in ledger.filter(pl.col("kind").is_in(["in", "out"])).iter_rows()}
    steps = [rule for rule in _STEPS if rule in ledger["rule"]]
    first = [next((n for rule in steps if (n := rows.get((rule, column, "in"))) is not None), 0) for column in columns]
    return {"reads in": first} | {_STEPS[rule]: [rows.get((rule, column, "out")) for column in columns] for rule in steps}


def _counts_axis(axis: Any) -> None:
    axis.set_major_locator(ticker.MaxNLocator(5, integer=True, steps=_STEP))
    axis.set_major_formatter(lambda value, _: f"{value / 1e6:g} M" if abs(value) >= 1e6 else f"{value:,.0f}")


def read_yield(ledger: pl.DataFrame, columns: Sequence[str]) -> Any:
    """Plot the share of reads retained and lost in each bin, with the number of input and output reads of each step.

    Parameters
    ----------
    ledger
        Table with the columns `ledger.COLUMNS`, including merge_pairs (for paired reads) and count_reads.
    columns
        Bin columns, plotted from top to bottom.
    """
    reasons, lost = reads_lost(ledger, columns)
    kept = len(_REASONS)
    if len(reasons) > kept + 1:
        reasons = [*reasons[:kept], f"{len(reasons) - kept} other reasons"]
        lost = np.column_stack([lost[:, :kept], lost[:, kept:].sum(axis=1)])
    through = reads_through(ledger, columns)
    total = np.array(through["reads in"])
    shares = 100 * np.column_stack([total - lost.sum(axis=1), lost]) / np.maximum(total, 1)[:, None]
    starts = np.cumsum(shares, axis=1) - shares
    labels = ["counted", *(f"lost: {reason}" for reason in reasons)]
    rows = np.arange(len(columns))
    with plt.rc_context(STYLE):
        height = 0.9 + 0.15 * max(len(columns), 4) + 0.09 * len(labels)
        figure, axes = plt.subplots(figsize=(7.2, height), layout="constrained")
        for share, start, label, colour in zip(shares.T, starts.T, labels, (_BLUE, *_REASONS, "0.6"), strict=False):
            axes.barh(rows, share, left=start, height=0.8, color=colour, label=label)
        for place, (name, values) in enumerate(reversed(through.items())):
            x = 1.14 + 0.17 * (len(through) - 1 - place) + (0.03 if place == 0 else 0)
            for row, value in zip((-1, *rows), (name, *values), strict=True):
                share = f" ({100 * value / max(1, total[row]):.0f} %)" if place == 0 and isinstance(value, int) else ""
                text = value if isinstance(value, str) else "" if value is None else f"{value:,}{share}"
                axes.text(x, row, text, transform=axes.get_yaxis_transform(), ha="right", va="center_baseline", fontsize=_SMALL - 0.5)
        axes.set(xlim=(0, 100), ylim=(len(columns) - 0.4, -0.6), xlabel="share of reads (%)", ylabel="bin")
        axes.set_yticks(rows, columns, fontsize=_SMALL - 0.5)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=_SMALL)
    return figure


def _replicates(sheet: Sheet) -> dict[str, list[int]]:
    """Return the row numbers of each replicate and condition, in order. A single replicate has an empty name."""
    rows: dict[str, list[int]] = {}
    for number, row in enumerate(sheet):
        rows.setdefault(replicate_of(row), []).append(number)
    return rows


def distinct_per_bin(sheet: Sheet, reads: np.ndarray, distinct: np.ndarray) -> Any:
    """Plot reads and distinct inserts per bin, one panel per replicate.

    Parameters
    ----------
    sheet
        ``bin`` and, with several replicates, ``replicate`` of each bin column.
    reads, distinct
        Reads and distinct inserts, shape ``(columns,)``.
    """
    bins, replicates = list(dict.fromkeys(row["bin"] for row in sheet)), _replicates(sheet)
    number_of = sum(bool(name) for name in replicates) or 1  # an unsorted sample can be of all replicates
    width = 0.8 / number_of
    with plt.rc_context(STYLE):
        figure, panels = plt.subplots(2, 1, figsize=(7.2, 4.4), sharex=True, layout="constrained")
        for number, (name, rows) in enumerate(replicates.items()):
            x = np.array([bins.index(sheet[row]["bin"]) for row in rows]) + (number - (number_of - 1) / 2) * width * bool(name)
            for axes, values in zip(panels, (reads, distinct), strict=True):
                axes.bar(x, np.asarray(values)[rows], width, color=_REPLICATES[number % len(_REPLICATES)], label=name or "all replicates")
        for axes, label in zip(panels, ("reads", "distinct inserts"), strict=True):
            axes.set(ylabel=label, xlim=(-0.6, len(bins) - 0.4))
            _counts_axis(axes.yaxis)
        wide = sum(len(name) + 2 for name in bins) > 90
        panels[1].set_xticks(range(len(bins)), bins, rotation=90 if wide else 0, fontsize=6 if len(bins) > 36 else _SMALL)
        panels[1].set_xlabel("bin")
        if len(replicates) > 1:
            figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper left", ncols=6, frameon=False, fontsize=_SMALL)
    return figure


def rarefaction(sheet: Sheet, bins: Sequence[Histogram], library: Histogram) -> Any:
    """Plot rarefaction curves: distinct inserts against subsampled reads, for the library (left) and for each bin (right).

    Parameters
    ----------
    sheet
        ``bin`` and, with several replicates, ``replicate`` of each bin column.
    bins
        Histogram of each bin column.
    library
        Histogram of all bins together.
    """
    share = np.linspace(0, 1, 101) ** 2  # more points at low depth, where the curve bends most
    replicates = _replicates(sheet)
    most = max(len(rows) for rows in replicates.values())
    palette = colors.ListedColormap(plt.get_cmap("viridis")(np.linspace(0, 0.9, most)))
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.2), layout="constrained")

        def draw(axes: Any, histogram: Histogram, **style: Any) -> None:
            axes.plot(share * (histogram[0] @ histogram[1]), rarefy(histogram, share), **style)

        draw(left, library, color="black", linewidth=2)
        for style, (name, rows) in zip(("-", "--", ":", "-.") * len(replicates), replicates.items(), strict=False):
            for rank, row in enumerate(rows):
                draw(right, bins[row], color=palette(rank), linewidth=0.8, linestyle=style, label="_" if rank else name)
        for axes, title in ((left, "Library"), (right, "Bins")):
            limits = max(1, *(line.get_xdata()[-1] for line in axes.lines)), max(1, *(line.get_ydata()[-1] for line in axes.lines))
            axes.axline((0, 0), slope=1, color="0.6", linewidth=0.8, linestyle=(0, (1, 2)), zorder=0)
            axes.set(xlabel="reads", title=title, xlim=(0, 1.02 * limits[0]), ylim=(0, 1.05 * limits[1]))
            _counts_axis(axes.xaxis)
            _counts_axis(axes.yaxis)
        left.set_ylabel("distinct inserts (expected)")
        reads, once = int(library[0] @ library[1]), int(library[1][library[0] == 1].sum())
        new = f"{100 * once / max(reads, 1):.2g} % of further reads\nwould be new inserts"
        text = f"{reads:,} reads\n{int(library[1].sum()):,} distinct inserts\n{new}"
        left.text(0.97, 0.05, text, transform=left.transAxes, ha="right", fontsize=_SMALL)
        bar = figure.colorbar(cm.ScalarMappable(colors.Normalize(-0.5, most - 0.5), palette), ax=right, label="bin", shrink=0.9)
        ticks = sorted({0, (most - 1) // 2, most - 1})
        longest = max(replicates.values(), key=len)
        bar.set_ticks(ticks, labels=[sheet[longest[tick]]["bin"] for tick in ticks], fontsize=_SMALL)
        bar.outline.set_visible(False)
        if len(replicates) > 1:
            for handle in right.legend(frameon=False, fontsize=_SMALL, loc="lower right").legend_handles:
                handle.set_color("0.3")  # line style shows the replicate, colour the bin
    return figure


def library_kind(composition: np.ndarray) -> str:
    """Return what a library consists of, judged by its bases at each position.

    Parameters
    ----------
    composition
        As in `inserts`.

    Returns
    -------
    str
        ``variants`` of one parent, if the most frequent base has a share of at least .6 at half of the positions; ``random``, if the
        shares of bases hardly differ between positions (median absolute deviation below .04, so that a fixed site does not count);
        else ``mixed``, such as several parents.
    """
    if not len(composition):
        return "random"
    share = composition / np.maximum(composition.sum(axis=1), 1)[:, None]
    if np.median(share.max(axis=1)) >= _ONE_PARENT:
        return "variants"
    deviation = np.median(np.abs(share - np.median(share, axis=0)), axis=0)
    return "random" if deviation[: len(_BASES) - 1].mean() < _FLAT else "mixed"


def _base_lines(axes: Any, share: np.ndarray) -> None:
    """Draw the share of each base by position as lines, which are flat for random inserts."""
    for (base, colour), values in zip(_BASES.items(), share.T, strict=True):
        axes.plot(np.arange(1, len(values) + 1), values, color=colour, linewidth=1, label=base)
    axes.set(ylabel="share of distinct inserts (%)", title="Base composition", ylim=(0, max(50, 1.15 * share.max(initial=0))))


def _mutation_bars(axes: Any, share: np.ndarray) -> None:
    """Draw the share of inserts that differ from the most frequent base at each position, stacked by the base that they have."""
    mutated = np.where(np.arange(share.shape[1]) == share.argmax(axis=1)[:, None], 0, share)
    bottom = np.zeros(len(share))
    for (base, colour), values in zip(_BASES.items(), mutated.T, strict=True):
        axes.bar(np.arange(1, len(values) + 1), values, width=1.0, bottom=bottom, color=colour, label=base)
        bottom += values
    axes.set(ylabel="mutated inserts (%)", title="Mutations", ylim=(0, 1.25 * max(bottom.max(initial=0), 1)))
    axes.set_xlim(0.5, len(share) + 0.5)


def _base_map(figure: Any, axes: Any, share: np.ndarray) -> None:
    """Draw the share of each base by position as a heat map, for libraries of several parents."""
    extent = (0.5, len(share) + 0.5, len(_BASES) - 0.5, -0.5)
    image = axes.imshow(share.T, aspect="auto", interpolation="nearest", cmap="viridis", vmin=0, vmax=100, extent=extent)
    axes.set_yticks(range(len(_BASES)), list(_BASES))
    axes.set(ylabel="base", title="Base composition")
    figure.colorbar(image, ax=axes, label="share of distinct inserts (%)").outline.set_visible(False)


def inserts(lengths: np.ndarray, length_reads: np.ndarray, composition: np.ndarray) -> Any:
    """Plot reads by insert length, and base composition by position for inserts of the most frequent length.

    The composition is drawn as lines for random inserts, as mutation rates for variants of one parent, and as a heat map for other
    libraries (`library_kind`).

    Parameters
    ----------
    lengths, length_reads
        Insert length in bp and number of reads of that length, shape ``(lengths,)``.
    composition
        Number of distinct inserts with A, C, G, T, N at each position from the 5' flank, shape ``(length, 5)``.
    """
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.0), layout="constrained")
        left.bar(lengths, length_reads, width=0.9, color=_BLUE)
        left.set(xlabel="insert length (bp)", ylabel="reads", title="Length")
        _counts_axis(left.yaxis)
        if len(lengths) and length_reads.max() >= 100 * length_reads.min():
            left.set_yscale("log")
            left.set_ylim(10 ** np.floor(np.log10(length_reads.min())) / 2, None)
        if len(lengths):
            left.set_xlim(lengths.min() - 1.5, lengths.max() + 1.5)
        left.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True, steps=_STEP))
        total = composition.sum(axis=1)
        share = 100 * composition / np.maximum(total, 1)[:, None]
        kind = library_kind(composition)
        if kind == "mixed":
            _base_map(figure, right, share)
        else:
            (_mutation_bars if kind == "variants" else _base_lines)(right, share)
            right.legend(frameon=False, fontsize=_SMALL, ncols=5, loc="upper right", columnspacing=1, handlelength=1.2)
        number = f"\n{total[0]:,} distinct inserts of {len(total)} bp" if len(total) else ""
        right.set_xlabel(f"position from the 5' flank (bp){number}")
        right.xaxis.set_major_locator(ticker.MaxNLocator(6, integer=True, steps=_STEP))
    return figure


def octaves(n_reads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return bin edges 1, 2, 4, 8, ... and the number of promoters with reads in each half-open interval."""
    edges = 2 ** np.arange(int(n_reads.max(initial=1)).bit_length() + 1)
    return edges, np.histogram(n_reads, edges)[0]


def depth(n_reads: np.ndarray) -> Any:
    """Plot a histogram of reads per promoter with its median. Each bar is twice as wide as the previous one (equal on the log axis).

    Parameters
    ----------
    n_reads
        Reads per promoter, at least 1, shape ``(promoters,)``.
    """
    edges, promoters = octaves(n_reads)
    median = float(np.median(n_reads)) if len(n_reads) else float("nan")
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(4.4, 3.2), layout="constrained")
        axes.bar(edges[:-1], promoters, width=np.diff(edges), align="edge", color=_BLUE, edgecolor="white", linewidth=0.8)
        axes.axvline(median, color="black", linewidth=1, linestyle="--")
        axes.set_xscale("log", base=2)
        step = -(-len(edges) // 7)
        axes.set_xticks(edges[::step], [f"{edge:,}" for edge in edges[::step]], fontsize=_SMALL)
        axes.set(xlabel="reads per promoter", ylabel="promoters", xlim=(edges[0], edges[-1]))
        _counts_axis(axes.yaxis)
        once = 100 * (n_reads == 1).sum() / max(len(n_reads), 1)
        text = f"n = {len(n_reads):,} promoters, {once:.3g} % with 1 read\nmedian {median:,.4g} reads (dashed)"
        axes.text(0, 1.03, text, transform=axes.transAxes, fontsize=_SMALL)
    return figure


def expression_edges(expression: np.ndarray) -> np.ndarray:
    """Return edges of up to 150 equal bars over the data range. Integers, where singletons accumulate, lie at the centre of a bar."""
    if not len(expression):
        return np.array([0.0, 1.0])
    low, high = float(expression.min()), float(expression.max())
    width = next((w for w in (0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if (high - low) / w <= 150), 2.0)
    return (np.arange(np.floor(low / width + 0.5), np.floor(high / width + 0.5) + 2) - 0.5) * width


def expression(expression: np.ndarray, singleton: np.ndarray | None, unit: str) -> Any:
    """Plot a histogram of expression, with singletons (promoters observed in one bin only) shown separately.

    Parameters
    ----------
    expression
        Expression, shape ``(promoters,)``. Values that are not finite are omitted.
    singleton
        Bool, shape ``(promoters,)``; None if promoters were not sorted into bins.
    unit
        Unit of expression.
    """
    finite = np.isfinite(expression)
    expression = expression[finite]
    edges = expression_edges(expression)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(figsize=(7.2, 3.0), layout="constrained")
        if singleton is None:
            promoters = np.histogram(expression, edges)[0]
            axes.stairs(promoters, edges, fill=True, color=_SKY, label=f"promoters (n = {promoters.sum():,})")
        else:
            several, one = (np.histogram(expression[rows], edges)[0] for rows in (~singleton[finite], singleton[finite]))
            axes.stairs(several, edges, fill=True, color=_SKY, label=f"reads in two bins or more (n = {several.sum():,})")
            axes.stairs(one, edges, color=_VERMILION, linewidth=1.2, label=f"singletons: reads in one bin only (n = {one.sum():,})")
        axes.set(xlabel=f"expression ({unit})", ylabel=f"promoters per {edges[1] - edges[0]:.2g}")
        margin = edges[1] - edges[0]
        axes.set_xlim(np.floor(edges[0] + margin / 2) - margin, np.ceil(edges[-1] - margin / 2) + margin)
        axes.xaxis.set_major_locator(ticker.MaxNLocator(20, integer=True, steps=[1, 2, 5, 10], min_n_ticks=2))
        _counts_axis(axes.yaxis)
        figure.legend(loc="outside upper left", ncols=2, frameon=False, fontsize=_SMALL)
    return figure


def cell_shares(counts: np.ndarray, per_cell: np.ndarray) -> np.ndarray:
    """Return the share of each promoter's cells in each bin, ``n_b / r_b`` normalised, ``(promoters, bins)``; 0 for bins without reads."""
    cells = np.divide(counts, per_cell, out=np.zeros(counts.shape), where=per_cell > 0)
    return cells / np.maximum(cells.sum(axis=1, keepdims=True), 1e-300)


def choose_examples(expression: np.ndarray, n_reads: np.ndarray) -> np.ndarray:
    """Return row numbers of up to four deeply and four shallowly sequenced promoters near the 10, 35, 65 and 90 % expression quantiles.

    A deep example is the promoter with most reads among the 2.5 % of the library around the quantile. A shallow example is the promoter
    with 6 to 20 reads closest to the quantile. Ties go to the first row. No promoter is chosen twice.
    """
    order = np.argsort(expression, kind="stable")
    quantile = np.empty(len(order))
    quantile[order] = (np.arange(len(order)) + 0.5) / len(order)
    free = np.isfinite(expression) & (n_reads > 0)
    chosen: list[int] = []

    def take(fit: np.ndarray, suitable: np.ndarray) -> None:
        if (suitable & free).any():
            chosen.append(int(np.argmax(np.where(suitable & free, fit, -np.inf))))
            free[chosen[-1]] = False

    for goal in _QUANTILES:
        take(n_reads, np.abs(quantile - goal) <= 0.025)
    if not chosen:
        take(n_reads, free.copy())
    for goal in _QUANTILES:
        take(-np.abs(quantile - goal), (n_reads >= _SHALLOW[0]) & (n_reads <= _SHALLOW[1]))
    return np.array(chosen, np.int64)


def profiles(
    limits: np.ndarray,
    observed: np.ndarray,
    expected: np.ndarray,
    mean: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    n_reads: np.ndarray,
    unit: str,
    counted: str = "cells",
) -> Any:
    """Plot up to eight promoters across the bins: observed share of cells or reads, fitted distribution, and estimate with 95 % interval.

    Parameters
    ----------
    limits
        Finite limits of the bins in ``unit``, shape ``(bins, 2)``. Bars of bins whose gates overlap show through each other.
    observed, expected
        Observed and fitted shares of cells or reads, shape ``(promoters, bins)``.
    mean, low, high
        Expression and its 95 % interval, shape ``(promoters,)``.
    n_reads
        Reads per promoter, shape ``(promoters,)``.
    unit
        Unit of expression.
    counted
        What the shares are of: ``cells``, or ``reads`` if cell counts per bin are unknown.
    """
    inferred = "cells inferred from reads" if counted == "cells" else "reads"
    lower, upper = limits.T
    middle = limits.mean(axis=1)
    look = {"color": "0.35", "alpha": 0.35} if (lower[1:] < upper[:-1]).any() else {"color": "0.75"}
    marks = {"marker": ".", "markersize": 3} if len(middle) <= 32 else {}
    with plt.rc_context(STYLE):
        rows = 2 if len(mean) > 4 else 1
        size = (7.2, 0.8 + 1.5 * rows)
        figure, panels = plt.subplots(rows, 4, figsize=size, sharex=True, sharey="row", layout="constrained", squeeze=False)
        for i, axes in enumerate(panels.flat):
            if i >= len(mean):
                axes.set_visible(False)
                continue
            axes.bar(lower, 100 * observed[i], upper - lower, align="edge", label=inferred, **look)
            axes.plot(middle, 100 * expected[i], color=_VERMILION, linewidth=1, label=f"{counted} expected from the fit", **marks)
            axes.axvspan(low[i], high[i], color=_BLUE, alpha=0.3, linewidth=0, label="expression, 95 % interval")
            axes.set_title(f"{n_reads[i]:,} reads", fontsize=_SMALL + 0.5)
            axes.xaxis.set_major_locator(ticker.MaxNLocator(4, integer=True, steps=_STEP))
            if i + 4 >= len(mean):
                axes.tick_params(labelbottom=True)
        if len(mean):
            panels.flat[0].set_xlim(min(lower[0], *mean), max(upper[-1], *mean))
            panels.flat[0].set_ylim(0, None)
            figure.legend(*panels.flat[0].get_legend_handles_labels(), loc="outside upper left", ncols=3, frameon=False, fontsize=_SMALL)
        figure.supxlabel(f"signal ({unit})", fontsize=9)
        figure.supylabel(f"share of {counted} (%)", fontsize=9)
    return figure


def correlation(a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """Return Pearson r and its 95 % interval (Fisher's z); NaN if there are fewer than 4 pairs or either variable is constant."""
    if len(a) < 4 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan"), float("nan"), float("nan")
    r = float(np.corrcoef(a, b)[0, 1])
    with np.errstate(divide="ignore"):
        z, half = np.arctanh(r), 1.959963984540054 / np.sqrt(len(a) - 3)
    return r, float(np.tanh(z - half)), float(np.tanh(z + half))


def replicates(estimates: Mapping[str, np.ndarray], n_reads: Mapping[str, np.ndarray], unit: str, minimum: int = 10) -> Any:
    """Plot replicates against each other for promoters with enough reads in both. Only the first three replicates are shown.

    Parameters
    ----------
    estimates, n_reads
        Replicate -> expression and reads in that replicate, shape ``(promoters,)``.
    unit
        Unit of expression.
    minimum
        Minimum reads in both replicates.
    """
    pairs = list(combinations(list(estimates)[:3], 2))
    with plt.rc_context(STYLE):
        size = (4.4, 3.9) if len(pairs) == 1 else (1 + 2.2 * len(pairs), 2.9)
        figure, panels = plt.subplots(1, len(pairs), figsize=size, layout="constrained", squeeze=False)
        drawn = []
        for axes, (x, y) in zip(panels.flat, pairs, strict=True):
            good = (n_reads[x] >= minimum) & (n_reads[y] >= minimum) & np.isfinite(estimates[x]) & np.isfinite(estimates[y])
            a, b = np.asarray(estimates[x], np.float64)[good], np.asarray(estimates[y], np.float64)[good]
            both = np.concatenate([a, b]) if len(a) else np.array([0.0, 1.0])
            margin = 0.03 * float(np.ptp(both)) or 1.0
            limits = float(both.min()) - margin, float(both.max()) + margin
            if len(a):
                drawn.append(axes.hexbin(a, b, gridsize=40, extent=(*limits, *limits), mincnt=1, bins="log", cmap="viridis", linewidths=0))
            axes.plot(limits, limits, color="0.4", linewidth=0.8, linestyle="--")
            axes.set(xlim=limits, ylim=limits, xlabel=f"{x} ({unit})", ylabel=f"{y} ({unit})", aspect="equal")
            r, low, high = correlation(a, b)
            text = "not defined" if np.isnan(r) else f"{r:.3f} [{low:.3f}, {high:.3f}]"
            between = " with " if len(pairs) == 1 else "\n"  # a line wider than its panel would make the panels narrower
            axes.text(
                0,
                1.02,
                f"n = {len(a):,}{between}{minimum} reads or more in both\nr = {text}",
                transform=axes.transAxes,
                va="bottom",
                fontsize=_SMALL,
            )
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(ticker.MaxNLocator(5, steps=_STEP))
        shared_count_bar(figure, panels, drawn)
    return figure


def dna_rna_counts(dna: np.ndarray, rna: np.ndarray, barcodes: np.ndarray, error: np.ndarray, unit: str) -> Any:
    """Plot RNA against DNA counts of promoters (left), and the standard error of expression against the number of barcodes (right).

    Parameters
    ----------
    dna, rna, barcodes
        Counts and number of barcodes of promoters, shape ``(promoters,)``. The axes show counts plus one, so that none is left out.
    error
        Standard error of expression, shape ``(promoters,)``.
    unit
        Unit of expression.
    """
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(7.2, 3.4), layout="constrained")
        pairs = (
            (left, dna + 1, rna + 1, "DNA counts + 1", "RNA counts + 1"),
            (right, barcodes, error, "barcodes", f"standard error ({unit})"),
        )
        drawn = []
        for axes, x, y, x_label, y_label in pairs:
            if len(x):
                cells = axes.hexbin(x, y, gridsize=35, xscale="log", yscale="log", mincnt=1, bins="log", cmap="viridis", linewidths=0)
                drawn.append(cells)
            axes.set(xscale="log", yscale="log", xlabel=x_label, ylabel=y_label)
        for axis in (right.xaxis, right.yaxis):  # less than a decade or two
            axis.set_major_locator(ticker.LogLocator(subs=(1, 2, 3, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_locator(ticker.NullLocator())
        if len(dna):
            slope = (rna.sum() + 1) / (dna.sum() + 1)
            left.axline((1, slope), (10, 10 * slope), color="0.4", linewidth=0.8, linestyle="--")
            left.set(xlim=(dna.min() + 0.8, dna.max() * 1.3 + 1), ylim=(rna.min() + 0.8, rna.max() * 1.3 + 1))
        without = 100 * (rna == 0).sum() / max(len(rna), 1)
        left.text(0, 1.02, f"n = {len(dna):,} promoters, {without:.3g} % without RNA", transform=left.transAxes, fontsize=_SMALL)
        median = float(np.median(barcodes)) if len(barcodes) else float("nan")
        right.text(0, 1.02, f"median {median:,.4g} barcodes", transform=right.transAxes, fontsize=_SMALL)
        shared_count_bar(figure, [left, right], drawn)
    return figure


def of_dna_rna(table: pl.DataFrame, names: Sequence[str], unit: str) -> dict[str, Any]:
    """Plot all figures of the expression table of a DNA/RNA assay (`dna_rna.to_table`).

    Parameters
    ----------
    table
        Expression table with counts of DNA and RNA.
    names
        Names of the replicates.
    unit
        Unit of expression.

    Returns
    -------
    dict
        ``depth``, ``expression``, ``counts`` and, with several replicates, ``replicates``: matplotlib figures.
    """
    dna, rna, barcodes, error = (table[name].to_numpy() for name in ("dna", "rna", "n_barcodes", "expression_sd"))
    figures = {
        "depth": depth(table["n_reads"].to_numpy()),
        "expression": expression(table["expression"].to_numpy(), None, unit),
        "counts": dna_rna_counts(dna, rna, barcodes, error, unit),
    }
    if len(names) > 1:
        measured, reads = ({name: table[f"{what}_{name}"].to_numpy() for name in names} for what in ("expression", "n_reads"))
        figures["replicates"] = replicates(measured, reads, unit)
    return figures


def of_expression(table: pl.DataFrame, bins: Sequence[Replicate], unit: str, counted: str = "cells") -> dict[str, Any]:
    """Plot all figures of an expression table (`expression.to_table`).

    Parameters
    ----------
    table
        Expression table with counts per bin.
    bins
        Bins of each replicate. Fitted distributions are plotted for the first replicate.
    unit
        Unit of expression.
    counted
        As in `profiles`.

    Returns
    -------
    dict
        ``depth``, ``expression``, ``profiles`` and, with several replicates, ``replicates``: matplotlib figures.
    """
    first = bins[0]
    counts = table.select(f"reads_{column}" for column in first.columns).to_numpy()
    per_cell = reads_per_population_cell(counts, bins[:1])
    rows = choose_examples(table["expression"].to_numpy(), counts.sum(axis=1))
    mean, sd, low, high = table[rows].select("expression", "cell_sd", "low", "high").to_numpy().T
    expected, seen = expected_profile(mean, sd, first, per_cell > 0), cell_shares(counts[rows], per_cell)
    of_first = f"{unit}, replicate {first.name}" if first.name else unit
    figures = {
        "depth": depth(table["n_reads"].to_numpy()),
        "expression": expression(table["expression"].to_numpy(), table["singleton"].to_numpy(), unit),
        "profiles": profiles(first.limits, seen, expected, mean, low, high, counts[rows].sum(axis=1), of_first, counted),
    }
    if len(bins) > 1:
        measured, reads = ({each.name: table[f"{what}_{each.name}"].to_numpy() for each in bins} for what in ("expression", "n_reads"))
        figures["replicates"] = replicates(measured, reads, unit)
    return figures
