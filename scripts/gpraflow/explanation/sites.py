"""Known motifs that explain ISM effects: occupancy, orthogonal matching pursuit, sites, seqlets and recovery of planted motifs."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
from scipy import sparse, special, stats

from gpraflow.core import randomness
from gpraflow.explanation.mutagenesis import contributions
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.motifs import Motif, likeness
from gpraflow.sequences.scaffold import BASES, PADDING

MOST = 2_000  # motifs that are searched for at once
_LOWEST = -13.8  # log odds of binding below which a site does not count: an occupancy of a millionth
_SMALLEST = 1e-4  # changes of occupancy below it are left out of the search for factors
_OFFSETS = (0.0, 2.0)  # log concentrations, relative to the dissociation constant of the best site, with which factors are tried
_CHANCE = 0.01  # family-wise error rate: probability of reporting any motif if the model uses none
_LEAST, _LEAST_EACH, _MOST_LEAST = 0.001, 0.3, 0.003  # minimum fraction of squared effects that a factor explains, see `find_factors`
_OCCUPIED = 0.05  # minimum occupancy of a listed site; the best possible site has 1/2
_ALIKE = 0.5  # minimum absolute correlation between ISM effects and those expected from the motif
FACTORS = {"factor": pl.String, "matrix": pl.String, "activity": pl.Float64, "z": pl.Float64, "explained": pl.Float64}
SITES = {
    "name": pl.String,
    "factor": pl.String,
    "matrix": pl.String,
    "strand": pl.String,
    "start": pl.Int64,
    "end": pl.Int64,
    "occupancy": pl.Float64,
    "similarity": pl.Float64,
    "effect": pl.Float64,
}
SUMMARY = FACTORS | {"sites": pl.Int64, "mean_effect": pl.Float64, "promoters": pl.Float64}
SEQLETS = {"name": pl.String, "start": pl.Int64, "end": pl.Int64, "contribution": pl.Float64}
_LIKENESS = 0.9  # similarity above which motifs count as interchangeable
_SHORTEST = 3  # minimum length of a seqlet in bp
_SMOOTHED = 5  # window in bp over which contributions are averaged to find seqlets
_REPLACED = 8  # random sequences that replace a site


# Motifs


def site_scores(tokens: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    """Return the log-odds score at each start minus that of the best possible site, ``(promoters, starts)``; very low at an N."""
    starts = tokens.shape[1] - len(log_odds) + 1
    with_n = np.pad(log_odds, ((0, 0), (0, 1)), constant_values=-1000.0)
    total = np.full((len(tokens), starts), -log_odds.max(axis=1).sum(), np.float64)
    for place, scores in enumerate(with_n):
        total += scores[tokens[:, place : place + starts]]
    return total


def occupancy_changes(tokens: np.ndarray, motif: Motif, log_concentration: float = 0.0) -> np.ndarray:
    """Return the change in a factor's total occupancy caused by each single substitution, ``(promoters, length, 4)`` float32.

    The occupancy of a site is 1 / (1 + exp(best score - score - c)) with the log of the factor's concentration, relative to the
    dissociation constant of its best site; 1/2 for the best possible site at c = 0. Occupancies are summed over all starts on both strands;
    competition between sites is neglected.
    """
    changes = np.zeros((*tokens.shape, BASES), np.float32)
    if len(motif.log_odds) > tokens.shape[1]:
        return changes
    known = np.minimum(tokens, PADDING - 1)  # N gets an arbitrary base; its score is very low
    length = tokens.shape[1]
    for log_odds in motif.strands:
        scores = site_scores(tokens, log_odds) + log_concentration
        # A site counts if it is occupied as it is, or after the substitution that raises its score most.
        rows, starts = np.nonzero(scores >= _LOWEST - float(np.ptp(log_odds, axis=1).max()))
        score = scores[rows, starts]
        occupied = special.expit(score)
        for place, row in enumerate(log_odds):
            at = starts + place
            own = row[known[rows, at]]
            changed = special.expit((score - own)[:, None] + row) - occupied[:, None]
            # Sites of one strand differ in start, so that a position occurs once for each promoter and place.
            changes.reshape(len(tokens) * length, BASES)[rows * length + at] += changed.astype(np.float32)
    return changes


def find_factors(tokens: np.ndarray, effects: np.ndarray, motifs: Sequence[Motif]) -> pl.DataFrame:
    """Return the factors whose occupancy explains ISM effects, best first.

    Effects are regressed on `occupancy_changes` by orthogonal matching pursuit (Pati et al. 1993): each round selects the factor that
    explains most of the residual effects among those significantly associated with them, then refits all selected factors together. Of
    several similar matrices, the best one is thus selected. The association is the sum over mutants of residual effect times occupancy
    change; z is this sum divided by its heteroscedasticity-consistent standard error (White 1980, doi:10.2307/1912934). It must be
    significant at a family-wise error rate of .01 over all motifs (Bonferroni). A factor is kept if it explains at least .3 / promoters of
    the sum of squared effects in addition to all others, but not less than .001 and not more than .003.

    Parameters
    ----------
    tokens, effects
        ``(promoters, length)`` tokens, and their `mutational_effects`.
    motifs
        Known motifs.

    Returns
    -------
    polars.DataFrame
        Columns `FACTORS`: ``activity`` is expression per bound molecule; ``explained`` is the variance of ISM effects explained by this
        factor and those before it, as a fraction of the sum of squared effects.
    """
    if not motifs:
        return pl.DataFrame(schema=FACTORS)
    known = np.isfinite(effects)
    target = np.where(known, effects, 0).ravel().astype(np.float32)
    total = float(target @ target)
    required = min(max(_LEAST_EACH / max(len(tokens), 1), _LEAST), _MOST_LEAST) * total
    kinds = [(index, offset) for index in range(len(motifs)) for offset in _OFFSETS]
    features = _sparse_features(tokens, known.ravel(), motifs, kinds)
    squares = features.multiply(features).tocsr()
    size = np.sqrt(np.asarray(squares.sum(axis=1)).ravel()).clip(1e-12)
    least, left = stats.norm.isf(_CHANCE / 2 / len(kinds)), target  # two-sided, Bonferroni; left: residual effects
    motif_of = np.array([index for index, _ in kinds])
    taken: list[int] = []
    of_z: dict[int, float] = {}
    while len(taken) < len(motifs):
        sums = features @ left
        z = sums / np.sqrt(squares @ left**2).clip(1e-12)
        # |x . residual| / |x| is the square root of the sum of squares explained by feature x alone.
        gain = np.where(np.abs(z) >= least, np.abs(sums) / size, -1)
        gain[np.isin(motif_of, motif_of[taken])] = -1
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        before = left
        _, left = _fitted(features, target, [*taken, best])
        if float(before @ before) - float(left @ left) < required:
            break
        taken.append(best)
        of_z[best] = float(z[best])
    # Backward elimination: an early factor may be redundant once similar ones have been selected.
    while taken:
        left = _fitted(features, target, taken)[1]
        losses = []
        for one in taken:
            without = _fitted(features, target, [other for other in taken if other != one])[1]
            losses.append(float(without @ without) - float(left @ left))
        if min(losses) >= required:
            break
        del taken[int(np.argmin(losses))]
    activity = _fitted(features, target, taken)[0]
    lines = []
    for number, index in enumerate(taken):
        left = _fitted(features, target, taken[: number + 1])[1]
        motif = motifs[motif_of[index]]
        names = {"factor": motif.factor, "matrix": motif.matrix_id}
        lines.append(names | {"activity": float(activity[number]), "z": of_z[index], "explained": 1 - float(left @ left) / total})
    return pl.DataFrame(lines, schema=FACTORS)


def _sparse_features(tokens: np.ndarray, known: np.ndarray, motifs: Sequence[Motif], kinds: Sequence[tuple[int, float]]) -> Any:
    """Return changes of occupancy, one row for each motif and offset, ``(kinds, promoters x length x 4)`` as a sparse array."""
    values, columns, ends = [], [], [0]
    for index, offset in kinds:
        changes = occupancy_changes(tokens, motifs[index], offset).ravel() * known
        there = np.flatnonzero(np.abs(changes) >= _SMALLEST)
        values.append(changes[there])
        columns.append(there)
        ends.append(ends[-1] + len(there))
    arrays = (np.concatenate(values), np.concatenate(columns), np.array(ends))
    return sparse.csr_array(arrays, shape=(len(kinds), known.size))


def _fitted(features: Any, target: np.ndarray, taken: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the least-squares activities of the selected features, and the residual effects."""
    if not len(taken):
        return np.empty(0), target
    chosen = features[list(taken)]
    gram = (chosen @ chosen.T).toarray().astype(np.float64)
    activity = np.linalg.lstsq(gram, (chosen @ target).astype(np.float64), rcond=1e-10)[0]
    return activity, target - (chosen.T @ activity).astype(np.float32)


