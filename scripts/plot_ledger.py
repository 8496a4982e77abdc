"""Draw the way of the data: what went in, what was lost and why, what was used."""

from gpraflow import audit_plots, ledger, plots, smk


def main(job):
    smk.log_to(job.log[0])
    way = ledger.way(ledger.load([job.input.ledger]), job.params.splits, job.params.independent)
    plots.save(audit_plots.waterfall(way), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
