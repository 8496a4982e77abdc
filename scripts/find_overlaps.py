"""Find the promoters of the library that are near-duplicates of promoters of independent data sets."""

import polars as pl
from gpraflow import files, neighbours, scaffold, smk, tables


def main(job):
    smk.log_to(job.log[0])
    params = job.params
    flanks = scaffold.load(job.input.scaffolds, params.scaffold)
    library = tables.read(job.input.promoters)["sequence"]
    inserts = scaffold.inserts(library, flanks, params.max_flank_edits)
    found = [pl.DataFrame(schema=neighbours.OVERLAPS)]
    for name, path in zip(params.datasets, job.input.independent, strict=True):
        others = tables.read(path)["sequence"]
        pairs = neighbours.overlaps(inserts, scaffold.inserts(others, flanks, params.max_flank_edits), params.max_edits, job.threads)
        named = pairs.select(pl.lit(name).alias("dataset"), "distance", sequence=library[pairs["library"]], other=others[pairs["other"]])
        found.append(named.cast(neighbours.OVERLAPS))
    together = pl.concat(found)
    files.write_parquet(job.output.overlaps, together)
    files.write_text(job.output.summary, neighbours.by_distance(together, params.datasets, params.max_edits).write_csv(separator="\t"))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
