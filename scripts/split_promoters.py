"""Assign whole clusters of promoters to train, val and test."""

import polars as pl

from gpraflow.core import files, logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters
from gpraflow.tables import splits


def main(job):
    logs.log_to(job.log[0])
    options, ledger = job.params.options, Ledger("split_promoters", "library")
    table, clusters = promoters.read(job.input.promoters), pl.read_parquet(job.input.clusters)
    ledger.read(table.height)
    inputs = {"overlaps": pl.read_parquet(job.input.overlaps), "origin": job.input.promoters}
    parts = splits.split(table, clusters["cluster"], **inputs, **options, ledger=ledger)
    for name, path in zip(options["names"], job.output.splits, strict=True):
        promoters.write(parts[name], path)
    files.write_text(job.output.summary, splits.summary(parts, clusters).write_csv(separator="\t", float_precision=4))
    ledger.write(job.output.ledger, sum(part.height for part in parts.values()))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
