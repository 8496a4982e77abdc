import gzip
import json

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from gpraflow.core import checksums
from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters
from gpraflow.sequences.scaffold import tokenize
from gpraflow.shards import batches, upload
from gpraflow.shards import manifest as shards_manifest
from gpraflow.shards import records as shards_records
from gpraflow.shards import write as shards_write
from gpraflow.storage import connect


def example(tokens, floats):
    feature = {"sequence": tf.train.Feature(bytes_list=tf.train.BytesList(value=[tokens]))}
    feature |= {name: tf.train.Feature(float_list=tf.train.FloatList(value=values)) for name, values in floats.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def tensorflow_shard(path, rows):
    with tf.io.TFRecordWriter(str(path)) as writer:
        for tokens, floats in rows:
            writer.write(example(tokens, floats))
    return path.read_bytes()


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_bytes_are_tensorflows(tmp_path_factory, data):
    length = data.draw(st.integers(1, 300))
    names = data.draw(
        st.sets(st.text("abcz_09", min_size=1, max_size=200).filter(lambda n: n not in ("sequence", "expression")), max_size=3)
    )
    sizes = {"expression": 1} | {name: data.draw(st.integers(1, 40)) for name in sorted(names)}
    count = data.draw(st.integers(1, 4))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    tokens = rng.integers(0, 5, (count, length), dtype=np.uint8)
    floats = {name: rng.normal(size=(count, size)).astype("f4") for name, size in sizes.items()}
    floats["expression"][0] = data.draw(st.floats(width=32, allow_nan=False))
    ours = shards_records.Encoder(length, sizes).encode({"sequence": tokens} | floats).tobytes()
    rows = [(tokens[i].tobytes(), {name: values[i].tolist() for name, values in floats.items()}) for i in range(count)]
    assert ours == tensorflow_shard(tmp_path_factory.mktemp("tf") / "a", rows)


def library(rows, seed=0):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(100, 120, rows)
    return pl.DataFrame(
        {
            "sequence": ["".join(rng.choice(list("ACGTN"), n, p=[0.24, 0.26, 0.25, 0.24, 0.01])) for n in lengths],
            "expression": np.arange(rows, dtype="f4"),
            "n_reads": rng.integers(1, 99, rows),
        }
    )


def write(table, folder, split="train", **options):
    given = {"scaffold": "pTpA", "length": 110, "keep": "right", "pad": "left", "rows_per_shard": 100, "extra_features": [], "seed": 3}
    return shards_write.write(table, folder / split / "manifest.json", split=split, **(given | options))


def values_of(folder, manifest, shard):
    content = shards_manifest.verify((folder / shard["name"]).read_bytes(), manifest, shard, shard["name"])
    return shards_manifest.decode(np.frombuffer(content, np.uint8).reshape(shard["rows"], -1), manifest)


def test_plain_tensorflow_reads_every_promoter_exactly_once(tmp_path):
    table = library(250)
    ledger = Ledger("shard_tfrecords", "train")
    manifest = write(table, tmp_path, extra_features=["n_reads"], ledger=ledger)
    assert [(s["name"], s["rows"]) for s in manifest["shards"]] == [
        (f"train-0000{i}-of-00003.tfrecord", n) for i, n in enumerate([100, 100, 50])
    ]
    form = {
        name: tf.io.FixedLenFeature([], kind)
        for name, kind in (("sequence", tf.string), ("expression", tf.float32), ("n_reads", tf.float32))
    }
    found = {}
    for record in tf.data.TFRecordDataset([str(tmp_path / "train" / s["name"]) for s in manifest["shards"]]):
        row = tf.io.parse_single_example(record, form)
        found.setdefault(float(row["expression"]), []).append((list(row["sequence"].numpy()), float(row["n_reads"])))
    tokens = tokenize(table["sequence"], 110)
    assert found == {float(i): [(tokens[i].tolist(), float(table["n_reads"][i]))] for i in range(250)}
    lengths = table["sequence"].str.len_bytes()
    assert ledger.counts["noted", "longer than 110 bp, right end kept"] == (lengths > 110).sum()
    assert ledger.counts["noted", "shorter than 110 bp, padded with N on the left"] == (lengths < 110).sum()


def slides_rows(index, rows, per_file, files_in_all):
    """Rows of one file as the slides' writer takes them: `index * nfiles` where `index * files_per_record` is meant."""
    return [i for i in range(index * files_in_all, index * files_in_all + per_file) if i < rows]


def test_no_promoter_is_missing_or_written_twice_as_by_the_slides_writer(tmp_path):
    table = library(1000)
    manifest = write(table, tmp_path)
    ours = [int(e) for shard in manifest["shards"] for e in values_of(tmp_path / "train", manifest, shard)["expression"][:, 0]]
    assert sorted(ours) == list(range(1000))
    slides = [row for index in range(10) for row in slides_rows(index, 1000, 100, 10)]
    assert len(slides) == 1000
    assert len(set(slides)) == 190  # 9 * 10 + 100: what this test is there to catch


def test_order_depends_on_the_seed_only(tmp_path):
    table = library(300)
    names = [write(table, tmp_path / d, seed=seed)["shards"] for d, seed in (("a", 1), ("b", 1), ("c", 2))]
    assert names[0] == names[1]
    assert names[0] != names[2]
    assert (tmp_path / "a/train/manifest.json").read_bytes() == (tmp_path / "b/train/manifest.json").read_bytes()
    manifest = json.loads((tmp_path / "a/train/manifest.json").read_text())
    expression = values_of(tmp_path / "a/train", manifest, names[0][0])["expression"]
    assert np.corrcoef(expression[:, 0], np.arange(100))[0, 1] < 0.3


def test_fewer_shards_leave_no_old_ones(tmp_path):
    write(library(300), tmp_path)
    write(library(300), tmp_path, rows_per_shard=1000)
    assert sorted(p.name for p in (tmp_path / "train").iterdir()) == ["manifest.json", "train-00000-of-00001.tfrecord"]


def test_a_file_is_streamed_to_the_same_shards_as_its_table(tmp_path, monkeypatch):
    monkeypatch.setattr(shards_write, "_BLOCK_ROWS", 64)
    rng = np.random.default_rng(1)
    table = library(300).with_columns(singleton=pl.Series(rng.random(300) < 0.5), bin_cells=pl.Series(rng.random((300, 7)).tolist()))
    promoters.write(table, tmp_path / "table.parquet")
    extra = ["n_reads", "singleton", "bin_cells"]
    ours = write(table, tmp_path / "a", extra_features=extra)
    assert write(promoters.scan(tmp_path / "table.parquet"), tmp_path / "b", extra_features=extra) == ours
    assert {f["name"]: f["size"] for f in ours["features"]} == {
        "sequence": 110,
        "expression": 1,
        "n_reads": 1,
        "singleton": 1,
        "bin_cells": 7,
    }
    for shard in ours["shards"]:
        values = values_of(tmp_path / "b/train", ours, shard)
        rows = values["expression"][:, 0].astype(int)
        assert (values["sequence"] == tokenize(table["sequence"], 110)[rows]).all()
        assert (values["singleton"][:, 0] == table["singleton"].to_numpy()[rows]).all()
        assert (values["bin_cells"] == np.array(table["bin_cells"].to_list(), "f4")[rows]).all()


def test_gzip_holds_the_same_records_and_the_same_rows_give_the_same_bytes(tmp_path):
    table = library(250)
    plain, packed = write(table, tmp_path / "a"), write(table, tmp_path / "b", compression="gzip")
    assert write(table, tmp_path / "c", compression="gzip") == packed
    for one, other in zip(plain["shards"], packed["shards"], strict=True):
        path = tmp_path / "b/train" / other["name"]
        assert gzip.decompress(path.read_bytes()) == (tmp_path / "a/train" / one["name"]).read_bytes()
        assert len(list(tf.data.TFRecordDataset(str(path), "GZIP"))) == one["rows"]
        assert shards_manifest.is_shard_name(other["name"], "train")
    write(table, tmp_path / "b")
    assert not list((tmp_path / "b/train").glob("*.gz"))


def test_damaged_records_are_told():
    encoder = shards_records.Encoder(30, {"expression": 1, "x": 3})
    rng = np.random.default_rng(0)
    values = {"sequence": rng.integers(0, 5, (200, 30), dtype=np.uint8), "expression": rng.random((200, 1)), "x": rng.random((200, 3))}
    records = encoder.encode(values)
    assert not encoder.damaged(records).any()
    changed = rng.choice(200, 50, replace=False)
    records[changed, rng.integers(0, records.shape[1], 50)] ^= 1 << rng.integers(0, 8, 50).astype(np.uint8)
    assert sorted(np.flatnonzero(encoder.damaged(records))) == sorted(changed)


def test_bad_extra_features(tmp_path):
    uneven = library(5).with_columns(bin_cells=pl.Series([[1.0], [1.0, 2.0], [1.0], [1.0], [1.0]]))
    with pytest.raises(InputError, match="the lists of column 'bin_cells' differ in length"):
        write(uneven, tmp_path, extra_features=["bin_cells"])
    with pytest.raises(InputError, match=r"'bin_cells' has empty cells \(split 'train', promoters 1 to 2\)"):
        write(
            pl.DataFrame({"sequence": ["A", "C"], "expression": [1.0, 2.0], "bin_cells": [[1.0], None]}),
            tmp_path,
            extra_features=["bin_cells"],
        )
    with pytest.raises(InputError, match="'weight' is not a numeric column"):
        write(library(5), tmp_path, extra_features=["weight"])
    with pytest.raises(InputError, match="column 'n_reads' has empty cells"):
        write(library(5).with_columns(n_reads=pl.lit(None, pl.Int64)), tmp_path, extra_features=["n_reads"])


@pytest.fixture
def uploaded(tmp_path):
    """Two splits in a file bucket; returns (receipt, folder of the bucket, table)."""
    table = library(250)
    for split in ("train", "val"):
        write(table, tmp_path / "shards", split)
    manifests = {split: tmp_path / "shards" / split / "manifest.json" for split in ("train", "val")}
    return upload.upload(manifests, f"file://{tmp_path}/bucket", tmp_path / "upload.json"), tmp_path / "bucket", table


def test_round_trip_through_the_bucket(uploaded):
    receipt, _, table = uploaded
    data = batches.load(receipt, "train")
    (expression,) = data.expression.T
    order = np.argsort(expression)
    assert (expression[order] == table["expression"].to_numpy()).all()
    assert (data.tokens[order] == tokenize(table["sequence"], 110)).all()


def damage(path, how):
    content = bytearray(path.read_bytes())  # a copy
    if how == "bit":
        content[1000] ^= 4
    elif how == "cut":
        del content[-1]
    elif how == "longer":
        content *= 2
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("key", "value"), [("rows", 249), ("record_bytes", 1), ("alphabet", "ACTGN"), ("length", 109), ("features", []), ("compression", "zip")]
)
def test_changed_manifest(tmp_path, key, value):
    manifest = write(library(250), tmp_path) | {key: value}
    with pytest.raises(InputError, match=r"m\.json[:,] .*; write the shards again"):
        shards_manifest.parse_manifest(json.dumps(manifest).encode(), "m.json")


