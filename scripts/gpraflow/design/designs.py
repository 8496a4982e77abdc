"""Designs for a set of objectives: starts, constraints, search, selection, and the table of designs."""

import copy
import inspect
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.design import objectives, oligos, searches, starts
from gpraflow.design.constraints import Rule, check_possible, contradiction, rules_of
from gpraflow.design.objectives import LADDER, TARGET
from gpraflow.explanation import mutagenesis
from gpraflow.formats import records
from gpraflow.prediction.predictor import MEMBERS, Predictor
from gpraflow.sequences import flanks, neighbours
from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.scaffold import Scaffold, detokenize, tokenize

_BLOCK = 256  # designs searched at a time
_ROUNDS = 4  # of searches, if designs are lost because they are too near to others
_TRAINED = 2048  # training promoters, evenly spaced, that show the range of predictions
_SAMPLE = 512  # random constructs that show which predictions are usual
_CHECKED = 16  # starts on which constraints are checked
_PILOT, _PILOT_CALLS = 8, 600  # designs and model calls of the search for the highest or the lowest prediction
_LADDER_ENDS = (0.01, 0.99)  # quantiles of the predictions for random constructs between which the targets of a ladder lie
_MEASURED_ENDS = (0.001, 0.999)  # quantiles of measured expression of training promoters between which promises lie
_FAR = 3  # edits within which the search for the nearest training promoter is exhaustive, at least
REASONS = {"maximize": "highest", "minimize": "lowest"}


@dataclass(frozen=True)
class Options:
    """What to design; the keys of the config section ``design``.

    Attributes
    ----------
    number
        Designs of each objective; those of a ladder are divided among its targets.
    objectives
        ``maximize``, ``minimize``, ``target`` (each of ``targets``) and ``ladder`` (``ladder`` targets over the range of predictions).
    targets, ladder
        Targets in the unit of the training table, and number of targets of a ladder.
    ladder_range
        Lowest and highest target of a ladder; empty: the 1st and the 99th percentile of predictions for random constructs.
    tolerance
        Largest difference between prediction and target, in units of transformed expression; ``auto``: the standard deviation of the
        model's error.
    search, budget, beam
        See `searches.search`.
    spread_weight, distance_weight
        Weights of the penalties for uncertainty, see `objectives`; the first may be ``auto``.
    starts
        ``random``, ``library``, or anything else for the sequences that are given to `design`.
    length, template, protect
        Length of inserts in bp (0: that of the template, or the usual one), and the bases that may change, see `starts.possible`.
    max_edits
        Largest number of substitutions from the start; 0 for no limit.
    min_distance
        Least number of edits from each training promoter and from each other design.
    rules
        Constraints.
    pool
        Oligo pool.
    seed
        Random seed.
    """

    number: int = 100
    objectives: tuple[str, ...] = ("maximize",)
    targets: tuple[float, ...] = ()
    ladder: int = 10
    ladder_range: tuple[float, ...] = ()
    tolerance: float | str = "auto"
    search: str = searches.GENETIC
    budget: int = 1000
    beam: int = 1
    spread_weight: float | str = "auto"
    distance_weight: float = 1.0
    starts: str = starts.RANDOM
    length: int = 0
    template: str = ""
    protect: tuple[str, ...] = ()
    max_edits: int = 0
    min_distance: int = 3
    rules: tuple[Rule, ...] = ()
    pool: oligos.Pool = field(default_factory=oligos.Pool)
    seed: int = 0


class Request(NamedTuple):
    """Designs of one objective: ``maximize``, ``minimize`` or ``target``, the target in transformed units, and the number of designs."""

    kind: str
    target: float | None
    number: int


@dataclass(frozen=True)
class Designs:
    """Designs and how they were found.

    Attributes
    ----------
    table
        A row per design: ``name``, ``objective``, ``target``, ``insert``, ``sequence`` (with flanks), the prediction columns of
        ``gpraflow predict`` for each condition, ``predicted`` (of the objective, transformed), ``predicted_low``, ``predicted_high``,
        ``promised``, ``promised_low``, ``promised_high`` (the same, moved into the range of measured training promoters if it is known),
        ``member_1`` and so on for an ensemble, ``score``, ``within_tolerance`` (null without a target), ``start``, ``edits``, ``nearest``
        and ``distance`` (the nearest training promoter; null if unknown), ``search``, ``calls`` and ``reason``.
    trajectory
        ``name`` and `searches.TRAJECTORY`.
    notes
        What was lost or falls short, as text.
    partial
        Whether the search was interrupted.
    """

    table: pl.DataFrame
    trajectory: pl.DataFrame
    notes: list[str]
    partial: bool = False


