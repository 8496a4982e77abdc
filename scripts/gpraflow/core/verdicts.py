"""Verdicts of automatic checks, one row each: the table that `split_promoters` and `evaluate_model` write and the report shows."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TextIO

import polars as pl

from gpraflow.core import files

# `dataset`: data set or split that was checked. `verdict`: ok, warning or not applicable.
COLUMNS = {"dataset": pl.String, "check": pl.String, "value": pl.Float64, "verdict": pl.String, "text": pl.String}


def write(path: str | os.PathLike, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write verdicts as TSV with the columns `COLUMNS`."""
    files.write_text(path, pl.DataFrame(list(rows), schema=COLUMNS).write_csv(separator="\t", float_precision=4))


def read(path: str | os.PathLike) -> list[dict[str, Any]]:
    """Read verdicts written by `write`."""
    return pl.read_csv(Path(path), separator="\t", schema=COLUMNS, glob=False).to_dicts()


def show(rows: Iterable[Mapping[str, Any]], terminal: TextIO) -> None:
    """Print all verdicts to the job's log, and warnings to the terminal too."""
    for row in rows:
        line = f"{row['dataset']}, {row['check']}: {row['text']}"
        print(f"{row['verdict']}: {line}", flush=True)
        if row["verdict"] == "warning":
            terminal.write(f"gpraflow: warning: {line}\n")
