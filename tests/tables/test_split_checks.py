"""Sizes of the splits, on libraries made here."""

import re

import numpy as np
import polars as pl
import pytest

from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.sequences import neighbours
from gpraflow.tables import split_checks, splits

NAMES = ["train", "val", "test"]


def random_sequences(rows, length=60, seed=1):
    drawn = np.random.default_rng(seed).integers(0, 4, (rows, length))
    return ["".join("ACGT"[base] for base in row) for row in drawn]


def library(sequences, split=None):
    columns = {"sequence": sequences, "group": None, "split": split}
    return pl.DataFrame(columns, schema_overrides={"group": pl.String, "split": pl.String})


def mutants(count=180, length=60):
    """Single mutants of one parent, which form one cluster."""
    (parent,) = random_sequences(1, length)
    variants = [parent[:at] + base + parent[at + 1 :] for at in range(length) for base in "ACGT" if base != parent[at]]
    return variants[:count]


def check(table, fractions=(0.8, 0.1, 0.1), max_edits=3, clusters=None, **changes):
    fractions, ledger = dict(zip(NAMES, fractions, strict=True)), Ledger("split_promoters", "library")
    clusters = neighbours.clusters(table, table["sequence"], max_edits) if clusters is None else clusters
    options = {"method": "hash", "independent": "drop", "seed": 7, "fractions": fractions}
    options |= {"overlaps": pl.DataFrame(schema=neighbours.OVERLAPS), "origin": "a.parquet", "ledger": ledger} | changes
    others = {"names": NAMES, "labels": {name: name for name in NAMES}, "across": "drop", "train_promoters": 0}
    own = {key: options.pop(key) for key in list(options) if key in others}
    assigned = splits.assign(table.lazy(), splits.Clusters.named(clusters), **(others | own), **options)
    return assigned.parts(), {row["dataset"]: row for row in split_checks.check(assigned, **options)}


def of_sizes(sizes):
    """Splits of these sizes, of promoters that are alone in their clusters."""
    total, of = sum(sizes), np.repeat(np.arange(len(NAMES), dtype=np.int8), sizes)
    clusters = splits.Clusters.named(pl.Series([str(row) for row in range(total)]))
    return splits.Assignment(pl.LazyFrame({"sequence": ["A"] * total}), NAMES, of, clusters)


def test_sizes_near_those_requested_are_ok_and_stated():
    parts, rows = check(library(random_sequences(1000)))
    assert list(rows) == NAMES
    for name, row in rows.items():
        assert (row["check"], row["verdict"], row["value"]) == ("split size", "ok", parts[name].height)
    share = 100 * parts["val"].height / 1000
    assert rows["val"]["text"] == f"{parts['val'].height} promoters, {share:.3g} % of 1,000; split.fractions sets 10 %"


def test_fewer_than_50_promoters_are_a_warning():
    parts, rows = check(library(random_sequences(400)))
    assert [parts[name].height < 50 for name in NAMES] == [False, True, True]
    assert [rows[name]["verdict"] for name in NAMES] == ["ok", "warning", "warning"]
    assert rows["test"]["text"].endswith("results for splits with fewer than 50 promoters are imprecise")


def test_fewer_than_50_promoters_of_a_condition_are_a_warning():
    glucose = pl.Series("expression.glucose", np.linspace(0, 1, 1000))
    galactose = pl.Series("expression.galactose", [1.0 if row % 4 == 0 else None for row in range(1000)])
    parts, rows = check(library(random_sequences(1000)).with_columns(glucose, galactose))
    assert [rows[name]["verdict"] for name in NAMES] == ["ok", "warning", "warning"]
    measured = parts["test"]["expression.galactose"].count()
    assert measured < 50 < parts["test"].height
    assert rows["test"]["text"].endswith(f"fewer than 50 were measured in galactose ({measured}), so that results there are imprecise")


