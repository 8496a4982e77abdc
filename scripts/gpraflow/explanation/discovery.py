"""De novo motifs from in-silico mutagenesis (ISM) of short promoters: free matrices, fitted to ISM effects one after the other.

ISM effects are modelled as ``sum over motifs of activity x change of occupancy``; the occupancy of a site is ``1 / (1 + exp(-score))`` with
the sum of a free matrix over the site and an offset as score, and a promoter's occupancy the sum over all sites on both strands. Each round

1. takes windows with large residual effects as seeds: the effects of the mutants of a site are, up to scale and sign, its matrix,
2. selects the seed whose occupancy explains most of the residual effects in a sample of promoters,
3. fits its matrix and offset to the residual effects of all promoters (L-BFGS; activity is eliminated, as in variable projection, Golub &
   Pereyra 1973, doi:10.1137/0710036),
4. refits the activities of all motifs together (orthogonal matching pursuit, Pati et al. 1993).

Fits of each matrix to what the others leave over follow (backfitting). Unlike clustering of seqlets (TF-MoDISco, arXiv:1811.00416), each
site counts in every promoter, also where it is too short, weak or close to others to be a seqlet of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import polars as pl
from scipy import optimize, special

from gpraflow.core import randomness
from gpraflow.sequences.iupac import CODE_OF
from gpraflow.sequences.motifs import Motif, likeness
from gpraflow.sequences.scaffold import BASES, PADDING

_WIDTH = 14  # of free matrices in bp
_SEEDS = 24  # windows tried in each round
_SAMPLE = 300  # promoters in which seeds are compared
_OCCUPIED = 0.01  # least occupancy, before or after a substitution, of the sites in a fit
_BEST, _BEST_PENALTY = (0.0, 3.0), 0.05  # log odds of binding of the best possible site, and penalty of the squared distance from them
_LARGEST = 4.0  # largest change of the score of a seed
_STEPS = (12, 25)  # L-BFGS iterations; sites are searched again before each
_PENALTY = 2e-5  # of the sum of squares of a matrix, as a fraction of the sum of squared effects
_LEAST, _LEAST_EACH = 3e-4, 0.3  # least fraction of the sum of squared effects that a motif explains in addition to all others
_FAILURES = 3  # rounds without a motif after which the search ends
_MOST_SITES = 6_000  # sites in a fit; promoters are drawn if there are more
_INFORMATION = 0.25  # bits of the first and the last column of a motif
_SWEEPS, _STEPS_OF_SWEEPS = 1, (15,)
_FEWEST = 5  # least effective number of promoters that a motif rests on
_ALIKE = 0.9  # correlation of log-odds above which two motifs count as one
_LISTED = 0.2  # least occupancy of a listed site
MOTIFS = {
    "motif": pl.String,
    "consensus": pl.String,
    "activity": pl.Float64,
    "explained": pl.Float64,
    "sites": pl.Int64,
    "promoters": pl.Float64,
    "forward": pl.Float64,
}
SITES = {
    "name": pl.String,
    "motif": pl.String,
    "strand": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
    "occupancy": pl.Float64,
    "effect": pl.Float64,
}


@dataclass
class Fitted:
    """A motif fitted to ISM effects: ``(width, 4)`` matrix of energies, offset of the score, and expression per bound molecule."""

    matrix: np.ndarray
    offset: float
    activity: float = 0.0

    @property
    def frequencies(self) -> np.ndarray:
        """Base frequencies, ``(width, 4)``: those of sites that are bound in proportion to the exponential of their score."""
        return special.softmax(self.matrix, axis=1)

    def trimmed(self) -> tuple[int, int]:
        """Return begin and end of the columns from the first to the last that is informative."""
        information = np.log2(BASES) + (self.frequencies * np.log2(self.frequencies.clip(1e-9))).sum(axis=1)
        there = np.flatnonzero(information >= _INFORMATION)
        return (int(there[0]), int(there[-1]) + 1) if len(there) else (0, len(self.matrix))

    def motif(self, name: str) -> Motif:
        """Return the informative columns as a motif, log-odds against uniform base frequencies."""
        begin, end = self.trimmed()
        frequencies = (self.frequencies[begin:end] + 0.01) / (1 + 0.01 * BASES)
        return Motif(name, consensus(frequencies), np.log(BASES * frequencies).astype(np.float32))


class _Sites(NamedTuple):
    """Sites of a matrix: tokens in its orientation ``(sites, width)``, and the place of each mutant in flat effects."""

    tokens: np.ndarray
    places: np.ndarray  # (sites, width, 4)
    row: np.ndarray
    start: np.ndarray
    reverse: np.ndarray


def consensus(frequencies: np.ndarray) -> str:
    """Return the consensus of ``(width, 4)`` base frequencies in IUPAC codes: all bases with at least half of the largest frequency."""
    often = frequencies >= frequencies.max(axis=1, keepdims=True) / 2
    return "".join(CODE_OF[int(bits)] for bits in often @ (1 << np.arange(BASES)))


def find_sites(tokens: np.ndarray, fitted: Fitted, least: float = _OCCUPIED) -> _Sites:
    """Return the sites with at least this occupancy, as they are or after the best single substitution; none overlaps N."""
    width, (promoters, length) = len(fitted.matrix), tokens.shape
    found = []
    limit = special.logit(least) - fitted.offset
    for turned in (False, True):
        matrix = fitted.matrix[::-1, ::-1] if turned else fitted.matrix
        starts = length - width + 1
        score, gain = np.zeros((promoters, starts), np.float32), np.zeros((promoters, starts), np.float32)
        table = np.pad(matrix, ((0, 0), (0, 1)), constant_values=-1000.0).astype(np.float32)
        for place, values in enumerate(table):
            here = values[tokens[:, place : place + starts]]
            score += here
            np.maximum(gain, values.max() - here, out=gain)
        row, start = np.nonzero((score + gain >= limit) & (score > -500))
        found.append((row, start, np.full(len(row), turned)))
    row, start, reverse = (np.concatenate(each) for each in zip(*found, strict=True))
    column = np.arange(width)
    positions = start[:, None] + np.where(reverse[:, None], width - 1 - column, column)
    own = tokens[row[:, None], positions].astype(np.int64)
    own = np.where(reverse[:, None], PADDING - 1 - own, own)
    bases = np.where(reverse[:, None], np.arange(BASES)[::-1], np.arange(BASES))
    places = ((row[:, None] * length + positions) * BASES)[:, :, None] + bases[:, None, :]
    return _Sites(own, places, row, start, reverse)


def _occupancies(sites: _Sites, matrix: np.ndarray, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the occupancy of each site, ``(sites,)``, and of its mutants, ``(sites, width, 4)``."""
    own = matrix[np.arange(len(matrix)), sites.tokens]
    score = own.sum(axis=1) + offset
    return special.expit(score), special.expit(score[:, None, None] - own[:, :, None] + matrix)


