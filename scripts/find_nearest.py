"""Find the training promoter that is nearest to each promoter of the data sets to score."""

import polars as pl
from gpraflow import files, neighbours, scaffold, smk, tables


def main(job):
    smk.log_to(job.log[0])
    params = job.params
    flanks = scaffold.load(job.input.scaffolds, params.scaffold)
    training = tables.read(job.input.training)["sequence"]
    inserts = scaffold.inserts(training, flanks, params.max_flank_edits)
    found = [pl.DataFrame(schema=neighbours.NEAREST)]
    for name, path in zip(params.datasets, job.input.promoters, strict=True):
        sequences = tables.read(path)["sequence"]
        mine = scaffold.inserts(sequences, flanks, params.max_flank_edits)
        near = neighbours.nearest(mine, inserts, params.max_edits, threads=job.threads)
        columns = {"dataset": pl.lit(name), "sequence": sequences, "nearest": training[near["library"]]}
        found.append(near.with_columns(**columns).select(list(neighbours.NEAREST)))
    files.write_parquet(job.output.nearest, pl.concat(found))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
