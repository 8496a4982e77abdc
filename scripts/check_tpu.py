"""Compile the training step for a TPU without having one: memory use and estimated time per epoch."""

from gpraflow.core import files, logs
from gpraflow.training import options, tpu


def main(job):
    terminal = logs.log_to(job.log[0])
    about = tpu.check(
        options.Blueprint.read(job.params.model, job.input.scaffolds, job.input.motifs or ""),
        options.Options(**job.params.options),
        job.params.length,
        **job.params.tpu,
        conditions=job.params.conditions,
    )
    files.write_json(job.output.check, about)
    print(tpu.summary(about), file=terminal)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
