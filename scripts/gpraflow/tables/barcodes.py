"""Barcodes: cut them out of inserts, and average the barcodes of a promoter."""

from collections.abc import Sequence
from typing import Any

import polars as pl

from gpraflow.core.conditions import column
from gpraflow.core.errors import InputError, and_more
from gpraflow.core.ledger import Ledger
from gpraflow.formats.columns import first_row
from gpraflow.sequences import flanks
from gpraflow.sequences.flanks import Policy
from gpraflow.sequences.scaffold import Scaffold
from gpraflow.sequences.segments import Segment, parse
from gpraflow.tables import repeated


def cut(rows: pl.DataFrame, scaffold: Scaffold, policy: Policy, path: Any, ledger: Ledger) -> pl.DataFrame:
    """Reduce the inserts of a block to their promoter segments (``scaffold.segments``); barcode segments become the column ``barcode``.

    Flanks stay. An insert that has the length of the promoter segments alone is kept as it is, such as a promoter of an independent data
    set that was measured without a barcode.

    Parameters
    ----------
    rows
        Block with ``row``, ``sequence`` and ``barcode``.
    scaffold, policy, path, ledger
        As for `ingest.ingest`.

    Raises
    ------
    InputError
        If an insert has another length and ``policy.outside_length`` is ``error``, or if the block has barcodes in a column as well.
    """
    segments = parse(policy.segments)
    if not segments:
        return rows
    has_barcodes = any(segment.kind == "barcode" for segment in segments)
    if has_barcodes and (hit := first_row(rows, pl.col("barcode").is_not_null())):
        raise InputError(
            f"{path}, row {hit[0]}: barcode '{hit[1]['barcode']}' is given in a column, but scaffold.segments defines a barcode as well; "
            "set input.columns.barcode: '', or remove the barcode from scaffold.segments"
        )
    begin, size = flanks.insert_bounds(rows["sequence"], scaffold, policy.max_flank_edits)
    rows = rows.with_columns(_begin=pl.Series(begin), _size=pl.Series(size))
    fixed = sum(segment.length or 0 for segment in segments)
    promoter = sum(segment.length or 0 for segment in segments if segment.kind == "promoter")
    variable = any(segment.length is None for segment in segments)
    whole = pl.col("_size") > fixed if variable else pl.col("_size") == fixed
    bare = ~whole & (pl.col("_size") == promoter) & (not variable)
    if hit := first_row(rows, ~whole & ~bare):
        row, cells, count = hit
        if policy.outside_length == "error":
            raise InputError(
                f"{path}, row {row}: the insert is {cells['_size']} bp long, but scaffold.segments ({policy.segments}) needs "
                f"{'more than ' if variable else ''}{fixed} bp{and_more(count)}; correct scaffold.segments, or set "
                "scaffold.outside_length: drop"
            )
        ledger.drop("insert length differs from that of scaffold.segments", count)
        rows = rows.filter(whole | bare)
    ledger.note("insert reduced to its promoter segments", int(rows.select(whole.sum()).item()))
    if count := int(rows.select(bare.sum()).item()):
        ledger.note("promoter without further segments, kept unchanged", count)
    texts = {kind: pl.concat_str(_slices(segments, kind)) for kind in ("promoter", "barcode", "constant") if _slices(segments, kind)}
    if "constant" in texts:
        constant = rows.filter(whole).select(texts["constant"].alias("constant"))["constant"]
        counts = constant.value_counts()["count"]
        ledger.note("constant segments differ from the most common sequence", len(constant) - int(counts.max() or 0))  # type: ignore[arg-type]
    end = pl.col("sequence").str.slice(pl.col("_begin") + pl.col("_size"))
    reduced = pl.concat_str(pl.col("sequence").str.slice(0, pl.col("_begin")), texts["promoter"], end)
    rows = rows.with_columns(
        sequence=pl.when(whole).then(reduced).otherwise("sequence"),
        barcode=pl.when(whole).then(texts["barcode"]) if has_barcodes else pl.col("barcode"),
    )
    return rows.drop("_begin", "_size")


