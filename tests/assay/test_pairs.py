import gzip
import json
import shutil

import numpy as np
import pytest

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
    with pytest.raises(InputError, match=r"bin 'a' \(.*2\.fq\.gz\), merging of pairs: only 0 of 100(.|\n)*mate files in different orders"):
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
