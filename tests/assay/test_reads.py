import dataclasses
import gzip
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from gpraflow.assay import fastq as assay_fastq
from gpraflow.assay import inserts as assay_inserts
from gpraflow.assay import reads
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.sequences.scaffold import Scaffold

FIVE, THREE = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
POLICY = assay_inserts.Policy(FIVE, THREE)
BEFORE, BEHIND = "GATTCGAAC", "TCTTAATTAAAAAAAGATAG"
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def turned(text):
    return text.translate(COMPLEMENT)[::-1]


def inserts(number, seed=0, lengths=(80,)):
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list("ACGT"), rng.choice(lengths))) for _ in range(number)]


def read_of(insert, five=FIVE, three=THREE):
    return BEFORE + five + insert + three + BEHIND


def fastq(path, sequences, qualities=None, end="\n"):
    qualities = qualities or ["F" * len(sequence) for sequence in sequences]
    text = "".join(f"@r{i}{end}{s}{end}+{end}{q}{end}" for i, (s, q) in enumerate(zip(sequences, qualities, strict=True)))
    if str(path).endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_bytes(text.encode())
    return str(path)


def counted(path, policy=POLICY, **options):
    ledger = Ledger("count_reads", "a")
    table = reads.count([path] if isinstance(path, str) else path, policy, ledger, **options)
    ledger.lines(table["reads"].sum())  # adds up
    found = {what: rows for (kind, what), rows in ledger.counts.items() if kind != "in"}
    return dict(table.iter_rows()), found


def find(sequences, policy=POLICY):
    width = max(map(len, sequences)) // 8 * 8 + 8
    rows = np.zeros((len(sequences), width), np.uint8)
    for row, sequence in zip(rows, sequences, strict=True):
        row[: len(sequence)] = list(sequence.encode())
    return assay_inserts.find_inserts(rows, np.array([len(s) for s in sequences]), policy)


def found_inserts(sequences, policy=POLICY):
    found = find(sequences, policy)
    out = []
    for sequence, start, end, reverse, lost in zip(sequences, found.start, found.end, found.reverse, found.lost, strict=True):
        out.append(None if lost else turned(sequence[start:end]) if reverse else sequence[start:end])
    return out


def test_counts_are_those_of_a_naive_loop(tmp_path, monkeypatch, capsys):
    library = inserts(300, lengths=(40, 74, 79, 80, 81, 120))
    rng = np.random.default_rng(1)
    drawn = [library[i] for i in rng.integers(0, 300, 5000)]
    sequences = [read_of(i) if rng.random() < 0.7 else turned(read_of(i)) for i in drawn]
    monkeypatch.setattr(reads, "_PROGRESS", 1000)
    monkeypatch.setattr(assay_fastq, "_BLOCK", 100_000)
    counts, ledger = counted(fastq(tmp_path / "a.fastq.gz", sequences))
    assert counts == Counter(drawn)
    told = capsys.readouterr().err.splitlines()
    assert told[-1].endswith("a.fastq.gz: 5,000 reads")
    assert len(told) == 6
    assert told[0].endswith(" reads so far")
    assert ledger["on the other strand"] == sum(FIVE not in s for s in sequences)


@pytest.mark.parametrize("block", [100, 1000, 12345])
def test_blocks_threads_lanes_and_line_ends_change_nothing(tmp_path, monkeypatch, block):
    library = inserts(50)
    drawn = [library[i] for i in np.random.default_rng(2).integers(0, 50, 400)]
    expected = Counter(drawn)
    lanes = [
        fastq(tmp_path / "a.fastq.gz", [read_of(i) for i in drawn[:150]]),
        fastq(tmp_path / "b.fastq", [read_of(i).lower() for i in drawn[150:300]]),
        fastq(tmp_path / "c.fq", [read_of(i) for i in drawn[300:]], end="\r\n"),
    ]
    with open(lanes[1], "rb+") as handle:  # the last line may lack its end
        handle.truncate(handle.seek(-1, 2))
    (tmp_path / "d.fastq.gz").write_bytes(Path(lanes[0]).read_bytes() + gzip.compress(b""))  # several gzip members
    monkeypatch.setattr(assay_fastq, "_BLOCK", block)
    monkeypatch.setattr(reads, "_COMPACT", 30)
    for threads in (1, 3):
        assert counted(lanes, threads=threads)[0] == expected
    assert counted(str(tmp_path / "d.fastq.gz"))[0] == Counter(drawn[:150])


@pytest.mark.parametrize("n_reads", [1, 2, 3])
def test_reads_of_many_lengths(tmp_path, n_reads):
    insert = inserts(1)[0]
    sequences = [read_of(insert), "A" * 5000, "", FIVE + insert + THREE][: n_reads + 1]
    counts, _ = counted(fastq(tmp_path / "a.fastq", sequences), assay_inserts.Policy(FIVE, THREE, min_yield=0))
    assert counts == {insert: 1 + (n_reads == 3)}


def substitutions(flank):
    return [flank[:i] + base + flank[i + 1 :] for i in range(len(flank)) for base in "ACGT" if base != flank[i]]


