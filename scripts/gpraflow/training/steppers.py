"""Training steps on JAX and TensorFlow: gradients, update, moving average of the weights.

A stepper holds the complete training state (weights, statistics, random states, optimizer, EMA), which can be saved and restored exactly.
The statistics of batch normalisation belong to the weights of the last steps; those of the averaged weights are computed from some batches
(`average_statistics`), as in stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407).
Besides `training.network`, `models.cpu` and `models.gradients`, only this module calls a backend directly.
"""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from gpraflow.models import backend
from gpraflow.training.objectives import AnyObjective

Arrays = list[np.ndarray]


def process() -> tuple[int, int]:
    """Return the index of this process and the number of processes of the training (`processes`)."""
    import keras

    if keras.backend.backend() != "jax":
        return 0, 1
    import jax

    return jax.process_index(), jax.process_count()


def all_devices() -> contextlib.AbstractContextManager:
    """Return the context in which network, optimizer and stepper are built, so that all devices of the process train them.

    JAX distributes batches (`_JaxStepper`) and needs none. With several devices, TensorFlow keeps a copy of each variable on each
    (`tf.distribute.MirroredStrategy`).
    """
    import keras

    if keras.backend.backend() != "tensorflow":
        return contextlib.nullcontext()
    import tensorflow as tf

    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return tf.distribute.MirroredStrategy([device.name for device in devices]).scope() if len(devices) > 1 else contextlib.nullcontext()


def optimizer_of(name: str, weight_decay: float, clip: float) -> Any:
    """Return a Keras optimizer; its learning rate is set at each step. Weight decay applies to ``adamw`` and ``lion``."""
    import keras

    kinds = {
        "adam": keras.optimizers.Adam,
        "adamw": keras.optimizers.AdamW,
        "rmsprop": keras.optimizers.RMSprop,
        "lion": keras.optimizers.Lion,
    }
    options: dict[str, Any] = {"global_clipnorm": clip or None}
    if name in ("adamw", "lion"):
        options["weight_decay"] = weight_decay or None
    return kinds[name](learning_rate=1.0, **options)


def stepper(model: Any, optimizer: Any, objective: AnyObjective, ema: float) -> Any:
    """Return the stepper for the current Keras backend.

    Parameters
    ----------
    model
        Network with raw outputs.
    optimizer
        See `optimizer_of`.
    objective
        Objective, which defines the loss.
    ema
        Momentum of the exponential moving average (EMA) of the weights; 0 disables it. At step n it is at most (1 + n) / (10 + n).
    """
    import keras

    kind = {"jax": _JaxStepper, "tensorflow": _TensorFlowStepper}[keras.backend.backend()]
    return kind(model, optimizer, objective, ema)


class _Stepper:
    mirrored = False  # variables have a copy on each device

    def __init__(self, model: Any, optimizer: Any, objective: AnyObjective, ema: float):
        optimizer.build(model.trainable_variables)
        self.model, self.optimizer, self.objective, self.ema = model, optimizer, objective, ema
        self.steps = 0
        # For each other variable: 1 - momentum if it is a moving mean or variance of batch normalisation, 0 otherwise (random states).
        shares = {id(variable): 1 - norm.momentum for norm in _norms(model) for variable in (norm.moving_mean, norm.moving_variance)}
        self._shares = [shares.get(id(variable), 0.0) for variable in model.non_trainable_variables]
        self._statistics: Arrays = []  # of the averaged weights; empty until they are computed

    def momentum(self) -> float:
        """Return the momentum of the EMA at this step."""
        return min(self.ema, (1 + self.steps) / (10 + self.steps)) if self.ema else 0.0

    def average_statistics(self, batches: Iterable[Any]) -> None:
        """Compute the statistics of batch normalisation that belong to the averaged weights: their means over the inputs of some batches.

        Predictions and `served` use them from then on. Without EMA or batch normalisation nothing is computed.
        """
        if not (self.ema and any(self._shares)):
            return
        found = [self._batch_statistics(inputs) for inputs in batches]
        self._statistics = [np.mean(values, axis=0) for values in zip(*found, strict=True)]

    def _batch_statistics(self, inputs: Any) -> Arrays:
        """Return means and variances of one batch with the averaged weights."""
        raise NotImplementedError

    def served(self, state: list[Arrays]) -> tuple[Arrays, Arrays]:
        """Return the trainable weights (the EMA if enabled) and other variables with which a state predicts."""
        trainable, others, _, averages, statistics = state
        return averages or trainable, self._with(statistics, others)

    def _with(self, statistics: Arrays, others: Sequence[Any]) -> list[Any]:
        each = iter(statistics)
        return [next(each) if share and statistics else other for share, other in zip(self._shares, others, strict=True)]

    def trained(self, layers: Sequence[str]) -> Arrays:
        """Return 1 for each trainable variable of the named layers and 0 for others; 1 for all if no layer is named."""
        ids = {id(variable) for name in layers for variable in self.model.get_layer(name).trainable_variables}
        return [np.array(not layers or id(variable) in ids, np.float32) for variable in self.model.trainable_variables]


