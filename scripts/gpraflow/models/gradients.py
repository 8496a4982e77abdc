"""The gradient of predicted expression with respect to one-hot promoters.

Models take tokens, through which no gradient passes. Here a change is added to what they make of tokens, and expression is differentiated
by that change where it is 0.
"""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from gpraflow.sequences.scaffold import BASES


def gradient_of(model: keras.Model) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return a function from tokens to the gradient of expression, or None if there is no gradient.

    Parameters
    ----------
    model
        A serving model (`training.serving`): ``(batch, length)`` tokens in, ``(batch, members)`` expression out.

    Returns
    -------
    callable or None
        From ``(batch, length)`` tokens to ``(batch, length, 4)`` float32: derivatives of the mean of the members by the promoter's channels
        A, C, G and T, 5' to 3' on its forward strand. At N, which is 0000, they are derivatives as well. None for a model that is no
        function of one-hot promoters, as the baselines are.
    """
    change = _Change()
    tokens = keras.Input(model.input_shape[1:], dtype="int32", name="tokens")
    cores: dict[int, Any] = {}

    def call(layer: Any, *args: Any, **options: Any) -> Any:
        if not isinstance(layer, keras.Model):
            return change.call(layer, *args, **options)
        if id(layer) not in cores:
            cores[id(layer)] = _clone(layer, change.call)
        return _Oriented(cores[id(layer)], change, turned=not isinstance(args[0], list) and args[0] is not tokens)(*args)

    changed = _clone(model, call, tokens)
    if not change.places:
        return None
    differentiate = {"jax": _with_jax, "tensorflow": _with_tensorflow}[keras.backend.backend()](changed, change)

    def gradient(tokens: np.ndarray) -> np.ndarray:
        return differentiate(tokens.astype(np.int32), np.zeros((*tokens.shape, BASES), np.float32))

    return gradient


def _clone(model: keras.Model, call: Callable[..., Any], tokens: Any = None) -> Any:
    return keras.models.clone_model(model, input_tensors=tokens, clone_function=lambda layer: layer, call_function=call)


class _Change:
    """What is added to one-hot promoters while it is set: ``value``, ``(batch, length, 4)``, of the forward strand."""

    def __init__(self) -> None:
        self.value: Any = None
        self.turned = False  # tokens are those of the reverse complement
        self.places = 0  # that it is added at

    def call(self, layer: Any, *args: Any, **options: Any) -> Any:
        """Call a layer, or what stands for it if it makes tokens one-hot."""
        if type(layer).__name__ == "OneHot" and layer.num_classes == BASES:
            self.places += 1
            return _Changed(layer, self)(*args, **options)
        return layer(*args, **options)

    def of(self, like: Any) -> Any:
        """Return it as it is to be added, or 0."""
        if self.value is None:
            return 0.0
        value = ops.flip(self.value, axis=(1, 2)) if self.turned else self.value  # A<->T and C<->G are mirror images
        plasmid = like.shape[1] - value.shape[1]  # before the promoter
        return ops.cast(ops.pad(value, ((0, 0), (plasmid, 0), (0, 0))), like.dtype)


class _Changed(layers.Layer):
    """One-hot promoters with a change."""

    def __init__(self, one_hot: Any, change: _Change):
        super().__init__(dtype=one_hot.dtype)
        self.one_hot, self.change, self.built = one_hot, change, True

    def call(self, tokens: Any) -> Any:
        """Return ``(batch, window, 4)``."""
        found = self.one_hot.call(tokens)
        return found + self.change.of(found)


class _Oriented(layers.Layer):
    """A network that is given the promoter, or its reverse complement."""

    def __init__(self, core: Any, change: _Change, turned: bool):
        super().__init__()
        self.core, self.change, self.turned, self.built = core, change, turned, True

    def call(self, inputs: Any) -> Any:
        """Return raw outputs."""
        self.change.turned = self.turned
        try:
            return self.core(inputs, training=False)
        finally:
            self.change.turned = False

    def compute_output_shape(self, shape: Any) -> Any:
        """Return the network's."""
        return self.core.compute_output_shape(shape)


def _with_jax(model: Any, change: _Change) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import jax

    def total(value: Any, trainable: Sequence[Any], others: Sequence[Any], tokens: Any) -> Any:
        change.value = value
        try:
            return model.stateless_call(trainable, others, tokens, training=False)[0].astype("float32").mean(axis=1).sum()
        finally:
            change.value = None

    gradient = jax.jit(jax.grad(total))
    groups = (model.trainable_variables, model.non_trainable_variables)

    def at(tokens: np.ndarray, zeros: np.ndarray) -> np.ndarray:
        state = [[variable.value for variable in group] for group in groups]  # not once for all: Keras's predict exchanges the arrays
        return np.asarray(gradient(zeros, *state, tokens))

    return at


def _with_tensorflow(model: Any, change: _Change) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    import tensorflow as tf

    @tf.function
    def gradient(value: Any, tokens: Any) -> Any:
        with tf.GradientTape() as tape:
            tape.watch(value)
            change.value = value
            try:
                total = tf.reduce_sum(tf.reduce_mean(tf.cast(model(tokens, training=False), tf.float32), axis=1))
            finally:
                change.value = None
        return tape.gradient(total, value)

    return lambda tokens, zeros: gradient(tf.constant(zeros), tf.constant(tokens)).numpy()
