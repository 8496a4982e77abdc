"""Workbooks that would take all memory, and cells that fastexcel would leave out without a word."""

import zipfile

import pytest

from gpraflow.core import sheets, spreadsheet
from gpraflow.core.errors import InputError
from tests.workbook import workbook

SHEET = "xl/worksheets/sheet1.xml"
ROWS = [["bin", "lower"], ["a", 0.5], ["b", 1.5]]


def changed(path, old, new, part=SHEET, compression=zipfile.ZIP_STORED):
    """Write a workbook with another text in one of its parts."""
    workbook(path, {"data": ROWS})
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name).decode() for name in archive.namelist()}
    assert old in parts[part]
    parts[part] = parts[part].replace(old, new)
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, text in parts.items():
            archive.writestr(name, text)
    return path


LAST = '<c r="B3"><v>1.5</v></c>'


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ('<c r="B900000"><v>1</v></c>', "7 cells with content span 900,000 rows and 2 columns, up to cell B900000"),
        ('<c r="B1048576"><v>1</v></c>', "1,048,576 rows"),
        ('<c r="XFD3"><v>1</v></c>', "there is a cell in column 16,384, and at most 2,000 columns are read"),
        ('<c r="ZZZZZZZZZZ3"><v>1</v></c>', "there is a cell in column "),
        ('<c foo=">" r="XFD1048576"><v>1</v></c>', "there is a cell in column 16,384"),
        ('</row><row r="4294967295"><c><v>1</v></c>', "span 4,294,967,295 rows"),
        ('<c r="A3000000000000"><v>1</v></c>', "rows and 2 columns"),
    ],
)
def test_cells_far_from_the_table(tmp_path, cell, message):
    """Room is kept for each cell of the table, empty ones too: one far cell would take 390 GB."""
    path = changed(tmp_path / "a.xlsx", LAST, LAST + cell)
    with pytest.raises(InputError, match=rf"a\.xlsx: .*{message}.*; delete cells and rows beside the table"):
        spreadsheet.read(path)


def test_cells_with_a_format_only_take_no_room(tmp_path):
    path = changed(tmp_path / "a.xlsx", LAST, LAST + '<c r="XFD3" s="1"/></row><row r="1048576"><c r="A1048576" s="1"/>')
    assert spreadsheet.read(path).rows()[2] == (3, "b", "1.5")


def test_a_table_far_down_with_many_cells_is_read(tmp_path):
    rows = "".join(f'</row><row r="{number}"><c r="A{number}"><v>{number}</v></c>' for number in range(4, 2000))
    path = changed(tmp_path / "a.xlsx", LAST, LAST + rows)
    assert spreadsheet.read(path).height == 1999


def test_parts_that_unpack_to_much_more_than_they_take(tmp_path):
    path = changed(tmp_path / "a.xlsx", "<sheetData>", "<sheetData>" + " " * (50 << 20), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(
        InputError, match=r"a\.xlsx: not a readable \.xlsx file \(xl/worksheets/sheet1\.xml unpacks from .* to 52,4.* bytes"
    ):
        spreadsheet.read(path)


@pytest.mark.parametrize("error", ["#DIV/0!", "#REF!", "#VALUE!", "#N/A"])
def test_errors_of_formulas_are_not_empty_cells(tmp_path, error):
    """A gate that is #DIV/0! is not an open gate."""
    path = changed(tmp_path / "a.xlsx", LAST, f'<c r="B3" t="e"><f>1/0</f><v>{error}</v></c>')
    with pytest.raises(InputError, match=rf"a\.xlsx, cell B3: the formula gives {error}; correct it, or empty the cell"):
        list(sheets.rows(path, ["bin"]))
    if error == "#N/A":  # a missing value in a table
        assert spreadsheet.read(path).rows() == [(1, "bin", "lower"), (2, "a", "0.5"), (3, "b", None)]
    else:
        with pytest.raises(InputError, match=rf"cell B3: the formula gives {error}"):
            spreadsheet.read(path)


def test_formulas_have_values(tmp_path):
    path = changed(tmp_path / "a.xlsx", LAST, '<c r="B3"><f>1+1</f><v>2</v></c>')
    assert spreadsheet.read(path).rows()[2] == (3, "b", "2")
    path = changed(tmp_path / "a.xlsx", LAST, '<c r="B3" t="str"><f>""</f><v></v></c>')
    assert spreadsheet.read(path).rows()[2] == (3, "b", None)
    for value in ("", "<v/>", "<v>\n</v>"):  # as programs write that do not calculate
        path = changed(tmp_path / "a.xlsx", LAST, f'<c r="B3"><f>1+1</f>{value}</c>')
        with pytest.raises(InputError, match=r"a\.xlsx, cell B3: a formula without its value; open the file in a spreadsheet program"):
            spreadsheet.read(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"no archive", b"PK\x05\x06" + bytes(18)])
def test_what_is_no_workbook(tmp_path, content):
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.xlsx: not a readable \.xlsx file"):
        spreadsheet.read(tmp_path / "a.xlsx")


def test_parts_that_are_not_where_the_archive_says(tmp_path):
    workbook(tmp_path / "a.xlsx", {"data": ROWS})
    content = bytearray((tmp_path / "a.xlsx").read_bytes())
    at = content.rindex(b"PK\x05\x06")
    content[at + 16 : at + 20] = b"\xff\xff\xff\x7f"  # where the list of parts begins
    (tmp_path / "a.xlsx").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.xlsx: not a readable \.xlsx file"):
        spreadsheet.read(tmp_path / "a.xlsx")
