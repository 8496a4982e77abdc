import numpy as np
import polars as pl
import pytest
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein
from scipy.sparse.csgraph import connected_components

from gpraflow.sequences import flanks, neighbours, scaffold

COMPLEMENT = str.maketrans("ACGT", "TGCA")
PTPA = scaffold.Scaffold("pTpA", "TGCATTTTTTTCACATC", "GGTTACGGCTGTT")


def turned(text):
    return text.translate(COMPLEMENT)[::-1]


def random_inserts(count, rng, lengths=(80,)):
    return ["".join(rng.choice(list("ACGT"), rng.choice(lengths))) for _ in range(count)]


def edited(text, edits, rng, kinds=("substitute", "delete", "insert")):
    letters = list(text)
    for kind in rng.choice(kinds, edits):
        place = rng.integers(len(letters))
        if kind == "substitute":
            letters[place] = rng.choice([base for base in "ACGT" if base != letters[place]])
        elif kind == "delete":
            del letters[place]
        else:
            letters.insert(place, rng.choice(list("ACGT")))
    return "".join(letters)


def brute_force(sequences, max_edits):
    """Return for each sequence the first of its group, from all pairs on both strands."""
    near = np.zeros((len(sequences), len(sequences)), bool)
    for other in (sequences, [turned(text) for text in sequences]):
        near |= process.cdist(sequences, other, scorer=Levenshtein.distance, score_cutoff=max_edits, workers=-1) <= max_edits
    number, of = connected_components(near, directed=False)
    first = np.full(number, len(sequences))
    np.minimum.at(first, of, np.arange(len(sequences)))
    return first[of]


def same_groups(a, b):
    return (np.asarray(a) == np.asarray(b)).all()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("max_edits", [0, 1, 2, 3, 4])
def test_groups_are_those_of_all_pairs(seed, max_edits):
    rng = np.random.default_rng(seed)
    lengths = [(80,), (76, 79, 80, 81), (20, 30, 75, 80), (5, 6, 7, 8, 12)][seed % 4]
    sequences = random_inserts(60, rng, lengths)
    for _ in range(240):
        text = edited(sequences[rng.integers(len(sequences))], rng.integers(0, 5), rng)
        sequences.append(turned(text) if rng.random() < 0.5 else text)
    sequences = [sequences[i] for i in rng.permutation(len(sequences))]
    assert same_groups(neighbours.groups(pl.Series(sequences), max_edits), brute_force(sequences, max_edits))


def planted(count, rng, edits, kinds):
    inserts = random_inserts(count, rng)
    near = [edited(text, edits, rng, kinds) for text in inserts]
    return pl.Series(inserts + [turned(text) if i % 2 else text for i, text in enumerate(near)])


@pytest.mark.parametrize(
    ("edits", "kinds"),
    [(1, ["substitute"]), (3, ["substitute"]), (1, ["delete"]), (2, ["insert"]), (2, ["delete", "insert"]), (3, ["delete", "insert"])],
)
def test_every_planted_neighbour_is_found(edits, kinds):
    found = neighbours.groups(planted(3000, np.random.default_rng(1), edits, kinds), 3, threads=2)
    assert (found == np.tile(np.arange(3000), 2)).all()


