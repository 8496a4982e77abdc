"""Training objectives: targets and losses for the raw outputs of a network, and their conversion to expression.

Mean squared error and Huber's loss (1964, doi:10.1214/aoms/1177703732) are computed on standardised expression. ``bins`` is a
classification into the sorted bins with soft labels, as in LegNet (Penzar et al. 2023, doi:10.1093/bioinformatics/btad457). The soft
labels of expression e are the probabilities of N(e + 1/2, 1/2) between consecutive integers, or the promoter's share of cells in each bin;
the loss is the Kullback-Leibler divergence.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from scipy.special import ndtr

from gpraflow.core.conditions import differences
from gpraflow.core.errors import TrainingError
from gpraflow.shards.records import EXPRESSION

CELLS = "bin_cells"
_OUTSIDE = 0.1  # maximum fraction of promoters beyond the outer bins
_SPREAD = 0.5  # standard deviation of soft labels in bins, as in LegNet

Loss = Literal["mse", "huber", "bins"]


@dataclass(frozen=True)
class Objective:
    """A loss, and the conversion of raw outputs to expression.

    Attributes
    ----------
    loss
        ``mse``, ``huber`` or ``bins``.
    outputs
        Number of raw outputs of the network: 1, or the number of bins.
    scale, offset
        Expression is ``offset + scale * x``, where x is the raw output or, for ``bins``, the mean bin.
    huber_delta
        Standardised error above which Huber's loss is linear.
    cells
        Whether soft labels are cell counts per bin instead of a normal distribution.
    cells_prior
        Number of pseudo-cells added to each promoter, distributed over bins like the cells of all promoters (Dirichlet smoothing).
    prior
        Distribution of the cells of all promoters over bins.
    """

    loss: Loss
    outputs: int
    scale: float
    offset: float
    huber_delta: float = 1.0
    cells: bool = False
    cells_prior: float = 0.0
    prior: tuple[float, ...] = ()

    @property
    def conditions(self) -> int:
        """Number of conditions."""
        return 1

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights of the losses, ``(rows,)``, from sample weights, ``(rows, 1)``."""
        return weights[:, 0]

    def targets(self, batch: dict[str, np.ndarray]) -> np.ndarray:
        """Return ``(rows, outputs)`` float32 targets of a batch of features."""
        if self.loss != "bins":
            return ((batch[EXPRESSION] - self.offset) / self.scale).astype(np.float32)
        if self.cells:
            cells = batch[CELLS] + self.cells_prior * np.array(self.prior, np.float32)
            return (cells / cells.sum(axis=1, keepdims=True)).astype(np.float32)
        return soft_labels(batch[EXPRESSION][:, 0], self.outputs)

    def losses(self, raw: Any, target: Any) -> Any:
        """Return the ``(rows,)`` losses of raw outputs as backend tensors."""
        from keras import ops

        if self.loss == "bins":
            likelihood = ops.sum(target * ops.log_softmax(raw, axis=-1), axis=-1)
            return ops.sum(target * ops.log(ops.maximum(target, 1e-12)), axis=-1) - likelihood
        return self.penalty((raw - target)[:, 0])

    def penalty(self, error: Any) -> Any:
        """Return the losses of standardised errors as backend tensors: their squares or, for ``huber``, Huber's loss."""
        from keras import ops

        error = ops.abs(error)
        if self.loss != "huber":
            return ops.square(error)
        linear = self.huber_delta * (2 * error - self.huber_delta)
        return ops.where(error < self.huber_delta, ops.square(error), linear)

    def expression(self, raw: Any) -> Any:
        """Convert raw outputs to ``(rows, 1)`` expression in the units of the promoter table, as backend tensors."""
        from keras import ops

        raw = ops.cast(raw, "float32")
        return self.measured(ops.softmax(raw, axis=-1) if self.loss == "bins" else raw)

    def measured(self, target: Any) -> Any:
        """Convert targets to ``(rows, 1)`` expression, as backend tensors: of soft labels the mean bin."""
        from keras import ops

        if self.loss == "bins":
            target = ops.sum(target * np.arange(self.outputs, dtype=np.float32), axis=-1, keepdims=True)
        return target * self.scale + self.offset

    def about(self) -> dict[str, Any]:
        """Return the description of the objective for ``model.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Objectives:
    """The objectives of several conditions, and of the differences between them.

    Raw outputs of the network are those of all conditions, one after the other. The loss of a difference is that of its standardised error,
    so that a difference counts as much as expression although it varies less.

    Attributes
    ----------
    parts
        Condition -> its objective, with its own scale.
    spreads
        Difference -> standard deviation of the measured difference in training; differences without one have no loss.
    difference_weight
        Weight of the losses of differences; 0 for none.
    """

    parts: Mapping[str, Objective]
    spreads: Mapping[str, float] = field(default_factory=dict)
    difference_weight: float = 0.0

    @property
    def conditions(self) -> int:
        """Number of conditions."""
        return len(self.parts)

    @property
    def _pairs(self) -> list[tuple[int, int, float]]:
        """Indices of the two conditions of each difference that has a loss, and its spread."""
        names = list(self.parts)
        pairs = {name: [names.index(each) for each in pair] for name, pair in differences(names).items() if self.difference_weight}
        return [(plus, minus, self.spreads[name]) for name, (plus, minus) in pairs.items() if name in self.spreads]

    @property
    def outputs(self) -> int:
        """Number of raw outputs of the network."""
        return sum(part.outputs for part in self.parts.values())

    def targets(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return ``(rows, outputs)`` float32 targets of a batch of features; 0 where a promoter was not measured."""
        number, found = len(self.parts), []
        for index, part in enumerate(self.parts.values()):
            features = {name: np.split(batch[name], number, axis=1)[index] for name in (EXPRESSION, CELLS) if name in batch}
            there = np.isfinite(batch[EXPRESSION][:, index : index + 1])
            found.append(np.where(there, part.targets(features), 0).astype(np.float32))
        return np.concatenate(found, axis=1)

    def weights(self, weights: np.ndarray) -> np.ndarray:
        """Return the weights of the losses, ``(rows, conditions + differences)``, from those of conditions, ``(rows, conditions)``.

        That of a difference is the harmonic mean of its conditions' weights, times ``difference_weight``: 0 if either was not measured.
        """
        columns = [weights]
        for plus, minus, _ in self._pairs:
            a, b = weights[:, plus], weights[:, minus]
            both = 2 * a * b / np.maximum(a + b, np.float32(1e-12))
            columns.append((self.difference_weight * both)[:, None].astype(np.float32))
        return np.concatenate(columns, axis=1)

    def losses(self, raw: Any, target: Any) -> Any:
        """Return the ``(rows, conditions + differences)`` losses of raw outputs as backend tensors."""
        from keras import ops

        parts = self._split(raw, target)
        found = [part.losses(*pair) for part, *pair in parts]
        predicted, measured = [part.expression(of) for part, of, _ in parts], [part.measured(of) for part, _, of in parts]
        for plus, minus, spread in self._pairs:
            error = ((predicted[plus] - predicted[minus]) - (measured[plus] - measured[minus])) / spread
            found.append(parts[plus][0].penalty(error[:, 0]))
        return ops.stack(found, axis=-1)

    def expression(self, raw: Any) -> Any:
        """Convert raw outputs to ``(rows, conditions)`` expression in the units of the promoter table, as backend tensors."""
        from keras import ops

        return ops.concatenate([part.expression(own) for part, own in self._split(raw)], axis=-1)

    def about(self) -> dict[str, Any]:
        """Return the description of the objectives for ``model.json``."""
        about = {"conditions": {name: part.about() for name, part in self.parts.items()}}
        return about | {"spreads": dict(self.spreads), "difference_weight": self.difference_weight}

    def _split(self, *tensors: Any) -> list[tuple[Any, ...]]:
        """Return the objective of each condition with its part of tensors ``(rows, outputs)``."""
        begin, found = 0, []
        for part in self.parts.values():
            found.append((part, *(tensor[:, begin : begin + part.outputs] for tensor in tensors)))
            begin += part.outputs
        return found


