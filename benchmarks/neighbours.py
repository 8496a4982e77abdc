"""Speed, memory and recall of grouping near-duplicates among random inserts.

python benchmarks/neighbours.py [--rows 1000000] [--max-edits 3] [--seed 0]
1 % of rows are neighbours of another 1 %: half with up to three substitutions, half with one deletion and one insertion, every other one
on the other strand. The last line is JSON: rows, seconds, peak_rss_mb (with the data), recall (share of planted neighbours in their
source's group), groups.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from gpraflow import neighbours

BASES = np.frombuffer(b"ACGT", np.uint8)


def library(rows, rng):
    """Return inserts of 80 bp; the last ``rows // 100`` are neighbours of the first."""
    near = rows // 100
    inserts = BASES[rng.integers(0, 4, (rows, 80), dtype=np.uint8)]
    inserts[-near:] = inserts[:near]
    every = np.arange(rows - near, rows)
    some, others = every[::2], every[1::2]
    for _ in range(3):
        inserts[some, rng.integers(0, 80, len(some))] = BASES[rng.integers(0, 4, len(some))]
    for row in others:  # one base is lost, another put in elsewhere
        lost, new = np.sort(rng.choice(80, 2, replace=False))
        inserts[row, lost:new] = inserts[row, lost + 1 : new + 1]
        inserts[row, new] = BASES[rng.integers(4)]
    text = pl.Series(inserts.view("S80").ravel().tolist()).cast(pl.String)
    turned = neighbours.reverse_complement(text[rows - near :])
    flip = pl.Series(np.arange(near) // 2 % 2 == 0)
    return pl.concat([text[: rows - near], pl.select(pl.when(flip).then(turned).otherwise(text[rows - near :])).to_series()])


def main():
    """Generate, group, look for the planted ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--max-edits", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    inserts = library(arguments.rows, np.random.default_rng(arguments.seed))
    near = arguments.rows // 100
    start = time.perf_counter()
    found = neighbours.groups(inserts, arguments.max_edits, threads=2)
    summary = {
        "seconds": round(time.perf_counter() - start, 2),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "recall": float((found[-near:] == found[:near]).mean()),
        "groups": len(np.unique(found)),
    }
    print(json.dumps(vars(arguments) | summary))


if __name__ == "__main__":
    main()
