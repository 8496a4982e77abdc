"""Tables of read counts per bin: one or several, with a column for each bin, or long with a row for each sequence and bin."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import polars as pl

from gpraflow.assay.replicates import Replicate
from gpraflow.assay.sheet import CountColumn
from gpraflow.core import numbers
from gpraflow.core.errors import ConfigError, InputError, and_more, nearest
from gpraflow.core.ledger import Ledger
from gpraflow.formats.columns import (
    SEVERAL_NAMES,
    check_labels,
    check_sequences,
    differing,
    first_row,
    listed,
    missing_cells,
    parse_numbers,
    resolve_columns,
    select_columns,
)
from gpraflow.formats.text import read_blocks

LABELS = ("name", "group", "split", "source")
OUTER = ("condition", "replicate")  # roles that name bins of a long table together with ``bin``, in this order
_NORMALISED = (
    "raw read counts are needed, because the error of expression follows from them. Fractions, CPM and other normalised counts cannot be "
    "used: give the table of raw counts, or the FASTQ files of sorted bins as reads in the sample sheet. If CPM and each bin's total reads "
    "are known, CPM x total / 10^6, rounded, are the counts. If no reads are known, give expression itself, such as the mean bin or "
    "log2(RNA/DNA), as input.table"
)


def in_order(places: Sequence[Sequence[Any]], replicates: Sequence[Replicate]) -> list[CountColumn]:
    """Return the places of bins, given as the fields of `CountColumn`, in the order of the bins of replicates; then unsorted samples."""
    by_name = {place[0]: CountColumn(*place) for place in places}
    of_bins = [by_name.pop(column) for each in replicates for column in each.columns]
    return [*of_bins, *by_name.values()]


def read(
    tables: Sequence[str | os.PathLike],
    bins: Sequence[CountColumn],
    columns: Mapping[str, str | int],
    ledger: Ledger,
    *,
    header: bool = True,
    empty: Literal["error", "zero"] = "error",
    ambiguous: Literal["error", "n"] = "error",
    sheet: str | os.PathLike = "sample sheet",
) -> tuple[pl.DataFrame, np.ndarray]:
    """Read tables of sequences with reads per bin.

    Parameters
    ----------
    tables
        TSV, CSV (plain, .gz or .zst) or Parquet files.
    bins
        The place of each bin's reads, from `sheet.count_columns`.
    columns
        ``sequence``, ``name``, ``group``, ``split``, ``source`` -> column, as for `tables.ingest`. For long tables also ``bin`` and
        ``count``, and ``condition`` and ``replicate`` or ``""``: a row then holds the reads of one sequence in the bin that
        `CountColumn.column` names, such as ``replicate.bin`` or ``condition.replicate.bin``.
    ledger
        Records the row counts.
    header
        True if the first row of a text file holds column names.
    empty
        Treatment of empty cells, NA and NaN: ``error``, or ``zero`` to count them as 0 reads.
    ambiguous
        As for `columns.check_sequences`.
    sheet
        Sample sheet, for error messages.

    Returns
    -------
    tuple
        Labels, one row per distinct sequence (reads of identical sequences are summed, of their names the first is kept), and reads,
        ``(promoters, bins)`` int64. A sequence that one of several tables lacks has no reads there.

    Raises
    ------
    InputError
        If a count is empty, negative or not an integer, or identical sequences differ in ``group``, ``split`` or ``source``; with file
        and row.
    ConfigError
        If a column or a bin is missing.
    """
    options = _Options(columns, ledger, header, empty, ambiguous, sheet)
    reader = _long if columns.get("bin") or columns.get("count") else _wide
    parts = [reader(path, [each for each in bins if each.table == index], options) for index, path in enumerate(tables)]
    names = [_role(each) for each in bins]
    table = parts[0]
    if len(parts) > 1:
        together = pl.concat(parts, how="diagonal").with_columns(pl.col(names).fill_null(0))
        table = _distinct(together, names, tables[-1], ledger, "same sequence in another table, joined")
    return table.select("sequence", *(label for label in LABELS if label in table.columns)), table.select(names).to_numpy()


class _Options(NamedTuple):
    """Parameters of `read` that hold for all tables."""

    columns: Mapping[str, str | int]
    ledger: Ledger
    header: bool
    empty: Literal["error", "zero"]
    ambiguous: Literal["error", "n"]
    sheet: str | os.PathLike


def _wide(path: str | os.PathLike, bins: Sequence[CountColumn], options: _Options) -> pl.DataFrame:
    """Return ``row``, ``sequence``, labels and a column of reads for each bin (`_role`), one row per distinct sequence."""
    columns, ledger, header, empty, ambiguous, sheet = options
    labels = {role: column for role, column in columns.items() if role in ("sequence", *LABELS)}
    gaps, parts = EmptyCounts(path, empty), []
    for rows, names in read_blocks(path, "auto", header):
        ledger.read(rows.height)
        of_bins = {_role(each): _column(each, names, header, path, sheet) for each in bins}
        roles = resolve_columns(labels, names, header, path, "counts", ("sequence",)) | of_bins
        part = check_sequences(select_columns(rows, roles, path), path, ledger, ambiguous=ambiguous, key="input.ambiguous")
        for role in of_bins:
            part = whole_numbers(part, role, path, header, gaps)
        parts.append(part)
    if not parts:
        raise InputError(f"{path}: the table has no rows; give a table with at least one promoter")
    gaps.finish(ledger)
    return _distinct(pl.concat(parts), [_role(each) for each in bins], path, ledger, "repeated sequence, reads added up")


def _long(path: str | os.PathLike, bins: Sequence[CountColumn], options: _Options) -> pl.DataFrame:
    """Return the same as `_wide` of a table with a row for each sequence and bin."""
    columns, ledger, header, empty, ambiguous, sheet = options
    gaps, parts = EmptyCounts(path, empty), []
    others: set[str] = set()
    role_of = {each.column: _role(each) for each in bins}
    for rows, names in read_blocks(path, "auto", header):
        ledger.read(rows.height)
        roles = resolve_columns(columns, names, header, path, "counts", ("sequence", "bin", "count"))
        part = select_columns(rows, roles, path)
        cell = pl.col("bin").cast(pl.String).str.strip_chars()
        if hit := first_row(part, cell.is_null() | (cell == "")):
            raise InputError(f"{path}, row {hit[0]}: the bin is empty{and_more(hit[2])}; name the bin or delete the row")
        if outer := [role for role in OUTER if role in roles]:
            cell = pl.concat_str(*(_label(role) for role in outer), cell, separator=".", ignore_nulls=True)
        part = part.with_columns(bin=cell.replace_strict(role_of, default=None), _cell=cell)
        others.update(part.filter(pl.col("bin").is_null())["_cell"].drop_nulls().unique())
        part = part.filter(pl.col("bin").is_not_null()).drop("_cell", *OUTER, strict=False)
        ledger.drop("of a bin that the sample sheet lacks", rows.height - part.height)
        part = check_sequences(part, path, ledger, ambiguous=ambiguous, key="input.ambiguous")
        parts.append(whole_numbers(part, "count", path, header, gaps))
    if not parts:
        raise InputError(f"{path}: the table has no rows; give a table with at least one promoter")
    gaps.finish(ledger)
    table = pl.concat(parts)
    present = set(table["bin"])
    for each in bins:
        if _role(each) not in present:
            seen = sorted(others | {other.column for other in bins if _role(other) in present})
            raise ConfigError(
                f"{path}: no row of bin '{each.column}'{nearest(each.column, others)} (the file has the bins {', '.join(seen[:12])}); "
                f"write what the table calls it into the column 'column' of {sheet}"
            )
    cells = table.group_by("sequence", "bin", maintain_order=True).agg(pl.col("count").sum())
    ledger.note("same sequence and bin again, reads added up", table.height - cells.height)
    names = [_role(each) for each in bins]
    wide = cells.pivot("bin", index="sequence", values="count").select("sequence", *names).with_columns(pl.col(names).fill_null(0))
    labels = _distinct(table.drop("bin", "count"), [], path, ledger, "same sequence in another bin, joined")
    return labels.join(wide, on="sequence", how="left", maintain_order="left")


def _label(role: str) -> pl.Expr:
    """Return the cells of a role without surrounding blanks; empty ones are null."""
    text = pl.col(role).cast(pl.String).str.strip_chars()
    return pl.when(text != "").then(text)


def _role(each: CountColumn) -> str:
    """Return the name of a bin's column of reads, which Polars cannot take as a pattern, as it can ``*``."""
    return f"bin {each.name}"


