"""Assign promoters to train, val and test splits, keeping clusters of near-duplicates together.

A library can be larger than memory: columns are read as they are needed, and what is kept of each promoter takes some 30 bytes.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters as formats_promoters
from gpraflow.sequences import parents
from gpraflow.sequences.scaffold import bytes_matrix

SPLITS = ("train", "val", "test")
LISTED = "split.test_sequences"  # data set name, in the table of overlaps, of the user's list of test sequences
NOT_DRAWN = "from train: not drawn for split.train_promoters"  # in the ledger
SEVERAL = "mutated positions assigned to several splits (split.method: positions)"  # in the ledger
DROPPED = -1  # in place of the index of a split
_QUANTILES = 5
_READS = {"1": (0, 1), "2 to 9": (2, 9), "10 to 99": (10, 99), "100 or more": (100, 2**62)}
_MOST_SOURCES = 20


class Clusters:
    """Clusters of a library's promoters.

    Attributes
    ----------
    first : numpy.ndarray
        Row of the first promoter of each promoter's cluster, uint32.
    heads : numpy.ndarray
        True for promoters that are the first of their cluster.
    """

    def __init__(self, table: pl.LazyFrame):
        """Take a table with the columns ``cluster``, the name, and ``first``; as rule `group_neighbours` writes it."""
        self._names = table.select("cluster")
        self.first = _column(table, pl.col("first").cast(pl.UInt32))
        self.heads = self.first == np.arange(len(self.first), dtype=np.uint32)

    @classmethod
    def named(cls, names: pl.Series) -> "Clusters":
        """Return clusters by the names of all promoters' clusters."""
        table = pl.DataFrame({"cluster": names}).with_row_index("first")
        return cls(table.with_columns(pl.col("first").first().over("cluster")).lazy())

    def sizes(self) -> np.ndarray:
        """Return the number of promoters of each cluster, in the order of their first promoters."""
        return np.bincount(self.first, minlength=len(self.first))[self.heads]

    def digests(self, seed: int, chosen: np.ndarray | None = None) -> np.ndarray:
        """Return a keyed hash of the name of each promoter's cluster, uint64; 0 where ``chosen``, of first promoters, is false."""
        found = np.zeros(len(self.first), np.uint64)
        for begin, block in formats_promoters.blocks(self._names):
            part = slice(begin, begin + block.height)
            some = np.flatnonzero(self.heads[part] if chosen is None else chosen[part])
            found[begin + some] = _digests(block["cluster"][some], seed)
        return found[self.first]

    def names(self, rows: np.ndarray) -> pl.Series:
        """Return the names of the clusters of a few promoters, which are given in ascending order."""
        parts = [pl.Series("cluster", [], pl.String)]
        for begin, block in formats_promoters.blocks(self._names):
            parts.append(block["cluster"][rows[np.searchsorted(rows, begin) : np.searchsorted(rows, begin + block.height)] - begin])
        return pl.concat(parts)


@dataclass(frozen=True)
class Assignment:
    """The splits of a library: ``of`` is the index of each promoter's split in ``names``, int8, or `DROPPED`."""

    table: pl.LazyFrame
    names: Sequence[str]
    of: np.ndarray
    clusters: Clusters

    def sizes(self) -> dict[str, int]:
        """Return the number of promoters in each split."""
        counts = np.bincount(self.of[self.of != DROPPED], minlength=len(self.names))
        return {name: int(count) for name, count in zip(self.names, counts, strict=True)}

    def part(self, name: str) -> pl.LazyFrame:
        """Return the promoters of one split, with its name in the column ``split``."""
        chosen = pl.LazyFrame({"_chosen": self.of == self.names.index(name)})
        return pl.concat([self.table, chosen], how="horizontal").filter("_chosen").drop("_chosen").with_columns(split=pl.lit(name))

    def parts(self) -> dict[str, pl.DataFrame]:
        """Return the promoters of all splits in memory."""
        return {name: self.part(name).collect() for name in self.names}


def _column(table: pl.LazyFrame, value: pl.Expr) -> np.ndarray:
    """Return a value of each row, computed without the whole table in memory."""
    return table.select(value).collect(engine="streaming").to_series().to_numpy()


def _digests(names: pl.Series, seed: int) -> np.ndarray:
    """Return a keyed hash of each name, uint64."""
    key = seed.to_bytes(8, "big", signed=False)
    return np.frombuffer(b"".join([hashlib.blake2b(name.encode(), digest_size=8, key=key).digest() for name in names]), ">u8")


