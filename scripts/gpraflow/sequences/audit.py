"""Audit of leakage control: distances of scored promoters to the training promoters, compared with those of shuffled sequences.

The audit does not depend on ``neighbours.max_edits``, so that it also finds what a small limit, or a barcode behind the promoter, hides.
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.sequences import neighbours

SAMPLED = 1000  # scored promoters of a data set, drawn at random, that are shuffled and searched; bounds the cost
_UNRELATED = 50  # training promoters, drawn at random, that each sequence is compared with, so that every distance is finite
_LEAST_SEGMENT = 4  # bp; shorter segments select too many candidates
# `kind`: scored or shuffled. `near`: edits within which a promoter of this length counts as near (`near_edits`).
AUDIT = {"dataset": pl.String, "kind": pl.String, "near": pl.Int64, "distance": pl.Int64}


def near_edits(length: np.ndarray) -> np.ndarray:
    """Return the edits within which an insert of ``length`` bp counts as near: a tenth of it, at least 3, but at most a fifth."""
    return np.maximum(np.minimum(3, length // 5), length // 10)


def shuffled(sequences: pl.Series, rng: np.random.Generator) -> pl.Series:
    """Return each sequence with its bases in random order."""
    letters = (np.array(list(text.encode()), np.uint8) for text in sequences)
    return pl.Series([rng.permutation(text).tobytes().decode() for text in letters], dtype=pl.String)


def distances(
    training: Iterable[pl.Series],
    scored: Mapping[str, pl.Series],
    inserts: Callable[[pl.Series], pl.Series],
    seed: int,
    threads: int = 1,
) -> pl.DataFrame:
    """Return the edits to the nearest training promoter of a sample of each data set, and of the same promoters shuffled.

    Up to `SAMPLED` promoters of a data set are drawn. All distances up to `near_edits` of the usual length are exact
    (`neighbours.overlaps`). Greater ones are upper bounds: the least distance to candidates that share 12-mers (`neighbours.nearest`) or,
    without such candidates, to 50 training promoters drawn at random, which is near that of unrelated sequences.

    Parameters
    ----------
    training, scored
        Training promoters in parts, which are read twice, and the promoters of each data set by name.
    inserts
        Function that removes flanks.
    seed
        Of the samples and shuffles.
    threads
        Number of threads for comparing sequences.

    Returns
    -------
    polars.DataFrame
        `AUDIT`, a row for each drawn promoter and one for its shuffle, in this order.
    """
    parts = []
    for name, sequences in scored.items():
        rng = randomness.generator(seed, "audit", name)
        rows = np.sort(rng.choice(len(sequences), min(SAMPLED, len(sequences)), replace=False))
        drawn = inserts(sequences[rows])
        near = near_edits(drawn.str.len_bytes().to_numpy().astype(np.int64))
        for kind, text in (("scored", drawn), ("shuffled", shuffled(drawn, rng))):
            parts.append(pl.DataFrame({"text": text}).with_columns(dataset=pl.lit(name), kind=pl.lit(kind), near=pl.Series(near)))
    if not parts:
        return pl.DataFrame(schema=AUDIT)
    table = pl.concat(parts)
    text = table["text"]
    lengths = pl.concat([pl.Series([], dtype=pl.UInt32), *(inserts(part).str.len_bytes() for part in training)])
    shortest = int(lengths.quantile(0.01) or 0)
    radius = max(0, min(int(table["near"].median() or 0), shortest // _LEAST_SEGMENT - 1))  # type: ignore[arg-type]
    places = np.sort(randomness.generator(seed, "audit").choice(len(lengths), min(_UNRELATED, len(lengths)), replace=False))
    nearest, few, begin = pl.Series([None] * len(text), dtype=pl.Int64), [pl.Series([], dtype=pl.String)], 0
    for part in training:
        library = inserts(part)
        of_part = neighbours.nearest(text, library, radius, threads=threads, before=nearest)["distance"]
        nearest = pl.select(pl.min_horizontal(of_part, nearest)).to_series()
        few.append(library.gather(places[(places >= begin) & (places < begin + len(part))] - begin))
        begin += len(part)
    unrelated = neighbours.least_distances(text, pl.concat(few), threads)
    return table.select("dataset", "kind", "near", distance=nearest.fill_null(unrelated))
