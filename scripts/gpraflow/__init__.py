"""gpraflow: sequence-to-expression models of sorted promoter libraries, with leakage-controlled data splits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpraflow.prediction.predictor import Predictor

__version__ = "0.2.0"


def load(directory: str | os.PathLike, backend: str = "auto", batch_size: int = 1024) -> Predictor:
    """Load a model directory for predictions: ``gpraflow.load("results/sample/model").predict(sequences)``.

    Parameters and errors are those of `prediction.Predictor`.
    """
    from gpraflow.prediction import predictor  # Keras only where it is needed

    return predictor.Predictor(directory, backend, batch_size)
