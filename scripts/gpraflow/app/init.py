"""``gpraflow init``: a config and a sample sheet for a table of promoters, a table of counts, or FASTQ files of sorted bins."""

import argparse
import itertools
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from gpraflow.app import check, overlays
from gpraflow.core import files, names
from gpraflow.core.errors import REFUSED, ConfigError, GpraflowError, InputError
from gpraflow.core.inspection import Inspection
from gpraflow.formats import excerpts, inspection
from gpraflow.formats import text as formats_text

CONFIG, SHEET = "config.yaml", "sample_sheet.tsv"
_FASTQ = re.compile(r"\.(fastq|fq)(\.gz)?$", re.IGNORECASE)
_MATE = re.compile(r"(?<![A-Za-z0-9])(?:R|read|mate)?([12])(?![A-Za-z0-9])", re.IGNORECASE)
_LANE = re.compile(r"[._-]?L\d{3}(?![A-Za-z0-9])")
_CHUNK = re.compile(r"[._-]001$")
_REPLICATE = re.compile(r"(?<![A-Za-z])rep(?:licate)?[._-]?(\w+?)(?![A-Za-z0-9])", re.IGNORECASE)
_LEAST_BINS = 2
_ORDER = "Bins must go from low to high signal. By their names the order is {}: check it in {}."
_CELLS = (
    "Add the columns cells (cells sorted into each bin), lower and upper (gates) to {}, and set counts.cells: sheet; without cells, each "
    "read counts as one cell."
)
_RANKS = {"lowest": -3, "low": -2, "mid": 0, "medium": 0, "middle": 0, "high": 2, "highest": 3}  # names of bins in order
_BIN, _MAYBE_BIN = re.compile(r"(bin|gate|fraction|pool|sort)\d+", re.IGNORECASE), re.compile(r"[a-z]?\d+", re.IGNORECASE)
_SEPARATORS = re.compile(r"[._\s-]+")
_MOST_BINS = 64
_WORDS = {  # words in names of columns
    "bin": ("bin", "bins", "gate", "fraction", "sample", "pool"),
    "count": ("count", "counts", "reads", "umi", "umis"),
    "replicate": ("rep", "replicate"),
    "condition": ("condition", "medium", "treatment"),
    "expression_sd": ("sd", "se", "sem", "stderr", "std"),
    "expression": ("expression", "el", "mean", "median", "activity", "score", "fluorescence", "yfp", "gfp", "log2"),
}
_NO_BINS = ("name", "group", "family", "cluster", "split", "source")
_NO_CONDITIONS = {*_RANKS, "lower", "upper", "min", "max", "ci", "predicted", "dna", "rna"}
_COUNTS_OF_CONDITIONS = (
    "Bins were taken as those of several conditions ({}): check the column condition of {}, the order of the bins within each condition, "
    "and their gates. If they are replicates, give them in the column replicate instead."
)
_DNA, _RNA = re.compile("dna|plasmid", re.IGNORECASE), re.compile("rna|cdna", re.IGNORECASE)


@dataclass
class Draft:
    """A config and the rows of its sample sheet, and remarks for the user."""

    config: dict[str, Any]
    sheet: list[dict[str, str]] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    comments: dict[str, str] = field(default_factory=dict)  # key with dots -> comment of the config


