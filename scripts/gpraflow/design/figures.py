"""Figures of designs: predictions, trajectories, diversity, motif content, and promised against true expression."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from matplotlib import pyplot as plt

from gpraflow.core.drawing import BLUE, STYLE, VERMILION
from gpraflow.design.content import motif_content
from gpraflow.design.truth import TRUTH
from gpraflow.sequences.motifs import Motif

_COLOURS = {"maximize": VERMILION, "minimize": BLUE, "target": "#009E73"}  # vermilion, blue and green of Okabe and Ito
_NAMES = {"maximize": "maximised", "minimize": "minimised", "target": "with a target"}
_GREY = "0.65"
_TRAJECTORIES = 30  # lines per objective


def designs(table: pl.DataFrame, trajectory: pl.DataFrame, library: pl.DataFrame, motifs: Sequence[Motif], unit: str) -> Any:
    """Plot predictions, trajectories, diversity and motif content of designs beside the library.

    Parameters
    ----------
    table, trajectory
        Tables of `designs.Designs`.
    library
        Promoters of the library: ``sequence`` and ``expression``; may be empty.
    motifs
        Known motifs; without any, there is no panel of motif content.
    unit
        Unit of expression.
    """
    kinds = [kind for kind in _COLOURS if kind in set(table["objective"])]
    content = motif_content(table, library["sequence"], motifs) if motifs and library.height else None
    panels = 3 + (content is not None)
    with plt.rc_context(STYLE):
        figure, axes = plt.subplots(2, 2, figsize=(9.2, 6.6), layout="constrained")
        axes = axes.ravel()
        for empty in axes[panels:]:
            empty.set_visible(False)
        _predictions(axes[0], table, library, kinds, unit)
        _trajectories(axes[1], table, trajectory, kinds, unit)
        _diversity(axes[2], table)
        if content is not None:
            _motifs(axes[3], content, kinds)
    return figure


def _predictions(axes: Any, table: pl.DataFrame, library: pl.DataFrame, kinds: Sequence[str], unit: str) -> None:
    every = np.concatenate([table["predicted"].to_numpy(), library["expression"].to_numpy()])
    bins = np.linspace(every.min() - 1e-6, every.max() + 1e-6, 41)
    if library.height:
        values = library["expression"].to_numpy()
        axes.hist(values, bins, weights=np.full(len(values), 100 / len(values)), color=_GREY, alpha=0.6, label="library, measured")
    for kind in kinds:
        values = table.filter(objective=kind)["predicted"].to_numpy()
        weights = np.full(len(values), 100 / len(values))
        label = f"{_NAMES[kind]} (n = {len(values)})"
        axes.hist(values, bins, weights=weights, histtype="step", color=_COLOURS[kind], linewidth=1.6, label=label)
    axes.set(xlabel=f"predicted expression ({unit})", ylabel="promoters (%)", title="Predictions")
    axes.legend(frameon=False, fontsize=7)


def _trajectories(axes: Any, table: pl.DataFrame, trajectory: pl.DataFrame, kinds: Sequence[str], unit: str) -> None:
    for kind in kinds:
        names = table.filter(objective=kind)["name"]
        chosen = names[np.unique(np.linspace(0, len(names) - 1, min(_TRAJECTORIES, len(names))).round().astype(int))]
        for name in chosen:
            steps = trajectory.filter(name=name).sort("step")
            axes.step(steps["calls"], steps["predicted"], where="post", color=_COLOURS[kind], linewidth=0.7, alpha=0.6)
    axes.set(xlabel="model calls", ylabel=f"predicted expression\n({unit})", title=f"Trajectories ({table['search'][0]} search)")


def _diversity(axes: Any, table: pl.DataFrame) -> None:
    inserts = table["insert"]
    parts = {}
    if len(inserts) > 1:
        from rapidfuzz import process
        from rapidfuzz.distance import Levenshtein

        some = inserts.gather_every(max(1, -(-len(inserts) // 500)))
        edits = process.cdist(some.to_list(), some.to_list(), scorer=Levenshtein.distance)
        np.fill_diagonal(edits, edits.max())
        parts["nearest other design"] = (edits.min(axis=1), VERMILION)
    if table["distance"].drop_nulls().len():
        parts["nearest training promoter"] = (table["distance"].drop_nulls().to_numpy(), _GREY)
    top = max((values.max() for values, _ in parts.values()), default=1)
    bins = np.arange(-0.5, top + 1.5, max(1, round(top / 40)))
    for label, (values, colour) in parts.items():
        axes.hist(values, bins, weights=np.full(len(values), 100 / len(values)), color=colour, alpha=0.6, label=label)
    axes.set(xlabel="edits", ylabel="designs (%)", title="Diversity")
    if parts:
        axes.legend(frameon=False, fontsize=7)


def _motifs(axes: Any, content: pl.DataFrame, kinds: Sequence[str]) -> None:
    content = content[::-1]
    at = np.arange(content.height)
    axes.barh(at, content["library"], color=_GREY, alpha=0.6, height=0.7, label="library")
    for kind in kinds:
        axes.plot(content[kind], at, "o", color=_COLOURS[kind], markersize=4, label=_NAMES[kind])
    axes.set_yticks(at, content["motif"].to_list(), fontsize=6.5)
    axes.set(xlabel="sites per promoter", title="Motif content")
    axes.legend(frameon=False, fontsize=7, loc="lower right")


def truth(table: pl.DataFrame, rows: pl.DataFrame, ends: np.ndarray, judge: str, unit: str) -> Any:
    """Plot promised against true expression of the designs, and how far each search falls short with and without penalties.

    Parameters
    ----------
    table
        Designs with ``true``.
    rows
        `truth.rows_of` of the compared searches; may be empty.
    ends
        1st and 99th percentile of true expression in the library.
    judge
        What ``true`` is: "true expression", or "expression by the judge, a second model".
    unit
        Unit of expression.
    """
    with plt.rc_context(STYLE):
        figure, (left, right) = plt.subplots(1, 2, figsize=(9.2, 3.9), layout="constrained", width_ratios=[1, 1.15])
        for kind in [kind for kind in _COLOURS if kind in set(table["objective"])]:
            part = table.filter(objective=kind)
            left.plot(part["promised"], part["true"], "o", color=_COLOURS[kind], markersize=3.5, alpha=0.7, label=_NAMES[kind])
        diagonal = [min(left.get_xlim()[0], left.get_ylim()[0]), max(left.get_xlim()[1], left.get_ylim()[1])]
        left.plot(diagonal, diagonal, color="0.6", linewidth=0.8, zorder=0)
        for quantile in ends:
            left.axhline(quantile, color="0.6", linewidth=0.8, linestyle=":", zorder=0)
        left.set(xlabel=f"promised expression ({unit})", ylabel=f"{judge}\n({unit})", title="Promised and true")
        left.legend(frameon=False, fontsize=7)
        _optimism(right, rows, unit)
    return figure


def truth_of_run(measured: str, rows: str, summary: str, unit: str) -> Any:
    """Return the figure `truth` from the files of `output.judge`."""
    found = json.loads(Path(summary).read_text(encoding="utf-8"))
    table = pl.read_csv(rows, separator="\t", schema_overrides={"optimism": pl.Float64, "beyond_library": pl.Float64}, glob=False)
    judge = "true expression" if found["judged_by"] == TRUTH else "expression by the judge, a second model"
    ends = np.array([found["library_p1"], found["library_p99"]])
    return truth(pl.read_parquet(measured, glob=False), table.filter(pl.col("set") == "compared"), ends, judge, unit)


def _optimism(axes: Any, rows: pl.DataFrame, unit: str) -> None:
    extreme = rows.filter(pl.col("optimism").is_not_null())
    labels, at = [], 0.0
    for (search, objective), part in extreme.group_by("search", "objective", maintain_order=True):
        for row in part.iter_rows(named=True):
            axes.barh(at, row["optimism"], color=_COLOURS[str(objective)], alpha=0.9 if row["penalty"] else 0.4, height=0.8)
            share = "" if row["beyond_library"] is None else f"{100 * row['beyond_library']:.0f} %"
            axes.annotate(share, (row["optimism"], at), xytext=(3, 0), textcoords="offset points", va="center", fontsize=6.5)
            labels.append((at, f"{search}, {_NAMES[str(objective)]}, {'with' if row['penalty'] else 'without'} penalty"))
            at += 1
        at += 0.5
    axes.axvline(0, color="0.6", linewidth=0.8)
    axes.set_yticks([place for place, _ in labels], [text for _, text in labels], fontsize=6.5)
    axes.invert_yaxis()
    axes.set(xlabel=f"optimism (promised beyond true), mean ({unit})", title="Searches (% beyond the library)")
    if not labels:
        axes.set_visible(False)
