"""The cells of .xlsx files, as text with the rows of the spreadsheet. Polars and fastexcel are imported only for such files."""

import os
import re
import zipfile
import zlib
from collections.abc import Collection
from typing import IO, TYPE_CHECKING
from xml.parsers import expat

from gpraflow.core import files
from gpraflow.core.errors import ConfigError, InputError

if TYPE_CHECKING:
    import polars as pl

ROW = "\0row"  # a column name that no file contains
_MOST_COLUMNS, _MOST_CELLS = 2_000, 50_000_000  # of a table, with its empty cells: fastexcel keeps room for each
_FEW_CELLS, _SPARSE = 1_000_000, 20  # cells that are no matter, and cells of the table per cell with content
_MOST_COMPRESSED = 200  # times
_TEXT_OF_VALUES = 100  # characters of a value that is an error of the spreadsheet
_SAVE = "save the table as CSV UTF-8 (.csv)"


class _Scan:
    """What cells of a worksheet tell of themselves: where they are, and which hold an error or a formula without a value."""

    def __init__(self) -> None:
        self.cells, self.row, self.column = 0, 0, 0
        self.rows: tuple[int, int] = (1 << 62, 0)
        self.columns: tuple[int, int] = (1 << 62, 0)
        self.last = (0, 0)  # column and row of the last cell that is farther right or down than those before it
        self.faults: list[tuple[str, str]] = []  # place, and error or ""
        self.kind, self.text = "n", ""
        self.formula, self.value, self.reading, self.counted = False, False, False, True

    def read(self, handle: IO[bytes]) -> None:
        """Read the XML of a worksheet."""
        parser = expat.ParserCreate(namespace_separator=" ")
        parser.StartElementHandler, parser.EndElementHandler = self._start, self._end
        parser.CharacterDataHandler = self._data
        parser.buffer_text = True
        parser.ParseFile(handle)

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        kind = name.rpartition(" ")[2]
        self.reading = kind == "v"
        if kind == "c":
            self.kind, self.text, self.formula, self.value = attributes.get("t", "n"), "", False, False
            place = re.fullmatch(r"([A-Za-z]+)(\d+)", attributes.get("r", ""))
            self.column = _number(place[1]) if place else self.column + 1
            self.row = int(place[2][:10]) if place else self.row
            self.counted = False
        elif kind == "row":
            given = attributes.get("r", "")
            self.row, self.column = int(given[:10]) if given.isdecimal() else self.row + 1, 0
        elif kind in ("f", "v", "is"):
            self.formula, self.value = self.formula or kind == "f", self.value or kind == "v"
            self._count()

    def _count(self) -> None:
        """Count the cell, unless that was done; cells with a format and nothing else take no room."""
        if self.counted:
            return
        self.counted, self.cells = True, self.cells + 1
        if self.row >= self.rows[1] or self.column >= self.columns[1]:
            self.last = self.column, self.row
        self.rows = min(self.rows[0], self.row), max(self.rows[1], self.row)
        self.columns = min(self.columns[0], self.column), max(self.columns[1], self.column)

    def _end(self, name: str) -> None:
        if not name.endswith("c") or name.rpartition(" ")[2] != "c":
            return
        text = self.text.strip()
        if self.kind == "e":
            self.faults.append((_place(self.column, self.row), text or "an error"))
        elif self.formula and not text and not (self.kind == "str" and self.value):  # the value of a formula may be empty text
            self.faults.append((_place(self.column, self.row), ""))

    def _data(self, text: str) -> None:
        if self.reading and (self.formula or self.kind == "e"):
            self.text = (self.text + text)[:_TEXT_OF_VALUES]

    @property
    def problem(self) -> str:
        """Why the table takes more memory than its content, or an empty string."""
        high, wide = self.rows[1], self.columns[1] - self.columns[0] + 1
        if self.columns[1] > _MOST_COLUMNS:
            return f"there is a cell in column {self.columns[1]:,}, and at most {_MOST_COLUMNS:,} columns are read"
        if self.cells and high * wide > max(_FEW_CELLS, min(_MOST_CELLS, _SPARSE * self.cells)):
            return f"{self.cells:,} cells with content span {high:,} rows and {wide:,} columns, up to cell {_place(*self.last)}"
        return ""


def _number(letters: str) -> int:
    """Return the number of a column, from 1, or one beyond any."""
    number = 0
    for letter in letters.upper()[:8]:
        number = 26 * number + ord(letter) - 64
    return number


def _place(column: int, row: int) -> str:
    """Return the name of a cell, such as B3."""
    letters, left = "", column
    while left:
        left, letter = divmod(left - 1, 26)
        letters = chr(65 + letter) + letters
    return f"{letters}{row}"


def _check(path: str | os.PathLike, missing: Collection[str]) -> None:
    """Check what fastexcel does not: that the file unpacks to no more memory than its cells need, and that all cells have values.

    Raises
    ------
    InputError
        If one of these does not hold.
    ValueError, zipfile.BadZipFile
        And others, if the file is no archive of XML.
    """
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            files.check_unpacked(entry, _MOST_COMPRESSED)
        for entry in archive.infolist():
            scan = _Scan()
            try:
                with archive.open(entry) as handle:
                    scan.read(handle)
            except expat.ExpatError:
                if scan.cells or entry.filename.lower().endswith(".xml"):
                    raise
            if scan.problem:
                raise InputError(f"{path}: {scan.problem}; delete cells and rows beside the table, or {_SAVE}")
            for place, error in scan.faults:
                if not error:
                    raise InputError(
                        f"{path}, cell {place}: a formula without its value; open the file in a spreadsheet program and save it again, "
                        f"or {_SAVE}"
                    )
                if error not in missing:
                    raise InputError(f"{path}, cell {place}: the formula gives {error}; correct it, or empty the cell")


def read(path: str | os.PathLike, missing: Collection[str] = ("#N/A",)) -> "pl.DataFrame":
    """Return the cells of the only sheet of an .xlsx file that holds any, all as text; a whole number has no decimals.

    Empty rows and comments (``#``) before the table, and empty rows and columns around it, are left out.

    Parameters
    ----------
    path
        The file.
    missing
        Errors of formulas that are read as empty cells; others are errors.

    Returns
    -------
    polars.DataFrame
        `ROW`, the row in the spreadsheet, and a column for each column with cells. Empty cells are null.

    Raises
    ------
    ConfigError
        If fastexcel is not installed.
    InputError
        If the file cannot be read, several sheets hold cells, none does, a row within the table is empty, a cell lies far from the
        others, or a formula has an error or no value.
    """
    try:
        import fastexcel
    except ImportError:
        raise ConfigError(f"{path}: .xlsx files need the package fastexcel; install it, or save the table as CSV UTF-8 (.csv)") from None
    import polars as pl

    unreadable = (fastexcel.FastExcelError, zipfile.BadZipFile, zlib.error, expat.ExpatError, ValueError, NotImplementedError, EOFError)
    try:
        _check(path, missing)
        book = fastexcel.read_excel(os.fspath(path))
        sheets = {name: book.load_sheet(name, header_row=None, skip_rows=0, dtypes="string").to_polars() for name in book.sheet_names}
    except OSError as error:
        if error.filename is not None:
            raise InputError(f"{path}: could not be read ({error.strerror})") from None
        raise InputError(f"{path}: not a readable .xlsx file (its parts are not where it says); {_SAVE}") from error
    except unreadable as error:
        raise InputError(f"{path}: not a readable .xlsx file ({(str(error).splitlines() or ['damaged'])[0]:.300}); {_SAVE}") from error
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
