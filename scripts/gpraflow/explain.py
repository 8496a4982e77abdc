"""Why a model predicts what it predicts: effects of all single mutants of promoters, and the known motifs that explain them."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy import special, stats

from gpraflow.motifs import Motif
from gpraflow.prediction import Predictor
from gpraflow.scaffold import ALPHABET, BASES, PADDING, tokenize

_PLACES = 1 << 14  # mutated at a time: three mutants each, whole batches
_CHANCE = 0.01  # of finding any motif where the model uses none
_LEAST = 0.005  # of the sum of squared effects, that a factor has to explain beyond all others
_OCCUPIED = 0.2  # least occupancy of a site that is listed; the best site has 1/2
_ALIKE = 0.5  # least correlation of the model's effects with the motif's
EFFECTS = {"name": pl.String, "position": pl.Int64, "ref": pl.String, "alt": pl.String, "effect_alt_minus_ref": pl.Float32}
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
}


def offsets(predictor: Predictor, sequences: pl.Series) -> np.ndarray:
    """Return the position in the model's window of the first base of promoters (below 0 where it was cut off), ``(promoters,)``."""
    window, lengths = predictor.window, sequences.str.len_bytes().to_numpy().astype(np.int64)
    at_the_right = np.where(lengths > window["length"], window["keep"] == "right", window["pad"] == "left")
    return np.where(at_the_right, window["length"] - lengths, 0)


def places(predictor: Predictor, sequences: pl.Series) -> np.ndarray:
    """Return which positions of the window to mutate, the insert where both flanks are intact, else all: ``(promoters, length)``."""
    five, three = predictor.flanks
    intact = (sequences.str.starts_with(five) & sequences.str.ends_with(three)).to_numpy()
    begin = offsets(predictor, sequences)
    end = begin + sequences.str.len_bytes().to_numpy().astype(np.int64)
    at = np.arange(predictor.window["length"])
    begin, end = begin + intact * len(five), end - intact * len(three)
    return (at >= begin[:, None]) & (at < end[:, None])


def mutational_effects(predictor: Predictor, tokens: np.ndarray, mutated: np.ndarray) -> np.ndarray:
    """Return what each single mutant has more than its promoter: in-silico saturation mutagenesis.

    Parameters
    ----------
    predictor
        The model.
    tokens
        ``(promoters, length)``.
    mutated
        ``(promoters, length)`` bool: positions to mutate; N is left alone.

    Returns
    -------
    numpy.ndarray
        ``(promoters, length, 4)`` float32: expression with A, C, G or T there minus expression as it is; 0 for the promoter's own base,
        NaN at positions that were not mutated.
    """
    found = np.full((*tokens.shape, BASES), np.nan, np.float32)
    reference = predictor.members(tokens).mean(axis=1)
    rows, at = np.nonzero(mutated & (tokens < PADDING))
    for begin in range(0, len(rows), _PLACES):
        row, place = rows[begin : begin + _PLACES], at[begin : begin + _PLACES]
        own = tokens[row, place]
        others = (own[:, None] + np.arange(1, BASES, dtype=np.uint8)) % BASES
        mutants = np.repeat(tokens[row], BASES - 1, axis=0)
        mutants[np.arange(len(mutants)), np.repeat(place, BASES - 1)] = others.ravel()
        expression = predictor.members(mutants).mean(axis=1).reshape(others.shape)
        found[row[:, None], place[:, None], others] = expression - reference[row, None]
        found[row, place, own] = 0
    return found


def contributions(effects: np.ndarray) -> np.ndarray:
    """Return what each base of promoters adds to their expression: minus the mean effect of its three mutants; ``(promoters, length)``."""
    return -np.nan_to_num(effects).sum(axis=-1) / (BASES - 1)


