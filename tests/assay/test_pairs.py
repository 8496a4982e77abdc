import dataclasses
import gzip
import json
import re
import shutil
from collections import Counter

import numpy as np
import pytest

from gpraflow.assay import fastq as assay_fastq
from gpraflow.assay import inserts as assay_inserts
from gpraflow.assay import pairs, reads
from gpraflow.core.errors import GpraflowError, InputError
from gpraflow.core.ledger import Ledger
from tests.assay.test_reads import BEFORE, FIVE, POLICY, THREE, fastq, inserts, read_of, turned

needs_fastp = pytest.mark.skipif(shutil.which("fastp") is None, reason="fastp is not installed (apt install fastp)")


def mates(sequences, length=100):
    return [s[:length] for s in sequences], [turned(s)[:length] for s in sequences]


def merged(tmp_path, lanes, **options):
    ledger = Ledger("merge_pairs", "a")
    out, report = str(tmp_path / "out/merged.fastq.gz"), str(tmp_path / "out/merged.json")
    number = pairs.merge([one for one, _ in lanes], [two for _, two in lanes], out, report, ledger, **{"threads": 2, **options})
    ledger.lines(number)  # adds up
    return out, json.loads(open(report).read()), {what: rows for (_, what), rows in ledger.counts.items()}


@needs_fastp
def test_merged_pairs_give_the_inserts(tmp_path):
    library = inserts(400)
    unrelated = ["".join(np.random.default_rng(9).choice(list("ACGT"), 400)) for _ in range(1)] * 20
    first, second = mates([read_of(i) for i in library] + unrelated)
    half = len(first) // 2
    lanes = [
        (fastq(tmp_path / "l1_1.fq.gz", first[:half]), fastq(tmp_path / "l1_2.fq.gz", second[:half])),
        (fastq(tmp_path / "l2_1.fq", first[half:]), fastq(tmp_path / "l2_2.fq", second[half:])),
    ]
    out, report, ledger = merged(tmp_path, lanes)
    assert ledger == {"rows": 420, "mates do not overlap": 20}
    assert len(report) == 2
    assert sum(lane["merged_and_filtered"]["total_reads"] for lane in report) == 400
    counts = reads.count([out], POLICY, Ledger("count_reads", "a"))
    assert dict(counts.iter_rows()) == dict.fromkeys(library, 1)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["merged.fastq.gz", "merged.json"]


@needs_fastp
def test_a_mismatch_in_the_overlap_goes_to_the_better_quality(tmp_path):
    (insert,) = inserts(1)
    first, second = mates([read_of(insert)])
    place = len(BEFORE) + 17 + 50
    wrong = "A" if first[0][place] != "A" else "C"
    first[0] = first[0][:place] + wrong + first[0][place + 1 :]
    quality = "F" * place + "#" + "F" * (99 - place)
    lanes = [(fastq(tmp_path / "1.fq.gz", first, [quality]), fastq(tmp_path / "2.fq.gz", second))]
    out, _, _ = merged(tmp_path, lanes)
    with gzip.open(out, "rt") as handle:
        assert handle.read().splitlines()[1] == read_of(insert)


@needs_fastp
def test_empty_mates_are_an_empty_bin(tmp_path):
    out, report, ledger = merged(tmp_path, [(fastq(tmp_path / "1.fq.gz", []), fastq(tmp_path / "2.fq.gz", []))])
    assert (report, ledger) == ([], {"rows": 0})
    assert reads.count([out], POLICY, Ledger("count_reads", "a")).height == 0


@needs_fastp
def test_mates_of_different_number_or_cut_off(tmp_path):
    first, second = mates([read_of(i) for i in inserts(20)])
    one, two = fastq(tmp_path / "1.fq.gz", first), fastq(tmp_path / "2.fq.gz", second[:19])
    with pytest.raises(InputError, match=r"1\.fq\.gz has 20 reads, .*2\.fq\.gz has 19; mates must match"):
        merged(tmp_path, [(one, two)])
    whole = (tmp_path / "1.fq.gz").read_bytes()
    (tmp_path / "1.fq.gz").write_bytes(whole[:-9])
    with pytest.raises(InputError, match=r"1\.fq\.gz: the gzip file is truncated"):
        merged(tmp_path, [(one, two)])
    assert list((tmp_path / "out").iterdir()) == []  # nothing half-written


