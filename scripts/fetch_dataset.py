"""Download a file of a public data set to {data}, or verify the existing one."""

from gpraflow.core import files, logs
from gpraflow.tables import downloads


def main(job):
    terminal = logs.log_to(job.log[0])
    params = job.params
    receipt = downloads.fetch(params.path, downloads.Source(**params.source), downloads.Network(**params.network), terminal)
    files.write_json(job.output.receipt, receipt)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
