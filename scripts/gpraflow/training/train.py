"""Training: from shards to a model directory, with checkpoints, restarts after divergence, ensembles and logs."""

import contextlib
import hashlib
import importlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import polars as pl

from gpraflow.core import checksums, dependencies, files, provenance, randomness
from gpraflow.core.errors import GpraflowError, InputError, TrainingError
from gpraflow.models import backend as models_backend
from gpraflow.models import directory as models_directory
from gpraflow.models import registry
from gpraflow.shards import upload
from gpraflow.shards.records import EXPRESSION, SEQUENCE
from gpraflow.storage import backup as storage_backup
from gpraflow.training import steppers, teacher
from gpraflow.training.data import TrainingData
from gpraflow.training.network import assign_weights, build_core, policy, serving, warm_start
from gpraflow.training.options import Blueprint, Options
from gpraflow.training.run import PREDICTION_BATCH, Member, MemberTraining, validation_scores

MODEL_FILES = ("model.keras", "last.keras", "model.json", "history.csv", "tensorboard")
HISTORY = {
    "member": pl.Int64,  # ensemble member, from 0
    "epoch": pl.Int64,  # from 0
    "loss": pl.Float64,  # mean over the epoch's batches
    "val_loss": pl.Float64,  # mean squared error, relative to the variance of the training labels
    "val_r": pl.Float64,
    "learning_rate": pl.Float64,  # at the epoch's last step
    "restarts": pl.Int64,  # restarts from the best weights so far
}
WORK = ".training"  # folder of checkpoints in the model directory


def train(
    receipt_path: str | os.PathLike,
    directory: str | os.PathLike,
    *,
    blueprint: Blueprint,
    options: Options,
    backup: str = "",
    terminal: TextIO | None = None,
    watch: Callable[[dict[str, Any]], None] | None = None,
    permuted_labels: bool = False,
) -> dict[str, Any]:
    """Train a model on the ``train`` split, choose the best epoch on ``val``, and write a model directory.

    The saved model includes the label transform and, if requested, averaging over strands and ensemble members: it takes tokens and returns
    expression in the units of the table. An interrupted training resumes from its last checkpoint and ends with the same weights as an
    uninterrupted one (on the same machine and backend).

    Parameters
    ----------
    receipt_path
        Receipt of the upload (`upload.upload`).
    directory
        Output folder for `MODEL_FILES`.
    blueprint
        The network to build.
    options
        Training options; a baseline uses ``sample_weight``, ``seed`` and ``backend`` only.
    backup
        URL of a bucket to which checkpoints are copied, in a folder for this training, so that another machine can resume it; empty for
        none.
    terminal
        Stream for the progress bar, in addition to the log.
    watch
        Called with each epoch's row of the history; an exception ends the training.
    permuted_labels
        Permute labels between promoters (label-permutation control): the expected validation r is 0.

    Returns
    -------
    dict
        The content of ``model.json``.

    Raises
    ------
    TrainingError
        If training diverges repeatedly (the loss is NaN or far above the best), or expression is constant.
    InputError, ConfigError
        If shards, sizes or an initial model are invalid, or the wanted device is missing.
    """
    backend = models_backend.select_backend(options.backend)
    device = models_backend.select_device(options.device, backend)
    print(f"training on {device} ({backend})")
    import keras

    architecture = registry.describe(blueprint.name)
    receipt = upload.read_receipt(receipt_path)
    directory = Path(directory)
    for leftover in (directory / file for file in MODEL_FILES):
        shutil.rmtree(leftover, ignore_errors=True)
        leftover.unlink(missing_ok=True)
    mark = _mark(receipt, blueprint, options)
    work = _workplace(directory / WORK, mark)
    copies = storage_backup.Backup(backup, mark) if backup else None
    started = time.monotonic()
    with _writing(directory), policy(options.precision if not architecture.baseline else "float32"):
        data = TrainingData(receipt, work, architecture, options, permuted_labels)
        if architecture.baseline:
            model, members = _fit_baseline(data, blueprint, options)
        else:
            model, members = _train_network(data, work, blueprint, options, backend, copies, terminal, watch)
        best = [member.best for member in members]
        of_members = {key: [line[key] for line in best] for key in ("val_loss", "val_r")}
        scores = {key: values[0] for key, values in of_members.items()}
        if len(members) > 1:
            predicted = model.predict(data.val.tokens, batch_size=PREDICTION_BATCH, verbose=0)
            predicted = predicted.reshape(len(predicted), len(members), -1).mean(axis=1, dtype=np.float64)
            scores = validation_scores(predicted, data.val.expression, data.variance)
        about = {
            "architecture": blueprint.name,
            "preset": blueprint.preset,
            "sizes": dict(blueprint.sizes),
            "parameters": model.count_params(),
            "members": len(members),
            **({"conditions": data.conditions} if data.conditions else {}),
            "input": {key: data.val.manifest[key] for key in ("alphabet", "length", "scaffold", "keep", "pad")},
            "label_transform": {"kind": "inside the model", **data.objective.about()},
            "data": {split: entry["sha256"] for split, entry in receipt["splits"].items()},
            "promoters": {"train": data.measured, "val": len(data.val.expression)},
            "training": asdict(options),
            **({"teacher": teacher.describe(options.teacher, data.rows - data.measured)} if data.rows > data.measured else {}),
            "epochs": max(len(member.history) for member in members),
            "best_epoch": best[0]["epoch"] + 1,
            "restarts": sum(member.history[-1]["restarts"] for member in members),
            **scores,
            "val_of_members": of_members,
            "seconds": round(time.monotonic() - started, 1),
            "sequences_per_second": _rate(members),
            "backend": backend,
            "device": device,
            "precision": "float32" if architecture.baseline else options.precision,
            "versions": provenance.versions(("keras", "jax", "tensorflow", "tensorflow-cpu", "numpy")),
            "commit": provenance.commit(),
        }
        models_directory.save(model, work / "model.keras")
        if architecture.baseline:
            shutil.copyfile(work / "model.keras", work / "last.keras")
        files.write_json(work / "model.json", about)
        history = [{"member": number} | line for number, member in enumerate(members) for line in member.history]
        pl.DataFrame(history, schema=HISTORY).write_csv(work / "history.csv")
        _tensorboard(work / "tensorboard", history)
        # model.keras is moved last, so that a model directory that contains it is complete.
        for file in reversed(MODEL_FILES):
            files.move(work / file, directory / file)
        shutil.rmtree(work)
    keras.utils.clear_session(free_memory=True)
    return about