@needs_fastp
def test_a_damaged_record_loses_no_read_silently(tmp_path):
    first, second = mates([read_of(i) for i in inserts(400)])
    qualities = ["F" * 100] * 400
    qualities[50] = "F" * 99
    lanes = [(fastq(tmp_path / "1.fq.gz", first, qualities), fastq(tmp_path / "2.fq.gz", second))]
    with pytest.raises(InputError, match=r"1\.fq\.gz: read 51 .*: sequence and quality differ in length"):
        merged(tmp_path, lanes)


@needs_fastp
def test_pairs_that_do_not_overlap_stop_the_run_with_the_cause(tmp_path):
    first, second = mates([read_of(i) for i in inserts(100)])
    lanes = [(fastq(tmp_path / "1.fq.gz", first), fastq(tmp_path / "2.fq.gz", second[::-1]))]
    cause = r"mate files in different orders(.|\n)*set reads\.pairs: either_mate"
    with pytest.raises(InputError, match=r"bin 'a' \(.*2\.fq\.gz\), merging of pairs: only 0 of 100(.|\n)*" + cause):
        merged(tmp_path, lanes)
    _, _, ledger = merged(tmp_path, lanes, min_yield=0)
    assert ledger == {"rows": 100, "mates do not overlap": 100}


@needs_fastp
@pytest.mark.parametrize("name", ["@M00123:1:F:1:1:1:1", "@A00123:1:F:1:1:1:1"])
def test_a_run_of_g_stays_whatever_the_machine(tmp_path, name):
    """fastp trims G from the ends of reads of NovaSeq and NextSeq by itself."""
    library = [insert[:60] + "G" * 20 for insert in inserts(50)]
    sequences = [FIVE + insert + THREE for insert in library]
    for number, part in enumerate(([s[:97] for s in sequences], [turned(s)[:97] for s in sequences]), start=1):
        text = "".join(f"{name}{i} {number}:N:0:A\n{s}\n+\n{'F' * 97}\n" for i, s in enumerate(part))
        (tmp_path / f"{number}.fq").write_text(text)
    out, _, _ = merged(tmp_path, [(str(tmp_path / "1.fq"), str(tmp_path / "2.fq"))])
    assert dict(reads.count([out], POLICY, Ledger("count_reads", "a")).iter_rows()) == dict.fromkeys(library, 1)


@needs_fastp
def test_phred_64_pairs_leave_as_phred_33(tmp_path):
    (insert,) = inserts(1)
    first, second = mates([read_of(insert)])
    lanes = [(fastq(tmp_path / "1.fq", first, ["h" * 100]), fastq(tmp_path / "2.fq", second, ["h" * 100]))]
    out, _, _ = merged(tmp_path, lanes, quality_offset=64)
    with gzip.open(out, "rt") as handle:
        assert set(handle.read().splitlines()[3]) == {"I"}


def test_without_fastp_the_message_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GpraflowError, match=r"1\.fq: pairs are merged by fastp, which is not installed; install it \(apt install fastp"):
        pairs.merge(["1.fq"], ["2.fq"], str(tmp_path / "o"), str(tmp_path / "j"), Ledger("merge_pairs", "a"))


