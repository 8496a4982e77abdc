"""Read and write tables as text or Parquet in blocks: compression, separators, line numbers."""

import csv
import gzip
import io
import os
import sys
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import polars as pl
import zstandard

from gpraflow.core import files
from gpraflow.core.errors import ConfigError, GpraflowError, InputError

SEPARATORS = {"tsv": "\t", "csv": ","}
FORMAT_OF_SUFFIX = {".tsv": "tsv", ".tab": "tsv", ".txt": "tsv", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
STDIN = "-"  # as a path: standard input or standard output
_BLOCK = 16 << 20
_PARQUET_ROWS = 200_000
ROW = "\0row"  # a column name that no file contains


_OLD_MAC = "a line ends with CR only, as in files of classic Mac OS; convert the file with tr '\\r' '\\n' < FILE > NEW"


def text_lines(path: str | os.PathLike) -> Iterator[str]:
    """Yield the lines of a text file (plain, .gz or .zst) or of standard input (``-``), without line endings.

    Raises
    ------
    InputError
        If the file is missing, empty or corrupt.
    """
    require_file(Path(path))
    return (line.rstrip("\r\n") for line in split_lines(decompressed(Path(path)), Path(path)))


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
        yield from (line.decode("utf-8", errors="replace") + "\n" for line in whole)
    if left:
        yield left.decode("utf-8", errors="replace")


def read_blocks(path: str | os.PathLike, file_format: str, header: bool) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    """Yield (block, column names); blocks hold strings (Parquet: native types) and the column `_ROW`."""
    path = Path(path)
    require_file(path)
    kind = _format(path, file_format)
    yield from parquet_blocks(path) if kind == "parquet" else text_blocks(decompressed(path), kind, header, path)


def text_blocks(stream: Iterable[bytes], kind: str, header: bool, path: Path) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    names: list[str] = []
    for first, text in _lines(stream, path):
        if not names:
            head, _, rest = text.partition(b"\n")
            names = _names(head, SEPARATORS[kind], header, path)
            if header:
                first, text = first + 1, rest
        if text:
            yield _parse(text, first, names, SEPARATORS[kind], path), names
    if not names:
        raise InputError(f"{path}: the file is empty")


def parquet_blocks(path: Path) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    first = 1
    try:
        for rows in pl.scan_parquet(path, glob=False).collect_batches(chunk_size=_PARQUET_ROWS, maintain_order=True):
            if rows.height:
                yield rows.with_columns(pl.int_range(first, first + rows.height, dtype=pl.Int64).alias(ROW)), rows.columns
            first += rows.height
    except (pl.exceptions.ComputeError, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file ({error})") from error


def _names(head: bytes, separator: str, header: bool, path: Path) -> list[str]:
    try:
        cells = [cell.strip() for cell in next(csv.reader([head.decode("utf-8")], delimiter=separator), [])]
    except csv.Error:
        raise InputError(f"{path}, row 1: {_OLD_MAC}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}, row 1: not UTF-8 text; is this a plain {'TSV' if separator == chr(9) else 'CSV'} file?") from None
    if not header:
        return [str(number) for number in range(1, len(cells) + 1)]
    for cell in cells:
        if cells.count(cell) > 1:
            raise InputError(f"{path}, row 1: the column '{cell}' occurs {cells.count(cell)} times; column names must be unique")
    return cells


def decompressed(path: Path) -> Iterator[bytes]:
    """Yield the decompressed blocks of a file or of standard input. Compression is detected from the file extension or the first bytes."""
    with nullcontext(sys.stdin.buffer) if str(path) == STDIN else open(path, "rb") as handle:
        suffix, start = path.suffix.lower(), handle.peek(4)[:4]  # type: ignore[union-attr]
        if suffix == ".zst" or start == b"\x28\xb5\x2f\xfd":
            yield from _decompressed_zst(handle, path)
            return
        try:
            packed = suffix == ".gz" or start[:2] == b"\x1f\x8b"
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
    last = left.replace(b"\r\n", b"\n").rstrip(b"\r\n")
    if last:
        _refuse_empty_line(last, number, path)
        yield number, last + b"\n"


def _refuse_empty_line(text: bytes, number: int, path: Path) -> None:
    at = 0 if text.startswith(b"\n") else text.find(b"\n\n") + 1
    if at or text.startswith(b"\n"):
        row = number + text[:at].count(b"\n")
        raise InputError(f"{path}, row {row}: the line is empty; delete it")


def _parse(text: bytes, first: int, names: list[str], separator: str, path: Path) -> pl.DataFrame:
    _check_cells(text, first, len(names), separator, path)
    try:
        rows = pl.read_csv(
            io.BytesIO(text),
            has_header=False,
            separator=separator,
            quote_char='"' if separator == "," else None,
            schema=dict.fromkeys(names, pl.String),
        )
    except pl.exceptions.PolarsError as error:
        _check_cells(text, first, len(names), separator, path, thorough=True)
        raise InputError(f"{path}, rows from {first}: cannot be read as a table ({error})") from error
    lines = text.count(b"\n")
    if rows.height != lines:
        raise InputError(f"{path}, rows from {first}: {lines} lines but {rows.height} records; line breaks within quotes are not supported")
    return rows.with_columns(pl.int_range(first, first + rows.height, dtype=pl.Int64).alias(ROW))


def _check_cells(text: bytes, first: int, expected: int, separator: str, path: Path, thorough: bool = False) -> None:
    """Raise an error for rows with too many or too few cells; Polars would pad short rows with null."""
    quoted = separator == "," and b'"' in text
    if not quoted and not thorough and text.count(separator.encode()) == text.count(b"\n") * (expected - 1):
        return  # a short row can be masked by a long one here, but Polars rejects the long one
    for number, line in enumerate(text.decode(errors="replace").removesuffix("\n").split("\n"), start=first):
        cells = len(next(csv.reader([line]))) if quoted else line.count(separator) + 1
        if cells != expected:
            raise InputError(f"{path}, row {number}: {cells} cells, expected {expected}")
