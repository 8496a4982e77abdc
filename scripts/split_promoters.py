"""Send whole families of promoters to train, val and test."""

import polars as pl
from gpraflow import smk, splits, tables
from gpraflow.ledger import Ledger


def main(job):
    smk.log_to(job.log[0])
    params, ledger, table = job.params, Ledger("split_promoters", "library"), tables.read(job.input.promoters)
    ledger.read(table.height)
    parts = splits.split(
        table,
        pl.read_parquet(job.input.families)["family"],
        method=params.method,
        names=params.names,
        fractions=params.fractions,
        labels=params.labels,
        across=params.across,
        overlaps=pl.read_parquet(job.input.overlaps),
        independent=params.independent,
        seed=params.seed,
        origin=job.input.promoters,
        ledger=ledger,
    )
    for name, path in zip(params.names, job.output.splits, strict=True):
        tables.write(parts[name], path)
    ledger.write(job.output.ledger, sum(part.height for part in parts.values()))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
