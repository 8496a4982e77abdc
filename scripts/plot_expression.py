"""Draw reads per promoter, expression, profiles over bins with the fitted curve, and replicates against each other."""

import polars as pl
from gpraflow import assay_plots, expression, plots, smk


def main(job):
    smk.log_to(job.log[0])
    params, table, cells = job.params, pl.read_parquet(job.input.promoters), getattr(job.input, "cells", None)
    sheet = expression.with_cells(params.sheet, cells) if cells else params.sheet
    replicates = expression.check_bins(sheet, params.scale, params.cells, cells or params.sheet_path)
    counts = table.select(f"reads_{column}" for column in replicates[0].columns).to_numpy()
    per_cell = expression.reads_per_cell(counts, replicates[:1])
    rows = assay_plots.choose_examples(table["expression"].to_numpy(), counts.sum(axis=1))
    mean, sd, low, high = table[rows].select("expression", "cell_sd", "low", "high").to_numpy().T
    expected = expression.expected_profile(mean, sd, replicates[0], per_cell > 0)
    seen, edges = assay_plots.cell_shares(counts[rows], per_cell), replicates[0].edges
    unit = f"{params.unit}, replicate {replicates[0].name}" if replicates[0].name else params.unit
    figures = {
        "depth": assay_plots.depth(table["n_reads"].to_numpy()),
        "expression": assay_plots.expression(table["expression"].to_numpy(), table["singleton"].to_numpy(), params.unit),
        "profiles": assay_plots.profiles(edges, seen, expected, mean, low, high, counts[rows].sum(axis=1), unit),
    }
    if len(replicates) > 1:
        both = ({each.name: table[f"{what}_{each.name}"].to_numpy() for each in replicates} for what in ("expression", "n_reads"))
        figures["replicates"] = assay_plots.replicates(*both, params.unit)
    for name, figure in figures.items():
        plots.save(figure, getattr(job.output, f"{name}_png"), getattr(job.output, f"{name}_svg"))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
