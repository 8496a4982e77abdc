"""Construction and warm start of networks, and their assembly into a model for predictions."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from gpraflow.core.errors import ConfigError
from gpraflow.models import build
from gpraflow.models import directory as models_directory
from gpraflow.training import objectives
from gpraflow.training.options import Blueprint


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """Set Keras's dtype policy within a ``with`` block."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def assign_weights(core: Any, weights: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> None:
    for variable, value in zip([*core.trainable_variables, *core.non_trainable_variables], [*weights, *others], strict=True):
        variable.assign(value)


def serving(cores: Sequence[Any], objective: objectives.AnyObjective, length: int, rc_averaging: bool, name: str) -> Any:
    """Return the model for predictions, which maps ``(batch, length)`` tokens to ``(batch, members x conditions)`` expression.

    The first columns are those of the first ensemble member, in all conditions.

    Parameters
    ----------
    cores
        Networks with raw outputs and the inputs ``tokens`` or ``tokens, singleton, reverse``; ``singleton`` is set to 0.
    objective
        Objective, which converts raw outputs to expression.
    length
        Promoter window in bp.
    rc_averaging
        Average the predictions for the promoter and its reverse complement.
    name
        Name of the model.
    """
    import keras
    from keras import ops

    from gpraflow.sequences.scaffold import PADDING

    tokens = keras.Input((length,), dtype="int32", name="tokens")
    members = []
    for core in cores:
        seen = []
        for reverse in (False, True) if rc_averaging else (False,):
            if len(core.inputs) == 1:
                other = ops.flip(ops.where(tokens < PADDING, PADDING - 1 - tokens, tokens), axis=1)  # 3 - token: complement
                raw = core(other if reverse else tokens)
            else:
                zero = ops.cast(ops.zeros_like(tokens[:, :1]), "float32")
                raw = core([tokens, zero, zero + 1 if reverse else zero])
            seen.append(objective.expression(raw))
        members.append(sum(seen[1:], seen[0]) / len(seen))
    return keras.Model(tokens, members[0] if len(members) == 1 else keras.layers.Concatenate(name="members")(members), name=name)


def build_core(blueprint: Blueprint, length: int, objective: objectives.AnyObjective, name: str) -> Any:
    """Return a network with the raw outputs of an objective, named ``name``."""
    import keras

    inputs = {"upstream": blueprint.upstream, "motifs": blueprint.motifs}
    core = build.build(blueprint.name, length, dict(blueprint.sizes), outputs=objective.outputs, conditions=objective.conditions, **inputs)
    return keras.Model(core.inputs, core.outputs[0], name=name)


def warm_start(model: Any, directory: str, backend: str) -> None:
    initial, about = models_directory.load(directory, backend)
    shapes = [tuple(weight.shape) for weight in model.weights]
    if about["architecture"] != model.name or [tuple(weight.shape) for weight in initial.weights] != shapes:
        raise ConfigError(
            f"training.initial_model: {directory} is '{about['architecture']}' ({about['parameters']:,} parameters), but the config "
            f"specifies '{model.name}' ({model.count_params():,}): a checkpoint from another architecture; set model.name and its "
            "sizes to those in its model.json, or leave training.initial_model empty"
        )
    model.set_weights(initial.get_weights())
