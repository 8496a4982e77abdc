"""The source slides' CNN + transformer + bidirectional LSTM.

Source: G. Kavaliauskaite and A. F. Moller, "Predicting gene expression from random promoter sequences" (slides);
the two-strand convolution follows Vaishnav et al. 2022, doi:10.1038/s41586-022-04506-6. The slides do not show the attention
call and the LSTM; docs/models.md describes the choices made here.
"""

from collections.abc import Sequence

import keras
from keras import layers, ops

from gpraflow.models.layers import blocks

INPUTS = ("tokens",)


def build(
    length: int,
    *,
    outputs: int,
    upstream: str,
    conv1d_filters: int,
    conv2d_filters: int,
    kernel_size: int,
    residual_blocks: int,
    pool_size: int,
    bottleneck_units: int,
    attention_blocks: int,
    attention_heads: int,
    feed_forward_units: int,
    lstm_layers: int,
    lstm_units: int,
    dense_units: Sequence[int],
    norm_momentum: float,
    dropout: float,
    l1: float,
    l2: float,
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
    conv1d_filters, conv2d_filters, kernel_size
        Filters of the convolution shared by the two strands, filters of the convolution over both strands, and all kernel sizes in bp.
    residual_blocks
        Number of blocks, each two ``Conv1D(conv2d_filters)`` with a skip connection.
    pool_size
        Max-pooling after the two-strand convolution, in bp; 1 (as in the slides) disables it.
    bottleneck_units
        Units of the dense layer on the flattened convolutions; the transformer blocks act on this single vector.
    attention_blocks, attention_heads, feed_forward_units
        Number of transformer blocks, heads per block (key width = ``bottleneck_units / attention_heads``) and units of the inner
        feed-forward layer.
    lstm_layers, lstm_units
        Number of stacked bidirectional LSTM layers, which may be 0, and units in each direction.
    dense_units
        Units of the dense layers of the head, before the linear output.
    norm_momentum
        Momentum of the moving averages in batch normalisation; short training needs a low value.
    dropout
        Dropout rate in attention blocks and head.
    l1, l2
        Weight penalties on convolution and head kernels.

    Returns
    -------
    keras.Model
        Maps ``(batch, length)`` integer tokens to ``(batch, outputs)`` raw outputs.

    Raises
    ------
    ValueError
        If ``bottleneck_units`` is not a multiple of ``attention_heads``, or ``length`` is shorter than ``pool_size``.
    """
    if attention_blocks and bottleneck_units % attention_heads:
        raise ValueError(f"bottleneck_units ({bottleneck_units}) must be a multiple of attention_heads ({attention_heads})")
    if length < pool_size:
        raise ValueError(f"pool_size ({pool_size}) is longer than the promoter window ({length} bp)")

    def penalty():
        return keras.regularizers.L1L2(l1=l1, l2=l2) if l1 or l2 else None

    def convolve(filters, name):
        return layers.Conv1D(
            filters, kernel_size, padding="same", use_bias=False, kernel_initializer="he_normal", kernel_regularizer=penalty(), name=name
        )

    def normalize(name):
        return blocks.batch_normalization(norm_momentum, name)

    tokens = keras.Input((length,), dtype="int32", name="tokens")
    forward = blocks.one_hot(tokens)
    reverse = blocks.reverse_complement(forward)

    strand_convolution = convolve(conv1d_filters, "strand_conv1d")
    strand_norm = normalize("strand_norm")
    strand_activation = layers.Activation("gelu", name="strand_gelu")
    strands = [strand_activation(strand_norm(strand_convolution(strand))) for strand in (forward, reverse)]
    strands[1] = ops.flip(strands[1], axis=1)  # aligns the strands: position i is the same base pair on both

    # A Conv2D with kernel (2, k) over two rows of C channels equals a Conv1D with kernel k over 2 C channels (same weights and outputs,
    # tested), which is faster on a CPU (benchmarks/two_strand_convolution.py).
    x = layers.Concatenate(axis=-1, name="both_strands")(strands)
    x = convolve(conv2d_filters, "both_strands_conv2d")(x)
    x = normalize("both_strands_norm")(x)
    x = layers.Activation("gelu", name="both_strands_gelu")(x)
    if pool_size > 1:
        x = layers.MaxPooling1D(pool_size, name="pool")(x)

    for block in range(1, residual_blocks + 1):
        skip = x
        x = convolve(conv2d_filters, f"residual_{block}_conv1d_1")(x)
        x = normalize(f"residual_{block}_norm_1")(x)
        x = layers.Activation("gelu", name=f"residual_{block}_gelu")(x)
        x = convolve(conv2d_filters, f"residual_{block}_conv1d_2")(x)
        x = layers.Add(name=f"residual_{block}_add")([skip, x])
        x = normalize(f"residual_{block}_norm_2")(x)
        x = layers.LeakyReLU(name=f"residual_{block}_leaky_relu")(x)

    x = layers.Flatten(name="flatten")(x)
    x = layers.Dense(bottleneck_units, name="bottleneck")(x)
    x = layers.Reshape((1, bottleneck_units), name="bottleneck_token")(x)

    for block in range(1, attention_blocks + 1):
        skip = x
        x = layers.MultiHeadAttention(attention_heads, bottleneck_units // attention_heads, name=f"attention_{block}")(x, x)
        x = layers.Dropout(dropout, name=f"attention_{block}_dropout")(x)
        x = layers.Add(name=f"attention_{block}_add")([skip, x])
        x = layers.LayerNormalization(name=f"attention_{block}_norm")(x)
        skip = x
        x = layers.Dense(feed_forward_units, activation="gelu", kernel_regularizer=penalty(), name=f"feed_forward_{block}_1")(x)
        x = layers.Dense(bottleneck_units, kernel_regularizer=penalty(), name=f"feed_forward_{block}_2")(x)
        x = layers.Dropout(dropout, name=f"feed_forward_{block}_dropout")(x)
        x = layers.Add(name=f"feed_forward_{block}_add")([skip, x])
        x = layers.LayerNormalization(name=f"feed_forward_{block}_norm")(x)

    for layer in range(1, lstm_layers + 1):
        lstm = layers.LSTM(lstm_units, return_sequences=layer < lstm_layers)
        x = layers.Bidirectional(lstm, name=f"bilstm_{layer}")(x)
    if not lstm_layers:
        x = layers.Flatten(name="token")(x)

    for layer, units in enumerate(dense_units, start=1):
        x = layers.Dense(units, kernel_initializer="he_normal", kernel_regularizer=penalty(), name=f"dense_{layer}")(x)
        x = layers.Activation("gelu", name=f"dense_{layer}_gelu")(x)
        x = layers.Dropout(dropout, name=f"dense_{layer}_dropout")(x)
    expression = layers.Dense(outputs, kernel_initializer="he_normal", kernel_regularizer=penalty(), name="expression")(x)
    return keras.Model(tokens, expression, name="slides")


PRESETS = {
    "paper": {
        "conv1d_filters": 128,
        "conv2d_filters": 256,
        "kernel_size": 7,
        "residual_blocks": 5,
        "pool_size": 1,
        "bottleneck_units": 256,
        "attention_blocks": 5,
        "attention_heads": 8,
        "feed_forward_units": 8,
        "lstm_layers": 2,
        "lstm_units": 8,
        "dense_units": [64, 32],
        "norm_momentum": 0.99,
        "dropout": 0.3,
        "l1": 0.0,
        "l2": 0.0,
    },
    "small": {
        "conv1d_filters": 64,
        "conv2d_filters": 64,
        "kernel_size": 7,
        "residual_blocks": 2,
        "pool_size": 4,
        "bottleneck_units": 128,
        "attention_blocks": 1,
        "attention_heads": 8,
        "feed_forward_units": 8,
        "lstm_layers": 1,
        "lstm_units": 8,
        "dense_units": [64, 32],
        "norm_momentum": 0.9,
        "dropout": 0.3,
        "l1": 0.0,
        "l2": 0.0,
    },
}
