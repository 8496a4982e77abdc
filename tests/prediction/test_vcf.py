"""Names of variants and VCF output, read back by pysam or bcftools, or as text."""

import gzip
import shutil
import subprocess

import numpy as np
import polars as pl
import pytest
from Bio import bgzf

from gpraflow.formats import vcf


@pytest.mark.parametrize(
    ("ref", "alt", "name", "alleles"),
    [
        ("ACGTT", "ACATT", "p:n.3G>A", (3, "G", "A")),
        ("ACGTT", "ACGT", "p:n.5del", (3, "GT", "G")),  # the name at the 3' end, VCF at the left
        ("ACGTT", "TT", "p:n.1_3del", (1, "ACGT", "T")),
        ("ACGTT", "ACGTTT", "p:n.5dup", (3, "G", "GT")),
        ("ACGACG", "ACGACGACG", "p:n.4_6dup", (1, "A", "ACGA")),
        ("ACGTT", "ACAAGTT", "p:n.2_3insAA", (2, "C", "CAA")),
        ("ACGTT", "AGATT", "p:n.2_3delinsGA", (2, "CG", "GA")),
        ("ACGTT", "TACGTT", "p:n.0_1insT", (1, "A", "TA")),
        ("ACGTT", "ACGTT", "p:n.=", None),
    ],
)
def test_names_and_alleles(ref, alt, name, alleles):
    assert vcf.hgvs("p", ref, alt) == name
    assert vcf.alleles(ref, alt) == alleles


def test_alleles_give_the_alternative_and_are_left_aligned():
    rng = np.random.default_rng(1)
    for _ in range(300):
        ref = "".join(rng.choice(list("AC"), 12))
        begin, length = int(rng.integers(0, 10)), int(rng.integers(0, 3))
        alt = ref[:begin] + "".join(rng.choice(list("AC"), rng.integers(0, 3))) + ref[begin + length :]
        if ref == alt:
            continue
        position, removed, inserted = vcf.alleles(ref, alt)
        assert ref[position - 1 :].startswith(removed)
        assert ref[: position - 1] + inserted + ref[position - 1 + len(removed) :] == alt
        if position > 1 and (removed.startswith(inserted) or inserted.startswith(removed)):  # an insertion or a deletion
            assert removed[-1] != inserted[-1]


@pytest.fixture(params=["effects.vcf.gz", "effects.vcf.bgz"])
def written(request, tmp_path):
    records = pl.DataFrame(
        {
            "chrom": ["p1", "p1", "p2"],
            "pos": [3, 5, 1],
            "id": ["rs1", None, None],
            "ref": ["G", "GT", "A"],
            "alt": ["A", "G", "T"],
            "effect_alt_minus_ref": [0.1234567, None, -2.0],
            "effect.galactose-glucose": [1.0, 2.0, 3.0],
            "motif_lost": ["REB1; RAP1", None, "50% =,"],
        },
        schema_overrides={"effect_alt_minus_ref": pl.Float32},
    )
    path = tmp_path / request.param
    vcf.write(path, records, {"p1": 40, "p2": 0}, {"motif_lost": 'motif that is "lost"'})
    return path


def test_a_vcf_is_text_in_blocks(written):
    lines = gzip.decompress(written.read_bytes()).decode().splitlines()
    assert "##contig=<ID=p1,length=40>" in lines
    assert "##contig=<ID=p2>" in lines
    assert '##INFO=<ID=effect.galactose_glucose,Number=1,Type=Float,Description="effect.galactose-glucose">' in lines
    assert "##INFO=<ID=motif_lost,Number=1,Type=String,Description=\"motif that is 'lost'\">" in lines
    assert lines[-3:] == [
        "p1\t3\trs1\tG\tA\t.\tPASS\teffect_alt_minus_ref=0.123457;effect.galactose_glucose=1;motif_lost=REB1%3B%20RAP1",
        "p1\t5\t.\tGT\tG\t.\tPASS\teffect.galactose_glucose=2",
        "p2\t1\t.\tA\tT\t.\tPASS\teffect_alt_minus_ref=-2;effect.galactose_glucose=3;motif_lost=50%25%20%3D%2C",
    ]
    with bgzf.open(str(written)) as handle:  # refuses other gzip files
        assert handle.readline().startswith(b"##fileformat=VCFv4.3")
    assert not list(written.parent.glob(".partial*"))


def test_pysam_reads_it(written):
    pysam = pytest.importorskip("pysam")
    with pysam.VariantFile(str(written)) as handle:
        records = list(handle)
    assert [(each.chrom, each.pos, each.ref, each.alts) for each in records] == [
        ("p1", 3, "G", ("A",)),
        ("p1", 5, "GT", ("G",)),
        ("p2", 1, "A", ("T",)),
    ]
    assert records[0].info["effect_alt_minus_ref"] == pytest.approx(0.123457)
    assert "effect_alt_minus_ref" not in records[1].info


@pytest.mark.skipif(not shutil.which("bcftools"), reason="bcftools is not installed")
def test_bcftools_reads_it(written):
    done = subprocess.run(
        ["bcftools", "query", "-f", "%CHROM %POS %INFO/effect_alt_minus_ref\n", str(written)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["p1 3 0.123457", "p1 5 .", "p2 1 -2"]
