"""The merged table of counts, which is lazy, in memory."""

from gpraflow.assay import counts


def merge(*args, **options):
    table, ledgers = counts.merge(*args, **options)
    return table.collect(), ledgers


def merge_designed(*args, **options):
    table, ledgers = counts.merge_designed(*args, **options)
    return table.collect(), ledgers
