"""Estimate the expression of each promoter from its reads per sorted bin.

Bin b is the interval ``gates[b] .. gates[b + 1]`` of the sorted signal (log2 YFP/RFP, or bin units). The outermost bins are open-ended.
The ``cells[b]`` cells sorted into bin b gave ``reads[b]`` reads, hence ``r = reads / cells`` reads per cell. Where sorting stopped at a
number of cells, ``share[b]`` says how much of the population the bin holds.
See docs/assay.md for the formulas and their validation.
"""

import itertools
import os
import re
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.assay import by_condition
from gpraflow.assay.empirical_bayes import fit_hyperparameters
from gpraflow.assay.estimators import Estimate, maximum_likelihood, weighted_mean
from gpraflow.assay.replicates import Replicate, cells_per_bin, of_condition, replicate_columns
from gpraflow.assay.sheet import Row, column_of, gates_of, replicates_of
from gpraflow.core.errors import ConfigError, InputError, nearest
from gpraflow.core.ledger import Ledger
from gpraflow.core.separators import separator_of

_EXPLAINED = 0.9  # share of the variance of expression that a model is assumed to explain; used for the weights


def with_cells(sheet: Sequence[Row], path: str | os.PathLike) -> list[Row]:
    """Return the sample sheet with cell counts from another table: TSV or CSV with columns ``bin``, ``cells``, and optionally ``share``.

    With replicates or conditions the table has a column ``replicate`` or ``condition`` too.

    Raises
    ------
    InputError
        If the table or a column is missing, a value is not a number of at least 0, or a bin is missing or listed twice.
    """
    if not Path(path).is_file():
        raise InputError(f"{path}: this table of cell counts does not exist; check counts.cells")
    lines = Path(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    numbered = [(number, line) for number, line in enumerate(lines, start=1) if not line.startswith("#")]
    separator = separator_of(path, numbered[0][1] if numbered else "", ("bin", "cells", "share", "replicate", "condition"))
    try:
        table = pl.read_csv(Path(path), separator=separator, comment_prefix="#", infer_schema=False, glob=False)
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: not a readable TSV file ({error})") from error
    for column in ("bin", "cells"):
        if column not in table.columns:
            raise InputError(f"{path}, row 1: no column '{column}' (the file has {', '.join(table.columns)})")
    numbers = [column for column in ("cells", "share") if column in table.columns]
    rows_by_bin: dict[str, dict[str, float]] = {}
    for (number, _), row in zip(numbered[1:], table.iter_rows(named=True), strict=False):
        row = {name: (cell or "").strip() for name, cell in row.items()}
        name = column_of(row)
        if name in rows_by_bin:
            raise InputError(f"{path}, row {number}: bin '{name}' is listed again; each may be listed once")
        rows_by_bin[name] = {}
        for column in numbers:
            try:
                value = float(row[column])
            except ValueError:
                raise InputError(f"{path}, row {number}: {column} of bin '{name}': '{row[column]}' is not a number") from None
            if not 0 <= value < np.inf:
                raise InputError(f"{path}, row {number}: {column} of bin '{name}' is {row[column]}; expected a number of at least 0")
            rows_by_bin[name][column] = value
    for row in sheet:
        if column_of(row) not in rows_by_bin:
            raise InputError(f"{path}: cells of bin '{column_of(row)}' are missing{nearest(column_of(row), rows_by_bin)}; add a row")
    return [{**row, **rows_by_bin[column_of(row)]} for row in sheet]


def check_bins(sheet: Sequence[Row], scale: str, cells: str, origin: str | os.PathLike) -> list[Replicate]:
    """Return the bins of each replicate in a sample sheet. Without columns ``replicate`` and ``condition`` the sheet has one replicate.

    Parameters
    ----------
    sheet
        Rows with ``bin`` and optionally ``condition``, ``replicate``, ``lower``, ``upper``, ``cells`` and ``share``. Bins of a
        replicate are in order of signal.
    scale
        Unit of expression. ``bin``: bins 0, 1, ... with gates at -0.5, 0.5, ...; ``gate``: the gates of the sheet.
    cells
        ``reads``: each read counts as one cell. Any other value: use the cell counts of the sheet.
    origin
        File name for error messages.

    Raises
    ------
    ConfigError
        If a bin is listed twice, a replicate has fewer than 2 or more than 64 bins, cell counts are missing, shares are given for
        some bins only or are all 0, or gates are out of order or overlap, leave gaps with the scale ``bin``, or are missing for
        the scale ``gate``.
    """
    rows_of = replicates_of(sheet, cells != "reads", origin)
    sheet_gates = {name: gates_of(rows, origin) for name, rows in rows_of.items()}
    gates_by_name = {name: None if gates is None else np.array(gates[0]) for name, gates in sheet_gates.items()}
    bins_by_name = {name: np.array(gates[1]) for name, gates in sheet_gates.items() if gates and len(gates[0]) > len(gates[1]) + 1}
    first = next(iter(gates_by_name.values()))
    replicates = []
    for name, rows in rows_of.items():
        gates, bins = gates_by_name[name], bins_by_name.get(name, slice(None))
        if gates is None:
            _warn_if_descending([row["bin"] for _, row in rows], origin)
        if name in bins_by_name and scale == "bin":
            raise ConfigError(f"{origin}: the gates of the bins leave gaps, so bins have no common unit; set counts.scale: gate")
        if scale == "bin":
            gates = _in_bins(gates, first, len(rows), len(rows_of[next(iter(rows_of))]), origin)
        if gates is None:
            raise ConfigError(f"{origin}: counts.scale: gate needs the columns lower and upper; give the gates or set counts.scale: bin")
        sorted_cells = None if cells == "reads" else np.array([row["cells"] for _, row in rows], np.float64)
        columns = tuple(column_of(row) for _, row in rows)
        of_row = rows[0][1]
        shares = _shares(rows, origin)
        replicates.append(Replicate(of_row.get("replicate", ""), columns, gates, sorted_cells, shares, bins, of_row.get("condition", "")))
    return replicates


def _warn_if_descending(names: Sequence[str], origin: str | os.PathLike) -> None:
    """Warn if the names of bins look as if they went from high to low signal."""
    numbers = [re.search(r"(\d+)\D*$", name) for name in names]
    falling = all(numbers) and all(int(a[1]) > int(b[1]) for a, b in itertools.pairwise(numbers))  # type: ignore[index]
    if falling or ("high" in names[0].lower() and "low" in names[-1].lower()):
        warnings.warn(
            f"{origin}: bins {names[0]} to {names[-1]} look as if they went from high to low signal; rows must go from low to high, else "
            "expression is upside down: reverse them, or give their gates",
            stacklevel=3,
        )


def _shares(rows: Sequence[tuple[int, Row]], origin: str | os.PathLike) -> np.ndarray | None:
    """Return the population's share in each bin of a replicate, from its numbered rows; None if the sheet has none."""
    if not any("share" in row for _, row in rows):
        return None
    for number, row in rows:
        if "share" not in row:
            raise ConfigError(f"{origin}, row {number}: share of bin '{column_of(row)}' is missing; give it for every bin or for none")
    shares = np.array([row["share"] for _, row in rows], np.float64)
    if not shares.any():
        raise ConfigError(f"{origin}: the shares of all bins are 0; give each bin's share of the population, in any unit")
    return shares


def _in_bins(gates: np.ndarray | None, first: np.ndarray | None, bins: int, first_bins: int, origin: Any) -> np.ndarray:
    """Convert gates to bin units of the first replicate, where bin 0 is the lowest. Replicates with its gates get -0.5, 0.5, ..."""
    if gates is None or first is None:
        if bins != first_bins:
            raise ConfigError(
                f"{origin}: replicates have {first_bins} and {bins} bins; give the gates of all, so that bins can be compared"
            )
        return np.arange(bins + 1) - 0.5
    widths = np.diff(first[1:-1]) if first_bins > 2 else np.ones(1)
    even = np.ptp(widths) <= 0.01 * widths.mean()
    if bins == first_bins and np.allclose(gates[1:-1], first[1:-1], rtol=0, atol=0.01 * widths.mean()):
        if gates is first and not even:
            warnings.warn(
                f"{origin}: bins are {widths.min():g} to {widths.max():g} wide, but counts.scale: bin takes them as equal", stacklevel=3
            )
        return np.arange(bins + 1) - 0.5
    if not even:
        raise ConfigError(f"{origin}: replicates have different gates and bins of different width; set counts.scale: gate")
    return (gates - first[1]) / widths.mean() + 0.5


def expression_table(
    labels: pl.DataFrame,
    counts: np.ndarray,
    replicates: Sequence[Replicate],
    *,
    method: Mapping[str, Any],
    filters: Mapping[str, Any],
    origin: str | os.PathLike,
    ledger: Ledger,
    threads: int = 1,
) -> pl.DataFrame:
    """Return the expression table of counts per bin: `estimate` and `to_table`, for each condition.

    Parameters
    ----------
    labels, counts, replicates
        From `count_tables.read` and `check_bins`.
    method, filters
        Keywords of `estimate` and of `to_table`.
    origin, ledger, threads
        As for `estimate`.
    """

    def of_one(condition: str, own: Ledger) -> pl.DataFrame:
        columns, bins = of_condition(replicates, condition)
        part = counts[:, columns]
        estimates, separate = estimate(part, bins, **method, origin=origin, ledger=own, threads=threads)
        return to_table(labels, part, bins, estimates, separate, **filters, ledger=own)

    return by_condition.estimate([*dict.fromkeys(each.condition for each in replicates if each.condition)], of_one, ledger)


def estimate(
    counts: np.ndarray,
    replicates: Sequence[Replicate],
    *,
    method: str,
    read_dispersion: float | str,
    prior: str,
    origin: str | os.PathLike,
    ledger: Ledger,
    threads: int = 1,
) -> tuple[Estimate, dict[str, Estimate]]:
    """Estimate expression from all replicates together and, if there are several, from each replicate separately.

    Parameters
    ----------
    counts, replicates, prior
        See `maximum_likelihood`.
    read_dispersion
        A number, or ``auto`` to estimate it (`fit_hyperparameters`).
    method
        ``weighted_mean`` or ``maximum_likelihood``.
    origin
        File with the cell counts, for error messages.
    ledger
        Records bins without reads.
    threads
        Number of threads.

    Raises
    ------
    InputError
        If a replicate has reads in fewer than two bins, or a bin has reads but no cells or no share.
    """
    for part, each in replicate_columns(replicates):
        for below, above in each.gaps:
            ledger.note(f"gap between the gates of bins {below} and {above}, whose cells were not sorted", 1)
        reads = counts[:, part].sum(axis=0)
        if (reads > 0).sum() < 2:
            where = f"replicate '{each.name}': " if each.name else ""
            raise InputError(f"{where}only {(reads > 0).sum()} of {len(reads)} bins have reads; expression needs at least two")
        of_bins = reads if each.cells is None else each.cells, np.ones(len(reads)) if each.share is None else each.share
        for bin_reads, name, cells, share in zip(reads, each.columns, *of_bins, strict=True):
            if bin_reads and not cells:
                raise InputError(f"{origin}: bin '{name}' has {bin_reads} reads but 0 cells; correct its cells or leave the bin out")
            if bin_reads and share == 0:
                raise InputError(f"{origin}: bin '{name}' has {bin_reads} reads but the share 0; correct its share or leave the bin out")
            if not bin_reads:
                ledger.note(f"bin without reads: {name}", 1)

    def one(part: slice, chosen: Sequence[Replicate]) -> Estimate:
        shared = fit_hyperparameters(counts[:, part], chosen, None if read_dispersion == "auto" else float(read_dispersion))
        where = f"replicate {chosen[0].name}: " if len(chosen) < len(replicates) else ""
        print(
            f"{where}promoters have the mean {shared.mean:.2f} and the sd {shared.mean_sd:.2f}, cells of a promoter the sd "
            f"{np.exp(shared.log_sd):.2f} (uncertain by a factor of {np.exp(shared.log_sd_error):.2f}); "
            f"read dispersion {shared.read_dispersion:.2f}"
        )
        if method == "maximum_likelihood":
            return maximum_likelihood(counts[:, part], chosen, prior=prior, threads=threads, shared=shared)
        return weighted_mean(counts[:, part], chosen, shared=shared)

    separate = {each.name: one(part, [each]) for part, each in replicate_columns(replicates)} if len(replicates) > 1 else {}
    return one(slice(None), replicates), separate


def training_weights(expression: np.ndarray, error: np.ndarray) -> np.ndarray:
    """Return ``1 / (error^2 + tau^2)``; tau^2 is the error variance of a model that explains nine tenths of the variance of expression."""
    unexplained = (1 - _EXPLAINED) * (expression.var() if len(expression) else 0.0)
    return 1 / np.maximum(error**2 + unexplained, 1e-12)


def to_table(
    labels: pl.DataFrame,
    counts: np.ndarray,
    replicates: Sequence[Replicate],
    estimates: Estimate,
    separate: Mapping[str, Estimate],
    *,
    minimum_reads: int,
    minimum_cells: float,
    singletons: str,
    singleton_weight: float,
    ledger: Ledger,
) -> pl.DataFrame:
    """Return the output table: labels, estimates, weights and reads of the promoters that pass the filters.

    Parameters
    ----------
    labels, counts, replicates, estimates, separate
        From `count_tables.read`, `check_bins` and `estimate`.
    minimum_reads, minimum_cells
        Promoters with fewer reads (at least 1) or fewer effective cells are dropped.
    singletons
        What to do with promoters observed in one bin only: ``keep``, ``drop`` or ``downweight`` (multiply their weight by
        ``singleton_weight``).
    ledger
        Records the promoters dropped by each filter.

    Returns
    -------
    polars.DataFrame
        ``sequence``, the labels, ``expression``, ``expression_sd``, ``n_reads``, ``n_bins``, ``singleton``, ``effective_cells``,
        ``low``, ``high``, ``cell_sd``, ``weight``, ``bin_cells`` (from `cells_per_bin`, if all replicates have the same number of bins);
        with several replicates also ``expression_{replicate}`` and ``n_reads_{replicate}``; and ``reads_{column}`` for each bin.
        ``weight`` is ``1 / (expression_sd^2 + tau^2)``, times ``singleton_weight`` for downweighted singletons, divided by its mean.
        tau^2 is a tenth of the variance of expression: the error variance of a model that explains the other nine tenths.
    """
    table = labels.with_columns(
        expression=estimates.expression,
        expression_sd=estimates.standard_error,
        n_reads=estimates.n_reads,
        n_bins=estimates.n_bins,
        singleton=estimates.singleton,
        effective_cells=estimates.cells,
        low=estimates.low,
        high=estimates.high,
        cell_sd=estimates.sd,
    )
    for name, own in separate.items():
        table = table.with_columns(
            pl.Series(f"expression_{name}", own.expression).fill_nan(None), pl.Series(f"n_reads_{name}", own.n_reads)
        )
    columns = [column for each in replicates for column in each.columns]
    table = table.hstack([pl.Series(f"reads_{column}", counts[:, i]) for i, column in enumerate(columns)])
    if len({len(each.columns) for each in replicates}) == 1:
        table = table.with_columns(bin_cells=pl.Series(cells_per_bin(counts, replicates), dtype=pl.List(pl.Float32)))

    filters = {f"fewer than {max(1, minimum_reads)} reads": pl.col("n_reads") < max(1, minimum_reads)}
    if minimum_cells > 0:
        filters[f"fewer than {minimum_cells:g} effective cells"] = pl.col("effective_cells") < minimum_cells
    if singletons == "drop":
        filters["singletons (all reads in one bin)"] = pl.col("singleton")
    for what, bad in filters.items():
        kept = table.filter(~bad)
        ledger.drop(what, table.height - kept.height)
        table = kept
    if singletons != "drop":
        lower = f", weight times {singleton_weight:g}" if singletons == "downweight" else ""
        ledger.note(f"singletons (all reads in one bin){lower}", int(table["singleton"].sum()))

    expression, error = table["expression"].to_numpy(), table["expression_sd"].to_numpy()
    weight = training_weights(expression, error)
    if singletons == "downweight":
        weight *= np.where(table["singleton"].to_numpy(), singleton_weight, 1.0)
    table = table.insert_column(
        table.columns.index("cell_sd") + 1, pl.Series("weight", weight / max(weight.mean(), 1e-300) if len(weight) else weight)
    )
    return table.with_columns(pl.col(pl.Float64).cast(pl.Float32))
