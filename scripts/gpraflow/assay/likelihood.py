"""The distribution of a promoter's reads over sorted bins: normal signals, interval-censored by gates, read by a random number of times.

See docs/assay.md for the formulas and their validation.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.special import ndtr

from gpraflow.assay.replicates import Replicate, of_bins, replicate_columns

_STRAY = 0.005  # fraction of cells in any bin at random, so that one missorted cell does not move a promoter (docs/assay.md)
_SERIES = 16  # reads up to which sums over cells are exact
_LEVEL_ROUNDS = 4  # Newton steps for the log of a promoter's cells


def bin_probabilities(mean: np.ndarray, sd: np.ndarray, gates: np.ndarray, bins: slice | np.ndarray = slice(None)) -> np.ndarray:
    """Return the probability of each bin, ``(..., bins)``, for cells with the mean and sd of shape ``(...)``.

    The normal probability between the gates is mixed with a uniform share of cells, 1 in 200, in any bin. ``bins`` are those of
    `Replicate`. With gaps between bins the probabilities add up to less than 1: the rest of the cells was not sorted. With bins that were
    sorted one after the other from overlapping gates they add up to more. Both suit counts of cells that are Poisson with mean ``L P_b``,
    where L, the promoter's cells, is free: thinning leaves them Poisson.
    """
    z = (gates[1:-1] - mean[..., None]) / sd[..., None]
    edge = np.zeros((*z.shape[:-1], 1))
    normal = of_bins(np.diff(np.concatenate([edge, ndtr(z), edge + 1], axis=-1), axis=-1), bins)
    return (1 - _STRAY) * normal + _STRAY / normal.shape[-1]


def bin_terms(
    mean: np.ndarray, log_sd: np.ndarray, gates: np.ndarray, bins: slice | np.ndarray = slice(None)
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return P_b of `bin_probabilities` and the derivatives of log P_b by mean and by log sd, each ``(promoters, bins)``.

    At the open ends the normal density and z times the density are 0, hence the zeros in ``edge``.
    """
    sd = np.exp(log_sd)
    z = (gates[1:-1] - mean[:, None]) / sd[:, None]
    edge = np.zeros((len(mean), 1))
    density = np.hstack([edge, np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi), edge])
    probability = bin_probabilities(mean, sd, gates, bins)
    slope = (_STRAY - 1) / probability  # d log P / dx = (dP / dx) / P; the sign is that of d ndtr(z) / d mean = -density / sd
    by_mean = of_bins(np.diff(density, axis=1), bins) * slope / sd[:, None]
    return probability, by_mean, of_bins(np.diff(np.hstack([edge, z, edge]) * density, axis=1), bins) * slope


def overdispersion(per_cell: np.ndarray, read_dispersion: float) -> np.ndarray:
    """Return d r per bin, for a variance of reads of (1 + d r) times their mean; positive, since 0 / 0 in empty bins would be NaN."""
    return max(read_dispersion, 1e-6) * np.maximum(per_cell, 1e-6)


