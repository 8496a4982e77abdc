"""The promoter table: reading what users have, checking it, and the one form in which the workflow keeps it."""

import csv
import glob
import gzip
import io
import os
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
import zstandard
from Bio.SeqIO.FastaIO import SimpleFastaParser

from gpraflow import files
from gpraflow.errors import ConfigError, GpraflowError, InputError, nearest
from gpraflow.ledger import Ledger
from gpraflow.scaffold import ALPHABET, Scaffold, flank_ends

# The promoter table: one row a distinct sequence. `weight` is what the row counts in training, `bin_cells` the cells that it had in each
# sorted bin, in their order; `split` is the user's own. Empty where there is none.
SCHEMA: dict[str, Any] = {
    "sequence": pl.String,
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
}
REQUIRED = ("sequence", "expression")
SEPARATORS = {"tsv": "\t", "csv": ","}
_FORMAT_OF_SUFFIX = {".tsv": "tsv", ".tab": "tsv", ".txt": "tsv", ".csv": "csv", ".parquet": "parquet", ".pq": "parquet"}
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_FASTA_SUFFIXES = (".fa", ".fasta", ".fna")
STDIN = "-"  # as a path: standard input, or standard output
_BLOCK = 16 << 20
_RECORDS = 50_000  # of a FASTA file at a time
_AMBIGUOUS = "RYSWKMBDHV"  # IUPAC's letters for one of several bases
_AMINO_ACIDS = "EFILPQ"  # letters that proteins have and IUPAC's bases have not
_MOST_AMBIGUOUS = 1 / 3  # of a sequence; beyond it is rather a protein of K, M, V and so on
_PARQUET_ROWS = 200_000
_ROW = "\0row"  # a name that no column of a file has
_LEAST_EVIDENCE = 10  # exact bases of the flanks; less is an insert without flanks


@dataclass(frozen=True)
class Policy:
    """What to do with rows that are not as they should be; keys of the config's sections ``scaffold`` and ``input``."""

    damaged_flanks: Literal["keep", "repair", "drop", "error"] = "keep"
    add_missing_flanks: bool = True
    max_flank_edits: int = 4
    insert_length: Sequence[int] = (40, 120)
    outside_length: Literal["error", "drop"] = "error"
    duplicates: Literal["error", "mean", "first"] = "error"


_OLD_MAC = "a line ends with CR only, as on Macs of old; write the file anew with tr '\\r' '\\n' < FILE > NEW"


def read(path: str | os.PathLike) -> pl.DataFrame:
    """Read a promoter table that this workflow wrote.

    Raises
    ------
    InputError
        If the file is missing, damaged, or lacks a column of `SCHEMA`.
    """
    return scan(path).collect()


def scan(path: str | os.PathLike) -> pl.LazyFrame:
    """Return a promoter table that need not be read as a whole; errors as `read`."""
    try:
        table = pl.scan_parquet(Path(path))
        schema = table.collect_schema()
    except FileNotFoundError:
        raise InputError(f"{path}: this promoter table does not exist") from None
    except pl.exceptions.ComputeError as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); delete it and run again") from error
    for column, dtype in SCHEMA.items():
        if schema.get(column) != dtype:
            raise InputError(f"{path}: no promoter table: column '{column}' is {schema.get(column)}, not {dtype}")
    return table


def write(table: pl.DataFrame, path: str | os.PathLike) -> None:
    """Write a promoter table as Parquet, whole or not at all; the same rows give the same bytes.

    Parameters
    ----------
    table
        At least ``sequence`` and ``expression``; other columns of `SCHEMA` that it lacks are written as null, further ones are kept.
    """
    known = [(pl.col(name) if name in table.columns else pl.lit(None)).cast(dtype).alias(name) for name, dtype in SCHEMA.items()]
    files.write_parquet(path, table.select(*known, pl.exclude(list(SCHEMA))))


