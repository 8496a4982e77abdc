"""Merge counts across bins, and merge sequencing errors into their parent inserts or match inserts to designed sequences."""

import os
import sys
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import polars as pl

from gpraflow.assay import matching, umis
from gpraflow.assay.reads import AMBIGUOUS_DESIGN, EXPECTED_ERRORS, NOT_IN_DESIGN, check_yield
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger, load
from gpraflow.sequences import neighbours
from gpraflow.sequences.scaffold import Scaffold

_ERRORS_PER_EXPECTED = 2  # sequencing errors are allowed to be this many times as frequent as base qualities predict
_JUDGED = 20  # reads; smaller libraries are not checked
DUPLICATE = "duplicate: same insert and UMI"
_UNMATCHED = {NOT_IN_DESIGN: matching.NOT_DESIGNED, AMBIGUOUS_DESIGN: matching.AMBIGUOUS}


def expected_errors(paths: Sequence[str | os.PathLike]) -> int:
    """Return the expected number of reads with a sequencing error in the insert, from the ledgers of `count_reads` of all bins."""
    return int(load(paths).filter(rule="count_reads", what=EXPECTED_ERRORS)["rows"].sum())


def merge(
    bins: Sequence[tuple[str, pl.LazyFrame]],
    scaffold: Scaffold,
    max_edits: int,
    ratio: float,
    n_in_insert: Literal["keep", "merge", "drop"] = "keep",
    threads: int = 1,
    expected: int = 0,
    max_collapsed: float = 1.0,
    umi: umis.Method | None = None,
) -> tuple[pl.DataFrame, list[tuple[Ledger, int]]]:
    """Merge the counts of all bins into one table, and merge inserts that are sequencing errors into their parents (`collapse`).

    Parameters
    ----------
    bins
        Name of each bin and its table with columns ``insert`` and ``reads``, and ``umi`` if UMIs are used.
    scaffold
        Flanks added to each insert to give the full promoter sequence.
    max_edits, ratio, n_in_insert, threads
        As for `collapse`. With ``max_edits`` 0 no inserts are merged.
    expected, max_collapsed
        As for `check_collapsed`.
    umi
        Method of `umis.count_molecules`, by which the reads of an insert in a bin are counted once per UMI, after inserts were merged;
        None counts reads.

    Returns
    -------
    tuple
        A table with ``sequence`` and one column of reads per bin, most abundant sequence first; and the ledgers with their number of
        output rows: one ledger of reads per bin, and one of distinct inserts (data set ``library``).

    Raises
    ------
    ConfigError
        If ``n_in_insert`` is ``merge`` but ``max_edits`` is 0.
    InputError
        As `check_collapsed`.
    """
    if n_in_insert == "merge" and not max_edits:
        raise ConfigError("reads.n_in_insert: merge needs reads.collapse_edits of 1 or 2; it is 0, which merges nothing")
    # With n_in_insert "merge", an insert with N can be merged into any insert without N, so it must never be a parent, however abundant.
    inserts, abundance = _totals(bins, n_last=n_in_insert == "merge")
    parent = collapse(inserts, abundance, max_edits, ratio, n_in_insert == "merge", threads) if max_edits else np.arange(len(inserts))
    check_collapsed(inserts, abundance, parent, expected, max_collapsed)
    survivors, place = _places(parent, abundance)
    columns, ledgers = [pl.Series("sequence", scaffold.five_prime + inserts[survivors] + scaffold.three_prime)], []
    for name, part in _rows_of_bins(bins, inserts, umi):
        number, reads = part["number"].to_numpy(), part["reads"].to_numpy()
        counts = _counted(place[number], part, len(survivors), umi)
        columns.append(pl.Series(name, counts))
        ledger = Ledger("merge_counts", name)
        ledger.read(int(reads.sum()))
        if umi:
            ledger.drop(DUPLICATE, int(reads.sum() - counts.sum()))
        ledger.note("reads with a sequencing error, counted for the parent insert", int(reads[parent[number] != number].sum()))
        ledgers.append((ledger, int(counts.sum())))
    distinct = Ledger("merge_counts", "library")
    distinct.read(len(inserts))
    distinct.drop("sequencing error of another insert", len(inserts) - len(survivors))
    return pl.DataFrame(columns), [*ledgers, (distinct, len(survivors))]


