"""Saving of figures as PNG and SVG; equal data give equal bytes."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter

from gpraflow.core import files

matplotlib.use("Agg")

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
BLUE, VERMILION = "#0072B2", "#D55E00"  # Okabe and Ito's colour-blind-safe blue and vermilion


def _without_formulas(figure: Any) -> None:
    """Draw text as it is: a ``$`` in a name or unit begins no formula. Exponents of logarithmic axes are formulas."""
    axes = [axis for each in figure.axes for axis in (each.xaxis, each.yaxis) if isinstance(axis.get_major_formatter(), LogFormatter)]
    exponents = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if text not in exponents:
            text.set_parse_math(False)


def save(figure: Any, png: str | os.PathLike, svg: str | os.PathLike) -> None:
    """Write a figure as PNG and SVG and close it."""
    _without_formulas(figure)
    for path, metadata in ((png, {"Software": None}), (svg, {"Date": None, "Creator": None})):
        with files.whole(path) as temporary, plt.rc_context(STYLE):
            figure.savefig(temporary, metadata=metadata, format=Path(path).suffix[1:], bbox_inches="tight")
    plt.close(figure)


def shared_count_bar(figure: Any, axes: Any, drawn: Sequence[Any]) -> None:
    """Give the hexagons of several panels one scale of colours, and add its bar (`count_bar`); nothing is drawn without hexagons."""
    if not drawn:
        return
    fullest = max(drawn, key=lambda cells: cells.get_array().max())
    for cells in drawn:
        cells.set_clim(1, max(fullest.get_array().max(), 2))
    count_bar(figure, axes, fullest)


def count_bar(figure: Any, axes: Any, cells: Any) -> None:
    """Add a logarithmic colour bar for the number of promoters per hexagon."""
    bar = figure.colorbar(cells, ax=axes, label="promoters per hexagon", shrink=0.85)
    bar.outline.set_visible(False)
    counts = np.asarray(cells.get_array())
    ticks = [t for t in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if t <= np.max(counts)]
    bar.set_ticks(ticks, labels=[f"{t:,}" for t in ticks])
    bar.minorticks_off()
