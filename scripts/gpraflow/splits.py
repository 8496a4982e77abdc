"""Which promoter goes to train, val and test."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import polars as pl

from gpraflow.errors import InputError
from gpraflow.ledger import Ledger

SPLITS = ("train", "val", "test")


def by_hash(family: pl.Series, fractions: Mapping[str, float], seed: int) -> pl.Series:
    """Assign families to splits by a keyed hash of their names.

    A family's place depends on its name, the seed and the fractions, not on the other rows: it stays when rows are added.

    Parameters
    ----------
    family
        Name of the family of each row.
    fractions
        Share of families for each split, in order.
    seed
        Key of the hash.

    Returns
    -------
    polars.Series
        Name of the split of each row.
    """
    unique = family.unique(maintain_order=True)
    key = seed.to_bytes(8, "big", signed=False)
    place = np.array([int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8, key=key).digest(), "big") for name in unique]) / 2.0**64
    bounds = np.cumsum(list(fractions.values()))[:-1] / sum(fractions.values())
    names = np.array(list(fractions))[np.searchsorted(bounds, place, side="right")]
    return family.replace_strict(unique, pl.Series(names), return_dtype=pl.String).alias("split")


def by_column(table: pl.DataFrame, labels: Mapping[str, str], origin: str) -> pl.Series:
    """Take the user's own split; ``labels`` maps splits to what the ``split`` column calls them.

    Raises
    ------
    InputError
        If the table has none, or a value is no split of the config.
    """
    given = table["split"]
    if given.is_null().all():
        raise InputError(f"{origin}: split.method is column, but the table has no split column; set input.columns.split")
    wrong = table.with_row_index("promoter", offset=1).filter(pl.col("split").is_null() | ~pl.col("split").is_in(list(labels.values())))
    if wrong.height:
        raise InputError(
            f"{origin}, promoter {wrong['promoter'][0]}: split '{wrong['split'][0]}' is none of {', '.join(labels.values())} "
            f"({wrong.height} such rows); mend the column, or set split.names or split.labels"
        )
    return given.replace_strict({label: name for name, label in labels.items()}, return_dtype=pl.String)


def _apart(assigned: pl.Series, family: pl.Series, names: Sequence[str], across: str, origin: str, ledger: Ledger) -> pl.Series:
    """Return which promoters stay where families are in several splits: those of the last one."""
    found = pl.DataFrame({"family": family, "split": assigned}).group_by("family").agg(splits=pl.col("split").unique().sort())
    torn = found.filter(pl.col("splits").list.len() > 1).sort("family")
    if torn.height and across == "error":
        example = torn.row(0, named=True)
        raise InputError(
            f"{origin}: family '{example['family']}' is in {' and '.join(example['splits'])} ({torn.height} such families): "
            "near-copies of test promoters would be trained on; mend the split column, or set split.across: drop, or split.method: hash"
        )
    rank = assigned.replace_strict({name: number for number, name in enumerate(SPLITS)}, return_dtype=pl.Int8)
    keep = rank == pl.DataFrame({"family": family, "rank": rank}).select(pl.col("rank").max().over("family")).to_series()
    if torn.height:
        for name in names:
            ledger.drop(f"from {name}: near-duplicate of a promoter of a later split", int((~keep & (assigned == name)).sum()))
    return keep


def _overlapping(
    table: pl.DataFrame, assigned: pl.Series, overlaps: pl.DataFrame, independent: str, origin: str, ledger: Ledger
) -> pl.Series:
    """Return which promoters of train and val are near-duplicates of independent ones and go."""
    found = assigned.is_in(["train", "val"]) & table["sequence"].is_in(overlaps["sequence"].implode())
    if found.any():
        if independent == "error":
            example = overlaps.filter(sequence=table.filter(found)["sequence"][0]).row(0, named=True)
            raise InputError(
                f"{origin}: promoter '{example['sequence']}' is within {example['distance']} edits of one of the independent set "
                f"'{example['dataset']}' ({found.sum()} such promoters in train and val); set neighbours.independent: drop or warn"
            )
        for name in ("train", "val"):
            count, what = int((found & (assigned == name)).sum()), f"from {name}: near-duplicate of a promoter of an independent set"
            (ledger.drop if independent == "drop" else ledger.note)(what, count)
    return found if independent == "drop" else found & False


def split(
    table: pl.DataFrame,
    family: pl.Series,
    *,
    method: Literal["hash", "column"],
    names: Sequence[str],
    fractions: Mapping[str, float],
    labels: Mapping[str, str],
    across: Literal["drop", "error"],
    overlaps: pl.DataFrame,
    independent: Literal["drop", "warn", "error"],
    seed: int,
    origin: str,
    ledger: Ledger,
) -> dict[str, pl.DataFrame]:
    """Split a promoter table into one table a split; every row is in exactly one, or dropped and counted.

    Parameters
    ----------
    table
        Promoter table.
    family
        What must stay together: the family of each row.
    method
        ``hash``: whole families by a seeded hash. ``column``: the table's own ``split``.
    names
        Splits to make.
    fractions
        Share of each split (``hash``).
    labels
        What the table's own ``split`` calls each split (``column``).
    across
        Families that the table's own split tears apart: ``drop`` keeps those in the last of ``train``, ``val``, ``test`` and drops their
        neighbours from the splits before; ``error`` stops.
    overlaps
        ``sequence``, ``dataset`` and ``distance`` of promoters that are near-duplicates of those of independent data sets.
    independent
        What becomes of these: ``drop`` takes them out of ``train`` and ``val``; ``warn`` counts them; ``error`` stops.
    seed
        Key of the hash.
    origin
        Path for messages.
    ledger
        Takes what is dropped.

    Raises
    ------
    InputError
        If a split is left empty, a family is in more than one and ``across`` is ``error``, a promoter of ``train`` or ``val`` overlaps and
        ``independent`` is ``error``, or as `by_column`.
    """
    if method == "column":
        assigned = by_column(table, {name: labels[name] for name in names}, origin)
        keep = _apart(assigned, family, names, across, origin, ledger)
        kept, assigned = table.filter(keep), assigned.filter(keep)
    else:
        kept, assigned = table, by_hash(family, {name: fractions[name] for name in names}, seed)
    keep = ~_overlapping(kept, assigned, overlaps, independent, origin, ledger)
    parts = {name: kept.filter(keep & (assigned == name)).with_columns(split=pl.lit(name)) for name in names}
    for name, part in parts.items():
        if not part.height:
            mend = "set a larger split.fractions" if method == "hash" else "mend the split column or take it out of split.names"
            raise InputError(f"{origin}: the split '{name}' is empty ({table.height} promoters in all); {mend}")
        ledger.note(f"to {name}", part.height)
    return parts
