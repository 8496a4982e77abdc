"""The statistical model of a DNA/RNA reporter assay: log2(RNA/DNA) of each promoter from the counts of its barcodes.

A gamma-Poisson hierarchy, as in MPRAnalyze (Ashuach et al. 2019, doi:10.1186/s13059-019-1787-z), with barcodes as the units of observation,
as in BCalm (Keukeleire et al. 2025, doi:10.1186/s12859-025-06065-9), and what promoters share estimated from all of them (empirical Bayes):

- the abundance a of a barcode is gamma-distributed around the abundance of its promoter, and DNA ~ Poisson(a);
- RNA given a is gamma-Poisson with mean s rho a and dispersion phi (s: library size, rho: activity of the promoter);
- log rho of promoters is normal.

Given DNA, a is gamma too. RNA is then gamma-Poisson to a good approximation (exactly for phi = 0), so that each barcode's counts are
weighted by their precision, and a barcode without RNA is an observation as any other. See docs/assay.md for formulas and validation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy import optimize, special, stats

_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)  # adaptive Gauss-Hermite quadrature of the marginal likelihood
_GRID = np.linspace(-6, 6, 49)  # points of a posterior, in standard deviations of its normal approximation
_STEPS = 25  # Newton steps
_FITTED_PROMOTERS, _FITTED_BARCODES = 2000, 20_000  # most that what promoters share is estimated from
_LEAST_FITTED = 20  # promoters with several barcodes from which the dispersion of barcodes can be estimated
_SMALLEST = 1e-8  # of variances and dispersions, in place of 0
_LARGEST = 1e8  # of shape parameters, in place of infinity
_CHUNK = 50_000  # barcodes evaluated at a time
_Z = 1.959963984540054
_LN2 = np.log(2)


@dataclass(frozen=True)
class Abundance:
    """Distribution of barcodes' DNA: mean, and shape of the gamma distributions of barcodes in a promoter and of promoters."""

    mean: float
    barcodes: float
    promoters: float


@dataclass(frozen=True)
class Shared:
    """What promoters share: distribution of their log activity (natural log), dispersion of barcodes' RNA, spread between replicates.

    ``dispersion`` is the squared coefficient of variation, between barcodes of one promoter, of RNA per DNA beyond counting; ``excess`` is
    the variance of barcodes over that of the model.
    ``replicate_sd`` is the standard deviation, between replicates, of a promoter's log activity beyond counting and barcodes.
    ``dispersion_known`` is False if no dispersion could be estimated, because promoters have one barcode each.
    """

    mean: float
    sd: float
    dispersion: float
    excess: float
    replicate_sd: float
    dispersion_known: bool
    abundance: Abundance


@dataclass(frozen=True)
class Activity:
    """log2(RNA/DNA) of each promoter, its standard error and 95 % interval, shape ``(promoters,)``; NaN without a counted barcode."""

    expression: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    shared: Shared


@dataclass(frozen=True)
class _Units:
    """Barcodes in order of their promoters: RNA, mean RNA at activity 1, dispersion of RNA given DNA; and DNA's error of promoters.

    ``starts`` is the first barcode of each promoter, ``shared_error`` the variance of the log of a promoter's DNA that its barcodes share.
    """

    rna: np.ndarray
    exposure: np.ndarray
    relative_error: np.ndarray
    starts: np.ndarray
    shared_error: np.ndarray

    def sizes(self) -> np.ndarray:
        return np.diff(np.append(self.starts, len(self.rna)))

    def part(self, begin: int, end: int) -> "_Units":
        """Return promoters ``begin`` to ``end``."""
        stops = np.append(self.starts, len(self.rna))
        rows = slice(stops[begin], stops[end])
        return _Units(
            self.rna[rows], self.exposure[rows], self.relative_error[rows], stops[begin:end] - stops[begin], self.shared_error[begin:end]
        )


def pooled_dna(dna: np.ndarray, rna: np.ndarray, columns: Sequence[int]) -> tuple[np.ndarray, float]:
    """Return the DNA of each barcode over all replicates, in counts, and the RNA per DNA of the library.

    Replicates are weighted by their library sizes, ``sum_r s_r DNA_r`` with ``s_r = sum RNA_r / sum DNA_r``, and scaled so that the result
    has the variance of a Poisson count. With equal library sizes it is the sum of the counts.

    Parameters
    ----------
    dna
        DNA counts, one column per DNA library, ``(barcodes, libraries)``.
    rna
        RNA counts, one column per replicate, ``(barcodes, replicates)``.
    columns
        DNA library of each replicate; replicates can share one.
    """
    totals = dna.sum(axis=0)
    weights = np.zeros(dna.shape[1])
    for replicate, library in enumerate(columns):
        weights[library] += rna[:, replicate].sum() / max(totals[library], 1)
    scale = (weights**2 @ totals) / max(weights @ totals, _SMALLEST)
    return dna @ (weights / max(scale, _SMALLEST)), float(scale)


