"""The sample sheet: bins with their FASTQ files, gates and cell counts. Standard library only, because the Snakefile imports it."""

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any, NamedTuple

from gpraflow.core import names
from gpraflow.core.errors import ConfigError

Row = dict[str, Any]
# Names that a bin must not have, because they name other columns or data sets.
_RESERVED_BINS = {"sequence", "name", "group", "split", "source", "library"}
_RESERVED_REPLICATES = {"sd"}
_OF_SORTED_BINS = ("lower", "upper", "lower_quantile", "upper_quantile", "cells", "share")


def _numbered(rows: Sequence[Row]) -> list[tuple[int, Row]]:
    """Return rows with their line numbers in the file. Rows that were not read from a file are numbered from 2."""
    return [(getattr(row, "line", number), row) for number, row in enumerate(rows, start=2)]


def replicate_of(row: Mapping[str, Any]) -> str:
    """Return the unique name of a row's replicate: ``replicate``, ``condition``, or ``condition.replicate``; empty if there is only one."""
    return ".".join(filter(None, [row.get("condition"), row.get("replicate")]))


def column_of(row: Row) -> str:
    """Return the unique column name of a bin: ``bin`` or, with replicates or conditions, `replicate_of` and ``bin`` with a point."""
    return f"{replicate_of(row)}.{row['bin']}" if replicate_of(row) else row["bin"]


def is_unsorted(row: Row) -> bool:
    """Return whether a row is the unsorted library, which is counted like a bin but says nothing of expression."""
    return row.get("kind") == "unsorted"


def unsorted_columns(rows: Sequence[Row]) -> list[str]:
    """Return the column names of unsorted samples."""
    return [column_of(row) for row in rows if is_unsorted(row)]


def by_quantile(rows: Sequence[Row]) -> bool:
    """Return whether gates are given as quantiles of the population."""
    return any("lower_quantile" in row or "upper_quantile" in row for row in rows)


class Gates(NamedTuple):
    """Gates of a replicate.

    ``limits`` are the limits of the intervals between gates, one more than there are intervals, and ``spans`` the indices of each bin's
    lower and upper limit. Intervals of no bin are gaps, whose cells were not sorted; those of several bins are overlaps. ``population`` is
    the share of the population in each interval, if gates were given as its quantiles; None if not.
    """

    limits: list[float]
    spans: list[tuple[int, int]]
    population: list[float] | None = None

    @property
    def gaps(self) -> bool:
        """True if there are intervals between bins that belong to none."""
        return len({place for span in self.spans for place in range(*span)}) < len(self.limits) - 1

    @property
    def overlap(self) -> bool:
        """True if gates overlap."""
        return any(after[0] < before[1] for before, after in itertools.pairwise(self.spans))


@dataclass(frozen=True)
class CountColumn:
    """The place of a bin's reads in tables of counts.

    ``name`` is that of `column_of`, ``table`` the index of the table, ``column`` the name or number (from 1) of its column, or the name
    of the bin in a long table, ``own`` is True if the sample sheet gives the column, and ``unsorted`` if it is that of an unsorted sample.
    """

    name: str
    table: int
    column: str
    own: bool
    unsorted: bool = False


def count_tables(rows: Sequence[Row], table: str, path: str | os.PathLike) -> tuple[list[str], list[CountColumn]]:
    """Return the tables of counts, and the place of each bin's reads in them.

    Parameters
    ----------
    rows
        Rows of the sample sheet. ``column`` is the column in the table; by default the bin's name, with the replicate before it where
        replicates share a table.
    table
        ``counts.table``: one table for all bins, or ``sheet`` if the column ``table`` of the sheet names them.
    path
        Sample sheet, for error messages.

    Raises
    ------
    ConfigError
        If a table is missing, or two bins have the same column.
    """
    tables: list[str] = []
    places: list[CountColumn] = []
    taken: dict[tuple[int, str], str] = {}
    for number, row in _numbered(rows):
        where = f"{path}, row {number}: bin '{column_of(row)}'"
        if table == "sheet" and not row.get("table"):
            raise ConfigError(f"{where} has no table; fill in the column table, or set counts.table to the one table of all bins")
        if table != "sheet" and row.get("table"):
            raise ConfigError(f"{where} has a table of its own, but counts.table is {table}; set counts.table: sheet")
        of_row = row.get("table") or table
        tables += [] if of_row in tables else [of_row]
        others = [other for other in rows if (other.get("table") or table) == of_row and (other.get("replicate") or not is_unsorted(other))]
        shared = len({replicate_of(other) for other in others}) > 1
        column = row.get("column") or (row["bin"] if table == "sheet" and not shared else column_of(row))
        place = CountColumn(column_of(row), tables.index(of_row), column, bool(row.get("column")), is_unsorted(row))
        if (before := taken.setdefault((place.table, column), place.name)) != place.name:
            raise ConfigError(f"{where} has the column '{column}' of {of_row}, as bin '{before}' has; give each bin a column of its own")
        places.append(place)
    return tables, places


