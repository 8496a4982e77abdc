"""Draw the loss of the learning-rate range test."""

import json
from pathlib import Path

import polars as pl

from gpraflow.core import drawing, logs
from gpraflow.training import figures


def main(job):
    logs.log_to(job.log[0])
    suggested = json.loads(Path(job.input.suggestion).read_text(encoding="utf-8"))["learning_rate"]
    drawing.save(
        figures.learning_rates(pl.read_csv(job.input.rates, separator="\t", glob=False), suggested), job.output.png, job.output.svg
    )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
