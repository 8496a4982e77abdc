"""Rows of sheets, as text or .xlsx. Standard library only, but for .xlsx, because the Snakefile and all jobs import it."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpraflow.core import documents, spreadsheet
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.separators import separator_of


def rows(path: str | os.PathLike, known: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a sheet, the header first: the number of the line or spreadsheet row, and its cells without surrounding blanks.

    The sheet is tab-separated, CSV with commas or semicolons if its name ends in .csv, or a spreadsheet (.xlsx). Comments (``#``), empty
    lines and lines of empty cells, as spreadsheets export them, are left out. ``known`` are columns that it may have.

    Raises
    ------
    ConfigError
        If the file is missing, is not text, or has other separators.
    InputError
        If a spreadsheet cannot be read, or a row is no CSV, such as one with a quote that is never closed.
    """
    if not Path(path).is_file():
        raise ConfigError(f"{path}: this file does not exist")
    if Path(path).suffix.lower() == ".xlsx":
        for number, *cells in spreadsheet.read(path, missing=()).iter_rows():
            if not (cells[0] or "").startswith("#"):
                yield number, [cell or "" for cell in cells]
        return
    with io.StringIO(documents.read_text(path, ConfigError), newline="") as handle:
        lines = [(number, line) for number, line in enumerate(handle, start=1) if not line.startswith("#")]
    reader = csv.reader((line for _, line in lines), delimiter=separator_of(path, lines[0][1] if lines else "", known), strict=True)
    try:
        for cells in reader:
            cells = [cell.strip(" \t") for cell in cells]
            if any(cells):
                yield lines[reader.line_num - 1][0], cells
    except csv.Error as error:
        number = lines[min(reader.line_num, len(lines) - 1)][0]
        raise InputError(f"{path}, row {number}: cannot be read ({error}); is a quote not closed?") from None
