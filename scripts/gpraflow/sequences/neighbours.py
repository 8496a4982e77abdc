"""Near-duplicate sequences: exact search for pairs within a few edits, without comparing all pairs.

Of two sequences within k edits, one of k + 1 segments of either occurs in the other exactly, shifted by a few positions (pigeonhole
principle; shifts as in Pass-Join, Li et al. 2011, doi:10.14778/2078331.2078340). Sequences are grouped by hashes of such segments, and
only sequences of the same group are compared.

For large libraries the memory needed is that of the sequences once and of some hashes of all of them: reverse complements and segments
are computed in blocks of sequences, and groups are processed in parts that do not divide a group.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import pairwise

import numpy as np
import polars as pl
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from gpraflow.sequences.scaffold import canonical_sequences, compact, reverse_complement_sequences, tokenize

_PAIRS = 1_000_000  # candidate pairs compared at a time
_BLOCK_ROWS = 500_000  # sequences whose segments are computed at a time
_GROUPED = 4_000_000  # sequences in the groups of a join, unless one group has more
_SEARCHES = 2  # segments searched at a time; each needs some 40 bytes a sequence
_LARGE = 40_000_000  # sequences from which on one segment is searched at a time
_KMERS = 40_000_000  # k-mers processed at a time
_ROWS = 100_000  # sequences whose k-mers are computed at a time
_FAR = 20_000  # distant sequences processed at a time in the search for the nearest
# Nearest training promoter of each promoter of a data set, and the edits between their inserts; null if there is none nearby.
NEAREST = {"dataset": pl.String, "sequence": pl.String, "distance": pl.Int64, "nearest": pl.String}
# Near-duplicate pairs of a library promoter (`sequence`) and a promoter of an independent data set (`other`). `equal`: identical inserts
# on the same strand.
OVERLAPS = {"dataset": pl.String, "distance": pl.Int64, "sequence": pl.String, "other": pl.String, "equal": pl.Boolean}


@dataclass(frozen=True)
class Join:
    """Sequences a and b of the same group share a segment; ``reverse_complemented``: the segment is on the reverse complement of a.

    Rows and groups are uint32.
    """

    rows_a: np.ndarray
    group_a: np.ndarray
    rows_b: np.ndarray
    group_b: np.ndarray
    reverse_complemented: bool


def shared_segments(sequences: pl.Series, max_edits: int, either_strand: bool = False, threads: int = 1) -> Iterator[Join]:
    """Yield joins such that any two sequences within ``max_edits`` (Levenshtein distance) are in the same group of at least one join.

    With ``either_strand`` this also holds for the distance between one sequence and the reverse complement of the other. Two segments
    are searched at a time, if there are threads; of a library of many million sequences one, for the sake of memory.
    """
    if not len(sequences):
        return
    length = sequences.str.len_bytes().to_numpy()
    number = max_edits + 1
    long, short = int(np.quantile(length, 0.01)) // number, int(length.min()) // number
    passes = [(np.flatnonzero(length >= number * long), long)]
    if short < long:  # a few short sequences must not shorten the segments of all others
        passes.append((np.flatnonzero(length < number * long + max_edits), short))
    del length
    with ThreadPoolExecutor(1 if len(sequences) > _LARGE else min(threads, _SEARCHES)) as pool:
        for rows, size in passes:
            text, rows = (sequences if len(rows) == len(sequences) else sequences[rows]), rows.astype(np.uint32)
            for joins in pool.map(partial(_segment_joins, rows, text, either_strand, size, max_edits), range(number)):
                yield from joins


def _segment_joins(rows: np.ndarray, text: pl.Series, either_strand: bool, size: int, max_edits: int, segment: int) -> list[Join]:
    """Return the joins by one of the ``max_edits + 1`` segments of ``text``, at all shifts of either strand."""
    offset, most = _segment(segment, size, max_edits)
    shifts = range(-most, most + 1)
    keys = _keys(text, [offset + shift for shift in shifts], size)
    key = keys[most]
    joins = list(_parts(*_repeated(rows, key), reverse_complemented=False))
    for other in keys[:most] + keys[most + 1 :]:
        joins += _parts(*_common(rows, other, rows, key), reverse_complemented=False)
    if either_strand:
        del keys
        for other in _keys(text, [offset + shift for shift in shifts], size, reverse_complemented=True):
            joins += _parts(*_common(rows, other, rows, key), reverse_complemented=True)
    return joins


def _keys(sequences: pl.Series, offsets: Sequence[int], size: int, reverse_complemented: bool = False) -> list[np.ndarray]:
    """Return hashes of the segments at some offsets, uint64 ``(rows,)`` for each; collisions only add candidates."""
    keys = [np.empty(len(sequences), np.uint64) for _ in offsets]
    for begin in range(0, len(sequences), _BLOCK_ROWS):
        block = sequences[begin : begin + _BLOCK_ROWS]
        if reverse_complemented:
            block = reverse_complement_sequences(block)
        for key, offset in zip(keys, offsets, strict=True):
            key[begin : begin + len(block)] = block.str.slice(offset, size).hash().to_numpy()
    return keys


_Groups = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  # rows and groups of a, and of b; groups in the order of their hashes


def _repeated(rows: np.ndarray, key: np.ndarray) -> _Groups:
    again = distinct_hashes(key, repeated=True)
    several = has_hash(key, again)
    group = np.searchsorted(again, key[several]).astype(np.uint32)
    return rows[several], group, rows[several], group


def _common(rows_a: np.ndarray, key_a: np.ndarray, rows_b: np.ndarray, key_b: np.ndarray) -> _Groups:
    # Most keys have no partner. A lookup table with one byte per key prefix excludes them without sorting.
    bits = np.uint64(64 - max(10, int(max(len(rows_a), len(rows_b)) * 4).bit_length()))
    seen = np.zeros(1 << (64 - int(bits)), bool)
    seen[key_b >> bits] = True
    some_a = np.flatnonzero(seen[key_a >> bits])
    seen[:] = False
    seen[key_a[some_a] >> bits] = True
    some_b = np.flatnonzero(seen[key_b >> bits])
    key_a, key_b = key_a[some_a], key_b[some_b]
    common = np.intersect1d(distinct_hashes(key_a), distinct_hashes(key_b), assume_unique=True)
    has_a, has_b = has_hash(key_a, common), has_hash(key_b, common)
    group_a, group_b = (np.searchsorted(common, key).astype(np.uint32) for key in (key_a[has_a], key_b[has_b]))
    return rows_a[some_a[has_a]], group_a, rows_b[some_b[has_b]], group_b


def _parts(rows_a: np.ndarray, group_a: np.ndarray, rows_b: np.ndarray, group_b: np.ndarray, reverse_complemented: bool) -> Iterator[Join]:
    """Yield joins of some groups each, none if there are none."""
    number = -(-max(len(rows_a), len(rows_b)) // _GROUPED)
    if number <= 1:
        if number:
            yield Join(rows_a, group_a, rows_b, group_b, reverse_complemented)
        return
    bounds = np.linspace(0, int(group_a.max()) + 1, number + 1).astype(np.int64)
    for low, high in pairwise(bounds):
        a, b = (np.flatnonzero((group >= low) & (group < high)) for group in (group_a, group_b))
        if len(a):
            yield Join(rows_a[a], group_a[a], rows_b[b], group_b[b], reverse_complemented)


def _joins_between(library: pl.Series, others: pl.Series, max_edits: int, threads: int) -> Iterator[Join]:
    """Yield joins such that a library sequence and another one within ``max_edits`` are in the same group of at least one join.

    The library is cut into segments, and the other sequences, which are usually fewer, are searched at all shifts. Their rows are counted
    from the end of the library.
    """
    length = library.str.len_bytes().to_numpy()
    number = max_edits + 1
    size = int(np.quantile(length, 0.01)) // number
    some = length < number * size  # a few short sequences must not shorten the segments of all others
    passes = [(np.flatnonzero(~some), size)] + ([(np.flatnonzero(some), int(length.min()) // number)] if some.any() else [])
    places = (len(library) + np.arange(len(others))).astype(np.uint32)

    def join(rows: np.ndarray, text: pl.Series, size: int, segment: int) -> list[Join]:
        offset, most = _segment(segment, size, max_edits)
        shifted = _keys(others, [offset + shift for shift in range(-most, most + 1)], size)
        (key,) = _keys(text, [offset], size)
        return list(_parts(*_common(rows, key, np.tile(places, len(shifted)), np.concatenate(shifted)), reverse_complemented=False))

    with ThreadPoolExecutor(min(threads, _SEARCHES)) as pool:
        for rows, size in passes:
            text = library if len(rows) == len(library) else library[rows]
            for joins in pool.map(partial(join, rows.astype(np.uint32), text, size), range(number)):
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


def candidates(join: Join, label: np.ndarray, leaders_only: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield pairs (a, b) of one group where a has the smaller label; with ``leaders_only``, a is the member with the smallest label."""
    scale = len(label) + 1
    place_a, place_b = join.group_a.astype(np.int64) * scale + label[join.rows_a], join.group_b.astype(np.int64) * scale
    order = np.argsort(place_a)
    place_a, rows_a, rows_b = place_a[order], join.rows_a[order], join.rows_b
    begin = np.searchsorted(place_a, place_b)
    end = np.searchsorted(place_a, place_b + label[rows_b])
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