def backup_url(url: str, receipt_path: str | os.PathLike, on_tpu: bool) -> str:
    """Return the URL for checkpoint copies: ``url``, or by default on a TPU VM (which can be pre-empted) a folder next to the shards."""
    return url or (f"{upload.read_receipt(receipt_path)['bucket']}/checkpoints" if on_tpu else "")


def _rate(members: Sequence["Member"]) -> float | None:
    seconds = sum(member.seconds for member in members)
    return round(sum(member.sequences for member in members) / seconds, 1) if seconds else None


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        cause = files.cause_of(error, directory, directory)
        if cause is error:
            raise
        raise TrainingError(str(cause)) if isinstance(cause, GpraflowError) and not isinstance(cause, InputError) else cause from error


def _mark(receipt: Mapping[str, Any], blueprint: Blueprint, options: Options) -> str:
    """Return an identifier of this training: a hash of data, network, options, code and input files."""
    data = {split: entry["sha256"] for split, entry in receipt["splits"].items()}
    code = dependencies.fingerprint_of(__name__, registry.describe(blueprint.name).module)
    models = [str(Path(folder) / "model.keras") for folder in (options.initial_model, options.teacher) if folder]
    contents = {name: checksums.digests(name)["sha256"] for name in (blueprint.motifs, *models) if name and Path(name).is_file()}
    about = json.dumps([data, asdict(blueprint), asdict(options), code, contents], sort_keys=True)
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def _workplace(work: Path, mark: str) -> Path:
    """Return the checkpoint folder; checkpoints of another training are deleted."""
    if not (work / mark).is_file():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / mark).touch()
    return work


