"""Pairs of similar promoters among measured ones, on which variant effects are calibrated."""

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl

from gpraflow.prediction.effects import DIFFERENCES
from gpraflow.sequences import neighbours
from gpraflow.sequences.parents import PARENT

EDITS = 5  # largest number of edits between the promoters of a pair
_PER_EDIT = 12  # bp of an insert for each edit and one more: shorter inserts get fewer edits, since unrelated ones would count as similar
_MEMBERS = 400  # promoters of a cluster that are compared: a cluster of n has up to n^2 / 2 pairs


def measured(table: pl.DataFrame, parent_expression: str = "") -> pl.DataFrame:
    """Return ``sequence``, ``expression`` and ``n_reads`` of the promoters of a table and of their parents, if these are measured.

    Parameters
    ----------
    table
        Promoter table, with `parents.PARENT` if it has parents.
    parent_expression
        Column with the measured expression of the parents; empty if there is none. Their reads are unknown.
    """
    columns = ["sequence", "expression", "n_reads"]
    rows = table.select(columns)
    if not parent_expression or PARENT not in table.columns:
        return rows
    parents = table.select(PARENT, parent_expression).drop_nulls().unique(PARENT, keep="first", maintain_order=True)
    parents = parents.rename({PARENT: "sequence", parent_expression: "expression"}).join(rows, on="sequence", how="anti")
    return pl.concat([rows, parents.with_columns(n_reads=None).select(columns)], how="vertical_relaxed")


def find(sequences: pl.Series, threads: int = 1) -> pl.DataFrame:
    """Return pairs of sequences that are 1 to `EDITS` edits apart, so that each sequence is in at most one pair of each number of edits.

    Sequences shorter than 72 bp are similar within fewer edits: one fewer for each 12 bp, but at least 1.
    Pairs that share a sequence have correlated errors; without this rule a cluster of many similar sequences would outweigh all others.
    Of clusters with more than 400 sequences, 400 are compared.

    Parameters
    ----------
    sequences
        Distinct inserts.
    threads
        Number of threads for comparing sequences.

    Returns
    -------
    polars.DataFrame
        ``a`` and ``b`` (rows, a < b), ``edits`` (Levenshtein distance), and ``cluster`` (a number for all sequences that are linked by
        such distances).
    """
    shortest = int(sequences.str.len_bytes().quantile(0.01) or 0)
    most = min(max(shortest // _PER_EDIT - 1, 1), EDITS)
    cluster = pl.Series(neighbours.groups(sequences, most, threads=threads) if len(sequences) else [], dtype=pl.Int64)
    rows = pl.DataFrame({"s": sequences, "cluster": cluster}).with_row_index("row")
    place, size = pl.int_range(pl.len()).over("cluster"), pl.len().over("cluster")
    evenly = (place * _MEMBERS // size) != ((place - 1) * _MEMBERS // size)
    rows = rows.filter((size > 1) & ((size <= _MEMBERS) | (place == 0) | evenly))
    near = neighbours.overlaps(rows["s"], rows["s"], most, threads, either_strand=False)
    near = near.filter((pl.col("library") < pl.col("other")) & (pl.col("distance") > 0)).sort("distance", "library", "other")
    used: set[tuple[int, int]] = set()
    kept = []
    for a, b, edits in near.select("library", "other", "distance").iter_rows():
        free = (edits, a) not in used and (edits, b) not in used
        kept.append(free)
        if free:
            used |= {(edits, a), (edits, b)}
    near = near.filter(pl.Series(kept, dtype=pl.Boolean))
    a, b = near["library"], near["other"]
    return pl.DataFrame({"a": rows["row"][a], "b": rows["row"][b], "edits": near["distance"], "cluster": rows["cluster"][a]}).cast(pl.Int64)


def differences(tables: Sequence[pl.DataFrame], inserts: Callable[[pl.Series], pl.Series], threads: int = 1) -> pl.DataFrame:
    """Return predicted and measured differences of the pairs of similar promoters within each table.

    Parameters
    ----------
    tables
        ``sequence``, ``expression``, ``n_reads``, ``predicted`` and, for an ensemble, ``predicted_members``. Rows of the same sequence are
        averaged.
    inserts
        Function that removes flanks.
    threads
        Number of threads for comparing sequences.

    Returns
    -------
    polars.DataFrame
        Columns `DIFFERENCES`: ``effect`` (predicted), ``error`` (predicted minus measured), ``spread`` (of the effect, between ensemble
        members), ``reads_a`` and ``reads_b`` (null if unknown); clusters of different tables have different numbers.
    """
    parts, clusters = [pl.DataFrame(schema=DIFFERENCES)], 0
    for table in tables:
        reads = pl.when(pl.col("n_reads").count() > 0).then(pl.col("n_reads").sum())
        others = [pl.col(name).first() for name in ("predicted", "predicted_members") if name in table.columns]
        rows = table.group_by("sequence", maintain_order=True).agg(pl.col("expression").mean(), reads.alias("n_reads"), *others)
        pairs = find(inserts(rows["sequence"]), threads)
        a, b = rows[pairs["a"]], rows[pairs["b"]]
        effect = (b["predicted"].cast(pl.Float64) - a["predicted"].cast(pl.Float64)).to_numpy()
        spread = np.zeros(pairs.height)
        if "predicted_members" in rows.columns and pairs.height:
            spread = (b["predicted_members"].to_numpy().astype(np.float64) - a["predicted_members"].to_numpy()).std(axis=1, ddof=1)
        error = effect - (b["expression"].cast(pl.Float64) - a["expression"].cast(pl.Float64)).to_numpy()
        columns = {"effect": effect, "error": error, "spread": spread, "reads_a": a["n_reads"], "reads_b": b["n_reads"]}
        parts.append(pairs.select(pl.col("cluster") + clusters, "edits").with_columns(**columns).cast(DIFFERENCES))  # type: ignore[arg-type]
        clusters += table.height
    return pl.concat(parts)
