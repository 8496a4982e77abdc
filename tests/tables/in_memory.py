"""Splits of a table in memory, with the names of clusters: an independent way to what `gpraflow.tables.splits` does in blocks."""

import hashlib

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.tables import splits

RANK = {name: number for number, name in enumerate(splits.SPLITS)}


def place(name, seed):
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=seed.to_bytes(8, "big")).digest(), "big") / 2**64


def by_hash(cluster, fractions, seed):
    bounds = np.cumsum(list(fractions.values()))[:-1] / sum(fractions.values())
    return pl.Series([list(fractions)[int(np.searchsorted(bounds, place(name, seed), side="right"))] for name in cluster], dtype=pl.String)


def split(table, cluster, *, method, names, fractions, labels, overlaps, independent, train_promoters, seed, **_):
    """Return the promoters of each split, for ``across: drop`` and the methods ``hash``, ``column`` and ``list``."""
    shares = {name: fractions[name] for name in names}
    if method == "hash":
        assigned = by_hash(cluster, shares, seed)
    elif method == "column":
        assigned = table["split"].replace_strict({label: name for name, label in labels.items()}, return_dtype=pl.String)
    else:
        listed = overlaps.filter(dataset=splits.LISTED, equal=True)["sequence"].to_list()
        others = by_hash(cluster, {name: share for name, share in shares.items() if name != "test"}, seed)
        assigned = pl.Series(["test" if one in listed else other for one, other in zip(table["sequence"], others, strict=True)])
    keep = pl.Series([True] * table.height)
    if method != "hash":
        last = {}
        for name, of in zip(cluster, assigned, strict=True):
            last[name] = max(last.get(name, 0), RANK[of])
        keep = pl.Series([RANK[of] == last[name] for name, of in zip(cluster, assigned, strict=True)])
    near = overlaps if independent == "drop" else overlaps.filter(dataset=splits.LISTED)
    keep &= ~(table["sequence"].is_in(near["sequence"].to_list()) & (assigned != "test"))
    if train_promoters:
        train = (keep & (assigned == "train")).to_list()
        sizes = {}
        for name, there in zip(cluster, train, strict=True):
            sizes[name] = sizes.get(name, 0) + there
        drawn, taken, key = 0, set(), randomness.derive(seed, "draw")
        for name in sorted((name for name, size in sizes.items() if size), key=lambda name: (place(name, key), name)):
            drawn += sizes[name]
            if drawn > train_promoters:
                break
            taken.add(name)
        keep &= pl.Series([not there or name in taken for name, there in zip(cluster, train, strict=True)])
    return {name: table.filter(keep & (assigned == name)).with_columns(split=pl.lit(name)) for name in names}


def summary(parts, clusters):
    """Return what `splits.summary` does, from the promoters of each split, and ``sequence`` and ``cluster`` of the library."""
    used = ["sequence", "expression", "n_reads", "singleton", "source", "split"]
    table = pl.concat([part.select(used) for part in parts.values()]).join(clusters.unique("sequence"), on="sequence", how="left")
    length = pl.col("sequence").str.len_bytes()
    usual = int(table.select(length.mode().min()).item())
    sides = pl.when(length < usual).then(pl.lit("shorter")).when(length > usual).then(pl.lit("longer")).otherwise(pl.lit(f"{usual} bp"))
    reads = pl.coalesce(pl.when(pl.col("n_reads").is_between(low, high)).then(pl.lit(text)) for text, (low, high) in splits._READS.items())
    strata = {
        "promoters": pl.lit("all"),
        "expression": pl.format("fifth {}", (pl.col("expression").rank("ordinal").cast(pl.Int64) - 1) * splits._QUANTILES // pl.len() + 1),
        "length": sides,
        "reads": reads,
        "singleton": pl.col("singleton").cast(pl.String),
        "source": pl.when(pl.col("source").n_unique() <= splits._MOST_SOURCES).then("source"),
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
