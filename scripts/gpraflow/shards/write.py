"""Writing of a split as TFRecord shards."""

import gzip
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import checksums, files, limits, randomness
from gpraflow.core.conditions import ROLES, column
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.sequences.scaffold import ALPHABET, Side, tokenize
from gpraflow.shards.manifest import COMPRESSIONS, FORMAT
from gpraflow.shards.records import EXPRESSION, SEQUENCE, Encoder

_BLOCK_ROWS = 65536
_WAITING = 4  # blocks prefetched


def _shard_name(split: str, index: int, count: int, compression: str) -> str:
    return f"{split}-{index:05d}-of-{count:05d}.tfrecord{COMPRESSIONS[compression]}"


def float_features(table: pl.LazyFrame, extra: Sequence[str], conditions: Sequence[str] = ()) -> dict[str, int]:
    """Return the number of values of each float feature, by name: ``expression`` and the extra columns of a promoter table.

    Numeric and boolean columns have one value per promoter; list columns have as many as the list has elements. With several conditions,
    a feature that is measured in each has the values of all conditions, one after the other.

    Raises
    ------
    InputError
        If an extra feature is not a numeric, boolean or list column, or its lists differ in length.
    """
    schema, widths = table.collect_schema(), {EXPRESSION: len(conditions) or 1}
    for name in extra:
        columns = columns_of(name, conditions)
        dtype = schema.get(columns[0])
        if isinstance(dtype, pl.List) and dtype.inner.is_numeric():
            lengths = [pl.col(each).list.len() for each in columns]
            sizes = table.select(pl.min_horizontal(lengths).min().alias("least"), pl.max_horizontal(lengths).max().alias("most"))
            least, most = sizes.collect().row(0)
            if not least or least != most:
                raise InputError(f"shards.extra_features: the lists of column '{name}' differ in length; leave it out")
            widths[name] = least * len(columns)
        elif dtype is not None and (dtype.is_numeric() or dtype == pl.Boolean):
            widths[name] = len(columns)
        else:
            raise InputError(f"shards.extra_features: '{name}' is not a numeric column of the promoter table ({', '.join(schema)})")
    return widths


def columns_of(feature: str, conditions: Sequence[str]) -> list[str]:
    """Return the columns of the promoter table that hold a feature: with several conditions one of each, if it is measured in each.

    ``singleton`` is an input of some networks, which is the same for all conditions.
    """
    return [column(feature, name) for name in conditions] if conditions and feature in ROLES and feature != "singleton" else [feature]


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
    conditions: Sequence[str] = (),
    threads: int = 1,
    ledger: Ledger | None = None,
) -> dict[str, Any]:
    """Write one split as shards in the folder of its manifest; each promoter is in exactly one record.

    All rows are shuffled together: tokens and float values are read block by block into memory (``length + 4`` bytes per promoter, plus 4
    per additional value) and written in random order. Older shards of the split are deleted first. The manifest is written last, so that
    all shards listed in it are complete.

    Parameters
    ----------
    table
        Promoter table; a lazy table (`tables.scan`) is streamed.
    manifest_path
        ``manifest.json`` in a folder used by this split only.
    split, scaffold
        Names written to the manifest.
    length, keep, pad
        Input window, see `scaffold.fit`.
    rows_per_shard
        Records per shard; the last shard may have fewer.
    extra_features
        Columns of the table to store as float features: numeric, boolean, or lists of equal length.
    compression
        ``none``, or ``gzip`` for shards that TensorFlow reads with ``compression_type="GZIP"``.
    seed
        Random seed of the order.
    conditions
        Conditions of the table; empty for one. Values of a promoter that was not measured in a condition are NaN.
    threads
        Number of threads for reading blocks and writing shards.
    ledger
        Records the numbers of cropped and padded sequences.

    Returns
    -------
    dict
        The manifest.

    Raises
    ------
    InputError
        If an extra feature is not a column, not numeric, or has empty cells.
    """
    ledger = ledger or Ledger("shard_tfrecords", split)
    table = table.lazy()
    rows = int(table.select(pl.len()).collect().item())
    ledger.read(rows)
    limits.expect("shard_tfrecords", rows, "promoters")
    widths = float_features(table, extra_features, conditions)
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
        return {"name": name, "rows": len(chosen), **checksums.digests(directory / name)}

    with ThreadPoolExecutor(threads) as pool:
        values = _values(table, rows, widths, conditions, (length, keep, pad), split, pool, ledger)
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
        **({"conditions": list(conditions)} if conditions else {}),
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
        if compression == "gzip":  # no file name or time, so that output is reproducible
            with gzip.GzipFile(filename="", mode="wb", compresslevel=1, fileobj=handle, mtime=0) as packed:
                yield packed
        else:
            yield handle


def _values(
    table: pl.LazyFrame,
    rows: int,
    widths: Mapping[str, int],
    conditions: Sequence[str],
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
            columns = columns_of(name, conditions)
            measured = columns_of(EXPRESSION, conditions) if len(columns) > 1 else [EXPRESSION]
            parts = [_matrix(block[each], size // len(columns)) for each in columns]
            for each, part, expression in zip(columns, parts, measured, strict=True):
                if np.isnan(part[block[expression].is_not_null().to_numpy()]).any():
                    where = f"split '{split}', promoters {begin + 1} to {end}"
                    raise InputError(f"shards.extra_features: column '{each}' has empty cells ({where}); leave it out")
            values[name][begin:end] = np.concatenate(parts, axis=1)

    begin = 0
    filling: deque[Future] = deque()
    wanted = list(dict.fromkeys([SEQUENCE, EXPRESSION, *(each for name in widths for each in columns_of(name, conditions))]))
    for block in table.select(wanted).collect_batches(chunk_size=_BLOCK_ROWS, maintain_order=True):
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


def _matrix(column: pl.Series, width: int) -> np.ndarray:
    """Return a column as ``(rows, width)`` float32; NaN for empty cells."""
    if isinstance(column.dtype, pl.List):
        lists = column.cast(pl.List(pl.Float32)).to_frame("values")
        nothing = pl.lit([np.nan] * width, pl.List(pl.Float32))
        column = lists.select(pl.col("values").fill_null(nothing)).to_series().explode()
    return column.cast(pl.Float32).fill_null(np.nan).to_numpy().reshape(-1, width)
