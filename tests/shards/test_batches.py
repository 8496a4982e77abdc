"""Both readers give every promoter once, in an order that seed and epoch decide, from any step on, and refuse what is damaged."""

import itertools
import threading

import numpy as np
import polars as pl
import pytest

from gpraflow.core.errors import InputError
from gpraflow.sequences.scaffold import reverse_complement, tokenize
from gpraflow.shards import batches as shards_batches
from gpraflow.shards import tf_batches, write
from gpraflow.shards import upload as shards_upload

ROWS, LENGTH = 530, 40


def library():
    rng = np.random.default_rng(5)
    bases = np.array(list("ACGT"))[rng.integers(0, 4, (ROWS, LENGTH))]
    return pl.DataFrame(
        {"sequence": ["".join(row) for row in bases], "expression": np.arange(ROWS, dtype="f4"), "n_reads": np.arange(ROWS) % 7}
    )


def upload(folder, seed=3, compression="none"):
    manifests = {}
    for split in ("train", "val"):
        manifests[split] = folder / "shards" / split / "manifest.json"
        write.write(
            library(),
            manifests[split],
            split=split,
            scaffold="none",
            length=LENGTH,
            keep="right",
            pad="left",
            rows_per_shard=100,
            extra_features=["n_reads"],
            compression=compression,
            seed=seed,
        )
    return shards_upload.upload(manifests, f"file://{folder}/bucket", folder / "upload.json"), folder / "bucket"


@pytest.fixture
def uploaded(tmp_path):
    return upload(tmp_path)


def memory_map(receipt, split="train", cache=None, features=("sequence", "expression", "n_reads"), **options):
    source = shards_batches.open_split(receipt, split)
    return list(shards_batches.MemoryMap(source, cache, features).batches(32, **options))


def tf_data(receipt, split="train", cache=None, features=("sequence", "expression", "n_reads"), **options):
    source = shards_batches.open_split(receipt, split)
    return [{k: v.numpy() for k, v in batch.items()} for batch in tf_batches.tf_batches(source, 32, features=features, **options)]


READERS = pytest.mark.parametrize("reader", [memory_map, tf_data])


def check_rows(batches):
    """Compare each promoter with the library's of the same number; return the numbers."""
    table = library()
    tokens = tokenize(table["sequence"], LENGTH)
    numbers = []
    for batch in batches:
        rows = batch["expression"][:, 0].astype(int)
        assert batch["sequence"].dtype == np.uint8
        assert (batch["sequence"] == tokens[rows]).all()
        assert (batch["n_reads"][:, 0] == rows % 7).all()
        numbers += rows.tolist()
    return numbers


def test_load_gives_every_promoter(uploaded):
    data = shards_batches.load(uploaded[0], "train")
    (expression,) = data.expression.T
    order = np.argsort(expression)
    assert (expression[order] == np.arange(ROWS)).all()
    assert (data.tokens[order] == tokenize(library()["sequence"], LENGTH)).all()


