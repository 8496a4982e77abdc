"""Design promoters with the trained model, and compare searches with and without penalties for uncertainty."""

from pathlib import Path

from gpraflow.core import logs
from gpraflow.design import output
from gpraflow.formats import promoters
from gpraflow.prediction import predictor


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    output.design_and_compare(
        predictor.Predictor(Path(job.input.model).parent, params.backend, params.batch_size),
        params.design,
        promoters.read(job.input.library),
        job.input.motifs,
        job.input.starts,
        {name: job.output[name] for name in (*output.FILES, "compared", "search")},
    )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