def by_hash(clusters: Clusters, fractions: Mapping[str, float], seed: int) -> np.ndarray:
    """Assign clusters to splits by a keyed hash of their names.

    The split of a cluster depends only on its name, the seed and the fractions, so it does not change when rows are added.

    Parameters
    ----------
    clusters
        Clusters of the library.
    fractions
        Fraction of clusters in each split, in order.
    seed
        Key of the hash.

    Returns
    -------
    numpy.ndarray
        Index of each promoter's split in ``fractions``, int8.
    """
    return by_digest(clusters.digests(seed), fractions)


def by_digest(digests: np.ndarray, fractions: Mapping[str, float]) -> np.ndarray:
    """Return the index of the split of each hash of `Clusters.digests`, int8."""
    bounds = np.cumsum(list(fractions.values()))[:-1] / sum(fractions.values())
    return np.searchsorted(bounds, digests / 2.0**64, side="right").astype(np.int8)


def draw(clusters: Clusters, among: np.ndarray, promoters: int, seed: int, origin: str) -> np.ndarray:
    """Draw whole clusters at random, up to ``promoters`` promoters; smaller draws are subsets of larger ones.

    Parameters
    ----------
    clusters
        Clusters of the library.
    among
        Mask of the promoters to draw from.
    promoters, seed, origin
        As for `assign`.

    Returns
    -------
    numpy.ndarray
        Mask of the promoters drawn.

    Raises
    ------
    InputError
        If there are fewer promoters, or the first cluster alone exceeds ``promoters``.
    """
    total = int(among.sum())
    if promoters > total:
        raise InputError(f"{origin}: split.train_promoters is {promoters}, but train has {total} promoters; set it to 0 for all")
    sizes = np.bincount(clusters.first[among], minlength=len(among))
    digests = clusters.digests(randomness.derive(seed, "draw"), sizes > 0)
    order = np.flatnonzero(sizes)
    order = order[np.argsort(digests[order], kind="stable")]
    taken = order[np.cumsum(sizes[order]) <= promoters]
    if not len(taken):
        raise InputError(
            f"{origin}: the first cluster drawn has more promoters than split.train_promoters ({promoters}); set a larger number"
        )
    drawn = np.zeros(len(among), bool)
    drawn[taken] = True
    return drawn[clusters.first] & among


def by_column(table: pl.LazyFrame, labels: Mapping[str, str], origin: str) -> np.ndarray:
    """Return the user's own split, as an index in ``labels``; ``labels`` maps splits to their labels in the column ``split``.

    Raises
    ------
    InputError
        If the table has no such column, or a value is not a label in the config.
    """
    if table.select(pl.col("split").is_null().all()).collect().item():
        raise InputError(f"{origin}: split.method is column, but the table has no split column; set input.columns.split")
    index = {label: number for number, label in enumerate(labels.values())}
    found = _column(table, pl.col("split").replace_strict(index, default=DROPPED, return_dtype=pl.Int8).fill_null(DROPPED))
    wrong = np.flatnonzero(found == DROPPED)
    if len(wrong):
        value = table.select("split").slice(int(wrong[0]), 1).collect().item()
        raise InputError(
            f"{origin}, promoter {wrong[0] + 1}: split '{value}' is not one of {', '.join(labels.values())} "
            f"({len(wrong)} such rows); correct the column, or set split.names or split.labels"
        )
    return found


def _apart(of: np.ndarray, clusters: Clusters, names: Sequence[str], across: str, origin: str, ledger: Ledger) -> np.ndarray:
    """Return the splits of promoters, without those of clusters that span several splits, except in the last split."""
    rank = np.array([SPLITS.index(name) for name in names], np.int8)[of]
    first, last = np.full(len(of), len(SPLITS), np.int8), np.full(len(of), -1, np.int8)
    np.minimum.at(first, clusters.first, rank)
    np.maximum.at(last, clusters.first, rank)
    torn = np.flatnonzero(clusters.heads & (first < last))
    if len(torn) and across == "error":
        found = clusters.names(torn)
        alphabetical = int(found.arg_min() or 0)
        example, name = torn[alphabetical], found[alphabetical]
        spread = sorted(names[index] for index in np.unique(of[clusters.first == example]))
        raise InputError(
            f"{origin}: cluster '{name}' is in {' and '.join(spread)} ({len(torn)} such clusters): "
            "test promoters would leak into training; correct the split column, or set split.across: drop, or split.method: hash"
        )
    keep = rank == last[clusters.first]
    if len(torn):
        for index, name in enumerate(names):
            ledger.drop(f"from {name}: near-duplicate of a promoter of a later split", int((~keep & (of == index)).sum()))
    return np.where(keep, of, DROPPED)


