"""Selection of the Keras backend and of its devices, and predictions in batches of constant shape."""

import contextlib
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np

from gpraflow.core import startup
from gpraflow.core.errors import ConfigError


def select_backend(backend: str) -> str:
    """Select the Keras backend and import Keras; ``auto`` selects JAX if it is installed, otherwise TensorFlow.

    Raises
    ------
    ConfigError
        If the backend is not installed, or Keras is already running on another one.
    """
    if backend == "auto":
        backend = "jax" if importlib.util.find_spec("jax") else "tensorflow"
    if not importlib.util.find_spec(backend):
        raise ConfigError(f"training.backend: '{backend}' is not installed in this environment")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = backend
    startup.import_keras()
    if (running := sys.modules["keras"].backend.backend()) != backend:
        raise ConfigError(f"training.backend: Keras already runs on {running}, not {backend}")
    return backend


def replicas() -> int:
    """Return over how many devices TensorFlow distributes the network that is being built; 1 on JAX, which distributes arrays instead."""
    if sys.modules["keras"].backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


Device = Literal["auto", "cpu", "gpu", "tpu"]
_NVIDIA = Path("/dev/nvidiactl")  # there wherever the driver of a GPU is loaded


def select_device(device: Device, backend: str) -> str:
    """Check that the running backend has the wanted kind of device, and restrict it to CPUs where these are wanted.

    Returns
    -------
    str
        Number and kind of the devices, such as ``1 x cpu`` or ``8 x TPU v4``.

    Raises
    ------
    ConfigError
        If a GPU or TPU is wanted and the backend sees none, or CPUs are wanted and the backend already runs on others.
    """
    kinds, kind = (_jax_devices if backend == "jax" else _tensorflow_devices)(device)
    found = f"{len(kinds)} x {kinds[0]}" if kinds else "no device"
    if device not in ("auto", kind):
        raise ConfigError(f"training.device: {device} is wanted, but {_NAMES[backend]} sees {found}; {_ADVICE[device]}")
    if device == "auto" and kind == "cpu" and _NVIDIA.exists():
        print(f"training.device: auto took {found}, although this machine has an NVIDIA GPU; {_ADVICE['gpu']}", file=sys.stderr)
    return found


_NAMES = {"jax": "JAX", "tensorflow": "TensorFlow"}
_ADVICE = {
    "cpu": "choose the device before the process has used another one",
    "gpu": "install the CUDA builds (make setup LOCK=requirements/gpraflow-cuda.lock, backend jax), check with nvidia-smi that the driver "
    "shows the GPU and that CUDA_VISIBLE_DEVICES and JAX_PLATFORMS do not hide it, or set training.device: cpu",
    "tpu": "train on a TPU VM with the profile gcp-tpu, where JAX's TPU build is installed, check that JAX_PLATFORMS does not hide the "
    "TPU, or set training.device: cpu",
}


def _jax_devices(wanted: Device) -> tuple[list[str], str]:
    import jax

    if wanted == "cpu":
        jax.config.update("jax_platforms", "cpu")
    devices = jax.devices()
    return [str(each.device_kind) for each in devices], devices[0].platform


def _tensorflow_devices(wanted: Device) -> tuple[list[str], str]:
    import tensorflow as tf

    if wanted == "cpu":
        with contextlib.suppress(RuntimeError):  # the devices are in use already
            tf.config.set_visible_devices([], "GPU")
    devices = tf.config.list_logical_devices()
    fast = [each for each in devices if each.device_type != "CPU"]
    kinds = [str(each.device_type) for each in fast or devices]
    return kinds, kinds[0].lower()


def size_of_batches(rows: int, most: int) -> int:
    """Return the size of batches for ``rows`` rows: ``most``, or for fewer rows a power of two, so that few shapes are compiled."""
    return max(1, min(most, 1 << max(rows - 1, 0).bit_length()))


def in_batches(call: Callable[..., np.ndarray], tokens: np.ndarray, batch_size: int, *others: np.ndarray) -> np.ndarray:
    """Apply ``call`` to at least one row of ``(promoters, length)`` tokens in batches of constant shape; the last batch is padded.

    ``others`` are further arguments with a row for each promoter.
    """
    outputs = []
    for begin in range(0, len(tokens), batch_size):
        part, *more = (each[begin : begin + batch_size] for each in (tokens, *others))
        parts, rows = [part.astype(np.int32), *more], len(part)
        if rows < batch_size:
            parts = [np.concatenate([each, np.repeat(each[:1], batch_size - rows, axis=0)]) for each in parts]
        outputs.append(call(*parts)[:rows])
    return np.concatenate(outputs)
