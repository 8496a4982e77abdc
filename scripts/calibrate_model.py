"""Calibrate the intervals of predictions and of variant effects, and describe the training distribution."""

from pathlib import Path

from gpraflow.core import logs
from gpraflow.formats import promoters, transform
from gpraflow.prediction import calibration, pairs, predictor
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    model = predictor.Predictor(Path(job.input.model).parent, job.params.backend, job.params.batch_size)
    others = zip(job.input.pairs, job.params.parent_expression, strict=True)
    fitted = calibration.fit(
        promoters.scan(job.input.train),
        model.table(promoters.read(job.input.validation)),
        others=[model.table(pairs.measured(promoters.read(path), parent)) for path, parent in others],
        model=job.input.model,
        scaffold=scaffold.load(job.input.scaffolds, job.params.scaffold),
        transform=transform.read(job.input.transform),
        threads=job.threads,
        **job.params.flanks,
        **job.params.window,
    )
    calibration.write(fitted, job.output.calibration)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
