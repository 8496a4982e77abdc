"""The report of a run: one HTML page that needs nothing else, what matters first.

What is drawn and tabulated was made by other rules; here it is put in order, summed up in words and written, with all figures and tables
inside for download. Figures and tables that a run does not have are left out, and a section with nothing in it.
"""

import base64
import csv
import datetime
import hashlib
import html
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import polars as pl

from gpraflow import files, ledger, provenance
from gpraflow.errors import InputError, shown_url

SECTIONS = {
    "scores": "Scores",
    "assay": "Quality of the assay",
    "ledger": "The way of the data",
    "leak": "Splits, and audit for leaks",
    "training": "Training",
    "predictions": "Predictions",
    "subsets": "Subsets",
    "comparison": "Comparison with other models",
    "intervals": "Calibration of intervals",
    "explanation": "What the model goes by",
    "factors": "Factors",
    "cost": "Cost",
}
# Figure below figures/, or a folder of one for each data set -> section, title ("" is that of the data set), caption
FIGURES = {
    "scores": ("scores", "Pearson r on every data set", "scores"),
    "assay/yield": ("assay", "Reads that count, and losses", "yield"),
    "assay/distinct": ("assay", "Reads and distinct inserts of each bin", "distinct"),
    "assay/rarefaction": ("assay", "Rarefaction", "rarefaction"),
    "assay/inserts": ("assay", "Insert length and base composition", "inserts"),
    "assay/depth": ("assay", "Reads per promoter", "depth"),
    "assay/expression": ("assay", "Expression", "expression"),
    "assay/profiles": ("assay", "Profiles over bins", "profiles"),
    "assay/replicates": ("assay", "Replicates", "replicates"),
    "ledger": ("ledger", "What went in, what was lost, what was used", "ledger_figure"),
    "leak/distance": ("leak", "Distance to training, and scores by it", "distance"),
    "leak/reenactment": ("leak", "What a leak would have made of the scores", "leak"),
    "training": ("training", "Training curves", "training"),
    "predictions": ("predictions", "", "predictions"),
    "strata": ("subsets", "", "strata_figure"),
    "comparison": ("comparison", "Runs and stored predictions of others", "comparison"),
    "intervals": ("intervals", "Measurements inside intervals", "intervals"),
    "explain/motifs": ("explanation", "Motifs that explain the predictions", "motifs"),
    "explain/logos": ("explanation", "Contributions of bases", "logos"),
    "factors": ("factors", "Parameters of the factors", "factors"),
    "cost": ("cost", "Time on processors", "cost"),
}
# Table below results/<run> -> section, title, caption, whether it is unfolded
TABLES = {
    "metrics.tsv": ("scores", "Scores of each data set", "metrics", True),
    "checks.tsv": ("scores", "Checks", "checks", False),
    "ledger.tsv": ("ledger", "Ledger of all steps", "ledger", False),
    "leak/distances.tsv": ("leak", "Distance to the nearest training promoter", "distances", True),
    "neighbours/overlaps.tsv": ("leak", "Independent data sets against the library", "overlaps", False),
    "splits/summary.tsv": ("leak", "What each split got", "splits", False),
    "leak/reenactment.tsv": ("leak", "What a leak would have made of the scores, in numbers", "leak", False),
    "strata.tsv": ("subsets", "Scores in parts of each data set", "strata", False),
    "peers.tsv": ("comparison", "This model against stored predictions of others", "peers", True),
    "comparison/scores.tsv": ("comparison", "Scores of all runs", "comparison_scores", False),
    "comparison/tests.tsv": ("comparison", "Each two runs compared", "comparison_tests", True),
    "dream.tsv": ("comparison", "Score of the DREAM challenge 2022", "dream", True),
    "intervals.tsv": ("intervals", "Measurements inside intervals, in numbers", "intervals", False),
    "explain/motifs.tsv": ("explanation", "Motifs that explain the predictions, in numbers", "motifs_table", False),
    "factors.tsv": ("factors", "Parameters of all factors", "factors", False),
    "cost.tsv": ("cost", "Cost of each rule", "cost", False),
}
PACKAGES = ("gpraflow", "snakemake", "polars", "numpy", "scipy", "matplotlib", "jinja2", "docutils")  # of this report and its figures
MOST_ROWS = 300  # of a table that are shown; all are in its download
LARGEST_SVG = 1_000_000  # bytes; a larger figure is shown as PNG
LARGEST_DIGEST = 4 << 30  # bytes of a file that is read for its digest
COVERED = 0.9  # of measurements that must lie in 95 % intervals, lest it be a warning
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_NONE = "–"


