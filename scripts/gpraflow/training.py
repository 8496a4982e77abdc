"""Training: from shards to a model directory; checkpoints, guard against divergence, ensembles, logs."""

import contextlib
import hashlib
import importlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import polars as pl

from gpraflow import datasets, files, models, objectives, provenance, randomness, scaffold, schedules, steppers, storage
from gpraflow.errors import ConfigError, TrainingError
from gpraflow.shards import EXPRESSION, SEQUENCE

MODEL_FILES = ("model.keras", "last.keras", "model.json", "history.csv", "tensorboard")
HISTORY = {
    "member": pl.Int64,  # of the ensemble, from 0
    "epoch": pl.Int64,  # from 0
    "loss": pl.Float64,  # mean of the epoch's batches
    "val_loss": pl.Float64,  # mean squared error over the variance of the training labels
    "val_r": pl.Float64,
    "learning_rate": pl.Float64,  # at the epoch's last step
    "restarts": pl.Int64,  # times that training went back to the best epoch so far
}
WORK = ".training"  # folder of checkpoints in the model directory
_LOOKED_AT = 50  # batches between looks at the loss: each waits for the device
_RESTARTS = 3
_SHRINK = 0.3  # of the learning rate at each restart
_PREDICTED = 1024  # promoters at a time


@dataclass(frozen=True)
class Options:
    """How to train; the keys of the config's ``training`` section."""

    backend: Literal["auto", "jax", "tensorflow"]
    seed: int
    epochs: int
    batch_size: int
    loss: objectives.Loss
    huber_delta: float
    bin_labels: Literal["normal", "cells"]
    bins: int
    cells_prior: float
    sample_weight: Literal["none", "weight", "n_reads"]
    reads_half: float
    optimizer: Literal["adam", "adamw", "rmsprop", "lion"]
    learning_rate: float
    schedule: schedules.Schedule
    warmup_steps: int
    weight_decay: float
    gradient_clip: float
    average: float
    patience: int
    reverse_complement: bool
    average_strands: bool
    precision: Literal["float32", "mixed_bfloat16"]
    ensemble: int
    guard: float
    checkpoint_steps: int
    initial_model: str


@dataclass(frozen=True)
class Blueprint:
    """What to build: architecture, name of its preset, all its sizes, and what else it needs of the outside.

    ``upstream`` is the plasmid before the promoter, 5' to 3', ``motifs`` a JASPAR file.
    """

    name: str
    preset: str
    sizes: Mapping[str, Any]
    upstream: str = ""
    motifs: str = ""

    @classmethod
    def read(cls, model: Mapping[str, Any], scaffolds: str | os.PathLike, motifs: str) -> "Blueprint":
        """Return what to build for ``name``, ``preset``, ``sizes`` and ``scaffold``, whose plasmid is in the file ``scaffolds``."""
        upstream = scaffold.load(scaffolds, model["scaffold"]).upstream
        return cls(model["name"], model["preset"], model["sizes"], upstream, motifs)


