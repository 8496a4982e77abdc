"""``gpraflow check``: read the first rows or reads of all inputs of a run, say what was understood, and propose config keys.

Inputs are read by the functions of the run's own rules, on excerpts, so that an error is the one with which the run would stop.
"""

import contextlib
import io
import os
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import yaml

from gpraflow.app import costs, overlays
from gpraflow.app.plan import LIBRARY, SIMULATED, Plan
from gpraflow.assay import count_tables, dna_rna, expression, inserts, matching, sheet
from gpraflow.assay import counts as assay_counts
from gpraflow.assay import inspection as assay_inspection
from gpraflow.assay.replicates import of_condition
from gpraflow.core import conditions, files, resources
from gpraflow.core.errors import ConfigError, GpraflowError, InputError, visible
from gpraflow.core.inspection import Inspection, Proposal, about, percent
from gpraflow.core.ledger import Ledger
from gpraflow.formats import excerpts, inspection, records
from gpraflow.formats import text as formats_text
from gpraflow.formats.columns import missing_cells
from gpraflow.formats.excerpts import Excerpt
from gpraflow.sequences import constants, flanks, neighbours
from gpraflow.sequences import scaffold as scaffolds
from gpraflow.sequences.scaffold import Scaffold
from gpraflow.tables import ingest, split_checks, splits
from gpraflow.tables import inspection as tables_inspection

ROWS = 10_000  # rows or reads of each input
_READS = 1_000_000  # reads of all files together
_MERGED = 300_000  # counted reads whose sequencing errors are merged
_DECISIVE = 0.25  # share of the promoters in one cluster from which splits are uneven
_WIDTH = 110
_LABEL = 18


@dataclass
class Report:
    """What a check found: ``inspections`` of all inputs, the validated ``config``, and ``keys`` with dots that the proposals set.

    ``reasons`` says why, by key; ``scaffolds`` are entries for a new file of scaffolds. ``too_large`` names the steps that need more
    memory than this machine allows.
    """

    title: str
    inspections: list[Inspection] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    keys: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    scaffolds: dict[str, Mapping[str, str]] = field(default_factory=dict)
    scaffold_file: str = ""
    too_large: list[str] = field(default_factory=list)

    @property
    def errors(self) -> list[str]:
        """Messages with which a run would stop."""
        return list(dict.fromkeys(message for each in self.inspections for message in each.errors))

    @property
    def proposals(self) -> list[Proposal]:
        """Proposals of all inputs."""
        return [proposal for each in self.inspections for proposal in each.proposals]

    def text(self) -> str:
        """Return the tables, the numbered proposals and the errors."""
        lines = [self.title]
        for each in self.inspections:
            if each.lines or each.proposals or each.errors:
                lines += ["", each.title]
                lines += [line for what, value in each.lines for line in _aligned(what, value)]
                numbers = [str(self.proposals.index(proposal) + 1) for proposal in each.proposals]
                if numbers:
                    lines += _aligned("proposals", f"{', '.join(numbers)} below")
                if each.errors:
                    lines += _aligned("error", "a run would stop; see below")
        if self.proposals:
            lines += ["", "Proposals"]
            for number, proposal in enumerate(self.proposals, start=1):
                lines += self._proposal(number, proposal)
        if self.errors:
            lines += ["", "A run would stop with:"]
            lines += [f"  {line}" for message in self.errors for line in message.splitlines()]
        elif self.too_large:
            lines += ["", "A run would need more memory than this machine allows:"]
            lines += [
                line for message in self.too_large for line in textwrap.wrap(message, _WIDTH, initial_indent="  ", subsequent_indent="  ")
            ]
        else:
            lines += ["", "Nothing was found that would stop a run."]
        return visible("\n".join(lines) + "\n")

    def _proposal(self, number: int, proposal: Proposal) -> list[str]:
        keys = dict(proposal.keys)
        if proposal.scaffolds and self.scaffold_file:
            keys["scaffold.file"] = self.scaffold_file
        stop = ": set" if keys else (f": {proposal.advice}" if proposal.advice else "")
        lines = textwrap.wrap(f"{proposal.finding}{stop}", _WIDTH, initial_indent=f"{number:3}. ", subsequent_indent="     ")
        lines += [f"       {overlays.line(key, value)}" for key, value in keys.items()]
        for name, entry in proposal.scaffolds.items():
            lines.append(f"       in this file: {overlays.line(name, dict(entry))}")
        if keys and proposal.advice:
            lines += textwrap.wrap(f"({proposal.advice})", _WIDTH, initial_indent="     ", subsequent_indent="     ")
        return lines

    def draft(self, path: Path, command: str = "check") -> dict[str, str]:
        """Return the files of a config with the proposals: path -> text; ``command`` is that which writes them."""
        keys, written = dict(self.keys), {}
        if self.scaffolds:
            beside = path.with_name(f"{path.stem}_scaffolds.yaml")
            keys["scaffold.file"] = str(beside)
            content = yaml.safe_dump({name: dict(entry) for name, entry in self.scaffolds.items()}, sort_keys=False)
            written[str(beside)] = (
                f"# Constant sequences that were seen on both sides of the inserts; compare them with the plasmid.\n{content}"
            )
        config = overlays.with_keys(self.config, keys)
        heading = [f"Draft by gpraflow {command}: the keys that differ from the defaults (config/config.yaml), with the proposals."]
        written[str(path)] = overlays.text(config, self.reasons, heading)
        return written


def _aligned(what: str, value: str) -> list[str]:
    indent = " " * (_LABEL + 2)
    rest = textwrap.wrap(value, _WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False) or [indent]
    return [f"  {what:<{_LABEL}}{rest[0][len(indent) :]}" if len(what) < _LABEL else f"  {what} {rest[0].strip()}", *rest[1:]]


def write(report: Report, path: str, force: bool = False) -> list[str]:
    """Write the draft of a config, and a file of scaffolds beside it if one is proposed; return their paths.

    Raises
    ------
    ConfigError
        If a file exists, unless ``force``; or if the config itself is invalid, so that there is nothing to write.
    """
    if not report.config:
        raise ConfigError(f"{path}: not written, because the config is invalid; correct it first")
    written = report.draft(Path(path))
    for name in written:
        if Path(name).exists() and not force:
            raise ConfigError(f"{name}: this file exists; give another name, or --force to overwrite it")
    for name, text in written.items():
        files.write_text(name, text)
    return list(written)


def check(config: Mapping[str, Any], rows: int = ROWS, threads: int = 2, title: str = "") -> Report:
    """Check the inputs of a run.

    Parameters
    ----------
    config
        Content of the config files.
    rows
        Rows or reads of each input that are read.
    threads
        Number of threads.
    title
        First line of the report.
    """
    report = Report(title)
    with assay_inspection.scratch() as folder, _quietly() as warned:
        try:
            plan = Plan(config)
        except GpraflowError as error:
            report.inspections.append(Inspection("config", errors=[str(error)]))
            return report
        report.config = plan.config
        checker = _Checker(config, plan, rows, threads, Path(folder), report)
        checker.run()
        if warned:
            report.inspections[0].lines += [("warning", str(each.message)) for each in warned if issubclass(each.category, UserWarning)]
    _set_scaffold_file(report)
    return report


