"""Vectorised encoding and decoding of fixed-width TFRecord records.

All records of a data set have the same features of the same sizes. Their serialised ``tf.train.Example`` messages therefore have the same
length and field headers; only values and checksums differ. A block of records is a byte matrix, ``(rows, record bytes)``, made from one
template by writing values into fixed columns. The result is identical, byte for byte, to TensorFlow's deterministic serialisation.

A record is ``length (8 bytes) | masked CRC32C of length (4) | Example | masked CRC32C of Example (4)``. CRC32C is linear over XOR: the
checksum of a message is that of the template XOR one term per byte, which depends on the byte and its position only. These terms are
tabulated, and the checksums of all rows are computed column by column.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpraflow.sequences.scaffold import ALPHABET

SEQUENCE, EXPRESSION = "sequence", "expression"
_CACHED_ROWS = 4096  # rows per block of checksums, small enough for the processor's cache
_TOKENS = 3  # tokens per table look-up
_HEADER, _FOOTER = 12, 4  # bytes before the Example (length and its checksum) and after it (the Example's checksum)

# CRC32C


def _crc_table() -> np.ndarray:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0x82F63B78), table >> 1)  # Castagnoli polynomial, bits reversed
    return table


_TABLE = _crc_table()


def _crc32c(data: bytes, crc: int = 0xFFFFFFFF) -> int:
    """Return the checksum register after ``data``, without the final complement."""
    for byte in data:
        crc = int(_TABLE[(crc ^ byte) & 0xFF]) ^ (crc >> 8)
    return crc


def _mask(crc: Any) -> Any:
    """Return TFRecord's masked form of a finished checksum (uint32 scalar or array): rotated right by 15 bits, plus a constant."""
    crc = np.asarray(crc, np.uint64)
    return ((((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF).astype(np.uint32)


def _position_tables(width: int, positions: np.ndarray) -> np.ndarray:
    """Return the XOR term of each byte value at each position of a message of ``width`` bytes, ``(positions, 256)``."""
    tables = np.zeros((len(positions), 256), np.uint32)
    current = _TABLE.copy()  # the last byte
    wanted = {int(position): row for row, position in enumerate(positions)}
    for position in range(width - 1, -1, -1):
        if position in wanted:
            tables[wanted[position]] = current
        current = _TABLE[current & 0xFF] ^ (current >> np.uint32(8))  # previous position: advance the register by a zero byte
    return tables


# Layout


@dataclass(frozen=True)
class Feature:
    """A feature of the record: kind (``bytes`` for tokens, or ``float``), number of values, and byte offset in the record."""

    name: str
    kind: str
    size: int
    offset: int

    @property
    def width(self) -> int:
        """Number of bytes in the record."""
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
    """Return the record layout of a data set.

    Parameters
    ----------
    length
        Number of tokens in ``sequence``.
    float_features
        Number of values of each float feature, by name.

    Returns
    -------
    tuple
        Template of the record, including framing, with zeros for values; and its features in record order (that of deterministic
        serialisation).
    """
    example, fields = b"", []
    # Order of protobuf's deterministic maps: by bytes, except that a name follows longer names of which it is a prefix.
    for name in sorted([SEQUENCE, *float_features], key=lambda name: name.encode() + b"\xff"):
        size = length if name == SEQUENCE else float_features[name]
        kind = "bytes" if name == SEQUENCE else "float"
        values = bytes(size if kind == "bytes" else 4 * size)
        # Example{features=1{feature=1{key=1, value=2 Feature{bytes_list=1|float_list=2 {value=1}}}}}
        listed = _field(1, values)
        feature = _field(1 if kind == "bytes" else 2, listed)
        entry = _field(1, _field(1, name.encode()) + _field(2, feature))
        example += entry
        fields.append((name, kind, size, len(example) - len(values)))
    payload = _field(1, example)
    shift = _HEADER + len(payload) - len(example)
    head = struct.pack("<Q", len(payload))
    record = head + struct.pack("<I", int(_mask(_crc32c(head) ^ 0xFFFFFFFF))) + payload + bytes(_FOOTER)
    return record, [Feature(name, kind, size, offset + shift) for name, kind, size, offset in fields]


class Encoder:
    """Encode blocks of tokens and float values as records with checksums."""

    def __init__(self, length: int, float_features: dict[str, int]):
        record, self.features = layout(length, float_features)
        self.template = np.frombuffer(record, np.uint8)
        positions = np.concatenate([np.arange(f.offset, f.offset + f.width) for f in self.features])
        payload = len(record) - _HEADER - _FOOTER
        tables = dict(zip(positions.tolist(), _position_tables(payload, positions - _HEADER), strict=True))
        # Tokens are below 5, so three tokens have 125 combinations: one table look-up per three bytes.
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
        """Return ``(rows, record bytes)`` uint8 records for ``(rows, size)`` values of every feature."""
        rows = len(values[SEQUENCE])
        records = np.tile(self.template, (rows, 1))
        for feature in self.features:
            column = values[feature.name]
            if feature.kind == "float":
                column = np.ascontiguousarray(column.reshape(rows, feature.size), "<f4").view(np.uint8)
            records[:, feature.offset : feature.offset + feature.width] = column
        for start in range(0, rows, _CACHED_ROWS):
            some = records[start : start + _CACHED_ROWS]
            crc = self._checksums(np.ascontiguousarray(some.T))
            some[:, -_FOOTER:] = _mask(crc ^ np.uint32(0xFFFFFFFF)).astype("<u4")[:, None].view(np.uint8)
        return records

    def _checksums(self, columns: np.ndarray) -> np.ndarray:
        """Return the checksums, before masking, of ``(record bytes, rows)`` records with tokens below 5."""
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
        """Return which of ``(rows, record bytes)`` records have invalid framing or checksums, ``(rows,)`` bool."""
        values = decode_columns(records, self.features)
        strange = (values[SEQUENCE] >= len(ALPHABET)).any(axis=1)
        values[SEQUENCE][strange] = 0
        return (self.encode(values) != records).any(axis=1)


def decode_columns(records: np.ndarray, features: Sequence[Feature]) -> dict[str, np.ndarray]:
    values = {}
    for feature in features:
        column = np.ascontiguousarray(records[:, feature.offset : feature.offset + feature.width])
        values[feature.name] = column.view("<f4") if feature.kind == "float" else column
    return values
