import gzip
from dataclasses import astuple
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy import optimize, special, stats

from gpraflow.assay import count_tables, empirical_bayes, estimators, expression, likelihood, sheet
from gpraflow.assay import replicates as of_replicates
from gpraflow.assay.replicates import Replicate
from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.evaluation import ceiling
from gpraflow.formats import promoters as formats_promoters

BINS = 18
GATES = np.arange(BINS + 1) - 0.5
NAMES = tuple(f"b{i}" for i in range(BINS))


def assay(promoters, seed=0, cells_per_promoter=60.0):
    """Counts of a simulated sort: gamma-Poisson cells, normal within promoters, log-normal amplification, depth differing by bin."""
    rng = np.random.default_rng(seed)
    mean = rng.normal(8.5, 3.0, promoters)
    sd = np.exp(rng.normal(np.log(1.5), 0.15, promoters))
    gates = np.concatenate([[-np.inf], GATES[1:-1], [np.inf]])
    share = np.diff(stats.norm.cdf(gates, mean[:, None], sd[:, None]), axis=1)
    cells = rng.poisson(rng.gamma(0.7, cells_per_promoter, promoters)[:, None] * share)
    copies = rng.gamma(np.maximum(cells * 3.5, 1e-9), 1 / 3.5)
    counts = rng.poisson(copies * rng.uniform(0.3, 3, BINS))
    return mean, counts, [Replicate("", NAMES, GATES, cells.sum(axis=0).astype(float))]


def bin_columns(names):
    return sheet.count_tables([{"bin": name} for name in names], "c.tsv", "bins.tsv")[1]


def bins_of(gates, cells=None, name=""):
    return Replicate(name, tuple(f"{name}{i}" for i in range(len(gates) - 1)), np.asarray(gates, float), cells)


def run(counts, replicates, method="weighted_mean", ledger=None, **options):
    options = {
        "read_dispersion": 2.0,
        "prior": "library",
        "origin": "cells.tsv",
        "ledger": ledger or Ledger("estimate_expression", "x"),
    } | options
    return expression.estimate(np.asarray(counts), replicates, method=method, **options)


# Weighted mean


def test_weighted_mean_is_the_published_formula_promoter_by_promoter():
    _, counts, replicates = assay(200)
    found = estimators.weighted_mean(counts, replicates, read_dispersion=1.0)
    per_cell = counts.sum(axis=0) / replicates[0].cells
    squares, degrees = 0.0, 0.0
    rows = []
    for row, value, sd in zip(counts, found.expression, found.sd, strict=True):
        weights = [n / r for n, r in zip(row, per_cell, strict=True)]
        if not row.sum():
            assert np.isnan(value)
            rows.append((np.nan, np.nan))
            continue
        expected = sum(w * b for b, w in enumerate(weights)) / sum(weights)
        assert value == pytest.approx(expected)
        assert sd == pytest.approx(np.sqrt(sum(w * (b - expected) ** 2 for b, w in enumerate(weights)) / sum(weights)), abs=1e-6)
        noise = [n * (1 + r) / r**2 for n, r in zip(row, per_cell, strict=True)]
        cells = max(sum(weights) ** 2 / sum(noise), 1)
        variance = sum(v * (b - expected) ** 2 for b, v in enumerate(noise)) / sum(noise)
        squares, degrees = squares + cells * variance, degrees + cells - 1
        rows.append((cells, variance))
    cells, variance = np.array(rows).T
    assert found.cells == pytest.approx(cells, nan_ok=True)
    each = empirical_bayes.moments(counts, replicates, 1.0)
    assert each.variance(each.pooled) == pytest.approx((cells * variance + squares / degrees) / cells**2, nan_ok=True)
    shared = empirical_bayes.fit_hyperparameters(counts, replicates, 1.0)
    ratio, _ = empirical_bayes.mean_errors(shared, counts, replicates).at(cells)
    assert found.standard_error**2 == pytest.approx(ratio * each.variance(shared.cell_variance(1.0)), nan_ok=True)
    assert (found.n_reads == counts.sum(axis=1)).all()
    assert (found.n_bins == (counts > 0).sum(axis=1)).all()
    assert (found.singleton == (found.n_bins == 1)).all()


def test_weighted_mean_takes_midpoints_of_gates_open_bins_as_wide_as_the_others():
    replicate = bins_of([-np.inf, 1, 2, 4, np.inf])
    assert replicate.values.tolist() == [0.25, 1.5, 3, 4.75]
    found, _ = run([[1, 1, 1, 1], [0, 0, 4, 0]], [replicate])
    assert found.expression == pytest.approx([2.375, 3])


def test_weighted_mean_pools_the_cells_of_replicates():
    """Cells 10 and 40 in the bins of replicate a (2 and 1 reads a cell), 50 and 50 in those of b (1 read a cell)."""
    replicates = [bins_of([-0.5, 0.5, 1.5], np.array([10.0, 40.0]), "a"), bins_of([-0.5, 0.5, 1.5], np.array([50.0, 50.0]), "b")]
    counts = np.array([[4, 3, 2, 1], [16, 37, 48, 49]])
    found, separate = run(counts, replicates)
    assert found.expression[0] == pytest.approx((3 + 1) / (2 + 3 + 2 + 1))
    assert separate["a"].expression[0] == pytest.approx(3 / 5)
    assert separate["b"].expression[0] == pytest.approx(1 / 3)
    assert separate["b"].n_reads.tolist() == [3, 97]


# Maximum likelihood


def posterior(parameters, counts, gates_of, per_cell, dispersion, prior_mean, prior_log_sd):
    """Minus log posterior of one promoter: parameters are mean, log sd and log of the cells in each replicate.

    Reads are summed over the cells behind them: Poisson cells, each with 1 + geometric reads.
    """
    mean, log_sd, *levels = parameters
    total = -((mean - prior_mean[0]) ** 2) / (2 * prior_mean[1] ** 2) - (log_sd - prior_log_sd[0]) ** 2 / (2 * prior_log_sd[1] ** 2)
    first = 0
    for level, gates in zip(levels, gates_of, strict=True):
        below = special.ndtr((np.concatenate([[-np.inf], gates[1:-1], [np.inf]]) - mean) / np.exp(log_sd))
        bins = len(gates) - 1
        n, r = counts[first : first + bins, None], per_cell[first : first + bins, None]
        rho = 2 / (2 + dispersion * r)
        poisson = np.exp(level) * r * rho * (0.995 * np.diff(below) + 0.005 / bins)[:, None]
        cells = np.arange(n.max() + 1)
        some = np.maximum(cells, 1)
        ways = special.gammaln(n) - special.gammaln(some) - special.gammaln(np.maximum(n - some, 0) + 1)
        each = (
            special.xlogy(cells, poisson) - special.gammaln(cells + 1) - poisson + ways + cells * np.log(rho) + (n - cells) * np.log1p(-rho)
        )
        each = np.where((cells >= 1) & (cells <= n), each, -np.inf)
        total += np.where(n[:, 0] > 0, special.logsumexp(np.where(n > 0, each, 0), axis=1), -poisson[:, 0]).sum()
        first += bins
    return -total


@pytest.mark.parametrize("dispersion", [1.0, 2.0])
@pytest.mark.parametrize("several", [False, True])
def test_maximum_likelihood_is_the_mode_that_scipy_finds_promoter_by_promoter(several, dispersion):
    """One replicate of 18 bins, or two with gates and depths of their own; the reads' distribution is summed over the cells behind them."""
    mean, counts, replicates = assay(40, seed=5, cells_per_promoter=20)
    per_cell = np.maximum(of_replicates.reads_per_cell(counts, replicates), 0.1)
    if several:
        counts = np.column_stack([counts[:, ::2] + counts[:, 1::2], counts[:, :6]])
        per_cell = np.concatenate([per_cell[:9], [0.2, 0.5, 1.0, 3.0, 8.0, 1.0]])
        replicates = [bins_of(np.arange(10) * 2 - 0.5), bins_of(np.arange(7) * 3.1 - 0.5)]
    rows = np.flatnonzero(counts.sum(axis=1) > 0)[:8]
    counts = counts[rows].astype(float)
    counts[0, :9] = 0  # nothing in some bins, with several replicates in all of one
    counts[0, -1] += 1
    prior_mean, prior_log_sd = (8.0, 4.0), (np.log(1.5), 0.2)
    begin = np.full(len(counts), np.log(1.5))
    seen = [Replicate(each.name, each.columns, each.gates, None) for each in replicates]
    mean = empirical_bayes.moments(counts, seen, 2.0).mean
    with np.errstate(divide="ignore"):
        found = estimators._fit(counts, replicates, per_cell, per_cell, dispersion, mean, begin, prior_mean, prior_log_sd)

    gates_of = [each.gates for each in replicates]
    for row, start, (m, s, variance, _, cells) in zip(counts, mean, found.T, strict=True):
        best = min(
            (
                optimize.minimize(
                    posterior,
                    [x, np.log(1.5), *([np.log(10.0)] * len(gates_of))],
                    (row, gates_of, per_cell, dispersion, prior_mean, prior_log_sd),
                    method="Nelder-Mead",
                    options={"xatol": 1e-5, "fatol": 1e-9, "maxiter": 4000},
                )
                for x in (m, start)
            ),
            key=lambda result: result.fun,
        )
        # _cells_behind is right within 0.3 %: far below the standard error.
        assert m == pytest.approx(best.x[0], abs=0.02 * np.sqrt(variance))
        assert s == pytest.approx(best.x[1], abs=0.005)
        assert 0 < cells <= row.sum()
        if row.sum() > 20:  # the expected information is close to the curvature of the profile
            step = 0.3 * np.sqrt(variance)

            def profile(x, row=row, best=best):
                return optimize.minimize(
                    lambda rest: posterior([x, *rest], row, gates_of, per_cell, dispersion, prior_mean, prior_log_sd),
                    best.x[1:],
                    method="BFGS",
                ).fun

            curvature = (profile(best.x[0] + step) - 2 * best.fun + profile(best.x[0] - step)) / step**2
            assert np.sqrt(variance * curvature) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("reads", [1, 2, 3, 10, 100, 1000])
