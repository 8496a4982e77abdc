"""Join several tables of one condition: bring them to the scale of the first, and give each promoter one value."""

import itertools
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from gpraflow.core import files
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats.columns import SEVERAL_NAMES
from gpraflow.formats.promoters import SCHEMA
from gpraflow.formats.transform import NONE, RANK_NORMAL, Transform, fit
from gpraflow.tables import ingest, maps, repeated

Pairs = tuple[tuple[str, str, int, float | None], ...]
Method = Literal["shared", "distribution", "none"]

MIN_R = 0.3  # lowest correlation of two tables that are joined by shared promoters
FAR = 5  # standard deviations; shared promoters that differ by more are counted


@dataclass(frozen=True)
class Map:
    """Affine map of a table to the scale of the first: ``offset + scale x``.

    Attributes
    ----------
    table
        Name of the table.
    promoters, shared
        Its promoters, and those of them in another table too.
    scale, offset
        1 and 0 for the first table.
    scale_se, offset_se
        Standard errors; None for the first table, and if maps were not estimated. With ``distribution`` they are those of means and
        standard deviations, and do not include that the libraries may differ.
    r
        Pearson correlation with the mean of the other tables, of shared promoters; None if fewer than 3.
    error_sd
        Standard deviation of the table's error beyond ``expression_sd``, on the common scale; None if it could not be estimated.
    """

    table: str
    promoters: int
    shared: int
    scale: float
    scale_se: float | None
    offset: float
    offset_se: float | None
    r: float | None
    error_sd: float | None


@dataclass(frozen=True)
class Joined:
    """The joined promoter table, and the map of each table.

    Attributes
    ----------
    table
        One row for each promoter; ``source`` names its tables (``a`` or ``a+b``).
    maps
        In the order of the tables.
    pairs
        ``(table, table, shared promoters, Pearson r or None)`` for each pair.
    """

    table: pl.DataFrame
    maps: tuple[Map, ...]
    pairs: Pairs


def join(tables: Mapping[str, pl.DataFrame], *, method: Method = "shared", min_shared: int = 20, ledger: Ledger | None = None) -> Joined:
    """Bring tables to the scale of the first, and return one row for each promoter.

    The value of a promoter in several tables is their mean, weighted by inverse variance. ``expression_sd`` is that of the mean and
    includes variation between tables; it is null unless all tables have it. Reads are added up. ``weight`` is the sum of the tables'
    weights or, if no table has any, the reliability of the value: variance of true values / (that + error variance). ``bin_cells``, which
    belong to the bins of one table, are null.

    Parameters
    ----------
    tables
        Name -> promoter table with one row for each promoter, two or more; the first is the reference.
    method
        ``shared``: maps are estimated from shared promoters. ``distribution``: mean and standard deviation of all promoters of a table
        become those of the first, which supposes random draws of one library; error variance is subtracted if all tables have
        ``expression_sd``. ``none``: values are on one scale.
    min_shared
        For ``shared``: fewest shared promoters of two tables that are joined directly.
    ledger
        Records row counts; a new ledger by default.

    Raises
    ------
    InputError
        If a table has several rows for a promoter, tables give a promoter different groups or splits, or, for ``shared``, tables share too
        few promoters, or these do not correlate.
    """
    ledger = ledger or Ledger("join_tables", "library")
    names = list(tables)
    for name, table in tables.items():
        ledger.read(table.height)
        if (repeated := table.height - table["sequence"].n_unique()) > 0:
            raise InputError(
                f"input.tables.{name}: {repeated} rows repeat a promoter with another barcode; tables are joined by promoter: "
                "set input.barcodes: mean"
            )
    rows = pl.concat([table.select(*SCHEMA).with_columns(_table=pl.lit(index)) for index, table in enumerate(tables.values())])
    rows = rows.with_columns(_promoter=pl.col("sequence").rank("dense") - 1).with_row_index("row")
    _check_labels(rows, names)
    measured = maps.Measured.of(rows, len(names))
    seen = ~np.isnan(measured.y)
    several = seen.sum(axis=1) > 1
    pairs = _pairs(measured.y, names)
    if method == "shared":
        _check_pairs(pairs, names, min_shared)
        fitted = maps.fit(measured.take(several), _start(measured.y, pairs, names, min_shared), free=True)
    else:
        scale, offset, errors = maps.matched(measured) if method == "distribution" else maps.identity(len(names))
        enough = several.sum() >= min_shared
        fitted = maps.fit(measured.take(several), (scale, offset), free=False) if enough else maps.Fit(scale, offset)
        fitted.errors = errors
    table, far = _combined(rows, measured, fitted, names)
    ledger.drop("promoter in several tables, averaged", rows.height - table.height)
    ledger.note("promoter in several tables", int(several.sum()))
    notes = {
        f"in several tables, with values that differ by more than {FAR} standard deviations": far,
        "source replaced by the name of the table": rows["source"].count(),
        "cells per bin left out": rows["bin_cells"].count(),
        SEVERAL_NAMES: rows.filter(pl.col("name").drop_nulls().n_unique().over("_promoter") > 1)["_promoter"].n_unique(),
    }
    for what, count in notes.items():
        if count:
            ledger.note(what, count)
    return Joined(table, _maps(measured, fitted, names), pairs)


