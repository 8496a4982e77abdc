"""Objectives of designs: predicted expression, less penalties for the uncertainty of the prediction.

The score to maximise is, for a construct with ensemble mean m, in units of expression,

- maximize: ``m``, minimize: ``-m``, target t: ``-|m - t|``,
- less ``spread x`` the standard deviation between ensemble members (a lower confidence bound, as in Bayesian optimisation),
- less ``distance x e d``, where d is the distance of the construct's 3-mers from those of training promoters, as a share of the limit
  beyond which `Calibration.out_of_distribution` reports it, and e is the standard deviation of the model's error in validation,
- less, for maximize and minimize, twice what m lies beyond the range of predictions for training promoters: no measurement supports a
  higher or lower promise, and intervals are not calibrated there. Only with a weight ``distance`` above 0.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from gpraflow.core.errors import ConfigError
from gpraflow.models import backend
from gpraflow.prediction import calibration
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences.scaffold import PADDING

MAXIMIZE, MINIMIZE, TARGET, LADDER = "maximize", "minimize", "target", "ladder"
KINDS = (MAXIMIZE, MINIMIZE, TARGET, LADDER)
NEEDED = "designs need its flanks, intervals and training distribution"  # of a model's calibration
_SIZES = (8, 32, 128)  # constructs per batch: few, so that few shapes are compiled; larger batches are slower on CPUs
_SIGN = {MAXIMIZE: 1.0, MINIMIZE: -1.0}
REACHED = 0.25  # share of the tolerance within which the search for a target ends


@dataclass(frozen=True)
class Model:
    """What a search knows of a model.

    Attributes
    ----------
    members
        Maps ``(constructs, length)`` tokens to predictions of each ensemble member, ``(constructs, members)`` float64.
    gradient
        Maps tokens and ``(constructs, members)`` weights to the gradient of the weighted sum of members with respect to one-hot bases,
        ``(constructs, length, 4)``; None if the model has none.
    distance
        Maps tokens to the distance from the training distribution, as a share of its limit, ``(constructs,)``; None if unknown.
    error
        Standard deviation of the model's error, in units of expression.
    """

    members: Callable[[np.ndarray], np.ndarray]
    gradient: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    distance: Callable[[np.ndarray], np.ndarray] | None = None
    error: float = 0.0


def model_of(predictor: Predictor) -> Model:
    """Return the model of a predictor, for the readout that it predicts.

    Raises
    ------
    InputError
        If the model has no calibration, from which flanks, intervals and the training distribution are.
    """
    known = predictor.require_calibration(NEEDED)
    window, shares = predictor.window, np.array(known.kmer_shares)
    gradient = None

    def fitted(tokens: np.ndarray) -> np.ndarray:
        excess = tokens.shape[1] - window["length"]
        if excess >= 0:
            return tokens[:, excess:] if window["keep"] == "right" else tokens[:, : window["length"]]
        width = (-excess, 0) if window["pad"] == "left" else (0, -excess)
        return np.pad(tokens, ((0, 0), width), constant_values=PADDING)

    def members(tokens: np.ndarray) -> np.ndarray:
        few = len(tokens) % _SIZES[-1]
        whole = len(tokens) - (few if few <= 2 * _SIZES[-2] else 0)  # a remainder of few rows goes into smaller batches
        found = []
        for part, size in ((fitted(tokens[:whole]), _SIZES[-1]), (fitted(tokens[whole:]), min(_size(few), _SIZES[-2]))):
            padded = np.pad(part, ((0, -len(part) % size), (0, 0)), constant_values=PADDING)
            found.append(predictor.in_batches_of(size).members(padded)[: len(part)])
        return np.concatenate(found)

    def gradient_at(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        nonlocal gradient
        if gradient is None:
            from gpraflow.models.gradients import weighted_gradient_of  # imports Keras; the backend must be selected before

            gradient = weighted_gradient_of(predictor.model)
        if gradient is None:
            raise ConfigError(f"design.search: the model {predictor.directory} has no gradient; choose genetic or greedy")
        of_outputs = (weights[:, :, None] * predictor.weights).reshape(len(weights), -1)
        slopes = backend.in_batches(gradient, fitted(tokens), _size(len(tokens)), of_outputs)
        length, (excess, right) = tokens.shape[1], (tokens.shape[1] - window["length"], window["keep"] == "right")
        if excess >= 0:
            width = (excess, 0) if right else (0, excess)
            return np.pad(slopes, ((0, 0), width, (0, 0)))
        return slopes[:, -length:] if window["pad"] == "left" else slopes[:, :length]

    def distance(tokens: np.ndarray) -> np.ndarray:
        return calibration.divergence(calibration.count_kmers(fitted(tokens)), shares) / known.composition

    return Model(members, gradient_at, distance, float(np.sqrt(known.model_variance)))


def _size(rows: int) -> int:
    """Return the size of the batches for ``rows`` constructs."""
    return next((size for size in _SIZES if rows <= size), _SIZES[-1])


class Scores(NamedTuple):
    """Scores of constructs, ``(constructs,)`` each: the objective, the ensemble mean, and whether a target was reached.

    ``members`` are the predictions of each ensemble member, ``(constructs, members)``.
    """

    score: np.ndarray
    predicted: np.ndarray
    reached: np.ndarray
    members: np.ndarray


@dataclass(frozen=True)
class Objective:
    """The objective of each of several designs.

    Attributes
    ----------
    model
        The model.
    signs
        ``(designs,)``: 1 to maximise, -1 to minimise, 0 for a target.
    targets
        ``(designs,)`` target expression; NaN where there is none.
    tolerance
        Largest difference between prediction and target, in units of expression.
    spread, distance
        Weights of the penalties.
    ends
        Lowest and highest prediction for training promoters; used with ``distance`` above 0.
    """

    model: Model
    signs: np.ndarray
    targets: np.ndarray
    tolerance: float = 0.0
    spread: float = 0.0
    distance: float = 0.0
    ends: tuple[float, float] = (-np.inf, np.inf)

    def _beyond(self, mean: np.ndarray, sign: np.ndarray) -> np.ndarray:
        """Return by how much predictions lie beyond the end that they were driven to; 0 for targets."""
        if not self.distance:
            return np.zeros(len(mean))
        low, high = self.ends
        return np.where(sign > 0, np.maximum(mean - high, 0), np.where(sign < 0, np.maximum(low - mean, 0), 0))

    def __call__(self, tokens: np.ndarray, owners: np.ndarray) -> Scores:
        """Return the scores of ``(constructs, length)`` tokens; ``owners``, ``(constructs,)``, is the design that each is for."""
        members = self.model.members(tokens)
        mean, sign = members.mean(axis=1), self.signs[owners]
        off = np.abs(mean - np.nan_to_num(self.targets[owners]))
        score = np.where(sign == 0, -off, sign * mean) - 2 * self._beyond(mean, sign)
        if self.spread and members.shape[1] > 1:
            score = score - self.spread * members.std(axis=1, ddof=1)
        if self.distance and self.model.distance is not None:
            score = score - self.distance * self.model.error * self.model.distance(tokens)
        return Scores(score, mean, (sign == 0) & (off <= REACHED * self.tolerance), members)

    def gradient(self, tokens: np.ndarray, owners: np.ndarray, members: np.ndarray | None = None) -> np.ndarray:
        """Return the gradient of the score with respect to one-hot bases, ``(constructs, length, 4)``, without that of the distance.

        ``members`` are the predictions for the constructs (`Scores`), if they are known already.
        """
        if self.model.gradient is None:
            raise ConfigError("design.search: this model has no gradient; choose genetic or greedy")
        members = self.model.members(tokens) if members is None else members
        number, mean = members.shape[1], members.mean(axis=1, keepdims=True)
        sign = self.signs[owners]
        slope = np.where(sign == 0, np.sign(np.nan_to_num(self.targets[owners]) - mean[:, 0]), sign)
        slope = np.where(self._beyond(mean[:, 0], sign) > 0, -slope, slope)
        weights = np.repeat(slope[:, None] / number, number, axis=1)
        if self.spread and number > 1:
            deviation = members.std(axis=1, ddof=1, keepdims=True)
            weights -= self.spread * (members - mean) / (np.maximum(deviation, 1e-9) * (number - 1))
        return self.model.gradient(tokens, weights)

    def of(self, rows: np.ndarray) -> "Objective":
        """Return the objective of some of the designs."""
        return Objective(self.model, self.signs[rows], self.targets[rows], self.tolerance, self.spread, self.distance, self.ends)


def objective(model: Model, kinds: list[str], targets: list[float | None], **options: Any) -> Objective:
    """Return the `Objective` of designs by their kinds, ``maximize``, ``minimize`` or ``target``, and targets."""
    signs = np.array([_SIGN.get(kind, 0.0) for kind in kinds])
    return Objective(model, signs, np.array([np.nan if target is None else target for target in targets], np.float64), **options)


def spread_weight(value: float | str, members: int, where: str) -> float:
    """Return the weight of the spread between ensemble members; ``auto`` is 1 for an ensemble, otherwise 0.

    Raises
    ------
    ConfigError
        If a spread is asked for, but the model has one member only.
    """
    if value == "auto":
        return 1.0 if members > 1 else 0.0
    if float(value) > 0 and members == 1:
        raise ConfigError(
            f"design.spread_weight: {where} is a single model, so there is no spread between ensemble members; train an ensemble "
            "(training.ensemble: 3), or set design.spread_weight to auto or 0"
        )
    return float(value)