@pytest.mark.parametrize("content", [b"{}", b"no json", b'{"format": "other"}'])
def test_what_is_no_manifest(content):
    with pytest.raises(InputError, match=r"m\.json: "):
        shards_manifest.parse_manifest(content, "m.json")


def test_second_upload_sends_nothing_and_a_damaged_object_is_sent_again(uploaded, tmp_path):
    receipt, bucket, _ = uploaded
    manifests = {split: tmp_path / "shards" / split / "manifest.json" for split in ("train", "val")}

    def again():
        lines = []
        assert upload.upload(manifests, receipt["bucket"], tmp_path / "upload.json", progress=lines.append) == receipt
        return [line for line in lines if not line.endswith("already there")]

    assert again() == []
    damage(bucket / "val" / "val-00001-of-00003.tfrecord", "bit")
    names = ("raw/reads.fastq", "notes.txt", "raw/val-00000-of-00009.tfrecord", "val-00000-of-00009.tfrecord")
    mine = [bucket / "val" / name for name in names]
    for path in mine:
        path.parent.mkdir(exist_ok=True)
        path.write_text("x")
    assert again() == [
        "val/val-00000-of-00009.tfrecord: kept, since no manifest lists it",
        "val/val-00001-of-00003.tfrecord: uploaded",
    ]
    assert all(path.read_text() == "x" for path in mine)
    batches.load(receipt, "val")


