"""Draw reads counted and lost per bin, distinct inserts, rarefaction, and insert length and composition."""

import polars as pl

from gpraflow.assay import figures as assay_figures
from gpraflow.core import drawing, ledger, logs
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    flanks = scaffold.load(job.input.scaffolds, job.params.scaffold)
    survey = assay_figures.survey(assay_figures.inserts_of_bins(pl.scan_parquet(job.input.counts, glob=False), job.params.columns, flanks))
    figures = {
        "yield": assay_figures.read_yield(ledger.load(job.input.ledger), job.params.columns),
        "distinct": assay_figures.distinct_per_bin(job.params.sheet, survey.reads, survey.distinct),
        "rarefaction": assay_figures.rarefaction(job.params.sheet, survey.bins, survey.library),
        "inserts": assay_figures.inserts(survey.lengths, survey.length_reads, survey.composition),
    }
    for name, figure in figures.items():
        drawing.save(figure, getattr(job.output, f"{name}_png"), getattr(job.output, f"{name}_svg"))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
