"""Read and write tables as text or Parquet in blocks, and read .xlsx: compression, separators, line numbers."""

import csv
import gzip
import io
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import chain
from pathlib import Path
from typing import Any

import polars as pl
import zstandard

from gpraflow.core import files, separators, spreadsheet
from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.core.spreadsheet import ROW

SEPARATORS = {"tsv": "\t", "csv": ","}
FORMAT_OF_SUFFIX = {".tsv": "tsv", ".tab": "tsv", ".txt": "tsv", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet", ".xlsx": "xlsx"}
STDIN = "-"  # as a path: standard input or standard output
_QUOTED_CELL = re.compile(rb'(^|\t)"[^\t\n]*"(\t|$)', re.MULTILINE)  # in the first lines of a TSV: quotes are taken off, as of CSV
_BLOCK = 16 << 20
_PARQUET_ROWS = 200_000
LONGEST_LINE = 64 << 20  # bytes
# What Polars raises for damaged Parquet files; panics of its Rust code are no exceptions.
UNREADABLE = (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError, UnicodeDecodeError)


_OLD_MAC = "a line ends with CR only, as in files of classic Mac OS; convert the file with tr '\\r' '\\n' < FILE > NEW"


def text_lines(path: str | os.PathLike) -> Iterator[str]:
    """Yield the lines of a text file (plain, .gz or .zst) or of standard input (``-``), without line endings and byte order mark.

    Raises
    ------
    InputError
        If the file is missing, empty or corrupt.
    """
    require_file(Path(path))
    lines = split_lines(decompressed(Path(path)), Path(path))
    return (line.rstrip("\r\n").removeprefix("\ufeff" if number == 0 else "") for number, line in enumerate(lines))


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Provide a function that writes a table block by block, as TSV, CSV (plain or .gz) or Parquet according to the file extension.

    The file is written atomically and needs at least one block. ``-`` is standard output, as TSV.

    Raises
    ------
    ConfigError
        If the file extension is unknown.
    GpraflowError
        If the file cannot be written.
    """
    path, first = Path(path), True
    kind = "tsv" if str(path) == STDIN else _format(path, "auto", "use .tsv, .csv or .parquet")
    if kind == "xlsx":
        raise ConfigError(f"{path}: .xlsx files can be read but not written; use .tsv, .csv or .parquet")
    if path.suffix == ".zst":
        raise ConfigError(f"{path}: .zst files can be read but not written; use .gz")

    def to(handle: Any) -> Callable[[pl.DataFrame], None]:
        def write(block: pl.DataFrame) -> None:
            nonlocal first
            bare = block.with_columns(pl.col(pl.String).replace("", None))  # Polars would write an empty string as two quotes
            handle.write(bare.write_csv(separator=SEPARATORS[kind], include_header=first).encode())
            handle.flush()
            first = False

        return write

    if str(path) == STDIN:
        try:
            yield to(sys.stdout.buffer)
        except BrokenPipeError:  # the reading process has exited
            raise
        except OSError as error:
            raise GpraflowError(f"standard output: could not be written ({error.strerror or error})") from error
        return
    with files.whole(path) as temporary:
        if kind == "parquet":  # block by block, because Polars writes a Parquet file in one call
            with files.scratch_folder(path) as folder:
                parts: list[Path] = []

                def part(block: pl.DataFrame) -> None:
                    parts.append(folder / f"{len(parts)}.parquet")
                    block.write_parquet(parts[-1])

                yield part
                pl.scan_parquet(parts, glob=False).sink_parquet(temporary, compression="zstd", maintain_order=True)
        else:
            with gzip.open(temporary, "wb", compresslevel=6) if path.suffix == ".gz" else open(temporary, "wb") as handle:
                yield to(handle)


def suffix_of(path: Path) -> str:
    """Return the last file extension that is not one of compression, in lower case."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".zst")]
    return suffixes[-1] if suffixes else ""


def _format(path: Path, file_format: str, advice: str = "set input.format to tsv, csv or parquet") -> str:
    if file_format != "auto":
        return file_format
    if suffix_of(path) in (".xls", ".xlsb", ".xlsm", ".ods"):
        raise ConfigError(f"{path}: {suffix_of(path)} files cannot be read; save the table as .xlsx, or as CSV UTF-8 (.csv)")
    if suffix_of(path) not in FORMAT_OF_SUFFIX:
        raise ConfigError(f"{path}: the file extension does not show the format; {advice}")
    return FORMAT_OF_SUFFIX[suffix_of(path)]


def require_file(path: Path) -> None:
    if str(path) == STDIN:
        return
    if not path.is_file():
        raise InputError(
            f"{path}: this file does not exist; check the path (relative to the working directory); "
            "a public data set that was deleted is downloaded again with --forcerun fetch_dataset"
        )
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty")


def split_lines(stream: Iterable[bytes], path: Path) -> Iterator[str]:
    """Yield lines with their line endings; ``path`` is for error messages."""
    left = b""
    for block in stream:
        text = left + block
        if text.count(b"\r") > text.count(b"\r\n") + text.endswith(b"\r"):
            raise InputError(f"{path}: {_OLD_MAC}")
        *whole, left = text.split(b"\n")
        _check_length(left, path)
        yield from (line.decode("utf-8", errors="replace") + "\n" for line in whole)
    _check_length(left, path)
    if left:
        yield left.decode("utf-8", errors="replace")


def _check_length(line: bytes, path: Path) -> None:
    if len(line) > LONGEST_LINE:
        raise InputError(f"{path}: a line of more than {LONGEST_LINE:,} bytes; this is no file of promoters")


def read_blocks(
    path: str | os.PathLike, file_format: str, header: bool, separator: str = "auto"
) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    """Yield (block, column names); blocks hold strings (Parquet: native types) and the column `ROW`. Parameters as of `text_blocks`."""
    path = Path(path)
    require_file(path)
    kind = _format(path, file_format)
    if kind == "parquet":
        yield from parquet_blocks(path)
    elif kind == "xlsx":
        yield from excel_blocks(path, header)
    else:
        yield from text_blocks(decompressed(path), kind, header, path, separator)


def text_blocks(
    stream: Iterable[bytes], kind: str, header: bool, path: Path, separator: str = "auto"
) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    """Yield (block, column names) of a text table, as `read_blocks`.

    Lines that start with ``#`` before the table are skipped, but counted in row numbers. A column without a name is called ``column N``.
    If the header has one cell less than the rows, as R writes tables, the first column holds the row names and is called ``row.names``.

    Parameters
    ----------
    stream
        Content of the file.
    kind
        ``tsv`` or ``csv``.
    header
        True if the first row holds column names.
    path
        For error messages.
    separator
        ``tab``, ``comma``, ``semicolon``, or ``auto``: that of ``kind`` if the first row has it, else the one that it has, or blanks.
    """
    blocks = _lines(stream, path)
    first, text, comment = _without_comments(blocks)
    if not text:
        raise InputError(f"{path}: the file is empty")
    sample = b"\n".join(text.split(b"\n", 3)[:3])
    sign = _separator(sample.split(b"\n"), kind, separator)
    top = [_cells(line, sign, row, path) for row, line in enumerate(sample.split(b"\n"), start=first) if line]
    if header and _is_header(commented := _cells(comment.lstrip(b"# ").decode(errors="replace").encode(), sign, first, path), top[0]):
        names = _names(commented, top, first - 1, path)
    elif header:
        names = _names(top[0], top[1:], first, path)
        first, text = first + 1, text.partition(b"\n")[2]
    else:
        names = [str(number) for number in range(1, len(top[0]) + 1)]
    quoted = sign != "\t" or bool(_QUOTED_CELL.search(sample))
    for number, block in chain([(first, text)], blocks):
        if block:
            yield _parse(block, number, names, sign, quoted, path), names


def _without_comments(blocks: Iterator[tuple[int, bytes]]) -> tuple[int, bytes, bytes]:
    """Return the number of the first line that is no comment, the text from there, and the last comment line before it.

    The text has at least three lines, if there are so many.
    """
    first, text, comment = 1, b"", b""
    for number, block in blocks:
        first, text = (first, text + block) if text else (number, block)
        while text.startswith(b"#"):
            comment, _, text = text.partition(b"\n")
            first += 1
        if text.count(b"\n") > 2:
            break
    return first, text, comment


def _separator(lines: list[bytes], kind: str, separator: str) -> str:
    """Return the separator of cells: as set, or found in the first line; or blanks, as of R's ``write.table``."""
    if separator != "auto":
        return separators.SEPARATORS[separator]
    first, *others = (re.sub('"[^"]*"', "", line.decode("utf-8", errors="replace")) for line in lines[:2])
    found = next((sign for sign in [SEPARATORS[kind], "\t", ";", ","] if sign in first), "")
    with_blanks = not found and all(" " in line and not set(line) & set(separators.NAMES) for line in [first, *others])
    return " " if with_blanks else found or SEPARATORS[kind]


def _cells(line: bytes, separator: str, row: int, path: Path) -> list[str]:
    """Return the cells of one of the first lines, without quotes."""
    try:
        return [cell.strip() for cell in next(csv.reader([line.decode("utf-8")], delimiter=separator), [])]
    except csv.Error:
        raise InputError(f"{path}, row {row}: {_OLD_MAC}") from None
    except UnicodeDecodeError:
        raise _not_utf8(line, row, path) from None


def _not_utf8(line: bytes, row: int, path: Path) -> InputError:
    """Return the error for a line that is not UTF-8."""
    advice = "save the table as CSV UTF-8, or convert it, such as with iconv -f WINDOWS-1252 -t UTF-8 FILE > NEW"
    if line.startswith((b"\xff\xfe", b"\xfe\xff")):
        advice = "this is UTF-16, which Excel calls Unicode text; save the table as CSV UTF-8"
    elif b"\0" in line:
        advice = "is this a plain TSV or CSV file?"
    return InputError(f"{path}, row {row}: not UTF-8 text; {advice}")


def _is_header(comment: list[str], cells: list[str]) -> bool:
    """Return whether a comment line holds the column names: it has as many cells as the line that follows, and that has numbers."""
    return len(comment) == len(cells) > 1 and any(re.fullmatch(r"[-+]?[\d.,]+([eE][-+]?\d+)?", cell) for cell in cells)


def parquet_blocks(path: Path) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    first = 1
    try:
        for rows in pl.scan_parquet(path, glob=False).collect_batches(chunk_size=_PARQUET_ROWS, maintain_order=True):
            if rows.height:
                yield rows.with_columns(pl.int_range(first, first + rows.height, dtype=pl.Int64).alias(ROW)), rows.columns
            first += rows.height
    except UNREADABLE as error:
        raise InputError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]:.300})") from None