def test_upload_refuses_damaged_local_shards(uploaded, tmp_path):
    damage(tmp_path / "shards/train/train-00000-of-00003.tfrecord", "bit")
    with pytest.raises(InputError, match=r"train-00000-of-00003\.tfrecord: missing or different from its manifest"):
        upload.upload({"train": tmp_path / "shards/train/manifest.json"}, f"file://{tmp_path}/new", tmp_path / "new.json")
    assert not (tmp_path / "new.json").exists()
    assert not (tmp_path / "new/train/manifest.json").exists()


def test_bucket_that_cannot_be_written(uploaded, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(GpraflowError, match=r"file/train/.*could not be written"):
        upload.upload({"train": tmp_path / "shards/train/manifest.json"}, f"file://{tmp_path}/file", tmp_path / "new.json")
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize("url", ["s3://b/x", "results/bucket", "file://"])
def test_unknown_bucket(url):
    with pytest.raises(ConfigError, match="must start with file://"):
        connect.connect(url)


def test_digests_are_those_of_hashlib(tmp_path):
    (tmp_path / "a").write_bytes(b"123456789")
    found = checksums.digests(tmp_path / "a")
    assert found["crc32c"] == "e3069283"  # the check value of CRC-32C (RFC 3720)
    assert found["bytes"] == 9
    assert found["sha256"] == "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225"
