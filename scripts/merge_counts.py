"""Merge counts across bins, and merge inserts that are sequencing errors into the insert they derive from."""

import polars as pl

from gpraflow.assay import counts
from gpraflow.core import files, ledger, logs
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    bins = [(column, pl.scan_parquet(path)) for column, path in zip(params.columns, job.input.counts, strict=True)]
    flanks = scaffold.load(job.input.scaffolds, params.scaffold)
    table, ledgers = counts.merge(
        bins,
        flanks,
        params.collapse_edits,
        params.collapse_ratio,
        params.n_in_insert,
        job.threads,
        expected=counts.expected_errors(job.input.ledgers),
        max_collapsed=params.max_collapsed,
    )
    ledger.write_all(job.output.ledger, ledgers)
    files.write_parquet(job.output.counts, table)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
