"""Score every data set as a whole."""

import json
from pathlib import Path

from gpraflow import metrics, smk, tables


def main(job):
    smk.log_to(job.log[0])
    params = job.params
    found = {}
    for name, title, path in zip(params.datasets, params.titles, job.input.predictions, strict=True):
        scores = metrics.evaluate(tables.read(path), resamples=params.bootstrap, seed=params.seed, name=name, threads=job.threads)
        found[name] = {"title": title, "independent": name in params.independent, **scores}
    about = json.loads(Path(job.input.about).read_text(encoding="utf-8"))
    content = {"run": params.run, "datasets": found, "scores": metrics.MEANING, "intervals": "95 %, bootstrap percentiles", "model": about}
    metrics.write(content, job.output.json, job.output.tsv)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
