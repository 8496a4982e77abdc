"""Cluster near-duplicate promoters, which must stay in one split."""

import polars as pl

from gpraflow.core import files, logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters
from gpraflow.sequences import flanks, neighbours, scaffold


def main(job):
    logs.log_to(job.log[0])
    params, ledger = job.params, Ledger("group_neighbours", "library")
    table = promoters.read(job.input.promoters)
    ledger.read(table.height)
    inserts = flanks.inserts(table["sequence"], scaffold.load(job.input.scaffolds, params.scaffold), params.max_flank_edits)
    cluster = neighbours.clusters(table, inserts, params.max_edits, params.kmer, job.threads)
    sizes = cluster.value_counts()["count"]
    ledger.note("clusters", len(sizes))
    ledger.note("promoters in clusters of two or more", int(sizes.filter(sizes > 1).sum()))
    ledger.note("promoters of the largest cluster", int(sizes.max()))
    named = pl.DataFrame({"sequence": table["sequence"], "cluster": cluster}).with_row_index("first")
    files.write_parquet(job.output.clusters, named.select("sequence", "cluster", pl.col("first").first().over("cluster")))
    ledger.write(job.output.ledger, len(cluster))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