@READERS
def test_an_epoch_holds_whole_batches_of_different_promoters(uploaded, reader):
    batches = reader(uploaded[0], seed=1, epoch=2)
    assert [len(batch["sequence"]) for batch in batches] == [32] * (ROWS // 32)
    numbers = check_rows(batches)
    assert len(set(numbers)) == len(numbers)
    assert np.corrcoef(numbers, np.arange(len(numbers)))[0, 1] < 0.2


@READERS
def test_order_depends_on_seed_and_epoch_only(uploaded, reader):
    def order(**options):
        return [batch["expression"][:, 0].tolist() for batch in reader(uploaded[0], **options)]

    first = order(seed=1, epoch=0)
    assert first == order(seed=1, epoch=0)
    assert first != order(seed=1, epoch=1)
    assert first != order(seed=2, epoch=0)


@READERS
@pytest.mark.parametrize("turn", [False, True])
def test_it_goes_on_at_any_step(uploaded, reader, turn):
    whole = reader(uploaded[0], seed=1, epoch=3, turn=turn)
    for start in (0, 5, 16):
        rest = reader(uploaded[0], seed=1, epoch=3, turn=turn, start=start)
        assert len(rest) == len(whole) - start
        for ours, expected in zip(rest, whole[start:], strict=True):
            assert all((ours[name] == expected[name]).all() for name in expected)


@READERS
@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("drop_remainder", [False, True])
def test_parts_of_processes_make_up_the_batch(uploaded, reader, turn, drop_remainder):
    options = {"seed": 1, "epoch": 3, "turn": turn, "drop_remainder": drop_remainder}
    whole = reader(uploaded[0], **options)
    parts = [reader(uploaded[0], process=(p, 4), **options) for p in range(4)]
    for step, batch in enumerate(whole):
        for name, values in batch.items():
            assert (np.concatenate([part[step][name] for part in parts]) == values).all()


@READERS
def test_evaluation_pads_and_masks_and_keeps_the_order_of_the_shards(uploaded, reader):
    batches = reader(uploaded[0], shuffle=False, drop_remainder=False)
    assert {len(batch["sequence"]) for batch in batches} == {32}
    mask = np.concatenate([batch["mask"] for batch in batches])[:, 0]
    assert (mask == (np.arange(17 * 32) < ROWS)).all()
    assert (batches[-1]["sequence"][ROWS % 32 :] == 4).all()
    real = [{name: values[batch["mask"][:, 0] == 1] for name, values in batch.items()} for batch in batches]
    assert check_rows(real) == shards_batches.load(uploaded[0], "train").expression[:, 0].astype(int).tolist()


@READERS
def test_half_of_the_promoters_are_turned(uploaded, reader):
    plain, turned = (reader(uploaded[0], seed=1, turn=turn) for turn in (False, True))
    share = []
    for one, other in zip(plain, turned, strict=True):
        assert (one["expression"] == other["expression"]).all()
        was = (one["sequence"] != other["sequence"]).any(axis=1)
        assert (other["sequence"][was] == reverse_complement(one["sequence"][was])).all()
        share += was.tolist()
    assert 0.4 < np.mean(share) < 0.6


def test_both_readers_turn_alike(uploaded):
    """Where a row's place in the epoch is the same, so is its strand: by seed, epoch and step."""
    ours = memory_map(uploaded[0], seed=1, epoch=1, turn=True, shuffle=False)
    theirs = tf_data(uploaded[0], seed=1, epoch=1, turn=True, shuffle=False)
    assert all((a["sequence"] == b["sequence"]).all() for a, b in zip(ours, theirs, strict=True))


@READERS
def test_compressed_shards(tmp_path, reader):
    receipt, _ = upload(tmp_path, compression="gzip")
    numbers = check_rows(reader(receipt, cache=tmp_path / "cache", seed=1))
    assert len(set(numbers)) == 16 * 32


def test_the_cache_is_used_again_and_mended(tmp_path):
    receipt, bucket = upload(tmp_path, compression="gzip")
    expected = memory_map(receipt, cache=tmp_path / "cache", seed=1)
    (cached,) = (tmp_path / "cache").glob("*-train-00002-of-00006.tfrecord")
    damage(cached, "bit")
    for number in (0, 1, 3, 4, 5):
        (bucket / "train" / f"train-0000{number}-of-00006.tfrecord.gz").unlink()
    again = memory_map(receipt, cache=tmp_path / "cache", seed=1)
    assert all((a["sequence"] == b["sequence"]).all() for a, b in zip(again, expected, strict=True))
    damage(cached, "bit")
    (bucket / "train" / "train-00002-of-00006.tfrecord.gz").unlink()
    with pytest.raises(InputError, match=r"train-00002-of-00006\.tfrecord\.gz: not in the bucket"):
        memory_map(receipt, cache=tmp_path / "cache", seed=1)


def damage(path, how):
    content = bytearray(path.read_bytes())  # a copy
    if how == "bit":
        content[1000] ^= 4
    elif how == "cut":
        del content[-1]
    elif how == "longer":
        content *= 2
    path.write_bytes(content)


def load(receipt, split="train"):
    return shards_batches.load(receipt, split)


ALL = pytest.mark.parametrize("reader", [load, memory_map, tf_data])


@ALL
@pytest.mark.parametrize("how", ["bit", "cut", "longer"])
def test_damaged_shard_is_named(uploaded, reader, how):
    receipt, bucket = uploaded
    damage(bucket / "train" / "train-00001-of-00006.tfrecord", how)
    with pytest.raises(InputError, match=r"train-00001-of-00006\.tfrecord: .*(checksum|truncated)"):
        reader(receipt)


@ALL
def test_shard_of_another_run_is_named(uploaded, tmp_path, reader):
    receipt, bucket = uploaded
    upload(tmp_path / "other", seed=4)
    name = "train-00002-of-00006.tfrecord"
    (bucket / "train" / name).write_bytes((tmp_path / "other/shards/train" / name).read_bytes())
    with pytest.raises(InputError, match=rf"{name}: its checksum differs from the manifest"):
        reader(receipt)


@ALL
def test_missing_shard_is_named(uploaded, reader):
    receipt, bucket = uploaded
    (bucket / "val" / "val-00000-of-00006.tfrecord").unlink()
    with pytest.raises(InputError, match=r"val-00000-of-00006\.tfrecord: not in the bucket; upload again"):
        reader(receipt, "val")


@ALL
def test_changed_manifest_is_named(uploaded, reader):
    receipt, bucket = uploaded
    path = bucket / "train" / "manifest.json"
    path.write_text(path.read_text().replace('"pad": "left"', '"pad": "right"'))
    with pytest.raises(InputError, match=r"train/manifest\.json: not the manifest that was uploaded"):
        reader(receipt)


@READERS
def test_unknown_feature(uploaded, reader):
    with pytest.raises(InputError, match=r"no feature 'weight'; add it to shards\.extra_features"):
        reader(uploaded[0], features=("sequence", "weight"))


def test_a_batch_that_cannot_be_shared_out(uploaded):
    for reader in (memory_map, tf_data):
        with pytest.raises(ValueError, match="cannot be divided among processes"):
            reader(uploaded[0], process=(0, 3))


def test_errors_of_the_gathering_thread_are_raised_and_it_ends_with_the_epoch(uploaded):
    data = shards_batches.MemoryMap(shards_batches.open_split(uploaded[0], "train"))
    next(itertools.islice(data.batches(2), 1))
    data.take = lambda rows: 1 / 0
    with pytest.raises(ZeroDivisionError):
        next(data.batches(2))
    assert "batches" not in {thread.name for thread in threading.enumerate()}


def test_permuted_labels_are_those_of_other_promoters(uploaded):
    source = shards_batches.open_split(uploaded[0], "train")
    features = ("sequence", "expression", "n_reads")
    plain, permuted = shards_batches.MemoryMap(source, None, features), shards_batches.PermutedLabels(source, None, features, 4)
    rows = np.random.default_rng(2).permutation(ROWS)
    before, after = plain.take(rows), permuted.take(rows)
    assert (before["sequence"] == after["sequence"]).all()
    assert (before["expression"] != after["expression"]).mean() > 0.9
    assert sorted(after["expression"][:, 0]) == list(range(ROWS))
    assert (after["n_reads"][:, 0] == after["expression"][:, 0] % 7).all()  # all that is known of one other promoter
    assert (permuted.take(rows[:9], ("expression",))["expression"] == after["expression"][:9]).all()
    batch = next(iter(permuted.batches(32, seed=1)))
    assert (batch["expression"] == permuted.take(shards_batches.epoch_order(ROWS, 1, 0)[:32])["expression"]).all()


def test_epoch_order_is_a_permutation_that_depends_on_seed_and_epoch():
    first = shards_batches.epoch_order(50, 1, 0)
    assert sorted(first) == list(range(50))
    assert (first == shards_batches.epoch_order(50, 1, 0)).all()
    assert (first != shards_batches.epoch_order(50, 1, 1)).any()
    assert (first != shards_batches.epoch_order(50, 2, 0)).any()
