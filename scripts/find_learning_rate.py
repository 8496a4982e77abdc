"""Learning-rate range test: train while the learning rate rises with each batch until the loss diverges."""

from pathlib import Path

from gpraflow.core import files, logs
from gpraflow.training import options, range_test


def main(job):
    logs.log_to(job.log[0])
    rates, suggested = range_test.range_test(
        job.input.receipt,
        Path(job.output.rates).parent / ".shards",
        blueprint=options.Blueprint.read(job.params.model, job.input.scaffolds, job.input.motifs or ""),
        options=options.Options(**job.params.options),
        **job.params.range,
    )
    files.write_text(job.output.rates, rates.write_csv(separator="\t"))
    files.write_json(job.output.suggestion, {"learning_rate": suggested})


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
