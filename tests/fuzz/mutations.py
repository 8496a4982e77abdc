"""Seeded mutations of files: of bytes, of lines and cells, and of the values of JSON and YAML."""

import copy
import json
import random
from collections.abc import Callable
from typing import Any

_PIECES = [
    *(
        b"\0",
        b"\r",
        b"\n",
        b"\n\n",
        b"\r\n",
        b"\t",
        b",",
        b";",
        b'"',
        b'""',
        b"'",
        b"#",
        b">",
        b"@",
        b"+",
        b"\\",
        b"\x1b[31m",
        b"\x0b",
        b"\x0c",
    ),
    *(
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xe9",
        b"\xc3\xa9",
        b"\xe2\x80\xa8",
        b"\xc2\x85",
        b"\xf0\x9f\x8c\xbf",
        b"$",
        b"{",
        b"}",
        b"[",
        b"]",
        b" ",
    ),
    *(
        b"NaN",
        b"inf",
        b"-1",
        b"1e3",
        b"1e999",
        b"\xc2\xb2",
        b"\xd9\xa3",
        b"1_000",
        b"null",
        b"U",
        b"N",
        b"n",
        b"a",
        b"-",
        b"=cmd|' /C calc'!A0",
    ),
    *(b"A" * 5000, b"9" * 5000, b"\t" * 300, b"x" * 140_000),
]
CELLS = [
    *(
        "",
        " ",
        "NA",
        "NaN",
        "nan",
        "inf",
        "-inf",
        "-1",
        "-0",
        "0",
        "1",
        "1e3",
        "1e-3",
        "1e999",
        "1,5",
        "1.5",
        "3.0",
        "²",
        "٣",
        "1_000",
        "0x10",
    ),
    *(
        "9" * 25,
        "9" * 5000,
        "true",
        "null",
        "None",
        "*",
        "^a$",
        "[1]",
        "row",
        "sequence",
        "name",
        "U",
        "ACGU",
        "acgt",
        "ACGTN",
        "RYK",
        "A" * 400,
    ),
    *(
        "a\u2028b",
        "a\x0bb",
        "\x1b[31mred",
        '"',
        'a"b',
        '"a"',
        "'",
        "a b",
        "é",
        "../x",
        "a/b",
        "a{b}",
        "$HOME",
        "$x$",
        "<b>",
        "x" * 140_000,
        "1 2",
    ),
]
VALUES = [
    *(None, True, False, 0, 1, -1, 3.0, 0.5, -0.0, 1e-300, 1e300, float("inf"), float("-inf"), float("nan"), 2**31, 2**63, 10**12, 10**30),
    *(
        "",
        "x",
        "1",
        "3.0",
        "Right",
        "none",
        "auto",
        ".",
        "..",
        "../x",
        "a/b",
        "a\0b",
        "a\nb",
        "x\n",
        "é",
        "²",
        "\x1b",
        "x" * 5000,
        "{run}",
        "$x$",
    ),
    *([], {}, [None], [1], ["x"], [[1]], {"x": 1}, {"": None}, [float("nan")], [0] * 1000),
]


def of_bytes(content: bytes, rng: random.Random) -> bytes:
    """Return content with one to three changes of its bytes."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        begin, end = sorted(rng.randrange(len(content) + 1) for _ in range(2))
        kind = rng.randrange(6)
        if kind == 0 and content:
            place = rng.randrange(len(content))
            content = content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
        elif kind == 1:
            content = content[:begin] + content[min(end, begin + rng.choice([1, 2, 8, 1 << 30])) :]
        elif kind == 2:
            content = content[:begin] + rng.choice(_PIECES) + content[begin:]
        elif kind == 3:
            content = content[:end] + content[begin:end][:2000] * rng.choice([1, 2, 20]) + content[end:]
        elif kind == 4:
            content = content[:begin]
        else:
            piece = rng.choice(_PIECES)
            content = content[:begin] + piece + content[begin + len(piece) :]
    return content


def of_lines(content: bytes, rng: random.Random) -> bytes:
    """Return text with changed, missing, repeated or exchanged lines and cells."""
    lines = content.decode("utf-8", errors="surrogateescape").split("\n")
    for _ in range(rng.choice([1, 1, 2])):
        place, kind = rng.randrange(len(lines)), rng.randrange(7)
        if kind == 0 and len(lines) > 1:
            del lines[place]
        elif kind == 1:
            lines.insert(place, rng.choice(lines))
        elif kind == 2:
            lines.insert(place, rng.choice(["", " ", "#", "# x", "\t\t", *CELLS[:12]]))
        elif kind == 3:
            separator = next((sign for sign in "\t, " if sign in lines[place]), "\t")
            cells = lines[place].split(separator)
            at = rng.randrange(len(cells))
            cells[at : at + rng.choice([0, 1, 1, 1])] = rng.choice([[rng.choice(CELLS)], [rng.choice(CELLS)], [], [cells[at], cells[at]]])
            lines[place] = separator.join(cells)
        elif kind == 4:
            other = rng.randrange(len(lines))
            lines[place], lines[other] = lines[other], lines[place]
        elif kind == 5:
            lines[place] = lines[place].replace("\t", rng.choice([",", ";", " ", "\t\t"]))
        else:
            lines = [line + "\r" for line in lines] if rng.random() < 0.5 else [line.replace(".", ",") for line in lines]
    return "\n".join(lines).encode("utf-8", errors="surrogateescape")


def of_tree(content: Any, rng: random.Random) -> Any:
    """Return a nested structure with one or two keys changed, removed, added or renamed."""
    content = copy.deepcopy(content)
    for _ in range(rng.choice([1, 1, 1, 2])):
        places = list(_places(content))
        if not places:
            return rng.choice(VALUES)
        holder, key = rng.choice(places)
        kind = rng.randrange(8)
        if kind <= 4:
            holder[key] = copy.deepcopy(rng.choice(VALUES))
        elif kind == 5:
            del holder[key]
        elif isinstance(holder, dict):
            holder[rng.choice(["x", "", "é", "Name", f"{key}s"]) if kind == 6 else rng.choice([1, None, True, 0.5, f"{key} "])] = (
                holder[key] if kind == 6 else 1
            )
        else:
            holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(rng.choice(VALUES)))
    return content


def _places(content: Any) -> Any:
    parts = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, part in parts:
        yield content, key
        yield from _places(part)


def of_json(content: bytes, rng: random.Random) -> bytes:
    """Return JSON with a mutated value, or mutated bytes."""
    if rng.random() < 0.3:
        return of_bytes(content, rng)
    return json.dumps(of_tree(json.loads(content), rng)).encode()


def of_text(content: bytes, rng: random.Random) -> bytes:
    """Return text with mutated lines or bytes."""
    return (of_lines if rng.random() < 0.6 else of_bytes)(content, rng)


Mutation = Callable[[bytes, random.Random], bytes]
