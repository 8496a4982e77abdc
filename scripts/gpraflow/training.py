"""Training: choosing the backend and device, fitting, checkpoints, logs."""

import contextlib
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np

from gpraflow import datasets, files, models, randomness, storage
from gpraflow.errors import ConfigError, TrainingError

MODEL_FILES = ("model.keras", "last.keras", "model.json", "history.csv", "tensorboard")
_WORK = ".training"


@dataclass(frozen=True)
class Options:
    """How to train; the keys of the config's ``training`` section."""

    backend: Literal["auto", "jax", "tensorflow"]
    seed: int
    epochs: int
    batch_size: int
    optimizer: Literal["adam", "adamw"]
    learning_rate: float
    schedule: Literal["constant", "cosine"]
    warmup_steps: int
    weight_decay: float
    gradient_clip: float
    patience: int
    reverse_complement: bool
    initial_model: str


def learning_rates(options: Options, steps: int) -> Any:
    """Return the learning rate, a number or a Keras schedule, for a training of ``steps`` batches."""
    import keras

    if options.schedule == "constant":
        return options.learning_rate
    warmup = min(options.warmup_steps, steps // 4)
    return keras.optimizers.schedules.CosineDecay(
        0.04 * options.learning_rate, max(1, steps - warmup), alpha=0.01, warmup_target=options.learning_rate, warmup_steps=warmup
    )


def train(
    receipt_path: str | os.PathLike,
    directory: str | os.PathLike,
    *,
    name: str,
    preset: str,
    sizes: Mapping[str, Any],
    options: Options,
    terminal: TextIO | None = None,
) -> dict[str, Any]:
    """Train a model on the ``train`` split, choose the best epoch on ``val``, and write a model directory.

    The label transform (mean and sd of the training labels) is the model's last layer, so that it gives expression in the table's
    units. The loss is the mean squared error over the variance of the training labels: 1 is a model that always gives the mean.

    Parameters
    ----------
    receipt_path
        What `storage.upload` wrote.
    directory
        Where `MODEL_FILES` go.
    name, preset, sizes
        Architecture, name of its preset, and the sizes themselves.
    options
        How to train.
    terminal
        Where the progress bar goes, besides the log.

    Returns
    -------
    dict
        The content of ``model.json``.

    Raises
    ------
    TrainingError
        If the loss is no longer a number.
    InputError, ConfigError
        If shards, sizes or an initial model cannot be used.
    """
    backend = models.select_backend(options.backend)
    import keras

    receipt = storage.read_receipt(receipt_path)
    train_set, val_set = datasets.load(receipt, "train"), datasets.load(receipt, "val")
    keras.utils.set_random_seed(randomness.derive(options.seed, "train_model") % 2**32)
    length = train_set.manifest["length"]
    core = models.build(name, length, dict(sizes))
    mean, sd = float(train_set.expression.mean(dtype=np.float64)), float(train_set.expression.std(dtype=np.float64))
    if not sd:
        raise TrainingError(f"all {len(train_set.expression)} training promoters have expression {mean:g}: there is nothing to learn")
    model = keras.Model(core.input, core.output * sd + mean, name=name)
    if options.initial_model:
        _warm_start(model, options.initial_model, backend)

    batch_size = min(options.batch_size, len(train_set.tokens))
    steps = len(train_set.tokens) // batch_size * options.epochs
    optimizer = {"adam": keras.optimizers.Adam, "adamw": keras.optimizers.AdamW}[options.optimizer](
        learning_rates(options, steps), global_clipnorm=options.gradient_clip or None
    )
    if options.optimizer == "adamw":
        optimizer.weight_decay = options.weight_decay
    model.compile(optimizer, "mse", loss_weights=[1 / sd**2], jit_compile=True)
    model.summary(line_length=120)

    directory = Path(directory)
    work = directory / _WORK
    for leftover in (work, *(directory / file for file in MODEL_FILES)):
        shutil.rmtree(leftover, ignore_errors=True)
        leftover.unlink(missing_ok=True)
    work.mkdir(parents=True)
    batches = _batches(train_set, batch_size, options)
    watch = _watcher(val_set, sd, work, batches, options.epochs, terminal)
    callbacks = [
        watch,
        keras.callbacks.ModelCheckpoint(work / "model.keras", monitor="val_loss", mode="min", save_best_only=True),
        keras.callbacks.ModelCheckpoint(work / "last.keras"),
        keras.callbacks.CSVLogger(work / "history.csv"),
        keras.callbacks.LambdaCallback(on_epoch_end=_tensorboard(work / "tensorboard")),
        keras.callbacks.EarlyStopping(monitor="val_loss", mode="min", patience=options.patience),
    ]
    started = time.monotonic()
    with contextlib.closing(watch), _writing(directory):
        history = model.fit(batches, epochs=options.epochs, callbacks=callbacks, verbose=2).history
    best = int(np.argmin(history["val_loss"]))
    about = {
        "architecture": name,
        "preset": preset,
        "sizes": dict(sizes),
        "parameters": model.count_params(),
        "input": {key: train_set.manifest[key] for key in ("alphabet", "length", "scaffold", "keep", "pad")},
        "label_transform": {"kind": "scale and offset, inside the model", "scale": sd, "offset": mean},
        "data": {split: entry["sha256"] for split, entry in receipt["splits"].items()},
        "promoters": {"train": len(train_set.tokens), "val": len(val_set.tokens)},
        "training": asdict(options),
        "epochs": len(history["val_loss"]),
        "best_epoch": best + 1,
        "val_loss": history["val_loss"][best],
        "val_r": history["val_r"][best] if np.isfinite(history["val_r"][best]) else None,
        "seconds": round(time.monotonic() - started, 1),
        "sequences_per_second": round(batches.num_batches * batch_size * len(history["val_loss"]) / watch.training_seconds, 1),
        "backend": backend,
        "device": _device(backend),
        "precision": keras.config.dtype_policy().name,
        "versions": _versions(),
        "commit": _commit(),
    }
    with _writing(directory):
        files.write_json(work / "model.json", about)
        # The best epoch's file goes last: a model directory with model.keras is whole.
        for file in reversed(MODEL_FILES):
            os.replace(work / file, directory / file)
        work.rmdir()
    return about


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(f"{directory}: the model could not be written ({error.strerror or error}); free space and run again") from error


def _warm_start(model: Any, directory: str, backend: str) -> None:
    initial, about = models.load(directory, backend)
    shapes = [tuple(weight.shape) for weight in model.weights]
    if about["architecture"] != model.name or [tuple(weight.shape) for weight in initial.weights] != shapes:
        raise ConfigError(
            f"training.initial_model: {directory} is '{about['architecture']}' ({about['parameters']:,} parameters), but the config "
            f"asks for '{model.name}' ({model.count_params():,}): a checkpoint from another architecture; set model.name and its "
            "sizes to those in its model.json, or leave training.initial_model empty"
        )
    model.set_weights(initial.get_weights())


def _batches(data: datasets.Promoters, batch_size: int, options: Options) -> Any:
    import keras

    class Batches(keras.utils.PyDataset):
        """Whole batches of a split, shuffled anew in each epoch; the rest of an epoch is left to the next one's order."""

        def __init__(self) -> None:
            super().__init__()
            self.epoch = 0
            self.order = datasets.epoch_order(len(data.tokens), options.seed, 0)

        @property
        def num_batches(self) -> int:
            return len(data.tokens) // batch_size

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
            rows = self.order[index * batch_size : (index + 1) * batch_size]
            tokens = data.tokens[rows]
            if options.reverse_complement:
                tokens = datasets.turn_some(tokens, batch_size, (0, 1), options.seed, self.epoch, index)
            return tokens, data.expression[rows]

        def on_epoch_end(self) -> None:
            self.epoch += 1
            self.order = datasets.epoch_order(len(data.tokens), options.seed, self.epoch)

    return Batches()


def _watcher(val: datasets.Promoters, sd: float, work: Path, batches: Any, epochs: int, terminal: TextIO | None) -> Any:
    import keras
    from tqdm import tqdm

    class Watcher(keras.callbacks.Callback):
        """Score the validation split as a whole after each epoch, stop on NaN, show progress.

        Stands first among the callbacks: those behind it read what it adds to the epoch's logs.
        """

        def __init__(self) -> None:
            super().__init__()
            # A bar on a terminal; in a file or CI one line an epoch.
            self.live = terminal is not None and terminal.isatty()
            self.bar = tqdm(
                total=batches.num_batches * epochs, file=terminal, disable=not self.live, mininterval=0.2, unit="batch", desc="train_model"
            )
            self.training_seconds = 0.0

        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            self.began = time.monotonic()

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            loss = logs["loss"]
            if not np.isfinite(loss):
                where = f"epoch {batches.epoch + 1}, batch {batch + 1}"
                raise TrainingError(
                    f"the training loss is {loss} in {where}: training has diverged; "
                    "set a smaller training.learning_rate or a training.gradient_clip, and run again"
                )
            self.bar.update()

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.training_seconds += time.monotonic() - self.began
            predicted = self.model.predict(val.tokens, batch_size=1024, verbose=0)[:, 0].astype(np.float64)
            if not np.isfinite(predicted).all():
                raise TrainingError(f"the model gives no numbers after epoch {epoch + 1}; set a smaller training.learning_rate")
            logs["val_loss"] = float(np.mean((predicted - val.expression) ** 2)) / sd**2
            logs["val_r"] = float(np.corrcoef(predicted, val.expression.astype(np.float64))[0, 1])
            logs["learning_rate"] = float(keras.ops.convert_to_numpy(self.model.optimizer.learning_rate))
            self.bar.set_postfix(epoch=f"{epoch + 1}/{epochs}", val_loss=f"{logs['val_loss']:.4f}", val_r=f"{logs['val_r']:.4f}")
            if terminal is not None and not self.live:
                print(f"train_model: epoch {epoch + 1}/{epochs}, val_loss {logs['val_loss']:.4f}, val_r {logs['val_r']:.4f}", file=terminal)

        def close(self) -> None:
            self.bar.close()

    return Watcher()


def _tensorboard(directory: Path) -> Callable[[int, Mapping[str, float]], None]:
    """Return what writes an epoch's logs for TensorBoard; Keras's own callback would need TensorFlow."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(directory))

    def write(epoch: int, logs: Mapping[str, float]) -> None:
        values = [Summary.Value(tag=tag, simple_value=value) for tag, value in logs.items()]
        writer.add_event(Event(step=epoch + 1, wall_time=time.time(), summary=Summary(value=values)))
        writer.flush()

    return write


def _device(backend: str) -> str:
    if backend == "jax":
        import jax

        devices = [str(device.device_kind) for device in jax.devices()]
    else:
        import tensorflow

        devices = [device.device_type for device in tensorflow.config.list_logical_devices()]
    return f"{len(devices)} x {devices[0]}" if devices else "unknown"


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in ("keras", "jax", "tensorflow", "tensorflow-cpu", "numpy"):
        with contextlib.suppress(PackageNotFoundError):
            found[package] = version(package)
    return found


def _commit() -> str:
    """Return the commit of the code, with ``-dirty`` if it was changed since; empty outside a checkout."""
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"],
            cwd=Path(__file__).parent,
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
    return ""