def split_files(cell: str) -> list[str]:
    """Return the file paths in a comma-separated cell of a sheet."""
    return [name.strip() for name in cell.split(",") if name.strip()]


def check_reads(rows: Sequence[Row], path: str | os.PathLike) -> None:
    """Check names of bins, which become file names; that each has reads, mates have equally many files, and no file is listed twice.

    Raises
    ------
    ConfigError
        If any of these checks fails.
    """
    owner: dict[str, str] = {}
    for number, row in _numbered(rows):
        where = f"{path}, row {number}: bin '{column_of(row)}'"
        for key in [key for key in ("bin", "replicate", "condition") if row.get(key)]:
            names.check(row[key], f"{path}, row {number}: {key}", ConfigError)
        names.check(column_of(row), f"{path}, row {number}: replicate and bin", ConfigError)
        first, second = split_files(row.get("reads", "")), split_files(row.get("reads_2", ""))
        if not first:
            advice = "set counts.table: sheet to read" if row.get("table") else "fill in the column reads, or give a table of counts as"
            raise ConfigError(f"{where} has no reads; {advice} {row.get('table') or 'counts.table'}")
        if second and len(first) != len(second):
            raise ConfigError(f"{where} has {len(first)} files in reads, but {len(second)} in reads_2; their numbers must match")
        for name in first + second:
            path_of_file = os.path.normpath(name)
            if path_of_file in owner:
                raise ConfigError(f"{where}: {name} is already listed for bin '{owner[path_of_file]}'; each file may be listed once")
            owner[path_of_file] = column_of(row)


def replicates_of(
    rows: Sequence[Row], cells_needed: bool, path: str | os.PathLike, overlap: str = "error"
) -> dict[str, list[tuple[int, Row]]]:
    """Return replicate (`replicate_of`) -> the rows of its sorted bins with line numbers.

    Without replicates and conditions there is one, named ''.

    Raises
    ------
    ConfigError
        If a bin is listed twice or has a reserved name, a replicate has no name or fewer than 2 or more than 64 bins, gates are out of
        order or overlap, cell counts are missing, or an unsorted sample has gates or cell counts.
    """
    by_replicate: dict[str, list[tuple[int, Row]]] = {}
    seen: dict[str, int] = {}
    numbered_bins = [(number, row) for number, row in _numbered(rows) if not is_unsorted(row)]
    named = [bool(row.get("replicate")) for _, row in numbered_bins]
    if any(named) and not all(named):
        raise ConfigError(f"{path}, row {numbered_bins[named.index(False)][0]}: replicate is empty; name it in every row or in none")
    for number, row in _numbered(rows):
        name, replicate = column_of(row), replicate_of(row)
        if name in _RESERVED_BINS or row.get("replicate") in _RESERVED_REPLICATES:
            raise ConfigError(f"{path}, row {number}: '{row.get('replicate') or name}' is a reserved column name; choose another")
        if name in seen:
            raise ConfigError(f"{path}, row {number}: bin '{name}' is already listed in row {seen[name]}")
        seen[name] = number
        if not is_unsorted(row):
            by_replicate.setdefault(replicate, []).append((number, row))
            continue
        if given := [column for column in _OF_SORTED_BINS if column in row]:
            raise ConfigError(f"{path}, row {number}: '{name}' is the unsorted library, which has no {given[0]}; leave the cell empty")
    for replicate, numbered in by_replicate.items() or [("", [])]:
        if not 2 <= len(numbered) <= 64:
            raise ConfigError(f"{path}: {len(numbered)} bins{f' in replicate {replicate!r}' if replicate else ''}; 2 to 64 are supported")
        gates_of(numbered, path, overlap)
        for number, row in numbered:
            if cells_needed and not row.get("cells", -1) >= 0:
                raise ConfigError(
                    f"{path}, row {number}: cells of bin '{column_of(row)}' are missing; give them or set counts.cells: reads"
                )
    return by_replicate


def check_dna_rna(rows: Sequence[Row], path: str | os.PathLike) -> None:
    """Check the sample sheet of a DNA/RNA assay: ``replicate``, and the columns ``dna`` and ``rna`` with its counts.

    Raises
    ------
    ConfigError
        If there is no row, a replicate has a reserved name, or a column is listed as DNA and as RNA.
    """
    if not rows:
        raise ConfigError(f"{path}: no replicate; give a row with replicate, dna and rna for each")
    of_dna = {row["dna"] for row in rows}
    for number, row in _numbered(rows):
        if row["replicate"] in _RESERVED_REPLICATES:
            raise ConfigError(f"{path}, row {number}: '{row['replicate']}' is a reserved column name; choose another")
        if row["rna"] in of_dna:
            raise ConfigError(f"{path}, row {number}: the column '{row['rna']}' is listed as DNA and as RNA; correct one of them")


