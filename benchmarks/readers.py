"""Speed of reading shards: the memory map and the tf.data pipeline, beside the source slides' reader.

python benchmarks/readers.py [--rows 2000000] [--slides-rows 60000] [--batch-size 1024] [--seed 0]
One shuffled epoch each, batches of tokens and expression as they go to a model. The slides' reader parses one record and one serialised
tensor at a time, from files of its own form. The last line is JSON: tfdata_per_s, memmap_per_s, memmap_turned_per_s (with
reverse-complement augmentation), slides_per_s, ratio_tfdata_vs_slides, ratio_memmap_vs_slides.
"""

import os
import tempfile

import common
import shards
import synthetic


def slides_rate(rows, folder, batch_size, seed):
    """Return promoters a second of the slides' reader, batched as training needs it."""
    import tensorflow as tf

    table = synthetic.promoter_table(rows, seed)
    paths = []
    for number, part in enumerate(table.iter_slices(-(-rows // 8))):
        paths.append(f"{folder}/slides-{number}")
        shards.slides_writer(part["sequence"].to_list(), part["expression"].to_list(), paths[-1])
    form = {"sequence": tf.io.FixedLenFeature([], tf.string), "expression": tf.io.FixedLenFeature([], tf.float32)}

    def to_sequence(parsed):
        sequence = tf.io.parse_tensor(parsed["sequence"], tf.bool)
        return tf.reshape(sequence, (110, 4)), tf.cast(parsed["expression"], tf.float32)

    options = tf.data.Options()
    options.experimental_deterministic = False
    data = tf.data.TFRecordDataset(paths, num_parallel_reads=tf.data.AUTOTUNE).with_options(options)
    data = data.map(lambda record: tf.io.parse_single_example(record, form), num_parallel_calls=tf.data.AUTOTUNE)
    data = data.map(to_sequence, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
    return rate(data.as_numpy_iterator(), batch_size)


def rate(batches, batch_size):
    """Return promoters a second of an epoch, from its second batch on."""
    next(batches)
    with common.timed() as lap:
        count = sum(1 for _ in batches)
    return count * batch_size / lap.seconds


def main():
    """Write shards, read them each way."""
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--slides-rows", type=int, default=60_000)
    parser.add_argument("--batch-size", type=int, default=1024)
    parser.add_argument("--seed", type=int, default=0)
    arguments = common.parse(parser, rows=20_000, slides_rows=1_000, batch_size=128)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from gpraflow.shards import batches as shards_batches
    from gpraflow.shards import tf_batches, upload, write

    size = arguments.batch_size
    with tempfile.TemporaryDirectory() as folder:
        table = synthetic.promoter_table(arguments.rows, arguments.seed)
        write.write(table, f"{folder}/train/manifest.json", **common.shard_options())
        del table
        receipt = upload.upload({"train": f"{folder}/train/manifest.json"}, f"file://{folder}/bucket", f"{folder}/upload.json")
        source = shards_batches.open_split(receipt, "train")
        mapped = shards_batches.MemoryMap(source)
        found = {
            "memmap_per_s": rate(mapped.batches(size, seed=1), size),
            "memmap_turned_per_s": rate(mapped.batches(size, seed=1, turn=True), size),
            "tfdata_per_s": rate(tf_batches.tf_batches(source, size, seed=1).as_numpy_iterator(), size),
            "slides_per_s": slides_rate(arguments.slides_rows, folder, size, arguments.seed),
        }
    ratios = {f"ratio_{name}_vs_slides": round(found[f"{name}_per_s"] / found["slides_per_s"], 1) for name in ("tfdata", "memmap")}
    common.finish(arguments, "the source slides' reader", **{name: round(value) for name, value in found.items()}, **ratios)


if __name__ == "__main__":
    main()
