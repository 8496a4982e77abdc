"""Merge paired reads of one bin into single reads that span the insert."""

from gpraflow.assay import pairs
from gpraflow.core import logs
from gpraflow.core.ledger import Ledger


def main(job):
    logs.log_to(job.log[0])
    ledger = Ledger("merge_pairs", job.wildcards.column)
    merged = pairs.merge(
        job.input.reads,
        job.input.reads_2,
        job.output.reads,
        job.output.report,
        ledger,
        job.params.min_overlap,
        job.params.quality_offset,
        job.params.min_yield,
        job.threads,
    )
    ledger.write(job.output.ledger, merged)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