def test_cells_behind_reads_are_those_of_the_exact_sum(reads):
    ease = np.geomspace(1e-4, 1e4, 50)
    extra = np.arange(reads)
    weight = special.gammaln(reads) - special.gammaln(extra + 1) - special.gammaln(reads - extra) - special.gammaln(extra + 2)
    share = special.softmax(weight + extra * np.log(ease)[:, None], axis=1)
    mean, variance = likelihood.cells_behind(np.full(50, float(reads)), ease)
    assert mean == pytest.approx(1 + share @ extra, rel=0.003)
    exact = share @ extra**2 - (share @ extra) ** 2
    assert variance == pytest.approx(exact, rel=0.05, abs=0.08)
    assert np.array(likelihood.cells_behind(np.zeros(1), ease[:1])).tolist() == [[0], [0]]


@pytest.mark.parametrize("dispersion", [0.5, 1.3, 2.0, 4.0])
@pytest.mark.parametrize("per_cell", [0.3, 3.0])
def test_probability_of_reads_is_the_exact_sum_over_cells(dispersion, per_cell):
    reads, visible = np.arange(250.0), np.geomspace(0.01, 60, 12)
    rho = 2 / (2 + likelihood.overdispersion(np.array(per_cell), dispersion))
    cells = np.arange(1, 250.0)
    for mean in visible:
        of_cells = stats.poisson.pmf(cells, mean)
        exact = [np.exp(-mean), *(of_cells @ stats.nbinom.pmf(n - cells, cells, rho) for n in reads[1:])]
        found = np.exp(likelihood.log_probability(reads[:, None], np.full((len(reads), 1), mean), rho))[:, 0]
        assert found[:17] == pytest.approx(exact[:17], rel=1e-9, abs=0)
        kept = np.array(exact) > 1e-12
        assert found[kept] == pytest.approx(np.array(exact)[kept], rel=0.05, abs=0)


def test_likelihood_integrates_over_the_number_of_cells():
    """Differences between points are those of quadrature over log L of the exact distribution."""
    counts = np.array([[0.0, 3, 1, 0], [2, 9, 5, 0], [0, 0, 1, 0], [0, 0, 0, 0]])
    gates, per_cell = np.array([-np.inf, 1.0, 2, 3, np.inf]), np.array([2.0, 1, 3, 0.5])
    mean, log_sd = np.tile([0.5, 1.5, 2.5], (4, 1)), np.tile(np.log([0.5, 1.0, 0.8]), (4, 1))
    grid = likelihood.Grid(counts, [Replicate("", tuple("abcd"), gates, None)], per_cell, per_cell, mean, log_sd)
    rho = 2 / (2 + 1.5 * per_cell)
    cells, levels = np.arange(1, 60.0), np.linspace(-5, 7, 400)

    def exact(row, point):
        below = stats.norm.cdf((gates - mean[row, point]) / np.exp(log_sd[row, point]))
        shares = 0.995 * np.diff(below) + 0.005 / 4
        total = np.ones(len(levels))
        for n, r, each, share in zip(counts[row], per_cell, rho, shares, strict=True):
            visible = np.exp(levels) * r * each * share
            if n:
                total *= stats.poisson.pmf(cells, visible[:, None]) @ stats.nbinom.pmf(n - cells, cells, each)
            else:
                total *= np.exp(-visible)
        return np.log(total.sum())

    found = grid.log_likelihood(1.5)
    for row, allowed in ((0, 0.1), (1, 0.06), (2, 0.1)):
        expected = np.array([exact(row, point) for point in range(3)])
        assert np.diff(found[row]) == pytest.approx(np.diff(expected), abs=allowed)
    assert found[3].tolist() == [0, 0, 0]


@pytest.mark.parametrize(("cells", "bins"), [(2, 4), (2, 18), (4, 8), (6, 18), (20, 4)])
def test_intervals_and_ceiling_of_shallow_data(cells, bins):
    """A promoter of 2 to 20 cells says little about its own sd; that of all promoters together decides."""
    rng = np.random.default_rng(cells * bins)
    mean, sd = rng.normal(8.5, 3.0, 3000), np.exp(rng.normal(np.log(1.5), 0.15, 3000))
    gates = np.linspace(-0.5, 17.5, bins + 1)
    share = np.diff(stats.norm.cdf(np.concatenate([[-np.inf], gates[1:-1], [np.inf]]), mean[:, None], sd[:, None]), axis=1)
    drawn = rng.poisson(rng.gamma(1, cells, 3000)[:, None] * share)
    counts = rng.poisson(rng.gamma(np.maximum(drawn * 3.5, 1e-9), 1 / 3.5) * rng.uniform(1, 5, bins))
    replicates = [Replicate("", tuple(map(str, range(bins))), gates, drawn.sum(axis=0).astype(float))]
    shared = empirical_bayes.fit_hyperparameters(counts, replicates)
    assert np.exp(shared.log_sd) == pytest.approx(1.5, rel=0.25 if (cells, bins) == (2, 4) else 0.17)
    assert shared.mean_sd == pytest.approx(3.0, rel=0.09)
    assert 1.0 <= shared.read_dispersion <= 1.7  # 1 + 1 / 3.5 in truth
    read = counts.sum(axis=1) > 0
    for estimate, is_shrunk in (
        (estimators.maximum_likelihood(counts, replicates, shared=shared), True),
        (estimators.weighted_mean(counts, replicates, shared=shared), False),
    ):
        inside = (estimate.low[read] <= mean[read]) & (mean[read] <= estimate.high[read])
        assert 0.92 <= inside.mean() <= 0.975
        label = estimate.expression[read]
        highest = np.sqrt(ceiling.from_errors(label, estimate.standard_error[read], is_shrunk))
        assert highest == pytest.approx(stats.pearsonr(label, mean[read])[0], abs=0.02)


@pytest.mark.parametrize("estimator", [estimators.maximum_likelihood, estimators.weighted_mean])
def test_intervals_of_libraries_of_twenty_promoters(estimator):
    """What promoters share is uncertain in a library this small; its error widens the intervals."""
    inside = []
    for seed in range(12):
        mean, counts, replicates = assay(20, seed=seed, cells_per_promoter=10)
        estimate = estimator(counts, replicates)
        inside += list(((estimate.low <= mean) & (mean <= estimate.high))[counts.sum(axis=1) > 0])
    assert len(inside) > 150
    assert 0.9 <= np.mean(inside) <= 0.99


def test_an_sd_that_counts_cannot_tell_is_a_warning_and_widens():
    """All promoters have one cell: the spread of cells cannot be told from that of promoters."""
    rng = np.random.default_rng(0)
    counts = np.eye(8, dtype=int)[np.clip(np.rint(rng.normal(3.5, 1.5, 500)), 0, 7).astype(int)]
    replicates = [Replicate("", tuple("abcdefgh"), np.arange(9) - 0.5, counts.sum(axis=0).astype(float))]
    with pytest.warns(UserWarning, match="the counts do not determine how much single cells of a promoter differ"):
        shared = empirical_bayes.fit_hyperparameters(counts, replicates)
    assert shared.log_sd_width > 0.4
    assert np.isfinite(estimators.maximum_likelihood(counts, replicates, shared=shared).standard_error).all()


def capped_sort(seed):
    """Sorting stops at 5,000 cells in each of four gates, which hold very different shares of the population."""
    rng = np.random.default_rng(seed)
    mean = np.concatenate([rng.normal(1.5, 0.25, 200), rng.normal(0, 0.8, 100)])
    share = rng.gamma(1, 1, 300) + 0.2
    gates = np.array([-np.inf, -0.5, 0.5, 1.5, np.inf])
    cells = rng.multinomial(400_000, share / share.sum())
    population = np.array([np.histogram(rng.normal(m, 0.35, c), [-9, *gates[1:-1], 9])[0] for m, c in zip(mean, cells, strict=True)])
    capped = np.minimum(population.sum(axis=0), 5000)
    in_gate = np.array([rng.multivariate_hypergeometric(population[:, b], capped[b]) for b in range(4)]).T
    reads = np.array([rng.multinomial(20_000, column / column.sum()) for column in in_gate.T]).T
    return mean, reads, gates, capped.astype(float), population.sum(axis=0).astype(float)


