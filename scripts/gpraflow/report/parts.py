"""Elements of the report page: figures, tables, captions and downloads as HTML."""

import base64
import csv
import html
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

from gpraflow.core.errors import InputError

MOST_ROWS = 300  # rows of a table shown on the page; the download has all rows
LARGEST_SVG = 1_000_000  # bytes; larger figures are shown as PNG
_SVG, _XLINK = "http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"
_NONE = "–"


@dataclass(frozen=True)
class Download:
    """A file embedded in the page as a data URI."""

    name: str
    uri: str
    bytes: int


@dataclass(frozen=True)
class Figure:
    """A figure: ``picture`` is HTML, ``width`` its natural width in CSS pixels, ``points`` the JSON of an interactive one, if any."""

    id: str
    title: str
    picture: str
    width: int
    caption: str
    downloads: tuple[Download, ...]
    points: str = ""


@dataclass(frozen=True)
class Cell:
    """A table cell: displayed text, and the number used for sorting."""

    text: str
    number: float | None = None


@dataclass(frozen=True)
class Table:
    """A table; ``total`` is its number of rows, of which the first are shown."""

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
    """A section of the page with its figures and tables."""

    id: str
    title: str
    figures: list[Figure] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)


# Reading


def read_intervals(results: Path) -> list[dict[str, str]]:
    """Return the rows of ``intervals.tsv`` in the folder of a run; none if intervals were not assessed."""
    path = results / "intervals.tsv"
    return read_table(path) if path.is_file() else []


