"""YAML and JSON files of others: every mutation is read right, or refused with file and key; nothing is a traceback."""

import json
import math
from dataclasses import asdict

import pytest

from gpraflow.core import documents, numbers
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.formats import transform
from gpraflow.models import about
from gpraflow.prediction import background, calibration
from gpraflow.shards import manifest, records, upload

DIGEST = {"sha256": "0" * 64, "crc32c": "0" * 8}
MODEL = {
    "architecture": "toy",
    "parameters": 20,
    "members": 1,
    "input": {"alphabet": "ACGTN", "length": 40, "scaffold": "toy", "keep": "right", "pad": "left"},
    "scale": {
        "kind": "isotonic",
        "controls": 60,
        "lowest": -1.5,
        "highest": 7.0,
        "r": 0.9,
        "slope": 2.0,
        "offset": -5.0,
        "knots": [1.0, 2.0],
        "values": [0.5, 3.0],
        "rmse_before": 2.0,
        "rmse": 0.3,
        "R2_before": -2.0,
        "R2": 0.9,
        "of": DIGEST["sha256"],
        "condition": "galactose",
    },
    "network_conditions": ["glucose", "galactose"],
}
CALIBRATION = {
    "model_sha256": "0" * 64,
    "scaffold": "toy",
    "five_prime": "ACGT",
    "three_prime": "",
    "damaged_flanks": "keep",
    "max_flank_edits": 1,
    "lengths": [30, 40],
    "unknown": 0,
    "kmer_shares": [1 / 64] * 64,
    "composition": 9.5,
    "validation": 300,
    "spread_factor": 1.0,
    "model_variance": 0.2,
    "read_variance": 2,
    "quantiles": [0.7, 1.3, 1.6, None],
    "reads": 12.5,
    "transform": {"name": "none", "floor": None, "values": [], "scores": []},
    "levels": [1.0, 2.0],
    "level_variances": [0.1, 0.2],
    "level_quantiles": [[0.7, 0.7], [1.3, 1.2], [1.6, 1.7], [2, 2.1]],
    "effects": None,
    "expression_quantiles": [number / 10 for number in range(101)],
}
BACKGROUND = {"variants": 2000, "effects": {"": [-0.5, 0.0, 0.25], "b-a": [0, 1]}}
RECEIPT = {"bucket": "file://b", "splits": {"train": {"manifest": "train/manifest.json", "rows": 3, "bytes": 9, **DIGEST}}}
READERS = {
    "model": (MODEL, about.read),
    "calibration": (CALIBRATION, calibration.load),
    "background": (BACKGROUND, background.load),
    "receipt": (RECEIPT, upload.read_receipt),
}


def read(tmp_path, kind, content):
    path = tmp_path / f"{kind}.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return READERS[kind][1](path)


@pytest.mark.parametrize("kind", READERS)
def test_what_is_right_is_read(tmp_path, kind):
    found = read(tmp_path, kind, READERS[kind][0])
    if kind != "calibration":
        assert found == ({"conditions": []} if kind == "model" else {}) | READERS[kind][0]
    else:
        assert (found.lengths, found.levels, found.effects, found.quantiles[2:]) == ((30, 40), (1.0, 2.0), None, (1.6, None))


@pytest.mark.parametrize("kind", READERS)
def test_no_key_may_be_missing_or_of_another_type(tmp_path, kind):
    content, _ = READERS[kind]
    required = schemas.load(f"files/{kind}")["required"]
    for key in content:
        if key in required:
            with pytest.raises(InputError, match=rf"{kind}\.json: it: '{key}' is a required property; "):
                read(tmp_path, kind, {name: value for name, value in content.items() if name != key})
        for value in (True, [[None]]):
            with pytest.raises(InputError, match=rf"^.*{kind}\.json: {key}\b"):
                read(tmp_path, kind, content | {key: value})
    with pytest.raises(InputError, match=r"'scafold' is not a key"):
        read(tmp_path, kind, content | {"scafold": 1})


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged"),
        ("null", "null"),
        ("[1]", "a list"),
        ("[" * 100_000, "nested too deeply"),
        ("9" * 5000, "damaged"),
        ('{"a": 1, "a": 2}', "the key 'a' occurs twice"),
        ('{"a": NaN}', "a: nan is not a finite number"),
        ('{"a": -Infinity}', "a: -inf is not a finite number"),
        ('{"a": 1e999}', "a: inf is not a finite number"),
        ('{"a": 9223372036854775808}', "a: a whole number beyond 64 bits"),
        ('{"a": "\\u0000"}', "has the control character"),
        ('{"a": "\\ud800"}', "has half a character"),
        ("\0", "NUL bytes"),
    ],
)
def test_what_is_no_json_of_ours(tmp_path, kind, text, message):
    with pytest.raises(InputError, match=rf"{kind}\.json: .*{message}"):
        read(tmp_path, kind, text)


