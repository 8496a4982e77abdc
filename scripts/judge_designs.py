"""Predict designs with a second model, the judge, and compare with what the first one promised; it stands in for a truth."""

from gpraflow.core import logs
from gpraflow.design import output, truth
from gpraflow.formats import promoters
from gpraflow.prediction import predictor


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    model = predictor.Predictor(params.judge, params.backend, params.batch_size)
    measure, library = output.judge_of(model, params.readout, promoters.read(job.input.library)["sequence"])
    truth.judge(job.input, job.output, measure, library, truth.JUDGE)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
