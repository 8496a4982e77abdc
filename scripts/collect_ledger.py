"""Collect the ledgers of all steps in one table, and check that they add up."""

from gpraflow.core import logs
from gpraflow.report import accounting


def main(job):
    logs.log_to(job.log[0])
    accounting.collect(job.input.ledgers, job.output.ledger)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
