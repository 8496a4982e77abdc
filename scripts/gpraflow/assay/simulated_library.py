"""Simulate a library and its sort: promoters, true expression, and cells per bin."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl

from gpraflow.assay.sheet import Row, replicate_of
from gpraflow.core import randomness
from gpraflow.core.errors import ConfigError
from gpraflow.sequences import motifs
from gpraflow.sequences.scaffold import ALPHABET, PADDING, Scaffold, detokenize, tokenize

# Length distribution (bp: share) of 7,369 inserts of the DREAM 2022 training set; the remainder is spread over the other lengths.
_LENGTHS = {80: 0.821, 79: 0.126, 78: 0.024, 77: 0.0075, 81: 0.005, 76: 0.0045, 75: 0.0025, 74: 0.0015, 72: 0.0015}
_SHORTEST, _LONGEST = 57, 105
_SOME = 5_000  # promoters from which the effects of factors are calculated
_WITH_N = 0.004  # share of promoters with N, as in that set (there as a run of N)
_CHANGED, _CHANGE = 1 / 3, 2.0  # share of factors whose log concentration differs between conditions, and by how much
BLOCK = 4096  # reads or promoters processed at a time
ASCII = np.frombuffer(ALPHABET.encode(), np.uint8)


@dataclass(frozen=True)
class Assay:
    """Sizes and noise parameters of the library, the sort and the sequencing; the keys of the config section ``simulate``.

    Attributes
    ----------
    promoters, independent
        Number of promoters in the library and in the independent set.
    conditions
        Number of conditions, between which the concentrations of some factors differ.
    independent_cells
        Cells measured for each independent promoter.
    active_factors
        Number of transcription factors that affect expression.
    signal_sd
        Standard deviation over promoters of the mean log2 YFP/RFP, away from the floor and ceiling of the reporter.
    cells_per_promoter, cell_dispersion
        Mean number m of cells sorted per promoter and replicate, and its dispersion: the variance is ``m + cell_dispersion m^2``.
    yfp_sd, rfp_sd
        Standard deviation of log2 YFP and log2 RFP of single cells around the mean of their promoter.
    sd_spread
        Variation of the cell-to-cell standard deviation between promoters: standard deviation of its natural log.
    sorting_errors
        Fraction of cells sorted into a neighbouring bin.
    reads
        Total number of reads (or read pairs) over all bins and replicates.
    depth_spread
        Standard deviation between bins of the natural log of reads per cell.
    pcr_spread
        Standard deviation between cells of the natural log of PCR amplification.
    foreign_reads
        Fraction of reads from plasmid without an insert.
    reverse_reads
        Fraction of reads (first reads of pairs) on the strand opposite to the reporter gene.
    base_errors
        Fraction of called bases that are wrong. In addition, a tenth of this fraction are N.
    indel_errors
        Fraction of bases inserted or deleted.
    read_length
        Read length in bp.
    upstream_bases
        Plasmid bases between the start of a forward read and the promoter, and likewise behind the promoter for reverse reads.
    """

    promoters: int = 20_000
    independent: int = 2_000
    conditions: int = 1
    independent_cells: int = 200
    active_factors: int = 40
    signal_sd: float = 2.0
    cells_per_promoter: float = 25.0
    cell_dispersion: float = 1.0
    yfp_sd: float = 0.6
    rfp_sd: float = 0.45
    sd_spread: float = 0.1
    sorting_errors: float = 0.02
    reads: int = 600_000
    depth_spread: float = 0.3
    pcr_spread: float = 0.5
    foreign_reads: float = 0.01
    reverse_reads: float = 0.0
    base_errors: float = 0.002
    indel_errors: float = 0.0001
    read_length: int = 150
    upstream_bases: int = 15


@dataclass(frozen=True)
class Cell:
    """What determines the expression of a promoter in the simulated cells, in each condition.

    Attributes
    ----------
    factors
        Motifs of the active factors.
    activity, log_concentrations
        ``(factors,)`` activity, and ``(conditions, factors)`` log concentration.
    mean, sd
        Mean and standard deviation, over the library in the first condition, of the strength of promoters.
    middle, half
        Middle of the reporter's floor and ceiling and half the distance between them, in log2 YFP/RFP.
    signal_sd
        See `Assay`.
    """

    factors: Sequence[motifs.Motif]
    activity: np.ndarray
    log_concentrations: np.ndarray
    mean: float
    sd: float
    middle: float
    half: float
    signal_sd: float

    def signal(self, sequences: pl.Series) -> np.ndarray:
        """Return the mean log2 YFP/RFP of whole promoters in each condition, ``(conditions, promoters)``."""
        return self.saturated(strengths(sequences, self.factors, self.activity, self.log_concentrations))

    def saturated(self, strength: np.ndarray) -> np.ndarray:
        """Return the signal of promoters of known strength, of the same shape."""
        return self.middle + self.half * np.tanh(self.signal_sd * ((strength - self.mean) / self.sd) / self.half)


def strengths(
    sequences: pl.Series, factors: Sequence[motifs.Motif], activity: np.ndarray, log_concentrations: Iterable[np.ndarray]
) -> np.ndarray:
    """Return the strength of whole promoters in each condition, the sum of activity times occupancy, ``(conditions, promoters)``."""
    tokens = tokenize(sequences, int(sequences.str.len_bytes().max()))  # type: ignore[arg-type]
    return np.stack([np.einsum("pf,f->p", motifs.occupancies(tokens, factors, each), activity) for each in log_concentrations])


@dataclass(frozen=True)
class Library:
    """Promoters and the distribution of their signal; the independent set follows the library.

    ``inserts`` are ``(promoters, bp)`` tokens, of which the first ``lengths`` are valid. ``signal``, ``(conditions, promoters)``, and
    ``cell_sd``, ``(promoters,)``, are the mean and standard deviation of log2 YFP/RFP over a promoter's cells. ``activities`` has columns
    factor, matrix, activity, log_concentration, effect_sd (standard deviation of activity times occupancy over up to 5,000 promoters of the
    library: what the factor contributes to differences in strength), and with several conditions log_concentration_2 and so on. ``cell``
    gives the signal of any promoter.
    """

    inserts: np.ndarray
    lengths: np.ndarray
    sequences: pl.Series
    signal: np.ndarray
    cell_sd: np.ndarray
    activities: pl.DataFrame
    cell: Cell


def replicate_gates(sheet: Sequence[Row]) -> dict[str, np.ndarray]:
    """Return the gates between the bins of each replicate, ``(bins - 1,)`` log2 YFP/RFP. The outermost bins are open-ended.

    Raises
    ------
    ConfigError
        If a gate is missing, adjacent bins have different gates between them, or gates do not increase.
    """
    gates: dict[str, np.ndarray] = {}
    for replicate in dict.fromkeys(map(replicate_of, sheet)):
        inner = []
        for low, high in pairwise(row for row in sheet if replicate_of(row) == replicate):
            between = {row[column] for row, column in ((low, "upper"), (high, "lower")) if column in row}
            if len(between) != 1:
                values = " and ".join(f"{gate:g}" for gate in sorted(between)) or "none"
                raise ConfigError(
                    f"sample sheet: gate between bins '{low['bin']}' and '{high['bin']}': found {values}, expected one; "
                    f"give it as upper of '{low['bin']}', as lower of '{high['bin']}', or as both"
                )
            inner.append(between.pop())
        if not inner or (np.diff(inner) <= 0).any():
            where = f" of replicate '{replicate}'" if replicate else ""
            raise ConfigError(f"sample sheet: gates{where} {inner}; the simulation needs at least two bins, with increasing gates")
        gates[replicate] = np.array(inner, np.float64)
    return gates


def bin_units(signal: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Convert a signal (log2 YFP/RFP) to bin units: the lowest inner gate is 0.5, and 1 unit is the mean width of the closed bins."""
    width = np.diff(inner).mean() if len(inner) > 1 else 1.0
    return (signal - inner[0]) / width + 0.5


