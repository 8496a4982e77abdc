import hashlib

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters as formats_promoters
from gpraflow.sequences import neighbours, scaffold
from gpraflow.tables import splits
from tests.tables import in_memory

FRACTIONS = {"train": 0.8, "val": 0.1, "test": 0.1}


def library(rows, group=None, split=None):
    sequences = [
        hashlib.sha256(str(i).encode()).hexdigest().translate(str.maketrans("0123456789abcdef", "ACGTACGTACGTACGT")) for i in range(rows)
    ]
    return pl.DataFrame(
        {"sequence": sequences, "expression": [float(i) for i in range(rows)], "group": group, "split": split},
        schema_overrides={"group": pl.String, "split": pl.String},
    )


def run(table, max_edits=0, **options):
    given = {
        "method": "hash",
        "names": list(FRACTIONS),
        "fractions": FRACTIONS,
        "labels": {name: name for name in FRACTIONS},
        "across": "error",
        "overlaps": pl.DataFrame(schema=neighbours.OVERLAPS),
        "independent": "drop",
        "train_promoters": 0,
        "seed": 7,
        "origin": "a.parquet",
        "ledger": Ledger("split_promoters", "library"),
    } | options
    return assign(table, neighbours.clusters(table, table["sequence"], max_edits), **given).parts()


def assign(table, cluster, **options):
    return splits.assign(table.lazy(), splits.Clusters.named(cluster), **options)


def test_every_row_is_in_exactly_one_split_in_about_the_right_share():
    table = library(5000)
    parts = run(table)
    assert_frame_equal(pl.concat(parts.values()).drop("split").sort("expression"), table.drop("split"))
    for name, fraction in FRACTIONS.items():
        assert parts[name]["split"].unique().to_list() == [name]
        assert abs(parts[name].height / 5000 - fraction) < 0.02  # 3.5 standard deviations


def test_the_place_of_a_row_is_the_keyed_hash_of_its_cluster():
    table = library(300)
    parts = run(table, seed=99)
    for name, part in parts.items():
        for sequence in part["sequence"]:
            other = sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))
            digest = hashlib.blake2b(min(sequence, other).encode(), digest_size=8, key=(99).to_bytes(8, "big")).digest()
            place = int.from_bytes(digest, "big") / 2**64
            assert name == ("train" if place < 0.8 else "val" if place < 0.9 else "test")


def test_rows_stay_when_others_are_added_and_move_with_the_seed():
    small, large = run(library(1000)), run(library(3000))
    for name in FRACTIONS:
        assert set(small[name]["sequence"]) <= set(large[name]["sequence"])
    assert set(run(library(1000), seed=8)["test"]["sequence"]) != set(small["test"]["sequence"])