def ingest(
    path: str | os.PathLike,
    *,
    scaffold: Scaffold,
    policy: Policy,
    columns: dict[str, str | int],
    file_format: str = "auto",
    header: bool = True,
    expression_range: tuple[float, float] = (-np.inf, np.inf),
    keep: Sequence[str] = (),
    keep_if_there: Sequence[str] = (),
    ledger: Ledger | None = None,
) -> pl.DataFrame:
    """Read a user's table, check every row and bring it into the form of the promoter table.

    Parameters
    ----------
    path
        TSV, CSV (plain, .gz or .zst) or Parquet. Windows line ends and a byte order mark are accepted.
    scaffold, policy
        Flanks, and what to do with rows that lack or damage them, are far too long or short, or come twice.
    columns
        Role (a column of `SCHEMA`) -> column name, or number from 1 where there is no header; ``"auto"``: the column of the role's
        name if there is one; ``""``: none.
    file_format
        ``tsv``, ``csv``, ``parquet``, or ``auto`` to go by the file's name.
    header
        Whether the first row of a text file names the columns.
    expression_range
        Least and greatest expression that is accepted, in the units of the table.
    keep, keep_if_there
        Further columns to keep under their own names: numbers (float64) if all that is in them is, else text; null where empty. Of a
        sequence that is there more than once the first row's are kept.
    ledger
        Takes the counts.

    Raises
    ------
    InputError
        With file, row (line number of a text file, record number of a Parquet file; both from 1), what was found and what to do.
    ConfigError
        If a column is not there.
    """
    ledger = ledger or Ledger("ingest_table", str(path))
    parts = []
    for rows, names in _blocks(path, file_format, header):
        kept = _kept(keep, keep_if_there, names, header, path)
        part = _checked(rows, _resolve(columns, names, header, path), path, expression_range, header, ledger, kept)
        parts.append(_with_flanks(part, scaffold, policy, path, ledger))
    if not parts:
        raise InputError(f"{path}: the table has no rows; give a table with at least one promoter")
    table = _distinct(pl.concat(parts), policy.duplicates, path, ledger)
    if not table.height:
        raise InputError(f"{path}: no row is left after the checks (see the ledger); look at the scaffold and its policies")
    return table.select(*SCHEMA).hstack(_with_numbers(table.drop("row", *SCHEMA)))


# Reading


def read_columns(
    path: str | os.PathLike, columns: Mapping[str, str | int], section: str, ledger: Ledger, header: bool = True
) -> Iterator[pl.DataFrame]:
    """Yield blocks of a text or Parquet table: ``row`` and a column for each role, sequences checked, the rest as text.

    Parameters
    ----------
    path
        See `ingest`.
    columns
        Role -> column, ``"auto"`` or ``""``, as for `ingest`; ``sequence`` is needed.
    section
        Of the config, for messages.
    ledger
        Takes rows in and what was done to sequences.
    header
        As for `ingest`.

    Raises
    ------
    InputError, ConfigError
        As `ingest`.
    """
    empty = True
    for rows, names in _blocks(path, "auto", header):
        ledger.read(rows.height)
        part = _select(rows, _resolve(columns, names, header, path, section, ("sequence",)), path)
        yield check_sequences(part, path, ledger)
        empty = False
    if empty:
        raise InputError(f"{path}: the table has no rows; give a table with at least one promoter")


def records(
    path: str | os.PathLike,
    ledger: Ledger,
    *,
    columns: Mapping[str, str | int] | None = None,
    header: bool = True,
    ambiguous: Literal["error", "n"] = "error",
) -> Iterator[pl.DataFrame]:
    """Yield blocks of named sequences, checked: ``row`` (from 1; of a table with a header from 2), ``name``, ``sequence``.

    Parameters
    ----------
    path
        FASTA, TSV, CSV (plain, .gz or .zst) or Parquet, or ``-`` for standard input (no Parquet). The content says what it is: a FASTA
        file begins with >; a table's name, or else its first line, says what separates its columns. The name of a FASTA record is its
        first word.
    ledger
        Takes rows in and what was done to sequences.
    columns
        Of a table: ``sequence`` and ``name`` -> column, as for `ingest`; a row without a name is called by its number from 1.
    header
        Whether the first row of a table names the columns.
    ambiguous
        What to do with letters that stand for one of several bases: refuse them, or take them for N.

    Raises
    ------
    InputError, ConfigError
        As `ingest`; a record is named too.
    """
    path, before = Path(path), 0
    _require_file(path)
    stream = _decompressed(path)
    first = next(stream, b"").removeprefix(b"\xef\xbb\xbf")
    stream = chain([first], stream)
    named = Path("standard input") if str(path) == STDIN else path
    start = first.lstrip()
    fasta = start.startswith(b">")
    blocks: Iterable[pl.DataFrame]
    if fasta:
        blocks = _fasta_blocks(stream, named)
    elif _suffix(path) in _FASTA_SUFFIXES:
        raise InputError(f"{named}: no FASTA record found (a line that starts with > before each sequence)")
    elif not start:
        raise InputError(f"{named}: the file is empty; give at least one sequence")
    else:
        wanted = columns or {"sequence": "sequence", "name": "auto"}
        kind = _FORMAT_OF_SUFFIX.get(_suffix(path)) or ("tsv" if b"\t" in start.partition(b"\n")[0] else "csv")
        if start.startswith(b"PAR1"):
            if str(path) == STDIN:
                raise InputError("standard input: Parquet cannot be read from a pipe; give the file's name")
            kind = "parquet"
        found = _parquet_blocks(path) if kind == "parquet" else _text_blocks(stream, kind, header, named)
        blocks = (_select(rows, _resolve(wanted, names, header, named, "", ("sequence",)), named) for rows, names in found)
    for rows in blocks:
        if "name" not in rows.columns:
            rows = rows.with_columns(name=pl.lit(None))
        number = pl.int_range(before + 1, before + 1 + pl.len()).cast(pl.String)
        rows = rows.with_columns(pl.col("name").cast(pl.String).replace("", None).fill_null(number))
        ledger.read(rows.height)
        before += rows.height
        yield check_sequences(rows, named, ledger, "record" if fasta else "row", ambiguous).select("row", "name", "sequence")
    if not before:
        raise InputError(f"{named}: the table has no rows; give at least one sequence")


