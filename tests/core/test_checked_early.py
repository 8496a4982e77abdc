"""What cannot work is refused before the first job, with its key."""

import datetime
import math

import polars as pl
import pytest

from gpraflow.app.plan import Plan
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError, GpraflowError, InputError, explained

BASE = {"input": {"table": "x.tsv"}, "evaluation": {"datasets": ""}}
SCHEMA = schemas.load("config")


def keys(schema, place=()):
    for key, part in schema["properties"].items():
        if part.get("type") == "object" and "properties" in part:
            yield from keys(part, (*place, key))
        else:
            yield (*place, key), part


def with_value(place, value):
    content = {"input": {"table": "x.tsv"}, "evaluation": {"datasets": ""}}
    inner = content
    for key in place[:-1]:
        inner = inner.setdefault(key, {})
    inner[place[-1]] = value
    return content


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("value", [None, 3, "x", [], [1], True, datetime.date(2022, 1, 1), {1: 2}, {None: 1}], ids=repr)
def test_no_section_can_be_anything_else(value):
    """What Snakemake reads from YAML in place of a section."""
    for section, part in SCHEMA["properties"].items():
        if part["type"] == "object":
            with pytest.raises(ConfigError, match=rf"^config: {section}\b"):
                Plan(BASE | {section: value})


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, -math.inf, "a\0b", "a\x1bb", 10**5000], ids=["nan", "inf", "-inf", "NUL", "ESC", "10^5000"]
)
def test_values_that_no_key_can_have(value):
    for place, _ in keys(SCHEMA):
        with pytest.raises(ConfigError, match=rf"^config: {'.'.join(place)}: "):
            schemas.validate(with_value(place, value), SCHEMA, "config")


def test_whole_numbers_may_be_written_with_a_point_at_every_key():
    """3.0 is 3 for all keys alike; 3.5 is an error for all."""
    some = 0
    for place, part in keys(SCHEMA):
        if part.get("type") == "integer":
            number = float(part["enum"][0] if "enum" in part else max(1, part.get("minimum", 1)))
            found = schemas.validate(with_value(place, number), SCHEMA, "config")
            for key in place:
                found = found[key]
            assert type(found) is int
            assert found == number
            with pytest.raises(ConfigError, match=r"3\.5 is not of type integer"):
                schemas.validate(with_value(place, 3.5), SCHEMA, "config")
            some += 1
    assert some > 40
    assert schemas.validate({"scaffold": {"insert_length": [40.0, 120]}}, SCHEMA, "config")["scaffold"]["insert_length"] == [40, 120]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scaffold": {"insert_length": [120, 40]}}, r"scaffold\.insert_length: \[120, 40\]: the minimum comes first; write \[40, 120\]"),
        (
            {"input": {"table": "x.tsv", "expression_min": 5, "expression_max": 5}},
            r"input\.expression_min: 5 is not below expression_max, 5",
        ),
        ({"scaffold": {"name": "pTPA"}}, r"scaffold\.name: .* has no scaffold 'pTPA'; did you mean 'pTpA'"),
        ({"bucket": {"url": "http://x"}}, r"bucket\.url: "),
        ({"input": {"table": "x" * 300}}, r"input\.table: 'xxx.*is too long: .* each of its names 255"),
        ({"scaffold": {"file": "x/" * 3000}}, r"scaffold\.file: 'x/.*is too long: a path has at most 4000 bytes"),
    ],
)
def test_keys_that_would_stop_a_later_job(change, message):
    with pytest.raises(ConfigError, match=f"^{message}"):
        Plan(BASE | change)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name\ttable\nmine\tx.tsv\n" * 1 + "a" * 222 + "\tx.tsv\n", r"row 3: name: 'aaa.*has 222 characters"),
        ("name\ttable\tname\nmine\tx.tsv\tother\n", "the column 'name' occurs 2 times"),
        ("name\ttable\texpression_min\texpression_max\nmine\tx.tsv\t3\t2\n", "row 2: expression_min: 3 is not below expression_max, 2"),
        ("name\ttable\texpression_min\nmine\tx.tsv\tnan\n", "row 2: expression_min: nan is not a finite number"),
        ("name\ttable\texpression_min\nmine\tx.tsv\t1_000\n", "row 2: expression_min: '1_000' is not of type number"),
        ("name\ttable\nmine\t" + "x" * 140_000 + "\n", r"row 2: cannot be read \(field larger than field limit"),
        ('name\ttable\nmine\t"x\n', r"row 2: cannot be read \(unexpected end of data\); is a quote not closed"),
        ("", "the sheet is empty; its first row names the columns"),
    ],
)
def test_sheets(tmp_path, text, message):
    (tmp_path / "sets.tsv").write_text(text)
    with pytest.raises(GpraflowError, match=rf"^sets\.tsv.*{message}"):
        Plan(BASE | {"evaluation": {"datasets": "sets.tsv"}})


def test_scaffolds_of_others(tmp_path):
    for text, message in {
        "pTpA: x\n": "pTpA: expected five_prime, .* found text",
        "pTpA: {five_prime: 3}\n": r"pTpA\.five_prime: expected text, found a whole number",
        "pTpA: {five_prim: A}\n": "'five_prim' is not a key; did you mean 'five_prime'",
        "pTpA: {five_prime: ACX}\n": "'ACX' may contain A, C, G and T only",
        "- x\n": "not a mapping",
    }.items():
        (tmp_path / "s.yaml").write_text(text)
        with pytest.raises(ConfigError, match=rf"s\.yaml.*{message}"):
            Plan(BASE | {"scaffold": {"file": "s.yaml"}})


# Messages


def test_messages_hold_no_control_characters_and_no_endless_words():
    error = InputError("a.tsv, row 2: '\x1b[31mred\x07\u009b' and " + "x" * 100_000 + "\n\tnext")
    assert str(error) == r"a.tsv, row 2: '\x1b[31mred\x07\x9b' and " + "x" * 100 + "... (100,000 characters)\n\tnext"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (InputError("a: b"), "^a: b$"),
        (PermissionError(13, "Permission denied", "in.json"), r"^in\.json: could not be used \(Permission denied\); check"),
        (MemoryError(), r"^not enough memory \(MemoryError: no details\); .*ulimit"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 8 bytes"), "^not enough memory"),
        (RuntimeError("can't start new thread"), "^not enough memory"),
        (pl.exceptions.ComputeError("parquet: Invalid parameter: zstd error: Allocation error : not enough memory"), "^not enough memory"),
        (OSError(28, "No space left on device"), "^No space left on device; free space"),
        (KeyError("x"), "^$"),
        (ConnectionResetError(104, "Connection reset by peer"), "^$"),
    ],
)
def test_errors_that_a_user_can_solve_are_explained(error, message):
    import re

    assert re.search(message, explained(error))
