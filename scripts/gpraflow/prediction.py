"""Predictions of a trained model for a promoter table."""

import os

import polars as pl

from gpraflow import models
from gpraflow.errors import InputError
from gpraflow.ledger import Ledger
from gpraflow.scaffold import tokenize

PREDICTED = "predicted"


def predict(
    model_directory: str | os.PathLike,
    table: pl.DataFrame,
    *,
    backend: str = "auto",
    batch_size: int = 1024,
    ledger: Ledger | None = None,
) -> pl.DataFrame:
    """Return the table with a column ``predicted``: expression in the units of the training table, float32.

    Sequences are cut and padded as the model's training data were.

    Raises
    ------
    InputError
        If the model cannot be read, or gives something else than numbers.
    """
    ledger = ledger or Ledger("predict_promoters", "")
    ledger.read(table.height)
    model, about = models.load(model_directory, backend)
    window = about["input"]
    ledger.note_window(table["sequence"], window["length"], window["keep"], window["pad"])
    tokens = tokenize(table["sequence"], window["length"], window["keep"], window["pad"])
    predicted = pl.Series(PREDICTED, model.predict(tokens, batch_size=batch_size, verbose=2)[:, 0], pl.Float32)
    if not predicted.is_finite().all():
        raise InputError(f"{model_directory}: the model gives NaN for {int((~predicted.is_finite()).sum())} promoters; train it again")
    return table.with_columns(predicted)
