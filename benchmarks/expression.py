"""Accuracy and speed of the two estimates of expression on a simulated sort with known truth.

python benchmarks/expression.py [--promoters 200000] [--seed 0] [--bins 18] [--depth-spread 0.3] [--strays 0] [--cells 2,4,10] [...]
The assay is that of `simulate_assay` at the level of counts: over-dispersed cells, normal within promoters, 2 % of cells sorted into a
neighbouring bin, depth and amplification log-normal; signals are in units of an 18th of the sorted range.
The last line is JSON: for promoters with more than 100 reads r (r_deep, maximum likelihood); for 6 to 100 reads the ratio of root mean
squared errors (rmse_ratio_ml_vs_mean), and the least ratio that any estimate can have (rmse_ratio_bound: the mean of the posterior
under the simulation's own parameters, for the first promoters of that depth); for more than 5 reads the coverage of the 95 % interval;
rows per second of each method; peak memory, the simulation's included. For each number of cells a promoter in --cells, of all promoters
with reads: the coverage of 95 % intervals (coverage_95_at_<cells>) and the noise ceiling minus the correlation of estimate and truth
(ceiling_error_at_<cells>), both also for the weighted mean.
"""

import os

import common
import numpy as np
from scipy import stats
from scipy.special import ndtr

from gpraflow.assay import empirical_bayes, estimators
from gpraflow.assay.replicates import Replicate
from gpraflow.evaluation import ceiling

CLASSES = ((1, 1), (2, 5), (6, 20), (21, 100), (101, None))
RANGE, CENTRE, SPREAD = 18, 8.5, 3.0  # of the signal, and of promoters' means in it
CELL_SD, SD_SPREAD = 1.5, 0.15  # of single cells; its log-normal spread over promoters
CELLS, SHAPE = 25.0, 1.0  # of a promoter: gamma-Poisson with this mean
ERRORS = 0.02  # cells in a neighbouring bin
BLOCK = 50_000


def shares(mean, sd, edges, strays):
    """Return P_b, the last axis bins, with errors of sorting."""
    gates = np.concatenate([[-np.inf], edges[1:-1], [np.inf]])
    inside = np.diff(ndtr((gates - mean[..., None]) / sd[..., None]), axis=-1)
    near = np.eye(len(gates) - 1, k=1) + np.eye(len(gates) - 1, k=-1)
    moved = (1 - ERRORS) * np.eye(len(near)) + ERRORS * near / near.sum(axis=1, keepdims=True)
    return (1 - strays) * inside @ moved + strays / len(near)


def add_assay(parser, promoters, cells):
    """Add the options of `assay`, and ``--cells``, the mean cells of a promoter, with these defaults."""
    parser.add_argument("--promoters", type=int, default=promoters)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bins", type=int, default=18)
    parser.add_argument("--depth-spread", type=float, default=0.3, help="sd of the log of reads a cell between bins")
    parser.add_argument("--reads-per-cell", type=float, default=1.2)
    parser.add_argument("--amplification", type=float, default=0.5, help="sd of the log of amplification between cells")
    parser.add_argument("--strays", type=float, default=0.0, help="share of cells that are anywhere")
    parser.add_argument(
        "--cells", type=lambda text: [float(part) for part in text.split(",")], default=cells, help="cells a promoter, separated by commas"
    )


def assay(options, rng, cells_per_promoter=CELLS):
    """Return mean signals, edges of the bins, counts, cells and reads a cell of each bin."""
    mean = rng.normal(CENTRE, SPREAD, options.promoters)
    sd = np.exp(rng.normal(np.log(CELL_SD), SD_SPREAD, options.promoters))
    edges = np.linspace(-0.5, RANGE - 0.5, options.bins + 1)
    depth = np.exp(rng.normal(0, options.depth_spread, options.bins))
    depth *= options.reads_per_cell / depth.mean()
    counts, cells = np.empty((options.promoters, options.bins), np.int64), np.zeros(options.bins)
    for begin in range(0, options.promoters, BLOCK):
        part = slice(begin, begin + BLOCK)
        share = shares(mean[part], sd[part], edges, options.strays)
        drawn = rng.poisson(rng.gamma(SHAPE, cells_per_promoter / SHAPE, len(share))[:, None] * share)
        owner = np.repeat(np.arange(drawn.size), drawn.ravel())
        copies = rng.lognormal(-(options.amplification**2) / 2, options.amplification, len(owner))
        counts[part] = rng.poisson(np.bincount(owner, copies, minlength=drawn.size).reshape(drawn.shape) * depth)
        cells += drawn.sum(axis=0)
    return mean, edges, counts, cells, depth


