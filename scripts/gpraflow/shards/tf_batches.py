"""Batches from shards with tf.data, from any URL that TensorFlow can read."""

from collections.abc import Sequence
from typing import Any

from gpraflow.core import randomness
from gpraflow.shards.batches import MASK, Split, check_processes, check_shard, padding_value, select_features, turn_some
from gpraflow.shards.records import EXPRESSION, SEQUENCE

_CYCLE = 16  # shards that tf.data interleaves
_MIXED = 512  # size of tf.data's shuffle buffer, in parts of batches


def tf_batches(
    source: Split,
    batch_size: int,
    *,
    seed: int = 0,
    epoch: int = 0,
    shuffle: bool = True,
    start: int = 0,
    process: tuple[int, int] = (0, 1),
    drop_remainder: bool = True,
    turn: bool = False,
    features: Sequence[str] = (SEQUENCE, EXPRESSION),
    verify: bool = True,
) -> Any:
    """Return one epoch as a ``tf.data.Dataset`` of batches; parameters as in `MemoryMap.batches`.

    Shards are read in random order and interleaved, and small parts of them are shuffled. All records were shuffled when the shards were
    written. Whole batches are parsed at once; tokens remain uint8.

    Parameters
    ----------
    verify
        First compare size and CRC32C of every shard with the manifest. TensorFlow always checks the checksum of each record.

    Raises
    ------
    InputError
        If a shard is missing, changed, truncated or from another run; the message names it.
    """
    import tensorflow as tf

    check_processes(batch_size, process)
    manifest, objects = source.manifest, [f"{source.name}/{shard['name']}" for shard in source.manifest["shards"]]
    if verify:
        for name, shard in zip(objects, manifest["shards"], strict=True):
            check_shard(source.bucket, name, shard)
    paths = [str(source.bucket.path(name) or f"{source.bucket.url}/{name}") for name in objects]
    if shuffle:
        paths = [paths[index] for index in randomness.generator(seed, "shards", epoch).permutation(len(paths))]
    packed = {"none": "", "gzip": "GZIP"}[manifest["compression"]]
    part = max(1, batch_size // _CYCLE) if shuffle else batch_size
    data = tf.data.Dataset.from_tensor_slices(paths).interleave(
        lambda path: tf.data.TFRecordDataset(path, packed, buffer_size=8 << 20).batch(part),
        cycle_length=_CYCLE if shuffle else 1,
        num_parallel_calls=tf.data.AUTOTUNE if shuffle else 1,
        deterministic=True,
    )
    if shuffle:
        data = data.shuffle(_MIXED, seed=randomness.derive(seed, "parts", epoch), reshuffle_each_iteration=False)
    data = data.rebatch(batch_size, drop_remainder=drop_remainder).enumerate().skip(start)
    size = batch_size // process[1]
    known = select_features(source, features)
    form = {
        name: tf.io.FixedLenFeature([], tf.string) if f["kind"] == "bytes" else tf.io.FixedLenFeature([f["size"]], tf.float32)
        for name, f in known.items()
    }

    def parse(step: Any, records: Any) -> dict[str, Any]:
        values = tf.io.parse_example(records[process[0] * size : (process[0] + 1) * size], form)
        tokens = tf.io.decode_raw(values[SEQUENCE], tf.uint8, fixed_length=manifest["length"])
        if turn:
            tokens = tf.numpy_function(lambda t, s: turn_some(t, batch_size, process, seed, epoch, int(s)), [tokens, step], tf.uint8)
        values[SEQUENCE] = tokens
        if not drop_remainder:
            rows = tf.shape(values[SEQUENCE])[0]
            values = {
                name: tf.pad(column, [[0, size - rows], [0, 0]], constant_values=tf.cast(padding_value(name), column.dtype))
                for name, column in values.items()
            }
            values[MASK] = tf.cast(tf.range(size) < rows, tf.float32)[:, None]
        return {name: tf.ensure_shape(column, (size, 1 if name == MASK else known[name]["size"])) for name, column in values.items()}

    return data.map(parse, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True).prefetch(4)
