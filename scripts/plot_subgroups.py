"""Draw the scores in subgroups of one data set."""

import polars as pl

from gpraflow.core import drawing, logs
from gpraflow.evaluation import figures


def main(job):
    logs.log_to(job.log[0])
    labels = dict.fromkeys(("dataset", "by", "part"), pl.String)
    table = pl.read_csv(job.input.subgroups, separator="\t", schema_overrides=labels, infer_schema_length=None, glob=False)
    figure = figures.parts(table.filter(dataset=job.wildcards.scored), job.params.title, job.params.unit)
    drawing.save(figure, job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
