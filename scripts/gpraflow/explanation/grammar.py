"""Motif grammar by experiments in silico: motifs inserted into backgrounds (marginalization), and pairs of mutations (epistasis)."""

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.core.errors import InputError
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.scaffold import BASES, detokenize, reverse_complement, tokenize

MOST = 200  # motifs of one call
PAIRED = 4  # motifs, the first of a file, of which `gpraflow explain` inserts pairs
RANDOM = 100  # random backgrounds of `gpraflow explain`
LARGEST = 20_000_000  # sequences that one call predicts
_PLACES = 1 << 14  # sequences per block
POSITIONS = {
    "motif": pl.String,
    "strand": pl.String,
    "start": pl.Int64,
    "effect": pl.Float64,
    "standard_error": pl.Float64,
    "backgrounds": pl.Int64,
}
PAIRS = {
    "motif_1": pl.String,
    "motif_2": pl.String,
    "orientation": pl.String,
    "spacing": pl.Int64,
    "both": pl.Float64,
    "sum_of_each": pl.Float64,
    "interaction": pl.Float64,
    "standard_error": pl.Float64,
    "backgrounds": pl.Int64,
}
SUMMARY = {"motif": pl.String, "strand": pl.String, "mean_effect": pl.Float64, "wave_amplitude": pl.Float64, "wave_share": pl.Float64}
_PERIODIC = 21  # positions, two turns of the helix, below which no wave is fitted
ORIENTATIONS = ("++", "+-", "-+", "--")


class Backgrounds(NamedTuple):
    """``(sequences, length)`` tokens of backgrounds, and the part of the window in which motifs are inserted."""

    tokens: np.ndarray
    begin: int
    end: int


def random_backgrounds(predictor: Predictor, number: int, length: int, seed: int = 0) -> Backgrounds:
    """Return random inserts of uniform base composition between the flanks of the model's scaffold.

    Raises
    ------
    InputError
        If insert and flanks are longer than the model's window.
    """
    five, three = predictor.flanks
    window = predictor.window["length"]
    if len(five) + length + len(three) > window:
        raise InputError(f"--length {length}: with flanks of {len(five)} and {len(three)} bp longer than the model's window of {window} bp")
    inserts = detokenize(randomness.generator(seed, "marginalize").integers(0, BASES, (number, length)))
    return given_backgrounds(predictor, pl.Series([five + insert + three for insert in inserts]))


def given_backgrounds(predictor: Predictor, sequences: pl.Series) -> Backgrounds:
    """Return whole promoters as backgrounds; motifs are inserted between the flanks, where all are intact, otherwise anywhere.

    Raises
    ------
    InputError
        If there is none, the lengths differ, or a sequence is longer than the model's window.
    """
    lengths = sequences.str.len_bytes().to_numpy()
    window = predictor.window
    if not len(lengths):
        raise InputError("backgrounds: no sequence")
    if len(np.unique(lengths)) > 1:
        raise InputError(f"backgrounds: sequences of {lengths.min()} to {lengths.max()} bp; give backgrounds of one length")
    length = int(lengths[0])
    if length > window["length"]:
        raise InputError(f"backgrounds: sequences of {length} bp are longer than the model's window of {window['length']} bp")
    first = window["length"] - length if window["pad"] == "left" else 0
    five, three = predictor.flanks
    intact = (sequences.str.starts_with(five) & sequences.str.ends_with(three)).all()
    begin, end = (first + len(five), first + length - len(three)) if intact else (first, first + length)
    return Backgrounds(tokenize(sequences, **window), begin, end)


def best_site(motif: Motif) -> np.ndarray:
    """Return the tokens of the site with the highest score."""
    return motif.log_odds.argmax(axis=1).astype(np.uint8)


def _turned(site: np.ndarray, strand: str) -> np.ndarray:
    return site if strand == "+" else reverse_complement(site)


def _expression(predictor: Predictor, tokens: np.ndarray) -> np.ndarray:
    """Return predicted expression, ``(sequences,)``, for any leading shape."""
    flat = tokens.reshape(-1, tokens.shape[-1])
    found = [predictor.members(flat[begin : begin + _PLACES]).mean(axis=1) for begin in range(0, len(flat), _PLACES)]
    return np.concatenate(found).reshape(tokens.shape[:-1])


def _fits(backgrounds: Backgrounds, motifs: Sequence[Motif]) -> None:
    """Raise `InputError` if a motif is longer than the backgrounds, or there are none or too many."""
    room = backgrounds.end - backgrounds.begin
    if not motifs:
        raise InputError("--marginalize: no motif to insert")
    if len(motifs) > MOST:
        raise InputError(f"--marginalize: {len(motifs):,} motifs; at most {MOST} are inserted, give a file with those of interest")
    for motif in motifs:
        if len(motif.log_odds) > room:
            raise InputError(
                f"--marginalize: the motif {motif.matrix_id} of {len(motif.log_odds)} bp does not fit into backgrounds of {room} bp; "
                "give longer backgrounds, or --length"
            )


