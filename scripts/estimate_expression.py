"""Estimate the expression of each promoter from its reads per sorted bin."""

from gpraflow import expression, smk, tables
from gpraflow.ledger import Ledger


def main(job):
    smk.log_to(job.log[0])
    params, ledger = job.params, Ledger("estimate_expression", "library")
    gates, cells = expression.check_bins(params.bins, params.method, params.cells, params.sheet)
    labels, counts = expression.read_counts(job.input.counts, [row["bin"] for row in params.bins], params.columns, ledger)
    found = expression.estimate(counts, gates, cells, params.method, params.read_dispersion)
    table = expression.to_table(labels, found, params.minimum_reads, ledger)
    ledger.write(job.output.ledger, table.height)
    tables.write(table, job.output.promoters)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