def _train_network(
    data: TrainingData,
    work: Path,
    blueprint: Blueprint,
    options: Options,
    backend: str,
    backup: storage_backup.Backup | None,
    terminal: TextIO | None,
    watch: Callable[[dict[str, Any]], None] | None,
) -> tuple[Any, list[Member]]:
    """Return the model for predictions and its ensemble members; write ``last.keras``."""
    cores, members = [], []
    for number in range(options.ensemble):
        core, trained = _train_member(data, work / f"member_{number}", number, blueprint, options, backend, backup, terminal, watch)
        cores.append(core)
        members.append(trained)
    model = serving(cores, data.objective, data.length, options.rc_averaging, blueprint.name)
    for core, member in zip(cores, members, strict=True):
        assign_weights(core, member.last_weights, member.last_others)
    models_directory.save(model, work / "last.keras")
    for core, member in zip(cores, members, strict=True):
        assign_weights(core, member.weights, member.others)
    return model, members


def _train_member(
    data: TrainingData,
    work: Path,
    number: int,
    blueprint: Blueprint,
    options: Options,
    backend: str,
    backup: storage_backup.Backup | None,
    terminal: TextIO | None,
    watch: Callable[[dict[str, Any]], None] | None,
) -> tuple[Any, Member]:
    import keras

    seed = randomness.derive(options.seed, "train_model", *([number] if number else []))
    keras.utils.set_random_seed(seed % 2**32)
    name = f"member_{number}"
    with steppers.all_devices():
        core = build_core(blueprint, data.length, data.objective, name)
        single = serving([core], data.objective, data.length, options.rc_averaging, blueprint.name)
        if options.initial_model:
            warm_start(single, options.initial_model, backend)
        if number == 0:
            single.summary(line_length=120)
        optimizer = steppers.optimizer_of(options.optimizer, options.weight_decay, options.gradient_clip)
        stepper = steppers.stepper(core, optimizer, data.objective, options.ema)
    stages = registry.describe(blueprint.name).stages
    with contextlib.closing(MemberTraining(data, stepper, single, stages, work, seed, number, options, backup, terminal, watch)) as run:
        member = run.member()
    return (build_core(blueprint, data.length, data.objective, name) if stepper.mirrored else core), member


# Baselines


def _fit_baseline(data: TrainingData, blueprint: Blueprint, options: Options) -> tuple[Any, list[Member]]:
    """Return the fitted model, and its history as one member."""
    batch = data.table.take(np.arange(data.measured))
    tokens, expression = batch[SEQUENCE], batch[EXPRESSION]
    weights = data.weights(batch)
    module = importlib.import_module(registry.describe(blueprint.name).module)
    extra = {"motifs": blueprint.motifs} if registry.describe(blueprint.name).motifs else {}
    seed = randomness.derive(options.seed, "train_model")
    models = []
    for index, measured in enumerate(np.isfinite(expression).T):
        own = None if options.sample_weight == "none" else weights[measured, index]
        labels = expression[measured, index]
        models.append(module.fit(tokens[measured], labels, own, upstream=blueprint.upstream, seed=seed, **extra, **blueprint.sizes))
    model = models[0] if len(models) == 1 else _side_by_side(models, data.length)
    fitted, predicted = (
        model.predict(part, batch_size=PREDICTION_BATCH, verbose=0).astype(np.float64) for part in (tokens, data.val.tokens)
    )
    loss = validation_scores(fitted, expression, data.variance)["val_loss"]
    line = {
        "epoch": 0,
        "loss": loss,
        **validation_scores(predicted, data.val.expression, data.variance),
        "learning_rate": None,
        "restarts": 0,
    }
    return model, [Member([], [], [], [], [line], line, 0.0, 0)]


def _side_by_side(models: Sequence[Any], length: int) -> Any:
    """Return a model with the outputs of one model per condition."""
    import keras

    tokens = keras.Input((length,), dtype="int32", name="tokens")
    named = [keras.Model(model.inputs, model.outputs[0], name=f"condition_{number}") for number, model in enumerate(models, start=1)]
    outputs = keras.layers.Concatenate(name="conditions")([model(tokens) for model in named])
    return keras.Model(tokens, outputs, name=models[0].name)


# Logs


def _tensorboard(directory: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write the history for TensorBoard without Keras's callback, which requires TensorFlow."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(directory))
    for line in history:
        prefix = f"member_{line['member']}/" if line["member"] else ""
        tags = {tag: value for tag, value in line.items() if tag not in ("member", "epoch") and value is not None}
        values = [Summary.Value(tag=prefix + tag, simple_value=value) for tag, value in tags.items()]
        writer.add_event(Event(step=line["epoch"] + 1, wall_time=time.time(), summary=Summary(value=values)))
    writer.close()
