"""Motif files: position frequency matrices in JASPAR, MEME or TRANSFAC format, recognised from their content.

The reader needs the standard library only, so that the plan of a run reads motif files before any job starts. Biopython's reader of MEME's
minimal format rounds frequencies to whole counts, and those of all three formats name no line.
"""

import math
import os
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from gpraflow.core import numbers
from gpraflow.core.errors import InputError

_FORMATS = (
    "JASPAR (lines '>ID NAME'), MEME (a line 'MEME version 4') or TRANSFAC (lines 'AC', 'P0 A C G T', '//'); "
    "convert other formats with Biopython's Bio.motifs"
)
_SUM = 0.05  # largest difference from 1 of the sum of a column of probabilities, which are rounded in files
_ROWS_ARE_POSITIONS = (
    "if each line is a position, as HOMER and HOCOMOCO (PCM, PWM) write them, give the collection in MEME format, or convert it"
)
_MATRIX = "letter-probability matrix:"
_TRANSFAC_KEY = re.compile(r"[A-Z][A-Z0-9]$")

Lines = Sequence[tuple[int, str]]  # number from 1, and text without white space at the ends


class Matrix(NamedTuple):
    """A position frequency matrix: identifier, factor, and counts or probabilities of A, C, G and T at each position."""

    matrix_id: str
    factor: str
    rows: list[list[float]]


def read(path: str | os.PathLike) -> list[Matrix]:
    """Read all matrices of a motif file.

    Backgrounds, strands and numbers of sites in the file are not used: matrices are scored on both strands against uniform base frequencies
    (`motifs.load`).

    Raises
    ------
    InputError
        If the file is missing, has no known format or no motif; if a matrix is not four finite, non-negative numbers at each position with
        a sum above 0 (probabilities: of 1), or a name occurs twice. The message names the line.
    """
    lines = _lines(path)
    matrices = list(_reader_of(lines, path)(lines, path))
    if not matrices:
        raise InputError(f"{path}: no motif found")
    line_of: dict[str, int] = {}
    for line, matrix in matrices:
        if matrix.matrix_id in line_of:
            raise InputError(
                f"{path}, line {line}: the motif '{matrix.matrix_id}' is also on line {line_of[matrix.matrix_id]}; "
                "give each motif a name of its own"
            )
        line_of[matrix.matrix_id] = line
    return [matrix for _, matrix in matrices]


def _lines(path: str | os.PathLike) -> list[tuple[int, str]]:
    try:
        with open(path, encoding="utf-8-sig", errors="replace") as handle:
            return [(number, line.strip()) for number, line in enumerate(handle, start=1)]
    except FileNotFoundError:
        raise InputError(f"{path}: this motif file does not exist") from None
    except OSError as error:
        raise InputError(f"{path}: this motif file cannot be read ({error.strerror})") from None


def _reader_of(lines: Lines, path: str | os.PathLike) -> Callable[[Lines, str | os.PathLike], Iterator[tuple[int, Matrix]]]:
    if any(text.startswith("MEME version") for _, text in lines):
        return _meme
    number, first = next(((number, text) for number, text in lines if text and not text.startswith("#")), (1, ""))
    if not first:
        raise InputError(f"{path}: no motif found; the file is empty")
    if first.startswith(">"):
        return _jaspar
    if _TRANSFAC_KEY.match(first.split()[0]):
        return _transfac
    shown = first if len(first) <= 40 else first[:40] + "..."
    raise InputError(f"{path}, line {number}: '{shown}' begins no motif in a known format; give {_FORMATS}")


def _numbers(cells: Sequence[str], where: str) -> list[float]:
    values = []
    for cell in cells:
        value = numbers.parse(cell)
        if value is None:
            raise InputError(f"{where}: '{cell}' is not a number")
        if not math.isfinite(value) or value < 0:
            raise InputError(f"{where}: '{cell}'; counts and probabilities are finite numbers of 0 or more")
        values.append(value)
    return values


# JASPAR


def _jaspar(lines: Lines, path: str | os.PathLike) -> Iterator[tuple[int, Matrix]]:
    head, name, rows = 0, "", dict[str, tuple[int, list[float]]]()
    for number, text in [*lines, (len(lines) + 1, ">")]:
        where = f"{path}, line {number}"
        if text.startswith(">"):
            if head:
                yield head, _jaspar_matrix(name, rows, f"{path}, line {head}")
            head, name, rows = number, text[1:].strip(), {}
            if not name and number <= len(lines):
                raise InputError(f"{where}: a motif without a name; write '>ID NAME'")
        elif text and not text.startswith("#"):
            cells = re.sub(r"[\[\]]", " ", text).split()
            base = cells.pop(0) if cells and cells[0] in tuple("ACGT") else "ACGT"[len(rows)] if len(rows) < 4 else ""
            if not base or base in rows:
                advice = f"; {_ROWS_ARE_POSITIONS}" if len(cells) == 4 and numbers.parse(cells[0]) is not None else ""
                raise InputError(
                    f"{where}: more than one line for {base or 'a base'} in the motif '{name}'; a motif has A, C, G and T{advice}"
                )
            rows[base] = number, _numbers(cells, where)


