from collections import Counter

import numpy as np
import polars as pl
import pytest
from rapidfuzz.distance import Levenshtein

from gpraflow.assay import counts
from gpraflow.core.errors import ConfigError
from gpraflow.sequences import neighbours
from gpraflow.sequences.scaffold import Scaffold

PTPA = Scaffold("pTpA", "TGCATTTTTTTCACATC", "GGTTACGGCTGTT")


def ranked(pool):
    """Return inserts and reads, the most abundant first."""
    table = pl.DataFrame({"insert": list(pool), "reads": list(pool.values())}).sort([-pl.col("reads"), "insert"])
    return table["insert"], table["reads"].to_numpy()


def networks(inserts, reads, max_edits, ratio):
    """Return what UMI-tools' directional method does: breadth-first search from each insert, the most abundant first."""
    near = [
        [
            b
            for b in range(len(inserts))
            if b != a and reads[a] >= ratio * reads[b] - 1 and Levenshtein.distance(inserts[a], inserts[b]) <= max_edits
        ]
        for a in range(len(inserts))
    ]
    parent = {}
    for root in range(len(inserts)):
        if root not in parent:
            reached, todo = {root}, [root]
            while todo:
                for following in near[todo.pop()]:
                    if following not in reached:
                        reached.add(following)
                        todo.append(following)
            for insert in reached - set(parent):
                parent[insert] = root
    return [parent[i] for i in range(len(inserts))]


def mutated(text, rng):
    letters = list(text)
    for _ in range(rng.integers(1, 4)):
        place = rng.integers(len(letters))
        kind = rng.integers(3)
        if kind == 0:
            letters[place] = "ACGTN"[rng.integers(5)]
        elif kind == 1:
            del letters[place]
        else:
            letters.insert(place, "ACGT"[rng.integers(4)])
    return "".join(letters)


@pytest.mark.parametrize("seed", range(12))
def test_collapse_equals_directional_networks(seed):
    rng = np.random.default_rng(seed)
    pool = {}
    for _ in range(8):
        family = ["".join(rng.choice(list("ACGT"), rng.integers(6, 40)))]
        pool[family[0]] = int(rng.integers(1, 200))
        for _ in range(20):
            family.append(mutated(family[rng.integers(len(family))], rng))
            pool[family[-1]] = int(rng.integers(1, 20))
    inserts, reads = ranked(pool)
    for max_edits in (1, 2):
        for ratio in (1, 2, 5):
            assert counts.collapse(inserts, reads, max_edits, ratio).tolist() == networks(inserts.to_list(), reads, max_edits, ratio)


def test_small_blocks_of_pairs_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    base = "".join(rng.choice(list("ACGT"), 80))
    inserts, reads = ranked({base: 900} | {mutated(base, rng): int(rng.integers(1, 30)) for _ in range(300)})
    expected = counts.collapse(inserts, reads, 2, 2)
    monkeypatch.setattr(neighbours, "_PAIRS", 7)
    assert (counts.collapse(inserts, reads, 2, 2, threads=2) == expected).all()
    assert (expected == networks(inserts.to_list(), reads, 2, 2)).all()


BASE = "ACGTTGCAAC" * 8


def test_chains_ratios_and_distances():
    one, two, three = "T" + BASE[1:], "TT" + BASE[2:], "TTTA" + BASE[4:]
    inserts, reads = ranked({BASE: 100, one: 20, two: 5, three: 2})
    assert counts.collapse(inserts, reads, 2, 2).tolist() == [0, 0, 0, 0]  # the last is four edits away, over a chain
    assert counts.collapse(inserts, reads, 1, 2).tolist() == [0, 0, 0, 3]
    inserts, reads = ranked({BASE: 10, one: 6})
    assert counts.collapse(inserts, reads, 2, 2).tolist() == [0, 1]  # 10 < 2 * 6 - 1
    assert counts.collapse(inserts, reads, 2, 1.5).tolist() == [0, 0]
    inserts, reads = ranked({BASE: 1, one: 1})
    assert counts.collapse(inserts, reads, 2, 2).tolist() == [0, 0]  # 1 >= 2 * 1 - 1, as in UMI-tools
    assert counts.collapse(inserts, reads, 2, 3).tolist() == [0, 1]
    assert counts.collapse(pl.Series([], dtype=pl.String), np.array([], np.int64), 2, 2).tolist() == []


