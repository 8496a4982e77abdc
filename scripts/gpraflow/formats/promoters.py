"""The promoter table, the workflow's standard format for sequences and expression: schema, reading and writing."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl

from gpraflow.core import files
from gpraflow.core.errors import InputError

# The promoter table has one row per distinct sequence, or per sequence and barcode if there are barcodes. `weight` is the sample weight in
# training, `bin_cells` the cells in each sorted bin in order of bins, `split` the user's own split, `name` the user's name of the promoter.
# Columns without data are null.
SCHEMA: dict[str, Any] = {
    "sequence": pl.String,
    "name": pl.String,
    "expression": pl.Float32,
    "expression_sd": pl.Float32,
    "n_reads": pl.Int64,
    "n_bins": pl.Int64,
    "singleton": pl.Boolean,
    "weight": pl.Float32,
    "bin_cells": pl.List(pl.Float32),
    "group": pl.String,
    "split": pl.String,
    "source": pl.String,
    "barcode": pl.String,
}
REQUIRED = ("sequence", "expression")
_BLOCK_ROWS = 500_000


def read(path: str | os.PathLike) -> pl.DataFrame:
    """Read a promoter table written by this workflow.

    Raises
    ------
    InputError
        If the file is missing, unreadable or corrupt, or lacks a column of `SCHEMA`.
    """
    return scan(path).collect()


def sequences(path: str | os.PathLike) -> pl.Series:
    """Read the sequences of a promoter table alone; errors as `read`."""
    return scan(path).select("sequence").collect().to_series()


def rows(table: pl.LazyFrame) -> int:
    """Return the number of rows of a promoter table."""
    return int(table.select(pl.len()).collect().item())


def scan(path: str | os.PathLike) -> pl.LazyFrame:
    """Open a promoter table lazily, without loading it into memory; errors as `read`."""
    try:
        table = pl.scan_parquet(Path(path), glob=False)
        schema = table.collect_schema()
    except FileNotFoundError:
        raise InputError(f"{path}: this promoter table does not exist") from None
    except OSError as error:
        raise InputError(f"{path}: could not be read ({str(error).splitlines()[0]:.300})") from None
    except pl.exceptions.ComputeError as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); delete it and run again") from error
    for column, dtype in SCHEMA.items():
        if schema.get(column) != dtype:
            raise InputError(f"{path}: not a promoter table: column '{column}' is {schema.get(column)}, not {dtype}")
    return table


def blocks(table: pl.LazyFrame, rows: int = _BLOCK_ROWS) -> Iterator[tuple[int, pl.DataFrame]]:
    """Yield the rows of a table, some hundred thousand at a time, with the index of the first of them."""
    begin = 0
    for block in table.collect_batches(chunk_size=rows, maintain_order=True):
        yield begin, block
        begin += block.height


def map_sequences(table: pl.LazyFrame, function: Callable[[pl.Series], pl.Series]) -> pl.Series:
    """Return a function of the sequences of a promoter table, which is applied to some hundred thousand of them at a time."""
    found = (function(block["sequence"]) for _, block in blocks(table.select("sequence")))
    return pl.concat([pl.Series([], dtype=pl.String), *found], rechunk=True)


def column(table: pl.LazyFrame, name: str) -> pl.Series | None:
    """Return one column of a promoter table, None if it is empty."""
    if table.select(pl.col(name).is_null().all()).collect(engine="streaming").item():
        return None
    return table.select(name).collect().to_series()


def write(table: pl.DataFrame | pl.LazyFrame, path: str | os.PathLike) -> None:
    """Write a promoter table as Parquet, atomically; identical rows give identical files. A lazy table is streamed.

    Parameters
    ----------
    table
        Table with at least ``sequence`` and ``expression``. Other columns of `SCHEMA` are null if missing; further columns are kept.
    """
    names = table.collect_schema().names()
    known = [(pl.col(name) if name in names else pl.lit(None)).cast(dtype).alias(name) for name, dtype in SCHEMA.items()]
    files.write_parquet(path, table.select(*known, pl.exclude(list(SCHEMA))))
