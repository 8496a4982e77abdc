"""Calibration of all conditions of a model, and of the differences between them."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core.conditions import column, differences
from gpraflow.formats import conditions
from gpraflow.formats.transform import NONE, Transform
from gpraflow.prediction import calibration, pairs
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences import flanks
from gpraflow.sequences.scaffold import Scaffold


def calibrate(
    predictor: Predictor,
    train: pl.LazyFrame,
    validation: pl.DataFrame,
    measured: Sequence[pl.DataFrame],
    *,
    scaffold: Scaffold,
    max_flank_edits: int,
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
    scaffold, max_flank_edits
        As used to process the library.
    threads
        Number of threads for comparing sequences.
    transform
        Transform of expression. A difference is one of transformed expression.
    options
        Further keywords of `calibration.fit`.
    """
    predicted, fitted = predictor.table(validation), {}
    inserts = partial(flanks.inserts, scaffold=scaffold, max_edits=max_flank_edits)
    options |= {"scaffold": scaffold, "max_flank_edits": max_flank_edits, "model": predictor.directory / "model.keras"}
    for readout in predictor.readouts:
        own = conditions.select(predicted, readout, predictor.conditions) if readout else predicted
        tables = [own, *map(predictor.table, measured)]
        found = pairs.differences(tables, inserts, threads)
        kind = NONE if readout in differences(predictor.conditions) else transform
        expression = _expression(train, readout, predictor.conditions)
        fitted[readout] = calibration.fit(train, own, differences=found, transform=kind, expression=expression, **options)
    return fitted


def _expression(train: pl.LazyFrame, readout: str, names: Sequence[str]) -> np.ndarray:
    """Return the measured expression of training promoters in a readout, without nulls."""
    if not readout:
        return train.select("expression").collect()["expression"].drop_nulls().to_numpy()
    measured = train.select(column("expression", name) for name in names).collect()
    return conditions.select(measured, readout, names)["expression"].to_numpy()
