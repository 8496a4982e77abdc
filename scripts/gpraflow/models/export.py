"""Export of a network to ONNX and to TensorFlow's SavedModel, compared with the original before the file gets its name."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from gpraflow.core import files
from gpraflow.core.errors import ConfigError, GpraflowError
from gpraflow.models import directory as models_directory
from gpraflow.sequences.scaffold import BASES

COMPARED = 64  # random promoters
TOLERANCE = 1e-5  # largest difference, relative to 1 or to the prediction if that is larger
ONNX, SAVED_MODEL = "onnx", "saved_model"
TOKENS, ONE_HOT = "tokens", "one_hot"


def export(directory: str | os.PathLike, target: str | os.PathLike, form: str, inputs: str = TOKENS, backend: str = "auto") -> float:
    """Write the network of a model directory in another format, and return its largest difference to the original.

    Parameters
    ----------
    directory
        Model directory.
    target
        New file (``onnx``) or folder (``saved_model``).
    form
        ``onnx`` or ``saved_model``.
    inputs
        ``tokens``, ``(batch, length)`` int32 of A0 C1 G2 T3 N4, or ``one_hot``, ``(batch, length, 4)`` float32, with 0000 for N.
    backend
        Keras backend; ``auto`` is TensorFlow, which writes both formats.

    Raises
    ------
    ConfigError
        If ``target`` exists, or a package is not installed.
    GpraflowError
        If the written network predicts other numbers.
    """
    target = Path(target)
    if target.exists():
        raise ConfigError(f"{target}: this exists already; give another name with -o")
    if form == ONNX and (missing := [name for name in ("onnx", "tf2onnx", "onnxruntime") if not find_spec(name)]):
        raise ConfigError(f"--format onnx: needs {', '.join(missing)}; install them with: pip install 'gpraflow[export]'")
    model, about = models_directory.load(directory, "tensorflow" if backend == "auto" else backend)
    whole = with_one_hot(model) if inputs == ONE_HOT else model
    tokens = np.random.default_rng(0).integers(0, BASES + 1, (COMPARED, about["input"]["length"])).astype(np.int32)
    given = np.eye(BASES + 1, BASES, dtype=np.float32)[tokens] if inputs == ONE_HOT else tokens
    expected = np.asarray(model.predict(tokens, verbose=0))
    target.absolute().parent.mkdir(parents=True, exist_ok=True)
    whole(given[:1])  # Keras exports networks that were called
    if form == ONNX:
        _teach_erfc()
    with files.scratch_folder(target) as folder:
        temporary = folder / target.name
        whole.export(str(temporary), format="tf_saved_model" if form == SAVED_MODEL else ONNX, verbose=False)
        run = _READERS[form](temporary)
        found = np.concatenate([run(given[:1]), run(given[1:])])  # batches of two sizes
        difference = float(np.abs(found - expected).max())
        if not (np.abs(found - expected) <= TOLERANCE * np.maximum(np.abs(expected), 1)).all():
            raise GpraflowError(f"{target}: the exported network differs from {directory} by up to {difference:.2g}; it was not kept")
        files.move(temporary, target)
    return difference


def with_one_hot(model: Any) -> Any:
    """Return a network of one-hot channels ``(batch, length, 4)`` instead of tokens; a position without a 1 is N."""
    import keras
    from keras import ops

    channels = keras.Input((model.input_shape[1], BASES), name=ONE_HOT)
    places = np.arange(BASES, dtype=np.float32) - BASES  # 0000 becomes the token of N, which follows those of the bases
    tokens = ops.cast(ops.round(ops.sum(channels * places, axis=-1) + BASES), "int32")
    return keras.Model(channels, model(tokens), name=model.name)


def _teach_erfc() -> None:
    """Register the operation Erfc, of which TensorFlow makes GELU and which ONNX lacks, with tf2onnx: as 1 - Erf."""
    from tf2onnx import handler, utils

    @handler.tf_op("Erfc")
    class Erfc:
        @classmethod
        def version_9(cls, graph: Any, node: Any, **_: Any) -> None:
            shapes, types = node.output_shapes, node.output_dtypes
            graph.remove_node(node.name)
            erf = graph.make_node("Erf", node.input)
            one = graph.make_const(utils.make_name("one"), np.array(1, np.float32))
            graph.make_node("Sub", [one.output[0], erf.output[0]], name=node.name, outputs=node.output, shapes=shapes, dtypes=types)


def _run_onnx(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    return lambda given: session.run(None, {entry.name: given})[0]


def _run_saved_model(path: Path) -> Callable[[np.ndarray], np.ndarray]:
    import tensorflow

    loaded = tensorflow.saved_model.load(str(path))
    return lambda given: loaded.serve(given).numpy()


_READERS = {ONNX: _run_onnx, SAVED_MODEL: _run_saved_model}
