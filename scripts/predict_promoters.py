"""Predict the expression of a split or an independent data set."""

from pathlib import Path

from gpraflow.core import logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters
from gpraflow.prediction import predictor
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    ledger = Ledger("predict_promoters", job.wildcards.dataset)
    plasmid = scaffold.load(job.input.scaffolds, job.params.scaffold)
    predicted = predictor.predict(
        Path(job.input.model).parent,
        promoters.read(job.input.promoters),
        backend=job.params.backend,
        batch_size=job.params.batch_size,
        ledger=ledger,
        plasmid=(plasmid.upstream, plasmid.downstream),
    )
    promoters.write(predicted, job.output.predictions)
    ledger.write(job.output.ledger, predicted.height)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
