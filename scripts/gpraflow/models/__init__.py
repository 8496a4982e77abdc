"""Architectures by name, Keras's backend, and model directories.

A name of `REGISTRY` is a module here. A network has ``build(length, *, outputs, upstream, <sizes>) -> keras.Model``: named inputs to
``(batch, outputs)`` raw numbers, standardised expression or logits of bins. A baseline has ``fit(tokens, expression, weights, *, upstream,
seed, <sizes>) -> keras.Model``, tokens in, expression out. Either takes ``motifs`` too if it starts from known ones. Each module ends with
``PRESETS``, all sizes by name, and has ``INPUTS``, names of the inputs; a network that is fitted progressively has ``STAGES``. These three
are literals: they are read without importing the module, for which Keras would be needed. A network whose parameters mean something by
themselves has ``parameters(model)``, which returns them as a table.
"""

import ast
import hashlib
import importlib
import importlib.abc
import importlib.util
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import polars as pl

from gpraflow.errors import ConfigError, InputError, nearest

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
_LENGTHS = (1 << 16, 1 << 20, 1 << 24)  # of rows in which initial weights are drawn


@dataclass(frozen=True)
class Architecture:
    """What is known of an architecture without importing it.

    ``stages``: (name, names of the layers that are trained, share of the epochs) in their order, empty if all is trained at once.
    ``baseline``: it has ``fit`` instead of ``build``. ``motifs``: it starts from a file of motifs. ``parameters``: they can be read.
    ``uses``: library modules behind it.
    """

    name: str
    inputs: tuple[str, ...]
    presets: dict[str, dict[str, Any]]
    stages: tuple[tuple[str, tuple[str, ...], float], ...]
    baseline: bool
    motifs: bool
    parameters: bool
    uses: tuple[str, ...]


def describe(name: str) -> Architecture:
    """Return what is known of an architecture.

    Raises
    ------
    ConfigError
        If there is none of this name.
    """
    if name not in REGISTRY:
        raise ConfigError(f"model.name: no architecture '{name}'{nearest(name, REGISTRY)} (there are {', '.join(REGISTRY)})")
    tree = ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))
    literals = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in ("INPUTS", "PRESETS", "STAGES")
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
        parameters="parameters" in functions,
        uses=tuple(sorted(_used(name))),
    )


