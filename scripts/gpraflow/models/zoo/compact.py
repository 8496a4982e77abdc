"""Compact model for CPUs: binned occupancies of known and learned motifs, followed by a small residual network.

Designed for this project. Binding is modelled as in `biochemical` (de Boer et al. 2020, doi:10.1038/s41587-019-0315-8); the effect of
binding on expression is learned by the network.
"""

import keras
import numpy as np
from keras import layers, ops

from gpraflow.models.layers import blocks, scanning

INPUTS = ("tokens",)
LEARNED = "learned_motifs"


def build(
    length: int,
    *,
    outputs: int,
    upstream: str,
    motifs: str,
    motif_width: int,
    learned_motifs: int,
    bin_width: int,
    initial_concentration: float,
    channels: int,
    mix_size: int,
    residual_blocks: int,
    kernel_size: int,
    narrow_channels: int,
    dense_units: int,
    norm_momentum: float,
    dropout: float,
    head_dropout: float,
) -> keras.Model:
    """Build the Keras model; all hyperparameters are arguments.

    Parameters
    ----------
    length
        Promoter window in bp; the input is ``(batch, length)`` tokens A0 C1 G2 T3 N4.
    outputs
        Number of outputs: for each condition 1, standardised expression, or one logit per bin.
    upstream
        Not used: the scaffold is the same in all promoters.
    motifs
        Motif file of initial motifs, or empty for none; needed only to build the model.
    motif_width
        Width of all motifs in bp; wider ones are cropped to their most informative positions.
    learned_motifs
        Number of additional motifs, initialised randomly.
    bin_width
        Width in bp of the bins over which occupancies are averaged. All later layers work on bins, which makes the model fast.
    initial_concentration
        Initial concentration of every factor, relative to the dissociation constant of its best site.
    channels, mix_size
        Channels of the residual network, and kernel width in bins of the convolution that maps motif occupancies of both strands to them.
    residual_blocks, kernel_size
        Number of blocks, each one convolution with a skip connection, and kernel width in bins.
    narrow_channels, dense_units
        Channels before flattening, and units of the dense layer after it.
    norm_momentum
        Momentum of the moving averages in batch normalisation.
    dropout, head_dropout
        Dropout rates in the convolutions, and before and after the dense layer.

    Returns
    -------
    keras.Model
        Maps ``(batch, length)`` integer tokens to ``(batch, outputs)``.

    Raises
    ------
    ValueError
        If there is neither a known nor a learned motif.
    """
    known, _ = scanning.motif_kernel(motifs, motif_width)
    learned = ops.convert_to_numpy(keras.initializers.RandomNormal(stddev=0.25)((len(known), learned_motifs)))
    kernel = np.concatenate([known, learned], axis=1)
    if not kernel.shape[1]:
        raise ValueError("without a motif file, learned_motifs must be above 0")

    def normalize(name):
        return blocks.batch_normalization(norm_momentum, name)

    tokens = keras.Input((length,), dtype="int32", name="tokens")
    scan = layers.Dense(kernel.shape[1], activation="sigmoid", name="motifs")  # its bias is the log of the concentrations
    bins = scanning.bins(length, kernel.shape[1], bin_width)
    strands = [bins(scan(strand)) / bin_width for strand in scanning.windows(tokens, motif_width)]
    x = layers.Concatenate(name="strands")(strands)
    x = normalize("occupancy_norm")(x)

    x = layers.Conv1D(channels, mix_size, padding="same", use_bias=False, name="mix_conv1d")(x)
    x = normalize("mix_norm")(x)
    x = layers.Activation("gelu", name="mix_gelu")(x)
    x = layers.Dropout(dropout, name="mix_dropout")(x)
    for block in range(1, residual_blocks + 1):
        skip = x
        x = layers.Conv1D(channels, kernel_size, padding="same", use_bias=False, name=f"residual_{block}_conv1d")(x)
        x = normalize(f"residual_{block}_norm")(x)
        x = layers.Activation("gelu", name=f"residual_{block}_gelu")(x)
        x = layers.Dropout(dropout, name=f"residual_{block}_dropout")(x)
        x = layers.Add(name=f"residual_{block}_add")([skip, x])

    x = layers.Dense(narrow_channels, name="narrow_dense")(x)
    x = layers.Flatten(name="flatten")(x)
    x = layers.Dropout(head_dropout, name="flat_dropout")(x)
    x = layers.Dense(dense_units, use_bias=False, name="dense")(x)
    x = normalize("dense_norm")(x)
    x = layers.Activation("gelu", name="dense_gelu")(x)
    x = layers.Dropout(head_dropout, name="dense_dropout")(x)
    model = keras.Model(tokens, layers.Dense(outputs, name="expression")(x), name="compact")

    model.get_layer("motifs").set_weights([kernel, np.log(initial_concentration) - scanning.best_scores(kernel)])
    return model


PRESETS = {
    "default": {
        "motif_width": 15,
        "learned_motifs": 80,
        "bin_width": 5,
        "initial_concentration": 2.718,
        "channels": 128,
        "mix_size": 3,
        "residual_blocks": 2,
        "kernel_size": 5,
        "narrow_channels": 32,
        "dense_units": 128,
        "norm_momentum": 0.95,
        "dropout": 0.2,
        "head_dropout": 0.3,
    },
}
