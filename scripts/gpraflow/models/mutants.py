"""Predictions of all single mutants of promoters, by recomputing only what a mutation changes.

In `compact`, a mutation changes the windows of the scan that contain it, their bins, and with each convolution a few bins more. Layers
between the non-linear functions are linear, so that only changes of their inputs pass through them. fastISM (Nair et al. 2022,
doi:10.1093/bioinformatics/btac135) does the same for convolutions over positions.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from gpraflow.models.layers import blocks
from gpraflow.sequences.scaffold import BASES, PADDING

_ROWS = 32  # promoters per block: scores of all windows and motifs of a block stay in the CPU cache

Mutants = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def outputs_of_mutants(model: Any, architecture: str, bin_width: Any) -> Mutants | None:
    """Return a function that predicts all single mutants of promoters at some positions; None for models without such a function.

    Only `compact` in float32 on JAX has one.

    Parameters
    ----------
    model
        Serving model, which maps ``(batch, length)`` tokens to expression (`training.network.serving`).
    architecture
        Name of the architecture.
    bin_width
        Its size of that name; None if it has none.

    Returns
    -------
    callable or None
        Maps ``(promoters, length)`` tokens, ``(positions,)`` positions and ``(promoters, positions, 3)`` new bases to the model's outputs
        for each mutant, ``(promoters, positions, 3, outputs)`` float32; NaN where the promoter has N.
    """
    if architecture != "compact" or keras.backend.backend() != "jax" or not isinstance(bin_width, int):
        return None
    calls: list[tuple[Any, bool, Any]] = []  # network, whether it reads the reverse complement, raw outputs
    tokens = keras.Input(model.input_shape[1:], dtype="int32", name="tokens")

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        found = layer(*args, **options)
        if isinstance(layer, keras.Model):
            calls.append((layer, args[0] is not tokens, found))
        return found

    cloned = keras.models.clone_model(model, input_tensors=tokens, clone_function=lambda layer: layer, call_function=call)
    if not calls or any(layer.compute_dtype != "float32" for core, _, _ in calls for layer in core.layers if layer.weights):
        return None
    head = keras.Model([raw for _, _, raw in calls], cloned.outputs)  # from raw outputs to expression
    networks = {id(core): _Network(core, bin_width) for core, _, _ in calls}
    return _with_jax([(networks[id(core)], reverse) for core, reverse, _ in calls], head)


class _Network:
    """A `compact` network: weights, and activations of unchanged promoters."""

    def __init__(self, core: Any, bin_width: int):
        def of(name: str) -> list[np.ndarray]:
            return [np.asarray(each) for each in core.get_layer(name).get_weights()]

        def norm(name: str) -> tuple[np.ndarray, np.ndarray]:
            return blocks.factor_and_shift(core.get_layer(name))

        scan, self.concentration = of("motifs")
        self.bin_width, self.width = bin_width, len(scan) // BASES
        kernel = scan.reshape(self.width, BASES, -1)
        # Scores that a base adds to the windows that contain it, first to last, on both strands: (2, bases, windows, motifs)
        self.added = np.stack([kernel[::-1].transpose(1, 0, 2), kernel[:, ::-1].transpose(1, 0, 2)])
        self.scan = scan
        parts = ["mix", *(f"residual_{block}" for block in range(1, sum(isinstance(layer, layers.Add) for layer in core.layers) + 1))]
        self.kernels = [of(f"{part}_conv1d")[0] for part in parts]
        self.kernels[0] = self.kernels[0] * norm("occupancy_norm")[0][:, None] / bin_width
        self.norms = [norm(f"{part}_norm") for part in parts]
        self.narrow = of("narrow_dense")[0]
        self.dense = of("dense")[0].reshape(-1, self.narrow.shape[1], of("dense")[0].shape[1])
        self.dense_norm, self.output = norm("dense_norm"), of("expression")
        self.activations = _with_outputs_of(core, [*(f"{part}_conv1d" for part in parts), "dense"])

    def unchanged(self, tokens: Any) -> tuple[Any, list[Any], Any]:
        """Return the scores of all windows, ``(2, promoters, length, motifs)``, inputs of the normalisations, and those of the last."""
        length, left = tokens.shape[1], (self.width - 1) // 2
        bases = ops.pad(ops.one_hot(tokens, BASES), ((0, 0), (left, self.width - 1 - left), (0, 0)))
        forward = ops.concatenate([bases[:, start : start + length] for start in range(self.width)], axis=-1)
        scores = [ops.matmul(strand, self.scan) + self.concentration for strand in (forward, ops.flip(forward, axis=-1))]
        *inner, last = self.activations(tokens, training=False)
        return ops.stack(scores), inner, last

    def changed(self, tokens: Any, known: tuple[Any, list[Any], Any], position: Any, bases: Any) -> Any:
        """Return raw outputs with new ``(promoters, 3)`` bases at one position, ``(promoters, 3, outputs)``."""
        scores, inner, last = known
        promoters, length = tokens.shape
        mutants, width = bases.shape[1], self.width
        first = position + (width - 1) // 2 - (width - 1)  # first window that contains the position
        here = ops.slice(_padded(scores, 2, width - 1), (0, 0, first + width - 1, 0), (2, promoters, width, scores.shape[3]))
        own = ops.slice(tokens, (0, position), (promoters, 1))
        added = ops.take(self.added, bases, axis=1) - ops.take(self.added, own, axis=1)  # (2, promoters, mutants, windows, motifs)
        changes = ops.sigmoid(here[:, :, None] + added) - ops.sigmoid(here)[:, :, None]
        windows = first + ops.arange(width)
        start = ops.floor_divide(first, self.bin_width)
        bins = (self.bin_width - 1 + width - 1) // self.bin_width + 1
        of_bin = ops.equal(ops.floor_divide(windows, self.bin_width) - start, ops.arange(bins)[:, None])
        of_bin = ops.cast(of_bin & (windows >= 0) & (windows < length), "float32")  # (bins, windows)
        change = ops.concatenate([ops.matmul(of_bin, strand) for strand in (changes[0], changes[1])], axis=-1)
        change = ops.reshape(change, (promoters * mutants, bins, -1))
        total = inner[0].shape[1]
        skip = None
        for kernel, (factor, shift), before in zip(self.kernels, self.norms, inner, strict=True):
            size, _, channels = kernel.shape
            after = size - 1 - (size - 1) // 2  # bins added before the changed ones
            each = ops.matmul(change, kernel.transpose(1, 0, 2).reshape(kernel.shape[1], -1))
            each = ops.reshape(each, (promoters, mutants, bins, size, channels))
            linear = sum(ops.pad(each[:, :, :, tap], ((0, 0), (0, 0), (size - 1 - tap, tap), (0, 0))) for tap in range(size))
            start, bins = start - after, bins + size - 1
            before = ops.slice(_padded(before, 1, bins), (0, start + bins, 0), (promoters, bins, channels))[:, None]
            change = _gelu((before + linear) * factor + shift) - _gelu(before * factor + shift)
            places = start + ops.arange(bins)
            change = change * ops.cast((places >= 0) & (places < total), "float32")[:, None]
            if skip is not None:
                change = change + ops.pad(skip, ((0, 0), (0, 0), (after, size - 1 - after), (0, 0)))
            skip = change
            change = ops.reshape(change, (promoters * mutants, bins, channels))
        dense = ops.slice(_padded(self.dense, 0, bins), (start + bins, 0, 0), (bins, *self.dense.shape[1:]))
        narrow = ops.reshape(ops.matmul(change, self.narrow), (promoters, mutants, -1))
        units = last[:, None] + ops.matmul(narrow, ops.reshape(dense, (narrow.shape[2], -1)))
        kernel, bias = self.output
        return ops.matmul(_gelu(units * self.dense_norm[0] + self.dense_norm[1]), kernel) + bias


def _with_outputs_of(core: Any, names: Sequence[str]) -> Any:
    """Return a model with the outputs of these layers; they may also belong to other models, so that ``layer.output`` is not unique."""
    tokens = keras.Input(core.input_shape[1:], dtype="int32", name="tokens")
    found = {}

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        found[layer.name] = layer(*args, **options)
        return found[layer.name]

    inputs = [tokens] if isinstance(core.input, list) else tokens
    keras.models.clone_model(core, input_tensors=inputs, clone_function=lambda layer: layer, call_function=call)
    return keras.Model(tokens, [found[name] for name in names])


def _gelu(x: Any) -> Any:
    return ops.gelu(x, approximate=False)


def _padded(values: Any, axis: int, number: int) -> Any:
    """Return values with ``number`` zeros on either side of an axis."""
    return ops.pad(values, [(number, number) if at == axis else (0, 0) for at in range(len(values.shape))])


def _with_jax(networks: Sequence[tuple[_Network, bool]], head: Any) -> Mutants:
    import jax

    def turned(tokens: Any, reverse: bool) -> Any:
        return ops.flip(ops.where(tokens < PADDING, PADDING - 1 - tokens, tokens), axis=1) if reverse else tokens

    unchanged = jax.jit(lambda tokens: [network.unchanged(turned(tokens, reverse)) for network, reverse in networks])

    @jax.jit
    def changed(tokens: Any, known: Any, position: Any, bases: Any) -> Any:
        raw = [
            network.changed(
                turned(tokens, reverse),
                of,
                tokens.shape[1] - 1 - position if reverse else position,
                BASES - 1 - bases if reverse else bases,
            )
            for (network, reverse), of in zip(networks, known, strict=True)
        ]
        promoters, mutants = bases.shape
        found = head([ops.reshape(each, (promoters * mutants, -1)) for each in raw], training=False)
        return ops.reshape(found, (promoters, mutants, -1))

    def outputs(tokens: np.ndarray, positions: np.ndarray, bases: np.ndarray) -> np.ndarray:
        found = []
        for begin in range(0, len(tokens), _ROWS):
            rows = np.arange(begin, begin + _ROWS) % len(tokens)  # constant shape, so that it is compiled once
            some, new = tokens[rows].astype(np.int32), bases[rows].astype(np.int32)
            known = unchanged(some)
            each = [changed(some, known, np.int32(position), new[:, index]) for index, position in enumerate(positions)]
            found.append(np.stack([np.asarray(one) for one in each], axis=1)[: len(tokens) - begin])
        return np.concatenate(found)

    return outputs
