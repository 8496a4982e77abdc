"""From shards in a bucket to batches: by memory map (exact global shuffle) or as a tf.data pipeline (streams, also from gs://).

Both give the same batches for the same seed and epoch, can start at any step, share them out among processes, and either leave out the
last partial batch (training) or fill it up with padding and a mask (evaluation), so that shapes are static.
"""

import queue
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from gpraflow.core import files, randomness
from gpraflow.core.errors import InputError
from gpraflow.sequences.scaffold import PADDING, reverse_complement
from gpraflow.shards import manifest as shards_manifest
from gpraflow.shards import records as shards_records
from gpraflow.shards.records import EXPRESSION, SEQUENCE
from gpraflow.storage import base, connect

MASK = "mask"  # of a batch: 1 for promoters, 0 for padding
_GATHER = 1 << 16  # promoters that are gathered at a time: many of each shard, so that the loop over shards costs little
_AHEAD = 2  # blocks that are gathered ahead

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Promoters:
    """One split in memory: ``(rows, length)`` uint8 tokens, ``(rows,)`` float32 expression, and the manifest that they came with."""

    tokens: np.ndarray
    expression: np.ndarray
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Split:
    """A split in a bucket: its manifest, checked against the upload receipt, and where its shards are."""

    name: str
    manifest: dict[str, Any]
    bucket: base.Bucket

    @property
    def url(self) -> str:
        """Of the folder of shards."""
        return f"{self.bucket.url}/{self.name}"

    def get(self, shard: dict[str, Any]) -> bytes:
        """Return a shard's records, decompressed, every checksum compared; `InputError` as `shards.verify`."""
        return shards_manifest.verify(self.bucket.get(f"{self.name}/{shard['name']}"), self.manifest, shard, f"{self.url}/{shard['name']}")


def open_split(receipt: dict[str, Any], split: str) -> Split:
    """Return a split of an upload receipt.

    Raises
    ------
    InputError
        If the split was not uploaded, or its manifest is missing or not the one that was; the message names it.
    """
    if split not in receipt["splits"]:
        raise InputError(f"split '{split}' was not uploaded to {receipt['bucket']} (there are {', '.join(receipt['splits'])})")
    bucket, entry = connect.connect(receipt["bucket"]), receipt["splits"][split]
    content = bucket.get(entry["manifest"])
    where = f"{receipt['bucket']}/{entry['manifest']}"
    if files.crc32c(content) != entry["crc32c"]:
        raise InputError(f"{where}: not the manifest that was uploaded; upload again (snakemake --forcerun upload_shards)")
    return Split(split, shards_manifest.parse_manifest(content, where), bucket)


def load(receipt: dict[str, Any], split: str) -> Promoters:
    """Read all shards of a split into memory, every checksum compared.

    Raises
    ------
    InputError
        As `open_split`, or if a shard is missing, changed, cut or from another run; the message names it.
    """
    source = open_split(receipt, split)
    rows, length = source.manifest["rows"], source.manifest["length"]
    tokens, expression = np.empty((rows, length), np.uint8), np.empty(rows, np.float32)
    begin = 0
    for shard in source.manifest["shards"]:
        records = np.frombuffer(source.get(shard), np.uint8).reshape(shard["rows"], -1)
        values = shards_manifest.decode(records, source.manifest, (SEQUENCE, EXPRESSION))
        end = begin + shard["rows"]
        tokens[begin:end], expression[begin:end] = values[SEQUENCE], values[EXPRESSION][:, 0]
        begin = end
    return Promoters(tokens, expression, source.manifest)


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of rows in one epoch: a global shuffle that depends on seed and epoch only."""
    return randomness.generator(seed, "epoch", epoch).permutation(rows)


def strands(batch_size: int, seed: int, epoch: int, step: int) -> np.ndarray:
    """Return which promoters of a batch are to be turned around, about half, ``(batch_size,)`` bool."""
    return randomness.generator(seed, "strand", epoch, step).random(batch_size) < 0.5


def turn_some(tokens: np.ndarray, batch_size: int, process: tuple[int, int], seed: int, epoch: int, step: int) -> np.ndarray:
    """Return a process's part of a batch with half of the promoters reverse-complemented, chosen by `strands`."""
    first = batch_size // process[1] * process[0]
    turned = strands(batch_size, seed, epoch, step)[first : first + len(tokens)]
    tokens = tokens.copy()
    tokens[turned] = reverse_complement(tokens[turned])
    return tokens


