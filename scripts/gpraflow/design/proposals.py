"""Choice of the promoters to measure next (active learning): acquisition functions, and the choice from a pool.

An acquisition function gives each promoter of a pool a value, from what the model says of it. ``variance``, ``improvement``,
``diversity`` and ``range`` choose by such values, ``random`` does not; several can share a choice (`parse_shares`). In batch mode,
promoters that resemble those already chosen or measured count less.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from gpraflow.core import documents, numbers, randomness, resources, scaffolds
from gpraflow.core.errors import ConfigError, InputError, and_more, nearest
from gpraflow.core.ledger import Ledger
from gpraflow.formats import records
from gpraflow.models import backend
from gpraflow.prediction import calibration
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.scaffold import BASES, detokenize, tokenize

RANDOM, VARIANCE, IMPROVEMENT, DIVERSITY, RANGE, MIXTURE = "random", "variance", "improvement", "diversity", "range", "mixture"
ACQUISITIONS = (VARIANCE, IMPROVEMENT, DIVERSITY, RANGE, RANDOM)  # in the order in which they choose
DEFAULT_MIXTURE = {VARIANCE: 1.0, DIVERSITY: 1.0, RANGE: 1.0, RANDOM: 1.0}
LEVELS = 20  # of predicted expression, for `range`
_DIMENSIONS, _KEPT = 32, 0.95  # principal components of the layer: at most so many, or those with this share of the variance


@dataclass(frozen=True)
class Candidates:
    """What acquisition functions know of a pool and of the promoters measured so far.

    Attributes
    ----------
    predicted
        ``(promoters,)`` predicted expression.
    spread
        ``(promoters,)`` standard deviation between ensemble members; None for a single model.
    error
        ``(promoters,)`` standard deviation of the error of the prediction, for ``improvement``.
    features
        ``(promoters, features)`` of `compressed`, for ``diversity`` and batch mode.
    known_predicted, known_features
        The same of the measured promoters; empty if they are not known.
    best
        Expression that ``improvement`` exceeds.
    """

    predicted: np.ndarray
    spread: np.ndarray | None = None
    error: np.ndarray | None = None
    features: np.ndarray | None = None
    known_predicted: np.ndarray | None = None
    known_features: np.ndarray | None = None
    best: float | None = None


class Choice(NamedTuple):
    """Rows of the pool in order of choice, and their acquisition values; NaN for random draws."""

    rows: np.ndarray
    values: np.ndarray


def parse_shares(text: str) -> dict[str, float]:
    """Return acquisition -> share of the choice, which add up to 1.

    Parameters
    ----------
    text
        An acquisition, ``mixture`` (equal shares of variance, diversity, range and random), or shares such as ``range=2,random=1``.

    Raises
    ------
    ConfigError
        If an acquisition is unknown or occurs twice, or a share is not a number above 0.
    """
    if text == MIXTURE:
        shares = dict(DEFAULT_MIXTURE)
    else:
        shares = {}
        for part in text.split(","):
            name, sign, number = (each.strip() for each in part.partition("="))
            if name not in ACQUISITIONS:
                known = (*ACQUISITIONS, MIXTURE)
                raise ConfigError(f"--acquisition: '{name}' is not an acquisition{nearest(name, known)} (known: {', '.join(known)})")
            share = (numbers.parse(number) if sign else 1.0) or math.nan
            if not 0 < share < math.inf:
                raise ConfigError(f"--acquisition: the share of '{name}' is '{number}'; expected a number above 0, as in range=2,random=1")
            if name in shares:
                raise ConfigError(f"--acquisition: '{name}' occurs twice; give each acquisition once")
            shares[name] = share
    total = sum(shares.values())
    return {name: share / total for name, share in shares.items()}


def divide(count: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Divide a number of promoters by shares that add up to 1: whole numbers by largest remainders, in the order of `ACQUISITIONS`."""
    names = [name for name in ACQUISITIONS if name in shares]
    exact = np.array([count * shares[name] for name in names])
    whole = np.floor(exact + 1e-9).astype(int)
    whole[np.argsort(whole - exact, kind="stable")[: count - whole.sum()]] += 1
    return dict(zip(names, whole.tolist(), strict=True))