@pytest.mark.parametrize("estimator", [estimators.maximum_likelihood, estimators.weighted_mean])
def test_cells_of_a_capped_sort_are_not_those_of_the_population(estimator):
    mean, reads, gates, capped, population = capped_sort(4)
    deep = reads.sum(axis=1) > 50
    names = tuple("1234")
    both = estimator(reads, [Replicate("", names, gates, capped, population)])
    assert abs((both.expression - mean)[deep].mean()) < 0.02
    assert 0.92 <= ((both.low <= mean) & (mean <= both.high))[deep].mean() <= 0.98
    alone = estimator(reads, [Replicate("", names, gates, capped)])
    assert (alone.expression - mean)[deep].mean() < -0.04
    rmse = [np.sqrt(np.mean((estimate.expression - mean)[deep] ** 2)) for estimate in (both, alone)]
    assert rmse[0] < 0.75 * rmse[1]
    even = estimator(reads, [Replicate("", names, gates, capped, 3 * capped)])  # shares like the cells change nothing
    assert even.expression == pytest.approx(alone.expression)
    assert even.standard_error == pytest.approx(alone.standard_error)


def test_intervals_cover_the_truth_and_both_depths_are_better_than_the_mean():
    mean, counts, replicates = assay(20_000, seed=1)
    shared = empirical_bayes.fit_hyperparameters(counts, replicates)
    found = estimators.maximum_likelihood(counts, replicates, shared=shared)
    other = estimators.weighted_mean(counts, replicates, shared=shared)
    for low, high, most in ((6, 20, 0.95), (21, 100, 0.93), (101, 10**9, 0.93)):
        rows = (found.n_reads >= low) & (found.n_reads <= high)
        for estimate in (found, other):
            inside = (estimate.low[rows] <= mean[rows]) & (mean[rows] <= estimate.high[rows])
            assert 0.92 <= inside.mean() <= 0.975
        squared = [np.mean((estimate.expression[rows] - mean[rows]) ** 2) for estimate in (found, other)]
        assert np.sqrt(squared[0] / squared[1]) < most
    deep = found.n_reads > 100
    assert np.corrcoef(found.expression[deep], mean[deep])[0, 1] > 0.99
    once = found.n_reads == 1
    weak = estimators.maximum_likelihood(counts, replicates, prior="weak", shared=shared)
    slopes = [np.polyfit(mean[once], estimate.expression[once], 1)[0] for estimate in (found, weak)]
    assert slopes[0] < 0.9 < slopes[1]  # the library's prior pulls shallow promoters in


def test_a_stray_cell_hardly_moves_a_promoter():
    _, counts, replicates = assay(3000)
    counts[0] = 0
    counts[0, 3:6] = 10, 20, 10
    counts[1] = counts[0]
    counts[1, 16] = 1
    shared = empirical_bayes.fit_hyperparameters(counts, replicates)
    by_likelihood, by_mean = (of(counts, replicates, shared=shared) for of in (estimators.maximum_likelihood, estimators.weighted_mean))
    assert abs(np.diff(by_likelihood.expression[:2])[0]) < 0.1 < 0.25 < abs(np.diff(by_mean.expression[:2])[0])


def test_open_bins_do_not_run_away():
    _, counts, replicates = assay(500)
    counts[0] = 0
    counts[0, -1] = 50
    counts[1] = 0
    found = estimators.maximum_likelihood(counts, replicates)
    assert 16.5 < found.expression[0] < 20
    assert found.high[0] > found.expression[0] + 0.5
    assert np.isnan(found.expression[1])
    assert np.isfinite(np.delete(found.expression, np.flatnonzero(counts.sum(axis=1) == 0))).all()


def test_replicates_of_equal_gates_and_depth_say_what_their_sum_says():
    mean, counts, (both,) = assay(4000, seed=3)
    rng = np.random.default_rng(0)
    half = rng.binomial(counts, 0.5)
    cells = half.sum(axis=0) / (counts.sum(axis=0) / both.cells)  # the same reads a cell
    replicates = [Replicate("a", NAMES, GATES, cells), Replicate("b", NAMES, GATES, both.cells - cells)]
    apart = np.hstack([half, counts - half])
    pooled, together = (empirical_bayes.moments(*of, 2.0) for of in ((counts, [both]), (apart, replicates)))
    assert together.mean == pytest.approx(pooled.mean, nan_ok=True)
    assert together.variance(1.0) == pytest.approx(pooled.variance(1.0), nan_ok=True)
    pooled, together = estimators.maximum_likelihood(counts, [both], 2.0), estimators.maximum_likelihood(apart, replicates, 2.0)
    deep = pooled.n_reads > 20
    difference = (together.expression - pooled.expression)[deep] / pooled.standard_error[deep]
    assert np.sqrt(np.mean(difference**2)) < 0.3
    assert np.median(together.standard_error[deep] / pooled.standard_error[deep]) == pytest.approx(1, abs=0.1)
    assert np.sqrt(np.mean((together.expression - mean)[deep] ** 2)) < 1.05 * np.sqrt(np.mean((pooled.expression - mean)[deep] ** 2))


@pytest.mark.parametrize("method", ["weighted_mean", "maximum_likelihood"])
def test_two_bins_are_enough(method):
    """With one gate only the order of promoters can be told; cells below and above it decide."""
    found, _ = run([[90, 10], [50, 50], [10, 90]], [bins_of([-np.inf, 4.0, np.inf])], method)
    assert found.expression[0] < found.expression[1] < found.expression[2]
    assert found.expression[1] == pytest.approx(4.0, abs=0.05)


def test_expected_profile_adds_up_and_follows_depth():
    replicate = bins_of([-0.5, 0.5, 1.5, 2.5])
    shares = estimators.expected_profile(np.array([1.0, 0.0]), np.array([0.5, 0.0]), replicate)
    inner = 0.995 * (1 - 2 * stats.norm.cdf(-1)) + 0.005 / 3
    assert shares == pytest.approx(np.array([[(1 - inner) / 2, inner, (1 - inner) / 2], [0.995 + 0.005 / 3, 0.005 / 3, 0.005 / 3]]))
    weighted = estimators.expected_profile(np.array([1.0]), np.array([0.5]), replicate, np.array([1.0, 0.0, 1.0]))
    assert weighted == pytest.approx(np.array([[0.5, 0, 0.5]]))


# Sheet of bins


def bins(**columns):
    rows = [{"bin": f"b{i}", "lower": i, "upper": i + 1, "cells": 10} for i in range(3)]
    for key, value in columns.items():
        for row, cell in zip(rows, value, strict=True):
            if cell is None:
                row.pop(key)
            else:
                row[key] = cell
    return rows


def replicated(*names, **columns):
    return [row | {"replicate": name} for name in names for row in bins(**columns)]


BARE = bins(lower=[None] * 3, upper=[None] * 3)


@pytest.mark.parametrize(
    ("sheet", "scale", "message"),
    [
        (bins(lower=[0, 0.5, 2]), "bin", r"row 3: bin 'b1' \(0\.5 to 2\) overlaps the one before, which ends at 1"),
        (bins(lower=[0, 0.9, 2]), "gate", r"row 3: bin 'b1' \(0\.9 to 2\) overlaps .* set counts\.overlap; .* such as at 0\.95\. Rows"),
        (bins(lower=[0, 1, 2.5]), "bin", r"the gates of the bins leave gaps, so bins have no common unit; set counts\.scale: gate"),
        (bins(lower=[2, 1, 0], upper=[3, 2, 1]), "gate", r"rows must go from low to high signal, but their gates go from high to low"),
        (bins(lower=[2, 1, None], upper=[None, 2, 1]), "bin", r"rows must go from low to high signal, but their gates go from high to low"),
        (bins(lower=[1, 0, 2], upper=[2, 1, 3]), "gate", r"row 3: bin 'b1' \(0 to 1\) overlaps"),
        (bins(upper=[0, 2, 3]), "gate", r"row 2: bin 'b0': lower gate 0 is not below upper gate 0"),
        (bins(lower=[0, None, 2]), "gate", r"row 3: bin 'b1' has no lower gate; only the first bin may be open-ended"),
        (bins(upper=[None, 2, None]), "gate", r"row 2: bin 'b0' has no upper gate; only the last bin may be open-ended"),
        (bins(cells=[1, None, 1]), "gate", r"row 3: cells of bin 'b1' are missing; give them or set counts\.cells: reads"),
        (BARE, "gate", r"counts\.scale: gate needs the columns lower and upper"),
        (bins()[:1], "bin", r"1 bins; 2 to 64 are supported"),
        ([], "bin", r"0 bins; 2 to 64 are supported"),
        ([{"bin": str(i), "cells": 1} for i in range(65)], "bin", r"65 bins; 2 to 64 are supported"),
        (bins() + bins()[1:2], "bin", r"row 5: bin 'b1' is already listed in row 3"),
        (replicated("r1", "r2", "r1"), "bin", r"row 8: bin 'r1\.b0' is already listed in row 2"),
        (replicated("r1") + bins(), "bin", r"row 5: replicate is empty; name it in every row or in none"),
        (replicated("r1") + replicated("r2")[:1], "bin", r"1 bins in replicate 'r2'; 2 to 64"),
        (
            replicated("r1") + replicated("r2", upper=[1, 2.5, 3]),
            "bin",
            r"row 7: bin 'r2\.b2' \(2 to 3\) overlaps the one before, which ends at 2\.5",
        ),
        (
            [row | {"replicate": name} for name, rows in (("r1", BARE), ("r2", BARE[:2])) for row in rows],
            "bin",
            r"replicates have 3 and 2 bins",
        ),
    ],
)
def test_bad_sheet_of_bins(sheet, scale, message):
    with pytest.raises(ConfigError, match=message) as caught:
        expression.check_bins(sheet, scale, "sheet", "bins.tsv")
    assert "bins.tsv" in str(caught.value)


