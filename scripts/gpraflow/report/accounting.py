"""Read and sequence accounting: the ledgers of all steps as one table and as the bars of a waterfall chart."""

import os
from collections.abc import Sequence
from itertools import pairwise

import polars as pl

from gpraflow.core.ledger import load, write_lines

OF_READS = ("merge_pairs", "count_reads", "merge_counts")  # rules whose ledger rows are reads (or read pairs) of a bin, in order
# Labels of the input rows of the first step, and of the rows retained after each step
_FIRST = {"merge_counts": "distinct inserts", "estimate_expression": "rows of counts", "ingest_table": "rows of the table"}
_AFTER = {
    "merge_counts": "promoters",
    "estimate_expression": "with expression",
    "ingest_table": "accepted",
    "join_tables": "joined",
    "group_neighbours": "in clusters",
    "split_promoters": "in splits",
}
_BARS = {"unit": pl.String, "kind": pl.String, "label": pl.String, "rows": pl.Int64, "start": pl.Int64}


def collect(paths: Sequence[str | os.PathLike], path: str | os.PathLike) -> None:
    """Write the ledgers of all steps as one table, and check that the input of each step equals the output of the previous step.

    Raises
    ------
    AssertionError
        If the rows of a step do not add up, or reads are missing between steps. This indicates a bug, never a fault in the data.
    """
    table = load(paths)
    sums = {
        (rule, dataset): dict(zip(kinds, rows, strict=True))
        for rule, dataset, kinds, rows in table.group_by("rule", "dataset", "kind", maintain_order=True)
        .agg(pl.col("rows").sum())
        .group_by("rule", "dataset", maintain_order=True)
        .agg("kind", "rows")
        .iter_rows()
    }
    for (rule, dataset), rows in sums.items():
        if rows["in"] != rows["out"] + rows.get("dropped", 0):
            raise AssertionError(f"{rule}, {dataset}: {rows}: rows in differ from rows out plus rows dropped")
    for before, after in pairwise(OF_READS):
        for dataset in (dataset for rule, dataset in sums if rule == before):
            passed, taken = sums[before, dataset]["out"], sums[after, dataset]["in"]
            if passed != taken:
                raise AssertionError(f"{dataset}: {before} passed on {passed} reads, {after} took {taken}")
    write_lines(path, table.iter_rows())


def retained(table: pl.DataFrame, splits: Sequence[str], independent: Sequence[str]) -> pl.DataFrame:
    """Return reads and promoters retained at each step, as the bars of a waterfall chart.

    Parameters
    ----------
    table
        Ledger of all steps (`ledger.COLUMNS`).
    splits, independent
        Names of splits and of independent data sets.

    Returns
    -------
    polars.DataFrame
        ``unit`` (reads, promoters, or independent promoters), ``kind`` (total, lost or part), ``label``, ``rows`` and ``start``, the left
        end of the bar. Within a unit, each total is the previous total minus the rows lost in between; parts divide the last total.
        Reasons without losses are omitted. A read pair counts as one read.
    """
    rows: list[tuple[str, str, str, int, int]] = []

    def total(rule: str, datasets: Sequence[str], kind: str) -> int:
        return int(table.filter(pl.col("dataset").is_in(list(datasets)), rule=rule, kind=kind)["rows"].sum())

    def lose(unit: str, rule: str, datasets: Sequence[str], left: int) -> int:
        dropped = table.filter(pl.col("dataset").is_in(list(datasets)), rule=rule, kind="dropped")
        reasons = dropped.group_by("what", maintain_order=True).agg(pl.col("rows").sum())
        for what, lost in reasons.sort("rows", descending=True, maintain_order=True).iter_rows():
            if lost:
                left -= lost
                rows.append((unit, "lost", what, lost, left))
        return left

    bins = table.filter(rule="count_reads")["dataset"].unique(maintain_order=True).to_list()
    if bins:
        paired = table.filter(rule="merge_pairs")["dataset"].unique().to_list()
        left = total("merge_pairs", paired, "in") + total("count_reads", [name for name in bins if name not in paired], "in")
        rows.append(("reads", "total", "reads", left, 0))
        for rule in OF_READS:
            left = lose("reads", rule, bins, left)
        rows.append(("reads", "total", "counted", left, 0))
    joined = table.filter(~pl.col("dataset").is_in(list(independent)), rule="ingest_table")["dataset"].unique().to_list()
    library = sorted({"library", *joined})  # tables that are joined have names of their own
    steps = [rule for rule in _AFTER if total(rule, library, "in")]
    left = total(steps[0], library, "in")
    rows.append(("promoters", "total", _FIRST[steps[0]], left, 0))
    for rule in steps:
        before, left = left, lose("promoters", rule, library, left)
        if left != before:
            rows.append(("promoters", "total", _AFTER[rule], left, 0))
    start = 0
    for split in splits:
        number = total("shard_tfrecords", [split], "in")
        rows.append(("promoters", "part", split, number, start))
        start += number
    for dataset in independent:
        left = total("ingest_table", [dataset], "in")
        rows.append(("independent promoters", "total", dataset, left, 0))
        scored = lose("independent promoters", "ingest_table", [dataset], left)
        if scored != left:
            rows.append(("independent promoters", "total", f"{dataset}, scored", scored, 0))
    return pl.DataFrame(rows, schema=_BARS, orient="row")
