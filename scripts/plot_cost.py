"""Draw and tabulate the cost of each rule: CPU time, wall time and memory."""

from gpraflow.core import drawing, logs
from gpraflow.report import cost, figures


def main(job):
    logs.log_to(job.log[0])
    table = cost.read(job.params.benchmarks)
    drawing.save(figures.cost(table), job.output.png, job.output.svg)
    cost.write(table, job.output.table)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
