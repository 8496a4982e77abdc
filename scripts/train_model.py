"""Train the model."""

from pathlib import Path

from gpraflow import smk, training


def main(job):
    terminal = smk.log_to(job.log[0])
    training.train(
        job.input.receipt,
        Path(job.output.model).parent,
        name=job.params.name,
        preset=job.params.preset,
        sizes=job.params.sizes,
        options=training.Options(**job.params.options),
        terminal=terminal,
    )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
