"""Calibrate the intervals of predictions and of variant effects, and describe the training distribution."""

from pathlib import Path

from gpraflow.core import logs
from gpraflow.formats import promoters, transform
from gpraflow.prediction import background, calibrate, calibration, pairs, predictor
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    params, model = job.params, predictor.Predictor(Path(job.input.model).parent, job.params.backend, job.params.batch_size)
    measured = [pairs.measured(promoters.read(path), of) for path, of in zip(job.input.pairs, params.parent_expression, strict=True)]
    validation, flanked = promoters.read(job.input.validation), scaffold.load(job.input.scaffolds, params.scaffold)
    fitted = calibrate.calibrate(
        model,
        promoters.scan(job.input.train),
        validation,
        measured,
        scaffold=flanked,
        threads=job.threads,
        transform=transform.read(job.input.transform),
        **params.flanks,
        **params.window,
    )
    calibration.write(fitted, job.output.calibration)
    background.write(background.compute(model, validation["sequence"], (flanked.five_prime, flanked.three_prime)), job.output.background)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
