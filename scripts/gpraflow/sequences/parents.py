"""What variants were made from: the promoters that effects of mutations are changes of."""

from typing import Any

import numpy as np
import polars as pl

from gpraflow.sequences.scaffold import bytes_matrix

PARENT, PREDICTED_PARENT = "parent_sequence", "predicted_parent"


def consensus(sequences: pl.Series, of: pl.Series) -> pl.Series:
    """Return for each variant the promoter that it was made from: the commonest base at each position of all variants of one name.

    Parameters
    ----------
    sequences, of
        Variants, and the name of the promoter that each was made from.

    Returns
    -------
    polars.Series
        Null where that is not certain: variants of one name differ in length, or at a position no base has more than half of them.
    """
    found: dict[Any, str | None] = {}
    for (name,), part in pl.DataFrame({"s": sequences, "of": of}).group_by("of"):
        if name is None or part["s"].str.len_bytes().n_unique() > 1:
            continue
        letters = bytes_matrix(part["s"])
        counts = np.stack([(letters == ord(base)).sum(axis=0) for base in "ACGTN"])
        if (counts.max(axis=0) * 2 > len(letters)).all():
            found[name] = "".join("ACGTN"[i] for i in counts.argmax(axis=0))
    return pl.Series(PARENT, [found.get(name) for name in of], pl.String)


def with_parents(table: pl.DataFrame, of: str, sequence: str) -> pl.DataFrame:
    """Return the table with `PARENT`, if there is a column that says what each promoter was made from.

    Parameters
    ----------
    table
        ``sequence``, and the columns that are named.
    of
        Column with the name of the promoter that each was made from (see `consensus`), or empty.
    sequence
        Column with that promoter's sequence, or empty.
    """
    if sequence:
        return table.with_columns(pl.col(sequence).str.to_uppercase().alias(PARENT))
    return table.with_columns(consensus(table["sequence"], table[of])) if of else table
