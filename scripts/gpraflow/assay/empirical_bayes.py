"""What the promoters of a library share, estimated from all of them by marginal likelihood (empirical Bayes).

A promoter with few cells says next to nothing about its own standard deviation, but a thousand of them determine the common one.
See docs/assay.md for the formulas and their validation.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, special

from gpraflow.assay import likelihood
from gpraflow.assay.replicates import Replicate, reads_per_cell, reads_per_population_cell, replicate_columns

_DEGREES = 5.0  # of freedom that a pooled variance needs
_SAMPLE = 500  # promoters of any depth, and as many of the deeper ones
_DEEPER = 5.0  # effective cells
_MEANS, _SDS = 25, 11  # points of the grid of each promoter
_REACH = 4.5  # standard errors that the means reach to either side
_OUTER, _OUTER_MEANS, _OUTER_REACH = 0.8, 41, 3.0  # cells in an outer bin; points of a first grid, and sds that it reaches beyond the gates
_LOG_REACH = 1.2  # that log sds reach to either side of their centre
_DISPERSION_ROUNDS = 2
_DISPERSION_START, _DISPERSION_LIMITS = 1.5, (1.2, 5.0)  # amplification is never even
_DRAWS = 5_000  # from the posteriors of promoters
_ERROR_GROUPS, _ERROR_GROUP = 12, 100  # groups of promoters with similar numbers of cells, and the fewest promoters of one
_SPREAD_PRIOR = (np.log(0.2), 0.7)  # log of the sd of log sds: promoters' sds differ by a tenth to a half
_UNIDENTIFIED = 0.4  # standard error of the shared log sd from which a warning is due


@dataclass(frozen=True)
class Hyperparameters:
    """Normal distributions of promoters' means and log sds in a library, and the dispersion of reads.

    ``mean``, ``mean_sd`` and ``exp(log_sd)`` are in the unit of expression. ``log_sd_error`` is the standard error of ``log_sd``.
    ``draws``, ``(2, draws)``, are means and log sds drawn from the posteriors of promoters: the distribution of a library that need not
    be normal.
    """

    mean: float
    mean_sd: float
    log_sd: float
    log_sd_sd: float
    log_sd_error: float
    read_dispersion: float
    draws: np.ndarray

    def cell_variance(self, width: float) -> float:
        """Return the variance of the bin values of a promoter's cells, for bins of this width (with Sheppard's correction)."""
        return float(np.exp(2 * self.log_sd + 2 * self.log_sd_sd**2) + width**2 / 12)

    @property
    def log_sd_width(self) -> float:
        """Sd of the prior of a promoter's log sd: the spread of promoters and the error of their centre."""
        return float(np.hypot(self.log_sd_sd, self.log_sd_error))


@dataclass(frozen=True)
class Moments:
    """Weighted means of bins with what their errors are made of, each ``(promoters,)``; NaN where a promoter has no reads.

    ``cells`` are effective cells, at least 1; ``sd`` is the spread of cells within the promoter, ``square`` the variance of the effective
    cells around the mean, and ``pooled`` that variance pooled over all promoters.
    """

    mean: np.ndarray
    sd: np.ndarray
    cells: np.ndarray
    square: np.ndarray
    pooled: float

    def variance(self, cell_variance: float) -> np.ndarray:
        """Return the sampling variance, ``(promoters,)``, with one cell's worth of the variance that promoters share."""
        return (self.cells * self.square + cell_variance) / self.cells**2