def choose(candidates: Candidates, shares: Mapping[str, float], count: int, seed: int, batch: bool = False) -> pl.DataFrame:
    """Choose promoters from a pool.

    Acquisitions choose one after the other, in the order of `ACQUISITIONS`, from what is left; ranks alternate between them by their
    shares, so that the first ranks are a smaller choice of the same composition.

    Parameters
    ----------
    candidates
        The pool, with what the acquisitions need.
    shares
        Acquisition -> share, see `parse_shares`.
    count
        Number of promoters.
    seed
        Random seed. The same seed gives the same choice.
    batch
        Choose promoters of ``variance`` and ``improvement`` one by one, each with the largest product of value and squared distance
        (in ``features``) to the nearest promoter that is measured or chosen.

    Returns
    -------
    polars.DataFrame
        ``row`` in the pool, from 0, ``acquisition`` and ``value``, by rank.
    """
    free = np.ones(len(candidates.predicted), bool)
    parts = []
    for name, size in divide(count, shares).items():
        if not size:
            continue
        rng = randomness.generator(seed, "propose", name)
        found = _choose(name, candidates, size, free, batch, rng)
        free[found.rows] = False
        parts.append(
            pl.DataFrame(
                {
                    "row": found.rows.astype(np.int64),
                    "acquisition": pl.Series([name] * size, dtype=pl.String),
                    "value": pl.Series(found.values, dtype=pl.Float64).fill_nan(None),
                    "position": (np.arange(size) + 0.5) / size,
                }
            )
        )
    return pl.concat(parts).sort("position", maintain_order=True).drop("position")


def _choose(name: str, candidates: Candidates, count: int, free: np.ndarray, batch: bool, rng: np.random.Generator) -> Choice:
    """Return the choice of one acquisition among the rows that are free."""
    if name == RANDOM:
        return Choice(rng.choice(np.flatnonzero(free), count, replace=False), np.full(count, np.nan))
    if name == RANGE:
        return fill_range(candidates.predicted, candidates.known_predicted, count, free, rng)
    if name == DIVERSITY:
        return spread_out(candidates, count, free)
    if name == VARIANCE:
        assert candidates.spread is not None
        values = np.square(candidates.spread)
    else:
        assert candidates.error is not None
        assert candidates.best is not None
        values = expected_improvement(candidates.predicted, candidates.error, candidates.best)
    if batch:
        chosen = spread_out(candidates, count, free, values)
        return Choice(chosen.rows, values[chosen.rows])
    order = np.argsort(np.where(free, -values, np.inf), kind="stable")[:count]
    return Choice(order, values[order])


def expected_improvement(predicted: np.ndarray, error: np.ndarray, best: float) -> np.ndarray:
    """Return the expected improvement over ``best``, ``(promoters,)``, if true expression is normal around the prediction.

    ``(m - best) Phi(z) + s phi(z)`` with ``z = (m - best) / s`` (Jones et al. 1998, doi:10.1023/A:1008306431147).
    """
    from scipy import stats

    gain = predicted - best
    z = np.divide(gain, error, out=np.zeros_like(gain), where=error > 0)
    return np.where(error > 0, gain * stats.norm.cdf(z) + error * stats.norm.pdf(z), np.maximum(gain, 0))


def fill_range(
    predicted: np.ndarray, known: np.ndarray | None, count: int, free: np.ndarray, rng: np.random.Generator, levels: int = LEVELS
) -> Choice:
    """Choose promoters so that predicted expression is as uniform as the pool allows.

    Promoters that are measured (``known``) or chosen (those of the pool that are not ``free``) count.

    The range of predictions is divided into levels of equal width. Each level gets as many promoters as it lacks of the same number in all
    levels, or all that the pool has there; within a level they are drawn at random. The value is the share of the level's promoters that
    is chosen, 1 in those that the pool does not fill.
    """
    of_free = predicted[free]
    edges = np.linspace(of_free.min(), of_free.max(), levels + 1)[1:-1]
    level = np.searchsorted(edges, predicted, side="right")
    there = np.bincount(level[free], minlength=levels)
    before = np.concatenate([predicted[~free], *([known] if known is not None else [])])
    inside = before[(before >= of_free.min()) & (before <= of_free.max())]
    taken = np.bincount(np.searchsorted(edges, inside, side="right"), minlength=levels)
    quota = _fill(taken, there, count)
    rows = [rng.permutation(np.flatnonzero(free & (level == each)))[: quota[each]] for each in range(levels)]
    share = np.divide(quota, there, out=np.zeros(levels), where=there > 0)
    found = np.concatenate(rows)
    values = share[level[found]]
    order = rng.permutation(len(found))
    order = order[np.argsort(-values[order], kind="stable")]
    return Choice(found[order], values[order])


