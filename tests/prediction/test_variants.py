import gzip

import numpy as np
import polars as pl
import pytest
import zstandard

from gpraflow.app import cli
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.prediction import variants
from tests import toy

INSERTS = toy.inserts(3, 30)
REF = "".join(f">p{number}\n{insert}\n" for number, insert in enumerate(INSERTS))


def other(base):
    return {"A": "C", "C": "G", "G": "T", "T": "A"}[base]


def vcf(*lines):
    return "##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\n" + "".join("\t".join(map(str, line)) + "\n" for line in lines)


def effects(folder, tmp_path, name, content, ref=REF):
    (tmp_path / "ref.fa").write_text(ref)
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    code = cli.main(["variants", str(folder), str(tmp_path / "ref.fa"), str(tmp_path / name), "-o", str(tmp_path / "out.tsv"), "--quiet"])
    return pl.read_csv(tmp_path / "out.tsv", separator="\t") if code == cli.DONE else code


def expected(ref, alt):
    return toy.said(toy.FIVE + alt + toy.THREE) - toy.said(toy.FIVE + ref + toy.THREE)


def test_pairs_by_name_in_the_order_of_the_alternatives_alt_minus_ref(folder, tmp_path):
    changed = [other(insert[0]) + insert[1:] for insert in INSERTS]
    found = effects(folder, tmp_path, "alt.fa", "".join(f">p{n}\n{changed[n]}\n" for n in (2, 0, 0)))
    assert found["name"].to_list() == ["p2", "p0", "p0"]
    assert found["effect_alt_minus_ref"].to_list() == pytest.approx([expected(INSERTS[n], changed[n]) for n in (2, 0, 0)], abs=1e-5)
    difference = (found["expression_alt"] - found["expression_ref"]).to_list()
    assert difference == pytest.approx(found["effect_alt_minus_ref"].to_list(), abs=1e-5)
    assert (found["effect_low"] < found["effect_alt_minus_ref"]).all()
    assert ((found["effect_low"] + found["effect_high"]) / 2).to_list() == pytest.approx(found["effect_alt_minus_ref"].to_list(), abs=1e-5)


def test_interval_of_an_effect_without_pairs_sums_both_variances_less_what_members_agree_in(folder, ensemble, tmp_path):
    changed = "".join(f">p{n}\n{other(insert[0])}{insert[1:]}\n" for n, insert in enumerate(INSERTS))
    for model in (folder, ensemble):  # its members differ by a constant, which a difference has not
        known = variants.Predictor(model).calibration
        found = effects(model, tmp_path, "alt.fa", changed)
        variance = sum(np.interp(found[f"expression_{one}"], known.levels, known.level_variances) for one in ("ref", "alt"))
        width = (found["effect_high"] - found["effect_low"]).to_numpy()
        assert width == pytest.approx(2 * known.quantile * variance**0.5, abs=1e-4)
        assert found["effect_interval"].to_list() == ["independent"] * 3


def test_a_vcf_names_positions_of_the_sequences_as_they_were_given(folder, tmp_path):
    one = INSERTS[1]
    gone, new = one[:4] + one[7:], one[:25] + "GG"
    record = [
        ("p1", 5, ".", one[4], other(one[4])),
        ("p1", 4, "deletion", one[3:7].lower(), one[3]),
        ("p1", 26, ".", one[25], f"GG,{other(one[25])}"),
    ]
    alternatives = [one[:4] + other(one[4]) + one[5:], gone, new, one[:25] + other(one[25])]
    found = effects(folder, tmp_path, "v.vcf.gz", gzip.compress(vcf(*record).encode()))
    assert found["name"].to_list() == [
        f"p1:5:{one[4]}>{other(one[4])}",
        "deletion",
        f"p1:26:{one[25]}>GG",
        f"p1:26:{one[25]}>{other(one[25])}",
    ]
    assert found["effect_alt_minus_ref"].to_list() == pytest.approx([expected(one, alternative) for alternative in alternatives], abs=1e-5)
    assert found["out_of_distribution_alt"].to_list()[1:3] == ["length", "length"]


def test_a_variant_in_a_flank_stays_one(folder, tmp_path):
    whole = toy.FIVE + INSERTS[0] + toy.THREE
    found = effects(folder, tmp_path, "v.vcf", vcf(("p0", 3, ".", "A", "G")), f">p0\n{whole}\n")
    assert found["effect_alt_minus_ref"].item() == pytest.approx(12 / toy.LENGTH, abs=1e-5)


@pytest.mark.parametrize("whole_one", ["ref", "alt"])
def test_a_whole_promoter_and_an_insert_are_made_alike(folder, tmp_path, capsys, whole_one):
    changed = other(INSERTS[0][5]).join([INSERTS[0][:5], INSERTS[0][6:]])
    ref, alt = (toy.FIVE + text + toy.THREE if which == whole_one else text for which, text in (("ref", INSERTS[0]), ("alt", changed)))
    found = effects(folder, tmp_path, "alt.fa", f">p0\n{alt}\n", f">p0\n{ref}\n")
    assert found["effect_alt_minus_ref"].item() == pytest.approx(expected(INSERTS[0], changed), abs=1e-5)
    assert found["out_of_distribution_alt"].to_list() == [None]
    arguments = ["variants", str(folder), str(tmp_path / "ref.fa"), str(tmp_path / "alt.fa"), "-o", str(tmp_path / "again.tsv")]
    assert cli.main(arguments) == cli.DONE
    assert "1 pairs of which one was a whole promoter and the other an insert only" in capsys.readouterr().err