def _column(wanted: CountColumn, names: Sequence[str], header: bool, path: Any, sheet: Any) -> str:
    """Return the name of the column with the reads of a bin."""
    advice = f"write the column of its reads, by name or number, into the column 'column' of {sheet}"
    if header and wanted.column in names:
        return wanted.column
    number = numbers.parse_count(wanted.column)
    if number is not None and (wanted.own or not header):
        if 1 <= number <= len(names):
            return names[number - 1]
        raise ConfigError(f"{path}: no column number {wanted.column} for bin {wanted.name}; the first row has {len(names)} columns")
    if not header:
        raise ConfigError(f"{path}: counts.header is false, so bins need numbers of columns, but bin {wanted.name} has none; {advice}")
    raise ConfigError(
        f"{path}, row 1: no column '{wanted.column}' for bin {wanted.name}{nearest(wanted.column, names)} ({listed(names)}); {advice}, or "
        "set counts.header: false if there is no header; a long table, with a row for each sequence and bin, needs counts.columns.bin and "
        "counts.columns.count"
    )


class EmptyCounts:
    """Empty counts of a table: their number, and the first one."""

    def __init__(self, path: str | os.PathLike, policy: str):
        self.path, self.policy = path, policy
        self.cells, self.first = 0, ""

    def add(self, rows: pl.DataFrame, role: str) -> None:
        """Count the null cells of a column."""
        if hit := first_row(rows, pl.col(role).is_null()):
            self.first = self.first or f"row {hit[0]}: {role} is empty"
            self.cells += hit[2]

    def finish(self, ledger: Ledger) -> None:
        """Record the empty cells, or raise an error."""
        if self.cells and self.policy == "error":
            number = f"{self.cells:,} counts of this table are" if self.cells > 1 else "one count of this table is"
            raise InputError(
                f"{self.path}, {self.first} ({number} empty or NA); if that means no reads, set counts.empty: zero; else give the "
                "counts or delete the rows"
            )
        if self.cells:
            ledger.note("empty counts taken as 0 reads", self.cells)


