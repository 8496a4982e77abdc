"""Draw what the trials of a tuning reached, and which hyper-parameters mattered."""

import polars as pl
from gpraflow import plots, smk


def main(job):
    smk.log_to(job.log[0])
    trials, importance = (pl.read_csv(path, separator="\t") for path in (job.input.trials, job.input.importance))
    plots.save(plots.tuning(trials, importance), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
