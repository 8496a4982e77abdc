"""Variants in genomic coordinates: their alleles in constructs of either strand are those of the mutated genome."""

import numpy as np
import polars as pl
import pytest
from Bio.Seq import Seq

from gpraflow.app import cli
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.prediction import variants
from tests import toy

GENOME = {
    name: "".join(np.array(list("ACGT"))[np.random.default_rng(seed).integers(0, 4, 120)]) for seed, name in enumerate(("chr1", "chr2"))
}
# Overlapping ones on both strands, neighbours, and both ends of a chromosome.
BED = [
    ("chr1", 0, 26, "first", "+"),
    ("chr1", 10, 36, "plus", "+"),
    ("chr1", 15, 41, "minus", "-"),
    ("chr1", 94, 120, "last", "-"),
    ("chr2", 30, 56, "other", "-"),
]


def cut(chromosome, start, end, strand):
    piece = chromosome[start:end]
    return piece if strand == "+" else str(Seq(piece).reverse_complement())


CONSTRUCTS = {name: cut(GENOME[chrom], start, end, strand) for chrom, start, end, name, strand in BED}


def mutated(chrom, position, ref, alt):
    """Construct -> its sequence cut from the mutated genome; only constructs that hold all of REF."""
    genome = GENOME[chrom]
    assert genome[position - 1 : position - 1 + len(ref)] == ref
    changed = genome[: position - 1] + alt + genome[position - 1 + len(ref) :]
    added = len(alt) - len(ref)
    return {
        name: cut(changed, start, end + added, strand)
        for on, start, end, name, strand in BED
        if on == chrom and start < position and position - 1 + len(ref) <= end
    }


def write(tmp_path, records, bed=None, sequences=CONSTRUCTS):
    (tmp_path / "ref.fa").write_text("".join(f">{name}\n{sequence}\n" for name, sequence in sequences.items()))
    lines = ["track name=x", *("\t".join([chrom, str(start), str(end), name, "0", strand]) for chrom, start, end, name, strand in BED)]
    (tmp_path / "regions.bed").write_text("\n".join(lines if bed is None else bed) + "\n")
    (tmp_path / "v.vcf").write_text("#CHROM\tPOS\tID\tREF\tALT\n" + "".join("\t".join(map(str, record)) + "\n" for record in records))


def read(tmp_path, alt="v.vcf", ledger=None, **options):
    ledger = ledger or Ledger("variants", "")
    options = {"regions": tmp_path / "regions.bed"} | options
    return pl.concat(list(variants.read(tmp_path / "ref.fa", tmp_path / alt if "." in alt else alt, ledger, **options)))


def drawn_variants(count=200):
    """Substitutions, insertions and deletions anywhere in the genome."""
    rng = np.random.default_rng(7)
    for _ in range(count):
        chrom, width = rng.choice(list(GENOME)), int(rng.integers(1, 5))
        position = int(rng.integers(1, 121 - width))
        ref = GENOME[chrom][position - 1 : position - 1 + width]
        alt = ref[0] + "".join(rng.choice(list("ACGT"), int(rng.integers(0, 4)))) if width > 1 else str(Seq(ref).complement())
        yield str(chrom), position, ref, alt


def test_alternatives_are_cut_from_the_mutated_genome_on_both_strands(tmp_path):
    drawn = list(drawn_variants())
    write(tmp_path, [(chrom, position, ".", ref.lower(), alt) for chrom, position, ref, alt in drawn])
    ledger = Ledger("variants", "")
    table = read(tmp_path, ledger=ledger)
    expected, outside = [], 0
    for chrom, position, ref, alt in drawn:
        of_construct = mutated(chrom, position, ref, alt)
        touched = any(on == chrom and position - 1 < end and start < position - 1 + len(ref) for on, start, end, *_ in BED)
        outside += not touched
        name = f"{chrom}:{position}:{ref}>{alt}"
        expected += [(name, construct, CONSTRUCTS[construct], sequence) for construct, sequence in of_construct.items()]
    assert len(expected) > 100
    assert sorted(table.select("name", "construct", "ref", "alt").rows()) == sorted(expected)
    assert ledger.counts["noted", "variants outside all regions"] == outside > 10
    assert ledger.counts["noted", "variants that reach beyond the end of a construct: no effect there"] > 0
    assert ledger.counts["in", "rows"] == table.height