def _norms(layer: Any) -> Iterator[Any]:
    """Yield the batch normalisations of a network and of nested ones."""
    import keras

    if isinstance(layer, keras.layers.BatchNormalization):
        yield layer
    for inner in layer.layers if isinstance(layer, keras.Model) else []:
        yield from _norms(inner)


def jax_step(model: Any, optimizer: Any, objective: AnyObjective, ema: float) -> Callable[..., Any]:
    """Return the training step as a pure function for JAX.

    Its arguments are the state (trainable weights, other variables, optimizer, EMA: lists of arrays), inputs, target, weight, learning
    rate, momentum of the EMA, and the result of `_Stepper.trained` or None. It returns the new state and the loss.
    """
    import jax

    rate = next(index for index, variable in enumerate(optimizer.variables) if variable is optimizer.learning_rate)

    def loss_of(trainable: Any, others: Any, inputs: Any, target: Any, weight: Any) -> Any:
        raw, others, penalties = model.stateless_call(trainable, others, inputs, training=True, return_losses=True)
        loss = jax.numpy.mean(objective.losses(raw.astype("float32"), target) * weight)
        return loss + sum(penalties), (loss, others)

    def step(state: Any, inputs: Any, target: Any, weight: Any, learning_rate: Any, momentum: Any, trained: Any) -> Any:
        trainable, others, moments, averages = state
        moments = [*moments[:rate], learning_rate, *moments[rate + 1 :]]
        (_, (loss, others)), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, others, inputs, target, weight)
        if trained is not None:
            gradients = [gradient * share for gradient, share in zip(gradients, trained, strict=True)]
        new, moments = optimizer.stateless_apply(moments, gradients, trainable)
        if trained is not None:
            new = [jax.numpy.where(share > 0, one, old) for share, one, old in zip(trained, new, trainable, strict=True)]
        averages = [momentum * old + (1 - momentum) * one for old, one in zip(averages, new, strict=bool(ema))]
        # Same container types as `state`: JAX would recompile the step for tuples instead of lists.
        return [list(new), list(others), list(moments), averages], loss

    return step


