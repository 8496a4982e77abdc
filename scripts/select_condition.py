"""Select the predictions of a data set in one condition, or of the difference between two."""

from gpraflow.core import logs
from gpraflow.formats import conditions, promoters


def main(job):
    logs.log_to(job.log[0])
    table = promoters.read(job.input.predictions)
    promoters.write(conditions.select(table, job.params.readout, job.params.conditions), job.output.predictions)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