def main(options: argparse.Namespace) -> int:
    """Write a config and a sample sheet; return the exit code.

    Raises
    ------
    ConfigError
        If files exist, or no files are given and standard input is no terminal.
    InputError
        If a file is missing, or is neither a table nor FASTQ.
    """
    paths = list(options.files)
    folder = Path(options.output or ".")
    if not paths:
        paths = _ask()
    for target in (folder / CONFIG, folder / SHEET):
        if target.exists() and not options.force:
            raise ConfigError(f"{target}: this file exists; give another folder with -o, or --force to overwrite it")
    for path in paths:
        formats_text.require_file(Path(path))
    reads = [path for path in paths if _FASTQ.search(path)]
    if reads and len(reads) < len(paths):
        raise InputError(f"{next(path for path in paths if path not in reads)}: give either FASTQ files or a table, not both")
    if not reads and len(paths) > 1:
        raise InputError(f"{paths[1]}: give one table; several tables of counts are named in the column table of a sample sheet")
    draft = of_reads(reads, str(folder / SHEET)) if reads else of_table(paths[0], str(folder / SHEET))
    draft.config["run"] = _run_name(options.name, folder, paths[0])
    draft.config["evaluation"] = {"datasets": ""}
    if options.scaffold or not reads:  # a table may hold promoters with flanks, which are found, or inserts, to which none must be added
        draft.config.setdefault("scaffold", {})["name"] = options.scaffold or "none"
        if not options.scaffold:
            draft.remarks.append(
                "If the table holds inserts without the flanks of a scaffold, set scaffold.name, and the flanks are added."
            )
    report, written = _write(draft, folder)
    sys.stdout.write(report.text())
    print("\nWritten: " + ", ".join(written))
    for remark in draft.remarks:
        print(f"- {remark}")
    print(f"Next: look through {folder / CONFIG}, then\n  gpraflow check {folder / CONFIG}\n  make run CONFIG={folder / CONFIG}")
    return REFUSED if report.errors else 0


def _run_name(name: str, folder: Path, path: str) -> str:
    if name:
        return names.check(name, "--run", ConfigError)
    stem = folder.resolve().name if str(folder) != "." else Path(path).name.split(".")[0]
    cleaned = re.sub("[^A-Za-z0-9_.-]+", "_", stem).strip("_.-")[: names.LONGEST]
    return cleaned if cleaned and cleaned != "sample" else "mine"


def _write(draft: Draft, folder: Path) -> tuple[check.Report, list[str]]:
    """Check the draft, take the proposals, write the files, and return the report on what was written and its paths."""
    written: dict[str, str] = {}
    if draft.sheet:
        columns = list(dict.fromkeys(itertools.chain.from_iterable(draft.sheet)))
        lines = ["\t".join(columns), *("\t".join(row.get(column, "") for column in columns) for row in draft.sheet)]
        written[str(folder / SHEET)] = "\n".join(lines) + "\n"
        files.write_text(folder / SHEET, written[str(folder / SHEET)])
    title = f"gpraflow init: run '{draft.config['run']}'"
    for _ in range(3):  # a proposal can make others visible
        report = check.check(overlays.with_base(draft.config), threads=check.threads_here(), title=title)
        if not report.config:
            raise ConfigError(report.errors[0])
        report.reasons = draft.comments | report.reasons
        drafted = report.draft(folder / CONFIG, "init")
        for path, text in drafted.items():
            files.write_text(path, text)
        written |= drafted
        if not report.keys:
            break
        draft.config = overlays.load(str(folder / CONFIG))
    return report, list(written)


# FASTQ files


@dataclass(frozen=True)
class Reads:
    """A FASTQ file, and what its name says: bin, replicate (may be empty), and mate 1 or 2."""

    path: str
    bin: str
    replicate: str
    mate: int


