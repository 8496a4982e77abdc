"""Collect the scores of several runs in one table, and compare runs pairwise."""

import json
from pathlib import Path

from gpraflow.core import files, logs
from gpraflow.evaluation import comparisons
from gpraflow.formats import promoters


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    paths = dict(zip(params.runs, job.input.metrics, strict=True))
    runs = {run: json.loads(Path(path).read_text(encoding="utf-8")) for run, path in paths.items()}
    there = set(map(str, job.input.predictions))

    def read(run, dataset):
        path = str(Path(paths[run]).parent / "predictions" / f"{dataset}.parquet")
        return promoters.read(path) if path in there else None

    scores, compared = comparisons.across(runs, read, resamples=params.bootstrap, seed=params.seed, threads=job.threads)
    files.write_text(job.output.tests, compared.write_csv(separator="\t", float_precision=6))
    files.write_text(job.output.scores, scores.write_csv(separator="\t", float_precision=6))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
