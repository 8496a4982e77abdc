"""Ledgers: how many rows each step read, dropped (with the reason) and kept, so that no loss goes unrecorded."""

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import polars as pl

from gpraflow.core import files

COLUMNS = ("rule", "dataset", "kind", "what", "rows")


class Ledger:
    """The ledger of one data set in one rule.

    ``read`` and ``drop`` count rows in and rows lost, ``note`` counts rows that stay but were changed or are worth knowing,
    ``write`` adds the rows out and checks that the sums agree.
    """

    def __init__(self, rule: str, dataset: str):
        self.rule, self.dataset = rule, dataset
        self.counts: dict[tuple[str, str], int] = {("in", "rows"): 0}

    def _add(self, kind: str, what: str, rows: int) -> None:
        self.counts[kind, what] = self.counts.get((kind, what), 0) + int(rows)

    def read(self, rows: int) -> None:
        """Count rows read."""
        self._add("in", "rows", rows)

    def drop(self, what: str, rows: int) -> None:
        """Count rows dropped, with the reason."""
        self._add("dropped", what, rows)

    def note(self, what: str, rows: int) -> None:
        """Count rows that are kept, with a remark."""
        self._add("noted", what, rows)

    def remarks(self, *kinds: str) -> list[str]:
        """Return the counts of ``noted`` or ``dropped`` rows that are not 0, as text such as "3 with N"."""
        return [f"{rows:,} {what}" for (kind, what), rows in self.counts.items() if kind in kinds and rows]

    def note_window(self, sequences: pl.Series, length: int, keep: str, pad: str) -> None:
        """Count sequences that are cut or padded to the model's window."""
        lengths = sequences.str.len_bytes()
        self.note(f"longer than {length} bp, {keep} end kept", int((lengths > length).sum()))
        self.note(f"shorter than {length} bp, padded with N on the {pad}", int((lengths < length).sum()))

    def lines(self, rows_out: int) -> list[tuple[str, str, str, str, int]]:
        """Return the lines of the ledger, columns as `COLUMNS`.

        Raises
        ------
        AssertionError
            If rows in are not rows out plus rows dropped: a fault of the program, never of the data.
        """
        dropped = sum(rows for (kind, _), rows in self.counts.items() if kind == "dropped")
        rows_in = self.counts["in", "rows"]
        if rows_in != rows_out + dropped:
            raise AssertionError(f"{self.rule}, {self.dataset}: {rows_in} rows in, but {rows_out} out and {dropped} dropped")
        return [(self.rule, self.dataset, kind, what, rows) for (kind, what), rows in [*self.counts.items(), (("out", "rows"), rows_out)]]

    def write(self, path: str | os.PathLike, rows_out: int) -> None:
        """Write the ledger as TSV with the columns `COLUMNS`."""
        write_all(path, [(self, rows_out)])


def write_all(path: str | os.PathLike, ledgers: Iterable[tuple[Ledger, int]]) -> None:
    """Write several ledgers, each with its rows out, as one TSV."""
    write_lines(path, [line for ledger, rows_out in ledgers for line in ledger.lines(rows_out)])


def write_lines(path: str | os.PathLike, lines: Iterable[tuple]) -> None:
    text = io.StringIO()
    table = csv.writer(text, delimiter="\t", lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(lines)
    files.write_text(path, text.getvalue())


def load(paths: Sequence[str | os.PathLike]) -> pl.DataFrame:
    """Read ledgers as one table with the columns `COLUMNS`."""
    text = {"dataset": pl.String, "what": pl.String}  # names of bins can be numbers
    return pl.concat([pl.read_csv(Path(path), separator="\t", schema_overrides=text, glob=False) for path in paths])
