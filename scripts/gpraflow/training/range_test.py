"""Learning-rate range test."""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from gpraflow.core import randomness
from gpraflow.core.errors import ConfigError, TrainingError
from gpraflow.models import backend, registry
from gpraflow.shards import upload
from gpraflow.training import steppers
from gpraflow.training.data import TrainingData
from gpraflow.training.network import build_core, policy
from gpraflow.training.options import Blueprint, Options
from gpraflow.training.run import batch_size_of

# Learning-rate range test


RATES = {"step": pl.Int64, "learning_rate": pl.Float64, "loss": pl.Float64, "smoothed": pl.Float64}
_BEYOND = 4.0  # multiple of the minimum smoothed loss at which training counts as diverged
_SMOOTH = 0.9
_NOISY = 10  # steps at the beginning that are excluded from the suggestion; half as many at the end


def range_test(
    receipt_path: str | os.PathLike, work: str | os.PathLike, *, blueprint: Blueprint, options: Options, low: float, high: float, steps: int
) -> tuple[pl.DataFrame, float]:
    """Run a learning-rate range test: increase the learning rate at every step until the loss diverges.

    Source: Smith 2017, "Cyclical learning rates for training neural networks", arXiv:1506.01186.

    Parameters
    ----------
    receipt_path, blueprint, options
        As in `train`; epochs, schedule and learning rate are ignored.
    work
        Folder for shards that cannot be read in place.
    low, high, steps
        First and last learning rate of a geometric series, and number of batches.

    Returns
    -------
    tuple
        A table with ``step``, ``learning_rate``, ``loss`` of the batch and ``smoothed`` (bias-corrected exponential mean, .9), which ends
        when ``smoothed`` exceeds four times its minimum; and the suggested rate, at which ``smoothed`` decreases most steeply with the
        logarithm of the rate.

    Raises
    ------
    ConfigError, TrainingError, InputError
        As in `train`; also if the model is a baseline (no learning rate) or the loss diverges within the first steps.
    """
    architecture = registry.describe(blueprint.name)
    if architecture.baseline:
        raise ConfigError(f"model.name: '{blueprint.name}' has no learning rate")
    backend.select_device(options.device, backend.select_backend(options.backend))
    import keras

    data = TrainingData(upload.read_receipt(receipt_path), Path(work), architecture, options)
    seed = randomness.derive(options.seed, "range_test")
    keras.utils.set_random_seed(seed % 2**32)
    with policy(options.precision), steppers.all_devices():
        core = build_core(blueprint, data.length, data.objective, "member_0")
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
            f"the loss diverges within {len(lines) + 1} steps, at a rate of {rates[len(lines)]:.3g}; set a smaller range_test.low"
        )
    table = pl.DataFrame(lines, schema=RATES)
    slope = np.gradient(table["smoothed"].to_numpy(), np.log(table["learning_rate"].to_numpy()))
    return table, float(table["learning_rate"][_NOISY + int(np.argmin(slope[_NOISY : -_NOISY // 2]))])


def _forever(data: TrainingData, batch_size: int, seed: int) -> Iterator[tuple[list[np.ndarray], np.ndarray, np.ndarray]]:
    epoch = 0
    while True:
        yield from data.batches(batch_size, seed, epoch, 0)
        epoch += 1