AnyObjective = Objective | Objectives


def soft_labels(expression: np.ndarray, bins: int) -> np.ndarray:
    """Return the probabilities of N(e + 1/2, 1/2) in bins [i, i + 1), with open outer bins, ``(rows, bins)`` float32."""
    edges = np.arange(1, bins)
    below = ndtr((edges - (np.asarray(expression, np.float64)[:, None] + 0.5)) / _SPREAD)
    return np.diff(below, axis=1, prepend=0.0, append=1.0).astype(np.float32)


def fit_conditions(
    expression: np.ndarray, cells: np.ndarray | None, conditions: Sequence[str], difference_weight: float = 0.0, **options: Any
) -> AnyObjective:
    """Return the objective of one condition, or those of several, each fitted to the promoters that were measured in it.

    Parameters
    ----------
    expression, cells
        As for `fit`, ``(rows, conditions)`` with NaN where a promoter was not measured, and ``(rows, conditions x bins)``.
    conditions
        Names of the conditions; empty for one.
    difference_weight
        See `Objectives`.
    options
        Keywords of `fit`.

    Raises
    ------
    TrainingError
        As `fit`; the message names the condition.
    """
    if not conditions:
        return fit(expression[:, 0], cells, **options)
    parts = {}
    for index, name in enumerate(conditions):
        there = np.isfinite(expression[:, index])
        if not there.any():
            raise TrainingError(f"condition '{name}': no training promoter was measured in it")
        of_bins = None if cells is None else np.split(cells, len(conditions), axis=1)[index][there]
        try:
            parts[name] = fit(expression[there, index], of_bins, **options)
        except TrainingError as error:
            raise TrainingError(f"condition '{name}': {error}") from None
    spreads = {}
    for name, pair in differences(conditions).items():
        plus, minus = (expression[:, list(conditions).index(each)].astype(np.float64) for each in pair)
        both = np.isfinite(plus) & np.isfinite(minus)
        if both.sum() > 1 and (spread := float((plus - minus)[both].std())) > 0:
            spreads[name] = spread
    return Objectives(parts, spreads, difference_weight)


