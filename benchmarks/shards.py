"""Speed and memory of writing shards from a Parquet file, beside a tf.train.Example loop and the source slides' writer.

python benchmarks/shards.py [--rows 6739258] [--loop-rows 20000] [--seed 0]
Ours runs in a process of its own, so that its memory is its own. The alternatives are loops whose time a row does not depend on their
number; they write ``--loop-rows`` rows. The last line is JSON: rows, shards, seconds, rows_per_s, peak_rss_mb, example_per_s, slides_per_s,
ratio_vs_example_writer, ratio_vs_slides_writer.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

OURS = """
import json, resource, sys, time
sys.path.insert(0, sys.argv[1])
from gpraflow.formats import promoters
from gpraflow.shards import write
start = time.perf_counter()
manifest = write.write(promoters.scan(sys.argv[2]), sys.argv[3] + "/manifest.json", split="train", scaffold="pTpA", length=110,
                       keep="right", pad="left", rows_per_shard=100_000, extra_features=[], seed=0, threads=2)
print(json.dumps({"seconds": round(time.perf_counter() - start, 2), "shards": len(manifest["shards"]),
                  "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}))
"""


def example_writer(sequences, expression, path):
    """Write with one tf.train.Example a promoter, tokens by look-up: what a careful loop does. Return rows a second."""
    import numpy as np
    import tensorflow as tf

    token = np.full(256, 4, np.uint8)
    token[np.frombuffer(b"ACGT", np.uint8)] = range(4)
    start = time.perf_counter()
    with tf.io.TFRecordWriter(path) as writer:
        for sequence, value in zip(sequences, expression, strict=True):
            tokens = token[np.frombuffer(sequence.rjust(110, "N").encode(), np.uint8)].tobytes()
            feature = {
                "sequence": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tokens])),
                "expression": tf.train.Feature(float_list=tf.train.FloatList(value=[value])),
            }
            example = tf.train.Example(features=tf.train.Features(feature=feature))
            writer.write(example.SerializeToString(deterministic=True))
    return len(sequences) / (time.perf_counter() - start)


def slides_writer(sequences, expression, path):
    """Write as the source slides do: a Python look-up a base, one-hot booleans, a serialised tensor a promoter. Return rows a second."""
    import numpy as np
    import tensorflow as tf

    one_hot = {base: np.array([base == letter for letter in "ACGT"], bool) for base in "ACGTN"}
    start = time.perf_counter()
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
    return len(sequences) / (time.perf_counter() - start)


def main():
    """Make a table, write it three ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6_739_258)
    parser.add_argument("--loop-rows", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    from benchmarks import synthetic

    from gpraflow.formats import promoters

    with tempfile.TemporaryDirectory() as folder:
        table = synthetic.promoter_table(arguments.rows, arguments.seed)
        promoters.write(table, f"{folder}/train.parquet")
        some = table.head(arguments.loop_rows)
        del table
        command = [sys.executable, "-c", OURS, str(ROOT / "scripts"), f"{folder}/train.parquet", f"{folder}/train"]
        ours = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        sequences, expression = some["sequence"].to_list(), some["expression"].to_list()
        example_writer(sequences[:10], expression[:10], f"{folder}/warm")
        loops = {
            "example_per_s": example_writer(sequences, expression, f"{folder}/example"),
            "slides_per_s": slides_writer(sequences, expression, f"{folder}/slides"),
        }
    per_s = arguments.rows / ours["seconds"]
    ratios = {f"ratio_vs_{name.removesuffix('_per_s')}_writer": round(per_s / rate, 1) for name, rate in loops.items()}
    print(json.dumps(vars(arguments) | ours | {"rows_per_s": round(per_s)} | {k: round(v) for k, v in loops.items()} | ratios))


if __name__ == "__main__":
    main()
