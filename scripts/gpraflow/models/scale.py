"""Monotone maps of a network's predictions to another scale, as part of the network."""

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

    def layers(self, output: Any) -> Any:
        """Return the map of a Keras tensor ``(batch, outputs)``."""
        from keras import ops

        if not self.knots:
            return output * self.slope + self.offset
        low, high = (np.array(part, np.float32) for part in (self.knots[:-1], self.knots[1:]))
        steps = np.array(np.diff(self.values) / np.diff(self.knots), np.float32)
        beyond = ops.minimum(output - self.knots[0], 0.0) + ops.maximum(output - self.knots[-1], 0.0)
        mapped = beyond * self.slope + self.values[0]
        if len(self.knots) > 1:
            within = ops.minimum(ops.maximum(ops.expand_dims(output, -1), low), high) - low
            mapped = mapped + ops.sum(within * steps, axis=-1)
        return mapped