def excel_blocks(path: Path, header: bool) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    """Yield the only sheet of an .xlsx file as one (block, column names), as `read_blocks`; `ROW` is the row in the spreadsheet."""
    cells = spreadsheet.read(path)
    names = [name for name in cells.columns if name != ROW]
    if header:
        names = _names([cell or "" for cell in cells.row(0)[1:]], [], cells[ROW][0], path)
        cells = cells[1:]
    cells.columns = [ROW, *names]
    if cells.height:
        yield cells, names


def _names(cells: list[str], rows: list[list[str]], row: int, path: Path) -> list[str]:
    """Return column names from the cells of the header and of the first rows."""
    if rows and all(len(each) == len(cells) + 1 and each[-1] for each in rows):
        cells = ["row.names", *cells]  # as R's write.table
    cells = [cell or f"column {number}" for number, cell in enumerate(cells, start=1)]
    for cell in cells:
        if cells.count(cell) > 1:
            raise InputError(f"{path}, row {row}: the column '{cell}' occurs {cells.count(cell)} times; column names must be unique")
    return cells


def decompressed(path: Path) -> Iterator[bytes]:
    """Yield the decompressed blocks of a file or of standard input. Compression is detected from the file extension or the first bytes."""
    with nullcontext(sys.stdin.buffer) if str(path) == STDIN else open(path, "rb") as handle:
        suffix, start = path.suffix.lower(), handle.peek(4)[:4]  # type: ignore[union-attr]
        if suffix == ".zst" or start == b"\x28\xb5\x2f\xfd":
            yield from _decompressed_zst(handle, path)
            return
        try:
            packed = suffix in (".gz", ".bgz") or start[:2] == b"\x1f\x8b"
            with gzip.open(handle) if packed else nullcontext(handle) as source:
                while block := source.read(_BLOCK):
                    yield block
        except EOFError:
            raise InputError(f"{path}: the .gz file is truncated; download or create it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: the .gz file is damaged ({error}); download or create it again") from error


