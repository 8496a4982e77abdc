"""Speed of the bootstrap of all scores, beside a loop that scores one resample after the other.

python benchmarks/bootstrap.py [--rows 70000] [--resamples 10000] [--threads 2] [--naive 40] [--seed 0]
Predictions and measurements are normal with r = .8, measurements rounded to .01 (ties). The loop (draw rows, `metrics.scores`, which is
NumPy and SciPy) runs `--naive` resamples in the same process, and its time is scaled to all of them. The last line is JSON: seconds,
seconds of the loop (scaled) and their ratio; the CPU time of both, for a machine that is busy with other things; peak memory; and the
greatest difference between the loop's and our scores of the same rows (null below 50,000 rows, where several resamples are drawn at once).
"""

import common
import numpy as np

from gpraflow.core import randomness
from gpraflow.evaluation import metrics


def main():
    """Draw, resample both ways, compare."""
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, default=70_000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--naive", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    options = common.parse(parser, rows=60_000, resamples=20, naive=2)
    rng = np.random.default_rng(options.seed)
    measured = rng.normal(8, 3, options.rows).round(2)
    predicted = measured + rng.normal(0, 2.25, options.rows)
    with common.timed() as ours:
        found = metrics.bootstrap(predicted, measured, options.resamples, options.seed, options.threads)
    peak = common.peak_rss_mb()
    differences = []
    with common.timed() as loop:
        for i in range(options.naive):
            drawn = randomness.generator(options.seed, "bootstrap", i).integers(0, options.rows, options.rows, dtype=np.int32)
            naive = metrics.scores(predicted[drawn], measured[drawn])
            if options.rows > 50_000:  # a block is one resample there, and the generator the same
                differences += [abs(found[name][i] - naive[name]) for name in metrics.SCORES]
    times = options.resamples / options.naive
    for name, drawn in found.items():
        low, high = metrics.interval(drawn)
        print(f"{name}: {low:.4f} to {high:.4f}")
    common.finish(
        options,
        "a loop over the scores of one resample",
        seconds=round(ours.seconds, 2),
        cpu_seconds=round(ours.cpu_seconds, 2),
        seconds_of_the_loop_scaled=round(loop.seconds * times, 1),
        cpu_seconds_of_the_loop_scaled=round(loop.cpu_seconds * times, 1),
        ratio=round(loop.seconds * times / ours.seconds, 1),
        peak_rss_mb=peak,
        greatest_difference=max(differences, default=None),
    )


if __name__ == "__main__":
    main()
