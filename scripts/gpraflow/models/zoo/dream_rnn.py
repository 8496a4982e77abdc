"""DREAM-RNN: the recurrent model optimised after the DREAM challenge.

Source: A. M. Rafi et al. 2024, doi:10.1038/s41587-024-02414-w; sizes from github.com/de-Boer-Lab/random-promoter-dream-challenge-2022,
combination 0_1_1_0: data processing and head by Autosome.org, first block and core by BHI.

4,130,578 trainable parameters for 150 bp and 18 outputs, as published. docs/models.md lists the differences from the original.
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
    lstm_units
        Units of the bidirectional LSTM in each direction.
    core_filters, core_kernel_sizes, core_convolution_dropout
        Block after the LSTM, with the same parameters as the first block.
    core_dropout
        Dropout rate before the head.

    Returns
    -------
    keras.Model
        Maps ``tokens``, ``singleton`` and ``reverse`` (the last two ``(batch, 1)``, 0 or 1) to ``(batch, outputs)`` raw outputs.

    Raises
    ------
    ValueError
        If ``window`` is shorter than ``length``, or filters are not divisible by the number of kernel sizes.
    """
    inputs = blocks.promoter_inputs(length)
    x = blocks.promoter_channels(inputs, length, window, upstream)
    x = blocks.parallel_convolutions(x, first_filters, first_kernel_sizes, first_dropout, "first")
    x = two_bias_lstm(x, lstm_units, "bilstm")
    x = blocks.parallel_convolutions(x, core_filters, core_kernel_sizes, core_convolution_dropout, "core")
    x = layers.Dropout(core_dropout, name="core_dropout")(x)
    return keras.Model(inputs, blocks.mean_and_dense(x, outputs), name="dream_rnn")


def two_bias_lstm(x: keras.KerasTensor, units: int, name: str) -> keras.KerasTensor:
    """Return the ``(batch, length, 2 * units)`` output of a bidirectional LSTM with two biases per gate, as in PyTorch.

    Keras's LSTM has one bias. A constant input channel of 1 adds a row to the input kernel, which acts as the second bias. Outputs, number
    of parameters and training are the same as in PyTorch (tested).
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