def _used(name: str) -> set[str]:
    """Return the library modules that a module here imports, as paths, and those that modules here among them import."""
    found = set()
    for node in ast.walk(ast.parse((Path(__file__).parent / f"{name}.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in ("gpraflow", "gpraflow.models"):
            folder = node.module.replace(".", "/").removeprefix("gpraflow").removeprefix("/")
            found |= {f"{folder}/{alias.name}".removeprefix("/") for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("gpraflow."):
            found.add(node.module.removeprefix("gpraflow.").replace(".", "/"))
    inner = [_used(module.removeprefix("models/")) for module in found if module.startswith("models/")]
    return found.union(*inner) - {"errors"}


def features_of(training: Mapping[str, Any], architecture: Architecture) -> list[str]:
    """Return the columns of the promoter table, besides sequence and expression, that shards have to hold for a training.

    Parameters
    ----------
    training
        The config's section ``training``.
    architecture
        What is trained.
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
        Architecture and one of its presets; ``auto`` is ``default`` or, where there is none, ``small``.
    changes
        Sizes to be other than the preset's.

    Raises
    ------
    ConfigError
        If there is no such architecture, preset or size, or a size is of another type than the preset's.
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
                f"model.sizes.{key}: {value!r} should be a {type(sizes[key]).__name__}, as {sizes[key]!r} of preset '{preset}'"
            )
        sizes[key] = value
    return preset, sizes


class _Hidden(importlib.abc.MetaPathFinder):
    """Makes modules look as if they were not installed.

    On JAX, Keras looks for TensorFlow only to recognise its types, and importing it would cost every job 8 s. While Keras is imported, so
    it is with pandas, scikit-learn and matplotlib, half of its import.
    """

    def __init__(self) -> None:
        self.names = {"tensorflow", "pandas", "sklearn", "matplotlib"}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name in self.names:
            raise ModuleNotFoundError(f"{name} is not used by Keras on JAX", name=name)


def select_backend(backend: str) -> str:
    """Choose Keras's backend; ``auto`` takes JAX where it is installed, else TensorFlow. To be called before Keras is imported.

    Raises
    ------
    ConfigError
        If the backend is not installed, or Keras already runs on another one.
    """
    if backend == "auto":
        backend = "jax" if importlib.util.find_spec("jax") else "tensorflow"
    if not importlib.util.find_spec(backend):
        raise ConfigError(f"training.backend: '{backend}' is not installed in this environment")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = backend
    if backend == "jax" and not any(isinstance(finder, _Hidden) for finder in sys.meta_path):
        hidden = _Hidden()
        sys.meta_path.insert(0, hidden)
        import keras  # noqa: F401

        hidden.names = {"tensorflow"}
    if "keras" in sys.modules and sys.modules["keras"].backend.backend() != backend:
        raise ConfigError(f"training.backend: Keras already runs on {sys.modules['keras'].backend.backend()}, not {backend}")
    return backend


@contextmanager
def _nothing_drawn() -> Iterator[None]:
    """Let initial weights be 0 where they are read from a file in a moment: compiling what draws them takes four fifths of loading."""
    import keras

    def zeros(self: Any, shape: Any, dtype: Any = None, **_: Any) -> Any:
        return keras.ops.zeros(shape, dtype)

    with ExitStack() as changed:
        for name in ("RandomNormal", "TruncatedNormal", "RandomUniform", "VarianceScaling", "Orthogonal"):
            changed.enter_context(mock.patch.object(getattr(keras.initializers, name), "__call__", zeros))
        yield


@contextmanager
def _drawn_in_few_lengths() -> Iterator[None]:
    """Draw initial weights on JAX as the beginning of one of a few long rows: the same numbers, but not compiled anew for each shape.

    JAX's generator counts elements (``jax_threefry_partitionable``), so that an element is the same whatever comes behind it.
    """
    import keras

    if keras.backend.backend() != "jax" or keras.distribution.distribution() is not None:
        yield
        return
    import jax

    def few(draw: Callable[..., Any]) -> Callable[..., Any]:
        def drawn(*given: Any, **about: Any) -> Any:
            shape = about.get("shape")
            number = math.prod(shape or ())
            if shape is None or number > _LENGTHS[-1] or any(isinstance(each, jax.core.Tracer) for each in given):
                return draw(*given, **about)
            length = next(each for each in _LENGTHS if each >= number)
            return jax.numpy.asarray(np.asarray(draw(*given, **about | {"shape": (length,)}))[:number].reshape(shape))

        return drawn

    with ExitStack() as changed:
        for name in ("uniform", "truncated_normal", "normal"):
            changed.enter_context(mock.patch.object(jax.random, name, few(getattr(jax.random, name))))
        yield


def load(directory: str | os.PathLike, backend: str = "auto") -> tuple[Any, dict[str, Any]]:
    """Load a model directory.

    Returns
    -------
    tuple
        The ``keras.Model`` (tokens in, expression out, one column for each member of an ensemble) and the content of ``model.json``.

    Raises
    ------
    InputError
        If a file is missing or damaged, or ``model.keras`` and ``model.json`` do not belong together.
    """
    select_backend(backend)
    import keras

    directory = Path(directory)
    for name in ("model.json", "model.keras"):
        if not (directory / name).is_file():
            raise InputError(f"{directory / name}: this file does not exist; a model directory has model.keras and model.json")
    try:
        about = json.loads((directory / "model.json").read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{directory / 'model.json'}: damaged ({error}); train the model again") from None
    try:
        with _nothing_drawn():
            model = keras.saving.load_model(directory / "model.keras", compile=False)
    except Exception as error:
        raise InputError(f"{directory / 'model.keras'}: not a readable Keras model ({error}); train it again") from error
    if model.count_params() != about["parameters"] or model.name != about["architecture"]:
        raise InputError(
            f"{directory / 'model.keras'}: a '{model.name}' model of {model.count_params():,} parameters, but model.json beside it "
            f"describes '{about['architecture']}' of {about['parameters']:,}; the checkpoint is from another architecture"
        )
    return model, about


def parameters(directory: str | os.PathLike, backend: str = "auto") -> pl.DataFrame:
    """Return the parameters of a trained model that can be read, one row a factor and member of the ensemble.

    Returns
    -------
    polars.DataFrame
        ``member``, from 0, and what the architecture's own ``parameters`` gives.

    Raises
    ------
    ConfigError
        If the architecture's parameters mean nothing by themselves.
    InputError
        As `load`.
    """
    model, about = load(directory, backend)
    name = about["architecture"]
    if not describe(name).parameters:
        able = [other for other in REGISTRY if describe(other).parameters]
        raise ConfigError(f"{directory}: parameters of '{name}' mean nothing by themselves; train {' or '.join(able)} (model.name)")
    read = importlib.import_module(f"gpraflow.models.{name}").parameters
    tables = [read(model.get_layer(f"member_{member}")) for member in range(about["members"])]
    return pl.concat(table.select(pl.lit(member, pl.Int64).alias("member"), pl.all()) for member, table in enumerate(tables))


def build(name: str, length: int, sizes: dict[str, Any], *, outputs: int = 1, upstream: str = "", motifs: str = "") -> Any:
    """Build a network by name; choose the backend first (`select_backend`).

    Parameters
    ----------
    name, length, sizes
        Architecture, promoter window in bp, and all its sizes.
    outputs
        1 for standardised expression, or logits of so many bins.
    upstream
        Plasmid before the promoter, 5' to 3'.
    motifs
        JASPAR file, for architectures that start from known motifs.

    Raises
    ------
    ConfigError
        If there is no such architecture, or its sizes do not go together.
    """
    architecture = describe(name)
    given = sizes | ({"motifs": motifs} if architecture.motifs else {})
    try:
        with _drawn_in_few_lengths():
            return importlib.import_module(f"gpraflow.models.{name}").build(length, outputs=outputs, upstream=upstream, **given)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model.{name}: these sizes cannot be built: {error}") from error


def in_batches(call: Callable[[np.ndarray], np.ndarray], tokens: np.ndarray, batch_size: int) -> np.ndarray:
    """Return what ``call`` makes of all ``(promoters, length)`` tokens, at least one, in batches of one shape; the last is filled up."""
    found = []
    for begin in range(0, len(tokens), batch_size):
        part = tokens[begin : begin + batch_size]
        missing = batch_size - len(part)
        padded = np.concatenate([part, np.repeat(part[:1], missing, axis=0)]) if missing else part
        found.append(call(padded.astype(np.int32))[: len(part)])
    return np.concatenate(found)


def sources(name: str) -> str:
    """Return a hash of an architecture's code, so that checkpoints of another version of it are not taken up."""
    library = Path(__file__).parents[1]
    return hashlib.sha256(
        b"".join((library / f"{module}.py").read_bytes() for module in (f"models/{name}", *describe(name).uses))
    ).hexdigest()