def of_reads(paths: Sequence[str], sheet: str) -> Draft:
    """Return the draft for FASTQ files of sorted bins, named after their files.

    Raises
    ------
    InputError
        If there are fewer than two bins, or mates do not match.
    """
    reads = parse_names(paths)
    rows: dict[tuple[str, str], dict[str, list[str]]] = {}
    for each in reads:
        row = rows.setdefault((each.replicate, each.bin), {"reads": [], "reads_2": []})
        row["reads" if each.mate == 1 else "reads_2"].append(each.path)
    order = sorted(rows, key=lambda key: (_natural(key[0]), _natural(key[1])))
    if len({name for _, name in rows}) < _LEAST_BINS:
        raise InputError(
            f"{paths[0]}: one bin only, '{order[0][1]}', by the names of the files; give the files of all bins, whose names differ in the "
            "bin (such as bin_0_R1.fastq.gz, bin_1_R1.fastq.gz)"
        )
    draft = Draft({"counts": {"sample_sheet": sheet, "cells": "reads"}})
    for replicate, name in order:
        row = rows[replicate, name]
        if row["reads_2"] and len(row["reads"]) != len(row["reads_2"]):
            raise InputError(f"bin '{name}': {len(row['reads'])} files of first mates, but {len(row['reads_2'])} of second mates")
        cells = {"bin": name, **({"replicate": replicate} if replicate else {})}
        cells |= {key: ",".join(sorted(paths_of)) for key, paths_of in row.items() if paths_of}
        draft.sheet.append(cells)
    shown = ", ".join(name for _, name in order[:6])
    draft.remarks += [
        _ORDER.format(shown + (", ..." if len(order) > 6 else ""), sheet),
        _CELLS.format(sheet),
    ]
    return draft


def parse_names(paths: Sequence[str]) -> list[Reads]:
    """Return what the names of FASTQ files say: the part in which they differ is the bin; mates, lanes and replicates are recognised.

    Mates are ``_R1`` and ``_R2``, or ``_1`` and ``_2`` at the end of the names of all files, if there are several bins then; lanes are
    ``_L001``, replicates ``rep1`` or ``replicate_1``.
    """
    stems = {path: _LANE.sub("", _CHUNK.sub("", _FASTQ.sub("", Path(path).name))) for path in paths}
    known = {(str(Path(path).parent), stem) for path, stem in stems.items()}
    plain = {stem[:-2] for stem in stems.values()}
    by_number = all(re.search("[._-][12]$", stem) for stem in stems.values()) and len(plain) >= _LEAST_BINS
    by_number = by_number and all((folder, stem[:-1] + str(3 - int(stem[-1]))) in known for folder, stem in known)
    parsed: list[tuple[str, str, str, int]] = []
    for path, stem in stems.items():
        mate = 1
        for match in reversed(list(_MATE.finditer(stem))):
            other = stem[: match.start(1)] + str(3 - int(match[1])) + stem[match.end(1) :]
            explicit = bool(re.search("[A-Za-z]", match[0]))
            if explicit or (by_number and match.end() == len(stem)):
                single = match[1] == "1" or (str(Path(path).parent), other) in known  # a file R2 alone is one of single-end reads
                mate, stem = (int(match[1]) if single else 1), stem[: match.start()] + stem[match.end() :]
                break
        stem = stem.strip("._-")
        replicate = ""
        if match_replicate := _REPLICATE.search(stem):
            replicate = match_replicate[1]
            stem = (stem[: match_replicate.start()] + stem[match_replicate.end() :]).strip("._-")
        parsed.append((path, re.sub("[._-]{2,}", "_", stem), replicate, mate))
    distinct = sorted({stem for _, stem, _, _ in parsed})
    head, tail = _common(distinct), _common([stem[::-1] for stem in distinct])[::-1]
    reads = []
    for path, stem, replicate, mate in parsed:
        inner = stem[len(head) : len(stem) - len(tail) if tail else None].strip("._-") if len(distinct) > 1 else stem
        reads.append(Reads(path, re.sub("[^A-Za-z0-9_.-]+", "_", inner or stem), replicate, mate))
    return reads


def _common(texts: Sequence[str]) -> str:
    """Return the common start of texts, up to the last separator within it, so that no number or word is cut."""
    if len(texts) < 2:
        return ""
    start = ""
    for letters in zip(*texts, strict=False):
        if len(set(letters)) > 1:
            break
        start += letters[0]
    place = max(start.rfind(sign) for sign in "._-")
    return start[: place + 1]


