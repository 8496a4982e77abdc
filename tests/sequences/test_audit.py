"""The audit of leakage control, on libraries made here."""

import numpy as np
import polars as pl
import pytest
from rapidfuzz import process
from rapidfuzz.distance import Levenshtein

from gpraflow.evaluation import checks
from gpraflow.sequences import audit

COMPLEMENT = str.maketrans("ACGT", "TGCA")


def random_sequences(rows, length, seed=0):
    drawn = np.random.default_rng(seed).integers(0, 4, (rows, length))
    return ["".join("ACGT"[base] for base in row) for row in drawn]


def distances(training, scored, seed=1, name="test"):
    sets = {name: pl.Series(scored, dtype=pl.String)}
    return audit.distances([pl.Series(training, dtype=pl.String)], sets, lambda text: text, seed)


def verdict(training, scored, method="hash"):
    return checks.distance_to_training(distances(training, scored), len(scored), method)


def nearest_of_all(sequences, training):
    """The least distance on either strand, from all pairs."""
    turned = [text.translate(COMPLEMENT)[::-1] for text in training]
    return np.minimum(*(process.cdist(sequences, strand, scorer=Levenshtein.distance).min(axis=1) for strand in (training, turned)))


def barcoded(promoters=100, barcodes=4, length=100, barcode=20):
    """Rows of several barcodes behind each promoter, in random order."""
    codes = random_sequences(promoters * barcodes, barcode, seed=2)
    rows = [
        text + codes[barcodes * row + number] for row, text in enumerate(random_sequences(promoters, length)) for number in range(barcodes)
    ]
    return [rows[row] for row in np.random.default_rng(3).permutation(len(rows))]


def test_near_is_a_tenth_of_the_length_at_least_3_and_at_most_a_fifth():
    assert audit.near_edits(np.array([0, 4, 9, 10, 15, 20, 39, 40, 60, 80, 120])).tolist() == [0, 0, 1, 2, 3, 3, 3, 4, 6, 8, 12]


def test_shuffled_sequences_have_the_same_bases_in_another_order():
    sequences = pl.Series([*random_sequences(20, 50), "ACGTN", ""])
    found = audit.shuffled(sequences, np.random.default_rng(1))
    assert [sorted(text) for text in found] == [sorted(text) for text in sequences]
    assert all(one != other for one, other in zip(sequences[:20], found, strict=False))


@pytest.mark.parametrize("length", [12, 20, 60, 120])
def test_distances_up_to_a_tenth_of_the_length_are_those_of_all_pairs(length):
    """Substitutions spread evenly, so that no 12-mer is shared; every second promoter is turned around."""
    training = random_sequences(300, length)
    scored = []
    for row in range(60):
        letters, edits = list(training[row]), row % (length // 10 + 2)
        for at in np.linspace(0, length - 1, edits, dtype=int):
            letters[at] = {"A": "C", "C": "G", "G": "T", "T": "A"}[letters[at]]
        text = "".join(letters)
        scored.append(text.translate(COMPLEMENT)[::-1] if row % 2 else text)
    rows = distances(training, scored).filter(kind="scored")
    least = nearest_of_all(scored, training)
    near = least <= rows["near"].to_numpy()
    assert near.sum() >= 40
    assert (rows["distance"].to_numpy()[near] == least[near]).all()
    assert (rows["distance"].to_numpy() >= least).all()


def test_every_distance_is_finite_and_the_same_for_the_same_seed():
    training, scored = random_sequences(5, 80), random_sequences(30, 80, seed=4)
    one, same, other = (distances(training, scored, seed=seed) for seed in (1, 1, 2))
    assert one.schema == audit.AUDIT
    assert one["kind"].to_list() == ["scored"] * 30 + ["shuffled"] * 30
    assert one["distance"].null_count() == 0
    assert one["distance"].to_list()[:30] == nearest_of_all(scored, training).tolist()
    assert one.equals(same)
    assert not one.equals(other)
    assert distances([], scored)["distance"].null_count() == 60
    assert distances(training, []).height == 0


def test_a_large_set_is_sampled(monkeypatch):
    monkeypatch.setattr(audit, "SAMPLED", 20)
    training = random_sequences(40, 80)
    rows = distances(training, training)
    assert rows.height == 40
    found = checks.distance_to_training(rows, 40, "hash")
    assert found["text"].startswith("20 of 20 promoters (drawn from 40) are within 8 edits of a training promoter")


@pytest.mark.parametrize(("rows", "length"), [(400, 20), (400, 80), (2000, 40), (60, 150)])
def test_unrelated_promoters_are_ok(rows, length):
    sequences = random_sequences(rows, length)
    found = verdict(sequences[rows // 5 :], sequences[: rows // 5])
    assert found["verdict"] == "ok"
    assert found["value"] < 0.01


def test_the_same_promoter_behind_other_barcodes_is_a_warning():
    rows = barcoded()
    found = verdict(rows[40:], rows[:40])
    assert found["verdict"] == "warning"
    assert found["value"] > 0.5
    assert "within 12 edits of a training promoter (none with shuffled bases)" in found["text"]
    assert "possible causes are barcodes in the sequences" in found["text"]


def test_long_barcodes_beyond_a_tenth_of_the_length_are_a_warning_too():
    """Most promoters are 20 to 25 of 130 edits from the nearest: more than a tenth, but less than half of the distance of shuffled ones."""
    rows = barcoded(barcode=50, length=80)
    found = verdict(rows[40:], rows[:40])
    assert found["value"] < 0.05
    assert found["verdict"] == "warning"
    assert found["text"].startswith("none of ")
    assert "are within 13 edits" in found["text"]


def test_few_related_promoters_among_unrelated_ones_are_ok_and_more_a_warning():
    sequences = random_sequences(500, 80)
    for related, expected in ((3, "ok"), (5, "warning")):
        found = verdict(sequences[100:], sequences[100 : 100 + related] + sequences[: 100 - related])
        assert (found["verdict"], found["value"]) == (expected, related / 100)


def test_single_mutants_of_one_parent_are_a_warning_whatever_the_limit():
    (parent,) = random_sequences(1, 60)
    mutants = [parent[:at] + base + parent[at + 1 :] for at in range(60) for base in "ACGT" if base != parent[at]]
    drawn = [mutants[row] for row in np.random.default_rng(0).permutation(180)]
    found = verdict(drawn[45:], drawn[:45])
    assert (found["verdict"], found["value"]) == ("warning", 1.0)
    assert found["text"].startswith("45 of 45 promoters are within 6 edits of a training promoter (none with shuffled bases)")
    apart = verdict(drawn[45:], drawn[:45], method="positions")
    assert apart["verdict"] == "warning"
    assert apart["text"].endswith("scores are for unseen positions of one parent")


def test_a_library_that_fills_the_space_of_short_sequences_has_no_unrelated_promoters():
    sequences = list(dict.fromkeys(random_sequences(20_000, 7)))
    found = verdict(sequences[200:], sequences[:200])
    assert found["verdict"] == "warning"
    assert found["text"].endswith("sequences this short, or a library this dense, contain no promoters unrelated to training")


def test_nothing_to_compare_is_not_applicable():
    assert verdict(random_sequences(5, 40), [])["verdict"] == "not applicable"
    assert verdict([], random_sequences(5, 40))["verdict"] == "not applicable"