def train(
    receipt_path: str | os.PathLike,
    directory: str | os.PathLike,
    *,
    blueprint: Blueprint,
    options: Options,
    backup: str = "",
    terminal: TextIO | None = None,
    watch: Callable[[dict[str, Any]], None] | None = None,
    shuffled: bool = False,
) -> dict[str, Any]:
    """Train a model on the ``train`` split, choose the best epoch on ``val``, and write a model directory.

    The label transform, and averaging over strands and members of an ensemble where that is asked for, are inside the saved model: tokens
    in, expression in the units of the table out. A training that was killed goes on from its last checkpoint and ends with the same
    weights as one that was not (on the same machine and backend).

    Parameters
    ----------
    receipt_path
        What `storage.upload` wrote.
    directory
        Where `MODEL_FILES` go.
    blueprint
        What to build.
    options
        How to train; a baseline uses ``sample_weight``, ``seed`` and ``backend`` only.
    backup
        URL of a bucket where checkpoints are copied to, in a folder of this very training, so that it can go on on another machine; empty
        for none.
    terminal
        Where the progress bar goes, besides the log.
    watch
        Is given each epoch's line of the history; what it raises ends the training.
    shuffled
        Give each promoter another one's label, as a control: the model must learn nothing.

    Returns
    -------
    dict
        The content of ``model.json``.

    Raises
    ------
    TrainingError
        If the loss is no number, or the validation loss is far beyond the best, again and again; or labels cannot be learnt.
    InputError, ConfigError
        If shards, sizes or an initial model cannot be used.
    """
    backend = models.select_backend(options.backend)
    import keras

    architecture = models.describe(blueprint.name)
    receipt = storage.read_receipt(receipt_path)
    directory = Path(directory)
    for leftover in (directory / file for file in MODEL_FILES):
        shutil.rmtree(leftover, ignore_errors=True)
        leftover.unlink(missing_ok=True)
    mark = _mark(receipt, blueprint, options)
    work = _workplace(directory / WORK, mark)
    copies = storage.Backup(backup, mark) if backup else None
    started = time.monotonic()
    with _writing(directory), policy(options.precision if not architecture.baseline else "float32"):
        data = _Data(receipt, work, architecture, options, shuffled)
        if architecture.baseline:
            model, members = _fit_baseline(data, blueprint, options)
        else:
            model, members = _train_network(data, work, blueprint, options, backend, copies, terminal, watch)
        best = [member.best for member in members]
        of_members = {key: [line[key] for line in best] for key in ("val_loss", "val_r")}
        scores = {key: values[0] for key, values in of_members.items()}
        if len(members) > 1:
            predicted = model.predict(data.val.tokens, batch_size=_PREDICTED, verbose=0).mean(axis=1, dtype=np.float64)
            scores = _scores(predicted, data.val.expression, data.variance)
        about = {
            "architecture": blueprint.name,
            "preset": blueprint.preset,
            "sizes": dict(blueprint.sizes),
            "parameters": model.count_params(),
            "members": len(members),
            "input": {key: data.val.manifest[key] for key in ("alphabet", "length", "scaffold", "keep", "pad")},
            "label_transform": {"kind": "inside the model", **data.objective.about()},
            "data": {split: entry["sha256"] for split, entry in receipt["splits"].items()},
            "promoters": {"train": data.rows, "val": len(data.val.expression)},
            "training": asdict(options),
            "epochs": max(len(member.history) for member in members),
            "best_epoch": best[0]["epoch"] + 1,
            "restarts": sum(member.history[-1]["restarts"] for member in members),
            **scores,
            "val_of_members": of_members,
            "seconds": round(time.monotonic() - started, 1),
            "sequences_per_second": _rate(members),
            "backend": backend,
            "device": device(backend),
            "precision": "float32" if architecture.baseline else options.precision,
            "versions": provenance.versions(("keras", "jax", "tensorflow", "tensorflow-cpu", "numpy")),
            "commit": provenance.commit(),
        }
        model.save(work / "model.keras")
        if architecture.baseline:
            shutil.copyfile(work / "model.keras", work / "last.keras")
        files.write_json(work / "model.json", about)
        history = [{"member": number} | line for number, member in enumerate(members) for line in member.history]
        pl.DataFrame(history, schema=HISTORY).write_csv(work / "history.csv")
        _tensorboard(work / "tensorboard", history)
        # The best epoch's file goes last: a model directory with model.keras is whole.
        for file in reversed(MODEL_FILES):
            os.replace(work / file, directory / file)
        shutil.rmtree(work)
    keras.utils.clear_session(free_memory=True)
    return about


def _rate(members: Sequence["_Member"]) -> float | None:
    seconds = sum(member.seconds for member in members)
    return round(sum(member.sequences for member in members) / seconds, 1) if seconds else None


@contextlib.contextmanager
def policy(name: str) -> Iterator[None]:
    """Make Keras compute in this precision."""
    import keras

    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


