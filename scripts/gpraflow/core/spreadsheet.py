"""The cells of .xlsx files, as text with the rows of the spreadsheet. Polars and fastexcel are imported only for such files."""

import os
from typing import TYPE_CHECKING

from gpraflow.core.errors import ConfigError, InputError

if TYPE_CHECKING:
    import polars as pl

ROW = "\0row"  # a column name that no file contains


def read(path: str | os.PathLike) -> "pl.DataFrame":
    """Return the cells of the only sheet of an .xlsx file that holds any, all as text; a whole number has no decimals.

    Empty rows and comments (``#``) before the table, and empty rows and columns around it, are left out.

    Returns
    -------
    polars.DataFrame
        `ROW`, the row in the spreadsheet, and a column for each column with cells. Empty cells are null.

    Raises
    ------
    ConfigError
        If fastexcel is not installed.
    InputError
        If the file cannot be read, several sheets hold cells, none does, or a row within the table is empty.
    """
    try:
        import fastexcel
    except ImportError:
        raise ConfigError(f"{path}: .xlsx files need the package fastexcel; install it, or save the table as CSV UTF-8 (.csv)") from None
    import polars as pl

    try:
        book = fastexcel.read_excel(os.fspath(path))
        sheets = {name: book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string").to_polars() for name in book.sheet_names}
    except fastexcel.FastExcelError as error:
        raise InputError(f"{path}: not a readable .xlsx file ({str(error).splitlines()[0]}); save the table as CSV UTF-8 (.csv)") from error
    filled = [name for name, cells in sheets.items() if cells.height]
    if len(filled) > 1:
        raise InputError(
            f"{path}: the file has {len(filled)} sheets ({', '.join(filled)}), and only one can be read: save that of the table in "
            "a file of its own, or as CSV UTF-8 (.csv)"
        )
    if not filled:
        raise InputError(f"{path}: the file is empty")
    cells = sheets[filled[0]]
    cells.columns = [str(number) for number in range(1, cells.width + 1)]
    cells = cells.with_columns(pl.all().str.strip_chars().replace("", None), pl.int_range(1, cells.height + 1, dtype=pl.Int64).alias(ROW))
    some = pl.any_horizontal(pl.exclude(ROW).is_not_null())
    skipped = (~some | pl.col("1").str.starts_with("#").fill_null(False)).cum_min()
    cells = cells.filter(~skipped)
    last = cells.filter(some)[ROW].max()
    cells = cells.filter(pl.col(ROW) <= (last or 0))
    if not cells.height:
        raise InputError(f"{path}: the file is empty")
    if (empty := cells.filter(~some)).height:
        before = cells.filter(pl.col(ROW) < empty[ROW][0]).drop(ROW)
        title = sum(column.null_count() < before.height for column in before) == 1 < cells.width - 1
        advice = "delete it, and the lines above it if they are a title and not the table" if title else "delete it"
        raise InputError(f"{path}, row {empty[ROW][0]}: the line is empty; {advice}")
    return cells.select(ROW, *[column.name for column in cells.drop(ROW) if column.null_count() < cells.height])