def table_of(**pool):
    return pl.DataFrame({"insert": list(pool), "reads": list(pool.values())}, schema={"insert": pl.String, "reads": pl.Int64}).lazy()


def rows_of(ledger):
    return {(kind, what): rows for (kind, what), rows in ledger.counts.items()}


def test_bins_are_set_side_by_side():
    a, b, c = "A" * 60, "C" * 60, "G" * 60
    error = "T" + a[1:]
    bins = [("x", table_of(**{a: 50, error: 3})), ("y", table_of(**{b: 7, error: 1})), ("z", table_of())]
    table, ledgers = counts.merge(bins, PTPA, 2, 2)
    assert table.columns == ["sequence", "x", "y", "z"]
    assert table.rows() == [(f"{PTPA.five_prime}{a}{PTPA.three_prime}", 53, 1, 0), (f"{PTPA.five_prime}{b}{PTPA.three_prime}", 0, 7, 0)]
    moved = "moved to the insert they are a sequencing error of"
    assert [(ledger.dataset, rows_of(ledger), out) for ledger, out in ledgers] == [
        ("x", {("in", "rows"): 53, ("noted", moved): 3}, 53),
        ("y", {("in", "rows"): 8, ("noted", moved): 1}, 8),
        ("z", {("in", "rows"): 0, ("noted", moved): 0}, 0),
        ("library", {("in", "rows"): 3, ("dropped", "sequencing error of another insert"): 1}, 2),
    ]
    table, _ = counts.merge(bins, PTPA, 0, 2)
    assert table["x"].to_list() == [50, 0, 3]
    assert counts.merge([("x", table_of(**{c: 1}))], Scaffold("none", "", ""), 2, 2)[0].rows() == [(c, 1)]


def test_inserts_with_n():
    a = "".join(np.random.default_rng(0).choice(list("ACGT"), 60))
    with_n, far = a[:30] + "N" + a[31:], "N" + "ACGT" * 15
    bins = [("x", table_of(**{a: 5, with_n: 40, far: 4}))]
    assert dict(zip(*counts.merge(bins, Scaffold("none", "", ""), 2, 2, "merge")[0].get_columns(), strict=True)) == {a: 45, far: 4}
    assert dict(zip(*counts.merge(bins, Scaffold("none", "", ""), 2, 2, "keep")[0].get_columns(), strict=True)) == {with_n: 45, far: 4}


def test_many_bins_and_a_policy_that_merges_nothing():
    bins = [(f"r{i // 64}.{i % 64}", table_of(**{"A" * 60: i + 1})) for i in range(5 * 64)]
    table, _ = counts.merge(bins, Scaffold("none", "", ""), 2, 2)
    assert table.row(0)[1:] == tuple(range(1, 321))
    with pytest.raises(ConfigError, match=r"n_in_insert: merge needs reads.collapse_edits of 1 or 2"):
        counts.merge(bins, Scaffold("none", "", ""), 0, 2, "merge")


def test_merged_counts_are_those_of_a_naive_sum():
    rng = np.random.default_rng(3)
    library = ["".join(rng.choice(list("ACGT"), 70)) for _ in range(100)]
    drawn = [[library[i] for i in rng.integers(0, 100, 500)] for _ in range(5)]
    table, _ = counts.merge([(str(i), table_of(**Counter(part))) for i, part in enumerate(drawn)], Scaffold("none", "", ""), 2, 2)
    for row in table.iter_rows(named=True):
        assert [row[str(i)] for i in range(5)] == [part.count(row["sequence"]) for part in drawn]
    assert table.height == len({insert for part in drawn for insert in part})
