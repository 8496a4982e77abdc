"""Grouped convolutions, dense layers over positions and sums over bins that are faster for JAX on a CPU.

XLA's CPU compiler fuses what a sum over bins reads into the loop of the sum, which it does not vectorise: of the prediction with `compact`,
more than half was the sigmoid in that loop. Added up slice by slice, it is vectorised; the values are the same.

Two optimisations of the compiler make the standard gradients slow. First, XLA fuses products into sums over a batch and evaluates
these sums element by element instead of as a matrix product. Second, it fuses a sum of products into every operation that uses it and
computes the sum once per use: the gradient that reaches a dense layer through a normalisation or an activation is recomputed for each
column of the transposed copy needed for the kernel gradient. The custom gradients avoid both. Saved models contain the standard layers:
`faster` returns the same network with the same variables and substituted layers.
"""

import re
from typing import Any

import keras
from keras import layers, ops

from gpraflow.models.layers import blocks, scanning

_SPAN = 50  # positions over which products with a gradient are summed in one fused operation
_BINS = re.compile(re.escape(scanning.BINS).replace(r"\{\}", r"(\d+)"))
_NAME = re.compile(re.escape(blocks.GROUPED).replace(r"\{\}", "(.+)", 1).replace(r"\{\}", r"(\d+)"))


def faster(model: keras.Model) -> keras.Model:
    """Return the same network and variables, with layers that train and predict faster on a CPU.

    Parameters
    ----------
    model
        Any functional model. It is returned unchanged if neither it nor a nested model has a `blocks.grouped_convolution`, a
        `scanning.bins` or a dense layer over positions, if the backend is TensorFlow, or if JAX runs on a device other than a CPU.

    Raises
    ------
    RuntimeError
        If the order of variables differs, so that the two networks could not exchange weights.
    """
    if keras.backend.backend() != "jax" or not _is_slow(model):
        return model
    import jax

    if jax.default_backend() != "cpu":
        return model
    inner: dict[int, Any] = {}  # a layer that is called twice gets one substitute

    def stand_in(layer: Any) -> Any:
        if not isinstance(layer, keras.Model):
            return _Dense(layer, name=layer.name)
        if match := _BINS.fullmatch(layer.name):
            return _Bins(int(match[1]), name=layer.name)
        return _Grouped(layer, name=layer.name) if _NAME.fullmatch(layer.name) else faster(layer)

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        if not _is_slow(layer):
            return layer(*args, **options)
        if id(layer) not in inner:
            inner[id(layer)] = stand_in(layer)
        return inner[id(layer)](*args)

    same = keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)
    for kind in ("trainable_variables", "non_trainable_variables"):
        if list(map(id, getattr(same, kind))) != list(map(id, getattr(model, kind))):
            raise RuntimeError(f"{model.name}: {kind} differ in order after substituting layers")
    return same


def _is_slow(layer: Any) -> bool:
    """Return whether `faster` substitutes this layer, or a layer of this model."""
    if isinstance(layer, keras.Model):
        return bool(_NAME.fullmatch(layer.name) or _BINS.fullmatch(layer.name)) or any(map(_is_slow, layer.layers))
    return type(layer) is layers.Dense and len(layer.output.shape) == 3


class _Dense(layers.Layer):
    """Substitute for a dense layer over positions, with its weights."""

    def __init__(self, dense: Any, name: str):
        super().__init__(name=name, dtype=dense.dtype_policy)
        self.dense = dense
        self.built = True

    def call(self, x: Any) -> Any:
        """Return ``(batch, length, units)``."""
        product = _dense(x, ops.cast(self.dense.kernel, x.dtype))
        if self.dense.use_bias:
            product = product + ops.cast(self.dense.bias, product.dtype)
        return self.dense.activation(product)

    def compute_output_shape(self, shape: Any) -> Any:
        """Return the output shape."""
        return (*shape[:-1], self.dense.units)


@ops.custom_gradient
def _dense(x: Any, kernel: Any) -> Any:
    """Multiply ``(batch, length, channels)`` with ``(channels, units)``."""

    def gradient(*args: Any, upstream: Any = None) -> Any:
        upstream_gradient = args[0] if upstream is None else upstream
        return ops.matmul(upstream_gradient, ops.transpose(kernel)), _once(lambda: (of_kernel(upstream_gradient),), kernel)[0]

    def of_kernel(upstream_gradient: Any) -> Any:
        channels, units = kernel.shape
        rows, columns = ops.reshape(upstream_gradient, (-1, units)), ops.reshape(x, (-1, channels))
        return ops.transpose(ops.matmul(ops.transpose(rows), columns))  # XLA uses a matrix product for this operand order only

    return ops.matmul(x, kernel), gradient