def _natural(text: str) -> list[tuple[int, int, str]]:
    """Return a key by which bin_2 comes before bin_10, and low before high."""
    parts = re.findall(r"\d+|[^\W\d_]+", text.lower())
    return [(0, int(part), "") if part.isdigit() else (1, _RANKS.get(part, 0), "" if part in _RANKS else part) for part in parts]


# Tables


def of_table(path: str, sheet: str) -> Draft:
    """Return the draft for a table: of expression, of counts per bin, or of DNA and RNA counts.

    Raises
    ------
    InputError
        If the table has no column of sequences or of numbers.
    """
    with tempfile.TemporaryDirectory(prefix="gpraflow-init-") as folder:
        excerpt = excerpts.of_table(path, Path(folder), check.ROWS)
        header = True
        try:
            rows, columns = next(formats_text.read_blocks(excerpt.path, "auto", True))
            if not inspection.inspect_header(Inspection(""), rows, columns, True, "input"):
                header = False
                rows, columns = next(formats_text.read_blocks(excerpt.path, "auto", False))
        except StopIteration:
            raise InputError(f"{path}: the table has no rows") from None
        except GpraflowError as error:
            raise type(error)(excerpt.restored(str(error))) from None
    dna = inspection.dna_columns(rows)
    if not dna:
        raise InputError(f"{path}: no column holds DNA sequences (the file has {', '.join(columns[:12])}); give a table with sequences")
    if dna[0].lower() in ("barcode", "barcodes", "bc"):
        raise InputError(
            f"{path}: the only sequences are barcodes (column '{dna[0]}'), and those of promoters are in another file; start from "
            "config/mprasnakeflow.yaml, or set counts.design, or counts.barcodes, as config/README.md describes"
        )
    number = {name: place for place, name in enumerate(columns, start=1)}
    sequence: str | int = dna[0] if header and not dna[0].startswith("column ") else number[dna[0]]
    values = inspection.number_columns(rows)
    if header and (long := long_columns(rows, dna, values)):
        return _of_long(path, sheet, sequence, long)
    bins = count_bins(rows)
    named_dna, named_rna = ([name for name in bins if pattern.search(name)] for pattern in (_DNA, _RNA))
    if header and named_dna and len(named_dna) == len(named_rna):
        return _of_dna_rna(path, sheet, sequence, named_dna, named_rna)
    measured = expression_by_condition(rows, values) if header else {}
    if measured:
        return _of_conditions(path, sequence, measured)
    expression = inspection.likely_expression(rows, values)
    if len(bins) >= _LEAST_BINS and expression in ("", *bins):
        return _of_counts(path, sheet, sequence, bins, header, number)
    if not values:
        raise InputError(f"{path}: no column holds numbers (the file has {', '.join(columns[:12])}); give a table with expression")
    draft = Draft({"input": {"table": path}})
    taken = {"sequence": sequence} if sequence != "sequence" else {}
    if not header:
        draft.config["input"]["header"] = False
    chosen = expression or values[0]
    if chosen != "expression":
        taken["expression"] = chosen if header else number[chosen]
    if not expression:
        text = f"Several columns hold numbers ({', '.join(values[:8])}); '{chosen}' was taken as expression: check it."
        text += " If they are conditions, give their columns as input.conditions; if they are replicates, their mean."
        draft.remarks.append(text)
        draft.comments["input.columns.expression"] = text
    if rows[dna[0]].n_unique() <= rows.height / _LEAST_BINS and chosen in inspection.count_columns(rows):
        draft.remarks.append(
            f"Sequences repeat, and '{chosen}' holds whole numbers. If these are counts, with a row for each sequence and bin, give the "
            "table as counts.table, and its columns as counts.columns.bin and counts.columns.count."
        )
    for role, words in {
        "name": ("name", "id", "tag"),
        "expression_sd": ("sd", "se", "stderr"),
        "group": ("family", "cluster", "group"),
    }.items():
        match = next((name for name in columns if name.lower() in words and name not in (chosen, dna[0])), "")
        if header and match and match != role and role not in columns:
            taken[role] = match
            draft.remarks.append(f"The column '{match}' was taken as {role}: remove input.columns.{role} if it is not.")
    if taken:
        draft.config["input"]["columns"] = taken
    return draft


