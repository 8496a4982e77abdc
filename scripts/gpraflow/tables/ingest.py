"""Ingest a user's table into the promoter table: validate rows, complete flanks, resolve duplicates.

A table can be larger than memory: rows are checked in blocks, which are kept as files until the promoter table is written.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from gpraflow.core.conditions import ROLES, column
from gpraflow.core.errors import ConfigError, InputError, and_more, nearest
from gpraflow.core.ledger import Ledger
from gpraflow.formats import conditions as formats_conditions
from gpraflow.formats import promoters
from gpraflow.formats.columns import (
    SEVERAL_NAMES,
    check_sequences,
    first_row,
    missing_cells,
    parse_numbers,
    resolve_columns,
    select_columns,
)
from gpraflow.formats.promoters import REQUIRED, SCHEMA
from gpraflow.formats.text import read_blocks
from gpraflow.formats.transform import LOG2, RANK_NORMAL, Transform, fit
from gpraflow.sequences.flanks import Policy, mend_flanks
from gpraflow.sequences.scaffold import Scaffold
from gpraflow.tables import barcodes, repeated

_NO_LOGARITHM = "set input.transform_floor to the lowest expression that your assay distinguishes from 0, or input.transform: rank_normal"
_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def ingest(path: str | os.PathLike, **options: Any) -> pl.DataFrame:
    """Read and validate a user's table, and return it as a promoter table in memory; parameters and errors as `scan`."""
    return scan(path, **options).collect()


def scan(
    path: str | os.PathLike,
    *,
    scaffold: Scaffold,
    policy: Policy,
    columns: dict[str, str | int],
    file_format: str = "auto",
    header: bool = True,
    separator: str = "auto",
    decimal: str = ".",
    missing: Literal["error", "drop"] = "error",
    ambiguous: Literal["error", "n"] = "error",
    expression_range: tuple[float, float] = (-np.inf, np.inf),
    keep: Sequence[str] = (),
    keep_if_there: Sequence[str] = (),
    positive: bool = False,
    conditions: Sequence[str] = (),
    ledger: Ledger | None = None,
    folder: Path | None = None,
) -> pl.LazyFrame:
    """Read and validate a user's table, and return it as a promoter table.

    Parameters
    ----------
    path
        TSV, CSV (plain, .gz or .zst) or Parquet. Windows line endings, a byte order mark and comment lines before the table are accepted.
    scaffold, policy
        Flanks, and the treatment of missing or damaged flanks, invalid lengths, duplicates, segments and barcodes.
    columns
        Role (a column of `SCHEMA`) -> column name, or 1-based column number without a header. ``"auto"``: the column named like the role,
        if present. ``""``: none.
    file_format
        ``tsv``, ``csv``, ``parquet``, or ``auto`` to use the file extension.
    header
        True if the first row of a text file holds column names.
    separator
        As for `text.text_blocks`.
    decimal
        Decimal sign of numbers in text: ``.`` or ``,``.
    missing
        Treatment of rows without expression (`columns.missing_cells`): ``error`` or ``drop``.
    ambiguous
        As for `columns.check_sequences`.
    expression_range
        Valid range of expression, in the units of the table.
    keep, keep_if_there
        Further columns to keep under their own names, as float64 if all values are numbers, else as text; empty cells are null. Duplicate
        sequences keep the values of their first row. Columns of ``keep_if_there`` are optional.
    positive
        True if expression must be above 0, as for ``input.transform: log2`` without a floor.
    conditions
        Conditions of the table; empty for one. ``columns`` then has a role for each of them, such as ``expression.glucose``, instead of
        ``expression`` and the other roles that are measured. Values may be missing in some conditions; ``missing`` decides on promoters
        without a value in any.
    ledger
        Records row counts; a new ledger by default.
    folder
        For the checked rows, which are files there as long as the table is used; None to hold them in memory.

    Raises
    ------
    InputError
        For invalid rows, with file and row (line number of a text file, record number of a Parquet file; both from 1) and advice.
    ConfigError
        If a column is missing.
    """
    ledger = ledger or Ledger("ingest_table", str(path))
    blocks = repeated.Blocks(folder)
    for rows, names in read_blocks(path, file_format, header, separator):
        kept = _kept(keep, keep_if_there, names, header, path)
        cell_options: dict[str, Any] = {"decimal": decimal, "missing": missing, "ambiguous": ambiguous, "positive": positive}
        required = ("sequence", *(column("expression", name) for name in conditions)) if conditions else REQUIRED
        roles = resolve_columns(columns, names, header, path, required=required)
        part = _checked(rows, roles, path, expression_range, header, ledger, kept, conditions, **cell_options)
        blocks.add(barcodes.cut(_with_flanks(part, scaffold, policy, path, ledger), scaffold, policy, path, ledger))
    if not len(blocks):
        raise InputError(f"{path}: the table has no rows; give a table with at least one promoter")
    repeated.merge(blocks, _SameSequence(policy.duplicates, path, conditions), ledger, folder)
    if policy.barcodes == "mean":
        repeated.merge(blocks, barcodes.Average(path, conditions, blocks.scan()), ledger, folder)
    table = blocks.scan()
    counts = table.select(pl.len(), *(pl.col(column("expression", name)).count() for name in conditions)).collect(engine="streaming")
    for name in conditions:
        if counts["len"].item() and not counts[column("expression", name)].item():
            raise InputError(f"{path}: no promoter has expression in the condition '{name}'; correct its column, or remove the condition")
    if conditions:
        table = formats_conditions.with_means(table, conditions)
    if not counts["len"].item():
        raise InputError(f"{path}: no row passed the checks (see the ledger); check the scaffold and its policies")
    own = [column(role, name) for name in conditions for role in ROLES]
    further = [name for name in table.collect_schema().names() if name not in ("row", *SCHEMA, *own)]
    return table.select(*SCHEMA, *own, *_with_numbers(table, further, decimal))