def test_fastp_s_own_failure_is_told(tmp_path, monkeypatch):
    fake = tmp_path / "fastp"
    fake.write_text("#!/bin/sh\necho 'ERROR: no such option' >&2\nexit 3\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    first, second = mates([read_of(i) for i in inserts(5)])
    lanes = [(fastq(tmp_path / "1.fq.gz", first), fastq(tmp_path / "2.fq.gz", second))]
    with pytest.raises(GpraflowError, match=r"1\.fq\.gz, .*2\.fq\.gz: fastp failed:\nERROR: no such option"):
        merged(tmp_path, lanes)
    assert list((tmp_path / "out").iterdir()) == []


LOOSE = dataclasses.replace(POLICY, insert_length=(20, 90), min_yield=0)


def counted(lanes, policy=LOOSE, **options):
    ledger = Ledger("count_reads", "a")
    first, second = zip(*lanes, strict=True)
    table = reads.count(first, policy, ledger, mates=second, **options)
    ledger.lines(table["reads"].sum())  # adds up
    return dict(table.iter_rows()), {what: rows for (_, what), rows in ledger.counts.items() if what != reads.EXPECTED_ERRORS}


def naive_insert(sequence):
    """Return the insert between exact flanks on either strand, as a regular expression finds it."""
    for text in (sequence, turned(sequence)):
        if match := re.search(f"{FIVE}(.*?){THREE}", text):
            return match[1] if 20 <= len(match[1]) <= 90 else None
    return None


def mates_apart(number, seed):
    """Return mates of 2 x 90 of an amplicon of 350 bp whose insert is in the first mate, the second, both, or neither."""
    rng = np.random.default_rng(seed)
    library = inserts(30, seed, lengths=(20, 35))

    def random(length):
        return "".join(rng.choice(list("ACGT"), length))

    out = []
    for _ in range(number):
        insert, kind = library[rng.integers(30)], rng.integers(8)
        read = (random(9) + FIVE + insert + THREE + random(40))[:90]
        other = insert if kind == 6 else library[rng.integers(30)]
        second = (random(5) + FIVE + other + THREE + random(40))[:90]
        both = [(read, random(90)), (random(90), read), (turned(read), random(90)), (random(90), turned(read))]
        both += [(random(90), random(90)), (read[:50], random(90)), (read, turned(second)), (read, turned(second))]
        out.append(both[kind])
    return [one for one, _ in out], [two for _, two in out]


@pytest.mark.parametrize("block", [None, 1000, 7777])
def test_the_insert_of_either_mate_counts_once(tmp_path, monkeypatch, block):
    first, second = mates_apart(800, 3)
    expected, reasons = Counter(), Counter()
    for one, two in zip(map(naive_insert, first), map(naive_insert, second), strict=True):
        if one and two and one != two:
            reasons[reads.DIFFERENT_MATES] += 1  # random inserts
        elif one or two:
            expected[one or two] += 1
            reasons[reads.TWICE] += bool(one and two)
        else:
            reasons["lost"] += 1
    if block:
        monkeypatch.setattr(assay_fastq, "_BLOCK", block)
    lanes = [
        (fastq(tmp_path / "l1_1.fq.gz", first[:500]), fastq(tmp_path / "l1_2.fq", second[:500], ["F" * len(s) for s in second[:500]])),
        (fastq(tmp_path / "l2_1.fq", first[500:]), fastq(tmp_path / "l2_2.fq.gz", second[500:])),
    ]
    counts, ledger = counted(lanes, threads=2)
    assert counts == expected
    assert ledger["rows"] == 800
    assert [ledger[what] for what in (reads.DIFFERENT_MATES, reads.TWICE)] == [reasons[reads.DIFFERENT_MATES], reasons[reads.TWICE]]
    lost = {what: ledger[what] for what in ("no flank found", "3' flank not found")}
    assert sum(lost.values()) == reasons["lost"]
    assert lost["3' flank not found"] == sum(len(one) == 50 for one in first)  # although the other mate has no flank at all


def test_mates_that_differ_by_errors_count_for_the_better_one(tmp_path):
    (insert,) = inserts(1, lengths=(40,))
    wrong = insert[:7] + ("A" if insert[7] != "A" else "C") + insert[8:]
    far = "".join("ACGT"["CGTA".index(base)] if place < 5 else base for place, base in enumerate(insert))
    cases = [  # first mate, second mate, their qualities at base 7, and what counts
        (insert, wrong, "I", "#", insert),
        (wrong, insert, "#", "I", insert),
        (wrong, insert, "I", "#", wrong),
        (wrong, insert, "I", "I", wrong),  # equal: the first mate
        (far, insert, "I", "I", None),  # five of 40 bases
        (insert, insert + "A", "I", "I", None),
        (insert, insert, "#", "I", insert),
    ]
    sequences, qualities, expected = ([], []), ([], []), Counter()
    for one, two, *quality, counts in cases:
        for mate, text in enumerate((one, two)):
            sequence = read_of(text)
            at = len(BEFORE + FIVE) + 7
            marks = "I" * at + quality[mate] + "I" * (len(sequence) - at - 1)
            sequences[mate].append(turned(sequence) if mate else sequence)
            qualities[mate].append(marks[::-1] if mate else marks)
        expected[counts] += 1
    lanes = [tuple(fastq(tmp_path / f"{mate}.fq", sequences[mate], qualities[mate]) for mate in (0, 1))]
    counts, ledger = counted(lanes)
    lost = expected.pop(None)
    assert counts == expected
    assert (ledger[reads.DIFFERENT_MATES], ledger[reads.TWICE], ledger[reads.CHOSEN]) == (lost, 5, 4)
    assert ledger["on the other strand"] == 1  # only the second case takes the second mate


def test_a_mate_of_low_quality_is_no_loss_if_the_other_has_the_insert(tmp_path):
    a, b = inserts(2, lengths=(40,))
    first = [read_of(a), "ACGT" * 20, read_of(b), read_of(b)]
    second = ["ACGT" * 20, read_of(a), read_of(b), "ACGT" * 20]
    bad = {0: (False, True), 1: (True, False), 2: (True, False), 3: (True, False)}
    qualities = [
        ["#" * len(s) if bad[row][mate] else "I" * len(s) for row, s in enumerate(each)] for mate, each in enumerate((first, second))
    ]
    counts, ledger = counted([(fastq(tmp_path / "1.fq", first, qualities[0]), fastq(tmp_path / "2.fq", second, qualities[1]))])
    assert counts == {a: 2, b: 1}
    assert ledger == {"rows": 4, "mean quality below 20": 1}


def test_either_mate_with_umis_and_empty_files(tmp_path):
    five = "NNNN" + FIVE
    policy = dataclasses.replace(LOOSE, five_prime=five, umi=True)
    (insert,) = inserts(1, lengths=(40,))
    read = "ACGA" + FIVE + insert + THREE
    ledger = Ledger("count_reads", "a")
    one, two = fastq(tmp_path / "1.fq", [read, "T" * 70]), fastq(tmp_path / "2.fq", ["G" * 70, turned(read)])
    assert reads.count([one], policy, ledger, mates=[two]).rows() == [(insert, "ACGA", 2)]
    empty = [fastq(tmp_path / f"e{mate}.fq", []) for mate in (1, 2)]
    assert counted([empty]) == ({}, {"rows": 0})
    assert reads.count(empty[:1], policy, Ledger("count_reads", "a"), mates=empty[1:]).columns == ["insert", "umi", "reads"]


@pytest.mark.parametrize(("lost_mate", "numbers"), [(0, "250 reads, .* has 400"), (1, "400 reads, .* has 250")])
def test_mates_of_different_number_are_refused(tmp_path, monkeypatch, lost_mate, numbers):
    monkeypatch.setattr(assay_fastq, "_BLOCK", 5000)
    both = list(mates_apart(400, 4))
    both[lost_mate] = both[lost_mate][:250]
    lane = tuple(fastq(tmp_path / f"{mate}.fq", sequences) for mate, sequences in enumerate(both))
    with pytest.raises(InputError, match=rf"0\.fq has {numbers}; mates must match"):
        counted([lane])


def test_pairs_without_inserts_stop_the_run(tmp_path):
    first, second = mates_apart(100, 5)
    lane = fastq(tmp_path / "1.fq", first), fastq(tmp_path / "2.fq", second)
    policy = assay_inserts.Policy("ACCAGTCAGGTACCAGT", "CCATTGACCATTG")
    with pytest.raises(InputError, match=r"bin 'a' \(.*1\.fq, .*2\.fq\): only 0 of 100(.|\n)*the configured flanks are wrong"):
        counted([lane], policy)
    library = inserts(40)
    lane = fastq(tmp_path / "3.fq", map_to(library)), fastq(tmp_path / "4.fq", map_to(library[::-1]))
    with pytest.raises(InputError, match=r"100.0%  mates have different inserts(.|\n)*read n of reads and read n of reads_2"):
        counted([lane], dataclasses.replace(LOOSE, min_yield=0.5))


def map_to(library):
    return [read_of(insert) for insert in library]
