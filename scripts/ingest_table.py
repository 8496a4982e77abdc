"""Read and validate a table of sequences and expression, and write the promoter table."""

from gpraflow.core import logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters, transform
from gpraflow.sequences import flanks, parents, scaffold
from gpraflow.tables import ingest


def main(job):
    logs.log_to(job.log[0])
    params, ledger = job.params, Ledger("ingest_table", job.wildcards.dataset)
    path = params.fetched.get("path") or job.input.table
    table = ingest.ingest(
        path,
        scaffold=scaffold.load(job.input.scaffolds, params.scaffold),
        policy=flanks.Policy(**params.policy),
        ledger=ledger,
        **params.reading,
    )
    of_library, conditions = job.input.transform, params.reading["conditions"]
    expression = ingest.expression_of(table, conditions)
    fitted = transform.read(of_library) if of_library else transform.fit(**params.transform, expression=expression)
    table = ingest.transformed(table, fitted, path, ledger, params.measured, conditions)
    table = parents.with_parents(table, *params.parents)
    ledger.write(job.output.ledger, table.height)
    transform.write(fitted, job.output.transform)
    promoters.write(table, job.output.promoters)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
