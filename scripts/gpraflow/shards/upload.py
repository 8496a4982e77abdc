"""Upload of shards to the bucket used for training: ``gs://``, or ``file://`` for a local folder."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TextIO

from gpraflow.core import checksums, files
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.core.progress import Progress, amount
from gpraflow.shards import manifest as shards_manifest
from gpraflow.storage.base import PARALLEL, Bucket, Entry, conflict
from gpraflow.storage.connect import connect

_MANIFEST = "manifest.json"
_SHOWN = 20  # kept objects that are listed by name


def upload(
    manifests: Mapping[str, str | os.PathLike],
    url: str,
    receipt_path: str | os.PathLike,
    progress: Callable[[str], None] = lambda line: None,
    *,
    location: str = "",
    terminal: TextIO | None = None,
) -> dict[str, Any]:
    """Upload shards and manifests to a bucket, and write a receipt.

    Objects with the expected CRC32C are skipped; the others are uploaded in parallel and verified. An object is replaced only if it has not
    changed since the upload began, so that one of two concurrent runs with different shards stops. The manifest is uploaded last; until
    then an earlier manifest stays, since it says which objects are ours: only shards that it lists are replaced or deleted. All other
    objects in the bucket are kept.

    Parameters
    ----------
    manifests
        Local manifest of each split; its shards are in the same folder.
    url
        URL of the bucket; objects are named ``<split>/<file>``.
    receipt_path
        Output JSON file with the bucket, and the name and digests of each split's manifest.
    progress
        Called with one line per object.
    location
        Required location of the bucket, such as ``europe-west4``; empty for any.
    terminal
        Stream for progress in bytes: a progress bar on a terminal, otherwise occasional lines.

    Raises
    ------
    InputError
        If a local shard differs from its manifest.
    ConfigError
        If the bucket is in another location.
    GpraflowError
        If the bucket cannot be written, an uploaded object is damaged, another run writes to the bucket, or an object of the same name
        is there that no manifest lists.
    """
    bucket = connect(url)
    if location and (actual := bucket.location()) is not None and actual.lower() != location.lower():
        raise ConfigError(
            f"{bucket.url}: this bucket is in {actual}, but bucket.location is {location}: training in another region is slow, and Google "
            "charges for transfers between regions; create a bucket there (buckets cannot be moved), or correct bucket.location"
        )
    receipt: dict[str, Any] = {"bucket": bucket.url, "splits": {}}
    with ThreadPoolExecutor(PARALLEL) as pool:
        for split, manifest_path in manifests.items():
            receipt["splits"][split] = _Upload(bucket, split, Path(manifest_path), pool, progress, terminal).run()
    files.write_json(receipt_path, receipt)
    return receipt


class _Upload:
    """Upload of one split to a bucket."""

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
        self.manifest = shards_manifest.parse_manifest(local.read_bytes(), str(local))
        self.expected = {shard["name"]: shard["crc32c"] for shard in self.manifest["shards"]}
        self.expected |= {local.name: checksums.crc32c_of(local)}
        self.seen: dict[str, Entry | None] = {}

    def run(self) -> dict[str, Any]:
        for name, crc32c in zip(self.expected, self.pool.map(self._local_crc32c, self.expected), strict=True):
            if crc32c != self.expected[name]:
                path = self.local.parent / name
                raise InputError(
                    f"{path}: missing or different from its manifest; write the shards again (snakemake --forcerun shard_tfrecords)"
                )
        there = [name.removeprefix(f"{self.split}/") for name in self.bucket.names(f"{self.split}/")]
        ours = _listed(self.bucket, self.split, there)
        stale = [name for name in there if name in ours and name not in self.expected]
        known = [name for name in there if name in self.expected] + stale
        for name in there:
            if shards_manifest.is_shard_name(name, self.split) and name not in ours and name not in self.expected:
                self.say(f"{self.split}/{name}: kept, since no manifest lists it")
        self.seen = dict(zip(known, self.pool.map(self._find, known), strict=True))
        missing = [name for name, crc32c in self.expected.items() if not self._holds(name, crc32c)]
        if foreign := [name for name in missing if self.seen.get(name) and name not in ours]:
            raise GpraflowError(
                f"{self.bucket.url}/{self.split}/{foreign[0]}: differs from what is to be uploaded, and no manifest of gpraflow lists it, "
                f"so it is kept{f', as are {len(foreign) - 1} others' if len(foreign) > 1 else ''}; choose another folder (bucket.url) or, "
                f"if another upload was interrupted, remove what it left: gpraflow bucket delete --unlisted --yes {self.bucket.url}"
            )
        self._send(missing, stale)
        if missing:
            self._check()
        return {"manifest": f"{self.split}/{self.local.name}", "rows": self.manifest["rows"], **checksums.digests(self.local)}

    def _local_crc32c(self, name: str) -> str | None:
        path = self.local.parent / name
        return checksums.crc32c_of(path) if path.is_file() else None

    def _find(self, name: str) -> Entry | None:
        return self.bucket.find(f"{self.split}/{name}")

    def _holds(self, name: str, crc32c: str) -> bool:
        entry = self.seen.get(name)
        return entry is not None and entry.crc32c == crc32c

    def _send(self, missing: list[str], stale: list[str]) -> None:
        """Upload missing shards, delete stale ones, and upload the manifest."""
        sizes = {name: (self.local.parent / name).stat().st_size for name in missing}
        with Progress("upload_shards", self.split, 0, sum(sizes.values()), self.terminal) as progress:

            def put(name: str) -> None:
                self.bucket.put(f"{self.split}/{name}", self.local.parent / name, self.expected[name], self.seen.get(name))
                progress.add(sizes[name])

            shards_first = [name for name in missing if name != self.local.name]
            sent = iter(self.pool.map(put, shards_first))
            for name in self.expected:
                if name in shards_first:
                    next(sent)
                elif name in missing:
                    self._delete(stale)
                    put(name)
                self.say(f"{self.split}/{name}: {'uploaded' if name in missing else 'already there'}")

    def _delete(self, stale: list[str]) -> None:
        for name in stale:
            if entry := self.seen[name]:
                self.bucket.delete(f"{self.split}/{name}", entry)
                self.say(f"{self.split}/{name}: deleted, a shard of an earlier upload")

    def _check(self) -> None:
        """Check all objects again, because another run may have replaced them."""
        for name, entry in zip(self.expected, self.pool.map(self._find, self.expected), strict=True):
            if entry is None or entry.crc32c != self.expected[name]:
                raise conflict(f"{self.bucket.url}/{self.split}/{name}")


def verify(url: str, say: Callable[[str], None] = print) -> None:
    """Compare the shards in a bucket with their manifests, by sizes and checksums.

    Parameters
    ----------
    url
        URL of the bucket, as in `upload`.
    say
        Called with one line per split.

    Raises
    ------
    InputError
        If the bucket has no split, a manifest cannot be read, or a shard is missing, changed or not listed in a manifest; the message
        names each.
    """
    bucket = connect(url)
    faults = []
    with ThreadPoolExecutor(PARALLEL) as pool:
        splits = _splits(bucket)
        for split, names in splits.items():
            if _MANIFEST not in names:
                faults.append(f"  {split}: {len(names)} shards and no {_MANIFEST}: this upload is incomplete; run it again")
                continue
            where = f"{bucket.url}/{split}"
            try:
                manifest = shards_manifest.parse_manifest(bucket.get(f"{split}/{_MANIFEST}"), f"{where}/{_MANIFEST}")
            except InputError as error:
                faults.append(f"  {error}")
                continue
            expected = {shard["name"]: shard for shard in manifest["shards"]}
            entries = pool.map(lambda name, split=split: bucket.find(f"{split}/{name}"), expected)
            before = len(faults)
            for shard, entry in zip(expected.values(), entries, strict=True):
                try:
                    if entry is None:
                        raise InputError(f"{where}/{shard['name']}: not in the bucket")
                    shards_manifest.check_digest(entry.size, entry.crc32c, shard, f"{where}/{shard['name']}")
                except InputError as error:
                    faults.append(f"  {error}")
            faults += [f"  {where}/{name}: not listed in the manifest" for name in names if name not in expected and name != _MANIFEST]
            if len(faults) == before:
                amount_of_all = amount(sum(shard["bytes"] for shard in expected.values()))
                say(f"{where}: {len(expected)} shards, {manifest['rows']:,} promoters, {amount_of_all}: consistent with the manifest")
    if not splits:
        raise InputError(f"{bucket.url}: no shards found; correct the URL or upload first")
    if faults:
        raise InputError(
            f"{bucket.url}: differs from what was uploaded:\n" + "\n".join(faults) + "\nUpload again (snakemake --forcerun upload_shards)"
        )


def delete(url: str, say: Callable[[str], None] = print, *, really: bool, unlisted: bool = False) -> None:
    """Delete manifests and the shards that they list from a bucket, each manifest after its shards; all other objects are kept.

    Parameters
    ----------
    url
        URL of the bucket, as in `upload`.
    say
        Called with one line per object that is deleted, and with those that are kept.
    really
        Delete the objects; otherwise only list them (dry run).
    unlisted
        Also delete objects in the bucket that are named like shards but that no manifest lists, as an interrupted upload leaves them.

    Raises
    ------
    GpraflowError
        If an object cannot be deleted; the remaining objects are kept.
    """
    bucket = connect(url)
    everything, ours = bucket.names(""), []
    for split, there in _splits(bucket).items():
        listed = _listed(bucket, split, there)
        chosen = [name for name in there if name in listed or (unlisted and name != _MANIFEST)]
        ours += [f"{split}/{name}" for name in sorted(chosen, key=lambda name: name == _MANIFEST)]
    for name in ours:
        if really and (entry := bucket.find(name)):
            bucket.delete(name, entry)
        say(f"{bucket.url}/{name}: {'removed' if really else 'would be removed'}")
    if not ours:
        say(f"{bucket.url}: no shards here")
    kept = sorted(set(everything) - set(ours))
    for name in kept[:_SHOWN]:
        say(f"{bucket.url}/{name}: kept, since no manifest of gpraflow lists it")
    if len(kept) > _SHOWN:
        say(f"{bucket.url}: {len(kept) - _SHOWN} other objects: kept")


def _listed(bucket: Bucket, split: str, there: Sequence[str]) -> set[str]:
    """Return the names of a split's objects that are ours: the manifest and the shards that it lists."""
    listed = shards_manifest.named(bucket.get(f"{split}/{_MANIFEST}"), split) if _MANIFEST in there else set()
    return listed | {_MANIFEST} if listed else set()


def _splits(bucket: Bucket) -> dict[str, list[str]]:
    """Return the names of manifest and shards in a bucket, by split."""
    splits: dict[str, list[str]] = {}
    for name in bucket.names(""):
        split, _, file = name.partition("/")
        if file == _MANIFEST or shards_manifest.is_shard_name(file, split):
            splits.setdefault(split, []).append(file)
    return splits


def read_receipt(path: str | os.PathLike) -> dict[str, Any]:
    """Read the receipt written by `upload`.

    Raises
    ------
    InputError
        If it is not a receipt, or names other objects than manifests of splits.
    """
    again = "upload again (snakemake --forcerun upload_shards)"
    receipt = schemas.read_json(path, "receipt", again)
    for split, entry in receipt["splits"].items():
        if entry["manifest"] != f"{split}/{_MANIFEST}":
            raise InputError(f"{path}, splits.{split}.manifest: {entry['manifest']!r}, expected '{split}/{_MANIFEST}'; {again}")
    return receipt