def _jaspar_matrix(name: str, rows: dict[str, tuple[int, list[float]]], where: str) -> Matrix:
    if len(rows) < 4:
        raise InputError(f"{where}: the motif '{name}' has {len(rows)} lines of counts, not four (A, C, G, T)")
    widths = {base: len(values) for base, (_, values) in rows.items()}
    if len(set(widths.values())) > 1 or not widths["A"]:
        raise InputError(f"{where}: the lines of the motif '{name}' have {', '.join(f'{widths[base]} ({base})' for base in 'ACGT')} counts")
    columns = [list(column) for column in zip(*(rows[base][1] for base in "ACGT"), strict=True)]
    if len(columns) == 4 and _are_probabilities([values for _, values in rows.values()]) and not _are_probabilities(columns):
        raise InputError(f"{where}: the lines of the motif '{name}' add up to 1, not the positions; {_ROWS_ARE_POSITIONS}")
    for position, column in enumerate(columns, start=1):
        if not sum(column):
            raise InputError(f"{where}: position {position} of the motif '{name}' has no counts (0 0 0 0)")
    words = name.split()
    return Matrix(words[0], words[1] if len(words) > 1 else words[0], columns)


def _are_probabilities(rows: Sequence[Sequence[float]]) -> bool:
    return all(abs(sum(row) - 1) <= _SUM for row in rows)


# MEME, minimal format; also what MEME itself writes as text


def _meme(lines: Lines, path: str | os.PathLike) -> Iterator[tuple[int, Matrix]]:
    head, words, rows = 0, [""], list[list[float]]()
    at = 0
    while at < len(lines):
        number, text = lines[at]
        at += 1
        where = f"{path}, line {number}"
        if text.startswith("ALPHABET") and not _is_nucleic(text):
            raise InputError(f"{where}: '{text}'; motifs of DNA (ACGT) or RNA (ACGU) are needed")
        if text.startswith("MOTIF"):
            if head and not rows:
                raise _no_matrix(path, head, words[0])
            head, words, rows = number, text.split()[1:], []
            if not words:
                raise InputError(f"{where}: a motif without a name; write 'MOTIF ID NAME'")
        elif text.startswith(_MATRIX):
            if not head or rows:
                raise InputError(f"{where}: a matrix without a line 'MOTIF ID NAME' before it")
            rows = _meme_rows(lines, at, text, where, path)
            at += len(rows)
            yield head, Matrix(words[0], words[1] if len(words) > 1 else words[0], rows)
    if head and not rows:
        raise _no_matrix(path, head, words[0])


def _is_nucleic(text: str) -> bool:
    """Return whether a line ALPHABET of a MEME file is of DNA or RNA."""
    value = text.removeprefix("ALPHABET").strip().removeprefix("=").strip()
    return value in ("ACGT", "ACGU") or re.match(r'"?[DR]NA\b', value) is not None


def _no_matrix(path: str | os.PathLike, line: int, name: str) -> InputError:
    return InputError(f"{path}, line {line}: the motif '{name}' has no '{_MATRIX}', which is needed even if it has a log-odds matrix")


def _meme_rows(lines: Lines, at: int, header: str, where: str, path: str | os.PathLike) -> list[list[float]]:
    """Return the rows of probabilities from index ``at`` on: as many as ``w=`` says, otherwise all up to the next line of another kind."""
    stated = {key: int(value) for key, value in re.findall(r"\b(alength|w)\s*=\s*([0-9]{1,9})", header)}
    if stated.get("alength", 4) != 4:
        raise InputError(f"{where}: alength= {stated['alength']}; motifs of DNA or RNA have 4 letters")
    rows: list[list[float]] = []
    for number, text in lines[at : at + stated["w"] if "w" in stated else None]:
        cells = text.split()
        if "w" not in stated and not re.match(r"[-+.\d]|nan|inf", text, re.IGNORECASE):
            break
        if len(cells) != 4:
            raise InputError(f"{path}, line {number}: '{text}'; expected the probabilities of A, C, G and T")
        row = _numbers(cells, f"{path}, line {number}")
        if abs(sum(row) - 1) > _SUM:
            raise InputError(f"{path}, line {number}: the probabilities add up to {sum(row):.4g}, not 1")
        rows.append(row)
    if not rows or len(rows) < stated.get("w", 1):
        raise InputError(f"{where}: {len(rows)} rows of probabilities follow, expected {stated.get('w', 'at least one')}")
    return rows


# TRANSFAC


def _transfac(lines: Lines, path: str | os.PathLike) -> Iterator[tuple[int, Matrix]]:
    fields, head, rows = dict[str, str](), 0, list[list[float]]()
    for number, text in [*lines, (len(lines) + 1, "//")]:
        key, _, value = re.sub(r"\s+", " ", text).partition(" ")
        where = f"{path}, line {number}"
        if key == "//":
            if head and not rows:
                raise InputError(f"{path}, line {head}: no counts follow")
            if head:
                yield head, _transfac_matrix(fields, rows, f"{path}, line {head}")
            fields, head, rows = {}, 0, []
        elif key in ("P0", "PO"):
            if value.upper().split()[:4] != ["A", "C", "G", "T"]:
                raise InputError(f"{where}: '{text}'; expected 'P0 A C G T'")
            head = number
        elif head and numbers.parse_count(key) is not None:
            cells = value.split()[:4]
            if len(cells) < 4:
                raise InputError(f"{where}: '{text}'; expected a position and the counts of A, C, G and T")
            rows.append(_numbers(cells, where))
            if not sum(rows[-1]):
                raise InputError(f"{where}: position {key} has no counts (0 0 0 0)")
        else:
            fields.setdefault(key, value)


def _transfac_matrix(fields: dict[str, str], rows: list[list[float]], where: str) -> Matrix:
    names = [fields[key] for key in ("AC", "ID", "NA", "DE") if fields.get(key)]
    if not names:
        raise InputError(f"{where}: a matrix without a name; write a line 'AC', 'ID', 'NA' or 'DE' before it")
    factor = fields.get("NA") or fields.get("ID") or names[0]
    return Matrix(names[0].split()[0], factor.split()[0], rows)
