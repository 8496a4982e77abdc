"""Baseline: ridge regression of expression on the counts of canonical k-mers.

A reference for deep models. The fit has a closed form (Hoerl & Kennard 1970, doi:10.1080/00401706.1970.10488634); the penalty is chosen
by generalised cross-validation (Golub, Heath & Wahba 1979, doi:10.1080/00401706.1979.10489751). The result is a Keras model that maps
tokens to expression.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from gpraflow.core.errors import InputError, TrainingError
from gpraflow.sequences.scaffold import BASES, PADDING

INPUTS = ("tokens",)


def fit(
    tokens: np.ndarray,
    expression: np.ndarray,
    weights: np.ndarray | None,
    *,
    upstream: str,
    seed: int,
    kmer: int,
    penalties: Sequence[float],
) -> keras.Model:
    """Fit the model; all hyperparameters are arguments.

    Minimises ``sum of w (expression - intercept - counts . coefficients)^2 + penalty * sum of coefficients^2``. The normal
    equations are accumulated in float64 over blocks of promoters, so that memory does not depend on the number of promoters.

    Parameters
    ----------
    tokens
        ``(promoters, length)`` uint8 tokens A0 C1 G2 T3 N4.
    expression
        ``(promoters,)`` in the units of the promoter table.
    weights
        ``(promoters,)`` non-negative sample weights; None for equal weights.
    upstream, seed
        Not used; part of the interface of all baselines. k-mers with an N are not counted, so padding is ignored (replacing it by
        plasmid sequence changed r on validation promoters by .0001), and the fit is deterministic.
    kmer
        k-mer length in bp: 2,080 canonical k-mers for 6; 8,192 for 7, which takes 25 times as long.
    penalties
        Candidate penalties; the one with the smallest generalised cross-validation error is used.

    Returns
    -------
    keras.Model
        Maps ``(batch, length)`` integer tokens to ``(batch, 1)`` expression, the same for both strands of a promoter.

    Raises
    ------
    InputError
        If the window is shorter than a k-mer.
    TrainingError
        If there are fewer than 10 promoters, or expression is constant.
    """
    check_labels(expression, fewest=10)
    length = tokens.shape[1]
    if length < kmer:
        raise InputError(f"promoters of {length} bp contain no {kmer}-mer; set a smaller kmer or a longer window")
    coefficients, intercept = _ridge(tokens, expression.astype(np.float64), weights, kmer, penalties)

    inputs = keras.Input((length,), dtype="int32", name="tokens")
    starts = length - kmer + 1
    windows = [inputs[:, first : first + starts] for first in range(kmer)]
    index, highest = windows[0], windows[0]
    for window in windows[1:]:
        index, highest = index * BASES + window, ops.maximum(highest, window)
    index = ops.where(highest < PADDING, index, BASES**kmer)
    table = layers.Embedding(BASES**kmer + 1, 1, trainable=False, dtype="float32", name="kmer_coefficients")
    output = layers.Dense(1, trainable=False, dtype="float32", name="expression")
    model = keras.Model(inputs, output(ops.sum(table(index), axis=1)), name="baseline_kmer")
    table.set_weights([np.append(coefficients, 0)[canonical(kmer)][:, None]])
    output.set_weights([np.ones((1, 1)), np.array([intercept])])
    return model


def check_labels(expression: np.ndarray, fewest: int) -> None:
    """Check that labels can be learnt.

    Raises
    ------
    TrainingError
        If there are fewer than ``fewest`` labels, one is NaN or infinite, or all are equal.
    """
    if len(expression) < fewest:
        raise TrainingError(
            f"{len(expression)} training promoters are too few for this model, which needs at least {fewest}; use a larger table"
        )
    bad = ~np.isfinite(expression)
    if bad.any():
        raise TrainingError(f"training promoter {int(bad.argmax()) + 1} has expression {expression[bad][0]}; remove such rows")
    if (expression == expression[0]).all():
        raise TrainingError(
            f"all {len(expression)} training promoters have expression {expression[0]:g}: there is nothing to learn; "
            "use a table with measured differences"
        )


def canonical(kmer: int) -> np.ndarray:
    """Return the column of the count matrix for each k-mer, ``(4^kmer + 1,)``; a k-mer and its reverse complement share a column.

    A k-mer's index is its tokens read as a number in base 4. The last entry represents all k-mers with an N; its value is the number of
    canonical k-mers.
    """
    forward = np.arange(BASES**kmer)
    reverse = np.zeros_like(forward)
    rest = forward.copy()
    for _ in range(kmer):
        reverse = reverse * BASES + BASES - 1 - rest % BASES
        rest //= BASES
    kinds, column = np.unique(np.minimum(forward, reverse), return_inverse=True)
    return np.append(column, len(kinds))


def count(tokens: np.ndarray, kmer: int) -> np.ndarray:
    """Return ``(promoters, canonical k-mers)`` float32 counts for ``(promoters, length)`` tokens; k-mers with an N are not counted."""
    column = canonical(kmer)
    kinds = int(column[-1])
    starts = tokens.shape[1] - kmer + 1
    index = np.zeros((len(tokens), starts), np.int64)
    known = np.ones_like(index, bool)
    for first in range(kmer):
        window = tokens[:, first : first + starts]
        index = index * BASES + window
        known &= window < PADDING
    flat_index = column[np.where(known, index, BASES**kmer)] + np.arange(len(tokens))[:, None] * (kinds + 1)
    counts = np.bincount(flat_index.ravel(), minlength=len(tokens) * (kinds + 1)).reshape(len(tokens), kinds + 1)
    return counts[:, :kinds].astype(np.float32)


def _ridge(
    tokens: np.ndarray, expression: np.ndarray, weights: np.ndarray | None, kmer: int, penalties: Sequence[float]
) -> tuple[np.ndarray, float]:
    """Return coefficients, ``(canonical k-mers,)``, and intercept for the best penalty."""
    kinds, positions = int(canonical(kmer)[-1]), tokens.shape[1] - kmer + 1
    weight = np.ones(len(expression)) if weights is None else weights.astype(np.float64)
    products, sums, with_expression = np.zeros((kinds, kinds)), np.zeros(kinds), np.zeros(kinds)
    rows = max(1, min(4096, 2**24 // positions**2))  # small enough for exact sums in float32, which is faster than float64
    for begin in range(0, len(tokens), rows):
        block = slice(begin, begin + rows)
        counts = count(tokens[block], kmer)
        if weights is not None:
            counts = counts * np.sqrt(weight[block])[:, None]
        products += counts.T @ counts
        root = np.sqrt(weight[block])
        sums += root @ counts
        with_expression += (root * expression[block]) @ counts
    total = weight.sum()
    mean_counts, mean = sums / total, weight @ expression / total
    products -= total * np.outer(mean_counts, mean_counts)
    with_expression -= sums * mean
    spread = weight @ (expression - mean) ** 2

    size, axes = np.linalg.eigh(products)
    size = size.clip(0)
    along = axes.T @ with_expression
    errors = []
    for penalty in penalties:
        freedom = 1 + np.sum(size / (size + penalty))
        residual = spread - np.sum(along**2 * (size + 2 * penalty) / (size + penalty) ** 2)
        errors.append(len(expression) * residual / (len(expression) - freedom) ** 2)
    best = int(np.argmin(errors))
    print(f"baseline_kmer: penalty {penalties[best]:g} of {list(penalties)}, cross-validated mean squared error {errors[best]:.4f}")
    coefficients = axes @ (along / (size + penalties[best]))
    return coefficients, float(mean - mean_counts @ coefficients)


PRESETS = {
    "default": {"kmer": 6, "penalties": [1, 3, 10, 30, 100, 200, 300, 500, 1000, 3000, 10000]},
    "small": {"kmer": 4, "penalties": [1, 3, 10, 30, 100, 200, 300, 500, 1000, 3000, 10000]},
}