def effects_table(names: pl.Series, sequences: pl.Series, effects: np.ndarray, begin: np.ndarray) -> pl.DataFrame:
    """Return effects as a table with the columns `EFFECTS`; positions count from 1 in the promoter with its flanks."""
    window = np.arange(effects.shape[1])
    text = np.full(effects.shape[:2], "N", "U1")
    for row, sequence in enumerate(sequences):
        inside = (window >= begin[row]) & (window < begin[row] + len(sequence))
        text[row, inside] = [sequence[place] for place in window[inside] - begin[row]]
    bases = np.array(list(ALPHABET[:BASES]))
    rows, at, base = np.nonzero(np.isfinite(effects) & (text[:, :, None] != bases))
    columns = (names.to_numpy()[rows], at - begin[rows] + 1, text[rows, at], bases[base], effects[rows, at, base])
    return pl.DataFrame(dict(zip(EFFECTS, columns, strict=True)), schema=EFFECTS)


# Motifs


def site_scores(tokens: np.ndarray, log_odds: np.ndarray) -> np.ndarray:
    """Return the score minus that of the best site at each start, ``(promoters, starts)``; very low where a site covers an N."""
    starts = tokens.shape[1] - len(log_odds) + 1
    with_n = np.pad(log_odds, ((0, 0), (0, 1)), constant_values=-1000.0)
    found = np.full((len(tokens), starts), -log_odds.max(axis=1).sum(), np.float64)
    for place, scores in enumerate(with_n):
        found += scores[tokens[:, place : place + starts]]
    return found


def strands(motif: Motif) -> tuple[np.ndarray, np.ndarray]:
    """Return a motif's log-odds as the forward strand reads sites on either strand."""
    return motif.log_odds, motif.log_odds[::-1, ::-1]


def occupancy_changes(tokens: np.ndarray, motif: Motif) -> np.ndarray:
    """Return how each single mutant changes the summed occupancy of a factor, ``(promoters, length, 4)`` float32.

    The occupancy of a site is 1 / (1 + exp(best score - score)), that of the best one 1/2; sites on both strands, each by itself.
    """
    found = np.zeros((*tokens.shape, BASES), np.float32)
    if len(motif.log_odds) > tokens.shape[1]:
        return found
    known = np.minimum(tokens, PADDING - 1)  # the score at an N is very low anyway
    for log_odds in strands(motif):
        score = site_scores(tokens, log_odds)
        occupied = special.expit(score)
        for place, row in enumerate(log_odds):
            own = row[known[:, place : place + score.shape[1]]]
            changed = special.expit((score - own)[:, :, None] + row) - occupied[:, :, None]
            found[:, place : place + score.shape[1]] += changed.astype(np.float32)
    return found