def distances(a: pl.Series, b: pl.Series, max_edits: int, threads: int = 1) -> np.ndarray:
    """Return the Levenshtein distance between ``a[i]`` and ``b[i]``; ``max_edits + 1`` for all larger distances."""
    return process.cpdist(a.to_list(), b.to_list(), scorer=Levenshtein.distance, score_cutoff=max_edits, workers=threads)


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
    return _groups(canonical_sequences(sequences), max_edits, kmer, predefined, threads)


def _groups(canonical: pl.Series, max_edits: int, kmer: int, predefined: pl.Series | None, threads: int) -> np.ndarray:
    """Return what `groups` does, from the alphabetically first of each sequence and its reverse complement."""
    same = _first_rows(canonical)
    first = np.flatnonzero(same == np.arange(len(same)))
    distinct = canonical if len(first) == len(canonical) else canonical[first]
    number = np.empty(len(same), np.int64)
    number[first] = np.arange(len(first))
    number = number[same]
    label = np.arange(len(first))
    edges = [np.empty((0, 2), np.int64)]
    if predefined is not None and predefined.null_count() < len(predefined):
        members = pl.DataFrame({"number": number, "predefined": predefined}).drop_nulls()
        edges.append(members.select("number", leader=pl.col("number").first().over("predefined")).unique(maintain_order=True).to_numpy())
    if kmer:
        edges.append(_shared_kmers(distinct, kmer))
    label = _components(edges, label)
    if max_edits:
        joins = list(shared_segments(distinct, max_edits, True, threads))
        # Most sequences are neighbours of the first one with the same segment; that round leaves few for the exhaustive one. Each round
        # orders pairs by the labels at its start, so that every pair is compared even if labels change meanwhile.
        for leaders_only in (True, False):
            fixed = label
            for join in joins:
                for a, b in candidates(join, fixed, leaders_only):
                    apart = label[a] != label[b]
                    a, b = a[apart], b[apart]
                    others = reverse_complement_sequences(distinct[a]) if join.reverse_complemented else distinct[a]
                    near = distances(others, distinct[b], max_edits, threads) <= max_edits
                    if near.any():
                        edges.append(np.column_stack([a[near], b[near]]))
                        label = _components(edges, label)
    return first[label[number]]