def fit(
    expression: np.ndarray,
    cells: np.ndarray | None,
    *,
    loss: Loss,
    bins: int,
    huber_delta: float,
    cells_prior: float,
) -> Objective:
    """Return the objective fitted to training labels.

    Parameters
    ----------
    expression
        ``(rows,)`` expression of the training split.
    cells
        ``(rows, bins)`` cell counts per bin, if they are the soft labels; otherwise None.
    loss, huber_delta, cells_prior
        See `Objective`.
    bins
        Number of bins, for the loss ``bins`` without cell counts.

    Raises
    ------
    TrainingError
        If expression is constant, or the loss requires expression in units of bins and it is not.
    """
    mean, sd = float(expression.mean(dtype=np.float64)), float(expression.std(dtype=np.float64))
    if not sd:
        raise TrainingError(f"all {len(expression)} training promoters have expression {mean:g}: there is nothing to learn")
    if loss != "bins":
        return Objective(loss, 1, sd, mean, huber_delta)
    if cells is None:
        least, most = float(expression.min()), float(expression.max())
        if ((expression < -0.5) | (expression > bins - 0.5)).mean() > _OUTSIDE:  # fewer are assigned to the open outer bins
            raise TrainingError(
                f"training.loss: bins needs expression in bins, 0 to {bins - 1}, but it is {least:g} to {most:g}; set training.bins, "
                "or training.bin_labels: cells, or another loss"
            )
        return Objective(loss, bins, 1.0, 0.0)
    total = cells.sum(axis=0, dtype=np.float64)
    prior = total / total.sum()
    objective = Objective(loss, cells.shape[1], 1.0, 0.0, cells=True, cells_prior=cells_prior, prior=tuple(prior.tolist()))
    mean_bin = objective.targets({CELLS: cells}).astype(np.float64) @ np.arange(cells.shape[1])
    slope, offset = np.polyfit(mean_bin, expression.astype(np.float64), 1)
    return Objective(loss, cells.shape[1], float(slope), float(offset), cells=True, cells_prior=cells_prior, prior=objective.prior)
