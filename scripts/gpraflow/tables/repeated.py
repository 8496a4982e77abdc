"""Rows of a table in blocks, in memory or as files, and the merging of rows of the same promoter.

A table can be larger than memory: only hashes of all promoters are held, and the rows of promoters that occur more than once, some
million of them at a time.
"""

import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import files
from gpraflow.core.conditions import column
from gpraflow.core.ledger import Ledger
from gpraflow.formats.columns import check_labels, differing
from gpraflow.sequences.neighbours import distinct_hashes, has_hash

_TOGETHER = 2_000_000  # rows whose repeated promoters are merged at a time
_WAITING = 500_000  # rows of which those of repeated promoters are taken before they are written
_LABELS = ("split", "group")  # a promoter may have one of each


class Blocks:
    """Rows of a table in the order of their numbers (``row``), in blocks: in memory, or as files of a folder."""

    def __init__(self, folder: Path | None = None):
        self._folder, self._parts = folder, list[pl.DataFrame | Path]()

    def __len__(self) -> int:
        """Return the number of blocks."""
        return len(self._parts)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        """Read one block after the other."""
        for part in self._parts:
            yield part if isinstance(part, pl.DataFrame) else pl.read_parquet(part, glob=False)

    def add(self, rows: pl.DataFrame) -> None:
        """Append a block."""
        self._parts.append(self._kept(rows))

    def replace(self, index: int, rows: pl.DataFrame) -> None:
        """Put other rows in the place of a block."""
        old, self._parts[index] = self._parts[index], self._kept(rows)
        _remove(old)

    def clear(self) -> None:
        """Remove all rows."""
        for part in self._parts:
            _remove(part)
        self._parts = []

    def scan(self) -> pl.LazyFrame:
        """Return all rows."""
        paths = [part for part in self._parts if isinstance(part, Path)]
        return pl.scan_parquet(paths, glob=False) if paths else pl.concat([rows.lazy() for rows in self])

    def select(self, *names: str) -> Iterator[pl.DataFrame]:
        """Yield some columns of each block."""
        for part in self._parts:
            yield part.select(names) if isinstance(part, pl.DataFrame) else pl.read_parquet(part, columns=list(names), glob=False)

    def _kept(self, rows: pl.DataFrame) -> pl.DataFrame | Path:
        if self._folder is None:
            return rows
        path = self._folder / f"{uuid.uuid4().hex}.parquet"
        files.write_part(path, rows)
        return path


def _remove(part: pl.DataFrame | Path) -> None:
    if isinstance(part, Path):
        part.unlink()


