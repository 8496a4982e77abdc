"""Buckets: where the trainer streams its shards from. One interface; ``file://`` is a folder that behaves like a bucket."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from gpraflow import files, shards
from gpraflow.errors import ConfigError, InputError


class Bucket(Protocol):
    """What a bucket can do; names of objects use ``/``."""

    url: str

    def put(self, name: str, path: Path) -> None:
        """Store a local file under ``name``, whole or not at all."""

    def get(self, name: str) -> bytes:
        """Return an object's content; `InputError` if it is not there."""

    def crc32c(self, name: str) -> str | None:
        """Return an object's CRC32C in hexadecimal, or None if it is not there."""

    def size(self, name: str) -> int | None:
        """Return an object's size in bytes, or None if it is not there."""

    def path(self, name: str) -> Path | None:
        """Return the local file of an object, whether it is there or not; None if this bucket is no folder."""

    def names(self, prefix: str) -> list[str]:
        """Return the names of all objects that start with ``prefix``, sorted."""

    def delete(self, name: str) -> None:
        """Remove an object."""


class FileBucket:
    """A folder as bucket."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.root = Path(self.url.removeprefix("file://"))

    def put(self, name: str, path: Path) -> None:
        """See `Bucket`."""
        with files.whole(self.root / name) as temporary, open(path, "rb") as source, open(temporary, "wb") as target:
            while block := source.read(files.BLOCK):
                target.write(block)

    def get(self, name: str) -> bytes:
        """See `Bucket`."""
        try:
            return (self.root / name).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{self.url}/{name}: not in the bucket; upload again (snakemake --forcerun upload_shards)") from None

    def crc32c(self, name: str) -> str | None:
        """See `Bucket`."""
        path = self.root / name
        return files.crc32c_of(path) if path.is_file() else None

    def size(self, name: str) -> int | None:
        """See `Bucket`."""
        path = self.root / name
        return path.stat().st_size if path.is_file() else None

    def path(self, name: str) -> Path | None:
        """See `Bucket`."""
        return self.root / name

    def names(self, prefix: str) -> list[str]:
        """See `Bucket`."""
        found = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return sorted(name for name in found if name.startswith(prefix))

    def delete(self, name: str) -> None:
        """See `Bucket`."""
        (self.root / name).unlink()


def connect(url: str) -> Bucket:
    """Return the bucket of a URL: ``file://`` and a path, absolute or relative to the working directory.

    Raises
    ------
    ConfigError
        If the URL has another scheme.
    """
    if url.startswith("file://") and len(url) > len("file://"):
        return FileBucket(url)
    if url.startswith("gs://"):
        raise ConfigError(f"bucket.url: {url}: gs:// is not supported by this version; use file://")
    raise ConfigError(f"bucket.url: '{url}' must start with file:// (a folder, absolute or relative to the working directory)")


def upload(
    manifests: Mapping[str, str | os.PathLike],
    url: str,
    receipt_path: str | os.PathLike,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Bring shards and manifests into a bucket and write a receipt.

    Objects whose CRC32C is right are left alone; each upload is read back and compared; a split's manifest goes up after its shards;
    shards of an earlier upload of the split are removed; nothing else in the bucket is touched.

    Parameters
    ----------
    manifests
        Split -> local manifest; shards lie beside it.
    url
        Bucket; objects are called ``<split>/<file>``.
    receipt_path
        JSON: bucket, and for each split the manifest's name and digests.
    progress
        Called with one line an object.

    Raises
    ------
    InputError
        If a local shard is not what its manifest says.
    GpraflowError
        If the bucket cannot be written or does not hold what was sent.
    """
    bucket = connect(url)
    receipt: dict[str, Any] = {"bucket": bucket.url, "splits": {}}
    for split, manifest_path in manifests.items():
        local = Path(manifest_path)
        manifest = shards.parse_manifest(local.read_bytes(), str(local))
        expected = {shard["name"]: shard["crc32c"] for shard in manifest["shards"]} | {local.name: files.crc32c_of(local)}
        for name, crc32c in expected.items():
            progress(f"{split}/{name}: {_send(bucket, f'{split}/{name}', local.parent / name, crc32c)}")
        for name in bucket.names(f"{split}/"):
            file = name.removeprefix(f"{split}/")
            if shards.is_shard_name(file, split) and file not in expected:
                bucket.delete(name)
                progress(f"{name}: removed, a shard of an earlier upload")
        receipt["splits"][split] = {"manifest": f"{split}/{local.name}", "rows": manifest["rows"], **files.digests(local)}
    files.write_json(receipt_path, receipt)
    return receipt


def _send(bucket: Bucket, name: str, path: Path, crc32c: str) -> str:
    if not path.is_file() or files.crc32c_of(path) != crc32c:
        raise InputError(f"{path}: missing or not what its manifest says; write the shards again (snakemake --forcerun shard_tfrecords)")
    if bucket.crc32c(name) == crc32c:
        return "already there"
    bucket.put(name, path)
    if bucket.crc32c(name) != crc32c:
        raise InputError(f"{bucket.url}/{name}: arrived damaged (its CRC32C is not {crc32c}); run again")
    return "uploaded"


def read_receipt(path: str | os.PathLike) -> dict[str, Any]:
    """Read what `upload` wrote."""
    with open(path, encoding="utf-8") as handle:
        return json.load(handle)
