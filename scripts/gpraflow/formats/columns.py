"""Columns of a user's table: select them, parse numbers, and validate sequences."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import polars as pl
import polars.selectors as cs

from gpraflow.core import separators
from gpraflow.core.errors import ConfigError, InputError, and_more, nearest
from gpraflow.core.ledger import Ledger
from gpraflow.formats.promoters import REQUIRED
from gpraflow.formats.text import ROW, read_blocks
from gpraflow.sequences.scaffold import ALPHABET

_MISSING = ("", "na", "n/a", "#n/a", "nan", "null", "none")  # cells without a value, in lower case
SEVERAL_NAMES = "sequences with several names, the first kept"
_WITH_THOUSANDS = {".": r"[-+]?\d{1,3}((,\d{3}){2,}|(,\d{3})+\.\d+)", ",": r"[-+]?\d{1,3}(\.\d{3})+,\d+|[-+]?\d{1,3}(\.\d{3}){2,}"}
_AMBIGUOUS = "RYSWKMBDHV"  # IUPAC codes for several possible bases
_AMINO_ACIDS = "EFILPQ"  # amino-acid letters that are not IUPAC base codes
_MOST_AMBIGUOUS = 1 / 3  # maximum share of ambiguous bases; a sequence with more is probably a protein


# Reading


def read_columns(
    path: str | os.PathLike, columns: Mapping[str, str | int], section: str, ledger: Ledger, header: bool = True
) -> Iterator[pl.DataFrame]:
    """Yield blocks of a text or Parquet table with ``row`` and a column per role; sequences are validated, other columns are text.

    Parameters
    ----------
    path
        See `ingest`.
    columns
        Role -> column, ``"auto"`` or ``""``, as for `ingest`; ``sequence`` is required.
    section
        Section of the config, for error messages.
    ledger
        Records input rows and changes to sequences.
    header
        As for `ingest`.

    Raises
    ------
    InputError, ConfigError
        As `ingest`.
    """
    empty = True
    for rows, names in read_blocks(path, "auto", header):
        ledger.read(rows.height)
        part = select_columns(rows, resolve_columns(columns, names, header, path, section, ("sequence",)), path)
        yield check_sequences(part, path, ledger)
        empty = False
    if empty:
        raise InputError(f"{path}: the table has no rows; give a table with at least one promoter")


def resolve_columns(
    columns: Mapping[str, str | int],
    names: list[str],
    header: bool,
    path: Any,
    section: str | None = "input",
    required: Sequence[str] = REQUIRED,
) -> dict[str, str]:
    """Return role -> column name in the file.

    Error messages name ``section`` of the config; the options of the command line if it is empty; and neither if it is None, for tables
    whose column names are fixed.
    """
    resolved = {}
    for role, column in columns.items():
        if role == "*" or (role.startswith("^") and role.endswith("$")):
            raise ConfigError(f"{path}: a column named '{role}' would be taken as a pattern of columns; rename it")
        if column == "auto":
            if header and role in names:
                resolved[role] = role
            continue
        if column == "":
            continue
        if isinstance(column, int):
            if not 1 <= column <= len(names):
                raise ConfigError(f"{path}: no column number {column} for {role}; the first row has {len(names)} columns")
            resolved[role] = names[column - 1]
        elif not header:
            key = f"{section}.header is false, so {_key(role, section)}" if section else f"without a header --{role}-column"
            raise ConfigError(f"{path}: {key} must be a number from 1, not '{column}'")
        elif column not in names:
            advice = f"give --{role}-column, or --no-header if there is no header"
            if section is None:
                advice = f"the first row must name the columns {', '.join(map(str, columns.values()))}"
            elif section:
                advice = f"set {_key(role, section)} to a column's name or its number, or {section}.header: false if there is no header"
            advice = _other_separator(names, section) or advice
            raise ConfigError(f"{path}, row 1: no column '{column}' for {role}{nearest(column, names)} ({listed(names)}); {advice}")
        else:
            resolved[role] = column
    for role in required:
        if role not in resolved:
            raise ConfigError(f"{path}: {_key(role, section)} must name a column or give its number, from 1 ({listed(names)})")
    return resolved


def _key(role: str, section: str | None) -> str:
    """Return the config key of a role's column: of ``expression.glucose`` that of the condition."""
    measured, _, condition = role.partition(".")
    return f"{section}.conditions.{condition}.{measured}" if condition else f"{section}.columns.{role}"


