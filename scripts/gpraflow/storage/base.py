"""Interface of buckets, their entries, and the error of a conflicting upload."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gpraflow.core.errors import ConflictError

PARALLEL = 8  # objects on their way at a time


@dataclass(frozen=True)
class Entry:
    """An object as it was seen in a bucket: size in bytes, CRC32C in hexadecimal, and a number that another write would change."""

    size: int
    crc32c: str
    version: int


class Bucket(Protocol):
    """What a bucket can do; names of objects use ``/``. Methods may be called by several threads."""

    url: str

    def find(self, name: str) -> Entry | None:
        """Return an object as it is now, or None if it is not there."""

    def get(self, name: str) -> bytes:
        """Return an object's content, the same as was stored; `InputError` if it is not there."""

    def put(self, name: str, path: Path, crc32c: str, seen: Entry | None) -> None:
        """Store a local file with this CRC32C, whole or not at all; `ConflictError` if the object is no longer as it was ``seen``."""

    def delete(self, name: str, seen: Entry) -> None:
        """Remove an object; `ConflictError` if it is no longer as it was ``seen``."""

    def path(self, name: str) -> Path | None:
        """Return the local file of an object, whether it is there or not; None if this bucket is no folder."""

    def names(self, prefix: str) -> list[str]:
        """Return the names of all objects that start with ``prefix``, sorted."""

    def location(self) -> str | None:
        """Return where the bucket is, as its provider calls that; None for a folder."""


def conflict(url: str) -> ConflictError:
    """Return the error of an object that is no longer as it was seen."""
    return ConflictError(f"{url}: another run wrote this meanwhile; give every run a bucket.url of its own, then run again")
