"""Simulate a sorted library with a known truth."""

from gpraflow import scaffold, simulate, smk


def main(job):
    smk.log_to(job.log[0])
    params = job.params
    size = simulate.Library(params.promoters, params.independent, params.mean_reads, params.cell_sd, params.active_factors)
    tables = simulate.library(scaffold.load(job.input.scaffolds, params.scaffold), job.input.motifs, size, params.seed)
    simulate.write(tables, {name: getattr(job.output, name) for name in tables})


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