def cost(backgrounds: Backgrounds, motifs: Sequence[Motif], spacings: Sequence[int], paired: int = PAIRED) -> int:
    """Return the number of sequences that `insert` and `insert_pairs`, of the first motifs, predict.

    Raises
    ------
    InputError
        If that is more than 20 million; also as `insert`.
    """
    _fits(backgrounds, motifs)
    room, some = backgrounds.end - backgrounds.begin, motifs[:paired]
    single = sum(2 * (room - len(motif.log_odds) + 1) for motif in motifs)
    widths = [(len(one.log_odds), len(other.log_odds)) for one, other in _pairs(some)]
    placed = sum(_places(backgrounds, *each, spacing) is not None for each in widths for spacing in spacings)
    number = (single + 3 * len(ORIENTATIONS) * placed + 2) * len(backgrounds.tokens)
    if number > LARGEST:
        raise InputError(
            f"--marginalize: {len(motifs):,} motifs in {len(backgrounds.tokens):,} backgrounds of {room} bp are {number:,} sequences to "
            f"predict; at most {LARGEST:,} are: give fewer backgrounds or motifs"
        )
    return number


def _pairs(motifs: Sequence[Motif]) -> list[tuple[Motif, Motif]]:
    return [*combinations(motifs, 2)] if len(motifs) > 1 else [(motifs[0], motifs[0])]


def _places(backgrounds: Backgrounds, one: int, other: int, spacing: int) -> tuple[int, int] | None:
    """Return where two sites of these widths begin, around the middle of the insert; None if they do not fit."""
    both = one + spacing + other
    first = (backgrounds.begin + backgrounds.end - both) // 2
    second = first + one + spacing
    if first < backgrounds.begin or second < backgrounds.begin or max(first + both, first + one) > backgrounds.end:
        return None
    return first, second


def insert(predictor: Predictor, backgrounds: Backgrounds, motifs: Sequence[Motif], step: int = 1) -> pl.DataFrame:
    """Return the effect of inserting the best site of each motif, by position and strand: columns `POSITIONS`.

    The effect is the mean, over backgrounds, of predicted expression with the site minus that of the background; ``standard_error`` is that
    of the mean. ``start`` counts from 1 in the insert, or in the sequence without intact flanks.

    Raises
    ------
    InputError
        If a motif is longer than the backgrounds, or there are too many.
    """
    _fits(backgrounds, motifs)
    before = _expression(predictor, backgrounds.tokens)
    lines = []
    for motif in motifs:
        for strand in "+-":
            site = _turned(best_site(motif), strand)
            for start in range(backgrounds.begin, backgrounds.end - len(site) + 1, step):
                changed = backgrounds.tokens.copy()
                changed[:, start : start + len(site)] = site
                lines.append((motif.matrix_id, strand, start - backgrounds.begin + 1, *_mean(_expression(predictor, changed) - before)))
    return pl.DataFrame(lines, schema=POSITIONS, orient="row")


def summarize(positions: pl.DataFrame) -> pl.DataFrame:
    """Return the mean effect over positions of each motif and strand of `insert`, and its 10.5-bp wave: columns `SUMMARY`.

    ``wave_amplitude`` and ``wave_share`` are those of `periodicity`; null with fewer than 21 positions, two turns of the helix. Of
    independent noise at n positions, a wave explains a share of about 2 / (n - 3).
    """
    lines = []
    for (motif, strand), part in positions.group_by("motif", "strand", maintain_order=True):
        wave = periodicity(part["start"].to_numpy(), part["effect"].to_numpy()) if part.height >= _PERIODIC else (None, None)
        lines.append((motif, strand, part["effect"].mean(), *wave))
    return pl.DataFrame(lines, schema=SUMMARY, orient="row")


def insert_pairs(
    predictor: Predictor,
    backgrounds: Backgrounds,
    motifs: Sequence[Motif],
    spacings: Sequence[int],
    orientations: Sequence[str] = ORIENTATIONS,
) -> pl.DataFrame:
    """Return the effects of pairs of motifs by spacing and orientation: columns `PAIRS`.

    Both sites are placed around the middle of the insert, ``motif_1`` first; ``spacing`` is the number of bases between them, negative for
    an overlap, in which the second site overwrites the first. ``interaction`` is the effect of both minus the sum of the effects of each at
    the same place, averaged over backgrounds.

    Raises
    ------
    InputError
        As in `insert`; pairs with spacings that do not fit are left out.
    """
    _fits(backgrounds, motifs)
    before = _expression(predictor, backgrounds.tokens)
    lines = []
    for one, other in _pairs(motifs):
        for orientation in orientations:
            sites = _turned(best_site(one), orientation[0]), _turned(best_site(other), orientation[1])
            for spacing in spacings:
                placed = _places(backgrounds, len(sites[0]), len(sites[1]), spacing)
                if placed is None:
                    continue
                first, second = placed
                changed = np.repeat(backgrounds.tokens[None], 3, axis=0)
                for which in (0, 2):
                    changed[which, :, first : first + len(sites[0])] = sites[0]
                for which in (1, 2):
                    changed[which, :, second : second + len(sites[1])] = sites[1]
                alone_1, alone_2, together = _expression(predictor, changed) - before
                mean, error, number = _mean(together - alone_1 - alone_2)
                means = (float(together.mean()), float((alone_1 + alone_2).mean()))
                lines.append((one.matrix_id, other.matrix_id, orientation, spacing, *means, mean, error, number))
    return pl.DataFrame(lines, schema=PAIRS, orient="row")