def expression_of(table: pl.LazyFrame, conditions: Sequence[str] = ()) -> np.ndarray:
    """Return all measured expression of a promoter table, ``(n,)``: that of all conditions, where there are several."""
    names = [column("expression", name) for name in conditions or [""]]
    values = [table.select(pl.col(name).drop_nulls()).collect(engine="streaming").to_series().to_numpy() for name in names]
    return np.concatenate(values)


def fitted(table: pl.LazyFrame, name: str, floor: float | None, conditions: Sequence[str] = ()) -> Transform:
    """Return the transform of a library (`transform.fit`)."""
    return fit(name, floor, expression_of(table, conditions) if name == RANK_NORMAL else np.empty(0))


def transformed(
    table: pl.LazyFrame,
    transform: Transform,
    path: str | os.PathLike,
    ledger: Ledger,
    measured: Sequence[str] = (),
    conditions: Sequence[str] = (),
) -> pl.LazyFrame:
    """Return a promoter table with transformed expression; standard deviations follow by the delta method.

    Parameters
    ----------
    table
        Promoter table with expression in the unit of the input.
    transform
        That of the library (`transform.fit`).
    path
        Source of the table, for messages.
    ledger
        Records promoters whose expression is set to a limit of the transform (`Transform.outside`).
    measured
        Further columns of measured expression, such as replicates; they are transformed too.
    conditions
        Conditions of the table; empty for one.

    Raises
    ------
    InputError
        If one of ``measured`` has values without a logarithm.
    """
    if transform.name == "none":
        return table
    limited = ""
    if transform.name == RANK_NORMAL:
        limited = "expression outside the library's range, set to its nearest limit"
    elif transform.floor:
        limited = f"expression at or below {transform.floor:g}, set to this floor"
    if limited:
        of_all = table.select(column("expression", name) for name in conditions or [""])
        outside = sum(int(transform.outside(each.drop_nulls().to_numpy()).sum()) for _, block in promoters.blocks(of_all) for each in block)
        ledger.note(f"{limited} ({transform.name})", outside)
    if transform.name == LOG2 and transform.floor is None:
        for name in measured:
            values = table.select(pl.col(name).cast(pl.Float64)).filter(pl.col(name) <= 0).collect(engine="streaming").to_series()
            if values.len():
                raise InputError(f"{path}, column '{name}': {values[0]:g} has no logarithm{and_more(values.len())}; {_NO_LOGARITHM}")

    def of_block(rows: pl.DataFrame) -> pl.DataFrame:
        return _transformed(rows, transform, measured, conditions)

    changed = dict.fromkeys((column(role, name) for name in conditions or [""] for role in ("expression", "expression_sd")), pl.Float32)
    schema = table.collect_schema() | changed | dict.fromkeys(measured, pl.Float64)
    return table.map_batches(of_block, schema=schema, streamable=True)