def indels(flank):
    return [flank[:i] + flank[i + 1 :] for i in range(len(flank))] + [
        flank[:i] + base + flank[i:] for i in range(len(flank)) for base in "ACGT"
    ]


def test_flanks_with_a_substitution_give_the_insert():
    for insert in inserts(5, seed=3):
        for five in substitutions(FIVE):
            assert found_inserts([read_of(insert, five=five), turned(read_of(insert, five=five))]) == [insert] * 2
        for three in substitutions(THREE):
            assert found_inserts([read_of(insert, three=three)]) == [insert]


def test_flanks_with_an_indel_give_the_insert_but_for_its_ends():
    (insert,) = inserts(1, seed=3)
    found = found_inserts([read_of(insert, five=five) for five in indels(FIVE)] + [read_of(insert, three=three) for three in indels(THREE)])
    assert all(insert[2:-2] in text and abs(len(text) - 80) <= 2 for text in found)
    assert sum(text == insert for text in found) >= 0.8 * len(found)  # an indel of the last bases can also be read as a substitution


def test_more_edits_than_allowed_are_not_found():
    (insert,) = inserts(1)
    two, three = "TGCTTTTATTTCACATC", "TGCTTTTATTTCAGATC"
    assert found_inserts([read_of(insert, five=two)]) == [insert]
    assert found_inserts([read_of(insert, five=three)]) == [None]
    one = assay_inserts.Policy(FIVE, THREE, max_flank_edits=1)
    assert found_inserts([read_of(insert, five=two)], one) == [None]
    assert assay_inserts.LOSSES[find([read_of(insert, five=three)]).lost[0]] == assay_inserts.NO_FIVE
    assert assay_inserts.LOSSES[find([BEFORE + FIVE + insert]).lost[0]] == assay_inserts.NO_THREE


def naive_search(text, flank):
    """Return the least edits of the flank anywhere in the text, and all ends where it has them."""
    column = list(range(len(flank) + 1))
    scores = [column[-1]]
    for letter in text:
        following = [0]
        for i, base in enumerate(flank, start=1):
            following.append(min(column[i - 1] + (base not in (letter, "N")), column[i] + 1, following[i - 1] + 1))
        column = following
        scores.append(column[-1])
    return min(scores), {i for i, score in enumerate(scores) if score == min(scores)}


@pytest.mark.parametrize("flank", [FIVE, THREE, "ACG", "ACGT" * 16, "NNNNNNNNACGTTGCA", "TGCANNNNGGTACNNN"])
def test_approximate_search_equals_the_textbook_table(flank):
    rng = np.random.default_rng(4)
    texts = rng.choice(np.frombuffer(b"ACGTN", np.uint8), (300, 90))
    for row in texts[:200]:  # plant damaged flanks
        damaged = list(flank.encode())
        for _ in range(rng.integers(0, 4)):
            damaged[rng.integers(len(damaged))] = ord("A")
        place = rng.integers(0, 90 - len(damaged))
        row[place : place + len(damaged)] = damaged
    allowed = np.ones(texts.T.shape, bool)
    for later in (False, True):
        best, end = assay_inserts._approximate_end(np.ascontiguousarray(texts.T), allowed, flank.encode(), 3, later)
        for row, score, place in zip(texts, best, end, strict=True):
            least, ends = naive_search(row.tobytes().decode(), flank)
            assert score == min(least, 4)
            assert least > 3 or place in ends


def test_the_first_flanks_count():
    a, b = inserts(2, lengths=(60,))
    assert found_inserts([BEFORE + FIVE + a + THREE + b + THREE + BEHIND]) == [a]
    assert found_inserts([BEFORE + THREE + a + FIVE + b + THREE]) == [b]
    assert found_inserts([FIVE + THREE]) == [""]


def naive_inserts(sequences, policy):
    """Search each read by itself, for exact flanks; return inserts and reasons."""
    pairs = [(policy.five_prime, policy.three_prime), (turned(policy.three_prime), turned(policy.five_prime))]
    found = []
    for sequence in sequences:
        insert, seen = None, []
        for strand, (five, three) in enumerate(pairs):
            first = re.search(pattern_of(five), sequence)
            then = re.compile(pattern_of(three)).search(sequence, first.end() if first else 0)
            seen.append((first, then))
            if first and then and insert is None:
                text = sequence[first.end() : then.start()]
                insert = turned(text) if strand else text
        names = {(False, False): assay_inserts.NO_FLANK, (False, True): assay_inserts.NO_FIVE, (True, False): assay_inserts.NO_THREE}
        found.append((insert, "" if insert is not None else names[tuple(map(bool, seen[0]))]))
    return found