def _mean(values: np.ndarray) -> tuple[float, float, int]:
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")
    return float(values.mean()), error, len(values)


def periodicity(spacing: np.ndarray, values: np.ndarray, period: float = 10.5) -> tuple[float, float]:
    """Return amplitude and share of variance of a wave with this period in bp, after removing a quadratic trend.

    Raises
    ------
    ValueError
        With fewer than eight spacings.
    """
    if len(spacing) < 8:
        raise ValueError("a period needs at least eight spacings")
    at = np.asarray(spacing, np.float64)
    trend = np.vander((at - at.mean()) / max(np.ptp(at), 1), 3)
    waves = np.stack([np.cos(2 * np.pi * at / period), np.sin(2 * np.pi * at / period)], axis=1)
    left = values - trend @ np.linalg.lstsq(trend, values, rcond=None)[0]
    both = np.hstack([trend, waves])
    weights = np.linalg.lstsq(both, values, rcond=None)[0]
    total = float(left @ left)
    after = values - both @ weights
    return float(np.hypot(*weights[-2:])), 1 - float(after @ after) / total if total > 1e-18 else 0.0


def epistasis(predictor: Predictor, tokens: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Return the epistasis of all pairs of substitutions at some positions of a promoter.

    Parameters
    ----------
    predictor
        The model.
    tokens
        ``(length,)``.
    places
        Positions in the window, at which the promoter has no N.

    Returns
    -------
    numpy.ndarray
        ``(positions, 3, positions, 3)`` float32: the effect of both substitutions minus the sum of their effects; the substitutions of a
        base are by A, C, G, T in the order that follows the promoter's own base. NaN for two substitutions at one position.
    """
    places = np.asarray(places)
    number, others = len(places), BASES - 1
    new = (tokens[places, None] + np.arange(1, BASES, dtype=np.uint8)) % BASES
    single = np.repeat(tokens[None], number * others, axis=0)
    single[np.arange(number * others), np.repeat(places, others)] = new.ravel()
    reference = float(_expression(predictor, tokens[None])[0])
    effects = _expression(predictor, single) - reference
    found = np.full((number * others, number * others), np.nan, np.float32)
    of = np.repeat(np.arange(number), others)
    one, other = np.nonzero(of[:, None] < of)
    for begin in range(0, len(one), _PLACES):
        first, second = one[begin : begin + _PLACES], other[begin : begin + _PLACES]
        double = single[first].copy()
        double[np.arange(len(first)), places[of[second]]] = new.ravel()[second]
        values = _expression(predictor, double) - reference - effects[first] - effects[second]
        found[first, second] = found[second, first] = values
    return found.reshape(number, others, number, others)


def cost_of_epistasis(promoters: int, positions: int) -> int:
    """Return the number of sequences that `epistasis` predicts for promoters with this many positions.

    Raises
    ------
    InputError
        If that is more than 20 million.
    """
    single = (BASES - 1) * positions
    number = promoters * (1 + single + (BASES - 1) ** 2 * positions * (positions - 1) // 2)
    if number > LARGEST:
        raise InputError(
            f"--epistasis: all pairs of substitutions in {promoters:,} promoters of up to {positions} bp are {number:,} sequences to "
            f"predict; at most {LARGEST:,} are: lower --logos, the number of promoters"
        )
    return number


def strongest(found: np.ndarray) -> np.ndarray:
    """Return the epistasis of each pair of positions with the largest absolute value, ``(positions, positions)``; NaN on the diagonal."""
    pairs = found.transpose(0, 2, 1, 3).reshape(len(found), len(found), -1)
    index = np.nan_to_num(np.abs(pairs)).argmax(axis=2)
    return np.take_along_axis(pairs, index[:, :, None], axis=2)[:, :, 0]


def pairs_table(found: np.ndarray, positions: np.ndarray) -> pl.DataFrame:
    """Return `strongest` as a table: ``position_1``, ``position_2`` (the larger), ``epistasis``."""
    one, other = np.triu_indices(len(positions), 1)
    return pl.DataFrame({"position_1": positions[one], "position_2": positions[other], "epistasis": found[one, other]})