def listed(names: Sequence[str]) -> str:
    """Return "the file has ..." with the names of up to 12 columns, for messages."""
    return f"the file has {', '.join(names[:12])}{', ...' if len(names) > 12 else ''}"


def _other_separator(names: Sequence[str], section: str | None) -> str:
    """Return advice if a column name holds another separator than that of the file; else an empty string."""
    for name in names:
        if sign := next((sign for sign in ";\t," if sign in name), None):
            advice = f"set input.separator: {separators.NAMES[sign]}, or " if section == "input" else ""
            return f"cells seem to be separated by {separators.NAMES[sign]}s: {advice}convert the file"
    return ""


# Checking


def first_row(rows: pl.DataFrame, bad: pl.Expr) -> tuple[int, dict[str, Any], int] | None:
    """Return row number and content of the first row for which ``bad`` is true, and the number of such rows."""
    wrong = rows.filter(bad)
    return (wrong["row"][0], wrong.row(0, named=True), wrong.height) if wrong.height else None


def missing_cells(text: pl.Expr) -> pl.Expr:
    """Return whether cells, as text without outer blanks, hold no value: empty, NA, NaN and the like."""
    return text.is_null() | text.str.to_lowercase().is_in(_MISSING)


def parse_numbers(
    rows: pl.DataFrame,
    role: str,
    dtype: Any,
    path: Any,
    header: bool = True,
    empty_allowed: bool = False,
    decimal: str = ".",
    section: str = "input",
) -> pl.DataFrame:
    """Return a block with the column of a role as numbers; cells without a value (`missing_cells`) become null.

    Parameters
    ----------
    rows
        Block with ``row`` and the column ``role``.
    role
        Column to parse; whole numbers if ``dtype`` is `polars.Int64`, at least 0 for ``expression_sd`` and ``weight``, also of a condition
        (``weight.glucose``).
    dtype
        Type of the result.
    path
        For error messages.
    header
        True if the table has a header.
    empty_allowed
        True to accept cells without a value.
    decimal
        Decimal sign of text: ``.`` or ``,``.
    section
        Section of the config, for error messages.

    Raises
    ------
    InputError
        With the first row whose cell is not such a number, and advice.
    """
    text = pl.col(role).cast(pl.String).str.strip_chars()
    number = text
    if decimal == "," and rows.schema[role] == pl.String:  # a point would be a separator of thousands
        number = pl.when(~text.str.contains(".", literal=True)).then(text.str.replace(",", ".", literal=True))
    rows = rows.with_columns(text.alias("_text"), (~missing_cells(text)).alias("_there"))
    rows = rows.with_columns(pl.when("_there").then(number).cast(pl.Float64, strict=False).alias("_value"))
    if not empty_allowed and (hit := first_row(rows, ~pl.col("_there"))):
        row, cells, count = hit
        raise InputError(
            f"{path}, row {row}: {role} is {cells['_text'] or 'empty'}{and_more(count)}; give a number, delete the row, or set "
            f"{section}.missing: drop to leave out rows without a value"
        )
    if hit := first_row(rows, pl.col("_there") & pl.col("_value").is_null()):
        row, cells, count = hit
        if row == 1 and not header:
            hint = f"this looks like a header: set {section}.header: true"
        elif "\N{MINUS SIGN}" in cells["_text"]:
            hint = "its minus sign is the character U+2212, as text programs write it; replace it by -"
        elif re.fullmatch(_WITH_THOUSANDS[decimal], cells["_text"]):
            hint = "write numbers without separators of thousands"
        elif decimal == ",":
            hint = "give a number with a decimal comma, or set input.decimal: '.'"
        elif re.fullmatch(r"[-+]?\d+,\d+([eE][-+]?\d+)?", cells["_text"]):
            hint = "give a number with a decimal point, or set input.decimal: ',' if the table has decimal commas"
        else:
            hint = "give a number with a decimal point"
        raise InputError(f"{path}, row {row}: {role} '{cells['_text']}' is not a number{and_more(count)}; {hint}")
    if hit := first_row(rows, ~pl.col("_value").cast(pl.Float32).is_finite()):  # as stored: float32
        row, cells, count = hit
        raise InputError(
            f"{path}, row {row}: {role} is {cells['_text']}{and_more(count)}; a finite number is required; delete rows without a value"
        )
    if dtype == pl.Int64 and (hit := first_row(rows, ~pl.col("_value").is_between(0, 2**53) | (pl.col("_value") % 1 != 0))):
        row, cells, _ = hit
        raise InputError(f"{path}, row {row}: {role} '{cells['_text']}' must be a whole number from 0 to 2^53")
    if role.partition(".")[0] in ("expression_sd", "weight") and (hit := first_row(rows, pl.col("_value") < 0)):
        row, cells, _ = hit
        raise InputError(f"{path}, row {row}: {role} '{cells['_text']}' must not be negative")
    return rows.with_columns(pl.col("_value").cast(dtype).alias(role)).drop("_text", "_there", "_value")


