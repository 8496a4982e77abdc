"""Collect tuning trials: table, importance of hyper-parameters, and the best configuration."""

import json
from pathlib import Path

from gpraflow.core import files, logs
from gpraflow.training import tuning


def main(job):
    logs.log_to(job.log[0])
    trials, importance, best = tuning.collect([json.loads(Path(path).read_text(encoding="utf-8")) for path in job.input.trials])
    files.write_text(job.output.trials, trials.write_csv(separator="\t"))
    files.write_text(job.output.importance, importance.write_csv(separator="\t"))
    tuning.write_overlay(job.output.best, best, trials["best_so_far"].min(), trials.height)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