@pytest.mark.parametrize(
    ("sizes", "warned"),
    [
        ((800, 100, 100), []),
        ((850, 51, 99), []),  # a share of half
        ((851, 49, 100), ["val"]),  # too few as well
        ((750, 150, 100), []),
        ((749, 151, 100), ["val"]),
        ((390, 510, 100), ["train", "val"]),
    ],
)
def test_shares_below_half_or_above_one_and_a_half_of_those_requested_are_a_warning(sizes, warned):
    options = {"method": "hash", "independent": "drop", "seed": 1, "origin": "a", "ledger": Ledger("split_promoters", "library")}
    options |= {"fractions": {"train": 0.8, "val": 0.1, "test": 0.1}, "overlaps": pl.DataFrame(schema=neighbours.OVERLAPS)}
    rows = split_checks.check(of_sizes(sizes), **options)
    assert [row["dataset"] for row in rows if row["verdict"] == "warning"] == warned
    own = split_checks.check(of_sizes(sizes), **options | {"method": "column"})
    assert [row["dataset"] for row in own if row["verdict"] == "warning"] == (["val"] if sizes[1] < 50 else [])


def test_a_difference_of_fewer_than_20_promoters_is_chance():
    options = {"method": "hash", "independent": "drop", "seed": 1, "origin": "a", "ledger": Ledger("split_promoters", "library")}
    options |= {"fractions": {"train": 0.95, "val": 0.025, "test": 0.025}, "overlaps": pl.DataFrame(schema=neighbours.OVERLAPS)}
    rows = split_checks.check(of_sizes((980, 11, 29)), **options)
    assert "differs much from" not in rows[1]["text"]


def test_the_largest_cluster_is_named_as_the_cause_of_uneven_splits():
    """600 mutants and 400 unrelated promoters: the hash puts the mutants into one split."""
    sequences = mutants(360, 120) + random_sequences(640, 120, seed=3)
    _, rows = check(library(sequences), fractions=(0.34, 0.33, 0.33))
    uneven = [row for row in rows.values() if row["verdict"] == "warning"]
    assert uneven
    cause = r"because the largest cluster of near-duplicates \(neighbours\.max_edits\) has 360 of 1,000 promoters \(36 %\)"
    assert all(re.search(cause, row["text"]) for row in uneven)


def test_one_cluster_with_nearly_everything_is_an_error_that_names_it_and_what_to_do():
    table = library(mutants() + random_sequences(5, seed=2))
    expected = (
        r"the largest cluster of near-duplicates \(neighbours\.max_edits\) has 180 of 185 promoters \(97 %\), and a cluster is not "
        r"divided between splits: .* set split\.method: positions; .*; no split\.fractions give each split 50 promoters$"
    )
    for fractions in ((0.95, 0.025, 0.025), (0.4, 0.3, 0.3), (0.02, 0.97, 0.01)):
        with pytest.raises(InputError, match=r"a\.parquet: the split '\w+' (is empty \(185 promoters|has \d+ promoters).*" + expected):
            check(table, fractions)
    with pytest.raises(InputError, match=r"185 in all: train \d+, val \d+, test \d+\)|is empty"):
        check(table, (0.4, 0.3, 0.3))


def test_fractions_that_give_each_split_50_promoters_are_proposed_and_do():
    table = library(random_sequences(400))
    with pytest.raises(InputError, match=r"the split 'val' has \d promoters, fewer than 10") as caught:
        check(table, (0.96, 0.02, 0.02))
    proposed = re.search(
        r"split\.fractions: {train: ([\d.]+), val: ([\d.]+), test: ([\d.]+)} gives train (\d+), val (\d+), test", str(caught.value)
    )
    parts, _ = check(table, tuple(map(float, proposed.groups()[:3])))
    assert [parts["train"].height, parts["val"].height] == [int(proposed[4]), int(proposed[5])]
    assert min(part.height for part in parts.values()) >= 50


def test_a_small_library_is_offered_splits_of_20_or_10_promoters():
    for rows, least in ((112, 20), (50, 10)):
        table = library(random_sequences(rows))
        with pytest.raises(InputError, match=r"no split\.fractions give each split 50 promoters; split\.fractions: {train: ") as caught:
            check(table, (0.95, 0.025, 0.025))
        proposed = re.search(
            r"{train: ([\d.]+), val: ([\d.]+), test: ([\d.]+)} gives train (\d+), val (\d+), test (\d+)", str(caught.value)
        )
        sizes = [part.height for part in check(table, tuple(map(float, proposed.groups()[:3])))[0].values()]
        assert sizes == [int(size) for size in proposed.groups()[3:]]
        assert least <= min(sizes) < 2 * least
        assert sizes[0] == max(sizes)
    with pytest.raises(InputError, match=r"no split\.fractions give each split 50 promoters$"):
        check(library(random_sequences(20)), (0.95, 0.025, 0.025))


