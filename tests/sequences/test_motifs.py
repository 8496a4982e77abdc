"""Motif files: the same matrix in every format has the same scores, and what is wrong is named with its line."""

import io

import numpy as np
import pytest
from Bio import motifs as bio_motifs

from gpraflow.core.errors import InputError
from gpraflow.sequences import motif_files, motifs
from tests.conftest import ROOT

YEAST = ROOT / "resources/motifs/jaspar2026_yeast.jaspar"
MEME = """MEME version 4

ALPHABET= ACGT

strands: + -

Background letter frequencies
A 0.31 C 0.19 G 0.19 T 0.31
"""
COUNTS = {"A": [3, 0, 90, 25], "C": [94, 75, 4, 25], "G": [1, 0, 3, 25], "T": [2, 25, 3, 25]}
TRANSFAC = """VV  TRANSFAC MATRIX TABLE
XX
//
AC  M00001
XX
ID  F$BOXA_01
NA  boxA
DE  a box
P0      A      C      G      T
01      3     94      1      2      C
02      0     75      0     25      C
03     90      4      3      3      A
04     25     25     25     25      N
XX
CC  some comment
//
"""


def jaspar(counts=COUNTS, name="M00001 boxA"):
    return f">{name}\n" + "".join(f"{base} [ {' '.join(map(str, row))} ]\n" for base, row in counts.items())


def meme_motif(rows, name="M00001 boxA", statistics="alength= 4 w= {} nsites= 20 E= 0"):
    lines = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in rows)
    return f"\nMOTIF {name}\nletter-probability matrix: {statistics.format(len(rows))}\n{lines}\nURL http://x.org/{name.split()[0]}\n"


def log_odds(counts):
    """The definition, one number at a time."""
    table = np.empty((len(counts["A"]), 4))
    for position in range(len(table)):
        total = sum(counts[base][position] for base in "ACGT")
        for place, base in enumerate("ACGT"):
            table[position, place] = np.log((counts[base][position] / total + 0.01) / 1.04 / 0.25)
    return table


def read(tmp_path, text, name="motifs.txt"):
    (tmp_path / name).write_text(text)
    return motifs.load(tmp_path / name)


PROBABILITIES = np.array([COUNTS[base] for base in "ACGT"]).T / 100
AS_FILES = {
    "jaspar": jaspar(),
    "jaspar without letters": ">M00001\tboxA\n" + "\n".join("\t".join(map(str, row)) for row in COUNTS.values()),
    "meme": MEME + meme_motif(PROBABILITIES),
    "meme without statistics": "MEME version 5.5.2\n" + meme_motif(PROBABILITIES, statistics=""),
    "meme, one strand, few sites": MEME.replace("+ -", "+") + meme_motif(PROBABILITIES, statistics="alength=4 w={} nsites=3.5"),
    "meme with a blank": MEME.replace("ALPHABET=", "ALPHABET =") + meme_motif(PROBABILITIES),
    "meme without alphabet": MEME.replace("ALPHABET= ACGT\n", "") + meme_motif(PROBABILITIES),
    "meme of RNA": MEME.replace("ACGT", "ACGU") + meme_motif(PROBABILITIES),
    "transfac": TRANSFAC,
    "transfac with tabs": TRANSFAC.replace("P0", "PO").replace("      ", "\t").removesuffix("//\n"),
    "windows": jaspar().replace("\n", "\r\n"),
}


@pytest.mark.parametrize("name", AS_FILES)
def test_a_matrix_has_the_same_scores_in_every_format(tmp_path, name):
    (motif,) = read(tmp_path, AS_FILES[name])
    assert (motif.matrix_id, motif.factor) == ("M00001", "boxA")
    np.testing.assert_allclose(motif.log_odds, log_odds(COUNTS), atol=2e-6)


def test_the_yeast_motifs_are_read_as_biopython_reads_them():
    with open(YEAST) as handle:
        expected = {record.matrix_id: record for record in bio_motifs.parse(handle, "jaspar")}
    loaded = motifs.load(YEAST)
    assert [(motif.matrix_id, motif.factor) for motif in loaded] == [(name, record.name) for name, record in expected.items()]
    for motif in loaded:
        np.testing.assert_allclose(motif.log_odds, log_odds(expected[motif.matrix_id].counts), atol=1e-5)


def test_the_yeast_motifs_have_the_same_scores_as_meme_and_as_transfac(tmp_path):
    matrices = motif_files.read(YEAST)
    rows = [np.array(matrix.rows) / np.sum(matrix.rows, axis=1, keepdims=True) for matrix in matrices]
    text = MEME + "".join(meme_motif(row, f"{matrix.matrix_id} {matrix.factor}") for matrix, row in zip(matrices, rows, strict=True))
    with open(YEAST) as handle:
        records = list(bio_motifs.parse(handle, "jaspar"))
    written = "".join(f"AC  {record.matrix_id}\nID  {record.name}\n{bio_motifs.write([record], 'transfac')}" for record in records)
    tables = [read(tmp_path, text), read(tmp_path, written)]
    for original, *others in zip(motifs.load(YEAST), *tables, strict=True):
        for other in others:
            assert (other.matrix_id, other.factor) == (original.matrix_id, original.factor)
            np.testing.assert_allclose(other.log_odds, original.log_odds, atol=1e-4)


def test_biopython_reads_the_files_of_this_test():
    """The files are what they are meant to be."""
    for kind, name in (("minimal", "meme"), ("transfac", "transfac"), ("jaspar", "jaspar")):
        (record,) = bio_motifs.parse(io.StringIO(AS_FILES[name]), kind)
        total = sum(record.counts[base][0] for base in "ACGT")
        assert record.counts["C"][0] / total == pytest.approx(0.94, abs=0.03)  # whole counts of 20 sites in MEME's


