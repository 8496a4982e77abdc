"""Effect of data leakage on scores: the index error of the source slides, next to a leakage-controlled split and permuted labels.

For file ``index``, the slides' writer takes rows ``index * files .. index * files + rows_per_file`` instead of ``index *
rows_per_file ..``. Its files therefore repeat few distinct rows many times, and a random split of the records puts copies of nearly
every test row into training. The model is the simplest that shows the effect: ridge regression on 5-mer counts, except that training
promoters are predicted with their training label, as by a network large enough to memorise them.
"""

import os
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import files, randomness
from gpraflow.evaluation import metrics
from gpraflow.models import backend as models_backend

FILES, FRACTION = 68, 0.025  # number of files and fraction of test records in the slides
COLUMNS = {
    "condition": pl.String,
    "training_records": pl.Int64,
    "test_records": pl.Int64,
    "distinct_promoters": pl.Int64,
    "tested_and_trained": pl.Float64,
    "R2": pl.Float64,
    "r": pl.Float64,
}
_KMER = 5
_MOST = 50_000  # maximum promoters; more only take longer


def wrong_rows(rows: int, files_: int) -> np.ndarray:
    """Return the rows that the slides' writer puts into its files, in order, for a table of ``rows`` rows."""
    per_file = rows // files_
    return np.concatenate([np.arange(file * files_, file * files_ + per_file).clip(max=rows - 1) for file in range(files_)])


def files_of(rows: int) -> int:
    """Return the number of files to write: the cube root of ``rows``, at least 2, at most the slides' 68."""
    return max(2, min(FILES, int(np.cbrt(rows))))


def demonstrate(train: tuple[np.ndarray, np.ndarray], val: tuple[np.ndarray, np.ndarray], seed: int, backend: str = "auto") -> pl.DataFrame:
    """Score the same model under three conditions.

    Parameters
    ----------
    train, val
        Tokens ``(n, length)`` and expression ``(n,)`` of two splits that share no cluster.
    seed
        Seed of the random split and of the permutation.
    backend
        Keras backend.

    Returns
    -------
    polars.DataFrame
        `COLUMNS`, one row a condition. ``index error``: records of both splits together by `wrong_rows`, split at random.
        ``leakage-controlled``: trained on train, tested on val. ``permuted labels``: the same with permuted training labels, where R2 and
        r show what chance gives. ``tested_and_trained`` is the share of test records whose promoter was trained on.
    """
    train = train[0][:_MOST], train[1][:_MOST]
    tokens, expression = np.concatenate([train[0], val[0]]), np.concatenate([train[1], val[1]]).astype(np.float64)
    rng = randomness.generator(seed, "reenact_leak")  # name of the random stream since version 0.1: same seed, same result
    mixed = rng.permutation(len(tokens))  # rows of a library are in random order
    records = mixed[wrong_rows(len(tokens), files_of(len(tokens)))]
    drawn = rng.permutation(records)
    size = max(2, round(FRACTION * len(records)))
    first = np.arange(len(train[0]))
    second = np.arange(len(train[0]), len(tokens))
    conditions = {
        "index error": (drawn[2 * size :], drawn[:size], expression),
        "leakage-controlled": (first, second, expression),
        "permuted labels": (first, second, np.concatenate([rng.permutation(expression[first]), expression[second]])),
    }
    rows = []
    for condition, (trained, tested, labels) in conditions.items():
        predicted = _ridge(tokens[trained], labels[trained], tokens[tested], backend)
        known = np.isin(tested, trained)
        predicted[known] = labels[tested[known]]
        scores = metrics.scores(predicted, labels[tested])
        distinct = len(np.unique(np.concatenate([trained, tested])))
        rows.append(
            (condition, len(trained), len(tested), distinct, float(known.mean()), *(metrics.finite(scores[key]) for key in ("R2", "r")))
        )
    return pl.DataFrame(rows, schema=COLUMNS, orient="row")


def _ridge(tokens: np.ndarray, labels: np.ndarray, others: np.ndarray, backend: str) -> np.ndarray:
    models_backend.select_backend(backend)
    from gpraflow.models.zoo import baseline_kmer

    penalties: Any = baseline_kmer.PRESETS["small"]["penalties"]
    model = baseline_kmer.fit(tokens, labels.astype(np.float32), None, upstream="", seed=0, kmer=_KMER, penalties=penalties)
    return model.predict(others, batch_size=1024, verbose=0)[:, 0].astype(np.float64)


def write(table: pl.DataFrame, path: str | os.PathLike) -> None:
    """Write the table of `demonstrate` as TSV."""
    files.write_text(path, table.write_csv(separator="\t", float_precision=4))
