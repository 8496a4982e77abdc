"""Near-duplicate sequences: exact search for pairs within a few edits, without comparing all pairs.

Of two sequences within k edits, one of k + 1 segments of either occurs in the other exactly, shifted by a few positions (pigeonhole
principle; shifts as in Pass-Join, Li et al. 2011, doi:10.14778/2078331.2078340). Sequences are grouped by hashes of such segments, and
only sequences of the same group are compared.

Of large libraries, some numbers per sequence are in memory. Sequences, hashes and groups are in files (`stored`): hashes of one segment
are divided into buckets, which are joined one after the other, and groups wait in a file for the second round of comparisons.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from gpraflow.core import files
from gpraflow.core.ledger import Ledger
from gpraflow.sequences.components import Components
from gpraflow.sequences.scaffold import canonical_sequences, compact, reverse_complement_sequences, tokenize
from gpraflow.sequences.stored import Array, Buckets, Text, divided

IN_MEMORY = 1_000_000  # sequences up to which a library is searched without files
_PAIRS = 250_000  # candidate pairs compared at a time
_BLOCK_ROWS = 500_000  # sequences whose segments are computed at a time
_BUCKET_ROWS = 1_000_000  # sequences whose hashes are joined at a time
_GROUPED = 4_000_000  # sequences in the groups of a join, unless one group has more
_THREADS = 4  # blocks or buckets processed at a time, at most; each needs some 100 bytes a sequence
_KMERS = 10_000_000  # k-mers processed at a time
_ROWS = 100_000  # sequences whose k-mers are computed at a time
_FAR = 20_000  # distant sequences processed at a time in the search for the nearest
_HALF = np.uint64(32)
# Nearest training promoter of each promoter of a data set, and the edits between their inserts; null if there is none nearby.
NEAREST = {"dataset": pl.String, "sequence": pl.String, "distance": pl.Int64, "nearest": pl.String}
# Near-duplicate pairs of a library promoter (`sequence`) and a promoter of an independent data set (`other`). `equal`: identical inserts
# on the same strand.
OVERLAPS = {"dataset": pl.String, "distance": pl.Int64, "sequence": pl.String, "other": pl.String, "equal": pl.Boolean}


@dataclass(frozen=True)
class Join:
    """Sequences a and b of the same group share a segment; ``reverse_complemented``: the segment is on the reverse complement of a.

    Rows and groups are uint32. Groups ascend, and those of a are those of b.
    """

    rows_a: np.ndarray
    group_a: np.ndarray
    rows_b: np.ndarray
    group_b: np.ndarray
    reverse_complemented: bool


@dataclass(frozen=True)
class _Rows:
    """Sequences of some lengths (bp, from ``least`` to less than ``below``); ``chosen``: which take part, None for all."""

    text: Text
    least: int
    below: int
    chosen: np.ndarray | None = None

    def of_block(self, begin: int) -> np.ndarray:
        """Return those of the block that begins at a row, int64."""
        block = slice(begin, begin + _BLOCK_ROWS)
        length = self.text.lengths(block)
        some = (length >= self.least) & (length < self.below)
        return np.flatnonzero(some if self.chosen is None else some & self.chosen[block]) + begin

    def entries(self, windows: Sequence[tuple[int, int, bool]], buckets: int, begin: int) -> list[tuple[np.ndarray, np.ndarray]]:
        """Return hashes of the block at each window (offset, size, strand), as `divided` does."""
        rows = self.of_block(begin)
        return [divided(self.text.hashes(rows, *window), rows.astype(np.uint32), buckets) for window in windows]


def shared_segments(
    sequences: pl.Series | Text,
    max_edits: int,
    either_strand: bool = False,
    threads: int = 1,
    folder: Path | None = None,
    chosen: np.ndarray | None = None,
) -> Iterator[Join]:
    """Yield joins such that any two sequences within ``max_edits`` (Levenshtein distance) are in the same group of at least one join.

    With ``either_strand`` this also holds for the distance between one sequence and the reverse complement of the other.

    Parameters
    ----------
    sequences
        Sequences, as a column or in files.
    max_edits, either_strand
        See above.
    threads
        Number of threads for hashing and joining.
    folder
        For hashes, and for the sequences of a column; None to hold both in memory.
    chosen
        Which sequences take part, bool ``(rows,)``; None for all.
    """
    text = Text.of(sequences, folder) if isinstance(sequences, pl.Series) else sequences
    counts = _lengths(text, chosen)
    if not counts.any():
        return
    number = max_edits + 1
    usual, shortest = _usual_length(counts) // number, int(np.flatnonzero(counts)[0]) // number
    passes = [(_Rows(text, number * usual, len(counts), chosen), usual)]
    if shortest < usual:  # a few short sequences must not shorten the segments of all others
        passes.append((_Rows(text, 0, number * usual + max_edits, chosen), shortest))
    with ThreadPoolExecutor(min(threads, _THREADS)) as pool:
        for rows, size in passes:
            parts = max(1, -(-int(counts[rows.least : rows.below].sum()) // _BUCKET_ROWS))
            for segment in range(number):
                offset, most = _segment(segment, size, max_edits)
                shifts = sorted(range(-most, most + 1), key=abs)
                windows = [(offset + shift, size, reverse) for reverse in (False, True)[: 1 + either_strand] for shift in shifts]
                buckets = Buckets(parts, len(windows), folder / "hashes" if folder else None)
                for found in _ahead(pool, partial(rows.entries, windows, parts), range(0, len(text), _BLOCK_ROWS)):
                    for kind, entries in enumerate(found):
                        buckets.add(kind, *entries)
                buckets.finish()
                for joins in _ahead(pool, partial(_bucket_joins, buckets, [reverse for *_, reverse in windows]), range(parts)):
                    yield from joins
                buckets.remove()


def _lengths(text: Text, chosen: np.ndarray | None = None) -> np.ndarray:
    """Return how many sequences there are of each length."""
    counts = np.zeros(1, np.int64)
    for begin in range(0, len(text), _BLOCK_ROWS):
        block = slice(begin, begin + _BLOCK_ROWS)
        lengths = text.lengths(block)
        more = np.bincount(lengths if chosen is None else lengths[chosen[block]], minlength=len(counts))
        more[: len(counts)] += counts
        counts = more
    return counts


def _usual_length(counts: np.ndarray) -> int:
    """Return the length that all but one in a hundred sequences have at least."""
    total = np.cumsum(counts)
    return int(np.searchsorted(total, 0.01 * total[-1], side="right"))


def _ahead(pool: ThreadPoolExecutor, function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[Any]:
    """Yield the results of a function in order, while a few more are computed."""
    waiting: deque[Future] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) > _THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _bucket_joins(buckets: Buckets, reverse_complemented: Sequence[bool], bucket: int) -> list[Join]:
    """Return the joins of a bucket: hashes of the first kind with each other and with those of the other kinds."""
    own = np.sort(buckets.entries(0, bucket))
    joins = list(_parts(*_repeated(own), reverse_complemented=False))
    for kind in range(1, len(reverse_complemented)):
        joins += _parts(*_common(buckets.entries(kind, bucket), own), reverse_complemented=reverse_complemented[kind])
    return joins


_Groups = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # rows and groups of a, and of b; groups in the order of their hashes


def _repeated(entries: np.ndarray) -> _Groups:
    """Return the groups of sorted entries with the same hash."""
    key = (entries >> _HALF).astype(np.uint32)
    again = key[1:] == key[:-1]
    several = np.zeros(len(key), bool)
    several[1:] |= again
    several[:-1] |= again
    rows, group = _grouped(entries[several])
    return rows, group, rows, group


def _common(entries_a: np.ndarray, entries_b: np.ndarray) -> _Groups:
    """Return the groups of entries with the same hash; those of b are sorted."""
    # Most hashes have no partner. A lookup table with one byte per prefix excludes them without sorting.
    bits = min(32, max(10, int(max(len(entries_a), len(entries_b)) * 4).bit_length()))
    seen, shift = np.zeros(1 << bits, bool), np.uint64(64 - bits)
    seen[entries_b >> shift] = True
    a = np.sort(entries_a[seen[entries_a >> shift]])
    seen[:] = False
    seen[a >> shift] = True
    b = entries_b[seen[entries_b >> shift]]
    key_a, key_b = a >> _HALF, b >> _HALF
    return *_grouped(a[has_hash(key_a, key_b)]), *_grouped(b[has_hash(key_b, key_a)])


def _grouped(entries: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of sorted entries, and the number of the hash of each."""
    key = (entries >> _HALF).astype(np.uint32)
    new = np.zeros(len(key), bool)
    new[1:] = key[1:] != key[:-1]
    return entries.astype(np.uint32), np.cumsum(new, dtype=np.uint32)