def cells_behind(reads: np.ndarray, ease: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and variance of the number of cells that produced ``reads`` in a bin, where ``ease`` is Lambda rho / (1 - rho).

    Reads are Polya-Aeppli (a Poisson number Lambda of cells, each with a geometric number of reads of mean 1 / rho), so that the weight
    of 1 + x cells is ``binomial(n - 1, x) ease^x / (x + 1)!``. The derivative of the mean of x by log(ease) is its variance, and obeys
    ``dx / dlog(ease) = (n - 1) ease - (1 + ease) x - x^2`` (Kummer's equation). Setting the left side to 0 gives a first solution (a
    quadratic equation); its derivative then replaces the left side. The mean is accurate to 0.3 % of the cells for every n and ease,
    without evaluating series.
    """
    drive = np.maximum(reads - 1, 0) * ease
    root = np.sqrt((ease + 2) ** 2 + 4 * drive)
    rough = 2 * drive / (ease + 2 + root)  # root of the quadratic, in the form without cancellation
    slope = (rough + 2) / root  # d log x / d log ease
    linear = 1 + ease + slope
    extra = 2 * drive / (linear + np.sqrt(linear**2 + 4 * drive))
    return (reads > 0) + extra, extra * slope


def information(visible: np.ndarray, spread: np.ndarray) -> np.ndarray:
    """Return the expected information of a bin's reads on log Lambda, where ``visible`` is Lambda and ``spread`` is d r.

    Its limits are Lambda (few cells) and mean reads / (1 + d r) (many cells); the interpolation between them is accurate to 3 %.
    """
    between = spread / (1 + (1 + spread) / (2 * spread) * visible) ** 2
    return visible * (2 + spread + between) / (2 + 2 * spread)


def log_probability(reads: np.ndarray, visible: np.ndarray, rho: float) -> np.ndarray:
    """Return the log of the Polya-Aeppli probability of reads, ``(rows, points)``.

    With z = Lambda rho / (1 - rho), ``Pr(n) = exp(-Lambda) Lambda rho (1 - rho)^(n - 1) M`` for n > 0, and M = 1F1(1 - n; 2; -z) sums over
    the number of cells. M is a finite series for few reads, for few cells the first term of Buchholz's expansion in Bessel functions
    (Buchholz 1969), and otherwise the saddlepoint approximation (Daniels 1954, doi:10.1214/aoms/1177728652). The error is below 5 %.

    Parameters
    ----------
    reads
        ``(rows, 1)``, rising or not.
    visible
        Lambda, ``(rows, points)``.
    rho
        1 / rho is the mean number of reads of a cell with reads.
    """
    q, n = 1 - rho, np.broadcast_to(reads, visible.shape)
    z = visible * (rho / q)
    few = n <= _SERIES
    dense = ~few & (n * z >= 25)
    sparse = ~few & ~dense
    log_m = np.zeros(visible.shape)
    log_m[few] = np.log(_series(n[few], z[few]))
    root = 2 * np.sqrt(n[sparse] * z[sparse])
    log_m[sparse] = root + np.log(2 * special.ive(1, root) / root) - z[sparse] / 2
    result = np.log(visible * rho) - visible + (n - 1) * np.log(q) + log_m
    result[n == 0] = -visible[n == 0]
    result[dense] = _saddlepoint(n[dense], visible[dense], rho)
    return result


def _series(reads: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Return the sum over x of binomial(n - 1, x) z^x / (x + 1)!, term by term."""
    total, term = np.ones(z.shape), np.ones(z.shape)
    for x in range(_SERIES - 1):
        term = term * np.maximum(reads - 1 - x, 0) * z / ((x + 1) * (x + 2))
        total += term
    return total


def _saddlepoint(n: np.ndarray, visible: np.ndarray, rho: float) -> np.ndarray:
    """Return the saddlepoint approximation with the cumulants ``K(t) = Lambda (rho e^t / (1 - (1 - rho) e^t) - 1)``.

    K'(t) = n is quadratic in e^t.
    """
    q, steady = 1 - rho, visible * rho
    u = 2 * n / (2 * n * q + steady + np.sqrt(steady * (steady + 4 * n * q)))  # e^t, in the form without cancellation
    rest = 1 - q * u
    return visible * (rho * u / rest - 1) - n * np.log(u) - 0.5 * np.log(2 * np.pi * steady * u * (1 + q * u) / rest**3)


@dataclass(frozen=True)
class Grid:
    """Promoters' counts with points of mean and log sd at which their distribution is evaluated.

    ``counts``, ``(promoters, bins)`` float, are reads, the bins of the replicates one after the other; ``per_cell`` and ``rate``,
    ``(bins,)``, are `reads_per_cell` and `reads_per_population_cell`; ``mean`` and ``log_sd`` have the shape ``(promoters, points)``.
    """

    counts: np.ndarray
    replicates: Sequence[Replicate]
    per_cell: np.ndarray
    rate: np.ndarray
    mean: np.ndarray
    log_sd: np.ndarray

    def log_likelihood(self, read_dispersion: float) -> np.ndarray:
        """Return the log-likelihood of each promoter's counts, ``(promoters, points)``; 0 without reads.

        The promoter's number of cells L in each replicate, whose prior is flat on the log scale, is integrated out (Laplace).
        """
        total = np.zeros(self.mean.shape)
        for part, visible, spread, known in self._fitted(read_dispersion):
            log = -visible.sum(axis=0)
            for reads, rows, seen, each in self._with_reads(part, visible, spread):
                log[rows] += log_probability(reads, seen, 2 / (2 + each)) + seen
            some = self.counts[:, part].sum(axis=1, keepdims=True) > 0
            total += np.where(some, log - 0.5 * np.log(known), 0)
        return total

    def dispersion_moments(self, read_dispersion: float) -> tuple[np.ndarray, np.ndarray]:
        """Return sums over bins of w ((n - m)^2 - m) and of w m r, each ``(promoters, points)``: their expectations have the ratio d.

        m is the expected number of the n reads, r reads per cell. The weight w = 1 / (m + r) keeps deep promoters from deciding alone.
        (n - m)^2 has its posterior expectation over L.
        """
        above, below = np.zeros(self.mean.shape), np.zeros(self.mean.shape)
        for part, visible, spread, known in self._fitted(read_dispersion):
            some = self.counts[:, part].sum(axis=1, keepdims=True) > 0
            for seen, each, reads, per_cell in zip(visible, spread, self.counts[:, part].T, self.per_cell[part], strict=True):
                expected = seen * (1 + each / 2)  # Lambda / rho
                weight = np.where(some, 1 / (expected + per_cell + 1e-12), 0)
                above += weight * ((reads[:, None] - expected) ** 2 + expected**2 / known - expected)
                below += weight * expected * per_cell
        return above, below

    def _fitted(self, read_dispersion: float) -> Iterator[tuple[slice, np.ndarray, np.ndarray, np.ndarray]]:
        """Yield each replicate's columns, Lambda at the most likely L, ``(bins, promoters, points)``, d r, and the information on log L.

        The information, ``(promoters, points)``, is minus the second derivative of the log-likelihood: Lambda minus the variance of the
        cells behind the reads, summed over bins.
        """
        for part, each in replicate_columns(self.replicates):
            counts, rate = self.counts[:, part], self.rate[part]
            spread = overdispersion(self.per_cell[part], read_dispersion)
            cells = np.divide(counts, rate, out=np.zeros(counts.shape), where=rate > 0).sum(axis=1)[:, None]
            of_one = np.moveaxis(bin_probabilities(self.mean, np.exp(self.log_sd), each.gates, each.bins), -1, 0)
            of_one = of_one * (np.maximum(rate, 1e-12) * 2 / (2 + spread))[:, None, None]  # Lambda for L = 1
            level = np.log(np.where(cells > 0, cells, 1)) + np.zeros(self.mean.shape)
            bins_seen = (counts > 0).sum(axis=1)[:, None]
            for turn in range(_LEVEL_ROUNDS + 1):
                visible = np.exp(level) * of_one
                expected = visible.sum(axis=0)
                score, known = bins_seen - expected, expected.copy()  # each bin with reads has one cell, and some more
                for reads, rows, seen, wide in self._with_reads(part, visible, spread, above=1):
                    mean, variance = cells_behind(reads, seen * (2 / wide))
                    score[rows] += mean - 1
                    known[rows] -= variance
                if turn < _LEVEL_ROUNDS:
                    level += np.clip(score / np.maximum(known, expected / 10), -1.5, 1.5)
            yield part, visible, spread, np.maximum(known, expected / 100)

    def _with_reads(self, part: slice, visible: np.ndarray, spread: np.ndarray, above: int = 0) -> Iterator[tuple]:
        """Yield, for each bin, reads, rows, Lambda and d r of the promoters with more than ``above`` reads in it: most have none."""
        for reads, seen, each in zip(self.counts[:, part].T, visible, spread, strict=True):
            rows = np.flatnonzero(reads > above)
            yield reads[rows, None], rows, seen[rows], each