@pytest.mark.parametrize("kind", READERS)
def test_files_that_cannot_be_read(tmp_path, kind):
    (tmp_path / f"{kind}.json").mkdir()
    with pytest.raises(InputError, match=rf"{kind}\.json: could not be read \(Is a directory\)"):
        READERS[kind][1](tmp_path / f"{kind}.json")
    with pytest.raises(InputError, match=r"none\.json: this file does not exist"):
        READERS[kind][1](tmp_path / "none.json")
    (tmp_path / "latin.json").write_bytes(b'{"a": "\xe9"}')
    with pytest.raises(InputError, match=r"latin\.json: not UTF-8 text"):
        READERS[kind][1](tmp_path / "latin.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"keep": "Right"}, "input.keep: 'Right' is not one of left, right; did you mean 'right'"),
        ({"keep": "x"}, "input.keep: 'x' is not one of left, right"),
        ({"length": 1_000_000_000_000}, "input.length: 1000000000000 is greater than the maximum of 100000"),
        ({"length": 0}, "input.length: 0 is less than the minimum of 1"),
        ({"alphabet": "ACTGN"}, "input.alphabet: 'ACGTN' was expected"),
    ],
)
def test_values_that_mean_nothing_in_a_model(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        read(tmp_path, "model", MODEL | {"input": MODEL["input"] | change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_flank_edits": 10_000_000}, "max_flank_edits: 10000000 is greater than the maximum of 10"),
        ({"levels": [1.0]}, "levels, level_variances and level_quantiles have different numbers of values"),
        ({"level_quantiles": [[0.7, 0.7]]}, "levels, level_variances and level_quantiles have different numbers of values"),
        ({"levels": [2.0, 1.0]}, "levels are not ascending"),
        ({"quantiles": [0.7, None, 1.6, 2.0]}, "quantiles: a value is missing between others"),
        ({"quantiles": [0.7, 1.3, 1.2, 2.0]}, "quantiles of higher levels are smaller"),
        ({"lengths": [41, 40]}, "lengths: 41 is above 40"),
        ({"kmer_shares": [1 / 32] * 64}, "kmer_shares add up to 2, not 1"),
        ({"five_prime": "acgt"}, "five_prime: 'acgt' does not match"),
        ({"transform": {"name": "log10", "floor": None, "values": [], "scores": []}}, "transform: name: 'log10' is not one of none, log2"),
        (
            {"transform": {"name": "rank_normal", "floor": None, "values": [1, 2], "scores": [0]}},
            "transform: values and scores do not fit together",
        ),
        (
            {"transform": {"name": "rank_normal", "floor": None, "values": [2, 1], "scores": [0, 1]}},
            "transform: values and scores do not fit together",
        ),
    ],
)
def test_values_that_mean_nothing_in_a_calibration(tmp_path, change, message):
    with pytest.raises(InputError, match=rf"calibration\.json: {message}.*; make it again: snakemake"):
        read(tmp_path, "calibration", CALIBRATION | change)


RECORD, FEATURES = records.layout(4, {"expression": 1})
MANIFEST = {
    "format": manifest.FORMAT,
    "split": "train",
    "alphabet": "ACGTN",
    "length": 4,
    "scaffold": "none",
    "keep": "right",
    "pad": "left",
    "label_transform": "identity",
    "compression": "none",
    "rows": 0,
    "record_bytes": len(RECORD),
    "features": [asdict(feature) for feature in FEATURES],
    "shards": [],
}
SHARD = {"name": "train-00000-of-00001.tfrecord", "rows": 1, "bytes": len(RECORD), **DIGEST}


def test_a_manifest_without_one_of_its_keys():
    assert manifest.parse_manifest(json.dumps(MANIFEST).encode(), "m.json") == MANIFEST
    for key in MANIFEST:
        with pytest.raises(InputError, match=rf"m\.json: it: '{key}' is a required property; write the shards again"):
            manifest.parse_manifest(json.dumps({name: value for name, value in MANIFEST.items() if name != key}).encode(), "m.json")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"length": 1_000_000_000_000}, "length: 1000000000000 is greater"),
        ({"features": [MANIFEST["features"][0] | {"size": 2**63}]}, "a whole number beyond 64 bits"),
        ({"features": [MANIFEST["features"][0] | {"size": 2**62}]}, "features.0.size: .* is greater"),
        ({"features": [MANIFEST["features"][0] | {"name": f"f{i}", "size": 90_000} for i in range(900)]}, "the manifest was changed"),
        ({"shards": [SHARD | {"rows": 10**12}], "rows": 10**12}, "shard 1: 1,000,000,000,000 records do not fit into "),
        ({"shards": [SHARD | {"rows": 10**9}], "rows": 10**9, "compression": "gzip"}, "records do not fit|name"),
        ({"shards": [SHARD, SHARD], "rows": 2}, "the manifest was changed"),
    ],
)
def test_sizes_are_checked_before_memory_is_taken(change, message):
    with pytest.raises(InputError, match=message):
        manifest.parse_manifest(json.dumps(MANIFEST | change).encode(), "m.json")


