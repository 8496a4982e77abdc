"""Excerpts: the first rows of a table in a file of their own, which the readers of whole tables read."""

import itertools
import os
import zlib
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import zstandard

from gpraflow.core.errors import GpraflowError, InputError
from gpraflow.formats.text import STDIN, UNREADABLE, decompressed, require_file, suffix_of

_START = 1 << 20  # bytes of a compressed file from which its size without compression is estimated
_PARQUET, _EXCEL = (".parquet", ".pq"), (".xlsx",)


@dataclass(frozen=True)
class Excerpt:
    """The first rows of a file.

    ``path`` is the file with these rows, ``source`` the whole file, ``rows`` their number, and ``total`` that of the whole file, which is
    an estimate unless the excerpt is ``complete``.
    """

    path: str
    source: str
    rows: int
    total: int
    complete: bool

    def restored(self, message: str) -> str:
        """Return a message on the excerpt as one on its source."""
        return message.replace(self.path, self.source)

    @property
    def shown(self) -> str:
        """Return how many rows there are and were read, for people."""
        if self.complete:
            return f"{self.rows:,}"
        digits = 10 ** max(0, len(str(self.total)) - 2)
        return f"about {round(self.total / digits) * digits:,}, of which the first {self.rows:,} were read"


def of_table(path: str, folder: Path, rows: int) -> Excerpt:
    """Write the first rows of a table to a folder, as text without compression, or Parquet; a spreadsheet is taken as it is.

    Row numbers, header, comments and line endings are those of the source.

    Raises
    ------
    InputError
        If the file is missing, empty or damaged.
    """
    source = Path(path)
    require_file(source)
    if suffix_of(source) in _EXCEL:
        return Excerpt(path, path, 0, 0, True)
    if suffix_of(source) in _PARQUET:
        try:
            table = pl.scan_parquet(source, glob=False)
            total, head = table.select(pl.len()).collect().item(), table.head(rows).collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            raise InputError(f"{path}: not a readable Parquet file ({error})") from error
        target = place(folder, source.name)
        head.write_parquet(target)
        return Excerpt(str(target), path, head.height, total, total <= rows)
    text, complete = b"", True
    for block in decompressed(source):
        text += block
        if text.count(b"\n") > rows + 1000:  # comments and the header are not counted yet
            complete = False
            break
    comments = len(list(itertools.takewhile(lambda line: line.startswith(b"#"), text[: 1 << 20].split(b"\n"))))
    kept, more = head_lines(text, rows + comments + 1)
    target = place(folder, source.name.removesuffix(".gz").removesuffix(".zst"))
    target.write_bytes(kept)
    count = max(0, kept.rstrip(b"\n").count(b"\n") - comments)
    total = text.count(b"\n") - comments - 1 if more else count
    if not complete:
        total = _lines_of(source, text)
    return Excerpt(str(target), path, count, max(count, total), not more)


def rows_of(path: str | os.PathLike) -> int:
    """Return about how many rows a table has, from its first rows and the size of the file; 0 for a spreadsheet and standard input.

    What is wrong with the file is for its reader to say.
    """
    source = Path(path)
    try:
        require_file(source)
        if suffix_of(source) in _PARQUET:
            return int(pl.scan_parquet(source, glob=False).select(pl.len()).collect().item())
        if suffix_of(source) in _EXCEL or str(source) == STDIN:
            return 0
        text = next(decompressed(source), b"")
        return _lines_of(source, text) if text else 0
    except (GpraflowError, *UNREADABLE):
        return 0


def _lines_of(source: Path, start: bytes) -> int:
    """Return about how many lines a text file has, of which ``start`` is the beginning."""
    return round(start.count(b"\n") / len(start) * source.stat().st_size * expansion(source))


def head_lines(text: bytes, lines: int) -> tuple[bytes, bool]:
    """Return the first lines of a text, and whether there are more."""
    end = -1
    for _ in range(lines):
        end = text.find(b"\n", end + 1)
        if end < 0:
            return text, False
    return text[: end + 1], bool(text[end + 1 :].strip())


def place(folder: Path, name: str) -> Path:
    """Return a path for a file of this name in a subfolder of its own, since files of several folders can have the same name."""
    inner = folder / str(len(list(folder.iterdir())))
    inner.mkdir()
    return inner / name


def expansion(path: Path) -> float:
    """Return the bytes without compression per byte of a .gz or .zst file, estimated from its first megabytes; 1 for other files."""
    with open(path, "rb") as handle:
        start = handle.read(_START)
    used, length = 0, 0
    try:
        while used < len(start):
            if start[used:].startswith(b"\x1f\x8b"):
                member = zlib.decompressobj(31)
                length += len(member.decompress(start[used:]))
            elif start[used:].startswith(b"\x28\xb5\x2f\xfd"):
                member = zstandard.ZstdDecompressor().decompressobj()  # type: ignore[assignment]
                length += len(member.decompress(start[used:]))
            else:
                break
            used = len(start) - len(member.unused_data)
    except (zlib.error, zstandard.ZstdError):  # the readers say what is wrong
        pass
    return length / used if used and length else 1.0
