"""Assign whole clusters of promoters to train, val and test, and check the sizes of the splits."""

import polars as pl

from gpraflow.core import files, limits, logs, verdicts
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters
from gpraflow.tables import split_checks, splits


def main(job):
    terminal = logs.log_to(job.log[0])
    options, ledger = job.params.options, Ledger("split_promoters", "library")
    table = promoters.scan(job.input.promoters)
    limits.expect("split_promoters", promoters.rows(table), "promoters", terminal)
    clusters = splits.Clusters(pl.scan_parquet(job.input.clusters, glob=False))
    ledger.read(len(clusters.first))
    inputs = {"overlaps": pl.read_parquet(job.input.overlaps, glob=False), "origin": job.input.promoters}
    assigned = splits.assign(table, clusters, **inputs, **options, ledger=ledger)
    inputs |= {key: options[key] for key in ("method", "fractions", "independent", "seed")}
    checked = split_checks.check(assigned, **inputs, ledger=ledger)
    verdicts.show(checked, terminal)
    for name, path in zip(options["names"], job.output.splits, strict=True):
        promoters.write(assigned.part(name), path)
    files.write_text(job.output.summary, splits.summary(assigned).write_csv(separator="\t", float_precision=4))
    verdicts.write(job.output.checks, checked)
    ledger.write(job.output.ledger, sum(assigned.sizes().values()))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