def of_95(intervals: Iterable[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Return the rows of ``intervals.tsv`` on the 95 % intervals, one for each data set."""
    return [row for row in intervals if float(row["level"]) == 0.95]


def read_table(path: str | os.PathLike) -> list[dict[str, str]]:
    """Return the rows of a tab-separated table as text; an empty list if it has no rows.

    Raises
    ------
    InputError
        If the file is missing or not a tab-separated table.
    """
    again = "remove the file and run the same command again"
    try:
        lines = list(csv.reader(io.StringIO(Path(path).read_text(encoding="utf-8")), delimiter="\t"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: this table cannot be read ({error}); {again}") from error
    if not lines or not lines[0]:
        raise InputError(f"{path}: this table has no header; {again}")
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(lines[0]):
            raise InputError(f"{path}, row {number}: {len(line)} columns, but the header has {len(lines[0])}; {again}")
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def read_json(path: str | os.PathLike) -> dict[str, Any]:
    """Return the content of a JSON file.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: this file cannot be read ({error}); remove it and run the same command again") from error


def download(path: str | os.PathLike, folder: str | os.PathLike, run: str) -> Download:
    """Return a file as a data URI, with a name made of the run and the path of the file within ``folder``."""
    content = Path(path).read_bytes()
    kind = {".png": "image/png", ".svg": "image/svg+xml", ".tsv": "text/tab-separated-values;charset=utf-8"}[Path(path).suffix]
    name = "_".join([run, *Path(path).relative_to(folder).parts])
    return Download(name, f"data:{kind};base64,{base64.b64encode(content).decode()}", len(content))


# Figures, tables and captions


def slug(text: str) -> str:
    """Convert text to an HTML id."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "x"


def inline_svg(text: str, prefix: str, title: str) -> str:
    """Return an SVG as markup for embedding in an HTML page.

    Ids get a prefix so that they are unique on the page. Scripts, event handlers, styles, metadata and the fixed size are removed. The
    title is added for screen readers.

    Raises
    ------
    ElementTree.ParseError
        If the text is not valid XML.
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
    root.set("style", "stroke-linejoin: round; stroke-linecap: butt")  # matplotlib's default style of all elements
    heading = ElementTree.Element(f"{{{_SVG}}}title", {"id": f"{prefix}title"})
    heading.text = title
    root.insert(0, heading)
    return ElementTree.tostring(root, encoding="unicode")


def width_of(svg: str) -> int:
    """Return the width of a matplotlib SVG in CSS pixels."""
    match = re.search(r'<svg[^>]*\swidth="([\d.]+)pt"', svg)
    return round(float(match[1]) * 4 / 3) if match else 640


def figure(path: str | os.PathLike, *, folder: str | os.PathLike, run: str, title: str, caption: str, message: str = "") -> Figure:
    """Return a figure from an SVG file and the PNG of the same name; large figures are shown as PNG.

    ``message`` is the text alternative (`alternatives.alternative`); the title if it is empty.

    Raises
    ------
    InputError
        If a file is missing or is not a figure.
    """
    path = Path(path)
    try:
        svg, png = (download(path.with_suffix(suffix), folder, run) for suffix in (".svg", ".png"))
        text = path.read_text(encoding="utf-8")
        place = "figure-" + slug(path.relative_to(folder).with_suffix("").as_posix())
        image = f'<img src="{png.uri}" alt="{html.escape(message or title)}">'
        picture = inline_svg(text, f"{place}-", message or title) if svg.bytes <= LARGEST_SVG else image
    except (OSError, ValueError, ElementTree.ParseError) as error:
        raise InputError(f"{path}: this figure cannot be read ({error}); remove it and run the same command again") from error
    return Figure(place, title, picture, width_of(text), caption, (png, svg))


def caption(text: str, *, unit: str, bootstrap: int, max_edits: int, title: str = "", config: Mapping[str, Any] | None = None) -> str:
    """Return a caption from ``workflow/report`` as HTML.

    Parameters
    ----------
    text
        reStructuredText with Jinja expressions, as in Snakemake's own report.
    unit, bootstrap, max_edits, title, config
        Values for the Jinja expressions: parameters of the rule, and the config.
    """
    import docutils.core
    import jinja2

    params = SimpleNamespace(unit=_plain(unit), bootstrap=f"{bootstrap:,}", max_edits=max_edits, title=_plain(title))
    filled = jinja2.Template(text, undefined=jinja2.StrictUndefined).render(snakemake=SimpleNamespace(params=params, config=config))
    settings = {"raw_enabled": False, "file_insertion_enabled": False, "halt_level": 2, "report_level": 5, "embed_stylesheet": False}
    return docutils.core.publish_parts(filled, writer="html5", settings_overrides=settings)["body"].strip()


def _plain(text: str) -> str:
    """Escape reStructuredText markup; line separators, such as U+2028, become blanks."""
    return re.sub(r"([^A-Za-z0-9 ])", r"\\\1", " ".join(text.split()))


def number(value: float | None, digits: int = 3) -> str:
    """Format a number: below 10 with ``digits`` decimals, or two significant digits if those are all 0; from 10 four significant digits."""
    if value is None:
        return _NONE
    small = 0 < abs(value) < 10**-digits
    return (
        f"{value:.2g}" if small else f"{value:.{digits}f}" if abs(value) < 10 else f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    )


def probability(value: float) -> str:
    """Format a p-value as ``= 0.03`` or ``< 0.0001``."""
    return "< 0.0001" if value < 1e-4 else f"= {value:.2g}"


def interval(row: Mapping[str, Any], name: str = "r") -> str:
    """Format a score with its 95 % interval, if it has one."""
    if row.get(name) is None:
        return "not defined"
    if row.get(f"{name}_low") is None:
        return f"{number(row[name])} (no interval)"
    return f"{number(row[name])} [{number(row[f'{name}_low'])}, {number(row[f'{name}_high'])}]"


def cell(text: str) -> Cell:
    """Return the table cell for a value."""
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
    """Return columns and cells of a table. Interval ends are merged into the column of their value; empty columns are omitted."""
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
            if name in with_ends and value.number is not None and row[f"{name}_low"]:
                low, high = (cell(row[f"{name}_{end}"]).text for end in ("low", "high"))
                value = Cell(f"{value.text} [{low}, {high}]", value.number)
            line.append(value)
        cells.append(line)
    return tuple(f"{name} [95 % interval]" if name in with_ends else name.replace("_", " ") for name in kept), cells


def table(path: str | os.PathLike, *, folder: str | os.PathLike, run: str, title: str, caption: str, unfolded: bool) -> Table:
    """Return a table from a TSV file.

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
