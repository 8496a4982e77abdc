"""TFRecord shards of fixed-width ``tf.train.Example`` records, and the manifest that describes them.

Every record of a data set has the same number of bytes, so a shard is also a 2-D array: one Example is laid out as template, the
bytes that vary are filled in for a whole block, and the checksums of the block are looked up (CRC is linear over XOR). TensorFlow is
not imported; what is written is byte for byte what ``tf.io.TFRecordWriter`` writes (tested).
"""

import json
import os
import re
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow import files, randomness
from gpraflow.errors import InputError
from gpraflow.ledger import Ledger
from gpraflow.scaffold import ALPHABET, Side, tokenize

FORMAT = "gpraflow-shards-1"
SEQUENCE, EXPRESSION = "sequence", "expression"
_BLOCK_ROWS = 65536
_HEADER, _FOOTER = 12, 4  # length and its checksum before the Example, the Example's checksum behind it

# CRC32C


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)
    return table


_TABLE = _crc_table()


def _crc32c(data: bytes, crc: int = 0xFFFFFFFF) -> int:
    """Return the checksum register after ``data``, without the final complement."""
    for byte in data:
        crc = int(_TABLE[(crc ^ byte) & 0xFF]) ^ (crc >> 8)
    return crc


def _mask(crc: Any) -> Any:
    """Return TFRecord's masked form of a finished checksum (uint32 scalar or array)."""
    crc = np.asarray(crc, np.uint64)
    return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).astype(np.uint32)


def _position_tables(width: int, positions: np.ndarray) -> np.ndarray:
    """Return ``(positions, 256)``: what a byte at a position of a message of ``width`` bytes adds (XOR) to the checksum."""
    tables = np.zeros((len(positions), 256), np.uint32)
    current = _TABLE.copy()  # the last byte
    wanted = {int(position): row for row, position in enumerate(positions)}
    for position in range(width - 1, -1, -1):
        if position in wanted:
            tables[wanted[position]] = current
        current = _TABLE[current & 0xFF] ^ (current >> np.uint32(8))
    return tables


# Layout


