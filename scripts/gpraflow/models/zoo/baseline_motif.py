"""Baseline: gradient-boosted trees on scans with known motifs.

A reference for deep models. Trees are fitted with scikit-learn's histogram-based boosting (as in LightGBM, Ke et al. 2017).
The fitted trees are stored as weights of a Keras model that maps tokens to expression and needs neither scikit-learn nor the motif file.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from gpraflow.core import randomness
from gpraflow.core.errors import InputError
from gpraflow.models.zoo.baseline_kmer import check_labels
from gpraflow.sequences.motifs import Motif, load
from gpraflow.sequences.scaffold import ALPHABET, PADDING

INPUTS = ("tokens",)
_STEP = 2.0**-12  # scores are rounded to multiples of it, so that float32 sums are exact and independent of order and backend
_UNKNOWN = -64.0  # score of an N: excludes sites that cover one
_BATCH = 512


def fit(
    tokens: np.ndarray,
    expression: np.ndarray,
    weights: np.ndarray | None,
    *,
    upstream: str,
    seed: int,
    motifs: str,
    score_range: float,
    trees: int,
    leaves: int,
    depth: int,
    learning_rate: float,
    promoters_per_leaf: int,
    l2: float,
    validation_fraction: float,
    patience: int,
    promoters: int,
) -> keras.Model:
    """Fit the model; all hyperparameters are arguments.

    Parameters
    ----------
    tokens
        ``(promoters, length)`` uint8 tokens A0 C1 G2 T3 N4.
    expression
        ``(promoters,)`` in the units of the promoter table.
    weights
        ``(promoters,)`` non-negative sample weights; None for equal weights.
    upstream
        Not used; part of the interface of all baselines. Sites do not cover N (replacing padding by plasmid sequence did not improve
        validation scores).
    seed
        Random seed for the early-stopping split, and for subsampling if there are more than ``promoters``.
    motifs
        Path of a motif file. Motifs wider than the window are skipped.
    score_range
        Sites whose score is at least this far below the best possible one, in natural-log units, are ignored (`scan`).
    trees, leaves, depth
        Maximum number of trees, of leaves per tree, and of splits from root to leaf.
    learning_rate, promoters_per_leaf, l2
        Shrinkage of each tree, minimum promoters per leaf, and L2 penalty on leaf values.
    validation_fraction, patience
        Fraction of promoters held out for early stopping; boosting stops after ``patience`` trees without improvement on them.
    promoters
        Maximum number of promoters, subsampled with ``seed``. Features are kept in memory: 2.8 kB per promoter for 176 motifs.

    Returns
    -------
    keras.Model
        Maps ``(batch, length)`` integer tokens to ``(batch, 1)`` expression, the same for both strands of a promoter.

    Raises
    ------
    InputError
        If the motif file cannot be used, or every motif is wider than the window.
    TrainingError
        If there are too few promoters for one split, or expression is constant.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor

    check_labels(expression, fewest=int(np.ceil(2 * promoters_per_leaf / (1 - validation_fraction))) + 1)
    if len(tokens) > promoters:
        drawn = np.sort(randomness.generator(seed, "baseline_motif", "promoters").choice(len(tokens), promoters, replace=False))
        tokens, expression = tokens[drawn], expression[drawn]
        weights = None if weights is None else weights[drawn]
    features = scan(tokens.shape[1], load(motifs), score_range)
    boosting = HistGradientBoostingRegressor(
        learning_rate=learning_rate,
        max_iter=trees,
        max_leaf_nodes=leaves,
        max_depth=depth,
        min_samples_leaf=promoters_per_leaf,
        l2_regularization=l2,
        early_stopping=True,
        validation_fraction=validation_fraction,
        n_iter_no_change=patience,
        random_state=randomness.derive(seed, "baseline_motif") % 2**32,
    )
    boosting.fit(features.predict(tokens, batch_size=_BATCH, verbose=0), expression, sample_weight=weights)
    print(f"baseline_motif: {boosting.n_iter_} trees, R2 on held-out promoters {_r2(boosting, expression, weights):.4f}")
    return with_trees(features, boosting)