@pytest.mark.parametrize("names", [("P4", "P3", "P2"), ("3", "2"), ("high", "mid", "low"), ("GFP_high", "GFP_low")])
def test_names_of_bins_from_high_to_low_are_a_warning(names):
    with pytest.warns(
        UserWarning, match=rf"s\.tsv: bins {names[0]} to {names[-1]} look as if they went from high to low signal; rows must"
    ):
        expression.check_bins([{"bin": name} for name in names], "bin", "reads", "s.tsv")


@pytest.mark.parametrize("names", [("P2", "P3", "P4"), ("low", "high"), ("a", "b"), ("4", "3", "5")])
def test_other_names_of_bins_are_none(names, recwarn):
    expression.check_bins([{"bin": name} for name in names], "bin", "reads", "s.tsv")
    assert not recwarn.list


def test_gates_with_gaps():
    (found,) = expression.check_bins(bins(lower=[None, 1.5, 4], upper=[1, 3.5, None]), "gate", "reads", "b")
    assert found.gates.tolist() == [-np.inf, 1, 1.5, 3.5, 4, np.inf]
    assert found.bins.tolist() == [0, 2, 4]
    assert found.width == 2
    assert found.values.tolist() == [0, 2.5, 5]
    assert found.limits.tolist() == [[-1, 1], [1.5, 3.5], [4, 6]]
    assert found.gaps == [("b0", "b1"), ("b1", "b2")]
    ledger = Ledger("estimate_expression", "x")
    run([[1, 2, 1], [3, 1, 0]], [found], ledger=ledger)
    assert ledger.counts["noted", "gap between the gates of bins b0 and b1, whose cells were not sorted"] == 1


def test_probabilities_of_bins_with_gaps_are_those_of_the_normal_distribution():
    gates, taken = np.array([-np.inf, 1.0, 1.5, 3.5, 4.0, np.inf]), np.array([0, 2, 4])
    mean, log_sd = np.array([0.3, 2.0, 5.0]), np.log([0.5, 1.0, 2.0])
    below = stats.norm.cdf(gates, mean[:, None], np.exp(log_sd)[:, None])
    expected = 0.995 * (below[:, [1, 3, 5]] - below[:, [0, 2, 4]]) + 0.005 / 3
    assert likelihood.bin_probabilities(mean, np.exp(log_sd), gates, taken) == pytest.approx(expected)
    probability, by_mean, by_log_sd = likelihood.bin_terms(mean, log_sd, gates, taken)
    assert probability == pytest.approx(expected)
    step = 1e-6
    for derivative, (dm, ds) in ((by_mean, (step, 0)), (by_log_sd, (0, step))):
        ends = [np.log(likelihood.bin_probabilities(mean + s * dm, np.exp(log_sd + s * ds), gates, taken)) for s in (1, -1)]
        assert derivative == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)


def with_gaps(promoters, half_gap, depth, seed=3):
    """Cells sorted into bins whose gates leave gaps of twice ``half_gap``; cells in gaps are discarded. A cell has 2 reads on average."""
    rng = np.random.default_rng(seed)
    mean, sd = rng.normal(4.0, 1.5, promoters), np.exp(rng.normal(np.log(0.9), 0.1, promoters))
    middles = np.arange(1.0, 8.0)
    gates = np.concatenate([[-np.inf], np.sort(np.concatenate([middles - half_gap, middles + half_gap])), [np.inf]])
    place = np.arange(0, len(gates) - 1, 2)
    below = stats.norm.cdf(gates, mean[:, None], sd[:, None])
    cells = rng.poisson(rng.gamma(2, depth / 2, promoters)[:, None] * np.diff(below, axis=1))[:, place]
    counts, sorted_cells = rng.poisson(2 * cells), cells.sum(axis=0).astype(float)
    names = tuple(f"b{i}" for i in range(len(place)))
    kept = counts.sum(axis=1) > 0
    closed = Replicate("", names, np.concatenate([[-np.inf], middles, [np.inf]]), sorted_cells)
    return mean[kept], sd[kept], counts[kept], Replicate("", names, gates, sorted_cells, None, place), closed


def test_cells_in_gaps_do_not_bias_expression():
    """A sort that discards 0.8 of each unit: errors are those that the estimates state, as in a sort without gaps.

    Gates that are closed in the middle of the gaps pull promoters towards the middles of bins, and the library apart.
    """
    mean, _, counts, replicate, closed = with_gaps(1500, 0.4, 40)
    found, _ = run(counts, [replicate], "maximum_likelihood", read_dispersion=1.0)
    wrong, _ = run(counts, [closed], "maximum_likelihood", read_dispersion=1.0)
    error = (found.expression - mean) / found.standard_error
    assert abs(error.mean()) < 0.1
    assert error.std() == pytest.approx(1, abs=0.08)
    assert ((found.low <= mean) & (mean <= found.high)).mean() == pytest.approx(0.95, abs=0.02)
    squares = [((each.expression - mean) ** 2).mean() for each in (found, wrong)]
    assert squares[0] < 0.9 * squares[1]
    shrinkage = [np.polyfit(mean, each.expression, 1)[0] for each in (found, wrong)]
    assert shrinkage[0] == pytest.approx(1 - squares[0] / mean.var(), abs=0.05)  # that of a posterior mean
    assert shrinkage[1] > 1.03


# Gates that overlap, and gates as quantiles of the population

SIGNALS = [(-np.inf, 1.0), (0.5, 2.5), (2.0, 4.0), (3.5, np.inf)]


def overlapping(overlap, cells=None, share=None, signals=SIGNALS):
    rows = [
        {"bin": f"b{i}"} | {side: gate for side, gate in zip(("lower", "upper"), gates, strict=True) if np.isfinite(gate)}
        for i, gates in enumerate(signals)
    ]
    for key, values in (("cells", cells), ("share", share)):
        rows = rows if values is None else [row | {key: value} for row, value in zip(rows, values, strict=True)]
    (found,) = expression.check_bins(rows, "gate", "reads" if cells is None else "sheet", "b.tsv", overlap)
    return found


def test_cells_between_overlapping_gates():
    found = overlapping("divided")
    assert found.gates.tolist() == [-np.inf, 0.5, 1, 2, 2.5, 3.5, 4, np.inf]
    assert found.bins.T.tolist() == [[1, 0.5, 0, 0, 0, 0, 0], [0, 0.5, 1, 0.5, 0, 0, 0], [0, 0, 0, 0.5, 1, 0.5, 0], [0, 0, 0, 0, 0, 0.5, 1]]
    assert overlapping("repeated").bins.sum(axis=1).tolist() == [1, 2, 1, 2, 1, 2, 1]
    assert overlapping("discarded").bins.sum(axis=1).tolist() == [1, 0, 1, 0, 1, 0, 1]
    assert found.limits.tolist() == [[-1, 1], [0.5, 2.5], [2, 4], [3.5, 5.5]]
    assert found.values.tolist() == [0, 1.5, 3, 4.5]
    assert (found.width, found.gaps) == (1.5, [])
    # b1 was sorted for a tenth of the time: half of the overlap is its own as long as that, and then all is that of its neighbours.
    capped = overlapping("divided", cells=[100, 10, 100, 100], share=[100, 100, 100, 100])
    assert capped.bins[1] == pytest.approx([0.95, 0.5, 0, 0])
    assert capped.bins[5] == pytest.approx([0, 0, 0.5, 0.5])


def test_probabilities_of_overlapping_bins_are_those_of_the_normal_distribution():
    mean, log_sd = np.array([0.3, 2.0, 5.0]), np.log([0.5, 1.0, 2.0])
    for overlap in ("divided", "repeated", "discarded"):
        replicate = overlapping(overlap)
        mass = np.diff(stats.norm.cdf(replicate.gates, mean[:, None], np.exp(log_sd)[:, None]), axis=1)
        low, high = np.array(SIGNALS).T
        whole = stats.norm.cdf(high, mean[:, None], np.exp(log_sd)[:, None]) - stats.norm.cdf(low, mean[:, None], np.exp(log_sd)[:, None])
        within = np.column_stack([mass[:, 1], mass[:, 1] + mass[:, 3], mass[:, 3] + mass[:, 5], mass[:, 5]])
        expected = whole - {"divided": 0.5, "repeated": 0, "discarded": 1}[overlap] * within
        probability, by_mean, by_log_sd = likelihood.bin_terms(mean, log_sd, replicate.gates, replicate.bins)
        assert probability == pytest.approx(0.995 * expected + 0.005 / 4)
        step = 1e-6
        for derivative, (dm, ds) in ((by_mean, (step, 0)), (by_log_sd, (0, step))):
            ends = [
                np.log(likelihood.bin_probabilities(mean + s * dm, np.exp(log_sd + s * ds), replicate.gates, replicate.bins))
                for s in (1, -1)
            ]
            assert derivative == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=1e-6)