def count_bins(rows: pl.DataFrame) -> list[str]:
    """Return the columns of whole numbers that look like counts of bins.

    These are the bins of several conditions or replicates (`bins_by_condition`), or the largest group of one kind of name, or all.
    """
    found = [name for name in inspection.count_columns(rows) if inspection.numbers(rows, name).max() is not None]
    if several := bins_by_condition(found):
        return list(several)
    groups: dict[str, list[str]] = {}
    for name in found:
        groups.setdefault(re.sub(r"\d+", "#", name), []).append(name)
    largest = max(groups.values(), key=len, default=[])
    return largest if len(largest) >= 3 else found


def bins_by_condition(names: Sequence[str]) -> dict[str, tuple[str, str, str]]:
    """Return column -> condition, replicate and bin, if names say that there are several conditions or replicates with two bins or more.

    The bin is the last or the first word (``glu_low``, ``bin1_gal``), or the number at the end (``glu1``).
    Columns without one are left out.
    Empty if the names say no such thing.
    """
    split: dict[str, tuple[str, list[str]]] = {}
    for name in names:
        stem, replicate = re.sub(r"(bin|gate|fraction|pool|sort)[._\s-]+(?=\d)", r"\1", name, flags=re.IGNORECASE), ""
        if match := _REPLICATE.search(stem):
            replicate, stem = match[1], stem[: match.start()] + "_" + stem[match.end() :]
        words = [word for word in _SEPARATORS.split(stem) if word]
        split[name] = replicate, [*re.fullmatch(r"([^\W\d]+?)(\d*)", words[0]).groups()] if _glued(words) else words  # type: ignore[union-attr]
    words_of = _without_common([words for _, words in split.values()])
    found: dict[str, tuple[str, str, str]] = {}
    for (name, (replicate, _)), words in zip(split.items(), words_of, strict=True):
        place = next((place for test in (_is_bin, _MAYBE_BIN.fullmatch) for place in (-1, 0) if words and test(words[place])), None)
        if place is not None:
            others = words[:-1] if place else words[1:]
            found[name] = "_".join(others), replicate, words[place]
    groups: dict[tuple[str, str], set[str]] = {}
    for condition, replicate, of_bin in found.values():
        groups.setdefault((condition, replicate), set()).add(of_bin)
    conditions = {condition for condition, _ in groups}
    is_bin = _is_bin if any(_is_bin(of_bin) for _, _, of_bin in found.values()) else _MAYBE_BIN.fullmatch
    usable = len(groups) > 1 and min(map(len, groups.values())) >= _LEAST_BINS and sum(map(len, groups.values())) == len(found)
    usable = usable and (len(conditions) == 1 or ("" not in conditions and not any(is_bin(each) for each in conditions)))
    usable = usable and len({bool(replicate) for _, replicate in groups}) == 1
    if not usable:
        return {}
    if all(condition.isdigit() and not replicate for condition, replicate in groups):  # numbers are those of replicates
        return {name: ("", number, of_bin) for name, (number, _, of_bin) in found.items()}
    return {name: (condition if len(conditions) > 1 else "", *rest) for name, (condition, *rest) in found.items()}  # type: ignore[misc]


def _is_bin(word: str) -> bool:
    return word.lower() in _RANKS or _BIN.fullmatch(word) is not None


def _glued(words: Sequence[str]) -> bool:
    """Return whether a name is one word with a number at its end, such as glu1, and no name of a bin, such as bin1."""
    return len(words) == 1 and not _is_bin(words[0]) and re.fullmatch(r"[^\W\d]+\d+", words[0]) is not None