def merge_designed(
    bins: Sequence[tuple[str, pl.LazyFrame]],
    scaffold: Scaffold,
    designs: pl.DataFrame,
    max_edits: int,
    origin: str | os.PathLike,
    min_yield: float = 0.0,
    threads: int = 1,
    umi: umis.Method | None = None,
) -> tuple[pl.DataFrame, list[tuple[Ledger, int]]]:
    """Merge the counts of all bins into one table of designed sequences: each insert is counted for the design it matches.

    Parameters
    ----------
    bins, scaffold, umi
        As for `merge`.
    designs
        ``name`` and ``insert`` of each designed sequence (`matching.load`).
    max_edits, threads
        As for `matching.match`.
    origin
        File of the designs, for messages.
    min_yield
        Minimum fraction of a bin's reads that match a design (`reads.check_yield`).

    Returns
    -------
    tuple
        A table with ``sequence``, ``name`` and one column of reads per bin, most abundant sequence first, without designs that have no
        reads; and ledgers as of `merge`, with the reads and inserts that match no design, or several equally well.

    Raises
    ------
    InputError
        If too few reads of a bin match a design.
    """
    inserts, abundance = _totals(bins)
    design = matching.match(inserts, designs["insert"], max_edits, threads)
    matched = np.flatnonzero(design >= 0)
    present, place_of_matched = _places(design[matched], abundance[matched])
    place = np.full(len(inserts), -1)
    place[matched] = place_of_matched
    exact = np.zeros(len(inserts), bool)
    exact[matched] = (inserts[matched] == designs["insert"][design[matched]]).to_numpy()
    columns = [
        pl.Series("sequence", scaffold.five_prime + designs["insert"][present] + scaffold.three_prime),
        pl.Series("name", designs["name"][present]),
    ]
    ledgers = []
    for name, part in _rows_of_bins(bins, inserts, umi):
        number, reads = part["number"].to_numpy(), part["reads"].to_numpy()
        of = design[number]
        counts = _counted(place[number[of >= 0]], part.filter(of >= 0), len(present), umi)
        columns.append(pl.Series(name, counts))
        ledger = Ledger("merge_counts", name)
        ledger.read(int(reads.sum()))
        lost = {what: int(reads[of == code].sum()) for what, code in _UNMATCHED.items()}
        for what, rows in lost.items():
            ledger.drop(what, rows)
        ledger.note("matched to a designed sequence with edits", int(reads[(of >= 0) & ~exact[number]].sum()))
        kept = int(reads[of >= 0].sum())
        check_yield(f"bin '{name}', matching to {origin}", kept, lost, min_yield)
        if umi:
            ledger.drop(DUPLICATE, kept - int(counts.sum()))
        ledgers.append((ledger, int(counts.sum())))
    distinct = Ledger("merge_counts", "library")
    distinct.read(len(inserts))
    for what, code in _UNMATCHED.items():
        distinct.drop(what, int((design == code).sum()))
    distinct.drop("copy of a designed sequence with errors", len(matched) - len(present))
    absent = np.setdiff1d(np.arange(designs.height), present)
    distinct.note("designed sequences without reads", len(absent))
    if len(absent):
        names = "\n".join(designs["name"][absent])
        print(f"{origin}: {len(absent):,} of {designs.height:,} designed sequences have no reads:\n{names}", file=sys.stderr, flush=True)
    return pl.DataFrame(columns), [*ledgers, (distinct, len(present))]


def _totals(bins: Sequence[tuple[str, pl.LazyFrame]], n_last: bool = False) -> tuple[pl.Series, np.ndarray]:
    """Return the distinct inserts of all bins, most abundant first, and their reads; with ``n_last``, those with N come last."""
    together = pl.concat([table.select("insert", "reads") for _, table in bins])
    last = pl.col("insert").str.contains("N", literal=True) & pl.lit(n_last)
    totals = together.group_by("insert").agg(pl.col("reads").sum()).collect(engine="streaming").sort([last, -pl.col("reads"), "insert"])
    return totals["insert"], totals["reads"].to_numpy()


