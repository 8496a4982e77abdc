"""Inspection of the first rows of a table: which columns it has, and what its cells need to be read."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core.inspection import Inspection, percent
from gpraflow.formats.columns import missing_cells
from gpraflow.formats.text import ROW

_MOST = 0.9  # share of the cells that are of a kind, from which the column is
_DNA = r"^\s*[ACGTUNRYSWKMBDHVacgtunryswkmbdhv]+\s*$"
_SHORTEST = 8  # bp; shorter texts of these letters are words
_NAMES = ("expression", "mean", "median", "score", "activity", "fluorescence", "yfp", "gfp", "log2", "log", "value", "el", "label", "y")


def dna_columns(rows: pl.DataFrame) -> list[str]:
    """Return the columns that hold sequences, the one with the longest first."""
    found = []
    for name, dtype in rows.schema.items():
        if name != ROW and dtype == pl.String:
            cells = rows[name].drop_nulls()
            is_dna = cells.str.contains(_DNA) & (cells.str.len_bytes() >= _SHORTEST)
            if len(cells) and is_dna.mean() >= _MOST:  # type: ignore[operator]
                found.append((-float(cells.str.len_bytes().mean()), name))  # type: ignore[arg-type]
    return [name for _, name in sorted(found)]


def numbers(rows: pl.DataFrame, name: str, decimal: str = ".") -> pl.Series:
    """Return the cells of a column that are numbers, as float64; missing and other cells are null."""
    column = rows[name]
    if column.dtype.is_numeric():
        return column.cast(pl.Float64).fill_nan(None)
    if column.dtype != pl.String:
        return pl.Series(name, [None] * rows.height, dtype=pl.Float64)
    text = column.str.strip_chars()
    if decimal == ",":
        text = text.to_frame("t").select(pl.when(~pl.col("t").str.contains(".", literal=True)).then(pl.col("t").str.replace(",", ".")))["t"]
    there = rows.select(~missing_cells(pl.col(name).str.strip_chars())).to_series()
    return text.to_frame("t").select(pl.when(there).then("t").cast(pl.Float64, strict=False))["t"].alias(name)


def number_columns(rows: pl.DataFrame) -> list[str]:
    """Return the columns that hold numbers, with either decimal sign."""
    names = []
    for name in rows.columns:
        if name == ROW or rows[name].dtype == pl.Boolean:
            continue
        there = (
            int(rows.select((~missing_cells(pl.col(name).cast(pl.String, strict=False).str.strip_chars())).sum()).item())
            if (not rows[name].dtype.is_nested())
            else 0
        )
        if there and max(numbers(rows, name, sign).count() for sign in ".,") >= _MOST * there:
            names.append(name)
    return names


def count_columns(rows: pl.DataFrame) -> list[str]:
    """Return the columns that hold whole numbers of at least 0."""
    found = []
    for name in number_columns(rows):
        values = numbers(rows, name).drop_nulls()
        if len(values) and bool(((values >= 0) & (values % 1 == 0)).all()):
            found.append(name)
    return found


def likely_expression(rows: pl.DataFrame, names: Sequence[str]) -> str:
    """Return the column of numbers that most likely holds expression; empty if several may."""

    def words(name: str) -> set[str]:
        return set(re.split(r"[^a-z0-9]+", name.lower()))

    for word in _NAMES:
        fitting = [name for name in names if word in words(name) or (len(word) > 3 and word in name.lower())]
        if len(fitting) == 1:
            return fitting[0]
    fractional = [name for name in names if (numbers(rows, name).drop_nulls() % 1 != 0).any()]
    for several in (names, fractional):
        if len(several) == 1:
            return several[0]
    return ""


def inspect_header(found: Inspection, rows: pl.DataFrame, names: Sequence[str], header: bool, section: str) -> bool:
    """Say and propose whether the first row is a header; return False if ``header`` is wrong."""
    if header and any(re.fullmatch(_DNA, name) and len(name) >= _SHORTEST for name in names):
        dna, values = dna_columns(rows), number_columns(rows)
        keys: dict[str, Any] = {f"{section}.header": False}
        if dna:
            keys[f"{section}.columns.sequence"] = list(names).index(dna[0]) + 1
        if section == "input" and len(values) == 1:
            keys["input.columns.expression"] = list(names).index(values[0]) + 1
        found.propose(f"the first row holds a sequence, not column names ({', '.join(map(_short, names[:4]))})", keys)
        return False
    first = rows.row(0, named=True) if rows.height else {}
    if not header and any(not numbers(rows[:1], name).count() and numbers(rows[1:], name).count() for name in first if name != ROW):
        cells = [str(value) for name, value in first.items() if name != ROW]
        found.propose(f"the first row holds column names ({', '.join(map(_short, cells[:4]))})", {f"{section}.header": True})
        return False
    return True


def _short(cell: str) -> str:
    return cell if len(cell) <= 20 else cell[:17] + "..."


def inspect_columns(
    found: Inspection,
    rows: pl.DataFrame,
    names: Sequence[str],
    columns: Mapping[str, Any],
    roles: Sequence[str],
    section: str,
    used: Sequence[str] = (),
) -> dict[str, str]:
    """Say which columns were taken, and propose columns by their content where one is missing; ``used`` are others that are used.

    Returns
    -------
    dict
        Role -> column, of the roles that have one or for which one is proposed.
    """
    taken = {role: names[column - 1] for role, column in columns.items() if isinstance(column, int) and 1 <= column <= len(names)}
    taken |= {role: column for role, column in columns.items() if isinstance(column, str) and column in names}
    taken |= {role: role for role, column in columns.items() if column == "auto" and role in names}
    number_of = {name: place for place, name in enumerate(names, start=1)}
    for role in roles:
        if role in taken:
            continue
        if role == "sequence":
            candidates, best = dna_columns(rows), ""
            best = candidates[0] if candidates else ""
        else:
            candidates = [name for name in number_columns(rows) if name not in taken.values()]
            best = likely_expression(rows, candidates)
        by_number = not isinstance(columns.get(role), str) or names == [str(number) for number in range(1, len(names) + 1)]
        if best:
            value: str | int = number_of[best] if by_number or best.startswith("column ") else best
            found.propose(f"{_lacks(columns.get(role))}, but '{best}' holds {_content(role)}", {f"{section}.columns.{role}": value})
            taken[role] = best
        elif candidates:
            advice = f"set {section}.columns.{role} to one of {', '.join(candidates[:8])}"
            found.propose(f"{_lacks(columns.get(role))}, and several hold {_content(role)}", advice=advice)
    given = ", ".join(f"{role} = {name}" if role != name else role for role, name in taken.items())
    others = [name for name in names if name not in taken.values() and name not in used]
    found.say(
        "columns", (given or "none") + (f"; not used: {', '.join(others[:12])}{', ...' if len(others) > 12 else ''}" if others else "")
    )
    return taken


def _lacks(column: Any) -> str:
    return f"no column '{column}'" if column else "no column is named"


def _content(role: str) -> str:
    return "sequences" if role == "sequence" else "numbers"


def inspect_letters(found: Inspection, cells: pl.Series, ambiguous: str) -> pl.Series:
    """Say which letters sequences have, propose what reads them, and return the valid sequences in upper case."""
    text = cells.cast(pl.String).drop_nulls().str.strip_chars()
    upper = text.str.to_uppercase()
    total = max(1, len(text))
    if lower := int((upper != text).sum()):
        found.say("letters", f"lower case in {percent(lower / total)} of the sequences, taken as upper case")
    if unknown := int(upper.str.contains("N", literal=True).sum()):
        found.say("letters", f"N (unknown base) in {percent(unknown / total)} of the sequences")
    rna = upper.str.contains("U", literal=True) & upper.str.contains("^[ACGUN]+$")
    if some := int(rna.sum()):
        found.propose(f"{percent(some / total)} of the sequences are RNA (U)", advice="replace U by T in the table")
    codes = upper.str.contains("[RYSWKMBDHV]") & upper.str.contains("^[ACGTNRYSWKMBDHV]+$")
    if some := int(codes.sum()):
        if ambiguous == "error":
            finding = f"{percent(some / total)} of the sequences have IUPAC codes of several bases (R, Y, ...)"
            found.propose(finding, {"input.ambiguous": "n"})
        else:
            found.say("letters", f"IUPAC codes in {percent(some / total)} of the sequences, read as N")
    other = ~upper.str.contains("^[ACGTUNRYSWKMBDHV]*$")
    if some := int(other.sum()):
        example = upper.filter(other)[0]
        found.say("letters", f"letters that are no DNA in {percent(some / total)} of the sequences, such as {_short(example)}")
    upper = upper.str.replace_all("[RYSWKMBDHV]", "N")
    return upper.filter(upper.str.contains("^[ACGTN]+$"))


def rounded_range(low: float, high: float, complete: bool) -> tuple[float, float]:
    """Return round limits around a range; wider if it is that of the first rows only."""
    width = max(high - low, abs(high), 1e-9)
    margin = 0.05 * width if complete else 0.25 * width
    step = 10.0 ** np.floor(np.log10(width)) / 2
    limits = np.floor((low - margin) / step) * step, np.ceil((high + margin) / step) * step
    return tuple(float(f"{limit:.6g}") for limit in limits)  # type: ignore[return-value]