def scan(length: int, motifs: Sequence[Motif], score_range: float) -> keras.Model:
    """Return a Keras model that computes the motif features of promoters.

    There are two features per motif, computed over all sites on both strands. The score s of a site is its log-odds minus the log-odds of
    the motif's best sequence, so that the best possible score is 0:

    - best site: ``max(s)``;
    - all sites, including weak ones: ``sum of max(0, s + score_range)``. On validation promoters this scored better than
      ``sum of exp(s)``, which the best site dominates, and it is exact in float32.

    The last feature is the GC content of known bases.

    Parameters
    ----------
    length
        Window in bp.
    motifs
        Motifs; those wider than ``length`` are skipped.
    score_range
        Score range of counted sites below the best possible one, in natural-log units.

    Returns
    -------
    keras.Model
        Maps ``(batch, length)`` tokens to ``(batch, 2 motifs + 1)`` float32; motifs are sorted by increasing width.

    Raises
    ------
    InputError
        If every motif is wider than the window.
    """
    widths = sorted({len(motif.log_odds) for motif in motifs if len(motif.log_odds) <= length})
    if not widths:
        narrowest = min(len(motif.log_odds) for motif in motifs)
        raise InputError(
            f"the narrowest of {len(motifs)} motifs has {narrowest} bp, more than the window ({length} bp); use narrower motifs"
        )
    tokens = keras.Input((length,), dtype="int32", name="tokens")
    bases = ops.one_hot(tokens, len(ALPHABET), dtype="float32")
    best, together, kernels = [], [], []
    for width in widths:
        matrices = np.stack([np.round(motif.log_odds / _STEP) * _STEP for motif in motifs if len(motif.log_odds) == width], axis=-1)
        both = np.concatenate([matrices, matrices[::-1, ::-1]], axis=-1)  # (width, 4, 2 motifs)
        kernel = np.concatenate([both, np.full_like(both[:, :1], _UNKNOWN)], axis=1)
        perfect = both.max(axis=1).sum(axis=0)
        convolution = layers.Conv1D(both.shape[-1], width, trainable=False, dtype="float32", name=f"motifs_of_{width}_bp")
        sites = ops.reshape(convolution(bases), (-1, 2 * (length - width + 1), both.shape[-1] // 2))
        kernels.append((convolution, [kernel, -perfect]))
        best.append(ops.max(sites, axis=1))
        together.append(ops.sum(ops.relu(sites + round(score_range / _STEP) * _STEP), axis=1))
    known = ops.sum(ops.cast(tokens < PADDING, "float32"), axis=1, keepdims=True)
    strong = ops.sum(ops.cast(ops.logical_or(ops.equal(tokens, 1), ops.equal(tokens, 2)), "float32"), axis=1, keepdims=True)
    gc = strong / ops.maximum(known, 1.0)
    model = keras.Model(tokens, layers.Concatenate(name="features")([*best, *together, gc]), name="motif_scan")
    for convolution, values in kernels:
        convolution.set_weights(values)
    return model


def with_trees(features: keras.Model, boosting: Any) -> keras.Model:
    """Add fitted trees to a feature model.

    The nodes of all trees are rows of one table: feature, threshold and row of the left child. Roots come first; the right child follows
    the left one. A leaf is its own child, with an infinite threshold, so that all trees are evaluated in the same number of steps.

    Parameters
    ----------
    features
        Maps tokens to ``(batch, features)`` float32.
    boosting
        A fitted ``HistGradientBoostingRegressor`` with numeric features; the returned model reproduces its predictions.

    Returns
    -------
    keras.Model
        Maps tokens to ``(batch, 1)``.
    """
    grown = [predictor.nodes for (predictor,) in boosting._predictors]
    questions, values = _table(grown)
    ask = layers.Embedding(len(questions), 3, trainable=False, dtype="float32", name="tree_nodes")
    leaf = layers.Embedding(len(values), 1, trainable=False, dtype="float32", name="tree_values")
    output = layers.Dense(1, trainable=False, dtype="float32", name="expression")

    feature_values = features.output
    node = ops.cumsum(ops.ones_like(ops.repeat(features.input[:, :1], len(grown), axis=1)), axis=1) - 1  # (batch, trees): the roots
    for _ in range(max(int(nodes["depth"].max()) for nodes in grown)):
        question = ask(node)
        value = ops.take_along_axis(feature_values, ops.cast(question[..., 0], "int32"), axis=1)
        node = ops.cast(question[..., 2], "int32") + ops.cast(value > question[..., 1], "int32")
    model = keras.Model(features.input, output(ops.sum(leaf(node), axis=1)), name="baseline_motif")
    ask.set_weights([questions])
    leaf.set_weights([values])
    output.set_weights([np.ones((1, 1)), np.ravel(boosting._baseline_prediction)])
    return model


def _table(grown: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Return splits ``(nodes, 3)`` and values ``(nodes, 1)`` of all trees in the format of `with_trees`."""
    order = [(tree, 0) for tree in range(len(grown))]
    questions: list[tuple[int, float, int]] = []
    values: list[float] = []
    for tree, index in order:  # the list is extended while it is traversed
        node = grown[tree][index]
        values.append(node["value"])
        if node["is_leaf"]:
            questions.append((0, np.inf, len(questions)))
            continue
        # scikit-learn compares in float64: a float32 feature exceeds the threshold exactly if it exceeds the next lower float32.
        threshold = np.float32(node["num_threshold"])
        if threshold > node["num_threshold"]:
            threshold = np.nextafter(threshold, np.float32(-np.inf))
        questions.append((int(node["feature_idx"]), float(threshold), len(order)))
        order += [(tree, node["left"]), (tree, node["right"])]
    return np.array(questions, np.float32), np.array(values, np.float32)[:, None]


def _r2(boosting: Any, expression: np.ndarray, weights: np.ndarray | None) -> float:
    """Return R2 on the early-stopping promoters, from scikit-learn's recorded validation losses (half the squared error)."""
    spread = np.average((expression - np.average(expression, weights=weights)) ** 2, weights=weights)
    return 1 + 2 * boosting.validation_score_[-1] / float(spread)


PRESETS = {
    "default": {
        "score_range": 8.0,
        "trees": 600,
        "leaves": 31,
        "depth": 8,
        "learning_rate": 0.1,
        "promoters_per_leaf": 20,
        "l2": 0.0,
        "validation_fraction": 0.1,
        "patience": 20,
        "promoters": 500_000,
    },
    "small": {
        "score_range": 8.0,
        "trees": 60,
        "leaves": 15,
        "depth": 6,
        "learning_rate": 0.1,
        "promoters_per_leaf": 20,
        "l2": 0.0,
        "validation_fraction": 0.1,
        "patience": 20,
        "promoters": 50_000,
    },
}