def _places(of: np.ndarray, abundance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values of ``of``, most abundant first, and the place of each element's value among them."""
    values, row = np.unique(of, return_inverse=True)
    order = np.argsort(-np.bincount(row, weights=abundance, minlength=len(values)), kind="stable")
    return values[order], np.argsort(order)[row]


def _rows_of_bins(
    bins: Sequence[tuple[str, pl.LazyFrame]], inserts: pl.Series, umi: umis.Method | None
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Yield the name of each bin and its rows: ``number``, the index of the insert, ``reads`` and, if UMIs are used, ``umi``."""
    columns = ["reads", "umi"] if umi else ["reads"]
    number_of = pl.DataFrame({"insert": inserts}).with_row_index("number").lazy()
    rows = pl.concat([table.select("insert", *columns, bin=pl.lit(index, pl.UInt16)) for index, (_, table) in enumerate(bins)])
    joined = rows.join(number_of, on="insert").select("bin", "number", *columns).collect(engine="streaming")
    rows_of_bin = joined.partition_by("bin", as_dict=True)
    for index, (name, _) in enumerate(bins):
        yield name, rows_of_bin.get((index,), joined.clear())


def _counted(place: np.ndarray, rows: pl.DataFrame, places: int, umi: umis.Method | None) -> np.ndarray:
    """Return the reads, or by a method for UMIs the molecules, that are counted at each place; ``place`` is that of each row."""
    reads = rows["reads"].to_numpy()
    if umi:
        return umis.count_molecules(place, rows["umi"], reads, places, umi)
    return np.bincount(place, weights=reads, minlength=places).astype(np.int64)


def check_collapsed(inserts: pl.Series, reads: np.ndarray, parent: np.ndarray, expected: int, max_collapsed: float) -> None:
    """Raise an error if more reads were merged as sequencing errors than base qualities allow.

    A fraction of ``2 expected / reads + max_collapsed`` of all reads is allowed. The factor 2 allows for qualities that are too high, and
    ``max_collapsed`` for errors that qualities do not reflect: those of PCR and, in libraries with few variants, of DNA synthesis.

    Parameters
    ----------
    inserts, reads
        Distinct inserts, most abundant first, and their reads.
    parent
        Index of the insert into which each is merged, from `collapse`.
    expected
        Expected number of reads with a sequencing error in the insert, from base qualities.
    max_collapsed
        See above. Libraries of fewer than 20 reads are not checked.

    Raises
    ------
    InputError
        If the fraction is higher; with the most abundant insert that was merged, and what to do.
    """
    merged = np.flatnonzero(parent != np.arange(len(parent)))
    total, moved = int(reads.sum()), int(reads[merged].sum())
    allowed = _ERRORS_PER_EXPECTED * expected / max(total, 1) + max_collapsed
    if total < _JUDGED or moved <= allowed * total:
        return
    first, into = int(merged[0]), int(parent[merged[0]])
    raise InputError(
        f"{moved:,} of {total:,} reads ({moved / total:.1%}) were merged into other inserts as sequencing errors, but base qualities "
        f"predict errors in {expected / total:.1%} of the reads; {allowed:.1%} are allowed "
        f"({_ERRORS_PER_EXPECTED} x {expected / total:.1%} + reads.max_collapsed {max_collapsed:g}). Most of these inserts are probably "
        "true variants, such as\n"
        f"  {inserts[first]} ({reads[first]:,} reads), merged into\n  {inserts[into]} ({reads[into]:,} reads)\n"
        "For a library of designed variants, list its sequences in the file reads.design, or set reads.collapse_edits: 0 to merge nothing. "
        "If the merged inserts are errors of PCR or synthesis, raise reads.max_collapsed; a higher reads.collapse_ratio merges fewer "
        "inserts"
    )


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
