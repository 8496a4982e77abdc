"""Send whole families of promoters to train, val and test."""

import polars as pl
from gpraflow import files, smk, splits, tables
from gpraflow.ledger import Ledger


def main(job):
    smk.log_to(job.log[0])
    params, ledger = dict(job.params.items()), Ledger("split_promoters", "library")
    table, families = tables.read(job.input.promoters), pl.read_parquet(job.input.families)
    ledger.read(table.height)
    inputs = {"overlaps": pl.read_parquet(job.input.overlaps), "origin": job.input.promoters}
    parts = splits.split(table, families["family"], **inputs, **params, ledger=ledger)
    for name, path in zip(params["names"], job.output.splits, strict=True):
        tables.write(parts[name], path)
    files.write_text(job.output.summary, splits.summary(parts, families).write_csv(separator="\t", float_precision=4))
    ledger.write(job.output.ledger, sum(part.height for part in parts.values()))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
