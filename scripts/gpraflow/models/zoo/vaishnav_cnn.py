"""The convolutional model of Vaishnav et al. 2022: one convolutional tower per strand, then dense layers.

Source: E. D. Vaishnav et al. 2022, doi:10.1038/s41586-022-04506-6; sizes from github.com/1edv/evolution
(manuscript_code/model/gpu_only_model). docs/models.md lists the differences from the original.
"""

import keras
from keras import layers

from gpraflow.models.layers import blocks

INPUTS = ("tokens",)


def build(
    length: int,
    *,
    outputs: int,
    upstream: str,
    filters: int,
    kernel_size: int,
    deep_kernel_size: int,
    dense_units: int,
    dropout: float,
) -> keras.Model:
    """Build the Keras model; all hyperparameters are arguments.

    Parameters
    ----------
    length
        Promoter window in bp; the input is ``(batch, length)`` tokens A0 C1 G2 T3 N4.
    outputs
        Number of outputs: for each condition 1, expression, or one logit per bin.
    upstream
        Not used: the input is the promoter without plasmid context.
    filters, kernel_size
        Filters of all convolutions, and kernel size of the first one in bp.
    deep_kernel_size
        Kernel size of the other convolutions in bp. 1 reproduces the public code: its (30, 1) kernels are applied to a map of height 1,
        so that 29 of their 30 rows cover padding only.
    dense_units
        Units of the two dense layers of the head.
    dropout
        Dropout rate in the head.

    Returns
    -------
    keras.Model
        Maps ``(batch, length)`` integer tokens to ``(batch, outputs)`` raw outputs.
    """

    def convolve(x, width, name):
        return layers.Conv1D(filters, width, padding="same", activation="relu", kernel_initializer="he_normal", name=name)(x)

    tokens = keras.Input((length,), dtype="int32", name="tokens")
    forward = blocks.one_hot(tokens)
    towers = []
    for name, x in (("forward", forward), ("reverse", blocks.reverse_complement(forward))):
        x = convolve(x, kernel_size, f"{name}_conv1d_1")
        towers.append(convolve(x, deep_kernel_size, f"{name}_conv1d_2"))
    x = layers.Concatenate(name="both_strands")(towers)
    for number in (1, 2):
        x = convolve(x, deep_kernel_size, f"both_strands_conv1d_{number}")
    x = layers.Flatten(name="flatten")(x)
    for number in (1, 2):
        x = layers.Dense(dense_units, activation="relu", kernel_initializer="he_normal", name=f"dense_{number}")(x)
        x = layers.Dropout(dropout, name=f"dense_{number}_dropout")(x)
    return keras.Model(tokens, layers.Dense(outputs, name="expression")(x), name="vaishnav_cnn")


PRESETS = {
    "paper": {"filters": 256, "kernel_size": 30, "deep_kernel_size": 1, "dense_units": 256, "dropout": 0.2},
    "small": {"filters": 80, "kernel_size": 30, "deep_kernel_size": 1, "dense_units": 80, "dropout": 0.2},
}
