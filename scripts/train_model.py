"""Train the model on the train split; the val split chooses the best epoch."""

from pathlib import Path

from gpraflow.core import logs
from gpraflow.training import options, processes, train


def main(job):
    terminal = logs.log_to(job.log[0])
    processes.train(
        job.input.receipt,
        Path(job.output.model).parent,
        blueprint=options.Blueprint.read(job.params.model, job.input.scaffolds, job.input.motifs or ""),
        options=options.Options(**job.params.options),
        backup=train.backup_url(job.resources.backup, job.input.receipt, on_tpu=bool(getattr(job.resources, "tpu_type", ""))),
        number=job.resources.processes,
        launcher=job.resources.launcher,
        terminal=terminal,
    )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
