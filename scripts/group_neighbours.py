"""Cluster near-duplicate promoters, which must stay in one split."""

import numpy as np
import polars as pl

from gpraflow.core import files, limits, logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters
from gpraflow.sequences import flanks, neighbours, scaffold


def main(job):
    terminal = logs.log_to(job.log[0])
    params, ledger = job.params, Ledger("group_neighbours", "library")
    table, of_library = promoters.scan(job.input.promoters), scaffold.load(job.input.scaffolds, params.scaffold)
    rows = promoters.rows(table)
    ledger.read(rows)
    limits.expect("group_neighbours", rows, "promoters", terminal)
    inserts = promoters.map_sequences(
        table, lambda each: scaffold.canonical_sequences(flanks.inserts(each, of_library, params.max_flank_edits))
    )
    found = neighbours.named_clusters(inserts, promoters.column(table, "group"), params.max_edits, params.kmer, job.threads)
    sizes = np.bincount(found["first"])
    ledger.note("clusters", int((sizes > 0).sum()))
    ledger.note("promoters in clusters of two or more", int(sizes[sizes > 1].sum()))
    ledger.note("promoters of the largest cluster", int(sizes.max()))
    files.write_parquet(job.output.clusters, pl.concat([table.select("sequence"), found.lazy()], how="horizontal"))
    ledger.write(job.output.ledger, len(inserts))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
