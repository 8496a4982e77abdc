"""Figure of joined tables: shared promoters with the fitted maps, and expression on the common scale."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from matplotlib import pyplot as plt
from matplotlib import ticker

from gpraflow.core.drawing import BLUE, STYLE, VERMILION, shared_count_bar

_SMALL = 7.5
_MOST = 5  # pairs of tables that are drawn
_COLUMNS = 3
_POINTS = 3000  # more promoters are drawn as hexagons
_COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")  # Okabe and Ito's
_STYLES = ("-", "--", "-.", ":")


def joined(tables: Mapping[str, pl.DataFrame], maps: Mapping[str, Any], unit: str) -> Any:
    """Draw each pair of tables with the map between them, and the distribution of each table on the common scale.

    Parameters
    ----------
    tables
        Name -> promoter table before it was joined, with ``sequence`` and ``expression``.
    maps
        As `join.read_maps` returns them. The pairs that share most promoters are drawn, up to five.
    unit
        Unit of the common scale.
    """
    of = {each["table"]: each for each in maps["tables"]}
    pairs = sorted((pair for pair in maps["pairs"] if pair["shared"] > 1), key=lambda pair: -pair["shared"])[:_MOST]
    panels = len(pairs) + 1
    columns = min(panels, _COLUMNS)
    rows = -(-panels // columns)
    with plt.rc_context(STYLE):
        figure, grid = plt.subplots(rows, columns, figsize=(2.9 * columns + 0.3, 2.9 * rows), layout="constrained", squeeze=False)
        hexagons = []
        for axes, pair in zip(grid.flat, pairs, strict=False):
            first, second = pair["tables"]
            both = tables[second].join(tables[first], on="sequence", suffix="_first")
            x, y = both["expression"].to_numpy(), both["expression_first"].to_numpy()
            if len(x) > _POINTS:
                hexagons.append(axes.hexbin(x, y, gridsize=35, mincnt=1, bins="log", cmap="viridis", linewidths=0))
            else:
                axes.plot(x, y, ".", color="0.45", markersize=2.5, alpha=0.5, rasterized=len(x) > 500)
            ends = np.array([x.min(), x.max()], np.float64)
            line = (of[second]["offset"] + of[second]["scale"] * ends - of[first]["offset"]) / of[first]["scale"]
            axes.plot(ends, line, color=VERMILION, linewidth=1.3)
            axes.set(xlabel=f"{second} (own scale)", ylabel=f"{first} ({'common' if first == maps['tables'][0]['table'] else 'own'} scale)")
            r = "not defined" if pair["r"] is None else f"{pair['r']:.3f}"
            axes.text(0, 1.02, f"n = {len(x):,} shared\nr = {r}", transform=axes.transAxes, va="bottom", fontsize=_SMALL)
        _distributions(grid.flat[len(pairs)], tables, of, unit)
        for axes in grid.flat[panels:]:
            axes.set_axis_off()
        for axes in grid.flat[:panels]:
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_locator(ticker.MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
        shared_count_bar(figure, grid, hexagons)
    return figure


def _distributions(axes: Any, tables: Mapping[str, pl.DataFrame], of: Mapping[str, Mapping[str, Any]], unit: str) -> None:
    """Draw the density of each table on the common scale."""
    values = {
        name: of[name]["offset"] + of[name]["scale"] * table["expression"].cast(pl.Float64).to_numpy() for name, table in tables.items()
    }
    every = np.concatenate(list(values.values()))
    bins = int(np.clip(np.sqrt(min(map(len, values.values()))), 5, 40))
    edges = np.linspace(every.min(), every.max(), bins + 1) if np.ptp(every) > 0 else np.array([every[0] - 0.5, every[0] + 0.5])
    for index, (name, own) in enumerate(values.items()):
        density, _ = np.histogram(own, edges, density=True)
        colour, style = _COLOURS[index % len(_COLOURS)], _STYLES[index % len(_STYLES)]
        axes.stairs(density, edges, color=colour, linestyle=style, linewidth=1.2, label=f"{name} (n = {len(own):,})")
    axes.set(xlabel=f"expression ({unit})", ylabel="density of promoters")
    axes.set_ylim(0, axes.get_ylim()[1] * (1.06 + 0.09 * len(values)))
    axes.legend(frameon=False, fontsize=_SMALL, loc="upper left")
