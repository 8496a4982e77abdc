"""Calibration of all conditions of a model, and of the differences between them."""

from collections.abc import Callable, Sequence
from typing import Any

import polars as pl

from gpraflow.core.conditions import differences
from gpraflow.formats import conditions
from gpraflow.formats.transform import NONE, Transform
from gpraflow.prediction import calibration, pairs
from gpraflow.prediction.predictor import Predictor


def calibrate(
    predictor: Predictor,
    train: pl.LazyFrame,
    validation: pl.DataFrame,
    measured: Sequence[pl.DataFrame],
    *,
    inserts: Callable[[pl.Series], pl.Series],
    transform: Transform,
    threads: int = 1,
    **options: Any,
) -> dict[str, calibration.Calibration]:
    """Return the calibration of each readout; the name of the only one is empty.

    Parameters
    ----------
    predictor
        The model.
    train, validation
        Promoter tables of the two splits.
    measured
        Further tables (`pairs.measured`) whose pairs of similar promoters calibrate variant effects; only with one condition.
    inserts, threads
        As for `pairs.differences`.
    transform
        Transform of expression. A difference is one of transformed expression.
    options
        Further keywords of `calibration.fit`.
    """
    predicted, fitted = predictor.all_readouts(validation), {}
    for readout in predictor.readouts:
        own = conditions.select(predicted, readout, predictor.conditions) if readout else predicted
        tables = [own, *map(predictor.of(readout).table, measured)]
        found = pairs.differences(tables, inserts, threads)
        kind = NONE if readout in differences(predictor.conditions) else transform
        fitted[readout] = calibration.fit(train, own, differences=found, transform=kind, **options)
    return fitted
