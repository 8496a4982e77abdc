"""Sequences and numbers in memory, or in files whose pages the system can take out of memory, for libraries that are larger than it."""

import io
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.lib.stride_tricks import sliding_window_view

from gpraflow.sequences.scaffold import complement

_BLOCK_ROWS = 500_000  # sequences that are appended at a time
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xD6E8FEB86659FD93)  # odd, with about as many ones as zeros in random order
_HALF = np.uint64(32)


class Array:
    """A flat array to which values are appended, in memory or in a file.

    Parameters
    ----------
    dtype
        Type of the values.
    path
        File, which the caller removes; None for memory.
    """

    def __init__(self, dtype: Any, path: Path | None = None):
        self._dtype, self._path, self._size = np.dtype(dtype), path, 0
        self._file = io.BytesIO() if path is None else open(path, "w+b")  # noqa: SIM115

    def append(self, values: np.ndarray) -> int:
        """Append values and return the index of the first."""
        self._file.write(np.ascontiguousarray(values, self._dtype).view(np.uint8).data)
        begin, self._size = self._size, self._size + len(values)
        return begin

    @cached_property
    def values(self) -> np.ndarray:
        """All values; none may be appended after this was read."""
        if isinstance(self._file, io.BytesIO):
            return np.frombuffer(self._file.getbuffer(), self._dtype)
        self._file.close()
        return np.memmap(self._path, self._dtype, "r") if self._size else np.empty(0, self._dtype)  # type: ignore[call-overload]

    def remove(self) -> None:
        """Give back the memory or the file."""
        self.__dict__.pop("values", None)
        if self._path:
            self._file.close()
            self._path.unlink(missing_ok=True)
        self._file = io.BytesIO()


class Text:
    """Sequences, one after the other, as ASCII codes.

    Parameters
    ----------
    folder
        For files; None to hold the sequences in memory.
    """

    def __init__(self, folder: Path | None = None):
        self._codes = Array(np.uint8, folder / "codes" if folder else None)
        self._bounds = Array(np.int64, folder / "bounds" if folder else None)
        self._bounds.append(np.zeros(1, np.int64))
        self._rows = self._total = 0

    @classmethod
    def of(cls, sequences: pl.Series, folder: Path | None = None) -> "Text":
        """Return the sequences of a column."""
        text = cls(folder)
        for begin in range(0, len(sequences), _BLOCK_ROWS):
            text.append(sequences[begin : begin + _BLOCK_ROWS])
        return text

    def __len__(self) -> int:
        """Return the number of sequences."""
        return self._rows

    def append(self, sequences: pl.Series) -> None:
        """Append some sequences."""
        self._codes.append(np.frombuffer(sequences.str.join("").item().encode(), np.uint8))
        bounds = self._total + np.cumsum(sequences.str.len_bytes().to_numpy(), dtype=np.int64)
        self._bounds.append(bounds)
        self._rows, self._total = self._rows + len(sequences), int(bounds[-1]) if len(bounds) else self._total

    def lengths(self, rows: Any) -> np.ndarray:
        """Return the length of some sequences (rows or a slice of them), int64."""
        begin, end = self._ends(rows)
        return end - begin

    def hashes(self, rows: np.ndarray, offset: int, size: int, reverse_complemented: bool = False) -> np.ndarray:
        """Return hashes of the ``size`` bases at an offset of each sequence, or of its reverse complement, uint64.

        All these bases must be there. Negative offsets count from the end.
        """
        begin, end = self._ends(rows)
        if reverse_complemented:
            at = end - offset - size if offset >= 0 else begin - offset - size
        else:
            at = begin + offset if offset >= 0 else end + offset
        return _hashes(self._windows(at, size, reverse_complemented))

    def whole_hashes(self, rows: np.ndarray) -> np.ndarray:
        """Return hashes of whole sequences, uint64; collisions are possible."""
        found = np.empty(len(rows), np.uint64)
        for length, places in self._by_length(rows):
            found[places] = self.hashes(rows[places], 0, length)
        return found

    def take(self, rows: np.ndarray, reverse_complemented: bool = False) -> np.ndarray:
        """Return some sequences, or their reverse complements, as an array of ``bytes`` objects."""
        found = np.full(len(rows), b"", object)
        for length, places in self._by_length(rows):
            if length:
                found[places] = self._packed(rows[places], length, reverse_complemented).astype(object)
        return found

    def series(self, rows: np.ndarray) -> pl.Series:
        """Return some sequences as a column, in memory of its own."""
        parts, order = [], []
        for length, places in self._by_length(rows):
            some = rows[places]
            parts.append(pl.Series(self._packed(some, length)).cast(pl.String) if length else pl.Series([""] * len(some)))
            order.append(places)
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return pl.Series([], dtype=pl.String)
        place = np.empty(len(rows), np.int64)
        place[np.concatenate(order)] = np.arange(len(rows))
        return pl.concat(parts)[place]

    def _ends(self, rows: Any) -> tuple[np.ndarray, np.ndarray]:
        bounds = self._bounds.values
        return bounds[:-1][rows], bounds[1:][rows]

    def _by_length(self, rows: np.ndarray) -> list[tuple[int, Any]]:
        lengths = self.lengths(rows)
        distinct = np.flatnonzero(np.bincount(lengths)).tolist()
        return [(length, np.flatnonzero(lengths == length) if len(distinct) > 1 else slice(None)) for length in distinct]

    def _packed(self, rows: np.ndarray, length: int, reverse_complemented: bool = False) -> np.ndarray:
        codes = self._windows(self._ends(rows)[0], length, reverse_complemented)
        return np.ascontiguousarray(codes).view(f"S{length}").ravel()

    def _windows(self, at: np.ndarray, size: int, reverse_complemented: bool) -> np.ndarray:
        """Return ``size`` codes from each of some places, ``(places, size)``."""
        if not len(at) or not size:
            return np.empty((len(at), size), np.uint8)
        codes = sliding_window_view(self._codes.values, size)[at]
        return complement(codes[:, ::-1]) if reverse_complemented else codes


