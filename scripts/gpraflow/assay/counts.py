"""Merge counts across bins, and merge sequencing errors into their parent inserts."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import polars as pl

from gpraflow.core.errors import ConfigError
from gpraflow.core.ledger import Ledger
from gpraflow.sequences import neighbours
from gpraflow.sequences.scaffold import Scaffold


def merge(
    bins: Sequence[tuple[str, pl.LazyFrame]],
    scaffold: Scaffold,
    max_edits: int,
    ratio: float,
    n_in_insert: Literal["keep", "merge", "drop"] = "keep",
    threads: int = 1,
) -> tuple[pl.DataFrame, list[tuple[Ledger, int]]]:
    """Merge the counts of all bins into one table, and merge inserts that are sequencing errors into their parents (`collapse`).

    Parameters
    ----------
    bins
        Name of each bin and its table with columns ``insert`` and ``reads``.
    scaffold
        Flanks added to each insert to give the full promoter sequence.
    max_edits, ratio, n_in_insert, threads
        As for `collapse`. With ``max_edits`` 0 no inserts are merged.

    Returns
    -------
    tuple
        A table with ``sequence`` and one column of reads per bin, most abundant sequence first; and the ledgers with their number of
        output rows: one ledger of reads per bin, and one of distinct inserts (data set ``library``).

    Raises
    ------
    ConfigError
        If ``n_in_insert`` is ``merge`` but ``max_edits`` is 0.
    """
    if n_in_insert == "merge" and not max_edits:
        raise ConfigError("reads.n_in_insert: merge needs reads.collapse_edits of 1 or 2; it is 0, which merges nothing")
    together = pl.concat([table.select("insert", "reads") for _, table in bins])
    # With n_in_insert "merge", an insert with N can be merged into any insert without N, so it must never be a parent, however abundant.
    last = pl.col("insert").str.contains("N", literal=True) & pl.lit(n_in_insert == "merge")
    totals = together.group_by("insert").agg(pl.col("reads").sum()).collect(engine="streaming").sort([last, -pl.col("reads"), "insert"])
    inserts, abundance = totals["insert"], totals["reads"].to_numpy()
    parent = collapse(inserts, abundance, max_edits, ratio, n_in_insert == "merge", threads) if max_edits else np.arange(len(inserts))
    survivors, row = np.unique(parent, return_inverse=True)
    order = np.argsort(-np.bincount(row, weights=abundance), kind="stable")
    place = np.argsort(order)[row]  # row of each insert in the output table

    number_of = totals.select("insert").with_row_index("number").lazy()
    rows = pl.concat([table.select("insert", "reads", bin=pl.lit(index, pl.UInt16)) for index, (_, table) in enumerate(bins)])
    found = rows.join(number_of, on="insert").select("bin", "number", "reads").collect(engine="streaming").partition_by("bin", as_dict=True)
    columns, ledgers = [pl.Series("sequence", scaffold.five_prime + inserts[survivors[order]] + scaffold.three_prime)], []
    for index, (name, _) in enumerate(bins):
        part = found.get((index,), pl.DataFrame({"number": [], "reads": []}, schema={"number": pl.UInt32, "reads": pl.Int64}))
        number, reads = part["number"].to_numpy(), part["reads"].to_numpy()
        counts = np.bincount(place[number], weights=reads, minlength=len(survivors)).astype(np.int64)
        columns.append(pl.Series(name, counts))
        ledger = Ledger("merge_counts", name)
        ledger.read(int(reads.sum()))
        ledger.note("moved to the insert they are a sequencing error of", int(reads[parent[number] != number].sum()))
        ledgers.append((ledger, int(counts.sum())))
    distinct = Ledger("merge_counts", "library")
    distinct.read(len(inserts))
    distinct.drop("sequencing error of another insert", len(inserts) - len(survivors))
    return pl.DataFrame(columns), [*ledgers, (distinct, len(survivors))]


def collapse(
    inserts: pl.Series, reads: np.ndarray, max_edits: int, ratio: float, n_joins_any: bool = False, threads: int = 1
) -> np.ndarray:
    """Return, for each insert, the index of its parent: the insert of which it is a sequencing error, or the insert itself.

    Uses the directional network of UMI-tools (Smith et al. 2017, doi:10.1101/gr.209601.116). An edge runs from a to b if their
    Levenshtein distance is at most ``max_edits`` and ``reads[a] >= ratio * reads[b] - 1``. Each insert is assigned to the most
    abundant insert from which it can be reached, so errors of errors are merged as well.

    Only inserts that share a segment are compared (`neighbours`).

    Parameters
    ----------
    inserts
        Distinct inserts, most abundant first. The caller decides the order of ties.
    reads
        Reads of each insert, shape ``(inserts,)``.
    max_edits
        Maximum Levenshtein distance, 1 or 2.
    ratio
        Minimum ratio of reads between parent and error; see above.
    n_joins_any
        If true, an insert with N is merged into a matching insert without N regardless of their reads. Inserts with N must come last.
    threads
        Number of threads for comparing inserts.
    """
    label = np.arange(len(inserts))
    with_n = inserts.str.contains("N", literal=True).to_numpy()
    joins = list(neighbours.shared_segments(inserts, max_edits))

    leaders_only, changed = True, True  # round 1, against the first insert per segment, merges most errors
    while changed:
        changed = leaders_only
        for join in joins:
            for a, b in neighbours.candidates(join, label, leaders_only):
                enough = reads[a] >= ratio * reads[b] - 1
                if n_joins_any:
                    enough |= with_n[b] & ~with_n[a]
                a, b = a[enough], b[enough]
                near = neighbours.distances(inserts[a], inserts[b], max_edits, threads) <= max_edits
                before = label[b[near]]
                np.minimum.at(label, b[near], label[a[near]])
                changed |= bool((label[b[near]] < before).any())
        leaders_only = False
    return label
