"""Names that become parts of paths, wherever they come from."""

import json
import re

import polars as pl
import pytest

from gpraflow.assay import sheet
from gpraflow.core import checksums, config, names
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.shards import batches, manifest, upload, write
from gpraflow.tables import downloads

BAD = ["", ".", "..", "../x", "a/b", "x/../../y", ".hidden", "-rf", "sample\n", "a b", "[1]*?", "{run}", "$HOME", "a\0b", "å", "x" * 101]


@pytest.mark.parametrize("name", ["sample", "2022-11.v1_b", "A", "x" * 100])
def test_good_names(name):
    assert names.check(name, "here") == name


@pytest.mark.parametrize("name", [*BAD, None, 3, "x" * 222])
def test_bad_names_are_refused_with_the_place(name):
    with pytest.raises(ConfigError, match=r"^mine\.yaml, run: ") as raised:
        names.check(name, "mine.yaml, run", ConfigError)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("name", BAD)
def test_runs(name):
    for content in ({"run": name}, {"comparison": {"runs": [name]}}):
        with pytest.raises(ConfigError, match=r"^config: (run|comparison\.runs\.0): ") as raised:
            config.load(content)
        assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("name", [name for name in BAD if name.strip() == name and name and "\0" not in name])
def test_data_sets_and_bins(tmp_path, name):
    path = tmp_path / "sheet.tsv"
    path.write_text(f"name\ttable\nfirst\ta.tsv\n{name}\tb.tsv\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sheet\.tsv, row 3: name: "):
        schemas.load_sheet(path, schemas.load("datasets"))
    for row, key in (({"bin": name}, "bin"), ({"bin": "1", "replicate": name}, "replicate")):
        with pytest.raises(ConfigError, match=rf"^s\.tsv, row 2: {key}: "):
            sheet.check_reads([row | {"reads": "a"}], "s.tsv")


def test_replicate_and_bin_together_are_one_name():
    rows = [{"bin": "b" * 60, "replicate": "a" * 60, "reads": "x"}]
    with pytest.raises(ConfigError, match=r"^s\.tsv, row 2: replicate and bin: 'a+\.\.\.' has 121 characters, at most 100"):
        sheet.check_reads(rows, "s.tsv")


@pytest.mark.parametrize("name", BAD)
def test_public_files(tmp_path, name):
    path = tmp_path / "registry.yaml"
    entry = {"title": "t", "licence": "CC0", "doi": "10.5281/zenodo.1", "files": {"library": {"name": "a.tsv"}}}
    for content in ({name: entry}, {"x": entry | {"files": {"library": {"name": name}}}}):
        path.write_text(json.dumps(content))
        with pytest.raises(ConfigError, match=r"registry\.yaml: (x\.files\.library\.name: )?'"):
            config.load_registry(path, schemas.load("registry"))
    for source in (downloads.Source(name, "a.tsv", registry="r.yaml"), downloads.Source("x", name, registry="r.yaml")):
        with pytest.raises(ConfigError, match=r"^r\.yaml, (data set|x, file): "):
            downloads.fetch(tmp_path / "data/a.tsv", source, downloads.Network(offline=True))
    assert not (tmp_path / "data").exists()


def test_a_pattern_ends_at_the_end_of_the_text():
    """In Python, ``$`` also fits before a last line break."""
    schema = {"properties": {"x": {"type": "string", "pattern": "^(auto|[ACGT]*)$"}}}
    assert schemas.validate({"x": "ACG"}, schema, "f") == {"x": "ACG"}
    with pytest.raises(ConfigError, match=r"f: x: 'ACG\\n' does not match"):
        schemas.validate({"x": "ACG\n"}, schema, "f")


SHARD = "train-00000-of-00001.tfrecord.gz"
BAD_SHARDS = [
    "x/../../../NAME",
    f"../{SHARD}",
    f"/tmp/{SHARD}",
    "NAME",
    f"val{SHARD[5:]}",
    f"{SHARD}\n",
    f"{SHARD}.zst",
    3,
    f"train{'٠' * 6}",
]


