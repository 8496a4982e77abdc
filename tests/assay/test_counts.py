from collections import Counter

import numpy as np
import polars as pl
import pytest
from rapidfuzz.distance import Levenshtein

from gpraflow.assay import counts, inserts, reads
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.sequences import neighbours
from gpraflow.sequences.scaffold import Scaffold
from tests.assay import in_memory

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
    table, ledgers = in_memory.merge(bins, PTPA, 2, 2)
    assert table.columns == ["sequence", "x", "y", "z"]
    assert table.rows() == [(f"{PTPA.five_prime}{a}{PTPA.three_prime}", 53, 1, 0), (f"{PTPA.five_prime}{b}{PTPA.three_prime}", 0, 7, 0)]
    moved = "reads with a sequencing error, counted for the parent insert"
    assert [(ledger.dataset, rows_of(ledger), out) for ledger, out in ledgers] == [
        ("x", {("in", "rows"): 53, ("noted", moved): 3}, 53),
        ("y", {("in", "rows"): 8, ("noted", moved): 1}, 8),
        ("z", {("in", "rows"): 0, ("noted", moved): 0}, 0),
        ("library", {("in", "rows"): 3, ("dropped", "sequencing error of another insert"): 1}, 2),
    ]
    table, _ = in_memory.merge(bins, PTPA, 0, 2)
    assert table["x"].to_list() == [50, 0, 3]
    assert in_memory.merge([("x", table_of(**{c: 1}))], Scaffold("none", "", ""), 2, 2)[0].rows() == [(c, 1)]


def test_inserts_with_n():
    a = "".join(np.random.default_rng(0).choice(list("ACGT"), 60))
    with_n, far = a[:30] + "N" + a[31:], "N" + "ACGT" * 15
    bins = [("x", table_of(**{a: 5, with_n: 40, far: 4}))]
    assert dict(zip(*in_memory.merge(bins, Scaffold("none", "", ""), 2, 2, "merge")[0].get_columns(), strict=True)) == {a: 45, far: 4}
    assert dict(zip(*in_memory.merge(bins, Scaffold("none", "", ""), 2, 2, "keep")[0].get_columns(), strict=True)) == {with_n: 45, far: 4}


def test_many_bins_and_a_policy_that_merges_nothing():
    bins = [(f"r{i // 64}.{i % 64}", table_of(**{"A" * 60: i + 1})) for i in range(5 * 64)]
    table, _ = in_memory.merge(bins, Scaffold("none", "", ""), 2, 2)
    assert table.row(0)[1:] == tuple(range(1, 321))
    with pytest.raises(ConfigError, match=r"n_in_insert: merge needs reads.collapse_edits of 1 or 2"):
        in_memory.merge(bins, Scaffold("none", "", ""), 0, 2, "merge")


def test_merged_counts_are_those_of_a_naive_sum():
    rng = np.random.default_rng(3)
    library = ["".join(rng.choice(list("ACGT"), 70)) for _ in range(100)]
    drawn = [[library[i] for i in rng.integers(0, 100, 500)] for _ in range(5)]
    table, _ = in_memory.merge([(str(i), table_of(**Counter(part))) for i, part in enumerate(drawn)], Scaffold("none", "", ""), 2, 2)
    for row in table.iter_rows(named=True):
        assert [row[str(i)] for i in range(5)] == [part.count(row["sequence"]) for part in drawn]
    assert table.height == len({insert for part in drawn for insert in part})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("n_in_insert", ["keep", "merge"])
def test_counts_merged_in_parts_are_those_of_directional_networks(monkeypatch, tmp_path, seed, n_in_insert):
    """Errors lie in other parts than their parents; compared with sums in a dictionary and a search among all pairs."""
    rng, flanks = np.random.default_rng(seed), Scaffold("none", "", "")
    bins = [(name, Counter()) for name in "abc"]
    for _ in range(6):
        parent = "".join(rng.choice(list("ACGT"), 30))
        for _, pool in bins:
            pool[parent] += int(rng.integers(20, 90))
        for _ in range(12):
            bins[rng.integers(3)][1][mutated(parent, rng)] += int(rng.integers(1, 5))
    total = sum((pool for _, pool in bins), Counter())
    names = sorted(total, key=lambda one: (n_in_insert == "merge" and "N" in one, -total[one], one))
    tables = [(name, table_of(**pool)) for name, pool in bins]
    whole, ledgers = in_memory.merge(tables, flanks, 2, 2, n_in_insert)
    monkeypatch.setattr(counts, "_PART_ROWS", 11)
    monkeypatch.setattr(neighbours, "_GROUPED", 5)
    monkeypatch.setattr(neighbours, "_BLOCK_ROWS", 7)
    found, of_parts = in_memory.merge(tables, flanks, 2, 2, n_in_insert, threads=2, folder=tmp_path)
    assert not list(tmp_path.iterdir())
    assert found.equals(whole)
    assert [(ledger.counts, rows) for ledger, rows in of_parts] == [(ledger.counts, rows) for ledger, rows in ledgers]
    if n_in_insert == "keep":
        parent = networks(names, np.array([total[one] for one in names]), 2, 2)
        expected = {}
        for index, one in enumerate(names):
            row = expected.setdefault(names[parent[index]], [0, 0, 0])
            for place, (_, pool) in enumerate(bins):
                row[place] += pool[one]
        assert found.schema == {"sequence": pl.String, "a": pl.Int64, "b": pl.Int64, "c": pl.Int64}
        assert sorted(found.rows()) == sorted((one, *row) for one, row in expected.items())
        assert found.select(pl.sum_horizontal("a", "b", "c")).to_series().is_sorted(descending=True)
        assert 6 <= found.height < len(names) / 2


