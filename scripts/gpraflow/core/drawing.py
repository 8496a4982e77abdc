"""Saving of figures as PNG and SVG, in few bytes, since the report holds them all; equal data give equal bytes."""

import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.text import Text
from matplotlib.ticker import LogFormatter
from PIL import Image

from gpraflow.core import files

matplotlib.use("Agg")

STYLE: dict[Any, Any] = {
    "figure.dpi": 150,
    "font.size": 9,
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],  # an SVG repeats them at each text
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "svg.hashsalt": "gpraflow",
    "svg.fonttype": "none",
}
_GEOMETRY = re.compile(r'(?<=\s)(?:d|x|y|points|transform|width|height)="(?!matrix|scale)[^"]*"')
_DECIMALS = re.compile(r"-?\d+\.\d{3,}")
BLUE, VERMILION = "#0072B2", "#D55E00"  # Okabe and Ito's colour-blind-safe blue and vermilion


def _without_formulas(figure: Any) -> None:
    """Draw text as it is: a ``$`` in a name or unit begins no formula. Exponents of logarithmic axes are formulas."""
    axes = [axis for each in figure.axes for axis in (each.xaxis, each.yaxis) if isinstance(axis.get_major_formatter(), LogFormatter)]
    exponents = {label for axis in axes for label in axis.get_ticklabels(which="both")}
    for text in figure.findobj(Text):
        if text not in exponents:
            text.set_parse_math(False)


def save(figure: Any, png: str | os.PathLike, svg: str | os.PathLike) -> None:
    """Write a figure as PNG, of 256 colours, and SVG, with coordinates to a hundredth of a point, and close it."""
    _without_formulas(figure)
    for path, metadata in ((png, {"Software": None}), (svg, {"Date": None, "Creator": None})):
        content, kind = io.BytesIO(), Path(path).suffix[1:]
        with plt.rc_context(STYLE):
            figure.savefig(content, metadata=metadata, format=kind, bbox_inches="tight")
        with files.whole(path) as temporary:
            if kind == "png":
                Image.open(content).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(temporary, "PNG", optimize=True)
            else:
                temporary.write_bytes(_shortened(content.getvalue().decode()).encode())
    plt.close(figure)


def _shortened(svg: str) -> str:
    """Return an SVG of Matplotlib without indentation, with coordinates of two decimals."""

    def rounded(number: re.Match[str]) -> str:
        return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")

    return _GEOMETRY.sub(lambda found: _DECIMALS.sub(rounded, found[0]), re.sub(r"\n +<", "\n<", svg))


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