def by_positions(sequences: pl.Series, fractions: Mapping[str, float], seed: int, origin: str, ledger: Ledger) -> np.ndarray:
    """Assign the mutants of one parent to splits by the positions of their mutations.

    The parent is the consensus of the library. The positions at which any variant differs from it are shuffled and divided among the
    splits. A variant belongs to the split that has all of its mutated positions, so that no two splits share a mutated position. The
    parent itself goes to the first split.

    Parameters
    ----------
    sequences
        Promoters, all of the same length.
    fractions
        Fraction of the mutated positions in each split, in order.
    seed
        Of the order of positions.
    origin
        Path of the table, for error messages.
    ledger
        Records variants with mutated positions of several splits, and the mutated positions.

    Returns
    -------
    numpy.ndarray
        Index of each promoter's split in ``fractions``, int8; `DROPPED` for variants with mutated positions of several splits.

    Raises
    ------
    InputError
        If sequences differ in length, or are not variants of one parent: no base has a majority at some position.
    """
    lengths = sequences.str.len_bytes()
    usual = int(lengths.mode().min())  # type: ignore[arg-type]
    if lengths.n_unique() > 1:
        row = int((lengths != usual).arg_max() or 0)
        raise InputError(
            f"{origin}, promoter {row + 1}: {lengths[row]} bp long with flanks, but most are {usual} bp ({(lengths != usual).sum()} such "
            "promoters); split.method: positions needs equal lengths: set scaffold.insert_length to the usual one and "
            "scaffold.outside_length: drop"
        )
    parent = parents.consensus(sequences, pl.repeat("parent", len(sequences), eager=True))[0]
    if parent is None:
        raise InputError(
            f"{origin}: at some position no base occurs in more than half of the promoters, so they are not mutants of one parent; "
            "set split.method: hash"
        )
    mutated = bytes_matrix(sequences) != np.frombuffer(parent.encode(), np.uint8)
    positions = randomness.generator(seed, "positions").permutation(np.flatnonzero(mutated.any(axis=0)))
    bounds = np.rint(np.cumsum(list(fractions.values()))[:-1] / sum(fractions.values()) * len(positions)).astype(np.int64)
    of_split = np.stack([mutated[:, part].any(axis=1) for part in np.split(positions, bounds)], axis=1)
    several = of_split.sum(axis=1) > 1
    ledger.drop(SEVERAL, int(several.sum()))
    for name, part in zip(fractions, np.split(positions, bounds), strict=True):
        ledger.note(f"mutated positions assigned to {name}", len(part))
    return np.where(several, DROPPED, of_split.argmax(axis=1)).astype(np.int8)


def by_list(
    table: pl.LazyFrame, overlaps: pl.DataFrame, clusters: Clusters, fractions: Mapping[str, float], seed: int, origin: str
) -> np.ndarray:
    """Assign promoters with listed inserts to the test split, and others to the other splits by hash (`by_hash`).

    Returns
    -------
    numpy.ndarray
        Index of each promoter's split in ``fractions``, int8.

    Raises
    ------
    InputError
        If no promoter has a listed insert.
    """
    listed = overlaps.filter(dataset=LISTED, equal=True)["sequence"]
    if not len(listed):
        raise InputError(f"{origin}: no sequence of split.test_sequences is in the library; check the file")
    names = list(fractions)
    others = [name for name in names if name != "test"]
    drawn = by_hash(clusters, {name: fractions[name] for name in others}, seed)
    index = np.array([names.index(name) for name in others], np.int8)
    return np.where(among(table, listed), np.int8(names.index("test")), index[drawn])


def among(table: pl.LazyFrame, sequences: pl.Series) -> np.ndarray:
    """Return which promoters are among some sequences."""
    if not len(sequences):
        return np.zeros(formats_promoters.rows(table), bool)
    return _column(table, pl.col("sequence").is_in(sequences.unique().implode()))


