"""Counts of sequence x bin from the inserts of each bin: bins side by side, sequencing errors with the insert they come from."""

from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import polars as pl
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from gpraflow.errors import ConfigError
from gpraflow.ledger import Ledger
from gpraflow.scaffold import Scaffold

_PAIRS = 1_000_000  # candidate pairs at a time


def merge(
    bins: Sequence[tuple[str, pl.LazyFrame]],
    scaffold: Scaffold,
    max_edits: int,
    ratio: float,
    n_in_insert: Literal["keep", "merge", "drop"] = "keep",
    threads: int = 1,
) -> tuple[pl.DataFrame, list[tuple[Ledger, int]]]:
    """Set the counts of bins side by side and merge inserts that are sequencing errors of another one (`collapse`).

    Parameters
    ----------
    bins
        Name and ``insert, reads`` of each bin.
    scaffold
        Flanks that complete an insert to the promoter.
    max_edits, ratio, n_in_insert, threads
        As for `collapse`; ``max_edits`` 0 merges nothing.

    Returns
    -------
    tuple
        Table of ``sequence`` and the reads of each bin, the most abundant first; ledgers with their rows out: one of the reads of
        each bin, and one of distinct inserts (data set ``library``).
    """
    if n_in_insert == "merge" and not max_edits:
        raise ConfigError("reads.n_in_insert: merge needs reads.collapse_edits of 1 or 2; it is 0, which merges nothing")
    together = pl.concat([table.select("insert", "reads") for _, table in bins])
    # An insert with N that may go to any insert without N must not be its parent, however abundant it is.
    last = pl.col("insert").str.contains("N", literal=True) & pl.lit(n_in_insert == "merge")
    totals = together.group_by("insert").agg(pl.col("reads").sum()).collect(engine="streaming").sort([last, -pl.col("reads"), "insert"])
    inserts, abundance = totals["insert"], totals["reads"].to_numpy()
    parent = collapse(inserts, abundance, max_edits, ratio, n_in_insert == "merge", threads) if max_edits else np.arange(len(inserts))
    survivors, row = np.unique(parent, return_inverse=True)
    order = np.argsort(-np.bincount(row, weights=abundance), kind="stable")
    place = np.argsort(order)[row]  # of each insert in the table that leaves

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
    """Return, for each insert, the index of the insert that it is a sequencing error of, itself if of none.

    Directional networks as UMI-tools has them (Smith et al. 2017, doi:10.1101/gr.209601.116): an edge goes from a to b if they are
    within ``max_edits`` (Levenshtein) and ``reads[a] >= ratio * reads[b] - 1``; each insert goes to the most abundant one that reaches
    it over edges, so that errors of errors follow.

    Two inserts within two edits share, in one of three segments, an exact match (pigeonhole): the beginning, the end, or the piece
    after the beginning shifted by up to two. Only inserts that share one are compared.

    Parameters
    ----------
    inserts
        Distinct inserts, the most abundant first; ties in an order of the caller's.
    reads
        ``(inserts,)`` reads.
    max_edits
        1 or 2.
    ratio
        See above.
    n_joins_any
        Whether an insert with N goes to one without whatever their reads. Inserts with N must then come last.
    threads
        For comparing.
    """
    rank = np.arange(len(inserts))
    label = rank.copy()
    length = inserts.str.len_bytes().to_numpy().astype(np.int64)
    with_n = inserts.str.contains("N", literal=True).to_numpy()

    def close(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        enough = reads[a] >= ratio * reads[b] - 1
        if n_joins_any:
            enough |= with_n[b] & ~with_n[a]
        near = np.flatnonzero(enough & (np.abs(length[a] - length[b]) <= max_edits))
        distance = process.cpdist(
            inserts[a[near]].to_list(), inserts[b[near]].to_list(), scorer=Levenshtein.distance, score_cutoff=max_edits, workers=threads
        )
        return near[distance <= max_edits]

    keys = list(_keys(inserts, length, max_edits))
    # Nearly all are errors of the most abundant insert with the same segment: that round leaves few for the exhaustive ones.
    leaders_only, changed = True, True
    while changed:
        changed = False
        for rows_a, group_a, rows_b, group_b in keys:
            for a, b in _candidates(rows_a, group_a, rows_b, group_b, label, leaders_only):
                edge = close(a, b)
                if len(edge):
                    before = label[b[edge]]
                    np.minimum.at(label, b[edge], label[a[edge]])
                    changed |= bool((label[b[edge]] < before).any())
        changed |= leaders_only
        leaders_only = False
    return label


def _keys(inserts: pl.Series, length: np.ndarray, max_edits: int) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield rows a and their groups, rows b and their groups: pairs (a, b) of one group share a segment."""
    if not len(length):
        return
    long = int(np.quantile(length, 0.01)) // 3
    short = int(length.min()) // 3
    # A few short inserts must not make the segments of all others short.
    passes = [(np.flatnonzero(length >= 3 * long), long)]
    if short < long:
        passes.append((np.flatnonzero(length < 3 * long + max_edits), short))
    for rows, size in passes:
        text = inserts[rows]
        yield from _shared(rows, text.str.head(size), text.str.head(size))
        yield from _shared(rows, text.str.tail(size), text.str.tail(size))
        middle = text.str.slice(size, size)
        for shift in range(-max_edits, max_edits + 1):
            yield from _shared(rows, text.str.slice(max(0, size + shift), size) if shift else middle, middle)


def _shared(rows: np.ndarray, a: pl.Series, b: pl.Series) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    key_a, key_b = a.hash().to_numpy(), b.hash().to_numpy()  # equal hashes of different segments only add candidates
    if a is b or np.array_equal(key_a, key_b):
        _, group, size = np.unique(key_a, return_inverse=True, return_counts=True)
        several = size[group] > 1
        group_a = group_b = group[several]
        rows_a = rows_b = rows[several]
    else:
        common = np.intersect1d(_distinct(key_a), _distinct(key_b), assume_unique=True)
        if not len(common):
            return
        in_a, in_b = (np.minimum(np.searchsorted(common, key), len(common) - 1) for key in (key_a, key_b))
        has_a, has_b = common[in_a] == key_a, common[in_b] == key_b
        rows_a, group_a, rows_b, group_b = rows[has_a], in_a[has_a], rows[has_b], in_b[has_b]
    if len(rows_a):
        yield rows_a, group_a, rows_b, group_b


def _distinct(keys: np.ndarray) -> np.ndarray:
    ordered = np.sort(keys)  # np.unique without counts hashes, which is ten times slower here
    return ordered[np.concatenate([[True], ordered[1:] != ordered[:-1]])]


def _candidates(
    rows_a: np.ndarray, group_a: np.ndarray, rows_b: np.ndarray, group_b: np.ndarray, label: np.ndarray, leaders_only: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs (a, b) of one group in which a's label is smaller; with ``leaders_only`` just the a with the smallest."""
    scale = len(label) + 1
    place_a = group_a * scale + label[rows_a]
    order = np.argsort(place_a)
    place_a, rows_a = place_a[order], rows_a[order]
    begin = np.searchsorted(place_a, group_b * scale)
    end = np.searchsorted(place_a, group_b * scale + label[rows_b])
    if leaders_only:
        end = np.minimum(end, begin + 1)
    number = end - begin
    some = np.flatnonzero(number > 0)
    begin, number, rows_b = begin[some], number[some], rows_b[some]
    total = np.cumsum(number)
    first = 0
    while first < len(number):
        before = total[first - 1] if first else 0
        last = max(first + 1, int(np.searchsorted(total, before + _PAIRS, side="right")))
        size = number[first:last]
        within = np.arange(size.sum()) - np.repeat(np.cumsum(size) - size, size)
        yield rows_a[np.repeat(begin[first:last], size) + within], np.repeat(rows_b[first:last], size)
        first = last