def sort_cells(mean, sd, cells, signals, overlap, open_until, seed):
    """Sort cells one by one, ``(promoters, bins)``: each bin is sorted up to a point of the run, from 0 to 1, and cells come at random."""
    rng = np.random.default_rng(seed)
    found = np.zeros((len(mean), len(signals)), np.int64)
    for turn in range(len(signals) if overlap == "repeated" else 1):
        number = rng.poisson(cells)
        owner = np.repeat(np.arange(len(mean)), number)
        signal, time = rng.normal(mean[owner], sd[owner]), rng.random(len(owner))
        inside = np.array([(low <= signal) & (signal < high) for low, high in signals]).T
        if overlap == "repeated":
            inside[:, np.arange(len(signals)) != turn] = False
        if overlap == "discarded":
            inside[inside.sum(axis=1) > 1] = False
        inside &= time[:, None] < np.asarray(open_until)
        taken = inside.any(axis=1)
        into = (inside * rng.random(inside.shape)).argmax(axis=1)  # one of the bins that are open, at random
        np.add.at(found, (owner[taken], into[taken]), 1)
    return found


@pytest.mark.parametrize(
    ("overlap", "depth", "open_until"),
    [
        ("divided", 60, (1, 1, 1, 1)),
        ("divided", 4, (1, 1, 1, 1)),
        ("divided", 60, (1, 0.2, 0.5, 1)),
        ("repeated", 20, (1, 0.3, 1, 0.6)),
        ("discarded", 20, (1, 1, 1, 1)),
    ],
)
def test_overlapping_gates_do_not_bias_expression(overlap, depth, open_until):
    """Cells sorted one by one into wide overlaps; the stated errors hold, and gates cut in the middle of the overlaps do worse."""
    rng = np.random.default_rng(4)
    half = 0.3 if overlap == "discarded" else 0.6
    signals = [(-np.inf, 0.8 + half), (0.8 - half, 2.3 + half), (2.3 - half, 3.8 + half), (3.8 - half, np.inf)]
    mean, sd = rng.normal(2.2, 1.2, 1500), np.exp(rng.normal(np.log(0.8), 0.1, 1500))
    cells = rng.gamma(2, depth / 2, 1500)
    sorted_cells = sort_cells(mean, sd, cells, signals, overlap, open_until, 5)
    counts = rng.poisson(2 * sorted_cells)
    kept = counts.sum(axis=1) > 0
    mean, counts, totals = mean[kept], counts[kept], sorted_cells.sum(axis=0).astype(float)
    replicate = overlapping(overlap, totals, None if min(open_until) == 1 else totals / np.array(open_until), signals)
    found, _ = run(counts, [replicate], "maximum_likelihood", read_dispersion=1.0)
    error = (found.expression - mean) / found.standard_error
    assert abs(error.mean()) < 0.1
    assert error.std() == pytest.approx(1, abs=0.1)
    assert ((found.low <= mean) & (mean <= found.high)).mean() == pytest.approx(0.95, abs=0.025)
    slope = np.polyfit(mean, found.expression, 1)[0]
    assert slope == pytest.approx(1 - ((found.expression - mean) ** 2).mean() / mean.var(), abs=0.05)  # that of a posterior mean
    assert np.median(found.sd) == pytest.approx(0.8, abs=0.15)
    if overlap == "divided":  # gates cut in the middle of the overlaps blur the signal
        cut = Replicate("", replicate.columns, np.array([-np.inf, 0.8, 2.3, 3.8, np.inf]), replicate.cells, replicate.share)
        wrong, _ = run(counts, [cut], "maximum_likelihood", read_dispersion=1.0)
        assert np.median(wrong.sd) > 0.9


def quantile_rows(*gates, **columns):
    rows = [{"bin": f"b{i}", "lower_quantile": low, "upper_quantile": high} for i, (low, high) in enumerate(gates)]
    for key, values in columns.items():
        rows = [row | {key: value} for row, value in zip(rows, values, strict=True)]
    return rows


def test_gates_as_quantiles_of_the_population():
    (found,) = expression.check_bins(quantile_rows((0, 0.25), (0.25, 0.5), (0.5, 1)), "gate", "reads", "b")
    assert found.gates == pytest.approx([-np.inf, stats.norm.ppf(0.25), 0, np.inf])
    assert found.share.tolist() == [0.25, 0.25, 0.5]
    assert found.bins == slice(None)
    (found,) = expression.check_bins(quantile_rows((0.1, 0.3), (0.6, 0.9)), "gate", "reads", "b")
    assert found.gates == pytest.approx(stats.norm.ppf([0, 0.1, 0.3, 0.6, 0.9, 1]))
    assert found.bins.tolist() == [1, 3]  # what lies beyond the outer gates was not sorted
    assert found.share == pytest.approx([0.2, 0.3])
    gates = (0, 0.3), (0.2, 0.6), (0.5, 1)
    (found,) = expression.check_bins(quantile_rows(*gates), "gate", "reads", "b", "divided")
    assert found.share == pytest.approx([0.25, 0.3, 0.45])
    (found,) = expression.check_bins(quantile_rows(*gates), "gate", "reads", "b", "repeated")
    assert found.share == pytest.approx([0.3, 0.4, 0.5])
    # Sorted for 1, 0.2 and 1 of the time, b1 takes half of the overlaps as long as it is open.
    cells = 0.2 + 0.1 * 0.9, 0.2 * (0.2 + 2 * 0.1 / 2), 0.4 + 0.1 * 0.9
    (found,) = expression.check_bins(quantile_rows(*gates, cells=np.array(cells) * 1e5), "gate", "sheet", "b", "divided")
    assert found.share == pytest.approx([0.29, 0.3, 0.49], abs=1e-6)
    assert found.bins[1] == pytest.approx([0.9, 0.5, 0], abs=1e-6)


@pytest.mark.parametrize("skew", [False, True])
def test_expression_by_quantiles_is_that_of_the_signal_in_sds_of_the_population(skew):
    rng = np.random.default_rng(6)
    mean = 5 + (rng.gamma(4, 0.5, 1500) if skew else rng.normal(0, 1, 1500))
    sd = np.full(1500, 0.6)
    weight = rng.gamma(2, 30, 1500)
    population = rng.normal(np.repeat(mean, 200), 0.6)
    quantiles = [(0, 0.25), (0.2, 0.45), (0.45, 0.7), (0.65, 1)]
    signals = [tuple(np.where(np.isin(pair, (0, 1)), np.array([-np.inf, np.inf]), np.quantile(population, pair))) for pair in quantiles]
    cells = sort_cells(mean, sd, weight, signals, "divided", (0.5, 1, 0.7, 1), 7)
    counts = rng.poisson(cells * np.array([2.0, 0.5, 3.0, 1.0]))  # depth per cell, which no one knows
    rows = quantile_rows(*quantiles, cells=cells.sum(axis=0).tolist())
    (replicate,) = expression.check_bins(rows, "gate", "sheet", "b", "divided")
    kept = counts.sum(axis=1) > 0
    mean = mean[kept]
    found, _ = run(counts[kept], [replicate], "maximum_likelihood", read_dispersion=1.0)
    truth = (mean - population.mean()) / population.std()
    slope, offset = np.polyfit(truth, found.expression, 1)
    assert np.corrcoef(truth, found.expression)[0, 1] > 0.93
    assert slope == pytest.approx(0.9, abs=0.05)  # shrunken a little
    assert offset == pytest.approx(0, abs=0.06)


def test_a_library_with_half_of_its_promoters_in_open_bins_keeps_its_spread():
    """Sorted into quartiles: how far out the promoters of the outer bins lie is for the library to say, not for the middle of a bin."""
    rng = np.random.default_rng(6)
    mean, sd, weight = rng.normal(0, 1, 1500), np.full(1500, 0.6), rng.gamma(2, 30, 1500)
    signals = list(pairwise([-np.inf, *stats.norm.ppf([0.25, 0.5, 0.75]) * np.hypot(1, 0.6), np.inf]))
    cells = sort_cells(mean, sd, weight, signals, "repeated", (1, 1, 1, 1), 7)
    found = empirical_bayes.fit_hyperparameters(cells, [overlapping("error", signals=signals)], 1.0)
    assert found.mean == pytest.approx(0, abs=0.05)
    assert found.mean_sd == pytest.approx(1, abs=0.05)  # 0.81 with grids around the weighted means
    assert np.exp(found.log_sd) == pytest.approx(0.6, abs=0.05)


@pytest.mark.parametrize(
    ("rows", "overlap", "scale", "message"),
    [
        (
            quantile_rows((0, 0.3), (0.2, 1)),
            "error",
            "gate",
            r"row 3: bin 'b1' \(0\.2 to 1\) overlaps the one before, which ends at 0\.3\.",
        ),
        (quantile_rows((0, 25), (25, 100)), "error", "gate", r"row 2: upper_quantile of bin 'b0' is 25; .* such as 0\.25 for 25 %"),
        ([{"bin": "a", "upper": 1}, *quantile_rows((0.5, 1))], "error", "gate", r"row 2: bin 'a' has a gate in the unit of the signal"),
        (
            quantile_rows((0, 0.3), (0.2, 1)),
            "divided",
            "bin",
            r"the gates of the bins overlap, so bins have no common unit; set counts\.scale: gate",
        ),
        (quantile_rows((0, 0.5), (0, 0.5)), "repeated", "gate", r"the bins b0, b1 take cells of the same signal, .* correct the gates"),
        (quantile_rows((0, 0.5), (0, 0.5)), "discarded", "gate", r"discarded leaves no cells to bin 'b0', whose gates others cover"),
        (
            quantile_rows((0, 0.8), (0.2, 0.6)),
            "divided",
            "gate",
            r"row 3: bin 'b1' \(0\.2 to 0\.6\) must not begin or end below .*\(0 to 0\.8\)",
        ),
        (
            quantile_rows((0.2, 1), (0, 0.3)),
            "divided",
            "gate",
            r"rows must go from low to high signal, but their gates go from high to low",
        ),
        (
            [{"bin": "a", "replicate": "x"} | row for row in quantile_rows((0, 0.5), (0.5, 1))]
            + [{"bin": name, "replicate": "y", "lower": i, "upper": i + 1} for i, name in enumerate("ab")],
            "error",
            "gate",
            "gates are quantiles in some replicates and signals in others",
        ),
    ],
)
def test_bad_gates_as_quantiles_or_with_overlap(rows, overlap, scale, message):
    with pytest.raises(ConfigError, match=message):
        expression.check_bins(rows, scale, "reads", "b.tsv", overlap)