def test_a_transform_that_is_none(tmp_path):
    (tmp_path / "t.json").write_text('{"name": "log2", "floor": 1, "values": []}')
    with pytest.raises(InputError, match=r"t\.json: it: 'scores' is a required property; remove the file and run again"):
        transform.read(tmp_path / "t.json")


# YAML


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("a: 1\na: 2\n", "the key 'a' occurs twice"),
        ("a: 2022-13-45\n", "not valid YAML"),
        ("a: 2022-01-01\n", "a: datetime.date.* is a date; put text in quotes"),
        ("1: x\n", "the key 1 is a whole number, not text; put it in quotes"),
        ("? [a]\n: x\n", "not valid YAML"),
        ("- x\n", "not a mapping of names to values, but a list"),
        ("a: .nan\n", "a: nan is not a finite number"),
        ("a: !!binary aGk=\n", "is a bytes"),
        ("a: &a [*a]\n", "do anchors refer to each other"),
        (
            "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)),
            "anchors",
        ),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deeply"),
        ("a: " + "9" * 5000, "not valid YAML|beyond 64 bits"),
    ],
)
def test_what_is_no_yaml_of_ours(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(ConfigError, match=rf"^x: .*{message}") as caught:
        documents.of_yaml(tmp_path / "a.yaml", "x")
    assert len(str(caught.value)) < 2000


def test_merged_keys_of_yaml_are_allowed(tmp_path):
    (tmp_path / "a.yaml").write_text("a: &a {x: 1}\nb: {<<: *a, x: 2}\n")
    assert documents.of_yaml(tmp_path / "a.yaml", "x") == {"a": {"x": 1}, "b": {"x": 2}}


# Numbers as text


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("-1.5e-3", -0.0015),
        (".5", 0.5),
        ("5.", 5),
        ("1_000", None),
        ("٣", None),
        ("", None),
        ("0x1", None),
        ("1 ", None),
        ("²", None),
    ],
)
def test_numbers(text, number):
    assert numbers.parse(text) == number


def test_numbers_that_are_none():
    assert math.isnan(numbers.parse("NaN"))
    assert numbers.parse("-Infinity") == -math.inf
    assert [numbers.parse_count(text) for text in ("12", "²", "٣", "9" * 5000, "-1", "")] == [12, None, None, None, None, None]
