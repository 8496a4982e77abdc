"""Assign promoters to train, val and test splits, keeping clusters of near-duplicates together."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.sequences import parents
from gpraflow.sequences.scaffold import bytes_matrix

SPLITS = ("train", "val", "test")
LISTED = "split.test_sequences"  # data set name, in the table of overlaps, of the user's list of test sequences
NOT_DRAWN = "from train: not drawn for split.train_promoters"  # in the ledger
SEVERAL = "mutated positions assigned to several splits (split.method: positions)"  # in the ledger
_QUANTILES = 5
_READS = {"1": (0, 1), "2 to 9": (2, 9), "10 to 99": (10, 99), "100 or more": (100, 2**62)}
_MOST_SOURCES = 20


def by_hash(cluster: pl.Series, fractions: Mapping[str, float], seed: int) -> pl.Series:
    """Assign clusters to splits by a keyed hash of their names.

    The split of a cluster depends only on its name, the seed and the fractions, so it does not change when rows are added.

    Parameters
    ----------
    cluster
        Cluster of each row.
    fractions
        Fraction of clusters in each split, in order.
    seed
        Key of the hash.

    Returns
    -------
    polars.Series
        Split of each row.
    """
    unique = cluster.unique(maintain_order=True)
    place = _places(unique, seed)
    bounds = np.cumsum(list(fractions.values()))[:-1] / sum(fractions.values())
    names = np.array(list(fractions))[np.searchsorted(bounds, place, side="right")]
    return cluster.replace_strict(unique, pl.Series(names), return_dtype=pl.String).alias("split")


def _places(names: pl.Series, seed: int) -> np.ndarray:
    """Return a pseudorandom number between 0 and 1 for each name, from a keyed hash."""
    key = seed.to_bytes(8, "big", signed=False)
    return np.array([int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest(), "big") for name in names]) / 2.0**64


def draw(cluster: pl.Series, promoters: int, seed: int, origin: str) -> pl.Series:
    """Draw whole clusters at random, up to ``promoters`` rows, and return a mask of these rows; smaller draws are subsets of larger ones.

    Raises
    ------
    InputError
        If the table has fewer promoters, or the first cluster alone exceeds ``promoters``.
    """
    if promoters > len(cluster):
        raise InputError(f"{origin}: split.train_promoters is {promoters}, but train has {len(cluster)} promoters; set it to 0 for all")
    sizes = cluster.value_counts(name="rows").sort(cluster.name)
    order = np.argsort(_places(sizes[cluster.name], randomness.derive(seed, "draw")), kind="stable")
    taken = order[np.cumsum(sizes["rows"].to_numpy()[order]) <= promoters]
    if not len(taken):
        raise InputError(
            f"{origin}: the first cluster drawn has more promoters than split.train_promoters ({promoters}); set a larger number"
        )
    return cluster.is_in(sizes[cluster.name].gather(taken).implode())


def by_column(table: pl.DataFrame, labels: Mapping[str, str], origin: str) -> pl.Series:
    """Return the user's own split; ``labels`` maps splits to their labels in the column ``split``.

    Raises
    ------
    InputError
        If the table has no such column, or a value is not a label in the config.
    """
    column = table["split"]
    if column.is_null().all():
        raise InputError(f"{origin}: split.method is column, but the table has no split column; set input.columns.split")
    wrong = table.with_row_index("promoter", offset=1).filter(pl.col("split").is_null() | ~pl.col("split").is_in(list(labels.values())))
    if wrong.height:
        raise InputError(
            f"{origin}, promoter {wrong['promoter'][0]}: split '{wrong['split'][0]}' is not one of {', '.join(labels.values())} "
            f"({wrong.height} such rows); correct the column, or set split.names or split.labels"
        )
    return column.replace_strict({label: name for name, label in labels.items()}, return_dtype=pl.String)


def _apart(assigned: pl.Series, cluster: pl.Series, names: Sequence[str], across: str, origin: str, ledger: Ledger) -> pl.Series:
    """Return a mask of promoters to keep: of clusters that span several splits, only those in the last split."""
    spread = pl.DataFrame({"cluster": cluster, "split": assigned}).group_by("cluster").agg(splits=pl.col("split").unique().sort())
    torn = spread.filter(pl.col("splits").list.len() > 1).sort("cluster")
    if torn.height and across == "error":
        example = torn.row(0, named=True)
        raise InputError(
            f"{origin}: cluster '{example['cluster']}' is in {' and '.join(example['splits'])} ({torn.height} such clusters): "
            "test promoters would leak into training; correct the split column, or set split.across: drop, or split.method: hash"
        )
    rank = assigned.replace_strict({name: number for number, name in enumerate(SPLITS)}, return_dtype=pl.Int8)
    keep = rank == pl.DataFrame({"cluster": cluster, "rank": rank}).select(pl.col("rank").max().over("cluster")).to_series()
    if torn.height:
        for name in names:
            ledger.drop(f"from {name}: near-duplicate of a promoter of a later split", int((~keep & (assigned == name)).sum()))
    return keep


def by_positions(
    sequences: pl.Series, fractions: Mapping[str, float], seed: int, origin: str, ledger: Ledger
) -> tuple[pl.Series, pl.Series]:
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
    tuple of polars.Series
        Split of each row, and a mask of rows to keep, which excludes variants with mutated positions of several splits.

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
    return pl.Series("split", np.array(list(fractions))[of_split.argmax(axis=1)]), pl.Series(~several)


def by_list(
    table: pl.DataFrame, overlaps: pl.DataFrame, cluster: pl.Series, fractions: Mapping[str, float], seed: int, origin: str
) -> pl.Series:
    """Assign promoters with listed inserts to the test split, and others to the other splits by hash (`by_hash`).

    Raises
    ------
    InputError
        If no promoter has a listed insert.
    """
    listed = overlaps.filter(dataset=LISTED, equal=True)["sequence"]
    if not len(listed):
        raise InputError(f"{origin}: no sequence of split.test_sequences is in the library; check the file")
    others = by_hash(cluster, {name: fraction for name, fraction in fractions.items() if name != "test"}, seed)
    return table.select(
        pl.when(pl.col("sequence").is_in(listed.implode())).then(pl.lit("test")).otherwise(others).alias("split")
    ).to_series()


def _overlapping(
    table: pl.DataFrame, assigned: pl.Series, overlaps: pl.DataFrame, independent: str, origin: str, ledger: Ledger
) -> pl.Series:
    """Return a mask of train and val promoters to drop as near-duplicates of independent or listed promoters."""
    if (overlaps["dataset"] == LISTED).any():
        near = assigned.is_in(["train", "val"]) & table["sequence"].is_in(overlaps.filter(dataset=LISTED)["sequence"].implode())
        for name in ("train", "val"):
            ledger.drop(f"from {name}: near-duplicate of a listed test sequence", int((near & (assigned == name)).sum()))
        others = overlaps.filter(pl.col("dataset") != LISTED)
        return near | _overlapping(table, assigned.set(near, ""), others, independent, origin, ledger)
    near = assigned.is_in(["train", "val"]) & table["sequence"].is_in(overlaps["sequence"].implode())
    if near.any():
        if independent == "error":
            example = overlaps.filter(sequence=table.filter(near)["sequence"][0]).row(0, named=True)
            raise InputError(
                f"{origin}: promoter '{example['sequence']}' is within {example['distance']} edits of a promoter of "
                f"'{example['dataset']}' ({near.sum()} such promoters in train and val); set neighbours.independent: drop or warn"
            )
        for name in ("train", "val"):
            count, what = int((near & (assigned == name)).sum()), f"from {name}: near-duplicate of a promoter of an independent set"
            (ledger.drop if independent == "drop" else ledger.note)(what, count)
    return near if independent == "drop" else near & False


def split(
    table: pl.DataFrame,
    cluster: pl.Series,
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
) -> dict[str, pl.DataFrame]:
    """Split a promoter table into one table per split. Each row is in exactly one split, or dropped and recorded in the ledger.

    Splits can be empty; `split_checks.check` checks their sizes.

    Parameters
    ----------
    table
        Promoter table.
    cluster
        Cluster of each row. Clusters are not divided.
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
    if method == "hash":
        kept, assigned = table, by_hash(cluster, shares, seed)
    elif method == "positions":
        assigned, keep = by_positions(table["sequence"], shares, seed, origin, ledger)
        kept, assigned, cluster = table.filter(keep), assigned.filter(keep), table["sequence"].filter(keep)
    else:
        if method == "column":
            assigned = by_column(table, {name: labels[name] for name in names}, origin)
        else:
            assigned, across = by_list(table, overlaps, cluster, shares, seed, origin), "drop"
        keep = _apart(assigned, cluster, names, across, origin, ledger)
        kept, assigned, cluster = table.filter(keep), assigned.filter(keep), cluster.filter(keep)
    keep = ~_overlapping(kept, assigned, overlaps, independent, origin, ledger)
    if train_promoters:
        train = keep & (assigned == "train")
        drawn = draw(cluster.filter(train), train_promoters, seed, origin)
        ledger.drop(NOT_DRAWN, len(drawn) - int(drawn.sum()))
        keep = keep.scatter(train.arg_true(), drawn)
    parts = {name: kept.filter(keep & (assigned == name)).with_columns(split=pl.lit(name)) for name in names}
    for name, part in parts.items():
        ledger.note(f"assigned to {name}", part.height)
    return parts


