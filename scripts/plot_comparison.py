"""Draw the scores of several runs as a forest plot."""

import polars as pl

from gpraflow.core import drawing, logs
from gpraflow.evaluation import figures


def main(job):
    logs.log_to(job.log[0])
    table = pl.read_csv(job.input.scores, separator="\t", infer_schema_length=None, schema_overrides={"label": pl.String}, glob=False)
    drawing.save(figures.comparison(table), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
