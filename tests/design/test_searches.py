"""Searches on models that are functions: what they reach is known."""

import itertools

import numpy as np
import pytest

from gpraflow.core.errors import InputError
from gpraflow.design import constraints, objectives, searches
from gpraflow.sequences.scaffold import detokenize, one_hot

LENGTH = 12


def rng(seed=1):
    return np.random.Generator(np.random.PCG64(seed))


def additive(seed=3, length=LENGTH, members=1):
    """A model that adds a value of each base at each position: the best construct is the best base everywhere."""
    values = rng(seed).normal(size=(members, length, 4))
    model = objectives.Model(
        lambda tokens: np.einsum("plb,mlb->pm", one_hot(tokens), values),
        lambda tokens, weights: np.einsum("pm,mlb->plb", weights, values),
    )
    return model, values


def problem(designs=5, length=LENGTH, seed=2, rules=(), bits=None, **options):
    start = rng(seed).integers(0, 4, (designs, length), dtype=np.uint8)
    every = np.full((designs, length), 15, np.uint8) if bits is None else np.repeat(bits[None], designs, axis=0)
    return searches.Space(start, every, rules, **options)


def maximise(model, designs=5, **options):
    return objectives.objective(model, ["maximize"] * designs, [None] * designs, **options)


@pytest.mark.parametrize(("method", "budget"), [("greedy", 600), ("genetic", 3000), ("gradient", 1200)])
def test_an_additive_model_is_solved(method, budget):
    model, values = additive()
    found = searches.search(maximise(model), problem(), method=method, budget=budget, rng=rng())
    best = values[0].max(axis=1).sum()
    assert (found.score >= best - (1e-6 if method == "greedy" else 0.06 * best)).all()
    assert found.predicted == pytest.approx(found.score)
    assert (found.calls <= budget).all()


def test_greedy_calls_are_all_single_mutants():
    model, _ = additive()
    found = searches.search(maximise(model, 1), problem(1), method="greedy", budget=10**6, rng=rng())
    steps = found.trajectory["step"].max()
    assert found.calls[0] == 1 + steps * 3 * LENGTH
    assert (found.trajectory["score"].diff().drop_nulls() >= 0).all()


def test_beam_search_crosses_a_valley_that_greedy_search_does_not():
    """Only both bases together are better."""

    def members(tokens):
        a, b = tokens[:, 0] == 3, tokens[:, 1] == 3
        return (np.where(a & b, 5.0, np.where(a, -0.1, 0.0)) + 0.5 * (tokens[:, 2] == 2) + 0.25 * (tokens[:, 3] == 2))[:, None]

    space = searches.Space(np.zeros((1, 4), np.uint8), np.full((1, 4), 15, np.uint8))
    scores = [
        searches.search(maximise(objectives.Model(members), 1), space, method="greedy", budget=5000, rng=rng(), beam=beam).score[0]
        for beam in (1, 12)
    ]
    assert scores == pytest.approx([0.75, 5.75])


@pytest.mark.parametrize("method", searches.METHODS)
def test_budget_of_edits_and_fixed_positions_hold(method):
    model, values = additive()
    bits = np.full(LENGTH, 15, np.uint8)
    start = problem().start[0]
    bits[[2, 7]] = 1 << start[[2, 7]]
    space = searches.Space(np.repeat(start[None], 3, axis=0), np.repeat(bits[None], 3, axis=0), (), max_edits=3)
    found = searches.search(maximise(model, 3), space, method=method, budget=900, rng=rng())
    changed = found.tokens != space.start
    assert (changed.sum(axis=1) <= 3).all()
    assert not changed[:, [2, 7]].any()
    gains = np.sort((values[0].max(axis=1) - values[0][np.arange(LENGTH), start])[bits == 15])[-3:].sum()
    if method != "gradient":
        best = values[0][np.arange(LENGTH), start].sum() + gains
        assert found.score == pytest.approx([best] * 3)


@pytest.mark.parametrize("method", searches.METHODS)
def test_all_constraints_are_met_and_the_optimum_is_that_of_a_search_through_all(method):
    length = 6
    model, _ = additive(length=length)
    rules = constraints.rules_of(forbid_sites=["GATC", "RRR"], gc=[0.3, 0.7], max_homopolymer=2)
    everything = np.array(list(itertools.product(range(4), repeat=length)), np.uint8)
    allowed = everything[constraints.violations(rules, everything) == 0]
    best = model.members(allowed).max()
    space = problem(4, length, rules=rules)
    start, left = searches.repair(space, rng())
    assert not left.any()
    found = searches.search(maximise(model, 4), space, begin=start, method=method, budget=2000, rng=rng())
    assert not constraints.violations(rules, found.tokens).any()
    assert found.score.max() <= best + 1e-6
    if method == "genetic":
        assert found.score.max() == pytest.approx(best)


def test_targets_end_the_search_early():
    model, _ = additive()
    targets = [-3.0, 0.0, 3.0]
    objective = objectives.objective(model, ["target"] * 3, targets, tolerance=0.4)
    for method in searches.METHODS:
        found = searches.search(objective, problem(3), method=method, budget=3000, rng=rng())
        assert found.predicted == pytest.approx(targets, abs=0.4)
        assert found.calls.max() < 3000