@dataclass(frozen=True)
class Download:
    """A file that the page holds as a data URI."""

    name: str
    uri: str
    bytes: int


@dataclass(frozen=True)
class Figure:
    """A figure: ``picture`` is markup, ``width`` its natural width in CSS pixels."""

    id: str
    title: str
    picture: str
    width: int
    caption: str
    downloads: tuple[Download, ...]


@dataclass(frozen=True)
class Cell:
    """What a table shows, and the number that it is sorted by."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class Table:
    """A table; ``total`` is the number of its rows, of which the first are shown."""

    id: str
    title: str
    caption: str
    columns: tuple[str, ...]
    rows: list[list[Cell]]
    total: int
    unfolded: bool
    download: Download


@dataclass
class Section:
    """A section with what is in it."""

    id: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


# Reading


def read_table(path: str | os.PathLike) -> list[dict[str, str]]:
    """Return the rows of a tab-separated table as text; empty for one of no rows.

    Raises
    ------
    InputError
        If the file is missing or no such table.
    """
    again = "make it again: remove the file and give the same command"
    try:
        lines = list(csv.reader(Path(path).read_text(encoding="utf-8").splitlines(), delimiter="\t"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: this table cannot be read ({error}); {again}") from error
    if not lines or not lines[0]:
        raise InputError(f"{path}: this table has no header; {again}")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(lines[0]):
            raise InputError(f"{path}, row {number}: {len(line)} columns where the header has {len(lines[0])}; {again}")
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Return the content of a JSON file.

    Raises
    ------
    InputError
        If it cannot be read.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: this file cannot be read ({error}); make it again: remove it and give the same command") from error


def download(path: str | os.PathLike, folder: str | os.PathLike, run: str) -> Download:
    """Return a file as a data URI, under a name of its run and its path within a folder."""
    content = Path(path).read_bytes()
    kind = {".png": "image/png", ".svg": "image/svg+xml", ".tsv": "text/tab-separated-values;charset=utf-8"}[Path(path).suffix]
    name = "_".join([run, *Path(path).relative_to(folder).parts])
    return Download(name, f"data:{kind};base64,{base64.b64encode(content).decode()}", len(content))


def digests(data: Iterable[Mapping[str, str]], largest: int = LARGEST_DIGEST) -> list[dict[str, str]]:
    """Return ``file``, ``bytes`` and ``sha256`` of input files, or why there is none.

    Parameters
    ----------
    data
        ``what``, ``path`` and, of public files, ``doi`` and ``checksum``.
    largest
        Larger files are not read.
    """
    found = []
    for entry in data:
        path, row = Path(entry["path"]), {"what": entry["what"], "file": entry["path"], "bytes": "", "sha256": "not there any more"}
        if path.is_file():
            size = path.stat().st_size
            row["bytes"] = str(size)
            row["sha256"] = files.digests(path)["sha256"] if size <= largest else f"not computed: larger than {largest:,} bytes"
        row["published as"] = " ".join(entry[key] for key in ("doi", "checksum") if entry.get(key))
        found.append(row)
    return found


# Figures, tables and captions


def slug(text: str) -> str:
    """Return a text as the name of a place in the page."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def inline_svg(text: str, prefix: str, title: str) -> str:
    """Return an SVG as markup for an HTML page.

    Ids get a prefix, so that those of several figures do not clash; scripts, handlers, styles and metadata are left out; the width is the
    page's affair; the title is what screen readers say.

    Raises
    ------
    ElementTree.ParseError
        If it is no XML.
    """
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    root = ElementTree.fromstring(text)
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "script", "style", "foreignObject"):
                parent.remove(child)
    for element in root.iter():
        for name, value in list(element.attrib.items()):
            local = name.rpartition("}")[2]
            if local.startswith("on"):
                del element.attrib[name]
            elif local == "id":
                element.set(name, prefix + value)
            elif local == "href":
                element.set(name, f"#{prefix}{value[1:]}" if value.startswith("#") else value if value.startswith("data:image/") else "")
            else:
                element.set(name, re.sub(r"url\(#([^)]*)\)", rf"url(#{prefix}\1)", value))
    for name in ("width", "height"):
        root.attrib.pop(name, None)
    root.set("role", "img")
    root.set("aria-labelledby", f"{prefix}title")
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")  # what matplotlib's own style says of all elements
    heading = ElementTree.Element(f"{{{_SVG}}}title", {"id": f"{prefix}title"})
    heading.text = title
    root.insert(0, heading)
    return ElementTree.tostring(root, encoding="unicode")