class Merging(ABC):
    """How rows of the same key become one.

    Rows may come in several parts, each with all rows of its keys. All parts are examined before the first is merged, so that messages
    are those for the table as a whole.

    Parameters
    ----------
    key
        Columns that identify a promoter, or a barcode of it.
    path
        Source of the table, for messages.
    conditions
        Conditions of the table; empty for one.
    """

    def __init__(self, key: Sequence[str], path: Any, conditions: Sequence[str] = ()):
        self.key, self.path, self.conditions = list(key), path, list(conditions) or [""]
        self.rows_in = self.rows_out = 0
        self._mixed: list[pl.DataFrame] = []
        self._longest = dict.fromkeys(self.conditions, 0)

    def single(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return rows whose key occurs once, as they are in the result."""
        return rows

    def examine(self, rows: pl.DataFrame) -> None:
        """Take note of rows of repeated keys: labels that differ, and the length of lists."""
        for role in _LABELS:
            if rows[role].null_count() < rows.height and (mixed := differing(rows, role, self.key)).height:
                self._mixed.append(first_key(mixed, self.key).select("row", *dict.fromkeys(self.key), *_LABELS))
        for name, length in longest_lists(rows, self.conditions).items():
            self._longest[name] = max(self._longest[name], length)

    def check(self) -> None:
        """Raise the error for the first of the rows that were examined, if one cannot be merged."""
        if self._mixed:
            check_labels(pl.concat(self._mixed).unique("row").sort("row"), self.key, self.path, "input", _LABELS)

    @abstractmethod
    def merge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return one row for each repeated key."""

    @abstractmethod
    def note(self, ledger: Ledger) -> None:
        """Record how many rows were merged."""

    def merged(self, rows: pl.DataFrame, means: dict[str, pl.Expr]) -> pl.DataFrame:
        """Return one row for each key (`combined`); an empty label is that of the other rows."""
        rows = check_labels(rows, self.key, self.path, "input", _LABELS)
        return self._counted(rows, combined(rows, self.key, means, self._longest))

    def of_first(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the first row of each key; an empty label is that of the other rows."""
        rows = check_labels(rows, self.key, self.path, "input", _LABELS)
        return self._counted(rows, rows.unique(self.key, keep="first", maintain_order=True))

    def _counted(self, rows: pl.DataFrame, merged: pl.DataFrame) -> pl.DataFrame:
        self.rows_in, self.rows_out = self.rows_in + rows.height, self.rows_out + merged.height
        return merged


def longest_lists(rows: pl.DataFrame, conditions: Sequence[str] = ()) -> dict[str, int]:
    """Return, for each condition, the most cells per bin that a row has."""
    lengths = {name: rows[column("bin_cells", name)].list.len().max() for name in conditions or [""]}
    return {name: int(length or 0) for name, length in lengths.items()}  # type: ignore[arg-type]


def combined(rows: pl.DataFrame, key: list[str], means: dict[str, pl.Expr], longest: Mapping[str, int]) -> pl.DataFrame:
    """Return one row per key: sums of reads and of cells per bin, the most bins, ``means``, and else the values of the first row.

    With several conditions, sums are of each condition; ``longest`` is as of `longest_lists`.
    """
    values = {name: pl.col(name).first() for name in rows.columns if name not in key}
    for name, length in longest.items():
        reads, bins, of_bins = (column(role, name) for role in ("n_reads", "n_bins", "bin_cells"))
        cells = pl.concat_list(pl.col(of_bins).list.get(index, null_on_oob=True).sum() for index in range(length)) if length else None
        values |= {
            reads: pl.when(pl.col(reads).count() > 0).then(pl.col(reads).sum()),
            bins: pl.col(bins).max(),
            of_bins: pl.col(of_bins).first() if cells is None else pl.when(pl.col(of_bins).count() > 0).then(cells),
        }
    values |= means
    merged = rows.group_by(key, maintain_order=True).agg(value.alias(name) for name, value in values.items())
    return merged.select(rows.columns).cast({name: rows.schema[name] for name in rows.columns})


def first_key(rows: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Return the rows that have the key of the first."""
    return rows.join(rows.head(1).select(key), on=list(key), how="semi", nulls_equal=True, maintain_order="left")


def merge(blocks: Blocks, merging: Merging, ledger: Ledger, folder: Path | None = None) -> None:
    """Merge rows of the same key; the result takes the place of the first of them.

    Parameters
    ----------
    blocks
        The table; it is changed.
    merging
        How rows are merged.
    ledger
        Records how many.
    folder
        For temporary files; None to hold all in memory.

    Raises
    ------
    InputError
        If rows cannot be merged.
    """
    masks = _repeated(blocks, merging.key)
    parts = _divided(blocks, masks, merging.key, folder)
    for part in parts:
        _, several = _apart(part, merging.key)
        if several.height:
            merging.examine(several)
    merging.check()
    places = _Places(blocks, masks, len(parts), folder)
    for part in parts:
        alone, several = _apart(part, merging.key)
        alone = merging.single(alone)
        places.add(pl.concat([alone, merging.merge(several)]).sort("row") if several.height else alone)
        part.clear()
    merging.note(ledger)
    for index, (rows, mask) in enumerate(zip(blocks, masks, strict=True)):
        others = merging.single(rows.filter(~mask) if mask.any() else rows)
        if mask.any():
            others = pl.concat([others, places.within(index, rows["row"][0], rows["row"][-1])]).sort("row")
        if others is not rows:
            blocks.replace(index, others)


def _repeated(blocks: Blocks, key: Sequence[str]) -> list[np.ndarray]:
    """Return, for each block, which rows have a key that may occur again: its hash does."""
    hashes = [keys.hash_rows().to_numpy() for keys in blocks.select(*key)]
    again = distinct_hashes(np.concatenate(hashes), repeated=True)
    return [has_hash(block, again) for block in hashes]


def _divided(blocks: Blocks, masks: Sequence[np.ndarray], key: Sequence[str], folder: Path | None) -> list[Blocks]:
    """Return the chosen rows in parts of some million rows each, which do not divide a key; in one part without a folder."""
    number = max(1, -(-sum(int(mask.sum()) for mask in masks) // _TOGETHER)) if folder else 1
    parts = [Blocks(folder) for _ in range(number)]
    waiting: list[pl.DataFrame] = []
    seen = 0
    for index, (rows, mask) in enumerate(zip(blocks, masks, strict=True)):
        waiting.append(rows.filter(mask))
        seen += rows.height
        if seen >= _WAITING or index + 1 == len(blocks):  # chosen text keeps the whole block in memory until it is written
            together = pl.concat(waiting)
            of = together.select(key).hash_rows() % number
            for place, part in enumerate(parts):
                part.add(together.filter(of == place))
            waiting, seen = [], 0
    return parts


def _apart(part: Blocks, key: Sequence[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return the rows whose key occurs once, and those of repeated keys."""
    rows = pl.concat(list(part))
    several = rows.select(pl.struct(key).is_duplicated()).to_series()
    return rows.filter(~several), rows.filter(several)


class _Places:
    """Merged rows by their place in a table: those of some neighbouring blocks can be had at a time."""

    def __init__(self, blocks: Blocks, masks: Sequence[np.ndarray], number: int, folder: Path | None):
        sizes = np.array([len(mask) for mask in masks])
        self._of_block = (np.cumsum(sizes) - sizes) * number // max(1, int(sizes.sum()))
        self._rows = [Blocks(folder) for _ in range(number)]
        self._begins = np.full(number, np.iinfo(np.int64).max)  # the first row of each part
        for rows, part in zip(blocks.select("row"), self._of_block, strict=True):
            if rows.height:
                self._begins[part] = min(self._begins[part], rows["row"][0])
        self._begins = np.minimum.accumulate(self._begins[::-1])[::-1]
        self._loaded, self._now = -1, pl.DataFrame()

    def add(self, rows: pl.DataFrame) -> None:
        """Take merged rows."""
        part = np.searchsorted(self._begins, rows["row"].to_numpy(), side="right") - 1
        for place, of_part in enumerate(self._rows):
            of_part.add(rows.filter(part == place))

    def within(self, block: int, low: int, high: int) -> pl.DataFrame:
        """Return the merged rows of a block, which has rows from ``low`` to ``high``."""
        if (part := int(self._of_block[block])) != self._loaded:
            self._loaded, self._now = part, pl.concat(list(self._rows[part]))
            self._rows[part].clear()
        return self._now.filter(pl.col("row").is_between(low, high))