def _fill(taken: np.ndarray, there: np.ndarray, count: int) -> np.ndarray:
    """Return how many of ``there`` each level gets, so that with those ``taken`` all levels are as equal as they can be."""
    low, high = 0, int(taken.max() + count)
    while low < high:  # largest level that does not need more than count
        middle = (low + high + 1) // 2
        if np.clip(middle - taken, 0, there).sum() <= count:
            low = middle
        else:
            high = middle - 1
    quota = np.clip(low - taken, 0, there)
    more = np.flatnonzero((quota < there) & (quota + taken <= low))  # one more each, the outermost levels first
    outer = np.argsort(-np.abs(more - (len(there) - 1) / 2), kind="stable")
    quota[more[outer[: count - quota.sum()]]] += 1
    return quota


def spread_out(candidates: Candidates, count: int, free: np.ndarray, weights: np.ndarray | None = None) -> Choice:
    """Choose promoters one by one, each the farthest from those measured and chosen so far (greedy max-min).

    Those of the pool that are not ``free`` are chosen already. This is the greedy solution of the k-centre problem (Sener and Savarese
    2018, arXiv:1708.00489). With ``weights``, the product of weight and squared distance is maximised, as in greedy sampling by inputs
    and outputs (Wu et al. 2019, Information Sciences 474:90-105). The first promoter, if none is measured, is that of the largest weight,
    or without weights the one nearest to the mean of the pool.

    Returns
    -------
    Choice
        The value is the distance to the nearest promoter that was measured or chosen before.
    """
    features = candidates.features
    assert features is not None
    known = np.concatenate([features[~free], *([] if candidates.known_features is None else [candidates.known_features])])
    near = np.full(len(features), np.inf)
    if len(known):
        from sklearn.metrics import pairwise_distances_argmin_min

        near = np.square(pairwise_distances_argmin_min(features, known)[1])
    weight = np.ones(len(features)) if weights is None else np.maximum(weights, 0)
    norms = np.einsum("ij,ij->i", features, features)
    left = free.copy()
    rows, values = np.empty(count, np.int64), np.empty(count)
    for turn in range(count):
        if np.isinf(near).all():
            score = -np.square(features - features.mean(axis=0)).sum(axis=1) if weights is None else weight
        else:
            score = weight * near
        row = int(np.where(left, score, -np.inf).argmax())
        rows[turn], values[turn], left[row] = row, math.sqrt(near[row]), False
        near = np.minimum(near, np.maximum(norms + norms[row] - 2 * (features @ features[row]), 0))
    return Choice(rows, np.where(np.isinf(values), np.nan, values))