def read_sequences(path: str | os.PathLike) -> pl.Series:
    """Return the sequences of a FASTA file or of a table's column ``sequence``; formats and errors as `records`."""
    return pl.concat([rows["sequence"] for rows in records(path, Ledger("read_sequences", str(path)))])


class RepeatedNames:
    """Names that come more than once in a file of any size: 8 bytes a name are kept."""

    def __init__(self) -> None:
        self.hashes: list[np.ndarray] = []

    def add(self, names: pl.Series) -> None:
        """Take the names of a block."""
        self.hashes.append(names.hash().to_numpy())

    def note(self, ledger: Ledger) -> None:
        """Count the rows whose name was there before."""
        together = np.sort(np.concatenate([np.empty(0, np.uint64), *self.hashes]))
        ledger.note("names that were there before (rows are in the order of the input)", int((together[1:] == together[:-1]).sum()))


def regroup(blocks: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Yield the same rows in blocks of whole multiples of ``rows``; the last one holds at least ``rows``, if there are so many.

    So batches of that size begin at the same rows as in the whole table: in other places of a batch a model's last digit may differ.
    """
    left = None
    for block in blocks:
        left = block if left is None else pl.concat([left, block])
        whole = (left.height // rows - 1) * rows
        if whole > 0:
            yield left[:whole]
            left = left[whole:]
    if left is not None:
        yield left


def text_lines(path: str | os.PathLike) -> Iterator[str]:
    """Yield the lines of a text file, plain, .gz or .zst, or of standard input (``-``), without line ends.

    Raises
    ------
    InputError
        If the file is missing, empty or damaged.
    """
    _require_file(Path(path))
    return (line.rstrip("\r\n") for line in _text_lines(_decompressed(Path(path)), Path(path)))


@contextmanager
def writing(path: str | os.PathLike) -> Iterator[Callable[[pl.DataFrame], None]]:
    """Give a function that writes one block of a table after the other as TSV, CSV (plain or .gz) or Parquet, by the file's name.

    The file appears whole or not at all, with at least one block. ``-`` is standard output, as TSV.

    Raises
    ------
    ConfigError
        If the name says no format.
    GpraflowError
        If it cannot be written.
    """
    path, first = Path(path), True
    kind = "tsv" if str(path) == STDIN else _format(path, "auto", "use .tsv, .csv or .parquet")
    if path.suffix == ".zst":
        raise ConfigError(f"{path}: .zst is read, not written; use .gz")

    def to(handle: Any) -> Callable[[pl.DataFrame], None]:
        def write(block: pl.DataFrame) -> None:
            nonlocal first
            bare = block.with_columns(pl.col(pl.String).replace("", None))  # an empty text would be two quotes
            handle.write(bare.write_csv(separator=SEPARATORS[kind], include_header=first).encode())
            handle.flush()
            first = False

        return write

    if str(path) == STDIN:
        try:
            yield to(sys.stdout.buffer)
        except BrokenPipeError:  # whoever read it has gone
            raise
        except OSError as error:
            raise GpraflowError(f"standard output: could not be written ({error.strerror or error})") from error
        return
    with files.whole(path) as temporary:
        if kind == "parquet":  # in parts, since Polars writes a file at once
            mine = f".parts-{path.name}-"
            for left in path.parent.glob(f"{glob.escape(mine)}*"):  # by a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            with tempfile.TemporaryDirectory(dir=path.parent, prefix=mine) as folder:
                parts: list[Path] = []

                def part(block: pl.DataFrame) -> None:
                    parts.append(Path(folder) / f"{len(parts)}.parquet")
                    block.write_parquet(parts[-1])

                yield part
                pl.scan_parquet(parts).sink_parquet(temporary, compression="zstd", maintain_order=True)
        else:
            with gzip.open(temporary, "wb", compresslevel=6) if path.suffix == ".gz" else open(temporary, "wb") as handle:
                yield to(handle)


def whole_numbers(rows: pl.DataFrame, role: str, path: str | os.PathLike) -> pl.DataFrame:
    """Return a block of `read_columns` with the column of a role as int64; empty, negative or other cells are an `InputError`."""
    if rows.schema[role].is_integer() or rows.schema[role] == pl.String:  # the usual columns need no look at each cell's text
        numbers = rows[role].cast(pl.Int64, strict=False)
        if not numbers.null_count() and numbers.min() >= 0 and numbers.max() <= 2**53:  # type: ignore[operator]
            return rows.with_columns(numbers)
    return _number(rows, role, pl.Int64, path)


def _suffix(path: Path) -> str:
    """Return the last suffix, in lower case, that says no compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() not in (".gz", ".zst")]
    return suffixes[-1] if suffixes else ""


