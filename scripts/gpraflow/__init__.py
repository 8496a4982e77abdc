"""gpraflow: sequence-to-expression models of sorted promoter libraries, with leakage-controlled data splits."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpraflow.prediction.predictor import Predictor

__version__ = "0.2.0"


def load(directory: str | os.PathLike, backend: str = "auto", batch_size: int = 1024) -> Predictor:
    """Load a model for predictions: ``gpraflow.load("results/sample/model").predict(sequences)``.

    ``directory`` is a model directory, or the name of a model that comes with the package (``gpraflow models``). Parameters and errors are
    those of `prediction.Predictor`. With the backend ``auto``, a few promoters are predicted without Keras.
    """
    from gpraflow.core import resources
    from gpraflow.prediction import predictor  # Keras only where it is needed

    return predictor.Predictor(resources.model(directory), backend, batch_size, light=backend == "auto")