def gates_of(numbered: Sequence[tuple[int, Row]], path: str | os.PathLike, overlap: str = "error") -> Gates | None:
    """Return the gates of a replicate from its numbered rows; None if the sheet has no gates.

    Quantiles of the population become gates in standard deviations from its mean, as if its signal were normal.

    Parameters
    ----------
    overlap
        ``counts.overlap``; gates may overlap unless it is ``error``.

    Raises
    ------
    ConfigError
        If gates are out of order, overlap, are missing between bins, or are given both in the unit of the signal and as quantiles.
    """
    quantiles = by_quantile([row for _, row in numbered])
    if not quantiles and not any("lower" in row or "upper" in row for _, row in numbered):
        return None
    end = "_quantile" if quantiles else ""
    unlimited = (0.0, 1.0) if quantiles else (-math.inf, math.inf)
    for number, row in numbered if quantiles else []:
        _check_quantiles(row, f"{path}, row {number}")
    gates = [(row.get(f"lower{end}", unlimited[0]), row.get(f"upper{end}", unlimited[1])) for _, row in numbered]
    if all(after[0] <= before[0] and after[1] <= before[1] and after != before for before, after in itertools.pairwise(gates)):
        raise ConfigError(
            f"{path}: rows must go from low to high signal, but their gates go from high to low; reverse the order of the rows"
        )
    for place, (number, row) in enumerate(numbered):
        where = f"{path}, row {number}: bin '{column_of(row)}'"
        (lower, upper), before, after = gates[place], gates[max(place - 1, 0)], gates[min(place + 1, len(gates) - 1)]
        for side, is_open in (("lower", before[0] == unlimited[0]), ("upper", after[1] == unlimited[1])):
            at_end = place == (0 if side == "lower" else len(numbered) - 1)
            if f"{side}{end}" not in row and not at_end and (overlap == "error" or not is_open):
                which = "first" if side == "lower" else "last"
                raise ConfigError(
                    f"{where} has no {side} gate; only the {which} bin may be open-ended, and rows go from low to high signal"
                )
        if not lower < upper:
            raise ConfigError(f"{where}: lower gate {lower:g} is not below upper gate {upper:g}")
        if place and lower < before[1] and overlap == "error":
            raise ConfigError(
                f"{where} ({lower:g} to {upper:g}) overlaps the one before, which ends at {before[1]:g}. If both gates were sorted like "
                f"that, set counts.overlap; if not, let both bins end where they meet, such as at {(lower + min(before[1], upper)) / 2:g}. "
                "Rows go from low to high signal. Quantiles of the population go into the columns lower_quantile and upper_quantile"
            )
        if place and (lower < before[0] or upper < before[1]):
            raise ConfigError(
                f"{where} ({lower:g} to {upper:g}) must not begin or end below the one before ({before[0]:g} to {before[1]:g}); rows go "
                "from low to high signal"
            )
    # The outer bins of a signal are open in any case; of quantiles, what lies beyond them is a gap.
    limits = sorted({limit for pair in gates for limit in pair} | set(unlimited if quantiles else ()))
    spans = [(limits.index(lower), limits.index(upper)) for lower, upper in gates]
    if not quantiles:
        return Gates(limits, spans)
    return Gates([_normal_quantile(limit) for limit in limits], spans, [high - low for low, high in itertools.pairwise(limits)])


def _normal_quantile(share: float) -> float:
    """Return the quantile of the standard normal distribution."""
    return NormalDist().inv_cdf(share) if 0 < share < 1 else math.copysign(math.inf, share - 0.5)


def _check_quantiles(row: Row, where: str) -> None:
    """Check that gates are given as quantiles only, from 0 to 1."""
    if "lower" in row or "upper" in row:
        raise ConfigError(
            f"{where}: bin '{column_of(row)}' has a gate in the unit of the signal, but gates of this replicate are quantiles; give all "
            "gates as lower and upper, or all as lower_quantile and upper_quantile"
        )
    for column in ("lower_quantile", "upper_quantile"):
        if not 0 <= row.get(column, 0) <= 1:
            raise ConfigError(
                f"{where}: {column} of bin '{column_of(row)}' is {row[column]:g}; quantiles are shares of the population from 0 to 1, "
                "such as 0.25 for 25 %"
            )


def check_simulated(rows: Sequence[Row], simulated: str, paths: dict[str, str], path: str | os.PathLike) -> None:
    """Check that the simulated assay would not overwrite the user's own files.

    Parameters
    ----------
    rows
        Rows of the sample sheet.
    simulated
        Folder of simulated files.
    paths
        Config key -> path. A path in the folder of simulated files starts the simulation, which writes all FASTQ files of the sheet.

    Raises
    ------
    ConfigError
        If a file of the user would be overwritten; with the config key that starts the simulation.
    """
    own = [name for row in rows for key in ("reads", "reads_2") for name in split_files(row.get(key, "")) if not name.startswith(simulated)]
    for key, target in paths.items():
        if target.startswith(simulated) and (own or not any("reads" in row for row in rows)):
            remedy = "sheet, reads or a table of your own" if key == "counts.cells" else "a sheet of your own, or ''"
            raise ConfigError(f"{key} is {target}, a file of the simulated assay, but {path} lists your own bins; set {key} to {remedy}")
