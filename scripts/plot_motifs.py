"""Draw motifs that explain the predictions, known and de novo, and contribution logos of a few promoters."""

import json
from pathlib import Path

import polars as pl

from gpraflow.core import drawing, logs
from gpraflow.explanation import figures


def main(job):
    logs.log_to(job.log[0])
    inputs, params = job.input, job.params
    promoters, sites, motifs = (
        pl.read_csv(inputs[name], separator="\t", schema_overrides={"name": pl.String}, glob=False)
        for name in ("promoters", "sites", "motifs")
    )
    if params.with_motifs:
        summary = json.loads(Path(inputs.summary).read_text(encoding="utf-8"))
        drawing.save(figures.motifs(motifs, sites, summary, params.title, params.unit), job.output.png, job.output.svg)
    if params.with_de_novo:
        found = figures.read_de_novo(inputs.de_novo, inputs.de_novo_sites, inputs.de_novo_meme)
        drawing.save(figures.de_novo(*found, params.title, params.unit), job.output.de_novo_png, job.output.de_novo_svg)
    shown = sites if params.with_motifs else None
    logos = figures.logos_of(promoters, pl.read_parquet(inputs.contributions, glob=False), shown, params.title, params.logos)
    drawing.save(figures.contribution_logos(logos, params.unit), job.output.logos_png, job.output.logos_svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