def whole_numbers(rows: pl.DataFrame, role: str, path: str | os.PathLike, header: bool, gaps: EmptyCounts) -> pl.DataFrame:
    """Return rows with the column of a role as int64, empty cells as 0; `InputError` for other cells than whole numbers from 0."""
    if rows.schema[role].is_integer() or rows.schema[role] == pl.String:  # fast path for the usual column types, without parsing each cell
        numbers = rows[role].cast(pl.Int64, strict=False)
        if rows.height and not numbers.null_count() and numbers.min() >= 0 and numbers.max() <= 2**53:  # type: ignore[operator]
            return rows.with_columns(numbers)
    text = pl.col(role).cast(pl.String).str.strip_chars()
    if hit := first_row(rows, text.str.contains(r"^[-+]?\d+(,\d+)+$")):
        raise InputError(
            f"{path}, row {hit[0]}: {role} '{str(hit[1][role]).strip()}' has a comma{and_more(hit[2])}; write whole numbers without "
            f"separators of thousands, such as 1234. If the comma is a decimal sign: {_NORMALISED}"
        )
    value = pl.when(~missing_cells(text)).then(text).cast(pl.Float64, strict=False)
    if hit := first_row(rows, (value.is_finite() & (value >= 0) & (value % 1 != 0)) | text.str.contains(r"\d\s*%$")):
        raise InputError(
            f"{path}, row {hit[0]}: {role} '{str(hit[1][role]).strip()}' must be a whole number{and_more(hit[2])}: {_NORMALISED}"
        )
    rows = parse_numbers(rows, role, pl.Int64, path, header, empty_allowed=True, section="counts")
    gaps.add(rows, role)
    return rows.with_columns(pl.col(role).fill_null(0))


def _distinct(table: pl.DataFrame, counts: Sequence[str], path: Any, ledger: Ledger, what: str) -> pl.DataFrame:
    """Return one row per sequence in order of first occurrence, with the sums of ``counts``."""
    labels = [name for name in LABELS if name in table.columns]
    if table["sequence"].n_unique() == table.height:
        return table
    table = check_labels(table, ["sequence"], path, "counts", [name for name in labels if name != "name"])
    if "name" in labels:
        ledger.note(SEVERAL_NAMES, differing(table, "name", ["sequence"])["sequence"].n_unique())
    firsts = [pl.col("row").first(), *(pl.col(name).drop_nulls().first() for name in labels)]
    merged = table.group_by("sequence", maintain_order=True).agg(*firsts, pl.col(counts).sum())
    ledger.drop(what, table.height - merged.height)
    return merged
