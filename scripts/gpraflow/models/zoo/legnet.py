"""LegNet: the winning model of the DREAM challenge (team Autosome.org), a convolutional network based on EfficientNetV2.

Source: D. Penzar et al. 2023, "LegNet: a best-in-class deep learning model for short DNA regulatory regions",
doi:10.1093/bioinformatics/btad457; version of the challenge, sizes from github.com/autosome-ru/LegNet (legnet/model.py,
scripts/dream2022/train.sh). docs/models.md lists the differences from the original.
"""

from collections.abc import Sequence

import keras
from keras import layers

from gpraflow.models.layers import blocks

INPUTS = ("tokens", "singleton", "reverse")


def build(
    length: int,
    *,
    outputs: int,
    conditions: int,
    upstream: str,
    window: int,
    first_filters: int,
    block_filters: Sequence[int],
    kernel_size: int,
    expansion: int,
    filters_per_group: int,
    squeeze_reduction: int,
    bilinear_fraction: float,
    norm_momentum: float,
) -> keras.Model:
    """Build the Keras model; all hyperparameters are arguments.

    Parameters
    ----------
    length
        Promoter window in bp; the input ``tokens`` is ``(batch, length)``, encoded A0 C1 G2 T3 N4, always on the forward strand.
    outputs
        Number of outputs: for each condition 1, expression, or one logit per bin.
    conditions
        Number of conditions.
    upstream
        Plasmid sequence upstream of the promoter, 5' to 3'.
    window
        Input width of the network in bp: upstream plasmid sequence plus promoter.
    first_filters
        Filters of the first convolution.
    block_filters, kernel_size, expansion, filters_per_group, squeeze_reduction, bilinear_fraction
        Parameters of the following blocks, see `blocks.efficient_blocks`; the first convolution has the same ``kernel_size``.
    norm_momentum
        Momentum of the moving averages in batch normalisation.

    Returns
    -------
    keras.Model
        Maps ``tokens``, ``singleton`` and ``reverse`` (the last two ``(batch, 1)``, 0 or 1) to ``(batch, outputs)`` raw outputs.

    Raises
    ------
    ValueError
        If ``window`` is shorter than ``length``, or filters are not divisible by the group sizes.
    """
    inputs = blocks.promoter_inputs(length)
    x = blocks.promoter_channels(inputs, length, window, upstream)
    x = blocks.convolution_norm_silu(x, first_filters, kernel_size, norm_momentum, "first")
    x = blocks.efficient_blocks(
        x,
        block_filters=block_filters,
        kernel_size=kernel_size,
        expansion=expansion,
        filters_per_group=filters_per_group,
        squeeze_reduction=squeeze_reduction,
        bilinear_fraction=bilinear_fraction,
        norm_momentum=norm_momentum,
    )
    if outputs == conditions:  # no final SiLU: it is never below -0.28, but standardised expression is
        return keras.Model(inputs, blocks.mean_and_dense(x, outputs), name="legnet")
    x = layers.Dense(outputs, activation="silu", name="expression")(x)
    return keras.Model(inputs, layers.GlobalAveragePooling1D(name="mean")(x), name="legnet")


PRESETS = {
    "paper": {
        "window": 150,
        "first_filters": 256,
        "block_filters": [128, 128, 64, 64, 64, 64],
        "kernel_size": 7,
        "expansion": 4,
        "filters_per_group": 2,
        "squeeze_reduction": 4,
        "bilinear_fraction": 0.5,
        "norm_momentum": 0.9,
    },
    "small": {
        "window": 150,
        "first_filters": 96,
        "block_filters": [48, 32, 32],
        "kernel_size": 7,
        "expansion": 2,
        "filters_per_group": 2,
        "squeeze_reduction": 4,
        "bilinear_fraction": 0.5,
        "norm_momentum": 0.9,
    },
}
