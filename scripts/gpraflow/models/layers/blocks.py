"""Blocks shared by the published architectures: plasmid context, six input channels, convolutions and heads.

All blocks are functions of tensors, built from standard Keras layers and ``keras.ops``, so that saved models load without this code.

Orientation: tokens are always on the forward strand, padded with N on the left. Where the input ``reverse`` is 1, the model itself
reverse-complements the whole window, including the plasmid. The models of Autosome.org and DREAM do the same: they extend the promoter
first, then reverse-complement all 150 bp. Tokens must therefore not be reverse-complemented beforehand (config key
``training.rc_augmentation``), because promoters would be reverse-complemented twice.
"""

from collections.abc import Sequence

import keras
import numpy as np
from keras import layers, ops

from gpraflow.models import backend
from gpraflow.sequences.scaffold import ALPHABET, BASES, PADDING

_TILE = 15  # positions of a grouped convolution computed in one matrix product
GROUPED = "{}_of_{}_bp_and_{}_filters"  # name of the nested model of a grouped convolution


def torch_uniform() -> keras.initializers.Initializer:
    """Return PyTorch's initialiser for linear and convolution kernels: uniform within +-1 / sqrt(fan in)."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def uniform_of_deviation(deviation: float) -> keras.initializers.Initializer:
    """Return a uniform initialiser with mean 0 and this standard deviation.

    It replaces the normal initialisers of the original models: JAX compiles normal sampling for each shape, which takes up to a second.
    """
    return keras.initializers.RandomUniform(-deviation * 3**0.5, deviation * 3**0.5)


def plasmid_context(tokens: keras.KerasTensor, length: int, window: int, upstream: str) -> keras.KerasTensor:
    """Extend promoters on the left to ``window`` bp with plasmid sequence.

    Leading N are padding. They, and the positions added before them, are replaced by the plasmid sequence that ends directly before the
    first base of the promoter. N remains where ``upstream`` is too short. N after the first base is part of the promoter and is kept.

    Parameters
    ----------
    tokens
        ``(batch, length)`` tokens A0 C1 G2 T3 N4.
    length, window
        Width of the promoter window and of the extended window, in bp.
    upstream
        Plasmid sequence upstream of the 5' flank, 5' to 3' on the strand of the reporter gene.

    Returns
    -------
    keras.KerasTensor
        ``(batch, window)`` tokens.

    Raises
    ------
    ValueError
        If ``window`` is shorter than ``length``.
    """
    if window < length:
        raise ValueError(f"window ({window} bp) is shorter than the promoter window ({length} bp)")
    nearest_first = [ALPHABET.index(base) for base in upstream[::-1]][:window]
    plasmid = np.array(nearest_first + [PADDING] * (window - len(nearest_first)), "int32")
    before_first_base = ops.equal(ops.cumsum(ops.cast(ops.not_equal(tokens, PADDING), "int32"), axis=1), 0)
    first_base = window - length + ops.sum(ops.cast(before_first_base, "int32"), axis=1, keepdims=True)
    distance = first_base - np.arange(window, dtype="int32")  # 1: the plasmid base next to the promoter
    context = ops.take(plasmid, ops.clip(distance - 1, 0, window - 1))
    extended = ops.pad(ops.cast(tokens, "int32"), ((0, 0), (window - length, 0)), constant_values=PADDING)
    return ops.where(distance > 0, context, extended)


def one_hot(tokens: keras.KerasTensor) -> keras.KerasTensor:
    """Return the one-hot encoding of ``(batch, length)`` tokens, ``(batch, length, 4)`` channels A, C, G, T; N is 0000."""
    return ops.one_hot(tokens, BASES)  # tokens of 4 and above become 0000


def reverse_complement(channels: keras.KerasTensor) -> keras.KerasTensor:
    """Return the reverse complement of ``(batch, length, 4)`` one-hot channels."""
    return ops.flip(channels, axis=(1, 2))  # channels A, C, G, T: reversing them complements the bases


def promoter_inputs(length: int) -> list[keras.KerasTensor]:
    """Return the inputs ``tokens``, ``singleton`` and ``reverse`` of models with six input channels."""
    return [keras.Input((length,), dtype="int32", name="tokens"), keras.Input((1,), name="singleton"), keras.Input((1,), name="reverse")]


def promoter_channels(inputs: Sequence[keras.KerasTensor], length: int, window: int, upstream: str) -> keras.KerasTensor:
    """Return ``(batch, window, 6)`` channels A, C, G, T, singleton, reverse from `promoter_inputs`; orientation: see the module."""
    tokens, singleton, reverse = inputs
    forward = one_hot(plasmid_context(tokens, length, window, upstream))
    strand = ops.where(reverse[:, :, None] > 0.5, reverse_complement(forward), forward)
    constant = [layers.RepeatVector(window, name=f"{name}_channel")(x) for name, x in (("singleton", singleton), ("reverse", reverse))]
    return layers.Concatenate(axis=-1, name="channels")([strand, *constant])


def learned_rows(
    x: keras.KerasTensor, rows: int, columns: int, initializer: keras.initializers.Initializer, name: str
) -> keras.KerasTensor:
    """Return ``(1, rows, columns)`` trainable weights as a Keras tensor.

    Implemented as an embedding of the integers 0 to ``rows - 1``. ``x``, ``(batch, length, channels)`` with ``length >= rows``, only
    connects the weights to the model's graph: a constant would not be saved with the model.
    """
    numbers = ops.cumsum(ops.ones_like(x[:1, :rows, 0], dtype="int32"), axis=1) - 1
    return layers.Embedding(rows, columns, embeddings_initializer=initializer, name=name)(numbers)


def grouped_convolution(
    x: keras.KerasTensor, kernel_size: int, filters_per_group: int, initializer: keras.initializers.Initializer, name: str
) -> keras.KerasTensor:
    """Apply a grouped convolution without bias; each group has as many filters as input channels.

    Equivalent to ``Conv1D(channels, kernel_size, groups=channels / filters_per_group)``, except that group ``g`` has the channels
    ``g + i * groups`` instead of ``g * filters_per_group + i`` (tested). It is computed as one matrix product per group, of tiles of
    positions with banded kernels, because XLA is slow at grouped convolutions and their gradients on a CPU
    (benchmarks/grouped_convolution.py). It is a nested model whose name contains its sizes, by which `cpu.faster` recognises it.

    Parameters
    ----------
    x
        ``(batch, length, channels)``.
    kernel_size
        Kernel size in bp, at most ``length``.
    filters_per_group
        Filters per group, a divisor of ``channels``; 1 for a depthwise convolution.

    Returns
    -------
    keras.KerasTensor
        ``(batch, length, channels)``.

    Raises
    ------
    ValueError
        If the sizes are incompatible.
    """
    length, channels = x.shape[1:]
    if channels % filters_per_group:
        raise ValueError(f"{channels} channels cannot be divided into groups of filters_per_group ({filters_per_group})")
    if kernel_size * filters_per_group > length:
        raise ValueError(f"kernel_size ({kernel_size}) times filters_per_group ({filters_per_group}) is more than the window ({length} bp)")
    inputs = keras.Input((length, channels))
    kernel = learned_rows(inputs, kernel_size * filters_per_group, channels, initializer, name)
    groups, tile = channels // filters_per_group, min(length, max(_TILE, kernel_size))
    width, tiles = tile + kernel_size - 1, -(-length // tile)
    # Banded matrix: each row is the kernel, shifted by one position, and zeros.
    rows = by_output(kernel, kernel_size, filters_per_group)
    rows = ops.tile(ops.pad(rows, ((0, 0), (0, tile), (0, 0), (0, 0))), (1, tile, 1, 1))[:, : tile * width]
    bands = ops.reshape(rows, (filters_per_group, tile, width, filters_per_group, groups))
    before = (kernel_size - 1) // 2
    padded = ops.pad(inputs, ((0, 0), (before, tiles * tile + kernel_size - 1 - before - length), (0, 0)))
    windows = ops.reshape(padded[:, : tiles * tile], (-1, tiles, tile, channels))
    if kernel_size > 1:  # the first positions of the next tile
        last = ops.expand_dims(padded[:, tiles * tile :], 1)
        windows = ops.concatenate([windows, ops.concatenate([windows[:, 1:, : kernel_size - 1], last], axis=1)], axis=2)
    windows = ops.reshape(windows, (-1, tiles, width, filters_per_group, groups))
    outputs = ops.einsum("btpjg,jqpig->btqig", windows, bands)
    outputs = ops.reshape(outputs, (-1, tiles * tile, channels))[:, :length]
    return keras.Model(inputs, outputs, name=GROUPED.format(name, kernel_size, filters_per_group))(x)


def by_output(kernel: keras.KerasTensor, kernel_size: int, filters_per_group: int) -> keras.KerasTensor:
    """Return the weights of `grouped_convolution` with axes input within the group, position, output and group."""
    rows = ops.reshape(kernel, (filters_per_group, kernel_size, filters_per_group, -1))
    return ops.stack([ops.roll(rows[:, :, output], output, axis=0) for output in range(filters_per_group)], axis=2)


def convolution_norm_silu(x: keras.KerasTensor, filters: int, kernel_size: int, norm_momentum: float, name: str) -> keras.KerasTensor:
    """Convolution without bias, batch normalisation, SiLU: LegNet's local block.

    A kernel of 1 bp is computed as an equivalent dense layer, because XLA computes the kernel gradient of a convolution as another
    convolution, for which it transposes all inputs.
    """
    initializer = uniform_of_deviation((2 / (kernel_size * filters)) ** 0.5)
    if kernel_size == 1:
        x = layers.Dense(filters, use_bias=False, kernel_initializer=initializer, name=f"{name}_dense")(x)
    else:
        x = layers.Conv1D(filters, kernel_size, padding="same", use_bias=False, kernel_initializer=initializer, name=f"{name}_conv1d")(x)
    return norm_silu(x, norm_momentum, name)


def factor_and_shift(norm: keras.layers.BatchNormalization, kind: str = "float32") -> tuple[np.ndarray, np.ndarray]:
    """Return what a trained batch normalisation multiplies each channel by in predictions, and then adds, ``(channels,)`` each."""
    gamma, beta, mean, variance = (np.asarray(value, kind) for value in norm.get_weights())
    factor = gamma / np.sqrt(variance + norm.epsilon)
    return factor, beta - mean * factor


def batch_normalization(momentum: float, name: str, epsilon: float = 1e-3) -> keras.layers.BatchNormalization:
    """Return a batch normalisation over the whole batch, also where TensorFlow distributes it over devices (`backend.replicas`)."""
    return layers.BatchNormalization(momentum=momentum, epsilon=epsilon, synchronized=backend.replicas() > 1, name=name)


def norm_silu(x: keras.KerasTensor, norm_momentum: float, name: str) -> keras.KerasTensor:
    """Batch normalisation with PyTorch's epsilon, then SiLU."""
    x = batch_normalization(norm_momentum, f"{name}_norm", epsilon=1e-5)(x)
    return layers.Activation("silu", name=f"{name}_silu")(x)