def width_of(svg: str) -> int:
    """Return the width of an SVG of matplotlib's in CSS pixels."""
    found = re.search(r'<svg[^>]*\swidth="([\d.]+)pt"', svg)
    return round(float(found[1]) * 4 / 3) if found else 640


def figure(path: str | os.PathLike, *, folder: str | os.PathLike, run: str, title: str, caption: str) -> Figure:
    """Return a figure of an SVG file with the PNG of the same name beside it; a large one is shown as PNG.

    Raises
    ------
    InputError
        If a file is missing or no figure.
    """
    path = Path(path)
    try:
        svg, png = (download(path.with_suffix(suffix), folder, run) for suffix in (".svg", ".png"))
        text = path.read_text(encoding="utf-8")
        place = "figure-" + slug(path.relative_to(folder).with_suffix("").as_posix())
        image = f'<img src="{png.uri}" alt="{html.escape(title)}">'
        picture = inline_svg(text, f"{place}-", title) if svg.bytes <= LARGEST_SVG else image
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: this figure cannot be read ({error}); make it again: remove it and give the same command") from error
    return Figure(place, title, picture, width_of(text), caption, (png, svg))


def caption(text: str, *, unit: str, bootstrap: int, max_edits: int, title: str = "", config: Mapping[str, Any] | None = None) -> str:
    """Return a caption of ``workflow/report`` as HTML.

    Parameters
    ----------
    text
        reStructuredText with Jinja's marks, as Snakemake's own report takes it.
    unit, bootstrap, max_edits, title, config
        What the marks ask of the rule's params, and the config.
    """
    import docutils.core
    import jinja2

    params = SimpleNamespace(unit=_plain(unit), bootstrap=f"{bootstrap:,}", max_edits=max_edits, title=_plain(title))
    filled = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(snakemake=SimpleNamespace(params=params, config=config))
    settings = {"raw_enabled": False, "file_insertion_enabled": False, "halt_level": 2, "report_level": 5, "embed_stylesheet": False}
    return docutils.core.publish_parts(filled, writer="html5", settings_overrides=settings)["body"].strip()


def _plain(text: str) -> str:
    """Return a text in which reStructuredText sees no marks."""
    return re.sub(r"([^\w\s])", r"\\\1", text)


def number(value: float | None, digits: int = 3) -> str:
    """Return a number for people: below 10 with so many decimals, or two significant digits if that shows none; above with four."""
    if value is None:
        return _NONE
    small = 0 < abs(value) < 10**-digits
    return (
        f"{value:.2g}" if small else f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    )


def probability(value: float) -> str:
    """Return a p-value for people, as ``= 0.03`` or ``< 0.0001``."""
    return "< 0.0001" if value < 1e-4 else f"= {value:.2g}"


def interval(row: Mapping[str, Any], name: str = "r") -> str:
    """Return a score with its 95 % interval."""
    if row.get(name) is None:
        return "not defined"
    return f"{number(row[name])} [{number(row[f'{name}_low'])}, {number(row[f'{name}_high'])}]"


