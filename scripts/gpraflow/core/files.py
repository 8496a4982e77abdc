"""Atomic writing of files, and digests of files."""

import errno
import gzip
import io
import json
import os
import re
import shutil
import socket
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from gpraflow.core.errors import GpraflowError, InputError

BLOCK = 1 << 20
HOST = re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())  # without '-', which separates the parts of temporary names


# Errors of writing itself; others that come up while a file is written have another cause.
_ADVICE = {
    errno.ENOSPC: "free space, or choose another folder",
    errno.EDQUOT: "the disk quota is used up; free space, or choose another folder",
    errno.EFBIG: "a limit on file sizes is reached (ulimit -f)",
    errno.EIO: "the disk or file system is damaged",
    errno.EROFS: "the file system is read-only; choose another folder",
    errno.EACCES: "make the folder writable, or choose another one",
    errno.EPERM: "make the folder writable, or choose another one",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.EISDIR: "this is a folder; choose another name",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "the folder was removed meanwhile",
}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
_WITHOUT_NAME = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)  # errors of writes to an open file, which do not name the file


def cause_of(error: OSError, target: str | os.PathLike, *written: str | os.PathLike) -> Exception:
    """Return the error to raise for an ``OSError`` that occurred while ``target`` was written.

    Parameters
    ----------
    error
        What was raised.
    target
        Name for the message.
    written
        Further files and folders that were written, with all that they hold.

    Returns
    -------
    Exception
        `GpraflowError` if the target could not be written, `InputError` if another file could not be read, else ``error`` itself, as for a
        broken connection.
    """
    reason = error.strerror or str(error)
    if error.filename is None:
        own = error.errno in _WITHOUT_NAME
    else:
        place = Path(os.fsdecode(error.filename)) if isinstance(error.filename, (str, bytes, os.PathLike)) else Path()
        ours = any(part.startswith((".partial-", ".parts-")) for part in place.parts)
        own = ours or Path(target).is_relative_to(place) or any(place.is_relative_to(path) for path in written)
    if own:
        room = _room(target) if error.errno in (errno.ENOSPC, errno.EDQUOT) else ""
        return GpraflowError(f"{target}: could not be written ({reason}); {_ADVICE.get(error.errno or 0, 'choose another folder')}{room}")
    if isinstance(error.filename, (str, os.PathLike)):
        return InputError(f"{error.filename}: could not be read ({reason})")
    return error


def _room(target: str | os.PathLike) -> str:
    """Return how much room the file system of ``target`` has, for a message."""
    for folder in Path(target).absolute().parents:
        with suppress(OSError):
            usage = shutil.disk_usage(folder)
            return f" ({usage.free:,} of {usage.total:,} bytes are free there)"
    return ""


def is_disk_fault(error: BaseException | None) -> bool:
    """Return True if an error, or what it was raised from, is of a disk that is full, limited or read-only."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__
    return False


def _leftovers(path: Path, kind: str = "partial") -> Iterator[Path]:
    """Yield temporary files or folders of ``path`` that killed processes of this machine left behind."""
    pattern = re.compile(rf"\.{kind}-{re.escape(HOST)}-(\d+)-{re.escape(path.name)}")
    for entry in path.parent.iterdir():
        if (match := pattern.fullmatch(entry.name)) and not _is_alive(int(match[1])):
            yield entry


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # of another user
        return True
    return True


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """Provide a temporary path next to ``path``; on success fsync it and rename it to ``path``, otherwise remove it.

    The temporary name keeps the suffixes of ``path``, for writers that depend on them, and contains machine and process, so that another
    process that writes the same file uses another one.

    Raises
    ------
    GpraflowError
        If the disk is full, a size limit is reached or the folder cannot be written.
    InputError
        If another file could not be read while this one was written.
    """
    path = Path(path)
    temporary = path.with_name(f".partial-{HOST}-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for leftover in _leftovers(path):
            leftover.unlink(missing_ok=True)
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        cause = cause_of(error, path, temporary)
        if cause is error:
            raise
        raise cause from error
    finally:
        with suppress(OSError):  # the file or its folder does not exist
            temporary.unlink()


def move(source: str | os.PathLike, target: str | os.PathLike) -> None:
    """Rename a finished file or folder of the same file system, after an fsync of its content."""
    source = Path(source)
    for path in [source] if source.is_file() else source.rglob("*"):
        if path.is_file():
            with open(path, "rb+") as handle:
                os.fsync(handle.fileno())
    os.replace(source, target)


def check_unpacked(entry: zipfile.ZipInfo, most: int) -> None:
    """Check the size that a file of an archive declares, before it is unpacked: ``most`` times what it takes there, and 1 MB.

    Raises
    ------
    ValueError
        If it is more.
    """
    if entry.file_size > most * entry.compress_size + (1 << 20):
        raise ValueError(f"{entry.filename} unpacks from {entry.compress_size:,} to {entry.file_size:,} bytes")


@contextmanager
def scratch_folder(path: str | os.PathLike) -> Iterator[Path]:
    """Provide a temporary folder next to ``path`` for its parts; it is removed at the end."""
    path = Path(path)
    for leftover in _leftovers(path, "parts"):
        shutil.rmtree(leftover, ignore_errors=True)
    folder = path.with_name(f".parts-{HOST}-{os.getpid()}-{path.name}")
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path``, atomically."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def json_text(content: Any) -> str:
    """Return ``content`` as indented JSON with sorted keys, so that equal content gives equal text. NaN raises an error."""
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write ``content`` as JSON (`json_text`), atomically."""
    write_text(path, json_text(content))


def write_gzip(path: str | os.PathLike, content: bytes) -> None:
    """Write ``content`` gzip-compressed, without time stamp and file name, so that equal content gives equal bytes."""
    with whole(path) as temporary:
        temporary.write_bytes(gzip.compress(content, compresslevel=6, mtime=0))


def write_parquet(path: str | os.PathLike, table: Any) -> None:
    """Write a Polars table as Parquet, atomically; equal rows give equal bytes. A lazy table is streamed and never whole in memory."""
    with whole(path) as temporary:
        write_part(temporary, table, "zstd")


def write_part(path: str | os.PathLike, table: Any, compression: str = "lz4") -> None:
    """Write a Polars table as Parquet under a temporary name, such as one in a `scratch_folder`."""
    with open(path, "wb") as handle:
        output = _Output(handle)
        try:
            table.lazy().sink_parquet(output, compression=compression)
        except Exception:
            if output.error:  # Polars reports another one, from the step that waited for the file
                raise output.error from None
            raise


class _Output(io.RawIOBase):
    """A file for writers that do not report why a write failed: ``error`` is the reason."""

    def __init__(self, handle: BinaryIO):
        self.handle = handle
        self.error: OSError | None = None

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        try:
            return self.handle.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        try:
            self.handle.flush()
        except OSError as error:
            self.error = error
            raise
