"""Predict the expression of one table of promoters."""

from pathlib import Path

from gpraflow import prediction, scaffold, smk, tables
from gpraflow.ledger import Ledger


def main(job):
    smk.log_to(job.log[0])
    ledger = Ledger("predict_promoters", job.wildcards.dataset)
    plasmid = scaffold.load(job.input.scaffolds, job.params.scaffold)
    predicted = prediction.predict(
        Path(job.input.model).parent,
        tables.read(job.input.promoters),
        backend=job.params.backend,
        batch_size=job.params.batch_size,
        ledger=ledger,
        plasmid=(plasmid.upstream, plasmid.downstream),
    )
    tables.write(predicted, job.output.predictions)
    ledger.write(job.output.ledger, predicted.height)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