def find_sites(
    predictor: Predictor,
    names: pl.Series,
    tokens: np.ndarray,
    effects: np.ndarray,
    begin: np.ndarray,
    motifs: Sequence[Motif],
    seed: int = 0,
) -> pl.DataFrame:
    """Return the sites at which ISM effects agree with the motif, columns `SITES`.

    A site is listed if its occupancy is at least .05 and the absolute correlation between ISM effects and changes of its occupancy, over
    all of its mutants, is at least .5 (``similarity``: positive for activators, negative for repressors). ``start`` and ``end`` count
    from 1 in the promoter with its flanks. ``effect`` is the site ablation effect: predicted expression minus the mean prediction after
    replacing the site with 8 random sequences (from ``seed``).
    """
    rows, at = [], []
    for motif in motifs:
        for strand, log_odds in zip("+-", motif.strands, strict=True):
            if len(log_odds) > tokens.shape[1]:
                continue
            score = site_scores(tokens, log_odds)
            for row, start in zip(*np.nonzero(special.expit(score) >= _OCCUPIED), strict=True):
                site = slice(start, start + len(log_odds))
                own = log_odds[np.arange(len(log_odds)), tokens[row, site]]
                expected = special.expit(score[row, start] - own[:, None] + log_odds) - special.expit(score[row, start])
                mutated = np.isfinite(effects[row, site]) & (np.arange(BASES) != tokens[row, site, None])
                seen, expected = effects[row, site][mutated].astype(np.float64), expected[mutated]
                if len(seen) < 3 * (BASES - 1) or not seen.std() or not expected.std():
                    continue
                alike = float(np.corrcoef(seen, expected)[0, 1])
                if abs(alike) >= _ALIKE:
                    first = int(start - begin[row] + 1)
                    place = (names[int(row)], motif.factor, motif.matrix_id, strand, first, first + len(log_odds) - 1)
                    rows.append((*place, float(special.expit(score[row, start])), alike))
                    at.append((int(row), int(start), len(log_odds)))
    sites = pl.DataFrame(rows, schema={name: kind for name, kind in SITES.items() if name != "effect"}, orient="row")
    sites = sites.with_columns(pl.Series("effect", _effects_of_sites(predictor, tokens, at, seed), pl.Float64))
    return sites.sort("name", "start", "matrix", maintain_order=True)