def _set_scaffold_file(report: Report) -> None:
    if report.scaffolds:
        report.scaffold_file = f"{report.config['run']}_scaffolds.yaml"


@contextlib.contextmanager
def _quietly() -> Iterator[list[warnings.WarningMessage]]:
    """Keep what the library's functions print for logs off the terminal, and collect their warnings."""
    with (
        warnings.catch_warnings(record=True) as warned,
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        warnings.simplefilter("always")
        yield warned


@dataclass
class _Library:
    """Promoters of the first rows as `ingest_table` writes them, and what is expected of the whole library."""

    table: pl.DataFrame
    total: int
    complete: bool
    reads: int = 0
    distinct: int = 0


class _Checker:
    """The check of one run."""

    def __init__(self, config: Mapping[str, Any], plan: Plan, rows: int, threads: int, folder: Path, report: Report):
        self.content, self.plan, self.trial = config, plan, plan
        self.rows, self.threads, self.folder, self.report = rows, threads, folder, report
        self.independent: dict[str, pl.DataFrame] = {}

    # Config and proposals

    def run(self) -> None:
        plan = self.plan
        self._config()
        if plan.from_reads:
            library = self._reads()
        elif plan.from_dna_rna:
            library = self._dna_rna()
        elif plan.from_counts:
            library = self._counts()
        else:
            library = self._joined([self._table(name) for name in plan.sources])
        for dataset in plan.independent:
            self._table(dataset)
        if library is not None:
            self._after_ingest(library)

    def _begin(self, title: str) -> Inspection:
        found = Inspection(title)
        self.report.inspections.append(found)
        return found

    def _accept(self, found: Inspection) -> None:
        """Take the proposals of an inspection into the trial config, without those that the config has already."""
        kept = []
        for proposal in found.proposals:
            keys = {key: value for key, value in proposal.keys.items() if overlays.get(self.plan.config, key) != value}
            if not keys and proposal.keys and not proposal.scaffolds:
                continue
            if "scaffold.name" in keys and not proposal.scaffolds and keys["scaffold.name"] not in self._own_scaffolds():
                keys["scaffold.file"] = "built-in"
            kept.append(Proposal(proposal.finding, keys, proposal.advice, proposal.scaffolds))
            self.report.keys |= keys
            self.report.reasons |= dict.fromkeys(keys, proposal.finding)
            self.report.scaffolds |= proposal.scaffolds
        found.proposals = kept
        if not kept:
            return
        keys = dict(self.report.keys)
        if self.report.scaffolds:
            path = self.folder / "scaffolds.yaml"
            path.write_text(yaml.safe_dump({name: dict(entry) for name, entry in self.report.scaffolds.items()}), encoding="utf-8")
            keys["scaffold.file"] = str(path)
        try:
            self.trial = Plan(overlays.with_keys(self.content, keys))
        except GpraflowError as error:
            found.errors.append(f"with the proposals: {error}")

    def _own_scaffolds(self) -> list[str]:
        """Return the names of the scaffolds in the file of the config."""
        return list(_scaffolds_of(self.plan.scaffolds))

    def _known(self) -> dict[str, Scaffold]:
        """Return scaffolds to search for: the built-in ones, and those of the config's file."""
        builtin = resources.resolve("built-in", resources.SCAFFOLDS, "scaffold.file")
        return _scaffolds_of(builtin) | _scaffolds_of(self.plan.scaffolds)

    def _scaffold(self, plan: Plan) -> Scaffold:
        return scaffolds.load(plan.scaffolds, plan.config["scaffold"]["name"])

    def _joined(self, libraries: Sequence[_Library | None]) -> _Library | None:
        """Return the promoters of all tables of the library; None if one of them cannot be read."""
        there = [library for library in libraries if library is not None]
        if len(there) < len(libraries):
            return None
        if len(there) == 1:
            return there[0]
        table = pl.concat([library.table for library in there], how="diagonal_relaxed").unique("sequence", maintain_order=True)
        return _Library(table, sum(library.total for library in there), all(library.complete for library in there))

    def _config(self) -> None:
        plan, config = self.plan, self.plan.config
        found = self._begin("config")
        kind = (
            "sorted bins, from reads"
            if plan.from_reads
            else "DNA and RNA counts"
            if plan.from_dna_rna
            else "sorted bins, from tables of counts"
        )
        found.say("library", kind if plan.from_counts else "table of sequences and expression")
        found.say("scaffold", f"{config['scaffold']['name']}, window {config['scaffold']['length']} bp")
        found.say("model", f"{config['model']['name']}, preset {plan.model['preset']}")
        found.say("unit", plan.unit)
        if plan.conditions:
            found.say("conditions", f"{', '.join(plan.conditions)}; the first is the reference")
        try:
            self._scaffold(plan)
        except GpraflowError as error:
            found.errors.append(str(error))
        try:
            plan.check_motif_files()
            if used := [f"{section}.motifs" for section in plan.sections_with_motifs if section != "simulate"]:
                found.say("motifs", ", ".join(f"{key}: {overlays.get(config, key)}" for key in used))
        except GpraflowError as error:
            found.errors.append(str(error))
        if plan.foreign_motifs:
            organism = resources.MOTIF_ORGANISMS[overlays.get(config, plan.foreign_motifs[0])]
            text = f"the scaffold '{config['scaffold']['name']}' is not of the motifs' organism, {organism}"
            found.propose(text, advice=f"give {' and '.join(plan.foreign_motifs)} of your organism, or ''")
        for path in plan.test_sequences:
            try:
                found.say("test sequences", f"{len(records.read_sequences(path)):,} in {path}")
            except GpraflowError as error:
                found.errors.append(str(error))
        for key in ("initial_model", "teacher"):
            model = plan.training_options()[key]
            if model and not Path(model, "model.keras").is_file():
                found.errors.append(f"training.{key}: {model} is no model directory (it has no model.keras)")

    def _is_simulated(self, path: str) -> bool:
        return path.startswith(self.plan.fill(SIMULATED)) and not Path(path).is_file()

    # Tables of sequences and expression

    def _table(self, dataset: str) -> _Library | None:
        """Check the table of the library or of an independent data set."""
        plan, path = self.plan, self.plan.fill(self.plan.table_of(dataset)["table"])
        of_library = dataset in plan.sources
        kind = "library" if dataset == LIBRARY else f"{'table' if of_library else 'independent data set'} {dataset}"
        found = self._begin(f"{path} ({kind})")
        if self._is_simulated(path):
            found.say("simulated", "written by the run; not there yet")
            return None
        if dataset in plan.public and not Path(path).is_file():
            source = plan.public[dataset]
            offline = plan.config["fetch"]["offline"]
            found.say("public data set", f"not downloaded yet; the run fetches it ({source['doi'] or 'from mirrors'})")
            if offline:
                found.errors.append(f"{path}: this file does not exist, and fetch.offline is true; set fetch.offline: false")
            return None
        try:
            excerpt = excerpts.of_table(path, self.folder, self.rows)
        except GpraflowError as error:
            found.errors.append(str(error))
            return None
        excerpt = self._cells(found, dataset, excerpt)
        if of_library:
            self._accept(found)
        else:
            self._advise(found, dataset)
        table = self._ingest(found, dataset, excerpt)
        if not of_library:
            if table is not None:
                self.independent[dataset] = table
            return None
        return None if table is None else _Library(table, excerpt.total, excerpt.complete)

    def _cells(self, found: Inspection, dataset: str, excerpt: Excerpt) -> Excerpt:
        """Inspect the cells of a table as it is read."""
        plan, reading = self.plan, self.plan.reading_of(dataset)
        options = reading["file_format"], reading["header"], reading["separator"]
        try:
            rows, names = next(formats_text.read_blocks(excerpt.path, *options))
        except StopIteration:
            return excerpt
        except GpraflowError as error:
            self._reopen(found, excerpt, options, str(error))
            return excerpt
        if excerpt.complete:  # also a spreadsheet, and a table without a header
            excerpt = Excerpt(excerpt.path, excerpt.source, rows.height, rows.height, True)
            rows = rows[: self.rows]
        found.say("rows", excerpt.shown)
        if len(names) == 1 and any(sign in names[0] for sign in "\t;,") and reading["separator"] != "auto":
            found.propose(
                f"rows have one cell, '{names[0][:60]}', with input.separator: {reading['separator']}", {"input.separator": "auto"}
            )
            return excerpt
        of_transform = plan.transform if dataset in plan.sources else {"name": "rank_normal"}
        sequences = tables_inspection.inspect_cells(found, rows, names, reading, of_transform, excerpt.complete)
        taken = {role: next((name for name in names if name == reading["columns"].get(role)), "") for role in ("sequence", "expression")}
        if all(taken.values()) and len(sequences):
            values = inspection.numbers(rows, taken["expression"], reading["decimal"])
            raw = pl.DataFrame({"sequence": rows[taken["sequence"]].cast(pl.String).str.to_uppercase(), "expression": values})
            tables_inspection.inspect_duplicates(found, raw, plan.table_of(dataset)["duplicates"])
        if dataset in plan.sources:
            self._sequences(found, sequences)
        return excerpt

    def _sequences(self, found: Inspection, sequences: pl.Series) -> None:
        """Inspect flanks, lengths and barcodes of the library."""
        try:
            scaffold = self._scaffold(self.plan)
        except GpraflowError:
            return
        policy = self._policy(self.plan, LIBRARY)
        scaffold, sequences = tables_inspection.inspect_flanks(found, sequences, scaffold, policy, self._known())
        window = {key: self.plan.config["scaffold"][key] for key in ("length", "keep")}
        tables_inspection.inspect_inserts(found, sequences, scaffold, policy, window)

    def _reopen(self, found: Inspection, excerpt: Excerpt, options: tuple[str, bool, str], message: str) -> None:
        """Propose a format or separator with which a table that cannot be read is readable."""
        found.errors.append(excerpt.restored(message))
        start = Path(excerpt.path).read_bytes()[: 1 << 16].decode("utf-8", errors="replace")
        first = start.partition("\n")[0]
        likely = "tsv" if "\t" in first else "csv"
        for keys, changed in (
            ({"input.separator": "auto"}, (options[0], options[1], "auto")),
            ({"input.format": likely}, (likely, options[1], options[2])),
            ({"input.format": likely, "input.separator": "auto"}, (likely, options[1], "auto")),
        ):
            with contextlib.suppress(GpraflowError, StopIteration):
                _, names = next(formats_text.read_blocks(excerpt.path, *changed))
                if len(names) > 1:
                    found.propose(f"with this key the table has the columns {', '.join(names[:8])}", keys)
                    return

    def _policy(self, plan: Plan, dataset: str) -> flanks.Policy:
        keys = ("add_missing_flanks", "damaged_flanks", "max_flank_edits", "insert_length", "outside_length", "segments")
        table = plan.table_of(dataset)
        return flanks.Policy(
            **{key: plan.config["scaffold"][key] for key in keys}, duplicates=table["duplicates"], barcodes=table["barcodes"]
        )

    def _advise(self, found: Inspection, dataset: str) -> None:
        """Turn proposals on an independent data set that its sheet decides into advice, and take the others."""
        sheet_path = self.plan.config["evaluation"]["datasets"]
        columns = {"input.columns.": "", "input.expression_min": "expression_min", "input.expression_max": "expression_max"}
        columns |= {"input.decimal": "decimal", "input.header": "header"}
        kept = []
        for proposal in found.proposals:
            own = {key: value for key, value in proposal.keys.items() if any(key.startswith(prefix) for prefix in columns)}
            if not own:
                kept.append(proposal)
                continue
            cells = [f"{columns.get(key) or key.rpartition('.')[2]} = {value}" for key, value in own.items()]
            kept.append(Proposal(proposal.finding, {}, f"write {', '.join(cells)} into the row of '{dataset}' in {sheet_path}"))
        found.proposals = kept
        self._accept(found)

    def _ingest(self, found: Inspection, dataset: str, excerpt: Excerpt, plans: Sequence[Plan] = ()) -> pl.DataFrame | None:
        """Ingest an excerpt as the run does, and failing that with the proposals; return the promoter table, if one of them succeeds."""
        table, ledger = None, Ledger("ingest_table", dataset)
        for plan in dict.fromkeys(plans or [self.plan, self.trial]):
            table, ledger, message = self._ingested(plan, dataset, excerpt)
            if table is not None:
                break
            if message not in found.errors:
                found.errors.append(message if plan is self.plan else f"with the proposals: {message}")
        if table is None:
            return None
        interesting = [(what, number) for (kind, what), number in ledger.counts.items() if kind != "in" and number]
        skipped = ("both flanks intact", "lower case converted to upper case")
        for what, number in interesting:
            if what not in skipped:
                dropped = ("dropped", what) in ledger.counts
                found.say("dropped" if dropped else "noted", f"{percent(number / max(1, ledger.counts['in', 'rows']))} {what}")
        return table

    def _ingested(self, plan: Plan, dataset: str, excerpt: Excerpt) -> tuple[pl.DataFrame | None, Ledger, str]:
        ledger = Ledger("ingest_table", dataset)
        try:
            policy, scaffold = self._policy(plan, dataset), self._scaffold(plan)
            table = ingest.ingest(excerpt.path, scaffold=scaffold, policy=policy, ledger=ledger, **plan.reading_of(dataset))
            if dataset in plan.sources:
                measured_in = plan.measured_conditions(dataset)
                fitted = ingest.fitted(table.lazy(), **plan.transform_of(dataset), conditions=measured_in)
                table = ingest.transformed(table.lazy(), fitted, excerpt.path, ledger, conditions=measured_in).collect()
        except GpraflowError as error:
            return None, ledger, excerpt.restored(str(error))
        return table, ledger, ""

    # Tables of counts

    def _sheet(self) -> tuple[Inspection, dict[str, float], list[Any] | None]:
        """Check the sample sheet of sorted bins; return its inspection, the cells of each bin, and the replicates."""
        plan = self.plan
        path = plan.fill(plan.config["counts"]["sample_sheet"])
        found = self._begin(f"{path} (sample sheet)")
        of_bins = [row for row in plan.bins if not sheet.is_unsorted(row)]
        names = list(dict.fromkeys(row.get("replicate", "") for row in of_bins))
        text = f" in {len(names)} replicates ({', '.join(names[:8])})" if len(names) > 1 else ""
        others = len(plan.bins) - len(of_bins)
        found.say("bins", f"{len(of_bins)}{text}" + (f"; unsorted samples: {others}" if others else ""))
        cells_table, rows = plan.cells, plan.bins
        try:
            if isinstance(cells_table, str) and self._is_simulated(cells_table):
                found.say("cells", f"of the simulated assay, {cells_table}, which the run writes")
                return found, {}, None
            if isinstance(cells_table, str):
                rows = expression.with_cells(rows, cells_table)
            origin = cells_table or path
            counts = plan.config["counts"]
            replicates = expression.check_bins(rows, counts["scale"], counts["cells"], origin, counts["overlap"])  # type: ignore[arg-type]
        except GpraflowError as error:
            found.errors.append(str(error))
            return found, {}, None
        with_gates = any("lower" in row or "upper" in row for row in rows)
        given = "given as quantiles of the population" if sheet.by_quantile(rows) else "given" if with_gates else ""
        found.say("gates", f"{given}; counts.scale: {plan.config['counts']['scale']}" if given else "not given; bins count as equally wide")
        cells = (
            {}
            if plan.config["counts"]["cells"] == "reads"
            else {sheet.column_of(row): float(row["cells"]) for row in rows if "cells" in row}
        )
        if not cells:
            found.say("cells", "not given; each read counts as one cell")
        self._range(found, replicates)
        return found, cells, replicates

    def _range(self, found: Inspection, replicates: Sequence[Any]) -> None:
        """Propose the limits of expression if the bins exceed them."""
        table = self.plan.table_of(LIBRARY)
        low, high = min(float(each.values.min()) for each in replicates), max(float(each.values.max()) for each in replicates)
        keys = {}
        if low < table["expression_min"]:
            keys["input.expression_min"] = float(np.floor(low - 1))
        if high > table["expression_max"]:
            keys["input.expression_max"] = float(np.ceil(high + 1))
        if keys:
            text = f"{table['expression_min']:g} to {table['expression_max']:g}"
            found.propose(f"the middles of the bins are {low:g} to {high:g}, and expression of {text} is accepted", keys)
            self._accept(found)

    def _counts(self) -> _Library | None:
        """Check tables of counts per bin."""
        plan = self.plan
        _, cells, replicates = self._sheet()
        parts: list[Excerpt] = []
        found = self._begin(f"{', '.join(plan.counts[:4])} (counts per bin)")
        try:
            parts = [excerpts.of_table(path, self.folder, self.rows) for path in plan.counts]
        except GpraflowError as error:
            found.errors.append(str(error))
            return None
        for each in parts:
            found.say("rows", each.shown if each.rows else "a spreadsheet")
        sequences = self._count_cells(found, parts)
        if sequences is not None:
            self._sequences(found, sequences)
        self._accept(found)
        if replicates is None:
            return None
        read = self._read_counts(found, parts, replicates)
        if read is None:
            return None
        labels, counts = self._in_input(found, *read, replicates)
        columns = [column for each in replicates for column in each.columns]
        assay_inspection.inspect_counts(found, counts, columns, cells)
        complete = all(each.complete for each in parts)
        table = self._estimated(found, labels, counts, replicates, complete)
        total = max(max(each.total, each.rows) for each in parts)
        return self._from_estimates(found, table, total, complete)

    def _count_cells(self, found: Inspection, parts: Sequence[Excerpt]) -> pl.Series | None:
        """Inspect the first table of counts as it is read; return its valid sequences."""
        config = self.plan.config["counts"]
        try:
            rows, names = next(formats_text.read_blocks(parts[0].path, "auto", config["header"]))
        except (GpraflowError, StopIteration):
            return None  # the reader of counts says what is wrong
        if not inspection.inspect_header(found, rows, names, config["header"], "counts"):
            return None
        roles = ["sequence"] if "sequence" in self.plan.count_columns else []
        if self.plan.dna_rna_files and self.plan.count_columns["sequence"] not in names:
            roles = []  # sequences are those of names or barcodes
        of_bins = [place[2] for place in self.plan.places if place[2] in names]
        of_bins += [row[kind] for row in self.plan.sheet for kind in ("dna", "rna") if self.plan.from_dna_rna]
        columns = self.plan.count_columns
        columns = dna_rna.with_names(columns, names) if self.plan.from_dna_rna else columns
        taken = inspection.inspect_columns(found, rows, names, columns, roles, "counts", of_bins)
        gaps = sum(
            int(rows.select(missing_cells(pl.col(name).cast(pl.String).str.strip_chars()).sum()).item())
            for name in set(of_bins) & set(names)
        )
        if gaps and config["empty"] == "error":
            found.propose(f"{gaps:,} counts are empty or NA in these rows", {"counts.empty": "zero"}, advice="if that means no reads")
        return (
            inspection.inspect_letters(found, rows[taken["sequence"]], self.plan.config["input"]["ambiguous"])
            if "sequence" in taken
            else None
        )

    def _read_counts(
        self, found: Inspection, parts: Sequence[Excerpt], replicates: Sequence[Any]
    ) -> tuple[pl.DataFrame, np.ndarray] | None:
        for plan in dict.fromkeys([self.plan, self.trial]):
            config = plan.config["counts"]
            reading = {"header": plan.counts_header, "empty": config["empty"], "ambiguous": plan.config["input"]["ambiguous"]}
            try:
                bins = count_tables.in_order(plan.places, replicates)
                ledger = Ledger("estimate_expression", "library")
                paths = [each.path for each in parts]
                return count_tables.read(paths, bins, plan.count_columns, ledger, sheet=plan.fill(config["sample_sheet"]), **reading)
            except GpraflowError as error:
                message = str(error)
                for each in parts:
                    message = each.restored(message)
                if "no row of bin" in message and not all(each.complete for each in parts):  # a long table in order of its bins
                    found.say("bins", f"not all in the first rows ({message.partition(';')[0]})")
                    return None
                found.errors.append(message if plan is self.plan else f"with the proposals: {message}")
        return None

    def _in_input(
        self, found: Inspection, labels: pl.DataFrame, counts: np.ndarray, replicates: Sequence[Any]
    ) -> tuple[pl.DataFrame, np.ndarray]:
        """Return the promoters that the unsorted samples hold, if there are any, and their reads in sorted bins."""
        ledger = Ledger("estimate_expression", "library")
        bins = count_tables.in_order(self.plan.places, replicates)
        try:
            kept, reads = expression.in_input(labels, counts, bins, self.plan.config["counts"]["minimum_input_reads"], ledger)
        except GpraflowError as error:
            found.errors.append(str(error))
            kept, reads = expression.in_input(labels, counts, bins, 0, ledger)
        if lost := labels.height - kept.height:
            found.say("dropped", f"{percent(lost / labels.height)} by counts.minimum_input_reads in the unsorted samples")
        return kept, reads

    def _estimated(
        self, found: Inspection, labels: pl.DataFrame, counts: np.ndarray, replicates: Sequence[Any], complete: bool
    ) -> pl.DataFrame:
        """Return labels with the mean bin of the reads in place of estimated expression, of promoters that the filters keep."""
        config = self.plan.config["counts"]
        origin = self.plan.cells or self.plan.fill(config["sample_sheet"])
        try:
            expression.check_counts(counts, replicates, origin, Ledger("estimate_expression", "library"))  # type: ignore[arg-type]
        except GpraflowError as error:
            if complete:
                found.errors.append(str(error))
        means, there = {}, np.zeros(len(counts), bool)
        for condition in self.plan.conditions or [""]:
            columns, bins = of_condition(replicates, condition)
            own = counts[:, columns]
            reads = own.sum(axis=1)
            mean = own @ np.concatenate([each.values for each in bins]) / np.maximum(reads, 1)
            kept = reads >= max(1, config["minimum_reads"])
            if config["singletons"] == "drop":
                kept &= (own > 0).sum(axis=1) > 1
            where = f" in {condition}" if condition else ""
            if kept.any():
                text = f"{mean[kept].min():.3g} to {mean[kept].max():.3g}, median {np.median(mean[kept]):.3g} (of reads, not estimated)"
                found.say(f"mean bin{where}", text)
            if not kept.all():
                found.say("dropped", f"{percent(float(1 - kept.mean()))} by counts.minimum_reads and counts.singletons{where}")
            means[conditions.column("expression", condition)] = pl.Series(np.where(kept, mean, np.nan)).fill_nan(None)
            there |= kept
        return labels.with_columns(**means).filter(pl.Series(there))

    def _from_estimates(self, found: Inspection, table: pl.DataFrame, total: int, complete: bool, **others: int) -> _Library | None:
        """Ingest estimated promoters as the run does with the table that it writes."""
        if not table.height:
            return None
        path = excerpts.place(self.folder, "promoters.parquet")
        table.write_parquet(path)
        source = self.plan.fill(self.plan.config["input"]["table"])
        excerpt = Excerpt(str(path), source, table.height, total, complete)
        plans = [self.trial] if found.errors else [self.plan, self.trial]  # what the proposals gave is ingested with them
        ingested = self._ingest(found, LIBRARY, excerpt, plans)
        return None if ingested is None else _Library(ingested, total, complete, **others)

    def _dna_rna(self) -> _Library | None:
        """Check a table of DNA and RNA counts."""
        plan = self.plan
        path = plan.fill(plan.config["counts"]["sample_sheet"])
        found = self._begin(f"{path} (sample sheet)")
        found.say("replicates", f"{len(plan.sheet)} ({', '.join(map(sheet.replicate_of, plan.sheet[:8]))})")
        found = self._begin(f"{plan.counts[0]} (DNA and RNA counts)")
        try:
            excerpt = excerpts.of_table(plan.counts[0], self.folder, self.rows)
        except GpraflowError as error:
            found.errors.append(str(error))
            return None
        found.say("rows", excerpt.shown)
        sequences = self._count_cells(found, [excerpt])
        if sequences is not None and len(sequences):
            self._sequences(found, sequences)
        self._accept(found)
        for each in dict.fromkeys([self.plan, self.trial]):
            ledger = Ledger("estimate_expression", "library")
            try:
                table = dna_rna.expression_table(
                    excerpt.path, each.sheet, each.count_columns, each.dna_rna_options, ledger, **each.dna_rna_files
                )
            except GpraflowError as error:
                message = excerpt.restored(str(error))
                if "no row of replicate" in message and not excerpt.complete:
                    found.say("replicates", f"not all in the first rows ({message.partition(';')[0]})")
                    return None
                found.errors.append(message if each is self.plan else f"with the proposals: {message}")
                continue
            values = table["expression"].drop_nulls().to_numpy()
            found.say("promoters", f"{table.height:,} in these rows")
            found.say("expression", f"log2(RNA/DNA) {values.min():.3g} to {values.max():.3g}, median {np.median(values):.3g}")
            reading = {**self.plan.reading_of(LIBRARY), "missing": "drop", "decimal": "."}
            text = table.select(pl.col("expression").cast(pl.Float64))
            tables_inspection.inspect_expression(found, text, "expression", reading, {"name": "rank_normal"}, excerpt.complete)
            found.lines = [one for number, one in enumerate(found.lines) if one[0] != "expression" or one[1].startswith("log2")]
            self._accept(found)
            per_row = table.height / max(1, excerpt.rows)
            return self._from_estimates(found, table, round(per_row * excerpt.total), excerpt.complete)
        return None

    # Reads

    def _reads(self) -> _Library | None:
        """Check the reads of sorted bins."""
        plan, config = self.plan, self.plan.config["reads"]
        sheet_found, cells, _ = self._sheet()
        paths = [path for column in plan.columns for key in ("reads", "reads_2") for path in plan.files_of_bin(column, key)]
        if missing := [path for path in paths if self._is_simulated(path)]:
            sheet_found.say("reads", f"simulated by the run; {len(missing)} files are not there yet")
            return None
        number = max(1_000, min(self.rows, _READS // max(1, len(paths))))
        found = self._begin(f"{len(paths)} FASTQ files (reads of sorted bins)")
        bins = self._bins(found, number)
        if not bins:
            return None
        mates = any(each.mates for each in bins)
        policy, scaffold = self._reads_policy(plan)
        merges = mates and config["pairs"] == "merge"
        if merges:
            bins, policy = self._merged(found, bins, policy)
        several = [each for each in bins if each.reads and each.reads[0].rows][:5]
        text, qualities = assay_inspection.sample([each.reads[0] for each in several])
        text_2 = assay_inspection.sample([each.mates[0] for each in several])[0] if mates and several and several[0].mates else None
        if not len(text):
            found.errors.append(f"{paths[0]}: no reads in the first FASTQ files")
            return None
        found.say(
            "read length",
            _lengths(text, "" if text_2 is None else "mates 1") + ("" if text_2 is None else f"; {_lengths(text_2, 'mates 2')}"),
        )
        if not merges:
            policy = assay_inspection.inspect_quality(found, qualities, policy)
        results, counting = self._counted(found, bins)
        poor = not results or min(assay_inspection.yield_of(ledger) for _, ledger in results) < assay_inspection.POOR
        changed, scaffold = assay_inspection.inspect_flanks(found, text, text_2, policy, scaffold, self._known())
        self._either_mate(found, bins, changed, poor)
        wide = self._wide(several, changed)
        if wide is not None and wide.height:
            lengths = wide.group_by(pl.col("insert").str.len_bytes().alias("bp")).agg(pl.col("reads").sum()).sort("bp")
            limits = assay_inspection.inspect_inserts(
                found, lengths["bp"].to_numpy(), lengths["reads"].to_numpy(), plan.config["scaffold"]["insert_length"]
            )
            kept = lengths.filter(pl.col("bp").is_between(limits[0], limits[1]))
            if kept.height:
                outer = len(scaffold.five_prime) + len(scaffold.three_prime)
                of_promoters = kept["bp"].to_numpy().astype(np.int64) + outer
                tables_inspection.inspect_window(found, of_promoters, plan.config["scaffold"], kept["reads"].to_numpy())
        self._accept(found)
        if counting or poor:
            results = self._counted_by_trial(found, bins, merges)
        if not results:
            return None
        assay_inspection.inspect_bins(found, bins, results, cells)
        return self._merge_counts(found, bins, results, cells)

    def _bins(self, found: Inspection, number: int) -> list[assay_inspection.Bin]:
        bins = []
        for column in self.plan.columns:
            parts: dict[str, list[Excerpt]] = {}
            for key in ("reads", "reads_2"):
                parts[key] = []
                for path in self.plan.files_of_bin(column, key):
                    try:
                        parts[key].append(assay_inspection.excerpt(path, self.folder, number))
                    except GpraflowError as error:
                        found.errors.append(str(error))
            if len(parts["reads"]) == len(self.plan.files_of_bin(column, "reads")) and len(parts["reads_2"]) in (0, len(parts["reads"])):
                bins.append(assay_inspection.Bin(column, parts["reads"], parts["reads_2"]))
        return bins

    def _reads_policy(self, plan: Plan, merged: bool = False) -> tuple[inserts.Policy, Scaffold]:
        config = plan.config["reads"]
        scaffold = self._scaffold(plan)
        keys = ("max_flank_edits", "min_mean_quality", "quality_offset", "reverse_complement", "n_in_insert", "min_yield", "middle")
        options = {key: config[key] for key in keys} | {
            "umi": config["umi"] != "ignore",
            "insert_length": plan.config["scaffold"]["insert_length"],
        }
        if merged:
            options["quality_offset"] = 33
        return inserts.Policy.of(scaffold, config["five_prime"], config["three_prime"], **options), scaffold

    def _merged(
        self, found: Inspection, bins: list[assay_inspection.Bin], policy: inserts.Policy
    ) -> tuple[list[assay_inspection.Bin], inserts.Policy]:
        """Merge pairs with fastp, as the run does; bins whose pairs do not merge keep them."""
        config = self.plan.config["reads"]
        if not assay_inspection.has_fastp():
            found.propose(
                "pairs are merged by fastp, which is not installed here",
                advice="install fastp (docs/assay.md), or set reads.pairs: either_mate",
            )
            return bins, policy
        kept, shares = [], list[float]()
        for each in bins:
            if not each.mates:
                kept.append(each)
                continue
            try:
                one = assay_inspection.merged(each, config["min_overlap"], config["quality_offset"], config["min_yield"])
            except GpraflowError as error:
                if not found.errors:
                    found.errors.append(str(error))
                kept.append(each)
                continue
            shares.append(sum(e.rows for e in one.reads) / max(1, sum(e.rows for e in each.reads)))
            kept.append(one)
        if shares:
            found.say("pairs", f"{percent(min(shares))} to {percent(max(shares))} of a bin's pairs merge by their overlap")
        return kept, policy

    def _counted(self, found: Inspection, bins: Sequence[assay_inspection.Bin]) -> tuple[list[tuple[pl.DataFrame, Ledger]], bool]:
        """Count reads as the run does; return the counts of bins, and whether an error occurred."""
        results, failed = [], False
        for each in bins:
            try:
                policy, _ = self._reads_policy(self.plan, merged=not each.mates and self.plan.merges_pairs(each.name))
                results.append(assay_inspection.count(each, policy, self.threads))
            except GpraflowError as error:
                message = str(error)
                if not each.complete and "Most were lost to 'mean quality" in message:  # the first reads are often the poorest of a run
                    found.say("warning", f"{message.splitlines()[0]} Low mean quality, perhaps of the first reads only")
                elif not failed:
                    found.errors.append(message)
                failed = True
        return ([] if failed else results), failed

    def _counted_by_trial(self, found: Inspection, bins: Sequence[assay_inspection.Bin], merges: bool) -> list[tuple[pl.DataFrame, Ledger]]:
        """Count reads with the proposals, whatever the yield."""
        results = []
        for each in bins:
            try:
                policy, _ = self._reads_policy(self.trial, merged=merges and not each.mates)
                results.append(assay_inspection.count(each, _without_minimum(policy), self.threads))
            except GpraflowError as error:
                found.errors.append(f"with the proposals: {error}")
                return []
        yields = [assay_inspection.yield_of(ledger) for _, ledger in results]
        if self.trial is not self.plan and yields:
            found.say("with proposals", f"{percent(min(yields))} to {percent(max(yields))} of a bin's reads would be counted")
        return results

    def _wide(self, bins: Sequence[assay_inspection.Bin], policy: inserts.Policy) -> pl.DataFrame | None:
        """Return the inserts of some bins whatever their length."""
        keys = vars(policy) | {"insert_length": (1, 100_000), "min_yield": 0.0}
        try:
            return pl.concat(
                [assay_inspection.count(each, inserts.Policy(**keys), self.threads)[0].select("insert", "reads") for each in bins]
            )
        except GpraflowError:
            return None

    def _either_mate(self, found: Inspection, bins: Sequence[assay_inspection.Bin], policy: inserts.Policy, poor: bool) -> None:
        """Propose to count inserts of either mate if pairs do not merge, but one mate has the insert."""
        pairs_left = [each for each in bins if each.mates]
        if not pairs_left or self.plan.config["reads"]["pairs"] != "merge":
            return
        shares = []
        for each in pairs_left[:3]:
            with contextlib.suppress(GpraflowError):
                shares.append(assay_inspection.yield_of(assay_inspection.count(each, _without_minimum(policy), self.threads)[1]))
        if shares and min(shares) >= self.plan.config["reads"]["min_yield"]:
            found.propose(f"{percent(min(shares))} of the pairs have the whole insert in one mate", {"reads.pairs": "either_mate"})

    def _merge_counts(
        self,
        found: Inspection,
        bins: Sequence[assay_inspection.Bin],
        results: Sequence[tuple[pl.DataFrame, Ledger]],
        cells: Mapping[str, float],
    ) -> _Library | None:
        """Merge the counts of bins as the run does, and ingest the promoters."""
        config, scaffold = self.trial.config["reads"], self._scaffold(self.trial)
        total = sum(each.total for each in bins)
        keep = max(1, round(sum(table["reads"].sum() for table, _ in results) / _MERGED))
        tables = [(each.name, table[::keep].lazy()) for each, (table, _) in zip(bins, results, strict=True)]
        umi = None if config["umi"] == "ignore" else config["umi"]
        expected = sum(ledger.counts.get(("noted", assay_inspection.reads.EXPECTED_ERRORS), 0) for _, ledger in results)
        try:
            if isinstance(self.trial.design, str):
                designs = matching.load(self.trial.design, scaffold, self.trial.config["scaffold"]["insert_length"])
                lazy, _ = assay_counts.merge_designed(
                    tables, scaffold, designs, config["design_edits"], self.trial.design, config["min_yield"], self.threads, umi
                )
                merged = lazy.collect()
                found.say("design", f"{merged.height:,} of {designs.height:,} designed sequences in these reads")
            else:
                exact = keep == 1 and all(each.complete for each in bins)
                self._collapsed(found, tables, expected // keep, config, exact)
                config = self.trial.config["reads"]
                collapse = {"max_edits": config["collapse_edits"], "ratio": config["collapse_ratio"], "n_in_insert": config["n_in_insert"]}
                lazy, _ = assay_counts.merge(tables, scaffold, **collapse, threads=self.threads, umi=umi)
                merged = lazy.collect()
        except GpraflowError as error:
            found.errors.append(str(error))
            return None
        if not merged.height:
            return None
        counts = merged.drop("sequence", "name", strict=False).to_numpy().sum(axis=1)
        distinct = _chao(counts)
        distinct = min(distinct, designs.height) if isinstance(self.trial.design, str) else distinct
        if sum(cells.values()):
            distinct = min(distinct, int(sum(cells.values())))
        distinct = min(distinct, max(1, total))
        found.say("promoters", f"{merged.height:,} distinct inserts in these reads; at least about {about(distinct)} in all (Chao1)")
        limits = self.trial.table_of(LIBRARY)
        value = float(np.clip(0.0, limits["expression_min"], limits["expression_max"]))
        measured = {conditions.column("expression", name): pl.lit(value) for name in self.trial.conditions or [""]}
        table = merged.select("sequence", *(["name"] if "name" in merged.columns else []), **measured)
        complete = all(each.complete for each in bins) and keep == 1
        expected = max(distinct, merged.height)
        return self._from_estimates(found, table, expected, complete, reads=total, distinct=expected)

    def _collapsed(
        self, found: Inspection, tables: Sequence[tuple[str, pl.LazyFrame]], expected: int, config: Mapping[str, Any], exact: bool
    ) -> None:
        """Propose to merge nothing if variants of a library would be merged as sequencing errors."""
        if not config["collapse_edits"]:
            return
        totals = pl.concat([table.select("insert", "reads") for _, table in tables]).group_by("insert").agg(pl.col("reads").sum()).collect()
        totals = totals.sort(-pl.col("reads"), "insert")
        distinct, number = totals["insert"], totals["reads"].to_numpy()
        parent = assay_counts.collapse(distinct, number, config["collapse_edits"], config["collapse_ratio"], threads=self.threads)
        try:
            assay_counts.check_collapsed(distinct, number, parent, expected, config["max_collapsed"])
        except InputError as error:
            if exact:
                found.errors.append(str(error))
            moved = number[parent != np.arange(len(parent))].sum() / number.sum()
            finding = f"{percent(moved)} of the counted reads would be merged as sequencing errors, more than qualities explain"
            found.propose(finding, {"reads.collapse_edits": 0}, advice="for designed variants better: list them in the file reads.design")
            self._accept(found)

    # Clusters, splits, cost

    def _after_ingest(self, library: _Library) -> None:
        plan, table = self.trial, library.table
        found = self._begin("clusters, splits and cost of the run")
        scaffold, policy = self._scaffold(plan), self._policy(plan, LIBRARY)
        texts = flanks.inserts(table["sequence"], scaffold, policy.max_flank_edits)
        options = {key: plan.config["neighbours"][key] for key in ("max_edits", "kmer")}
        cluster = neighbours.clusters(table, texts, **options, threads=self.threads)
        sizes = cluster.value_counts()["count"]
        among = "promoters" if library.complete else "promoters of the first reads" if library.reads else "promoters of the first rows"
        shared = int(sizes.filter(sizes > 1).sum())
        largest = int(sizes.max())  # type: ignore[arg-type]
        found.say(
            "clusters",
            f"{len(sizes):,} among {table.height:,} {among}; {percent(shared / table.height)} of them in clusters of two or more, "
            f"the largest has {largest:,}",
        )
        overlaps = self._overlaps(found, table, scaffold, policy)
        trained = self._splits(found, library, cluster, texts, overlaps, largest)
        for what, value in costs.lines(plan.config, plan.model["preset"], library.total, trained, library.reads, library.distinct):
            found.say(what, value)
        self.report.too_large = costs.too_large(costs.memory(plan.config, library.total, library.distinct))
        self._accept(found)

    def _overlaps(self, found: Inspection, table: pl.DataFrame, scaffold: Scaffold, policy: flanks.Policy) -> pl.DataFrame:
        """Return near-duplicates of the independent data sets and of listed test sequences, among the rows that were read."""
        others = {name: part["sequence"] for name, part in self.independent.items()}
        for path in self.plan.test_sequences:
            with contextlib.suppress(GpraflowError):
                others[splits.LISTED] = records.read_sequences(path)
        edits = self.plan.config["neighbours"]["max_edits"]
        near = neighbours.find_overlaps(
            [table["sequence"]], others, lambda each: flanks.inserts(each, scaffold, policy.max_flank_edits), edits, self.threads
        )
        for name in others:
            some = near.filter(dataset=name)["sequence"].n_unique()
            if some:
                found.say("near-duplicates", f"{some:,} of {table.height:,} promoters are within {edits} edits of '{name}', as far as read")
        return near

    def _splits(
        self, found: Inspection, library: _Library, cluster: pl.Series, texts: pl.Series, overlaps: pl.DataFrame, largest: int
    ) -> int:
        """Say the sizes of splits to expect, propose other fractions or another method; return the size of the training split."""
        plan, table = self.trial, library.table
        config = plan.config["split"]
        names, method = config["names"], config["method"]
        origin = plan.fill("results/{run}/tables/library.parquet")
        fallback = round(library.total * config["fractions"]["train"])
        if method == "list" and not library.complete:
            found.say("splits", f"by split.test_sequences; {percent(config['fractions']['train'])} of the others are for training")
            return fallback
        options = {key: config[key] for key in ("method", "names", "fractions", "labels", "across")}
        options |= {"independent": plan.config["neighbours"]["independent"], "seed": plan.seed_of("split")}
        train_promoters = config["train_promoters"] if library.complete else 0
        sizes: dict[str, int] = {}
        try:
            sizes, verdicts = self._split(library, cluster, overlaps, options, train_promoters, origin)
        except GpraflowError as error:
            if library.reads:  # the estimator will leave out promoters, so that sizes are not exact
                found.say("warning", str(error).partition(": ")[2])
            else:
                found.errors.append(str(error))
            self._propose_split(found, library, cluster, texts, overlaps, options, train_promoters, origin)
            return fallback
        factor = 1 if library.complete else library.total / max(1, table.height)
        expected = {name: round(size * factor) for name, size in sizes.items()}
        shown = ", ".join(f"{name} {about(size) if not library.complete else f'{size:,}'}" for name, size in expected.items())
        by = {
            "hash": "whole clusters by hash",
            "column": "the table's column",
            "positions": "mutated positions",
            "list": "listed promoters",
        }[method]
        found.say("splits", f"{shown}{'' if library.complete else ' to be expected'} ({by})")
        for each in verdicts:
            if each["verdict"] == "warning":
                found.say("warning", f"{each['dataset']}: {each['text']}")
        smallest = min(config["fractions"][name] for name in names)
        if method == "hash" and largest > max(2.0, smallest * table.height):
            self._propose_method(found, table, texts, largest, smallest)
        elif small := [name for name in names if expected[name] < split_checks.FEW]:
            if method == "hash":
                self._propose_split(found, library, cluster, texts, overlaps, options, train_promoters, origin)
            else:
                found.say("warning", f"fewer than {split_checks.FEW} promoters are to be expected in {', '.join(small)}")
        if config["train_promoters"]:
            return min(config["train_promoters"], expected.get("train", 0))
        return expected.get("train", 0)

    def _split(
        self, library: _Library, cluster: pl.Series, overlaps: pl.DataFrame, options: Mapping[str, Any], train_promoters: int, origin: str
    ) -> tuple[dict[str, int], list[dict[str, Any]]]:
        ledger = Ledger("split_promoters", "library")
        inputs: dict[str, Any] = {"overlaps": overlaps, "origin": origin, "ledger": ledger}
        clusters = splits.Clusters.named(cluster)
        assigned = splits.assign(library.table.lazy(), clusters, **options, **inputs, train_promoters=train_promoters)
        verdicts: list[dict[str, Any]] = []
        if library.complete:
            checked = {key: options[key] for key in ("method", "fractions", "independent", "seed")}
            verdicts = split_checks.check(assigned, **inputs, **checked)
        return assigned.sizes(), verdicts

    def _propose_method(self, found: Inspection, table: pl.DataFrame, texts: pl.Series, largest: int, smallest: float) -> None:
        share = largest / table.height
        finding = f"the largest cluster has {percent(share)} of these promoters, more than the smallest split ({percent(smallest)})"
        if share >= _DECISIVE and constants.are_variants(texts) and texts.str.len_bytes().n_unique() == 1:
            keys = {"split.method": "positions", "split.fractions": {"train": 0.8, "val": 0.1, "test": 0.1}}
            found.propose(f"{finding}; they are variants of one parent", keys)
        elif share >= _DECISIVE:
            found.propose(finding, advice="use more diverse promoters, check the column group, or lower neighbours.max_edits")
        else:
            found.say("warning", f"{finding}; it will be in the training split, or fill another one")

    def _propose_split(
        self,
        found: Inspection,
        library: _Library,
        cluster: pl.Series,
        texts: pl.Series,
        overlaps: pl.DataFrame,
        options: Mapping[str, Any],
        train_promoters: int,
        origin: str,
    ) -> None:
        """Propose the first fractions that give every split enough promoters, or mutated positions for variants of one parent."""
        if options["method"] != "hash":
            return
        names = options["names"]
        factor = 1 if library.complete else library.total / max(1, library.table.height)
        for held_out in (0.05, 0.1, 0.15, 0.2, 0.25, 0.3):
            fractions = dict.fromkeys(("train", "val", "test"), held_out) | {"train": round(1 - held_out * (len(names) - 1), 2)}
            with contextlib.suppress(GpraflowError):
                sizes, _ = self._split(library, cluster, overlaps, {**options, "fractions": fractions}, train_promoters, origin)
                if min(sizes.values()) * factor >= split_checks.FEW:
                    shown = ", ".join(f"{name} {round(size * factor):,}" for name, size in sizes.items())
                    found.propose(f"splits are too small; these fractions give {shown} promoters", {"split.fractions": fractions})
                    return
        if constants.are_variants(texts) and texts.str.len_bytes().n_unique() == 1:
            for held_out in (0.1, 0.15, 0.2):
                fractions = {"train": round(1 - 2 * held_out, 2), "val": held_out, "test": held_out}
                with contextlib.suppress(GpraflowError):
                    changed = {**options, "method": "positions", "fractions": fractions}
                    self._split(library, cluster, overlaps, changed, train_promoters, origin)
                    keys = {"split.method": "positions", "split.fractions": fractions}
                    found.propose("promoters are variants of one parent, of which no fractions make splits of whole clusters", keys)
                    return


def _scaffolds_of(path: str) -> dict[str, Scaffold]:
    """Return all scaffolds of a file; none if it cannot be read."""
    try:
        with open(path, encoding="utf-8") as handle:
            names = list(yaml.safe_load(handle) or {})
        return {name: scaffolds.load(path, name) for name in names}
    except (OSError, yaml.YAMLError, GpraflowError, TypeError, AttributeError):
        return {}


def _without_minimum(policy: inserts.Policy) -> inserts.Policy:
    return inserts.Policy(**vars(policy) | {"min_yield": 0.0})


def _lengths(text: pl.Series, of: str) -> str:
    lengths = text.str.len_bytes()
    low, high = int(lengths.min()), int(lengths.max())  # type: ignore[arg-type]
    return f"{of} {low} bp".strip() if low == high else f"{of} {low} to {high} bp, mean {float(lengths.to_numpy().mean()):.0f} bp".strip()


def _chao(counts: np.ndarray) -> int:
    """Return Chao's lower bound of the number of distinct inserts (Chao 1984), from the reads of each that was seen."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return int((counts > 0).sum() + once * max(0, once - 1) / (2 * (twice + 1)))


def threads_here() -> int:
    """Return the number of cores that a check uses, 4 at most."""
    return min(4, os.cpu_count() or 1)
