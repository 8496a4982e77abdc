"""Training one network: epochs, checkpoints, divergence control and validation."""

import io
import itertools
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from gpraflow.core import files
from gpraflow.core.errors import TrainingError
from gpraflow.storage import backup as storage_backup
from gpraflow.training import schedules, steppers
from gpraflow.training.data import TrainingData
from gpraflow.training.options import Options

_LOOKED_AT = 50  # batches between checks of the loss; each check waits for the device
_RESTARTS = 3  # maximum restarts after divergence
_SHRINK = 0.3  # factor of the learning rate at each restart
_STATISTICS = 10_000  # training promoters from which the statistics of the averaged weights are computed
PREDICTION_BATCH = 1024  # promoters per batch


# Networks


@dataclass
class Member:
    """One trained ensemble member: weights and history."""

    weights: list[np.ndarray]  # trainable weights of the best epoch
    others: list[np.ndarray]
    last_weights: list[np.ndarray]
    last_others: list[np.ndarray]
    history: list[dict[str, Any]]
    best: dict[str, Any]
    seconds: float
    sequences: int


class _Diverged(Exception):
    """Training has diverged; restart from the best state."""


class MemberTraining:
    """Training of one network, with checkpoints from which it resumes."""

    def __init__(
        self,
        data: TrainingData,
        stepper: Any,
        single: Any,
        stages: Sequence[tuple[str, Sequence[str], float]],
        work: Path,
        seed: int,
        number: int,
        options: Options,
        backup: storage_backup.Backup | None,
        terminal: TextIO | None,
        watch: Callable[[dict[str, Any]], None] | None,
    ):
        from tqdm import tqdm

        work.mkdir(exist_ok=True)
        self.data, self.stepper, self.work, self.seed, self.number, self.options = data, stepper, work, seed, number, options
        self.backup, self.terminal, self.watch = backup, terminal, watch
        self.batch_size = batch_size_of(options.batch_size, data.rows, stepper.devices)
        self.steps = data.rows // self.batch_size
        self.predict = stepper.predictor(single, PREDICTION_BATCH)
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
        self.live = terminal is not None and terminal.isatty()  # progress bar on a terminal; one line per epoch in files and CI
        self.bar = tqdm(
            total=self.steps * options.epochs, file=terminal, disable=not self.live, mininterval=0.2, unit="batch", desc="train_model"
        )

    def close(self) -> None:
        """Close the progress bar."""
        self.bar.close()

    def _staged(self, stages: Sequence[tuple[str, Sequence[str], float]]) -> list[tuple[int, int, Any]]:
        """Return first step, end step and trained variables of each stage."""
        total = self.steps * self.options.epochs
        if not stages:
            return [(0, total, None)]
        ends = np.round(np.cumsum([share for _, _, share in stages]) * total).astype(int).tolist()
        starts = [0, *ends[:-1]]
        trained = [self.stepper.trained(layers) for _, layers, _ in stages]
        return [(start, end, which) for start, end, which in zip(starts, [*ends[:-1], total], trained, strict=True) if end > start]

    def member(self) -> Member:
        """Train or resume until the last epoch or early stopping."""
        if not self._resume():
            self._save("best.npz")  # state to restore if the first epoch diverges
        while self.now["epoch"] < self.options.epochs and not self._out_of_patience():
            try:
                self._epoch()
                self._judge()
            except _Diverged as failure:
                self._back(str(failure))
            self._save("state.npz")
        last = self.stepper.state()
        weights, others = self.stepper.served(self._read("best.npz")[0])
        now = self.now
        return Member(
            weights=weights,
            others=others,
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
        """Score the validation split, and save the weights if they are the best so far."""
        now = self.now
        some = self.data.batches(self.batch_size, self.seed, now["epoch"], 0)
        self.stepper.average_statistics(inputs for inputs, _, _ in itertools.islice(some, -(-_STATISTICS // self.batch_size)))
        predicted = self.predict(self.data.val.tokens).astype(np.float64)
        if not np.isfinite(predicted).all():
            raise _Diverged(f"predictions are NaN or infinite after epoch {now['epoch'] + 1}")
        scores = validation_scores(predicted, self.data.val.expression, self.data.variance)
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
        elif line["val_loss"] > self.options.divergence_factor * best:
            raise _Diverged(f"the validation loss is {line['val_loss']:.4g} after epoch {now['epoch']}, the best was {best:.4g}")

    def _back(self, reason: str) -> None:
        """Restore the best state and lower the learning rate."""
        now = self.now
        if now["restarts"] == _RESTARTS:
            raise TrainingError(
                f"{reason}: training diverged after {_RESTARTS} restarts from the best weights, each with {_SHRINK} of the learning rate; "
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
            groups: list[list[np.ndarray]] = [[] for _ in range(5)]
            for key in saved.files:
                if key != "about":
                    groups[int(key.partition("/")[0])].append(saved[key])
        return groups, about

    def _resume(self) -> bool:
        """Restore the last checkpoint if one exists locally or in the bucket; return whether it did."""
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
        print(f"train_model: resuming from a checkpoint, epoch {now['epoch'] + 1}, batch {now['step'] + 1}", flush=True)
        return True


def batch_size_of(wanted: int, rows: int, devices: int) -> int:
    """Return the batch size: a multiple of the number of devices, and at most the number of rows.

    Raises
    ------
    TrainingError
        If there are fewer promoters than devices.
    """
    size = min(wanted, rows) // devices * devices
    if not size:
        raise TrainingError(f"{rows} training promoters in batches of {wanted} cannot be distributed over {devices} devices")
    return size


def validation_scores(predicted: np.ndarray, expression: np.ndarray, variance: np.ndarray) -> dict[str, Any]:
    """Return the scores of the validation split, which choose the best epoch.

    Parameters
    ----------
    predicted, expression
        ``(promoters, conditions)``; expression is NaN where a promoter was not measured.
    variance
        ``(conditions,)`` variance of expression in training.

    Returns
    -------
    dict
        ``val_loss``, the mean squared error in units of that variance, and ``val_r``, Pearson's r (None if it is not defined), both
        averaged over conditions.
    """
    losses, correlations = [], []
    for index, measured in enumerate(np.isfinite(expression).T):
        p, m = predicted[measured, index], expression[measured, index].astype(np.float64)
        if len(m):
            losses.append(float(np.mean((p - m) ** 2)) / float(variance[index]))
        with np.errstate(invalid="ignore", divide="ignore"):
            correlations.append(float(np.corrcoef(p, m)[0, 1]) if len(m) > 1 else float("nan"))
    r = float(np.mean(correlations))
    return {"val_loss": float(np.mean(losses)), "val_r": r if np.isfinite(r) else None}