def find_factors(tokens: np.ndarray, effects: np.ndarray, motifs: Sequence[Motif]) -> pl.DataFrame:
    """Return the factors whose occupancy explains the effects of mutations, the one that explains most first.

    Effects are regressed on `occupancy_changes`, one factor after the other (orthogonal matching pursuit; Pati et al. 1993): of those that
    are related to what is left, the one that explains most is taken, and all that were taken are fitted anew. So of several matrices that
    are alike the best is named. A relation is the sum over
    mutants of the product of both, z that sum over its standard error (White 1980, doi:10.2307/1912934); z has to be larger than expected
    once in 100 times among all motifs (Bonferroni). A factor stays if it explains at least .5 % of the sum of squared effects that all
    others leave.

    Parameters
    ----------
    tokens, effects
        ``(promoters, length)``, and of `mutational_effects`.
    motifs
        Known motifs.

    Returns
    -------
    polars.DataFrame
        Columns `FACTORS`: ``activity`` is expression for each molecule that is bound, ``explained`` the share of the sum of squared effects
        that this factor and those before it explain.
    """
    known = np.isfinite(effects)
    target = np.where(known, effects, 0).reshape(len(effects), -1).astype(np.float64)
    features = np.stack([np.where(known, occupancy_changes(tokens, motif), 0).reshape(len(effects), -1) for motif in motifs])
    size = np.sqrt(np.einsum("fpi,fpi->f", features, features, dtype=np.float64)).clip(1e-12)
    least, left = stats.norm.isf(_CHANCE / 2 / len(motifs)), target
    taken: list[int] = []
    of_z: dict[int, float] = {}
    while len(taken) < len(motifs):
        total = np.einsum("fpi,pi->f", features, left)
        z = total / np.sqrt(np.einsum("fpi,pi->f", features**2, left**2)).clip(1e-12)
        gain = np.where(np.abs(z) >= least, np.abs(total) / size, -1)
        gain[taken] = -1
        best = int(gain.argmax())
        if gain[best] <= 0:
            break
        before = left
        _, left = _fitted(features, target, [*taken, best])
        if ((before**2).sum() - (left**2).sum()) < _LEAST * (target**2).sum():
            break
        taken.append(best)
        of_z[best] = float(z[best])
    while taken:  # the first ones may stand for several others that were found since
        left = _fitted(features, target, taken)[1]
        without = [(_fitted(features, target, [other for other in taken if other != one])[1] ** 2).sum() for one in taken]
        if min(without) - (left**2).sum() >= _LEAST * (target**2).sum():
            break
        del taken[int(np.argmin(without))]
    activity = _fitted(features, target, taken)[0]
    lines = []
    for number, index in enumerate(taken):
        unexplained = (_fitted(features, target, taken[: number + 1])[1] ** 2).sum() / (target**2).sum()
        names = {"factor": motifs[index].factor, "matrix": motifs[index].matrix_id}
        lines.append(names | {"activity": float(activity[number]), "z": of_z[index], "explained": 1 - float(unexplained)})
    return pl.DataFrame(lines, schema=FACTORS)


def _fitted(features: np.ndarray, target: np.ndarray, taken: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return the activities of some factors that fit effects best, and what they leave."""
    chosen = features[list(taken)].reshape(len(taken), target.size).T.astype(np.float64)
    activity = np.linalg.lstsq(chosen, target.ravel(), rcond=None)[0]
    return activity, target - (chosen @ activity).reshape(target.shape)


def find_sites(names: pl.Series, tokens: np.ndarray, effects: np.ndarray, begin: np.ndarray, motifs: Sequence[Motif]) -> pl.DataFrame:
    """Return the sites of motifs at which mutations have the effects that the motif makes expect, columns `SITES`.

    A site is listed if its occupancy is at least .2 and the correlation between effects and changes of its own occupancy over all of its
    mutants (``similarity``: positive if the factor activates, negative if it represses) at least .5 either way. ``start`` and ``end`` count
    from 1 in the promoter with its flanks.
    """
    found = []
    for motif in motifs:
        for strand, log_odds in zip("+-", strands(motif), strict=True):
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
                    found.append((*place, float(special.expit(score[row, start])), alike))
    return pl.DataFrame(found, schema=SITES, orient="row").sort("name", "start", "matrix", maintain_order=True)


def recovery(factors: pl.DataFrame, truth: pl.DataFrame) -> dict[str, float]:
    """Return precision and recall of found factors (`FACTORS`) against those that are active, both by ``matrix``.

    ``recall_of_the_stronger_half`` counts the half of the active factors with the largest absolute activity only.
    """
    active, named = set(truth["matrix"]), set(factors["matrix"])
    stronger = set(truth.sort(pl.col("activity").abs(), descending=True)["matrix"][: (truth.height + 1) // 2])
    return {
        "active": len(active),
        "found": len(named),
        "precision": len(active & named) / len(named) if named else float("nan"),
        "recall": len(active & named) / len(active),
        "recall_of_the_stronger_half": len(stronger & named) / len(stronger),
    }


def explain(predictor: Predictor, sequences: pl.Series) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return tokens, `mutational_effects` and `offsets` of whole promoters."""
    tokens = tokenize(sequences, **predictor.window)
    return tokens, mutational_effects(predictor, tokens, places(predictor, sequences)), offsets(predictor, sequences)