def occupancy_changes(tokens: np.ndarray, fitted: Fitted, sites: _Sites | None = None) -> np.ndarray:
    """Return the change of total occupancy by each single substitution, ``(promoters x length x 4,)`` float32."""
    sites = find_sites(tokens, fitted) if sites is None else sites
    before, after = _occupancies(sites, fitted.matrix, fitted.offset)
    changes = np.bincount(sites.places.ravel(), (after - before[:, None, None]).ravel(), tokens.size * BASES)
    return changes.astype(np.float32)


def _fit(
    tokens: np.ndarray, target: np.ndarray, known: np.ndarray, fitted: Fitted, steps: Sequence[int], rng: np.random.Generator
) -> Fitted:
    """Fit matrix and offset to ``target``, the flat residual effects; ``known`` is where effects are known.

    Promoters are drawn at random if all have more than 6,000 sites.
    """
    width = len(fitted.matrix)
    matrix, offset = fitted.matrix.astype(np.float64), fitted.offset
    for iterations in steps:
        sites = find_sites(tokens, Fitted(matrix, offset))
        if not len(sites.row):
            break
        of, there = target, known
        if len(sites.row) > _MOST_SITES:
            rows = np.sort(rng.permutation(len(tokens))[: max(1, int(len(tokens) * _MOST_SITES / len(sites.row)))])
            sites = find_sites(tokens[rows], Fitted(matrix, offset))
            of, there = (each.reshape(len(tokens), -1)[rows].ravel() for each in (target, known))
            if not len(sites.row):
                break
        found = optimize.minimize(
            _loss,
            np.append(matrix.ravel(), offset),
            args=(sites, there[sites.places], of, _PENALTY * float(of @ of)),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": iterations},
        )
        matrix, offset = found.x[:-1].reshape(width, BASES), float(found.x[-1] + found.x[:-1].reshape(width, BASES).mean(axis=1).sum())
        matrix = matrix - matrix.mean(axis=1, keepdims=True)
    return Fitted(matrix, offset)