def _hashes(codes: np.ndarray) -> np.ndarray:
    """Return a hash of each row of ``(rows, size)`` codes, uint64."""
    rows, size = codes.shape
    words = np.zeros((rows, -(-size // 8) * 8), np.uint8)
    words[:, :size] = codes
    found = np.full(rows, size, np.uint64)
    for word in words.view(np.uint64).T if size else ():
        found = (found ^ word) * _MIX[0]
        found ^= found >> _HALF
    found *= _MIX[1]
    return found ^ (found >> _HALF)


class Buckets:
    """Hashes of rows in buckets, such that equal hashes are in the same one, in memory or in a file.

    An entry is an uint64 number, ``hash << 32 | row``: within a bucket, the lower half of the hash identifies it nearly always. Sorted
    entries are in the order of hashes and, of one hash, of rows.

    Parameters
    ----------
    number
        Of buckets.
    kinds
        Number of hashes of a row.
    path
        File; None for memory.
    """

    def __init__(self, number: int, kinds: int, path: Path | None = None):
        self.number, self._entries = number, Array(np.uint64, path)
        self._bounds: list[list[np.ndarray]] = [[] for _ in range(kinds)]

    def add(self, kind: int, entries: np.ndarray, bounds: np.ndarray) -> None:
        """Append what `divided` returns."""
        self._bounds[kind].append(self._entries.append(entries) + bounds)

    def finish(self) -> None:
        """Make the entries readable, by several threads; none may be appended after this."""
        _ = self._entries.values

    def entries(self, kind: int, bucket: int) -> np.ndarray:
        """Return the entries of one bucket."""
        values = self._entries.values
        parts = [values[bounds[bucket] : bounds[bucket + 1]] for bounds in self._bounds[kind]]
        return np.concatenate([np.empty(0, np.uint64), *parts])

    def remove(self) -> None:
        """Give back the memory or the file."""
        self._entries.remove()


def divided(hashes: np.ndarray, rows: np.ndarray, number: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the entries of hashes in the order of ``number`` buckets, and where each begins, with the end."""
    entries = hashes << _HALF | rows
    if number == 1:
        return entries, np.array([0, len(rows)])
    bucket = ((hashes >> _HALF) * np.uint64(number) >> _HALF).astype(np.uint16 if number < 1 << 16 else np.uint32)
    counts = np.bincount(bucket, minlength=number)
    return entries[np.argsort(bucket, kind="stable")], np.concatenate([[0], np.cumsum(counts)])
