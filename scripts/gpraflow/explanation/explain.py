"""Model interpretation for a data set: in-silico mutagenesis (ISM) of selected promoters, and motifs that explain the effects."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.core.conditions import differences
from gpraflow.evaluation import metrics
from gpraflow.explanation import discovery, matching
from gpraflow.explanation.mutagenesis import contributions, explain, gradient_effects, has_gradient, places
from gpraflow.explanation.sites import find_factors, find_seqlets, find_sites, recovery, summarize
from gpraflow.prediction.predictor import PREDICTED, Predictor
from gpraflow.sequences.motifs import Motif, meme
from gpraflow.sequences.scaffold import ALPHABET, BASES, tokenize

_CANDIDATES = 3  # promoters for each one that is explained, from which those with the most varied effects are taken

CONTRIBUTIONS = {"name": pl.String, "position": pl.Int64, "base": pl.String, "contribution": pl.Float32, "gradient_x_input": pl.Float32}


@dataclass(frozen=True)
class Explanation:
    """Tables for selected promoters of a data set; ``promoters`` has their name, sequence, measured and predicted expression.

    ``contributions`` has the columns `CONTRIBUTIONS`, and A, C, G and T: the effect of substituting this base (null for positions that
    were not mutated); ``gradient_x_input`` is null if the model has no gradient. ``seqlets`` is the result of `find_seqlets`, ``sites`` of
    `find_sites`, and ``motifs`` of `summarize`; if the truth is known, ``motifs`` also has ``planted``, the true activity of the factor
    (null if it is inactive). ``de_novo`` has the columns `discovery.MOTIFS` and the best match among the known motifs (``factor``,
    ``matrix``, ``q_value``; null without one), ``de_novo_sites`` is the result of `discovery.sites_of`, and ``meme`` has the matrices.
    """

    promoters: pl.DataFrame
    contributions: pl.DataFrame
    seqlets: pl.DataFrame
    sites: pl.DataFrame
    motifs: pl.DataFrame
    de_novo: pl.DataFrame
    de_novo_sites: pl.DataFrame
    meme: str
    summary: dict[str, Any]


def choose(predicted: np.ndarray, number: int, seed: int) -> np.ndarray:
    """Select promoters that cover the range of predicted expression: one random row from each of ``number`` quantiles, lowest first."""
    parts = np.array_split(np.argsort(predicted, kind="stable"), min(number, len(predicted)))
    rng = randomness.generator(seed, "explain", "promoters")
    return np.array([rng.choice(part) for part in parts], np.int64)


def choose_varied(predictor: Predictor, predictions: pl.DataFrame, number: int, seed: int) -> np.ndarray:
    """Select promoters that cover the range of predicted expression and have varied mutants.

    Of three promoters drawn by `choose` for neighbouring quantiles, the one whose mutants have the largest variance of effects is taken.
    The variance is that of `gradient_effects`, which need one gradient for each promoter; without gradients, the promoters are those of
    `choose`.
    """
    predicted = predictions[PREDICTED].to_numpy()
    if number * _CANDIDATES > len(predicted) or not has_gradient(predictor):
        return choose(predicted, number, seed)
    rows = choose(predicted, number * _CANDIDATES, seed)
    sequences = predictions["sequence"][rows]
    effects = gradient_effects(predictor, tokenize(sequences, **predictor.window), places(predictor, sequences))
    variance = np.nansum(effects.astype(np.float64) ** 2, axis=(1, 2)).reshape(number, _CANDIDATES)
    return rows.reshape(number, _CANDIDATES)[np.arange(number), variance.argmax(axis=1)]


def explain_some(
    predictor: Predictor,
    predictions: pl.DataFrame,
    known: Sequence[Motif],
    *,
    number: int,
    seed: int,
    de_novo: int = 0,
    truth: pl.DataFrame | None = None,
) -> Explanation:
    """Interpret the predictions for selected promoters of a data set.

    Parameters
    ----------
    predictor
        The model.
    predictions
        Table of predictions for the data set (`predictor.predict`).
    known
        Known motifs to search for. If there are none, what depends on them is None in ``summary``.
    number
        Number of promoters to explain, see `choose_varied`.
    seed
        Random seed for the selection of promoters, for the sequences that replace sites, and for the search for de novo motifs.
    de_novo
        Maximum number of de novo motifs (`discovery.discover`); 0 for no search.
    truth
        ``matrix`` and ``activity`` of the truly active factors, for `recovery`; None if unknown.
    """
    rows = choose_varied(predictor, predictions, number, seed)
    some = predictions[rows].select(_names(predictions)[rows], "sequence", "expression", PREDICTED)
    tokens, effects, estimated, begin = explain(predictor, some["sequence"])
    factors = find_factors(tokens, effects, known)
    sites = find_sites(predictor, some["name"], tokens, effects, begin, [m for m in known if m.matrix_id in set(factors["matrix"])], seed)
    motifs = summarize(factors, sites, some.height)
    seqlets = find_seqlets(some["name"], effects, begin, sites)
    found = find_de_novo(some["name"], tokens, effects, begin, known, most=de_novo, seed=seed)
    summary: dict[str, Any] = {
        "promoters": some.height,
        "mutants": int(np.isfinite(effects).sum() - np.isfinite(effects).any(axis=-1).sum()),
        "motifs": motifs.height if known else None,
        "explained": (float(factors["explained"][-1]) if factors.height else 0.0) if known else None,
        "seqlets": seqlets.height,
        "seqlets_with_a_site": int(seqlets["matrix"].is_not_null().sum()) if known else None,
        "r_of_gradient_x_input": _agreement(effects, estimated),
        "de_novo": len(found.motifs) if de_novo else None,
        "de_novo_explained": (found.table["explained"][-1] if found.motifs else 0.0) if de_novo else None,
        "de_novo_matched": found.table["q_value"].count() if de_novo and known else None,
        "recovery": None,
        "de_novo_recovery": None,
    }
    if truth is not None and known:
        summary["recovery"] = recovery(factors, truth, known)
        motifs = motifs.join(truth.select("matrix", planted="activity"), on="matrix", how="left", maintain_order="left")
        if de_novo:
            summary["de_novo_recovery"] = matching.recovery(found.motifs, known, truth)
    contributed = _contributions_table(some, effects, estimated, begin)
    return Explanation(some, contributed, seqlets, sites, motifs, found.table, found.sites, found.meme, summary)


class DeNovo(NamedTuple):
    """De novo motifs: tables ``de_novo`` and ``de_novo_sites`` of `Explanation`, the motifs, and their matrices in MEME format."""

    table: pl.DataFrame
    sites: pl.DataFrame
    motifs: list[Motif]
    meme: str


def find_de_novo(
    names: pl.Series, tokens: np.ndarray, effects: np.ndarray, begin: np.ndarray, known: Sequence[Motif], *, most: int, seed: int = 0
) -> DeNovo:
    """Find de novo motifs in ISM effects (`discovery.discover`), their sites, and their best matches among the known motifs.

    ``names`` are those of the promoters; ``tokens``, ``effects`` and ``begin`` are of `mutagenesis.explain`.
    """
    found, explained = discovery.discover(tokens, effects, most=most, seed=seed)
    sites = discovery.sites_of(names, tokens, begin, found, np.isfinite(effects).any(axis=-1))
    motifs = [each.motif(discovery.name_of(rank)) for rank, each in enumerate(found, start=1)]
    matches = matching.best_matches(motifs, known).select("motif", "factor", "matrix", "q_value")
    table = discovery.table(found, explained, sites, len(tokens)).join(matches, on="motif", how="left", maintain_order="left")
    return DeNovo(table, sites, motifs, meme(motifs))


def read_truth(path: str | os.PathLike, readout: str, conditions: Sequence[str]) -> pl.DataFrame:
    """Return the factors of a simulated assay that determine a readout: all, or those whose concentration differs between two conditions.

    Parameters
    ----------
    path
        Table with ``matrix``, ``activity``, and ``log_concentration`` of the first condition, ``log_concentration_2`` of the second, and so
        on.
    readout, conditions
        Readout, and all conditions in order; empty for one.
    """
    activities = pl.read_csv(Path(path), separator="\t", glob=False)
    pair = differences(conditions).get(readout)
    if pair is None:
        return activities
    a, b = (
        f"log_concentration_{number}" if number > 1 else "log_concentration" for number in (conditions.index(name) + 1 for name in pair)
    )
    return activities.filter(pl.col(a) != pl.col(b))


def _names(predictions: pl.DataFrame) -> pl.Series:
    """Return the names of promoters if all have a name of their own, otherwise their row numbers from 1."""
    if "name" in predictions.columns and not predictions["name"].null_count() and predictions["name"].is_unique().all():
        return predictions["name"]
    return pl.int_range(1, predictions.height + 1, eager=True).cast(pl.String).alias("name")


def _agreement(effects: np.ndarray, estimated: np.ndarray) -> float | None:
    """Return Pearson's r between contributions from ISM and from gradients, over mutated positions; None if either is constant."""
    there = np.isfinite(effects).any(axis=-1)
    if not there.any():
        return None
    r = metrics.pearson(contributions(estimated)[there], contributions(effects)[there])
    return r if np.isfinite(r) else None


def _contributions_table(promoters: pl.DataFrame, effects: np.ndarray, estimated: np.ndarray, begin: np.ndarray) -> pl.DataFrame:
    """Return the table ``contributions`` of `Explanation`."""
    values = {"contribution": contributions(effects)}
    values["gradient_x_input"] = np.where(np.isfinite(estimated).any(), contributions(estimated), np.nan)
    parts = []
    for row, (name, sequence) in enumerate(promoters.select("name", "sequence").iter_rows()):
        window = np.arange(max(begin[row], 0), min(begin[row] + len(sequence), effects.shape[1]))
        columns = {"name": [name] * len(window), "position": window - begin[row] + 1, "base": [sequence[i] for i in window - begin[row]]}
        of_bases = {base: pl.Series(effects[row, window, index]).fill_nan(None) for index, base in enumerate(ALPHABET[:BASES])}
        parts.append(
            pl.DataFrame(columns | {key: of[row, window] for key, of in values.items()} | of_bases, schema_overrides=CONTRIBUTIONS)
        )
    return pl.concat(parts).with_columns(pl.col("gradient_x_input").fill_nan(None))