def _loss(values: np.ndarray, sites: _Sites, usable: np.ndarray, target: np.ndarray, penalty: float) -> tuple[float, np.ndarray]:
    """Return the sum of squared residuals with the best activity, as a fraction of that of ``target``, and its gradient.

    ``values`` are the matrix and the offset. The penalty is on the matrix, with the mean of each column subtracted.
    """
    width, total = sites.tokens.shape[1], float(target @ target)
    matrix, offset = values[:-1].reshape(width, BASES), float(values[-1])
    before, after = _occupancies(sites, matrix, offset)
    feature = np.bincount(sites.places.ravel(), ((after - before[:, None, None]) * usable).ravel(), len(target))
    size = float(feature @ feature) + 1e-12
    activity = float(feature @ target) / size
    slope = (2 * activity * (activity * feature - target))[sites.places] * usable  # the best activity has no slope of its own
    of_after, of_before = slope * after * (1 - after), slope.sum(axis=(1, 2)) * before * (1 - before)
    # The score of a mutant is that of the site, plus matrix[column, new base], minus matrix[column, own base].
    of_score = of_after.sum(axis=(1, 2)) - of_before
    gradient = of_after.sum(axis=0)
    of_own = of_score[:, None] - of_after.sum(axis=2)
    for column in range(width):
        gradient[column] += np.bincount(sites.tokens[:, column], of_own[:, column], BASES)
    centred = matrix - matrix.mean(axis=1, keepdims=True)
    loss = (total - activity**2 * size + penalty * float((centred**2).sum())) / total
    slopes = np.append((gradient + 2 * penalty * centred).ravel(), of_score.sum()) / total
    # Far below saturation only activity x exp(offset) is determined, and far above it each site is bound.
    best = offset + float(matrix.max(axis=1).sum())
    beyond = best - min(max(best, _BEST[0]), _BEST[1])
    if beyond:
        loss += _BEST_PENALTY * beyond**2
        slopes[-1] += 2 * _BEST_PENALTY * beyond
        slopes[np.arange(width) * BASES + matrix.argmax(axis=1)] += 2 * _BEST_PENALTY * beyond
    return loss, slopes


