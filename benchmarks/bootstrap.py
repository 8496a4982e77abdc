"""Speed of the bootstrap of all scores, beside a loop that scores one resample after the other.

python benchmarks/bootstrap.py [--rows 70000] [--resamples 10000] [--threads 2] [--naive 40] [--seed 0]
Predictions and measurements are normal with r = .8, measurements rounded to .01 (ties). The loop (draw rows, `metrics.scores`, which is
NumPy and SciPy) runs `--naive` resamples in the same process, and its time is scaled to all of them. The last line is JSON: seconds,
seconds of the loop (scaled) and their ratio; the CPU time of both, for a machine that is busy with other things; peak memory; and the
greatest difference between the loop's and our scores of the same rows.
"""

import argparse
import json
import resource
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "scripts"))
from gpraflow.core import randomness
from gpraflow.evaluation import metrics


def main():
    """Draw, resample both ways, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=70_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--naive", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    measured = rng.normal(8, 3, options.rows).round(2)
    predicted = measured + rng.normal(0, 2.25, options.rows)
    laps, busy = [time.perf_counter()], [time.process_time()]
    found = metrics.bootstrap(predicted, measured, options.resamples, options.seed, options.threads)
    laps.append(time.perf_counter())
    busy.append(time.process_time())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    difference = 0.0
    for i in range(options.naive):
        drawn = randomness.generator(options.seed, "bootstrap", i).integers(0, options.rows, options.rows, dtype=np.int32)
        naive = metrics.scores(predicted[drawn], measured[drawn])
        if options.rows > 50_000:  # a block is one resample there, and the generator the same
            difference = max(difference, *(abs(found[name][i] - naive[name]) for name in metrics.SCORES))
    laps.append(time.perf_counter())
    busy.append(time.process_time())
    loop = (laps[2] - laps[1]) / options.naive * options.resamples
    for name, drawn in found.items():
        low, high = metrics.interval(drawn)
        print(f"{name}: {low:.4f} to {high:.4f}")
    summary = {
        "seconds": round(laps[1] - laps[0], 2),
        "cpu_seconds": round(busy[1] - busy[0], 2),
        "seconds_of_the_loop_scaled": round(loop, 1),
        "cpu_seconds_of_the_loop_scaled": round((busy[2] - busy[1]) / options.naive * options.resamples, 1),
        "ratio": round(loop / (laps[1] - laps[0]), 1),
        "peak_rss_mb": peak,
        "greatest_difference": difference,
    }
    print(json.dumps(vars(options) | summary))


if __name__ == "__main__":
    main()
