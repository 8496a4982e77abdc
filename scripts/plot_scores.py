"""Draw Pearson r on every data set, and the coverage of prediction intervals."""

import json
from pathlib import Path

import polars as pl

from gpraflow.core import drawing, files, logs
from gpraflow.evaluation import figures
from gpraflow.formats import promoters
from gpraflow.prediction import calibration


def main(job):
    logs.log_to(job.log[0])
    datasets = json.loads(Path(job.input.metrics).read_text(encoding="utf-8"))["datasets"]
    rows = []
    for name, readout, path in zip(job.params.datasets, job.params.readouts, job.input.predictions, strict=True):
        rows += calibration.coverage(promoters.read(path), calibration.load(job.input.calibration, readout), name)
    table = pl.DataFrame(rows, schema=calibration.COVERAGE)
    scored = {name: datasets[name] for name in job.params.datasets}
    titles = {name: of["title"] for name, of in scored.items()}
    drawing.save(figures.summary(scored), job.output.scores_png, job.output.scores_svg)
    drawing.save(figures.coverage(table, titles), job.output.intervals_png, job.output.intervals_svg)
    files.write_text(job.output.table, table.write_csv(separator="\t", float_precision=6))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
