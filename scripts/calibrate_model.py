"""Calibrate the intervals of predictions and of variant effects, and describe the training distribution."""

from pathlib import Path

from gpraflow.core import logs
from gpraflow.formats import promoters, transform
from gpraflow.prediction import calibration, pairs, predictor
from gpraflow.sequences import flanks, scaffold


def main(job):
    logs.log_to(job.log[0])
    model = predictor.Predictor(Path(job.input.model).parent, job.params.backend, job.params.batch_size)
    known, edits = scaffold.load(job.input.scaffolds, job.params.scaffold), job.params.flanks["max_flank_edits"]
    tables = [model.table(promoters.read(job.input.validation))]
    for path, parent in zip(job.input.pairs, job.params.parent_expression, strict=True):
        tables.append(model.table(pairs.measured(promoters.read(path), parent)))
    fitted = calibration.fit(
        promoters.scan(job.input.train),
        tables[0],
        differences=pairs.differences(tables, lambda sequences: flanks.inserts(sequences, known, edits), job.threads),
        model=job.input.model,
        scaffold=known,
        transform=transform.read(job.input.transform),
        **job.params.flanks,
        **job.params.window,
    )
    calibration.write(fitted, job.output.calibration)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
