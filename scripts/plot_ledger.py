"""Draw the way of the data: what went in, what was lost and why, what was used."""

from gpraflow.core import drawing, ledger, logs
from gpraflow.report import accounting, figures


def main(job):
    logs.log_to(job.log[0])
    way = accounting.way(ledger.load([job.input.ledger]), job.params.splits, job.params.independent)
    drawing.save(figures.waterfall(way), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
