"""Draw and tabulate what the run cost: time on processors, wall time and memory of each rule."""

from gpraflow import audit_plots, cost, plots, smk


def main(job):
    smk.log_to(job.log[0])
    table = cost.read(job.params.benchmarks)
    plots.save(audit_plots.cost(table), job.output.png, job.output.svg)
    cost.write(table, job.output.table)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
