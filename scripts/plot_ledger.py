"""Draw reads and promoters retained at each step, and those lost with the reason."""

from gpraflow.core import drawing, ledger, logs
from gpraflow.report import accounting, figures


def main(job):
    logs.log_to(job.log[0])
    bars = accounting.retained(ledger.load([job.input.ledger]), job.params.splits, job.params.independent)
    drawing.save(figures.waterfall(bars), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
