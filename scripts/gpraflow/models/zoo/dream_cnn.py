"""DREAM-CNN: the convolutional model optimised after the DREAM challenge.

Source: A. M. Rafi et al. 2024, "A community effort to optimize sequence-based deep learning models of gene regulation",
doi:10.1038/s41587-024-02414-w; sizes from github.com/de-Boer-Lab/random-promoter-dream-challenge-2022, combination 0_1_0_0: data
processing, head and core (LegNet's blocks with plain squeeze and excitation) by Autosome.org, first block by BHI.

1,933,970 trainable parameters for 150 bp and 18 outputs, as published. docs/models.md lists the differences from the original.
"""

from collections.abc import Sequence

import keras

from gpraflow.models.layers import blocks

INPUTS = ("tokens", "singleton", "reverse")


def build(
    length: int,
    *,
    outputs: int,
    upstream: str,
    window: int,
    first_filters: int,
    first_kernel_sizes: Sequence[int],
    first_dropout: float,
    block_filters: Sequence[int],
    kernel_size: int,
    expansion: int,
    filters_per_group: int,
    squeeze_reduction: int,
    norm_momentum: float,
) -> keras.Model:
    """Build the Keras model; all hyperparameters are arguments.

    Parameters
    ----------
    length
        Promoter window in bp; the input ``tokens`` is ``(batch, length)``, encoded A0 C1 G2 T3 N4, always on the forward strand.
    outputs
        Number of outputs: for each condition 1, expression, or one logit per bin.
    upstream
        Plasmid sequence upstream of the promoter, 5' to 3'.
    window
        Input width of the network in bp: upstream plasmid sequence plus promoter.
    first_filters, first_kernel_sizes, first_dropout
        First block: total filters, kernel sizes in bp among which they are divided equally, and dropout rate.
    block_filters, kernel_size, expansion, filters_per_group, squeeze_reduction
        Parameters of LegNet's blocks, see `blocks.efficient_blocks`.
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
    x = blocks.parallel_convolutions(x, first_filters, first_kernel_sizes, first_dropout, "first")
    x = blocks.efficient_blocks(
        x,
        block_filters=block_filters,
        kernel_size=kernel_size,
        expansion=expansion,
        filters_per_group=filters_per_group,
        squeeze_reduction=squeeze_reduction,
        bilinear_fraction=0.0,
        norm_momentum=norm_momentum,
    )
    return keras.Model(inputs, blocks.mean_and_dense(x, outputs), name="dream_cnn")


PRESETS = {
    "paper": {
        "window": 150,
        "first_filters": 320,
        "first_kernel_sizes": [9, 15],
        "first_dropout": 0.2,
        "block_filters": [128, 128, 64, 64, 64, 64],
        "kernel_size": 7,
        "expansion": 4,
        "filters_per_group": 2,
        "squeeze_reduction": 4,
        "norm_momentum": 0.9,
    },
    "small": {
        "window": 150,
        "first_filters": 128,
        "first_kernel_sizes": [9, 15],
        "first_dropout": 0.2,
        "block_filters": [32, 32],
        "kernel_size": 7,
        "expansion": 2,
        "filters_per_group": 2,
        "squeeze_reduction": 4,
        "norm_momentum": 0.9,
    },
}