def _format(path: Path, file_format: str, advice: str = "set input.format to tsv, csv or parquet") -> str:
    if file_format != "auto":
        return file_format
    if _suffix(path) not in _FORMAT_OF_SUFFIX:
        raise ConfigError(f"{path}: cannot tell the format from this name; {advice}")
    return _FORMAT_OF_SUFFIX[_suffix(path)]


def _require_file(path: Path) -> None:
    if str(path) == STDIN:
        return
    if not path.is_file():
        raise InputError(
            f"{path}: this file does not exist; check the path (relative to the working directory); "
            "a public data set that was there is fetched again with --forcerun fetch_dataset"
        )
    if not path.stat().st_size:
        raise InputError(f"{path}: the file is empty")


def _text_lines(stream: Iterable[bytes], path: Path) -> Iterator[str]:
    """Yield lines with their ends; ``path`` is for messages."""
    left = b""
    for block in stream:
        text = left + block
        if text.count(b"\r") > text.count(b"\r\n") + text.endswith(b"\r"):
            raise InputError(f"{path}: {_OLD_MAC}")
        *whole, left = text.split(b"\n")
        yield from (line.decode("utf-8", errors="replace") + "\n" for line in whole)
    if left:
        yield left.decode("utf-8", errors="replace")


def _fasta_blocks(stream: Iterable[bytes], path: Path) -> Iterator[pl.DataFrame]:
    """Yield ``row`` (the record's number from 1), ``name`` (its first word) and ``sequence``."""
    found, first = SimpleFastaParser(_text_lines(stream, path)), 1
    while block := list(islice(found, _RECORDS)):
        titles, sequences = zip(*block, strict=True)
        names = [title.split(maxsplit=1)[0] if title.strip() else "" for title in titles]
        rows = pl.DataFrame({"name": names, "sequence": sequences}, schema={"name": pl.String, "sequence": pl.String})
        yield rows.with_columns(row=pl.int_range(first, first + rows.height, dtype=pl.Int64))
        first += rows.height


def _blocks(path: str | os.PathLike, file_format: str, header: bool) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    """Yield frames of strings (Parquet: of its own types) with a column `_ROW`, and the column names."""
    path = Path(path)
    _require_file(path)
    kind = _format(path, file_format)
    yield from _parquet_blocks(path) if kind == "parquet" else _text_blocks(_decompressed(path), kind, header, path)


def _text_blocks(stream: Iterable[bytes], kind: str, header: bool, path: Path) -> Iterator[tuple[pl.DataFrame, list[str]]]:
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


def _parquet_blocks(path: Path) -> Iterator[tuple[pl.DataFrame, list[str]]]:
    first = 1
    try:
        for rows in pl.scan_parquet(path).collect_batches(chunk_size=_PARQUET_ROWS, maintain_order=True):
            if rows.height:
                yield rows.with_columns(pl.int_range(first, first + rows.height, dtype=pl.Int64).alias(_ROW)), rows.columns
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
            raise InputError(f"{path}, row 1: the column '{cell}' is there {cells.count(cell)} times; names must differ")
    return cells


def _decompressed(path: Path) -> Iterator[bytes]:
    """Yield the blocks of a file, or of standard input; what is compressed is told by its name or first bytes."""
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
            raise InputError(f"{path}: the .gz file ends in the middle; it is truncated, fetch or write it again") from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise InputError(f"{path}: the .gz file is damaged ({error}); fetch or write it again") from error


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
        raise InputError(f"{path}: the .zst file is damaged ({error}); fetch or write it again") from error
    if not frame.eof:
        raise InputError(f"{path}: the .zst file ends in the middle; it is truncated, fetch or write it again")


def _lines(stream: Iterable[bytes], path: Path) -> Iterator[tuple[int, bytes]]:
    """Yield (number of the first line, whole lines), without byte order mark, carriage returns and empty lines at the end."""
    number, left, start = 1, b"", True
    for block in stream:
        if start:
            block, start = block.removeprefix(b"\xef\xbb\xbf"), False
        end = block.rfind(b"\n")
        if end < 0:
            left += block
            continue
        text = (left + block[: end + 1]).replace(b"\r\n", b"\n")
        # Empty lines at the end are held back: they only matter if something follows.
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
        raise InputError(f"{path}, rows from {first}: {lines} lines but {rows.height} records; quoted line breaks are not accepted")
    return rows.with_columns(pl.int_range(first, first + rows.height, dtype=pl.Int64).alias(_ROW))


def _check_cells(text: bytes, first: int, expected: int, separator: str, path: Path, thorough: bool = False) -> None:
    """Refuse rows with more or fewer cells than there are columns; Polars would fill short ones."""
    quoted = separator == "," and b'"' in text
    if not quoted and not thorough and text.count(separator.encode()) == text.count(b"\n") * (expected - 1):
        return  # a short row beside a long one is not seen here, but Polars refuses the long one
    for number, line in enumerate(text.decode(errors="replace").splitlines(), start=first):
        cells = len(next(csv.reader([line]))) if quoted else line.count(separator) + 1
        if cells != expected:
            raise InputError(f"{path}, row {number}: {cells} cells where {expected} are expected")