def _effects_of_sites(predictor: Predictor, tokens: np.ndarray, at: Sequence[tuple[int, int, int]], seed: int) -> np.ndarray:
    """Return site ablation effects for sites given as row, start and width, ``(sites,)``."""
    if not at:
        return np.empty(0)
    rng = replacements(seed)
    changed = np.repeat(tokens[[row for row, _, _ in at]], _REPLACED + 1, axis=0).reshape(len(at), _REPLACED + 1, -1)
    for promoters, (_, start, width) in zip(changed, at, strict=True):
        promoters[1:, start : start + width] = rng.integers(0, BASES, (_REPLACED, width), dtype=np.uint8)
    expression = predictor.members(changed.reshape(-1, tokens.shape[1])).mean(axis=1).reshape(len(at), -1)
    return expression[:, 0] - expression[:, 1:].mean(axis=1)


def replacements(seed: int) -> np.random.Generator:
    """Return the generator of the bases that replace sites: 8 sequences for each site, in the order in which sites are found.

    Bases are uint8 from 0 to 3. They are the same whether they are drawn for each site or all at once, because a draw of 8 bases takes
    whole words of the generator (tested); the offline page has them as one string.
    """
    return randomness.generator(seed, "explain", "sites")


def summarize(factors: pl.DataFrame, sites: pl.DataFrame, promoters: int) -> pl.DataFrame:
    """Return factors (`FACTORS`) with statistics of their sites, columns `SUMMARY`.

    ``sites`` is the number of sites, ``mean_effect`` their mean site ablation effect (null without sites), ``promoters`` the fraction of
    promoters with a site.
    """
    of_each = sites.group_by("matrix").agg(
        pl.len().cast(pl.Int64).alias("sites"),
        pl.col("effect").mean().alias("mean_effect"),
        (pl.col("name").n_unique() / promoters).alias("promoters"),
    )
    summary = factors.join(of_each, on="matrix", how="left", maintain_order="left")
    return summary.with_columns(pl.col("sites").fill_null(0), pl.col("promoters").fill_null(0.0)).select(list(SUMMARY))


