"""Read FASTQ files in blocks of bytes: decompress, cut into whole records, and locate the fields of each record."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from isal import igzip, isal_zlib

from gpraflow.core.errors import InputError

_BLOCK = 8 << 20  # from 4 MB on NumPy requests transparent huge pages, which causes far fewer page faults
SPARE_BYTES = 1024  # spare bytes after a block's text, for reads up to this length


def _decompressed(path: str) -> Iterator[bytes]:
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with igzip.open(raw, "rb") if packed else raw as handle:
                while block := handle.read(_BLOCK):
                    yield block
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path}: this FASTQ file does not exist") from None
    except (EOFError, zlib.error, gzip.BadGzipFile, isal_zlib.IsalError) as error:  # type: ignore[misc]
        raise InputError(f"{path}: the gzip file is truncated or damaged ({error}); copy it again") from None


def whole_records(path: str) -> Iterator[tuple[list[bytes | memoryview], int, int]]:
    """Yield blocks of whole records as (pieces of text, number of records, 1-based number of the first record)."""
    rest, first = b"", 1
    for block in _decompressed(path):
        if b"\r" in block or rest.endswith(b"\r"):  # Windows line endings
            block, rest = (rest + block).replace(b"\r\n", b"\n"), b""
        lines = rest.count(b"\n") + int(np.count_nonzero(np.frombuffer(block, np.uint8) == ord("\n")))
        if lines < 4:
            rest += block
            continue
        end = len(block)
        for _ in range(lines % 4 + 1):
            end = block.rfind(b"\n", 0, end)
        yield [rest, memoryview(block)[: end + 1]], lines // 4, first
        rest = block[end + 1 :]
        first += lines // 4
    if rest.strip(b"\n"):
        if rest.count(b"\n") == 3 and not rest.endswith(b"\n"):  # the last line may lack its line ending
            yield [rest, b"\n"], 1, first
        else:
            raise InputError(f"{path}: the file ends in the middle of read {first:,} (line {4 * first - 3:,}); copy it again")


def count_records(path: str) -> int:
    """Return the number of reads in a FASTQ file.

    Raises
    ------
    InputError
        If the file is not FASTQ or is truncated; with file and read.
    """
    total = 0
    for pieces, number, first in whole_records(path):
        locate_fields(np.concatenate([np.frombuffer(piece, np.uint8) for piece in pieces]), first, path)
        total += number
    return total


@dataclass(frozen=True)
class _Fields:
    """Start of the sequence and the quality string of each read in a block, and their length; int64, shape ``(reads,)``."""

    sequence: np.ndarray
    quality: np.ndarray
    length: np.ndarray


def locate_fields(text: np.ndarray, first: int, path: str) -> _Fields:
    ends = np.flatnonzero(text == ord("\n")).reshape(-1, 4)
    starts = np.concatenate([[0], ends[:-1, 3] + 1])
    length = ends[:, 1] - ends[:, 0] - 1

    def refuse(bad: np.ndarray, fault: str) -> None:
        if bad.any():
            row = int(bad.argmax())
            number = first + row
            name = text[starts[row] : ends[row, 0]].tobytes().decode(errors="replace")
            raise InputError(f"{path}: read {number:,} (line {4 * number - 3:,}, '{name[:60]}'): {fault}")

    if not text.min(initial=1):
        bad = np.zeros(len(ends), bool)
        bad[np.searchsorted(ends[:, 3], np.flatnonzero(text == 0))] = True
        refuse(bad, "the record contains NUL bytes; the file is damaged: copy it again")
    refuse(text[starts] != ord("@"), "a FASTQ record must begin with @; the file is not FASTQ, or a line is missing before this read")
    refuse(text[ends[:, 1] + 1] != ord("+"), "the third line of a FASTQ record must begin with +; a line is missing or duplicated here")
    refuse(ends[:, 3] - ends[:, 2] - 1 != length, "sequence and quality differ in length; the file is damaged")
    return _Fields(ends[:, 0] + 1, ends[:, 2] + 1, length)


def row_width(length: np.ndarray) -> int:
    return int(length.max()) // 8 * 8 + 8  # at least one 0 after each read; a multiple of 8 bytes (machine words)


def byte_rows(text: np.ndarray, starts: np.ndarray, length: np.ndarray) -> np.ndarray:
    """Return a uint8 matrix with one read per row, padded with 0. ``text`` must end with at least one row's width of spare bytes."""
    width = row_width(length)
    windows = np.ndarray((len(text) - width + 1,), f"V{width}", text, 0, (1,))
    rows = windows[starts].view(np.uint8).reshape(-1, width)
    shortest = int(length.min())
    rows[:, shortest:] *= np.arange(shortest, width) < length[:, None]
    return rows


def cut_rows(matrix: np.ndarray, rows: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the ``size`` bytes from ``start`` in some rows of a matrix, padded with 0."""
    text = np.concatenate([matrix.ravel(), np.zeros(row_width(size), np.uint8)])
    return byte_rows(text, rows * matrix.shape[1] + start, size)