def _resolve(
    columns: Mapping[str, str | int], names: list[str], header: bool, path: Any, section: str = "input", required: Sequence[str] = REQUIRED
) -> dict[str, str]:
    """Return role -> name of the column in the file; messages name ``section`` of the config, or options of the command line."""
    found = {}
    for role, wanted in columns.items():
        if wanted == "auto":
            if header and role in names:
                found[role] = role
            continue
        if wanted == "":
            continue
        if isinstance(wanted, int):
            if not 1 <= wanted <= len(names):
                raise ConfigError(f"{path}: no column number {wanted} for {role}; the first row has {len(names)} columns")
            found[role] = names[wanted - 1]
        elif not header:
            key = f"input.header is false, so {section}.columns.{role}" if section else f"without a header --{role}-column"
            raise ConfigError(f"{path}: {key} must be a number from 1, not '{wanted}'")
        elif wanted not in names:
            other = {";": "semicolons", "\t": "tabs", ",": "commas"}
            if len(names) == 1 and (odd := next((sign for sign in other if sign in names[0]), None)):
                raise ConfigError(
                    f"{path}, row 1: one column '{names[0]}', cells seem to be separated by {other[odd]}; "
                    "in .csv they are by commas, in .tsv by tabs: rename the file or write it anew"
                )
            advice = f"set {section}.columns.{role}, or input.header: false" if section else f"give --{role}-column, or --no-header"
            raise ConfigError(
                f"{path}, row 1: no column '{wanted}' for {role}{nearest(wanted, names)} (the file has {', '.join(names[:12])}"
                f"{', ...' if len(names) > 12 else ''}); {advice} if there is no header"
            )
        else:
            found[role] = wanted
    for role in required:
        if role not in found:
            raise ConfigError(f"{path}: {section}.columns.{role} must name a column")
    return found


# Checking


def _first(rows: pl.DataFrame, bad: pl.Expr) -> tuple[int, dict[str, Any], int] | None:
    """Return row number and content of the first row for which ``bad`` holds, and how many there are."""
    wrong = rows.filter(bad)
    return (wrong["row"][0], wrong.row(0, named=True), wrong.height) if wrong.height else None


def _more(count: int) -> str:
    return f" ({count} such rows near here)" if count > 1 else ""


def _number(rows: pl.DataFrame, role: str, dtype: Any, path: Any, header: bool = True, empty_allowed: bool = False) -> pl.DataFrame:
    text = pl.col(role).cast(pl.String).str.strip_chars()
    text = pl.when(text == "").then(None).otherwise(text)
    rows = rows.with_columns(text.alias("_text")).with_columns(pl.col("_text").cast(pl.Float64, strict=False).alias("_value"))
    if not empty_allowed and (hit := _first(rows, pl.col("_text").is_null())):
        row, _, count = hit
        raise InputError(f"{path}, row {row}: {role} is empty{_more(count)}; give a number or delete the row")
    if hit := _first(rows, pl.col("_text").is_not_null() & pl.col("_value").is_null()):
        row, cells, count = hit
        hint = "; this looks like a header: set input.header: true" if row == 1 and not header else "; give a number with a decimal point"
        raise InputError(f"{path}, row {row}: {role} '{cells['_text']}' is not a number{_more(count)}{hint}")
    if hit := _first(rows, ~pl.col("_value").cast(pl.Float32).is_finite()):  # as it is kept
        row, cells, count = hit
        raise InputError(
            f"{path}, row {row}: {role} is {cells['_text']}{_more(count)}; a finite number is needed, delete rows without a measurement"
        )
    if dtype == pl.Int64 and (hit := _first(rows, ~pl.col("_value").is_between(0, 2**53) | (pl.col("_value") % 1 != 0))):
        row, cells, _ = hit
        raise InputError(f"{path}, row {row}: {role} '{cells['_text']}' must be a whole number from 0 to 2^53")
    if role in ("expression_sd", "weight") and (hit := _first(rows, pl.col("_value") < 0)):
        row, cells, _ = hit
        raise InputError(f"{path}, row {row}: {role} '{cells['_text']}' must not be negative")
    return rows.with_columns(pl.col("_value").cast(dtype).alias(role)).drop("_text", "_value")


def _select(rows: pl.DataFrame, columns: Mapping[str, str], path: Any) -> pl.DataFrame:
    """Return ``row`` and a column for each role; blank labels are null."""
    for role, name in columns.items():
        if (rows.schema[name].is_nested() and role != "bin_cells") or rows.schema[name] == pl.Binary:
            raise InputError(f"{path}: column '{name}' for {role} is of type {rows.schema[name]}; text or numbers are needed")
    rows = rows.select(pl.col(_ROW).alias("row"), **{role: pl.col(name) for role, name in columns.items()})
    labels = [pl.col(role).cast(pl.String).str.strip_chars() for role in ("group", "split", "source") if role in columns]
    rows = rows.with_columns(pl.when(label != "").then(label) for label in labels)
    return rows