def _overlapping(
    table: pl.LazyFrame, of: np.ndarray, names: Sequence[str], overlaps: pl.DataFrame, independent: str, origin: str, ledger: Ledger
) -> np.ndarray:
    """Return the splits, without the train and val promoters that are near-duplicates of independent or listed promoters."""
    trained = {name: index for index, name in enumerate(names) if name in ("train", "val")}
    if (overlaps["dataset"] == LISTED).any():
        near = np.isin(of, list(trained.values())) & among(table, overlaps.filter(dataset=LISTED)["sequence"])
        for name in ("train", "val"):
            ledger.drop(f"from {name}: near-duplicate of a listed test sequence", int((near & (of == trained.get(name, len(names)))).sum()))
        others = overlaps.filter(pl.col("dataset") != LISTED)
        return _overlapping(table, np.where(near, DROPPED, of), names, others, independent, origin, ledger)
    near = np.isin(of, list(trained.values())) & among(table, overlaps["sequence"])
    if near.any():
        if independent == "error":
            sequence = table.select("sequence").slice(int(near.argmax()), 1).collect().item()
            example = overlaps.filter(sequence=sequence).row(0, named=True)
            raise InputError(
                f"{origin}: promoter '{example['sequence']}' is within {example['distance']} edits of a promoter of "
                f"'{example['dataset']}' ({near.sum()} such promoters in train and val); set neighbours.independent: drop or warn"
            )
        for name in ("train", "val"):
            what = f"from {name}: near-duplicate of a promoter of an independent set"
            (ledger.drop if independent == "drop" else ledger.note)(what, int((near & (of == trained.get(name, len(names)))).sum()))
    return np.where(near, DROPPED, of) if independent == "drop" else of


def assign(
    table: pl.LazyFrame,
    clusters: Clusters,
    *,
    method: Literal["hash", "column", "list", "positions"],
    names: Sequence[str],
    fractions: Mapping[str, float],
    labels: Mapping[str, str],
    across: Literal["drop", "error"],
    overlaps: pl.DataFrame,
    independent: Literal["drop", "warn", "error"],
    train_promoters: int,
    seed: int,
    origin: str,
    ledger: Ledger,
) -> Assignment:
    """Assign each promoter of a table to one split, or drop it and record that in the ledger.

    Splits can be empty; `split_checks.check` checks their sizes.

    Parameters
    ----------
    table
        Promoter table.
    clusters
        Clusters of the promoters. Clusters are not divided.
    method
        ``hash``: whole clusters by a seeded hash. ``column``: the table's own ``split``. ``list``: listed promoters form the test
        split; other members of their clusters, and near-duplicates, are dropped; the rest is assigned by hash. ``positions``: mutants of
        one parent by mutated positions (`by_positions`); clusters do not count.
    names
        Names of the splits.
    fractions
        Fraction of clusters in each split (``hash``), or of mutated positions (``positions``).
    labels
        Split -> its label in the column ``split`` of the table (``column``).
    across
        Clusters that span several splits: ``drop`` keeps their promoters in the last of ``train``, ``val``, ``test`` and drops them from
        earlier splits; ``error`` raises an error.
    overlaps
        Near-duplicates of promoters of independent data sets and of `LISTED` sequences (`neighbours.OVERLAPS`).
    independent
        Treatment of these overlaps: ``drop`` removes them from ``train`` and ``val``; ``warn`` counts them; ``error`` raises an error.
    train_promoters
        Maximum number of training promoters, drawn at random as whole clusters (`draw`), for learning curves; 0 for all.
    seed
        Key of the hash.
    origin
        Path of the table, for error messages.
    ledger
        Records dropped rows.

    Raises
    ------
    InputError
        If a cluster spans several splits and ``across`` is ``error``; if a promoter of ``train`` or ``val`` overlaps
        and ``independent`` is ``error``; or as `by_column`, `by_list` and `by_positions`.
    """
    shares = {name: fractions[name] for name in names}
    drawn_from = clusters
    if method == "hash":
        of = by_hash(clusters, shares, seed)
    elif method == "positions":
        sequences = table.select("sequence").collect().to_series()
        of = by_positions(sequences, shares, seed, origin, ledger)
        if train_promoters:
            drawn_from = Clusters.named(sequences)
    else:
        if method == "column":
            of = by_column(table, {name: labels[name] for name in names}, origin)
        else:
            of, across = by_list(table, overlaps, clusters, shares, seed, origin), "drop"
        of = _apart(of, clusters, names, across, origin, ledger)
    of = _overlapping(table, of, names, overlaps, independent, origin, ledger)
    if train_promoters:
        train = of == names.index("train")
        drawn = draw(drawn_from, train, train_promoters, seed, origin)
        ledger.drop(NOT_DRAWN, int(train.sum()) - int(drawn.sum()))
        of = np.where(train & ~drawn, DROPPED, of)
    assigned = Assignment(table, names, of.astype(np.int8), clusters)
    for name, size in assigned.sizes().items():
        ledger.note(f"assigned to {name}", size)
    return assigned


