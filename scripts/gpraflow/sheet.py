"""The sheet of sorted bins: names of bins and their files."""

import os
from typing import Any

from gpraflow.errors import ConfigError


def column_of(row: dict[str, Any]) -> str:
    """Return the name of a bin among all bins of its sheet: ``bin``, or ``replicate.bin``."""
    return f"{row['replicate']}.{row['bin']}" if row.get("replicate") else row["bin"]


def split_files(cell: str) -> list[str]:
    """Return the files of a cell of a sheet, which stand behind commas."""
    return [name.strip() for name in cell.split(",") if name.strip()]


def check_reads(rows: list[dict[str, Any]], path: str | os.PathLike) -> None:
    """Check that every bin of a sheet has reads, mates have as many files, and no file is given twice.

    Raises
    ------
    ConfigError
        If not.
    """
    owner: dict[str, str] = {}
    for number, row in enumerate(rows, start=2):
        where = f"{path}, row {number}: bin '{column_of(row)}'"
        first, second = split_files(row.get("reads", "")), split_files(row.get("reads_2", ""))
        if not first:
            raise ConfigError(f"{where} has no reads; fill in the column reads, or give a table of counts as counts.table")
        if second and len(first) != len(second):
            raise ConfigError(f"{where} has {len(first)} files in reads, but {len(second)} in reads_2; pairs need as many")
        for name in first + second:
            if name in owner:
                raise ConfigError(f"{where}: {name} is there already, for bin '{owner[name]}'; each file may be there once")
            owner[name] = column_of(row)
