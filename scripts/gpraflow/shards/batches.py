"""Reading of shards in batches: by memory map (exact global shuffle) or as a tf.data pipeline (streaming, also from gs://).

Both are reproducible for a given seed and epoch, can start at any step and divide batches among processes. The last partial batch is
dropped (training) or padded and masked (evaluation), so that shapes are static.
"""

import hashlib
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

MASK = "mask"  # feature of padded batches: 1 for promoters, 0 for padding
_GATHER = 1 << 16  # promoters per block: large, so that the loop over shards has little overhead
_AHEAD = 2  # blocks prefetched

Batch = dict[str, np.ndarray]


@dataclass(frozen=True)
class Promoters:
    """A split in memory: ``(rows, length)`` uint8 tokens, ``(rows, conditions)`` float32 expression, and the manifest.

    Expression is NaN where a promoter was not measured in a condition.
    """

    tokens: np.ndarray
    expression: np.ndarray
    manifest: dict[str, Any]


@dataclass(frozen=True)
class Split:
    """A split in a bucket: its manifest, checked against the upload receipt, and the location of its shards."""

    name: str
    manifest: dict[str, Any]
    bucket: base.Bucket

    @property
    def url(self) -> str:
        """URL of the shard folder."""
        return f"{self.bucket.url}/{self.name}"

    def get(self, shard: dict[str, Any]) -> bytes:
        """Return a shard's decompressed records after checking all checksums; raise `InputError` as `manifest.verify` does."""
        return shards_manifest.verify(self.bucket.get(f"{self.name}/{shard['name']}"), self.manifest, shard, f"{self.url}/{shard['name']}")


def open_split(receipt: dict[str, Any], split: str) -> Split:
    """Return a split of an upload receipt.

    Raises
    ------
    InputError
        If the split was not uploaded, or its manifest is missing or differs from the uploaded one; the message names it.
    """
    if split not in receipt["splits"]:
        raise InputError(f"split '{split}' was not uploaded to {receipt['bucket']} (uploaded: {', '.join(receipt['splits'])})")
    bucket, entry = connect.connect(receipt["bucket"]), receipt["splits"][split]
    content = bucket.get(entry["manifest"])
    where = f"{receipt['bucket']}/{entry['manifest']}"
    if hashlib.sha256(content).hexdigest() != entry["sha256"]:
        raise InputError(f"{where}: not the manifest that was uploaded; upload again (snakemake --forcerun upload_shards)")
    return Split(split, shards_manifest.parse_manifest(content, where), bucket)


def load(receipt: dict[str, Any], split: str) -> Promoters:
    """Read all shards of a split into memory and check all checksums.

    Raises
    ------
    InputError
        As in `open_split`, or if a shard is missing, changed, truncated or from another run; the message names it.
    """
    source = open_split(receipt, split)
    rows, length = source.manifest["rows"], source.manifest["length"]
    conditions = shards_manifest.widths_of(source.manifest)[EXPRESSION]
    tokens, expression = np.empty((rows, length), np.uint8), np.empty((rows, conditions), np.float32)
    begin = 0
    for shard in source.manifest["shards"]:
        records = np.frombuffer(source.get(shard), np.uint8).reshape(shard["rows"], -1)
        values = shards_manifest.decode(records, source.manifest, (SEQUENCE, EXPRESSION))
        end = begin + shard["rows"]
        tokens[begin:end], expression[begin:end] = values[SEQUENCE], values[EXPRESSION]
        begin = end
    return Promoters(tokens, expression, source.manifest)


def epoch_order(rows: int, seed: int, epoch: int) -> np.ndarray:
    """Return the order of rows in an epoch: a global shuffle that depends on seed and epoch only."""
    return randomness.generator(seed, "epoch", epoch).permutation(rows)


def strands(batch_size: int, seed: int, epoch: int, step: int) -> np.ndarray:
    """Select about half of a batch at random for reverse-complementing, ``(batch_size,)`` bool."""
    return randomness.generator(seed, "strand", epoch, step).random(batch_size) < 0.5


def turn_some(tokens: np.ndarray, batch_size: int, process: tuple[int, int], seed: int, epoch: int, step: int) -> np.ndarray:
    """Return a process's part of a batch with the promoters selected by `strands` reverse-complemented."""
    first = batch_size // process[1] * process[0]
    selected = strands(batch_size, seed, epoch, step)[first : first + len(tokens)]
    tokens = tokens.copy()
    tokens[selected] = reverse_complement(tokens[selected])
    return tokens


