"""Interface of buckets, their entries, and the error of a conflicting upload."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gpraflow.core.errors import ConflictError

PARALLEL = 8  # concurrent transfers


@dataclass(frozen=True)
class Entry:
    """Metadata of an object in a bucket: size in bytes, CRC32C in hexadecimal, and a version number that changes with every write."""

    size: int
    crc32c: str
    version: int


class Bucket(Protocol):
    """Interface of a bucket; names of objects use ``/``. Methods are thread-safe."""

    url: str

    def find(self, name: str) -> Entry | None:
        """Return the current metadata of an object, or None if it does not exist."""

    def get(self, name: str) -> bytes:
        """Return an object's content as stored; raise `InputError` if it does not exist."""

    def put(self, name: str, path: Path, crc32c: str, seen: Entry | None) -> None:
        """Store a local file with this CRC32C atomically; raise `ConflictError` if the object has changed since it was ``seen``."""

    def delete(self, name: str, seen: Entry) -> None:
        """Delete an object; raise `ConflictError` if it has changed since it was ``seen``."""

    def path(self, name: str) -> Path | None:
        """Return the local path of an object, which need not exist; None if the bucket is not a local folder."""

    def names(self, prefix: str) -> list[str]:
        """Return the sorted names of all objects that start with ``prefix``."""

    def location(self) -> str | None:
        """Return the provider's name of the bucket's location; None for a local folder."""


def conflict(url: str) -> ConflictError:
    """Return the error for an object that was changed by another run."""
    return ConflictError(f"{url}: another run changed this object in the meantime; give each run its own bucket.url, then run again")
