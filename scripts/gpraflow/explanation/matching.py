"""Comparison of motifs with known motifs, with p-values as in Tomtom (Gupta et al. 2007, doi:10.1186/gb-2007-8-2-r24).

Tomtom of the MEME Suite is a program of its own, and memelite, its well-kept copy in Python, compiles itself at its first call, which takes
longer than a run of the sample. The method needs few lines of array operations; tests compare it with memelite's values.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from gpraflow.explanation.sites import recalls
from gpraflow.sequences.motifs import Motif

_LEVELS = 100  # levels to which the scores of columns are rounded
_OVERLAP = 5  # minimum overlap in bp; less if a motif is narrower
MATCHES = {
    "motif": pl.String,
    "factor": pl.String,
    "matrix": pl.String,
    "strand": pl.String,
    "offset": pl.Int64,
    "overlap": pl.Int64,
    "p_value": pl.Float64,
    "q_value": pl.Float64,
}


def compare(queries: Sequence[Motif], targets: Sequence[Motif]) -> pl.DataFrame:
    """Return the comparison of each query with each target: columns `MATCHES`, best first for each query.

    The similarity of two columns is minus the Euclidean distance of their base frequencies, less its median over all columns of all
    targets, so that columns without a partner count as typical ones. The score of an alignment is the sum over the overlap. Its p-value is
    the probability that columns drawn at random from those of all targets score as high, from the exact distribution of the sum. The
    p-value of a pair is that of its best alignment, ``1 - (1 - p)^n`` for n alignments on both strands. q-values (Benjamini & Hochberg
    1995, doi:10.1111/j.2517-6161.1995.tb02031.x) are over all pairs. ``offset`` is the column of the query at which the target begins.
    """
    if not queries or not targets:
        return pl.DataFrame(schema=MATCHES)
    of_targets = [target.frequencies for target in targets]
    columns = np.concatenate([*of_targets, *(each[::-1, ::-1] for each in of_targets)])
    lines = []
    for query in queries:
        own = query.frequencies
        null = _Null(own, columns)
        for target, of_target in zip(targets, of_targets, strict=True):
            lines.append((query.matrix_id, target.factor, target.matrix_id, *null.best(of_target)))
    table = pl.DataFrame(lines, schema={name: kind for name, kind in MATCHES.items() if name != "q_value"}, orient="row")
    q_values = stats.false_discovery_control(table["p_value"].to_numpy(), method="bh")
    table = table.with_columns(pl.Series("q_value", q_values)).with_row_index("order")
    names = {query.matrix_id: index for index, query in enumerate(queries)}
    table = table.with_columns(of=pl.col("motif").replace_strict(names, return_dtype=pl.Int64))
    return table.sort("of", "p_value", "order").select(list(MATCHES))


def best_matches(queries: Sequence[Motif], targets: Sequence[Motif], largest: float = 0.05) -> pl.DataFrame:
    """Return the best match of each query among those with a q-value up to ``largest``, columns `MATCHES`."""
    return compare(queries, targets).filter(pl.col("q_value") <= largest).unique("motif", keep="first", maintain_order=True)


def recovery(found: Sequence[Motif], known: Sequence[Motif], truth: pl.DataFrame, largest: float = 0.05) -> dict[str, Any]:
    """Return precision and recall of de novo motifs against the truly active factors (``matrix``, ``activity``), which are in ``known``.

    A factor is found if a motif matches its matrix with a q-value up to ``largest``, over all pairs of motifs and known motifs. Precision
    is the fraction of motifs that match an active factor, None without motifs. ``recall_of_best_matches`` counts the best match of each
    motif only.
    """
    pairs = compare(found, known).filter(pl.col("q_value") <= largest)
    best = set(pairs.unique("motif", keep="first", maintain_order=True)["matrix"])
    active = set(truth["matrix"])
    right = pairs.filter(pl.col("matrix").is_in(list(active)))
    hit = set(right["matrix"])
    return {
        "active": len(active),
        "found": len(found),
        "precision": right["motif"].n_unique() / len(found) if found else None,
        **recalls(hit, truth),
        "recall_of_best_matches": len(best & active) / len(active),
    }


class _Null:
    """Distribution of the scores of a query's columns, and of their sums, over random target columns."""

    def __init__(self, own: np.ndarray, columns: np.ndarray):
        similarity = -np.linalg.norm(own[:, None] - columns, axis=2)
        self.own, self.median = own, np.median(similarity, axis=1, keepdims=True)
        centred = similarity - self.median
        self.step = float(np.abs(centred).max()) / _LEVELS or 1.0
        levels = np.round(centred / self.step).astype(np.int64) + _LEVELS
        self.single = np.stack([np.bincount(each, minlength=2 * _LEVELS + 1) for each in levels]) / len(columns)
        self.tails: dict[tuple[int, int], np.ndarray] = {}

    def tail(self, begin: int, end: int) -> np.ndarray:
        """Return P(sum of levels >= level) for columns ``begin`` to ``end``; index 0 is the lowest level, -100 for each column."""
        if (begin, end) not in self.tails:
            density = self.single[begin]
            for column in range(begin + 1, end):
                density = np.convolve(density, self.single[column])
            self.tails[begin, end] = np.cumsum(density[::-1])[::-1]
        return self.tails[begin, end]

    def best(self, target: np.ndarray) -> tuple[str, int, int, float]:
        """Return strand, offset, overlap and p-value of the best alignment."""
        least = min(_OVERLAP, len(self.own), len(target))
        found = []
        for strand, oriented in (("+", target), ("-", target[::-1, ::-1])):
            similarity = -np.linalg.norm(self.own[:, None] - oriented, axis=2) - self.median
            levels = np.round(similarity / self.step).astype(np.int64).clip(-_LEVELS, _LEVELS) + _LEVELS
            for offset in range(least - len(oriented), len(self.own) - least + 1):
                begin, end = max(0, offset), min(len(self.own), offset + len(oriented))
                score = int(levels[np.arange(begin, end), np.arange(begin, end) - offset].sum())
                found.append((float(self.tail(begin, end)[score]), strand, offset, end - begin))
        p, strand, offset, overlap = min(found, key=lambda each: (each[0], -each[3]))
        return strand, offset, overlap, float(-np.expm1(len(found) * np.log1p(-min(p, 1 - 1e-12))))
