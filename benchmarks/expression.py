"""Accuracy and speed of the two estimates of expression on a simulated sort with known truth.

python benchmarks/expression.py [--promoters 200000] [--seed 0]
The last line is JSON: for promoters with more than 100 reads r (r_deep, maximum likelihood); for 6 to 100 reads the ratio of root mean
squared errors (rmse_ratio_ml_vs_mean); for more than 5 reads the coverage of the 95 % interval; rows per second of each method.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np
from scipy.special import ndtr

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from gpraflow import expression

BINS = 18
CLASSES = ((1, 1), (2, 5), (6, 20), (21, 100), (101, None))


def assay(promoters, rng):
    """Return mean bins, counts and cells: gamma-Poisson cells, normal within promoters, Poisson reads a cell, depth differing by bin."""
    mean = np.clip(rng.normal(8.5, 3.5, promoters), 0, BINS - 1)
    sd = np.exp(rng.normal(np.log(1.5), 0.15, promoters))
    gates = np.concatenate([[-np.inf], np.arange(1, BINS) - 0.5, [np.inf]])
    share = np.diff(ndtr((gates - mean[:, None]) / sd[:, None]), axis=1)
    cells = rng.poisson(rng.gamma(0.7, 60, promoters)[:, None] * share)
    counts = rng.poisson(cells * rng.uniform(0.3, 3, BINS))
    return mean, counts, cells.sum(axis=0).astype(float)


def main():
    """Simulate, estimate both ways, compare with the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--promoters", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    mean, counts, cells = assay(arguments.promoters, np.random.default_rng(arguments.seed))
    laps = [time.perf_counter()]
    found = {"weighted_mean": expression.weighted_mean(counts, np.arange(BINS), cells)}
    laps.append(time.perf_counter())
    found["maximum_likelihood"] = expression.maximum_likelihood(counts, np.arange(BINS + 1) - 0.5, cells)
    laps.append(time.perf_counter())

    def of(rows, method):
        estimate = found[method]
        error = estimate.expression[rows] - mean[rows]
        inside = (estimate.low[rows] <= mean[rows]) & (mean[rows] <= estimate.high[rows])
        return np.corrcoef(estimate.expression[rows], mean[rows])[0, 1], np.sqrt(np.mean(error**2)), inside.mean()

    reads = counts.sum(axis=1)
    for low, high in CLASSES:
        rows = (reads >= low) & (reads <= (high or np.inf))
        for method in found:
            r, rmse, coverage = of(rows, method)
            print(f"{low}-{high or ''} reads, n {rows.sum():,}, {method}: r {r:.4f}, rmse {rmse:.4f}, coverage {coverage:.3f}")
    middle = (reads >= 6) & (reads <= 100)
    summary = {
        "r_deep": round(of(reads > 100, "maximum_likelihood")[0], 4),
        "rmse_ratio_ml_vs_mean": round(of(middle, "maximum_likelihood")[1] / of(middle, "weighted_mean")[1], 4),
        "coverage_95": round(of(reads > 5, "maximum_likelihood")[2], 4),
        "rows_per_s": round(arguments.promoters / (laps[2] - laps[1])),
        "rows_per_s_weighted_mean": round(arguments.promoters / (laps[1] - laps[0])),
        "peak_rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    print(json.dumps(vars(arguments) | summary))


if __name__ == "__main__":
    main()