def _transformed(rows: pl.DataFrame, transform: Transform, measured: Sequence[str], conditions: Sequence[str]) -> pl.DataFrame:
    """Return rows of a promoter table with transformed expression."""
    columns = []
    for name in conditions or [""]:
        expression, sd = (rows[column(role, name)].to_numpy().astype(np.float64) for role in ("expression", "expression_sd"))
        columns.append(pl.Series(column("expression", name), transform.forward(expression), pl.Float32).fill_nan(None))
        columns.append(pl.Series(column("expression_sd", name), transform.spread(expression, sd), pl.Float32).fill_nan(None))
    for name in measured:
        columns.append(pl.Series(name, transform.forward(rows[name].cast(pl.Float64).to_numpy()), pl.Float64).fill_nan(None))
    rows = rows.with_columns(columns)
    return formats_conditions.with_means(rows, conditions) if conditions else rows


def _kept(keep: Sequence[str], keep_if_there: Sequence[str], names: list[str], header: bool, path: Any) -> list[str]:
    """Return the further columns to keep, excluding those of `SCHEMA`."""
    if keep and not header:
        raise ConfigError(f"{path}: without a header there is no column '{keep[0]}' to keep; give the file a header, or leave it out")
    for name in keep:
        if name in SCHEMA:
            raise ConfigError(f"{path}: '{name}' is a column of the promoter table; rename the column in the file")
        if name == "row" or name.startswith("_"):
            raise ConfigError(f"{path}: the column '{name}' has a name that is used internally; rename the column in the file")
        if name not in names:
            raise ConfigError(f"{path}, row 1: no column '{name}' to keep{nearest(name, names)} (the file has {', '.join(names[:12])})")
    return [*dict.fromkeys([*keep, *(name for name in keep_if_there if name in names and name not in SCHEMA)])]


def _with_numbers(table: pl.LazyFrame, names: Sequence[str], decimal: str) -> list[pl.Expr]:
    """Return further columns, as float64 if all their values are numbers, with NA as null; blank cells become null."""
    schema = table.collect_schema()
    texts = [name for name in names if schema[name] == pl.String]
    cells = {name: pl.when(pl.col(name).str.strip_chars() != "").then(pl.col(name).str.strip_chars()) for name in texts}
    there = {name: pl.when(~missing_cells(cell)).then(cell) for name, cell in cells.items()}
    numbers = {name: value.str.replace(decimal, ".", literal=True).cast(pl.Float64, strict=False) for name, value in there.items()}
    wrong = [(there[name].is_not_null() & numbers[name].is_null()).any().alias(name) for name in texts]
    has_text = table.select(wrong).collect(engine="streaming").row(0, named=True) if texts else {}
    return [(cells[name] if has_text[name] else numbers[name]).alias(name) if name in has_text else pl.col(name) for name in names]


