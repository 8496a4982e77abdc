"""Find the nearest training promoter of each scored promoter, and compare a sample with shuffled sequences."""

from functools import partial

from gpraflow.core import files, logs
from gpraflow.formats import promoters
from gpraflow.sequences import audit, flanks, neighbours, scaffold


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    inserts = partial(flanks.inserts, scaffold=scaffold.load(job.input.scaffolds, params.scaffold), max_edits=params.max_flank_edits)
    training = promoters.SequenceParts(job.input.training)
    scored = {name: promoters.sequences(path) for name, path in zip(params.datasets, job.input.promoters, strict=True)}
    nearest = neighbours.find_nearest(training, scored, inserts, params.max_edits, job.threads)
    files.write_parquet(job.output.nearest, nearest)
    files.write_parquet(job.output.audit, audit.distances(training, scored, inserts, params.seed, job.threads))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