@contextlib.contextmanager
def _writing(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TrainingError(f"{directory}: the model could not be written ({error.strerror or error}); free space and run again") from error


def _mark(receipt: Mapping[str, Any], blueprint: Blueprint, options: Options) -> str:
    """Return a name of this very training: of its data, network, options and code."""
    data = {split: entry["sha256"] for split, entry in receipt["splits"].items()}
    about = json.dumps([data, asdict(blueprint), asdict(options), models.sources(blueprint.name)], sort_keys=True)
    return hashlib.sha256(about.encode()).hexdigest()[:16]


def _workplace(work: Path, mark: str) -> Path:
    """Return the folder of checkpoints; emptied unless those are of the same training."""
    if not (work / mark).is_file():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        (work / mark).touch()
    return work


# Data


class _Data:
    """Batches of the training split, and the validation split."""

    def __init__(self, receipt: dict[str, Any], work: Path, architecture: models.Architecture, options: Options, shuffled: bool = False):
        self.options, self.inputs = options, architecture.inputs
        wanted = models.features_of(asdict(options), architecture)
        source = datasets.open_split(receipt, "train")
        features = (SEQUENCE, EXPRESSION, *wanted)
        if shuffled:
            self.table: datasets.MemoryMap = datasets.Shuffled(source, work / "shards", features, options.seed)
        else:
            self.table = datasets.MemoryMap(source, work / "shards", features)
        self.length, self.rows = source.manifest["length"], len(self.table)
        labels = self.table.take(np.arange(self.rows), (EXPRESSION, *wanted))
        expression = labels[EXPRESSION][:, 0]
        self.objective = objectives.Objective("mse", 1, 1.0, 0.0)  # of a baseline: expression as it is
        if not architecture.baseline:
            self.objective = objective_of(expression, labels.get(objectives.CELLS), options)
        self.variance = float(expression.var(dtype=np.float64))
        self.mean_weight = float(self.weights(labels).mean(dtype=np.float64))
        self.val = datasets.load(receipt, "val")

    def weights(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return what the promoters of a batch count, ``(rows,)`` float32: 1, the column ``weight``, or n / (n + half) of n reads."""
        return sample_weights(batch, self.options.sample_weight, self.options.reads_half)

    def batches(self, batch_size: int, seed: int, epoch: int, start: int) -> Iterator[tuple[list[np.ndarray], np.ndarray, np.ndarray]]:
        """Yield inputs, targets and weights (mean 1) of this process's part of an epoch's batches from ``start`` on."""
        flagged = "reverse" in self.inputs  # such a model turns its channels itself
        turn = self.options.reverse_complement and not flagged
        process, processes = steppers.process()
        size = batch_size // processes
        found = self.table.batches(batch_size, seed=seed, epoch=epoch, start=start, turn=turn, process=(process, processes))
        for step, batch in enumerate(found, start=start):
            reverse = np.zeros((size, 1), np.float32)
            if flagged and self.options.reverse_complement:
                reverse[:, 0] = datasets.strands(batch_size, seed, epoch, step)[process * size : (process + 1) * size]
            given = batch | {"tokens": batch[SEQUENCE], "reverse": reverse}
            weight = (self.weights(batch) / self.mean_weight).astype(np.float32)
            yield [given[name] for name in self.inputs], self.objective.targets(batch), weight


def objective_of(expression: np.ndarray, cells: np.ndarray | None, options: Options) -> objectives.Objective:
    """Return the objective that the options ask for, fitted to labels (`objectives.fit`)."""
    return objectives.fit(
        expression,
        cells,
        loss=options.loss,
        bins=options.bins,
        huber_delta=options.huber_delta,
        cells_prior=options.cells_prior,
    )


def sample_weights(batch: Mapping[str, np.ndarray], kind: str, reads_half: float) -> np.ndarray:
    """Return what promoters count, ``(rows,)`` float32.

    Parameters
    ----------
    batch
        Features of promoters.
    kind
        ``none``: 1 each; ``weight``: the column; ``n_reads``: n / (n + ``reads_half``), as noise of the label falls with depth.
    reads_half
        Reads at which a promoter counts half.
    """
    if kind == "none":
        return np.ones(len(batch[EXPRESSION]), np.float32)
    values = batch[kind][:, 0]
    return values if kind == "weight" else values / (values + np.float32(reads_half))


# Networks


@dataclass
class _Member:
    """One trained network: its weights, and how it went."""

    weights: list[np.ndarray]  # trainable ones, of the best epoch
    others: list[np.ndarray]
    last_weights: list[np.ndarray]
    last_others: list[np.ndarray]
    history: list[dict[str, Any]]
    best: dict[str, Any]
    seconds: float
    sequences: int


def _train_network(
    data: _Data,
    work: Path,
    blueprint: Blueprint,
    options: Options,
    backend: str,
    backup: storage.Backup | None,
    terminal: TextIO | None,
    watch: Callable[[dict[str, Any]], None] | None,
) -> tuple[Any, list[_Member]]:
    """Return the model for predictions, and the members that it is made of; ``last.keras`` is written."""
    cores, members = [], []
    for number in range(options.ensemble):
        core, trained = _train_member(data, work / f"member_{number}", number, blueprint, options, backend, backup, terminal, watch)
        cores.append(core)
        members.append(trained)
    model = serving(cores, data.objective, data.length, options.average_strands, blueprint.name)
    for core, member in zip(cores, members, strict=True):
        _assign(core, member.last_weights, member.last_others)
    model.save(work / "last.keras")
    for core, member in zip(cores, members, strict=True):
        _assign(core, member.weights, member.others)
    return model, members


def _assign(core: Any, weights: Sequence[np.ndarray], others: Sequence[np.ndarray]) -> None:
    for variable, value in zip([*core.trainable_variables, *core.non_trainable_variables], [*weights, *others], strict=True):
        variable.assign(value)


def serving(cores: Sequence[Any], objective: objectives.Objective, length: int, average_strands: bool, name: str) -> Any:
    """Return the model for predictions: ``(batch, length)`` tokens in, ``(batch, members)`` expression out.

    Parameters
    ----------
    cores
        Networks with raw outputs, with the inputs ``tokens`` or ``tokens, singleton, reverse``; promoters are taken for no singletons.
    objective
        Makes expression of raw outputs.
    length
        Promoter window in bp.
    average_strands
        Take the mean of what a network says of the promoter and of its reverse complement.
    name
        Of the model.
    """
    import keras
    from keras import ops

    from gpraflow.scaffold import PADDING

    tokens = keras.Input((length,), dtype="int32", name="tokens")
    found = []
    for core in cores:
        seen = []
        for turned in (False, True) if average_strands else (False,):
            if len(core.inputs) == 1:
                other = ops.flip(ops.where(tokens < PADDING, PADDING - 1 - tokens, tokens), axis=1)  # A<->T, C<->G: mirror images
                raw = core(other if turned else tokens)
            else:
                zero = ops.cast(ops.zeros_like(tokens[:, :1]), "float32")
                raw = core([tokens, zero, zero + 1 if turned else zero])
            seen.append(objective.expression(raw))
        found.append(sum(seen[1:], seen[0]) / len(seen))
    return keras.Model(tokens, found[0] if len(found) == 1 else keras.layers.Concatenate(name="members")(found), name=name)


def build_core(blueprint: Blueprint, length: int, outputs: int, name: str) -> Any:
    """Return a network with raw outputs, called ``name``."""
    import keras

    core = models.build(
        blueprint.name, length, dict(blueprint.sizes), outputs=outputs, upstream=blueprint.upstream, motifs=blueprint.motifs
    )
    return keras.Model(core.inputs, core.outputs[0], name=name)


def _train_member(
    data: _Data,
    work: Path,
    number: int,
    blueprint: Blueprint,
    options: Options,
    backend: str,
    backup: storage.Backup | None,
    terminal: TextIO | None,
    watch: Callable[[dict[str, Any]], None] | None,
) -> tuple[Any, _Member]:
    import keras

    seed = randomness.derive(options.seed, "train_model", *([number] if number else []))
    keras.utils.set_random_seed(seed % 2**32)
    core = build_core(blueprint, data.length, data.objective.outputs, f"member_{number}")
    single = serving([core], data.objective, data.length, options.average_strands, blueprint.name)
    if options.initial_model:
        _warm_start(single, options.initial_model, backend)
    if number == 0:
        single.summary(line_length=120)
    optimizer = steppers.optimizer_of(options.optimizer, options.weight_decay, options.gradient_clip)
    stepper = steppers.stepper(core, optimizer, data.objective, options.average)
    stages = models.describe(blueprint.name).stages
    with contextlib.closing(_Run(data, stepper, single, stages, work, seed, number, options, backup, terminal, watch)) as run:
        return core, run.member()


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


class _Diverged(Exception):
    """Training is not to go on from here."""


class _Run:
    """The training of one network, step by step, with checkpoints from which it can go on."""

    def __init__(
        self,
        data: _Data,
        stepper: Any,
        single: Any,
        stages: Sequence[tuple[str, Sequence[str], float]],
        work: Path,
        seed: int,
        number: int,
        options: Options,
        backup: storage.Backup | None,
        terminal: TextIO | None,
        watch: Callable[[dict[str, Any]], None] | None,
    ):
        from tqdm import tqdm

        work.mkdir(exist_ok=True)
        self.data, self.stepper, self.work, self.seed, self.number, self.options = data, stepper, work, seed, number, options
        self.backup, self.terminal, self.watch = backup, terminal, watch
        self.batch_size = batch_size_of(options.batch_size, data.rows, stepper.devices)
        self.steps = data.rows // self.batch_size
        self.predict = stepper.predictor(single, _PREDICTED)
        self.stages = self._staged(stages)
        self.now: dict[str, Any] = {
            "epoch": 0,
            "step": 0,
            "loss": 0.0,
            "scale": 1.0,
            "restarts": 0,
            "best": None,
            "history": [],
            "seconds": 0.0,
            "sequences": 0,
        }
        self.live = terminal is not None and terminal.isatty()  # a bar on a terminal; in a file or CI one line an epoch
        self.bar = tqdm(
            total=self.steps * options.epochs, file=terminal, disable=not self.live, mininterval=0.2, unit="batch", desc="train_model"
        )

    def close(self) -> None:
        """End the progress bar."""
        self.bar.close()

    def _staged(self, stages: Sequence[tuple[str, Sequence[str], float]]) -> list[tuple[int, int, Any]]:
        """Return first step, end and trained variables of each stage."""
        total = self.steps * self.options.epochs
        if not stages:
            return [(0, total, None)]
        ends = np.round(np.cumsum([share for _, _, share in stages]) * total).astype(int).tolist()
        starts = [0, *ends[:-1]]
        trained = [self.stepper.trained(layers) for _, layers, _ in stages]
        return [(start, end, which) for start, end, which in zip(starts, [*ends[:-1], total], trained, strict=True) if end > start]

    def member(self) -> _Member:
        """Train, or go on, until the last epoch or patience ends."""
        if not self._resume():
            self._save("best.npz")  # where to go back to, if the first epoch fails
        while self.now["epoch"] < self.options.epochs and not self._out_of_patience():
            try:
                self._epoch()
                self._judge()
            except _Diverged as failure:
                self._back(str(failure))
            self._save("state.npz")
        last = self.stepper.state()
        best, _ = self._read("best.npz")
        now = self.now
        return _Member(
            weights=best[3] or best[0],
            others=best[1],
            last_weights=last[0],
            last_others=last[1],
            history=now["history"],
            best=now["history"][now["best"]],
            seconds=now["seconds"],
            sequences=now["sequences"],
        )

    def _out_of_patience(self) -> bool:
        history, best = self.now["history"], self.now["best"]
        return best is not None and history[-1]["epoch"] - history[best]["epoch"] >= self.options.patience

    def _epoch(self) -> None:
        now, options, losses = self.now, self.options, []
        began = time.monotonic()
        first = now["epoch"] * self.steps
        for inputs, target, weight in self.data.batches(self.batch_size, self.seed, now["epoch"], now["step"]):
            step = first + now["step"]
            start, end, trained = next(stage for stage in self.stages if step < stage[1])
            rate = schedules.rate(options.schedule, options.learning_rate, step - start, end - start, options.warmup_steps)
            self.rate = rate * now["scale"]
            losses.append(self.stepper.step(inputs, target, weight, self.rate, trained))
            now["step"] += 1
            self.bar.update()
            saving = now["step"] % options.checkpoint_steps == 0 and now["step"] < self.steps
            if len(losses) >= _LOOKED_AT or saving or now["step"] == self.steps:
                self._look(losses)
                losses = []
            if saving:
                now["seconds"] += time.monotonic() - began
                self._save("state.npz")
                began = time.monotonic()
        now["seconds"] += time.monotonic() - began

    def _look(self, losses: Sequence[Any]) -> None:
        values = np.array([float(loss) for loss in losses])
        if not np.isfinite(values).all():
            bad = int(np.argmin(np.isfinite(values)))
            where = f"epoch {self.now['epoch'] + 1}, batch {self.now['step'] - len(values) + bad + 1}"
            raise _Diverged(f"the training loss is {values[bad]:g} in {where}")
        self.now["loss"] += float(values.sum())
        self.now["sequences"] += len(values) * self.batch_size

    def _judge(self) -> None:
        """Score the validation split, and keep the state if it is the best."""
        now = self.now
        predicted = self.predict(self.data.val.tokens)[:, 0].astype(np.float64)
        if not np.isfinite(predicted).all():
            raise _Diverged(f"the model gives no numbers after epoch {now['epoch'] + 1}")
        scores = _scores(predicted, self.data.val.expression, self.data.variance)
        best = None if now["best"] is None else now["history"][now["best"]]["val_loss"]
        line = {"epoch": now["epoch"], "loss": now["loss"] / self.steps, **scores, "learning_rate": self.rate, "restarts": now["restarts"]}
        now["history"].append(line)
        now.update(epoch=now["epoch"] + 1, step=0, loss=0.0)
        text = f"epoch {now['epoch']}/{self.options.epochs}, loss {line['loss']:.4f}, val_loss {line['val_loss']:.4f}"
        text += f", val_r {line['val_r']:.4f}" if line["val_r"] is not None else ""
        who = f"train_model, member {self.number + 1}" if self.options.ensemble > 1 else "train_model"
        print(f"{who}: {text}", flush=True)
        self.bar.set_postfix_str(text)
        if self.terminal is not None and not self.live:
            print(f"{who}: {text}", file=self.terminal, flush=True)
        if self.watch:
            self.watch({"member": self.number} | line)
        if best is None or line["val_loss"] < best:
            now["best"] = len(now["history"]) - 1
            self._save("best.npz")
        elif line["val_loss"] > self.options.guard * best:
            raise _Diverged(f"the validation loss is {line['val_loss']:.4g} after epoch {now['epoch']}, the best was {best:.4g}")

    def _back(self, reason: str) -> None:
        """Go back to the best state with a smaller rate."""
        now = self.now
        if now["restarts"] == _RESTARTS:
            raise TrainingError(
                f"{reason}: training has diverged, also from its best state with {_SHRINK} of the rate, {_RESTARTS} times; "
                "set a smaller training.learning_rate or a training.gradient_clip, and run again"
            )
        state, saved = self._read("best.npz")
        self.stepper.restore(state, saved["steps"])
        now.update(restarts=now["restarts"] + 1, scale=now["scale"] * _SHRINK, step=0, loss=0.0)
        text = f"train_model: {reason}; back to the best state, learning rate times {now['scale']:.3g} from here"
        for place in {id(stream): stream for stream in (self.terminal, None)}.values():
            print(text, file=place, flush=True)

    def _save(self, name: str) -> None:
        content = io.BytesIO()
        arrays = {f"{group}/{place}": value for group, part in enumerate(self.stepper.state()) for place, value in enumerate(part)}
        about = json.dumps(self.now | {"steps": self.stepper.steps}).encode()
        np.savez(content, about=np.frombuffer(about, np.uint8), **arrays)
        with files.whole(self.work / name) as temporary:
            temporary.write_bytes(content.getbuffer())
        if self.backup is not None and steppers.process()[0] == 0:
            self.backup.keep(f"{self.work.name}/{name}", self.work / name)

    def _read(self, name: str) -> tuple[list[list[np.ndarray]], dict[str, Any]]:
        with np.load(self.work / name) as saved:
            about = json.loads(saved["about"].tobytes())
            groups: list[list[np.ndarray]] = [[], [], [], []]
            for key in saved.files:
                if key != "about":
                    groups[int(key.partition("/")[0])].append(saved[key])
        return groups, about

    def _resume(self) -> bool:
        """Take up the last checkpoint, if there is one here or in the bucket."""
        if self.backup is not None and not (self.work / "state.npz").is_file():
            for name in ("best.npz", "state.npz"):
                self.backup.fetch(f"{self.work.name}/{name}", self.work / name)
        if not (self.work / "state.npz").is_file():
            return False
        state, now = self._read("state.npz")
        self.stepper.restore(state, now.pop("steps"))
        self.now = now
        done = now["epoch"] * self.steps + now["step"]
        self.bar.update(done)
        print(f"train_model: going on from a checkpoint, epoch {now['epoch'] + 1}, batch {now['step'] + 1}", flush=True)
        return True


def batch_size_of(wanted: int, rows: int, devices: int) -> int:
    """Return the batch size: not more than there are rows, and a multiple of the devices.

    Raises
    ------
    TrainingError
        If there are fewer promoters than devices.
    """
    size = min(wanted, rows) // devices * devices
    if not size:
        raise TrainingError(f"{rows} training promoters in batches of {wanted} cannot be shared out to {devices} devices")
    return size


def _scores(predicted: np.ndarray, expression: np.ndarray, variance: float) -> dict[str, Any]:
    loss = float(np.mean((predicted - expression) ** 2)) / variance
    with np.errstate(invalid="ignore", divide="ignore"):
        r = float(np.corrcoef(predicted, expression.astype(np.float64))[0, 1]) if len(predicted) > 1 else float("nan")
    return {"val_loss": loss, "val_r": r if np.isfinite(r) else None}


# Baselines


def _fit_baseline(data: _Data, blueprint: Blueprint, options: Options) -> tuple[Any, list[_Member]]:
    """Return the fitted model, and what a history says of it."""
    batch = data.table.take(np.arange(data.rows))
    tokens, expression = batch[SEQUENCE], batch[EXPRESSION][:, 0]
    weights = None if options.sample_weight == "none" else data.weights(batch)
    module = importlib.import_module(f"gpraflow.models.{blueprint.name}")
    given = {"motifs": blueprint.motifs} if models.describe(blueprint.name).motifs else {}
    seed = randomness.derive(options.seed, "train_model")
    model = module.fit(tokens, expression, weights, upstream=blueprint.upstream, seed=seed, **given, **blueprint.sizes)
    fitted, predicted = (
        model.predict(part, batch_size=_PREDICTED, verbose=0)[:, 0].astype(np.float64) for part in (tokens, data.val.tokens)
    )
    loss = _scores(fitted, expression, data.variance)["val_loss"]
    line = {"epoch": 0, "loss": loss, **_scores(predicted, data.val.expression, data.variance), "learning_rate": None, "restarts": 0}
    return model, [_Member([], [], [], [], [line], line, 0.0, 0)]


# Logs


def _tensorboard(directory: Path, history: Sequence[Mapping[str, Any]]) -> None:
    """Write the history for TensorBoard; Keras's own callback would need TensorFlow."""
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


def device(backend: str) -> str:
    """Return number and kind of the devices that the backend sees."""
    if backend == "jax":
        import jax

        found = [str(each.device_kind) for each in jax.devices()]
    else:
        import tensorflow

        found = [each.device_type for each in tensorflow.config.list_logical_devices()]
    return f"{len(found)} x {found[0]}" if found else "unknown"


# Range of learning rates


RATES = {"step": pl.Int64, "learning_rate": pl.Float64, "loss": pl.Float64, "smoothed": pl.Float64}
_BEYOND = 4.0  # times the least smoothed loss: training has diverged
_SMOOTH = 0.9
_NOISY = 10  # steps at the beginning, and half as many at the end, among which no rate is suggested


def range_test(
    receipt_path: str | os.PathLike, work: str | os.PathLike, *, blueprint: Blueprint, options: Options, low: float, high: float, steps: int
) -> tuple[pl.DataFrame, float]:
    """Train with a rate that rises from step to step until the loss explodes, to see which rates are worth trying.

    Source: Smith 2017, "Cyclical learning rates for training neural networks", arXiv:1506.01186.

    Parameters
    ----------
    receipt_path, blueprint, options
        As for `train`; epochs, schedule and rate are not used.
    work
        Folder for shards that cannot be read in place.
    low, high, steps
        First and last rate, between which they rise by equal factors, and number of batches.

    Returns
    -------
    tuple
        ``step``, ``learning_rate``, ``loss`` of the batch and ``smoothed`` (bias-corrected exponential mean, .9), up to where the latter
        is four times its least; and the suggested rate, where the smoothed loss falls most steeply against the logarithm of the rate.

    Raises
    ------
    ConfigError, TrainingError, InputError
        As `train`; a baseline has no learning rate; or the loss explodes within the first steps.
    """
    architecture = models.describe(blueprint.name)
    if architecture.baseline:
        raise ConfigError(f"model.name: '{blueprint.name}' has no learning rate")
    models.select_backend(options.backend)
    import keras

    data = _Data(storage.read_receipt(receipt_path), Path(work), architecture, options)
    seed = randomness.derive(options.seed, "range_test")
    keras.utils.set_random_seed(seed % 2**32)
    with policy(options.precision):
        core = build_core(blueprint, data.length, data.objective.outputs, "member_0")
        optimizer = steppers.optimizer_of(options.optimizer, options.weight_decay, options.gradient_clip)
        stepper = steppers.stepper(core, optimizer, data.objective, 0.0)
        batch_size = batch_size_of(options.batch_size, data.rows, stepper.devices)
        rates = np.geomspace(low, high, steps)
        lines: list[dict[str, float]] = []
        mean = 0.0
        for step, (inputs, target, weight) in enumerate(_forever(data, batch_size, seed)):
            loss = float(stepper.step(inputs, target, weight, float(rates[step]), None))
            mean = _SMOOTH * mean + (1 - _SMOOTH) * loss
            smoothed = mean / (1 - _SMOOTH ** (step + 1))
            exploded = not np.isfinite(smoothed) or (lines and smoothed > _BEYOND * min(line["smoothed"] for line in lines))
            if exploded or step + 1 == steps:
                break
            lines.append({"step": step, "learning_rate": float(rates[step]), "loss": loss, "smoothed": smoothed})
    if len(lines) < 2 * _NOISY:
        raise TrainingError(
            f"the loss explodes within {len(lines) + 1} steps, at a rate of {rates[len(lines)]:.3g}; set a smaller range_test.low"
        )
    table = pl.DataFrame(lines, schema=RATES)
    slope = np.gradient(table["smoothed"].to_numpy(), np.log(table["learning_rate"].to_numpy()))
    return table, float(table["learning_rate"][_NOISY + int(np.argmin(slope[_NOISY : -_NOISY // 2]))])


def _forever(data: _Data, batch_size: int, seed: int) -> Iterator[tuple[list[np.ndarray], np.ndarray, np.ndarray]]:
    epoch = 0
    while True:
        yield from data.batches(batch_size, seed, epoch, 0)
        epoch += 1
