"""Train the model."""

from pathlib import Path

from gpraflow import processes, smk, training


def main(job):
    terminal = smk.log_to(job.log[0])
    processes.train(
        job.input.receipt,
        Path(job.output.model).parent,
        blueprint=training.Blueprint.read(job.params.model, job.input.scaffolds, job.input.motifs or ""),
        options=training.Options(**job.params.options),
        backup=job.resources.backup,
        number=job.resources.processes,
        launcher=job.resources.launcher,
        terminal=terminal,
    )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