# More reads merged than base qualities allow


def read_counts_of(path, policy, sequences, qualities):
    """Count reads in a FASTQ file; return a table of counts and the path of the ledger."""
    lines = (f"@r{i}\n{s}\n+\n{q}\n" for i, (s, q) in enumerate(zip(sequences, qualities, strict=True)))
    path.write_text("".join(lines))
    ledger = Ledger("count_reads", path.stem)
    table = reads.count([str(path)], policy, ledger)
    ledger.write(path.with_suffix(".tsv"), table["reads"].sum())
    return table.lazy(), path.with_suffix(".tsv")


def designed_variants(rng, number, wild_type):
    """Return a wild type and variants of it with one codon exchanged."""
    codons = (wild_type[: 3 * i] + "".join(rng.choice(list("ACGT"), 3)) + wild_type[3 * i + 3 :] for i in rng.integers(0, 25, 10 * number))
    return list(dict.fromkeys([wild_type, *codons]))[: number + 1]


WITHOUT_FLANKS = Scaffold("none", "", "")
POLICY = inserts.Policy("", "", insert_length=(75, 75))


@pytest.fixture(scope="module")
def variants(tmp_path_factory):
    """Error-free reads of quality 40 of a wild type and 100 designed variants in two bins: tables and ledgers."""
    rng = np.random.default_rng(9)
    library = designed_variants(rng, 100, "".join(rng.choice(list("ACGT"), 75)))
    assert len(library) == 101
    folder, bins, ledgers = tmp_path_factory.mktemp("variants"), [], []
    for name in ("low", "high"):
        drawn = [library[0] if rng.random() < 0.1 else library[rng.integers(101)] for _ in range(1000)]
        table, ledger = read_counts_of(folder / f"{name}.fastq", POLICY, drawn, ["I" * 75] * 1000)
        bins.append((name, table))
        ledgers.append(ledger)
    return bins, ledgers, library


@pytest.mark.parametrize("max_edits", [1, 2])
def test_designed_variants_are_not_taken_for_sequencing_errors(variants, max_edits):
    bins, ledgers, library = variants
    expected = counts.expected_errors(ledgers)
    assert expected == 14  # 1 - (1 - 1e-4)^75 is 0.75 % of 1000 reads, 7.47, rounded in each bin
    unchecked, _ = in_memory.merge(bins, WITHOUT_FLANKS, max_edits, 2, expected=expected, max_collapsed=1.0)
    assert unchecked.height < 95
    with pytest.raises(InputError) as caught:
        in_memory.merge(bins, WITHOUT_FLANKS, max_edits, 2, expected=expected, max_collapsed=0.05)
    message = str(caught.value)
    for part in ("of 2,000 reads", "errors in 0.7% of the reads; 6.4% are allowed (2 x 0.7% + reads.max_collapsed 0.05)",
                 f"merged into\n  {library[0]} (", "reads.collapse_edits: 0", "reads.collapse_ratio"):  # fmt: skip
        assert part in message
    table, _ = in_memory.merge(bins, WITHOUT_FLANKS, 0, 2, expected=expected, max_collapsed=0.0)
    assert set(table["sequence"]) == set(library)


def test_reads_with_the_errors_that_their_qualities_predict_are_merged(tmp_path):
    """Bases of quality 20 are wrong in 1 %: of inserts of 75 bp 53 % have an error, far more than `max_collapsed`."""
    rng = np.random.default_rng(2)
    library = ["".join(rng.choice(list("ACGT"), 75)) for _ in range(20)]
    true = np.array([list(library[i]) for i in rng.integers(0, 20, 4000)])
    wrong = rng.random(true.shape) < 0.01
    true[wrong] = rng.choice(list("ACGT"), int(wrong.sum()))
    drawn = ["".join(row) for row in true]
    table, ledger = read_counts_of(tmp_path / "a.fastq", POLICY, drawn, ["5" * 75] * 4000)
    expected = counts.expected_errors([ledger])
    assert expected == round(4000 * (1 - 0.99**75))
    merged, ledgers = in_memory.merge([("a", table)], WITHOUT_FLANKS, 2, 2, expected=expected, max_collapsed=0.05)
    assert ledgers[0][0].counts["noted", "reads with a sequencing error, counted for the parent insert"] > 1200
    assert set(merged["sequence"][:20]) == set(library)
    with pytest.raises(InputError, match=r"base qualities predict errors in 0.0% of the reads"):  # as if qualities were perfect
        in_memory.merge([("a", table)], WITHOUT_FLANKS, 2, 2, expected=0, max_collapsed=0.05)


def test_the_allowance_is_exact_and_few_reads_are_not_checked():
    inserts_, parent = pl.Series([BASE, "T" + BASE[1:]]), np.array([0, 0])
    counts.check_collapsed(inserts_, np.array([880, 120]), parent, 10, 0.1)  # 2 * 10 / 1000 + 0.1 of 1000 reads
    with pytest.raises(InputError, match=r"121 of 1,001 reads \(12.1%\).*12.0% are allowed"):
        counts.check_collapsed(inserts_, np.array([880, 121]), parent, 10, 0.1)
    counts.check_collapsed(inserts_, np.array([12, 7]), parent, 0, 0.0)
    with pytest.raises(InputError, match="7 of 20 reads"):
        counts.check_collapsed(inserts_, np.array([13, 7]), parent, 0, 0.0)
    counts.check_collapsed(pl.Series([], dtype=pl.String), np.array([], np.int64), np.array([], np.int64), 0, 0.0)