def _decompressed_zst(handle: Any, path: Path) -> Iterator[bytes]:
    frame = zstandard.ZstdDecompressor().decompressobj()
    try:
        while compressed := handle.read(max(1, _BLOCK // 8)):
            while compressed:
                if frame.eof:
                    frame = zstandard.ZstdDecompressor().decompressobj()
                yield frame.decompress(compressed)
                compressed = frame.unused_data
    except zstandard.ZstdError as error:
        raise InputError(f"{path}: the .zst file is damaged ({error}); download or create it again") from error
    if not frame.eof:
        raise InputError(f"{path}: the .zst file is truncated; download or create it again")


def _lines(stream: Iterable[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (line number of the first line, whole lines) without byte order mark, carriage returns and trailing empty lines."""
    number, left, start = 1, b"", True
    for block in stream:
        if start:
            block, start = block.removeprefix(b"\xef\xbb\xbf"), False
        end = block.rfind(b"\n")
        if end < 0:
            left += block
            _check_length(left, path)
            continue
        text = (left + block[: end + 1]).replace(b"\r\n", b"\n")
        # Empty lines at the end of a block are held back: they are an error only if more lines follow.
        whole = text.rstrip(b"\n")
        left = text[len(whole) + 1 :] + block[end + 1 :]
        if whole:
            _refuse_empty_line(whole, number, path)
            yield number, whole + b"\n"
            number += whole.count(b"\n") + 1
        else:
            left = text + block[end + 1 :]
    _check_length(left, path)
    last = left.replace(b"\r\n", b"\n").rstrip(b"\r\n")
    if last:
        _refuse_empty_line(last, number, path)
        yield number, last + b"\n"


def _refuse_empty_line(text: bytes, number: int, path: Path) -> None:
    at = 0 if text.startswith(b"\n") else text.find(b"\n\n") + 1
    if at or text.startswith(b"\n"):
        row = number + text[:at].count(b"\n")
        raise InputError(f"{path}, row {row}: the line is empty; delete it")


def _parse(text: bytes, first: int, names: list[str], separator: str, quoted: bool, path: Path) -> pl.DataFrame:
    quoted = quoted and b'"' in text
    _check_cells(text, first, len(names), separator, quoted, path)
    try:
        rows = pl.read_csv(
            io.BytesIO(text),
            has_header=False,
            separator=separator,
            quote_char='"' if quoted else None,
            schema=dict.fromkeys(names, pl.String),
        )
    except pl.exceptions.PolarsError as error:
        for number, line in enumerate(text.split(b"\n"), start=first):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                raise _not_utf8(line, number, path) from None
        _check_cells(text, first, len(names), separator, quoted, path, thorough=True)
        raise InputError(f"{path}, rows from {first}: cannot be read as a table ({error})") from error
    lines = text.count(b"\n")
    if rows.height != lines:
        raise InputError(f"{path}, rows from {first}: {lines} lines but {rows.height} records; line breaks within quotes are not supported")
    return rows.with_columns(pl.int_range(first, first + rows.height, dtype=pl.Int64).alias(ROW))


def _check_cells(text: bytes, first: int, expected: int, separator: str, quoted: bool, path: Path, thorough: bool = False) -> None:
    """Raise an error for rows with too many or too few cells; Polars would pad short rows with null."""
    if not quoted and not thorough and text.count(separator.encode()) == text.count(b"\n") * (expected - 1):
        return  # a short row can be masked by a long one here, but Polars rejects the long one
    for number, line in enumerate(text.decode(errors="replace").removesuffix("\n").split("\n"), start=first):
        cells = len(next(csv.reader([line], delimiter=separator))) if quoted else line.count(separator) + 1
        if cells != expected and line.startswith("#"):
            raise InputError(
                f"{path}, row {number}: '{line[:40]}' is a comment within the table; comments may stand before it only: delete it"
            )
        if cells != expected:
            raise InputError(f"{path}, row {number}: {cells} cells, expected {expected}")
