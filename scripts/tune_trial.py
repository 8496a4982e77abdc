"""Train one trial of the hyper-parameter tuning."""

from gpraflow.core import logs
from gpraflow.training import options, tuning


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    tuning.run_trial(
        job.input.receipt,
        job.output.trial,
        number=int(job.wildcards.trial),
        space=params.space,
        epochs=params.epochs,
        seed=params.seed,
        blueprint=options.Blueprint.read(params.model, job.input.scaffolds, job.input.motifs or ""),
        options=options.Options(**params.options),
    )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
