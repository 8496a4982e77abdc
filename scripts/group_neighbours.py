"""Cluster near-duplicate promoters, which must stay in one split."""

import polars as pl

from gpraflow.core import files, limits, logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters
from gpraflow.sequences import flanks, neighbours, scaffold, stored


def main(job):
    terminal = logs.log_to(job.log[0])
    params, ledger = job.params, Ledger("group_neighbours", "library")
    table, of_library = promoters.scan(job.input.promoters), scaffold.load(job.input.scaffolds, params.scaffold)
    rows = promoters.rows(table)
    ledger.read(rows)
    limits.expect("group_neighbours", rows, "promoters", terminal)
    with files.scratch_folder(job.output.clusters) as folder:
        folder = folder if rows > neighbours.IN_MEMORY else None
        text = stored.Text(folder)
        for _, block in promoters.blocks(table.select("sequence")):
            text.append(scaffold.canonical_sequences(flanks.inserts(block["sequence"], of_library, params.max_flank_edits)))
        group = promoters.labels(table, "group")
        found = neighbours.find_clusters(text, group, params.max_edits, params.kmer, job.threads, folder)
        found.note(ledger)
        files.write_parquet(job.output.clusters, pl.concat([table.select("sequence"), found.table(folder)], how="horizontal"))
    ledger.write(job.output.ledger, rows)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