def transformed(joined: Joined, options: Mapping[str, Any], ledger: Ledger) -> tuple[pl.DataFrame, Transform]:
    """Return the promoter table and the transform of the library.

    Tables are joined after ``log2``, which each value has alone, and before ``rank_normal``, which needs the ranks of all.

    Parameters
    ----------
    joined
        The joined tables.
    options
        ``name`` and ``floor`` of the transform.
    ledger
        As for `ingest.transformed`.
    """
    of_library = fit(**options, expression=joined.table["expression"].to_numpy())
    table = ingest.transformed(joined.table.lazy(), of_library if of_library.name == RANK_NORMAL else NONE, "input.tables", ledger)
    return table.collect(), of_library


def write_maps(joined: Joined, method: Method, path: str | os.PathLike) -> None:
    """Write the maps and the pairs of tables as JSON."""
    pairs = [{"tables": [first, second], "shared": shared, "r": r} for first, second, shared, r in joined.pairs]
    files.write_json(path, {"join": method, "tables": [asdict(each) for each in joined.maps], "pairs": pairs})


def read_maps(path: str | os.PathLike) -> dict[str, Any]:
    """Return what `write_maps` wrote: ``join``, ``tables`` (fields of `Map`) and ``pairs`` (``tables``, ``shared``, ``r``).

    Raises
    ------
    InputError
        If the file is damaged.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not the maps of joined tables ({error}); remove the file and run again") from error


def summary(found: Mapping[str, Any]) -> pl.DataFrame:
    """Return maps, as `read_maps` returns them, as a table with one row for each joined table."""
    table = pl.DataFrame(found["tables"], infer_schema_length=None).select(field.name for field in fields(Map))
    return table.with_columns(pl.col(pl.Float64).round_sig_figs(6))


# Checks


def _check_labels(rows: pl.DataFrame, names: Sequence[str]) -> None:
    for role in ("group", "split"):
        differing = rows.filter(pl.col(role).drop_nulls().n_unique().over("_promoter") > 1)
        if differing.height:
            labelled = differing.filter(pl.col(role).is_not_null(), _promoter=differing["_promoter"][0])
            pair = labelled.unique(role, keep="first", maintain_order=True)
            first, second = (names[index] for index in pair["_table"][:2])
            raise InputError(
                f"input.tables: {differing['_promoter'].n_unique()} promoters have another {role} in another table, such as "
                f"{pair['sequence'][0]}: '{pair[role][0]}' in {first}, '{pair[role][1]}' in {second}; correct the column, or leave it out "
                f"(input.tables.{second}.columns.{role}: '')"
            )


def _pairs(y: np.ndarray, names: Sequence[str]) -> Pairs:
    found = []
    for first, second in itertools.combinations(range(len(names)), 2):
        both = ~np.isnan(y[:, [first, second]]).any(axis=1)
        found.append((names[first], names[second], int(both.sum()), _pearson(y[both, first], y[both, second])))
    return tuple(found)


def _pearson(x: np.ndarray, y: np.ndarray) -> float | None:
    """Return the correlation; None for fewer than 3 pairs or constant values."""
    return float(np.corrcoef(x, y)[0, 1]) if len(x) > 2 and np.ptp(x) > 0 and np.ptp(y) > 0 else None


def _check_pairs(pairs: Pairs, names: Sequence[str], min_shared: int) -> None:
    """Check that shared promoters connect all tables with the first, and that tables correlate."""
    for first, second, shared, r in pairs:
        if shared < min_shared:
            continue
        of_both = f"input.tables: {shared} promoters are in both {first} and {second}"
        if r is None:
            raise InputError(f"{of_both}, and all have the same expression in one of them; check the column of expression")
        if r < MIN_R:
            why = "expression falls in one as it rises in the other" if r < -MIN_R else f"at least {MIN_R} is needed"
            raise InputError(
                f"{of_both}, but their expression has a correlation of {r:.2f}; {why}: check the columns of expression, and that both "
                "tables measure the same condition"
            )
    linked = _linked(pairs, names, min_shared)
    for name in names:
        if name not in linked:
            counts = [
                f"{shared} with {first if second == name else second}" for first, second, shared, _ in pairs if name in (first, second)
            ]
            raise InputError(
                f"input.tables: {name} shares too few promoters with the other tables ({', '.join(counts)}) to estimate its scale; "
                f"at least {min_shared} (input.min_shared) are needed with {names[0]}, or with a table that is linked to it. Measure some "
                "promoters in both, or set input.join: distribution if the tables are random draws of one library, none if they have one "
                "scale"
            )


def _linked(pairs: Pairs, names: Sequence[str], min_shared: int) -> dict[str, str]:
    """Return table -> the table from which it is reached, breadth first from the first, by the pair that shares most."""
    edges = sorted((pair for pair in pairs if pair[2] >= min_shared), key=lambda pair: -pair[2])
    reached, found = {names[0]: ""}, True
    while found:
        found = False
        for first, second, _, _ in edges:
            if (first in reached) != (second in reached):
                known, new = (first, second) if first in reached else (second, first)
                reached[new], found = known, True
                break
    return reached


# Maps


def _start(y: np.ndarray, pairs: Pairs, names: Sequence[str], min_shared: int) -> tuple[np.ndarray, np.ndarray]:
    """Return maps to start from: along the links, ratios of standard deviations and differences of means."""
    scale, offset, _ = maps.identity(len(names))
    for name, known in _linked(pairs, names, min_shared).items():
        if known:
            new, old = names.index(name), names.index(known)
            both = ~np.isnan(y[:, [new, old]]).any(axis=1)
            reference = offset[old] + scale[old] * y[both, old]
            scale[new] = reference.std() / y[both, new].std()
            offset[new] = reference.mean() - scale[new] * y[both, new].mean()
    return scale, offset


def _maps(measured: maps.Measured, found: maps.Fit, names: Sequence[str]) -> tuple[Map, ...]:
    seen, values = ~np.isnan(measured.y), found.on_scale(measured.y)
    of_tables = []
    for index, name in enumerate(names):
        others = np.delete(np.arange(len(names)), index)
        shared = seen[:, index] & seen[:, others].any(axis=1)
        mean = np.nanmean(values[np.ix_(shared, others)], axis=1) if shared.any() else np.empty(0)
        errors = [None, None] if found.errors is None or not index else [float(each[index]) for each in found.errors]
        own = None
        if found.tau2 is not None:
            factor = np.broadcast_to(found.factor, len(names))[index]
            own = float(np.sqrt(factor * (found.psi + found.kappa * measured.per_read[shared, index].mean())))
        of_tables.append(
            Map(
                table=name,
                promoters=int(seen[:, index].sum()),
                shared=int(shared.sum()),
                scale=float(found.scale[index]),
                scale_se=errors[0],
                offset=float(found.offset[index]),
                offset_se=errors[1],
                r=_pearson(measured.y[shared, index], mean),
                error_sd=own,
            )
        )
    return tuple(of_tables)


# Values


def _combined(rows: pl.DataFrame, measured: maps.Measured, found: maps.Fit, names: Sequence[str]) -> tuple[pl.DataFrame, int]:
    """Return the joined promoter table in order of first occurrence, and the number of promoters whose values differ by more than `FAR`."""
    seen, values, variances = ~np.isnan(measured.y), found.on_scale(measured.y), found.variances(measured)
    known = variances is not None
    if variances is None:
        variances = measured.per_read if measured.has_reads else np.ones(values.shape)
    precision = np.divide(1, np.maximum(variances, np.finfo(float).tiny), out=np.zeros(values.shape), where=seen)
    error = 1 / precision.sum(axis=1)
    mean = (precision * np.where(seen, values, 0.0)).sum(axis=1) * error
    of_promoter = pl.DataFrame({"expression": mean, "source": _sources(seen, names)})
    if measured.has_sd:
        of_promoter = of_promoter.with_columns(expression_sd=pl.Series(np.sqrt(error)))
    if known and not rows["weight"].count():
        tau2 = found.tau2 if found.tau2 is not None else max(float(mean.var() - error.mean()), 0.0)
        of_promoter = of_promoter.with_columns(weight=pl.Series(tau2 / (tau2 + error)))
    labels = [pl.col(role).drop_nulls().first().over("_promoter").alias(role) for role in ("name", "group", "split")]
    rows = rows.with_columns(*labels, pl.lit(None, SCHEMA["bin_cells"]).alias("bin_cells"))
    several = pl.col("_promoter").is_duplicated()
    sums: dict[str, pl.Expr] = {
        "weight": pl.when(pl.col("weight").count() > 0).then(pl.col("weight").sum()),
        "singleton": pl.when(pl.col("singleton").count() > 0).then(False),  # measured more than once
    }
    merged = pl.concat([rows.filter(~several), repeated.combined(rows.filter(several), ["_promoter"], sums, {"": 0})]).sort("row")
    table = merged.with_columns(of_promoter[merged["_promoter"].to_numpy()]).select(
        pl.col(name).cast(dtype) for name, dtype in SCHEMA.items()
    )
    distance = np.abs(np.where(seen, values - mean[:, None], 0.0))
    limit = FAR * np.sqrt(np.maximum(variances - error[:, None], 0.0))
    far = ((distance > limit) & (seen.sum(axis=1) > 1)[:, None]).any(axis=1) if known else np.zeros(1)
    return table, int(far.sum())


def _sources(seen: np.ndarray, names: Sequence[str]) -> list[str]:
    """Return the names of the tables of each promoter, such as ``a+b``."""
    patterns, which = np.unique(seen, axis=0, return_inverse=True)
    texts = ["+".join(name for name, there in zip(names, pattern, strict=True) if there) for pattern in patterns]
    return [texts[index] for index in which.ravel()]