def _kept(keep: Sequence[str], keep_if_there: Sequence[str], names: list[str], header: bool, path: Any) -> list[str]:
    """Return the further columns to keep; those of `SCHEMA` have their own ways."""
    if keep and not header:
        raise ConfigError(f"{path}: without a header there is no column '{keep[0]}' to keep; give the file a header, or leave it out")
    for name in keep:
        if name in SCHEMA:
            raise ConfigError(f"{path}: '{name}' is a column of the promoter table itself; give the file's column another name")
        if name not in names:
            raise ConfigError(f"{path}, row 1: no column '{name}' to keep{nearest(name, names)} (the file has {', '.join(names[:12])})")
    return [*dict.fromkeys([*keep, *(name for name in keep_if_there if name in names and name not in SCHEMA)])]


def _with_numbers(kept: pl.DataFrame) -> pl.DataFrame:
    """Return further columns as float64 where all that is in them is a number, blank cells null."""
    for name, dtype in kept.schema.items():
        if dtype == pl.String:
            cells = kept.select(pl.when(pl.col(name).str.strip_chars() != "").then(pl.col(name).str.strip_chars()))[name]
            numbers = cells.cast(pl.Float64, strict=False)
            kept = kept.with_columns(numbers if numbers.null_count() == cells.null_count() else cells)
    return kept


def _checked(
    rows: pl.DataFrame,
    columns: dict[str, str],
    path: Any,
    expression_range: tuple[float, float],
    header: bool,
    ledger: Ledger,
    keep: Sequence[str] = (),
) -> pl.DataFrame:
    """Return one block with the columns of `SCHEMA`, those to keep and ``row``, every value checked."""
    ledger.read(rows.height)
    kept = rows.select(keep)
    rows = _select(rows, columns, path)
    for role in REQUIRED[1:]:
        rows = _number(rows, role, pl.Float64, path, header, empty_allowed=False)
    for role in ("expression_sd", "n_reads", "n_bins", "weight"):
        if role in columns:
            rows = _number(rows, role, SCHEMA[role], path, header, empty_allowed=True)
    if "singleton" in columns:
        text = pl.col("singleton").cast(pl.String).str.to_lowercase()
        if hit := _first(rows, ~text.is_in(list(_TRUTH)) & text.is_not_null() & (text != "")):
            raise InputError(f"{path}, row {hit[0]}: singleton '{hit[1]['singleton']}' is neither true nor false")
        rows = rows.with_columns(text.replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean).alias("singleton"))
    if "bin_cells" in columns:
        rows = _cells_of_bins(rows, path)
    rows = check_sequences(rows, path, ledger)

    low, high = expression_range
    if hit := _first(rows, (pl.col("expression") < low) | (pl.col("expression") > high)):
        row, cells, count = hit
        raise InputError(
            f"{path}, row {row}: expression {cells['expression']:g} is outside {low:g} .. {high:g}{_more(count)}; "
            "mend the row, or set input.expression_min and input.expression_max to the scale of your assay"
        )
    return rows.select(
        "row", *((pl.col(name) if name in columns else pl.lit(None)).cast(dtype).alias(name) for name, dtype in SCHEMA.items())
    ).hstack(kept)


def _cells_of_bins(rows: pl.DataFrame, path: Any) -> pl.DataFrame:
    """Return the block with ``bin_cells`` as lists of numbers, from a list column or from numbers behind commas."""
    text = pl.col("bin_cells")
    if rows.schema["bin_cells"] == pl.String:
        text = pl.when(text.str.strip_chars() != "").then(text.str.split(",").list.eval(pl.element().str.strip_chars()))
    number = pl.element()
    rows = rows.with_columns(_text=text, bin_cells=text.cast(pl.List(pl.Float32), strict=False))
    wrong = pl.col("bin_cells").list.eval(number.is_null() | ~number.is_finite() | (number < 0)).list.any()
    if hit := _first(rows, pl.col("_text").is_not_null() & wrong.fill_null(True)):
        row, cells, count = hit
        found = ",".join(map(str, cells["_text"]))
        raise InputError(f"{path}, row {row}: bin_cells '{found}'{_more(count)}; numbers of at least 0 are needed, commas between them")
    return rows.drop("_text")


