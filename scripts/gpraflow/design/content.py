"""Sites of motifs in promoters, and the motif content of designs beside that of the library."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.scaffold import tokenize

_ROWS = 4096  # constructs scanned at a time
_SITES = 0.85  # share of the range of a motif's scores from which a place counts as a site
_LEAST_INFORMATION = 7.0  # best score in nats; motifs with less match nearly everywhere


def site_threshold(motif: Motif, score: float) -> float:
    """Return the sum of log-odds at a share of the range of a motif's scores."""
    low, high = motif.log_odds.min(axis=1).sum(), motif.log_odds.max(axis=1).sum()
    return float(low + score * (high - low)) - 1e-5  # sums in another order differ by less


def count_sites(motif: Motif, score: float, tokens: np.ndarray) -> np.ndarray:
    """Return the number of sites of a motif on both strands, ``(constructs,)`` int64.

    Parameters
    ----------
    motif, score
        Motif, and the share of the range of its scores from which a place counts as a site.
    tokens
        ``(constructs, length)``; N has the lowest score.
    """
    width, starts = len(motif.log_odds), tokens.shape[1] - len(motif.log_odds) + 1
    number = np.zeros(len(tokens), np.int64)
    if starts < 1:
        return number
    for oriented in motif.strands:
        table = np.concatenate([oriented, oriented.min(axis=1, keepdims=True)], axis=1)
        for begin in range(0, len(tokens), _ROWS):
            part = tokens[begin : begin + _ROWS]
            total = np.zeros((len(part), starts), np.float32)
            for offset in range(width):
                total += table[offset][part[:, offset : offset + starts]]
            number[begin : begin + _ROWS] += (total >= site_threshold(motif, score)).sum(axis=1)
    return number


def motif_content(table: pl.DataFrame, library: pl.Series, motifs: Sequence[Motif], most: int = 12) -> pl.DataFrame:
    """Return sites per promoter of the motifs whose content differs most between designs and library.

    Returns
    -------
    polars.DataFrame
        ``motif``, ``library`` and a column for each objective: sites per promoter on both strands, at the score that is also the default of
        constraints; ordered by the largest difference.
    """
    library = library.gather_every(max(1, len(library) // 1000))
    groups = {"library": library} | {str(kind): part["sequence"] for (kind,), part in table.group_by("objective", maintain_order=True)}
    tokens = {name: tokenize(sequences, int(sequences.str.len_bytes().max())) for name, sequences in groups.items()}  # type: ignore[arg-type]
    rows = []
    for motif in motifs:
        if motif.log_odds.max(axis=1).sum() > _LEAST_INFORMATION:
            counts = {name: float(count_sites(motif, _SITES, of).mean()) for name, of in tokens.items()}
            rows.append({"motif": f"{motif.factor} {motif.matrix_id}"} | counts)
    found = pl.DataFrame(rows, schema={"motif": pl.String} | dict.fromkeys(tokens, pl.Float64))
    others = [name for name in tokens if name != "library"]
    difference = pl.max_horizontal((pl.col(name) - pl.col("library")).abs() for name in others)
    return found.sort(difference, descending=True, maintain_order=True).head(most)
