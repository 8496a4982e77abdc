"""Counts of what each step did with the rows that it was given: nothing is lost without a line here."""

import csv
import io
import os

import polars as pl

from gpraflow import files

COLUMNS = ("rule", "dataset", "kind", "what", "rows")


class Ledger:
    """The rows of one data set on their way through one rule.

    ``read`` and ``drop`` count rows in and rows lost, ``note`` counts rows that stay but were changed or are worth knowing,
    ``write`` adds the rows out and checks that the sums agree.
    """

    def __init__(self, rule: str, dataset: str):
        self.rule, self.dataset = rule, dataset
        self.counts: dict[tuple[str, str], int] = {("in", "rows"): 0}

    def _add(self, kind: str, what: str, rows: int) -> None:
        self.counts[kind, what] = self.counts.get((kind, what), 0) + int(rows)

    def read(self, rows: int) -> None:
        """Count rows that came in."""
        self._add("in", "rows", rows)

    def drop(self, what: str, rows: int) -> None:
        """Count rows that leave the data set here."""
        self._add("dropped", what, rows)

    def note(self, what: str, rows: int) -> None:
        """Count rows that stay."""
        self._add("noted", what, rows)

    def note_window(self, sequences: pl.Series, length: int, keep: str, pad: str) -> None:
        """Count the sequences that `scaffold.fit` cuts or pads."""
        lengths = sequences.str.len_bytes()
        self.note(f"longer than {length} bp, {keep} end kept", int((lengths > length).sum()))
        self.note(f"shorter than {length} bp, padded with N on the {pad}", int((lengths < length).sum()))

    def write(self, path: str | os.PathLike, rows_out: int) -> None:
        """Write the ledger as TSV with the columns ``rule dataset kind what rows``.

        Raises
        ------
        AssertionError
            If rows in are not rows out plus rows dropped: a fault of the program, never of the data.
        """
        dropped = sum(rows for (kind, _), rows in self.counts.items() if kind == "dropped")
        rows_in = self.counts["in", "rows"]
        if rows_in != rows_out + dropped:
            raise AssertionError(f"{self.rule}, {self.dataset}: {rows_in} rows in, but {rows_out} out and {dropped} dropped")
        text = io.StringIO()
        table = csv.writer(text, delimiter="\t", lineterminator="\n")
        table.writerow(COLUMNS)
        for (kind, what), rows in [*self.counts.items(), (("out", "rows"), rows_out)]:
            table.writerow((self.rule, self.dataset, kind, what, rows))
        files.write_text(path, text.getvalue())
