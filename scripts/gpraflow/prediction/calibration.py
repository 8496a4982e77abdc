"""Calibration of a trained model: prediction intervals, and criteria for promoters outside the training distribution.

It is computed once from the validation and training splits, and saved next to the model together with the flanks to add to inserts.
"""

import itertools
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from gpraflow.core import checksums, documents, files
from gpraflow.core import schema as schemas
from gpraflow.core.errors import InputError
from gpraflow.formats.transform import NONE, Transform, of_content
from gpraflow.prediction import conformal
from gpraflow.prediction import effects as of_pairs
from gpraflow.prediction.conformal import LEVELS
from gpraflow.sequences.scaffold import BASES, PADDING, Scaffold, Side, tokenize

FILE = "calibration.json"
COVERAGE = {"dataset": pl.String, "level": pl.Float64, "n": pl.Int64, "inside": pl.Float64, "low": pl.Float64, "high": pl.Float64}
UNUSUAL = 0.001  # fraction of training promoters that each criterion classifies as out of distribution
PAIRS, INDEPENDENT = "pairs", "independent"  # what the interval of an effect rests on
_KMER = 3
_SHARES_SUM = 1e-4  # largest difference from 1 of the sum of frequencies, which are rounded in the file
_LISTS = ("lengths", "kmer_shares", "quantiles", "levels", "level_variances", "expression_quantiles")
_SAMPLED = 200_000  # training promoters, evenly spaced, that define the training distribution
_SHARES = np.linspace(0, 1, 101)  # of training promoters, for quantiles of their expression
_CHUNK = 16_384  # promoters whose k-mers are counted at a time


