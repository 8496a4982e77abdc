"""Architectures by name, described without importing Keras or NumPy.

Each name of `REGISTRY` is a module of `gpraflow.models.zoo`. A network has ``build(length, *, outputs, upstream, <sizes>) ->
keras.Model``; the model maps named inputs to ``(batch, outputs)`` raw outputs: standardised expression, or logits of bins, for each
condition. A network whose layers depend on the number of conditions takes it as ``conditions``. A baseline has
``fit(tokens, expression, weights, *, upstream, seed, <sizes>) -> keras.Model``; the model maps tokens to expression. Both functions take
``motifs`` if the model is initialised with known motifs. Each module has ``INPUTS`` (names of the inputs) and ``PRESETS`` (all sizes, by
preset); a network that is fitted in stages has ``STAGES``, and one that can learn motifs without a motif file has ``LEARNED``, the size
that gives their number. These are literals, so that they can be read without importing the module, which imports Keras. A network with
interpretable parameters has ``parameters(model)`` and ``position_parameters(model, bin_width)``, which return them as tables.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpraflow.core.errors import ConfigError, nearest

ZOO = "gpraflow.models.zoo"  # package of the architectures
REGISTRY = (
    "compact",
    "biochemical",
    "slides",
    "vaishnav_transformer",
    "vaishnav_cnn",
    "legnet",
    "dream_cnn",
    "dream_rnn",
    "dream_attn",
    "baseline_kmer",
    "baseline_motif",
)
_LITERALS = ("INPUTS", "PRESETS", "STAGES", "LEARNED")


@dataclass(frozen=True)
class Architecture:
    """Description of an architecture, available without importing it.

    ``stages``: (name, names of trained layers, share of the epochs) in order; empty if all layers are trained together. ``baseline``: has
    ``fit`` instead of ``build``. ``motifs``: is initialised from a motif file. ``learned``: the size that gives the number of motifs
    learned without one; empty if there are none. ``conditions``: takes the number of conditions. ``parameters``: has interpretable
    parameters.
    """

    name: str
    inputs: tuple[str, ...]
    presets: dict[str, dict[str, Any]]
    stages: tuple[tuple[str, tuple[str, ...], float], ...]
    baseline: bool
    motifs: bool
    learned: str
    parameters: bool
    conditions: bool

    @property
    def module(self) -> str:
        """Return the name of the architecture's module."""
        return f"{ZOO}.{self.name}"


def describe(name: str) -> Architecture:
    """Return the description of an architecture.

    Raises
    ------
    ConfigError
        If no architecture has this name.
    """
    if name not in REGISTRY:
        raise ConfigError(f"model.name: no architecture '{name}'{nearest(name, REGISTRY)} (available: {', '.join(REGISTRY)})")
    tree = ast.parse((Path(__file__).parent / "zoo" / f"{name}.py").read_text(encoding="utf-8"))
    literals = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in _LITERALS
    }
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    function = functions.get("build") or functions["fit"]
    arguments = {argument.arg for argument in function.args.kwonlyargs}
    return Architecture(
        name=name,
        inputs=literals["INPUTS"],
        presets=literals["PRESETS"],
        stages=literals.get("STAGES", ()),
        baseline=function.name == "fit",
        motifs="motifs" in arguments,
        learned=literals.get("LEARNED", ""),
        parameters="parameters" in functions,
        conditions="conditions" in arguments,
    )


def features_of(training: Mapping[str, Any], architecture: Architecture) -> list[str]:
    """Return the columns of the promoter table that shards must contain for training, in addition to sequence and expression.

    Parameters
    ----------
    training
        Section ``training`` of the config.
    architecture
        Architecture to train.
    """
    wanted = []
    if training["loss"] == "bins" and training["bin_labels"] == "cells" and not architecture.baseline:
        wanted.append("bin_cells")
    if training["sample_weight"] != "none":
        wanted.append(training["sample_weight"])
    if "singleton" in architecture.inputs:
        wanted.append("singleton")
    return wanted


def choose_sizes(name: str, preset: str, changes: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the preset's name and all sizes of an architecture.

    Parameters
    ----------
    name, preset
        Architecture and one of its presets; ``auto`` is ``default`` or, if that does not exist, ``small``.
    changes
        Sizes that override the preset.

    Raises
    ------
    ConfigError
        If the architecture, preset or size does not exist, or a size differs in type from the preset's.
    """
    presets = describe(name).presets
    if preset == "auto":
        preset = "default" if "default" in presets else "small"
    if preset not in presets:
        raise ConfigError(f"model.preset: '{name}' has no preset '{preset}'{nearest(preset, presets)} (it has {', '.join(presets)})")
    sizes = dict(presets[preset])
    for key, value in changes.items():
        if key not in sizes:
            raise ConfigError(f"model.sizes: '{name}' has no size '{key}'{nearest(key, sizes)} (it has {', '.join(sizes)})")
        known = type(sizes[key])
        if type(value) is not known and not (known is float and type(value) is int):
            raise ConfigError(
                f"model.sizes.{key}: {value!r} should be of type {type(sizes[key]).__name__}, as {sizes[key]!r} of preset '{preset}'"
            )
        sizes[key] = value
    return preset, sizes
