"""Merge counts across bins, and merge inserts that are sequencing errors into the insert they derive from, or match them to a design."""

import polars as pl

from gpraflow.assay import counts, matching
from gpraflow.core import files, ledger, logs
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    params, design = job.params, getattr(job.input, "design", None)
    bins = [(column, pl.scan_parquet(path, glob=False)) for column, path in zip(params.columns, job.input.counts, strict=True)]
    flanks = scaffold.load(job.input.scaffolds, params.scaffold)
    options = {"threads": job.threads, "umi": None if params.umi == "ignore" else params.umi}
    with files.scratch_folder(job.output.counts) as folder:
        if design:
            designs = matching.load(design, flanks, params.insert_length)
            merged = counts.merge_designed(bins, flanks, designs, params.design_edits, design, params.min_yield, **options, folder=folder)
        else:
            expected = counts.expected_errors(job.input.ledgers)
            merged = counts.merge(bins, flanks, **params.collapse, expected=expected, **options, folder=folder)
    table, ledgers = merged
    ledger.write_all(job.output.ledger, ledgers)
    files.write_parquet(job.output.counts, table)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
