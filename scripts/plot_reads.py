"""Draw what became of the reads of each bin, how many inserts they hold, and what the inserts look like."""

import polars as pl
from gpraflow import assay_plots, ledger, plots, scaffold, smk


def main(job):
    smk.log_to(job.log[0])
    flanks = scaffold.load(job.input.scaffolds, job.params.scaffold)
    found = assay_plots.survey(assay_plots.inserts_of_bins(pl.scan_parquet(job.input.counts), job.params.columns, flanks))
    figures = {
        "yield": assay_plots.read_yield(ledger.load(job.input.ledger), job.params.columns),
        "distinct": assay_plots.distinct_per_bin(job.params.sheet, found.reads, found.distinct),
        "rarefaction": assay_plots.rarefaction(job.params.sheet, found.bins, found.library),
        "inserts": assay_plots.inserts(found.lengths, found.length_reads, found.composition),
    }
    for name, figure in figures.items():
        plots.save(figure, getattr(job.output, f"{name}_png"), getattr(job.output, f"{name}_svg"))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
