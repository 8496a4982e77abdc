"""Scanning of both promoter strands with motif matrices, used by `biochemical` and `compact`."""

import os
from typing import Any

import keras
import numpy as np
from keras import ops

from gpraflow.models.layers import blocks
from gpraflow.sequences import motifs
from gpraflow.sequences.scaffold import BASES

BINS = "bins_of_{}_bp"  # name of the nested model that sums over bins


def windows(tokens: Any, width: int) -> tuple[Any, Any]:
    """Return the one-hot windows of ``width`` bp around every position, for both strands.

    The matrix product of windows and motifs is a convolution; for four channels it is faster than Conv1D on a CPU. Reversing a window's
    last axis gives its reverse complement (reversing A, C, G, T complements the bases), so that a site has the same position on both
    strands.

    Returns
    -------
    tuple
        Forward and reverse strand, each ``(batch, length, 4 * width)``; all four channels are 0 beyond the ends and at N.
    """
    length = tokens.shape[1]
    left = (width - 1) // 2
    bases = ops.pad(blocks.one_hot(tokens), ((0, 0), (left, width - 1 - left), (0, 0)))
    forward = ops.concatenate([bases[:, start : start + length] for start in range(width)], axis=-1)
    return forward, ops.flip(forward, axis=-1)


def motif_kernel(path: str | os.PathLike, width: int) -> tuple[np.ndarray, list[motifs.Motif]]:
    """Return the log-odds of a file's motifs (natural log) as one ``(4 * width, motifs)`` kernel, and the motifs; none without a file.

    Narrower motifs are centred and padded with 0. Wider motifs are cropped to the ``width`` contiguous positions with the highest
    information content.
    """
    loaded = motifs.load(path) if path else []
    kernel = np.zeros((width, BASES, len(loaded)), np.float32)
    for index, motif in enumerate(loaded):
        log_odds = motif.log_odds
        if len(log_odds) > width:
            information = (np.exp(log_odds) / BASES * log_odds).sum(axis=1)
            start = int(np.convolve(information, np.ones(width), "valid").argmax())
            log_odds = log_odds[start : start + width]
        left = (width - len(log_odds)) // 2
        kernel[left : left + len(log_odds), :, index] = log_odds
    return kernel.reshape(BASES * width, len(loaded)), loaded


def best_scores(kernel: np.ndarray) -> np.ndarray:
    """Return the score of the best possible site of each motif in a ``(4 * width, motifs)`` kernel."""
    return kernel.reshape(-1, BASES, kernel.shape[1]).max(axis=1).sum(axis=0)


def bins(length: int, channels: int, width: int) -> keras.Model:
    """Return a model without weights that sums ``(batch, length, channels)`` over bins of ``width`` adjacent positions.

    The last bin may be shorter. `models.cpu.faster` recognises the model by its name, which contains ``width``.
    """
    values = keras.Input((length, channels))
    return keras.Model(values, ops.sum(in_bins(values, width), axis=2), name=BINS.format(width))


def in_bins(values: Any, width: int) -> Any:
    """Return ``(batch, length, channels)`` as ``(batch, bins, width, channels)``; the last bin is filled with 0."""
    length, channels = values.shape[1:]
    number = -(-length // width)
    if number * width > length:
        values = ops.pad(values, ((0, 0), (0, number * width - length), (0, 0)))
    return ops.reshape(values, (-1, number, width, channels))