class _JaxStepper(_Stepper):
    """JAX: a pure function of the state, compiled once; batches are sharded over all devices of all processes."""

    def __init__(self, model: Any, optimizer: Any, objective: AnyObjective, ema: float):
        super().__init__(model, optimizer, objective, ema)
        import jax
        from jax.sharding import Mesh, NamedSharding, PartitionSpec

        from gpraflow.models import cpu

        devices = jax.devices()
        mesh = Mesh(np.array(devices), ("batch",))
        self.devices = len(devices)
        self._whole, self._spread = NamedSharding(mesh, PartitionSpec()), NamedSharding(mesh, PartitionSpec("batch"))
        self._put = jax.device_put
        if jax.process_count() > 1:
            self._share = lambda parts: jax.tree.map(lambda part: jax.make_array_from_process_local_data(self._spread, part), parts)
        else:
            self._share = lambda parts: self._put(parts, self._spread)
        variables = (model.trainable_variables, model.non_trainable_variables, optimizer.variables, model.trainable_variables)
        self._state = self._put([[np.array(variable) for variable in group] for group in variables], self._whole)
        if not ema:
            self._state[3] = []
        network = cpu.faster(model)
        self._step = jax.jit(jax_step(network, optimizer, objective, ema), donate_argnums=0)

        def batch_statistics(trainable: Any, others: Any, inputs: Any) -> Any:
            zeros = [jax.numpy.zeros_like(value) if share else value for share, value in zip(self._shares, others, strict=True)]
            _, moved = network.stateless_call(trainable, zeros, inputs, training=True)
            return [value / share for share, value in zip(self._shares, moved, strict=True) if share]

        self._of_batch = jax.jit(batch_statistics, out_shardings=self._whole)

    def step(self, inputs: Any, target: np.ndarray, weight: np.ndarray, learning_rate: float, trained: Arrays | None) -> Any:
        """Train on this process's part of one batch; return its loss, a scalar that is computed asynchronously."""
        spread = self._share((inputs, target, weight))
        self._state, loss = self._step(self._state, *spread, np.float32(learning_rate), np.float32(self.momentum()), trained)
        self.steps += 1
        return loss

    def _batch_statistics(self, inputs: Any) -> Arrays:
        return [np.asarray(value) for value in self._of_batch(self._state[3], self._state[1], self._share(inputs))]

    def state(self) -> list[Arrays]:
        """Return the state as arrays: trainable weights, other variables, optimizer, EMA, and the statistics of the EMA."""
        return [*([np.asarray(value) for value in group] for group in self._state), self._statistics]

    def restore(self, state: list[Arrays], steps: int) -> None:
        """Restore the result of `state` after ``steps`` steps."""
        *training, self._statistics = state
        self._state = self._put(training, self._whole)
        self.steps = steps

    def predictor(self, serving: Any, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that predicts expression for tokens with ``serving`` and the current weights (the EMA if enabled)."""
        import jax

        from gpraflow.models import cpu

        serving = cpu.faster(serving)
        call = jax.jit(lambda trainable, others, tokens: serving.stateless_call(trainable, others, tokens, training=False)[0])

        def predict(tokens: np.ndarray) -> np.ndarray:
            trainable, others = self._state[3] or self._state[0], self._with(self._statistics, self._state[1])
            return backend.in_batches(lambda part: np.asarray(call(trainable, others, part)), tokens, min(batch_size, len(tokens)))

        return predict


class _TensorFlowStepper(_Stepper):
    """TensorFlow: one compiled function that updates variables in place.

    Within `all_devices`, each of several devices computes the gradients of its part of the batch; they are summed, and all copies of the
    variables are updated alike. Devices draw the same dropout masks, each for its own promoters.
    """

    def __init__(self, model: Any, optimizer: Any, objective: AnyObjective, ema: float):
        super().__init__(model, optimizer, objective, ema)
        import tensorflow as tf

        strategy = tf.distribute.get_strategy()
        self.devices = devices = strategy.num_replicas_in_sync
        self.mirrored = devices > 1
        self._averages = [tf.Variable(_array(variable)) for variable in model.trainable_variables] if ema else []

        def gradients_of(inputs: Any, target: Any, weight: Any) -> Any:
            with tf.GradientTape() as tape:
                raw = model(inputs, training=True)
                loss = tf.reduce_mean(objective.losses(tf.cast(raw, tf.float32), target) * weight) / devices
                total = loss + sum(model.losses) / devices
            return loss, tape.gradient(total, [variable.value for variable in model.trainable_variables])

        def of_device(batch: Any) -> Any:
            device = tf.distribute.get_replica_context().replica_id_in_sync_group
            size = tf.shape(tf.nest.flatten(batch)[-1])[0] // devices
            return tf.nest.map_structure(lambda part: part[device * size : (device + 1) * size], batch)

        def of_batch(*batch: Any) -> Any:
            loss, gradients = strategy.run(lambda *parts: gradients_of(*of_device(parts)), args=batch)
            return strategy.reduce("SUM", loss, axis=None), [strategy.reduce("SUM", gradient, axis=None) for gradient in gradients]

        @tf.function(jit_compile=not self.mirrored)
        def step(inputs: Any, target: Any, weight: Any, momentum: Any, trained: Any) -> Any:
            loss, gradients = (of_batch if self.mirrored else gradients_of)(inputs, target, weight)
            variables = model.trainable_variables
            if trained is None:
                optimizer.apply(gradients, variables)
            else:
                before = [tf.identity(variable.value) for variable in variables]
                optimizer.apply([gradient * share for gradient, share in zip(gradients, trained, strict=True)], variables)
                for variable, share, old in zip(variables, trained, before, strict=True):
                    variable.assign(tf.where(share > 0, variable.value, old))
            for mean, variable in zip(self._averages, variables, strict=False):
                mean.assign(momentum * mean + (1 - momentum) * variable.value)
            return loss

        @tf.function(jit_compile=not self.mirrored)
        def update(inputs: Any) -> None:
            if self.mirrored:
                strategy.run(lambda parts: model(of_device(parts), training=True), args=(inputs,))
            else:
                model(inputs, training=True)

        self._step, self._update = step, update

    def step(self, inputs: Any, target: np.ndarray, weight: np.ndarray, learning_rate: float, trained: Arrays | None) -> Any:
        """Train on one batch; return its loss."""
        self.optimizer.learning_rate.assign(learning_rate)
        loss = self._step(inputs, target, weight, np.float32(self.momentum()), trained)
        self.steps += 1
        return loss

    def _batch_statistics(self, inputs: Any) -> Arrays:
        others = [_array(variable) for variable in self.model.non_trainable_variables]
        zeros = [np.zeros_like(value) for share, value in zip(self._shares, others, strict=True) if share]
        with self._weights(self._averages, self._with(zeros, others)):
            self._update(inputs)
            moved = [_array(variable) for variable in self.model.non_trainable_variables]
        return [value / share for share, value in zip(self._shares, moved, strict=True) if share]

    @contextlib.contextmanager
    def _weights(self, trainable: Sequence[Any], others: Sequence[Any]) -> Iterator[None]:
        """Set other weights (none: the same) and variables within a ``with`` block."""
        variables = [*(self.model.trainable_variables if trainable else []), *self.model.non_trainable_variables]
        before, values = ([_array(each) for each in group] for group in (variables, [*trainable, *others]))
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        try:
            yield
        finally:
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)

    def _variables(self) -> list[list[Any]]:
        return [self.model.trainable_variables, self.model.non_trainable_variables, self.optimizer.variables, self._averages]

    def state(self) -> list[Arrays]:
        """Return the state as arrays: trainable weights, other variables, optimizer, EMA, and the statistics of the EMA."""
        return [*([_array(variable) for variable in group] for group in self._variables()), self._statistics]

    def restore(self, state: list[Arrays], steps: int) -> None:
        """Restore the result of `state` after ``steps`` steps."""
        *training, self._statistics = state
        for group, values in zip(self._variables(), training, strict=True):
            for variable, value in zip(group, values, strict=True):
                variable.assign(value)
        self.steps = steps

    def predictor(self, serving: Any, batch_size: int) -> Callable[[np.ndarray], np.ndarray]:
        """Return a function that predicts expression for tokens with ``serving`` and the current weights (the EMA if enabled)."""
        import tensorflow as tf

        call = tf.function(lambda tokens: serving(tokens, training=False), jit_compile=not self.mirrored)

        def predict(tokens: np.ndarray) -> np.ndarray:
            with self._weights(self._averages, self._with(self._statistics, self.model.non_trainable_variables)):
                return backend.in_batches(lambda part: call(part).numpy(), tokens, min(batch_size, len(tokens)))

        return predict


def _array(variable: Any) -> np.ndarray:
    """Return the value of a variable, of the first copy if there are several."""
    import keras

    return np.array(keras.ops.convert_to_numpy(variable))