def fit_abundance(dna: np.ndarray, starts: np.ndarray, least: int = 0) -> Abundance:
    """Estimate the distribution of barcodes' DNA from moments: variance between barcodes of a promoter, and between promoters.

    Barcodes with less DNA are missing, which raises mean and lowers variance. Both are corrected for the part of the distribution below
    ``least``, in turn with the estimates.

    Parameters
    ----------
    dna
        DNA of each barcode in order of promoters, ``(barcodes,)``.
    starts
        First barcode of each promoter, ``(promoters,)``.
    least
        Minimum DNA of a barcode.
    """
    size = np.diff(np.append(starts, len(dna)))
    observed, several = np.add.reduceat(dna, starts) / size, size > 1
    freedom = (size - 1).sum()
    within = ((dna - np.repeat(observed, size)) ** 2).sum() / freedom if freedom else dna.var()
    usual, shape, between = dna.mean(), _LARGEST, 0.0
    for _ in range(10):
        level = _untruncated(observed, shape, least)
        mean = _untruncated(np.array([usual]), shape, least)[0]
        missing, below = _below(np.array([mean]), shape, least)
        counts = np.arange(least)
        variance = (1 - missing[0]) * (within + (usual - mean) ** 2) + (below[0] * (counts - mean) ** 2).sum()
        if freedom:
            between = max(((level - mean) ** 2 - within / size).mean(), 0) / mean**2
        # the variance within is the mean of level + level^2 / shape over barcodes
        weight = np.where(several, size - 1, 0) if freedom else np.ones(len(size))
        square = max((weight * level**2).sum() / weight.sum() - (within * (weight / size).sum() / weight.sum() if freedom else 0), mean**2)
        shape = min(square / max(variance - mean, _SMALLEST * square), _LARGEST)
    return Abundance(float(mean), float(shape), float(min(1 / max(between, _SMALLEST), _LARGEST)))


