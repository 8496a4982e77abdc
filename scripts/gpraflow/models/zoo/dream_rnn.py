"""DREAM-RNN: the recurrent model optimised after the DREAM challenge.

Source: A. M. Rafi et al. 2024, doi:10.1038/s41587-024-02414-w; sizes from github.com/de-Boer-Lab/random-promoter-dream-challenge-2022,
combination 0_1_1_0: data and head of Autosome.org, first block and core of BHI.

4,130,578 trainable parameters with 150 bp and 18 outputs, as published. docs/models.md says what differs from the original.
"""

from collections.abc import Sequence

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
    first_filters: int,
    first_kernel_sizes: Sequence[int],
    first_dropout: float,
    lstm_units: int,
    core_filters: int,
    core_kernel_sizes: Sequence[int],
    core_convolution_dropout: float,
    core_dropout: float,
) -> keras.Model:
    """Build the model; every size is an argument.

    Parameters
    ----------
    length
        Promoter window in bp; the input ``tokens`` is ``(batch, length)`` A0 C1 G2 T3 N4, always of the forward strand.
    outputs
        Numbers put out: 1 for expression, or logits of so many bins.
    upstream
        Plasmid before the promoter, 5' to 3'.
    window
        Width that the model sees in bp: the promoter and the plasmid before it.
    first_filters, first_kernel_sizes, first_dropout
        Filters of the first block, shared out among convolutions of these widths in bp, and its dropout rate.
    lstm_units
        Of the bidirectional LSTM, in each direction.
    core_filters, core_kernel_sizes, core_convolution_dropout
        The same kind of block as the first, behind the LSTM.
    core_dropout
        Dropout rate before the head.

    Returns
    -------
    keras.Model
        Maps ``tokens``, ``singleton`` and ``reverse``, both ``(batch, 1)`` of 0 or 1, to ``(batch, outputs)`` raw numbers.

    Raises
    ------
    ValueError
        If ``window`` is shorter than ``length`` or filters cannot be shared out among the kernel sizes.
    """
    inputs = blocks.promoter_inputs(length)
    x = blocks.promoter_channels(inputs, length, window, upstream)
    x = blocks.parallel_convolutions(x, first_filters, first_kernel_sizes, first_dropout, "first")
    x = two_bias_lstm(x, lstm_units, "bilstm")
    x = blocks.parallel_convolutions(x, core_filters, core_kernel_sizes, core_convolution_dropout, "core")
    x = layers.Dropout(core_dropout, name="core_dropout")(x)
    return keras.Model(inputs, blocks.mean_and_dense(x, outputs), name="dream_rnn")


def two_bias_lstm(x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
    """Return ``(batch, length, 2 * units)`` of PyTorch's bidirectional LSTM, which has two biases for each gate.

    Keras's LSTM has one. A channel that is 1 everywhere adds one row to the input kernel, and that row is the other bias: the same sums,
    the same number of parameters, and the same training of both (tested).
    """

    def uniform():
        return keras.initializers.RandomUniform(-(units**-0.5), units**-0.5)

    x = ops.pad(x, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    lstm = layers.LSTM(
        units,
        return_sequences=True,
        unit_forget_bias=False,
        kernel_initializer=uniform(),
        recurrent_initializer=uniform(),
        bias_initializer=uniform(),
    )
    return layers.Bidirectional(lstm, name=name)(x)


PRESETS = {
    "paper": {
        "window": 150,
        "first_filters": 320,
        "first_kernel_sizes": [9, 15],
        "first_dropout": 0.2,
        "lstm_units": 320,
        "core_filters": 320,
        "core_kernel_sizes": [9, 15],
        "core_convolution_dropout": 0.2,
        "core_dropout": 0.5,
    },
    "small": {
        "window": 150,
        "first_filters": 96,
        "first_kernel_sizes": [9, 15],
        "first_dropout": 0.2,
        "lstm_units": 96,
        "core_filters": 96,
        "core_kernel_sizes": [9, 15],
        "core_convolution_dropout": 0.2,
        "core_dropout": 0.5,
    },
}