def summary(parts: Mapping[str, pl.DataFrame], clusters: pl.DataFrame) -> pl.DataFrame:
    """Return the composition of the splits: number and share of promoters, overall and within subgroups of the library.

    Parameters
    ----------
    parts
        Split -> promoters.
    clusters
        ``sequence`` and ``cluster`` of the library.

    Returns
    -------
    polars.DataFrame
        ``stratum`` (promoters, clusters, quintiles of expression, length, reads, singletons, sources), ``level``, ``split``, ``promoters``
        (number of clusters in the stratum "clusters") and ``share``, the fraction of the level that is in this split.
    """
    used = ["sequence", "expression", "n_reads", "singleton", "source", "split"]
    table = pl.concat([part.select(used) for part in parts.values()]).join(clusters.unique("sequence"), on="sequence", how="left")
    length = pl.col("sequence").str.len_bytes()
    usual = int(table.select(length.mode().min()).item())
    sides = pl.when(length < usual).then(pl.lit("shorter")).when(length > usual).then(pl.lit("longer")).otherwise(pl.lit(f"{usual} bp"))
    reads = pl.coalesce(pl.when(pl.col("n_reads").is_between(low, high)).then(pl.lit(text)) for text, (low, high) in _READS.items())
    strata = {
        "promoters": pl.lit("all"),
        "expression": pl.format("fifth {}", (pl.col("expression").rank("ordinal").cast(pl.Int64) - 1) * _QUANTILES // pl.len() + 1),
        "length": sides,
        "reads": reads,
        "singleton": pl.col("singleton").cast(pl.String),
        "source": pl.when(pl.col("source").n_unique() <= _MOST_SOURCES).then("source"),
    }
    levels = [table.select("split", level=level, stratum=pl.lit(stratum)) for stratum, level in strata.items()]
    levels.insert(1, table.unique(["split", "cluster"]).select("split", level=pl.lit("all"), stratum=pl.lit("clusters")))
    counted = [part.drop_nulls("level").group_by("stratum", "level", "split").agg(promoters=pl.len().cast(pl.Int64)) for part in levels]
    order = {name: number for number, name in enumerate(parts)}
    return pl.concat(
        part.with_columns(share=pl.col("promoters") / pl.col("promoters").sum().over("level")).sort(
            "level", pl.col("split").replace_strict(order, return_dtype=pl.Int64)
        )
        for part in counted
    ).select("stratum", "level", "split", "promoters", "share")