def find_seqlets(names: pl.Series, effects: np.ndarray, begin: np.ndarray, sites: pl.DataFrame) -> pl.DataFrame:
    """Return seqlets (runs of high contribution) and the matching site, if any: columns `SEQLETS`, ``factor``, ``matrix``, ``strand``.

    A seqlet (as in TF-MoDISco, arXiv:1811.00416) is a run of at least 3 positions at which the mean contribution over 5 bp has the same
    sign and an absolute value of at least its root mean square over all positions of all promoters. ``contribution`` is the mean over the
    bases of the seqlet. The matching site is the one with the largest effect among those that overlap the seqlet by at least half of the
    shorter of the two.
    """
    values = contributions(effects)
    there = np.isfinite(effects).any(axis=-1)
    kernel = np.ones(_SMOOTHED) / _SMOOTHED
    smooth = np.stack([np.convolve(row, kernel, "same") for row in values]) if len(values) else values
    least = np.sqrt(np.mean(smooth[there] ** 2)) if there.any() else 0.0
    signs = np.where(there & (np.abs(smooth) >= least) & (smooth != 0), np.sign(smooth), 0)
    of_name = {name: part for (name,), part in sites.group_by("name")}
    lines = []
    for row, name in enumerate(names):
        edges = np.flatnonzero(np.diff(signs[row], prepend=0, append=0))
        for start, end in pairwise(edges):
            if not signs[row, start] or end - start < _SHORTEST:
                continue
            first, last = int(start - begin[row] + 1), int(end - begin[row])
            overlap = pl.min_horizontal("end", pl.lit(last)) - pl.max_horizontal("start", pl.lit(first)) + 1
            shorter = pl.min_horizontal(pl.col("end") - pl.col("start") + 1, pl.lit(last - first + 1))
            near = of_name.get(name, sites.clear()).filter(2 * overlap >= shorter).sort(pl.col("effect").abs(), descending=True).head(1)
            named = near.select("factor", "matrix", "strand").rows() or [(None, None, None)]
            lines.append((name, first, last, float(values[row, start:end].mean()), *named[0]))
    return pl.DataFrame(lines, schema=SEQLETS | dict.fromkeys(("factor", "matrix", "strand"), pl.String), orient="row")


def recalls(hit: set[str], truth: pl.DataFrame) -> dict[str, float]:
    """Return the recall of the active factors by the matrices that were found: of all, and of two halves of them.

    The stronger half has the largest absolute ``activity``. The effective half contributes most to differences between promoters
    (``effect_sd``, if there is this column), and is therefore bound in enough promoters to be seen.
    """
    orders = {"stronger": pl.col("activity").abs()} | ({"effective": pl.col("effect_sd")} if "effect_sd" in truth.columns else {})
    found = {"recall": len(hit) / truth.height}
    for name, order in orders.items():
        half = set(truth.sort(order, descending=True)["matrix"][: (truth.height + 1) // 2])
        found[f"recall_of_the_{name}_half"] = len(hit & half) / len(half)
    return found


def recovery(factors: pl.DataFrame, truth: pl.DataFrame, known: Sequence[Motif] = ()) -> dict[str, Any]:
    """Return precision and recall of identified factors (`FACTORS`) against the truly active ones, matched by ``matrix``.

    Precision is None if no factor was identified. ``precision_with_alike`` also accepts factors whose motif is nearly the same as that of
    an active factor (`motifs.likeness` of at least .9; both are in ``known``). Recall also of two halves of
    the active factors (`recalls`).
    """
    active, named = set(truth["matrix"]), set(factors["matrix"])
    of_matrix = {motif.matrix_id: motif for motif in known}
    rest = [of_matrix[one] for one in named - active if one in of_matrix]
    alike = sum(any(likeness(one, of_matrix[other]) >= _LIKENESS for other in active if other in of_matrix) for one in rest)
    return {
        "active": len(active),
        "found": len(named),
        "precision": len(active & named) / len(named) if named else None,
        "precision_with_alike": (len(active & named) + alike) / len(named) if named else None,
        **recalls(active & named, truth),
    }
