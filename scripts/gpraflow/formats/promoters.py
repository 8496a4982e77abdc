"""The promoter table, the workflow's standard format for sequences and expression: schema, reading and writing."""

import os
from collections.abc import Iterator
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
PART_ROWS = 4_000_000  # sequences of a part
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


class SequenceParts:
    """Sequences of a promoter table in parts, which are read whenever they are needed; errors as `read`.

    Parameters
    ----------
    path
        Promoter table.
    rows
        Sequences of a part.
    """

    def __init__(self, path: str | os.PathLike, rows: int = PART_ROWS):
        self._table, self._rows = scan(path).select("sequence"), rows

    def __iter__(self) -> Iterator[pl.Series]:
        """Read one part after the other."""
        for begin in range(0, rows(self._table), self._rows):
            yield self._table.slice(begin, self._rows).collect().to_series()


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


def labels(table: pl.LazyFrame, name: str) -> pl.Series | None:
    """Return one column of strings as an enumeration in alphabetical order, which needs less memory; None if it is empty."""
    names = table.select(pl.col(name).drop_nulls().unique().sort()).collect(engine="streaming").to_series()
    return table.select(pl.col(name).cast(pl.Enum(names))).collect(engine="streaming").to_series() if len(names) else None


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