def test_names_of_variants_are_read_like_a_vcf(tmp_path):
    drawn = list(drawn_variants(60))
    write(tmp_path, [(chrom, position, ".", ref, alt) for chrom, position, ref, alt in drawn])
    names = [f"{chrom}:{position}:{ref}>{alt}" for chrom, position, ref, alt in drawn]
    (tmp_path / "names.txt").write_text("# mine\n\n" + "\n".join(names) + "\n")
    table = read(tmp_path)
    assert read(tmp_path, "names.txt").drop("row").equals(table.drop("row"))
    own = CONSTRUCTS["minus"]
    single = f"minus:3:{own[2]}>AC,N"
    pairs = read(tmp_path, single, regions="")
    assert pairs.drop(variants.ALLELES).rows() == [(1, f"minus:3:{own[2]}>{alt}", own, own[:2] + alt + own[3:]) for alt in ("AC", "N")]
    (tmp_path / "names.txt").write_text(f"{single}\nminus 3\n")
    with pytest.raises(InputError, match=r"names\.txt, line 2: 'minus 3' is not the name of a variant; expected NAME:POS:REF>ALT"):
        read(tmp_path, "names.txt", regions="")


def test_effects_of_a_vcf_with_regions(folder, tmp_path, capsys):
    base = GENOME["chr1"][19]
    alt = {"A": "C", "C": "A", "G": "A", "T": "A"}[base]
    write(tmp_path, [("chr1", 20, "rs1", base, alt), ("chr2", 1, "rs2", GENOME["chr2"][0], "N")])
    out = tmp_path / "out.tsv"
    command = ["variants", str(folder), str(tmp_path / "ref.fa"), str(tmp_path / "v.vcf"), "-o", str(out)]
    assert cli.main([*command, "--regions", str(tmp_path / "regions.bed")]) == cli.DONE
    table = pl.read_csv(out, separator="\t")
    assert table.columns[:3] == ["name", "construct", "expression_ref"]
    assert table.select("name", "construct").rows() == [("rs1", "first"), ("rs1", "plus"), ("rs1", "minus")]
    forward = (toy.VALUES[alt] - toy.VALUES[base]) / toy.LENGTH
    other = {"A": "T", "C": "G", "G": "C", "T": "A"}
    reverse = (toy.VALUES[other[alt]] - toy.VALUES[other[base]]) / toy.LENGTH
    assert forward != reverse
    assert table["effect_alt_minus_ref"].to_list() == pytest.approx([forward, forward, reverse], abs=1e-5)
    assert "1 variants outside all regions" in capsys.readouterr().err


def test_mismatches_stop_or_are_listed(folder, tmp_path, capsys):
    right, wrong = GENOME["chr1"][19], {"A": "C", "C": "G", "G": "T", "T": "A"}[GENOME["chr1"][19]]
    write(tmp_path, [("chr1", 20, ".", wrong, "N"), ("chr1", 20, ".", right, "N")])
    message = (
        rf"v\.vcf, line 2: REF is '{wrong}', but 'first' of .*ref\.fa has '{right}' at 20; check genome assembly .* --on-mismatch skip"
    )
    with pytest.raises(InputError, match=message):
        read(tmp_path)
    mismatches = []
    assert read(tmp_path, mismatches=mismatches)["construct"].to_list() == ["first", "plus", "minus"]
    out, others = tmp_path / "out.tsv", str(Seq(wrong).complement())
    command = ["variants", str(folder), str(tmp_path / "ref.fa"), str(tmp_path / "v.vcf"), "--regions", str(tmp_path / "regions.bed")]
    assert cli.main([*command, "-o", str(out), "--on-mismatch", "skip"]) == cli.DONE
    assert pl.read_csv(out, separator="\t").height == 3
    listed = pl.read_csv(f"{out}.mismatches.tsv", separator="\t").rows()
    complement = str(Seq(right).complement())
    name = f"chr1:20:{wrong}>N"
    expected = [("first", 20, wrong, right), ("plus", 10, wrong, right), ("minus", 41 - 19, others, complement)]
    assert listed == [(2, name, *row) for row in expected] == mismatches
    assert "3 variants skipped because their REF differs from the sequence" in capsys.readouterr().err

    write(tmp_path, [("chr1", 20, ".", wrong, "N")])
    assert cli.main([*command, "-o", str(tmp_path / "none.tsv"), "--on-mismatch", "skip"]) == cli.REFUSED
    assert "no variant is left; REF differs from" in capsys.readouterr().err
    assert pl.read_csv(tmp_path / "none.tsv.mismatches.tsv", separator="\t").height == 3
    assert not (tmp_path / "none.tsv").exists()
    assert cli.main([*command, "--on-mismatch", "skip"]) == cli.REFUSED
    assert "--on-mismatch skip: give an output file with -o" in capsys.readouterr().err


