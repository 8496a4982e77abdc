"""Find the nearest training promoter of each scored promoter."""

import polars as pl

from gpraflow.core import files, logs
from gpraflow.formats import promoters
from gpraflow.sequences import flanks as sequences_flanks
from gpraflow.sequences import neighbours, scaffold


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    flanks = scaffold.load(job.input.scaffolds, params.scaffold)
    training = promoters.read(job.input.training)["sequence"]
    inserts = sequences_flanks.inserts(training, flanks, params.max_flank_edits)
    tables = [pl.DataFrame(schema=neighbours.NEAREST)]
    for name, path in zip(params.datasets, job.input.promoters, strict=True):
        sequences = promoters.read(path)["sequence"]
        mine = sequences_flanks.inserts(sequences, flanks, params.max_flank_edits)
        near = neighbours.nearest(mine, inserts, params.max_edits, threads=job.threads)
        columns = {"dataset": pl.lit(name), "sequence": sequences, "nearest": training[near["library"]]}
        tables.append(near.with_columns(**columns).select(list(neighbours.NEAREST)))
    files.write_parquet(job.output.nearest, pl.concat(tables))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