def _without_common(names: Sequence[Sequence[str]]) -> list[list[str]]:
    """Return the words of names without those with which all names begin or end."""
    left = [list(words) for words in names]
    for place in (0, -1):
        while left and all(len(words) > 1 for words in left) and len({words[place] for words in left}) == 1:
            left = [words[1:] if place == 0 else words[:-1] for words in left]
    return left


def _words(name: str) -> list[str]:
    return [word for word in _SEPARATORS.split(name) if word]


def _has(name: str, role: str) -> bool:
    """Return whether a word of a column's name is one of a role."""
    return any(word.lower() in _WORDS[role] for word in [*_words(name), *_words(re.sub("(?<=[a-z])(?=[A-Z])", "_", name))])


def _of_counts(path: str, sheet: str, sequence: str | int, bins: list[str], header: bool, number: dict[str, int]) -> Draft:
    counts: dict[str, Any] = {"table": path, "sample_sheet": sheet, "cells": "reads"}
    if sequence != "sequence":
        counts["columns"] = {"sequence": sequence}
    if not header:
        counts["header"] = False
    if header and (several := bins_by_condition(bins)):
        return Draft({"counts": counts}, *_of_groups({key: [name] for name, key in several.items()}, sheet))
    rows: list[dict[str, str]] = []
    ordered = sorted(bins, key=_natural)
    for name in ordered:
        cleaned = _cleaned(name) if header else f"bin_{len(rows)}"
        rows.append({"bin": cleaned} if cleaned == name else {"bin": cleaned, "column": name if header else str(number[name])})
    shown = ", ".join(ordered[:8])
    return Draft({"counts": counts}, rows, [_ORDER.format(shown + (", ..." if len(ordered) > 8 else ""), sheet), _CELLS.format(sheet)])


def _cleaned(name: str) -> str:
    return re.sub("[^A-Za-z0-9_-]+", "_", name).strip("_")


def _of_groups(places: dict[tuple[str, str, str], list[str]], sheet: str) -> tuple[list[dict[str, str]], list[str]]:
    """Return the rows of the sample sheet, and remarks, for (condition, replicate, bin) -> its column, or name in a long table.

    Conditions and replicates stay in order of their first occurrence.
    """
    groups = list(dict.fromkeys(key[:2] for key in places))
    rows = []
    for condition, replicate in sorted(groups, key=lambda key: list(dict.fromkeys(name for name, _ in groups)).index(key[0])):
        for key in sorted((key for key in places if key[:2] == (condition, replicate)), key=lambda key: _natural(key[2])):
            row = {"condition": re.sub("[^A-Za-z0-9_]+", "_", condition), "replicate": _cleaned(replicate), "bin": _cleaned(key[2])}
            row = {role: cell for role, cell in row.items() if cell}
            column = ".".join(places[key])
            rows.append(row if column == ".".join(row.values()) else row | {"column": column})
    names = list(dict.fromkeys(row["bin"] for row in rows))
    remarks = [_ORDER.format(", ".join(names[:8]) + (", ..." if len(names) > 8 else ""), sheet), _CELLS.format(sheet)]
    if conditions := list(dict.fromkeys(row["condition"] for row in rows if "condition" in row)):
        remarks.insert(0, _COUNTS_OF_CONDITIONS.format(", ".join(conditions[:8]), sheet))
    return rows, remarks


# Long tables: a row for each sequence and bin


