"""Draw the scores of several runs as a forest plot."""

import polars as pl
from gpraflow import plots, score_plots, smk


def main(job):
    smk.log_to(job.log[0])
    table = pl.read_csv(job.input.scores, separator="\t", infer_schema_length=None, schema_overrides={"label": pl.String})
    plots.save(score_plots.comparison(table), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