def compressed(features: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return features of the pool and of the measured promoters as principal components of the standardised features, float64.

    Kept are those with 95 % of the variance over the pool, at most 32, so that distances are quick to compute.
    """
    centre, scale = features.mean(axis=0, dtype=np.float64), features.std(axis=0, dtype=np.float64)
    used = scale > 0
    if not used.any():
        return np.zeros((len(features), 1)), np.zeros((len(known), 1))
    standard = (features[:, used] - centre[used]) / scale[used]
    variances, axes = np.linalg.eigh(standard.T @ standard / len(standard))
    variances, axes = variances[::-1], axes[:, ::-1]
    kept = min(_DIMENSIONS, 1 + int(np.searchsorted(np.cumsum(variances) / variances.sum(), _KEPT)))
    return standard @ axes[:, :kept], (known[:, used] - centre[used]) / scale[used] @ axes[:, :kept]


# The pool


def read_pool(predictor: Predictor, path: str | os.PathLike, ledger: Ledger, duplicates: str = "error", **columns: Any) -> pl.DataFrame:
    """Read the promoters to choose from: ``row``, ``name`` and ``sequence``, with the flanks of the model's scaffold.

    Promoters that cannot be proposed are dropped and counted in the ledger: those with N, and those of a length that training promoters
    do not have.

    Parameters
    ----------
    predictor
        The model, with its calibration.
    path
        FASTA or table, see `records.records`.
    ledger
        Counts promoters read and dropped.
    duplicates
        Promoters that occur twice: ``error``, or ``first`` to keep the first.
    columns
        ``columns`` and ``header``, see `records.records`.

    Raises
    ------
    InputError
        If most promoters have the flanks of another scaffold or another length than training promoters, a promoter occurs twice, or the
        model has no calibration.
    """
    rows = pl.concat(list(records.records(path, ledger, **columns, ambiguous="n")))
    _check_scaffold(predictor, rows, path)
    rows = predictor.complete(rows, path, ledger)
    again = ~rows["sequence"].is_first_distinct()
    if again.any() and duplicates == "error":
        second = rows.filter(again).row(0, named=True)
        first = rows.filter(sequence=second["sequence"]).row(0, named=True)
        raise InputError(
            f"{path}, row {second['row']} ('{second['name']}'): the same sequence as row {first['row']} ('{first['name']}')"
            f"{and_more(int(again.sum()))}; remove one of them, or use --duplicates first"
        )
    ledger.drop("repeated in the pool", int(again.sum()))
    return _usable(predictor, rows.filter(~again), path, ledger)


def _check_scaffold(predictor: Predictor, rows: pl.DataFrame, path: str | os.PathLike) -> None:
    """Raise an error if most promoters have the flanks of another built-in scaffold."""
    place = resources.path_of(resources.SCAFFOLDS["built-in"])
    for name in documents.of_yaml(place, str(place)):
        five, three = (scaffolds.entry(place, name)[end] for end in ("five_prime", "three_prime"))
        if not five or not three or (five, three) == predictor.flanks:
            continue
        count = int((rows["sequence"].str.starts_with(five) & rows["sequence"].str.ends_with(three)).sum())
        if count > rows.height / 2:
            own = predictor.calibration.scaffold if predictor.calibration else "another one"
            raise InputError(
                f"{path}: {count:,} of {rows.height:,} promoters have the flanks of the scaffold '{name}', but the model was trained on "
                f"'{own}'; give promoters of that scaffold, or inserts without flanks"
            )


def _usable(predictor: Predictor, rows: pl.DataFrame, path: str | os.PathLike, ledger: Ledger) -> pl.DataFrame:
    """Drop promoters with N, and those of a length that training promoters do not have."""
    known = predictor.require_calibration()
    least, most = known.lengths
    lengths = rows["sequence"].str.len_bytes()
    outside = (lengths < least) | (lengths > most)
    if outside.sum() > rows.height / 2:
        first = rows.filter(outside).row(0, named=True)
        raise InputError(
            f"{path}: {outside.sum():,} of {rows.height:,} promoters are shorter or longer than training promoters, which have {least} to "
            f"{most} bp with flanks (row {first['row']}, '{first['name']}': {len(first['sequence'])} bp); give promoters of the model's "
            f"scaffold '{known.scaffold}', or inserts without flanks"
        )
    unknown = rows["sequence"].str.contains("N", literal=True)
    ledger.drop(f"not of {least} to {most} bp, as training promoters are", int(outside.sum()))
    ledger.drop("with N", int((unknown & ~outside).sum()))
    return rows.filter(~(outside | unknown))


def random_pool(predictor: Predictor, count: int, seed: int, ledger: Ledger, insert_length: int | None = None) -> pl.DataFrame:
    """Return random promoters of the model's scaffold: ``row``, ``name`` and ``sequence``, all different.

    Bases are equally frequent. Without ``insert_length``, promoters are as long as the model's window, within the lengths of training.

    Raises
    ------
    InputError
        If the model has no calibration.
    ConfigError
        If there are not so many inserts of that length, or training promoters have other lengths.
    """
    ledger.read(count)
    (five, three), (least, most) = predictor.flanks, predictor.require_calibration().lengths
    flanks = len(five) + len(three)
    length = min(max(predictor.window["length"], least), most) - flanks if insert_length is None else insert_length
    if not least <= length + flanks <= most or length < 1:
        raise ConfigError(
            f"--insert-length: inserts of {length} bp give promoters of {length + flanks} bp, but training promoters have {least} to "
            f"{most} bp with flanks; choose {max(1, least - flanks)} to {most - flanks}"
        )
    if length < 30 and count > BASES**length // 2:
        raise ConfigError(f"--random {count:,}: there are {BASES**length:,} inserts of {length} bp; choose at most half of them")
    rng = randomness.generator(seed, "propose", "pool")
    inserts: dict[str, None] = {}
    while len(inserts) < count:
        inserts.update(dict.fromkeys(detokenize(rng.integers(0, BASES, (count - len(inserts), length), dtype=np.uint8))))
    number = pl.int_range(1, count + 1, eager=True)
    return pl.DataFrame(
        {"row": number, "name": pl.select("random_" + number.cast(pl.String)).to_series(), "sequence": [five + i + three for i in inserts]}
    )


def read_measured(predictor: Predictor, paths: Sequence[str | os.PathLike], **columns: Any) -> pl.Series:
    """Return the distinct promoters of tables or FASTA files of measured promoters, with flanks; options and errors as of `read_pool`."""
    found = [pl.Series("sequence", [], pl.String)]
    for path in paths:
        ledger = Ledger("propose", str(path))
        for rows in records.records(path, ledger, **columns, ambiguous="n"):
            found.append(predictor.complete(rows, path, ledger)["sequence"])
    return pl.concat(found).unique(maintain_order=True)


# Proposals


def propose(
    predictor: Predictor,
    pool: pl.DataFrame,
    count: int,
    shares: Mapping[str, float],
    ledger: Ledger,
    *,
    measured: pl.Series | None = None,
    best: float | None = None,
    batch: bool = False,
    seed: int = 0,
) -> pl.DataFrame:
    """Choose the promoters of a pool to measure next, and say why.

    Parameters
    ----------
    predictor
        The model and its readout (`Predictor.of`), with its calibration.
    pool
        ``name`` and ``sequence``, whole promoters without duplicates (`read_pool`, `random_pool`).
    count
        Number of promoters to choose.
    shares
        Acquisition -> share of them (`parse_shares`).
    ledger
        Counts what is excluded.
    measured
        Promoters that have been measured, whole: they are excluded, and `fill_range` and `spread_out` take them into account.
    best
        Expression that ``improvement`` exceeds, in the unit of the input; None: the highest prediction of the measured promoters.
    batch, seed
        See `choose`.

    Returns
    -------
    polars.DataFrame
        By rank, from 1: ``rank``, the columns of `Predictor.records`, ``acquisition``, ``acquisition_value`` (null for random draws), in
        the model's unit, and ``reason``.

    Raises
    ------
    ConfigError
        If ``count`` is not above 0, variance or improvement is asked of a single model, or improvement lacks what it exceeds.
    InputError
        If fewer promoters than ``count`` are left.
    """
    if count < 1:
        raise ConfigError(f"-n {count}: expected at least 1 promoter to choose")
    single = predictor.about["members"] < 2
    if single and (needed := [name for name in (VARIANCE, IMPROVEMENT) if name in shares]):
        raise ConfigError(
            f"{predictor.directory}: one network, but {' and '.join(needed)} needs the spread between the members of an ensemble; train "
            f"one with training.ensemble: 3, or choose with --acquisition {RANGE}, {DIVERSITY} or {RANDOM}"
        )
    known = measured if measured is not None else pl.Series("sequence", [], pl.String)
    if IMPROVEMENT in shares and best is None and not len(known):
        raise ConfigError("--acquisition improvement: give --measured, or with --best the expression to exceed")
    before, total = pool["sequence"].is_in(known.implode()), ledger.counts["in", "rows"]
    ledger.drop("measured already", int(before.sum()))
    pool = pool.filter(~before)
    if pool.height < count:
        lost = "; ".join(ledger.remarks("dropped"))
        raise InputError(
            f"{pool.height:,} promoters are left to choose from, fewer than -n {count:,} (pool: {total:,}{'; ' if lost else ''}{lost}); "
            "give a larger pool, or choose fewer"
        )
    candidates = _candidates(predictor, pool["sequence"], known, shares, best, batch)
    chosen = choose(candidates, shares, count, seed, batch)
    rows = pool[chosen["row"].to_numpy()].with_columns(row=pl.int_range(1, count + 1))
    found = predictor.records(rows, "pool", Ledger("propose", ""))
    of_pool = candidates.predicted[chosen["row"].to_numpy()]
    reasons = [_reason(*each, candidates.best) for each in zip(chosen["acquisition"], chosen["value"], of_pool, strict=True)]
    return pl.concat(
        [
            rows.select(pl.col("row").alias("rank")),
            found,
            chosen.select("acquisition", pl.col("value").alias("acquisition_value")),
            pl.DataFrame({"reason": reasons}, schema={"reason": pl.String}),
        ],
        how="horizontal",
    )


def fasta(proposals: pl.DataFrame) -> str:
    """Return proposals as FASTA; the header line has the name, the rank and the acquisition."""
    columns = zip(*(proposals[name] for name in ("name", "rank", "acquisition", "sequence")), strict=True)
    return "".join(f">{name} rank={rank} acquisition={acquisition}\n{sequence}\n" for name, rank, acquisition, sequence in columns)


def _candidates(
    predictor: Predictor, pool: pl.Series, known: pl.Series, shares: Mapping[str, float], best: float | None, batch: bool
) -> Candidates:
    """Return what the acquisitions need, in the model's unit."""
    calibrated = predictor.require_calibration()
    of_pool, of_known = (tokenize(each, **predictor.window) for each in (pool, known))
    members = predictor.members(of_pool)
    predicted, spread = members.mean(axis=1), members.std(axis=1, ddof=1) if members.shape[1] > 1 else None
    known_predicted = error = own = other = None
    if {RANGE, IMPROVEMENT} & shares.keys():
        known_predicted = predictor.members(of_known).mean(axis=1)
    if IMPROVEMENT in shares:
        assert spread is not None
        assert known_predicted is not None
        variance = calibrated.spread_factor * np.square(spread) + calibrated.model_variance_at(predicted)
        error = np.sqrt(variance)
        best = float(known_predicted.max() if best is None else predictor.transform.forward(np.array(best)))
    if DIVERSITY in shares or (batch and {VARIANCE, IMPROVEMENT} & shares.keys()):
        own, other = compressed(*features(predictor, of_pool, of_known))
    return Candidates(predicted, spread, error, own, known_predicted, other, best)


def _reason(acquisition: str, value: float | None, predicted: float, best: float | None) -> str:
    """Return why a promoter was chosen."""
    if acquisition == VARIANCE:
        return f"standard deviation of {math.sqrt(value or 0):.3g} between members"
    if acquisition == IMPROVEMENT:
        return f"expected improvement of {value:.3g} over {best:.4g}"
    if acquisition == DIVERSITY:
        return "nearest to the mean of the pool" if value is None else f"distance of {value:.3g} to measured and chosen promoters"
    if acquisition == RANGE:
        return f"{value:.3g} of the pool's promoters with predictions near {predicted:.3g} chosen"
    return "random draw"


# Layers


def features(predictor: Predictor, *tokens: np.ndarray) -> list[np.ndarray]:
    """Return the input of the last dense layer of each ensemble member for ``(promoters, length)`` tokens, ``(promoters, features)``.

    Frequencies of 3-mers if the model has no such layer.
    """
    import keras

    cores = [layer for layer in predictor.model.layers if isinstance(layer, keras.Model)] or [predictor.model]
    parts = [representation(core) for core in cores]
    if None in parts:
        return [calibration.count_kmers(each).astype(np.float64) for each in tokens]
    found = []
    for each in tokens:
        size = backend.size_of_batches(len(each), predictor.batch_size)
        found.append(np.concatenate([_layer(part, each, size) for part in parts], axis=1))
    return found


def _layer(part: Any, tokens: np.ndarray, size: int) -> np.ndarray:
    if not len(tokens):
        return np.empty((0, part.output_shape[1]), np.float32)

    def call(block: np.ndarray) -> np.ndarray:
        zeros = [np.zeros((len(block), *each.shape[1:]), np.float32) for each in part.inputs[1:]]  # singleton, reverse
        return np.asarray(part.predict_on_batch([block, *zeros] if zeros else block))

    return backend.in_batches(call, tokens, size)


def representation(core: Any) -> Any:
    """Return the part of a network up to the input of its last dense layer, a ``keras.Model``; None if there is no such layer."""
    import keras

    inputs: list[Any] = []

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        if isinstance(layer, keras.layers.Dense) and len(args[0].shape) == 2:
            inputs.append(args[0])
        return layer(*args, **options)

    same = keras.models.clone_model(core, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(same.inputs, inputs[-1]) if inputs else None
