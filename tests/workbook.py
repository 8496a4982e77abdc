"""Spreadsheets for tests of tables and sheets, written without a library for them."""

import zipfile


def workbook(path, sheets):
    """Write an .xlsx file, in the least that spreadsheets write: sheet -> rows of text, numbers or None."""

    def cell(value, row, column):
        place = f"{'ABCDEFGH'[column]}{row}"
        if isinstance(value, str):
            return f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
        return "" if value is None else f'<c r="{place}"><v>{value}</v></c>'

    kind = "http://schemas.openxmlformats.org"
    main, types, numbers = f"{kind}/spreadsheetml/2006/main", f"{kind}/package/2006", range(1, len(sheets) + 1)
    parts = {
        "[Content_Types].xml": f'<Types xmlns="{types}/content-types"><Default Extension="xml" ContentType="application/xml"/></Types>',
        "_rels/.rels": f'<Relationships xmlns="{types}/relationships"><Relationship Id="rId1" Target="xl/workbook.xml" '
        f'Type="{kind}/officeDocument/2006/relationships/officeDocument"/></Relationships>',
        "xl/workbook.xml": f'<workbook xmlns="{main}" xmlns:r="{kind}/officeDocument/2006/relationships"><sheets>'
        + "".join(f'<sheet name="{name}" sheetId="{n}" r:id="rId{n}"/>' for n, name in zip(numbers, sheets, strict=True))
        + "</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f'<Relationships xmlns="{types}/relationships">'
        + "".join(
            f'<Relationship Id="rId{n}" Target="worksheets/sheet{n}.xml" Type="{kind}/officeDocument/2006/relationships/worksheet"/>'
            for n in numbers
        )
        + "</Relationships>",
    }
    for number, rows in zip(numbers, sheets.values(), strict=True):
        lines = (
            f'<row r="{r}">{"".join(cell(value, r, c) for c, value in enumerate(row))}</row>' for r, row in enumerate(rows, start=1) if row
        )
        parts[f"xl/worksheets/sheet{number}.xml"] = f'<worksheet xmlns="{main}"><sheetData>{"".join(lines)}</sheetData></worksheet>'
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in parts.items():
            archive.writestr(zipfile.ZipInfo(name), f'<?xml version="1.0" encoding="UTF-8"?>{text}')