class MemoryMap:
    """Memory-mapped shards, as one table with random access to rows.

    Parameters
    ----------
    source
        The split.
    cache
        Local folder for shards that cannot be mapped in place (remote or compressed). They are downloaded once, and checked record by
        record when they are reused.
    features
        Names of the features to read.

    Raises
    ------
    InputError
        If a shard is missing, changed, truncated or from another run; the message names it.
    """

    def __init__(self, source: Split, cache: Path | None = None, features: Sequence[str] = (SEQUENCE, EXPRESSION)):
        self.manifest = source.manifest
        self.features = select_features(source, features)
        with ThreadPoolExecutor(base.PARALLEL) as pool:  # checksums and downloads take time
            self.maps = list(pool.map(lambda shard: _mapped(source, shard, cache), self.manifest["shards"]))
        self._ends = np.cumsum([len(each) for each in self.maps])

    def __len__(self) -> int:
        """Return the number of promoters."""
        return self.manifest["rows"]

    def take(self, rows: np.ndarray, names: Sequence[str] | None = None) -> Batch:
        """Return the named features (default: all) of rows, in the given order: ``(rows, size)``, tokens uint8, others float32."""
        order = np.argsort(rows)
        ordered = rows[order]
        bounds = np.searchsorted(ordered, self._ends)
        kinds = {"bytes": np.uint8, "float": np.float32}
        wanted = {name: self.features[name] for name in names or self.features}
        batch = {name: np.empty((len(rows), f["size"]), kinds[f["kind"]]) for name, f in wanted.items()}
        begin = 0
        for index, end in enumerate(bounds.tolist()):
            if end > begin:
                records = self.maps[index][ordered[begin:end] - (self._ends[index] - len(self.maps[index]))]
                for name, values in shards_manifest.decode(records, self.manifest, list(batch)).items():
                    batch[name][order[begin:end]] = values
            begin = end
        return batch

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
        """Yield the batches of one epoch, prefetched by a thread.

        Parameters
        ----------
        batch_size
            Promoters per batch over all processes; a multiple of the number of processes.
        seed, epoch, shuffle
            With ``shuffle``, an exact global shuffle of all rows, determined by ``seed`` and ``epoch``; otherwise the order of the shards.
        start
            Number of steps to skip at the beginning of the epoch.
        process
            Index of this process and number of processes; each process gets its part of each batch.
        drop_remainder
            Drop the last partial batch; otherwise pad it, and add `MASK` to all batches.
        turn
            Reverse-complement about half of the promoters, see `turn_some`.
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
    """Shards with features other than the sequence permuted between promoters by ``seed``: the label-permutation control."""

    def __init__(self, source: Split, cache: Path | None, features: Sequence[str], seed: int):
        super().__init__(source, cache, features)
        self._other = randomness.generator(seed, "shuffled labels").permutation(len(self))

    def take(self, rows: np.ndarray, names: Sequence[str] | None = None) -> Batch:
        """Return features like `MemoryMap.take`; all except the sequence are permuted between promoters."""
        wanted = list(names or self.features)
        own, others = [name for name in wanted if name == SEQUENCE], [name for name in wanted if name != SEQUENCE]
        batch = super().take(rows, own) if own else {}
        return batch | (super().take(self._other[rows], others) if others else {})


def check_processes(batch_size: int, process: tuple[int, int]) -> None:
    """Raise ValueError if the batch size is not a multiple of the number of processes."""
    if batch_size % process[1] or not 0 <= process[0] < process[1]:
        raise ValueError(f"a batch of {batch_size} cannot be divided among processes (process {process[0]} of {process[1]})")


def select_features(source: Split, names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return a dict from the selected names to their feature descriptions in the manifest."""
    known = {feature["name"]: feature for feature in source.manifest["features"]}
    for name in names:
        if name not in known:
            raise InputError(f"{source.url}: the shards have no feature '{name}'; add it to shards.extra_features")
    return {name: known[name] for name in names}


def check_shard(bucket: base.Bucket, name: str, shard: dict[str, Any]) -> None:
    """Compare a shard in a bucket with the manifest, by size and checksum; buckets that store checksums do not read the shard."""
    entry = bucket.find(name)
    if entry is None:
        raise InputError(f"{bucket.url}/{name}: not in the bucket; upload again (snakemake --forcerun upload_shards)")
    shards_manifest.check_digest(entry.size, entry.crc32c, shard, f"{bucket.url}/{name}")


def _mapped(source: Split, shard: dict[str, Any], cache: Path | None) -> np.ndarray:
    """Return a memory map of a shard's ``(rows, record bytes)`` records."""
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
    """Append ``missing`` rows of padding to values, and add `MASK`."""
    rows = len(values[SEQUENCE])
    filled = {
        name: np.concatenate([column, np.full((missing, column.shape[1]), padding_value(name), column.dtype)]) if missing else column
        for name, column in values.items()
    }
    return filled | {MASK: (np.arange(rows + missing) < rows).astype(np.float32)[:, None]}


def _ahead(produce: Callable[[], Iterator[Any]]) -> Generator[Any, None, None]:
    """Yield the items of ``produce``, prefetched by a thread that ends with the iterator; errors are re-raised."""
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
        except BaseException as error:  # noqa: BLE001 (re-raised in the consumer)
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
