"""Molecules counted by their unique molecular identifiers."""

from collections import Counter, defaultdict

import numpy as np
import polars as pl
import pytest

from gpraflow.assay import counts, reads, umis
from gpraflow.assay import inserts as assay_inserts
from gpraflow.assay.matching import load
from gpraflow.core import config as configs
from gpraflow.core.errors import ConfigError
from gpraflow.core.ledger import Ledger
from gpraflow.sequences.scaffold import Scaffold
from tests.assay import in_memory
from tests.assay.test_reads import counted, fastq, inserts, turned

FIVE, THREE = "NNNNTGCATCGGACTTACA", "GGTTACGGCTGTTNN"
PLAIN = Scaffold("none", "", "")


def naive_molecules(reads_of_umi, method):
    """Return the number of groups as UMI-tools forms them: breadth-first search from each UMI, the most abundant first."""
    if method == "unique":
        return len(reads_of_umi)
    order = sorted(reads_of_umi, key=lambda umi: -reads_of_umi[umi])
    reached, groups = set(), 0
    for root in order:
        if root in reached:
            continue
        groups += 1
        todo = [root]
        while todo:
            a = todo.pop()
            reached.add(a)
            for b in order:
                near = sum(x != y for x, y in zip(a, b, strict=True)) <= 1
                if b not in reached and near and reads_of_umi[a] >= 2 * reads_of_umi[b] - 1:
                    todo.append(b)
    return groups


@pytest.mark.parametrize("method", ["unique", "directional"])
@pytest.mark.parametrize("length", [1, 3, 6, 32])
def test_molecules_are_those_of_a_naive_search(method, length):
    rng = np.random.default_rng(length)
    rows, tally = [], defaultdict(Counter)
    for owner in range(40):
        roots = ["".join(rng.choice(list("ACGT"), length)) for _ in range(rng.integers(0, 8))]
        for root in roots:
            for _ in range(rng.integers(1, 30)):
                umi = list(root)
                while rng.random() < 0.3:  # errors, and errors of errors
                    umi[rng.integers(length)] = "ACGT"[rng.integers(4)]
                number = int(rng.integers(1, 4))
                rows.append((owner, "".join(umi), number))
                tally[owner]["".join(umi)] += number
    rng.shuffle(rows)
    owner, umi, number = zip(*rows, strict=True)
    owner = np.array([int(each) for each in owner])
    expected = [naive_molecules(tally[each], method) for each in range(41)]
    molecules = umis.count_molecules(owner, pl.Series(umi), np.array(number, np.int64), 41, method)
    assert molecules.tolist() == expected
    assert sum(expected) > 40 or method == "directional"


def test_the_edges_of_umi_tools():
    """Reads of 4 and 2: 4 >= 2 * 2 - 1, one molecule; 3 and 3: two; errors of errors: one; two bases apart: two."""

    def number(**reads_of_umi):
        return umis.count_molecules(np.zeros(len(reads_of_umi), int), pl.Series(list(reads_of_umi)), np.array([*reads_of_umi.values()]), 1,
                                    "directional").item()  # fmt: skip

    assert number(ACGT=4, ACGA=2) == 1
    assert number(ACGT=3, ACGA=2) == 1
    assert number(ACGT=3, ACGA=3) == 2
    assert number(ACGT=100, ACGA=10, ACAA=2) == 1
    assert number(ACGT=100, ACAA=2) == 2
    assert number(ACGT=1, ACGA=1) == 1
    assert umis.count_molecules(np.zeros(0, int), pl.Series([], dtype=pl.String), np.zeros(0, int), 2, "unique").tolist() == [0, 0]


def read_with(insert, umi, five=FIVE):
    head, tail = iter(umi[:4]), iter(umi[4:])
    return (
        "".join(next(head) if base == "N" else base for base in five)
        + insert
        + "".join(next(tail) if base == "N" else base for base in THREE)
    )


POLICY = assay_inserts.Policy(FIVE, THREE, umi=True, insert_length=(40, 120), min_yield=0)


def umi_counts(path, policy=POLICY):
    ledger = Ledger("count_reads", "a")
    table = reads.count([path], policy, ledger)
    ledger.lines(table["reads"].sum())
    return {(insert, umi): number for insert, umi, number in table.iter_rows()}, {
        what: rows for (kind, what), rows in ledger.counts.items() if kind != "in" and what != reads.EXPECTED_ERRORS
    }


def test_reads_are_counted_by_insert_and_umi_on_both_strands(tmp_path):
    rng = np.random.default_rng(3)
    library = inserts(20, lengths=(60, 75, 80))
    drawn = [(library[rng.integers(20)], "".join(rng.choice(list("ACGT"), 6))) for _ in range(800)]
    drawn += drawn[:300]
    sequences = [rng.choice(["", "GA"]) + read_with(*each) + "AC" for each in drawn]
    reverse = rng.random(len(sequences)) < 0.4
    sequences = [turned(s) if back else s for s, back in zip(sequences, reverse, strict=True)]
    umi_reads, ledger = umi_counts(fastq(tmp_path / "a.fastq", sequences))
    assert umi_reads == Counter(drawn)
    assert ledger == {"on the other strand": reverse.sum()}


