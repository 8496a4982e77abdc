"""Estimators of expression from cell counts per sorted bin: weighted mean and interval-censored maximum likelihood."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr

_BLOCK = 5_000  # promoters that are fitted together
_ROUNDS = 60  # maximum iterations
_TOLERANCE = 1e-4  # of a bin: far below any standard error
_STRAY = 0.005  # fraction of cells in any bin at random, so that one missorted cell does not move a promoter (docs/assay.md)
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Replicate:
    """The sorted bins of one replicate, in the order of the signal.

    ``columns`` names the bins' count columns. ``gates``, shape ``(bins + 1,)``, are their limits in the unit of expression; the outermost
    values are ignored, since outer bins are open. ``cells``, shape ``(bins,)``, are cell counts; None if each read counts as one cell.
    """

    name: str
    columns: tuple[str, ...]
    gates: np.ndarray
    cells: np.ndarray | None

    @property
    def width(self) -> float:
        """Mean width of the closed bins; 1 if there are none."""
        inner = self.gates[1:-1]
        return float(np.diff(inner).mean()) if len(inner) > 1 else 1.0

    @property
    def edges(self) -> np.ndarray:
        """``(bins + 1,)`` finite limits: the gates, with open bins given the mean width of closed bins."""
        inner = self.gates[1:-1]
        return np.concatenate([[inner[0] - self.width], inner, [inner[-1] + self.width]])

    @property
    def values(self) -> np.ndarray:
        """``(bins,)`` middle of each bin."""
        return (self.edges[:-1] + self.edges[1:]) / 2


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


def _estimate(counts: np.ndarray, expression: np.ndarray, error: np.ndarray, sd: np.ndarray, cells: np.ndarray) -> Estimate:
    n_bins = (counts > 0).sum(axis=1)
    low, high = expression - _Z95 * error, expression + _Z95 * error
    return Estimate(expression, error, low, high, sd, np.maximum(cells, 1), counts.sum(axis=1), n_bins, n_bins == 1)


def reads_per_cell(counts: np.ndarray, replicates: Sequence[Replicate]) -> np.ndarray:
    """Return reads per sorted cell, ``(bins of all replicates,)``; 0 for a bin without reads, 1 where each read counts as one cell."""
    reads = counts.sum(axis=0, dtype=np.float64)
    cells = np.concatenate([reads[part] if each.cells is None else each.cells for part, each in replicate_columns(replicates)])
    return np.divide(reads, cells, out=np.zeros(len(cells)), where=cells > 0)


def cells_per_bin(counts: np.ndarray, replicates: Sequence[Replicate]) -> np.ndarray:
    """Return the cells inferred from a promoter's reads in each bin, summed over replicates, ``(promoters, bins)`` float32.

    The cells of a bin are divided among its reads: cells of a promoter = its reads / `reads_per_cell`. All replicates have the same number
    of bins.
    """
    scale = reads_per_cell(counts, replicates)
    cells = np.divide(counts, scale, out=np.zeros(counts.shape), where=scale > 0)
    return np.add.reduce([cells[:, part] for part, _ in replicate_columns(replicates)]).astype(np.float32)


def replicate_columns(replicates: Sequence[Replicate]) -> list[tuple[slice, Replicate]]:
    """Return the columns of each replicate in a matrix of counts, where replicates follow each other."""
    ends = np.cumsum([len(each.columns) for each in replicates]).tolist()
    return [(slice(end - len(each.columns), end), each) for end, each in zip(ends, replicates, strict=True)]


def weighted_mean(counts: np.ndarray, replicates: Sequence[Replicate], read_dispersion: float = 2.0) -> Estimate:
    """Return the published estimate: the mean bin value, weighted by the cells inferred from reads.

    ``e = sum_b c_b v_b / sum_b c_b`` with ``c_b = n_b / r_b`` over the bins of all replicates (de Boer et al. 2020,
    doi:10.1038/s41587-019-0315-8; v is the bin index or the middle of the gates). With the variance of cells counted through reads,
    ``Var(c_b) = c_b (1 + d r_b) / r_b``, there are ``k = (sum c_b)^2 / sum Var(c_b)`` effective cells with variance
    ``s^2 = sum Var(c_b) (v_b - e)^2 / sum Var(c_b)``. This variance is biased by the factor ``1 - 1/k``; the standard error is therefore
    ``sqrt((k s^2 + S^2) / k^2)``, with S^2 pooled over all promoters, which is unbiased and not 0 for a singleton.

    Parameters
    ----------
    counts
        ``(promoters, bins)`` reads, the bins of the replicates one after the other.
    replicates
        Their bins.
    read_dispersion
        d: the reads of a cell vary by ``r + (d - 1) r^2``.
    """
    counts = np.asarray(counts)
    values, per_cell = np.concatenate([each.values for each in replicates]), reads_per_cell(counts, replicates)
    scale = np.divide(1.0, per_cell, out=np.zeros(len(per_cell)), where=per_cell > 0)
    noise = scale * (scale + read_dispersion)  # Var(c_b) for one read: (1 + d r) / r^2
    # One matrix product gives sums over bins of c_b v_b^p and Var(c_b) v_b^p for p = 0, 1, 2.
    columns = [weight * values**power for weight in (scale, noise) for power in range(3)]
    total, first, second, noise_0, noise_1, noise_2 = (counts @ np.column_stack(columns)).T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = first / total
        sd = np.sqrt(np.maximum(second / total - mean**2, 0))
        cells = np.maximum(total**2 / noise_0, 1)
        square = np.maximum(noise_2 - 2 * mean * noise_1 + mean**2 * noise_0, 0) / noise_0
    degrees = np.nansum(cells - 1)
    shared = np.nansum(cells * square) / degrees if degrees > 0 else replicates[0].width ** 2
    return _estimate(counts, mean, np.sqrt(cells * square + shared) / cells, sd, cells)


def _bin_terms(mean: np.ndarray, log_sd: np.ndarray, gates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return P_b, the probability of bin b, and the derivatives of log P_b by mean and by log sd, each ``(promoters, bins)``.

    P_b mixes the normal probability between the gates with a uniform share `_STRAY` of cells in any bin. At the open ends the normal
    density and z times the density are 0, hence the zeros in ``edge``.
    """
    sd = np.exp(log_sd)[:, None]
    z = (gates[1:-1] - mean[:, None]) / sd
    edge = np.zeros((len(mean), 1))
    density = np.hstack([edge, np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi), edge])
    z = np.hstack([edge, z, edge])
    below = np.hstack([edge, ndtr(z[:, 1:-1]), edge + 1])
    probability = (1 - _STRAY) * np.diff(below, axis=1) + _STRAY / (len(gates) - 1)
    slope = (_STRAY - 1) / probability  # d log P / dx = (dP / dx) / P; the sign is that of d ndtr(z) / d mean = -density / sd
    return probability, np.diff(density, axis=1) * slope / sd, np.diff(z * density, axis=1) * slope


