"""The transformer model of Vaishnav et al. 2022: two-strand convolutions, attention, a bidirectional LSTM.

Source: E. D. Vaishnav et al. 2022, "The evolution, evolvability and engineering of gene regulatory DNA",
doi:10.1038/s41586-022-04506-6; sizes from github.com/1edv/evolution (manuscript_code/model/tpu_model/train_model.ipynb).
docs/models.md says what differs from the original.
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
    """Build the model; every size is an argument.

    Parameters
    ----------
    length
        Promoter window in bp; the input is ``(batch, length)`` tokens A0 C1 G2 T3 N4.
    outputs
        Numbers put out: 1 for expression, or logits of so many bins.
    upstream
        Not used: this model sees the promoter alone.
    strand_filters, filters, kernel_size
        Filters of the convolution shared by the two strands, of those behind it, and the width of every kernel in bp.
    convolutions
        Further convolutions behind the one over both strands.
    attention_blocks, attention_heads, attention_dropout, feed_forward_units
        Transformer blocks, heads in each (key width = ``filters / attention_heads``), their dropout rate and the inner width of their
        feed-forward parts.
    lstm_units
        Of the bidirectional LSTM, in each direction.
    dense_units
        Width of the two dense layers of the head.
    dropout
        Rate in LSTM and head.
    norm_momentum
        Of the moving averages of batch normalisation.
    l2
        Weight penalty on every kernel.

    Returns
    -------
    keras.Model
        Maps ``(batch, length)`` integer tokens to ``(batch, outputs)`` raw numbers.

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
        x = layers.BatchNormalization(momentum=norm_momentum, name=f"{name}_norm")(x)
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
    # Padded before it is turned, so that an even kernel, which has no middle, sees the same base pairs on both strands.
    forward = ops.pad(blocks.one_hot(tokens), ((0, 0), ((kernel_size - 1) // 2, kernel_size // 2), (0, 0)))
    shared = convolve(strand_filters, "valid", "strand")
    strands = [shared(forward), ops.flip(shared(blocks.reverse_complement(forward)), axis=1)]
    strands = [norm_relu(x, f"{name}_strand") for name, x in zip(("forward", "reverse"), strands, strict=True)]

    # A Conv2D of kernel (2, k) over two rows is a Conv1D over their joined channels: as in slides.py.
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