def gamma(rng: np.random.Generator, dispersion: float, count: int) -> np.ndarray:
    """Return gamma variates of mean 1 and variance ``dispersion``, shape ``(count,)``."""
    return rng.gamma(1 / dispersion, dispersion, count) if dispersion > 0 else np.ones(count)


def make_library(scaffold: Scaffold, motif_file: str, inner: np.ndarray, assay: Assay, seed: int) -> Library:
    """Draw random promoters and simulate their expression.

    Insert lengths follow the DREAM 2022 library (80 bp 82 %, 79 bp 13 %, others 57-105 bp); 4 in 1000 inserts have a base that is always
    sequenced as N. Promoter strength is the sum over ``active_factors`` yeast factors of activity times occupancy (`motifs.occupancies`;
    de Boer et al. 2020, doi:10.1038/s41587-019-0315-8), standardised to z. The reporter saturates at a floor and a ceiling: with m the
    middle of the closed bins and h half their range, the signal is ``m + h tanh(signal_sd z / h)``.
    In each further condition, the concentrations of about a third of the factors are e^2 times higher or lower than in the first; z is
    standardised by the first condition.

    Parameters
    ----------
    inner
        Gates between the bins, ``(bins - 1,)`` log2 YFP/RFP.
    """
    rng = randomness.generator(seed, "simulate_assay", "library")
    # Motifs with little information would match everywhere
    usable = [m for m in motifs.load(motif_file) if m.log_odds.max(axis=1).sum() > 7]
    chosen = [usable[i] for i in np.sort(rng.choice(len(usable), min(assay.active_factors, len(usable)), replace=False))]
    activity = rng.normal(0.3, 1.0, len(chosen))
    log_concentration = rng.normal(1.0, 0.7, len(chosen))

    total = assay.promoters + assay.independent
    others = [length for length in range(_SHORTEST, _LONGEST + 1) if length not in _LENGTHS]
    shares = [*_LENGTHS.values(), *[(1 - sum(_LENGTHS.values())) / len(others)] * len(others)]
    lengths = rng.choice([*_LENGTHS, *others], total, p=shares)
    inserts = rng.integers(0, 4, (total, _LONGEST), dtype=np.uint8)
    with_n = np.flatnonzero(rng.random(total) < _WITH_N)
    inserts[with_n, rng.integers(0, lengths[with_n])] = PADDING
    # detokenize strips N from both ends; a flanking base protects the length of each insert
    text = [guarded[1 : length + 1] for guarded, length in zip(detokenize(np.pad(inserts, ((0, 0), (1, 1)))), lengths, strict=True)]
    sequences = pl.Series("sequence", [scaffold.five_prime + insert + scaffold.three_prime for insert in text])

    cell_sd = np.hypot(assay.yfp_sd, assay.rfp_sd) * np.exp(rng.normal(0, assay.sd_spread, total))
    concentrations = [log_concentration]
    for number in range(2, assay.conditions + 1):
        of_condition = randomness.generator(seed, "simulate_assay", "condition", number)
        changed = of_condition.random(len(chosen)) < _CHANGED
        concentrations.append(log_concentration + changed * of_condition.choice([-_CHANGE, _CHANGE], len(chosen)))
    strength = strengths(sequences, chosen, activity, concentrations)
    some = tokenize(sequences[: min(_SOME, assay.promoters)], _LONGEST + len(scaffold.five_prime) + len(scaffold.three_prime))
    effect_sd = np.abs(activity) * motifs.occupancies(some, chosen, log_concentration).std(axis=0)
    of_library = strength[0, : assay.promoters]
    half = (inner[-1] - inner[0]) / 2 or 2 * assay.signal_sd  # two open bins: one gate only
    cell = Cell(
        chosen,
        activity,
        np.array(concentrations),
        mean=of_library.mean(),
        sd=of_library.std(),
        middle=(inner[0] + inner[-1]) / 2,
        half=half,
        signal_sd=assay.signal_sd,
    )
    factors = {
        "factor": [m.factor for m in chosen],
        "matrix": [m.matrix_id for m in chosen],
        "activity": activity.round(6),
        "log_concentration": log_concentration.round(6),
        "effect_sd": effect_sd.round(6),
        **{f"log_concentration_{number}": each.round(6) for number, each in enumerate(concentrations[1:], start=2)},
    }
    return Library(
        inserts,
        lengths,
        sequences,
        signal=cell.saturated(strength),
        cell_sd=cell_sd,
        activities=pl.DataFrame(factors),
        cell=cell,
    )


