"""Draw reads per promoter, expression, distributions over bins or DNA and RNA counts, and replicates against each other."""

import polars as pl

from gpraflow.assay import expression, figures
from gpraflow.core import drawing, logs


def main(job):
    logs.log_to(job.log[0])
    params, cells = job.params, getattr(job.input, "cells", None)
    table = pl.read_parquet(job.input.promoters, glob=False)
    if params.kind == "dna_rna":
        drawn = figures.of_dna_rna(table, [row["replicate"] for row in params.sheet], params.unit)
    else:
        sheet = expression.with_cells(params.sheet, cells) if cells else params.sheet
        replicates = expression.check_bins(sheet, params.scale, params.cells, cells or params.sheet_path, params.overlap)
        drawn = figures.of_expression(table, replicates, params.unit, "reads" if params.cells == "reads" else "cells")
    for name, figure in drawn.items():
        drawing.save(figure, getattr(job.output, f"{name}_png"), getattr(job.output, f"{name}_svg"))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