def check_sequences(
    rows: pl.DataFrame, path: Any, ledger: Ledger, unit: str = "row", ambiguous: Literal["error", "n"] = "error"
) -> pl.DataFrame:
    """Return a block with ``sequence`` in upper case and every letter checked; ``unit`` is what a row is called in messages."""

    def where(row: int, cells: dict[str, Any]) -> str:
        return f"{path}, {unit} {row}" + (f" ('{cells['name']}')" if unit == "record" else "")

    rows = rows.with_columns(pl.col("sequence").cast(pl.String).str.strip_chars())
    if hit := _first(rows, pl.col("sequence").is_null() | (pl.col("sequence") == "")):
        raise InputError(f"{where(*hit[:2])}: the sequence is empty{_more(hit[2])}; delete the {unit}")
    upper = rows["sequence"].str.to_uppercase()
    lower_case = int((upper != rows["sequence"]).sum())
    if lower_case:
        ledger.note("lower case made upper case", lower_case)
    rows = rows.with_columns(upper)
    if ambiguous == "n":
        codes = pl.col("sequence").str.count_matches(f"[{_AMBIGUOUS}]")
        known = pl.col("sequence").str.contains(f"^[{ALPHABET}{_AMBIGUOUS}]*$")  # the message below is about others
        many = known & (codes > _MOST_AMBIGUOUS * pl.col("sequence").str.len_bytes())
        if hit := _first(rows, many):
            row, cells, count = hit
            raise InputError(
                f"{where(row, cells)}: more than a third of '{_shown(cells['sequence'])}' are codes for one of several bases{_more(count)}"
                "; if this is a protein give the promoter's DNA sequence, if these are unknown bases write N"
            )
        if some := int(rows.select((codes > 0).sum()).item()):
            ledger.note("codes for one of several bases taken for N", some)
            replaced = pl.col("sequence").str.replace_all(f"[{_AMBIGUOUS}]", "N")
            rows = rows.with_columns(sequence=pl.when(known).then(replaced).otherwise("sequence"))
    if hit := _first(rows, pl.col("sequence").str.contains(f"[^{ALPHABET}]")):
        row, cells, count = hit
        sequence = cells["sequence"]
        allowed = ALPHABET + (_AMBIGUOUS if ambiguous == "n" else "")
        at, letter = next((at, letter) for at, letter in enumerate(sequence, start=1) if letter not in allowed)
        if letter == "U" and not set(sequence) - set(allowed + "U"):
            raise InputError(f"{where(row, cells)}: the sequence is RNA (U at position {at}){_more(count)}; replace U by T")
        advice = "; only A, C, G, T and N are accepted"
        if set(_AMINO_ACIDS) & set(sequence) and sequence.isalpha():
            advice = "; this looks like a protein: give the promoter's DNA sequence, of A, C, G, T and N"
        raise InputError(f"{where(row, cells)}: letter '{letter}' at position {at} of '{_shown(sequence)}'{_more(count)}{advice}")
    return rows


def _shown(sequence: str) -> str:
    return sequence if len(sequence) <= 40 else sequence[:40] + "..."


# Flanks


def _with_flanks(rows: pl.DataFrame, scaffold: Scaffold, policy: Policy, path: Any, ledger: Ledger) -> pl.DataFrame:
    """Return the block with both flanks on every sequence as far as the policy asks, and without rows that it drops."""
    five, three = scaffold.five_prime, scaffold.three_prime
    if five or three:
        rows = mend_flanks(rows, scaffold, policy, path, ledger)
    low, high = (bound + len(five) + len(three) for bound in policy.insert_length)
    length = pl.col("sequence").str.len_bytes()
    outside = (length < low) | (length > high)
    if hit := _first(rows, outside):
        row, cells, count = hit
        if policy.outside_length == "error":
            raise InputError(
                f"{path}, row {row}: the sequence is {len(cells['sequence'])} bp long with its flanks; scaffold '{scaffold.name}' takes "
                f"{low} to {high} bp{_more(count)}; check scaffold.name, or set scaffold.insert_length or scaffold.outside_length: drop"
            )
        ledger.drop(f"length outside {low} to {high} bp", count)
        rows = rows.filter(~outside)
    return rows


