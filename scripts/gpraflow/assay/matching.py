"""Match inserts to the designed sequences of a library."""

import os
from collections.abc import Sequence

import numpy as np
import polars as pl

from gpraflow.core.errors import InputError, and_more
from gpraflow.core.ledger import Ledger
from gpraflow.formats.columns import first_row
from gpraflow.formats.records import records
from gpraflow.sequences import neighbours
from gpraflow.sequences.scaffold import Scaffold

NOT_DESIGNED, AMBIGUOUS = -1, -2  # in place of a design's index


def load(path: str | os.PathLike, scaffold: Scaffold, insert_length: Sequence[int]) -> pl.DataFrame:
    """Read the designed sequences of a library.

    Parameters
    ----------
    path
        FASTA, or a table (TSV, CSV or Parquet) with the columns ``sequence`` and ``name``. The name of a FASTA record is its header line.
        Sequences are inserts, or promoters with both flanks of the scaffold.
    scaffold
        Flanks, which are removed.
    insert_length
        Minimum and maximum length of an insert in bp.

    Returns
    -------
    polars.DataFrame
        ``name`` and ``insert``, in the order of the file.

    Raises
    ------
    InputError
        If a name or sequence is empty or repeated, a sequence has other letters than A, C, G and T, or an insert is too short or too long;
        with file and row (line number of a text file).
    """
    designs = pl.concat(list(records(path, Ledger("merge_counts", "library"), designs=True)))
    five, three, sequence = scaffold.five_prime, scaffold.three_prime, pl.col("sequence")
    whole = sequence.str.starts_with(five) & sequence.str.ends_with(three) & (sequence.str.len_bytes() >= len(five) + len(three))
    insert = sequence.str.slice(len(five), sequence.str.len_bytes().cast(pl.Int64) - len(five) - len(three))
    designs = designs.with_columns(insert=pl.when(whole).then(insert).otherwise(sequence))
    if hit := first_row(designs, sequence.str.contains("N", literal=True)):
        row, cells, count = hit
        raise InputError(
            f"{path}, row {row} ('{cells['name']}'): letter 'N' at position {cells['sequence'].index('N') + 1} of the sequence"
            f"{and_more(count)}; a designed sequence may contain A, C, G and T only"
        )
    least, greatest = insert_length
    length = pl.col("insert").str.len_bytes()
    if hit := first_row(designs, (length < least) | (length > greatest)):
        row, cells, count = hit
        raise InputError(
            f"{path}, row {row} ('{cells['name']}'): the insert is {len(cells['insert'])} bp long, but scaffold.insert_length is {least} "
            f"to {greatest} bp{and_more(count)}; give inserts, or whole promoters with both flanks of scaffold '{scaffold.name}'"
        )
    for column, what in (("name", "name"), ("insert", "sequence")):
        if hit := first_row(designs, pl.col(column).is_duplicated()):
            rows = designs.filter(pl.col(column) == hit[1][column])[:2]
            raise InputError(
                f"{path}, rows {rows['row'][0]} and {rows['row'][1]} ('{rows['name'][0]}' and '{rows['name'][1]}'): the same {what}; "
                "delete or correct one of them"
            )
    return designs.select("name", "insert")


def match(inserts: pl.Series, designs: pl.Series, max_edits: int, threads: int = 1) -> np.ndarray:
    """Return, for each insert, the index of the design that it is a copy of, with or without errors.

    An insert is assigned to the design at the smallest Levenshtein distance, on the same strand. Designs are searched at distance 0, then
    1, and so on, among those that share a segment with the insert (`neighbours.overlaps`).

    Parameters
    ----------
    inserts, designs
        Distinct sequences without flanks.
    max_edits
        Maximum distance.
    threads
        Number of threads for comparing sequences.

    Returns
    -------
    numpy.ndarray
        Index of the design, `NOT_DESIGNED` if none is within ``max_edits``, or `AMBIGUOUS` if several are at the smallest distance; int64.
    """
    known = pl.DataFrame({"s": designs}).with_row_index("design")
    exact = inserts.to_frame("s").join(known, on="s", how="left", maintain_order="left")["design"]
    of = exact.cast(pl.Int64).fill_null(NOT_DESIGNED).to_numpy().copy()
    for edits in range(1, max_edits + 1):
        left = np.flatnonzero(of == NOT_DESIGNED)
        pairs = neighbours.overlaps(designs, inserts[left], edits, threads, either_strand=False)
        nearest = pairs.group_by("other").agg(pl.len(), pl.col("library").first())
        of[left[nearest["other"].to_numpy()]] = nearest.select(pl.when(pl.col("len") == 1).then("library").otherwise(AMBIGUOUS)).to_series()
    return of
