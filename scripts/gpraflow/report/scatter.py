"""Single promoters of a data set for the interactive scatter of the report: measured and predicted expression, interval, reads."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.core.errors import InputError

MOST = 1_000  # promoters of a data set; about 45 kB
_LONGEST = 60  # characters of a name
_COLUMNS = {"measured": "expression", "predicted": "predicted", "low": "predicted_low", "high": "predicted_high", "reads": "n_reads"}


def points(path: str | os.PathLike, dataset: str, most: int = MOST) -> str:
    """Return promoters of a data set as JSON for the page's script, in ascending order of their predictions.

    Parameters
    ----------
    path
        Predictions of the data set, Parquet.
    dataset
        Its name, which the random choice of promoters depends on.
    most
        Promoters that are kept; of more, a random sample.

    Returns
    -------
    str
        ``total`` (promoters of the data set), ``names`` (the row in the file where there is none) and the lists ``measured``,
        ``predicted``, ``low``, ``high`` (95 % interval) and ``reads``, with null where a value is unknown. It holds no ``<``.

    Raises
    ------
    InputError
        If the file is damaged.
    """
    try:
        table = pl.read_parquet(Path(path), glob=False).with_row_index("row", offset=1)
        there = {key: name for key, name in _COLUMNS.items() if name in table.columns}
        named = pl.col("name") if "name" in table.columns else pl.lit(None, pl.String)
        table = table.filter(pl.col("expression").is_finite(), pl.col("predicted").is_finite())
        table = table.select(
            "row", names=named.str.slice(0, _LONGEST), **{key: pl.col(name).cast(pl.Float64) for key, name in there.items()}
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        raise InputError(f"{path}: these predictions cannot be read ({error}); remove the file and run the same command again") from error
    total = table.height
    if total > most:
        table = table[np.sort(randomness.generator(0, "report", "scatter", dataset).choice(total, most, replace=False))]
    table = table.sort("predicted", "row")
    content: dict[str, Any] = {"total": total}
    content["names"] = [name or f"row {row}" for name, row in table.select("names", "row").iter_rows()]
    content |= {key: [_rounded(value) for value in table[key]] for key in there}
    return json.dumps(content, separators=(",", ":")).replace("<", "\\u003c")


def _rounded(value: float | None) -> float | int | None:
    """Return a number with four significant digits, as an integer if it is one."""
    if value is None or not np.isfinite(value):
        return None
    short = float(f"{value:.4g}")
    return int(short) if short.is_integer() else short
