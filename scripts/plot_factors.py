"""Draw activity, potentiation and concentration of the factors."""

import polars as pl
from gpraflow import plots, smk


def main(job):
    smk.log_to(job.log[0])
    factors = pl.read_csv(job.input.factors, separator="\t")
    plots.save(plots.factors(factors), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
