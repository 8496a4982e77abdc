"""TFRecord shards of fixed-width ``tf.train.Example`` records, and the manifest that describes them.

Every record of a data set has the same number of bytes, so a shard is also a 2-D array: one Example is laid out as template, the
bytes that vary are filled in for a whole block, and the checksums of the block are looked up (CRC is linear over XOR). TensorFlow is
not imported; what is written is byte for byte what ``tf.io.TFRecordWriter`` writes (tested).
"""

import gzip
import json
import os
import re
import struct
import zlib
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
COMPRESSIONS = {"none": "", "gzip": ".gz"}  # and the end of a shard's name
_BLOCK_ROWS = 65536
_CACHED_ROWS = 4096  # whose checksums are looked up at a time, so that they stay in the processor's cache
_WAITING = 4  # blocks that are read ahead
_TOKENS = 3  # that are looked up at a time
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
        tables = dict(zip(positions.tolist(), _position_tables(payload, positions - _HEADER), strict=True))
        # Tokens are below 5, so three of them have one of 125 values: one look-up for three bytes.
        starts = [
            (f.offset, f.offset + f.width // _TOKENS * _TOKENS if f.kind == "bytes" else f.offset, f.offset + f.width)
            for f in self.features
        ]
        self._threes = [place for start, middle, _ in starts for place in range(start, middle, _TOKENS)]
        self._singles = [place for _, middle, end in starts for place in range(middle, end)]
        digits = [np.arange(len(ALPHABET) ** _TOKENS) // len(ALPHABET) ** power % len(ALPHABET) for power in range(_TOKENS)]
        self._three_tables = [
            np.bitwise_xor.reduce([tables[place + power][digits[power]] for power in range(_TOKENS)]) for place in self._threes
        ]
        self._single_tables = [tables[place] for place in self._singles]
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
        for start in range(0, rows, _CACHED_ROWS):
            some = records[start : start + _CACHED_ROWS]
            crc = self._checksums(np.ascontiguousarray(some.T))
            some[:, -_FOOTER:] = _mask(crc ^ np.uint32(0xFFFFFFFF)).astype("<u4")[:, None].view(np.uint8)
        return records

    def _checksums(self, columns: np.ndarray) -> np.ndarray:
        """Return the unfinished checksums of ``(record bytes, rows)`` records, tokens below 5."""
        crc = np.full(columns.shape[1], self._fixed)
        for place, table in zip(self._threes, self._three_tables, strict=True):
            number = columns[place].copy()
            for power in range(1, _TOKENS):
                number += columns[place + power] * np.uint8(len(ALPHABET) ** power)
            crc ^= table.take(number)
        for place, table in zip(self._singles, self._single_tables, strict=True):
            crc ^= table.take(columns[place])
        return crc

    def damaged(self, records: np.ndarray) -> np.ndarray:
        """Return which of ``(rows, record bytes)`` records are not as `encode` writes them: another frame or checksum, bool ``(rows,)``."""
        values = _columns(records, self.features)
        strange = (values[SEQUENCE] >= len(ALPHABET)).any(axis=1)
        values[SEQUENCE][strange] = 0
        return (self.encode(values) != records).any(axis=1)


# Writing


def is_shard_name(name: str, split: str) -> bool:
    """Return whether ``name`` is one that `write` gives to shards of the split."""
    return re.fullmatch(rf"{re.escape(split)}-\d{{5,}}-of-\d{{5,}}\.tfrecord(\.gz)?", name) is not None


def _shard_name(split: str, index: int, count: int, compression: str) -> str:
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord{COMPRESSIONS[compression]}"


def float_features(table: pl.LazyFrame, extra: Sequence[str]) -> dict[str, int]:
    """Return name -> values of each float feature: ``expression`` and the extra columns of a promoter table.

    Numeric or true/false columns have one value, lists as many as each of them has.

    Raises
    ------
    InputError
        If an extra feature is no such column, or its lists are not equally long.
    """
    schema, found = table.collect_schema(), {EXPRESSION: 1}
    for name in extra:
        dtype = schema.get(name)
        if isinstance(dtype, pl.List) and dtype.inner.is_numeric():
            length = pl.col(name).list.len()
            least, most = table.select(length.min().alias("least"), length.max().alias("most")).collect().row(0)
            if not least or least != most:
                raise InputError(f"shards.extra_features: the lists of column '{name}' are not equally long; leave it out")
            found[name] = least
        elif dtype is not None and (dtype.is_numeric() or dtype == pl.Boolean):
            found[name] = 1
        else:
            raise InputError(f"shards.extra_features: '{name}' is no numeric column of the promoter table ({', '.join(schema)})")
    return found


def write(
    table: pl.DataFrame | pl.LazyFrame,
    manifest_path: str | os.PathLike,
    *,
    split: str,
    scaffold: str,
    length: int,
    keep: Side,
    pad: Side,
    rows_per_shard: int,
    extra_features: Sequence[str],
    compression: str = "none",
    seed: int,
    threads: int = 1,
    ledger: Ledger | None = None,
) -> dict[str, Any]:
    """Write one split as shards beside its manifest; each promoter is in exactly one record.

    Rows are shuffled once, as a whole: tokens and float values are read block by block into memory (``length + 4`` bytes a promoter and
    4 for each further value) and written in a drawn order. Older shards of the split are removed first; the manifest is written last,
    so that what it lists is whole.

    Parameters
    ----------
    table
        Promoter table; a lazy one (`tables.scan`) is streamed.
    manifest_path
        ``manifest.json`` in a folder of the split's own.
    split, scaffold
        Names for the manifest.
    length, keep, pad
        Window, see `scaffold.fit`.
    rows_per_shard
        Records in each shard but the last.
    extra_features
        Columns of the table that become float features: numeric, true/false, or lists of equal length.
    compression
        ``none``, or ``gzip`` for shards that TensorFlow reads with ``compression_type="GZIP"``.
    seed
        Decides the order.
    threads
        Blocks that are read, and shards that are written, at the same time.
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
    table = table.lazy()
    rows = int(table.select(pl.len()).collect().item())
    ledger.read(rows)
    widths = float_features(table, extra_features)
    encoder = Encoder(length, widths)
    directory = Path(manifest_path).parent
    directory.mkdir(parents=True, exist_ok=True)
    Path(manifest_path).unlink(missing_ok=True)
    for old in directory.glob("*.tfrecord*"):
        old.unlink()
    order = randomness.generator(seed, "shard_tfrecords", split).permutation(rows)
    count = -(-rows // rows_per_shard)

    def write_shard(index: int) -> dict[str, Any]:
        chosen = order[index * rows_per_shard : (index + 1) * rows_per_shard]
        name = _shard_name(split, index, count, compression)
        with files.whole(directory / name) as temporary, _opened(temporary, compression) as handle:
            for start in range(0, len(chosen), _BLOCK_ROWS):
                block = chosen[start : start + _BLOCK_ROWS]
                handle.write(encoder.encode({feature: column[block] for feature, column in values.items()}).data)
        return {"name": name, "rows": len(chosen), **files.digests(directory / name)}

    with ThreadPoolExecutor(threads) as pool:
        values = _values(table, rows, widths, (length, keep, pad), split, pool, ledger)
        shards = list(pool.map(write_shard, range(count)))
    manifest = {
        "format": FORMAT,
        "split": split,
        "alphabet": ALPHABET,
        "length": length,
        "scaffold": scaffold,
        "keep": keep,
        "pad": pad,
        "label_transform": "identity",
        "compression": compression,
        "rows": rows,
        "record_bytes": len(encoder.template),
        "features": [asdict(feature) for feature in encoder.features],
        "shards": shards,
    }
    files.write_json(manifest_path, manifest)
    return manifest


@contextmanager
def _opened(path: Path, compression: str) -> Iterator[Any]:
    with open(path, "wb") as handle:
        if compression == "gzip":  # no name and time of the file in it: the same rows give the same bytes
            with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=handle, mtime=0) as packed:
                yield packed
        else:
            yield handle


def _values(
    table: pl.LazyFrame,
    rows: int,
    widths: Mapping[str, int],
    window: tuple[int, Side, Side],
    split: str,
    pool: ThreadPoolExecutor,
    ledger: Ledger,
) -> dict[str, np.ndarray]:
    """Return the features of all promoters, ``(rows, size)``: tokens uint8, others float32."""
    values = {SEQUENCE: np.empty((rows, window[0]), np.uint8)}
    values |= {name: np.empty((rows, size), np.float32) for name, size in widths.items()}

    def fill(block: pl.DataFrame, begin: int) -> None:
        end = begin + block.height
        values[SEQUENCE][begin:end] = tokenize(block[SEQUENCE], *window)
        for name, size in widths.items():
            column = block[name].explode() if isinstance(block.schema[name], pl.List) else block[name]
            if block[name].null_count() or column.null_count():
                where = f"split '{split}', promoters {begin + 1} to {end}"
                raise InputError(f"shards.extra_features: column '{name}' has empty cells ({where}); leave it out")
            values[name][begin:end] = column.cast(pl.Float32).to_numpy().reshape(-1, size)

    begin = 0
    filling: deque[Future] = deque()
    for block in table.select(SEQUENCE, *widths).collect_batches(chunk_size=_BLOCK_ROWS, maintain_order=True):
        ledger.note_window(block[SEQUENCE], *window)
        if "singleton" in widths:
            ledger.note("singleton unknown, stored as no", block["singleton"].null_count())
            block = block.with_columns(pl.col("singleton").fill_null(False))
        filling.append(pool.submit(fill, block, begin))
        begin += block.height
        if len(filling) > _WAITING:
            filling.popleft().result()
    for each in filling:
        each.result()
    return values


# Reading


def widths_of(manifest: Mapping[str, Any]) -> dict[str, int]:
    """Return name -> values of each float feature of a manifest."""
    return {feature["name"]: feature["size"] for feature in manifest["features"] if feature["kind"] == "float"}


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
        record, features = layout(manifest["length"], widths_of(manifest))
        agree = (
            manifest["alphabet"] == ALPHABET
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


def check_digest(size: int, crc32c: str, shard: dict[str, Any], origin: str) -> None:
    """Compare a shard's size and checksum with the manifest's; `InputError` if they differ."""
    if size != shard["bytes"]:
        raise InputError(f"{origin}: {size} bytes, the manifest says {shard['bytes']}; the shard is truncated or from another run")
    if crc32c != shard["crc32c"]:
        raise InputError(f"{origin}: its checksum is not the manifest's; the shard is damaged or from another run")


def verify(content: bytes, manifest: dict[str, Any], shard: dict[str, Any], origin: str) -> bytes:
    """Return the records of one shard, decompressed, if it is what the manifest describes.

    Raises
    ------
    InputError
        If not: cut, changed, or from another run.
    """
    check_digest(len(content), files.crc32c(content), shard, origin)
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
    """Return the values of ``(rows, record bytes)`` uint8 records: feature -> ``(rows, size)``, tokens uint8, others float32."""
    return _columns(records, [Feature(**each) for each in manifest["features"] if names is None or each["name"] in names])


def _columns(records: np.ndarray, features: Sequence[Feature]) -> dict[str, np.ndarray]:
    values = {}
    for feature in features:
        column = np.ascontiguousarray(records[:, feature.offset : feature.offset + feature.width])
        values[feature.name] = column.view("<f4") if feature.kind == "float" else column
    return values