@pytest.mark.parametrize("rows", [4000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_many_rows_are_grouped_as_by_brute_force(rows):
    rng = np.random.default_rng(2)
    sequences = random_inserts(3 * rows // 4, rng, (78, 79, 80))
    sequences += [edited(sequences[rng.integers(3 * rows // 4)], rng.integers(0, 6), rng) for _ in range(rows // 4)]
    assert same_groups(neighbours.groups(pl.Series(sequences), 3, threads=2), brute_force(sequences, 3))


def test_small_blocks_of_pairs_change_nothing(monkeypatch):
    rng = np.random.default_rng(3)
    (base,) = random_inserts(1, rng)
    sequences = [edited(base, rng.integers(0, 9), rng) for _ in range(200)]
    monkeypatch.setattr(neighbours, "_PAIRS", 7)
    assert same_groups(neighbours.groups(pl.Series(sequences), 3), brute_force(sequences, 3))


@pytest.mark.parametrize("grouped", [1, 10, 1000])
def test_clusters_in_parts_are_those_of_all_pairs_and_predefined_groups(monkeypatch, grouped):
    """With repeated sequences, several lengths and rows per part; names from brute force."""
    monkeypatch.setattr(neighbours, "_GROUPED", grouped)
    monkeypatch.setattr(neighbours, "_BLOCK_ROWS", 9)
    rng = np.random.default_rng(grouped)
    sequences = random_inserts(40, rng, (60, 61, 80))
    sequences += [edited(sequences[rng.integers(40)], rng.integers(0, 5), rng) for _ in range(160)]
    sequences = [turned(text) if rng.random() < 0.5 else text for text in sequences]
    given = [f"g{rng.integers(8)}" if rng.random() < 0.1 else None for _ in sequences]
    label, of = brute_force(sequences, 3), {}
    links = [(i, label[i]) for i in range(200)] + [(i, of.setdefault(name, i)) for i, name in enumerate(given) if name]
    near = np.zeros((200, 200), bool)
    near[tuple(np.transpose(links))] = True
    number, component = connected_components(near, directed=False)
    first, names = np.empty(200, np.int64), [""] * 200
    for each in range(number):
        rows = np.flatnonzero(component == each)
        own = [given[row] for row in rows if given[row]]
        first[rows] = rows[0]
        for row in rows:
            names[row] = min(own) if own else min(min(sequences[i], turned(sequences[i])) for i in rows)
    canonical = scaffold.canonical_sequences(pl.Series(sequences))
    assert canonical.to_list() == [min(text, turned(text)) for text in sequences]
    found = neighbours.named_clusters(canonical, pl.Series(given, dtype=pl.String), 3, threads=2)
    assert found["first"].to_list() == first.tolist()
    assert found["cluster"].to_list() == names
    assert 10 < number < 100
    alone = neighbours.named_clusters(canonical, None, 3, threads=2)
    assert alone.schema == found.schema == {"cluster": pl.String, "first": pl.UInt32}
    assert alone["first"].to_list() == label.tolist()


def test_shared_kmers_link_tiles_on_either_strand(monkeypatch):
    rng = np.random.default_rng(4)
    (genome,) = random_inserts(1, rng, (600,))
    tiles = [genome[start : start + 80] for start in range(0, 500, 50)]  # 30 bp in common
    other = random_inserts(20, rng)
    sequences = pl.Series([turned(tile) if i % 2 else tile for i, tile in enumerate(tiles)] + other)
    expected = [0] * 10 + list(range(10, 30))
    assert neighbours.groups(sequences, 3, kmer=24).tolist() == expected
    assert neighbours.groups(sequences, 0, kmer=30).tolist() == expected
    assert neighbours.groups(sequences, 3, kmer=31).tolist() == list(range(30))
    monkeypatch.setattr(neighbours, "_KMERS", 100)
    monkeypatch.setattr(neighbours, "_ROWS", 7)
    assert neighbours.groups(sequences, 3, kmer=24).tolist() == expected


def test_low_complexity_and_n_link_nothing():
    rng = np.random.default_rng(5)
    tails = random_inserts(8, rng, (40,))
    repeats = ["A" * 30, "A" * 30, "AC" * 15, "AC" * 15, "ACT" * 10, "ACT" * 10]
    shared = "".join(rng.choice(list("ACGT"), 30))
    sequences = [repeat + tail for repeat, tail in zip(repeats, tails, strict=False)]
    sequences += [shared[:15] + "N" + shared[16:] + tails[6], shared[:15] + "N" + shared[16:] + tails[7]]
    assert neighbours.groups(pl.Series(sequences), 3, kmer=24).tolist() == list(range(8))


def test_overlaps_are_those_of_all_pairs():
    rng = np.random.default_rng(9)
    library = random_inserts(300, rng, (78, 80))
    others = random_inserts(50, rng) + [edited(library[i], rng.integers(0, 6), rng) for i in range(150)]
    others = [turned(text) if i % 3 else text for i, text in enumerate(others)]
    distance = np.minimum(
        process.cdist(library, others, scorer=Levenshtein.distance),
        process.cdist(library, [turned(t) for t in others], scorer=Levenshtein.distance),
    )
    found = neighbours.overlaps(pl.Series(library), pl.Series(others), 3, threads=2)
    assert found.rows() == [(i, j, distance[i, j]) for i, j in zip(*np.nonzero(distance <= 3), strict=True)]
    assert found.height > 60
    assert neighbours.overlaps(pl.Series(library), pl.Series(others[:50]), 3).height == 0


@pytest.mark.parametrize("lengths", [(12, 60), (40,), (5, 6, 7, 9), (20, 21, 75, 80)], ids=str)
@pytest.mark.parametrize("max_edits", [0, 1, 4, 8])
def test_overlaps_of_any_length_and_limit_are_those_of_all_pairs(lengths, max_edits):
    rng = np.random.default_rng(max_edits)
    library = random_inserts(120, rng, lengths)
    others = [edited(text, rng.integers(0, max_edits + 1), rng) for text in library[:60] if len(text) > max_edits] + random_inserts(
        20, rng, lengths
    )
    others = [turned(text) if i % 2 else text for i, text in enumerate(others)]
    distance = np.minimum(
        process.cdist(library, others, scorer=Levenshtein.distance),
        process.cdist(library, [turned(text) for text in others], scorer=Levenshtein.distance),
    )
    found = neighbours.overlaps(pl.Series(library), pl.Series(others), max_edits)
    assert found.rows() == [(i, j, distance[i, j]) for i, j in zip(*np.nonzero(distance <= max_edits), strict=True)]


def test_overlaps_of_sets_are_of_inserts_and_tell_equal_ones():
    one, two, three = random_inserts(3, np.random.default_rng(11))
    five, end = PTPA.five_prime, PTPA.three_prime
    library = pl.Series([five + text + end for text in (one, two, three)])
    near = two[:-1] + ("A" if two[-1] != "A" else "C")
    others = {"a": pl.Series([one, turned(one), near]), "b": pl.Series([five + three + end])}
    found = neighbours.find_overlaps([library], others, lambda s: flanks.inserts(s, PTPA, 4), 3)
    parts = [library[begin : begin + 1] for begin in range(len(library))]
    assert neighbours.find_overlaps(parts, others, lambda s: flanks.inserts(s, PTPA, 4), 3).equals(found)
    assert neighbours.find_overlaps(iter(parts), {}, lambda s: s, 3).height == 0
    assert found.schema == neighbours.OVERLAPS
    assert found.sort("dataset", "sequence", "equal").rows() == sorted(
        [
            ("a", 0, library[0], turned(one), False),
            ("a", 0, library[0], one, True),
            ("a", 1, library[1], near, False),
            ("b", 0, library[2], library[2], True),
        ],
        key=lambda row: (row[0], row[2], row[4]),
    )


def test_overlaps_are_told_by_distance_of_the_nearest():
    rows = [("s", 0, "A", "x"), ("s", 2, "B", "x"), ("s", 2, "B", "y"), ("t", 1, "A", "x"), ("t", 1, "C", "x")]
    table = pl.DataFrame([(*row, False) for row in rows], schema=neighbours.OVERLAPS, orient="row")
    found = neighbours.by_distance(table, ["s", "t", "u"], 2)
    assert found.columns == ["dataset", "distance", "promoters", "library_promoters"]
    expected = {("s", 0): (1, 1), ("s", 2): (1, 1), ("t", 1): (1, 2)}
    assert found.rows() == [(name, d, *expected.get((name, d), (0, 0))) for name in "stu" for d in range(3)]


def table_of(sequences, group=None):
    return pl.DataFrame({"sequence": sequences, "group": group}, schema_overrides={"group": pl.String})


def test_clusters_join_neighbours_and_given_groups():
    a, b, c, d = random_inserts(4, np.random.default_rng(6))
    near = "C" + a[1:] if a[0] != "C" else "G" + a[1:]
    sequences = [a, near, b, turned(c), c, d]
    plain = neighbours.clusters(table_of(sequences), pl.Series(sequences), 3)
    name = min(a, near, turned(a), turned(near))
    assert plain.to_list() == [name, name, min(b, turned(b)), min(c, turned(c)), min(c, turned(c)), min(d, turned(d))]
    given = neighbours.clusters(table_of(sequences, ["x", None, "y", None, "x", "y"]), pl.Series(sequences), 3)
    assert given.to_list() == ["x", "x", "y", "x", "x", "y"]


def test_names_of_clusters_do_not_depend_on_other_rows():
    sequences = planted(200, np.random.default_rng(7), 2, ["substitute"])
    few = neighbours.clusters(table_of(sequences[100:300].to_list()), sequences[100:300], 3)
    every = neighbours.clusters(table_of(sequences[::-1].to_list()), sequences[::-1], 3)
    of = dict(zip(sequences[::-1], every, strict=True))
    assert sum(of[text] == name for text, name in zip(sequences[100:300], few, strict=True)) >= 100
    pairs = pl.DataFrame({"cluster": few}).group_by("cluster").len()
    assert pairs["len"].max() == 1  # the partners of these are outside


def test_flanks_do_not_count():
    inserts = ["ACGT" * 20, "A" * 79, "ACGGT" * 16]
    five, three = PTPA.five_prime, PTPA.three_prime
    whole = [five + inserts[0] + three, five[:5] + five[6:] + inserts[1] + three, inserts[2], five + inserts[0] + three[:-1]]
    assert flanks.inserts(pl.Series(whole), PTPA, 4).to_list() == [*inserts, inserts[0]]
    assert flanks.inserts(pl.Series(inserts), scaffold.Scaffold("none", "", ""), 4).to_list() == inserts
    assert flanks.inserts(pl.Series([five + three]), PTPA, 4).to_list() == [""]


def test_real_test_promoters_have_no_neighbour_in_training_and_planted_ones_are_found(shared):
    """The published training and test promoters: different clusters, as their authors split them."""
    names = ["train", "test_random", "test_native", "test_drift", "test_sswm", "test_gini"]
    parts = {name: pl.read_csv(shared / f"yeast_{name}.tsv.gz", separator="\t")["sequence"] for name in names}
    rng = np.random.default_rng(8)
    chosen = np.sort(rng.choice(len(parts["test_random"]), 200, replace=False))
    parts["planted"] = pl.Series(
        [text[:17] + edited(text[17:97], 2, rng, ["substitute"]) + text[97:] for text in parts["test_random"][chosen]]
    )
    together = pl.concat(parts.values())
    found = neighbours.groups(flanks.inserts(together, PTPA, 4), 3, threads=2)
    of = dict(zip(parts, np.split(found, np.cumsum([len(part) for part in parts.values()])[:-1]), strict=True))
    train = set(of["train"])
    for name in names[1:]:
        assert not train & set(of[name]), name
    assert (of["planted"] == of["test_random"][chosen]).all()


def test_nearest_is_the_nearest_on_either_strand():
    """Planted copies at known distances, against all pairs."""
    rng = np.random.default_rng(8)
    library = random_inserts(400, rng)
    near, expected = [], []
    for place, edits in enumerate([0, 2, 3, 5, 7, 9] * 5):
        letters = np.array(list(library[place]))
        sites = rng.choice(len(letters), edits, replace=False)
        letters[sites] = [rng.choice([base for base in "ACGT" if base != old]) for old in letters[sites]]
        near.append("".join(letters))
    near[3], near[8] = turned(near[3]), turned(near[8])
    found = neighbours.nearest(pl.Series(near), pl.Series(library), 3)
    for sequence in near:
        expected.append(min(Levenshtein.distance(one, text) for text in library for one in (sequence, turned(sequence))))
    assert found["library"].to_list() == list(range(30))
    assert found["distance"].to_list() == expected


def test_nothing_near_is_null_and_one_common_piece_does_not_hide_a_rare_one():
    rng = np.random.default_rng(9)
    piece = "ACGTTGCAACGTCAGT"
    library = [piece + text for text in random_inserts(300, rng, (64,))]
    sequences = [piece + library[7][16:60] + "TTTT", "".join(rng.choice(list("ACGT"), 80))]
    found = neighbours.nearest(pl.Series(sequences), pl.Series(library), 1, candidates_each=20)
    assert found["library"].to_list() == [7, None]
    assert found["distance"][0] == Levenshtein.distance(sequences[0], library[7])
    assert found["distance"][1] is None
    empty = neighbours.nearest(pl.Series([], dtype=pl.String), pl.Series(library), 1)
    assert empty.height == 0
    assert neighbours.nearest(pl.Series(sequences), pl.Series([], dtype=pl.String), 1)["distance"].to_list() == [None, None]


@pytest.mark.parametrize(("length", "training", "max_edits"), [(20, 5, 3), (80, 5, 3), (80, 1, 3), (5, 1, 0), (9, 300, 0)], ids=str)
def test_find_nearest_holds_null_where_no_training_promoter_is_near(length, training, max_edits):
    """Distances within the limit are those of all pairs, others are upper bounds, or null without a common k-mer."""
    library, scored = (pl.Series(random_inserts(count, np.random.default_rng(length + count), (length,))) for count in (training, 40))
    found = neighbours.find_nearest([library], {"test": scored, "none": scored.clear()}, lambda s: s, max_edits)
    assert found.schema == neighbours.NEAREST
    assert found["dataset"].to_list() == ["test"] * 40
    assert found["sequence"].equals(scored)
    assert found["nearest"].is_null().equals(found["distance"].is_null())
    assert (found["distance"].null_count() == 40) == (length != 9)
    both = [process.cdist(one, library.to_list(), scorer=Levenshtein.distance).min(axis=1) for one in (scored, [turned(t) for t in scored])]
    for edits, least in zip(found["distance"], np.minimum(*both), strict=True):
        assert edits == least if least <= max_edits else edits is None or edits >= least


def test_the_nearest_of_short_inserts_is_known_beyond_the_limit():
    library, scored = (pl.Series(random_inserts(count, np.random.default_rng(count), (9,))) for count in (5000, 60))
    distance = neighbours.nearest(scored, library, 0)["distance"]
    both = [process.cdist(one, library.to_list(), scorer=Levenshtein.distance).min(axis=1) for one in (scored, [turned(t) for t in scored])]
    above = distance.to_numpy() - np.minimum(*both).astype(np.int64)
    assert above.min() == 0
    assert above.max() <= 1
    assert above.mean() < 0.25


def test_find_nearest_names_the_training_promoter_with_its_flanks():
    library = pl.Series([PTPA.five_prime + text + PTPA.three_prime for text in random_inserts(30, np.random.default_rng(3))])
    scored = pl.Series([edited(flanks.inserts(library, PTPA, 4)[7], 2, np.random.default_rng(4), ["substitute"])])
    found = neighbours.find_nearest([library], {"a": scored}, lambda s: flanks.inserts(s, PTPA, 4), 3)
    assert found.rows() == [("a", scored[0], 2, library[7])]