def _below(level: np.ndarray, shape: float, least: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the probability of fewer than ``least`` counts, ``(n,)``, and of 0 .. ``least - 1`` counts, ``(n, least)``."""
    counts = np.arange(least)
    success = shape / (shape + level)
    each = stats.nbinom.pmf(counts, shape, success[:, None]) if shape < _LARGEST else stats.poisson.pmf(counts, level[:, None])
    return each.sum(axis=1), each


def _untruncated(observed: np.ndarray, shape: float, least: int) -> np.ndarray:
    """Return the means of gamma-Poisson counts whose mean is ``observed`` among counts of at least ``least``, by fixed-point iteration."""
    level = np.maximum(observed, _SMALLEST)
    for _ in range(20 if least else 0):
        missing, each = _below(level, shape, least)
        level = np.maximum(observed * (1 - missing) + each @ np.arange(least), 0.01 * observed)
    return level


def _units(dna: np.ndarray, rna: np.ndarray, starts: np.ndarray, scale: float, abundance: Abundance, least: int) -> _Units:
    """Return the barcodes' expected RNA and its relative error, given DNA: the posterior of abundances under gamma priors."""
    size = np.diff(np.append(starts, len(dna)))
    mean, shape, between = abundance.mean, abundance.barcodes, abundance.promoters
    of_promoter = _untruncated(np.add.reduceat(dna, starts) / size, shape, least)
    level = np.full(len(size), mean)
    for _ in range(3):  # the precision of a promoter's mean depends on that mean
        information = size * shape * level / (shape + level)
        level = (between * mean + information * of_promoter) / (between + information)
    level = np.maximum(level, _SMALLEST)
    expected = (shape + dna) / (shape / np.repeat(level, size) + 1)
    shared_error = (shape / (shape + level)) ** 2 / (between + size * shape * level / (shape + level))
    return _Units(rna, scale * expected, 1 / (shape + dna), starts, shared_error)


def _log_likelihood(units: _Units, log_activity: np.ndarray, dispersion: float) -> np.ndarray:
    """Return the log-likelihood of promoters at log activities, ``(promoters, points)``, less what does not depend on them.

    The terms that depend on the dispersion alone are part of it.
    """
    psi = (1 + dispersion) * (1 + units.relative_error) - 1
    size, rna = (1 / psi)[:, None], units.rna[:, None]
    log_mean = np.log(units.exposure)[:, None] + np.repeat(log_activity, units.sizes(), axis=0)
    odds = log_mean - np.log(size)
    terms = rna * odds - (rna + size) * np.logaddexp(0, odds)
    constant = special.gammaln(units.rna + size[:, 0]) - special.gammaln(size[:, 0])
    return np.add.reduceat(terms + constant[:, None], units.starts, axis=0)


def _mode(units: _Units, dispersion: float, mean: float, variance: np.ndarray, start: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mode and standard deviation (of the normal approximation) of log activity under a normal prior, by Newton's method."""
    psi, size = (1 + dispersion) * (1 + units.relative_error) - 1, units.sizes()
    place = start
    for _ in range(_STEPS):
        expected = units.exposure * np.exp(np.repeat(place, size))
        shrunk = 1 + psi * expected
        score = np.add.reduceat((units.rna - expected) / shrunk, units.starts) - (place - mean) / variance
        curvature = np.add.reduceat(expected * (1 + psi * units.rna) / shrunk**2, units.starts) + 1 / variance
        step = np.clip(score / curvature, -2, 2)
        place = place + step
        if np.abs(step).max(initial=0) < 1e-6:
            break
    return place, 1 / np.sqrt(curvature)


def _marginal(units: _Units, shared: Sequence[float], start: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the log marginal likelihood of (mean, log sd, log dispersion), and the modes of promoters."""
    mean, log_sd, log_dispersion = shared
    variance = np.exp(2 * log_sd) + units.shared_error
    mode, sd = _mode(units, np.exp(log_dispersion), mean, variance, start)
    points = mode[:, None] + sd[:, None] * _NODES
    log_prior = -0.5 * (points - mean) ** 2 / variance[:, None] - 0.5 * np.log(2 * np.pi * variance)[:, None]
    joint = _log_likelihood(units, points, np.exp(log_dispersion)) + log_prior + 0.5 * _NODES**2 + np.log(_WEIGHTS) + np.log(sd)[:, None]
    return float(special.logsumexp(joint, axis=1).sum()), mode


def _sample(units: _Units) -> _Units:
    """Return evenly spaced promoters for estimating what promoters share: those with several barcodes, if there are enough."""
    size = units.sizes()
    chosen = np.flatnonzero(size > 1)
    if len(chosen) < _LEAST_FITTED:
        chosen = np.arange(len(size))
    most = max(_LEAST_FITTED, min(_FITTED_PROMOTERS, int(_FITTED_BARCODES / size[chosen].mean())))
    chosen = chosen[np.linspace(0, len(chosen) - 1, min(most, len(chosen))).astype(np.int64)]
    rows = np.concatenate([np.arange(begin, begin + many) for begin, many in zip(units.starts[chosen], size[chosen], strict=True)])
    starts = np.cumsum(size[chosen]) - size[chosen]
    return _Units(units.rna[rows], units.exposure[rows], units.relative_error[rows], starts, units.shared_error[chosen])


def _fit_shared(units: _Units, dispersion: float | None) -> tuple[float, float, float, bool]:
    """Return mean and standard deviation of promoters' log activity, dispersion of barcodes, and whether the latter was estimated.

    They maximise the marginal likelihood. Where promoters have one barcode each, barcodes cannot be told from promoters, and the dispersion
    is taken as 0 unless it is given: errors are those of counting.
    """
    sample = _sample(units)
    fitted = dispersion is None and bool((sample.sizes() > 1).sum() >= _LEAST_FITTED)
    fixed = np.log(max(dispersion or 0.0, _SMALLEST))
    ratio = np.log((np.add.reduceat(sample.rna, sample.starts) + 0.5) / (np.add.reduceat(sample.exposure, sample.starts) + 0.5))
    mode = ratio
    low, high = np.log(_SMALLEST) / 2, np.log(100.0)

    def loss(free: np.ndarray) -> float:
        nonlocal mode
        shared = (free[0], np.clip(free[1], low, high), np.clip(free[2], 2 * low, high) if fitted else fixed)
        value, mode = _marginal(sample, shared, mode)
        return -value

    first = [ratio.mean(), np.log(max(ratio.std(), 0.1)), *([np.log(0.3)] if fitted else [])]
    simplex = np.array([first, *(np.array(first) + 0.5 * np.eye(len(first)))])
    best = optimize.minimize(
        loss, first, method="Nelder-Mead", options={"initial_simplex": simplex, "xatol": 0.01, "fatol": 0.02, "maxfev": 150}
    )
    estimate = float(np.exp(np.clip(best.x[2], 2 * low, high) if fitted else fixed))
    return float(best.x[0]), float(np.exp(np.clip(best.x[1], low, high))), estimate, fitted or dispersion is not None


def _posterior(
    units: _Units, dispersion: float, excess: float, mean: float, variance: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, standard deviation and 95 % interval ``(promoters, 2)`` of the posterior of log activity, on a grid."""
    # Where the likelihood is divided by the excess, so is the precision of the prior for the mode and width of the grid.
    mode, sd = _mode(units, dispersion, mean, variance / excess, np.full(len(units.starts), mean))
    points = mode[:, None] + np.sqrt(excess) * sd[:, None] * _GRID
    log_density = _log_likelihood(units, points, dispersion) / excess - 0.5 * (points - mean) ** 2 / variance[:, None]
    density = np.exp(log_density - log_density.max(axis=1, keepdims=True))
    density /= density.sum(axis=1, keepdims=True)
    average = (density * points).sum(axis=1)
    spread = np.sqrt((density * (points - average[:, None]) ** 2).sum(axis=1))
    cumulative = np.cumsum(density, axis=1) - density / 2
    ends = np.empty((len(points), 2))
    for side, share in enumerate((0.025, 0.975)):
        right = np.clip((cumulative < share).sum(axis=1), 1, len(_GRID) - 1)
        rows = np.arange(len(points))
        before, after = cumulative[rows, right - 1], cumulative[rows, right]
        part = np.clip((share - before) / np.maximum(after - before, 1e-300), 0, 1)
        ends[:, side] = points[rows, right - 1] + part * (points[rows, right] - points[rows, right - 1])
    return average, spread, ends


def _excess(units: _Units, dispersion: float, mean: float, variance: np.ndarray) -> float:
    """Return the variance of barcodes' scores over that of the model, at least 1: a quasi-likelihood factor of all promoters.

    It exceeds 1 where barcodes vary otherwise than gamma-distributed, such as with a few very active ones.
    """
    size = units.sizes()
    if not (size > 1).any():
        return 1.0
    mode, _ = _mode(units, dispersion, mean, variance, np.full(len(size), mean))
    expected = units.exposure * np.exp(np.repeat(mode, size))
    shrunk = 1 + ((1 + dispersion) * (1 + units.relative_error) - 1) * expected
    score, information = (units.rna - expected) / shrunk, expected / shrunk
    several = size > 1
    squares = np.add.reduceat(score**2, units.starts) - np.add.reduceat(score, units.starts) ** 2 / size
    corrected = (squares * size / np.maximum(size - 1, 1))[several].sum()
    return float(max(corrected / np.add.reduceat(information, units.starts)[several].sum(), 1.0))


def _summary(units: _Units, shared: Shared, replicates: int, prior: str) -> np.ndarray:
    """Return expression, standard error, low and high in log2 of promoters, ``(promoters, 4)``.

    Errors that all barcodes of a promoter share (of its DNA level, and between replicates) have a variance v. The barcodes determine
    x = log activity + such an error. Given x, log activity is normal with mean m + b (x - m) and variance b v, b = t^2 / (t^2 + v).
    """
    sd = shared.sd if prior == "library" else 2 * shared.sd + _LN2
    common = units.shared_error + shared.replicate_sd**2 / replicates
    parts = []
    for begin, end in _chunks(units):
        part, error = units.part(begin, end), common[begin:end]
        average, spread, ends = _posterior(part, shared.dispersion, shared.excess, shared.mean, sd**2 + error)
        factor = sd**2 / (sd**2 + error)
        total = np.sqrt(factor**2 * spread**2 + factor * error)
        centre = shared.mean + factor * (average - shared.mean)
        widened = (ends - average[:, None]) * (total / np.maximum(spread, _SMALLEST))[:, None]
        parts.append(np.column_stack([centre, total, centre + widened[:, 0], centre + widened[:, 1]]))
    return np.concatenate(parts) / _LN2


def _chunks(units: _Units) -> list[tuple[int, int]]:
    """Return ranges of promoters with about `_CHUNK` barcodes."""
    stops = np.append(units.starts, len(units.rna))
    edges = np.unique(np.searchsorted(stops, np.arange(0, len(units.rna) + _CHUNK, _CHUNK).clip(max=len(units.rna))))
    return list(pairwise(edges))


def _replicate_sd(
    dna: np.ndarray,
    rna: np.ndarray,
    columns: Sequence[int],
    starts: np.ndarray,
    expected: np.ndarray,
    single: float,
    pooled: float,
) -> float:
    """Return the standard deviation between replicates of promoters' log activity, beyond counting and barcodes, by moments.

    Of the dispersion of barcodes, only what differs between replicates matters here. With the dispersions of one replicate (``single``)
    and of n together (``pooled``) it is ``(single - pooled) n / (n - 1)``. ``expected`` is the RNA of promoters in each replicate.
    """
    many = rna.shape[1]
    own = float(np.clip((single - pooled) * many / (many - 1), 0, single))
    observed = np.add.reduceat(rna, starts, axis=0)
    size = np.diff(np.append(starts, len(rna)))
    share = dna / np.maximum(np.repeat(np.add.reduceat(dna, starts, axis=0), size, axis=0), _SMALLEST)  # of a promoter's barcodes
    squares = np.add.reduceat(share**2, starts, axis=0)[:, list(columns)]
    of_dna = np.add.reduceat(dna, starts, axis=0)[:, list(columns)]
    separate = np.array([columns.count(column) == 1 for column in columns])  # an error of DNA that replicates share is no difference
    seen = (of_dna > 0) & (expected > 0)
    ratio = np.where(seen, observed / np.maximum(expected, _SMALLEST), 1)
    noise = np.where(seen, 1 / np.maximum(expected, _SMALLEST) + own * squares + separate / np.maximum(of_dna, _SMALLEST), 0)
    complete = seen.all(axis=1)
    if complete.sum() < _LEAST_FITTED:
        return 0.0
    centred = ratio[complete] - ratio[complete].mean(axis=1, keepdims=True)
    excess = (centred**2).sum(axis=1) / (many - 1) - noise[complete].mean(axis=1)
    weight = 1 / (noise[complete].mean(axis=1) + 0.01) ** 2
    return float(np.sqrt(max((weight * excess).sum() / weight.sum(), 0)))


def estimate(
    dna: np.ndarray,
    rna: np.ndarray,
    columns: Sequence[int],
    promoter: np.ndarray,
    promoters: int,
    *,
    prior: str = "library",
    dispersion: float | None = None,
    least: int = 0,
    of_one: float | None = None,
) -> Activity:
    """Estimate log2(RNA/DNA) of promoters from the counts of their barcodes in all replicates.

    Expression 0 is the RNA per DNA of the whole library.

    Parameters
    ----------
    dna
        DNA counts, ``(barcodes, libraries)``.
    rna
        RNA counts, ``(barcodes, replicates)``.
    columns
        DNA library of each replicate, an index of the columns of ``dna``.
    promoter
        Index of each barcode's promoter, ascending, ``(barcodes,)``.
    promoters
        Number of promoters; those without a barcode get NaN.
    prior
        ``library``: log activity of promoters is normal with the library's mean and standard deviation; ``weak``: with twice that standard
        deviation and 1 (log2) more.
    dispersion
        Dispersion of barcodes; None to estimate it.
    least
        Minimum DNA, in all libraries together, of the barcodes given.
    of_one
        Dispersion of barcodes in single replicates, from their own estimates, if there are several replicates; None: as in all together.
    """
    rows, starts = np.unique(promoter, return_index=True)
    dna, rna, columns = dna.astype(np.float64), rna.astype(np.float64), list(columns)
    pooled, scale = pooled_dna(dna, rna, columns)
    abundance = fit_abundance(pooled, starts, least)
    units = _units(pooled, rna.sum(axis=1), starts, scale, abundance, least)
    mean, sd, phi, known = _fit_shared(units, dispersion)
    excess = _excess(units, phi, mean, sd**2 + units.shared_error)
    between = 0.0
    if rna.shape[1] > 1:
        activity = np.add.reduceat(units.rna, starts) / np.add.reduceat(units.exposure, starts)
        size = rna.sum(axis=0) / np.maximum(dna.sum(axis=0)[columns], 1)
        expected = activity[:, None] * size * np.add.reduceat(dna, starts, axis=0)[:, columns]
        between = _replicate_sd(dna, rna, columns, starts, expected, phi if of_one is None else of_one, phi)
    shared = Shared(mean, sd, phi, excess, between, known, abundance)
    values = np.full((promoters, 4), np.nan)
    values[rows] = _summary(units, shared, rna.shape[1], prior)
    expression, error, low, high = values.T
    return Activity(expression, error, low, high, shared)
