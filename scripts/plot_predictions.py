"""Draw measured against predicted expression of one data set."""

import json
from pathlib import Path

from gpraflow import plots, smk, tables


def main(job):
    smk.log_to(job.log[0])
    scores = json.loads(Path(job.input.metrics).read_text(encoding="utf-8"))["datasets"][job.wildcards.dataset]
    figure = plots.prediction_scatter(tables.read(job.input.predictions), scores, job.params.title, job.params.unit, job.params.hexagons)
    plots.save(figure, job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