@dataclass(frozen=True)
class Calibration:
    """Content of `calibration.json`.

    Attributes
    ----------
    model_sha256
        SHA-256 of the calibrated ``model.keras``.
    scaffold, five_prime, three_prime, damaged_flanks, max_flank_edits
        Scaffold and rules for adding flanks to inserts.
    lengths
        Range of promoter lengths in training, in bp, flanks included.
    unknown
        Largest number of N in a training promoter.
    kmer_shares, composition
        Frequency of each 3-mer in training promoters (``AAA, AAC, ... TTT``), and maximum `divergence` of promoters within the training
        distribution.
    validation
        Number of validation promoters used for intervals.
    spread_factor, model_variance, read_variance
        The variance of a residual with n reads is ``spread_factor spread^2 + model_variance + read_variance / n``, in squared units of
        expression; spread is the standard deviation between ensemble members. With ``levels``, ``model_variance`` is the mean over the
        validation promoters.
    quantiles
        Half-width of the interval in standard deviations, for each of `LEVELS`; .67, 1.28, 1.64 and 1.96 for normal residuals. None if
        there are too few validation promoters.
    reads
        Median reads of the validation promoters; None if unknown.
    transform
        Transform of expression in training. The model, its intervals and all values above are in transformed units.
    levels, level_variances, level_quantiles
        Predicted expression, ascending, and the model variance and the quantiles (one row for each of `LEVELS`) there; linear between and
        constant beyond. Empty if there were fewer than 200 validation promoters, and in calibrations of version 0.2.0 and before.
    effects
        Calibration of variant effects; None if there were too few pairs of similar promoters.
    expression_quantiles
        Quantiles 0, .01, ... 1 of the measured expression of training promoters, transformed. Empty in calibrations of version 0.2.0 and
        before, and if no training promoter was measured.
    """

    model_sha256: str
    scaffold: str
    five_prime: str
    three_prime: str
    damaged_flanks: Literal["keep", "repair"]
    max_flank_edits: int
    lengths: tuple[int, int]
    unknown: int
    kmer_shares: tuple[float, ...]
    composition: float
    validation: int
    spread_factor: float
    model_variance: float
    read_variance: float
    quantiles: tuple[float | None, ...]
    reads: float | None
    transform: Transform = NONE
    levels: tuple[float, ...] = ()
    level_variances: tuple[float, ...] = ()
    level_quantiles: tuple[tuple[float, ...], ...] = ()
    effects: of_pairs.Effects | None = None
    expression_quantiles: tuple[float, ...] = ()

    @property
    def quantile(self) -> float | None:
        """Half-width of 95 % intervals in standard deviations, on average over levels of expression."""
        return self.quantiles[-1]

    def quantiles_at(self, predicted: np.ndarray) -> np.ndarray:
        """Return the half-widths in standard deviations at predicted expression, ``(LEVELS, promoters)``; NaN where there are none."""
        if not self.levels:
            return np.repeat(np.array(self.quantiles, np.float64)[:, None], len(predicted), axis=1)
        return np.array(self.level_quantiles) @ conformal.weights(predicted, self.levels)

    def model_variance_at(self, predicted: np.ndarray) -> np.ndarray:
        """Return the variance of the model's error at predicted expression, ``(promoters,)``."""
        if not self.levels:
            return np.full(len(predicted), self.model_variance)
        return np.array(self.level_variances) @ conformal.weights(predicted, self.levels)

    def half_width(self, predicted: np.ndarray, spread: np.ndarray, reads: np.ndarray | float | None = None) -> np.ndarray:
        """Return the half-width of the 95 % interval of a measurement.

        Parameters
        ----------
        predicted
            ``(promoters,)`` predicted expression.
        spread
            ``(promoters,)`` standard deviation between ensemble members, 0 for a single model.
        reads
            Reads of the measurement, one number for all or one per promoter. None or NaN: the median of the validation promoters.

        Returns
        -------
        numpy.ndarray
            ``(promoters,)`` float64 in units of expression; NaN if there were too few validation promoters.
        """
        usual = np.nan if self.reads is None else self.reads
        depth = np.asarray(usual if reads is None else reads, np.float64)
        depth = np.where(np.isnan(depth), usual, depth)
        noise = np.zeros_like(depth) if self.reads is None else self.read_variance / np.maximum(depth, 1)
        variance = self.spread_factor * np.square(spread, dtype=np.float64) + self.model_variance_at(predicted) + noise
        return self.quantiles_at(predicted)[-1] * np.sqrt(variance)

    def half_width_of_effect(
        self, ref: np.ndarray, alt: np.ndarray, spread: np.ndarray, edits: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the half-width of the 95 % interval of the difference between two promoters, and what it rests on.

        Parameters
        ----------
        ref, alt
            ``(pairs,)`` predicted expression.
        spread
            ``(pairs,)`` standard deviation of the difference between ensemble members, 0 for a single model.
        edits
            ``(pairs,)`` edits between the two promoters.

        Returns
        -------
        tuple of numpy.ndarray
            ``(pairs,)`` float64, then strings: ``pairs`` for intervals of the measured difference, calibrated on pairs of similar promoters
            (`effects.Effects`); ``independent`` for intervals of the true difference that take the errors of both predictions as
            independent: without such pairs, and for more edits than they have if this interval is narrower. It is conservative (too wide)
            for similar promoters.
        """
        variance = self.spread_factor * np.square(spread, dtype=np.float64) + self.model_variance_at(ref) + self.model_variance_at(alt)
        independent = (self.quantile or np.nan) * np.sqrt(variance)
        if self.effects is None:
            return independent, np.full(len(ref), INDEPENDENT)
        calibrated = self.effects.half_width(alt - ref, spread, edits)
        beyond = (edits > self.effects.edits[1]) & (independent < calibrated)
        return np.where(beyond, independent, calibrated), np.where(beyond, INDEPENDENT, PAIRS)

    def out_of_distribution(self, lengths: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return why promoters lie outside the training distribution: ``length``, ``unknown bases``, ``composition``, or several (commas).

        Parameters
        ----------
        lengths
            ``(promoters,)`` in bp, before cropping and padding.
        tokens
            ``(promoters, length)``.

        Returns
        -------
        numpy.ndarray
            ``(promoters,)`` strings, empty for promoters within the training distribution.
        """
        least, most = self.lengths
        criteria = {
            "length": (lengths < least) | (lengths > most),
            "unknown bases": unknown_bases(lengths, tokens) > self.unknown,
            "composition": divergence(count_kmers(tokens), np.array(self.kmer_shares)) > self.composition,
        }
        found = np.full(len(tokens), "", object)
        for name, holds in criteria.items():
            found[holds] = np.where(found[holds] == "", name, found[holds] + f",{name}")
        return found


def unknown_bases(lengths: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """Return the number of N in promoters, excluding padding, ``(promoters,)``."""
    return (tokens == PADDING).sum(axis=1) - np.maximum(tokens.shape[1] - lengths, 0)


def count_kmers(tokens: np.ndarray) -> np.ndarray:
    """Count 3-mers without N, ``(promoters, 64)`` int64."""
    kinds, starts = BASES**_KMER, tokens.shape[1] - _KMER + 1
    counts = np.empty((len(tokens), kinds), np.int64)
    for begin in range(0, len(tokens), _CHUNK):
        part = tokens[begin : begin + _CHUNK]
        index, known = np.zeros((len(part), starts), np.int64), np.ones((len(part), starts), bool)
        for first in range(_KMER):
            window = part[:, first : first + starts]
            index = index * BASES + window
            known &= window < PADDING
        index += np.arange(len(part))[:, None] * kinds
        counts[begin : begin + _CHUNK] = np.bincount(index[known], minlength=len(part) * kinds).reshape(-1, kinds)
    return counts


def divergence(counts: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Return the chi-squared distance of 3-mer counts from the training frequencies, ``(promoters,)`` float64.

    Infinite for promoters in which every 3-mer contains an N.
    """
    number = counts.sum(axis=1, keepdims=True)
    with np.errstate(invalid="ignore"):
        found = ((counts - number * shares) ** 2 / (number * shares)).sum(axis=1)
    return np.where(number[:, 0] > 0, found, np.inf)


def fit(
    train: pl.LazyFrame,
    validation: pl.DataFrame,
    *,
    model: str | os.PathLike,
    scaffold: Scaffold,
    damaged_flanks: str,
    max_flank_edits: int,
    length: int,
    keep: Side,
    pad: Side,
    differences: pl.DataFrame,
    transform: Transform = NONE,
    expression: np.ndarray | None = None,
) -> Calibration:
    """Calibrate prediction intervals on validation promoters, and describe the training distribution.

    Residuals r = measured - predicted are modelled with the variance ``spread_factor spread^2 + v(predicted) + read_variance / n_reads``,
    where spread is that between ensemble members and v is linear between up to 8 levels of predicted expression. The parameters maximise
    the likelihood of normal residuals. Intervals do not rely on normality: at each level, their half-widths are conformal quantiles
    (`conformal.quantiles`) of ``|r| / sd`` among the validation promoters with the nearest predictions (`conformal.windows`), where sd is
    from a fit to other promoters (`conformal.scores`, five folds). With fewer than 200 validation promoters, v and the quantiles are
    constants.

    Parameters
    ----------
    train
        Promoter table of the training split.
    validation
        ``expression``, ``predicted``, ``n_reads`` (may be null), and ``predicted_sd`` for an ensemble.
    model
        The file ``model.keras``.
    scaffold, damaged_flanks, max_flank_edits
        As used to process the library.
    length, keep, pad
        The model's input window.
    differences
        Differences of pairs of similar promoters (`pairs.differences`), on which variant effects are calibrated (`effects.fit`).
    transform
        Transform of expression in ``train``, ``validation`` and ``differences``.
    expression
        Measured expression of the training promoters; None if unknown.
    """
    rows = train.select(pl.len()).collect().item()
    sequences = train.select("sequence").gather_every(max(1, -(-rows // _SAMPLED))).collect()["sequence"]
    lengths = sequences.str.len_bytes().to_numpy().astype(np.int64)
    tokens = tokenize(sequences, length, keep, pad)
    counts = count_kmers(tokens)
    total = counts.sum(axis=0) + 1.0  # pseudocount, so that no expected count is 0
    shares = total / total.sum()
    ends = np.quantile(lengths, [UNUSUAL / 2, 1 - UNUSUAL / 2], method="inverted_cdf")

    return Calibration(
        model_sha256=checksums.digests(model)["sha256"],
        scaffold=scaffold.name,
        five_prime=scaffold.five_prime,
        three_prime=scaffold.three_prime,
        damaged_flanks="repair" if damaged_flanks == "repair" else "keep",
        max_flank_edits=max_flank_edits,
        lengths=(int(ends[0]), int(ends[1])),
        unknown=int(np.quantile(unknown_bases(lengths, tokens), 1 - UNUSUAL, method="inverted_cdf")),
        kmer_shares=tuple(shares.round(8).tolist()),
        composition=float(np.quantile(divergence(counts, shares), 1 - UNUSUAL)),
        validation=validation.height,
        transform=transform,
        effects=of_pairs.fit(differences),
        expression_quantiles=tuple(np.quantile(expression, _SHARES).tolist()) if expression is not None and len(expression) else (),
        **_intervals(validation),
    )


def _intervals(validation: pl.DataFrame) -> dict[str, Any]:
    """Return the fields of `Calibration` for prediction intervals."""
    predicted = validation["predicted"].to_numpy().astype(np.float64)
    residual = validation["expression"].to_numpy().astype(np.float64) - predicted
    spread = validation["predicted_sd"].to_numpy() if "predicted_sd" in validation.columns else np.zeros(len(residual))
    reads = validation["n_reads"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    usual = float(np.nanmedian(reads)) if np.isfinite(reads).any() else None
    per_read = np.zeros(len(reads)) if usual is None else 1 / np.maximum(np.where(np.isnan(reads), usual, reads), 1)
    windows = conformal.windows(predicted)
    levels = [float(np.median(predicted[window])) for window in windows]
    of_level = conformal.weights(predicted, levels) if windows else np.ones((1, len(residual)))
    parts = np.stack([np.square(spread, dtype=np.float64), per_read, *of_level])
    folds = np.argsort(np.argsort(predicted, kind="stable")) % conformal.FOLDS
    factors = conformal.variance_factors(residual, parts)
    scores = conformal.scores(residual, parts, folds if windows else None)
    return {
        "spread_factor": float(factors[0]),
        "model_variance": float((factors[2:] @ of_level).mean()),
        "read_variance": float(factors[1]),
        "quantiles": conformal.quantiles(scores),
        "reads": usual,
        "levels": tuple(levels),
        "level_variances": tuple(factors[2:].tolist()) if windows else (),
        "level_quantiles": tuple(zip(*(conformal.quantiles(scores[window]) for window in windows), strict=True)),
    }


def coverage(predictions: pl.DataFrame, known: Calibration, dataset: str) -> list[dict[str, Any]]:
    """Return the coverage of prediction intervals: the fraction of measurements within the interval, for each of `LEVELS`.

    Parameters
    ----------
    predictions
        ``expression``, ``predicted``, ``predicted_low`` and ``predicted_high``; promoters with null intervals are excluded.
    known
        Calibration of the model.
    dataset
        Name of the data set.

    Returns
    -------
    list of dict
        Rows with the columns `COVERAGE`; ``low`` and ``high`` bound Wilson's 95 % confidence interval of the fraction (1927,
        doi:10.2307/2276774). Empty without intervals.
    """
    rows = predictions.drop_nulls(["predicted_low", "predicted_high"])
    if known.quantile is None or not rows.height:
        return []
    from scipy import stats  # local import: slow, and not needed for predictions

    measured, predicted, low, high = (
        rows[name].to_numpy().astype(np.float64) for name in ("expression", "predicted", "predicted_low", "predicted_high")
    )
    at_each = known.quantiles_at(predicted)
    distance = np.abs(measured - predicted) / ((high - low) / 2) * at_each[-1]  # in standard deviations
    found = []
    for level, quantiles in zip(LEVELS, at_each, strict=True):
        if not np.isnan(quantiles).any():
            inside = int((distance <= quantiles).sum())
            ends = stats.binomtest(inside, rows.height).proportion_ci(method="wilson")
            about = {"dataset": dataset, "level": level, "n": rows.height, "inside": inside / rows.height}
            found.append(about | {"low": float(ends.low), "high": float(ends.high)})
    return found


def write(calibrations: Mapping[str, Calibration], path: str | os.PathLike) -> None:
    """Write the calibration of each readout as JSON; the name of the only one is empty."""
    content = {readout: asdict(calibration) for readout, calibration in calibrations.items()}
    files.write_json(path, content.get("", {"readouts": content}))


def read(directory: str | os.PathLike, readouts: Sequence[str] = ("",)) -> dict[str, Calibration]:
    """Return the calibration of each readout of a model directory; empty if it has none.

    Parameters
    ----------
    directory
        Model directory.
    readouts
        Conditions and differences of the model; one empty name if it has one condition.

    Raises
    ------
    InputError
        If it is damaged, or belongs to another model.
    """
    path = Path(directory) / FILE
    if not path.is_file():
        return {}
    found = {readout: load(path, readout) for readout in readouts}
    digest = checksums.digests(Path(directory) / "model.keras")["sha256"]
    if any(known.model_sha256 != digest for known in found.values()):
        raise InputError(f"{path}: belongs to another model than model.keras in the same folder; make it again: {advice(directory)}")
    return found


def load(path: str | os.PathLike, readout: str = "") -> Calibration:
    """Return the calibration of a readout in a file, without checking that it belongs to a model.

    Raises
    ------
    InputError
        If it is damaged, or has other keys or values than ``workflow/schemas/files/calibration.schema.yaml``.
    """
    again = f"make it again: {advice(Path(path).parent)}"
    content = documents.of_json(documents.read_text(path), str(path))
    where = str(path)
    if readout:
        readouts = content.get("readouts") if isinstance(content, dict) and set(content) == {"readouts"} else None
        if not isinstance(readouts, dict) or readout not in readouts:
            raise InputError(f"{path}: no calibration of '{readout}'; {again}")
        content, where = readouts[readout], f"{path}: readouts.{readout}"
    if not isinstance(content, dict):
        raise InputError(f"{where}: not a calibration of a model: {documents.kind_of(content)}; {again}")
    content = schemas.validate(content, schemas.load("files/calibration"), where, InputError, again)
    stored: dict[str, Any] = {name: tuple(content[name]) for name in _LISTS if name in content}
    stored["level_quantiles"] = tuple(tuple(row) for row in content.get("level_quantiles", ()))
    if "transform" in content:  # models before 0.2 have none
        stored["transform"] = of_content(content["transform"], f"{path}: transform", again)
    if content.get("effects"):
        of_effects = content["effects"]
        stored["effects"] = of_pairs.Effects(**of_effects | {name: tuple(of_effects[name]) for name in ("edits", "quantiles")})
    found = Calibration(**content | stored)
    if problem := _disagreement(found):
        raise InputError(f"{path}: {problem}; {again}")
    return found


def _disagreement(found: Calibration) -> str:
    """Return which fields of a calibration do not fit together; empty if all do."""
    sizes = {len(found.levels), len(found.level_variances), *map(len, found.level_quantiles)}
    if len(sizes) > 1 or len(found.level_quantiles) != (len(LEVELS) if found.levels else 0):
        return "levels, level_variances and level_quantiles have different numbers of values"
    if any(low >= high for low, high in itertools.pairwise(found.levels)):
        return "levels are not ascending"
    if None in found.quantiles and set(found.quantiles[found.quantiles.index(None) :]) != {None}:
        return "quantiles: a value is missing between others"
    for values in (found.quantiles, *zip(*found.level_quantiles, strict=True)):
        known = [value for value in values if value is not None]
        if known != sorted(known):
            return "quantiles of higher levels are smaller"
    if len(found.expression_quantiles) not in (0, len(_SHARES)) or list(found.expression_quantiles) != sorted(found.expression_quantiles):
        return f"expression_quantiles are not {len(_SHARES)} ascending numbers"
    if found.lengths[0] > found.lengths[1]:
        return f"lengths: {found.lengths[0]} is above {found.lengths[1]}"
    if found.effects and found.effects.edits[0] > found.effects.edits[1]:
        return f"effects.edits: {found.effects.edits[0]} is above {found.effects.edits[1]}"
    if min(found.kmer_shares) <= 0 or abs(sum(found.kmer_shares) - 1) > _SHARES_SUM:
        return f"kmer_shares add up to {sum(found.kmer_shares):.6g}, not 1, or one is 0"
    return ""


def advice(directory: str | os.PathLike) -> str:
    """Return the command that computes the calibration of a run's model directory."""
    return f"snakemake --cores 8 {(Path(directory) / FILE).as_posix()} (with the run's --configfile)"
