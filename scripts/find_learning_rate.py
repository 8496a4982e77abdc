"""Train with a rising learning rate."""

from pathlib import Path

from gpraflow import files, scaffold, smk, training


def main(job):
    smk.log_to(job.log[0])
    params = job.params
    upstream = scaffold.load(job.input.scaffolds, params.scaffold).upstream
    rates, suggested = training.range_test(
        job.input.receipt,
        Path(job.output.rates).parent / ".shards",
        blueprint=training.Blueprint(params.name, params.preset, params.sizes, upstream, job.input.motifs or ""),
        options=training.Options(**params.options),
        **params.range,
    )
    files.write_text(job.output.rates, rates.write_csv(separator="\t"))
    files.write_json(job.output.suggestion, {"learning_rate": suggested})


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
