"""Training and validation data of a run."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from gpraflow.models import registry
from gpraflow.shards import batches as shards_batches
from gpraflow.shards.records import EXPRESSION, SEQUENCE
from gpraflow.training import objectives, steppers, teacher
from gpraflow.training.options import Options

# Data


class TrainingData:
    """Batches of the training split, with the teacher's promoters if there is one, and the validation split.

    Attributes
    ----------
    measured, rows : int
        Number of promoters of the training split, and of these and the teacher's.
    """

    def __init__(
        self, receipt: dict[str, Any], work: Path, architecture: registry.Architecture, options: Options, permuted_labels: bool = False
    ):
        self.options, self.inputs = options, architecture.inputs
        wanted = registry.features_of(asdict(options), architecture)
        source = shards_batches.open_split(receipt, "train")
        features = (SEQUENCE, EXPRESSION, *wanted)
        if permuted_labels:
            self.table: shards_batches.MemoryMap = shards_batches.PermutedLabels(source, work / "shards", features, options.seed)
        else:
            self.table = shards_batches.MemoryMap(source, work / "shards", features)
        self.length, self.measured = source.manifest["length"], len(self.table)
        labels = self.table.take(np.arange(self.measured), (EXPRESSION, *wanted))
        expression = labels[EXPRESSION]
        self.conditions: list[str] = source.manifest.get("conditions", [])
        none = objectives.Objective("mse", 1, 1.0, 0.0)  # baselines: expression without transform
        self.objective: objectives.AnyObjective = objectives.Objectives(dict.fromkeys(self.conditions, none)) if self.conditions else none
        if not architecture.baseline:
            self.objective = objective_of(expression, labels.get(objectives.CELLS), options, self.conditions)
        self.variance = np.nanvar(expression, axis=0, dtype=np.float64)
        self.mean_weight = float(self.weights(labels).mean(dtype=np.float64))
        self.val = shards_batches.load(receipt, "val")
        if options.teacher and not architecture.baseline and not permuted_labels:
            number, mutants = options.teacher_promoters, options.teacher_mutants
            self.table = teacher.distil(self.table, work, receipt, options.teacher, number, mutants, options.seed, options.backend)
        self.rows = len(self.table)

    def weights(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return the sample weights of a batch, ``(rows, conditions)`` float32; 0 where a promoter was not measured.

        They are 1, the column ``weight``, or n / (n + reads_half) for n reads.
        """
        weights = sample_weights(batch, self.options.sample_weight, self.options.reads_half)
        return np.where(np.isfinite(batch[EXPRESSION]), weights, np.float32(0))

    def batches(self, batch_size: int, seed: int, epoch: int, start: int) -> Iterator[tuple[list[np.ndarray], np.ndarray, np.ndarray]]:
        """Yield inputs, targets and weights (mean 1) of this process's part of an epoch's batches, starting at batch ``start``."""
        flagged = "reverse" in self.inputs  # such a model reverse-complements its channels itself
        turn = self.options.rc_augmentation and not flagged
        process, processes = steppers.process()
        size = batch_size // processes
        batches = self.table.batches(batch_size, seed=seed, epoch=epoch, start=start, turn=turn, process=(process, processes))
        for step, batch in enumerate(batches, start=start):
            reverse = np.zeros((size, 1), np.float32)
            if flagged and self.options.rc_augmentation:
                reverse[:, 0] = shards_batches.strands(batch_size, seed, epoch, step)[process * size : (process + 1) * size]
            features = batch | {"tokens": batch[SEQUENCE], "reverse": reverse}
            weight = (self.weights(batch) / self.mean_weight).astype(np.float32)
            yield [features[name] for name in self.inputs], self.objective.targets(batch), self.objective.weights(weight)


def objective_of(
    expression: np.ndarray, cells: np.ndarray | None, options: Options, conditions: Sequence[str] = ()
) -> objectives.AnyObjective:
    """Return the objective selected by the options, fitted to labels (`objectives.fit_conditions`)."""
    return objectives.fit_conditions(
        expression,
        cells,
        conditions,
        options.difference_weight,
        loss=options.loss,
        bins=options.bins,
        huber_delta=options.huber_delta,
        cells_prior=options.cells_prior,
    )


def sample_weights(batch: Mapping[str, np.ndarray], kind: str, reads_half: float) -> np.ndarray:
    """Return the sample weights of promoters, ``(rows, conditions)`` float32.

    Parameters
    ----------
    batch
        Features of promoters.
    kind
        ``none``: 1 for all; ``weight``: the column ``weight``; ``n_reads``: n / (n + ``reads_half``), because label noise decreases with
        sequencing depth.
    reads_half
        Number of reads at which the weight is 1/2.
    """
    if kind == "none":
        return np.ones(batch[EXPRESSION].shape, np.float32)
    values = batch[kind]
    return values if kind == "weight" else values / (values + np.float32(reads_half))