@pytest.fixture
def written(tmp_path):
    """Path of the manifest of a split of one compressed shard."""
    table = pl.DataFrame({"sequence": ["ACGT"], "expression": [1.0]})
    path = tmp_path / "shards/train/manifest.json"
    window = {"length": 4, "keep": "right", "pad": "left", "rows_per_shard": 9, "extra_features": [], "compression": "gzip", "seed": 1}
    write.write(table, path, split="train", scaffold="none", **window)
    return path


@pytest.mark.parametrize(
    ("key", "value"), [*(("name", name) for name in BAD_SHARDS), ("crc32c", "../../../x"), ("crc32c", "ABCDEF01"), ("crc32c", None)]
)
def test_names_of_shards_are_those_that_we_write(written, key, value):
    content = json.loads(written.read_text())
    assert content["shards"][0]["name"] == SHARD
    manifest.parse_manifest(json.dumps(content).encode(), "m.json")
    content["shards"][0][key] = value
    with pytest.raises(InputError, match=rf"^m\.json(, shard 1, |: shards\.0\.){key}: .*; write the shards again"):
        manifest.parse_manifest(json.dumps(content).encode(), "m.json")


@pytest.mark.parametrize("split", ["..", "", "a/b", None])
def test_the_split_of_a_manifest(written, split):
    content = json.loads(written.read_text()) | {"split": split}
    with pytest.raises(InputError, match=r"^m\.json: split: "):
        manifest.parse_manifest(json.dumps(content).encode(), "m.json")


def test_nothing_is_written_outside_the_cache(written, tmp_path):
    """A manifest of others, with a receipt and a shard that fit it."""
    bucket = tmp_path / "bucket"
    upload.upload({"train": written}, f"file://{bucket}", tmp_path / "upload.json")
    content = json.loads(written.read_text())
    content["shards"][0]["name"] = "x/../../../NAME.gz"
    (bucket / "train/manifest.json").write_text(json.dumps(content))
    (bucket / "train/x").mkdir()
    (tmp_path / "NAME.gz").write_bytes((bucket / "train" / SHARD).read_bytes())
    receipt = json.loads((tmp_path / "upload.json").read_text())
    receipt["splits"]["train"] |= checksums.digests(bucket / "train/manifest.json")
    cache = tmp_path / "deep/down/cache"
    (cache / f"{content['shards'][0]['crc32c']}-x").mkdir(parents=True)
    with pytest.raises(InputError, match=r"manifest\.json: shards\.0\.name: 'x/\.\./"):
        batches.MemoryMap(batches.open_split(receipt, "train"), cache)
    assert not list(tmp_path.rglob("NAME"))


ENTRY = {"manifest": "../x/manifest.json", "rows": 1, "bytes": 1, "sha256": "0" * 64, "crc32c": "0" * 8}


@pytest.mark.parametrize(
    ("receipt", "message"),
    [
        ({"bucket": "file://b", "splits": {"../x": ENTRY}}, "splits: '../x' cannot be"),
        (
            {"bucket": "file://b", "splits": {"train": ENTRY | {"manifest": "../secret.json"}}},
            "splits.train.manifest: '../secret.json', expected",
        ),
        ({"bucket": "file://b", "splits": {"train": {}}}, "splits.train: 'manifest' is a required"),
        ({"bucket": "file://b", "splits": []}, "splits: [] is not of type object; upload again"),
        ([], "not a receipt of an upload: a list"),
    ],
)
def test_receipts(tmp_path, receipt, message):
    (tmp_path / "upload.json").write_text(json.dumps(receipt))
    with pytest.raises(InputError, match=rf"upload\.json[:,] {re.escape(message)}"):
        upload.read_receipt(tmp_path / "upload.json")
