"""Calibrate prediction intervals on the val split, and describe the training distribution."""

from pathlib import Path

from gpraflow.core import logs
from gpraflow.formats import promoters, transform
from gpraflow.prediction import calibration, predictor
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    validation = predictor.predict(
        Path(job.input.model).parent,
        promoters.read(job.input.validation),
        backend=job.params.backend,
        batch_size=job.params.batch_size,
    )
    fitted = calibration.fit(
        promoters.scan(job.input.train),
        validation,
        model=job.input.model,
        scaffold=scaffold.load(job.input.scaffolds, job.params.scaffold),
        transform=transform.read(job.input.transform),
        **job.params.flanks,
        **job.params.window,
    )
    calibration.write(fitted, job.output.calibration)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
