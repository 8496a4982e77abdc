"""Buckets in local folders (``file://``)."""

from pathlib import Path

from gpraflow.core import checksums, files
from gpraflow.core.errors import GpraflowError, InputError
from gpraflow.storage.base import Entry, conflict


class FileBucket:
    """A local folder used as a bucket."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.root = Path(self.url.removeprefix("file://"))

    def find(self, name: str) -> Entry | None:
        """See `Bucket`."""
        path = self.root / name
        if not path.is_file():
            return None
        about = path.stat()
        return Entry(about.st_size, checksums.crc32c_of(path), about.st_mtime_ns)

    def get(self, name: str) -> bytes:
        """See `Bucket`."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{self.url}/{name}: not in the bucket; upload again (snakemake --forcerun upload_shards)") from None

    def put(self, name: str, path: Path, crc32c: str, seen: Entry | None) -> None:
        """See `Bucket`."""
        with files.whole(self.root / name) as temporary:
            with open(path, "rb") as source, open(temporary, "wb") as target:
                while block := source.read(files.BLOCK):
                    target.write(block)
            if checksums.crc32c_of(temporary) != crc32c:
                raise GpraflowError(f"{self.url}/{name}: damaged in transfer (its CRC32C is not {crc32c}); check the disk and run again")
            self._check(name, seen)

    def delete(self, name: str, seen: Entry) -> None:
        """See `Bucket`."""
        self._check(name, seen)
        (self.root / name).unlink()

    def path(self, name: str) -> Path | None:
        """See `Bucket`."""
        return self.root / name

    def names(self, prefix: str) -> list[str]:
        """See `Bucket`."""
        paths = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return sorted(name for name in paths if name.startswith(prefix))

    def location(self) -> str | None:
        """See `Bucket`."""
        return None

    def _check(self, name: str, seen: Entry | None) -> None:
        path = self.root / name
        if (path.stat().st_mtime_ns if path.is_file() else None) != (seen.version if seen else None):
            raise conflict(f"{self.url}/{name}")
