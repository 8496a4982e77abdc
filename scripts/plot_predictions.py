"""Draw measured against predicted expression of one data set."""

import json
from pathlib import Path

from gpraflow.core import drawing, logs
from gpraflow.evaluation import figures
from gpraflow.formats import promoters


def main(job):
    logs.log_to(job.log[0])
    scores = json.loads(Path(job.input.metrics).read_text(encoding="utf-8"))["datasets"][job.wildcards.scored]
    figure = figures.prediction_scatter(
        promoters.read(job.input.predictions),
        scores,
        job.params.title,
        job.params.unit,
        job.params.hexagons,
        job.params.quantity,
    )
    drawing.save(figure, job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