def mend_flanks(rows: pl.DataFrame, scaffold: Scaffold, policy: Policy, path: Any, ledger: Ledger) -> pl.DataFrame:
    """Return a block (``row``, ``sequence``) with missing flanks added and damaged ones treated as the policy says."""
    five, three, sequence = scaffold.five_prime, scaffold.three_prime, pl.col("sequence")
    intact = rows.select(sequence.str.starts_with(five) & sequence.str.ends_with(three)).to_series()
    ledger.note("both flanks intact", int(intact.sum()))
    if intact.all():
        return rows
    odd = rows.filter(~intact)
    five_edits, five_length = flank_ends(odd["sequence"], five, policy.max_flank_edits)
    three_edits, three_length = flank_ends(odd["sequence"].str.reverse(), three[::-1], policy.max_flank_edits)
    # A chance match must not pass for a damaged flank. Each edit can be made in about 4^4 ways, so that a flank of n bp with e edits is
    # as telling as n - 4 e exact bases; both ends together must tell more than 10 bases would.
    evidence = np.zeros(odd.height, np.int64)
    for flank, edits in ((five, five_edits), (three, three_edits)):
        evidence += np.where(edits <= policy.max_flank_edits, np.maximum(len(flank) - 4 * edits, 0), 0)
    absent = evidence < _LEAST_EVIDENCE
    damaged = ~absent

    mended = odd["sequence"].to_list()
    dropped = np.zeros(odd.height, bool)
    if absent.any():
        if not policy.add_missing_flanks:
            row = odd["row"][int(absent.argmax())]
            raise InputError(
                f"{path}, row {row}: neither {five} nor {three} is there{_more(int(absent.sum()))}; check scaffold.name, or set "
                "scaffold.add_missing_flanks: true if the table holds inserts only"
            )
        for index in np.flatnonzero(absent).tolist():
            mended[index] = five + mended[index] + three
        ledger.note("insert only, flanks added", int(absent.sum()))
    if damaged.any():
        count = int(damaged.sum())
        if policy.damaged_flanks == "error":
            index = int(damaged.argmax())
            raise InputError(
                f"{path}, row {odd['row'][index]}: a flank is damaged (5': {mended[index][: len(five)]}, expected {five}; "
                f"3': {mended[index][-len(three) :]}, expected {three}){_more(count)}; set scaffold.damaged_flanks to keep, repair or drop"
            )
        if policy.damaged_flanks == "drop":
            dropped = damaged
            ledger.drop("flank damaged", count)
        elif policy.damaged_flanks == "keep":
            ledger.note("flank damaged, kept as measured", count)
        else:
            # Where one end shows no flank at all, what stands there may be insert: there is nothing to go by.
            mendable = damaged & (five_edits <= policy.max_flank_edits) & (three_edits <= policy.max_flank_edits)
            for index in np.flatnonzero(mendable).tolist():
                end = len(mended[index]) - int(three_length[index])
                mended[index] = five + mended[index][int(five_length[index]) : end] + three
            ledger.note("flank damaged, repaired", int(mendable.sum()))
            ledger.note("one flank not found, kept as measured", count - int(mendable.sum()))
    odd = odd.with_columns(pl.Series("sequence", mended, pl.String)).filter(~pl.Series(dropped))
    return pl.concat([rows.filter(intact), odd]).sort("row")


# Duplicates


def _longest(rows: pl.DataFrame) -> int:
    return rows["bin_cells"].list.len().max() or 0  # type: ignore[return-value]


def _distinct(rows: pl.DataFrame, policy: str, path: Any, ledger: Ledger) -> pl.DataFrame:
    """Return one row a distinct sequence, in the order of first appearance, expression as float32."""
    rows = rows.with_columns(pl.col("expression").cast(pl.Float32))
    twice = pl.col("sequence").is_duplicated()
    duplicates = rows.filter(twice)
    if not duplicates.height:
        return rows
    differing = duplicates.filter(pl.col("expression").n_unique().over("sequence") > 1)
    if policy == "error" and differing.height:
        pair = differing.filter(pl.col("sequence") == differing["sequence"][0])
        raise InputError(
            f"{path}, rows {pair['row'][0]} and {pair['row'][1]}: the same sequence with expression {pair['expression'][0]:g} and "
            f"{pair['expression'][1]:g} ({differing['sequence'].n_unique()} such sequences); set input.duplicates to mean or first"
        )
    for role in ("split", "group"):
        spread = duplicates.filter(pl.col(role).n_unique().over("sequence") > 1)
        if spread.height:
            pair = spread.filter(pl.col("sequence") == spread["sequence"][0]).unique(role, keep="first", maintain_order=True)
            raise InputError(
                f"{path}, rows {pair['row'][0]} and {pair['row'][1]}: the same sequence with {role} '{pair[role][0]}' and "
                f"'{pair[role][1]}'; mend the column, or leave it out (input.columns.{role}: '')"
            )
    first = [pl.col(name).first() for name in rows.columns if name != "sequence"]
    if policy == "mean":
        changed = {
            "expression": pl.col("expression").mean(),
            "expression_sd": (pl.col("expression_sd") ** 2).mean().sqrt(),
            "n_reads": pl.when(pl.col("n_reads").count() > 0).then(pl.col("n_reads").sum()),
            "n_bins": pl.col("n_bins").max(),
            "singleton": pl.lit(False) & pl.col("singleton").first(),
            "weight": pl.col("weight").mean(),
            "bin_cells": pl.when(pl.col("bin_cells").count() > 0).then(
                pl.concat_list(pl.col("bin_cells").list.get(index, null_on_oob=True).sum() for index in range(_longest(duplicates)))
            )
            if _longest(duplicates)
            else pl.col("bin_cells").first(),
        }
        first = [changed.get(expression.meta.output_name(), expression).alias(expression.meta.output_name()) for expression in first]
    merged = duplicates.group_by("sequence", maintain_order=True).agg(first)
    ledger.drop(
        "same sequence again, mean taken" if policy == "mean" else "same sequence again, first kept", duplicates.height - merged.height
    )
    if differing.height:
        ledger.note("sequences measured more than once with different expression", differing["sequence"].n_unique())
    return (
        pl.concat([rows.filter(~twice), merged.select(rows.columns)], how="vertical_relaxed").sort("row").cast({"expression": pl.Float32})
    )
