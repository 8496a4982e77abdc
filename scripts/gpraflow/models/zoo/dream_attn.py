"""DREAM-Attn: the attention model optimised after the DREAM challenge.

Source: A. M. Rafi et al. 2024, doi:10.1038/s41587-024-02414-w; sizes from github.com/de-Boer-Lab/random-promoter-dream-challenge-2022,
combination 0_0_2_0: data processing, first block and head by Autosome.org, core by Unlock_DNA (Conformer blocks with SwiGLU).

4,539,410 trainable parameters for 150 bp and 18 outputs, as published. docs/models.md lists the differences from the original.
"""

import keras
from keras import layers, ops

from gpraflow.models.layers import blocks

INPUTS = ("tokens", "singleton", "reverse")


def build(
    length: int,
    *,
    outputs: int,
    upstream: str,
    window: int,
    filters: int,
    first_kernel_size: int,
    conformer_blocks: int,
    attention_heads: int,
    feed_forward_factor: int,
    kernel_size: int,
    dropout: float,
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
    filters
        Channels of all layers.
    first_kernel_size
        Kernel size of the first convolution in bp.
    conformer_blocks, attention_heads
        Number of Conformer blocks, and heads per block (key width = ``filters / attention_heads``).
    feed_forward_factor
        Width of the feed-forward layers as a multiple of ``filters``; half of it is the SwiGLU gate.
    kernel_size
        Kernel size of the depthwise convolutions in bp.
    dropout
        Dropout rate in feed-forward layers and convolutions.
    norm_momentum
        Momentum of the moving averages in batch normalisation.

    Returns
    -------
    keras.Model
        Maps ``tokens``, ``singleton`` and ``reverse`` (the last two ``(batch, 1)``, 0 or 1) to ``(batch, outputs)`` raw outputs.

    Raises
    ------
    ValueError
        If ``window`` is shorter than ``length``, ``filters`` is not a multiple of ``attention_heads`` or the feed-forward width is odd.
    """
    if filters % attention_heads:
        raise ValueError(f"filters ({filters}) must be a multiple of attention_heads ({attention_heads})")
    if filters * feed_forward_factor % 2:
        raise ValueError(
            f"filters ({filters}) times feed_forward_factor ({feed_forward_factor}) must be even: half of these units form the gate"
        )

    def normalize(x, name):
        return layers.LayerNormalization(epsilon=1e-6, name=name)(x)

    def feed_forward(x, name):
        inner = filters * feed_forward_factor
        x = normalize(x, f"{name}_norm")
        x = layers.Dense(inner, use_bias=False, kernel_initializer=blocks.torch_uniform(), name=f"{name}_1")(x)
        x = x[..., : inner // 2] * ops.silu(x[..., inner // 2 :])
        x = layers.Dropout(dropout, name=f"{name}_dropout_1")(x)
        x = layers.Dense(filters, use_bias=False, kernel_initializer=blocks.torch_uniform(), name=f"{name}_2")(x)
        return layers.Dropout(dropout, name=f"{name}_dropout_2")(x)

    inputs = blocks.promoter_inputs(length)
    x = blocks.promoter_channels(inputs, length, window, upstream)
    x = blocks.convolution_norm_silu(x, filters, first_kernel_size, norm_momentum, "first")
    x = x + blocks.learned_rows(x, window, filters, keras.initializers.RandomNormal(stddev=1.0), "position")

    within = (6 / (4 * filters)) ** 0.5  # PyTorch initialises query, key and value kernels as one matrix
    for block in range(1, conformer_blocks + 1):
        x = x + 0.5 * feed_forward(x, f"feed_forward_{block}_before")
        normalized = normalize(x, f"convolution_{block}_norm")
        convolved = blocks.grouped_convolution(normalized, kernel_size, 1, kernel_uniform(kernel_size), f"convolution_{block}_depthwise")
        convolved = layers.Dense(
            filters, activation="relu", kernel_initializer=blocks.torch_uniform(), name=f"convolution_{block}_pointwise"
        )(convolved)
        convolved = layers.Dropout(dropout, name=f"convolution_{block}_dropout")(convolved)
        x = layers.Add(name=f"convolution_{block}_add")([x, normalized, convolved])
        x = normalize(x, f"attention_{block}_norm")
        attention = layers.MultiHeadAttention(
            attention_heads,
            filters // attention_heads,
            kernel_initializer=keras.initializers.RandomUniform(-within, within),
            name=f"attention_{block}",
        )
        x = layers.Add(name=f"attention_{block}_add")([x, attention(x, x)])
        x = x + 0.5 * feed_forward(x, f"feed_forward_{block}_after")
    return keras.Model(inputs, blocks.mean_and_dense(x, outputs), name="dream_attn")


def kernel_uniform(kernel_size: int) -> keras.initializers.Initializer:
    """Return PyTorch's initialisation of a depthwise convolution, uniform within 1 / sqrt(kernel_size)."""
    return keras.initializers.RandomUniform(-(kernel_size**-0.5), kernel_size**-0.5)


PRESETS = {
    "paper": {
        "window": 150,
        "filters": 256,
        "first_kernel_size": 7,
        "conformer_blocks": 4,
        "attention_heads": 4,  # the published notebook requests 8, but the public code always uses 4
        "feed_forward_factor": 4,
        "kernel_size": 15,
        "dropout": 0.1,
        "norm_momentum": 0.9,
    },
    "small": {
        "window": 150,
        "filters": 96,
        "first_kernel_size": 7,
        "conformer_blocks": 2,
        "attention_heads": 4,
        "feed_forward_factor": 4,
        "kernel_size": 15,
        "dropout": 0.1,
        "norm_momentum": 0.9,
    },
}