def squeeze_excitation(x: keras.KerasTensor, units: int, bilinear_units: int, bilinear_rank: int, name: str) -> keras.KerasTensor:
    """Squeeze and excitation: scale channels by weights computed from their mean over positions (dense layer of ``units``, sigmoid).

    With ``bilinear_units``, as in LegNet's first version: a second dense layer, plus a bilinear form of its outputs with canonical polyadic
    rank ``bilinear_rank``.
    """

    def dense(units, layer, **options):
        initializer = uniform_of_deviation(0.001)
        return layers.Dense(units, kernel_initializer=initializer, name=f"{name}_{layer}", **options)

    channels = x.shape[2]
    weight = layers.GlobalAveragePooling1D(keepdims=True, name=f"{name}_mean")(x)
    weight = dense(units, "squeeze", activation="silu")(weight)
    if bilinear_units:
        weight = dense(units, "mix")(weight)
        left, right = (layers.Dense(bilinear_rank, use_bias=False, name=f"{name}_bilinear_{side}")(weight) for side in ("left", "right"))
        pairs = layers.Multiply(name=f"{name}_bilinear_product")([left, right])
        pairs = layers.Dense(bilinear_units, name=f"{name}_bilinear")(pairs)
        weight = layers.Concatenate(name=f"{name}_bilinear_join")([weight, pairs])
        weight = layers.Activation("silu", name=f"{name}_bilinear_silu")(weight)
    weight = dense(channels, "excite", activation="sigmoid")(weight)
    return layers.Multiply(name=f"{name}_weigh")([x, weight])