def _checked(
    rows: pl.DataFrame,
    columns: dict[str, str],
    path: Any,
    expression_range: tuple[float, float],
    header: bool,
    ledger: Ledger,
    keep: Sequence[str],
    conditions: Sequence[str],
    decimal: str,
    missing: str,
    ambiguous: Literal["error", "n"],
    positive: bool,
) -> pl.DataFrame:
    """Return one validated block with the columns of `SCHEMA`, the columns to keep, and ``row``."""
    ledger.read(rows.height)
    raw, rows = rows, select_columns(rows, columns, path)
    measured = [column("expression", name) for name in conditions or [""]]
    empty = pl.all_horizontal(missing_cells(pl.col(role).cast(pl.String).str.strip_chars()) for role in measured)
    if missing == "drop":
        there = rows.select(~empty).to_series()
        ledger.drop("expression missing (empty, NA or NaN)", int((~there).sum()))
        raw, rows = raw.filter(there), rows.filter(there)
    elif conditions and (hit := first_row(rows, empty)):
        raise InputError(
            f"{path}, row {hit[0]}: no expression in any condition{and_more(hit[2])}; delete the row, or set input.missing: drop"
        )
    kept = raw.select(keep)
    for name in conditions or [""]:
        rows = _numbers_of(rows, columns, name, path, header, decimal)
        if conditions and (count := rows[column("expression", name)].null_count()):
            ledger.note(f"not measured in {name}", count)
    rows = check_sequences(rows, path, ledger, ambiguous=ambiguous, key="input.ambiguous")

    low, high = expression_range
    for role in measured:
        if hit := first_row(rows, (pl.col(role) < low) | (pl.col(role) > high)):
            row, cells, count = hit
            raise InputError(
                f"{path}, row {row}: {role} {cells[role]:g} is outside {low:g} .. {high:g}{and_more(count)}; "
                "correct the row, or set input.expression_min and input.expression_max to the scale of your assay"
            )
        if positive and (hit := first_row(rows, pl.col(role) <= 0)):
            row, cells, count = hit
            raise InputError(f"{path}, row {row}: {role} {cells[role]:g} has no logarithm{and_more(count)}; {_NO_LOGARITHM}")
    types = SCHEMA | {column(role, name): SCHEMA[role] for name in conditions for role in ROLES}
    return rows.select(
        "row", *((pl.col(name) if name in columns else pl.lit(None)).cast(dtype).alias(name) for name, dtype in types.items())
    ).hstack(kept)


def _numbers_of(rows: pl.DataFrame, columns: dict[str, str], condition: str, path: Any, header: bool, decimal: str) -> pl.DataFrame:
    """Return one block with the measured columns of a condition parsed; the name of the only condition is empty."""
    role = column("expression", condition)
    rows = parse_numbers(rows, role, pl.Float64, path, header, empty_allowed=bool(condition), decimal=decimal)
    for name in ("expression_sd", "n_reads", "n_bins", "weight"):
        if (role := column(name, condition)) in columns:
            rows = parse_numbers(rows, role, SCHEMA[name], path, header, empty_allowed=True, decimal=decimal)
    if (role := column("singleton", condition)) in columns:
        text = pl.col(role).cast(pl.String).str.to_lowercase()
        if hit := first_row(rows, ~text.is_in(list(_TRUTH)) & text.is_not_null() & (text != "")):
            raise InputError(f"{path}, row {hit[0]}: {role} '{hit[1][role]}' is neither true nor false")
        rows = rows.with_columns(text.replace_strict(_TRUTH, default=None, return_dtype=pl.Boolean).alias(role))
    if (role := column("bin_cells", condition)) in columns:
        if decimal == "," and rows.schema[role] == pl.String:
            raise ConfigError(f"{path}: {role} are numbers separated by commas, so input.decimal must be '.'; it is ','")
        rows = _cells_of_bins(rows, role, path)
    return rows


def _cells_of_bins(rows: pl.DataFrame, role: str, path: Any) -> pl.DataFrame:
    """Return the block with cells per bin as lists of numbers, parsed from a list column or from comma-separated text."""
    text = pl.col(role)
    if rows.schema[role] == pl.String:
        text = pl.when(text.str.strip_chars() != "").then(text.str.split(",").list.eval(pl.element().str.strip_chars()))
    number = pl.element()
    rows = rows.with_columns(text.alias("_text"), text.cast(pl.List(pl.Float32), strict=False).alias(role))
    wrong = pl.col(role).list.eval(number.is_null() | ~number.is_finite() | (number < 0)).list.any()
    if hit := first_row(rows, pl.col("_text").is_not_null() & wrong.fill_null(True)):
        row, cells, count = hit
        numbers = ",".join(map(str, cells["_text"]))
        raise InputError(f"{path}, row {row}: {role} '{numbers}'{and_more(count)}; expected numbers of at least 0, separated by commas")
    return rows.drop("_text")