def moments(
    counts: np.ndarray,
    replicates: Sequence[Replicate],
    read_dispersion: float,
    per_cell: np.ndarray | None = None,
    rate: np.ndarray | None = None,
) -> Moments:
    """Return the mean bin value of each promoter, weighted by cells inferred from reads; see `estimators.weighted_mean`.

    `reads_per_cell` and `reads_per_population_cell` are those of ``counts`` unless ``per_cell`` and ``rate`` give them.
    """
    values = np.concatenate([each.values for each in replicates])
    per_cell = reads_per_cell(counts, replicates) if per_cell is None else per_cell
    rate = reads_per_population_cell(counts, replicates) if rate is None else rate
    scale = np.divide(1.0, rate, out=np.zeros(len(rate)), where=rate > 0)
    noise = scale**2 * (1 + read_dispersion * per_cell)  # Var(c_b) for one read
    # One matrix product gives sums over bins of c_b v_b^p and Var(c_b) v_b^p for p = 0, 1, 2.
    columns = [weight * values**power for weight in (scale, noise) for power in range(3)]
    total, first, second, noise_0, noise_1, noise_2 = (counts @ np.column_stack(columns)).T
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = first / total
        sd = np.sqrt(np.maximum(second / total - mean**2, 0))
        cells = np.maximum(total**2 / noise_0, 1)
        square = np.maximum(noise_2 - 2 * mean * noise_1 + mean**2 * noise_0, 0) / noise_0
    width, total_variance = replicates[0].width, float(np.nanvar(mean))
    degrees = np.nansum(cells - 1)
    # Where hardly any promoter has two cells, half of the variance of all promoters is taken to be within them.
    pooled = float(np.nansum(cells * square) / degrees) if degrees >= _DEGREES else total_variance / 2
    return Moments(mean, sd, cells, square, float(np.clip(pooled, width**2 / 16, max(total_variance, width**2))))


