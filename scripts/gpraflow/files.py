"""Files that appear whole or not at all, and digests of them."""

import glob
import gzip
import hashlib
import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import google_crc32c

from gpraflow.errors import GpraflowError

BLOCK = 1 << 20


@contextmanager
def whole(path: str | os.PathLike) -> Iterator[Path]:
    """Give a temporary name beside ``path`` to write to; on success fsync it and rename it to ``path``, else remove it.

    The temporary name keeps the suffixes of ``path``, for writers that go by them.

    Raises
    ------
    GpraflowError
        If the disk is full, a size limit is reached or the folder cannot be written.
    """
    path = Path(path)
    temporary = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in path.parent.glob(f".partial-*-{glob.escape(path.name)}"):  # by a process that was killed: a file has one writer
            left.unlink(missing_ok=True)
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise GpraflowError(f"{path}: could not be written ({error.strerror or error}); free space or choose another place") from error
    finally:
        with suppress(OSError):  # it is not there, or its folder is not
            temporary.unlink()


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write ``text`` as UTF-8 under ``path``, whole or not at all."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")


def json_text(content: Any) -> str:
    """Return ``content`` as indented JSON with sorted keys; the same content gives the same text. NaN is refused."""
    return json.dumps(content, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: str | os.PathLike, content: Any) -> None:
    """Write ``content`` as `json_text`."""
    write_text(path, json_text(content))


def write_gzip(path: str | os.PathLike, content: bytes) -> None:
    """Write ``content`` gzip-compressed, without time stamp or file name; the same content gives the same bytes."""
    with whole(path) as temporary:
        temporary.write_bytes(gzip.compress(content, compresslevel=6, mtime=0))


def write_parquet(path: str | os.PathLike, table: Any) -> None:
    """Write a Polars table as Parquet, whole or not at all; the same rows give the same bytes."""
    content = io.BytesIO()  # through memory: Polars' own file writer does not say why a write failed
    table.write_parquet(content, compression="zstd")
    with whole(path) as temporary:
        temporary.write_bytes(content.getvalue())


def digests(path: str | os.PathLike) -> dict[str, Any]:
    """Return ``bytes``, ``sha256`` and ``crc32c`` (both hexadecimal) of a file, read once."""
    sha256, crc32c, size = hashlib.sha256(), google_crc32c.Checksum(), 0
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            sha256.update(block)
            crc32c.update(block)
            size += len(block)
    return {"bytes": size, "sha256": sha256.hexdigest(), "crc32c": crc32c.hexdigest().decode()}


def crc32c_of(path: str | os.PathLike) -> str:
    """Return the CRC32C of a file in hexadecimal."""
    checksum = google_crc32c.Checksum()
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            checksum.update(block)
    return checksum.hexdigest().decode()


def crc32c(content: bytes) -> str:
    """Return the CRC32C of ``content`` in hexadecimal."""
    return google_crc32c.Checksum(content).hexdigest().decode()