def _first_rows(sequences: pl.Series) -> np.ndarray:
    """Return the first row with the same sequence, for each row, int64."""
    (key,) = _keys(sequences, [0], int(sequences.str.len_bytes().max() or 0))  # type: ignore[arg-type]
    rows, first = np.flatnonzero(has_hash(key, distinct_hashes(key, repeated=True))), np.arange(len(sequences))
    first[rows] = pl.DataFrame({"s": sequences[rows], "row": rows}).select(pl.col("row").first().over("s")).to_series()
    return first


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
    first = _groups(canonical, max_edits, kmer, group, threads)
    several = np.bincount(first, minlength=len(first))[first] > 1
    if group is not None:
        several |= group.is_not_null().to_numpy()
    rows = np.flatnonzero(several)  # others are named after their own insert
    groups_of = pl.repeat(None, len(rows), dtype=pl.String, eager=True) if group is None else group[rows]
    named = pl.DataFrame({"first": first[rows], "insert": canonical[rows], "group": groups_of})
    smallest = (pl.col(name).min().over("first") for name in ("group", "insert"))
    names = named.select(pl.coalesce(*smallest)).to_series()
    parts = [pl.Series([], dtype=pl.String)]
    for begin in range(0, len(first), _BLOCK_ROWS):
        low, high = np.searchsorted(rows, (begin, begin + _BLOCK_ROWS))
        parts.append(canonical[begin : begin + _BLOCK_ROWS].scatter(rows[low:high] - begin, names[low:high]))
    return pl.DataFrame({"cluster": pl.concat(parts), "first": first.astype(np.uint32)})


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
        side = np.repeat([0, 1], [len(library), len(both)])  # labels: only pairs between the two sets are candidates
        for join in _joins_between(library, both, max_edits, threads):
            for a, b in candidates(join, side, leaders_only=False):
                b = b - len(library)
                distance = distances(library[a], both[b], max_edits, threads)
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
    sequences: pl.Series, library: pl.Series, max_edits: int, kmer: int = 12, candidates_each: int = 1000, threads: int = 1
) -> pl.DataFrame:
    """Find the nearest library sequence of each sequence, on either strand.

    The search within ``max_edits`` is exhaustive (`overlaps`). Beyond that it is heuristic: candidates share k-mers of ``kmer`` bp, or of
    half of the library's usual length (at least 4 bp) if that is less. For each sequence, its rarest k-mers in the library are used until
    they yield ``candidates_each`` candidates, and the 50 that share most of these k-mers are compared. A distance above ``max_edits`` is
    therefore an upper bound; unrelated inserts of 80 bp differ by about 35 edits.

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
        far = np.flatnonzero(best > max_edits)
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
    training: pl.Series,
    scored: Mapping[str, pl.Series],
    inserts: Callable[[pl.Series], pl.Series],
    max_edits: int,
    threads: int = 1,
) -> pl.DataFrame:
    """Return the nearest training promoter of each promoter of several data sets, columns `NEAREST`.

    Parameters
    ----------
    training, scored
        Training promoters, and the promoters of each data set by name.
    inserts
        Function that removes flanks.
    max_edits, threads
        As for `nearest`.
    """
    parts = [pl.DataFrame(schema=NEAREST)]
    library = inserts(training)
    for name, sequences in scored.items():
        near = nearest(inserts(sequences), library, max_edits, threads=threads)
        near = near.with_columns(dataset=pl.lit(name), sequence=sequences, nearest=training.gather(near["library"]))
        parts.append(near.select(list(NEAREST)))
    return pl.concat(parts)


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


def _components(edges: list[np.ndarray], label: np.ndarray) -> np.ndarray:
    """Return the smallest connected node of each node; ``edges`` are combined into one array."""
    edges[:] = [np.concatenate(edges)]
    nodes, place = np.unique(edges[0], return_inverse=True)
    place = place.reshape(-1, 2)
    from scipy import sparse  # local import: slow, and not needed for predictions

    links = sparse.coo_array((np.ones(len(place), bool), (place[:, 0], place[:, 1])), shape=(len(nodes), len(nodes)))
    number, of = sparse.csgraph.connected_components(links, directed=False)
    smallest = np.full(number, len(label))
    np.minimum.at(smallest, of, nodes)
    label = label.copy()
    label[nodes] = smallest[of]
    return label


def _shared_kmers(sequences: pl.Series, size: int) -> np.ndarray:
    """Return edges between sequences that share a k-mer on either strand."""
    length = sequences.str.len_bytes()
    total = int((length.cast(pl.Int64) - size + 1).clip(0).sum())
    parts = total // _KMERS + 1
    edges = [np.empty((0, 2), np.int64)]
    for part in range(parts):
        keys, rows = [], []
        for begin in range(0, len(sequences), _ROWS):
            key, row = _kmers(sequences[begin : begin + _ROWS], size)
            mine = key % np.uint64(parts) == part if parts > 1 else slice(None)
            keys.append(key[mine])
            rows.append(row[mine] + begin)
        key, row = np.concatenate(keys), np.concatenate(rows)
        order = np.argsort(key, kind="stable")
        key, row = key[order], row[order]
        same = (key[1:] == key[:-1]) & (row[1:] != row[:-1])
        edges.append(np.column_stack([row[:-1][same], row[1:][same]]))
    return np.concatenate(edges)


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
