"""Read a table of sequences and expression and write the promoter table."""

from gpraflow import scaffold, smk, tables
from gpraflow.ledger import Ledger


def main(job):
    smk.log_to(job.log[0])
    params, ledger = job.params, Ledger("ingest_table", job.wildcards.dataset)
    policy = tables.Policy(
        damaged_flanks=params.damaged_flanks,
        add_missing_flanks=params.add_missing_flanks,
        max_flank_edits=params.max_flank_edits,
        insert_length=tuple(params.insert_length),
        outside_length=params.outside_length,
        duplicates=params.duplicates,
    )
    table = tables.ingest(
        job.input.table,
        scaffold=scaffold.load(job.input.scaffolds, params.scaffold),
        policy=policy,
        columns=params.columns,
        file_format=params.format,
        header=params.header,
        expression_range=(params.expression_min, params.expression_max),
        ledger=ledger,
    )
    ledger.write(job.output.ledger, table.height)
    tables.write(table, job.output.promoters)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