def test_several_motifs_and_a_log_odds_matrix_of_which_the_probabilities_count(tmp_path):
    odds = "\nMOTIF first\nlog-odds matrix: alength= 4 w= 1 E= 0\n-10 20 -30 4\n\nletter-probability matrix: alength= 4 w= 1\n0 1 0 0\n"
    first, second = read(tmp_path, MEME + odds + meme_motif(PROBABILITIES, "second with more words"))
    assert (first.matrix_id, first.factor, second.matrix_id, second.factor) == ("first", "first", "second", "with")
    assert first.log_odds.argmax(axis=1).tolist() == [1]
    assert len(second.log_odds) == 4


BAD = {
    "empty": ("", r"no motif found; the file is empty"),
    "blank": ("\n\n", r"no motif found; the file is empty"),
    "prose": ("once upon a time\n", r"line 1: 'once upon a time' begins no motif in a known format; give JASPAR"),
    "homer": ("# Homer\n\n@x\n", r"line 3: '@x' begins no motif"),
    "meme, no motif": (MEME, r"no motif found$"),
    "not a number": (jaspar().replace("94", "many"), r"line 3: 'many' is not a number"),
    "nan": (jaspar().replace("94", "nan"), r"line 3: 'nan'; counts and probabilities are finite numbers of 0 or more"),
    "infinite": (jaspar().replace("94", "inf"), r"line 3: 'inf'"),
    "negative": (jaspar().replace("94", "-94"), r"line 3: '-94'"),
    "zero column": (jaspar({base: [1, 0] for base in "ACGT"}), r"line 1: position 2 of the motif 'M00001 boxA' has no counts"),
    "short line": (jaspar().replace("94 ", ""), r"line 1: the lines of the motif 'M00001 boxA' have 4 \(A\), 3 \(C\), 4 \(G\), 4 \(T\)"),
    "three lines": (jaspar().rsplit("T [", 1)[0], r"line 1: the motif 'M00001 boxA' has 3 lines of counts, not four"),
    "five lines": (jaspar() + "T [ 1 1 1 1 ]\n", r"line 6: more than one line for T"),
    "homer, rows are positions": (
        ">ACGTA\tx\t6.5\n" + "0.7 0.1 0.1 0.1\n" * 5,
        r"line 6: more than one line .* HOMER .* MEME format",
    ),
    "homer, four positions": (">ACGT\n" + "0.7 0.1 0.1 0.1\n" * 4, r"line 1: the lines .* add up to 1, not the positions; .* HOMER"),
    "no counts": (">x\n>y\n", r"line 1: the motif 'x' has 0 lines"),
    "fasta": (">p1\nACGTACGT\n", r"line 2: 'ACGTACGT' is not a number"),
    "twice": (jaspar() + jaspar(), r"line 6: the motif 'M00001' is also on line 1"),
    "meme, log-odds only": (MEME + "MOTIF a\nlog-odds matrix: alength= 4 w= 1\n1 2 3 4\n", r"line 9: the motif 'a' has no 'letter-prob"),
    "meme, counts": (MEME + meme_motif(PROBABILITIES * 100), r"line 12: the probabilities add up to 100, not 1"),
    "meme, negative": (MEME + meme_motif(PROBABILITIES - 0.02), r"line 12: '-0.010000'"),
    "meme, zeros": (MEME + meme_motif(PROBABILITIES * 0), r"line 12: the probabilities add up to 0"),
    "meme, nan": (MEME + meme_motif(PROBABILITIES * np.nan), r"line 12: 'nan'"),
    "meme, three columns": (MEME + meme_motif(PROBABILITIES[:, :3]), r"line 12: '0.030000 0.940000 0.010000'; expected the prob"),
    "meme, too few rows": (MEME + meme_motif(PROBABILITIES).replace("w= 4", "w= 9"), r"line 16: 'URL .*'; expected the probabilities"),
    "meme, cut off": (MEME + meme_motif(PROBABILITIES).split("\nURL")[0].replace("w= 4", "w= 9"), r"line 11: 4 rows .* follow, expected 9"),
    "meme of proteins": (MEME.replace("ACGT", "ACDEFGHIKLMNPQRSTVWY") + meme_motif(PROBABILITIES), r"line 3: 'ALPHABET= ACDE"),
    "transfac, negative": (TRANSFAC.replace("94", "-4"), r"line 10: '-4'"),
    "transfac, zero column": (TRANSFAC.replace(" 25", "  0"), r"line 13: position 04 has no counts"),
    "transfac, short line": (TRANSFAC.replace("     94      1      2      C", ""), r"line 10: '01      3'; expected a position"),
    "transfac, other bases": (TRANSFAC.replace("A      C      G      T", "A T G C"), r"line 9: 'P0      A T G C'; expected 'P0 A C G T'"),
    "transfac, no counts": ("AC  x\nP0  A C G T\n//\n", r"line 2: no counts follow"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_named_with_its_line(tmp_path, name):
    text, message = BAD[name]
    with pytest.raises(InputError, match=r"motifs\.txt(, |: )" + message):
        read(tmp_path, text)


def test_a_missing_file_and_a_folder(tmp_path):
    with pytest.raises(InputError, match="gone: this motif file does not exist"):
        motifs.load(tmp_path / "gone")
    with pytest.raises(InputError, match="this motif file cannot be read"):
        motifs.load(tmp_path)