def long_columns(rows: pl.DataFrame, dna: Sequence[str], values: Sequence[str]) -> dict[str, str]:
    """Return the columns ``bin``, ``count``, and ``replicate`` and ``condition`` if there are such, of a long table of counts.

    The bin is a column so called or, if sequences repeat, the only other text of few values. Empty if the table is none.
    """
    whole = [name for name in inspection.count_columns(rows) if _has(name, "count") or name.lower() in ("n", "number")]
    if len(whole) != 1:
        return {}
    others = [name for name in rows.columns if name not in (whole[0], formats_text.ROW, *dna)]
    found = {"count": whole[0]}
    for role in ("replicate", "condition"):
        named = [name for name in others if _has(name, role)]
        found |= {role: named[0]} if len(named) == 1 else {}
    left = [name for name in others if name not in found.values()]
    labels = [name for name in left if _LEAST_BINS <= rows[name].n_unique() <= _MOST_BINS and not rows[name].dtype.is_float()]
    bins = [name for name in left if _has(name, "bin") and (name in labels or rows[name].n_unique() == 1)]
    bins = [name for name in bins if not any(word == "n" or word.isdigit() for word in map(str.lower, _words(name)))]  # n_bins, bin_1
    if not bins and rows[dna[0]].n_unique() <= rows.height / _LEAST_BINS:
        bins = [name for name in labels if name not in values and name.lower() not in _NO_BINS]
    measured = [name for name in values if name not in (*bins, *found.values()) and (_has(name, "expression") or _fractional(rows, name))]
    return found | {"bin": bins[0]} if len(bins) == 1 and not measured else {}


def _fractional(rows: pl.DataFrame, name: str) -> bool:
    return any(bool((inspection.numbers(rows, name, sign).drop_nulls() % 1 != 0).any()) for sign in ".,")


def _of_long(path: str, sheet: str, sequence: str | int, columns: dict[str, str]) -> Draft:
    """Return the draft for a long table, whose bins are those of all rows.

    Raises
    ------
    InputError
        If it has fewer than two bins or more than 64 in a replicate, an empty cell for one, or rows of DNA and of RNA.
    """
    roles = [role for role in ("condition", "replicate", "bin") if role in columns]
    cells = [pl.col(columns[role]).cast(pl.String).str.strip_chars().alias(role) for role in roles]
    places = pl.concat([block.select(cells).unique(maintain_order=True) for block, _ in formats_text.read_blocks(path, "auto", True)])
    keys = [dict(zip(roles, row, strict=True)) for row in places.unique(maintain_order=True).rows()]
    if empty := next((columns[role] for key in keys for role in roles if not key[role]), ""):
        raise InputError(f"{path}: a row has no {empty}; name it in every row, or delete the row")
    labels = list(dict.fromkeys(key["bin"] for key in keys))
    if any(_RNA.search(label) for label in labels) and any(_DNA.search(label) for label in labels):
        raise InputError(
            f"{path}: rows of DNA and of RNA (column '{columns['bin']}'); give a table with a column of counts for each of them"
        )
    conditions = {key.get("condition", "") for key in keys}
    of_groups: dict[tuple[str, str, str], list[str]] = {}
    for key in keys:
        condition = key.get("condition", "") if len(conditions) > 1 else ""
        place = condition, key.get("replicate", ""), key["bin"]
        of_groups[place] = [part for part in place if part]
    sizes = [len([place for place in of_groups if place[:2] == group]) for group in {place[:2] for place in of_groups}]
    if not _LEAST_BINS <= min(sizes) <= max(sizes) <= _MOST_BINS:
        raise InputError(
            f"{path}: {min(sizes) if min(sizes) < _LEAST_BINS else max(sizes)} bins by the column '{columns['bin']}'; {_LEAST_BINS} to "
            f"{_MOST_BINS} are needed, in each replicate and condition. If '{columns['count']}' is expression, rename that column"
        )
    named = {role: name for role, name in columns.items() if role in ("bin", "count") or name != role}
    if len(conditions) == 1:
        named.pop("condition", None)
    counts = {"table": path, "sample_sheet": sheet, "cells": "reads"}
    taken = ({"sequence": sequence} if sequence != "sequence" else {}) | named
    rows, remarks = _of_groups(of_groups, sheet)
    shown = ", ".join(f"{role} = {name}" for role, name in columns.items())
    remarks.insert(0, f"The table was taken as a row for each sequence and bin ({shown}): check counts.columns.")
    return Draft({"counts": counts | {"columns": taken}}, rows, remarks)


# Expression in several conditions


