"""Find the nearest training promoter of each scored promoter."""

from gpraflow.core import files, logs
from gpraflow.formats import promoters
from gpraflow.sequences import flanks as sequences_flanks
from gpraflow.sequences import neighbours, scaffold


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    flanks = scaffold.load(job.input.scaffolds, params.scaffold)
    nearest = neighbours.find_nearest(
        promoters.read(job.input.training)["sequence"],
        {name: promoters.read(path)["sequence"] for name, path in zip(params.datasets, job.input.promoters, strict=True)},
        lambda sequences: sequences_flanks.inserts(sequences, flanks, params.max_flank_edits),
        params.max_edits,
        job.threads,
    )
    files.write_parquet(job.output.nearest, nearest)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
