"""Read and validate a table of sequences and expression, and write the promoter table."""

from gpraflow.core import logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters
from gpraflow.sequences import flanks, parents, scaffold
from gpraflow.tables import ingest


def main(job):
    logs.log_to(job.log[0])
    params, ledger = job.params, Ledger("ingest_table", job.wildcards.dataset)
    table = ingest.ingest(
        params.fetched.get("path") or job.input.table,
        scaffold=scaffold.load(job.input.scaffolds, params.scaffold),
        policy=flanks.Policy(**params.policy),
        columns=params.columns,
        file_format=params.format,
        header=params.header,
        expression_range=(params.expression_min, params.expression_max),
        keep=params.extras["keep"],
        keep_if_there=params.extras["keep_if_there"],
        ledger=ledger,
    )
    table = parents.with_parents(table, params.extras["parent"], params.extras["parent_sequence"])
    ledger.write(job.output.ledger, table.height)
    promoters.write(table, job.output.promoters)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