def cell(text: str) -> Cell:
    """Return what a table shows of a value."""
    if not text:
        return Cell(_NONE)
    if text in ("true", "false"):
        return Cell("yes" if text == "true" else "no")
    if re.fullmatch(r"-?\d{1,15}", text):
        return Cell(f"{int(text):,}", float(text))
    if re.fullmatch(r"-?\d+\.\d*(?:e[+-]?\d+)?", text):
        return Cell(number(float(text)), float(text))
    return Cell(text)


def shape(rows: Sequence[Mapping[str, str]]) -> tuple[tuple[str, ...], list[list[Cell]]]:
    """Return columns and cells of a table, the ends of an interval in the column of their value, columns without any value left out."""
    names = [name for name in (rows[0] if rows else {}) if any(row[name] for row in rows)]
    with_ends = [name for name in names if f"{name}_low" in names and f"{name}_high" in names]
    ends = {f"{name}_{end}" for name in with_ends for end in ("low", "high")}
    kept = [name for name in names if name not in ends]
    cells = []
    for row in rows:
        line = []
        for name in kept:
            value = cell(row[name])
            if name in ("p", "p_holm") and value.number is not None:
                value = Cell(probability(value.number).removeprefix("= "), value.number)
            if name in with_ends and value.number is not None:
                low, high = (cell(row[f"{name}_{end}"]).text for end in ("low", "high"))
                value = Cell(f"{value.text} [{low}, {high}]", value.number)
            line.append(value)
        cells.append(line)
    return tuple(f"{name} [95 % interval]" if name in with_ends else name.replace("_", " ") for name in kept), cells


def table(path: str | os.PathLike, *, folder: str | os.PathLike, run: str, title: str, caption: str, unfolded: bool) -> Table:
    """Return a table of a TSV file.

    Raises
    ------
    InputError
        As `read_table`.
    """
    rows = read_table(path)
    columns, cells = shape(rows[:MOST_ROWS])
    file = download(path, folder, run)
    return Table(
        "table-" + slug(Path(path).relative_to(folder).with_suffix("").as_posix()),
        title,
        caption,
        columns,
        cells,
        len(rows),
        unfolded,
        file,
    )


# What is said in words


@dataclass(frozen=True)
class Finding:
    """What a reader must know: of which data set (or of the run), and what."""

    of: str
    text: str


def warnings_of(
    tables: Mapping[str, Sequence[Mapping[str, str]]], about: Mapping[str, Any], titles: Mapping[str, str], max_edits: int
) -> list[Finding]:
    """Return what makes the figures mean less than they seem.

    Parameters
    ----------
    tables
        Rows of ``checks.tsv``, ``leak/distances.tsv``, ``leak/reenactment.tsv`` and ``intervals.tsv``.
    about
        The content of ``model.json``.
    titles
        Data set -> its title.
    max_edits
        Of the leak guard.
    """
    found = [
        Finding(titles.get(row["dataset"], row["dataset"]), f"{row['check']}: {row['text']}.")
        for row in tables.get("checks.tsv", ())
        if row["verdict"] == "warning"
    ]
    for row in tables.get("leak/distances.tsv", ()):
        if within := int(row["within_guard"]):
            text = (
                f"{within:,} of {int(row['n']):,} promoters are within {max_edits} edits of a training promoter, where scores are no test."
            )
            found.append(Finding(titles.get(row["dataset"], row["dataset"]), "leak: " + text))
    for row in tables.get("intervals.tsv", ()):
        if float(row["level"]) == 0.95 and float(row["high"]) < COVERED:
            text = f"95 % intervals hold {100 * float(row['inside']):.1f} % of {int(row['n']):,} measurements: they are too narrow here."
            found.append(Finding(titles.get(row["dataset"], row["dataset"]), "intervals: " + text))
    for row in tables.get("leak/reenactment.tsv", ()):
        if row["way"] == "honest" and row["r"] and (about["val_r"] is None or float(row["r"]) > about["val_r"]):
            ridge, model = number(float(row["r"])), number(about["val_r"])
            text = f"ridge regression on 5-mers, trained on the same promoters, has r {ridge}, this model {model}."
            found.append(Finding("val split", "baseline: " + text))
    if about.get("restarts"):
        times = "once" if about["restarts"] == 1 else f"{about['restarts']} times"
        found.append(Finding("Training", f"diverged {times} and was sent back to its best state with a smaller learning rate."))
    return found