def select_columns(rows: pl.DataFrame, columns: Mapping[str, str], path: Any) -> pl.DataFrame:
    """Return ``row`` and a column per role. Blank labels become null."""
    for role, name in columns.items():
        dtype = rows.schema[name]
        cells = role.partition(".")[0] == "bin_cells"
        if cells and isinstance(dtype, pl.List | pl.Array):
            if not (dtype.inner.is_numeric() or dtype.inner in (pl.String, pl.Null)):
                raise InputError(f"{path}: column '{name}' for {role} is of type {dtype}; expected lists of numbers")
        elif cells and dtype not in (pl.String, pl.Null):
            raise InputError(f"{path}: column '{name}' for {role} is of type {dtype}; expected lists of numbers, or text such as 1,2,3")
        elif not (dtype.is_numeric() or dtype in (pl.String, pl.Boolean, pl.Null, pl.Categorical, pl.Enum)):
            raise InputError(f"{path}: column '{name}' for {role} is of type {dtype}; expected text or numbers")
    rows = rows.select(pl.col(ROW).alias("row"), **{role: cs.by_name(name) for role, name in columns.items()})
    labels = [pl.col(role).cast(pl.String).str.strip_chars() for role in ("name", "group", "split", "source", "barcode") if role in columns]
    rows = rows.with_columns(pl.when(label != "").then(label) for label in labels)
    return rows


def differing(rows: pl.DataFrame, role: str, key: Sequence[str]) -> pl.DataFrame:
    """Return the rows of keys that have several labels; an empty label is none."""
    return rows.filter(pl.col(role).drop_nulls().n_unique().over(key) > 1)


def check_labels(rows: pl.DataFrame, key: Sequence[str], path: Any, section: str, roles: Sequence[str]) -> pl.DataFrame:
    """Return rows whose empty labels are those of the other rows of the same key; in ``roles`` each key may have one label.

    Parameters
    ----------
    rows
        ``row``, ``sequence``, the columns of ``key``, and ``roles`` such as ``split`` and ``group``.
    key
        Columns of what is one promoter, or one barcode of it.
    path, section
        File, and section of the config that names its columns, for messages.
    roles
        Columns of labels.

    Raises
    ------
    InputError
        If rows of the same key have different labels.
    """
    for role in roles:
        if (spread := differing(rows, role, key)).height:
            of_first = spread.join(spread.head(1).select(key), on=list(key), how="semi", nulls_equal=True, maintain_order="left")
            pair = of_first.drop_nulls(role).unique(role, keep="first", maintain_order=True)
            raise InputError(
                f"{path}, rows {pair['row'][0]} and {pair['row'][1]}: the same sequence with {role} '{pair[role][0]}' and "
                f"'{pair[role][1]}'; correct the column, or leave it out ({section}.columns.{role}: '')"
            )
    return rows.with_columns(pl.col(role).fill_null(pl.col(role).drop_nulls().first().over(key)) for role in roles)


