"""Estimators of expression from cell counts per sorted bin: weighted mean and interval-censored maximum likelihood."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy import special

from gpraflow.assay import likelihood
from gpraflow.assay.empirical_bayes import Hyperparameters, fit_hyperparameters, mean_errors, moments
from gpraflow.assay.replicates import Replicate, reads_per_cell, reads_per_population_cell, replicate_columns

_BLOCK = 5_000  # promoters that are fitted together
_ROUNDS = 60  # maximum iterations
_TOLERANCE = 1e-4  # of a bin: far below any standard error
_DEEP = 10.0  # effective cells from which a promoter's posterior is taken as normal
_MEAN_NODES, _SD_NODES = 15, 3  # of the quadrature for other promoters
_REACH = 4.0  # standard errors that the nodes of the mean reach to either side
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """Expression of promoters, each field of shape ``(promoters,)``; NaN where a promoter has no reads.

    ``standard_error``, ``low`` and ``high`` (95 %) are in the units of ``expression``; ``cells`` are effective cells, at least 1; ``sd``
    is the spread of single cells within the promoter.
    """

    expression: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sd: np.ndarray
    cells: np.ndarray
    n_reads: np.ndarray
    n_bins: np.ndarray
    singleton: np.ndarray


def _estimate(
    counts: np.ndarray, expression: np.ndarray, error: np.ndarray, sd: np.ndarray, cells: np.ndarray, interval: np.ndarray
) -> Estimate:
    n_bins = (counts > 0).sum(axis=1)
    low, high = interval
    return Estimate(expression, error, low, high, sd, np.maximum(cells, 1), counts.sum(axis=1), n_bins, n_bins == 1)


def weighted_mean(
    counts: np.ndarray, replicates: Sequence[Replicate], read_dispersion: float | None = None, shared: Hyperparameters | None = None
) -> Estimate:
    """Return the published estimate: the mean bin value, weighted by the cells inferred from reads.

    ``e = sum_b c_b v_b / sum_b c_b`` with ``c_b = n_b / r_b`` over the bins of all replicates (de Boer et al. 2020,
    doi:10.1038/s41587-019-0315-8; v is the bin index or the middle of the gates; r_b are reads per cell of the population). With the
    variance of cells counted through reads, ``Var(c_b) = c_b (1 + d r_b) / r_b``, there are ``k = (sum c_b)^2 / sum Var(c_b)`` effective
    cells with variance ``s^2 = sum Var(c_b) (v_b - e)^2 / sum Var(c_b)``. This variance is biased by the factor ``1 - 1/k``; the
    sampling variance is therefore ``(k s^2 + S^2) / k^2``, with the S^2 that promoters share (`Hyperparameters.cell_variance`), which is
    not 0 for a singleton. Standard errors and intervals are those of a parametric bootstrap (`empirical_bayes.mean_errors`), which
    scales this variance and includes the bias from coarse and open bins.

    Parameters
    ----------
    counts
        ``(promoters, bins)`` reads, the bins of the replicates one after the other.
    replicates
        Their bins.
    read_dispersion
        d: the reads of a cell vary by ``r + (d - 1) r^2``; None to estimate it.
    shared
        From `fit_hyperparameters`, if it has been called before; it decides the dispersion.
    """
    counts = np.asarray(counts)
    shared = shared or fit_hyperparameters(counts, replicates, read_dispersion)
    each = moments(counts, replicates, shared.read_dispersion)
    ratio, reach = mean_errors(shared, counts, replicates).at(each.cells)
    error = np.sqrt(each.variance(shared.cell_variance(replicates[0].width)) * ratio)
    interval = each.mean + np.array([[-1], [1]]) * reach * error
    return _estimate(counts, each.mean, error, each.sd, each.cells, interval)


def _row_sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)


def _fit(
    counts: np.ndarray,
    replicates: Sequence[Replicate],
    per_cell: np.ndarray,
    rate: np.ndarray,
    read_dispersion: float,
    mean: np.ndarray,
    log_sd: np.ndarray,
    prior_mean: tuple[float, float],
    prior_log_sd: tuple[float, float],
) -> np.ndarray:
    """Return mean, log sd, their variances and effective cells, ``(5, promoters)``, at the mode of each promoter's posterior.

    Fisher scoring over mean, log sd and, for each replicate, the log of the promoter's number of cells L. Each L enters the information
    matrix with one row only, so that it is eliminated (Schur complement), which leaves a 2 x 2 system per promoter.
    """
    spread = likelihood.overdispersion(per_cell, read_dispersion)
    share = 2 / (2 + spread)  # rho of the geometric distribution: reads have mean Lambda / rho and variance (1 + d r) times the mean
    parts = [(part, each) for part, each in replicate_columns(replicates)]
    with np.errstate(divide="ignore"):  # a promoter without reads in a replicate has no cells there
        scale = np.divide(1.0, rate, out=np.zeros(len(rate)), where=rate > 0)
        log_cells = np.log(np.stack([counts[:, part] @ scale[part] for part, _ in parts]))
    furthest = min(each.width for each in replicates)  # longest step of the mean, since Fisher scoring may overshoot far from the mode
    tolerance = _TOLERANCE * furthest
    out = np.stack([mean, log_sd, *np.zeros((3, len(mean)))])
    active = np.arange(len(mean))  # most promoters converge after a few rounds and are left out of later ones
    for turn in range(_ROUNDS):
        mean, log_sd = out[0, active], out[1, active]
        slope_m, slope_s = (prior_mean[0] - mean) / prior_mean[1] ** 2, (prior_log_sd[0] - log_sd) / prior_log_sd[1] ** 2
        i_mm, i_ms, i_ss = np.full(len(mean), prior_mean[1] ** -2.0), np.zeros(len(mean)), np.full(len(mean), prior_log_sd[1] ** -2.0)
        cells, eliminated = np.zeros(len(mean)), []
        for (part, each), level in zip(parts, log_cells, strict=True):
            probability, by_mean, by_log_sd = likelihood.bin_terms(mean, log_sd, each.gates, each.bins)
            visible = np.exp(level)[:, None] * (rate * share)[part] * probability  # Lambda: cells with at least one read
            # Score by log Lambda: expected cells, given the reads, minus Lambda (Fisher's identity).
            score = likelihood.cells_behind(counts[:, part], visible * (2 / spread[part]))[0] - visible
            information = likelihood.information(visible, spread[part])
            own = np.maximum(information.sum(axis=1), 1e-300)
            # Schur complement: remove from the 2 x 2 system what this replicate's log L explains.
            own_m, own_s, rest = _row_sums(information, by_mean) / own, _row_sums(information, by_log_sd) / own, score.sum(axis=1)
            slope_m += _row_sums(score, by_mean) - own_m * rest
            slope_s += _row_sums(score, by_log_sd) - own_s * rest
            weighted = information * by_mean
            i_mm += _row_sums(weighted, by_mean) - own * own_m**2
            i_ms += _row_sums(weighted, by_log_sd) - own * own_m * own_s
            i_ss += _row_sums(information * by_log_sd, by_log_sd) - own * own_s**2
            cells += own
            eliminated.append((rest / own, own_m, own_s))
        determinant = i_mm * i_ss - i_ms**2
        damping = 1.0 if turn < 10 else 0.5  # damping, since a few promoters would oscillate
        step_m = np.clip(damping * (i_ss * slope_m - i_ms * slope_s) / determinant, -furthest, furthest)
        step_s = np.clip(damping * (i_mm * slope_s - i_ms * slope_m) / determinant, -0.5, 0.5)
        steps = [np.clip(damping * rest - own_m * step_m - own_s * step_s, -2, 2) for rest, own_m, own_s in eliminated]
        out[:, active] = mean + step_m, log_sd + step_s, i_ss / determinant, i_mm / determinant, cells
        going = (np.abs(step_m) > tolerance) | (np.abs(step_s) > _TOLERANCE) | (np.abs(steps) > 100 * _TOLERANCE).any(axis=0)
        active, counts, log_cells = active[going], counts[going], (log_cells + steps)[:, going]
        if not len(active):
            break
    return out


def maximum_likelihood(
    counts: np.ndarray,
    replicates: Sequence[Replicate],
    read_dispersion: float | None = None,
    prior: str = "library",
    threads: int = 1,
    shared: Hyperparameters | None = None,
) -> Estimate:
    """Estimate each promoter's mean signal by interval-censored maximum likelihood with shrinkage.

    Log signal of single cells of a promoter is normal, except for one cell in 200, which is in any bin; gates divide the signal into bins,
    the outer ones open (Peterman and Levine 2016, doi:10.1186/s12864-016-2533-5). Cells in bin b are Poisson with mean
    ``L P_b(mean, sd)``, with one L per promoter and replicate. Reads are Polya-Aeppli (a geometric number for each observed cell; Burden
    2014, arXiv:1406.2780) with mean ``m = r_b L P_b`` and variance ``m (1 + read_dispersion r_b)``. Log-likelihoods are summed over
    replicates.

    Mean and log sd have normal priors, whose centres and widths are estimated from all promoters (`fit_hyperparameters`); the sd of each
    promoter thus shrinks towards the common one. Standard errors come from the expected information, priors included.

    Parameters
    ----------
    counts
        ``(promoters, bins)`` reads, the bins of the replicates one after the other.
    replicates
        Their bins.
    read_dispersion
        d: the reads of a cell vary by ``r + (d - 1) r^2``; 1 is Poisson, uneven amplification makes it larger; None to estimate it.
    prior
        Prior of the mean: ``library``, or ``weak``, twice as wide plus one bin, which only keeps promoters in open bins finite.
    threads
        Threads to use; the result does not depend on them.
    shared
        From `fit_hyperparameters`, if it has been called before; it decides the dispersion.
    """
    counts = np.asarray(counts)
    shared = shared or fit_hyperparameters(counts, replicates, read_dispersion)
    per_cell, rate = reads_per_cell(counts, replicates), reads_per_population_cell(counts, replicates)
    usable = np.flatnonzero(counts.sum(axis=1) > 0)
    start = moments(counts[usable], replicates, shared.read_dispersion).mean
    wide = 2 * shared.mean_sd + replicates[0].width
    prior_mean = (shared.mean, wide if prior == "weak" else shared.mean_sd)
    prior_log_sd = (shared.log_sd, shared.log_sd_width)

    out, interval = np.full((5, len(counts)), np.nan), np.full((2, len(counts)), np.nan)

    def fit_block(begin: int) -> None:
        rows, mean = usable[begin : begin + _BLOCK], start[begin : begin + _BLOCK]
        reads, log_sd = counts[rows].astype(np.float64), np.full(len(rows), prior_log_sd[0])
        block = _fit(reads, replicates, per_cell, rate, shared.read_dispersion, mean, log_sd, prior_mean, prior_log_sd)
        block[2] **= 0.5
        ends = block[0] + np.array([[-_Z95], [_Z95]]) * block[2]
        shallow = np.flatnonzero(block[4] < _DEEP)
        if len(shallow):
            grid = (reads[shallow], replicates, per_cell, rate, shared.read_dispersion)
            posterior = _integrate(*grid, block[0, shallow], block[2, shallow], prior_mean, prior_log_sd, prior == "library")
            block[0, shallow], block[2, shallow], ends[:, shallow] = posterior[0], posterior[1], posterior[2:]
        out[:, rows], interval[:, rows] = block, ends

    with ThreadPoolExecutor(threads) as pool:  # NumPy releases the GIL; blocks are independent
        list(pool.map(fit_block, range(0, len(usable), _BLOCK)))
    return _estimate(counts, out[0], out[2], np.exp(out[1]), out[4], interval)


def _integrate(
    counts: np.ndarray,
    replicates: Sequence[Replicate],
    per_cell: np.ndarray,
    rate: np.ndarray,
    read_dispersion: float,
    mode: np.ndarray,
    error: np.ndarray,
    prior_mean: tuple[float, float],
    prior_log_sd: tuple[float, float],
    at_mean: bool,
) -> np.ndarray:
    """Return expression, its standard error, and the 2.5 % and 97.5 % quantiles of each promoter's posterior, ``(4, promoters)``.

    The posterior of a promoter with few cells is not normal, least of all in an open bin. The mean is integrated on a regular grid around
    the mode, the log sd by Gauss-Hermite quadrature over its prior. Expression is the mean of the posterior with ``at_mean``, and else its
    mode, since under a weak prior the mean of a promoter in an open bin is far out; the error is the root mean square difference from it.
    """
    nodes, weights = np.polynomial.hermite_e.hermegauss(_SD_NODES)
    step = 2 * _REACH * error / (_MEAN_NODES - 1)
    mean = mode[:, None] + step[:, None] * (np.arange(_MEAN_NODES) - (_MEAN_NODES - 1) / 2)
    log_sd = prior_log_sd[0] + prior_log_sd[1] * nodes
    shape = (len(mode), _MEAN_NODES, _SD_NODES)
    points = [np.broadcast_to(each, shape).reshape(len(mode), -1) for each in (mean[:, :, None], log_sd)]
    log = likelihood.Grid(counts, replicates, per_cell, rate, *points).log_likelihood(read_dispersion).reshape(shape)
    log = special.logsumexp(log + np.log(weights), axis=2) - 0.5 * ((mean - prior_mean[0]) / prior_mean[1]) ** 2
    share = special.softmax(log, axis=1)
    centre = (share * mean).sum(axis=1) if at_mean else mode
    sd = np.sqrt((share * (mean - centre[:, None]) ** 2).sum(axis=1))
    below = np.cumsum(share, axis=1)
    ends = [_quantile(below, mean + step[:, None] / 2, q, step) for q in (0.025, 0.975)]
    return np.stack([centre, sd, *ends])


def _quantile(below: np.ndarray, edges: np.ndarray, q: float, step: np.ndarray) -> np.ndarray:
    """Return where a cumulative distribution, given at the upper edges of intervals, reaches ``q``; linear within the interval."""
    place = (below < q).sum(axis=1).clip(max=below.shape[1] - 1)
    rows = np.arange(len(below))
    before = np.where(place > 0, below[rows, place - 1], 0.0)
    return edges[rows, place] - step * (below[rows, place] - q) / np.maximum(below[rows, place] - before, 1e-300)


def expected_profile(mean: np.ndarray, sd: np.ndarray, replicate: Replicate, per_cell: np.ndarray | None = None) -> np.ndarray:
    """Return the share of a promoter's reads (or cells) that each bin should have, ``(promoters, bins)``, rows adding up to 1.

    Parameters
    ----------
    mean, sd
        ``(promoters,)`` expression and sd of single cells (columns ``expression`` and ``cell_sd`` of the output table).
    replicate
        Its bins.
    per_cell
        ``(bins,)`` reads a cell, for shares of reads; None: shares of cells.
    """
    sd = np.maximum(sd, 1e-3 * replicate.width)
    share = likelihood.bin_probabilities(np.asarray(mean, np.float64), sd, replicate.gates, replicate.bins)
    share = share if per_cell is None else share * per_cell
    return share / share.sum(axis=1, keepdims=True)