def notes_of(
    datasets: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any], *, commit: str, covered: bool, simulated: bool
) -> list[str]:
    """Return what a reviewer would ask about, though nothing is wrong with it.

    Parameters
    ----------
    datasets, about
        Of metrics.json, and the content of ``model.json``.
    commit
        Of this report's code.
    covered
        Whether predictions have intervals.
    simulated
        Whether data were.
    """
    found = []
    if simulated:
        found.append("Data are simulated, with known truth: what is said here of promoters holds for no living cell.")
    if not any(scored["independent"] for scored in datasets.values()):
        found.append("There is no independent data set: all scores are of promoters of the library that the model was trained on.")
    if about.get("epochs", 1) > 1 and about.get("best_epoch") == about.get("epochs"):
        found.append("The best epoch was the last one: longer training might give a better model.")
    if not covered:
        found.append("Predictions have no intervals: there are fewer than 19 validation promoters.")
    if not commit:
        found.append("The code was no checkout of git: which version of it made these results is not recorded.")
    if commit.endswith("-dirty"):
        found.append(f"The code was changed since commit {commit.removesuffix('-dirty')}, and the changes are in no commit.")
    if about.get("commit", "") != commit:
        found.append(
            f"The model was trained at commit {about.get('commit') or 'unknown'}; this report was written at {commit or 'an unknown one'}."
        )
    return found


def card(
    name: str, scored: Mapping[str, Any], peers: Sequence[Mapping[str, str]], runs: Sequence[Mapping[str, str]], run: str
) -> dict[str, Any]:
    """Return what the summary says of one data set.

    Parameters
    ----------
    name, scored
        Of the data set, in metrics.json.
    peers, runs
        Rows of ``peers.tsv`` and ``comparison/scores.tsv``.
    run
        Name of this run.

    Returns
    -------
    dict
        ``title``, ``kind``, ``r``, ``ends`` of its interval, ``n``, ``lines`` of text.
    """
    lines = []
    if ceiling := scored.get("ceiling"):
        share = f"{100 * ceiling['share']:.1f} % of the noise ceiling" if ceiling["share"] is not None else "noise ceiling"
        lines.append(f"{share}, {number(ceiling['r'])} (from {ceiling['from']})")
    if scored.get("r_members_sd") is not None:
        lines.append(f"single networks: r {number(scored['r_members_mean'])}, standard deviation {number(scored['r_members_sd'])}")
    known = {peer: of for peer, of in scored.get("peers", {}).items() if of["r"] is not None}
    if known:
        best = max(known, key=lambda peer: known[peer]["r"])
        which = f"best of {len(known)} stored predictions of others" if len(known) > 1 else "stored predictions of others"
        lines.append(f"{which}, {best}: r {interval(known[best])}, n = {known[best]['n']:,}")
        for row in peers:
            if row["dataset"] == name and row["other"] == best and row["difference"]:
                lines.append(f"this model minus {best}: {_difference(row)}")
    others = [row for row in runs if row["dataset"] == name and row["kind"] == "run" and row["label"] != run and row["r"]]
    if others:
        other = max(others, key=lambda row: float(row["r"]))
        values = {key: float(other[key]) if other[key] else None for key in ("r", "r_low", "r_high")}
        lines.append(f"{f'best of {len(others)} other runs' if len(others) > 1 else 'other run'}, {other['label']}: r {interval(values)}")
    kind = "independent of the library" if scored["independent"] else "of the library"
    ends = f"{number(scored['r_low'])} to {number(scored['r_high'])}"
    return {"title": scored["title"], "kind": kind, "r": number(scored["r"]), "ends": ends, "n": scored["n"], "lines": lines}


def _difference(row: Mapping[str, str]) -> str:
    value, low, high = (float(row[name]) for name in ("difference", "difference_low", "difference_high"))
    p = f", p {probability(float(row['p_holm']))} (Holm)" if row["p_holm"] else ""
    return f"{value:+.3f} [{low:+.3f}, {high:+.3f}]{p}"


