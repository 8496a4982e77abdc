"""Accuracy and speed of our estimates of expression beside MAUDE's, on the same counts of a simulated sort.

python benchmarks/sort_estimators.py [--promoters 50000] [--cells 2,4,10,25,100] [--bins 18] [--seed 0] [...]
The assay is that of benchmarks/expression.py. MAUDE (de Boer et al. 2020, doi:10.1186/s13059-020-02046-8) is restated from its formula, as
the R package computes it (`maude`): reads of a bin are negative binomial around the promoter's share of the unsorted library times the
ratio of the probabilities of the bin under N(mu, 1) and N(0, 1), with bins at quantiles of the population, and pseudocounts. In place of
reads of unsorted cells, which MAUDE expects, the reads of all bins are added, weighted by the cells of each bin.
Three settings: maude (as published), maude_no_pseudocounts, and maude_own_sd (the same with the sd of single cells that
`fit_hyperparameters` estimates instead of that of the population).
All estimates are of promoters with reads. The last line is JSON, by number of cells a promoter and estimate: r, rmse (bins; z scores of
MAUDE are multiplied by the population's sd, and its mean added), rmse_scaled (after regression of the truth on the estimate), seconds and
cpu_seconds (what the promoters share included). rmse_ratio_vs_maude_at_<cells>, of the fewest and most cells: scaled RMSE of maximum
likelihood over that of MAUDE in its best setting.
"""

import os

import common
import expression
import numpy as np
from scipy.special import ndtr, ndtri

from gpraflow.assay import empirical_bayes, estimators
from gpraflow.assay.replicates import Replicate

REACH, STEP, ROUNDS = 4.0, 0.1, 16  # of the search for mu: interval and grid as wide as the package's, then golden sections
GOLDEN = (np.sqrt(5) - 1) / 2
BLOCK = 5_000


def maude(counts, cells, sd=1.0, pseudocounts=10.0, tail=0.001):
    """Return each promoter's mean in standard deviations of the population, of greatest likelihood between -4 and 4.

    Parameters
    ----------
    counts
        ``(promoters, bins)`` reads.
    cells
        ``(bins,)`` cells of the population within each bin.
    sd
        Standard deviation of a promoter's cells, in those of the population.
    pseudocounts
        Reads added to each promoter and bin, per million reads of the bin, but at least one; 0 for none.
    tail
        Share of the population beyond the outer bins, at each end.
    """
    share = (1 - 2 * tail) * cells / cells.sum()
    edges = ndtri(np.clip(np.concatenate([[tail], tail + share.cumsum()]), 0, 1))
    total = counts.sum(axis=0)
    if pseudocounts:
        counts = counts + np.maximum(1, np.rint(pseudocounts * total / 1e6))
        total = counts.sum(axis=0)
    library = (counts / total) @ (share / share.sum())

    def log_likelihood(rows, mu):
        """Return that of ``(rows,)`` promoters at ``(rows or 1, points)`` means, less what does not depend on them."""
        inside = np.diff(ndtr((edges - mu[..., None]) / sd), axis=-1) / share
        expected = np.clip(inside * library[rows, None, None], 1e-300, 0.5)
        return (counts[rows, None] * np.log(expected) + total * np.log1p(-expected)).sum(axis=-1)

    mean = np.empty(len(counts))
    grid = np.arange(-REACH, REACH + STEP / 2, STEP)
    for begin in range(0, len(counts), BLOCK):
        rows = np.arange(begin, min(begin + BLOCK, len(counts)))
        low = grid[log_likelihood(rows, grid[None]).argmax(axis=1)] - STEP
        high = low + 2 * STEP
        for _ in range(ROUNDS):
            points = np.stack([high - GOLDEN * (high - low), low + GOLDEN * (high - low)], axis=1)
            first, second = log_likelihood(rows, points).T
            low, high = np.where(first > second, low, points[:, 0]), np.where(first > second, points[:, 1], high)
        mean[rows] = (low + high) / 2
    return np.clip(mean, -REACH, REACH)


def estimate(counts, replicate, threads):
    """Return estimate -> expression of all promoters, and the laps that it took."""
    estimates = {}
    with common.timed() as shared_lap:
        shared = empirical_bayes.fit_hyperparameters(counts, [replicate])
    for method, options in (("weighted_mean", {}), ("maximum_likelihood", {"threads": threads})):
        with common.timed() as lap:
            values = getattr(estimators, method)(counts, [replicate], shared=shared, **options).expression
        estimates[method] = values, [shared_lap, lap]
    share = replicate.cells / replicate.cells.sum()
    middle = share @ replicate.values
    population = np.sqrt(share @ (replicate.values - middle) ** 2)
    own = np.exp(shared.log_sd) / population
    for name, options in {
        "maude": {},
        "maude_no_pseudocounts": {"pseudocounts": 0},
        "maude_own_sd": {"pseudocounts": 0, "sd": own},
    }.items():
        with common.timed() as lap:
            z = maude(counts, replicate.cells, **options)
        estimates[name] = middle + population * z, [shared_lap, lap] if name == "maude_own_sd" else [lap]
    return estimates


def score(estimate, truth):
    """Return r, the root mean squared error, and the same after regression of the truth on the estimate."""
    r = np.corrcoef(estimate, truth)[0, 1]
    return {
        "r": round(float(r), 4),
        "rmse": round(float(np.sqrt(np.mean((estimate - truth) ** 2))), 4),
        "rmse_scaled": round(float(truth.std() * np.sqrt(1 - r**2)), 4),
    }


def main():
    """Simulate, estimate all ways, compare with the truth."""
    parser = common.parser(__doc__)
    expression.add_assay(parser, promoters=50_000, cells=[2.0, 4.0, 10.0, 25.0, 100.0])
    options = common.parse(parser, promoters=3_000, cells=[4.0, 25.0])
    figures = {}
    for cells_per_promoter in options.cells:
        mean, edges, counts, cells, _ = expression.assay(options, np.random.default_rng(options.seed), cells_per_promoter)
        rows = counts.sum(axis=1) > 0
        replicate = Replicate("", tuple(f"bin_{b}" for b in range(options.bins)), edges, cells)
        scores = {}
        for name, (values, laps) in estimate(counts[rows], replicate, os.cpu_count() or 1).items():
            times = {key: round(sum(getattr(lap, key) for lap in laps), 2) for key in ("seconds", "cpu_seconds")}
            scores[name] = score(values, mean[rows]) | times
            print(f"{cells_per_promoter:g} cells a promoter, n {rows.sum():,}, {name}: {scores[name]}", flush=True)
        figures[f"at_{cells_per_promoter:g}"] = {"n": int(rows.sum())} | scores
    ratios = {}
    for cells_per_promoter in (options.cells[0], options.cells[-1]):
        scores = figures[f"at_{cells_per_promoter:g}"]
        best = min(scores[name]["rmse_scaled"] for name in scores if name.startswith("maude"))
        ratios[f"rmse_ratio_vs_maude_at_{cells_per_promoter:g}"] = round(scores["maximum_likelihood"]["rmse_scaled"] / best, 4)
    common.finish(options, "MAUDE's estimator, restated", **figures, **ratios)


if __name__ == "__main__":
    main()
