"""Merge counts across bins, and merge sequencing errors into their parent inserts or match inserts to designed sequences.

Rows of all bins can be more than memory holds: they are aggregated in parts of inserts with the same hash, and kept in files with the
number of the insert in its place. What stays in memory are the distinct inserts and their reads in the merged table. Sequencing errors are
searched among all inserts at once (`neighbours`), so that parts make no difference to the result.
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl

from gpraflow.assay import matching, umis
from gpraflow.assay.reads import AMBIGUOUS_DESIGN, EXPECTED_ERRORS, NOT_IN_DESIGN, check_yield
from gpraflow.core import files, limits
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger, load
from gpraflow.sequences import neighbours
from gpraflow.sequences.scaffold import Scaffold, compact

_ERRORS_PER_EXPECTED = 2  # sequencing errors are allowed to be this many times as frequent as base qualities predict
_PART_ROWS = 8_000_000  # rows of all bins that are aggregated at a time
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
    folder: str | os.PathLike | None = None,
) -> tuple[pl.LazyFrame, list[tuple[Ledger, int]]]:
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
    folder
        Folder for temporary files, of some 16 bytes a row of all bins; None for the system's.

    Returns
    -------
    tuple
        A lazy table with ``sequence`` and one column of reads per bin, most abundant sequence first; and the ledgers with their number of
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
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        library = _Library(bins, umi, Path(scratch), n_last=n_in_insert == "merge")
        inserts, abundance = library.inserts, library.reads
        limits.expect("merge_counts", len(inserts), "distinct inserts")
        parent = np.arange(len(inserts))
        if max_edits:
            parent = collapse(inserts, abundance, max_edits, ratio, n_in_insert == "merge", threads, Path(scratch))
        check_collapsed(inserts, abundance, parent, expected, max_collapsed)
        survivors, place = _places(parent, abundance)
        columns, ledgers = [], []
        for name, part in library.rows():
            number, reads = part["number"].to_numpy(), part["reads"].to_numpy()
            counts = _counted(place[number], part, len(survivors), umi)
            columns.append(_narrow(name, counts))
            ledger = Ledger("merge_counts", name)
            ledger.read(int(reads.sum()))
            if umi:
                ledger.drop(DUPLICATE, int(reads.sum() - counts.sum()))
            ledger.note("reads with a sequencing error, counted for the parent insert", int(reads[parent[number] != number].sum()))
            ledgers.append((ledger, int(counts.sum())))
    distinct = Ledger("merge_counts", "library")
    distinct.read(len(inserts))
    distinct.drop("sequencing error of another insert", len(inserts) - len(survivors))
    return _table(inserts[survivors], scaffold, columns), [*ledgers, (distinct, len(survivors))]


def merge_designed(
    bins: Sequence[tuple[str, pl.LazyFrame]],
    scaffold: Scaffold,
    designs: pl.DataFrame,
    max_edits: int,
    origin: str | os.PathLike,
    min_yield: float = 0.0,
    threads: int = 1,
    umi: umis.Method | None = None,
    folder: str | os.PathLike | None = None,
) -> tuple[pl.LazyFrame, list[tuple[Ledger, int]]]:
    """Merge the counts of all bins into one table of designed sequences: each insert is counted for the design it matches.

    Parameters
    ----------
    bins, scaffold, umi, folder
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
        A lazy table with ``sequence``, ``name`` and one column of reads per bin, most abundant sequence first, without designs that have no
        reads; and ledgers as of `merge`, with the reads and inserts that match no design, or several equally well.

    Raises
    ------
    InputError
        If too few reads of a bin match a design.
    """
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        library = _Library(bins, umi, Path(scratch))
        inserts, abundance = library.inserts, library.reads
        limits.expect("merge_counts", len(inserts), "distinct inserts")
        design = matching.match(inserts, designs["insert"], max_edits, threads)
        matched = np.flatnonzero(design >= 0)
        present, place_of_matched = _places(design[matched], abundance[matched])
        place = np.full(len(inserts), -1)
        place[matched] = place_of_matched
        exact = np.zeros(len(inserts), bool)
        exact[matched] = (inserts[matched] == designs["insert"][design[matched]]).to_numpy()
        columns = [pl.Series("name", designs["name"][present])]
        ledgers = []
        for name, part in library.rows():
            number, reads = part["number"].to_numpy(), part["reads"].to_numpy()
            of = design[number]
            counts = _counted(place[number[of >= 0]], part.filter(of >= 0), len(present), umi)
            columns.append(_narrow(name, counts))
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
    return _table(designs["insert"][present], scaffold, columns), [*ledgers, (distinct, len(present))]


class _Library:
    """The distinct inserts of all bins, and which of them each row of a bin has.

    Attributes
    ----------
    inserts, reads
        Distinct inserts, most abundant first, and their reads.
    """

    def __init__(self, bins: Sequence[tuple[str, pl.LazyFrame]], umi: umis.Method | None, folder: Path, n_last: bool = False):
        """Read the tables of all bins once for each part of the inserts; rows are kept in ``folder``.

        With ``n_last``, inserts with N come last.
        """
        self._names, self._folder, columns = [name for name, _ in bins], folder, ["reads", "umi"] if umi else ["reads"]
        rows = pl.concat([table.select("insert", *columns, bin=pl.lit(index, pl.UInt16)) for index, (_, table) in enumerate(bins)])
        self._parts = max(1, -(-int(rows.select(pl.len()).collect(engine="streaming").item()) // _PART_ROWS))
        self._none = pl.DataFrame(schema={"number": pl.UInt32, **rows.select(columns).collect_schema()})
        parts, begin = [], 0
        for part in range(self._parts):
            chosen = pl.col("insert").hash() % self._parts == part
            of_part = (rows.filter(chosen) if self._parts > 1 else rows).collect(engine="streaming")
            distinct = of_part.group_by("insert").agg(pl.col("reads").sum()).with_row_index("number", begin)
            numbered = of_part.join(distinct.select("insert", "number"), on="insert").select("bin", "number", *columns)
            for (index,), of_bin in numbered.partition_by("bin", as_dict=True, include_key=False).items():
                files.write_part(self._path(index, part), of_bin)
            parts.append(distinct.select(compact(distinct["insert"]), "reads"))
            begin += distinct.height
        together = pl.concat(parts, rechunk=True)
        order = _order(together["insert"], together["reads"].to_numpy(), n_last)
        self.inserts, self.reads = together["insert"][order], together["reads"].to_numpy()[order]
        self._rank = np.empty(len(order), np.uint32)
        self._rank[order] = np.arange(len(order), dtype=np.uint32)

    def _path(self, index: int, part: int) -> Path:
        return self._folder / f"{index}.{part}.parquet"

    def rows(self) -> Iterator[tuple[str, pl.DataFrame]]:
        """Yield the name of each bin and its rows: ``number``, the index of the insert, ``reads`` and, if UMIs are used, ``umi``."""
        for index, name in enumerate(self._names):
            paths = [path for part in range(self._parts) if (path := self._path(index, part)).is_file()]
            table = pl.concat([self._none, *(pl.read_parquet(path, glob=False) for path in paths)])
            yield name, table.with_columns(number=pl.Series(self._rank[table["number"].to_numpy()]))


def _order(inserts: pl.Series, reads: np.ndarray, n_last: bool) -> np.ndarray:
    """Return the order of inserts: the most reads first, then alphabetically; with ``n_last``, those with N last."""
    last = inserts.str.contains("N", literal=True).to_numpy() if n_last else np.zeros(len(inserts), bool)
    order = np.lexsort((-reads, last))
    ends = np.flatnonzero((np.diff(reads[order]) != 0) | np.diff(last[order])) + 1
    for tied in np.split(order, ends):  # views of the order
        if len(tied) > 1:
            tied[:] = tied[inserts[tied].arg_sort().to_numpy()]
    return order


def _places(of: np.ndarray, abundance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct values of ``of``, most abundant first, and the place of each element's value among them."""
    values = np.flatnonzero(np.bincount(of))
    order = np.argsort(-np.bincount(of, weights=abundance)[values], kind="stable")
    place = np.zeros(int(of.max(initial=0)) + 1, np.int64)
    place[values[order]] = np.arange(len(values))
    return values[order], place[of]


