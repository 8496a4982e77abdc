"""Draw the results of tuning trials, and the importance of hyper-parameters."""

import polars as pl

from gpraflow.core import drawing, logs
from gpraflow.training import figures


def main(job):
    logs.log_to(job.log[0])
    trials, importance = (pl.read_csv(path, separator="\t", glob=False) for path in (job.input.trials, job.input.importance))
    drawing.save(figures.tuning(trials, importance), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
