"""Find the families of near-duplicate promoters, which must stay in one split."""

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
    family = neighbours.families(table, inserts, params.max_edits, params.kmer, job.threads)
    sizes = family.value_counts()["count"]
    ledger.note("families", len(sizes))
    ledger.note("promoters in families of two or more", int(sizes.filter(sizes > 1).sum()))
    ledger.note("promoters of the largest family", int(sizes.max()))
    files.write_parquet(job.output.families, pl.DataFrame({"sequence": table["sequence"], "family": family}))
    ledger.write(job.output.ledger, len(family))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