def test_umis_that_cannot_be_read_are_lost_with_a_reason(tmp_path):
    (insert,) = inserts(1)
    good = read_with(insert, "ACGTGA")
    substituted = "ACGT" + "TGCATCGCACTTACA" + good[19:]
    deleted = "ACGT" + "TGCATCGGCTTACA" + good[19:]
    cut = good[1:]  # three bases of the UMI; the missing one is an edit of the flank
    with_n = "ACNT" + good[4:]
    behind = "ACGTTGCATCGGACTTACA" + insert + THREE[:-2] + "G"
    umi_reads, ledger = umi_counts(fastq(tmp_path / "a.fastq", [good, substituted, deleted, cut, with_n, behind, turned(deleted)]))
    assert umi_reads == {(insert, "ACGTGA"): 2}
    assert ledger == {reads.UNSURE_UMI: 4, reads.N_IN_UMI: 1, "flanks matched with edits": 1}
    plain, ledger = counted(fastq(tmp_path / "b.fastq", [good, substituted, deleted]), assay_inserts.Policy(FIVE, THREE, min_yield=0))
    assert (sum(plain.values()), ledger["flanks matched with edits"]) == (3, 2)  # without UMIs all of them count


def test_a_umi_needs_n_in_a_flank():
    for five, number in (("ACGTACGT", 0), ("N" * 33 + "ACGT", 33)):
        with pytest.raises(ConfigError, match=rf"reads\.umi: the flanks '{five}' and 'GGTTAC' have {number} N"):
            assay_inserts.Policy(five, "GGTTAC", umi=True)
    with pytest.raises(ConfigError, match=r"reads\.umi: unique needs the place of the UMI: .* \(now auto\)"):
        configs.check_umi(configs.load({"reads": {"umi": "unique"}}))
    configs.check_umi(configs.load({"reads": {"umi": "directional", "three_prime": "ACGTNNNN"}}))


def molecules_table(pool):
    """A table of counts by insert and UMI."""
    return pl.LazyFrame([(*key, number) for key, number in pool.items()], schema=["insert", "umi", "reads"], orient="row")


def test_duplicates_are_counted_once_after_errors_in_the_insert_were_merged():
    """An erroneous copy of a molecule has the molecule's UMI, so it must not count as a molecule of the insert it is merged into."""
    one, two = inserts(2)
    wrong = one[:30] + ("A" if one[30] != "A" else "C") + one[31:]
    low = {(one, "AAAA"): 50, (one, "CCCC"): 20, (one, "CCCG"): 2, (wrong, "AAAA"): 3, (wrong, "GGGG"): 1, (two, "AAAA"): 5}
    high = {(one, "AAAA"): 7, (two, "TTTT"): 1, (two, "TTTG"): 1}
    bins = [("low", molecules_table(low)), ("high", molecules_table(high))]
    expected = {"unique": {one: (4, 1), two: (1, 2)}, "directional": {one: (3, 1), two: (1, 1)}}
    for method, molecules in expected.items():
        table, ledgers = in_memory.merge(bins, PLAIN, 1, 2, umi=method)
        assert {sequence: rest for sequence, *rest in table.iter_rows()} == {insert: list(n) for insert, n in molecules.items()}
        for (ledger, out), pool, place in zip(ledgers, (low, high), (0, 1), strict=False):
            total = sum(n[place] for n in molecules.values())
            assert (ledger.counts["in", "rows"], out, ledger.counts["dropped", counts.DUPLICATE]) == (
                sum(pool.values()), total, sum(pool.values()) - total,
            )  # fmt: skip
            ledger.lines(out)
    table, ledgers = in_memory.merge(bins, PLAIN, 1, 2)
    assert {sequence: rest for sequence, *rest in table.iter_rows()} == {one: [76, 7], two: [5, 2]}
    assert ("dropped", counts.DUPLICATE) not in ledgers[0][0].counts


def test_molecules_of_designs(tmp_path):
    one, two = inserts(2)
    (tmp_path / "design.fa").write_text(f">one\n{one}\n>two\n{two}\n")
    wrong = one[:30] + ("A" if one[30] != "A" else "C") + one[31:]
    low = {(one, "AAAA"): 50, (wrong, "AAAA"): 3, (wrong, "GGGG"): 1, (two, "AAAA"): 5, ("ACGT" * 20, "AAAA"): 9}
    designs = load(tmp_path / "design.fa", PLAIN, [40, 120])
    table, ledgers = in_memory.merge_designed([("low", molecules_table(low))], PLAIN, designs, 1, "design.fa", 0.8, umi="unique")
    assert table.rows() == [(one, "one", 2), (two, "two", 1)]
    ledger, out = ledgers[0]
    ledger.lines(out)
    lost = {what: rows for (kind, what), rows in ledger.counts.items() if kind == "dropped"}
    assert lost == {reads.NOT_IN_DESIGN: 9, reads.AMBIGUOUS_DESIGN: 0, counts.DUPLICATE: 56}
