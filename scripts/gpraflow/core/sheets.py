"""Rows of sheets, as text or .xlsx. Standard library only, but for .xlsx, because the Snakefile and all jobs import it."""

import csv
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from gpraflow.core import spreadsheet
from gpraflow.core.errors import ConfigError
from gpraflow.core.separators import separator_of


def rows(path: str | os.PathLike, known: Iterable[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows of a sheet, the header first: the number of the line or spreadsheet row, and its cells without surrounding blanks.

    The sheet is tab-separated, CSV with commas or semicolons if its name ends in .csv, or a spreadsheet (.xlsx). Comments (``#``) and
    empty lines are left out. ``known`` are columns that it may have.

    Raises
    ------
    ConfigError
        If the file is missing, is not text, or has other separators.
    InputError
        If a spreadsheet cannot be read.
    """
    if not Path(path).is_file():
        raise ConfigError(f"{path}: this file does not exist")
    if Path(path).suffix.lower() == ".xlsx":
        for number, *cells in spreadsheet.read(path).iter_rows():
            if not (cells[0] or "").startswith("#"):
                yield number, [cell or "" for cell in cells]
        return
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; save the sheet as tab-separated text (.tsv), as CSV UTF-8 (.csv) or as .xlsx") from None
    with io.StringIO(text, newline="") as handle:
        lines = [(number, line) for number, line in enumerate(handle, start=1) if not line.startswith("#")]
    reader = csv.reader((line for _, line in lines), delimiter=separator_of(path, lines[0][1] if lines else "", known))
    for cells in reader:
        if cells:
            yield lines[reader.line_num - 1][0], [cell.strip() for cell in cells]
