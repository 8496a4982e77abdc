"""Bring the tables of one condition to the scale of the first, and write one promoter table."""

from gpraflow.core import logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters, transform
from gpraflow.tables import join


def main(job):
    logs.log_to(job.log[0])
    params, ledger = job.params, Ledger("join_tables", job.wildcards.joined)
    tables = {name: promoters.read(path) for name, path in zip(params.names, job.input.tables, strict=True)}
    joined = join.join(tables, method=params.method, min_shared=params.min_shared, ledger=ledger)
    table, fitted = join.transformed(joined, params.transform, ledger)
    ledger.write(job.output.ledger, table.height)
    transform.write(fitted, job.output.transform)
    join.write_maps(joined, params.method, job.output.maps)
    promoters.write(table, job.output.promoters)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
