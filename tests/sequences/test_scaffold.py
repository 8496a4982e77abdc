import itertools

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpraflow.core.errors import ConfigError, InputError
from gpraflow.sequences import flanks, scaffold

sequences = st.lists(st.text("ACGTN", min_size=1, max_size=30), min_size=1, max_size=8)


def slides_fit(text, length):
    """The slides' loop."""
    if len(text) > length:
        text = text[-length:]
    while len(text) < length:
        text = "N" + text
    return text


@given(sequences, st.integers(1, 25))
def test_default_window_is_the_slides_loop(texts, length):
    assert scaffold.fit(pl.Series(texts), length, "right", "left").to_list() == [slides_fit(text, length) for text in texts]


@given(sequences)
def test_tokens_and_one_hot_equal_a_naive_loop(texts):
    tokens = scaffold.tokenize(pl.Series(texts), 12)
    channels = {"A": [1, 0, 0, 0], "C": [0, 1, 0, 0], "G": [0, 0, 1, 0], "T": [0, 0, 0, 1], "N": [0, 0, 0, 0]}
    assert tokens.dtype == np.uint8
    assert tokens.tolist() == [["ACGTN".index(base) for base in slides_fit(text, 12)] for text in texts]
    assert scaffold.one_hot(tokens).tolist() == [[channels[base] for base in slides_fit(text, 12)] for text in texts]


def test_other_ends():
    assert scaffold.fit(pl.Series(["ACGTT", "AC"]), 3, "left", "right").to_list() == ["ACG", "ACN"]


@given(sequences)
def test_reverse_complement_is_biopythons(texts):
    from Bio.Seq import Seq

    frame = pl.DataFrame({"s": texts})
    expected = [str(Seq(text).reverse_complement()) for text in texts]
    assert scaffold.reverse_complement_sequences(frame["s"]).to_list() == expected
    tokens = scaffold.tokenize(pl.Series([text + "A" * (30 - len(text)) for text in texts]), 30)
    assert (scaffold.reverse_complement(scaffold.reverse_complement(tokens)) == tokens).all()
    turned = scaffold.detokenize(scaffold.reverse_complement(tokens))
    assert turned == [str(Seq(text + "A" * (30 - len(text))).reverse_complement()).strip("N") for text in texts]


def test_a_letter_that_is_no_base_is_refused():
    with pytest.raises(InputError, match=r"sequence 2: 'ACX'"):
        scaffold.tokenize(pl.Series(["ACG", "ACX"]), 3)


def levenshtein(a, b):
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        previous, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (x != y))
    return row[-1]


@given(
    st.lists(st.text("ACGT", min_size=12, max_size=20), min_size=1, max_size=6), st.text("ACGT", min_size=3, max_size=9), st.integers(0, 4)
)
def test_flank_ends_equal_a_search_over_all_prefixes(texts, flank, max_edits):
    edits, ends = flanks.flank_ends(pl.Series(texts), flank, max_edits)
    for text, found, end in zip(texts, edits, ends, strict=True):
        distances = {n: levenshtein(flank, text[:n]) for n in range(min(len(flank) + max_edits, len(text)) + 1)}
        best = min(distances.values())
        if best > max_edits:
            assert (found, end) == (max_edits + 1, 0)
        else:
            assert found == best
            nearest = min(abs(n - len(flank)) for n, distance in distances.items() if distance == best)
            assert distances[int(end)] == best
            assert abs(int(end) - len(flank)) == nearest


def test_unknown_scaffold_names_the_nearest(root):
    with pytest.raises(ConfigError, match="did you mean 'pTpA'"):
        scaffold.load(root / "resources/scaffolds.yaml", "ptpa1")


def test_ptpa_makes_110_bp(root):
    ptpa = scaffold.load(root / "resources/scaffolds.yaml", "pTpA")
    assert len(ptpa.five_prime) + 80 + len(ptpa.three_prime) == 110


@pytest.mark.parametrize(("keep", "pad"), itertools.product(["left", "right"], repeat=2))
def test_positions_of_inserts_in_the_window(keep, pad):
    five, three, length = "ACG", "TTC", 14
    inserts = ["GATTACA", "GATTACAG", "GATTACAGATTACA", "G"]  # shorter, as long as and longer than the window with flanks
    sequences = [*(five + insert + three for insert in inserts), "ACT" + "GATTACA" + three]  # the last with a damaged flank
    tokens = scaffold.tokenize(pl.Series(sequences), length, keep, pad)
    mutable = scaffold.insert_positions(pl.Series(sequences), (five, three), length, keep, pad)
    for row, sequence in enumerate(sequences):
        whole = [(base, row == 4 or 3 <= place < len(sequence) - 3) for place, base in enumerate(sequence)]
        missing = [("N", False)] * (length - len(whole))
        padded = [*missing, *whole] if pad == "left" else [*whole, *missing]
        seen = padded[-length:] if keep == "right" else padded[:length]
        assert ["ACGTN"[token] for token in tokens[row]] == [base for base, _ in seen]
        assert mutable[row].tolist() == [inside for _, inside in seen]