@dataclass(frozen=True)
class Feature:
    """One feature of the record: ``bytes`` (tokens) or ``float`` values, how many, and where they stand in the record."""

    name: str
    kind: str
    size: int
    offset: int

    @property
    def width(self) -> int:
        """Bytes in the record."""
        return self.size * (4 if self.kind == "float" else 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def layout(length: int, float_features: dict[str, int]) -> tuple[bytes, list[Feature]]:
    """Lay out the record of a data set.

    Parameters
    ----------
    length
        Tokens of ``sequence``.
    float_features
        Name -> values of each float feature.

    Returns
    -------
    tuple
        The record as bytes with zeros where values go, framing included, and its features in the order of the record (that of
        deterministic serialisation).
    """
    example, found = b"", []
    # The order of protobuf's deterministic maps: by bytes, but of two names of which one begins the other the longer comes first.
    for name in sorted([SEQUENCE, *float_features], key=lambda name: name.encode() + b"\xff"):
        size = length if name == SEQUENCE else float_features[name]
        kind = "bytes" if name == SEQUENCE else "float"
        values = bytes(size if kind == "bytes" else 4 * size)
        # Example{features=1{feature=1{key=1, value=2 Feature{bytes_list=1|float_list=2 {value=1}}}}}
        listed = _field(1, values)
        feature = _field(1 if kind == "bytes" else 2, listed)
        entry = _field(1, _field(1, name.encode()) + _field(2, feature))
        example += entry
        found.append((name, kind, size, len(example) - len(values)))
    payload = _field(1, example)
    shift = _HEADER + len(payload) - len(example)
    head = struct.pack("<Q", len(payload))
    record = head + struct.pack("<I", int(_mask(_crc32c(head) ^ 0xFFFFFFFF))) + payload + bytes(_FOOTER)
    return record, [Feature(name, kind, size, offset + shift) for name, kind, size, offset in found]


class Encoder:
    """Turn blocks of tokens and float values into records, checksums included."""

    def __init__(self, length: int, float_features: dict[str, int]):
        record, self.features = layout(length, float_features)
        self.template = np.frombuffer(record, np.uint8)
        positions = np.concatenate([np.arange(f.offset, f.offset + f.width) for f in self.features])
        payload = len(record) - _HEADER - _FOOTER
        self._tables = _position_tables(payload, positions - _HEADER)
        self._positions = positions
        self._fixed = np.uint32(_crc32c(record[_HEADER:-_FOOTER]))

    def encode(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """Return ``(rows, record bytes)`` uint8 for ``(rows, size)`` values of every feature."""
        rows = len(values[SEQUENCE])
        records = np.tile(self.template, (rows, 1))
        for feature in self.features:
            given = values[feature.name]
            if feature.kind == "float":
                given = np.ascontiguousarray(given.reshape(rows, feature.size), "<f4").view(np.uint8)
            records[:, feature.offset : feature.offset + feature.width] = given
        crc = np.full(rows, self._fixed)
        for table, position in zip(self._tables, self._positions, strict=True):
            crc ^= table[records[:, position]]
        records[:, -_FOOTER:] = _mask(crc ^ np.uint32(0xFFFFFFFF)).astype("<u4")[:, None].view(np.uint8)
        return records


# Writing


def is_shard_name(name: str, split: str) -> bool:
    """Return whether ``name`` is one that `write` gives to shards of the split."""
    return re.fullmatch(rf"{re.escape(split)}-\d{{5,}}-of-\d{{5,}}\.tfrecord", name) is not None


def _shard_name(split: str, index: int, count: int) -> str:
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord"


def write(
    table: pl.DataFrame,
    manifest_path: str | os.PathLike,
    *,
    split: str,
    scaffold: str,
    length: int,
    keep: Side,
    pad: Side,
    rows_per_shard: int,
    extra_features: Sequence[str],
    seed: int,
    ledger: Ledger | None = None,
) -> dict[str, Any]:
    """Write one split as shards beside its manifest; each promoter is in exactly one record.

    Rows are shuffled once. Older shards of the split are removed first; the manifest is written last, so that what it lists is whole.

    Parameters
    ----------
    table
        Promoter table.
    manifest_path
        ``manifest.json`` in a folder of the split's own.
    split, scaffold
        Names for the manifest.
    length, keep, pad
        Window, see `scaffold.fit`.
    rows_per_shard
        Records in each shard but the last.
    extra_features
        Numeric columns of the table that become float features of one value.
    seed
        Decides the order.
    ledger
        Takes the counts of cut and padded sequences.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    InputError
        If an extra feature is no column, not numeric, or has empty cells.
    """
    ledger = ledger or Ledger("shard_tfrecords", split)
    ledger.read(table.height)
    for name in extra_features:
        if name not in table.columns or not (table.schema[name].is_numeric() or table.schema[name] == pl.Boolean):
            raise InputError(f"shards.extra_features: '{name}' is no numeric column of the promoter table ({', '.join(table.columns)})")
        if table[name].null_count():
            raise InputError(f"shards.extra_features: column '{name}' of split '{split}' has {table[name].null_count()} empty cells")
    ledger.note_window(table["sequence"], length, keep, pad)

    directory = Path(manifest_path).parent
    directory.mkdir(parents=True, exist_ok=True)
    Path(manifest_path).unlink(missing_ok=True)
    for old in directory.glob("*.tfrecord"):
        old.unlink()
    order = randomness.generator(seed, "shard_tfrecords", split).permutation(table.height)
    floats = [EXPRESSION, *extra_features]
    encoder = Encoder(length, dict.fromkeys(floats, 1))
    count = -(-table.height // rows_per_shard)
    shards = []
    for index in range(count):
        rows = order[index * rows_per_shard : (index + 1) * rows_per_shard]
        name = _shard_name(split, index, count)
        with files.whole(directory / name) as temporary, open(temporary, "wb") as handle:
            for start in range(0, len(rows), _BLOCK_ROWS):
                block = table[rows[start : start + _BLOCK_ROWS]]
                values = {SEQUENCE: tokenize(block["sequence"], length, keep, pad)}
                values |= {column: block[column].cast(pl.Float32).to_numpy() for column in floats}
                handle.write(encoder.encode(values).data)
        shards.append({"name": name, "rows": len(rows), **files.digests(directory / name)})
    manifest = {
        "format": FORMAT,
        "split": split,
        "alphabet": ALPHABET,
        "length": length,
        "scaffold": scaffold,
        "keep": keep,
        "pad": pad,
        "label_transform": "identity",
        "rows": table.height,
        "record_bytes": len(encoder.template),
        "features": [{"name": f.name, "kind": f.kind, "size": f.size, "offset": f.offset} for f in encoder.features],
        "shards": shards,
    }
    files.write_json(manifest_path, manifest)
    return manifest


# Reading


def parse_manifest(content: bytes, origin: str) -> dict[str, Any]:
    """Read and check a manifest.

    Raises
    ------
    InputError
        If it is no manifest of this format or its sums do not agree.
    """
    try:
        manifest = json.loads(content)
        if manifest["format"] != FORMAT:
            raise InputError(f"{origin}: format '{manifest['format']}', expected '{FORMAT}'; write the shards again")
        total = sum(shard["rows"] for shard in manifest["shards"])
        if manifest["alphabet"] != ALPHABET or total != manifest["rows"]:
            raise InputError(f"{origin}: the manifest was changed (alphabet or row counts do not agree); write the shards again")
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{origin}: not a manifest of shards ({type(error).__name__}: {error}); write the shards again") from error
    return manifest


def decode(content: bytes, manifest: dict[str, Any], shard: dict[str, Any], origin: str) -> dict[str, np.ndarray]:
    """Return the values of one shard: feature name -> ``(rows, size)`` array, tokens uint8, others float32.

    Raises
    ------
    InputError
        If the shard is not what the manifest describes: cut, changed, or from another run.
    """
    size, record = len(content), manifest["record_bytes"]
    if size != shard["bytes"] or size != shard["rows"] * record:
        raise InputError(f"{origin}: {size} bytes, the manifest says {shard['bytes']}; the shard is truncated or from another run")
    if files.crc32c(content) != shard["crc32c"]:
        raise InputError(f"{origin}: its checksum is not the manifest's; the shard is damaged or from another run")
    records = np.frombuffer(content, np.uint8).reshape(-1, record)
    values = {}
    for feature in manifest["features"]:
        width = feature["size"] * (4 if feature["kind"] == "float" else 1)
        column = np.ascontiguousarray(records[:, feature["offset"] : feature["offset"] + width])
        values[feature["name"]] = column.view("<f4") if feature["kind"] == "float" else column
    return values


def iterate(manifest: dict[str, Any], fetch: Any, where: str) -> Iterator[dict[str, np.ndarray]]:
    """Yield the values of each shard in order; ``fetch(name)`` returns a shard's bytes."""
    for shard in manifest["shards"]:
        yield decode(fetch(shard["name"]), manifest, shard, f"{where}/{shard['name']}")