def expression_by_condition(rows: pl.DataFrame, values: Sequence[str]) -> dict[str, dict[str, str]]:
    """Return condition -> its columns ``expression``, ``expression_sd`` and ``n_reads``, if the names of several columns say conditions.

    Such names are a word for expression and the condition, as EL_glu and EL_gal, or expression.glucose and expression.galactose.
    """
    found: dict[str, dict[str, str]] = {}
    for name in values:
        role = next((role for role in ("expression_sd", "count", "expression") if _has(name, role)), "")
        dropped = {word for key in ("expression_sd", "count", "expression") for word in _WORDS[key]} | {"n"}
        words = [word for word in _words(name) if word.lower() not in dropped]
        condition = "_".join(re.sub("[^A-Za-z0-9_]+", "", word) for word in words)
        if role and condition and not _NO_CONDITIONS & {word.lower() for word in words}:
            found.setdefault(condition, {}).setdefault({"count": "n_reads"}.get(role, role), name)
    found = {condition: columns for condition, columns in found.items() if "expression" in columns}
    is_replicate = all(_REPLICATE.fullmatch(name) or _is_bin(name) or _MAYBE_BIN.fullmatch(name) for name in found)
    some = any(_fractional(rows, columns["expression"]) for columns in found.values())
    return found if len(found) > 1 and some and not is_replicate else {}


def _of_conditions(path: str, sequence: str | int, measured: dict[str, dict[str, str]]) -> Draft:
    taken = {"columns": {"sequence": sequence}} if sequence != "sequence" else {}
    names = list(measured)
    remark = (
        f"Columns of expression were taken as conditions ({', '.join(names[:8])}), of which '{names[0]}' is the reference: check "
        "input.conditions. If they are replicates, give their mean as one column instead."
    )
    config = {"input": {"table": path, **taken, "conditions": measured}}
    return Draft(config, remarks=[remark], comments={"input.conditions": remark})


def _of_dna_rna(path: str, sheet: str, sequence: str | int, dna: list[str], rna: list[str]) -> Draft:
    counts: dict[str, Any] = {"kind": "dna_rna", "table": path, "sample_sheet": sheet}
    if sequence != "sequence":
        counts["columns"] = {"sequence": sequence}
    pairs = zip(sorted(dna, key=_natural), sorted(rna, key=_natural), strict=True)
    rows = [{"replicate": str(place), "dna": one, "rna": two} for place, (one, two) in enumerate(pairs, start=1)]
    config = {"counts": counts, "input": {"expression_min": -15, "expression_max": 15}}
    return Draft(config, rows, [f"Each replicate has a column of DNA and one of RNA: check the pairs in {sheet}."])


# Questions


def _ask() -> list[str]:
    """Ask for the files on the terminal.

    Raises
    ------
    ConfigError
        If standard input is no terminal.
    """
    if not sys.stdin.isatty():
        raise ConfigError("gpraflow init: give a table or FASTQ files; without files, questions are asked, for which a terminal is needed")
    print(
        "What do you have?\n  1  a table of promoters with expression\n  2  a table of read counts per bin\n  3  FASTQ files of sorted bins"
    )
    answer = ""
    while answer not in ("1", "2", "3"):
        answer = input("1, 2 or 3: ").strip()
    if answer in ("1", "2"):
        return [_path("Path of the table: ")]
    print("Give the files with a pattern in which * stands for any text, such as reads/bin_*.fastq.gz")
    while True:
        pattern = input("Pattern: ").strip()
        found = sorted(str(path) for path in Path().glob(pattern)) if pattern and not pattern.startswith("/") else []
        found = found or sorted(str(path) for path in Path(pattern).parent.glob(Path(pattern).name))
        if found:
            print(f"{len(found)} files")
            return found
        print("No file fits; try again.")


def _path(question: str) -> str:
    while True:
        path = input(question).strip()
        if Path(path).is_file():
            return path
        print(f"{path}: this file does not exist; try again.")
