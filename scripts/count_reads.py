"""Count the reads of each distinct insert of one sorted bin."""

from gpraflow import files, reads, scaffold, smk
from gpraflow.ledger import Ledger


def main(job):
    smk.log_to(job.log[0])
    flanks = scaffold.load(job.input.scaffolds, job.params.scaffold)
    policy = reads.Policy.of(flanks, **job.params.policy)
    ledger = Ledger("count_reads", job.wildcards.column)
    counts = reads.count(job.input.reads, policy, ledger, job.threads)
    ledger.write(job.output.ledger, counts["reads"].sum())
    files.write_parquet(job.output.counts, counts)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
