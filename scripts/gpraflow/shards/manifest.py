"""TFRecord shards of fixed-width ``tf.train.Example`` records, and the manifest that describes them.

Every record of a data set has the same number of bytes, so that a shard is also a 2-D array. Blocks of records are written by filling
variable bytes into a template Example and computing checksums from look-up tables (CRC is linear over XOR). TensorFlow is not
imported; the output is identical, byte for byte, to that of ``tf.io.TFRecordWriter`` (tested).
"""

import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gpraflow.core import checksums, documents, names
from gpraflow.core import schema as schemas
from gpraflow.core.errors import InputError
from gpraflow.shards.records import EXPRESSION, Feature, decode_columns, layout

FORMAT = "gpraflow-shards-1"
_ENDING = re.compile(r"-[0-9]{5,}-of-[0-9]{5,}\.tfrecord(\.gz)?")
_MOST_VALUES = 100_000  # of a record
_MOST_COMPRESSED = 1100  # gzip's highest factor is 1,032
COMPRESSIONS = {"none": "", "gzip": ".gz"}  # compression -> suffix of a shard's name


# Writing


def is_shard_name(name: str, split: str) -> bool:
    """Return whether ``name`` is a shard name of the split, as assigned by `write`."""
    return name.startswith(f"{split}-") and _ENDING.fullmatch(name, len(split)) is not None and not names.fault(name)


# Reading


def widths_of(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return the number of values of each float feature of a manifest, by name."""
    return {feature["name"]: feature["size"] for feature in manifest["features"] if feature["kind"] == "float"}


def named(content: bytes, split: str) -> set[str]:
    """Return the names of the shards that a manifest of this format lists; empty if it is another file.

    Only such objects of a bucket are ours to replace or delete.
    """
    try:
        manifest = documents.of_json(content, "")
        names_of_shards = {shard["name"] for shard in manifest["shards"]} if manifest["format"] == FORMAT else set()
        return {name for name in names_of_shards if is_shard_name(name, split)}
    except (InputError, KeyError, TypeError, AttributeError):
        return set()


def parse_manifest(content: bytes, origin: str) -> dict[str, Any]:
    """Read and check a manifest.

    Raises
    ------
    InputError
        If it is not a manifest of this format, its totals are inconsistent, or a shard has a name that `write` does not give.
    """
    advice = "write the shards again"
    found = documents.of_json(content, origin)
    if isinstance(found, dict) and found.get("format", FORMAT) != FORMAT:
        raise InputError(f"{origin}: format {found['format']!r:.100}, expected '{FORMAT}'; {advice}")
    manifest = schemas.parse(content, "manifest", origin, advice)
    for number, shard in enumerate(manifest["shards"], start=1):
        if not is_shard_name(shard["name"], manifest["split"]):
            raise InputError(
                f"{origin}, shard {number}, name: '{shard['name']}' is not the name of a shard of split '{manifest['split']}'; {advice}"
            )
        if not _fits(shard, manifest):
            raise InputError(f"{origin}, shard {number}: {shard['rows']:,} records do not fit into {shard['bytes']:,} bytes; {advice}")
    widths = widths_of(manifest)
    record, features = layout(manifest["length"], widths) if sum(widths.values()) <= _MOST_VALUES else (b"", [])
    agree = (
        widths.get(EXPRESSION) == (len(manifest.get("conditions", [])) or 1)
        and manifest["rows"] == sum(shard["rows"] for shard in manifest["shards"])
        and len({shard["name"] for shard in manifest["shards"]}) == len(manifest["shards"])
        and manifest["record_bytes"] == len(record)
        and manifest["features"] == [asdict(feature) for feature in features]
    )
    if not agree:
        raise InputError(f"{origin}: the manifest was changed (layout, names or row counts do not agree); {advice}")
    return manifest


def _fits(shard: Mapping[str, Any], manifest: Mapping[str, Any]) -> bool:
    """Return whether a shard of this size can hold its records; gzip makes them smaller by a factor of at most 1,032."""
    expected = shard["rows"] * manifest["record_bytes"]
    return shard["bytes"] == expected if manifest["compression"] == "none" else expected <= _MOST_COMPRESSED * shard["bytes"]


def check_digest(size: int, crc32c: str, shard: dict[str, Any], origin: str) -> None:
    """Compare a shard's size and checksum with the manifest; raise `InputError` if they differ."""
    if size != shard["bytes"]:
        raise InputError(f"{origin}: {size} bytes, but the manifest lists {shard['bytes']}; the shard is truncated or from another run")
    if crc32c != shard["crc32c"]:
        raise InputError(f"{origin}: its checksum differs from the manifest; the shard is damaged or from another run")


def verify(content: bytes, manifest: dict[str, Any], shard: dict[str, Any], origin: str) -> bytes:
    """Return the decompressed records of a shard after checking it against the manifest.

    Raises
    ------
    InputError
        If the shard is truncated, changed, or from another run.
    """
    check_digest(len(content), checksums.crc32c(content), shard, origin)
    if hashlib.sha256(content).hexdigest() != shard["sha256"]:  # CRC32C alone can be forged
        raise InputError(f"{origin}: its SHA-256 differs from the manifest; the shard was changed")
    if manifest["compression"] == "gzip":
        content = _decompressed(content, shard["rows"] * manifest["record_bytes"], origin)
    if len(content) != shard["rows"] * manifest["record_bytes"]:
        expected = f"{shard['rows']} records of {manifest['record_bytes']} bytes"
        raise InputError(f"{origin}: {len(content)} bytes are not {expected}; the manifest was changed, write the shards again")
    return content


def _decompressed(content: bytes, expected: int, origin: str) -> bytes:
    """Return the decompressed shard, or one byte more than is expected of a longer one."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as handle:
            return handle.read(expected + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{origin}: not a gzip file ({error}); write the shards again") from error


def decode(records: np.ndarray, manifest: dict[str, Any], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Decode ``(rows, record bytes)`` uint8 records to a dict from feature to ``(rows, size)`` values, tokens uint8, others float32."""
    return decode_columns(records, [Feature(**each) for each in manifest["features"] if names is None or each["name"] in names])
