"""TFRecord shards of fixed-width ``tf.train.Example`` records, and the manifest that describes them.

Every record of a data set has the same number of bytes, so that a shard is also a 2-D array. Blocks of records are written by filling
variable bytes into a template Example and computing checksums from look-up tables (CRC is linear over XOR). TensorFlow is not
imported; the output is identical, byte for byte, to that of ``tf.io.TFRecordWriter`` (tested).
"""

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from gpraflow.core import files, names
from gpraflow.core.errors import InputError
from gpraflow.sequences.scaffold import ALPHABET
from gpraflow.shards.records import EXPRESSION, Feature, decode_columns, layout

FORMAT = "gpraflow-shards-1"
_ENDING = re.compile(r"-[0-9]{5,}-of-[0-9]{5,}\.tfrecord(\.gz)?")
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
        manifest = json.loads(content)
        names_of_shards = {shard["name"] for shard in manifest["shards"]} if manifest["format"] == FORMAT else set()
        return {name for name in names_of_shards if is_shard_name(name, split)}
    except (ValueError, KeyError, TypeError, AttributeError):
        return set()


def parse_manifest(content: bytes, origin: str) -> dict[str, Any]:
    """Read and check a manifest.

    Raises
    ------
    InputError
        If it is not a manifest of this format, its totals are inconsistent, or a shard has a name that `write` does not give.
    """
    try:
        manifest = json.loads(content)
        if manifest["format"] != FORMAT:
            raise InputError(f"{origin}: format '{manifest['format']}', expected '{FORMAT}'; write the shards again")
        for number, shard in enumerate(manifest["shards"], start=1):
            _check_names(manifest["split"], shard, f"{origin}, shard {number}")
        record, features = layout(manifest["length"], widths_of(manifest))
        agree = (
            manifest["alphabet"] == ALPHABET
            and widths_of(manifest).get(EXPRESSION) == (len(manifest.get("conditions", [])) or 1)
            and manifest["compression"] in COMPRESSIONS
            and manifest["rows"] == sum(shard["rows"] for shard in manifest["shards"])
            and manifest["record_bytes"] == len(record)
            and manifest["features"] == [asdict(feature) for feature in features]
        )
        if not agree:
            raise InputError(f"{origin}: the manifest was changed (alphabet, layout or row counts do not agree); write the shards again")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{origin}: not a manifest of shards ({type(error).__name__}: {error}); write the shards again") from error
    return manifest


def _check_names(split: str, shard: Mapping[str, Any], where: str) -> None:
    """Check name and checksum of a shard, which become parts of paths."""
    if not is_shard_name(names.check(shard["name"], f"{where}, name"), names.check(split, f"{where}, split")):
        raise InputError(f"{where}, name: '{shard['name']}' is not the name of a shard of split '{split}'; write the shards again")
    if not re.fullmatch("[0-9a-f]{8}", shard["crc32c"]):
        raise InputError(f"{where}, crc32c: {shard['crc32c']!r} is not a CRC32C in hexadecimal; write the shards again")


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
    check_digest(len(content), files.crc32c(content), shard, origin)
    if hashlib.sha256(content).hexdigest() != shard["sha256"]:  # CRC32C alone can be forged
        raise InputError(f"{origin}: its SHA-256 differs from the manifest; the shard was changed")
    if manifest["compression"] == "gzip":
        try:
            content = gzip.decompress(content)
        except (OSError, EOFError, zlib.error) as error:
            raise InputError(f"{origin}: not a gzip file ({error}); write the shards again") from error
    if len(content) != shard["rows"] * manifest["record_bytes"]:
        expected = f"{shard['rows']} records of {manifest['record_bytes']} bytes"
        raise InputError(f"{origin}: {len(content)} bytes are not {expected}; the manifest was changed, write the shards again")
    return content


def decode(records: np.ndarray, manifest: dict[str, Any], names: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """Decode ``(rows, record bytes)`` uint8 records to a dict from feature to ``(rows, size)`` values, tokens uint8, others float32."""
    return decode_columns(records, [Feature(**each) for each in manifest["features"] if names is None or each["name"] in names])
