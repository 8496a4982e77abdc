"""Read named sequences from FASTA files or tables, in blocks."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from Bio.SeqIO.FastaIO import SimpleFastaParser

from gpraflow.core.errors import InputError, and_more
from gpraflow.core.ledger import Ledger
from gpraflow.formats.columns import check_sequences, first_row, resolve_columns, select_columns
from gpraflow.formats.text import (
    FORMAT_OF_SUFFIX,
    LONGEST_LINE,
    STDIN,
    decompressed,
    read_blocks,
    require_file,
    split_lines,
    suffix_of,
    text_blocks,
)

FASTA_SUFFIXES = (".fa", ".fasta", ".fna")
_RECORD = {"row": pl.Int64, "name": pl.String, "sequence": pl.String}
WHOLE_LINES = "records named by their whole header line, since several have the same first word"
_RECORDS = 50_000  # FASTA records per block


def records(
    path: str | os.PathLike,
    ledger: Ledger,
    *,
    columns: Mapping[str, str | int] | None = None,
    header: bool = True,
    ambiguous: Literal["error", "n"] = "error",
    designs: bool = False,
) -> Iterator[pl.DataFrame]:
    """Yield blocks of validated named sequences: ``row`` (numbered from 1; from 2 in a table with a header), ``name``, ``sequence``.

    Parameters
    ----------
    path
        FASTA, TSV, CSV (plain, .gz or .zst), .xlsx or Parquet, or ``-`` for standard input (text only). The format is detected from the
        content: FASTA starts with >. The column separator of a table follows from its file extension, otherwise from its first line. The
        name of a FASTA record is its first word, or its whole header line if that tells records of the file apart that have the same
        first word (from standard input: among the first 50,000).
    ledger
        Records input rows and changes to sequences.
    columns
        For tables: ``sequence`` and ``name`` -> column, as for `ingest`. Rows without a name are named by their number, from 1.
    header
        True if the first row of a table holds column names.
    ambiguous
        Treatment of IUPAC codes for several bases: ``error`` raises an error, ``n`` replaces them with N.
    designs
        True for a list of designed sequences, which are identified by names: the name of a FASTA record is its whole header line, ``row``
        is the number of that line, tables need the columns ``sequence`` and ``name``, and an empty name is an error.

    Raises
    ------
    InputError, ConfigError
        As `ingest`, also with the name of the record.
    """
    path, before = Path(path), 0
    require_file(path)
    stream = decompressed(path)
    first = next(stream, b"").removeprefix(b"\xef\xbb\xbf")
    stream = chain([first], stream)
    named = Path("standard input") if str(path) == STDIN else path
    start = first.lstrip()
    fasta = start.startswith(b">")
    blocks: Iterable[pl.DataFrame]
    if fasta:
        blocks = _fasta_blocks(stream, named, ledger, designs)
    elif suffix_of(path) in FASTA_SUFFIXES:
        raise InputError(f"{named}: no FASTA record found (a line that starts with > before each sequence)")
    elif not start:
        raise InputError(f"{named}: the file is empty; give at least one sequence")
    else:
        roles = columns or {"sequence": "sequence", "name": "name" if designs else "auto"}
        section = None if designs else ""  # of the config, for messages
        kind = FORMAT_OF_SUFFIX.get(suffix_of(path)) or ("tsv" if b"\t" in start.partition(b"\n")[0] else "csv")
        if start.startswith((b"PAR1", b"PK\x03\x04")):
            kind, title = ("parquet", "Parquet") if start.startswith(b"PAR1") else ("xlsx", ".xlsx")
            if str(path) == STDIN:
                raise InputError(f"standard input: {title} cannot be read from a pipe; give the file's name")
        raw_blocks = read_blocks(path, kind, header) if kind in ("parquet", "xlsx") else text_blocks(stream, kind, header, named)
        blocks = (
            select_columns(rows, resolve_columns(roles, names, header, named, section, ("sequence",)), named) for rows, names in raw_blocks
        )
    for rows in blocks:
        if "name" not in rows.columns:
            rows = rows.with_columns(name=pl.lit(None))
        if designs and (hit := first_row(rows, pl.col("name").is_null() | (pl.col("name") == ""))):
            raise InputError(f"{named}, row {hit[0]}: the name is empty{and_more(hit[2])}; give each sequence a name of its own")
        number = pl.int_range(before + 1, before + 1 + pl.len()).cast(pl.String)
        rows = rows.with_columns(pl.col("name").cast(pl.String).replace("", None).fill_null(number))
        ledger.read(rows.height)
        before += rows.height
        unit = "record" if fasta and not designs else "row"
        yield check_sequences(rows, named, ledger, unit, ambiguous).select("row", "name", "sequence")
    if not before:
        raise InputError(f"{named}: the table has no rows; give at least one sequence")


def read_sequences(path: str | os.PathLike) -> pl.Series:
    """Return the sequences of a FASTA file, or of the column ``sequence`` of a table. Formats and errors as `records`."""
    return pl.concat([rows["sequence"] for rows in records(path, Ledger("read_sequences", str(path)))])


class RepeatedNames:
    """Detect repeated names in a file of any size; stores 8 bytes per name."""

    def __init__(self) -> None:
        self.hashes: list[np.ndarray] = []

    def add(self, names: pl.Series) -> None:
        """Add the names of a block."""
        self.hashes.append(names.hash().to_numpy())

    def note(self, ledger: Ledger) -> None:
        """Record the number of rows whose name occurred before."""
        together = np.sort(np.concatenate([np.empty(0, np.uint64), *self.hashes]))
        ledger.note("repeated names (output rows are in the order of the input)", int((together[1:] == together[:-1]).sum()))


def regroup(blocks: Iterable[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Regroup rows into blocks whose size is a multiple of ``rows``; the last block holds at least ``rows``, if there are that many.

    Batches of that size then start at the same rows as in the whole table. This makes predictions reproducible: the last digit of a
    model's output can depend on the position in the batch.
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


def _first_words_repeat(titles: Iterable[str]) -> bool:
    """Return whether header lines of FASTA records differ more often than their first words do."""
    titles, words, lines = iter(titles), [np.empty(0, np.uint64)], [np.empty(0, np.uint64)]
    while block := [title.strip() for title in islice(titles, _RECORDS)]:
        lines.append(pl.Series(block).hash().to_numpy())
        words.append(pl.Series([_first_word(title) for title in block]).hash().to_numpy())
    return len(np.unique(np.concatenate(words))) < len(np.unique(np.concatenate(lines)))


def _first_word(title: str) -> str:
    return title.split(maxsplit=1)[0] if title.strip() else ""


def _before_sequence(title: str) -> str:
    """Return the tab, or the blank before a sequence, that a header line without a sequence below it has; empty if it has neither."""
    return "\t" if "\t" in title else " " if re.search(r" [ACGTNacgtn]{8,}$", title) else ""


def _fasta_blocks(stream: Iterable[bytes], path: Path, ledger: Ledger, designs: bool) -> Iterator[pl.DataFrame]:
    """Yield ``row`` (number of the record, from 1), ``name`` and ``sequence``.

    The name is the record's first word, or the whole header line if first words repeat (`_first_words_repeat`) or with ``designs``; then
    ``row`` is the number of that line.
    """
    headers: list[int] = []

    def lines() -> Iterator[str]:
        letters = 0
        for number, line in enumerate(split_lines(stream, path), start=1):
            if line.startswith(">"):
                letters = 0
                if designs:
                    headers.append(number)
            elif (letters := letters + len(line)) > LONGEST_LINE:
                raise InputError(f"{path}, line {number}: a record of more than {LONGEST_LINE:,} letters; give promoters, not a genome")
            yield line

    entries, first, whole = SimpleFastaParser(lines()), 1, designs
    if not designs and path.is_file():
        whole = _first_words_repeat(line[1:] for line in split_lines(decompressed(path), path) if line.startswith(">"))
    while block := list(islice(entries, _RECORDS)):
        titles, sequences = zip(*block, strict=True)
        if first == 1 and not path.is_file():
            whole = designs or _first_words_repeat(titles)
        if whole and not designs:
            ledger.note(WHOLE_LINES, len(block))
        last = first + len(block)
        names = [title.strip() if whole else _first_word(title) for title in titles]
        for number, (title, sequence) in enumerate(block, start=first):
            if not sequence and (sign := _before_sequence(title.strip())):
                word, shown = ("a tab", "\\t") if sign == "\t" else ("a blank", sign)
                raise InputError(
                    f"{path}, record {number} ('{_first_word(title)}'): the sequence stands behind {word} in the header line; give it a "
                    f"line of its own, such as with tr '{shown}' '\\n' < FILE > NEW"
                )
        numbers = headers[first - 1 : last - 1] if designs else range(first, last)
        yield pl.DataFrame({"row": numbers, "name": names, "sequence": sequences}, schema=_RECORD)
        first = last
