"""Read and validate a table of sequences and expression, and write the promoter table."""

from gpraflow.core import files, limits, logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import excerpts, promoters, transform
from gpraflow.sequences import flanks, parents, scaffold
from gpraflow.tables import ingest


def main(job):
    terminal = logs.log_to(job.log[0])
    params, ledger = job.params, Ledger("ingest_table", job.wildcards.dataset)
    path, conditions = params.fetched.get("path") or job.input.table, params.reading["conditions"]
    if rows := excerpts.rows_of(path):  # otherwise it is not known
        limits.expect("ingest_table", rows, "rows (estimated)", terminal)
    with files.scratch_folder(job.output.promoters) as folder:
        given = {"scaffold": scaffold.load(job.input.scaffolds, params.scaffold), "policy": flanks.Policy(**params.policy)}
        table = ingest.scan(path, **given, ledger=ledger, folder=folder, **params.reading)
        of = job.input.transform
        used = transform.read(of) if of else ingest.fitted(table, **params.transform, conditions=conditions)
        table = ingest.transformed(table, used, path, ledger, params.measured, conditions)
        ledger.write(job.output.ledger, promoters.rows(table))
        transform.write(used, job.output.transform)
        promoters.write(parents.with_parents(table, *params.parents), job.output.promoters)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
