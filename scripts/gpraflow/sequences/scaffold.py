"""The promoter scaffold: flanks, fixed-length windows, tokens, reverse complements."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import polars as pl

from gpraflow.core import scaffolds
from gpraflow.core.errors import InputError

ALPHABET = "ACGTN"  # order of tokens and, without N, of one-hot channels; part of the shard format
BASES = len(ALPHABET) - 1  # number of one-hot channels; N is encoded as 0000
PADDING = ALPHABET.index("N")
Side = Literal["left", "right"]

_TOKEN_OF_BYTE = np.full(256, 255, np.uint8)
for _token, _base in enumerate(ALPHABET):
    _TOKEN_OF_BYTE[ord(_base)] = _token
_COMPLEMENT = np.array([3, 2, 1, 0, 4], np.uint8)
_OTHER_BASE = np.arange(256, dtype=np.uint8)
_OTHER_BASE[list(b"ACGT")] = list(b"TGCA")
_BYTE_OF_TOKEN = np.frombuffer(ALPHABET.encode(), np.uint8)


@dataclass(frozen=True)
class Scaffold:
    """Constant sequences on both sides of the insert, 5' to 3' on the strand of the reporter gene.

    A promoter consists of 5' flank, insert and 3' flank; ``upstream`` and ``downstream`` are the adjacent plasmid.
    """

    name: str
    five_prime: str
    three_prime: str
    upstream: str = ""
    downstream: str = ""


def load(path: str | os.PathLike, name: str) -> Scaffold:
    """Read one scaffold from a YAML file of scaffolds.

    Raises
    ------
    ConfigError
        If the file is missing, lacks this scaffold, or a sequence contains letters other than A, C, G and T.
    """
    entry = scaffolds.entry(path, name)
    return Scaffold(name, **{key: text for key, text in entry.items() if key != "organism"})


def bytes_matrix(sequences: pl.Series) -> np.ndarray:
    """Return sequences of equal length as a ``(rows, length)`` uint8 array of ASCII codes."""
    if not len(sequences):
        return np.empty((0, 0), np.uint8)
    joined = sequences.str.join("").item().encode()
    return np.frombuffer(joined, np.uint8).reshape(len(sequences), -1)


def fit(sequences: pl.Series, length: int, keep: Side, pad: Side) -> pl.Series:
    """Trim or pad sequences to ``length`` bp.

    Longer sequences keep their ``keep`` end; shorter ones are padded with N on the ``pad`` side. Keep right and pad left is the convention
    of the source slides and of Vaishnav et al. 2022 (doi:10.1038/s41586-022-04506-6).
    """
    cut = sequences.str.tail(length) if keep == "right" else sequences.str.head(length)
    return cut.str.pad_start(length, "N") if pad == "left" else cut.str.pad_end(length, "N")


def tokenize(sequences: pl.Series, length: int, keep: Side = "right", pad: Side = "left") -> np.ndarray:
    """Return sequences as ``(rows, length)`` uint8 tokens (A 0, C 1, G 2, T 3, N 4), trimmed or padded by `fit`.

    Raises
    ------
    InputError
        If a sequence contains another letter; the message counts rows from 1.
    """
    if not len(sequences):
        return np.empty((0, length), np.uint8)
    tokens = _TOKEN_OF_BYTE[bytes_matrix(fit(sequences, length, keep, pad))]
    bad = (tokens == 255).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"sequence {row + 1}: '{sequences[row]}' contains letters other than {ALPHABET}")
    return tokens


def offsets(sequences: pl.Series, length: int, keep: Side = "right", pad: Side = "left") -> np.ndarray:
    """Return the position of each sequence's first base in the window of `tokenize` (negative if it is cut off), ``(rows,)`` int64."""
    lengths = sequences.str.len_bytes().to_numpy().astype(np.int64)
    at_the_right = np.where(lengths > length, keep == "right", pad == "left")
    return np.where(at_the_right, length - lengths, 0)


def insert_positions(sequences: pl.Series, flanks: tuple[str, str], length: int, keep: Side = "right", pad: Side = "left") -> np.ndarray:
    """Return the positions of the window of `tokenize` that hold the insert if both flanks are intact, else the whole sequence.

    Returns
    -------
    numpy.ndarray
        ``(rows, length)`` bool.
    """
    five, three = flanks
    intact = (sequences.str.starts_with(five) & sequences.str.ends_with(three)).to_numpy()
    begin = offsets(sequences, length, keep, pad)
    end = begin + sequences.str.len_bytes().to_numpy().astype(np.int64)
    at = np.arange(length)
    begin, end = begin + intact * len(five), end - intact * len(three)
    return (at >= begin[:, None]) & (at < end[:, None])


def detokenize(tokens: np.ndarray) -> list[str]:
    """Convert ``(rows, length)`` tokens to sequences, without N at either end."""
    text = _BYTE_OF_TOKEN[tokens]
    return [row.tobytes().decode().strip("N") for row in text]


def one_hot(tokens: np.ndarray) -> np.ndarray:
    """Convert ``(..., length)`` tokens to ``(..., length, 4)`` float32 channels A, C, G, T; N is 0000."""
    channels = np.eye(len(ALPHABET), dtype=np.float32)
    channels[PADDING] = 0
    return channels[tokens][..., :-1]


def reverse_complement(tokens: np.ndarray) -> np.ndarray:
    """Return the reverse complement of ``(..., length)`` tokens; N stays N."""
    return _COMPLEMENT[tokens[..., ::-1]]


def complement(codes: np.ndarray) -> np.ndarray:
    """Return the complements of ASCII codes; other letters than A, C, G and T stay as they are."""
    return _OTHER_BASE[codes]


def reverse_complement_sequences(sequences: pl.Series) -> pl.Series:
    """Return the reverse complements of sequences.

    Uses a lookup table on a byte matrix per sequence length, ten times faster than string operations in Polars.
    """
    return _by_length(sequences, lambda text: _OTHER_BASE[text[:, ::-1]])


def canonical_sequences(sequences: pl.Series) -> pl.Series:
    """Return the alphabetically first of each sequence and its reverse complement, in memory of its own."""

    def first(text: np.ndarray) -> np.ndarray:
        strands = [np.ascontiguousarray(each).view(f"S{text.shape[1]}") for each in (text, _OTHER_BASE[text[:, ::-1]])]
        return np.where(strands[0] <= strands[1], *strands).view(np.uint8).reshape(text.shape)

    return _by_length(sequences, first)


def compact(sequences: pl.Series) -> pl.Series:
    """Return the same sequences in memory of their own; those taken from a larger column keep all of it in memory."""
    return _by_length(sequences, lambda text: text)


def _by_length(sequences: pl.Series, function: Callable[[np.ndarray], np.ndarray]) -> pl.Series:
    """Return sequences changed by a function of ``(rows, length)`` ASCII codes, which sequences of each length are passed to."""
    lengths = sequences.str.len_bytes().to_numpy()
    parts, places = [], []
    for length in np.unique(lengths):
        rows = np.flatnonzero(lengths == length)
        if length:
            text = function(bytes_matrix(sequences[rows] if len(rows) < len(sequences) else sequences))
            parts.append(pl.Series(np.ascontiguousarray(text).view(f"S{length}").ravel()).cast(pl.String))
        else:
            parts.append(sequences[rows])
        places.append(rows)
    if len(parts) == 1:
        return parts[0].alias(sequences.name)
    if not parts:
        return sequences
    place = np.empty(len(sequences), np.int64)
    place[np.concatenate(places)] = np.arange(len(sequences))
    return pl.concat(parts)[place].alias(sequences.name)