@pytest.mark.parametrize(
    ("five", "three"),
    [
        *[(FIVE, THREE), ("ACACACAC", "ACACAC"), ("AAAAAAAAAA", "AAAAA"), ("ACGTA", "CGTAC"), ("ACG", "CGA")],
        *[("GATTACAGATTACA", "TACAGATTACAGATTACAGAT"), ("ACGT" * 16, "TTGCA" * 8), ("TGCANNTGCA", "GGNACGG"), ("ACGTNNNN", "NNTTAC")],
        ("NNNNACGTA", "GGTTACNNNN"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_inserts_are_those_of_a_naive_search_wherever_the_flanks_are(tmp_path, five, three, seed):
    """Most reads have both flanks at the usual positions; others earlier, twice, overlapping, broken, cut off or on the other strand."""
    rng = np.random.default_rng(seed)

    def some(number, letters="ACGT"):
        return "".join(rng.choice(list(letters), number))

    def flank(text):
        return "".join(some(1) if base == "N" else base for base in text)

    before, sequences = some(int(rng.integers(0, 30))), []
    for number in range(1500):
        insert = some(int(rng.choice([40, 40, 40, 39, 41, 44, 60])), "ACGT" if number % 3 else "ACG")
        parts = [before, flank(five), insert, flank(three), some(20)]
        kind = number % 16
        if kind == 8:  # a flank within the insert, or parts of it
            extra, place = flank(rng.choice([five, three])), int(rng.integers(len(insert)))
            parts[2] = insert[:place] + extra[int(rng.integers(-2, 3)) :] + insert[place:]
        elif kind == 9:  # a flank before the usual position, which it may overlap
            extra, whole = flank(rng.choice([five, three])), "".join(parts)
            place = int(rng.integers(len(before) + len(five)))
            sequences.append(whole[:place] + extra + whole[place + int(rng.choice([0, len(extra)])) :])
            continue
        elif kind == 10:
            parts[1 + 2 * int(rng.integers(2))] = some(len(five))
        elif kind == 11:
            parts[0] = some(int(rng.integers(0, 60)))
        elif kind == 12:
            sequences.append(turned("".join(parts)))
            continue
        elif kind == 13:
            text = "".join(parts)
            begin, end = sorted(rng.integers(0, len(text), 2))
            sequences.append(text[begin:end] if number % 32 == 13 else text[: len(text) - 20 - int(rng.integers(0, 8))])
            continue
        elif kind == 14:
            text = list("".join(parts))
            for place in rng.integers(0, len(text), 4):
                text[place] = rng.choice(list("ACGTN"))
            sequences.append("".join(text))
            continue
        elif kind == 15:
            parts = [flank(rng.choice([five, three])) for _ in range(int(rng.integers(1, 5)))]
        sequences.append("".join(parts))
    policy = assay_inserts.Policy(five, three, max_flank_edits=0, insert_length=(0, 400), min_mean_quality=0, min_yield=0)
    expected = naive_inserts(sequences, policy)
    located = find(sequences, policy)
    assert found_inserts(sequences, policy) == [insert for insert, _ in expected]
    reasons = [assay_inserts.LOSSES[lost] for lost in located.lost]
    assert [reason if insert is None else "" for reason, (insert, _) in zip(reasons, expected, strict=True)] == [why for _, why in expected]
    counts, ledger = counted(fastq(tmp_path / "a.fastq.gz", sequences), policy, threads=2)
    assert counts == Counter(insert for insert, _ in expected if insert is not None)
    for reason in (assay_inserts.NO_FIVE, assay_inserts.NO_THREE, assay_inserts.NO_FLANK):
        assert ledger.get(reason, 0) == sum(why == reason for _, why in expected)


def test_usual_positions_change_nothing():
    """The search that begins at the usual positions, beside that of `bytes.find`, also from a position on that differs between reads."""
    rng = np.random.default_rng(31)
    for flank in (b"ACAC", b"AAAAAAA", b"ACAACAACA", b"ACCCCCCCCCCCA", b"CAACCAACCAAC"):
        for letters in (b"A", b"AC", b"ACG"):
            rows = np.zeros((400, 72), np.uint8)
            length = rng.integers(0, 72, 400)
            usual = int(rng.integers(0, 50))
            for row, size in zip(rows, length, strict=True):
                row[:] = rng.choice(np.frombuffer(letters, np.uint8), 72)
                if rng.random() < 0.8:
                    place = min(usual + int(rng.integers(0, 3)), 72 - len(flank))
                    row[place : place + len(flank)] = np.frombuffer(flank, np.uint8)
                row[size:] = 0
            for after in (None, rng.integers(0, 40, 400), np.full(400, usual)):
                begin = [0] * 400 if after is None else after.tolist()
                expected = [row.tobytes().find(flank, start) for row, start in zip(rows, begin, strict=True)]
                assert assay_inserts._usual_first(rows, flank, after).tolist() == expected


def test_short_empty_and_long_flanks():
    (insert,) = inserts(1)
    assert found_inserts(["AAACGTAG" + insert + "GGATCC"], assay_inserts.Policy("ACGTAC", "GGATCC")) == [insert]  # one edit in 5 bp
    assert found_inserts(["AAAGGTAG" + insert + "GGATCC"], assay_inserts.Policy("ACGTAC", "GGATCC")) == [None]
    assert found_inserts(["ACGTAC" + insert + "GGATCC"], assay_inserts.Policy("ACGTAC", "GGATCC")) == [insert]
    assert found_inserts([insert], assay_inserts.Policy("", "")) == [insert]
    assert found_inserts(["GG" + FIVE + insert], assay_inserts.Policy(FIVE, "")) == [insert]
    assert found_inserts([insert + THREE + "A"], assay_inserts.Policy("", THREE)) == [insert]
    long = "ACGTTGCA" * 8
    assert found_inserts([long + insert + THREE], assay_inserts.Policy(long, THREE)) == [insert]
    with pytest.raises(ConfigError, match="the 64 bp next to the insert"):
        assay_inserts.Policy(long + "A", THREE)
    with pytest.raises(ConfigError, match=r"reads\.five_prime: 'NNNN' has no constant base"):
        assay_inserts.Policy("NNNN", THREE)
    assert assay_inserts.Policy.of(Scaffold("x", "A" * 70, "C" * 70), "auto", "auto").five_prime == "A" * 64
    assert assay_inserts.Policy.of(Scaffold("x", "A", "C"), "ACG", "auto") == assay_inserts.Policy("ACG", "C")


def pattern_of(flank):
    return flank.replace("N", "[ACGTN]")


@pytest.mark.parametrize("five", ["ACGTNNNNAGGA", "NNNNNNNNNNTGCATC", "TGCATCNNNNNN", "NACGTTGCANNNNNNNNNNNNGATTACA", "NAC"])
@pytest.mark.parametrize("three", ["GGTTACGGCTGTT", "GGTTNNACGGNN", "NNNNNNNNGGTTACGG", ""])
def test_n_in_a_flank_matches_any_base(five, three):
    """Compared with a regular expression: reads that begin or end with the flank, within it, or right after one that would complete it."""
    rng = np.random.default_rng(11)
    sequences = []
    for number, insert in enumerate(inserts(300, seed=12, lengths=(40, 61, 80))):
        head, tail = ("".join("ACGT"[rng.integers(4)] if base == "N" else base for base in flank) for flank in (five, three))
        before, behind = ("".join(rng.choice(list("ACGT"), rng.integers(0, 9))) for _ in range(2))
        text = before + head + insert + tail + behind
        sequences.append(text[number % 3 * len(before) :] if number % 2 else text[len(before) + number % 7 : len(text) - number % 5])
    pattern = re.compile(pattern_of(five) + "(?P<insert>[ACGTN]*?)" + (pattern_of(three) if three else "$"))
    expected = []
    for sequence in sequences:
        five_end = re.search(pattern_of(five), sequence)
        match = pattern.match(sequence, five_end.start()) if five_end else None
        expected.append(match and match["insert"])
    policy = assay_inserts.Policy(five, three, max_flank_edits=0, min_yield=0, reverse_complement=False)
    assert found_inserts(sequences, policy) == expected
    assert 100 < sum(insert is not None for insert in expected) < 300
    both = dataclasses.replace(policy, reverse_complement=True)
    strands = {strand: [pattern_of(flank if strand == "+" else turned(flank)) for flank in (five, three)] for strand in "+-"}
    once = [
        (sequence, insert)
        for sequence, insert in zip(sequences, expected, strict=True)
        if [len(re.findall(f"(?={text})", sequence)) for text in (*strands["+"], *strands["-"])] == [1, 1, 0, 0]
    ]
    if three and len(five) > 3:  # a flank of two bases occurs everywhere
        assert found_inserts([turned(sequence) for sequence, _ in once], both) == [insert for _, insert in once]
        assert len(once) > 60


def test_edits_in_a_flank_with_n_are_those_of_its_constant_bases():
    five = "NNNNNNTGCATCGGAC"
    policy = assay_inserts.Policy(five, THREE, insert_length=(80, 80))
    (insert,) = inserts(1)
    assert found_inserts(["AAGTCA" + "TGCATCGGAC" + insert + THREE], policy) == [insert]
    assert found_inserts(["AAGTCA" + "TGCAACGGAC" + insert + THREE], policy) == [insert]
    assert found_inserts(["AAGTCA" + "TGTTTTGGAC" + insert + THREE], policy) == [None]  # three edits
    assert found_inserts(["A" * 6 + "TTCAT" + insert + THREE], assay_inserts.Policy("NNNNNNTGCAT", THREE)) == [insert]  # one in 5 bp
    assert found_inserts(["A" * 6 + "TTCA" + insert + THREE], assay_inserts.Policy("NNNNNNTGCA", THREE)) == [None]  # none in 4 bp


def test_cutadapt_counts_the_same(tmp_path):
    rng = np.random.default_rng(5)
    library = inserts(200, seed=6, lengths=(78, 79, 80))
    sequences = []
    for number in range(3000):
        text = list(read_of(library[number % 200]))
        for place in np.flatnonzero(rng.random(len(text)) < 0.01):
            text[place] = "ACGT"[rng.integers(4)]
        sequences.append("".join(text) if number % 20 else "".join(rng.choice(list("ACGT"), 140)))
    path = fastq(tmp_path / "a.fastq.gz", sequences)
    adapter = f"{FIVE};required;o={len(FIVE)};e=2...{THREE};required;o={len(THREE)};e=2"
    command = [sys.executable, "-m", "cutadapt", "--quiet", "-g", adapter, "--discard-untrimmed", path]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    theirs = {int(name[2:]): insert for name, insert in zip(lines[::4], lines[1::4], strict=True)}
    ours = dict(enumerate(found_inserts(sequences, assay_inserts.Policy(FIVE, THREE, reverse_complement=False))))
    both = [number for number in theirs if ours[number] is not None]
    assert len(both) > 2700
    assert len(both) == len(theirs) == sum(insert is not None for insert in ours.values())
    # cutadapt takes a 3' flank with two edits before an exact one further on; we take the exact one.
    odd = [number for number in both if ours[number] != theirs[number]]
    assert all(ours[number] + THREE in sequences[number] and ours[number].startswith(theirs[number]) for number in odd)
    assert len(odd) <= 2


def test_reasons_and_policies(tmp_path):
    good, short, long = inserts(1)[0], "ACGT" * 9, "ACGT" * 31
    with_n = good[:40] + "N" + good[41:]
    sequences = [read_of(i) for i in (good, good, short, long, with_n)]
    sequences += [BEFORE + FIVE + good, good + THREE + BEHIND, good + good, "AC" * 30 + "AGATCGGAAGAGC" + "AC" * 9, turned(read_of(good))]
    qualities = ["F" * len(s) for s in sequences]
    qualities[1] = "#" * len(sequences[1])
    loose = {"min_yield": 0}
    path = fastq(tmp_path / "a.fastq", sequences, qualities)
    counts, ledger = counted(path, assay_inserts.Policy(FIVE, THREE, **loose))
    assert counts == {good: 2, with_n: 1}
    assert ledger == {
        "mean quality below 20": 1,
        "insert shorter than 40 bp": 1,
        "insert longer than 120 bp": 1,
        "3' flank not found": 1,
        "5' flank not found": 1,
        "no flank found": 1,
        "no flank found, but an Illumina adapter": 1,
        "on the other strand": 1,
    }
    counts, ledger = counted(
        path, assay_inserts.Policy(FIVE, THREE, reverse_complement=False, n_in_insert="drop", min_mean_quality=0, **loose)
    )
    assert counts == {good: 2}
    assert ledger["flanks on the other strand"] == 1
    assert ledger["N in the insert"] == 1
    counts, _ = counted(path, assay_inserts.Policy(FIVE, THREE, insert_length=(36, 124), **loose))
    assert counts == {good: 2, with_n: 1, short: 1, long: 1}


@pytest.mark.parametrize(
    ("policy", "worst", "cause"),
    [
        (assay_inserts.Policy("ACCAGTCAGGTACCAGT", "CCATTGACCATTG"), "no flank found", "the configured flanks are wrong"),
        (assay_inserts.Policy("ACCAGTCAGGTACCAGT", THREE), "5' flank not found", "begin within the 5' flank"),
        (assay_inserts.Policy(FIVE, "CCATTGACCATTG"), "3' flank not found", "end before the 3' flank"),
        (
            assay_inserts.Policy(turned(THREE), turned(FIVE), reverse_complement=False),
            "flanks on the other strand",
            "reads of the opposite strand",
        ),
        (assay_inserts.Policy(FIVE, THREE, insert_length=(10, 60)), "insert longer than 60 bp", "insert_length"),
        (assay_inserts.Policy(FIVE, THREE, insert_length=(90, 120)), "insert shorter than 90 bp", "empty vector"),
        (assay_inserts.Policy(FIVE, THREE, min_mean_quality=39), "mean quality below 39", "quality_offset"),
    ],
)
def test_a_poor_yield_stops_with_the_step_and_the_usual_cause(tmp_path, policy, worst, cause):
    path = fastq(tmp_path / "bin_3.fastq.gz", [read_of(i) for i in inserts(50)])
    with pytest.raises(InputError) as error:
        counted(path, policy)
    text = str(error.value)
    assert text.startswith("bin 'a' (")
    assert "bin_3.fastq.gz): only 0 of 50 reads were kept (0.0%; reads.min_yield is 0.5)" in text
    assert f"\n  100.0%  {worst}\n" in text
    assert f"Most were lost to '{worst}'" in text
    assert cause in text


def test_a_poor_yield_of_adapters_names_them_and_few_reads_are_not_judged(tmp_path):
    with pytest.raises(InputError, match="Usual cause: primer or adapter dimers"):
        counted(fastq(tmp_path / "a.fastq", ["AC" * 30 + "AGATCGGAAGAGC" + "AC" * 9] * 20))
    assert counted(fastq(tmp_path / "b.fastq", ["AC" * 40] * 19)) == ({}, {"no flank found": 19})


@pytest.mark.parametrize("missing", [1, 2, 5])
def test_no_flank_runs_from_one_read_into_the_next(tmp_path, missing):
    """Reads that begin within the 5' flank, which the end of another read would complete."""
    head = FIVE[:missing]
    sequences = []
    for number, insert in enumerate(inserts(600, seed=7)):
        sequences.append(FIVE[missing:] + insert + THREE + "A" * (number % 9) + head)
    found = find(sequences, assay_inserts.Policy(FIVE, THREE, max_flank_edits=0))
    assert not found.ok.any()
    tolerant = found_inserts(sequences, assay_inserts.Policy(FIVE, THREE))
    assert tolerant == (inserts(600, seed=7) if missing <= 2 else [None] * 600)


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_blocks_may_end_anywhere(tmp_path, monkeypatch, end):
    sequences = [read_of(insert)[: 7 * number] for number, insert in enumerate(inserts(6))] + ["A" * 900, "C"]
    path = fastq(tmp_path / "a.fastq", sequences, end=end)
    monkeypatch.setattr(assay_fastq, "_BEFORE", 64)  # shorter than some records
    expected = "".join(f"@r{i}\n{s}\n+\n{'F' * len(s)}\n" for i, s in enumerate(sequences)).encode()
    for block in (*range(1, 80), 500, 1900, 5000):
        monkeypatch.setattr(assay_fastq, "_BLOCK", block)
        blocks = list(assay_fastq.whole_records(path))
        assert b"".join(each.records.tobytes() for each in blocks) == expected
        assert [each.first for each in blocks] == np.cumsum([1, *map(len, blocks[:-1])]).tolist()
        assert assay_fastq.count_records(path) == len(sequences)


def test_inserts_with_the_same_hash_are_counted_apart(tmp_path, monkeypatch):
    library = inserts(40)
    drawn = [library[i] for i in np.random.default_rng(3).integers(0, 40, 300)]
    hash_rows = reads.pl.DataFrame.hash_rows
    monkeypatch.setattr(reads.pl.DataFrame, "hash_rows", lambda table, seed: hash_rows(table, seed) // (2**62 if seed == 0 else 1))
    assert counted(fastq(tmp_path / "a.fastq", [read_of(i) for i in drawn]))[0] == Counter(drawn)


def test_empty_files_are_empty_bins(tmp_path):
    for name, content in (("a.fastq", b""), ("b.fastq.gz", gzip.compress(b"")), ("c.fastq", b"\n")):
        (tmp_path / name).write_bytes(content)
        assert counted(str(tmp_path / name)) == ({}, {})


RECORD = "@r0\nACGT\n+\nFFFF\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (RECORD + "@r1\nACGT\n+\n", r"ends in the middle of read 2 \(line 5\)"),
        (RECORD + "@r1\nAC", r"ends in the middle of read 2 \(line 5\)"),
        (RECORD + "@r1\nACGT\n+\nFF", r"read 2 \(line 5, '@r1'\): sequence and quality differ in length"),
        (RECORD + "@r1\nACGT\n+\nFFFFF\n" + RECORD, r"read 2 \(line 5, '@r1'\): sequence and quality differ in length"),
        (RECORD + RECORD[4:] + RECORD + "@\n", r"read 2 \(line 5, 'ACGT'\): a FASTQ record must begin with @"),
        (RECORD + "@r1\nACGT\nACGT\nFFFF\n", r"read 2 \(line 5, '@r1'\): the third line"),
        (">r0\nACGT\n>r1\nACGT\n", r"read 1 \(line 1, '>r0'\): a FASTQ record must begin with @"),
        (RECORD + "@r1\nAC-T\n+\nFFFF\n", "read 2: sequence 'AC-T' contains letters other than A, C, G, T and N"),
        (RECORD + "@r1\nAC.T\n+\nFFFF\n", "read 2: sequence .* contains letters other"),
        (RECORD + "@r1\nACUT\n+\nFFFF\n", "read 2: sequence 'ACUT' contains letters other"),
        (RECORD + "@r1\nAC T\n+\nFFFF\n", "read 2: sequence 'AC T' contains letters other"),
        (RECORD + "@r1\nACGT\n+\nF F\x1f\n", "read 2: quality .* is below Phred[+]33"),
        ("@r0\nACGT\n+\nhhdB\n" * 2, "Phred[+]64 .* set reads.quality_offset: 64"),
    ],
)
def test_faulty_files_are_refused_with_the_read(tmp_path, text, message):
    for name in ("a.fastq", "a.fastq.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        with pytest.raises(InputError, match=message) as error:
            counted(str(path))
        assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("field", "at"), [("name", 1), ("sequence", 5), ("sequence", 0), ("sequence", -1), ("quality", 5), ("quality", -1)]
)
def test_nul_bytes_are_refused_with_the_read(tmp_path, monkeypatch, field, at):
    monkeypatch.setattr(assay_fastq, "_BLOCK", 700)
    records = [[b"@r%d" % number, read_of(insert).encode(), b"+", b"F" * len(read_of(insert))] for number, insert in enumerate(inserts(9))]
    line = bytearray(records[6][("name", "sequence", "", "quality").index(field)])
    line[at] = 0
    records[6][("name", "sequence", "", "quality").index(field)] = bytes(line)
    path = tmp_path / "a.fastq"
    path.write_bytes(b"".join(b"\n".join(record) + b"\n" for record in records))
    with pytest.raises(InputError, match=r"a\.fastq: read 7 \(line 25, '@.*'\): the record contains NUL bytes"):
        counted(str(path))
    with pytest.raises(InputError, match=r"a\.fastq: read 7 .*NUL"):
        assay_fastq.count_records(str(path))


def test_long_reads_are_searched_for_exact_flanks_only(tmp_path):
    """The insert of a read of 200 kb is counted between exact flanks; the search with edits would take half a minute for it."""
    library = inserts(200, seed=13)
    damaged = read_of(library[0], five="TGCATTTTATTCACATC")
    rng = np.random.default_rng(14)
    spacer = "".join(rng.choice(list("ACGT"), 200_000))
    longest = assay_inserts.Policy(FIVE, THREE).longest_searched
    assert longest == 10 * (len(FIVE) + 120 + len(THREE))
    assert assay_inserts.Policy("ACGT", "ACGT", insert_length=(8, 20)).longest_searched == 1000
    sequences = [read_of(insert) for insert in library]
    sequences[50:50] = [
        spacer + read_of(library[1]),
        spacer + damaged,
        (spacer[:2000] + damaged)[-longest:],
        (spacer + damaged)[-longest - 1 :],
    ]
    sequences[150:150] = [damaged]
    counts, ledger = counted(fastq(tmp_path / "a.fastq", sequences, ["~" * len(sequence) for sequence in sequences]))
    assert counts == Counter([*library, library[1], library[0], library[0]])
    assert ledger == {assay_inserts.LONG_READ: 2, "flanks matched with edits": 2}


def test_a_long_read_does_not_widen_the_reads_before_and_behind_it(tmp_path, monkeypatch):
    widths = []
    search = reads.find_inserts
    monkeypatch.setattr(reads, "find_inserts", lambda rows, length, policy: widths.append(rows.shape) or search(rows, length, policy))
    sequences = [read_of(insert) for insert in inserts(3000)]
    sequences[1000:1000] = ["A" * 1_000_000]
    counted(fastq(tmp_path / "a.fastq", sequences))
    assert sum(rows for rows, _ in widths) == 3001
    assert all(rows * width <= reads._CHUNK for rows, width in widths)
    assert len(widths) < 1010  # one matrix before the long read; four reads in each until it no longer counts


def test_a_fault_in_a_later_block_has_its_number(tmp_path, monkeypatch):
    monkeypatch.setattr(assay_fastq, "_BLOCK", 300)
    sequences = [read_of(i) for i in inserts(20)]
    sequences[13] = "ACGX"
    with pytest.raises(InputError, match="read 14: sequence 'ACGX'"):
        counted(fastq(tmp_path / "a.fastq", sequences), threads=3)


def test_cut_gzip_and_missing_files(tmp_path):
    path = fastq(tmp_path / "a.fastq.gz", [read_of(i) for i in inserts(2000)])
    whole = Path(path).read_bytes()
    for size in (len(whole) - 1, len(whole) // 2, 15):
        Path(path).write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"a\.fastq\.gz: the gzip file is truncated or damaged"):
            counted(path)
    Path(path).write_bytes(whole[:3000] + b"xxxx" + whole[3004:])
    with pytest.raises(InputError, match=r"a\.fastq\.gz: "):
        counted(path)
    for name in ("no.fastq", ""):
        with pytest.raises(InputError, match="does not exist"):
            counted(str(tmp_path / name))


def test_phred_64(tmp_path):
    (insert,) = inserts(1)
    sequence = read_of(insert)
    path = fastq(tmp_path / "a.fastq", [sequence] * 2, ["h" * len(sequence), "J" * len(sequence)])
    counts, ledger = counted(path, assay_inserts.Policy(FIVE, THREE, quality_offset=64))
    assert counts == {insert: 1}  # J is Phred 10
    assert ledger == {"mean quality below 20": 1}
    for quality in "I", "X", "~":  # Phred+33, all 40, 55 and 93
        assert counted(fastq(tmp_path / "b.fastq", [sequence], [quality * len(sequence)]))[0] == {insert: 1}


def test_expected_errors_follow_from_the_qualities_of_the_inserts(tmp_path, monkeypatch):
    """Reads on both strands with qualities of their own inside the insert, and others outside, which do not count."""
    rng = np.random.default_rng(5)
    library = inserts(400, seed=6, lengths=(60, 80, 81))
    sequences, qualities, expected = [], [], 0.0
    for insert in library:
        inside = rng.integers(2, 41, len(insert)) if rng.random() < 0.3 else np.full(len(insert), 38)
        expected += 1 - np.prod(1 - 10 ** (-inside / 10))
        quality = "I" * len(BEFORE + FIVE) + "".join(chr(q + 33) for q in inside) + "#" * len(THREE + BEHIND)
        reverse = rng.random() < 0.5
        sequences.append(turned(read_of(insert)) if reverse else read_of(insert))
        qualities.append(quality[::-1] if reverse else quality)
    path = fastq(tmp_path / "a.fastq", sequences, qualities)
    policy = dataclasses.replace(POLICY, min_mean_quality=0)
    _, ledger = counted(path, policy)
    assert expected > 100
    assert ledger[reads.EXPECTED_ERRORS] == round(expected)
    monkeypatch.setattr(reads, "_SAMPLED", 150)  # every third read
    assert counted(path, policy)[1][reads.EXPECTED_ERRORS] == pytest.approx(expected, rel=0.15)
    phred_64 = ["".join(chr(ord(q) + 31) for q in quality) for quality in qualities]
    path = fastq(tmp_path / "b.fastq", sequences, phred_64)
    monkeypatch.undo()
    assert counted(path, dataclasses.replace(policy, quality_offset=64))[1][reads.EXPECTED_ERRORS] == round(expected)


def test_bases_of_quality_0_are_errors_and_dropped_reads_are_not_counted(tmp_path):
    good, with_n, poor = inserts(3, seed=8)
    with_n = with_n[:9] + "N" + with_n[10:]
    sequences = [read_of(insert) for insert in (good, with_n, poor)]
    best = ["~" * len(sequence) for sequence in sequences]
    worst_base = best[0][:40] + "!" + best[0][41:]
    policy = dataclasses.replace(POLICY, n_in_insert="drop")
    path = fastq(tmp_path / "a.fastq", sequences, [worst_base, worst_base, "!" * len(sequences[2])])
    _, ledger = counted(path, policy)
    assert ledger == {"N in the insert": 1, "mean quality below 20": 1, reads.EXPECTED_ERRORS: 1}


MIDDLE = "GGATCCGTCGACAAGCTTGC"


@pytest.mark.parametrize("middle", [MIDDLE, "GGATNNGTCGACAAGCTTGC"])
def test_two_pieces_are_joined_without_the_middle(tmp_path, middle):
    rng = np.random.default_rng(21)
    firsts, seconds = inserts(12, seed=22, lengths=(38, 40)), inserts(12, seed=23, lengths=(20, 21))
    drawn = [(firsts[rng.integers(12)], seconds[rng.integers(12)]) for _ in range(500)]
    sequences = [read_of(a + MIDDLE + b) for a, b in drawn]
    sequences = [turned(s) if rng.random() < 0.5 else s for s in sequences]
    policy = dataclasses.replace(POLICY, middle=middle, insert_length=(58, 61))
    counts, ledger = counted(fastq(tmp_path / "a.fastq", sequences), policy)
    assert counts == Counter(a + b for a, b in drawn)
    assert set(ledger) == {"on the other strand", reads.EXPECTED_ERRORS}
    too_short = dataclasses.replace(policy, insert_length=(59, 61), min_yield=0)
    assert counted(fastq(tmp_path / "a.fastq", sequences), too_short)[1]["insert shorter than 59 bp"] == sum(
        len(a + b) == 58 for a, b in drawn
    )


def test_a_middle_with_edits_or_without_place(tmp_path):
    a, b = inserts(2, seed=24, lengths=(40,))
    policy = dataclasses.replace(POLICY, middle=MIDDLE, min_yield=0)
    substitutions_ = substitutions(MIDDLE)
    sequences = [read_of(a + middle + b) for middle in substitutions_]
    counts, ledger = counted(fastq(tmp_path / "a.fastq", sequences + [turned(s) for s in sequences]), policy)
    assert counts == {a + b: 2 * len(substitutions_)}
    indels_ = indels(MIDDLE)
    counts, ledger = counted(fastq(tmp_path / "b.fastq", [read_of(a + middle + b) for middle in indels_]), policy)
    assert sum(counts.values()) == len(indels_)
    assert counts[a + b] >= 0.75 * len(indels_)  # an indel at either end can also be read as a substitution
    assert all(a[:-2] in insert and b[2:] in insert and abs(len(insert) - 80) <= 2 for insert in counts)
    lost = [a + b, a + turned(MIDDLE) + b, MIDDLE[:8], a + "GGTTAAGTAAACAAGCAAGC" + b]
    counts, ledger = counted(fastq(tmp_path / "c.fastq", [read_of(insert) for insert in lost]), policy)
    assert (counts, ledger) == ({}, {"constant middle not found": 4})
    far = ["".join(np.random.default_rng(26).choice(list("ACGT"), length)) for length in (142, 143, 100_000)]
    counts, ledger = counted(fastq(tmp_path / "e.fastq", [read_of(insert) for insert in far]), policy)
    assert (counts, ledger) == ({}, {"constant middle not found": 1, "insert longer than 120 bp": 2})
    assert counted(fastq(tmp_path / "d.fastq", [read_of(MIDDLE)]), dataclasses.replace(policy, insert_length=(0, 9)))[0] == {"": 1}


def test_expected_errors_leave_out_the_middle(tmp_path):
    a, b = inserts(2, seed=25, lengths=(40,))
    sequence = read_of(a + MIDDLE + b)
    start = sequence.index(MIDDLE)
    quality = "~" * start + "!" * len(MIDDLE) + "~" * (len(sequence) - start - len(MIDDLE))
    bad = "~" * (start + len(MIDDLE)) + "!" + "~" * (len(sequence) - start - len(MIDDLE) - 1)
    policy = dataclasses.replace(POLICY, middle=MIDDLE, min_mean_quality=0)
    _, ledger = counted(fastq(tmp_path / "a.fastq", [sequence] * 30, [quality] * 20 + [bad] * 10), policy)
    assert ledger == {reads.EXPECTED_ERRORS: 10}
    assert counted(fastq(tmp_path / "b.fastq", [sequence] * 20, [quality] * 20), policy)[1] == {}