class MemoryMap:
    """Shards as one table on disk, of which any rows can be taken.

    Parameters
    ----------
    source
        The split.
    cache
        Folder on the local disk for shards that cannot be mapped where they are (another bucket than a folder, or compressed ones): they
        are fetched there once, and checked record by record when they are used again.
    features
        What to read of each record.

    Raises
    ------
    InputError
        If a shard is missing, changed, cut or from another run; the message names it.
    """

    def __init__(self, source: Split, cache: Path | None = None, features: Sequence[str] = (SEQUENCE, EXPRESSION)):
        self.manifest = source.manifest
        self.features = select_features(source, features)
        with ThreadPoolExecutor(base.PARALLEL) as pool:  # checksums, and ways to other buckets than folders, take time
            self.maps = list(pool.map(lambda shard: _mapped(source, shard, cache), self.manifest["shards"]))
        self._ends = np.cumsum([len(each) for each in self.maps])

    def __len__(self) -> int:
        """Return the number of promoters."""
        return self.manifest["rows"]

    def take(self, rows: np.ndarray, names: Sequence[str] | None = None) -> Batch:
        """Return features of rows (those named, or all), in the order of rows: ``(rows, size)``, tokens uint8, others float32."""
        order = np.argsort(rows)
        ordered = rows[order]
        bounds = np.searchsorted(ordered, self._ends)
        kinds = {"bytes": np.uint8, "float": np.float32}
        wanted = {name: self.features[name] for name in names or self.features}
        found = {name: np.empty((len(rows), f["size"]), kinds[f["kind"]]) for name, f in wanted.items()}
        begin = 0
        for index, end in enumerate(bounds.tolist()):
            if end > begin:
                records = self.maps[index][ordered[begin:end] - (self._ends[index] - len(self.maps[index]))]
                for name, values in shards_manifest.decode(records, self.manifest, list(found)).items():
                    found[name][order[begin:end]] = values
            begin = end
        return found

    def batches(
        self,
        batch_size: int,
        *,
        seed: int = 0,
        epoch: int = 0,
        shuffle: bool = True,
        start: int = 0,
        process: tuple[int, int] = (0, 1),
        drop_remainder: bool = True,
        turn: bool = False,
    ) -> Iterator[Batch]:
        """Yield the batches of one epoch, gathered ahead by a thread.

        Parameters
        ----------
        batch_size
            Of all processes together; a multiple of their number.
        seed, epoch, shuffle
            Decide the order: an exact global shuffle of all rows, or that of the shards.
        start
            Steps to leave out at the beginning of the epoch.
        process
            Which process this is, of how many: it gets its part of each batch.
        drop_remainder
            Leave out the last partial batch, or fill it up with padding and add `MASK`.
        turn
            Reverse-complement half of the promoters, see `turn_some`.
        """
        check_processes(batch_size, process)
        rows = len(self)
        order = epoch_order(rows, seed, epoch) if shuffle else np.arange(rows)
        steps = rows // batch_size if drop_remainder else -(-rows // batch_size)
        number = max(1, _GATHER // batch_size)
        size = batch_size // process[1]

        def blocks() -> Iterator[list[Batch]]:
            for first in range(start, steps, number):
                last = min(first + number, steps)
                places = np.arange(first * batch_size, last * batch_size).reshape(-1, process[1], size)[:, process[0]].ravel()
                there = places < rows
                values = self.take(order[places[there]])
                if not drop_remainder:
                    values = _filled(values, int((~there).sum()))
                batches = []
                for step in range(last - first):
                    batch = {name: column[step * size : (step + 1) * size] for name, column in values.items()}
                    if turn:
                        batch[SEQUENCE] = turn_some(batch[SEQUENCE], batch_size, process, seed, epoch, first + step)
                    batches.append(batch)
                yield batches

        with closing(_ahead(blocks)) as gathered:
            for batches in gathered:
                yield from batches


class PermutedLabels(MemoryMap):
    """The same promoters, each with the other features of another one, drawn by ``seed``: a control from which nothing can be learnt."""

    def __init__(self, source: Split, cache: Path | None, features: Sequence[str], seed: int):
        super().__init__(source, cache, features)
        self._other = randomness.generator(seed, "shuffled labels").permutation(len(self))

    def take(self, rows: np.ndarray, names: Sequence[str] | None = None) -> Batch:
        """Return features as `MemoryMap.take`, those besides the sequence of other promoters."""
        wanted = list(names or self.features)
        own, others = [name for name in wanted if name == SEQUENCE], [name for name in wanted if name != SEQUENCE]
        found = super().take(rows, own) if own else {}
        return found | (super().take(self._other[rows], others) if others else {})


def check_processes(batch_size: int, process: tuple[int, int]) -> None:
    """Raise a ValueError if a batch cannot be shared out evenly."""
    if batch_size % process[1] or not 0 <= process[0] < process[1]:
        raise ValueError(f"a batch of {batch_size} cannot be shared out to process {process[0]} of {process[1]}")


def select_features(source: Split, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return name -> feature of the manifest."""
    known = {feature["name"]: feature for feature in source.manifest["features"]}
    for name in names:
        if name not in known:
            raise InputError(f"{source.url}: the shards have no feature '{name}'; add it to shards.extra_features")
    return {name: known[name] for name in names}


def check_shard(bucket: base.Bucket, name: str, shard: dict[str, Any]) -> None:
    """Compare a shard in a bucket with the manifest, without reading it where the bucket knows its checksum."""
    entry = bucket.find(name)
    if entry is None:
        raise InputError(f"{bucket.url}/{name}: not in the bucket; upload again (snakemake --forcerun upload_shards)")
    shards_manifest.check_digest(entry.size, entry.crc32c, shard, f"{bucket.url}/{name}")


def _mapped(source: Split, shard: dict[str, Any], cache: Path | None) -> np.ndarray:
    """Return a shard's ``(rows, record bytes)`` records, mapped."""
    name = f"{source.name}/{shard['name']}"
    path = source.bucket.path(name)
    if path is not None and source.manifest["compression"] == "none":
        check_shard(source.bucket, name, shard)
    else:
        if cache is None:
            raise InputError(f"{source.url}: these shards cannot be read in place; give a folder on the local disk for them")
        path = cache / f"{shard['crc32c']}-{shard['name'].removesuffix('.gz')}"
        if not _is_whole(path, source.manifest, shard):
            records = source.get(shard)
            with files.whole(path) as temporary:
                temporary.write_bytes(records)
    return np.memmap(path, np.uint8, "r", shape=(shard["rows"], source.manifest["record_bytes"]))


def _is_whole(path: Path, manifest: dict[str, Any], shard: dict[str, Any]) -> bool:
    if not path.is_file() or path.stat().st_size != shard["rows"] * manifest["record_bytes"]:
        return False
    encoder = shards_records.Encoder(manifest["length"], shards_manifest.widths_of(manifest))
    records = np.memmap(path, np.uint8, "r", shape=(shard["rows"], manifest["record_bytes"]))
    return not any(encoder.damaged(records[begin : begin + _GATHER]).any() for begin in range(0, len(records), _GATHER))


def padding_value(name: str) -> int:
    return PADDING if name == SEQUENCE else 0


def _filled(values: Batch, missing: int) -> Batch:
    """Return values with ``missing`` rows of padding at the end, and `MASK`."""
    rows = len(values[SEQUENCE])
    filled = {
        name: np.concatenate([column, np.full((missing, column.shape[1]), padding_value(name), column.dtype)]) if missing else column
        for name, column in values.items()
    }
    return filled | {MASK: (np.arange(rows + missing) < rows).astype(np.float32)[:, None]}


def _ahead(produce: Callable[[], Iterator[Any]]) -> Generator[Any, None, None]:
    """Yield what ``produce`` yields, made ahead by a thread, which ends with the iterator; errors are passed on."""
    made: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(_AHEAD)
    ended = threading.Event()

    def put(item: Any, error: BaseException | None) -> None:
        while not ended.is_set():
            try:
                return made.put((item, error), timeout=0.1)
            except queue.Full:
                continue

    def work() -> None:
        try:
            for item in produce():
                put(item, None)
                if ended.is_set():
                    return
            put(None, None)
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            put(None, error)

    thread = threading.Thread(target=work, daemon=True, name="batches")
    thread.start()
    try:
        while True:
            item, error = made.get()
            if error is not None:
                raise error
            if item is None:
                return
            yield item
    finally:
        ended.set()
        thread.join()
