"""Collect the ledgers of all steps and check that they agree."""

from gpraflow import ledger, smk


def main(job):
    smk.log_to(job.log[0])
    ledger.collect(job.input.ledgers, job.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