def sort_cells(
    signal: np.ndarray, cell_sd: np.ndarray, cells: np.ndarray, inner: np.ndarray, sorting_errors: float, rng: np.random.Generator
) -> np.ndarray:
    """Assign each cell to a bin, in order of promoters.

    YFP and RFP of a cell are log-normal, so log2 YFP/RFP is normal and is drawn directly. A missorted cell falls into a neighbouring bin.

    Parameters
    ----------
    signal, cell_sd
        Mean and standard deviation of log2 YFP/RFP over the cells of each promoter.
    cells
        Number of cells of each promoter.
    inner
        Gates, shape ``(bins - 1,)``. A cell exactly on a gate falls into the upper bin.
    sorting_errors
        Fraction of missorted cells.

    Returns
    -------
    numpy.ndarray
        Bin of each cell, shape ``(cells.sum(),)``, uint8, or uint16 for more than 256 bins.
    """
    ratio = rng.normal(np.repeat(signal, cells), np.repeat(cell_sd, cells))
    bins = np.searchsorted(inner, ratio, side="right")
    wrong = np.flatnonzero(rng.random(len(bins)) < sorting_errors)
    step = rng.choice([-1, 1], len(wrong))
    off_the_end = (bins[wrong] + step < 0) | (bins[wrong] + step > len(inner))
    bins[wrong] += np.where(off_the_end, -step, step)
    return bins.astype(np.uint8 if len(inner) < 256 else np.uint16)