def summary(assigned: Assignment) -> pl.DataFrame:
    """Return the composition of the splits: number and share of promoters, overall and within subgroups of the library.

    Returns
    -------
    polars.DataFrame
        ``stratum`` (promoters, clusters, quintiles of expression, length, reads, singletons, sources), ``level``, ``split``, ``promoters``
        (number of clusters in the stratum "clusters") and ``share``, the fraction of the level that is in this split.
    """
    rows = np.flatnonzero(assigned.of != DROPPED)
    rows = rows[np.argsort(assigned.of[rows], kind="stable")]  # by split: the order decides between equal values of expression
    split = pl.Series("split", assigned.of[rows])

    def values(expression: pl.Expr) -> pl.Series:
        return assigned.table.select(expression).collect(engine="streaming").to_series()[rows]

    length = values(pl.col("sequence").str.len_bytes()).cast(pl.Int32)
    usual = int(length.mode().min())  # type: ignore[arg-type]
    sides = (length > usual).cast(pl.Int8) - (length < usual).cast(pl.Int8) + 1
    fifth = ((values(pl.col("expression")).rank("ordinal").cast(pl.Int64) - 1) * _QUANTILES // max(1, len(rows))).cast(pl.Int8)
    number = pl.col("n_reads")
    reads = [pl.when(number.is_between(low, high)).then(pl.lit(index, pl.Int8)) for index, (low, high) in enumerate(_READS.values())]
    strata = {
        "expression": (fifth, [f"fifth {index + 1}" for index in range(_QUANTILES)]),
        "length": (sides, ["shorter", f"{usual} bp", "longer"]),
        "reads": (values(pl.coalesce(reads)), list(_READS)),
        "singleton": (values(pl.col("singleton").cast(pl.Int8)), ["false", "true"]),
        "source": _sources(assigned, values),
    }
    counted = [_counted("promoters", split, pl.repeat(0, len(split), dtype=pl.Int8, eager=True), ["all"]), _clusters_in(assigned)]
    counted += [_counted(stratum, split, level, texts) for stratum, (level, texts) in strata.items()]
    return pl.concat(
        part.with_columns(share=pl.col("promoters") / pl.col("promoters").sum().over("level"))
        .sort("level", "split")
        .with_columns(split=pl.lit(pl.Series(assigned.names)).gather(pl.col("split")))
        for part in counted
    ).select("stratum", "level", "split", "promoters", "share")


def _sources(assigned: Assignment, values: Callable[[pl.Expr], pl.Series]) -> tuple[pl.Series, list[str]]:
    """Return the index of each promoter's source and the names of the sources; null for all if there are more than `_MOST_SOURCES`."""
    names = assigned.table.select(pl.col("source").drop_nulls().unique().sort()).collect(engine="streaming")["source"].to_list()
    if not names:
        return pl.repeat(None, int((assigned.of != DROPPED).sum()), dtype=pl.UInt32, eager=True), []
    index = values(pl.col("source").replace_strict(names, range(len(names)), default=None, return_dtype=pl.UInt32))
    return (index if index.n_unique() <= _MOST_SOURCES else index.set(index.is_not_null(), None)), names


def _counted(stratum: str, split: pl.Series, level: pl.Series, texts: Sequence[str]) -> pl.DataFrame:
    """Return the number of promoters of each level and split; ``level`` is an index in ``texts``, or null."""
    counts = pl.DataFrame({"split": split, "level": level}).drop_nulls().group_by("split", "level").agg(promoters=pl.len().cast(pl.Int64))
    named = pl.Series("level", [texts[index] for index in counts["level"]], pl.String)
    return counts.select("split", named, "promoters", stratum=pl.lit(stratum))


def _clusters_in(assigned: Assignment) -> pl.DataFrame:
    """Return the number of clusters with promoters in each split, as `_counted`."""
    rows = []
    for index in range(len(assigned.names)):
        there = np.zeros(len(assigned.of), bool)
        there[assigned.clusters.first[assigned.of == index]] = True
        rows.append((index, "all", int(there.sum()), "clusters"))
    schema = {"split": pl.Int8, "level": pl.String, "promoters": pl.Int64, "stratum": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").filter(pl.col("promoters") > 0)
