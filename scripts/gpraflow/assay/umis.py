"""Count molecules by their unique molecular identifiers (UMIs)."""

from typing import Literal

import numpy as np
import polars as pl

from gpraflow.sequences.scaffold import bytes_matrix

_CODE_OF_BYTE = np.zeros(256, np.uint64)
_CODE_OF_BYTE[list(b"ACGT")] = range(4)
Method = Literal["unique", "directional"]


def count_molecules(owner: np.ndarray, umi: pl.Series, reads: np.ndarray, owners: int, method: Method) -> np.ndarray:
    """Return the number of molecules of each insert.

    With ``unique``, every distinct UMI of an insert is a molecule. With ``directional``, UMIs with a sequencing error are merged into the
    UMI they derive from by the directional networks of UMI-tools (Smith et al. 2017, doi:10.1101/gr.209601.116): an edge runs from a to b
    if they belong to one insert, differ in one base, and ``reads[a] >= 2 * reads[b] - 1``; the UMIs that no more abundant one reaches are
    the molecules.

    Parameters
    ----------
    owner
        Index of the insert of each row, shape ``(rows,)``.
    umi
        UMI of each row: A, C, G and T, all of one length of at most 32.
    reads
        Reads of each row, shape ``(rows,)``. Rows of one insert and UMI are added up.
    owners
        Number of inserts.
    method
        See above.
    """
    if not len(umi):
        return np.zeros(owners, np.int64)
    table = pl.DataFrame({"owner": owner.astype(np.uint32), "umi": _codes(umi), "reads": reads})
    table = table.group_by("owner", "umi").agg(pl.col("reads").sum()).sort(-pl.col("reads"), "owner", "umi")
    if method == "directional":
        table = table.filter(pl.Series(_roots(table, len(umi[0]))))
    return np.bincount(table["owner"].to_numpy(), minlength=owners)


def _codes(umi: pl.Series) -> np.ndarray:
    """Return each UMI as an integer with two bits per base."""
    letters = bytes_matrix(umi)
    codes = np.zeros(len(umi), np.uint64)
    for column in letters.T:
        codes = codes << np.uint64(2) | _CODE_OF_BYTE[column]
    return codes


def _roots(table: pl.DataFrame, length: int) -> np.ndarray:
    """Return which UMIs, most abundant first, are not reached from a more abundant one along edges."""
    a, b = _edges(table, length)
    label = np.arange(len(table))
    changed = True
    while changed:
        before = label[b]
        np.minimum.at(label, b, label[a])
        changed = bool((label[b] < before).any())
    return label == np.arange(len(table))


def _edges(table: pl.DataFrame, length: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the edges a -> b between UMIs of one insert that differ in one base."""
    reads = table["reads"].to_numpy()
    indexed = table.select("owner", "umi").with_row_index("row")
    sources, targets = [], []
    for base in range(length):
        mask = ~(np.uint64(3) << np.uint64(2 * base))
        masked = indexed.with_columns(umi=pl.Series(table["umi"].to_numpy() & mask)).sort("owner", "umi")
        owner, rest, row = (masked[name].to_numpy() for name in ("owner", "umi", "row"))
        for shift in (1, 2, 3):  # UMIs that differ in this base only are neighbours now, up to four of them
            near = np.flatnonzero((owner[shift:] == owner[:-shift]) & (rest[shift:] == rest[:-shift]))
            for one, two in ((row[near], row[near + shift]), (row[near + shift], row[near])):
                enough = reads[one] >= 2 * reads[two] - 1
                sources.append(one[enough])
                targets.append(two[enough])
    return np.concatenate(sources).astype(np.int64), np.concatenate(targets).astype(np.int64)
