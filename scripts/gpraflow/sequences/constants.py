"""Constant sequences: where the flanks of scaffolds lie, and which flanks or barcodes the sequences of an unknown scaffold have."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gpraflow.sequences.scaffold import bytes_matrix, reverse_complement_sequences, tokenize

_KMER = 10  # bp of the shortest constant sequence in reads
_SHARE = 0.8  # share of the sequences that have a constant sequence
_CONSTANT = 0.9  # share of the sequences with the same base at a constant position
_LEAST = 8  # bp of the shortest constant end of sequences in a table
_PARENT = 0.6  # mean share of the most frequent base, from which a library consists of variants of one parent
_LONGEST_FLANK = 20  # bp of a flank that is proposed
_LEAST_INSERT = 15  # bp between two constant sequences that are flanks
_LEAST_BARCODE, _LONGEST_BARCODE = 5, 40  # bp
_UNLIKE = 0.5  # mean share of different bases of two barcodes of a promoter
_WITH_BARCODES = 0.2  # share of neighbours in sorted order with the same promoter, from which sequences have barcodes


@dataclass(frozen=True)
class Found:
    """Where the flanks of a scaffold are; shares of the sequences.

    ``forward``: both flanks, the 5' flank first. ``reverse``: both on the reverse complement. ``ends``: both at the very ends, forward.
    ``five``, ``three``: this flank on the forward strand. ``place``: first and last base of the outer flank at the start of the sequence,
    from 1, at its most frequent place on the strand that has more; None if it is nowhere.
    """

    forward: float
    reverse: float
    ends: float
    five: float
    three: float
    place: tuple[int, int] | None

    @property
    def either(self) -> float:
        """Share of the sequences with both flanks on either strand."""
        return self.forward + self.reverse


def locate(sequences: pl.Series, five: str, three: str) -> Found:
    """Search sequences, upper case, for exact flanks on both strands; N in a flank is any base. Without flanks nothing is found."""
    if not (five or three) or not len(sequences):
        return Found(0.0, 0.0, 0.0, 0.0, 0.0, None)
    other = reverse_complement_sequences(sequences)
    strands = [_both(strand, five, three) for strand in (sequences, other)]
    forward, reverse = (float(both.mean()) for both, _, _ in strands)  # type: ignore[arg-type]
    reverse = float((strands[1][0] & ~strands[0][0]).mean())  # type: ignore[arg-type]
    _, at_five, at_three = strands[0]
    ends = sequences.str.contains(f"^{_pattern(five)}.*{_pattern(three)}$")
    if reverse > forward:  # the sequence as given begins with the reverse complement of the 3' flank
        flank, at = (three, strands[1][2]) if three else (five, strands[1][1])
        begin = sequences.str.len_bytes().cast(pl.Int64) - at - len(flank)
        begin = begin.filter(strands[1][0])
    else:
        flank, at = (five, at_five) if five else (three, at_three)
        begin = at.filter(strands[0][0])
    usual = int(begin.mode().min()) if len(begin) else None  # type: ignore[arg-type]
    place = None if usual is None else (usual + 1, usual + len(flank))
    of_five, of_three = (float(at.is_not_null().mean()) for at in (at_five, at_three))  # type: ignore[arg-type]
    return Found(forward, reverse, float(ends.mean()), of_five, of_three, place)  # type: ignore[arg-type]


def _pattern(flank: str) -> str:
    return re.escape(flank).replace("N", ".")


def _both(sequences: pl.Series, five: str, three: str) -> tuple[pl.Series, pl.Series, pl.Series]:
    """Return which sequences have both flanks in order, and the positions of either, from 0; null if it is missing."""
    at = [
        sequences.str.find(_pattern(flank)).cast(pl.Int64) if flank else pl.repeat(0, len(sequences), eager=True) for flank in (five, three)
    ]
    ordered = sequences.str.contains(f"{_pattern(five)}.*{_pattern(three)}")
    return ordered.fill_null(False), at[0], at[1]


def parent_share(sequences: pl.Series) -> float:
    """Return the mean share of the most frequent base over the positions of sequences of the usual length."""
    return float(_majority(_usual(sequences)).mean()) if len(sequences) else 0.0


def are_variants(sequences: pl.Series) -> bool:
    """Return whether sequences look like variants of one parent: at most positions, most have the same base."""
    return len(sequences) > 1 and parent_share(sequences) >= _PARENT


def _usual(sequences: pl.Series) -> pl.Series:
    lengths = sequences.str.len_bytes()
    return sequences.filter(lengths == lengths.mode().max())


def _majority(sequences: pl.Series) -> np.ndarray:
    letters = bytes_matrix(sequences)
    return np.stack([(letters == ord(base)).mean(axis=0) for base in "ACGT"]).max(axis=0) if letters.size else np.zeros(1)


def constant_ends(sequences: pl.Series) -> tuple[str, str]:
    """Return the constant 5' and 3' ends of sequences: the bases that nearly all have; empty if an end has fewer than 8 such bases.

    Variants of one parent have no ends that could be told from their inserts, so that both are empty.
    """
    shortest = int(sequences.str.len_bytes().min() or 0)  # type: ignore[arg-type]
    if len(sequences) < 10 or shortest < 3 * _LEAST:
        return "", ""
    ends = []
    for text in (sequences.str.head(shortest), sequences.str.tail(shortest).str.reverse()):
        letters = bytes_matrix(text)
        shares = np.stack([(letters == ord(base)).mean(axis=0) for base in "ACGT"])
        constant = shares.max(axis=0) >= _CONSTANT
        length = int(constant.argmin()) if not constant.all() else shortest
        ends.append("".join("ACGT"[index] for index in shares[:, :length].argmax(axis=0)))
    five, three = (end if len(end) >= _LEAST else "" for end in (ends[0], ends[1][::-1]))
    if len(five) + len(three) > shortest - _LEAST_INSERT:
        return "", ""
    if are_variants(sequences.str.slice(len(five), shortest - len(five) - len(three))):
        return "", ""
    return five, three


def constant_flanks(reads: pl.Series) -> tuple[str, str] | None:
    """Return the constant sequences on both sides of a variable one in reads; None if there are none.

    Reads may come from both strands; the flanks are on the strand on which most reads are. Flanks are as long as they are constant, up to
    20 bp next to the insert.
    """
    for share in (_SHARE, 0.3):
        found = _contigs(reads, share)
        if share < _SHARE and found:  # both strands: the reads of one of them
            part = reads.filter(reads.str.contains(found[0][0], literal=True))
            found = _contigs(part, _SHARE)
        for (five, at), (three, behind) in itertools.pairwise(found):
            if behind - at - len(five) >= _LEAST_INSERT:
                return five[-_LONGEST_FLANK:], three[:_LONGEST_FLANK]
    return None


def _contigs(reads: pl.Series, share: float) -> list[tuple[str, int]]:
    """Return constant sequences of at least 10 bp that a share of the reads has, and their usual positions, in order."""
    if not len(reads):
        return []
    tokens = tokenize(reads, int(reads.str.len_bytes().max()), "left", "right").astype(np.int64)  # type: ignore[arg-type]
    count = tokens.shape[1] - _KMER + 1
    if count < 1:
        return []
    code, known = np.zeros((len(tokens), count), np.int64), np.ones((len(tokens), count), bool)
    for base in range(_KMER):
        column = tokens[:, base : base + count]
        code, known = code * 4 + column, known & (column < 4)
    rows, places = np.nonzero(known)
    table = pl.DataFrame({"row": rows, "place": places, "code": code[rows, places]})
    kmers = (
        table.group_by("row", "code")
        .agg(pl.col("place").min())
        .group_by("code")
        .agg(pl.len(), pl.col("place").median())
        .filter(pl.col("len") >= share * len(reads))
        .sort("place", "code")
    )
    contigs: list[tuple[str, int]] = []
    for number, place in kmers.select("code", "place").iter_rows():
        text = "".join("ACGT"[number >> 2 * (_KMER - 1 - base) & 3] for base in range(_KMER))
        if contigs and contigs[-1][0].endswith(text[:-1]):
            contigs[-1] = (contigs[-1][0] + text[-1], contigs[-1][1])
        else:
            contigs.append((text, int(place)))
    return contigs


def barcode_of(inserts: pl.Series) -> tuple[str, int] | None:
    """Return the end (``left`` or ``right``) and the length in bp of a barcode beside the promoter; None if there is none.

    With barcodes, many sequences are equal except for some bases at one end, in which they are unlike. Only inserts of one length are
    recognised.
    """
    lengths = inserts.str.len_bytes()
    distinct = inserts.unique()
    if len(distinct) < 20 or lengths.n_unique() > 1:
        return None
    for side, text in (("right", distinct), ("left", distinct.str.reverse())):
        letters = bytes_matrix(text.sort())
        different = letters[1:] != letters[:-1]
        first = different.argmax(axis=1)  # bases that two neighbours have in common
        rest = letters.shape[1] - first
        unlike = different.sum(axis=1) / rest
        several = (rest <= min(_LONGEST_BARCODE, letters.shape[1] // 2)) & (rest >= _LEAST_BARCODE) & (unlike >= _UNLIKE)
        if several.mean() >= _WITH_BARCODES:
            return side, int(np.quantile(rest[several], 0.95))
    return None


def partial_flank(reads: pl.Series, five: str, least: int = 6) -> str:
    """Return the end of a 5' flank with which most reads begin, at least 6 bp; empty if they do not begin within it."""
    for begin in range(1, len(five) - least + 1):
        if float(reads.str.starts_with(five[begin:]).mean()) >= 0.5:  # type: ignore[arg-type]
            return five[begin:]
    return ""


def insert_lengths(lengths: Sequence[int] | np.ndarray, weights: np.ndarray | None = None) -> tuple[int, int]:
    """Return the range of lengths that holds all but 1 % of them, half of it at either end."""
    order = np.argsort(lengths)
    values = np.asarray(lengths)[order]
    total = np.cumsum(np.ones(len(values)) if weights is None else np.asarray(weights)[order])
    low, high = np.searchsorted(total, [0.005 * total[-1], 0.995 * total[-1]])
    return int(values[low]), int(values[min(high, len(values) - 1)])
