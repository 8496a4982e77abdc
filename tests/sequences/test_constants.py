"""Constant sequences: flanks on either strand, contigs of reads, barcodes."""

import numpy as np
import polars as pl
import pytest

from gpraflow.sequences import constants
from gpraflow.sequences.scaffold import reverse_complement_sequences

FIVE, THREE = "GACTTCAAGCATGGCTA", "CCTGAGGTTACGCATTC"
BASES = np.array(list("ACGT"))


def random(rows, length, seed=0):
    return pl.Series(["".join(row) for row in BASES[np.random.default_rng(seed).integers(0, 4, (rows, length))]])


def test_flanks_are_located_on_both_strands():
    whole = random(100, 12) + FIVE + random(100, 40, 1) + THREE + random(100, 7, 2)
    found = constants.locate(whole, FIVE, THREE)
    assert (found.forward, found.reverse, found.ends, found.place) == (1, 0, 0, (13, 29))
    other = constants.locate(reverse_complement_sequences(whole), FIVE, THREE)
    assert (other.forward, other.reverse, other.place) == (0, 1, (8, 24))
    assert constants.locate(FIVE + random(100, 40) + THREE, FIVE, THREE).ends == 1
    mixed = constants.locate(pl.concat([whole[:75], reverse_complement_sequences(whole[75:])]), FIVE, THREE)
    assert (mixed.forward, mixed.reverse, mixed.either) == (0.75, 0.25, 1)
    assert constants.locate(whole, FIVE[:8] + "NN" + FIVE[10:], THREE).forward == 1
    one = constants.locate(random(100, 12) + FIVE + random(100, 60, 1), FIVE, THREE)
    assert (one.forward, one.five, one.three) == (0, 1, 0)
    assert constants.locate(random(100, 60), FIVE, THREE).place is None
    assert constants.locate(whole, "", "").either == 0


def test_constant_ends():
    assert constants.constant_ends(FIVE + random(200, 40) + THREE) == (FIVE, THREE)
    assert constants.constant_ends(FIVE + random(200, 40)) == (FIVE, "")
    lengths = pl.concat([FIVE + random(100, 40) + THREE, FIVE + random(100, 43, 1) + THREE])
    assert constants.constant_ends(lengths) == (FIVE, THREE)
    assert constants.constant_ends(random(200, 60)) == ("", "")
    parent = random(1, 60)[0]
    mutants = pl.Series([parent[:k] + "A" + parent[k + 1 :] for k in range(10, 50)])
    assert constants.constant_ends(mutants) == ("", "")
    assert constants.are_variants(mutants)
    assert not constants.are_variants(random(200, 60))


@pytest.mark.parametrize("shift", [0, 3])
def test_constant_flanks_of_reads(shift):
    whole = random(400, 50, 1)
    before = pl.Series(["ACGT"[:k] for k in np.random.default_rng(2).integers(0, shift + 1, 400)])
    reads = before + FIVE + whole + THREE
    assert constants.constant_flanks(reads) == (FIVE, THREE)
    both = pl.concat([reads[:200], reverse_complement_sequences(reads[200:])])
    turned = tuple(reverse_complement_sequences(pl.Series([THREE, FIVE])))
    assert constants.constant_flanks(both) in ((FIVE, THREE), turned)
    assert constants.constant_flanks(random(400, 90)) is None
    assert constants.constant_flanks(FIVE + random(400, 60)) is None


def test_barcodes_are_told_from_variants():
    promoters, barcodes = random(100, 70), random(500, 15, 1)
    joined = promoters.gather(np.repeat(np.arange(100), 5)) + barcodes
    assert constants.barcode_of(joined) == ("right", 15)
    left = barcodes + promoters.gather(np.repeat(np.arange(100), 5))
    assert constants.barcode_of(left) == ("left", 15)
    assert constants.barcode_of(random(500, 85)) is None
    parent = random(1, 70)[0]
    assert constants.barcode_of(pl.Series([parent[:k] + b + parent[k + 1 :] for k in range(70) for b in "ACGT"])) is None


def test_partial_flanks_and_usual_lengths():
    assert constants.partial_flank(FIVE[5:] + random(50, 40), FIVE) == FIVE[5:]
    assert constants.partial_flank(random(50, 40), FIVE) == ""
    assert constants.insert_lengths([80] * 995 + [20] * 2 + [200] * 3) == (80, 80)
    assert constants.insert_lengths([10, 20, 30], np.array([1, 98, 1])) == (10, 30)
