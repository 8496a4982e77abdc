"""Promoter tables of several conditions: columns such as ``expression.glucose``, and the tables of single conditions and differences.

Columns without a condition (`promoters.SCHEMA`) then hold means over the conditions in which a promoter was measured.
"""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np
import polars as pl

from gpraflow.core.conditions import ROLES, column, differences, readouts
from gpraflow.formats.promoters import SCHEMA

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


def with_means(table: Frame, conditions: Sequence[str]) -> Frame:
    """Return a table of several conditions with the columns of `promoters.SCHEMA` for all conditions together.

    ``expression`` and ``weight`` are means over the conditions in which a promoter was measured, ``expression_sd`` is the error of this
    mean, ``n_reads`` the sum, ``n_bins`` the maximum, and ``singleton`` is true if it is in each of them. ``bin_cells`` is null.
    """
    names = table.collect_schema().names()

    def columns(role: str) -> list[pl.Expr]:
        there = [column(role, name) for name in conditions if column(role, name) in names]
        return [pl.when(pl.col(column("expression", name.rpartition(".")[2])).is_not_null()).then(pl.col(name)) for name in there]

    measured = pl.sum_horizontal(pl.col(column("expression", name)).is_not_null() for name in conditions)
    errors = [column("expression_sd", name) for name in conditions if column("expression_sd", name) in names]
    squares = [pl.col(name).cast(pl.Float64) ** 2 for name in errors]
    summaries = {
        "expression": pl.mean_horizontal(columns("expression")),
        "expression_sd": pl.sum_horizontal(squares).sqrt() / measured if squares else pl.lit(None),
        "n_reads": pl.sum_horizontal(columns("n_reads")) if columns("n_reads") else pl.lit(None),
        "n_bins": pl.max_horizontal(columns("n_bins")) if columns("n_bins") else pl.lit(None),
        "singleton": pl.all_horizontal(each.fill_null(True) for each in columns("singleton")) if columns("singleton") else pl.lit(None),
        "weight": pl.mean_horizontal(columns("weight")) if columns("weight") else pl.lit(None),
        "bin_cells": pl.lit(None),
    }
    return table.with_columns(summary.cast(SCHEMA[role]).alias(role) for role, summary in summaries.items())


def _has(table: pl.DataFrame, role: str, name: str) -> bool:
    return column(role, name) in table.columns


def join(tables: Mapping[str, pl.DataFrame], key: Sequence[str]) -> pl.DataFrame:
    """Return one table of promoters measured in several conditions.

    Parameters
    ----------
    tables
        Condition -> its promoters, with distinct values of ``key``.
    key
        Columns that identify a promoter. They stay as they are, all others get the condition as a suffix.

    Returns
    -------
    polars.DataFrame
        All promoters of any condition, in order of their first occurrence, with the columns of `with_means`. Columns of conditions in
        which a promoter is missing are null.
    """
    joined = pl.concat([table.select(key) for table in tables.values()]).unique(maintain_order=True)
    for name, table in tables.items():
        own = table.rename({other: column(other, name) for other in table.columns if other not in key})
        joined = joined.join(own, on=list(key), how="left", nulls_equal=True, maintain_order="left")
    return with_means(joined, list(tables))


def select(table: pl.DataFrame, readout: str, conditions: Sequence[str]) -> pl.DataFrame:
    """Return the table of one condition, or of the difference between two, with its values in columns without a suffix.

    Parameters
    ----------
    table
        Table with columns of several conditions, and optionally of predicted differences.
    readout
        A condition or a difference (`conditions.readouts`).
    conditions
        All conditions of the table.

    Returns
    -------
    polars.DataFrame
        Promoters measured in the condition, or in both conditions of the difference. ``n_reads``, ``n_bins`` and ``weight`` of a difference
        are the smaller ones of both conditions, ``singleton`` is true if it is in either, ``bin_cells`` is null, and the columns of both
        conditions are kept.
    """
    suffixes = readouts(conditions)
    pair = differences(conditions).get(readout, ())
    of_others = [name for name in table.columns if name.rpartition(".")[2] in suffixes and name.rpartition(".")[2] not in (readout, *pair)]
    own = [name for name in table.columns if name.rpartition(".")[2] == readout]
    values = {name.rpartition(".")[0]: pl.col(name) for name in own}
    values |= _difference(table, pair) if pair else {}
    missing = [role for role in ROLES if role not in values]  # summaries over all conditions are not those of the readout
    selected = table.with_columns(
        *(value.alias(role) for role, value in values.items()), *(pl.lit(None, SCHEMA[role]).alias(role) for role in missing)
    )
    return selected.drop(*of_others, *own).filter(pl.col("expression").is_not_null())


def reads(table: pl.DataFrame, readout: str, conditions: Sequence[str]) -> np.ndarray | None:
    """Return the reads of each promoter in a condition, or the smaller ones of both conditions of a difference, ``(promoters,)`` float64.

    NaN where they are unknown; None if they are unknown for all.
    """
    columns = [column("n_reads", name) for name in differences(conditions).get(readout, (readout,))]
    if any(name not in table.columns for name in columns):
        return None
    return np.minimum.reduce([table[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in columns])


def _difference(table: pl.DataFrame, pair: Sequence[str]) -> dict[str, pl.Expr]:
    """Return the measured values of the difference between two conditions."""

    def both(role: str) -> list[pl.Expr] | None:
        return [pl.col(column(role, name)) for name in pair] if all(_has(table, role, name) for name in pair) else None

    values = {}
    if found := both("expression"):
        values["expression"] = found[0] - found[1]
    if found := both("expression_sd"):
        values["expression_sd"] = (found[0].cast(pl.Float64) ** 2 + found[1].cast(pl.Float64) ** 2).sqrt().cast(SCHEMA["expression_sd"])
    for role in ("n_reads", "n_bins", "weight"):
        if found := both(role):
            values[role] = pl.when(found[0].is_not_null() & found[1].is_not_null()).then(pl.min_horizontal(found))
    if found := both("singleton"):
        values["singleton"] = found[0] | found[1]
    return values