def check_sequences(
    rows: pl.DataFrame, path: Any, ledger: Ledger, unit: str = "row", ambiguous: Literal["error", "n"] = "error", key: str = ""
) -> pl.DataFrame:
    """Validate sequences and convert them to upper case.

    ``unit`` is the word for a row in error messages, ``key`` the config key that decides ``ambiguous``, if there is one.
    """

    def where(row: int, cells: dict[str, Any]) -> str:
        return f"{path}, {unit} {row}" + (f" ('{cells['name']}')" if unit == "record" else "")

    rows = rows.with_columns(pl.col("sequence").cast(pl.String).str.strip_chars())
    if hit := first_row(rows, pl.col("sequence").is_null() | (pl.col("sequence") == "")):
        raise InputError(f"{where(*hit[:2])}: the sequence is empty{and_more(hit[2])}; delete the {unit}")
    upper = rows["sequence"].str.to_uppercase()
    lower_case = int((upper != rows["sequence"]).sum())
    if lower_case:
        ledger.note("lower case converted to upper case", lower_case)
    rows = rows.with_columns(upper)
    if ambiguous == "n":
        codes = pl.col("sequence").str.count_matches(f"[{_AMBIGUOUS}]")
        known = pl.col("sequence").str.contains(f"^[{ALPHABET}{_AMBIGUOUS}]*$")  # other letters are reported below
        many = known & (codes > _MOST_AMBIGUOUS * pl.col("sequence").str.len_bytes())
        if hit := first_row(rows, many):
            row, cells, count = hit
            raise InputError(
                f"{where(row, cells)}: more than a third of '{_shown(cells['sequence'])}' are IUPAC ambiguity codes{and_more(count)}"
                "; if this is a protein, give the promoter's DNA sequence; write unknown bases as N"
            )
        if some := int(rows.select((codes > 0).sum()).item()):
            ledger.note("IUPAC ambiguity codes replaced by N", some)
            replaced = pl.col("sequence").str.replace_all(f"[{_AMBIGUOUS}]", "N")
            rows = rows.with_columns(sequence=pl.when(known).then(replaced).otherwise("sequence"))
    if hit := first_row(rows, pl.col("sequence").str.contains(f"[^{ALPHABET}]")):
        row, cells, count = hit
        sequence = cells["sequence"]
        allowed = ALPHABET + (_AMBIGUOUS if ambiguous == "n" else "")
        at, letter = next((at, letter) for at, letter in enumerate(sequence, start=1) if letter not in allowed)
        if letter == "U" and not set(sequence) - set(allowed + "U"):
            raise InputError(f"{where(row, cells)}: the sequence is RNA (U at position {at}){and_more(count)}; replace U by T")
        advice = "; only A, C, G, T and N are accepted"
        if (sign := separators.NAMES.get(letter)) and key:
            advice += f"; if {sign}s separate the cells, set input.separator: {sign}"
        if letter in _AMBIGUOUS and key:
            advice += f"; set {key}: n to read IUPAC codes of several bases as N"
        if set(_AMINO_ACIDS) & set(sequence) and sequence.isalpha():
            advice = "; this looks like a protein: give the promoter's DNA sequence, of A, C, G, T and N"
        raise InputError(f"{where(row, cells)}: letter '{letter}' at position {at} of '{_shown(sequence)}'{and_more(count)}{advice}")
    return rows


def _shown(sequence: str) -> str:
    return sequence if len(sequence) <= 40 else sequence[:40] + "..."