def _slices(segments: tuple[Segment, ...], kind: str) -> list[pl.Expr]:
    """Return the bases of each segment of a kind; ``_begin`` and ``_size`` are where the insert begins, and its length."""
    slices, before, rest = [], 0, sum(segment.length or 0 for segment in segments)
    start = pl.col("_begin")
    for segment in segments:
        length = pl.lit(segment.length) if segment.length is not None else pl.col("_size") - rest
        if segment.kind == kind:
            slices.append(pl.col("sequence").str.slice(start + before, length))
        if segment.length is None:
            start, before = start + pl.col("_size") - rest, before
        else:
            before += segment.length
    return slices


class Average(repeated.Merging):
    """Barcodes of one promoter become one row: the mean, weighted by ``weight`` or else by ``n_reads``, if all rows have them.

    ``expression_sd`` is that of the weighted mean of independent measurements. Reads, weights and cells per bin are added up. Other
    columns are those of the first barcode. With several conditions, each is averaged on its own, over the barcodes measured in it.

    Parameters
    ----------
    path, conditions
        As for `repeated.Merging`.
    table
        All barcodes.
    """

    def __init__(self, path: Any, conditions: Sequence[str], table: pl.LazyFrame):
        super().__init__(["sequence"], path, conditions)
        nulls = table.select(
            pl.col(name).filter(pl.col(column("expression", condition)).is_not_null()).null_count()
            for condition in self.conditions
            for name in self._weights(condition)
        )
        counts = nulls.collect(engine="streaming").row(0, named=True)
        self._by = {each: next((name for name in self._weights(each) if not counts[name]), None) for each in self.conditions}

    @staticmethod
    def _weights(condition: str) -> tuple[str, str]:
        return column("weight", condition), column("n_reads", condition)

    def single(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return promoters of one barcode, without it."""
        return rows.with_columns(barcode=pl.lit(None, pl.String))

    def merge(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Return the mean of each promoter's barcodes."""
        means: dict[str, pl.Expr] = {"barcode": pl.lit(None, pl.String)}
        weights = []
        for condition, by in self._by.items():
            expression, error, singleton, own = (column(role, condition) for role in ("expression", "expression_sd", "singleton", "weight"))
            measured = pl.col(expression)
            weights.append(column("_weight", condition))
            of_barcode = pl.when(measured.is_not_null()).then(pl.col(by).cast(pl.Float64) if by else pl.lit(1.0)).otherwise(0.0)
            rows = rows.with_columns(of_barcode.alias(weights[-1]))
            equal = measured.is_not_null().cast(pl.Float64)
            rows = rows.with_columns(
                pl.when(pl.col(weights[-1]).sum().over("sequence") > 0).then(weights[-1]).otherwise(equal).alias(weights[-1])
            )
            weight, total = pl.col(weights[-1]), pl.col(weights[-1]).sum()
            squares = ((pl.col(error) * weight) ** 2).sum().sqrt() / total
            means |= {
                expression: pl.when(total > 0).then((measured * weight).sum() / total),
                error: pl.when((pl.col(error).count() == measured.count()) & (total > 0)).then(squares),
                singleton: pl.when(pl.col(singleton).count() > 0).then(pl.col(singleton).all() & (measured.drop_nulls().n_unique() == 1)),
                own: pl.when(pl.col(own).count() > 0).then(pl.col(own).sum()),
            }
        return self.merged(rows, means).drop(weights)

    def note(self, ledger: Ledger) -> None:
        """Record how many barcodes were averaged, and by which weights."""
        if self.rows_in:
            by = self._by[self.conditions[-1]]
            how = f"weights from {by}" if by else "equal weights"
            ledger.drop(f"further barcode of a promoter, averaged with {how}", self.rows_in - self.rows_out)
