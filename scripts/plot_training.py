"""Draw training curves."""

import json
from pathlib import Path

import polars as pl

from gpraflow.core import drawing, logs
from gpraflow.training import figures


def main(job):
    logs.log_to(job.log[0])
    about = json.loads(Path(job.input.about).read_text(encoding="utf-8"))
    drawing.save(figures.training_curves(pl.read_csv(job.input.history, glob=False), about["best_epoch"]), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
