"""Read FASTQ files in blocks of bytes: decompress, cut into whole records, and locate the fields of each record."""

import gzip
import zlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from typing import IO

import numpy as np
from isal import igzip, isal_zlib

from gpraflow.core.errors import InputError

_BLOCK = 8 << 20  # bytes to read at a time
_AHEAD = 2  # blocks that are read while line endings are located
_BEFORE = 64 << 10  # spare bytes before a block's text, for the record that began in the block before
SPARE_BYTES = 1024  # spare bytes after a block's text, for reads up to this length
_NARROW = 16  # columns that are padded faster one by one


@dataclass(frozen=True)
class Block:
    """Whole records of a FASTQ file.

    ``text`` is their bytes from ``begin``, followed by at least `SPARE_BYTES` others, uint8. ``ends`` are the positions of the four line
    endings of each record in ``text``, int64, shape ``(records, 4)``. ``first`` is the 1-based number of the first record.
    """

    text: np.ndarray
    begin: int
    ends: np.ndarray
    first: int

    def __len__(self) -> int:
        """Return the number of records."""
        return len(self.ends)

    @property
    def records(self) -> np.ndarray:
        """Return the bytes of the records alone."""
        return self.text[self.begin : self.ends[-1, 3] + 1]


def _fill(buffer: np.ndarray, handle: IO[bytes], path: str) -> int:
    """Read into a buffer; return how many bytes, which is less than its size only at the end of the file."""
    size = 0
    try:
        while more := handle.readinto(buffer[size:].data):  # type: ignore[attr-defined]
            size += more
    except (EOFError, zlib.error, gzip.BadGzipFile, isal_zlib.IsalError) as error:  # type: ignore[misc]
        raise InputError(f"{path}: the gzip file is truncated or damaged ({error}); copy it again") from None
    return size


def _texts(path: str) -> Iterator[tuple[np.ndarray, int, bool]]:
    """Yield arrays that hold the text of a file from `_BEFORE`; with the position of its end, and whether it is the last one."""
    try:
        with open(path, "rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            handle = igzip.open(raw, "rb") if packed else raw
            size = _BLOCK
            while size == _BLOCK:
                text = np.empty(_BEFORE + _BLOCK + SPARE_BYTES, np.uint8)
                size = _fill(text[_BEFORE : _BEFORE + _BLOCK], handle, path)
                yield text, _BEFORE + size, size < _BLOCK
    except (FileNotFoundError, IsADirectoryError):
        raise InputError(f"{path}: this FASTQ file does not exist") from None


def _lines(text: np.ndarray, end: int, last: bool) -> tuple[np.ndarray, int, bool, np.ndarray]:
    """Return an array of `_texts` with the positions of its line endings, which become those of Unix."""
    ends = np.flatnonzero(text[_BEFORE:end] == ord("\n")) + _BEFORE
    if (text[ends - 1] == ord("\r")).any():
        unix = np.frombuffer(text[_BEFORE:end].tobytes().replace(b"\r\n", b"\n"), np.uint8)
        end = _BEFORE + len(unix)
        text[_BEFORE:end] = unix
        ends = np.flatnonzero(unix == ord("\n")) + _BEFORE
    return text, end, last, ends


def _texts_with_lines(path: str, pool: Executor | None) -> Iterator[tuple[np.ndarray, int, bool, np.ndarray]]:
    running: deque[Future] = deque()
    for part in _texts(path):
        if pool is None:
            yield _lines(*part)
            continue
        running.append(pool.submit(_lines, *part))
        if len(running) > _AHEAD:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def whole_records(path: str, pool: Executor | None = None) -> Iterator[Block]:
    """Yield the records of a FASTQ file in blocks; with ``pool``, line endings are located there while the file is read on."""
    first = 1
    rest, rest_ends = np.empty(0, np.uint8), np.empty(0, np.int64)  # of the record that is not yet whole
    for text, end, last, ends in _texts_with_lines(path, pool):
        if len(rest) and rest[-1] == ord("\r") and end > _BEFORE and text[_BEFORE] == ord("\n"):  # a Windows line ending in two blocks
            rest = rest[:-1]
        begin = _BEFORE - len(rest)
        if begin < 0:
            text, ends, end, begin = np.concatenate([rest, text[_BEFORE:]]), ends - begin, end - begin, 0
        else:
            text[begin:_BEFORE] = rest
        ends = np.concatenate([rest_ends + begin, ends])
        if last and len(ends) % 4 == 3 and text[end - 1] != ord("\n"):  # the last line may lack its line ending
            text[end] = ord("\n")
            ends, end = np.append(ends, end), end + 1
        number = len(ends) // 4
        records = ends[: 4 * number].reshape(number, 4)
        if number:
            yield Block(text, begin, records, first)
            begin = int(records[-1, 3]) + 1
            first += number
        rest, rest_ends = text[begin:end], ends[4 * number :] - begin
    if (rest != ord("\n")).any():
        raise InputError(f"{path}: the file ends in the middle of read {first:,} (line {4 * first - 3:,}); copy it again")


def count_records(path: str) -> int:
    """Return the number of reads in a FASTQ file.

    Raises
    ------
    InputError
        If the file is not FASTQ or is truncated; with file and read.
    """
    total = 0
    for block in whole_records(path):
        locate_fields(block, path)
        total += len(block)
    return total


@dataclass(frozen=True)
class _Fields:
    """Start of the sequence and the quality string of each read in a block, and their length; int64, shape ``(reads,)``."""

    sequence: np.ndarray
    quality: np.ndarray
    length: np.ndarray


def locate_fields(block: Block, path: str) -> _Fields:
    text, ends, first = block.text, block.ends, block.first
    starts = np.concatenate([[block.begin], ends[:-1, 3] + 1])
    length = ends[:, 1] - ends[:, 0] - 1

    def refuse(bad: np.ndarray, fault: str) -> None:
        if bad.any():
            row = int(bad.argmax())
            number = first + row
            name = text[starts[row] : ends[row, 0]].tobytes().decode(errors="replace")
            raise InputError(f"{path}: read {number:,} (line {4 * number - 3:,}, '{name[:60]}'): {fault}")

    if not block.records.min():
        bad = np.zeros(len(ends), bool)
        bad[np.searchsorted(ends[:, 3], np.flatnonzero(block.records == 0) + block.begin)] = True
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
    if width - shortest > _NARROW:
        rows[:, shortest:] *= np.arange(shortest, width) < length[:, None]
    else:
        for column in range(shortest, width):
            rows[:, column] *= column < length
    return rows


def cut_rows(matrix: np.ndarray, rows: np.ndarray, start: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the ``size`` bytes from ``start`` in some rows of a matrix, padded with 0."""
    text, starts, width = matrix.ravel(), rows * matrix.shape[1] + start, row_width(size)
    if starts.max() + width > len(text):
        text = np.concatenate([text, np.zeros(width, np.uint8)])
    return byte_rows(text, starts, size)