def _seeds(tokens: np.ndarray, left: np.ndarray, width: int, number: int, rng: np.random.Generator) -> list[Fitted]:
    """Return seeds: half from the windows with the largest residual effects, half drawn from the upper 2 % of windows."""
    promoters, length = tokens.shape
    effects = left.reshape(promoters, length, BASES)
    energy = np.pad(np.cumsum((effects**2).sum(axis=2), axis=1), ((0, 0), (1, 0)))
    inner = max(width - 6, 4)  # the informative part of a window
    margin = (width - inner) // 2
    windows = (energy[:, inner:] - energy[:, :-inner])[:, margin : length - width + 1 + margin]
    with_n = np.pad(np.cumsum(tokens == PADDING, axis=1), ((0, 0), (1, 0)))
    windows = np.where(with_n[:, width:] == with_n[:, :-width], windows, 0)
    peaks = windows * (windows == np.stack([np.roll(windows, shift, axis=1) for shift in range(-3, 4)]).max(axis=0))
    order = np.argsort(-peaks, axis=None)[: max(number, int(0.02 * windows.size))]
    order = order[peaks.ravel()[order] > 0]
    chosen = np.unique(np.concatenate([order[: number // 2], rng.permutation(order)[: number - number // 2]]))
    seeds = []
    for row, start in zip(*np.unravel_index(chosen, windows.shape), strict=True):
        window, own = effects[row, start : start + width], tokens[row, start : start + width]
        direction = 1.0 if window.sum() < 0 else -1.0  # mutants of an activator's site lower expression
        matrix = direction * _LARGEST * window / np.abs(window).max()
        offset = 0.5 - float(matrix[np.arange(width), own].sum())
        mean = matrix.mean(axis=1, keepdims=True)
        seeds.append(Fitted(matrix - mean, offset + float(mean.sum())))
    return seeds


def _gain(feature: np.ndarray, target: np.ndarray) -> float:
    return float(feature @ target) ** 2 / (float(feature @ feature) + 1e-9)


class _Pool:
    """Features of the motifs found so far: their products with each other and with the effects, from which all fits follow."""

    def __init__(self, target: np.ndarray):
        self.target, self.total = target, float(target @ target)
        self.features = np.empty((0, len(target)), np.float32)
        self.gram, self.with_target = np.empty((0, 0)), np.empty(0)

    def products(self, feature: np.ndarray) -> tuple[np.ndarray, float]:
        """Return products of a feature with those of the pool and itself, and with the effects."""
        return np.append(self.features @ feature, feature @ feature).astype(np.float64), float(feature @ self.target)

    def put(self, index: int, feature: np.ndarray) -> None:
        """Replace a feature, or append one."""
        if index == len(self.features):
            self.features = np.concatenate([self.features, feature[None]])
            self.gram, self.with_target = np.pad(self.gram, (0, 1)), np.append(self.with_target, 0)
        else:
            self.features[index] = feature
        self.gram[index] = self.gram[:, index] = self.features @ feature
        self.with_target[index] = feature @ self.target

    def keep(self, chosen: Sequence[int]) -> None:
        """Keep some features, in this order."""
        chosen = list(chosen)
        self.features, self.gram, self.with_target = self.features[chosen], self.gram[np.ix_(chosen, chosen)], self.with_target[chosen]

    def activities(self, chosen: Sequence[int] | None = None) -> tuple[np.ndarray, float]:
        """Return the least-squares activities of some features, and the fraction of the sum of squared effects that they explain."""
        of = list(range(len(self.features)) if chosen is None else chosen)
        if not of:
            return np.empty(0), 0.0
        activity = np.linalg.lstsq(self.gram[np.ix_(of, of)], self.with_target[of], rcond=1e-9)[0]
        return activity, float(activity @ self.with_target[of]) / self.total

    def left(self) -> np.ndarray:
        """Return the residual effects."""
        return self.target - self.activities()[0].astype(np.float32) @ self.features


def discover(
    tokens: np.ndarray,
    effects: np.ndarray,
    *,
    most: int = 40,
    seed: int = 0,
    width: int = _WIDTH,
    least: float | None = None,
    sweeps: int = _SWEEPS,
) -> tuple[list[Fitted], list[float]]:
    """Find motifs whose occupancy explains ISM effects, without known motifs.

    Parameters
    ----------
    tokens, effects
        ``(promoters, length)`` tokens, and their `mutagenesis.mutational_effects`.
    most
        Maximum number of motifs.
    seed
        Random seed for the choice of seeds.
    width
        Width of the matrices in bp.
    least
        Least fraction of the sum of squared effects that a motif explains in addition to all others; None: .3 divided by the number of
        promoters, but not less than .0003.
    sweeps
        Number of backfitting sweeps.

    Returns
    -------
    tuple
        Motifs, most important first, and the fraction of the sum of squared effects explained by the first, the first two, and so on.
    """
    rng = randomness.generator(seed, "explain", "discovery")
    known = np.isfinite(effects).ravel()
    target = np.where(known, effects.ravel(), 0).astype(np.float32)
    pool, motifs, failed = _Pool(target), list[Fitted](), 0
    if not pool.total or tokens.shape[1] < width:
        return [], []
    least = max(_LEAST, _LEAST_EACH / len(tokens)) if least is None else least
    shape = (len(tokens), -1)
    while len(motifs) < most and failed < _FAILURES:
        left, before = pool.left(), pool.activities()[1]
        some = np.sort(rng.permutation(len(tokens))[:_SAMPLE])
        of_some, there = left.reshape(shape)[some].ravel(), known.reshape(shape)[some].ravel()
        seeds = _seeds(tokens, left, width, _SEEDS, rng)
        if not seeds:
            break
        gains = [_gain(occupancy_changes(tokens[some], one) * there, of_some) for one in seeds]
        best = _fit(tokens, left, known, seeds[int(np.argmax(gains))], _STEPS, rng)
        pool.put(len(motifs), occupancy_changes(tokens, best) * known)
        if pool.activities()[1] - before < least:
            pool.keep(range(len(motifs)))
            failed += 1
        else:
            motifs, failed = [*motifs, best], 0
    for _ in range(sweeps):
        for index in range(len(motifs)):
            activity, before = pool.activities()
            own = pool.left() + np.float32(activity[index]) * pool.features[index]
            fitted, old = _fit(tokens, own, known, motifs[index], _STEPS_OF_SWEEPS, rng), pool.features[index].copy()
            pool.put(index, occupancy_changes(tokens, fitted) * known)
            if pool.activities()[1] > before:
                motifs[index] = fitted
            else:  # a fit to a part of the promoters need not be better for all
                pool.put(index, old)
    while motifs:  # backward elimination, as in `sites.find_factors`
        everything = range(len(motifs))
        losses = [pool.activities()[1] - pool.activities([other for other in everything if other != one])[1] for one in everything]
        if min(losses) >= least:
            break
        del motifs[int(np.argmin(losses))]
        pool.keep([one for one in everything if one != int(np.argmin(losses))])
    alone = pool.with_target**2 / (np.diag(pool.gram) + 1e-9)
    order = _distinct([int(index) for index in np.argsort(-alone, kind="stable")], motifs, pool, len(tokens))
    motifs = [motifs[index] for index in order]
    pool.keep(order)
    for fitted, value in zip(motifs, pool.activities()[0], strict=True):
        fitted.activity = float(value)
    return motifs, [pool.activities(range(number))[1] for number in range(1, len(motifs) + 1)]


def _distinct(order: Sequence[int], motifs: Sequence[Fitted], pool: _Pool, promoters: int) -> list[int]:
    """Return the motifs, in order, without those like an earlier one, which correct its shape, and without those of a few promoters."""
    kept: list[int] = []
    for index in order:
        energy = (pool.features[index].reshape(promoters, -1).astype(np.float64) ** 2).sum(axis=1)
        number = energy.sum() ** 2 / ((energy**2).sum() + 1e-12)  # effective number of promoters
        own = motifs[index].motif("")
        if number >= _FEWEST and all(likeness(own, motifs[other].motif("")) < _ALIKE for other in kept):
            kept.append(index)
    return kept


def sites_of(
    names: pl.Series, tokens: np.ndarray, begin: np.ndarray, motifs: Sequence[Fitted], mutated: np.ndarray | None = None
) -> pl.DataFrame:
    """Return sites with an occupancy of at least .2, columns `SITES`.

    Sites of which less than half was ``mutated``, ``(promoters, length)`` bool, are left out: those in constant flanks.

    ``start`` and ``end`` are those of the informative columns and count from 1 in the promoter with its flanks. ``effect`` is activity
    times occupancy: what the site adds to expression in the fit.
    """
    parts = []
    for number, fitted in enumerate(motifs, start=1):
        sites = find_sites(tokens, fitted, _LISTED)
        occupancy = _occupancies(sites, fitted.matrix, fitted.offset)[0]
        kept = occupancy >= _LISTED
        first, last = fitted.trimmed()
        width = len(fitted.matrix)
        if mutated is not None:
            positions = sites.places[:, first:last, 0] // BASES
            kept &= mutated.ravel()[positions].mean(axis=1) >= 0.5
        start = sites.start + np.where(sites.reverse, width - last, first) - begin[sites.row] + 1
        columns = {
            "name": names.gather(sites.row[kept]),
            "motif": pl.repeat(name_of(number), int(kept.sum()), eager=True),
            "strand": np.where(sites.reverse, "-", "+")[kept],
            "start": start[kept],
            "end": (start + last - first - 1)[kept],
            "occupancy": occupancy[kept],
            "effect": fitted.activity * occupancy[kept],
        }
        parts.append(pl.DataFrame(columns, schema=SITES))
    return pl.concat(parts).sort("name", "start", "motif", maintain_order=True) if parts else pl.DataFrame(schema=SITES)


def name_of(number: int) -> str:
    """Return the name of the motif of this rank, from 1."""
    return f"denovo_{number}"


def table(motifs: Sequence[Fitted], explained: Sequence[float], sites: pl.DataFrame, promoters: int) -> pl.DataFrame:
    """Return de novo motifs, columns `MOTIFS`.

    ``activity`` is expression per bound molecule, ``explained`` as in `discover`, ``sites`` their number, ``promoters`` the fraction of
    promoters with a site, ``forward`` the fraction of sites on the forward strand.
    """
    lines = []
    for number, (fitted, share) in enumerate(zip(motifs, explained, strict=True), start=1):
        own = sites.filter(motif=name_of(number))
        forward = own.select((pl.col("strand") == "+").mean()).item() if own.height else None
        motif = fitted.motif(name_of(number))
        lines.append((motif.matrix_id, motif.factor, fitted.activity, share, own.height, own["name"].n_unique() / promoters, forward))
    return pl.DataFrame(lines, schema=MOTIFS, orient="row")
