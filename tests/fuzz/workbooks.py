"""Sample sheets as .xlsx: a valid file, mutated cells and bytes, and an independent reader of the cells."""

import contextlib
import html
import io
import random
import re
import zipfile
from collections.abc import Sequence
from typing import Any
from xml.etree import ElementTree

from tests.fuzz import mutations
from tests.workbook import workbook

_SHEET = "xl/worksheets/sheet1.xml"
_CELL = re.compile(r'<c r="([A-Z]+)(\d+)".*?</c>')
# What stands in place of a cell; {r} is its place.
_CELLS = [
    '<c r="{r}" t="e"><v>#DIV/0!</v></c>',
    '<c r="{r}" t="e"><v>#N/A</v></c>',
    '<c r="{r}" t="b"><v>1</v></c>',
    '<c r="{r}" t="s"><v>7</v></c>',
    '<c r="{r}" t="str"><f>A1</f><v>low</v></c>',
    '<c r="{r}"><f>1+1</f><v>2</v></c>',
    '<c r="{r}"><f>1+1</f></c>',
    '<c r="{r}" t="d"><v>2022-01-01</v></c>',
    '<c r="{r}" t="x"><v>1</v></c>',
    '<c r="{r}" s="9"><v>1</v></c>',
    '<c r="{r}" t="inlineStr"><is><r><t>lo</t></r><r><t>w</t></r></is></c>',
    '<c r="XFD1048576"><v>1</v></c>',
    '<c r="ZZZZZZ99"><v>1</v></c>',
    '<c r="A0"><v>1</v></c>',
    '<c r="AAA{n}"><v>1</v></c>',
    "<c><v>3</v></c>",
    '</row><row r="400000"><c><v>3</v></c>',
    '</row><row r="4294967296"><c><v>3</v></c>',
    "<c r=",
    "",
]
_NUMBERS = ["0", "-0", "1", "1.5", "1e3", "1E-7", "1e999", "NaN", "0.1", "12345678901234567890", "x", ""]


def example(rows: Sequence[Sequence[str]]) -> bytes:
    """Return a workbook with these rows; cells that are numbers are numbers in it."""

    def cell(text: str) -> Any:
        return (float(text) if re.fullmatch(r"[\d.]+", text) else text) or None

    content = io.BytesIO()
    workbook(content, {"bins": [[cell(text) for text in row] for row in rows]})
    return content.getvalue()


def mutated(content: bytes, rng: random.Random) -> bytes:
    """Return a workbook with one to three other cells, or with changed bytes of its archive or of its sheet."""
    kind = rng.random()
    if kind < 0.15:
        return mutations.of_bytes(content, rng)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    if kind < 0.3:
        name = rng.choice(sorted(parts))
        parts[name] = mutations.of_bytes(parts[name], rng)
    else:
        text = parts[_SHEET].decode()
        for _ in range(rng.choice([1, 1, 2, 3])):
            if cells := list(_CELL.finditer(text)):
                hit = rng.choice(cells)
                text = text[: hit.start()] + _other(hit[1], hit[2], rng) + text[hit.end() :]
        parts[_SHEET] = text.encode()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", rng.choice([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])) as archive:
        for name, part in parts.items():
            archive.writestr(zipfile.ZipInfo(name), part)
    return packed.getvalue()


def _other(letters: str, row: str, rng: random.Random) -> str:
    place, kind = letters + row, rng.randrange(3)
    if kind == 0:
        return rng.choice(_CELLS).replace("{r}", place).replace("{n}", row)
    if kind == 1:
        return f'<c r="{place}"><v>{rng.choice(_NUMBERS)}</v></c>'
    return f'<c r="{place}" t="inlineStr"><is><t>{html.escape(rng.choice(mutations.CELLS))}</t></is></c>'


def is_number(value: Any) -> bool:
    """Return True for text that stands for a finite number."""
    return isinstance(value, str) and re.fullmatch(r"-?[\d.]*\d(e[-+]\d+)?", value) is not None and value[-1] != "."


def rows_of(content: bytes) -> list[list[str]]:
    """Return the cells of the only sheet with any, as text, without empty rows; numbers have at most 15 digits, as in spreadsheets."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        root = ElementTree.fromstring(archive.read(_SHEET))
    table: dict[int, dict[int, str]] = {}
    number = 0
    for row in root.iterfind(".//{*}row"):
        number, column = int(row.get("r", number + 1)), 0
        for cell in row.iterfind("{*}c"):
            place = re.fullmatch(r"([A-Za-z]+)(\d+)", cell.get("r", ""))
            column = sum(26**power * (ord(letter) - 64) for power, letter in enumerate(place[1].upper()[::-1])) if place else column + 1
            number = int(place[2]) if place else number
            text = "".join(part.text or "" for part in cell.iterfind("{*}is//{*}t")) or cell.findtext("{*}v") or ""
            if cell.get("t", "n") == "n" and text:
                with contextlib.suppress(ValueError):  # text in a cell for numbers
                    text = f"{float(text):.15g}".replace("nan", "NaN")
            if cell.get("t") == "b":
                text = "true" if text == "1" else "false"
            table.setdefault(number, {})[column] = text.strip()
    width = max(column for row in table.values() for column in row)
    rows = [[table[row].get(column, "") for column in range(1, width + 1)] for row in sorted(table)]
    return [row for row in rows if any(row) and not row[0].startswith("#")]