def facts(way: pl.DataFrame, about: Mapping[str, Any], costs: Sequence[Mapping[str, str]]) -> list[tuple[str, str]]:
    """Return data, losses, model, training and cost in a line each.

    Parameters
    ----------
    way
        What `ledger.way` gives.
    about
        The content of ``model.json``.
    costs
        Rows of ``cost.tsv``.
    """
    found = []
    for unit, name in (("reads", "Reads"), ("promoters", "Promoters"), ("independent promoters", "Independent promoters")):
        rows = way.filter(unit=unit)
        totals, lost = rows.filter(kind="total"), rows.filter(kind="lost")
        if not rows.height:
            continue
        if unit == "independent promoters":
            given = sum(count for label, count in totals.select("label", "rows").iter_rows() if not label.endswith(", scored"))
        else:
            given = totals["rows"][0]
        used = given - lost["rows"].sum()
        reasons = "; ".join(
            f"{count:,} ({_percent(count / given)}) {what}"
            for what, count in lost.sort("rows", descending=True).select("label", "rows").iter_rows()
        )
        first = "" if unit == "independent promoters" else f" ({totals['label'][0]})" if totals["label"][0] != unit else ""
        found.append((name, f"{given:,} in{first}, {used:,} used, {lost['rows'].sum():,} lost{': ' if reasons else ''}{reasons}"))
    parts = way.filter(kind="part").select("label", "rows").iter_rows()
    found.append(("Splits", ", ".join(f"{label} {count:,}" for label, count in parts)))
    networks = f", {about['members']} networks" if about["members"] > 1 else ""
    found.append(("Model", f"{about['architecture']}, preset {about['preset']}, {about['parameters']:,} parameters{networks}"))
    epochs = f"epoch {about['best_epoch']} of {about['epochs']} was kept; " if about["epochs"] > 1 else ""
    validation = f"r on the val split {number(about['val_r'])} (n = {about['promoters']['val']:,})"
    found.append(("Training", f"{epochs}{validation}; {_clock(about['seconds'])} on {about['device']} ({about['backend']})"))
    hours, jobs = sum(float(row["core_hours"]) for row in costs), sum(int(row["jobs"]) for row in costs)
    found.append(("Cost", f"{hours:.2f} core-hours in {jobs:,} jobs"))
    return found


def _percent(share: float) -> str:
    return "<0.01 %" if share < 1e-4 else f"{100 * share:.2f} %" if share < 0.1 else f"{100 * share:.0f} %"


