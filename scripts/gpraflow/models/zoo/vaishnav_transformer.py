"""The transformer model of Vaishnav et al. 2022: two-strand convolutions, attention, a bidirectional LSTM.

Source: E. D. Vaishnav et al. 2022, "The evolution, evolvability and engineering of gene regulatory DNA",
doi:10.1038/s41586-022-04506-6; sizes from github.com/1edv/evolution (manuscript_code/model/tpu_model/train_model.ipynb).
docs/models.md lists the differences from the original.
"""

import keras
from keras import layers, ops

from gpraflow.models.layers import blocks

INPUTS = ("tokens",)


def build(
    length: int,
    *,
    outputs: int,
    upstream: str,
    strand_filters: int,
    filters: int,
    kernel_size: int,
    convolutions: int,
    attention_blocks: int,
    attention_heads: int,
    attention_dropout: float,
    feed_forward_units: int,
    lstm_units: int,
    dense_units: int,
    dropout: float,
    norm_momentum: float,
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
    strand_filters, filters, kernel_size
        Filters of the convolution shared by the two strands, filters of the following convolutions, and all kernel sizes in bp.
    convolutions
        Number of convolutions after the one over both strands.
    attention_blocks, attention_heads, attention_dropout, feed_forward_units
        Number of transformer blocks, heads per block (key width = ``filters / attention_heads``), dropout rate, and units of the inner
        feed-forward layer.
    lstm_units
        Units of the bidirectional LSTM in each direction.
    dense_units
        Units of the two dense layers of the head.
    dropout
        Dropout rate in LSTM and head.
    norm_momentum
        Momentum of the moving averages in batch normalisation.
    l2
        L2 penalty on all kernels.

    Returns
    -------
    keras.Model
        Maps ``(batch, length)`` integer tokens to ``(batch, outputs)`` raw outputs.

    Raises
    ------
    ValueError
        If ``filters`` is not a multiple of ``attention_heads``.
    """
    if filters % attention_heads:
        raise ValueError(f"filters ({filters}) must be a multiple of attention_heads ({attention_heads})")

    def penalty():
        return keras.regularizers.L2(l2) if l2 else None

    def convolve(filters, padding, name):
        return layers.Conv1D(
            filters,
            kernel_size,
            padding=padding,
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=penalty(),
            name=f"{name}_conv1d",
        )

    def norm_relu(x, name):
        x = blocks.batch_normalization(norm_momentum, f"{name}_norm")(x)
        return layers.Activation("relu", name=f"{name}_relu")(x)

    def dense(units, name, initializer="he_normal", activation="relu"):
        return layers.Dense(units, activation=activation, kernel_initializer=initializer, kernel_regularizer=penalty(), name=name)

    def attend(x, name):
        query, key, value = (
            ops.reshape(dense(filters, f"{name}_{part}", "glorot_normal")(x), (-1, length, attention_heads, filters // attention_heads))
            for part in ("query", "key", "value")
        )
        heads = ops.reshape(ops.dot_product_attention(query, key, value), (-1, length, filters))
        return dense(filters, f"{name}_output", "glorot_normal")(heads)

    def add_and_normalize(x, y, name):
        y = layers.Dropout(attention_dropout, name=f"{name}_dropout")(y)
        return layers.LayerNormalization(epsilon=1e-6, name=f"{name}_norm")(layers.Add(name=f"{name}_add")([x, y]))

    tokens = keras.Input((length,), dtype="int32", name="tokens")
    # Pad before reverse-complementing, so that a kernel of even width covers the same base pairs on both strands.
    forward = ops.pad(blocks.one_hot(tokens), ((0, 0), ((kernel_size - 1) // 2, kernel_size // 2), (0, 0)))
    shared = convolve(strand_filters, "valid", "strand")
    strands = [shared(forward), ops.flip(shared(blocks.reverse_complement(forward)), axis=1)]
    strands = [norm_relu(x, f"{name}_strand") for name, x in zip(("forward", "reverse"), strands, strict=True)]

    # As in slides.py, a Conv2D with kernel (2, k) over two rows is computed as a Conv1D over their concatenated channels.
    x = layers.Concatenate(name="both_strands")(strands)
    x = norm_relu(convolve(filters, "same", "both_strands")(x), "both_strands")
    for number in range(1, convolutions + 1):
        x = norm_relu(convolve(filters, "same", f"convolution_{number}")(x), f"convolution_{number}")

    for block in range(1, attention_blocks + 1):
        x = add_and_normalize(x, attend(x, f"attention_{block}"), f"attention_{block}")
        y = dense(feed_forward_units, f"feed_forward_{block}_1", "glorot_normal")(x)
        y = dense(filters, f"feed_forward_{block}_2", "glorot_normal", None)(y)
        x = add_and_normalize(x, y, f"feed_forward_{block}")

    lstm = layers.LSTM(lstm_units, return_sequences=True, kernel_initializer="he_normal", kernel_regularizer=penalty(), dropout=dropout)
    x = layers.Bidirectional(lstm, name="bilstm")(x)
    x = layers.Dropout(dropout, name="bilstm_dropout")(x)
    x = layers.Flatten(name="flatten")(x)
    for number in (1, 2):
        x = dense(dense_units, f"dense_{number}")(x)
        x = layers.Dropout(dropout, name=f"dense_{number}_dropout")(x)
    return keras.Model(tokens, dense(outputs, "expression", activation=None)(x), name="vaishnav_transformer")


PRESETS = {
    "paper": {
        "strand_filters": 256,
        "filters": 128,
        "kernel_size": 30,
        "convolutions": 2,
        "attention_blocks": 2,
        "attention_heads": 8,
        "attention_dropout": 0.2,
        "feed_forward_units": 8,
        "lstm_units": 8,
        "dense_units": 128,
        "dropout": 0.2,
        "norm_momentum": 0.99,
        "l2": 1e-4,
    },
    "small": {
        "strand_filters": 96,
        "filters": 48,
        "kernel_size": 20,
        "convolutions": 1,
        "attention_blocks": 2,
        "attention_heads": 4,
        "attention_dropout": 0.1,
        "feed_forward_units": 8,
        "lstm_units": 8,
        "dense_units": 64,
        "dropout": 0.1,
        "norm_momentum": 0.9,
        "l2": 1e-5,
    },
}