def test_bins_that_are_open_on_the_same_side_may_overlap():
    rows = [{"bin": "a", "upper": 2}, {"bin": "b", "lower": 1}, {"bin": "c", "lower": 3}]
    (found,) = expression.check_bins(rows, "gate", "reads", "b.tsv", "repeated")
    assert found.bins.T.tolist() == [[1, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 1]]
    with pytest.raises(ConfigError, match="row 3: bin 'b' has no upper gate; only the last bin may be open-ended"):
        expression.check_bins(rows, "gate", "reads", "b.tsv")


# Unsorted samples


def test_promoters_that_the_unsorted_library_lacks_are_dropped():
    labels, counts = pl.DataFrame({"sequence": list("ACGT")}), np.array([[5, 1, 3, 0], [2, 2, 0, 1], [9, 9, 0, 0], [0, 1, 7, 0]])
    names, ledger = {"a.1": False, "a.2": False, "in.a": True, "in.b": True}, Ledger("estimate_expression", "x")
    columns = [sheet.CountColumn(name, 0, name, False, unsorted) for name, unsorted in names.items()]
    found, reads = expression.in_input(labels, counts, columns, 1, ledger)
    assert found.to_dict(as_series=False) == {"sequence": list("ACT"), "reads_in.a": [3, 0, 7], "reads_in.b": [0, 1, 0]}
    assert reads.tolist() == [[5, 1], [2, 2], [0, 1]]
    assert ledger.counts["dropped", "fewer than 1 reads in the unsorted sample"] == 1
    found, reads = expression.in_input(labels, counts, columns, 0, ledger)
    assert (found.height, reads.shape) == (4, (4, 2))
    assert expression.in_input(labels, counts[:, :2], columns[:2], 1, ledger)[1].shape == (4, 2)
    with pytest.raises(InputError, match=r"no promoter has 8 reads in the unsorted sample 'in\.a'; correct its reads, or set"):
        expression.in_input(labels, counts[:, :3], columns[:3], 8, ledger)


def test_an_unsorted_sample_is_no_bin(tmp_path):
    rows = [*bins(), {"bin": "input", "kind": "unsorted"}]
    (found,) = expression.check_bins(rows, "gate", "sheet", "b.tsv")
    assert found.columns == ("b0", "b1", "b2")
    assert [row.get("cells") for row in expression.with_cells(rows, cells_table(tmp_path))] == [1, 2, 3, None]
    assert sheet.unsorted_columns(rows) == ["input"]
    with pytest.raises(ConfigError, match=r"b\.tsv, row 5: 'input' is the unsorted library, which has no cells; leave the cell empty"):
        expression.check_bins([*bins(), {"bin": "input", "kind": "unsorted", "cells": 5}], "gate", "sheet", "b.tsv")
    with pytest.raises(ConfigError, match=r"row 5: bin 'b1' is already listed in row 3"):
        expression.check_bins([*bins(), {"bin": "b1", "kind": "unsorted"}], "gate", "sheet", "b.tsv")


def cells_table(folder):
    (folder / "cells.tsv").write_text("bin\tcells\ninput\t\nb0\t1\nb1\t2\nb2\t3\n")
    return folder / "cells.tsv"


@pytest.mark.parametrize("long", [False, True])
def test_unsorted_samples_of_count_tables(tmp_path, long):
    rows = [*replicated("r1"), *replicated("r2"), {"bin": "input", "kind": "unsorted"}]
    names = [sheet.column_of(row) for row in rows]
    reads = {"AC": [1, 2, 3, 4, 5, 6, 7], "GG": [9, 8, 7, 6, 5, 4, 0]}
    if long:
        lines = [f"{sequence}\t{name}\t{n}" for sequence, counts in reads.items() for name, n in zip(names, counts, strict=True)]
        (tmp_path / "c.tsv").write_text("\n".join(["sequence\tb\tn", *lines]))
    else:
        lines = ["\t".join(map(str, (sequence, *counts))) for sequence, counts in reads.items()]
        (tmp_path / "c.tsv").write_text("\n".join(["\t".join(["sequence", *names]), *lines]))
    columns = {"sequence": "sequence"} | ({"bin": "b", "count": "n"} if long else {})
    _, places = sheet.count_tables(rows, "c.tsv", "s.tsv")
    replicates = expression.check_bins(rows, "bin", "reads", "s.tsv")
    in_order = count_tables.in_order([astuple(place) for place in places], replicates)
    ledger = Ledger("estimate_expression", "x")
    labels, counts = count_tables.read([tmp_path / "c.tsv"], in_order, columns, ledger)
    assert counts.tolist() == list(reads.values())
    labels, counts = expression.in_input(labels, counts, in_order, 1, ledger)
    assert labels.rows() == [("AC", 7)]
    assert counts.tolist() == [[1, 2, 3, 4, 5, 6]]


def test_gates_and_cells_of_a_sheet():
    (found,) = expression.check_bins(bins(lower=[None, 1, 2], upper=[1, 2, None]), "gate", "sheet", "b")
    assert found.gates.tolist() == [-np.inf, 1, 2, np.inf]
    assert found.cells.tolist() == [10, 10, 10]
    assert found.columns == ("b0", "b1", "b2")
    (found,) = expression.check_bins([{"bin": "a"}, {"bin": "b"}], "bin", "reads", "b")
    assert found.gates.tolist() == [-0.5, 0.5, 1.5]
    assert found.values.tolist() == [0, 1]
    assert found.cells is None
    assert [row["bin"] for row in bins()] == [expression.column_of(row) for row in bins()]


def test_share_of_the_population_in_each_bin(tmp_path):
    (found,) = expression.check_bins(bins(share=[5, 0.5, 0]), "bin", "sheet", "b")
    assert found.share.tolist() == [5, 0.5, 0]
    assert found.cells.tolist() == [10, 10, 10]
    path = tmp_path / "cells.tsv"
    path.write_text("bin\tcells\tshare\nb0\t1\t4\nb1\t2\t0.25\nb2\t1\t1\n")
    (found,) = expression.check_bins(expression.with_cells(bins(), path), "bin", str(path), path)
    assert found.share.tolist() == [4, 0.25, 1]
    for cells, message in (("", "'' is not a number"), ("-1", "is -1; expected a number of at least 0")):
        path.write_text(f"bin\tcells\tshare\nb0\t1\t{cells}\nb1\t2\t1\nb2\t1\t1\n")
        with pytest.raises(InputError, match=f"row 2: share of bin 'b0'.*{message}"):
            expression.with_cells(bins(), path)
    partly = bins(share=[1, 2, 3])
    del partly[1]["share"]
    with pytest.raises(ConfigError, match=r"b\.tsv, row 3: share of bin 'b1' is missing; give it for every bin or for none"):
        expression.check_bins(partly, "bin", "sheet", "b.tsv")
    with pytest.raises(ConfigError, match="the shares of all bins are 0"):
        expression.check_bins(bins(share=[0, 0, 0]), "bin", "sheet", "b.tsv")
    with pytest.raises(InputError, match=r"bin 'b2' has 4 reads but the share 0"):
        run([[1, 2, 4]], expression.check_bins(bins(share=[1, 2, 0]), "bin", "sheet", "b"), origin="b")


def test_bins_of_replicates_are_measured_by_those_of_the_first():
    sheet = replicated("r1", "r2", lower=[None, 1, 2], upper=[1, 2, None]) + replicated(
        "r3", lower=[None, 1.5, 3.5], upper=[1.5, 3.5, None]
    )
    found = expression.check_bins([sheet[i] for i in (0, 3, 6, 1, 4, 7, 2, 5, 8)], "bin", "sheet", "b")
    assert [each.name for each in found] == ["r1", "r2", "r3"]
    assert found[1].columns == ("r2.b0", "r2.b1", "r2.b2")
    assert [each.gates[1:-1].tolist() for each in found] == [[0.5, 1.5], [0.5, 1.5], [1.0, 3.0]]
    assert found[2].values.tolist() == [0, 2, 4]
    found = expression.check_bins(sheet, "gate", "sheet", "b")
    assert found[2].gates.tolist() == [-np.inf, 1.5, 3.5, np.inf]