def test_proposed_fractions_take_promoters_into_account_that_independent_sets_exclude():
    table = library(random_sequences(400))
    overlaps = table.head(360).select(dataset=pl.lit("s"), distance=pl.lit(0, pl.Int64), sequence="sequence", other="sequence", equal=True)
    with pytest.raises(InputError, match=r"no split\.fractions give each split 50 promoters") as caught:
        check(table, overlaps=overlaps)
    assert re.search(r"dropped \d+ promoters from 'val' as near-duplicates", str(caught.value))


def test_rows_of_the_users_own_split_that_leakage_control_dropped_are_named():
    """The user's column is right; all but test were dropped."""
    table = library(mutants(), [NAMES[row % 3] for row in range(180)])
    with pytest.raises(InputError, match=r"the split 'train' is empty") as caught:
        check(table, method="column")
    assert "leakage control dropped 60 promoters from 'train' as near-duplicates of those in a later split" in str(caught.value)
    assert "all promoters form one cluster" in str(caught.value)
    assert "split.method: positions" in str(caught.value)
    assert "correct the split column" not in str(caught.value)
    with pytest.raises(InputError, match=r"the split 'test' is empty \(30 promoters in all\); correct the split column"):
        check(library(random_sequences(30), ["train"] * 15 + ["val"] * 15), method="column")


def test_pairs_of_near_duplicates_in_the_users_own_splits_name_the_column():
    sequences = random_sequences(100)
    near = ["AC" + text[2:] for text in sequences[:96]]
    table = library(sequences + near, ["train"] * 60 + ["val"] * 40 + ["test"] * 96)
    message = r"the split 'train' is empty .* dropped 60 promoters from 'train' .*; give near-duplicates the same split"
    with pytest.raises(InputError, match=message):
        check(table, method="column")


def test_dropped_promoters_are_counted_in_the_text():
    sequences = random_sequences(300)
    near = ["AC" + text[2:] for text in sequences[:40]]
    table = library(sequences + near, ["train"] * 180 + ["val"] * 60 + ["test"] * 60 + ["test"] * 40)
    _, rows = check(table, method="column")
    assert rows["train"]["text"] == "140 promoters; 40 more were dropped as near-duplicates"


def test_an_empty_split_and_one_cluster_keep_their_messages():
    with pytest.raises(InputError, match=r"a\.parquet: the split 'val' is empty \(3 promoters in all\)"):
        check(library(random_sequences(40)[:3]), fractions=(1.0, 1e-9, 1e-9), clusters=pl.Series(list("abc")))
    with pytest.raises(
        InputError, match=r"the split '\w+' is empty \(3 promoters in all\); all promoters form one cluster, and a cluster is not"
    ):
        check(library(random_sequences(3)), clusters=pl.Series(["one"] * 3))


def test_few_training_promoters_of_a_draw_name_the_draw():
    with pytest.raises(InputError, match=r"the split 'train' has 5 promoters, fewer than 10 .*; set a larger split\.train_promoters$"):
        check(library(random_sequences(1000)), train_promoters=5)
    _, rows = check(library(random_sequences(1000)), train_promoters=60)
    assert rows["train"]["verdict"] == "ok"  # the share is that before the draw


def test_variants_left_out_of_a_split_by_positions_are_named():
    """Variants with 12 mutations have positions of several splits nearly always."""
    (parent,), rng = random_sequences(1), np.random.default_rng(5)
    sequences = []
    for _ in range(200):
        letters = np.array(list(parent))
        letters[rng.choice(60, 12, replace=False)] = rng.choice(list("ACGT"), 12)
        sequences.append("".join(letters))
    with pytest.raises(
        InputError,
        match=r"the split '\w+' is empty .*; \d+ variants were left out because their mutated positions are assigned to several splits",
    ):
        check(library(sequences), method="positions")
    _, rows = check(library(mutants()), fractions=(0.4, 0.3, 0.3), method="positions")
    assert [(row["verdict"], row["value"]) for row in rows.values()] == [("ok", 72), ("ok", 54), ("ok", 54)]