def test_without_mismatches_the_list_is_empty(folder, tmp_path):
    write(tmp_path, [])
    out = tmp_path / "out.tsv"
    name = f"minus:3:{CONSTRUCTS['minus'][2]}>N"
    assert (
        cli.main(["variants", str(folder), str(tmp_path / "ref.fa"), name, "-o", str(out), "--on-mismatch", "skip", "--quiet"]) == cli.DONE
    )
    assert pl.read_csv(f"{out}.mismatches.tsv", separator="\t", infer_schema=False).shape == (0, 6)
    assert pl.read_csv(out, separator="\t")["name"].to_list() == [name]


ROW = ["chr1", "0", "26", "first", "0", "+"]


@pytest.mark.parametrize(
    ("bed", "message"),
    [
        ([ROW[:4]], r"regions\.bed, line 1: 4 columns; a BED file with strands has chrom, start, end, name, score, strand"),
        ([[*ROW[:5], "."]], r"line 1: strand '\.' of 'first'; expected \+ or -"),
        ([["chr1", "26", "26", *ROW[3:]]], r"line 1: start '26' and end '26'; expected whole numbers"),
        ([["chr1", "-1", "25", *ROW[3:]]], r"line 1: start '-1' and end '25'"),
        ([["chr1", "1", "26", *ROW[3:]]], r"line 1: the region of 'first' has 25 bp, its sequence in .*ref\.fa 26 bp; give"),
        ([[*ROW[:3], "frist", "0", "+"]], r"line 1: 'frist' is not a name in .*ref\.fa; did you mean 'first'\?"),
        ([ROW, ROW], r"line 2: the construct 'first' is also on line 1"),
        ([["# nothing"]], r"regions\.bed: no region found"),
        ([["1", *ROW[1:]]], r"v\.vcf: none of 1 variants is in a region; regions are on 1, the first variant on chr1"),
    ],
)
def test_what_is_wrong_with_a_region_is_named_with_its_line(tmp_path, bed, message):
    write(tmp_path, [("chr1", 5, ".", GENOME["chr1"][4], "N")], ["\t".join(row) for row in bed])
    with pytest.raises(InputError, match=message):
        read(tmp_path)


def test_variants_that_all_reach_beyond_the_ends_of_constructs(tmp_path):
    write(tmp_path, [("chr1", 120, ".", GENOME["chr1"][119] + "A", "C")])
    with pytest.raises(InputError, match=r"v\.vcf: none of 1 variants lies in a construct as a whole; all reach beyond"):
        read(tmp_path)


def test_positions_and_other_files(tmp_path):
    write(tmp_path, [("chr1", 0, ".", "A", "C")])
    with pytest.raises(InputError, match=r"v\.vcf, line 2: POS '0' is not a position \(counted from 1\)"):
        read(tmp_path)
    write(tmp_path, [("chr1", 5, ".", GENOME["chr1"][4], "C")])
    with pytest.raises(InputError, match=r"CHROM 'chr1' is not a name in .*; for positions in a genome, .* --regions"):
        read(tmp_path, regions="")
    with pytest.raises(ConfigError, match=r"--regions and --on-mismatch are for a VCF, or names"):
        read(tmp_path, "ref.fa")
