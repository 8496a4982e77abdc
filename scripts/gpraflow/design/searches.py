"""Searches for designs: a genetic algorithm, greedy and beam search over all single mutants, and straight-through gradients.

All have one interface, `search`. They improve many designs at a time, so that the model is called with full batches, and they propose only
constructs that meet all constraints. The budget of a design is counted in model calls: one for each predicted construct, three for each
gradient, which costs a forward and a backward pass.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from gpraflow.design.constraints import Rule, broken, contradiction, violations
from gpraflow.design.objectives import Objective, Scores
from gpraflow.sequences.scaffold import BASES

GENETIC, GREEDY, GRADIENT = "genetic", "greedy", "gradient"
METHODS = (GENETIC, GREEDY, GRADIENT)
GRADIENT_CALLS = 3  # model calls that a gradient counts as
POPULATION = 20  # of the genetic algorithm, per design
_PROPOSALS, _REPAIRS = 24, 200  # constructs per design and step, and steps, in the search for a construct that meets the constraints
_PROBED, _PROBES = 16, 60  # starts and steps in the search for constraints that contradict each other
_LEARNING_RATE, _MOMENTS = 0.5, (0.9, 0.99)  # of Adam, for straight-through gradients
_CONFIDENCE = 2.0  # logit of a start's own bases
TRAJECTORY = {"design": pl.Int64, "step": pl.Int64, "calls": pl.Int64, "predicted": pl.Float64, "score": pl.Float64, "edits": pl.Int64}


@dataclass(frozen=True)
class Space:
    """The constructs that a search may reach, for several designs of one length.

    Attributes
    ----------
    start
        ``(designs, length)`` tokens, which need not meet the constraints.
    bits
        Possible bases, ``(designs, length)`` uint8.
    rules
        Constraints.
    max_edits
        Largest number of substitutions from the start; 0 for no limit.
    min_edits
        Least number of substitutions from the start, for starts that are promoters of the library.
    """

    start: np.ndarray
    bits: np.ndarray
    rules: Sequence[Rule] = ()
    max_edits: int = 0
    min_edits: int = 0

    @property
    def allowed(self) -> np.ndarray:
        """Whether a base is possible, ``(designs, length, 4)`` bool."""
        return (self.bits[:, :, None] >> np.arange(BASES, dtype=np.uint8)) & 1 > 0

    def edits(self, tokens: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Return the number of substitutions from the starts, ``(constructs,)``."""
        return (tokens != self.start[owners]).sum(axis=1)

    def violations(self, tokens: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Return the number of violations, ``(constructs,)``; each substitution too many or too few is one."""
        found, edits = violations(self.rules, tokens), self.edits(tokens, owners)
        if self.max_edits:
            found += np.maximum(edits - self.max_edits, 0)
        return found + np.maximum(self.min_edits - edits, 0)

    def of(self, rows: np.ndarray) -> "Space":
        """Return the space of some of the designs."""
        return Space(self.start[rows], self.bits[rows], self.rules, self.max_edits, self.min_edits)


@dataclass
class Found:
    """What a search found, ``(designs,)`` each.

    Attributes
    ----------
    tokens
        Best construct of each design, ``(designs, length)``.
    score, predicted
        Its score and ensemble mean.
    calls
        Model calls.
    trajectory
        Columns `TRAJECTORY`: the best construct after each step.
    """

    tokens: np.ndarray
    score: np.ndarray
    predicted: np.ndarray
    calls: np.ndarray
    trajectory: pl.DataFrame


class _Mutants(NamedTuple):
    tokens: np.ndarray
    owners: np.ndarray


def mutate(tokens: np.ndarray, allowed: np.ndarray, number: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return constructs with ``number`` substitutions each, at random positions by random other bases that are allowed.

    Parameters
    ----------
    tokens
        ``(constructs, length)``.
    allowed
        ``(constructs, length, 4)`` bool.
    number
        ``(constructs,)``; constructs with fewer positions that can change get that many.
    """
    options = allowed & (np.arange(BASES) != tokens[:, :, None])
    can = options.any(axis=2)
    order = np.where(can, rng.random(tokens.shape), 2.0)
    rank = np.argsort(np.argsort(order, axis=1), axis=1)
    chosen = can & (rank < number[:, None])
    rows, at = np.nonzero(chosen)
    weight = np.where(options[rows, at], rng.random((len(rows), BASES)), -1.0)
    mutants = tokens.copy()
    mutants[rows, at] = weight.argmax(axis=1)
    return mutants


def _trimmed(space: Space, tokens: np.ndarray, owners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take back random substitutions beyond the largest number of edits."""
    if not space.max_edits:
        return tokens
    edited = tokens != space.start[owners]
    rank = np.argsort(np.argsort(np.where(edited, rng.random(tokens.shape), 2.0), axis=1), axis=1)
    return np.where(edited & (rank >= space.max_edits), space.start[owners], tokens)


def _inserted(space: Space, tokens: np.ndarray, owners: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Place a random required site or motif at a random position of each construct, where the possible bases allow it."""
    sites = [bits for rule in space.rules for bits in getattr(rule, "insertions", [])]
    changed = tokens.copy()
    kinds = rng.integers(0, len(sites), len(tokens))
    for kind, site in enumerate(sites):
        rows = np.flatnonzero(kinds == kind)
        starts = tokens.shape[1] - len(site) + 1
        if not len(rows) or starts < 1:
            continue
        windows = np.lib.stride_tricks.sliding_window_view(space.bits[owners[rows]], len(site), axis=1) & site  # (rows, starts, width)
        at = np.where((windows > 0).all(axis=2), rng.random((len(rows), starts)), -1.0).argmax(axis=1)
        common = windows[np.arange(len(rows)), at]
        weight = np.where((common[:, :, None] >> np.arange(BASES)) & 1 > 0, rng.random((*common.shape, BASES)), -1.0)
        fits = (common > 0).all(axis=1)
        places = at[:, None] + np.arange(len(site))
        changed[rows[fits][:, None], places[fits]] = weight[fits].argmax(axis=2)
    return changed


def repair(space: Space, rng: np.random.Generator, steps: int = _REPAIRS, until_one: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Change starts until they meet all constraints, without calling the model.

    Each step keeps the best of several random changes. ``until_one`` stops at the first construct without violations.

    Returns
    -------
    tuple of numpy.ndarray
        Tokens, and their remaining violations.
    """
    tokens, everything = space.start.copy(), np.arange(len(space.start))
    left = space.violations(tokens, everything)
    allowed = space.allowed
    has_sites = any(getattr(rule, "insertions", []) for rule in space.rules)
    for _ in range(steps):
        bad = np.flatnonzero(left)
        if not len(bad) or (until_one and len(bad) < len(left)):
            break
        owners = np.repeat(bad, _PROPOSALS)
        number = rng.integers(1, 4, len(owners))
        proposed = mutate(tokens[owners], allowed[owners], number, rng)
        if has_sites:
            some = np.arange(len(owners)) % 3 == 0
            proposed[some] = _inserted(space, tokens[owners[some]], owners[some], rng)
        proposed = _trimmed(space, proposed, owners, rng)
        after = space.violations(proposed, owners).reshape(-1, _PROPOSALS)
        best = after.argmin(axis=1)
        better = after[np.arange(len(bad)), best] <= left[bad]
        rows = bad[better]
        tokens[rows] = proposed.reshape(len(bad), _PROPOSALS, -1)[better, best[better]]
        left[rows] = after[better, best[better]]
    return tokens, left


def check_satisfiable(space: Space, rng: np.random.Generator) -> None:
    """Check that some start can be changed so that it meets all constraints; otherwise say which cannot be met together.

    The check tries a limited number of random changes, so it ends within seconds.

    Raises
    ------
    InputError
        If no construct was found; the message names one constraint or two that no construct was found to meet.
    """
    some = np.unique(np.linspace(0, len(space.start) - 1, min(_PROBED, len(space.start))).round().astype(int))
    probed = space.of(some)
    if not repair(probed, rng, until_one=True)[1].all():
        return
    parts = [(rule.label, Space(probed.start, probed.bits, [rule])) for rule in space.rules]
    if space.max_edits:
        parts.append((f"at most {space.max_edits} edits from the start", Space(probed.start, probed.bits, (), space.max_edits)))
    if space.min_edits:
        label = f"at least {space.min_edits} edits from the training promoter that is the start"
        parts.append((label, Space(probed.start, probed.bits, (), 0, space.min_edits)))
    for label, part in parts:
        if repair(part, rng, _PROBES, until_one=True)[1].all():
            raise contradiction(label, "the bases that may change", f" (none of {_PROBES * _PROPOSALS:,} changes of each start meets both)")
    for number, (label, one) in enumerate(parts):
        for other_label, other in parts[number + 1 :]:
            edits = max(one.max_edits, other.max_edits), max(one.min_edits, other.min_edits)
            both = Space(probed.start, probed.bits, [*one.rules, *other.rules], *edits)
            if repair(both, rng, _PROBES, until_one=True)[1].all():
                raise contradiction(label, other_label, f" (none of {_PROBES * _PROPOSALS:,} changes of each start meets both)")
    tokens, left = repair(probed, rng)
    missed = broken(space.rules, tokens[left.argmin()][None])[0] or ["the number of edits"]
    raise contradiction("; ".join(missed), "all other constraints together", ", although each two of them can be met")


@dataclass
class _Run:
    """Progress of a search: the best construct of each design, calls and trajectory."""

    objective: Objective
    space: Space
    budget: int
    tokens: np.ndarray
    calls: np.ndarray = field(init=False)
    score: np.ndarray = field(init=False)
    predicted: np.ndarray = field(init=False)
    members: np.ndarray = field(init=False)  # predictions for the constructs that the search begins with
    reached: np.ndarray = field(init=False)
    steps: list[pl.DataFrame] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls = np.zeros(len(self.tokens), np.int64)
        found = self.evaluate(self.tokens, np.arange(len(self.tokens)))
        self.score, self.predicted, self.reached, self.members = found
        self.note()

    def evaluate(self, tokens: np.ndarray, owners: np.ndarray) -> Scores:
        """Predict constructs and count the calls."""
        self.calls += np.bincount(owners, minlength=len(self.calls))
        return self.objective(tokens, owners)

    def keep(self, tokens: np.ndarray, owners: np.ndarray, scores: Scores) -> None:
        """Remember constructs that are better than the best so far."""
        order = np.lexsort((-scores.score, owners))
        first = order[np.flatnonzero(np.diff(owners[order], prepend=-1))]
        first = first[scores.score[first] > self.score[owners[first]]]
        rows = owners[first]
        self.tokens[rows], self.score[rows], self.predicted[rows] = tokens[first], scores.score[first], scores.predicted[first]
        self.reached[rows] = scores.reached[first]

    def note(self) -> None:
        """Add the current state to the trajectory."""
        size = len(self.calls)
        edits = self.space.edits(self.tokens, np.arange(size))
        columns = (np.arange(size), np.full(size, len(self.steps)), self.calls.copy(), self.predicted.copy(), self.score.copy(), edits)
        self.steps.append(pl.DataFrame(dict(zip(TRAJECTORY, columns, strict=True)), schema=TRAJECTORY))

    def active(self, least: int = 1) -> np.ndarray:
        """Return the designs that have not reached their target and have ``least`` calls left."""
        return np.flatnonzero(~self.reached & (self.calls + least <= self.budget))

    def feasible(self, tokens: np.ndarray, owners: np.ndarray) -> np.ndarray:
        """Return which constructs meet all constraints."""
        return self.space.violations(tokens, owners) == 0

    def found(self) -> Found:
        """Return the result."""
        # Designs that stopped early repeat their last state in later steps
        steps = pl.concat(self.steps).unique(["design", "calls", "score"], keep="first", maintain_order=True)
        return Found(self.tokens, self.score, self.predicted, self.calls, steps)


def search(
    objective: Objective,
    space: Space,
    *,
    method: str,
    budget: int,
    rng: np.random.Generator,
    begin: np.ndarray | None = None,
    beam: int = 1,
    progress: Callable[[int], Any] = lambda calls: None,
) -> Found:
    """Search for the best construct of each design.

    Parameters
    ----------
    objective
        Score to maximise.
    space
        Constructs that can be reached.
    method
        ``genetic``: a population for each design, tournament selection, two-point crossover and mutation. ``greedy``: the best of all
        single mutants (in-silico mutagenesis), repeated until none is better; with ``beam`` above 1, of the best ``beam`` constructs.
        ``gradient``: logits of the bases, updated by Adam with the gradient at their most probable bases (straight-through estimator,
        Bengio et al. 2013, arXiv:1308.3432; for sequences Linder & Seelig 2021, doi:10.1186/s12859-021-04437-5), with Gumbel noise.
    budget
        Largest number of model calls for each design. A target that is reached ends a search earlier.
    rng
        Random numbers.
    begin
        ``(designs, length)`` constructs to begin with, which meet the constraints (`repair`); None: the starts.
    beam
        Width of the beam.
    progress
        Called with the number of model calls after each step.
    """
    run = _Run(objective, space, budget, (space.start if begin is None else begin).copy())
    if method == GREEDY:
        _beam(run, rng, progress, beam)
    else:
        (_genetic if method == GENETIC else _gradient)(run, rng, progress)
    return run.found()


def _genetic(run: _Run, rng: np.random.Generator, progress: Callable[[int], Any]) -> None:
    space, designs = run.space, len(run.tokens)
    allowed = space.allowed
    changeable = (np.bitwise_count(space.bits) > 1).sum(axis=1)
    most = np.minimum(changeable // 2, space.max_edits or changeable)
    population = np.repeat(run.tokens[:, None], POPULATION, axis=1)  # (designs, members, length)
    fitness = np.full((designs, POPULATION), -np.inf)
    fitness[:, 0] = run.score
    while len(rows := run.active()):
        before = run.calls.sum()
        members = POPULATION
        owners = np.repeat(rows, members)
        known = np.isfinite(fitness[owners]).sum(axis=1)
        first = known <= 1  # the first generation: mutants of the start, near and far
        parents = np.array([_tournament(fitness[owners], known, rng) for _ in range(2)])
        parent, other = population[owners, parents[0]], population[owners, parents[1]]
        ends = np.sort(rng.integers(0, parent.shape[1] + 1, (2, len(owners))), axis=0)
        at = np.arange(parent.shape[1])
        crossed = (at >= ends[0][:, None]) & (at < ends[1][:, None]) & (rng.random(len(owners)) < 0.7)[:, None]
        child = np.where(crossed, other, parent)
        number = np.where(first, rng.integers(1, np.maximum(most[owners], 1) + 1), 1 + rng.poisson(1.0, len(owners)))
        child = _trimmed(space, mutate(child, allowed[owners], number, rng), owners, rng)
        child, meets = _halved(run, child, parent, owners, rng)
        good = np.flatnonzero(meets & (child != parent).any(axis=1))
        good = good[_within(owners[good], run.budget - run.calls)]
        if not len(good):  # constraints are tight; each design pays for the attempt, so that the search ends
            run.calls[rows] += 1
            continue
        child, owners = child[good], owners[good]
        scores = run.evaluate(child, owners)
        run.keep(child, owners, scores)
        place = _places(owners)
        offspring = np.zeros((designs, members, child.shape[1]), np.uint8)
        of_offspring = np.full((designs, members), -np.inf)
        offspring[owners, place], of_offspring[owners, place] = child, scores.score
        together, values = np.concatenate([population, offspring], axis=1), np.concatenate([fitness, of_offspring], axis=1)
        values = np.where(_repeated(together, values), -np.inf, values)
        best = np.argsort(-values, axis=1, kind="stable")[:, :POPULATION]
        population, fitness = np.take_along_axis(together, best[:, :, None], axis=1), np.take_along_axis(values, best, axis=1)
        idle = np.setdiff1d(rows, owners)
        run.calls[idle] += 1
        run.note()
        progress(int(run.calls.sum() - before))


def _tournament(fitness: np.ndarray, known: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the better of two random members that have a fitness; these come first, best first."""
    return np.minimum(*(rng.random((2, len(fitness))) * known).astype(np.int64))


def _halved(
    run: _Run, tokens: np.ndarray, before: np.ndarray, owners: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Take back half of the changes of constructs that break a constraint, up to 5 times; return them, and which meet all constraints."""
    meets = run.feasible(tokens, owners)
    tokens = tokens.copy()
    for _ in range(5):
        bad = np.flatnonzero(~meets)
        if not len(bad):
            break
        tokens[bad] = np.where(rng.random(tokens[bad].shape) < 0.5, before[bad], tokens[bad])
        meets[bad] = run.feasible(tokens[bad], owners[bad])
    return tokens, meets


def _within(owners: np.ndarray, left: np.ndarray) -> np.ndarray:
    """Return the places of constructs, in order, of which each design has no more than its calls left."""
    return np.flatnonzero(_places(owners) < left[owners])


def _places(owners: np.ndarray) -> np.ndarray:
    """Return the number of earlier constructs of the same design; designs are sorted."""
    first = np.flatnonzero(np.diff(owners, prepend=-1))
    return np.arange(len(owners)) - np.repeat(first, np.diff(np.append(first, len(owners))))


def _repeated(tokens: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return which members of a population equal an earlier one with a fitness, ``(designs, members)`` bool."""
    weights = np.random.Generator(np.random.PCG64(0)).integers(1, 1 << 62, tokens.shape[2])
    keys = (tokens.astype(np.int64) * weights).sum(axis=2)  # equal sequences have equal keys; others hardly ever
    order = np.lexsort((-values, keys), axis=1)
    ordered = np.take_along_axis(keys, order, axis=1)
    again = np.zeros(keys.shape, bool)
    np.put_along_axis(again, order[:, 1:], ordered[:, 1:] == ordered[:, :-1], axis=1)
    return again


def _single_mutants(tokens: np.ndarray, allowed: np.ndarray) -> _Mutants:
    """Return all single mutants of constructs that are allowed, and the construct of each."""
    options = allowed & (np.arange(BASES) != tokens[:, :, None])
    rows, at, base = np.nonzero(options)
    mutants = tokens[rows]
    mutants[np.arange(len(rows)), at] = base
    return _Mutants(mutants, rows)


def _beam(run: _Run, rng: np.random.Generator, progress: Callable[[int], Any], beam: int) -> None:
    allowed = run.space.allowed
    designs = np.arange(len(run.tokens))
    front, owners, scores = run.tokens.copy(), designs, run.score.copy()
    while True:
        before = run.calls.sum()
        going = np.isin(owners, run.active())
        front, owners, scores = front[going], owners[going], scores[going]
        if not len(owners):
            return
        mutants, of_front = _single_mutants(front, allowed[owners])
        of = owners[of_front]
        good = np.flatnonzero(run.feasible(mutants, of))
        order = good[np.lexsort((rng.random(len(good)), of[good]))]  # a budget that ends within a step takes random mutants
        order = order[_distinct(mutants[order], of[order])] if beam > 1 else order
        order = order[_within(of[order], run.budget - run.calls)]
        if not len(order):
            return
        mutants, of = mutants[order], of[order]
        found = run.evaluate(mutants, of)
        best_before = run.score.copy()
        run.keep(mutants, of, found)
        run.note()
        progress(int(run.calls.sum() - before))
        improved = run.score > best_before
        ranked = np.lexsort((-found.score, of))
        ranked = ranked[_places(of[ranked]) < beam]
        ranked = ranked[improved[of[ranked]]]
        front, owners, scores = mutants[ranked], of[ranked], found.score[ranked]


def _distinct(tokens: np.ndarray, owners: np.ndarray) -> np.ndarray:
    """Return the places of the first of equal constructs of one design, in order."""
    rows = np.ascontiguousarray(np.concatenate([owners.astype(">u4").view(np.uint8).reshape(len(owners), 4), tokens], axis=1))
    _, first = np.unique(rows.view(f"V{rows.shape[1]}").ravel(), return_index=True)
    return np.sort(first)


def _gradient(run: _Run, rng: np.random.Generator, progress: Callable[[int], Any]) -> None:
    space, designs = run.space, len(run.tokens)
    allowed = space.allowed
    logits = np.where(allowed, 0.0, -np.inf)
    np.put_along_axis(logits, run.tokens[:, :, None].astype(np.int64), _CONFIDENCE, axis=2)
    mean, square = np.zeros((2, *logits.shape))
    steps = np.zeros(designs, np.int64)
    current, members = run.tokens.copy(), run.members.copy()  # meet the constraints
    while len(rows := run.active(GRADIENT_CALLS + 1)):
        before = run.calls.sum()
        slope = run.objective.gradient(current[rows], rows, members[rows])
        run.calls[rows] += GRADIENT_CALLS
        steps[rows] += 1
        exponent = np.exp(logits[rows] - logits[rows].max(axis=2, keepdims=True))
        share = exponent / exponent.sum(axis=2, keepdims=True)
        slope = share * (slope - (share * slope).sum(axis=2, keepdims=True))  # through the softmax
        for moment, rate, power in ((mean, _MOMENTS[0], 1), (square, _MOMENTS[1], 2)):
            moment[rows] = rate * moment[rows] + (1 - rate) * slope**power
        unbiased = [moment[rows] / (1 - rate ** steps[rows, None, None]) for moment, rate in ((mean, _MOMENTS[0]), (square, _MOMENTS[1]))]
        logits[rows] += np.where(allowed[rows], _LEARNING_RATE * unbiased[0] / (np.sqrt(unbiased[1]) + 1e-8), 0)
        noisy = logits[rows] + rng.gumbel(size=logits[rows].shape) * 0.5
        drawn = noisy.argmax(axis=2).astype(np.uint8)
        if space.max_edits:  # the substitutions with the largest advantage over the start's own base
            start = space.start[rows]
            own = np.take_along_axis(noisy, start[:, :, None].astype(np.int64), axis=2)[:, :, 0]
            rank = np.argsort(np.argsort(-(noisy.max(axis=2) - own), axis=1), axis=1)
            drawn = np.where(rank < space.max_edits, drawn, start)
        drawn, meets = _halved(run, drawn, current[rows], rows, rng)
        drawn = np.where(meets[:, None], drawn, current[rows])
        scores = run.evaluate(drawn, rows)
        current[rows], members[rows] = drawn, scores.members
        run.keep(drawn, rows, scores)
        run.note()
        progress(int(run.calls.sum() - before))
