"""Speed and memory of writing shards from a Parquet file, beside a tf.train.Example loop and the source slides' writer.

python benchmarks/shards.py [--rows 6739258] [--loop-rows 20000] [--seed 0]
Ours runs in a process of its own, so that its memory is its own. The alternatives are loops whose time a row does not depend on their
number; they write ``--loop-rows`` rows. The last line is JSON: shards, seconds, rows_per_s, peak_rss_mb, example_per_s, slides_per_s,
ratio_vs_example_writer, ratio_vs_slides_writer.
"""

import os
import tempfile

import common
import synthetic


def ours(table, manifest):
    """Write as the workflow does; return seconds, the number of shards and the peak memory of this process."""
    from gpraflow.formats import promoters
    from gpraflow.shards import write

    with common.timed() as lap:
        written = write.write(promoters.scan(table), manifest, **common.shard_options(), threads=2)
    return {"seconds": round(lap.seconds, 2), "shards": len(written["shards"]), "peak_rss_mb": common.peak_rss_mb()}


def example_writer(sequences, expression, path):
    """Write with one tf.train.Example a promoter, tokens by look-up: what a careful loop does. Return rows a second."""
    import numpy as np
    import tensorflow as tf

    token = np.full(256, 4, np.uint8)
    token[np.frombuffer(b"ACGT", np.uint8)] = range(4)
    with common.timed() as lap, tf.io.TFRecordWriter(path) as writer:
        for sequence, value in zip(sequences, expression, strict=True):
            tokens = token[np.frombuffer(sequence.rjust(110, "N").encode(), np.uint8)].tobytes()
            feature = {
                "sequence": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tokens])),
                "expression": tf.train.Feature(float_list=tf.train.FloatList(value=[value])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))
    return len(sequences) / lap.seconds


def slides_writer(sequences, expression, path):
    """Write as the source slides do: a Python look-up a base, one-hot booleans, a serialised tensor a promoter. Return rows a second."""
    import numpy as np
    import tensorflow as tf

    one_hot = {base: np.array([base == letter for letter in "ACGT"], bool) for base in "ACGTN"}
    with common.timed() as lap:
        padded = []
        for sequence in sequences:
            if len(sequence) > 110:
                sequence = sequence[-110:]
            while len(sequence) < 110:
                sequence = "N" + sequence
            padded.append(sequence)
        encoded = np.asarray([[one_hot[base] for base in sequence] for sequence in padded])
        with tf.io.TFRecordWriter(path) as writer:
            for row in range(len(encoded)):
                tensor = tf.io.serialize_tensor(encoded[row]).numpy()
                feature = {
                    "sequence": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tensor])),
                    "expression": tf.train.Feature(float_list=tf.train.FloatList(value=[expression[row]])),
                }
                writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
    return len(sequences) / lap.seconds


def main():
    """Make a table, write it three ways."""
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, default=6_739_258)
    parser.add_argument("--loop-rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = common.parse(parser, rows=20_000, loop_rows=1_000)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from gpraflow.formats import promoters

    with tempfile.TemporaryDirectory() as folder:
        table = synthetic.promoter_table(arguments.rows, arguments.seed)
        promoters.write(table, f"{folder}/train.parquet")
        some = table.head(arguments.loop_rows)
        del table
        found = common.call("shards", "ours", f"{folder}/train.parquet", f"{folder}/train/manifest.json")
        sequences, expression = some["sequence"].to_list(), some["expression"].to_list()
        example_writer(sequences[:10], expression[:10], f"{folder}/warm")
        loops = {
            "example_per_s": example_writer(sequences, expression, f"{folder}/example"),
            "slides_per_s": slides_writer(sequences, expression, f"{folder}/slides"),
        }
    per_s = arguments.rows / found["seconds"]
    ratios = {f"ratio_vs_{name.removesuffix('_per_s')}_writer": round(per_s / rate, 1) for name, rate in loops.items()}
    found |= {"rows_per_s": round(per_s)} | {name: round(rate) for name, rate in loops.items()} | ratios
    common.finish(arguments, "a loop over tf.train.Example, and the source slides' writer", **found)


if __name__ == "__main__":
    main()
