"""Train the model."""

from pathlib import Path

from gpraflow import scaffold, smk, training


def main(job):
    terminal = smk.log_to(job.log[0])
    params = job.params
    training.train(
        job.input.receipt,
        Path(job.output.model).parent,
        blueprint=training.Blueprint(
            params.name,
            params.preset,
            params.sizes,
            upstream=scaffold.load(job.input.scaffolds, params.scaffold).upstream,
            motifs=job.input.motifs or "",
        ),
        options=training.Options(**params.options),
        terminal=terminal,
    )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
