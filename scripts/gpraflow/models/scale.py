"""Monotone maps of a network's predictions to another scale, as part of the network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Scale:
    """An increasing map: affine, or linear between knots.

    Attributes
    ----------
    slope, offset
        Of the affine map; beyond the outermost knots, a map with knots has the same slope.
    knots, values
        Ascending predictions, and what they are mapped to; empty for an affine map.
    """

    slope: float
    offset: float
    knots: tuple[float, ...] = ()
    values: tuple[float, ...] = ()

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return mapped values, of the same shape, float64."""
        x = np.asarray(x, np.float64)
        if not self.knots:
            return self.slope * x + self.offset
        beyond = np.minimum(x - self.knots[0], 0) + np.maximum(x - self.knots[-1], 0)
        return np.interp(x, self.knots, self.values) + self.slope * beyond

    @property
    def points(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Knots and values; of an affine map one knot, 0, beyond which it is linear."""
        return (self.knots, self.values) if self.knots else ((0.0,), (self.offset,))


def layers(output: Any, scales: Sequence[Scale]) -> Any:
    """Return the maps of a Keras tensor ``(batch, outputs)``, one for each output."""
    from keras import ops

    slope = np.array([scale.slope for scale in scales], np.float32)
    if not any(scale.knots for scale in scales):
        return output * slope + np.array([scale.offset for scale in scales], np.float32)
    most = max(len(scale.points[0]) for scale in scales)
    knots, values = (
        np.array([[*part, *[part[-1]] * (most - len(part))] for part in parts], np.float64)
        for parts in zip(*(scale.points for scale in scales), strict=True)
    )
    width = np.diff(knots, axis=1)
    steps = np.where(width > 0, np.diff(values, axis=1) / np.where(width > 0, width, 1), 0).astype(np.float32)
    knots, first = knots.astype(np.float32), values[:, 0].astype(np.float32)
    beyond = ops.minimum(output - knots[:, 0], 0.0) + ops.maximum(output - knots[:, -1], 0.0)
    mapped = beyond * slope + first
    if most > 1:
        low = knots[:, :-1]
        within = ops.minimum(ops.maximum(ops.expand_dims(output, -1), low), knots[:, 1:]) - low
        mapped = mapped + ops.sum(within * steps, axis=-1)
    return mapped
