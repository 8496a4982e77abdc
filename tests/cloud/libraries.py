"""Libraries of promoters as shards, to be uploaded and read."""

import numpy as np
import polars as pl

from gpraflow.shards import write as shards_write

LENGTH = 40


def table(rows, seed=5):
    rng = np.random.default_rng(seed)
    bases = np.frombuffer(b"ACGT", np.uint8)[rng.integers(0, 4, (rows, LENGTH))]
    return pl.DataFrame({"sequence": [row.tobytes().decode() for row in bases], "expression": np.arange(rows, dtype="f4")})


def write(folder, split, rows, rows_per_shard, seed=5):
    """Write a library as shards of a split; return its manifest's path."""
    path = folder / split / "manifest.json"
    shards_write.write(
        table(rows, seed),
        path,
        split=split,
        scaffold="none",
        length=LENGTH,
        keep="right",
        pad="left",
        rows_per_shard=rows_per_shard,
        extra_features=[],
        seed=seed,
    )
    return path


def content(folder):
    """Return object -> content of what should be in the bucket."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.glob("*/*")}