def test_bins_of_different_width_are_told_of():
    rows = [{"bin": f"b{i}", "lower": i**2, "upper": (i + 1) ** 2} for i in range(4)]
    with pytest.warns(UserWarning, match=r"b\.tsv: bins are 3 to 5 wide, but counts\.scale: bin takes them as equal"):
        expression.check_bins(rows, "bin", "reads", "b.tsv")
    other = [
        row | {"replicate": name, "upper": row["upper"] + shift, "lower": row["lower"] + shift}
        for name, shift in (("x", 0), ("y", 1))
        for row in rows
    ]
    with (
        pytest.warns(UserWarning, match="takes them as equal"),
        pytest.raises(ConfigError, match=r"replicates have different gates and bins of different width; set counts\.scale: gate"),
    ):
        expression.check_bins(other, "bin", "reads", "b.tsv")


def test_cells_from_another_table(tmp_path):
    path = tmp_path / "cells.tsv"
    path.write_text("# sorted in May\nbin\treplicate\tcells\nb0\tr1\t5\nb1\tr1\t0\nb2\tr1\t1.5e3\nother\tr9\t1\n")
    sheet = expression.with_cells(replicated("r1"), path)
    assert [row["cells"] for row in sheet] == [5, 0, 1500]
    (found,) = expression.check_bins(sheet, "bin", str(path), path)
    assert found.cells.tolist() == [5, 0, 1500]


def test_a_csv_table_of_cells_with_comments(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text("# from the sorter\nbin,cells\nb0,1\nb1,2\n# the last one\nb2,x\n")
    with pytest.raises(InputError, match=r"cells\.csv, row 6: cells of bin 'b2': 'x' is not a number"):
        expression.with_cells(bins(), path)
    path.write_text(path.read_text().replace("x", "3.5"))
    assert [row["cells"] for row in expression.with_cells(bins(), path)] == [1, 2, 3.5]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bin\tcells\nb0\t1\nb1\t2\n", r"cells of bin 'b2' are missing; did you mean 'b1'\?; add a row"),
        ("bin\tcells\nb0\t1\nb0\t2\n", r"row 3: bin 'b0' is listed again"),
        ("bin\tcells\nb0\tmany\n", r"row 2: cells of bin 'b0': 'many' is not a number"),
        ("bin\tcells\nb0\t\n", r"row 2: cells of bin 'b0': '' is not a number"),
        ("bin\tcells\nb0\t-1\n", r"row 2: cells of bin 'b0' is -1; expected a number of at least 0"),
        ("bin\tcells\nb0\tnan\n", r"row 2: cells of bin 'b0' is nan"),
        ("bin\tnumber\nb0\t1\n", r"row 1: no column 'cells' \(the file has bin, number\)"),
        ("", r"row 1: no column 'bin' \(the file has \)"),
    ],
)
def test_bad_table_of_cells(tmp_path, text, message):
    path = tmp_path / "cells.tsv"
    path.write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        expression.with_cells(bins(), path)
    assert "cells.tsv" in str(caught.value)
    with pytest.raises(InputError, match="does not exist"):
        expression.with_cells(bins(), tmp_path / "absent.tsv")


# Counts


def read(tmp_path, text, name="c.tsv"):
    path = tmp_path / name
    path.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    ledger = Ledger("estimate_expression", "x")
    return *count_tables.read([path], bin_columns(["a", "b"]), {"sequence": "sequence", "group": "auto", "split": "auto"}, ledger), ledger


def test_equal_sequences_are_added_up_and_counted(tmp_path):
    labels, counts, ledger = read(tmp_path, "sequence\ta\tb\tgroup\nACGT\t1\t2\tx\nCCCC\t0\t5.0\ty\nacgt\t3\t0\tx\n")
    assert labels.rows() == [("ACGT", "x"), ("CCCC", "y")]
    assert counts.tolist() == [[4, 2], [0, 5]]
    assert ledger.counts["dropped", "repeated sequence, reads added up"] == 1
    assert ledger.counts["noted", "lower case converted to upper case"] == 1


@pytest.mark.parametrize("kind", [pl.Int64, pl.UInt32, pl.Float64, pl.String])
def test_parquet_of_any_type_of_numbers(tmp_path, kind):
    table = pl.DataFrame({"sequence": ["ACGT", "CCCC"], "b": [2, 0], "a": [1, 7]})
    table.with_columns(pl.col("a", "b").cast(kind)).write_parquet(tmp_path / "c.parquet")
    labels, counts = count_tables.read([tmp_path / "c.parquet"], bin_columns(["a", "b"]), {"sequence": "sequence"}, Ledger("x", "x"))
    assert labels["sequence"].to_list() == ["ACGT", "CCCC"]
    assert counts.tolist() == [[1, 2], [7, 0]]
    assert counts.dtype == np.int64
    table.with_columns(pl.Series("a", [None, 1]).cast(kind)).write_parquet(tmp_path / "c.parquet")
    with pytest.raises(InputError, match=r"row 1: bin a is empty"):
        count_tables.read([tmp_path / "c.parquet"], bin_columns(["a", "b"]), {"sequence": "sequence"}, Ledger("x", "x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequence\ta\tb\nACGT\t1\t-2\n", r"row 2: bin b '-2' must be a whole number"),
        ("sequence\ta\tb\nACGT\t1.5\t2\n", r"row 2: bin a '1\.5' must be a whole number"),
        ("sequence\ta\tb\nACGT\t99999999999999999999\t2\n", r"row 2: bin a '9+' must be a whole number"),
        ("sequence\ta\tb\nACGT\tx\t2\n", r"row 2: bin a 'x' is not a number"),
        ("sequence\ta\tb\nACGT\t\t2\n", r"row 2: bin a is empty"),
        ("sequence\ta\tc\nACGT\t1\t2\n", r"row 1: no column 'b' for bin b"),
        ("sequence\ta\tb\nAC*T\t1\t2\n", r"row 2: letter '\*'"),
        ("sequence\ta\tb\tsplit\nACGT\t1\t2\ttrain\nACGT\t1\t2\ttest\n", r"rows 2 and 3: the same sequence with split 'train' and 'test'"),
        ("sequence\ta\tb\n", r"the table has no rows"),
    ],
)
@pytest.mark.parametrize("name", ["c.tsv", "c.tsv.gz"])
def test_bad_counts(tmp_path, name, text, message):
    with pytest.raises(GpraflowError, match=message) as caught:
        read(tmp_path, text, name)
    assert "c.tsv" in str(caught.value)


@pytest.mark.parametrize("method", ["weighted_mean", "maximum_likelihood"])
def test_bins_without_reads_or_cells(method):
    replicate = bins_of([-0.5, 0.5, 1.5, 2.5], np.array([4.0, 0.0, 2.0]))
    with pytest.raises(InputError, match=r"^only 1 of 3 bins have reads; expression needs at least two"):
        run([[0, 0, 3]], [replicate], method)
    with pytest.raises(InputError, match=r"^replicate 'q': only 1 of 3 bins have reads"):
        run([[1, 0, 3, 0, 0, 1]], [replicate, bins_of(replicate.gates, replicate.cells, "q")], method)
    with pytest.raises(InputError, match=r"cells\.tsv: bin '1' has 2 reads but 0 cells"):
        run([[1, 2, 3]], [replicate], method)
    ledger = Ledger("estimate_expression", "x")
    found, separate = run([[1, 0, 3], [2, 0, 2]], [replicate], method, ledger)
    assert separate == {}
    assert ledger.counts["noted", "bin without reads: 1"] == 1
    assert 0 < found.expression[1] < found.expression[0] < 2
    if method == "weighted_mean":  # 3 of 4 cells' reads and 4 of 5: 0.75 and 2.5 a cell
        assert found.expression == pytest.approx([2 * 3 / 2.5 / (1 / 0.75 + 3 / 2.5), 2 * 2 / 2.5 / (2 / 0.75 + 2 / 2.5)])


# What leaves


def leave(ledger=None, **filters):
    counts = np.array([[2, 2, 0], [0, 1, 0], [0, 0, 0], [30, 3, 0], [0, 9, 0], [0, 0, 4]])
    replicate = bins_of(GATES[:4])
    found, separate = run(counts, [replicate], read_dispersion=1.0)
    ledger = ledger or Ledger("estimate_expression", "x")
    ledger.read(6)
    labels = pl.DataFrame({"sequence": list("ACGTAC")}).with_columns(group=pl.lit("g"))
    options = {"minimum_reads": 1, "minimum_cells": 0, "singletons": "keep", "singleton_weight": 0.5} | filters
    return expression.to_table(labels, counts, [replicate], found, separate, **options, ledger=ledger), ledger


def test_each_filter_is_counted_for_itself(tmp_path):
    table, ledger = leave()
    assert table["n_reads"].to_list() == [4, 1, 33, 9, 4]
    assert table["singleton"].to_list() == [False, True, False, True, True]
    assert ledger.counts == {
        ("in", "rows"): 6,
        ("dropped", "fewer than 1 reads"): 1,
        ("noted", "singletons (all reads in one bin)"): 3,
    }
    table, ledger = leave(minimum_reads=2, minimum_cells=2.5, singletons="drop")
    assert table["n_reads"].to_list() == [33]
    assert ledger.counts == {
        ("in", "rows"): 6,
        ("dropped", "fewer than 2 reads"): 2,
        ("dropped", "fewer than 2.5 effective cells"): 2,
        ("dropped", "singletons (all reads in one bin)"): 1,
    }
    ledger.write(tmp_path / "ledger.tsv", table.height)
    table, ledger = leave(minimum_reads=1000)
    assert table.height == 0
    assert ledger.counts["dropped", "fewer than 1000 reads"] == 6


