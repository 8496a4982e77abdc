"""Draw the distance of scored promoters to the training set, scores by distance, and the effect of data leakage."""

import json
from pathlib import Path

import polars as pl

from gpraflow.core import drawing, files, logs
from gpraflow.report import figures


def main(job):
    logs.log_to(job.log[0])
    titles, sources, max_edits = job.params.titles, job.params.sources, job.params.max_edits
    nearest, about = pl.read_parquet(job.input.nearest, glob=False), json.loads(Path(job.input.about).read_text(encoding="utf-8"))
    labels = dict.fromkeys(("dataset", "by", "part"), pl.String)
    subgroups = pl.read_csv(job.input.subgroups, separator="\t", schema_overrides=labels, infer_schema_length=None, glob=False)
    demonstration = pl.read_csv(job.input.demonstration, separator="\t", glob=False)
    again = figures.demonstration(demonstration, about["val_r"], about["promoters"]["val"])
    audit = pl.read_parquet(job.input.audit, glob=False)
    drawing.save(figures.leak(nearest, audit, subgroups, titles, max_edits, sources), job.output.distance_png, job.output.distance_svg)
    drawing.save(again, job.output.demonstration_png, job.output.demonstration_svg)
    table = figures.distances(nearest, list(dict.fromkeys(sources.values())), max_edits)
    files.write_text(job.output.table, table.write_csv(separator="\t", float_precision=6))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