# Flanks


def _with_flanks(rows: pl.DataFrame, scaffold: Scaffold, policy: Policy, path: Any, ledger: Ledger) -> pl.DataFrame:
    """Complete flanks, and drop rows according to the policy."""
    five, three = scaffold.five_prime, scaffold.three_prime
    if five or three:
        rows = mend_flanks(rows, scaffold, policy, path, ledger)
    low, high = (bound + len(five) + len(three) for bound in policy.insert_length)
    length = pl.col("sequence").str.len_bytes()
    outside = (length < low) | (length > high)
    if hit := first_row(rows, outside):
        row, cells, count = hit
        if policy.outside_length == "error":
            raise InputError(
                f"{path}, row {row}: the sequence is {len(cells['sequence'])} bp long with its flanks; scaffold '{scaffold.name}' takes "
                f"{low} to {high} bp{and_more(count)}; check scaffold.name, or set scaffold.insert_length or scaffold.outside_length: drop"
            )
        ledger.drop(f"length outside {low} to {high} bp", count)
        rows = rows.filter(~outside)
    return rows


# Duplicates


class _SameSequence(repeated.Merging):
    """Rows of one sequence and barcode become one, with the mean of their expression or the values of the first, as float32."""

    def __init__(self, policy: str, path: Any, conditions: Sequence[str]):
        super().__init__(["sequence", "barcode"], path, conditions)
        self._policy, self._measured = policy, [column("expression", name) for name in self.conditions]
        self._different: list[pl.DataFrame] = []
        self._sequences = self._names = 0  # with several values, with several names

    def examine(self, rows: pl.DataFrame) -> None:
        """Take note of sequences with several values or names too."""
        super().examine(rows)
        different = rows.filter(pl.any_horizontal(pl.col(self._measured).n_unique().over(self.key) > 1))
        if different.height:
            self._sequences += different.select(self.key).n_unique()
            self._different.append(repeated.first_key(different, self.key).select("row", *self.key, *self._measured))
        self._names += rows.filter(pl.col("name").n_unique().over(self.key) > 1).select(self.key).n_unique()

    def check(self) -> None:
        """Raise the error for the first sequence with different expression, if that is one, or with different labels."""
        if self._policy == "error" and self._different:
            pair = repeated.first_key(pl.concat(self._different).sort("row"), self.key)
            role = next(role for role in self._measured if pair[role].n_unique() > 1)
            values = [f"{value:g}" if value is not None else "empty" for value in pair[role]]
            raise InputError(
                f"{self.path}, rows {pair['row'][0]} and {pair['row'][1]}: the same sequence with {role} {values[0]} and "
                f"{values[1]} ({self._sequences} such sequences); set input.duplicates to mean or first"
            )
        super().check()

    def merge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the mean of each sequence's rows, or the first of them."""
        if self._policy != "mean":
            return self.of_first(rows)
        means: dict[str, pl.Expr] = {}
        for name in self.conditions:
            expression, sd, singleton, weight = (column(role, name) for role in ("expression", "expression_sd", "singleton", "weight"))
            means |= {
                expression: pl.col(expression).mean(),
                # Of independent measurements; one without an error has the root mean square of the others'.
                sd: ((pl.col(sd) ** 2).mean() / pl.col(expression).count()).sqrt(),
                singleton: pl.lit(False) & pl.col(singleton).first(),
                weight: pl.col(weight).mean(),
            }
        return self.merged(rows, means)

    def note(self, ledger: Ledger) -> None:
        """Record repeated sequences, and how many of them differ."""
        if self.rows_in:
            if self._names:
                ledger.note(SEVERAL_NAMES, self._names)
            how = "averaged" if self._policy == "mean" else "first row kept"
            ledger.drop(f"repeated sequence, {how}", self.rows_in - self.rows_out)
            if self._sequences:
                ledger.note("sequences measured more than once with different expression", self._sequences)
