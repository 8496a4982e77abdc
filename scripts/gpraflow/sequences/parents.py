"""Parent sequences of variants, relative to which mutation effects are defined."""

from typing import Any

import numpy as np
import polars as pl

from gpraflow.sequences.scaffold import bytes_matrix

PARENT, PREDICTED_PARENT = "parent_sequence", "predicted_parent"


def consensus(sequences: pl.Series, of: pl.Series) -> pl.Series:
    """Return the parent sequence of each variant: the consensus of all variants with the same parent name.

    Parameters
    ----------
    sequences, of
        Variant sequences, and the name of each variant's parent.

    Returns
    -------
    polars.Series
        Parent sequences; null if variants of a parent differ in length, or no base has a majority at some position.
    """
    parents: dict[Any, str | None] = {}
    for (name,), part in pl.DataFrame({"s": sequences, "of": of}).group_by("of"):
        if name is None or part["s"].str.len_bytes().n_unique() > 1:
            continue
        letters = bytes_matrix(part["s"])
        counts = np.stack([(letters == ord(base)).sum(axis=0) for base in "ACGTN"])
        if (counts.max(axis=0) * 2 > len(letters)).all():
            parents[name] = "".join("ACGTN"[i] for i in counts.argmax(axis=0))
    return pl.Series(PARENT, [parents.get(name) for name in of], pl.String)


def with_parents(table: pl.LazyFrame, of: str, sequence: str) -> pl.LazyFrame:
    """Return the table with the column `PARENT`, if a column gives the names or sequences of parents.

    Parameters
    ----------
    table
        Table with ``sequence`` and the named columns.
    of
        Column with the name of each variant's parent (see `consensus`), or empty. Sequences and names are then read into memory.
    sequence
        Column with the parent's sequence, or empty.
    """
    if sequence:
        return table.with_columns(pl.col(sequence).str.to_uppercase().alias(PARENT))
    if not of:
        return table
    variants = table.select(pl.col("sequence"), pl.col(of).alias("_of")).collect(engine="streaming")
    found = consensus(variants["sequence"], variants["_of"]).to_frame().lazy()
    return pl.concat([table, found], how="horizontal")
