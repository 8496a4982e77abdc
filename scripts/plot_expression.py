"""Draw reads per promoter, expression, fitted distributions over bins, and replicates against each other."""

import polars as pl

from gpraflow.assay import estimators, expression
from gpraflow.assay import figures as assay_figures
from gpraflow.core import drawing, logs


def main(job):
    logs.log_to(job.log[0])
    params, table, cells = job.params, pl.read_parquet(job.input.promoters), getattr(job.input, "cells", None)
    sheet = expression.with_cells(params.sheet, cells) if cells else params.sheet
    replicates = expression.check_bins(sheet, params.scale, params.cells, cells or params.sheet_path)
    counts = table.select(f"reads_{column}" for column in replicates[0].columns).to_numpy()
    per_cell = estimators.reads_per_cell(counts, replicates[:1])
    rows = assay_figures.choose_examples(table["expression"].to_numpy(), counts.sum(axis=1))
    mean, sd, low, high = table[rows].select("expression", "cell_sd", "low", "high").to_numpy().T
    expected = estimators.expected_profile(mean, sd, replicates[0], per_cell > 0)
    seen, edges = assay_figures.cell_shares(counts[rows], per_cell), replicates[0].edges
    unit = f"{params.unit}, replicate {replicates[0].name}" if replicates[0].name else params.unit
    figures = {
        "depth": assay_figures.depth(table["n_reads"].to_numpy()),
        "expression": assay_figures.expression(table["expression"].to_numpy(), table["singleton"].to_numpy(), params.unit),
        "profiles": assay_figures.profiles(edges, seen, expected, mean, low, high, counts[rows].sum(axis=1), unit),
    }
    if len(replicates) > 1:
        both = ({each.name: table[f"{what}_{each.name}"].to_numpy() for each in replicates} for what in ("expression", "n_reads"))
        figures["replicates"] = assay_figures.replicates(*both, params.unit)
    for name, figure in figures.items():
        drawing.save(figure, getattr(job.output, f"{name}_png"), getattr(job.output, f"{name}_svg"))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
