"""Count reads per distinct insert, the sequence between the flanks, in one bin."""

from gpraflow.assay import inserts, reads
from gpraflow.core import files, logs
from gpraflow.core.ledger import Ledger
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    flanks = scaffold.load(job.input.scaffolds, job.params.scaffold)
    policy = inserts.Policy.of(flanks, **job.params.policy)
    ledger = Ledger("count_reads", job.wildcards.column)
    counts = reads.count(job.input.reads, policy, ledger, job.threads, job.input.reads_2)
    ledger.write(job.output.ledger, counts["reads"].sum())
    files.write_parquet(job.output.counts, counts)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
