"""Score predictions on every data set and on its subgroups, with bootstrap intervals, checks and published models."""

import json
from pathlib import Path

import polars as pl

from gpraflow.core import logs
from gpraflow.evaluation import evaluate, metrics
from gpraflow.formats import promoters
from gpraflow.models import about


def main(job):
    logs.log_to(job.log[0])
    params, found, parts, compared = job.params, {}, [], []
    description = about.read(job.input.about)
    both_strands = any(description["training"][key] for key in ("rc_augmentation", "rc_averaging"))
    nearest = pl.read_parquet(job.input.nearest)
    for name, title, extras, path in zip(params.datasets, params.titles, params.extras, job.input.predictions, strict=True):
        rows = promoters.read(path)
        distance = evaluate.distances_of(rows, nearest, name)
        options = {"resamples": params.bootstrap, "seed": params.seed, "threads": job.threads, "both_strands": both_strands}
        scores, own, others = evaluate.evaluate(rows, name=name, model=params.run, extras=extras, distance=distance, **options)
        found[name] = {"title": title, "independent": name in params.independent, **scores}
        parts += own
        compared += others
    content = {"run": params.run, "datasets": found, "scores": metrics.MEANING, "intervals": metrics.INTERVALS, "model": description}
    content["permuted_labels"] = (
        json.loads(Path(job.input.permuted_labels).read_text(encoding="utf-8")) if job.input.permuted_labels else None
    )
    outputs = {f"{name}_path": job.output[name] for name in ("json", "tsv", "subgroups", "published_models", "checks")}
    evaluate.write(content, parts, compared, **outputs)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