def _narrow(name: str, counts: np.ndarray) -> pl.Series:
    """Return the counts of a bin in the smallest type that holds them."""
    return pl.Series(name, counts.astype(np.min_scalar_type(int(counts.max(initial=0)))))


def _table(inserts: pl.Series, scaffold: Scaffold, columns: Sequence[pl.Series]) -> pl.LazyFrame:
    """Return the table of counts; whole sequences and integers of 64 bits are made block by block, when it is written."""
    wide = [pl.col(column.name).cast(pl.Int64) if column.dtype.is_integer() else column.name for column in columns]
    sequence = pl.lit(scaffold.five_prime) + pl.col("_insert") + pl.lit(scaffold.three_prime)
    return pl.DataFrame([inserts.alias("_insert"), *columns]).lazy().select(sequence.alias("sequence"), *wide)


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
    inserts: pl.Series,
    reads: np.ndarray,
    max_edits: int,
    ratio: float,
    n_joins_any: bool = False,
    threads: int = 1,
    folder: Path | None = None,
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
    folder
        For files, which stay there, if there are many inserts; None to search in memory.
    """
    label = np.arange(len(inserts))
    with_n = inserts.str.contains("N", literal=True).to_numpy()
    joins = list(neighbours.shared_segments(inserts, max_edits, folder=folder if len(inserts) > neighbours.IN_MEMORY else None))

    leaders_only, changed = True, True  # round 1, against the first insert per segment, merges most errors
    while changed:
        changed = leaders_only
        for join in joins:
            for a, b in neighbours.candidates(join, label[join.rows_a], label[join.rows_b], leaders_only):
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