def _parts(rows_a: np.ndarray, group_a: np.ndarray, rows_b: np.ndarray, group_b: np.ndarray, reverse_complemented: bool) -> Iterator[Join]:
    """Yield joins of some groups each, none if there are none."""
    number = -(-max(len(rows_a), len(rows_b)) // _GROUPED)
    if not number:
        return
    bounds = np.linspace(0, int(group_a[-1]) + 1, number + 1).astype(np.int64)
    for low, high in pairwise(bounds):
        a, b = (slice(*np.searchsorted(group, (low, high))) for group in (group_a, group_b))
        if a.stop > a.start:
            yield Join(rows_a[a], group_a[a], rows_b[b], group_b[b], reverse_complemented)


def _joins_between(library: Text, others: Text, max_edits: int, threads: int) -> Iterator[Join]:
    """Yield joins such that a library sequence and another one within ``max_edits`` are in the same group of at least one join.

    The library is cut into segments, and the other sequences, which are usually fewer, are searched at all shifts. Their rows are counted
    from the end of the library.
    """
    counts, number = _lengths(library), max_edits + 1
    size = _usual_length(counts) // number
    passes = [(_Rows(library, number * size, len(counts)), size)]
    if counts[: number * size].any():  # a few short sequences must not shorten the segments of all others
        passes.append((_Rows(library, 0, number * size), int(np.flatnonzero(counts)[0]) // number))

    def shifted(offset: int, size: int) -> Iterator[np.ndarray]:
        for begin in range(0, len(others), _BLOCK_ROWS):
            least = offset + size if offset >= 0 else -offset
            rows = _Rows(others, max(least, 0), np.iinfo(np.int64).max).of_block(begin)
            yield divided(others.hashes(rows, offset, size), (rows + len(library)).astype(np.uint32), 1)[0]

    def join(rows: _Rows, size: int, segment: int) -> list[Join]:
        offset, most = _segment(segment, size, max_edits)
        theirs = np.concatenate([entries for shift in range(-most, most + 1) for entries in shifted(offset + shift, size)])
        own = [rows.entries([(offset, size, False)], 1, begin)[0][0] for begin in range(0, len(library), _BLOCK_ROWS)]
        mine, group, other, group_of_other = _common(np.concatenate(own), np.sort(theirs))
        return list(_parts(mine, group, other, group_of_other, reverse_complemented=False))

    with ThreadPoolExecutor(min(threads, _THREADS)) as pool:
        for rows, size in passes:
            for joins in _ahead(pool, partial(join, rows, size), range(number)):
                yield from joins


def _segment(segment: int, size: int, max_edits: int) -> tuple[int, int]:
    """Return where one of ``max_edits + 1`` segments begins (negative: from the end), and its largest shift."""
    if 2 * segment < max_edits + 1:
        return segment * size, segment
    return (segment - max_edits - 1) * size, max_edits - segment


def distinct_hashes(keys: np.ndarray, repeated: bool = False) -> np.ndarray:
    """Return distinct hashes in ascending order, or only those that occur more than once."""
    ordered = np.sort(keys)  # np.unique without counts uses hashing, ten times slower here
    again = ordered[1:] == ordered[:-1]
    if repeated:
        keys = ordered[1:][again]
        return keys[np.flatnonzero(np.diff(keys, prepend=keys[:1] ^ np.uint64(1)))]
    return np.concatenate([ordered[:1], ordered[1:][~again]])


def has_hash(keys: np.ndarray, ordered: np.ndarray) -> np.ndarray:
    """Return which hashes are among others, which are in ascending order."""
    if not len(ordered):
        return np.zeros(len(keys), bool)
    return ordered[np.minimum(np.searchsorted(ordered, keys), len(ordered) - 1)] == keys


def candidates(join: Join, label_a: np.ndarray, label_b: np.ndarray, leaders_only: bool = False) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs (a, b) of one group where a has the smaller label; with ``leaders_only``, a is the member with the smallest label.

    Parameters
    ----------
    join
        Groups of rows.
    label_a, label_b
        Label of each of ``join.rows_a`` and ``join.rows_b``, non-negative.
    leaders_only
        See above.
    """
    scale = int(max(label_a.max(initial=0), label_b.max(initial=0))) + 1
    place_a, place_b = join.group_a.astype(np.int64) * scale + label_a, join.group_b.astype(np.int64) * scale
    order = np.argsort(place_a)
    place_a, rows_a, rows_b = place_a[order], join.rows_a[order], join.rows_b
    begin = np.searchsorted(place_a, place_b)
    end = np.searchsorted(place_a, place_b + label_b)
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


def distances(a: pl.Series | np.ndarray, b: pl.Series | np.ndarray, max_edits: int, threads: int = 1) -> np.ndarray:
    """Return the Levenshtein distance between ``a[i]`` and ``b[i]``; ``max_edits + 1`` for all larger distances."""
    texts = (each.to_list() if isinstance(each, pl.Series) else each.tolist() for each in (a, b))
    return process.cpdist(*texts, scorer=Levenshtein.distance, score_cutoff=max_edits, workers=threads)


def least_distances(sequences: pl.Series, others: pl.Series, threads: int = 1) -> pl.Series:
    """Return the Levenshtein distance of each sequence to the nearest of a few others, on either strand; null if there are none."""
    if not len(others):
        return pl.Series([None] * len(sequences), dtype=pl.Int64)
    strands = (others, reverse_complement_sequences(others))
    least = [
        process.cdist(sequences.to_list(), strand.to_list(), scorer=Levenshtein.distance, workers=threads).min(axis=1, initial=2**31 - 1)
        for strand in strands
    ]
    return pl.Series(np.minimum(*least).astype(np.int64))


def groups(sequences: pl.Series, max_edits: int, kmer: int = 0, predefined: pl.Series | None = None, threads: int = 1) -> np.ndarray:
    """Group sequences that are identical, reverse complements, within ``max_edits`` on either strand, or linked through others.

    Parameters
    ----------
    sequences
        Inserts without constant flanks, which would make all sequences similar.
    max_edits
        Maximum substitutions, insertions and deletions; 0 groups only identical sequences and reverse complements.
    kmer
        Also group sequences that share a k-mer of this length (at most 31 bp) on either strand, except k-mers of low complexity or with N;
        0 to disable.
    predefined
        Names of predefined groups whose members always belong together; null for none.
    threads
        Number of threads for comparing sequences.

    Returns
    -------
    numpy.ndarray
        Index of the first sequence of each sequence's group, int64.
    """
    of_groups = None if predefined is None else _Labels.of(predefined)
    return _groups(Text.of(canonical_sequences(sequences)), max_edits, kmer, of_groups, threads).astype(np.int64)


@dataclass(frozen=True)
class _Labels:
    """Labels of rows: ``names`` in alphabetical order, and the index of the name of each row, uint32; their number for none."""

    numbers: np.ndarray
    names: pl.Series

    @classmethod
    def of(cls, labels: pl.Series) -> "_Labels":
        """Return the labels of a column of strings, or of an enumeration in alphabetical order."""
        dtype = labels.dtype if isinstance(labels.dtype, pl.Enum) else pl.Enum(labels.drop_nulls().unique().sort())
        numbers = labels.cast(dtype).to_physical().cast(pl.UInt32).fill_null(len(dtype.categories))
        return cls(numbers.to_numpy(), dtype.categories)


def _groups(text: Text, max_edits: int, kmer: int, predefined: _Labels | None, threads: int, folder: Path | None = None) -> np.ndarray:
    """Return the first row of each sequence's group, uint32.

    Parameters
    ----------
    text
        The alphabetically first of each sequence and its reverse complement.
    max_edits, kmer, threads
        As for `groups`.
    predefined
        Predefined groups, None for none.
    folder
        For files; None to hold all in memory.
    """
    linked = Components(len(text))
    _link_equal(text, linked, threads, folder)
    distinct = linked.are_first()
    if predefined is not None:
        _link_predefined(predefined, linked)
    if kmer:
        _link_kmers(text, kmer, distinct, linked, folder)
    if max_edits:
        # Most sequences are neighbours of the first one with the same segment; that round leaves few for the exhaustive one.
        waiting = _Joins(folder)
        for join in shared_segments(text, max_edits, True, threads, folder, distinct):
            pairs = candidates(join, linked.of(join.rows_a), linked.of(join.rows_b), leaders_only=True)
            _link_near(pairs, text, max_edits, linked, threads, join.reverse_complemented)
            waiting.add(_undecided(join, linked))
        # Pairs are ordered by the labels at the start of the round, so that every pair is compared in the join that has it in this order,
        # even if labels change meanwhile.
        fixed = linked.first().copy()
        for join in waiting:
            pairs = candidates(join, fixed[join.rows_a], fixed[join.rows_b])
            _link_near(pairs, text, max_edits, linked, threads, join.reverse_complemented)
        waiting.remove()
    return linked.first()


def _link_near(
    pairs: Iterable[tuple[np.ndarray, np.ndarray]], text: Text, max_edits: int, linked: Components, threads: int, reverse_complemented: bool
) -> None:
    """Compare pairs of rows that are not linked yet, and link those within ``max_edits``."""
    for a, b in pairs:
        apart = linked.of(a) != linked.of(b)
        a, b = a[apart], b[apart]
        near = distances(text.take(a, reverse_complemented), text.take(b), max_edits, threads) <= max_edits
        linked.link(a[near], b[near])


def _undecided(join: Join, linked: Components) -> Join:
    """Return the groups of a join whose rows are not all linked."""
    begins = [np.flatnonzero(np.diff(group, prepend=group[:1] ^ np.uint32(1))) for group in (join.group_a, join.group_b)]
    labels = linked.of(join.rows_a), linked.of(join.rows_b)
    least = np.minimum(*(np.minimum.reduceat(label, begin) for label, begin in zip(labels, begins, strict=True)))
    most = np.maximum(*(np.maximum.reduceat(label, begin) for label, begin in zip(labels, begins, strict=True)))
    a, b = (np.repeat(least != most, np.diff(begin, append=len(label))) for label, begin in zip(labels, begins, strict=True))
    return Join(join.rows_a[a], join.group_a[a], join.rows_b[b], join.group_b[b], join.reverse_complemented)


class _Joins:
    """Joins that wait, in memory or in a file of a folder."""

    def __init__(self, folder: Path | None):
        self._numbers = Array(np.uint32, folder / "joins" if folder else None)
        self._sizes: list[tuple[int, int, bool]] = []

    def add(self, join: Join) -> None:
        """Append a join."""
        for numbers in (join.rows_a, join.group_a, join.rows_b, join.group_b):
            self._numbers.append(numbers)
        self._sizes.append((len(join.rows_a), len(join.rows_b), join.reverse_complemented))

    def __iter__(self) -> Iterator[Join]:
        """Read one join after the other; none may be added after this."""
        begin = 0
        for size_a, size_b, reverse_complemented in self._sizes:
            bounds = np.cumsum([begin, size_a, size_a, size_b, size_b])
            rows_a, group_a, rows_b, group_b = (np.array(self._numbers.values[low:high]) for low, high in pairwise(bounds))
            yield Join(rows_a, group_a, rows_b, group_b, reverse_complemented)
            begin = int(bounds[-1])

    def remove(self) -> None:
        """Give back the memory or the file."""
        self._numbers.remove()


def _link_equal(text: Text, linked: Components, threads: int, folder: Path | None) -> None:
    """Link equal sequences."""
    parts = max(1, -(-len(text) // _BUCKET_ROWS))
    buckets = Buckets(parts, 1, folder / "hashes" if folder else None)

    def entries(begin: int) -> tuple[np.ndarray, np.ndarray]:
        rows = np.arange(begin, min(begin + _BLOCK_ROWS, len(text)))
        return divided(text.whole_hashes(rows), rows.astype(np.uint32), parts)

    with ThreadPoolExecutor(min(threads, _THREADS)) as pool:
        for found in _ahead(pool, entries, range(0, len(text), _BLOCK_ROWS)):
            buckets.add(0, *found)
        buckets.finish()
        for rows, group, _, _ in _ahead(pool, lambda bucket: _repeated(np.sort(buckets.entries(0, bucket))), range(parts)):
            while len(rows):  # of the few groups with several sequences, each round takes one
                leads = np.flatnonzero(np.diff(group, prepend=group[:1] ^ np.uint32(1)))
                leader = np.repeat(rows[leads], np.diff(leads, append=len(group)))
                equal = np.concatenate(
                    [
                        text.take(rows[begin : begin + _PAIRS]) == text.take(leader[begin : begin + _PAIRS])
                        for begin in range(0, len(rows), _PAIRS)
                    ]
                )
                linked.link(leader[equal], rows[equal])
                rows, group = rows[~equal], group[~equal]
    buckets.remove()


def _link_predefined(labels: _Labels, linked: Components) -> None:
    """Link sequences of the same predefined group."""
    first = np.full(len(labels.names) + 1, len(labels.numbers), np.uint32)
    for link in (False, True):
        for begin in range(0, len(labels.numbers), _BLOCK_ROWS):
            number = labels.numbers[begin : begin + _BLOCK_ROWS]
            rows = np.flatnonzero(number < len(labels.names))
            number, rows = number[rows], (rows + begin).astype(np.uint32)
            if link:
                linked.link(first[number], rows)
            else:
                np.minimum.at(first, number, rows)


def _link_kmers(text: Text, size: int, distinct: np.ndarray, linked: Components, folder: Path | None) -> None:
    """Link those of some sequences that share a k-mer on either strand."""
    counts = _lengths(text, distinct)
    total = int((counts * np.maximum(np.arange(len(counts)) - size + 1, 0)).sum())
    parts = total // _KMERS + 1
    buckets = Buckets(parts, 2, folder / "kmers" if folder else None)  # k-mers and their rows
    for begin in range(0, len(text), _ROWS):
        rows = np.flatnonzero(distinct[begin : begin + _ROWS]) + begin
        if len(rows):
            key, row = _kmers(text.series(rows), size)
            part = (key % np.uint64(parts)).astype(np.uint32)
            order, bounds = np.argsort(part, kind="stable"), np.concatenate([[0], np.cumsum(np.bincount(part, minlength=parts))])
            buckets.add(0, key[order], bounds)
            buckets.add(1, rows[row[order]], bounds)
    buckets.finish()
    for bucket in range(parts):
        key, row = (buckets.entries(kind, bucket) for kind in (0, 1))
        order = np.argsort(key, kind="stable")
        key, row = key[order], row[order]
        same = key[1:] == key[:-1]
        linked.link(row[:-1][same], row[1:][same])
    buckets.remove()


def clusters(table: pl.DataFrame, inserts: pl.Series, max_edits: int, kmer: int = 0, threads: int = 1) -> pl.Series:
    """Return the name of the cluster of each promoter, as `named_clusters`.

    Parameters
    ----------
    table
        Promoter table: ``sequence`` and ``group``.
    inserts
        Sequences of the table without flanks.
    max_edits, kmer, threads
        As for `groups`.
    """
    return named_clusters(canonical_sequences(inserts), table["group"], max_edits, kmer, threads)["cluster"]


def named_clusters(canonical: pl.Series, group: pl.Series | None, max_edits: int, kmer: int = 0, threads: int = 1) -> pl.DataFrame:
    """Cluster promoters: near-duplicates (`groups`), joined with promoters of the same predefined group.

    A cluster is named after its alphabetically first group or, without groups, after its first insert or reverse complement. The name
    therefore depends neither on other clusters nor on the order of rows.

    Parameters
    ----------
    canonical
        The alphabetically first of each insert and its reverse complement (`scaffold.canonical_sequences`).
    group
        Names of predefined groups; null for none.
    max_edits, kmer, threads
        As for `groups`.

    Returns
    -------
    polars.DataFrame
        ``cluster``, the name, and ``first``, the row of the first promoter of the cluster, uint32.
    """
    return pl.concat(find_clusters(Text.of(canonical), group, max_edits, kmer, threads).blocks())


@dataclass(frozen=True)
class Clusters:
    """Clusters of near-duplicates, as `named_clusters` describes them, of sequences in memory or in files.

    Parameters
    ----------
    text
        Inserts, the alphabetically first of both strands.
    first
        Row of the first promoter of each promoter's cluster, uint32.
    sizes
        Promoters of the cluster of each first promoter, uint32; otherwise 0.
    """

    text: Text
    first: np.ndarray
    sizes: np.ndarray
    _named: np.ndarray  # row of the insert that names the cluster of each first promoter
    _labels: _Labels | None
    _smallest: np.ndarray | None  # number of the label that names the cluster of each first promoter

    def blocks(self) -> Iterator[pl.DataFrame]:
        """Yield the table that `named_clusters` returns, some hundred thousand rows at a time."""
        for begin in range(0, max(1, len(self.first)), _BLOCK_ROWS):
            first = self.first[begin : begin + _BLOCK_ROWS]
            names = self.text.series(self._named[first])
            if self._labels is not None and self._smallest is not None:
                number = pl.Series(self._smallest[first])
                given = self._labels.names.gather(number.set(number == len(self._labels.names), None))
                names = given.zip_with(given.is_not_null(), names)
            yield pl.DataFrame({"cluster": names, "first": first})

    def table(self, folder: Path | None = None) -> pl.LazyFrame:
        """Return all blocks, from files of a folder or from memory."""
        if folder is None:
            return pl.concat(self.blocks()).lazy()
        paths = []
        for number, block in enumerate(self.blocks()):
            paths.append(folder / f"clusters-{number}.parquet")
            files.write_part(paths[-1], block)
        return pl.scan_parquet(paths, glob=False)

    def note(self, ledger: Ledger) -> None:
        """Record how many clusters there are, and how large."""
        ledger.note("clusters", int((self.sizes > 0).sum()))
        ledger.note("promoters in clusters of two or more", int(self.sizes[self.sizes > 1].sum()))
        ledger.note("promoters of the largest cluster", int(self.sizes.max()))


def find_clusters(
    text: Text, group: pl.Series | None, max_edits: int, kmer: int = 0, threads: int = 1, folder: Path | None = None
) -> Clusters:
    """Cluster promoters, as `named_clusters`, without the sequences in memory.

    Parameters
    ----------
    text
        The alphabetically first of each insert and its reverse complement.
    group
        Names of predefined groups, as strings or as an enumeration in alphabetical order; null for none.
    max_edits, kmer, threads
        As for `groups`.
    folder
        For files; None to hold all in memory.
    """
    labels = None if group is None else _Labels.of(group)
    first = _groups(text, max_edits, kmer, labels, threads, folder)
    blocks = [slice(begin, begin + _BLOCK_ROWS) for begin in range(0, len(first), _BLOCK_ROWS)]
    sizes, named = np.zeros(len(first), np.uint32), np.arange(len(first), dtype=np.uint32)
    smallest = None if labels is None else np.full(len(first), len(labels.names), np.uint32)
    for block in blocks:
        np.add.at(sizes, first[block], np.uint32(1))
        if labels is not None and smallest is not None:
            np.minimum.at(smallest, first[block], labels.numbers[block])
    for block in blocks:
        leads = first[block]
        rows = np.flatnonzero(leads != np.arange(block.start, block.start + len(leads)))
        if labels is not None and smallest is not None:
            rows = rows[smallest[leads[rows]] == len(labels.names)]
        leads, rows = leads[rows], (rows + block.start).astype(np.uint32)
        known = np.unique(leads)
        table = pl.DataFrame({"first": np.concatenate([known, leads]), "row": np.concatenate([named[known], rows])})
        table = table.with_columns(insert=text.series(table["row"].to_numpy()))
        best = table.sort("first", "insert", maintain_order=True).unique("first", keep="first", maintain_order=True)
        named[best["first"].to_numpy()] = best["row"].to_numpy()
    return Clusters(text, first, sizes, named, labels, smallest)


def overlaps(library: pl.Series, others: pl.Series, max_edits: int, threads: int = 1, either_strand: bool = True) -> pl.DataFrame:
    """Return the sequences of a library that are within ``max_edits`` of a sequence of another set, on either strand or on the same.

    Returns
    -------
    polars.DataFrame
        ``library`` and ``other`` (row indices) and ``distance`` (Levenshtein distance on the closer strand) of each such pair, sorted.
    """
    blocks = [np.empty((0, 3), np.int64)]
    if len(library) and len(others):
        both = pl.concat([others, reverse_complement_sequences(others)]) if either_strand else others
        texts = Text.of(library), Text.of(both)
        for join in _joins_between(*texts, max_edits, threads):
            sides = np.zeros(len(join.rows_a), np.int64), np.ones(len(join.rows_b), np.int64)  # only pairs between both sets are candidates
            for a, b in candidates(join, *sides):
                b = b - len(library)
                distance = distances(texts[0].take(a), texts[1].take(b), max_edits, threads)
                near = distance <= max_edits
                blocks.append(np.column_stack([a, b % len(others), distance])[near])
    pairs = pl.DataFrame(np.concatenate(blocks), schema={"library": pl.Int64, "other": pl.Int64, "distance": pl.Int64})
    return pairs.group_by("library", "other").agg(pl.col("distance").min()).sort("library", "other")


def find_overlaps(
    library: Iterable[pl.Series],
    others: Mapping[str, pl.Series],
    inserts: Callable[[pl.Series], pl.Series],
    max_edits: int,
    threads: int = 1,
) -> pl.DataFrame:
    """Return the near-duplicates of a library's promoters in other sets of promoters, columns `OVERLAPS`.

    Parameters
    ----------
    library, others
        Promoters of the library, in parts of any size, and of each other set by name.
    inserts
        Function that removes flanks.
    max_edits, threads
        As for `overlaps`.
    """
    tables: dict[str, list[pl.DataFrame]] = {name: [] for name in others}
    of_others = {name: inserts(sequences) for name, sequences in others.items()}
    for part in library if others else []:
        mine = inserts(part)
        for name, theirs in of_others.items():
            pairs = overlaps(mine, theirs, max_edits, threads)
            a, b = pairs["library"], pairs["other"]
            columns = {"sequence": compact(part[a]), "other": others[name][b], "equal": mine[a] == theirs[b]}
            tables[name].append(pairs.select(pl.lit(name).alias("dataset"), "distance", **columns).cast(OVERLAPS))  # type: ignore[arg-type]
    return pl.concat([pl.DataFrame(schema=OVERLAPS), *(table for parts in tables.values() for table in parts)])


def nearest(
    sequences: pl.Series,
    library: pl.Series,
    max_edits: int,
    kmer: int = 12,
    candidates_each: int = 1000,
    threads: int = 1,
    before: pl.Series | None = None,
) -> pl.DataFrame:
    """Find the nearest library sequence of each sequence, on either strand.

    The search within ``max_edits`` is exhaustive (`overlaps`). Beyond that it is heuristic: candidates share k-mers of ``kmer`` bp, or of
    half of the library's usual length (at least 4 bp) if that is less. For each sequence, its rarest k-mers in the library are used until
    they yield ``candidates_each`` candidates, and the 50 that share most of these k-mers are compared. A distance above ``max_edits`` is
    therefore an upper bound; unrelated inserts of 80 bp differ by about 35 edits.

    Parameters
    ----------
    sequences, library
        Inserts.
    max_edits, kmer, candidates_each
        See above.
    threads
        Number of threads for comparing sequences.
    before
        Distances to other parts of the library, null if unknown. Sequences within ``max_edits`` of those are not searched beyond.

    Returns
    -------
    polars.DataFrame
        A row per sequence: ``distance`` (Levenshtein) and ``library`` (row index), null if no candidate was found.
    """
    size = len(sequences)
    best, where = np.full(size, np.iinfo(np.int64).max), np.full(size, -1)

    def update(rows: np.ndarray, library_rows: np.ndarray, distance: np.ndarray) -> None:
        order = np.lexsort((library_rows, distance, rows))
        rows, library_rows, distance = rows[order], library_rows[order], distance[order]
        first = np.flatnonzero(np.diff(rows, prepend=-1))
        rows, library_rows, distance = rows[first], library_rows[first], distance[first]
        nearer = distance < best[rows]
        best[rows[nearer]], where[rows[nearer]] = distance[nearer], library_rows[nearer]

    if size and len(library):
        kmer = min(kmer, max(4, int(library.str.len_bytes().median()) // 2))  # type: ignore[arg-type]
        pairs = overlaps(library, sequences, max_edits, threads)
        if pairs.height:
            update(pairs["other"].to_numpy(), pairs["library"].to_numpy(), pairs["distance"].to_numpy())
        beyond = best > max_edits
        if before is not None:
            beyond &= (before.fill_null(max_edits + 1) > max_edits).to_numpy()
        far = np.flatnonzero(beyond)
        for begin in range(0, len(far), _FAR):
            rows = far[begin : begin + _FAR]
            a, b = _sharing(sequences[rows], library, kmer, candidates_each)
            if len(a):
                mine, theirs = sequences[rows[a]], library[b]
                limit = max(len(sequence) for sequence in (*mine, *theirs))
                distance = np.minimum(
                    distances(mine, theirs, limit, threads), distances(reverse_complement_sequences(mine), theirs, limit, threads)
                )
                update(rows[a], b, distance.astype(np.int64))
    known = where >= 0
    return pl.DataFrame({"distance": best, "library": where}, schema={"distance": pl.Int64, "library": pl.Int64}).select(
        pl.when(pl.Series(known)).then(pl.all())
    )


def find_nearest(
    training: Iterable[pl.Series],
    scored: Mapping[str, pl.Series],
    inserts: Callable[[pl.Series], pl.Series],
    max_edits: int,
    threads: int = 1,
) -> pl.DataFrame:
    """Return the nearest training promoter of each promoter of several data sets, columns `NEAREST`.

    Of equally near ones it is the first, except that the search beyond ``max_edits`` is heuristic (`nearest`).

    Parameters
    ----------
    training, scored
        Training promoters, in parts of any size that are searched one after the other, and the promoters of each data set by name.
    inserts
        Function that removes flanks.
    max_edits, threads
        As for `nearest`.
    """
    texts = {name: inserts(sequences) for name, sequences in scored.items()}
    found = {
        name: pl.DataFrame({"dataset": [name]}, schema={"dataset": pl.String})
        .select(pl.col("dataset").repeat_by(len(sequences)).explode(empty_as_null=False))
        .with_columns(sequences.alias("sequence"), distance=pl.lit(None, pl.Int64), nearest=pl.lit(None, pl.String))
        for name, sequences in scored.items()
    }
    for part in training:
        library = inserts(part)
        for name, table in found.items():
            near = nearest(texts[name], library, max_edits, threads=threads, before=table["distance"])
            nearer = near["distance"] < table["distance"].fill_null(np.iinfo(np.int64).max)
            found[name] = table.with_columns(
                distance=near["distance"].zip_with(nearer.fill_null(False), table["distance"]),
                nearest=part.gather(near["library"]).zip_with(nearer.fill_null(False), table["nearest"]),
            )
    return pl.concat([pl.DataFrame(schema=NEAREST), *found.values()])


def _sharing(sequences: pl.Series, library: pl.Series, kmer: int, candidates_each: int) -> tuple[np.ndarray, np.ndarray]:
    """Return pairs (sequence, library) that share rare k-mers, at most 50 per sequence."""
    mine, of = _kmers(sequences, kmer)
    table = pl.DataFrame({"piece": mine, "row": of}).unique()
    pieces = table["piece"].unique()
    parts = []
    for begin in range(0, len(library), _ROWS):
        piece, row = _kmers(library[begin : begin + _ROWS], kmer)
        parts.append(pl.DataFrame({"piece": piece, "other": row + begin}).filter(pl.col("piece").is_in(pieces.implode())))
    places = pl.concat(parts).unique()
    counts = places.group_by("piece").agg(number=pl.len().cast(pl.Int64))
    rarest = (
        table.join(counts, on="piece")
        .sort("row", "number", "piece")
        .with_columns(before=pl.col("number").cum_sum().over("row") - pl.col("number"))
        .filter((pl.col("before") < candidates_each) & ((pl.col("before") == 0) | (pl.col("number") <= candidates_each)))
    )
    pairs = rarest.join(places, on="piece").group_by("row", "other").agg(shared=pl.len())
    pairs = pairs.sort("row", "shared", "other", descending=[False, True, False]).group_by("row", maintain_order=True).head(50)
    return pairs["row"].to_numpy(), pairs["other"].to_numpy()


def by_distance(overlaps: pl.DataFrame, datasets: Sequence[str], max_edits: int) -> pl.DataFrame:
    """Return, for each data set and distance, the number of its promoters whose nearest library promoter is at that distance.

    The table also gives the number of these library promoters.

    Parameters
    ----------
    overlaps
        Table with the columns `OVERLAPS`.
    datasets
        All data sets, so that those without overlaps are listed too.
    max_edits
        Maximum distance.
    """
    every = pl.DataFrame({"dataset": datasets}, schema={"dataset": pl.String}).join(
        pl.DataFrame({"distance": range(max_edits + 1)}, schema={"distance": pl.Int64}), how="cross"
    )
    counted = every
    for column, of in (("promoters", "other"), ("library_promoters", "sequence")):
        nearest = overlaps.group_by("dataset", of).agg(pl.col("distance").min()).group_by("dataset", "distance").agg(pl.len().alias(column))
        counted = counted.join(nearest, on=["dataset", "distance"], how="left", maintain_order="left")
    return counted.fill_null(0)


def _kmers(sequences: pl.Series, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Return k-mers as integers (the smaller of both strands) and the row of each, without k-mers of low complexity or with N.

    A k-mer has low complexity if seven tenths of its bases equal the base 1, 2 or 3 positions before.
    """
    widest = int(sequences.str.len_bytes().max())  # type: ignore[arg-type]
    places = widest - size + 1
    if places < 1:
        return np.empty(0, np.uint64), np.empty(0, np.int64)
    tokens = tokenize(sequences, widest)
    forward, backward = np.zeros((len(tokens), places), np.uint64), np.zeros((len(tokens), places), np.uint64)
    for index in range(size):
        base = tokens[:, index : index + places].astype(np.uint64) & np.uint64(3)
        forward = forward << np.uint64(2) | base
        backward |= (np.uint64(3) - base) << np.uint64(2 * index)

    def count(of: np.ndarray, width: int) -> np.ndarray:
        running = np.pad(np.cumsum(of, axis=1, dtype=np.int16), ((0, 0), (1, 0)))
        return running[:, width : width + places] - running[:, :places]

    useful = count(tokens == 4, size) == 0
    for period in (1, 2, 3):
        useful &= count(tokens[:, period:] == tokens[:, :-period], size - period) < 0.7 * (size - period)
    row, place = np.nonzero(useful)
    return np.minimum(forward, backward)[row, place], row