def test_minimum_is_the_maximum_of_the_negative():
    model, values = additive()
    objective = objectives.objective(model, ["minimize"] * 2, [None] * 2)
    found = searches.search(objective, problem(2), method="greedy", budget=1000, rng=rng())
    assert found.predicted == pytest.approx([values[0].min(axis=1).sum()] * 2)


def test_spread_and_distance_lower_the_score():
    model, _ = additive(members=3)
    distant = objectives.Model(model.members, model.gradient, lambda tokens: tokens.mean(axis=1), error=0.5)
    tokens = problem(4).start
    members = model.members(tokens)
    owners = np.arange(4)
    plain = maximise(distant, 4)(tokens, owners).score
    cautious = maximise(distant, 4, spread=2.0, distance=3.0)(tokens, owners).score
    assert plain == pytest.approx(members.mean(axis=1))
    assert cautious == pytest.approx(plain - 2 * members.std(axis=1, ddof=1) - 3 * 0.5 * tokens.mean(axis=1))


@pytest.mark.parametrize("kind", ["maximize", "minimize", "target"])
def test_gradient_of_the_score_is_that_of_finite_differences(kind):
    model, values = additive(members=3)
    objective = objectives.objective(model, [kind] * 2, [1.5] * 2, spread=0.7)
    tokens, owners = problem(2).start, np.arange(2)
    slope, step = objective.gradient(tokens, owners), 1e-5

    def score(encoded):
        members = np.einsum("lb,mlb->m", encoded, values)
        mean = members.mean()
        value = {"maximize": mean, "minimize": -mean, "target": -abs(mean - 1.5)}[kind]
        return value - 0.7 * members.std(ddof=1)

    for row, at, base in [(0, 0, 1), (1, 5, 3), (1, 11, 0)]:
        encoded = one_hot(tokens[row]).astype(np.float64)
        moved = encoded.copy()
        moved[at, base] += step
        assert slope[row, at, base] == pytest.approx((score(moved) - score(encoded)) / step, abs=1e-3)


@pytest.mark.parametrize("kind", ["maximize", "minimize"])
def test_predictions_beyond_those_for_training_promoters_are_not_rewarded(kind):
    model, _ = additive()
    objective = objectives.objective(model, [kind] * 2, [None] * 2, distance=1.0, ends=(-2.0, 3.0))
    found = searches.search(objective, problem(2), method="greedy", budget=400, rng=rng())
    end, sign = {"maximize": (3.0, 1), "minimize": (-2.0, -1)}[kind]
    assert found.predicted == pytest.approx([end] * 2, abs=0.3)
    excess = np.maximum(sign * (found.predicted - end), 0)
    assert found.score == pytest.approx(sign * found.predicted - 2 * excess)
    slope = objectives.objective(model, [kind] * 2, [None] * 2).gradient(problem(2).start, np.arange(2))
    far = objectives.objective(model, [kind] * 2, [None] * 2, distance=1.0, ends=(100.0, -100.0))
    assert far.gradient(problem(2).start, np.arange(2)) == pytest.approx(-slope)


def test_same_seed_same_designs():
    model, _ = additive()
    for method in searches.METHODS:
        found = [searches.search(maximise(model), problem(), method=method, budget=300, rng=rng(seed)) for seed in (4, 4, 5)]
        assert (found[0].tokens == found[1].tokens).all()
        assert found[0].trajectory.equals(found[1].trajectory)
        assert method == "greedy" or not found[0].trajectory.equals(found[2].trajectory)


def test_repair_places_required_sites_between_fixed_bases():
    rules = constraints.rules_of(require_sites=["TATAWA", "GGATCC"], forbid_sites=["BsaI"], gc=[0.4, 0.6])
    bits = np.full(40, 15, np.uint8)
    bits[10:14] = 1
    space = problem(6, 40, rules=rules, bits=bits)
    space.start[:, 10:14] = 0
    tokens, left = searches.repair(space, rng())
    assert not left.any()
    assert (tokens[:, 10:14] == 0).all()
    for text in detokenize(tokens):
        both = text + "-" + text[::-1].translate(str.maketrans("ACGT", "TGCA"))
        assert "GGATCC" in both
        assert any(site in both for site in ("TATAAA", "TATATA"))
        assert 16 <= text.count("G") + text.count("C") <= 24


def test_contradictions_that_only_a_search_shows_are_named():
    bits = np.full(20, 15, np.uint8)
    rules = constraints.rules_of(require_sites=["GGGGGGGGCCCC"], gc=[0, 0.3], max_homopolymer=9)
    with pytest.raises(InputError, match="'required site GGGGGGGGCCCC' and 'GC content 0 to 30 %' contradict each other"):
        searches.check_satisfiable(problem(4, 20, rules=rules, bits=bits), rng())
    start = problem(4, 20, rules=constraints.rules_of(gc=[0.9, 1]), bits=bits, max_edits=2)
    start.start[:] = 0
    with pytest.raises(InputError, match="'GC content 90 to 100 %' and 'at most 2 edits from the start' contradict"):
        searches.check_satisfiable(start, rng())
    searches.check_satisfiable(problem(4, 20, rules=constraints.rules_of(gc=[0.4, 0.6])), rng())