def efficient_blocks(
    x: keras.KerasTensor,
    *,
    block_filters: Sequence[int],
    kernel_size: int,
    expansion: int,
    filters_per_group: int,
    squeeze_reduction: int,
    bilinear_fraction: float,
    norm_momentum: float,
) -> keras.KerasTensor:
    """Apply LegNet's blocks, the core of LegNet and DREAM-CNN.

    Each block is an inverted bottleneck as in EfficientNetV2 (1 bp expansion, grouped convolution, squeeze and excitation, 1 bp
    projection), whose output is concatenated to its input, followed by a convolution over both.

    Parameters
    ----------
    x
        ``(batch, length, channels)``.
    block_filters
        Output filters of each block.
    kernel_size
        Kernel size of grouped and full convolutions in bp.
    expansion
        Channels inside the bottleneck as a multiple of the block's filters.
    filters_per_group
        Filters per group of the grouped convolution.
    squeeze_reduction
        Input channels of the block per unit of squeeze and excitation.
    bilinear_fraction
        Number of weights of the bilinear form in squeeze and excitation, as a fraction of the full-rank form; 0 disables it.
    norm_momentum
        Momentum of the moving averages in batch normalisation.

    Returns
    -------
    keras.KerasTensor
        ``(batch, length, block_filters[-1])``.

    Raises
    ------
    ValueError
        If the sizes are incompatible.
    """
    for number, filters in enumerate(block_filters, start=1):
        name, incoming, inner = f"block_{number}", x.shape[2], filters * expansion
        squeezed = incoming // squeeze_reduction
        pairs = squeezed // 2 if bilinear_fraction else 0
        if not squeezed or (bilinear_fraction and not pairs):
            raise ValueError(f"squeeze_reduction ({squeeze_reduction}) leaves no units of the {incoming} channels before block {number}")
        rank = max(1, round(bilinear_fraction * squeezed * squeezed * pairs / (2 * squeezed + pairs)))
        skip = x
        x = convolution_norm_silu(x, inner, 1, norm_momentum, f"{name}_expand")
        initializer = uniform_of_deviation((2 / (kernel_size * inner)) ** 0.5)
        x = grouped_convolution(x, kernel_size, filters_per_group, initializer, f"{name}_grouped")
        x = norm_silu(x, norm_momentum, f"{name}_grouped")
        x = squeeze_excitation(x, squeezed, pairs, rank, f"{name}_excitation")
        x = convolution_norm_silu(x, incoming, 1, norm_momentum, f"{name}_contract")
        x = layers.Concatenate(name=f"{name}_join")([skip, x])
        x = convolution_norm_silu(x, filters, kernel_size, norm_momentum, f"{name}_resize")
    return x


