"""Draw reads per promoter, expression, distributions over bins or DNA and RNA counts, and replicates against each other."""

import polars as pl

from gpraflow.assay import expression, figures
from gpraflow.assay.replicates import of_condition
from gpraflow.core import drawing, logs
from gpraflow.formats import conditions


def main(job):
    logs.log_to(job.log[0])
    params, cells = job.params, getattr(job.input, "cells", None)
    table = pl.read_parquet(job.input.promoters, glob=False)
    table = conditions.select(table, params.condition, params.conditions) if params.condition else table
    if params.kind == "dna_rna":
        names = [row["replicate"] for row in params.sheet if row.get("condition", "") == params.condition]
        drawn = figures.of_dna_rna(table, names, params.unit)
    else:
        sheet = expression.with_cells(params.sheet, cells) if cells else params.sheet
        of_all = expression.check_bins(sheet, params.scale, params.cells, cells or params.sheet_path)
        _, replicates = of_condition(of_all, params.condition)
        drawn = figures.of_expression(table, replicates, params.unit, "reads" if params.cells == "reads" else "cells")
    for name, figure in drawn.items():
        drawing.save(figure, getattr(job.output, f"{name}_png"), getattr(job.output, f"{name}_svg"))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
