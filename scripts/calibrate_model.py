"""Find the spread of measurements around a model's predictions, and what its training promoters are like."""

from pathlib import Path

from gpraflow import calibration, prediction, scaffold, smk, tables


def main(job):
    smk.log_to(job.log[0])
    validation = prediction.predict(
        Path(job.input.model).parent,
        tables.read(job.input.validation),
        backend=job.params.backend,
        batch_size=job.params.batch_size,
    )
    found = calibration.fit(
        tables.scan(job.input.train),
        validation,
        model=job.input.model,
        scaffold=scaffold.load(job.input.scaffolds, job.params.scaffold),
        **job.params.flanks,
        **job.params.window,
    )
    calibration.write(found, job.output.calibration)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