def test_weights_are_of_inverse_variance_with_mean_one():
    table, _ = leave()
    variance = table["expression_sd"].to_numpy() ** 2 + 0.1 * table["expression"].to_numpy().var()
    assert table["weight"].to_numpy() == pytest.approx((1 / variance) / np.mean(1 / variance), rel=1e-5)
    assert (table.filter("singleton")["weight"] > 0).all()
    assert table["weight"].mean() == pytest.approx(1, rel=1e-6)
    lowered, ledger = leave(singletons="downweight", singleton_weight=0.25)
    ratio = lowered["weight"].to_numpy() / table["weight"].to_numpy()
    assert ratio[1] / ratio[0] == pytest.approx(0.25, rel=1e-5)
    assert ratio[2] == pytest.approx(ratio[0], rel=1e-5)
    assert lowered["weight"].mean() == pytest.approx(1, rel=1e-6)
    assert ledger.counts["noted", "singletons (all reads in one bin), weight times 0.25"] == 3


def test_the_table_that_leaves_has_weights_and_soft_labels(tmp_path):
    table, _ = leave()
    assert table.columns == [
        *("sequence", "group", "expression", "expression_sd", "n_reads", "n_bins", "singleton", "effective_cells", "low", "high"),
        *("cell_sd", "weight", "reads_0", "reads_1", "reads_2", "bin_cells"),
    ]
    assert table.select("reads_0", "reads_1", "reads_2").rows() == [(2, 2, 0), (0, 1, 0), (30, 3, 0), (0, 9, 0), (0, 0, 4)]
    formats_promoters.write(table, tmp_path / "p.parquet")
    kept = formats_promoters.read(tmp_path / "p.parquet")
    assert kept.schema["reads_0"] == pl.Int64
    assert {kept.schema[name] for name in ("weight", "low", "high", "cell_sd", "effective_cells")} == {pl.Float32}


def test_cells_per_bin_share_a_bins_cells_among_its_reads():
    counts = np.array([[2, 2, 0, 1, 0], [0, 6, 0, 3, 4]])
    one = Replicate("a", ("0", "1", "2"), np.arange(4.0), np.array([10.0, 4.0, 5.0]))
    two = Replicate("b", ("0", "1"), np.arange(3.0), None)
    cells = of_replicates.cells_per_bin(counts[:, :3], [one])
    assert cells.tolist() == [[10.0, 1.0, 0.0], [0.0, 3.0, 0.0]]
    assert of_replicates.cells_per_bin(
        counts[:, [0, 1, 3, 4]], [Replicate("a", ("0", "1"), np.arange(3.0), np.array([1.0, 2.0])), two]
    ).tolist() == [
        [1.0 + 1, 0.5],
        [3.0, 1.5 + 4],
    ]


def test_names_are_labels_and_those_of_a_repeated_sequence_may_differ(tmp_path):
    rows = [("ACGT", "α 1", 1, 2), ("CCCC", "", 3, 4), ("ACGT", "α 2", 5, 6)]
    text = "sequence\tname\ta\tb\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (tmp_path / "c.tsv").write_text(text, encoding="utf-8")
    ledger = Ledger("x", "x")
    columns = {"sequence": "sequence", "name": "auto", "group": "auto"}
    labels, counts = count_tables.read([tmp_path / "c.tsv"], bin_columns(["a", "b"]), columns, ledger)
    assert labels.rows(named=True) == [{"sequence": "ACGT", "name": "α 1"}, {"sequence": "CCCC", "name": None}]
    assert counts.tolist() == [[6, 8], [3, 4]]
    assert ledger.counts["noted", "sequences with several names, the first kept"] == 1
    assert ledger.counts["dropped", "repeated sequence, reads added up"] == 1


def adapter(root, monkeypatch, tmp_path, **params):
    """Run scripts/estimate_expression.py as Snakemake does; return the table and the ledger's lines."""
    monkeypatch.syspath_prepend(root / "scripts")
    import estimate_expression

    monkeypatch.setattr(estimate_expression.logs, "log_to", lambda path: None)
    job = SimpleNamespace(
        log=["log"],
        threads=2,
        input=SimpleNamespace(counts=[tmp_path / "counts.parquet"], cells=params.pop("cells_file", [])),
        output=SimpleNamespace(promoters=tmp_path / "promoters.parquet", ledger=tmp_path / "ledger.tsv"),
        params=SimpleNamespace(
            **{
                "columns": {"sequence": "sequence", "group": "auto", "split": "auto", "source": "auto"},
                "sheet_path": "bins.tsv",
                "places": [(name, 0, name, False) for name in map(sheet.column_of, params["sheet"])],
                "reading": {},
                "dna_rna": {},
                "method": "maximum_likelihood",
                "scale": "bin",
                "overlap": "error",
                "minimum_input_reads": 1,
                "cells": "sheet",
                "read_dispersion": 2.0,
                "prior": "library",
                "minimum_reads": 1,
                "minimum_cells": 0,
                "singletons": "keep",
                "singleton_weight": 0.5,
            }
            | params
        ),
    )
    estimate_expression.main(job)
    return formats_promoters.read(job.output.promoters), pl.read_csv(job.output.ledger, separator="\t")


def test_adapter_with_replicates_and_cells_of_another_table(root, monkeypatch, tmp_path):
    mean, counts, (both,) = assay(300, seed=2)
    half = np.random.default_rng(0).binomial(counts, 0.4)
    apart = {"r1": half, "r2": counts - half}
    sheet = [{"bin": name, "replicate": replicate} for replicate in apart for name in NAMES]
    rng = np.random.default_rng(1)
    sequences = ["".join(rng.choice(list("ACGT"), 30)) for _ in mean]
    columns = {f"{replicate}.{name}": table[:, i] for replicate, table in apart.items() for i, name in enumerate(NAMES)}
    pl.DataFrame({"sequence": sequences} | columns).write_parquet(tmp_path / "counts.parquet")
    cells = [
        f"{name}\t{replicate}\t{both.cells[i] * (0.4 if replicate == 'r1' else 0.6)}" for replicate in apart for i, name in enumerate(NAMES)
    ]
    (tmp_path / "cells.tsv").write_text("bin\treplicate\tcells\n" + "\n".join(cells) + "\n")
    table, ledger = adapter(
        root, monkeypatch, tmp_path, sheet=sheet, cells=str(tmp_path / "cells.tsv"), cells_file=str(tmp_path / "cells.tsv")
    )
    rows = [sequences.index(sequence) for sequence in table["sequence"]]
    assert rows == np.flatnonzero(counts.sum(axis=1) > 0).tolist()
    assert (table["n_reads_r1"] + table["n_reads_r2"] == table["n_reads"]).all()
    assert table["reads_r1.b3"].to_list() == half[rows, 3].tolist()
    assert table["expression_r1"].is_null().to_list() == (half[rows].sum(axis=1) == 0).tolist()
    deep = table.with_columns(truth=mean[rows]).filter(pl.col("n_reads") > 50)
    for column in ("expression", "expression_r1", "expression_r2"):
        assert np.corrcoef(deep[column], deep["truth"])[0, 1] > 0.97
    lines = dict(ledger.select("kind", "rows").filter(pl.col("kind") != "noted").group_by("kind").agg(pl.col("rows").sum()).iter_rows())
    assert lines["in"] == lines["out"] + lines["dropped"] == 300


def test_same_counts_give_the_same_bytes(root, monkeypatch, tmp_path):
    _, counts, (both,) = assay(12_000, seed=4)
    rng = np.random.default_rng(1)
    letters = rng.integers(0, 4, (len(counts), 20))
    sequences = ["".join("ACGT"[i] for i in row) for row in letters]
    pl.DataFrame({"sequence": sequences} | {name: counts[:, i] for i, name in enumerate(NAMES)}).write_parquet(tmp_path / "counts.parquet")
    sheet = [{"bin": name, "cells": cells} for name, cells in zip(NAMES, both.cells, strict=True)]
    written = []
    for _ in range(2):
        adapter(root, monkeypatch, tmp_path, sheet=sheet)
        written.append((tmp_path / "promoters.parquet").read_bytes())
    assert written[0] == written[1]


def test_real_lac_counts(shared):
    """Against the plain formula on every row, reads standing for cells; both methods agree about promoters in the middle."""
    ledger = Ledger("estimate_expression", "lac")
    names = [f"ct_{i}" for i in range(10)]
    path = shared / "ecoli_lac_sortseq_bins.tsv.gz"
    labels, counts = count_tables.read([path], bin_columns(names), {"sequence": "sequence", "split": "set"}, ledger)
    replicates = expression.check_bins([{"bin": name} for name in names], "bin", "reads", "ecoli_lac_bins.tsv")
    found, _ = run(counts, replicates)
    raw = pl.read_csv(path, separator="\t")
    given = raw.select(names).to_numpy()
    assert labels["sequence"].to_list() == raw["sequence"].to_list()
    assert found.expression == pytest.approx((given * np.arange(10)).sum(axis=1) / given.sum(axis=1))
    assert formats_promoters.SCHEMA.keys() >= {"sequence", "split"} == set(labels.columns)
    by_likelihood, _ = run(counts, replicates, "maximum_likelihood")
    assert np.isfinite(by_likelihood.expression).all()
    assert np.corrcoef(by_likelihood.expression, found.expression)[0, 1] > 0.95
    assert (by_likelihood.standard_error > 0).all()