class _Bins(layers.Layer):
    """Substitute for a model made by `scanning.bins`."""

    def __init__(self, width: int, name: str):
        super().__init__(name=name, autocast=False)  # as the operations of the nested model
        self.width = width
        self.built = True

    def call(self, x: Any) -> Any:
        """Return ``(batch, bins, channels)``."""
        length, width = x.shape[1], self.width

        @ops.custom_gradient
        def sums(x: Any) -> Any:
            def gradient(*args: Any, upstream: Any = None) -> Any:
                return ops.repeat(args[0] if upstream is None else upstream, width, axis=1)[:, :length]

            parts = scanning.in_bins(x, width)
            return sum((parts[:, :, place] for place in range(1, width)), parts[:, :, 0]), gradient

        return sums(x)

    def compute_output_shape(self, shape: Any) -> Any:
        """Return the output shape."""
        return (shape[0], -(-shape[1] // self.width), shape[2])


class _Grouped(layers.Layer):
    """Substitute for a model made by `blocks.grouped_convolution`, with its weights."""

    def __init__(self, model: keras.Model, name: str):
        (embedding,) = (layer for layer in model.layers if isinstance(layer, layers.Embedding))
        super().__init__(name=name, dtype=embedding.dtype_policy)
        match = _NAME.fullmatch(name)
        assert match
        self.embedding, self.kernel_size, self.filters_per_group = embedding, int(match[2]), int(match[3])
        self.built = True

    def call(self, x: Any) -> Any:
        """Return the convolution, ``(batch, length, channels)``."""
        kernel = ops.cast(self.embedding.embeddings, x.dtype)
        return _convolution(x, blocks.by_output(kernel, self.kernel_size, self.filters_per_group))

    def compute_output_shape(self, shape: Any) -> Any:
        """Return the input shape, which is the output shape."""
        return shape


@ops.custom_gradient
def _convolution(x: Any, kernel: Any) -> Any:
    """Convolve ``(batch, length, channels)`` with ``(filters_per_group, kernel_size, filters_per_group, groups)``."""

    def gradient(*args: Any, upstream: Any = None) -> Any:
        upstream_gradient = args[0] if upstream is None else upstream
        flipped = ops.transpose(ops.flip(kernel, axis=1), (2, 1, 0, 3))
        return _once(
            lambda: (_products(upstream_gradient, flipped, backwards=True), _kernel_gradient(x, upstream_gradient, kernel.shape)), x, kernel
        )

    return _once(lambda: (_products(x, kernel),), x)[0], gradient


def _once(compute: Any, *like: Any) -> Any:
    """Return the results of ``compute``, with the shapes of ``like``, computed in a loop, which XLA does not fuse with later operations.

    The loop has a single iteration, but XLA must not know this, or it would remove the loop. The number of iterations therefore depends on
    the data: it is 2 if the first element is NaN, and the second iteration repeats the same computation.
    """
    turns = 1 + ops.cast(ops.isnan(ops.reshape(like[-1], (-1,))[0]), "int32")
    return ops.fori_loop(0, turns, lambda _, before: compute(), tuple(ops.zeros_like(each) for each in like))


def _padded(x: Any, kernel_size: int, filters_per_group: int, backwards: bool = False) -> Any:
    """Return ``(batch, length + kernel_size - 1, filters_per_group, groups)``."""
    before = (kernel_size - 1) // 2
    if backwards:
        before = kernel_size - 1 - before
    length, channels = x.shape[1:]
    padded = ops.pad(x, ((0, 0), (before, kernel_size - 1 - before), (0, 0)))
    return ops.reshape(padded, (-1, length + kernel_size - 1, filters_per_group, channels // filters_per_group))


def _products(x: Any, kernel: Any, backwards: bool = False) -> Any:
    """Return the sum of products of the kernel with shifted copies of ``x``."""
    inputs, kernel_size = kernel.shape[:2]
    length, channels = x.shape[1:]
    padded, kernel = (ops.cast(each, "float32") for each in (_padded(x, kernel_size, inputs, backwards), kernel))
    total = 0.0
    for shift in range(kernel_size):
        for one in range(inputs):
            total = total + padded[:, shift : shift + length, one, None] * kernel[one, shift]
    return ops.cast(ops.reshape(total, (-1, length, channels)), x.dtype)


def _kernel_gradient(x: Any, upstream: Any, shape: Any) -> Any:
    """Return the kernel gradient: products summed over spans of positions for each promoter, then over the batch."""
    inputs, kernel_size, outputs, groups = shape
    length = x.shape[1]
    padded = ops.cast(_padded(x, kernel_size, inputs), "float32")
    upstream = ops.reshape(ops.cast(upstream, "float32"), (-1, length, outputs, groups))
    pieces = []
    for begin in range(0, length, _SPAN):
        piece = 0.0
        for position in range(begin, min(begin + _SPAN, length)):
            piece = piece + padded[:, position : position + kernel_size, :, None] * upstream[:, position, None, None]
        pieces.append(piece)
    summed = ops.sum(sum(pieces[1:], pieces[0]), axis=0)  # (kernel_size, inputs, outputs, groups)
    return ops.cast(ops.transpose(summed, (1, 0, 2, 3)), x.dtype)