def best(counts, edges, depth, options):
    """Return the mean of each posterior on a grid of mean, sd and number of cells, with every parameter of the assay known."""
    step, mean = 0.25, np.linspace(CENTRE - 4 * SPREAD, CENTRE + 4 * SPREAD, 97)
    quantiles = np.linspace(-1.5, 1.5, 4)
    level = np.arange(np.log(0.5), np.log(12 * CELLS), step)
    grid = np.arange(np.log(1e-3), level[-1] + step, step)  # log of the mean cells of a bin
    weight = stats.norm.logpdf(mean, CENTRE, SPREAD)[:, None, None] + stats.norm.logpdf(quantiles)[None, :, None]
    weight = weight + (stats.gamma.logpdf(np.exp(level), SHAPE, scale=CELLS / SHAPE) + level)[None, None, :]
    share = shares(mean[:, None], CELL_SD * np.exp(SD_SPREAD * quantiles)[None, :], edges, options.strays)
    index = np.rint((np.log(np.maximum(share, 1e-9))[:, :, None, :] + level[:, None] - grid[0]) / step)
    index = np.clip(index, 0, len(grid) - 1).astype(int)
    cells, reads = np.arange(1, int(16 * CELLS)), np.arange(counts.max() + 1)
    shape = 1 / np.expm1(max(options.amplification, 1e-3) ** 2)  # gamma amplification of the same variance
    tables = []
    for r in depth:
        each = np.vstack([reads == 0, stats.nbinom.pmf(reads, cells[:, None] * shape, shape / (shape + r))])
        of_cells = stats.poisson.pmf(np.arange(len(cells) + 1), np.exp(grid)[:, None])
        tables.append(np.log(np.maximum(of_cells @ each, 1e-300)))
    found = np.empty(len(counts))
    for i, row in enumerate(counts):
        log = weight + sum(table[:, n][index[..., b]] for b, (table, n) in enumerate(zip(tables, row, strict=True)))
        posterior = np.exp(log - log.max()).sum(axis=(1, 2))
        found[i] = posterior @ mean / posterior.sum()
    return found


def at_depth(options, cells_per_promoter):
    """Return the figures of one number of cells a promoter: coverage, and error of the noise ceiling, of both methods.

    They are means over as many libraries as 3,000 promoters need, since those of one small library are uncertain.
    """
    libraries = [library(options, cells_per_promoter, options.seed + i) for i in range(max(1, round(3000 / options.promoters)))]
    figures = {name: round(float(np.mean([each[name] for each in libraries])), 4) for name in libraries[0]}
    print(f"{cells_per_promoter:g} cells a promoter, {len(libraries)} libraries: {figures}")
    return figures


def library(options, cells_per_promoter, seed):
    """Return the figures of one simulated library."""
    mean, edges, counts, cells, _ = assay(options, np.random.default_rng(seed), cells_per_promoter)
    replicates = [Replicate("", tuple(f"bin_{b}" for b in range(options.bins)), edges, cells)]
    shared = empirical_bayes.fit_hyperparameters(counts, replicates, dispersion(options))
    shrunk = estimators.maximum_likelihood(counts, replicates, prior=options.prior, shared=shared, threads=os.cpu_count() or 1)
    averaged = estimators.weighted_mean(counts, replicates, shared=shared)
    rows, figures = counts.sum(axis=1) > 0, {}
    for suffix, estimate, is_shrunk in (("", shrunk, options.prior == "library"), ("_weighted_mean", averaged, False)):
        label, error = estimate.expression[rows], estimate.standard_error[rows]
        inside = (estimate.low[rows] <= mean[rows]) & (mean[rows] <= estimate.high[rows])
        highest = np.sqrt(max(0.0, ceiling.from_errors(label, error, is_shrunk)))
        name = f"at_{cells_per_promoter:g}{suffix}"
        figures |= {f"coverage_95_{name}": inside.mean(), f"ceiling_error_{name}": highest - np.corrcoef(label, mean[rows])[0, 1]}
    return figures


