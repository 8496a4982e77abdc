"""Add, detect, repair and remove the constant flanks of promoters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import polars as pl

from gpraflow.core.errors import InputError, and_more
from gpraflow.core.ledger import Ledger
from gpraflow.sequences.scaffold import Scaffold, bytes_matrix

_LEAST_EVIDENCE = 10  # in exact bases: with weaker evidence for flanks, a sequence counts as an insert without flanks


@dataclass(frozen=True)
class Policy:
    """Treatment of invalid rows; keys of the config sections ``scaffold`` and ``input``."""

    damaged_flanks: Literal["keep", "repair", "drop", "error"] = "keep"
    add_missing_flanks: bool = True
    max_flank_edits: int = 4
    insert_length: Sequence[int] = (40, 120)
    outside_length: Literal["error", "drop"] = "error"
    duplicates: Literal["error", "mean", "first"] = "error"
    segments: str = ""
    barcodes: Literal["keep", "mean"] = "keep"


def mend_flanks(rows: pl.DataFrame, scaffold: Scaffold, policy: Policy, path: Any, ledger: Ledger) -> pl.DataFrame:
    """Return a block (``row``, ``sequence``) with missing flanks added and damaged flanks handled according to the policy."""
    five, three, sequence = scaffold.five_prime, scaffold.three_prime, pl.col("sequence")
    intact = rows.select(sequence.str.starts_with(five) & sequence.str.ends_with(three)).to_series()
    ledger.note("both flanks intact", int(intact.sum()))
    if intact.all():
        return rows
    odd = rows.filter(~intact)
    five_edits, five_length = flank_ends(odd["sequence"], five, policy.max_flank_edits)
    three_edits, three_length = flank_ends(odd["sequence"].str.reverse(), three[::-1], policy.max_flank_edits)
    # A chance match must not count as a damaged flank. Each edit can occur in about 4^4 ways, so a match of n bp with e edits is as
    # significant as n - 4 e exact bases. Both flanks together must reach the significance of 10 exact bases.
    evidence = np.zeros(odd.height, np.int64)
    for flank, edits in ((five, five_edits), (three, three_edits)):
        evidence += np.where(edits <= policy.max_flank_edits, np.maximum(len(flank) - 4 * edits, 0), 0)
    absent = evidence < _LEAST_EVIDENCE
    damaged = ~absent

    mended = odd["sequence"].to_list()
    dropped = np.zeros(odd.height, bool)
    if absent.any():
        if not policy.add_missing_flanks:
            row = odd["row"][int(absent.argmax())]
            raise InputError(
                f"{path}, row {row}: neither {five} nor {three} was found{and_more(int(absent.sum()))}; check scaffold.name, or set "
                "scaffold.add_missing_flanks: true if the table holds inserts only"
            )
        for index in np.flatnonzero(absent).tolist():
            mended[index] = five + mended[index] + three
        ledger.note("insert only, flanks added", int(absent.sum()))
    if damaged.any():
        count = int(damaged.sum())
        if policy.damaged_flanks == "error":
            index = int(damaged.argmax())
            raise InputError(
                f"{path}, row {odd['row'][index]}: a flank is damaged (5': {mended[index][: len(five)]}, expected {five}; "
                f"3': {mended[index][-len(three) :]}, expected {three}){and_more(count)}; "
                "set scaffold.damaged_flanks to keep, repair or drop"
            )
        if policy.damaged_flanks == "drop":
            dropped = damaged
            ledger.drop("flank damaged", count)
        elif policy.damaged_flanks == "keep":
            ledger.note("flank damaged, kept as measured", count)
        else:
            # If one flank was not recognised, the sequence at that end may be part of the insert and must not be replaced.
            mendable = damaged & (five_edits <= policy.max_flank_edits) & (three_edits <= policy.max_flank_edits)
            for index in np.flatnonzero(mendable).tolist():
                end = len(mended[index]) - int(three_length[index])
                mended[index] = five + mended[index][int(five_length[index]) : end] + three
            ledger.note("flank damaged, repaired", int(mendable.sum()))
            ledger.note("one flank not found, kept as measured", count - int(mendable.sum()))
    odd = odd.with_columns(pl.Series("sequence", mended, pl.String)).filter(~pl.Series(dropped))
    return pl.concat([rows.filter(intact), odd]).sort("row")


def inserts(sequences: pl.Series, scaffold: Scaffold, max_edits: int) -> pl.Series:
    """Return sequences without their flanks (`insert_bounds`)."""
    begin, size = insert_bounds(sequences, scaffold, max_edits)
    frame = pl.DataFrame({"s": sequences, "begin": begin, "size": size})
    return frame.select(pl.col("s").str.slice("begin", "size")).to_series()


def insert_bounds(sequences: pl.Series, scaffold: Scaffold, max_edits: int) -> tuple[np.ndarray, np.ndarray]:
    """Return where the insert of each sequence begins, from 0, and its length, int64.

    A flank that is not recognised within ``max_edits`` edits (`flank_ends`) counts as part of the insert.
    """
    five, three = scaffold.five_prime, scaffold.three_prime
    intact = sequences.str.starts_with(five) & sequences.str.ends_with(three)
    lengths = sequences.str.len_bytes().cast(pl.Int64)
    begin, end = np.full(len(sequences), len(five)), np.full(len(sequences), len(three))
    odd = (~intact).to_numpy().nonzero()[0]
    if len(odd):
        begin[odd] = flank_ends(sequences[odd], five, max_edits)[1]
        end[odd] = flank_ends(sequences[odd].str.reverse(), three[::-1], max_edits)[1]
    return begin, np.maximum(lengths.to_numpy() - begin - end, 0)


def flank_ends(sequences: pl.Series, flank: str, max_edits: int) -> tuple[np.ndarray, np.ndarray]:
    """Locate the end of a 5' flank in sequences that should start with it, allowing substitutions and indels.

    Parameters
    ----------
    sequences
        Sequences that start with the flank. For the 3' flank, reverse both the sequences and the flank.
    flank
        Sequence of the flank.
    max_edits
        Maximum Levenshtein distance.

    Returns
    -------
    tuple of numpy.ndarray
        Edits of the best match and its length in bp, int64, shape ``(rows,)``. Of equally good matches, the one whose length is closest
        to that of the flank. Rows with more than ``max_edits`` edits have ``max_edits + 1`` edits and length 0.
    """
    width = len(flank) + max_edits
    text = bytes_matrix(sequences.str.head(width).str.pad_end(width, "-"))
    rows = len(text)
    # Dynamic programming for the Levenshtein distance between the flank and prefixes of the text, one column for all rows at a time.
    column = np.broadcast_to(np.arange(len(flank) + 1), (rows, len(flank) + 1)).copy()
    best = column[:, -1].copy()
    length = np.zeros(rows, np.int64)
    for position in range(1, width + 1):
        following = np.empty_like(column)
        following[:, 0] = position
        for base in range(1, len(flank) + 1):
            mismatch = text[:, position - 1] != ord(flank[base - 1])
            following[:, base] = np.minimum(column[:, base - 1] + mismatch, np.minimum(column[:, base] + 1, following[:, base - 1] + 1))
        column = following
        nearer = (column[:, -1] == best) & (abs(position - len(flank)) < np.abs(length - len(flank)))
        take = (column[:, -1] < best) | nearer
        best[take], length[take] = column[take, -1], position
    far = best > max_edits
    best[far], length[far] = max_edits + 1, 0
    return best, length
