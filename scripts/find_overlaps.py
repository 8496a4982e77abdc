"""Find library promoters that are near-duplicates of independent data sets or of listed test sequences."""

from gpraflow.core import files, logs
from gpraflow.formats import promoters, records
from gpraflow.sequences import flanks as sequences_flanks
from gpraflow.sequences import neighbours, scaffold
from gpraflow.tables import splits

_ROWS = 2_000_000  # promoters of the library that are compared at a time


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    flanks = scaffold.load(job.input.scaffolds, params.scaffold)
    others = {name: promoters.sequences(path) for name, path in zip(params.datasets, job.input.independent, strict=True)}
    for path in job.input.test_sequences:  # one or none
        others[splits.LISTED] = records.read_sequences(path)
    overlaps = neighbours.find_overlaps(
        (block["sequence"] for _, block in promoters.blocks(promoters.scan(job.input.promoters).select("sequence"), _ROWS)),
        others,
        lambda sequences: sequences_flanks.inserts(sequences, flanks, params.max_flank_edits),
        params.max_edits,
        job.threads,
    )
    files.write_parquet(job.output.overlaps, overlaps)
    files.write_text(job.output.summary, neighbours.by_distance(overlaps, list(others), params.max_edits).write_csv(separator="\t"))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