def dispersion(options):
    """Return the dispersion of reads to assume; None to estimate it."""
    return None if options.read_dispersion == "auto" else float(options.read_dispersion)


def main():
    """Simulate, estimate both ways, compare with the truth."""
    parser = common.parser(__doc__)
    add_assay(parser, promoters=200_000, cells=[])
    parser.add_argument("--prior", default="library", choices=["library", "weak"])
    parser.add_argument("--read-dispersion", default="auto", help="a number, or auto to estimate it")
    parser.add_argument("--bound", type=int, default=3000, help="promoters for the least possible error; 0: leave it out")
    options = common.parse(parser, promoters=5_000, bound=20, cells=[4.0])
    mean, edges, counts, cells, depth = assay(options, np.random.default_rng(options.seed))
    replicates = [Replicate("", tuple(f"bin_{b}" for b in range(options.bins)), edges, cells)]
    found = {}
    with common.timed() as by_weighting:
        found["weighted_mean"] = estimators.weighted_mean(counts, replicates, dispersion(options))
    with common.timed() as by_fitting:
        found["maximum_likelihood"] = estimators.maximum_likelihood(
            counts, replicates, dispersion(options), options.prior, os.cpu_count() or 1
        )
    peak = common.peak_rss_mb()

    def rmse(estimate, rows):
        return np.sqrt(np.mean((estimate - mean[rows]) ** 2))

    def coverage(estimate, rows):
        return np.mean((estimate.low[rows] <= mean[rows]) & (mean[rows] <= estimate.high[rows]))

    reads = counts.sum(axis=1)
    for low, high in CLASSES:
        rows = (reads >= low) & (reads <= (high or np.inf))
        for method, estimate in found.items():
            value = estimate.expression[rows]
            slope, r = np.polyfit(mean[rows], value, 1)[0], np.corrcoef(value, mean[rows])[0, 1]
            print(f"{low}-{high or ''} reads, n {rows.sum():,}, {method}: r {r:.4f}, rmse {rmse(value, rows):.4f}, ", end="")
            print(f"coverage {coverage(estimate, rows):.3f}, slope on the truth {slope:.3f}")
    middle = np.flatnonzero((reads >= 6) & (reads <= 100))
    first = middle[: options.bound]
    by_mean, by_likelihood = (found[method].expression for method in ("weighted_mean", "maximum_likelihood"))
    bound = rmse(best(counts[first], edges, depth, options), first) / rmse(by_mean[first], first) if options.bound else float("nan")
    deep = reads > 100
    summary = {
        "r_deep": round(np.corrcoef(by_likelihood[deep], mean[deep])[0, 1], 4),
        "rmse_ratio_ml_vs_mean": round(rmse(by_likelihood[middle], middle) / rmse(by_mean[middle], middle), 4),
        "rmse_ratio_bound": round(bound, 4) if options.bound else None,
        "rmse_ratio_of_the_same": round(rmse(by_likelihood[first], first) / rmse(by_mean[first], first), 4) if options.bound else None,
        "coverage_95": round(coverage(found["maximum_likelihood"], reads > 5), 4),
        "coverage_95_weighted_mean": round(coverage(found["weighted_mean"], reads > 5), 4),
        "rows_per_s": round(options.promoters / by_fitting.seconds),
        "rows_per_s_weighted_mean": round(options.promoters / by_weighting.seconds),
        "peak_rss_mb": peak,
    }
    for cells_per_promoter in options.cells:
        summary |= at_depth(options, cells_per_promoter)
    common.finish(options, "the weighted mean of bins", **summary)


if __name__ == "__main__":
    main()