def _cells_behind(reads: np.ndarray, ease: np.ndarray) -> np.ndarray:
    """Return the expected number of cells that produced ``reads`` in a bin, where ``ease`` is Lambda rho / (1 - rho).

    Reads are Polya-Aeppli (a Poisson number Lambda of cells, each with a geometric number of reads of mean 1 / rho), so that the weight
    of 1 + x cells is ``binomial(n - 1, x) ease^x / (x + 1)!``. From Kummer's equation the mean of x obeys
    ``dx / dlog(ease) = (n - 1) ease - (1 + ease) x - x^2``. Setting the left side to 0 gives a first solution (a quadratic equation); its
    derivative then replaces the left side. The result is accurate to 0.3 % of the cells for every n and ease, without evaluating series.
    """
    drive = np.maximum(reads - 1, 0) * ease
    root = np.sqrt((ease + 2) ** 2 + 4 * drive)
    rough = 2 * drive / (ease + 2 + root)  # root of the quadratic, in the form without cancellation
    linear = 1 + ease + (rough + 2) / root
    return (reads > 0) + 2 * drive / (linear + np.sqrt(linear**2 + 4 * drive))


def _row_sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)


def _fit(
    counts: np.ndarray,
    replicates: Sequence[Replicate],
    per_cell: np.ndarray,
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
    spread = max(read_dispersion, 1e-6) * np.maximum(per_cell, 1e-6)  # d r; kept positive, since 0 / 0 in bins without reads would be NaN
    share = 2 / (2 + spread)  # rho of the geometric distribution: reads have mean Lambda / rho and variance (1 + d r) times the mean
    parts = [(part, each.gates) for part, each in replicate_columns(replicates)]
    with np.errstate(divide="ignore"):  # a promoter without reads in a replicate has no cells there
        scale = np.divide(1.0, per_cell, out=np.zeros(len(per_cell)), where=per_cell > 0)
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
        for (part, gates), level in zip(parts, log_cells, strict=True):
            probability, by_mean, by_log_sd = _bin_terms(mean, log_sd, gates)
            visible = np.exp(level)[:, None] * (per_cell * share)[part] * probability  # Lambda: cells with at least one read
            # Score by log Lambda: expected cells, given the reads, minus Lambda (Fisher's identity).
            score = _cells_behind(counts[:, part], visible * (2 / spread[part])) - visible
            # Expected information on log Lambda. Its limits are Lambda (few cells) and mean reads / (1 + d r) (many cells); the
            # interpolation between them is accurate to 3 %.
            between = spread[part] / (1 + (1 + spread[part]) / (2 * spread[part]) * visible) ** 2
            information = visible * (2 + spread[part] + between) / (2 + 2 * spread[part])
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
    counts: np.ndarray, replicates: Sequence[Replicate], read_dispersion: float = 2.0, prior: str = "library", threads: int = 1
) -> Estimate:
    """Estimate each promoter's mean signal by interval-censored maximum likelihood with shrinkage.

    Log signal of single cells of a promoter is normal, except for one cell in 200, which is in any bin; gates divide the signal into bins,
    the outer ones open (Peterman and Levine 2016, doi:10.1186/s12864-016-2533-5). Cells in bin b are Poisson with mean
    ``L P_b(mean, sd)``, with one L per promoter and replicate. Reads are Polya-Aeppli (a geometric number for each observed cell; Burden
    2014, arXiv:1406.2780) with mean ``m = r_b L P_b`` and variance ``m (1 + read_dispersion r_b)``. Log-likelihoods are summed over
    replicates.

    Mean and log sd have normal priors, whose centres and widths are estimated from deeply sequenced promoters (empirical Bayes); the sd of
    each promoter thus shrinks towards the common one. Standard errors come from the expected information, priors included.

    Parameters
    ----------
    counts
        ``(promoters, bins)`` reads, the bins of the replicates one after the other.
    replicates
        Their bins.
    read_dispersion
        d: the reads of a cell vary by ``r + (d - 1) r^2``; 1 is Poisson, uneven amplification makes it larger.
    threads
        Threads to use; the result does not depend on them.
    prior
        Prior of the mean: ``library``, or ``weak``, twice as wide plus one bin, which only keeps promoters in open bins finite.
    """
    counts = np.asarray(counts)
    per_cell = reads_per_cell(counts, replicates)
    usable = np.flatnonzero(counts.sum(axis=1) > 0)
    start = weighted_mean(counts[usable], replicates, read_dispersion)
    width = replicates[0].width

    spread = max(float(start.expression.var() - np.mean(start.standard_error**2)), width**2 / 4) ** 0.5
    weak = (float(start.expression.mean()), 2 * spread + width)
    prior_mean, prior_log_sd = (weak[0], spread), (np.log(max(float(np.median(start.sd)), width / 2)), 0.3)
    deep = np.flatnonzero(start.cells >= 20)
    deep = deep[:: max(1, len(deep) // (2 * _BLOCK))]  # a regular sample, since tables may be sorted by depth
    if len(deep) >= 20:
        centre = np.log(max(float(np.median(start.sd[deep])), width / 2))
        wide, level = (centre, 1.0), np.full(len(deep), centre)
        rows = counts[usable[deep]].astype(np.float64)
        mean, own, error, variance, _ = _fit(rows, replicates, per_cell, read_dispersion, start.expression[deep], level, weak, wide)
        prior_mean = (float(mean.mean()), max(float(mean.var() - error.mean()), width**2 / 4) ** 0.5)
        prior_log_sd = (float(np.median(own)), max(float(own.var() - variance.mean()), 0.02**2) ** 0.5)
    if prior == "weak":
        prior_mean = weak

    out = np.full((5, len(counts)), np.nan)

    def fit_block(begin: int) -> None:
        rows, mean = usable[begin : begin + _BLOCK], start.expression[begin : begin + _BLOCK]
        reads, log_sd = counts[rows].astype(np.float64), np.full(len(rows), prior_log_sd[0])
        out[:, rows] = _fit(reads, replicates, per_cell, read_dispersion, mean, log_sd, prior_mean, prior_log_sd)

    with ThreadPoolExecutor(threads) as pool:  # NumPy releases the GIL; blocks are independent
        list(pool.map(fit_block, range(0, len(usable), _BLOCK)))
    return _estimate(counts, out[0], np.sqrt(out[2]), np.exp(out[1]), out[4])


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
    share = _bin_terms(np.asarray(mean, np.float64), np.log(np.maximum(sd, 1e-3 * replicate.width)), replicate.gates)[0]
    share = share if per_cell is None else share * per_cell
    return share / share.sum(axis=1, keepdims=True)
