"""Buckets: where the trainer gets its shards from. One interface: ``file://``, a folder that behaves like a bucket, and ``gs://``."""

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TextIO

from gpraflow import files, shards
from gpraflow.errors import ConfigError, ConflictError, GpraflowError, InputError
from gpraflow.progress import Progress, amount

PARALLEL = 8  # objects on their way at a time
_MANIFEST = "manifest.json"


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


class FileBucket:
    """A folder as bucket."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.root = Path(self.url.removeprefix("file://"))

    def find(self, name: str) -> Entry | None:
        """See `Bucket`."""
        path = self.root / name
        if not path.is_file():
            return None
        about = path.stat()
        return Entry(about.st_size, files.crc32c_of(path), about.st_mtime_ns)

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
            if files.crc32c_of(temporary) != crc32c:
                raise GpraflowError(f"{self.url}/{name}: arrived damaged (its CRC32C is not {crc32c}); check the disk and run again")
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
        found = (path.relative_to(self.root).as_posix() for path in self.root.rglob("*") if path.is_file())
        return sorted(name for name in found if name.startswith(prefix))

    def location(self) -> str | None:
        """See `Bucket`."""
        return None

    def _check(self, name: str, seen: Entry | None) -> None:
        path = self.root / name
        if (path.stat().st_mtime_ns if path.is_file() else None) != (seen.version if seen else None):
            raise conflict(f"{self.url}/{name}")


def conflict(url: str) -> ConflictError:
    """Return the error of an object that is no longer as it was seen."""
    return ConflictError(f"{url}: another run wrote this meanwhile; give every run a bucket.url of its own, then run again")


def connect(url: str) -> Bucket:
    """Return the bucket of a URL: ``file://`` and a path, absolute or relative to the working directory, or ``gs://bucket/folder``.

    Raises
    ------
    ConfigError
        If the URL has another form.
    GpraflowError
        If there are no credentials for it.
    """
    if url.startswith("file://") and len(url) > len("file://"):
        return FileBucket(url)
    if url.startswith("gs://"):
        from gpraflow.google_storage import GoogleBucket  # takes most of a second, which only gs:// need pay

        return GoogleBucket(url)
    raise ConfigError(
        f"bucket.url: '{url}' must start with file:// (a folder, absolute or relative to the working directory) or gs:// (Google's storage)"
    )


def upload(
    manifests: Mapping[str, str | os.PathLike],
    url: str,
    receipt_path: str | os.PathLike,
    progress: Callable[[str], None] = lambda line: None,
    *,
    location: str = "",
    terminal: TextIO | None = None,
) -> dict[str, Any]:
    """Bring shards and manifests into a bucket and write a receipt.

    Objects whose CRC32C is right are left alone; the others are sent, several at a time, and compared where they arrive. Only what is still
    as it was when the upload began is replaced, so that of two runs with different shards one stops. A manifest of other shards goes
    first and the new one comes last: shards that a manifest lists are whole. Shards of an earlier upload of the split are removed after
    that; nothing else in the bucket is touched.

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
    location
        Where the bucket has to be, such as ``europe-west4``; empty if anywhere.
    terminal
        For progress in bytes: a bar if it is one, else a line now and then.

    Raises
    ------
    InputError
        If a local shard is not what its manifest says.
    ConfigError
        If the bucket is elsewhere.
    GpraflowError
        If the bucket cannot be written, does not hold what was sent, or is written by another run.
    """
    bucket = connect(url)
    if location and (found := bucket.location()) is not None and found.lower() != location.lower():
        raise ConfigError(
            f"{bucket.url}: this bucket is in {found}, not in {location} as bucket.location says: training elsewhere is slow, and Google "
            "charges for what crosses regions; create a bucket there (a bucket cannot move), or correct bucket.location"
        )
    receipt: dict[str, Any] = {"bucket": bucket.url, "splits": {}}
    with ThreadPoolExecutor(PARALLEL) as pool:
        for split, manifest_path in manifests.items():
            receipt["splits"][split] = _Upload(bucket, split, Path(manifest_path), pool, progress, terminal).run()
    files.write_json(receipt_path, receipt)
    return receipt


class _Upload:
    """One split on its way into a bucket."""

    def __init__(
        self,
        bucket: Bucket,
        split: str,
        local: Path,
        pool: ThreadPoolExecutor,
        say: Callable[[str], None],
        terminal: TextIO | None,
    ):
        self.bucket, self.split, self.local, self.pool, self.say, self.terminal = bucket, split, local, pool, say, terminal
        self.manifest = shards.parse_manifest(local.read_bytes(), str(local))
        self.expected = {shard["name"]: shard["crc32c"] for shard in self.manifest["shards"]}
        self.expected |= {local.name: files.crc32c_of(local)}
        self.seen: dict[str, Entry | None] = {}

    def run(self) -> dict[str, Any]:
        for name, crc32c in zip(self.expected, self.pool.map(self._local_crc32c, self.expected), strict=True):
            if crc32c != self.expected[name]:
                path = self.local.parent / name
                raise InputError(
                    f"{path}: missing or not what its manifest says; write the shards again (snakemake --forcerun shard_tfrecords)"
                )
        there = [name.removeprefix(f"{self.split}/") for name in self.bucket.names(f"{self.split}/")]
        stale = [name for name in there if shards.is_shard_name(name, self.split) and name not in self.expected]
        known = [name for name in there if name in self.expected] + stale
        self.seen = dict(zip(known, self.pool.map(self._find, known), strict=True))
        missing = [name for name, crc32c in self.expected.items() if not self._holds(name, crc32c)]
        if self.local.name in missing and (old := self.seen.get(self.local.name)):
            self.bucket.delete(f"{self.split}/{self.local.name}", old)
            self.seen[self.local.name] = None
        self._send(missing)
        for name in stale:
            if entry := self.seen[name]:
                self.bucket.delete(f"{self.split}/{name}", entry)
                self.say(f"{self.split}/{name}: removed, a shard of an earlier upload")
        if missing:
            self._check()
        return {"manifest": f"{self.split}/{self.local.name}", "rows": self.manifest["rows"], **files.digests(self.local)}

    def _local_crc32c(self, name: str) -> str | None:
        path = self.local.parent / name
        return files.crc32c_of(path) if path.is_file() else None

    def _find(self, name: str) -> Entry | None:
        return self.bucket.find(f"{self.split}/{name}")

    def _holds(self, name: str, crc32c: str) -> bool:
        entry = self.seen.get(name)
        return entry is not None and entry.crc32c == crc32c

    def _send(self, missing: list[str]) -> None:
        """Send what is missing, the manifest last."""
        sizes = {name: (self.local.parent / name).stat().st_size for name in missing}
        with Progress("upload_shards", self.split, 0, sum(sizes.values()), self.terminal) as told:

            def put(name: str) -> None:
                self.bucket.put(f"{self.split}/{name}", self.local.parent / name, self.expected[name], self.seen.get(name))
                told.add(sizes[name])

            shards_first = [name for name in missing if name != self.local.name]
            sent = iter(self.pool.map(put, shards_first))
            for name in self.expected:
                if name in shards_first:
                    next(sent)
                elif name in missing:
                    put(name)
                self.say(f"{self.split}/{name}: {'uploaded' if name in missing else 'already there'}")

    def _check(self) -> None:
        """Look at all objects again: another run may have replaced what this one had found in order, or just sent."""
        for name, entry in zip(self.expected, self.pool.map(self._find, self.expected), strict=True):
            if entry is None or entry.crc32c != self.expected[name]:
                raise conflict(f"{self.bucket.url}/{self.split}/{name}")


def verify(url: str, say: Callable[[str], None] = print) -> None:
    """Compare what a bucket holds with the manifests in it, by sizes and checksums.

    Parameters
    ----------
    url
        Bucket, as in `upload`.
    say
        Called with one line a split.

    Raises
    ------
    InputError
        If there is no split, or a shard is missing, changed or of no manifest; the message names each.
    """
    bucket = connect(url)
    faults = []
    with ThreadPoolExecutor(PARALLEL) as pool:
        splits = _splits(bucket)
        for split, names in splits.items():
            if _MANIFEST not in names:
                faults.append(f"  {split}: {len(names)} shards and no {_MANIFEST}: this upload has not ended, give its command again")
                continue
            where = f"{bucket.url}/{split}"
            manifest = shards.parse_manifest(bucket.get(f"{split}/{_MANIFEST}"), f"{where}/{_MANIFEST}")
            expected = {shard["name"]: shard for shard in manifest["shards"]}
            found = pool.map(lambda name, split=split: bucket.find(f"{split}/{name}"), expected)
            before = len(faults)
            for shard, entry in zip(expected.values(), found, strict=True):
                try:
                    if entry is None:
                        raise InputError(f"{where}/{shard['name']}: not in the bucket")
                    shards.check_digest(entry.size, entry.crc32c, shard, f"{where}/{shard['name']}")
                except InputError as error:
                    faults.append(f"  {error}")
            faults += [f"  {where}/{name}: in no manifest" for name in names if name not in expected and name != _MANIFEST]
            if len(faults) == before:
                amount_of_all = amount(sum(shard["bytes"] for shard in expected.values()))
                say(f"{where}: {len(expected)} shards, {manifest['rows']:,} promoters, {amount_of_all}: as the manifest says")
    if not splits:
        raise InputError(f"{bucket.url}: no shards here; correct the URL or upload first")
    if faults:
        raise InputError(
            f"{bucket.url}: not what was uploaded:\n" + "\n".join(faults) + "\nUpload again (snakemake --forcerun upload_shards)"
        )


def delete(url: str, say: Callable[[str], None] = print, *, really: bool) -> None:
    """Remove shards and manifests from a bucket, manifests first; nothing else in it is touched.

    Parameters
    ----------
    url
        Bucket, as in `upload`.
    say
        Called with one line an object.
    really
        Remove them, or only say what would be removed.

    Raises
    ------
    GpraflowError
        If an object cannot be removed; the others stay.
    """
    bucket = connect(url)
    ours = [f"{split}/{name}" for split, names in _splits(bucket).items() for name in names]
    for name in sorted(ours, key=lambda name: not name.endswith(f"/{_MANIFEST}")):
        if really and (entry := bucket.find(name)):
            bucket.delete(name, entry)
        say(f"{bucket.url}/{name}: {'removed' if really else 'would be removed'}")
    if not ours:
        say(f"{bucket.url}: no shards here")


def _splits(bucket: Bucket) -> dict[str, list[str]]:
    """Return split -> names of its manifest and shards, of every split of which a bucket holds any."""
    found: dict[str, list[str]] = {}
    for name in bucket.names(""):
        split, _, file = name.partition("/")
        if file == _MANIFEST or shards.is_shard_name(file, split):
            found.setdefault(split, []).append(file)
    return found


class Backup:
    """Copies of files that a program goes on from after it was killed, in a bucket: so that it can be on another machine.

    Parameters
    ----------
    url
        Bucket, as in `upload`.
    folder
        Of these files, in the bucket.
    """

    def __init__(self, url: str, folder: str):
        self.bucket = connect(f"{url.rstrip('/')}/{folder}")
        self._works = False

    def fetch(self, name: str, path: Path) -> bool:
        """Bring a file here; return whether there is a copy of it.

        Raises
        ------
        GpraflowError
            If the bucket cannot be read.
        """
        if self.bucket.find(name) is None:
            return False
        with files.whole(path) as temporary:
            temporary.write_bytes(self.bucket.get(name))
        return True

    def keep(self, name: str, path: Path) -> None:
        """Copy a file to the bucket.

        Raises
        ------
        GpraflowError
            If the first copy cannot be written. That a later one cannot is printed: a copy is not worth the work that it is of.
        """
        try:
            self.bucket.put(name, path, files.crc32c_of(path), self.bucket.find(name))
        except GpraflowError as error:
            if not self._works:
                raise
            print(f"no copy of this checkpoint was made, training goes on: {error}", flush=True)
        self._works = True


def read_receipt(path: str | os.PathLike) -> dict[str, Any]:
    """Read what `upload` wrote."""
    with open(path, encoding="utf-8") as handle:
        return json.load(handle)
