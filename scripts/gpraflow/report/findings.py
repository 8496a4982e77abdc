"""Warnings, notes and key figures of a run."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from gpraflow.core import checksums
from gpraflow.evaluation.metrics import FEWEST
from gpraflow.report.parts import interval, number, of_95, probability

LARGEST_DIGEST = 4 << 30  # bytes; digests of larger files are not computed
COVERED = 0.9  # warn if fewer 95 % intervals than this cover the measurement


def digests(data: Iterable[Mapping[str, str]], largest: int = LARGEST_DIGEST) -> list[dict[str, str]]:
    """Return ``file``, ``bytes`` and ``sha256`` of input files, or the reason why the digest is missing.

    Parameters
    ----------
    data
        ``what``, ``path`` and, for public files, ``doi`` and ``checksum``.
    largest
        Digests of larger files (bytes) are not computed.
    """
    rows = []
    for entry in data:
        path, row = Path(entry["path"]), {"what": entry["what"], "file": entry["path"], "bytes": "", "sha256": "file no longer exists"}
        if path.is_file():
            size = path.stat().st_size
            row["bytes"] = str(size)
            row["sha256"] = checksums.digests(path)["sha256"] if size <= largest else f"not computed: larger than {largest:,} bytes"
        row["published as"] = " ".join(entry[key] for key in ("doi", "checksum") if entry.get(key))
        rows.append(row)
    return rows


# Findings as text


@dataclass(frozen=True)
class Finding:
    """A statement in the report: the data set (or step) that it concerns, and its text."""

    of: str
    text: str


def warnings_of(
    tables: Mapping[str, Sequence[Mapping[str, str]]],
    about: Mapping[str, Any],
    titles: Mapping[str, str],
    max_edits: int,
    near_by_design: Collection[str] = (),
    foreign_motifs: Collection[str] = (),
) -> list[Finding]:
    """Return warnings about scores and motifs: failed checks, leakage, poor calibration, a poor model, diverged training, foreign motifs.

    Parameters
    ----------
    tables
        Rows of ``checks.tsv``, ``leak/distances.tsv``, ``leak/demonstration.tsv`` and ``intervals.tsv``.
    about
        Content of ``model.json``.
    titles
        Data set -> title.
    max_edits
        Edits within which promoters count as near-duplicates (``neighbours.max_edits``).
    near_by_design
        Data sets from which near-duplicates are not removed: splits with ``split.method: positions``, of which a check warns.
    foreign_motifs
        Keys whose motifs are a built-in set of another organism than the scaffold's (`Plan.foreign_motifs`).
    """
    warnings = [
        Finding(titles.get(row["dataset"], f"{row['dataset']} split"), f"{row['check']}: {row['text']}.")
        for row in tables.get("checks.tsv", ())
        if row["verdict"] == "warning"
    ]
    for row in tables.get("leak/distances.tsv", ()):
        if (within := int(row["within_max_edits"])) and row["dataset"] not in near_by_design:
            text = f"{within:,} of {int(row['n']):,} promoters are within {max_edits} edits of a training promoter"
            text += "; their scores do not test generalisation."
            warnings.append(Finding(titles.get(row["dataset"], row["dataset"]), "leakage: " + text))
    for row in of_95(tables.get("intervals.tsv", ())):
        if float(row["high"]) < COVERED and int(row["n"]) >= FEWEST:
            text = f"95 % intervals contain {100 * float(row['inside']):.1f} % of {int(row['n']):,} measurements:"
            text += " they are too narrow for this data set."
            warnings.append(Finding(titles.get(row["dataset"], row["dataset"]), "intervals: " + text))
    for row in tables.get("leak/demonstration.tsv", ()):
        if (
            row["condition"] == "leakage-controlled"
            and row["r"]
            and int(row["test_records"]) >= FEWEST
            and (about["val_r"] is None or float(row["r"]) > about["val_r"])
        ):
            ridge, model = number(float(row["r"])), number(about["val_r"])
            text = f"ridge regression on 5-mers, trained on the same promoters, reaches r {ridge}; this model reaches {model}."
            warnings.append(Finding("val split", "baseline: " + text))
    if about.get("restarts"):
        times = "once" if about["restarts"] == 1 else f"{about['restarts']} times"
        warnings.append(Finding("Training", f"diverged {times}; the best weights were restored and the learning rate was lowered."))
    if foreign_motifs:
        text = f"{' and '.join(foreign_motifs)} are the built-in yeast set, but the scaffold is not one of yeast: give motifs of your "
        warnings.append(Finding("Motifs", text + 'organism, "" for none, or the scaffold\'s organism in a file of your own.'))
    return warnings


def noted(checks: Iterable[Mapping[str, str]], titles: Mapping[str, str]) -> list[str]:
    """Return values that checks report without judging them, as sentences; ``checks`` are the rows of ``checks.tsv``."""
    return [f"{titles.get(row['dataset'], row['dataset'])}, {row['check']}: {row['text']}." for row in checks if row["verdict"] == "note"]


def notes_of(
    datasets: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any], *, commit: str, covered: bool, simulated: bool
) -> list[str]:
    """Return notes on limitations that are not warnings.

    Parameters
    ----------
    datasets, about
        Data sets in metrics.json, and content of ``model.json``.
    commit
        Git commit of the code that writes the report.
    covered
        True if predictions have intervals.
    simulated
        True if the data are simulated.
    """
    notes = []
    if simulated:
        notes.append("Data are simulated, with known ground truth: results do not describe living cells.")
    if not any(scored["independent"] for scored in datasets.values()):
        notes.append("There is no independent data set: all scored promoters are from the library that the model was trained on.")
    if about.get("epochs", 1) > 1 and about.get("best_epoch") == about.get("epochs"):
        notes.append("The best epoch was the last one: longer training might give a better model.")
    if not covered:
        notes.append("Predictions have no intervals: there are fewer than 19 validation promoters.")
    if not commit:
        notes.append("The code was not a git checkout, so its version is not recorded.")
    if commit.endswith("-dirty"):
        notes.append(f"The code has uncommitted changes since commit {commit.removesuffix('-dirty')}.")
    if about.get("commit", "") != commit:
        notes.append(
            f"The model was trained at commit {about.get('commit') or 'unknown'}; this report was written at {commit or 'an unknown one'}."
        )
    return notes


def card(
    name: str, scored: Mapping[str, Any], published: Sequence[Mapping[str, str]], runs: Sequence[Mapping[str, str]], run: str
) -> dict[str, Any]:
    """Return the summary card of one data set.

    Parameters
    ----------
    name, scored
        Name and scores of the data set, from metrics.json.
    published, runs
        Rows of ``published_models.tsv`` and ``comparison/scores.tsv``.
    run
        Name of this run.

    Returns
    -------
    dict
        ``title``, ``kind``, ``r``, ``ends`` of its 95 % interval (empty without one), ``n``, ``lines`` of text.
    """
    lines = [f"{scored['remark']}."] if scored.get("remark") else []
    if ceiling := scored.get("ceiling"):
        share = f"{100 * ceiling['share']:.1f} % of the noise ceiling" if ceiling["share"] is not None else "noise ceiling"
        lines.append(f"{share}, {number(ceiling['r'])} (from {ceiling['from']})")
    if scored.get("r_members_sd") is not None:
        lines.append(f"ensemble members: r {number(scored['r_members_mean'])}, standard deviation {number(scored['r_members_sd'])}")
    known = {model: of for model, of in scored.get("published_models", {}).items() if of["r"] is not None}
    if known:
        best = max(known, key=lambda model: known[model]["r"])
        which = f"best of {len(known)} published models" if len(known) > 1 else "published model"
        lines.append(f"{which}, {best}: r {interval(known[best])}, n = {known[best]['n']:,}")
        for row in published:
            if row["dataset"] == name and row["other"] == best and row["difference"]:
                lines.append(f"this model minus {best}: {_difference(row)}")
    others = [row for row in runs if row["dataset"] == name and row["kind"] == "run" and row["label"] != run and row["r"]]
    if others:
        other = max(others, key=lambda row: float(row["r"]))
        values = {key: float(other[key]) if other[key] else None for key in ("r", "r_low", "r_high")}
        lines.append(f"{f'best of {len(others)} other runs' if len(others) > 1 else 'other run'}, {other['label']}: r {interval(values)}")
    kind = "independent of the library" if scored["independent"] else "of the library"
    ends = "" if scored["r_low"] is None else f"{number(scored['r_low'])} to {number(scored['r_high'])}"
    return {"title": scored["title"], "kind": kind, "r": number(scored["r"]), "ends": ends, "n": scored["n"], "lines": lines}


def _difference(row: Mapping[str, str]) -> str:
    value = f"{float(row['difference']):+.3f}"
    if not row["difference_low"]:
        return f"{value} (no interval)"
    low, high = (float(row[name]) for name in ("difference_low", "difference_high"))
    p = f", p {probability(float(row['p_holm']))} (Holm)" if row["p_holm"] else ""
    return f"{value} [{low:+.3f}, {high:+.3f}]{p}"


def facts(bars: pl.DataFrame, about: Mapping[str, Any], costs: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return one line each on data, losses, model, training and cost.

    Parameters
    ----------
    bars
        Bars from `accounting.retained`.
    about
        Content of ``model.json``.
    costs
        Rows of ``cost.tsv``.
    """
    lines = []
    for unit, name in (("reads", "Reads"), ("promoters", "Promoters"), ("independent promoters", "Independent promoters")):
        rows = bars.filter(unit=unit)
        totals, lost = rows.filter(kind="total"), rows.filter(kind="lost")
        if not rows.height:
            continue
        if unit == "independent promoters":
            total = sum(count for label, count in totals.select("label", "rows").iter_rows() if not label.endswith(", scored"))
        else:
            total = totals["rows"][0]
        used = total - lost["rows"].sum()
        reasons = "; ".join(
            f"{count:,} ({_percent(count / total)}) {what}"
            for what, count in lost.sort("rows", descending=True).select("label", "rows").iter_rows()
        )
        first = "" if unit == "independent promoters" else f" ({totals['label'][0]})" if totals["label"][0] != unit else ""
        lines.append((name, f"{total:,} in{first}, {used:,} used, {lost['rows'].sum():,} lost{': ' if reasons else ''}{reasons}"))
    parts = bars.filter(kind="part").select("label", "rows").iter_rows()
    lines.append(("Splits", ", ".join(f"{label} {count:,}" for label, count in parts)))
    networks = f", {about['members']} ensemble members" if about["members"] > 1 else ""
    lines.append(("Model", f"{about['architecture']}, preset {about['preset']}, {about['parameters']:,} parameters{networks}"))
    epochs = f"epoch {about['best_epoch']} of {about['epochs']} was kept; " if about["epochs"] > 1 else ""
    validation = f"r on the val split {number(about['val_r'])} (n = {about['promoters']['val']:,})"
    lines.append(("Training", f"{epochs}{validation}; {_clock(about['seconds'])} on {about['device']} ({about['backend']})"))
    hours, jobs = sum(float(row["core_hours"]) for row in costs), sum(int(row["jobs"]) for row in costs)
    lines.append(("Cost", f"{hours:.2f} core-hours in {jobs:,} jobs"))
    return lines


def _percent(share: float) -> str:
    return "<0.01 %" if share < 1e-4 else f"{100 * share:.2f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
