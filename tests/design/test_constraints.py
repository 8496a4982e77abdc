"""Constraints against naive checks of text, and what cannot be met."""

import re

import numpy as np
import polars as pl
import pytest
from Bio.Seq import Seq

from gpraflow.core import resources
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.design import constraints
from gpraflow.sequences import motifs
from gpraflow.sequences.scaffold import detokenize, tokenize

CLASSES = {"R": "[AG]", "Y": "[CT]", "W": "[AT]", "S": "[CG]", "N": "."}


def constructs(number=300, length=30, seed=1):
    return np.random.default_rng(seed).integers(0, 4, (number, length)).astype(np.uint8)


def tokens_of(text):
    return tokenize(pl.Series([text]), len(text))


def naive_sites(text, pattern):
    expression = re.compile(f"(?={''.join(CLASSES.get(letter, letter) for letter in pattern)})")
    palindrome = str(Seq(pattern).reverse_complement()) == pattern
    return sum(len(expression.findall(strand)) for strand in (text, str(Seq(text).reverse_complement()))[: 2 - palindrome])


@pytest.mark.parametrize("pattern", ["GATC", "GRTY", "AAA", "CANNTG", "W"])
def test_sites_are_counted_on_both_strands(pattern):
    tokens = constructs()
    found = constraints.ForbiddenSite(pattern, pattern).violations(tokens)
    assert found.tolist() == [naive_sites(text, pattern) for text in detokenize(tokens)]
    assert found.any()
    required = constraints.RequiredSite(pattern, pattern).violations(tokens)
    assert (required == (found == 0)).all()


def test_enzymes_by_name():
    (rule,) = constraints.rules_of(forbid_sites=["BsaI"])
    assert (rule.name, rule.pattern) == ("BsaI", "GGTCTC")
    assert rule.violations(tokens_of("AAAGAGACCAAA")).tolist() == [1]
    assert constraints.site_of("ecori") == ("ecori", "GAATTC")
    with pytest.raises(ConfigError, match="nor a restriction enzyme; did you mean 'BsaXI'"):
        constraints.site_of("BsaX1")


def test_gc_content_of_the_whole_and_of_windows():
    tokens = constructs()
    text = detokenize(tokens)

    def off(part, low, high):
        count = part.count("G") + part.count("C")
        return max(0, -(-round(low * len(part) * 10) // 10) - count, count - round(high * len(part) * 10) // 10)

    assert constraints.GcContent(0.4, 0.6).violations(tokens).tolist() == [off(each, 0.4, 0.6) for each in text]
    windows = constraints.GcContent(0.3, 0.6, 10).violations(tokens)
    assert windows.tolist() == [sum(off(each[at : at + 10], 0.3, 0.6) for at in range(21)) for each in text]


def test_homopolymers_and_repeats():
    tokens = constructs(length=60)
    for text, row in zip(detokenize(tokens), constraints.Homopolymers(3).violations(tokens), strict=True):
        assert row == len(re.findall(r"(?=AAAA|CCCC|GGGG|TTTT)", text))
    size, found = 5, constraints.Repeats(5).violations(tokens)
    for text, row in zip(detokenize(tokens), found, strict=True):
        kmers = [min(k, str(Seq(k).reverse_complement())) for k in (text[at : at + size] for at in range(len(text) - size + 1))]
        assert row == len(kmers) - len(set(kmers))
    assert found.any()


@pytest.fixture(scope="module")
def known():
    return motifs.load(resources.path_of("motifs/jaspar2026_yeast.jaspar"))


def test_motifs_by_score(known):
    motif = constraints.motif_of("REB1", known)
    odds = motif.log_odds
    tokens = constructs(200)
    low, high = odds.min(axis=1).sum(), odds.max(axis=1).sum()

    def sites(row):
        return sum(
            sum(oriented[offset, row[at + offset]] for offset in range(len(odds))) >= low + 0.7 * (high - low)
            for oriented in (odds, odds[::-1, ::-1])
            for at in range(len(row) - len(odds) + 1)
        )

    forbidden = constraints.ForbiddenMotif(motif, 0.7).violations(tokens)
    assert forbidden.tolist() == [sites(row) for row in tokens]
    assert forbidden.any()
    assert (constraints.RequiredMotif(motif, 0.7).violations(tokens) == (forbidden == 0)).all()
    with pytest.raises(ConfigError, match="motif 'REB11' is no motif of the file; did you mean 'REB1'"):
        constraints.motif_of("REB11", known)


def impossible(rules, bits, flanks=(0, 0)):
    with pytest.raises(InputError) as error:
        constraints.check_possible(rules, bits, flanks)
    return str(error.value)


def free(five="", length=30, three=""):
    return np.concatenate([constraints.pattern_bits(part) for part in (five, "N" * length, three) if part])


def test_sites_in_the_flanks_cannot_be_avoided():
    bits = free("ACGAATTCAA", 20, "GGTCA")
    text = impossible(constraints.rules_of(forbid_sites=["EcoRI"]), bits, (10, 5))
    assert "forbidden site EcoRI (GAATTC)" in text
    assert "positions 3 to 8 of the construct: the flanks themselves, which no design can change" in text
    constraints.check_possible(constraints.rules_of(forbid_sites=["BamHI", "BsaI"]), bits, (10, 5))
    assert "fixed bases hold TTTTTT, positions 3 to 8" in impossible(constraints.rules_of(max_homopolymer=5), free("CATTTTTTTC"), (10, 0))
    assert "fixed bases leave 0 to 10 %" in impossible(
        constraints.rules_of(gc_window=10, gc_window_range=[0.3, 1]), free("TTTTTTTTT"), (9, 0)
    )


def test_partly_fixed_bases_count_too():
    assert "cannot be met" in impossible(constraints.rules_of(forbid_sites=["WWW"]), free("AWT"))
    constraints.check_possible(constraints.rules_of(forbid_sites=["WWW"]), free("AWN", 0))


def test_contradictions_that_follow_from_the_rules(known):
    cases = [
        ({"require_sites": ["TATAAA"], "forbid_sites": ["ATAA"]}, "'forbidden site ATAA' and 'required site TATAAA'"),
        ({"require_sites": ["GAAAAAG"], "max_homopolymer": 4}, "'required site GAAAAAG' and 'homopolymers of at most 4 bp'"),
        ({"require_motifs": ["REB1"], "forbid_motifs": ["REB1"]}, "forbidden motif REB1"),
        (
            {"gc": [0.6, 1], "gc_window": 10, "gc_window_range": [0, 0.4]},
            "'GC content 60 to 100 %' and 'GC content of each 10 bp 0 to 40 %'",
        ),
    ]
    for options, expected in cases:
        text = impossible(constraints.rules_of(**options, motifs=known), free())
        assert expected in text
        assert "contradict each other" in text
    assert "no place" in impossible(constraints.rules_of(require_sites=["GGGGG"]), free("AAAA", 4, "AAAA"))


def test_bad_options():
    for options, expected in [
        ({"gc": [0.7, 0.3]}, "design.gc: found 0.7 to 0.3"),
        ({"repeat_kmer": 3}, "design.repeat_kmer: found 3"),
        ({"forbid_sites": [" "]}, "a site is empty"),
    ]:
        with pytest.raises(ConfigError, match=re.escape(expected)):
            constraints.rules_of(**options)
    with pytest.raises(ConfigError, match="'X' is no IUPAC code"):
        constraints.pattern_bits("ACX", "design.template")
