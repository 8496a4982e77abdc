"""The gradient of predicted expression with respect to one-hot promoters.

Models take integer tokens, which have no gradient. A perturbation is therefore added to the one-hot encoding inside the model, and
expression is differentiated with respect to this perturbation at 0.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from gpraflow.sequences.scaffold import BASES


def gradient_of(model: keras.Model, weights: np.ndarray) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return a function that computes the gradient of expression for tokens, or None if the model has no gradient.

    Parameters
    ----------
    model
        A serving model (`training.serving`), which maps ``(batch, length)`` tokens to expression.
    weights
        Weight of each of the model's outputs, such as 1 / members for the ensemble mean.

    Returns
    -------
    callable or None
        Maps ``(batch, length)`` tokens to ``(batch, length, 4)`` float32, see `weighted_gradient_of`.
    """
    gradient = weighted_gradient_of(model)
    if gradient is None:
        return None
    return lambda tokens: gradient(tokens, np.broadcast_to(weights, (len(tokens), len(weights))))


def weighted_gradient_of(model: keras.Model) -> Callable[[np.ndarray, np.ndarray], np.ndarray] | None:
    """Return a function that computes gradients with weights of the outputs that differ between promoters.

    Parameters
    ----------
    model
        As in `gradient_of`.

    Returns
    -------
    callable or None
        Maps ``(batch, length)`` tokens and ``(batch, outputs)`` weights to ``(batch, length, 4)`` float32: derivatives of the weighted sum
        of outputs with respect to the channels A, C, G and T, 5' to 3' on the forward strand. Derivatives also exist at N, which is
        encoded as 0000. None for models that do not one-hot encode promoters, such as the baselines.
    """
    perturbed = perturbed_model(model)
    if perturbed is None:
        return None
    differentiate = {"jax": _with_jax, "tensorflow": _with_tensorflow}[keras.backend.backend()](*perturbed)

    def gradient(tokens: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return differentiate(tokens.astype(np.int32), np.zeros((*tokens.shape, BASES), np.float32), weights.astype(np.float32))

    return gradient


def perturbed_model(model: keras.Model) -> tuple[keras.Model, "_Change"] | None:
    """Return a model with the same layers that adds a perturbation to one-hot promoters, and the perturbation, at first none.

    Its attribute ``value`` takes ``(batch, length, 4)`` on the forward strand. None for models that do not one-hot encode promoters. It
    works on each backend of Keras.
    """
    change = _Change()
    tokens = keras.Input(model.input_shape[1:], dtype="int32", name="tokens")
    cores: dict[int, Any] = {}

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(layer, keras.Model):
            return change.call(layer, *args, **options)
        if id(layer) not in cores:
            cores[id(layer)] = _clone(layer, change.call)
        return _Oriented(cores[id(layer)], change, reverse_complemented=not isinstance(args[0], list) and args[0] is not tokens)(*args)

    changed = _clone(model, call, tokens)
    return (changed, change) if change.places else None


def _clone(model: keras.Model, call: Callable[..., Any], tokens: Any = None) -> Any:
    return keras.models.clone_model(model, input_tensors=tokens, clone_function=lambda layer: layer, call_function=call)


class _Change:
    """Perturbation ``value`` added to one-hot promoters, ``(batch, length, 4)`` on the forward strand; None disables it."""

    def __init__(self) -> None:
        self.value: Any = None
        self.reverse_complemented = False  # whether the network reads the reverse complement
        self.places = 0  # number of one-hot layers to which it is added

    def call(self, layer: Any, *args: Any, **options: Any) -> Any:
        """Call a layer; a one-hot layer is replaced by `_Changed`."""
        if type(layer).__name__ == "OneHot" and layer.num_classes == BASES:
            self.places += 1
            return _Changed(layer, self)(*args, **options)
        return layer(*args, **options)

    def of(self, like: Any) -> Any:
        """Return the perturbation, oriented and padded to the shape of ``like``, or 0."""
        if self.value is None:
            return 0.0
        # Reversing both axes gives the reverse complement.
        value = ops.flip(self.value, axis=(1, 2)) if self.reverse_complemented else self.value
        plasmid = like.shape[1] - value.shape[1]  # bp of plasmid sequence before the promoter
        return ops.cast(ops.pad(value, ((0, 0), (plasmid, 0), (0, 0))), like.dtype)


class _Changed(layers.Layer):
    """One-hot encoding plus a perturbation."""

    def __init__(self, one_hot: Any, change: _Change):
        super().__init__(dtype=one_hot.dtype)
        self.one_hot, self.change, self.built = one_hot, change, True

    def call(self, tokens: Any) -> Any:
        """Return ``(batch, window, 4)`` perturbed one-hot channels."""
        encoded = self.one_hot.call(tokens)
        return encoded + self.change.of(encoded)


class _Oriented(layers.Layer):
    """A network applied to the promoter or to its reverse complement."""

    def __init__(self, core: Any, change: _Change, reverse_complemented: bool):
        super().__init__()
        self.core, self.change, self.reverse_complemented, self.built = core, change, reverse_complemented, True

    def call(self, inputs: Any) -> Any:
        """Return raw outputs."""
        self.change.reverse_complemented = self.reverse_complemented
        try:
            return self.core(inputs, training=False)
        finally:
            self.change.reverse_complemented = False

    def compute_output_shape(self, shape: Any) -> Any:
        """Return the network's output shape."""
        return self.core.compute_output_shape(shape)


def _with_jax(model: Any, change: _Change) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    import jax

    def total(value: Any, trainable: Sequence[Any], others: Sequence[Any], tokens: Any, weights: Any) -> Any:
        change.value = value
        try:
            return (model.stateless_call(trainable, others, tokens, training=False)[0].astype("float32") * weights).sum()
        finally:
            change.value = None

    gradient = jax.jit(jax.grad(total))
    groups = (model.trainable_variables, model.non_trainable_variables)

    def at(tokens: np.ndarray, zeros: np.ndarray, weights: np.ndarray) -> np.ndarray:
        state = [[variable.value for variable in group] for group in groups]  # read at each call: Keras's predict replaces the arrays
        return np.asarray(gradient(zeros, *state, tokens, weights))

    return at


def _with_tensorflow(model: Any, change: _Change) -> Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]:
    import tensorflow as tf

    @tf.function
    def gradient(value: Any, tokens: Any, weights: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(value)
            change.value = value
            try:
                total = tf.reduce_sum(tf.cast(model(tokens, training=False), tf.float32) * weights)
            finally:
                change.value = None
        return tape.gradient(total, value)

    return lambda tokens, zeros, weights: gradient(tf.constant(zeros), tf.constant(tokens), tf.constant(weights)).numpy()