def _clock(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.1f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def without_secrets(value: Any) -> Any:
    """Return a part of the config in which URLs have neither passwords nor queries."""
    if isinstance(value, Mapping):
        return {key: without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(inner) for inner in value]
    return shown_url(value) if isinstance(value, str) and re.match(r"https?://", value) else value


# The page


def sections(
    figures: Sequence[str],
    tables: Sequence[str],
    captions: Mapping[str, str],
    *,
    results: str | os.PathLike,
    titles: Mapping[str, str],
    explained: str,
    config: Mapping[str, Any],
) -> list[Section]:
    """Return what is in the page, section by section; empty sections are left out.

    Parameters
    ----------
    figures, tables
        SVG files below ``results``/figures and TSV files below ``results``.
    captions
        Name -> reStructuredText.
    results
        Folder of the run.
    titles
        Data set -> its title.
    explained
        Data set of which figures of the explanation are; empty if there is none.
    config
        Of the run.
    """
    found = {name: Section(name, title) for name, title in SECTIONS.items()}
    values = {
        "unit": config["plots"]["unit"],
        "bootstrap": config["evaluation"]["bootstrap"],
        "max_edits": config["neighbours"]["max_edits"],
        "config": config,
    }
    drawn, run = Path(results) / "figures", config["run"]
    for path in sorted(figures, key=lambda path: _place(path, results, titles)):
        name = Path(path).relative_to(drawn).with_suffix("").as_posix()
        kind, _, dataset = name.partition("/") if name not in FIGURES else (name, "", "")
        section, title, text = FIGURES[kind]
        title = title or titles[dataset]
        below = caption(captions[text], title=titles.get(dataset or explained, ""), **values)
        found[section].figures.append(figure(path, folder=drawn, run=run, title=title, caption=below))
    for path in sorted(tables, key=lambda path: list(TABLES).index(Path(path).relative_to(results).as_posix())):
        section, title, text, unfolded = TABLES[Path(path).relative_to(results).as_posix()]
        above = caption(captions[text], **values)
        made = table(path, folder=results, run=run, title=title, caption=above, unfolded=unfolded)
        if made.total:
            found[section].tables.append(made)
    return [section for section in found.values() if section.figures or section.tables]


def _place(path: str, results: str | os.PathLike, titles: Mapping[str, str]) -> tuple[int, int]:
    name = Path(path).relative_to(Path(results) / "figures").with_suffix("").as_posix()
    if name in FIGURES:
        return list(FIGURES).index(name), 0
    kind, _, dataset = name.partition("/")
    return list(FIGURES).index(kind), list(titles).index(dataset)


def page(
    *,
    results: str | os.PathLike,
    figures: Sequence[str],
    tables: Sequence[str],
    captions: Sequence[str],
    template: str | os.PathLike,
    config: Mapping[str, Any],
    data: Sequence[Mapping[str, str]],
    datasets: Sequence[str],
    independent: Sequence[str],
    explained: str,
    now: datetime.datetime,
) -> str:
    """Return the report of a run as HTML.

    Parameters
    ----------
    results
        Folder of the run; ``metrics.json`` and ``model/model.json`` are read from it.
    figures, tables, captions
        Files: SVG (PNG beside them), TSV, reStructuredText.
    template
        Jinja template of the page; ``report.css`` and ``report.js`` lie beside it.
    config
        Of the run, complete.
    data
        Input files, see `digests`.
    datasets, independent
        Names of the scored data sets, in their order, and of the independent ones.
    explained
        The data set that is explained; empty if there is none.
    now
        Time to write down.

    Raises
    ------
    InputError
        If a table or figure is damaged.
    """
    import jinja2
    import yaml

    results, folder = Path(results), Path(template).parent
    metrics, about = read_json(results / "metrics.json"), read_json(results / "model/model.json")
    scored, max_edits = {name: metrics["datasets"][name] for name in datasets}, config["neighbours"]["max_edits"]
    titles = {name: of["title"] for name, of in scored.items()}
    simulated = any(Path(entry["path"]).is_relative_to(results / "simulated") for entry in data)
    rows = {Path(path).relative_to(results).as_posix(): read_table(path) for path in tables}
    texts = {Path(path).stem: Path(path).read_text(encoding="utf-8") for path in captions}
    way = ledger.way(ledger.load([results / "ledger.tsv"]), config["split"]["names"], independent)
    commit = provenance.commit()
    script = (folder / "report.js").read_text(encoding="utf-8")
    columns, cells = shape(digests(data))
    context = {
        "run": config["run"],
        "now": now.strftime("%Y-%m-%d %H:%M UTC"),
        "warnings": warnings_of(rows, about, titles, max_edits),
        "checked": len(rows.get("checks.tsv", ())),
        "notes": notes_of(scored, about, commit=commit, covered=bool(rows.get("intervals.tsv")), simulated=simulated),
        "cards": [
            card(name, of, rows.get("peers.tsv", ()), rows.get("comparison/scores.tsv", ()), config["run"]) for name, of in scored.items()
        ],
        "facts": facts(way, about, rows.get("cost.tsv", ())),
        "sections": sections(figures, tables, texts, results=results, titles=titles, explained=explained, config=config),
        "config": config,
        "config_text": yaml.safe_dump(without_secrets(config), sort_keys=False, allow_unicode=True, width=120),
        "about": about,
        "simulated": simulated,
        "commit": commit,
        "versions": provenance.versions(PACKAGES),
        "data_columns": columns,
        "data_rows": cells,
        "most_rows": MOST_ROWS,
        "style": (folder / "report.css").read_text(encoding="utf-8"),
        "script": script,
        "script_digest": base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    }
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template(Path(template).name).render(context)