def test_clusters_and_reverse_complements_stay_together():
    table = library(900, group=[str(i // 9) for i in range(900)])
    for part in run(table).values():
        assert part["group"].value_counts()["count"].to_list() == [9] * part["group"].n_unique()
    plain = library(400)
    turned = plain.with_columns(sequence=scaffold.reverse_complement_sequences(plain["sequence"]))
    for part in run(pl.concat([plain, turned])).values():
        assert (part["expression"].value_counts()["count"] == 2).all()


def test_fewer_promoters_to_train_on_are_whole_clusters_and_part_of_more():
    table = library(900, group=[str(i // 9) for i in range(900)])
    every, parts, last = run(table), {}, set()
    for promoters in (50, 100, 400):
        ledger = Ledger("split_promoters", "library")
        parts = run(table, train_promoters=promoters, ledger=ledger)
        assert parts["train"].height == promoters // 9 * 9
        assert parts["train"]["group"].value_counts()["count"].to_list() == [9] * (promoters // 9)
        assert_frame_equal(parts["test"], every["test"])
        taken = set(parts["train"]["sequence"])
        assert last < taken < set(every["train"]["sequence"])
        last = taken
        dropped = ledger.counts["dropped", "from train: not drawn for split.train_promoters"]
        assert dropped == every["train"].height - promoters // 9 * 9
    assert set(run(table, train_promoters=100, seed=8)["train"]["sequence"]) - set(every["train"]["sequence"])
    with pytest.raises(InputError, match=r"a\.parquet: split\.train_promoters is 901, but train has \d+ promoters; set it to 0 for all"):
        run(table, train_promoters=901)
    with pytest.raises(InputError, match=r"the first cluster drawn has more promoters than split\.train_promoters \(5\)"):
        run(table, train_promoters=5)


def test_near_duplicates_stay_together():
    table = library(1000)
    near = table.with_columns(pl.concat_str(pl.lit("AC"), pl.col("sequence").str.slice(1)).alias("sequence"))
    for part in run(pl.concat([table, near]), max_edits=3).values():
        assert (part["expression"].value_counts()["count"] == 2).all()


def test_near_duplicates_in_the_users_own_splits_are_dropped_from_the_earlier_one_or_refused():
    one, two, three, four, five = library(5)["sequence"]
    sequences = [one, "T" + one[1:], two, two + "A", three, "G" + three, four, five]
    table = library(8, split=["train", "test", "val", "train", "val", "test", "train", "val"]).with_columns(sequence=pl.Series(sequences))
    ledger = Ledger("split_promoters", "library")
    parts = run(table, max_edits=3, method="column", across="drop", ledger=ledger)
    assert {name: part["sequence"].to_list() for name, part in parts.items()} == {
        "train": [four],
        "val": [two, five],
        "test": ["T" + one[1:], "G" + three],
    }
    assert {what.split(":")[0]: rows for (kind, what), rows in ledger.counts.items() if kind == "dropped"} == {
        "from train": 2,
        "from val": 1,
        "from test": 0,
    }
    with pytest.raises(InputError, match=r"cluster '.*' is in \w+ and \w+ \(3 such clusters\)"):
        run(table, max_edits=3, method="column")
    assert sum(part.height for part in run(table, method="column").values()) == 8


def test_near_duplicates_of_independent_sets_are_not_trained_on():
    table = library(6, split=["train", "train", "train", "val", "val", "test"])
    overlaps = table[[1, 4, 5]].select(dataset=pl.lit("s"), distance=pl.lit(2, pl.Int64), sequence="sequence", other="sequence")
    options = {"method": "column", "overlaps": overlaps}
    what = "near-duplicate of a promoter of an independent set"
    for policy, kept, kind in (("drop", [2, 1, 1], "dropped"), ("warn", [3, 2, 1], "noted")):
        ledger = Ledger("split_promoters", "library")
        parts = run(table, independent=policy, ledger=ledger, **options)
        assert [part.height for part in parts.values()] == kept
        assert (ledger.counts[kind, f"from train: {what}"], ledger.counts[kind, f"from val: {what}"]) == (1, 1)
    with pytest.raises(InputError, match=r"is within 2 edits of a promoter of 's' \(2 such promoters in train and val\)"):
        run(table, independent="error", **options)


def listed(rows):
    """Overlaps with a list of test sequences: (library's sequence, listed one, distance, equal)."""
    names = ("sequence", "other", "distance", "equal")
    return pl.DataFrame(rows, schema=names, orient="row").with_columns(dataset=pl.lit(splits.LISTED)).select(list(neighbours.OVERLAPS))


def test_listed_promoters_are_the_test_split_and_their_near_duplicates_go():
    one, two, three, *others = library(60)["sequence"]
    near_one, far_two = "AC" + one[2:], two[::-1].translate(str.maketrans("ACGT", "TGCA"))
    table = library(60).with_columns(sequence=pl.Series([one, near_one, two, far_two, three, *others[:55]]))
    overlaps = listed(
        [(one, one, 0, True), (near_one, one, 2, False), (two, two, 0, True), (far_two, two, 0, False), (three, "x", 3, False)]
    )
    ledger = Ledger("split_promoters", "library")
    parts = run(table, max_edits=3, method="list", overlaps=overlaps, ledger=ledger, seed=1)
    assert parts["test"]["sequence"].to_list() == [one, two]
    assert sorted([*parts["train"]["sequence"], *parts["val"]["sequence"]]) == sorted(others[:55])
    dropped = {what: rows for (kind, what), rows in ledger.counts.items() if kind == "dropped"}
    later, near = "near-duplicate of a promoter of a later split", "near-duplicate of a listed test sequence"
    assert dropped[f"from train: {later}"] + dropped[f"from val: {later}"] == 2
    assert dropped[f"from train: {near}"] + dropped[f"from val: {near}"] == 1
    for name in ("train", "val"):  # where the hash has them without a list
        clusters = neighbours.clusters(parts[name], parts[name]["sequence"], 0)
        found = splits.by_hash(splits.Clusters.named(clusters), {"train": 0.8, "val": 0.1}, 1)
        assert np.unique(found).tolist() == [["train", "val"].index(name)]


def test_a_list_of_other_promoters_is_refused():
    with pytest.raises(InputError, match=r"no sequence of split\.test_sequences is in the library"):
        run(library(9), method="list")


def test_summary_counts_what_was_got_in_each_stratum():
    table = library(1000).with_columns(
        n_reads=pl.Series([1, 5, 50, 500] * 250),
        singleton=pl.Series([True, False] * 500),
        source=pl.Series(["a", None] * 500, dtype=pl.String),
    )
    table = table.with_columns(sequence=pl.when(pl.int_range(1000) < 100).then(pl.col("sequence") + "A").otherwise("sequence"))
    of = np.repeat(np.arange(3, dtype=np.int8), [800, 100, 100])
    clusters = splits.Clusters.named(pl.Series([str(i // 2) for i in range(1000)]))
    found = splits.summary(splits.Assignment(table.lazy(), list(FRACTIONS), of, clusters))
    rows = {(stratum, level, split): (promoters, share) for stratum, level, split, promoters, share in found.rows()}
    assert rows["promoters", "all", "train"] == (800, 0.8)
    assert rows["clusters", "all", "test"] == (50, 0.1)
    assert rows["expression", "fifth 1", "train"] == (200, 1.0)
    assert rows["expression", "fifth 5", "val"] == (100, 0.5)
    assert rows["length", "longer", "train"] == (100, 1.0)
    assert rows["length", "64 bp", "val"] == (100, pytest.approx(1 / 9))
    assert rows["reads", "2 to 9", "test"] == (25, 0.1)
    assert rows["singleton", "true", "train"] == (400, 0.8)
    assert rows["source", "a", "val"] == (50, 0.1)
    assert found["stratum"].unique(maintain_order=True).to_list() == [
        "promoters", "clusters", "expression", "length", "reads", "singleton", "source",
    ]  # fmt: skip


def test_own_column():
    parts = run(library(4, split=["train", "val", "train", "test"]), method="column")
    assert [part.height for part in parts.values()] == [2, 1, 1]


def test_own_column_with_other_labels():
    labels = {"train": "training", "val": "validation", "test": "test"}
    parts = run(library(4, split=["training", "validation", "training", "test"]), method="column", labels=labels)
    assert {name: part["split"].to_list() for name, part in parts.items()} == {"train": ["train"] * 2, "val": ["val"], "test": ["test"]}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (library(3), "the table has no split column"),
        (library(3, split=["train", "tset", "val"]), "promoter 2: split 'tset' is not one of train, val, test"),
        (library(3, split=["train", None, "val"]), "promoter 2: split 'None' is not one of"),
        (library(3, group=["a", "b", "a"], split=["train", "val", "test"]), "cluster 'a' is in test and train"),
    ],
)
def test_bad_own_column(table, message):
    with pytest.raises(InputError, match=message):
        run(table, method="column")


PARENT = library(1)["sequence"][0][:60]


def mutant(*positions, base=0):
    """The parent with another base (of three) at each position."""
    letters = list(PARENT)
    for at in positions:
        letters[at] = [other for other in "ACGT" if other != letters[at]][base]
    return "".join(letters)


def variants(sequences):
    return library(len(sequences)).with_columns(sequence=pl.Series(sequences))


def differing(part):
    """Positions at which any promoter of a split differs from the parent, compared letter by letter."""
    return {at for text in part["sequence"] for at, letter in enumerate(text) if letter != PARENT[at]}


def test_no_two_splits_share_a_mutated_position():
    singles = [mutant(at, base=base) for at in range(60) for base in range(3)]
    doubles = [mutant(at, (at + step) % 60, base=step % 3) for at in range(60) for step in (1, 7, 20)]
    table, ledger = variants([*singles, PARENT, *doubles]), Ledger("split_promoters", "library")
    parts = run(table, max_edits=3, method="positions", fractions={"train": 0.6, "val": 0.2, "test": 0.2}, ledger=ledger)
    mutated = {name: differing(part) for name, part in parts.items()}
    assert {name: len(positions) for name, positions in mutated.items()} == {"train": 36, "val": 12, "test": 12}
    assert set.union(*mutated.values()) == set(range(60))
    assert PARENT in parts["train"]["sequence"].to_list()
    kept = set(pl.concat(parts.values())["sequence"])
    assert set(singles) <= kept
    for text in doubles:
        one = {at for at, letter in enumerate(text) if letter != PARENT[at]}
        assert (text in kept) == any(one <= positions for positions in mutated.values())
    assert ledger.counts["dropped", splits.SEVERAL] == table.height - len(kept) > 50
    assert ledger.counts["noted", "mutated positions assigned to val"] == 12
    for name, part in parts.items():
        assert part["split"].unique().to_list() == [name]


def test_positions_are_divided_by_the_seed_and_whatever_the_order_of_rows():
    table = variants([PARENT, *(mutant(at, base=base) for at in range(60) for base in range(3))])
    one, same, other = (run(rows, method="positions", seed=seed) for rows, seed in ((table, 1), (table.reverse(), 1), (table, 2)))
    assert differing(one["test"]) == differing(same["test"]) != differing(other["test"])


def test_positions_draw_training_promoters_and_exclude_those_of_independent_sets():
    table = variants([PARENT, *(mutant(at, base=base) for at in range(60) for base in range(3))])
    near = table.head(100).select(dataset=pl.lit("s"), distance=pl.lit(1, pl.Int64), sequence="sequence", other="sequence", equal=True)
    parts = run(table, method="positions", overlaps=near, train_promoters=20)
    assert parts["train"].height == 20
    assert not set(near["sequence"]) & set(pl.concat([parts["train"], parts["val"]])["sequence"])


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (
            [mutant(at) for at in range(30)] + [mutant(3)[1:]],
            r"promoter 31: 59 bp long with flanks, but most are 60 bp \(1 such promoters\)",
        ),
        (library(40)["sequence"].to_list(), r"at some position no base occurs in more than half of the promoters.*set split\.method: hash"),
    ],
    ids=["other length", "no parent"],
)
def test_positions_need_mutants_of_one_parent(sequences, message):
    with pytest.raises(InputError, match=message):
        run(variants(sequences), method="positions")


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(formats_promoters, "_BLOCK_ROWS", 7)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    "options",
    [
        {"method": "hash"},
        {"method": "hash", "train_promoters": 60},
        {"method": "column"},
        {"method": "column", "train_promoters": 20, "independent": "warn"},
        {"method": "list"},
    ],
    ids=str,
)
def test_splits_in_blocks_are_those_of_the_table_in_memory(options, seed, small_blocks, tmp_path):
    """From and to files, with clusters, repeated sequences, overlaps and empty cells."""
    rng = np.random.default_rng(seed)
    table = library(300, group=[None if i % 3 else f"g{i // 30}" for i in range(300)], split=rng.choice(["tr", "va", "te"], 300).tolist())
    table = table.with_columns(
        sequence=pl.when(pl.int_range(300) % 11 == 0).then(pl.col("sequence").shift(3)).otherwise("sequence").fill_null("ACGTACGTN"),
        expression=pl.Series(rng.integers(0, 9, 300)).cast(pl.Float32),
        n_reads=pl.Series([None, *rng.integers(0, 300, 299)], dtype=pl.Int64),
        singleton=pl.Series(rng.choice([True, False, None], 300).tolist(), dtype=pl.Boolean),
        source=pl.Series(rng.choice(["a", "b", None] if seed else [str(i) for i in range(40)], 300).tolist(), dtype=pl.String),
    )
    cluster = neighbours.clusters(table, table["sequence"], 3)
    near = table.sample(20, seed=seed)["sequence"].unique()
    overlaps = [(text, text, 0, True) for text in near[:9]] + [(text, "x", 2, False) for text in near[9:]]
    overlaps = listed(overlaps).with_columns(dataset=pl.Series([splits.LISTED] * 12 + ["s"] * (len(near) - 12)))
    ledger = Ledger("split_promoters", "library")
    given = {"names": list(FRACTIONS), "fractions": {"train": 0.5, "val": 0.2, "test": 0.3}, "overlaps": overlaps, "seed": seed}
    given |= {"labels": {"train": "tr", "val": "va", "test": "te"}, "across": "drop", "independent": "drop", "train_promoters": 0} | options
    expected = in_memory.split(table, cluster, **given)

    formats_promoters.write(table, tmp_path / "library.parquet")
    source = formats_promoters.scan(tmp_path / "library.parquet")
    assigned = splits.assign(source, splits.Clusters.named(cluster), **given, origin="a", ledger=ledger)
    for name in FRACTIONS:
        formats_promoters.write(assigned.part(name), tmp_path / f"{name}.parquet")
        formats_promoters.write(expected[name], tmp_path / f"{name}.expected.parquet")
        assert (tmp_path / f"{name}.parquet").read_bytes() == (tmp_path / f"{name}.expected.parquet").read_bytes()
        assert ledger.counts["noted", f"assigned to {name}"] == expected[name].height > 0
    ledger.read(300)
    ledger.lines(sum(part.height for part in expected.values()))  # rows in are rows out and dropped ones
    clusters = pl.DataFrame({"sequence": table["sequence"], "cluster": cluster})
    assert_frame_equal(splits.summary(assigned), in_memory.summary(expected, clusters), check_exact=True)


def test_the_alphabetically_first_cluster_in_several_splits_is_named(small_blocks):
    table = library(60, group=[f"g{59 - i // 3}" for i in range(60)], split=["train", "val", "train"] * 20)
    with pytest.raises(InputError, match=r"cluster 'g40' is in train and val \(20 such clusters\)"):
        run(table, method="column")
