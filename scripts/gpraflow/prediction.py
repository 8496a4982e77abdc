"""Predictions of a trained model for a promoter table."""

import os

import numpy as np
import polars as pl

from gpraflow import models
from gpraflow.bases import BASE, PREDICTED_BASE
from gpraflow.errors import InputError
from gpraflow.ledger import Ledger
from gpraflow.scaffold import tokenize

PREDICTED, SPREAD, MEMBERS = "predicted", "predicted_sd", "predicted_members"


def predict(
    model_directory: str | os.PathLike,
    table: pl.DataFrame,
    *,
    backend: str = "auto",
    batch_size: int = 1024,
    ledger: Ledger | None = None,
) -> pl.DataFrame:
    """Return the table with a column ``predicted``: expression in the units of the training table, float32.

    For an ensemble it is the members' mean, ``predicted_sd`` the standard deviation between them, and ``predicted_members`` has one
    number for each of them. Sequences are cut and padded as the model's training data were. A table with ``base_sequence``, what variants
    were made from, also gets ``predicted_base``.

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

    def run(sequences: pl.Series) -> np.ndarray:
        tokens = tokenize(sequences, window["length"], window["keep"], window["pad"])
        return model.predict(tokens, batch_size=batch_size, verbose=2).astype(np.float64)

    members = run(table["sequence"])
    predicted = pl.Series(PREDICTED, members.mean(axis=1), pl.Float32)
    if not predicted.is_finite().all():
        raise InputError(f"{model_directory}: the model gives NaN for {int((~predicted.is_finite()).sum())} promoters; train it again")
    if BASE in table.columns and table[BASE].null_count() < table.height:
        bases = table.select(BASE).drop_nulls().unique(maintain_order=True)
        bases = bases.with_columns(pl.Series(PREDICTED_BASE, run(bases[BASE]).mean(axis=1), pl.Float32))
        table = table.join(bases, on=BASE, how="left", maintain_order="left")
    if members.shape[1] == 1:
        return table.with_columns(predicted)
    spread = pl.Series(SPREAD, members.std(axis=1, ddof=1), pl.Float32)
    each = pl.Series(MEMBERS, members.astype(np.float32), pl.Array(pl.Float32, members.shape[1]))
    return table.with_columns(predicted, spread, each)
