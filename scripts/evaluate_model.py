"""Score predictions on every data set and on its subgroups, with bootstrap intervals, checks and published models."""

from gpraflow.core import logs
from gpraflow.evaluation import evaluate
from gpraflow.models import about


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    content, parts, compared = evaluate.evaluate_all(
        dict(zip(params.datasets, job.input.predictions, strict=True)),
        **{key: getattr(params, key) for key in ("sources", "run", "independent", "titles", "extras")},
        nearest=job.input.nearest,
        audit=job.input.audit,
        split_method=params.split_method,
        about=about.read(job.input.about),
        permuted_labels=job.input.permuted_labels or None,
        of_splits=job.input.split_checks,
        transform=params.transform,
        strand=params.strand,
        options={"resamples": params.bootstrap, "seed": params.seed, "threads": job.threads},
    )
    outputs = {f"{name}_path": job.output[name] for name in ("json", "tsv", "subgroups", "published_models", "checks")}
    evaluate.write(content, parts, compared, **outputs)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