class _Batch(NamedTuple):
    """Starts of one length: the place of the request of each, ``(designs,)``, the inserts and their names."""

    of: np.ndarray
    inserts: np.ndarray
    names: list[str]


class _Library(NamedTuple):
    """Training promoters: their table and inserts."""

    table: pl.DataFrame
    inserts: pl.Series


@dataclass
class Designer:
    """A model with everything that designs for it need: library, given starts, and the units of targets."""

    predictor: Predictor
    options: Options
    library: pl.DataFrame | None = None
    given: pl.DataFrame | None = None
    progress: Callable[[int], Any] = lambda calls: None

    def __post_init__(self) -> None:
        """Check the options, and derive what all designs share."""
        options = self.options
        self.known = self.predictor.require_calibration(objectives.NEEDED)
        self.flanks = self.predictor.flanks
        self.of_flanks = sum(map(len, self.flanks))
        self.model = objectives.model_of(self.predictor)
        self.spread = objectives.spread_weight(options.spread_weight, self.predictor.about["members"], str(self.predictor.directory))
        self.tolerance = self.model.error if options.tolerance == "auto" else float(options.tolerance)
        self._check()
        self.mine = _Library(self.library, self._inserts(self.library["sequence"])) if self.library is not None else None
        shares = starts.composition(self.mine.inserts) if self.mine is not None else starts.composition_without_flanks(self.known)
        self.shares = shares

    @property
    def has_gradient(self) -> bool:
        """Whether the model has a gradient."""
        return mutagenesis.has_gradient(self.predictor)

    def changed(self, **options: Any) -> "Designer":
        """Return a designer with other search, number, objectives or weights, which shares the compiled model and the library."""
        other = copy.copy(self)
        other.options = replace(self.options, **options)
        other.spread = objectives.spread_weight(other.options.spread_weight, self.predictor.about["members"], str(self.predictor.directory))
        other._check()
        return other

    # Checks

    def _check(self) -> None:
        options = self.options
        for kind in options.objectives:
            if kind not in objectives.KINDS:
                raise ConfigError(f"design.objectives: '{kind}' is none of {', '.join(objectives.KINDS)}")
        if TARGET in options.objectives and not options.targets:
            raise ConfigError("design.targets: objective target needs at least one target expression")
        if options.search not in searches.METHODS:
            raise ConfigError(f"design.search: '{options.search}' is none of {', '.join(searches.METHODS)}")
        if options.starts == starts.LIBRARY and (self.library is None or "expression" not in self.library.columns):
            raise ConfigError("design.starts: library needs the training promoters with their expression; give the table of the library")
        least, most = self.known.lengths
        if options.template:
            starts.check_template(options.template, self.of_flanks, self.predictor.window["length"], least, most)
        if options.template and options.length and options.length != len(options.template):
            raise contradiction(f"design.length {options.length}", f"the template of {len(options.template)} bp")
        if options.length and not least <= options.length + self.of_flanks <= most:
            raise InputError(
                f"design.length: {options.length} bp and flanks of {self.of_flanks} bp make {options.length + self.of_flanks} bp, but the "
                f"training promoters had {least} to {most} bp"
            )
        if options.starts == starts.LIBRARY and options.max_edits and options.max_edits < options.min_distance:
            raise contradiction(
                f"at most {options.max_edits} edits from the start, a training promoter",
                f"at least {options.min_distance} edits from each training promoter",
            )
        if options.template and self.given is not None and options.starts not in (starts.RANDOM, starts.LIBRARY):
            wrong = self.given.filter(pl.col("insert").str.len_bytes() != len(options.template))
            if wrong.height:
                raise InputError(
                    f"design.template: it has {len(options.template)} bp, but the start '{wrong['name'][0]}' has "
                    f"{len(wrong['insert'][0])} bp; give starts of the template's length"
                )

    # Starts

    def _inserts(self, sequences: pl.Series) -> pl.Series:
        scaffold = Scaffold(self.known.scaffold, *self.flanks)
        return flanks.inserts(sequences, scaffold, self.known.max_flank_edits) if self.of_flanks else sequences

    @property
    def length(self) -> int:
        """Length of random inserts in bp."""
        if self.options.template or self.options.length:
            return len(self.options.template) or self.options.length
        least, most = (end - self.of_flanks for end in self.known.lengths)
        if self.mine is not None:
            return int(self.mine.inserts.str.len_bytes().mode().sort()[0])
        return int(np.clip(self.predictor.window["length"] - self.of_flanks, max(least, 1), most))

    def _random(self, number: int, rng: np.random.Generator) -> np.ndarray:
        return starts.fill_template(starts.random_inserts(self.shares, number, self.length, rng), self.options.template, rng)

    def _batches(self, requests: Sequence[Request], numbers: np.ndarray, first: np.ndarray, rng: np.random.Generator) -> Iterator[_Batch]:
        """Yield the starts of requests, ``numbers`` of each; ``first`` is the number of starts that earlier rounds took."""
        options, of = self.options, np.repeat(np.arange(len(requests)), numbers)
        if options.starts == starts.RANDOM:
            yield from _split(of, self._random(len(of), rng), [f"random {first.sum() + row + 1}" for row in range(len(of))])
            return
        if options.starts == starts.LIBRARY:
            assert self.mine is not None
            parts = [self._best(*each) for each in zip(requests, numbers, first, strict=True)]
            chosen = np.concatenate(parts)
            text, names = self.mine.inserts.gather(chosen), [f"library, row {row + 1}" for row in chosen]
        else:
            assert self.given is not None
            chosen = np.concatenate([np.arange(begin, begin + number) for begin, number in zip(first, numbers, strict=True)])
            chosen = chosen % self.given.height
            text, names = self.given["insert"].gather(chosen), self.given["name"].gather(chosen).to_list()
        lengths = text.str.len_bytes().to_numpy()
        for length in np.unique(lengths):
            rows = np.flatnonzero(lengths == length)
            inserts = starts.fill_template(tokenize(text.gather(rows), int(length)), options.template, rng)
            yield from _split(of[rows], inserts, [names[row] for row in rows])

    def _best(self, request: Request, number: int, first: int) -> np.ndarray:
        """Return the rows of the best promoters of the library for a request, after the first; the best again if there are too few."""
        assert self.mine is not None
        rows = starts.best_of(self.mine.table, self.mine.inserts, request.kind, request.target, first + number, self.length)
        if not len(rows):
            raise InputError(
                f"design.starts: no promoter of the library has {self.length} bp without N; set design.length to another length"
            )
        return np.resize(rows, first + number)[first:]

    def space(self, inserts: np.ndarray) -> searches.Space:
        """Return the constructs that can be reached from inserts."""
        options = self.options
        bits = starts.possible(inserts, self.flanks, options.template, options.protect)
        five, three = (np.broadcast_to(tokenize(pl.Series([flank]), len(flank)), (len(inserts), len(flank))) for flank in self.flanks)
        least = options.min_distance if options.starts == starts.LIBRARY else 0
        return searches.Space(np.concatenate([five, inserts, three], axis=1), bits, options.rules, options.max_edits, least)

    # Objectives

    def requests(self) -> list[Request]:
        """Return the objectives with their targets in transformed units.

        Raises
        ------
        InputError
            If a target cannot be reached.
        """
        options, found = self.options, []
        usual = self._usual() if {TARGET, LADDER} & set(options.objectives) else np.zeros(1)
        for kind in options.objectives:
            if kind == TARGET:
                targets = self._transformed(options.targets)
                self._check_reachable(targets, options.targets, usual)
            elif kind == LADDER:
                given = self._transformed(options.ladder_range)
                if len(given):
                    self._check_reachable(given, options.ladder_range, usual)
                low, high = given if len(given) else np.quantile(usual, _LADDER_ENDS)
                targets = np.linspace(low, high, options.ladder)
            else:
                found.append(Request(kind, None, options.number))
                continue
            share = np.bincount(np.arange(options.number) % len(targets), minlength=len(targets))
            found += [Request(TARGET, float(target), int(number)) for target, number in zip(targets, share, strict=True)]
        return [request for request in found if request.number]

    @cached_property
    def _ends(self) -> tuple[float, float]:
        """Return the lowest and the highest prediction for training promoters or, without them, for random constructs."""
        if self.mine is None:
            predicted = self._usual()
        else:
            some = self.mine.table["sequence"].gather_every(max(1, -(-self.mine.table.height // _TRAINED)))
            predicted = self.model.members(tokenize(some, **self.predictor.window)).mean(axis=1)
        return float(predicted.min()), float(predicted.max())

    def _transformed(self, targets: Sequence[float]) -> np.ndarray:
        values = np.array(targets, np.float64)
        return values if "-" in self.predictor.readout else self.predictor.transform.forward(values)

    def _usual(self) -> np.ndarray:
        """Return the predictions of random constructs."""
        space = self.space(self._random(_SAMPLE, randomness.generator(self.options.seed, "design", "usual")))
        return self.model.members(space.start).mean(axis=1)

    def _check_reachable(self, targets: np.ndarray, shown: Sequence[float], usual: np.ndarray) -> None:
        for side, kind in ((1.0, "maximize"), (-1.0, "minimize")):
            far = [at for at, target in enumerate(targets) if side * target > (side * usual).max()]
            if not far:
                continue
            rng = randomness.generator(self.options.seed, "design", "pilot", kind)
            space = self.space(self._random(_PILOT, rng))
            space = replace(space, start=searches.repair(space, rng)[0])
            calls = max(_PILOT_CALLS, self.options.budget)
            pilot = objectives.objective(self.model, [kind] * _PILOT, [None] * _PILOT)
            reached = searches.search(pilot, space, method=searches.GENETIC, budget=calls, rng=rng).predicted
            best = float((side * reached).max() * side)
            for at in far:
                if side * targets[at] > side * best + self.tolerance:
                    limit = self.predictor.transform.inverse(np.array(best)) if "-" not in self.predictor.readout else best
                    raise InputError(
                        f"design.targets: {shown[at]:g} cannot be reached: the {REASONS[kind]} prediction of a trial search is "
                        f"{float(limit):.2f}; choose a target on this side of it, or allow more changes"
                    )

    def objective(self, requests: Sequence[Request]) -> objectives.Objective:
        """Return the objective of designs, of each of which the request is given."""
        weight = self.options.distance_weight
        return objectives.objective(
            self.model,
            [request.kind for request in requests],
            [request.target for request in requests],
            tolerance=self.tolerance,
            spread=self.spread,
            distance=weight,
            ends=self._ends if weight else (-np.inf, np.inf),
        )

    # Search

    def check(self) -> None:
        """Check constraints, template and oligos on the starts, without calling the model.

        Raises
        ------
        InputError
            If a constraint cannot be met, or two contradict each other.
        """
        rng = randomness.generator(self.options.seed, "design", "check")
        kind = next(iter(self.options.objectives), "maximize")
        request = Request(TARGET if kind == LADDER else kind, 0.0, _CHECKED)
        for batch in self._batches([request], np.array([_CHECKED]), np.array([0]), rng):
            space = self.space(batch.inserts)
            oligos.check_length(self.options.pool, batch.inserts.shape[1], self.flanks)
            common = np.bitwise_or.reduce(space.bits, axis=0)
            check_possible(self.options.rules, common, (len(self.flanks[0]), len(self.flanks[1])))
            searches.check_satisfiable(space, rng)

    def run(self, *, together: bool = False, nearest: bool = True) -> Designs:
        """Search for all designs, and select them.

        Parameters
        ----------
        together
            Search for all objectives at a time, which is faster for few designs; otherwise for all targets at a time, and for maximised and
            minimised designs one after the other, so that an interrupt keeps those that are finished.
        nearest
            Whether to look for the nearest training promoters.
        """
        self.check()
        tables, trajectories, notes, partial = [], [], [], False
        taken = pl.Series("insert", [], pl.String)
        requests = self.requests()
        for number, (_, group) in enumerate(groupby(requests, lambda request: together or request.kind)):
            try:
                table, trajectory, lost = self._designs(list(group), number, taken)
                # At once: Keras leaves a model without its weights if a prediction is interrupted
                described = self._described(table.rename({"key": "name"}), nearest)
            except KeyboardInterrupt:
                partial = True
                break
            tables.append(described)
            trajectories.append(trajectory)
            notes += lost
            taken = pl.concat([taken, table["insert"]])
        if not tables:
            raise KeyboardInterrupt
        table, trajectory = pl.concat(tables), pl.concat(trajectories)
        width = len(str(table.height))
        names = pl.Series("name", [f"design_{number:0{width}}" for number in range(1, table.height + 1)], pl.String)
        steps = trajectory.join(pl.DataFrame({"key": table["name"], "name": names}), on="key").select("name", *searches.TRAJECTORY)
        return Designs(table.with_columns(names), steps, notes, partial)

    def _designs(self, requests: list[Request], number: int, taken: pl.Series) -> tuple[pl.DataFrame, pl.DataFrame, list[str]]:
        """Search for the designs of several requests at a time; ``taken`` are the inserts of earlier ones."""
        options, kept, steps, notes = self.options, [_empty()], list[pl.DataFrame](), list[str]()
        wanted = np.array([request.number for request in requests])
        first, lost = np.zeros_like(wanted), Counter[str]()
        for attempt in range(_ROUNDS):
            missing = wanted - np.bincount(pl.concat(kept)["of"].to_numpy(), minlength=len(wanted))
            if not missing.any():
                break
            rng = randomness.generator(options.seed, "design", requests[0].kind, number, attempt)
            parts = []
            for part, batch in enumerate(self._batches(requests, missing, first, rng)):
                found, trajectory, failed = self._search(batch, requests, rng, f"{number}/{attempt}/{part}")
                lost["no construct that meets all constraints was found from the start"] += failed
                parts.append(found)
                steps.append(trajectory)
            first += missing
            fresh = pl.concat(parts).sort("score", descending=True, maintain_order=True)
            chosen, dropped = self._far_apart(fresh, pl.concat([taken, *[part["insert"] for part in kept]]))
            lost.update(dropped)
            kept.append(chosen)
            if options.search == searches.GREEDY and options.starts != starts.RANDOM and not chosen.height:
                break
        together = pl.concat(kept).sort("score", descending=True, maintain_order=True)
        of = " and ".join(dict.fromkeys(request.kind for request in requests))
        notes += [f"{of}: {count} designs were dropped: {what}" for what, count in lost.items() if count]
        tables = []
        for place, request in enumerate(requests):
            table, more = self._reasons(together.filter(of=place), request)
            tables.append(table)
            notes += more
        return pl.concat(tables), pl.concat(steps), notes

    def _reasons(self, table: pl.DataFrame, request: Request) -> tuple[pl.DataFrame, list[str]]:
        """Return the designs of one request with ``objective``, ``target`` and ``reason``, and notes on what falls short."""
        notes, of = [], request.kind if request.target is None else f"target {request.target:.4g}"
        if table.height < request.number:
            notes.append(f"{of}: {table.height} of {request.number} designs were found")
        rank = pl.int_range(1, table.height + 1, eager=True).cast(pl.String)
        if request.target is None:
            reason = pl.select(
                pl.lit("score ") + rank + f" of {table.height}, {REASONS[request.kind]} prediction less penalties"
            ).to_series()
        else:
            off = (table["predicted"] - request.target).abs()
            within = int((off <= self.tolerance).sum())
            if within < table.height:
                notes.append(
                    f"{of}: {table.height - within} of {table.height} designs are not within the tolerance of {self.tolerance:.3g}"
                )
            reason = pl.Series([f"predicted {value:.3g} from the target of {request.target:.4g}" for value in off], dtype=pl.String)
        kind, target = pl.lit(request.kind).alias("objective"), pl.lit(request.target, pl.Float64).alias("target")
        return table.drop("of").with_columns(kind, target, reason.alias("reason")), notes

    def _search(
        self, batch: _Batch, requests: Sequence[Request], rng: np.random.Generator, key: str
    ) -> tuple[pl.DataFrame, pl.DataFrame, int]:
        space = self.space(batch.inserts)
        repaired, left = searches.repair(space, rng)
        good = np.flatnonzero(left == 0)
        here = space.of(good)
        names = [batch.names[row] for row in good]
        size = len(good)
        if not size:
            return _empty(), _no_steps(), len(left)
        objective = self.objective([requests[place] for place in batch.of[good]])
        found = searches.search(
            objective,
            here,
            begin=repaired[good],
            method=self.options.search,
            budget=self.options.budget,
            rng=rng,
            beam=self.options.beam,
            progress=self.progress,
        )
        five, three = len(self.flanks[0]), len(self.flanks[1])
        table = pl.DataFrame(
            {
                "key": [f"{key}/{row}" for row in range(size)],
                "of": batch.of[good],
                "insert": detokenize(found.tokens[:, five : found.tokens.shape[1] - three]),
                "predicted": found.predicted,
                "score": found.score,
                "start": names,
                "edits": here.edits(found.tokens, np.arange(size)),
                "calls": found.calls,
            },
            schema=_FOUND,
        )
        keys = table["key"].gather(found.trajectory["design"])
        return table, found.trajectory.with_columns(key=keys).select("key", *searches.TRAJECTORY), len(left) - size

    def _far_apart(self, table: pl.DataFrame, taken: pl.Series) -> tuple[pl.DataFrame, dict[str, int]]:
        """Drop designs that are too near to a training promoter or to a better design."""
        least, lost = self.options.min_distance, {}
        if self.options.rules and self.options.pool != oligos.Pool():
            whole = oligos.oligo(self.options.pool, table["insert"], self.flanks)
            bad = pl.Series([bool(found) for found in oligos.new_sites(self.options.pool, whole, self.options.rules)], dtype=pl.Boolean)
            lost["a forbidden site at the joint of insert and primer site"] = int(bad.sum())
            table = table.filter(~bad)
        if least and self.mine is not None and table.height:
            near = neighbours.overlaps(self.mine.inserts, table["insert"], least - 1)["other"].unique()
            lost[f"less than {least} edits from a training promoter"] = len(near)
            table = table.filter(~pl.int_range(table.height, eager=True).is_in(near.implode()))
        if least and table.height:
            every = pl.concat([taken, table["insert"]])
            pairs = neighbours.overlaps(every, every, least - 1).filter(pl.col("library") < pl.col("other"))
            dropped: set[int] = set()
            for better, other in pairs.sort("other", "library").select("library", "other").iter_rows():
                if better not in dropped:
                    dropped.add(other)
            rows = [row for row in range(table.height) if row + len(taken) not in dropped]
            lost[f"less than {least} edits from another design"] = table.height - len(rows)
            table = table[rows]
        return table, lost

    # Table

    def _described(self, table: pl.DataFrame, with_nearest: bool) -> pl.DataFrame:
        five, three = self.flanks
        whole = table.with_columns(sequence=five + pl.col("insert") + three)
        outputs = self.predictor.outputs(tokenize(whole["sequence"], **self.predictor.window))
        own = self.predictor.promoters(whole["sequence"], outputs=outputs)
        predicted = own.select("predicted", "predicted_low", "predicted_high").with_columns(**self._promised(own))
        if MEMBERS in own.columns:
            members = own[MEMBERS].to_numpy()
            predicted = predicted.with_columns(
                own["predicted_sd"], **{f"member_{at + 1}": members[:, at] for at in range(members.shape[1])}
            )
        records = self.predictor.records(whole.select("name", "sequence"), "designs", Ledger("design", "")).drop("name", "sequence")
        nearest, distance = self._nearest(whole["insert"]) if with_nearest else _unknown(table.height)
        off = (predicted["predicted"].cast(pl.Float64) - whole["target"]).abs()
        parts = [
            whole.select("name", "objective", "target", "insert", "sequence"),
            predicted,
            records,
            whole.select("score", pl.Series("within_tolerance", off <= self.tolerance), "start", "edits"),
            pl.DataFrame({"nearest": nearest, "distance": distance}),
            whole.select(pl.lit(self.options.search).alias("search"), "calls", "reason"),
        ]
        return pl.concat(parts, how="horizontal")

    def _promised(self, own: pl.DataFrame) -> dict[str, pl.Expr]:
        """Return predictions and their intervals, moved into the range of measured training promoters: no more is promised."""
        low, high = -np.inf, np.inf
        if self.mine is not None and "expression" in self.mine.table.columns and self.options.distance_weight:
            low, high = np.quantile(self.mine.table["expression"].drop_nulls().to_numpy(), _MEASURED_ENDS)
        promised = pl.col("predicted").clip(low, high).cast(pl.Float32)
        ends = {f"promised_{end}": (promised + pl.col(f"predicted_{end}") - pl.col("predicted")) for end in ("low", "high")}
        return {"promised": promised} | ends

    def _nearest(self, inserts: pl.Series) -> tuple[pl.Series, pl.Series]:
        if self.mine is None:
            return _unknown(len(inserts))
        near = neighbours.nearest(inserts, self.mine.inserts, max(self.options.min_distance - 1, _FAR))
        return self.mine.table["sequence"].gather(near["library"]), near["distance"]


_FOUND = {
    "key": pl.String,
    "of": pl.Int64,  # place of the request
    "insert": pl.String,
    "predicted": pl.Float64,
    "score": pl.Float64,
    "start": pl.String,
    "edits": pl.Int64,
    "calls": pl.Int64,
}


def _empty() -> pl.DataFrame:
    return pl.DataFrame(schema=_FOUND)


def _no_steps() -> pl.DataFrame:
    return pl.DataFrame(schema={"key": pl.String, **searches.TRAJECTORY})


def _unknown(number: int) -> tuple[pl.Series, pl.Series]:
    """Return empty columns ``nearest`` and ``distance``."""
    return pl.Series([None] * number, dtype=pl.String), pl.Series([None] * number, dtype=pl.Int64)


def _split(of: np.ndarray, inserts: np.ndarray, names: list[str]) -> Iterator[_Batch]:
    for begin in range(0, len(inserts), _BLOCK):
        here = slice(begin, begin + _BLOCK)
        yield _Batch(of[here], inserts[here], names[here])


def options_of(keys: Mapping[str, Any], known: Sequence[Motif]) -> Options:
    """Return the options that the keys of the config section ``design`` describe; missing keys have the default of `Options`.

    Parameters
    ----------
    keys
        Keys of the section; those of ``oligos`` are a mapping of their own.
    known
        Motifs that constraints can name.

    Raises
    ------
    ConfigError
        If a value is invalid.
    """
    pool: dict[str, Any] = {"preset": "none", "forward": "", "reverse": "", "with_flanks": True, "max_length": 0} | dict(
        keys.get("oligos", {})
    )
    limits = oligos.PRESETS[pool["preset"]]
    of_rules: dict[str, Any] = {name: keys[name] for name in _OF_RULES if name in keys}
    if tuple(of_rules.get("gc", (0, 1))) == (0, 1):
        of_rules["gc"] = limits.gc
    of_rules["max_homopolymer"] = of_rules.get("max_homopolymer") or limits.homopolymer
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in keys.items() if name in _PLAIN}
    return Options(**fields, rules=tuple(rules_of(**of_rules, motifs=known)), pool=oligos.pool_of(**pool))


_OF_RULES = tuple(name for name in inspect.signature(rules_of).parameters if name != "motifs")
_PLAIN = tuple(name for name in Options.__dataclass_fields__ if name not in ("rules", "pool"))


def given_starts(predictor: Predictor, rows: pl.DataFrame, path: Any) -> pl.DataFrame:
    """Return given sequences as ``name`` and ``insert``: whole promoters without their flanks, or inserts.

    Parameters
    ----------
    rows
        ``row``, ``name`` and ``sequence`` of a block of records.

    Raises
    ------
    InputError
        If a flank is damaged, or a sequence has N.
    """
    five, three = predictor.flanks
    whole = predictor.complete(rows, path, Ledger("design", ""))
    intact = whole["sequence"].str.starts_with(five) & whole["sequence"].str.ends_with(three)
    if not intact.all():
        name = whole["name"].filter(~intact)[0]
        raise InputError(
            f"{path}, {name}: the flanks {five} and {three} are damaged, and designs keep them; repair them, or give the insert"
        )
    begin, end = len(five), len(five) + len(three)
    inserts = whole.select(insert=pl.col("sequence").str.slice(begin, pl.col("sequence").str.len_bytes().cast(pl.Int64) - end))
    starts.check_known_bases(inserts["insert"], str(path))
    return whole.select("name").with_columns(inserts["insert"])


def read_starts(predictor: Predictor, path: str, ledger: Ledger) -> pl.DataFrame:
    """Return the starts in a FASTA file or a table, see `given_starts`; errors also as of `records.records`."""
    return given_starts(predictor, pl.concat(list(records.records(path, ledger))), path)


def design(
    predictor: Predictor,
    options: Options,
    library: pl.DataFrame | None = None,
    given: pl.DataFrame | None = None,
    progress: Callable[[int], Any] = lambda calls: None,
) -> Designs:
    """Design promoters.

    Parameters
    ----------
    predictor
        Model, for the readout of the objective (`Predictor.of`).
    options
        What to design.
    library
        Training promoters: ``sequence``, and ``expression`` for starts from the library. None if unknown: designs are then not compared
        with them.
    given
        Starts (`given_starts`), if ``options.starts`` is neither ``random`` nor ``library``.
    progress
        Called with the number of model calls after each step.

    Raises
    ------
    InputError, ConfigError
        If options or constraints cannot be met.
    """
    return Designer(predictor, options, library, given, progress).run()
