"""Draw the parameters of transcription factors, also by position, and beside the motifs found by in-silico mutagenesis."""

import polars as pl

from gpraflow.core import drawing, logs
from gpraflow.explanation import figures


def main(job):
    logs.log_to(job.log[0])
    factors = pl.read_csv(job.input.factors, separator="\t", glob=False)
    drawing.save(figures.factors(factors), job.output.png, job.output.svg)
    positions = pl.read_csv(job.input.positions, separator="\t", glob=False)
    drawing.save(figures.factor_positions(positions, factors), job.output.positions_png, job.output.positions_svg)
    if job.input.motifs:
        motifs = pl.read_csv(job.input.motifs, separator="\t", glob=False)
        drawing.save(figures.factors_and_motifs(factors, motifs, job.params.unit), job.output.motifs_png, job.output.motifs_svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