def simulate(
    shared: Hyperparameters, counts: np.ndarray, replicates: Sequence[Replicate], promoters: int = 20_000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return mean signals, ``(promoters,)``, and counts, ``(promoters, bins)``, of a simulated library with these hyperparameters.

    Promoters have the depths of those of ``counts``. Cells are Poisson, their amplification is gamma-distributed, reads are Poisson.
    """
    rng = np.random.default_rng(seed)
    mean, log_sd = shared.draws[:, rng.integers(0, shared.draws.shape[1], promoters)]
    per_cell, rate = reads_per_cell(counts, replicates), reads_per_population_cell(counts, replicates)
    read = np.flatnonzero(counts.sum(axis=1) > 0)
    depths = counts[rng.choice(read, promoters)]
    simulated = np.zeros((promoters, counts.shape[1]), np.int64)
    for part, each in replicate_columns(replicates):
        scale = np.divide(1.0, rate[part], out=np.zeros(len(rate[part])), where=rate[part] > 0)
        sampled = np.divide(rate[part], per_cell[part], out=np.zeros(len(rate[part])), where=per_cell[part] > 0)
        in_bins = likelihood.bin_probabilities(mean, np.exp(log_sd), each.gates, each.bins)
        if each.gaps or each.overlap:  # the depths of ``counts`` are of cells in bins
            in_bins /= in_bins.sum(axis=1, keepdims=True)
        cells = rng.poisson((depths[:, part] @ scale)[:, None] * sampled * in_bins)
        excess = max(shared.read_dispersion - 1, 1e-9)
        simulated[:, part] = rng.poisson(rng.gamma(cells / excess) * excess * per_cell[part])
    return mean, simulated


@dataclass(frozen=True)
class MeanErrors:
    """Errors of the weighted mean, by number of effective cells, each ``(groups,)``.

    ``cells`` rise; ``ratio`` is the mean squared error over the sampling variance, ``reach`` the half-width of 95 % intervals over the
    standard error, which is 1.96 for normal errors.
    """

    cells: np.ndarray
    ratio: np.ndarray
    reach: np.ndarray

    def at(self, cells: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ratio and reach of promoters with these effective cells."""
        place = np.log(cells), np.log(self.cells)
        return np.interp(*place, self.ratio), np.interp(*place, self.reach)


def mean_errors(shared: Hyperparameters, counts: np.ndarray, replicates: Sequence[Replicate]) -> MeanErrors:
    """Return how wrong the weighted mean is on a simulated library (`simulate`), whose true means are known: a parametric bootstrap.

    The errors contain the bias from coarse and open bins, and those of the sampling variance itself where cells are few.
    """
    mean, simulated = simulate(shared, counts, replicates)
    rates = reads_per_cell(counts, replicates), reads_per_population_cell(counts, replicates)
    each = moments(simulated, replicates, shared.read_dispersion, *rates)
    rows = np.flatnonzero(np.isfinite(each.mean))
    rows = rows[np.argsort(each.cells[rows], kind="stable")]
    # Quantiles of the cells are the limits of groups; many promoters have one cell.
    limits = np.unique(np.quantile(each.cells[rows], np.arange(_ERROR_GROUPS) / _ERROR_GROUPS))
    variance, square = each.variance(shared.cell_variance(replicates[0].width)), (each.mean - mean) ** 2
    groups = np.split(rows, np.searchsorted(each.cells[rows], limits[1:], side="right"))
    groups = [group for group in groups if len(group) >= _ERROR_GROUP]
    ratio = np.array([square[group].mean() / variance[group].mean() for group in groups])
    reach = [np.quantile(np.sqrt(square[group] / (variance[group] * scale)), 0.95) for group, scale in zip(groups, ratio, strict=True)]
    return MeanErrors(np.array([np.median(each.cells[group]) for group in groups]), ratio, np.array(reach))


class _Sample:
    """Promoters with the likelihood of their counts on grids of mean and log sd."""

    def __init__(self, counts: np.ndarray, replicates: Sequence[Replicate], start: Moments, read_dispersion: float):
        # Promoters of any depth and deeper ones, regularly spaced, since tables may be sorted by depth.
        any_depth, deeper = (np.flatnonzero(part)[:: -(-part.sum() // _SAMPLE) or 1] for part in (start.cells > 0, start.cells >= _DEEPER))
        rows = np.concatenate([any_depth, np.setdiff1d(deeper, any_depth)])
        self._any_depth = len(any_depth)
        self._counts, self._replicates = counts[rows].astype(np.float64), replicates
        self._per_cell, self._rate = reads_per_cell(counts, replicates), reads_per_population_cell(counts, replicates)
        self.width = replicates[0].width
        error = np.maximum(np.sqrt(start.variance(start.pooled)[rows]), self.width / 20)
        self._step = 2 * _REACH * error / (_MEANS - 1)
        self._means = start.mean[rows, None] + self._step[:, None] * (np.arange(_MEANS) - (_MEANS - 1) / 2)
        centre = start.mean[rows]
        self._start = float(centre.mean()), float(np.log(max(centre.std(), self.width)))
        self._centre = float(np.log(max(np.sqrt(start.pooled), self.width / 4)))
        self._widen_outer(read_dispersion)

    def _widen_outer(self, read_dispersion: float) -> None:
        """Set the grids of promoters that lie in an outermost bin by their likelihood.

        Such a bin is open, so that the weighted mean and its error do not say how far out these promoters are. Where outer bins hold much
        of the library, as with four quartiles, too narrow grids would make its spread too small.
        """
        scale = np.divide(1.0, self._rate, out=np.zeros(len(self._rate)), where=self._rate > 0)
        cells, parts = self._counts * scale, [part for part, _ in replicate_columns(self._replicates)]
        ends = np.stack([sum(cells[:, part][:, end] for part in parts) for end in (0, -1)])
        rows = np.flatnonzero(ends.max(axis=0) > _OUTER * cells.sum(axis=1))
        if not len(rows):
            return
        spread = np.hypot(np.exp(self._start[1]), np.exp(self._centre))
        low, high = (pick(each.gates[at] for each in self._replicates) for pick, at in ((min, 1), (max, -2)))
        means = np.linspace(low - _OUTER_REACH * spread, high + _OUTER_REACH * spread, _OUTER_MEANS)
        log_sds = self._centre + np.array([-0.5, 0, 0.5])
        shape = (len(rows), len(means), len(log_sds))
        points = [np.broadcast_to(each, shape).reshape(len(rows), -1) for each in (means[:, None], log_sds)]
        log = likelihood.Grid(self._counts[rows], self._replicates, self._per_cell, self._rate, *points).log_likelihood(read_dispersion)
        log = log.reshape(shape).max(axis=2) - 0.5 * ((means - self._start[0]) / (1.5 * spread)) ** 2  # the likelihood alone is flat
        within = log > log.max(axis=1, keepdims=True) - 0.5 * _REACH**2
        first, last = within.argmax(axis=1), len(means) - 1 - within[:, ::-1].argmax(axis=1)
        between = means[1] - means[0]
        begin, end = means[first] - between, means[last] + between
        self._step[rows] = (end - begin) / (_MEANS - 1)
        self._means[rows] = begin[:, None] + self._step[rows, None] * np.arange(_MEANS)

    def fit(self, read_dispersion: float) -> Hyperparameters:
        """Return the hyperparameters of the greatest marginal likelihood, and keep the posterior of each promoter."""
        # The grid of means cannot tell sds apart that are smaller than its steps.
        lowest = float(np.log(0.75 * np.median(self._step))) + _LOG_REACH
        centre = max(self._centre, lowest)
        for _ in range(4):
            log_sds = centre + np.linspace(-_LOG_REACH, _LOG_REACH, _SDS)
            joint = self._joint(read_dispersion, log_sds)
            begin = [*self._start, centre, _SPREAD_PRIOR[0]]
            widths = np.log(self.width / 2), np.log(self.width * 1000)
            bounds = [(None, None), widths, (log_sds[0], log_sds[-1]), (np.log(0.05), np.log(0.8))]
            best = optimize.minimize(self._cost, begin, (joint, log_sds), method="L-BFGS-B", bounds=bounds)
            if abs(best.x[2] - centre) < 0.6 * _LOG_REACH or max(best.x[2], lowest) == centre:
                break
            centre = max(best.x[2], lowest)
        mean, log_mean_sd, log_sd, log_log_sd_sd = map(float, best.x)
        self._start = mean, log_mean_sd  # of the next fit
        error = self._error(best.x, joint, log_sds)
        self._best = best.x, joint, log_sds
        draws = self._draw(error)
        return Hyperparameters(mean, float(np.exp(log_mean_sd)), log_sd, float(np.exp(log_log_sd_sd)), error, read_dispersion, draws)

    def _posterior(self) -> np.ndarray:
        """Return the posterior of each promoter on its grid under the last fit, ``(promoters, means, sds)``."""
        return special.softmax(self._weigh(*self._best), axis=(1, 2))

    def _draw(self, log_sd_error: float, seed: int = 0) -> np.ndarray:
        """Return means and log sds drawn from the posteriors of promoters of any depth, ``(2, draws)``; the error of log sd is added."""
        rng = np.random.default_rng(seed)
        below = self._posterior()[: self._any_depth].reshape(self._any_depth, -1).cumsum(axis=1)
        promoter = np.repeat(np.arange(self._any_depth), -(-_DRAWS // self._any_depth))
        point = (below[promoter] < rng.random(len(promoter))[:, None]).sum(axis=1).clip(max=below.shape[1] - 1)
        means = self._means[promoter, point // _SDS] + self._step[promoter] * (rng.random(len(promoter)) - 0.5)
        return np.stack([means, self._best[2][point % _SDS] + log_sd_error * rng.normal(size=len(means))])

    def dispersion(self, read_dispersion: float) -> float:
        """Return the dispersion of reads that agrees with the residuals of the last fit, where that assumed ``read_dispersion``."""
        posterior = self._posterior().reshape(len(self._means), -1)
        above, below = self._grid.dispersion_moments(read_dispersion)
        return float(np.clip((posterior * above).sum() / (posterior * below).sum(), *_DISPERSION_LIMITS))

    def _joint(self, read_dispersion: float, log_sds: np.ndarray) -> np.ndarray:
        """Return the log-likelihood of each promoter's counts on its grid, ``(promoters, means, sds)``."""
        shape = (len(self._means), _MEANS, _SDS)
        points = [np.broadcast_to(each, shape).reshape(shape[0], -1) for each in (self._means[:, :, None], log_sds)]
        self._grid = likelihood.Grid(self._counts, self._replicates, self._per_cell, self._rate, *points)
        return self._grid.log_likelihood(read_dispersion).reshape(shape) + np.log(self._step)[:, None, None]

    def _weigh(self, parameters, joint, log_sds):
        """Return the log of likelihood times prior on each promoter's grid."""
        mean, log_mean_sd, log_sd, log_log_sd_sd = parameters
        of_mean = -0.5 * ((self._means - mean) / np.exp(log_mean_sd)) ** 2 - log_mean_sd
        of_sd = -0.5 * ((log_sds - log_sd) / np.exp(log_log_sd_sd)) ** 2
        return joint + of_mean[:, :, None] + of_sd - special.logsumexp(of_sd)

    def _cost(self, parameters, joint, log_sds):
        """Return minus the log of the marginal likelihood, with a weak prior that decides what the counts do not.

        The prior takes the shared sd as that of the pooled cells, within a factor e.
        """
        log_sd, log_log_sd_sd = parameters[2:]
        prior = ((log_log_sd_sd - _SPREAD_PRIOR[0]) / _SPREAD_PRIOR[1]) ** 2 + (log_sd - self._centre) ** 2
        return 0.5 * prior - special.logsumexp(self._weigh(parameters, joint, log_sds), axis=(1, 2)).sum()

    def _error(self, best, joint, log_sds, step=0.05) -> float:
        """Return the standard error of log sd from the curvature of the likelihood, with the means' distribution fitted again."""

        def profile(log_sd):
            def cost(means):
                return self._cost([*means, log_sd, best[3]], joint, log_sds)

            return optimize.minimize(cost, best[:2], method="L-BFGS-B").fun

        curvature = (profile(best[2] - step) - 2 * profile(best[2]) + profile(best[2] + step)) / step**2
        return float(min(1.0, max(curvature, 1.0) ** -0.5))


def fit_hyperparameters(counts: np.ndarray, replicates: Sequence[Replicate], read_dispersion: float | None = None) -> Hyperparameters:
    """Estimate what promoters share by the greatest marginal likelihood of up to 1,000 of them.

    Means and log sds of promoters are integrated out on a grid. The dispersion of reads is that which the squared residuals of reads have
    on average under the posterior (`likelihood.Grid.dispersion_moments`), kept between 1.2 and 5; fit and dispersion are repeated twice.
    The shape of the distribution of reads per cell would say more, but is not known.

    Parameters
    ----------
    counts
        ``(promoters, bins)`` reads, the bins of the replicates one after the other.
    replicates
        Their bins.
    read_dispersion
        d: the reads of a cell vary by ``r + (d - 1) r^2``; None to estimate it.

    Warns
    -----
    UserWarning
        If the counts do not determine the sd of single cells, as with two bins or one cell a promoter.
    """
    counts = np.asarray(counts)
    begin = _DISPERSION_START if read_dispersion is None else read_dispersion
    sample = _Sample(counts, replicates, moments(counts, replicates, begin), begin)
    shared = sample.fit(begin)
    if read_dispersion is None:
        for _ in range(_DISPERSION_ROUNDS):
            shared = sample.fit(sample.dispersion(shared.read_dispersion))
    if shared.log_sd_error > _UNIDENTIFIED:
        warnings.warn(
            "the counts do not determine how much single cells of a promoter differ (too few bins, or one cell a promoter); it is taken "
            f"as {np.exp(shared.log_sd):.2g} within a factor of {np.exp(shared.log_sd_error):.1f}, and standard errors are wide",
            stacklevel=2,
        )
    return shared
