"""A sorted promoter library with a known truth, for the sample run and for tests."""

from dataclasses import dataclass

import numpy as np
import polars as pl

from gpraflow import files, motifs, randomness
from gpraflow.scaffold import Scaffold, detokenize, tokenize

BINS = 18  # as in de Boer 2020: sorted by log2(YFP/RFP) into bins 0..17 of equal log width


@dataclass(frozen=True)
class Library:
    """Size and noise of a simulated library; the keys of the config's ``simulate`` section."""

    promoters: int
    independent: int
    mean_reads: float
    cell_sd: float
    active_factors: int


def library(scaffold: Scaffold, motif_file: str, size: Library, seed: int) -> dict[str, pl.DataFrame]:
    """Simulate measured promoters, their truth and an independent, deeply read set.

    Inserts are random with the length spread of the DREAM 2022 library (80 bp 82 %, 79 bp 13 %, others 74-86 bp), one in a hundred
    with an N. A promoter's mean bin is ``8.5 + 3 z``, where z is the standardised sum of activity x occupancy over
    ``active_factors`` yeast factors (`motifs.site_sums`), kept within the bins. Each read is one cell whose bin is the rounded
    normal draw around that mean; reads per promoter are geometric.

    Parameters
    ----------
    scaffold
        Flanks around the inserts.
    motif_file
        Matrices in JASPAR format.
    size
        Numbers of promoters, reads and factors, and the sd of single cells in bins.
    seed
        Same seed, same tables.

    Returns
    -------
    dict of polars.DataFrame
        ``promoters`` and ``independent``: sequence, expression (bins), expression_sd, n_reads, n_bins, singleton.
        ``truth``: sequence and mean bin of ``promoters``. ``activities``: factor, matrix, activity, log_concentration.
    """
    rng = randomness.generator(seed, "simulate_assay")
    # Motifs of little information would bind everywhere and teach nothing.
    usable = [m for m in motifs.load(motif_file) if m.log_odds.max(axis=1).sum() > 7]
    chosen = [usable[i] for i in np.sort(rng.choice(len(usable), min(size.active_factors, len(usable)), replace=False))]
    activity = rng.normal(0.3, 1.0, len(chosen))
    log_concentration = rng.normal(1.0, 0.7, len(chosen))

    total = size.promoters + size.independent
    sequences = _random_promoters(scaffold, total, rng)
    tokens = tokenize(sequences, int(sequences.str.len_bytes().max()))  # type: ignore[arg-type]
    sums = motifs.site_sums(tokens, chosen, log_concentration)
    signal = (sums / (1 + sums)).astype(np.float64) @ activity
    standard = (signal - signal[: size.promoters].mean()) / signal[: size.promoters].std()
    mean_bin = np.clip(8.5 + 3 * standard, 0, BINS - 1)

    n_reads = rng.geometric(1 / size.mean_reads, total)
    n_reads[size.promoters :] = 100 + n_reads[size.promoters :]
    table = _measure(sequences, mean_bin, n_reads, size.cell_sd, rng)
    return {
        "promoters": table[: size.promoters],
        "independent": table[size.promoters :],
        "truth": pl.DataFrame({"sequence": sequences, "mean_bin": mean_bin.round(6)})[: size.promoters],
        "activities": pl.DataFrame(
            {
                "factor": [m.factor for m in chosen],
                "matrix": [m.matrix_id for m in chosen],
                "activity": activity.round(6),
                "log_concentration": log_concentration.round(6),
            }
        ),
    }


def _random_promoters(scaffold: Scaffold, count: int, rng: np.random.Generator) -> pl.Series:
    lengths = np.array([80, 79, *range(74, 79), *range(81, 87)])
    shares = np.array([0.82, 0.13, *[0.05 / 11] * 11])
    drawn = rng.choice(lengths, count, p=shares / shares.sum())
    bases = rng.integers(0, 4, (count, lengths.max()), dtype=np.uint8)
    with_n = np.flatnonzero(rng.random(count) < 0.01)
    bases[with_n, rng.integers(0, lengths.min(), len(with_n))] = 4
    inserts = [text[:length] for text, length in zip(_text(bases), drawn, strict=True)]
    return pl.Series("sequence", [scaffold.five_prime + insert + scaffold.three_prime for insert in inserts])


def _text(bases: np.ndarray) -> list[str]:
    # detokenize strips N from the ends; a guard base keeps every insert at its drawn length.
    guarded = np.pad(bases, ((0, 0), (1, 1)))
    return [text[1:-1] for text in detokenize(guarded)]


def _measure(sequences: pl.Series, mean_bin: np.ndarray, n_reads: np.ndarray, cell_sd: float, rng: np.random.Generator) -> pl.DataFrame:
    first = np.concatenate([[0], np.cumsum(n_reads)[:-1]])
    cells = rng.normal(np.repeat(mean_bin, n_reads), cell_sd)
    bins = np.clip(np.rint(cells), 0, BINS - 1)
    mean = np.add.reduceat(bins, first) / n_reads
    square = np.add.reduceat(bins**2, first) / n_reads
    owner = np.repeat(np.arange(len(n_reads)), n_reads)
    seen = np.zeros((len(n_reads), BINS), bool)
    seen[owner, bins.astype(int)] = True
    n_bins = seen.sum(axis=1)
    return pl.DataFrame(
        {
            "sequence": sequences,
            "expression": mean.round(5),
            "expression_sd": np.sqrt(np.maximum(square - mean**2, 0)).round(5),
            "n_reads": n_reads,
            "n_bins": n_bins,
            "singleton": n_bins == 1,
        }
    )


def write(tables: dict[str, pl.DataFrame], paths: dict[str, str]) -> None:
    """Write tables as gzip-compressed TSV under the paths of the same names."""
    for name, path in paths.items():
        files.write_gzip(path, tables[name].write_csv(separator="\t").encode())