def parallel_convolutions(x: keras.KerasTensor, filters: int, kernel_sizes: Sequence[int], dropout: float, name: str) -> keras.KerasTensor:
    """Concatenate convolutions of several kernel sizes, each with ReLU and dropout: BHI's block, the first in DREAM-CNN and DREAM-RNN.

    Raises
    ------
    ValueError
        If ``filters`` is not a multiple of the number of ``kernel_sizes``.
    """
    if filters % len(kernel_sizes):
        raise ValueError(f"{name}: {filters} filters cannot be divided evenly among {len(kernel_sizes)} kernel sizes")
    outputs = []
    for number, kernel_size in enumerate(kernel_sizes, start=1):
        convolution = layers.Conv1D(
            filters // len(kernel_sizes),
            kernel_size,
            padding="same",
            activation="relu",
            kernel_initializer=torch_uniform(),
            name=f"{name}_{number}_conv1d",
        )
        outputs.append(layers.Dropout(dropout, name=f"{name}_{number}_dropout")(convolution(x)))
    return layers.Concatenate(name=f"{name}_join")(outputs)


def mean_and_dense(x: keras.KerasTensor, outputs: int) -> keras.KerasTensor:
    """Return ``(batch, outputs)`` raw outputs: mean over positions, then a dense layer.

    The original applies a 1 bp convolution before the mean. Both steps are linear, so their order does not matter.
    """
    return layers.Dense(outputs, name="expression")(layers.GlobalAveragePooling1D(name="mean")(x))
