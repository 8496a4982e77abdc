"""Estimate the expression of each promoter from its reads per sorted bin, or from its DNA and RNA counts."""

from gpraflow.assay import count_tables, dna_rna, expression
from gpraflow.core import logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters


def main(job):
    logs.log_to(job.log[0])
    params, ledger = job.params, Ledger("estimate_expression", "library")
    if params.dna_rna:
        files = {name: getattr(job.input, name, None) for name in ("barcodes", "design")}
        table = dna_rna.expression_table(job.input.counts[0], params.sheet, params.columns, params.dna_rna, ledger, **files)
    else:
        cells = getattr(job.input, "cells", None)  # a table of its own
        origin = cells or params.sheet_path
        sheet = expression.with_cells(params.sheet, cells) if cells else params.sheet
        replicates = expression.check_bins(sheet, params.scale, params.cells, origin)
        bins = count_tables.in_order(params.places, replicates)
        labels, counts = count_tables.read(job.input.counts, bins, params.columns, ledger, sheet=params.sheet_path, **params.reading)
        method = {key: getattr(params, key) for key in ("method", "read_dispersion", "prior")}
        filters = {key: getattr(params, key) for key in ("minimum_reads", "minimum_cells", "singletons", "singleton_weight")}
        options = {"method": method, "filters": filters, "origin": origin, "ledger": ledger, "threads": job.threads}
        table = expression.expression_table(labels, counts, replicates, **options)
    ledger.write(job.output.ledger, table.height)
    promoters.write(table, job.output.promoters)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
