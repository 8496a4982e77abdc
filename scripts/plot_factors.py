"""Draw activity, potentiation and concentration of transcription factors."""

import polars as pl

from gpraflow.core import drawing, logs
from gpraflow.explanation import figures


def main(job):
    logs.log_to(job.log[0])
    factors = pl.read_csv(job.input.factors, separator="\t", glob=False)
    drawing.save(figures.factors(factors), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