def test_a_variant_where_the_model_does_not_look_has_no_effect_to_tell(folder, tmp_path, capsys):
    insert = toy.inserts(1, 31, length=60)[0]
    record = [("p0", 3, ".", insert[2], other(insert[2])), ("p0", 60, ".", insert[59], other(insert[59]))]
    found = effects(folder, tmp_path, "v.vcf", vcf(*record), f">p0\n{insert}\n")
    assert found["effect_alt_minus_ref"].to_list() == [None, pytest.approx(expected(insert, insert[:59] + other(insert[59])), abs=1e-5)]
    assert found["effect_low"].to_list()[0] is None
    assert found["effect_interval"].to_list() == [None, "independent"]
    assert cli.main(["variants", str(folder), str(tmp_path / "ref.fa"), str(tmp_path / "v.vcf"), "-o", str(tmp_path / "o.tsv")]) == cli.DONE
    told = capsys.readouterr().err
    assert "2 longer than 40 bp, right end kept; 1 that differ only where the model does not look: no effect is given" in told
    assert "1 with an interval that is too wide for similar promoters: no such pairs calibrated it" in told


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("v.vcf", vcf(("p1", 1, ".", "NN", "A")), r"v\.vcf, line 3: REF is 'NN', but 'p1' of .*ref\.fa has '..' at 1; POS counts from 1"),
        ("v.vcf", vcf(("p1", 27, ".", "A", "C")), r"line 3: POS '27' is not in 'p1', which has 26 bp \(counted from 1\)"),
        ("v.vcf", vcf(("p1", 0, ".", "A", "C")), "line 3: POS '0' is not in 'p1'"),
        ("v.vcf", vcf(("p_1", 1, ".", "A", "C")), r"line 3: CHROM 'p_1' is not a name in .*; did you mean 'p1'\?"),
        ("v.vcf", vcf(("p1", 1, ".", INSERTS[1][0], "<DEL>")), "line 3: ALT '<DEL>' is not a sequence of A, C, G, T and N"),
        ("v.vcf", vcf(("p1", 1, ".", "", "A")), "line 3: REF is empty"),
        ("v.vcf", vcf(("p1", 1, ".")), "line 3: 3 columns; a VCF has at least 5"),
        ("v.vcf", vcf(), "no variant found"),
        ("v.vcf", "p1\t1\t.\tA\tC\n", "line 1: a record before the line #CHROM"),
        ("v.vcf", "#CHROM POS\n", "line 1: columns #CHROM POS; a VCF has #CHROM POS ID REF ALT"),
        ("alt.fa", f">q1\n{INSERTS[1]}\n", r"alt\.fa, record 1: 'q1' is not a name in .*ref\.fa; did you mean"),
        ("alt.fa", ">p1\nMKVLEF\n", r"alt\.fa, record 1 \('p1'\): letter 'L'"),
    ],
)
def test_what_does_not_fit_is_an_error_that_names_line_or_record(tmp_path, name, content, message):
    (tmp_path / "ref.fa").write_text(REF)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        list(variants.read(tmp_path / "ref.fa", tmp_path / name, Ledger("variants", "")))


def test_a_name_twice_among_references_and_exit_code(folder, tmp_path, capsys):
    assert effects(folder, tmp_path, "alt.fa", REF, REF + REF) == cli.REFUSED
    assert "ref.fa: the name 'p0' occurs 2 times (records 1 and 4); names must be unique" in capsys.readouterr().err


def test_references_whose_first_words_repeat_are_named_by_whole_lines(tmp_path):
    """As for a VCF whose CHROM is the whole header line of the reference."""
    (tmp_path / "ref.fa").write_text(">Variant 1 (chr1:5)\nACGTACGT\n>Variant 2 (chr1:9)\nCCCCACGT\n")
    (tmp_path / "a.vcf").write_text(vcf(("Variant 2 (chr1:9)", 1, ".", "C", "G", ".")))
    ledger = Ledger("variants", "")
    pairs = pl.concat(list(variants.read(tmp_path / "ref.fa", tmp_path / "a.vcf", ledger)))
    assert pairs.select("ref", "alt").rows() == [("CCCCACGT", "GCCCACGT")]
    assert ledger.counts["noted", "references: records named by their whole header line, since several have the same first word"] == 2


@pytest.mark.parametrize("name", ["v.vcf", "v.VCF.gz", "v.vcf.bgz", "v.vcf.zst"])
def test_a_vcf_is_known_by_its_name_however_it_is_packed(tmp_path, name):
    """Also with a byte order mark, as editors of Windows write it."""
    (tmp_path / "r.fa").write_text(">p1\nACGTACGT\n")
    content = b"\xef\xbb\xbf##fileformat=VCFv4.2\n#CHROM\tPOS\tID\tREF\tALT\np1\t2\t.\tC\tA\n"
    if name.endswith(("gz", "bgz")):
        content = gzip.compress(content)
    elif name.endswith("zst"):
        content = zstandard.compress(content)
    (tmp_path / name).write_bytes(content)
    (block,) = variants.read(tmp_path / "r.fa", tmp_path / name, Ledger("x", "y"))
    assert block.drop(variants.ALLELES).rows() == [(3, "p1:2:C>A", "ACGTACGT", "AAGTACGT")]


@pytest.mark.parametrize("position", ["²", "٣", "9" * 5000, "0", "-1", "1.0", "9"])
def test_positions_that_are_none(tmp_path, position):
    (tmp_path / "r.fa").write_text(">p1\nACGTACGT\n")
    (tmp_path / "v.vcf").write_text(f"#CHROM\tPOS\tID\tREF\tALT\np1\t{position}\t.\tC\tA\n")
    with pytest.raises(InputError, match=r"v\.vcf, line 2: POS '.* is not in 'p1', which has 8 bp \(counted from 1\)"):
        list(variants.read(tmp_path / "r.fa", tmp_path / "v.vcf", Ledger("x", "y")))
