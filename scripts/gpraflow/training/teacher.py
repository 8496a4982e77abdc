"""Distillation: unlabelled promoters for which a trained model, the teacher, predicts the labels (Hinton et al. 2015, arXiv:1503.02531).

A single network can so learn the mean of an ensemble.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gpraflow.core import checksums, files, randomness
from gpraflow.core.errors import ConfigError
from gpraflow.models import directory as models_directory
from gpraflow.sequences.scaffold import BASES, PADDING
from gpraflow.shards import batches as shards_batches
from gpraflow.shards.records import EXPRESSION, SEQUENCE

MOST_MUTATIONS = 15  # per mutant; the number is uniform from 1
_CONSTANT = 0.99  # share of promoters of one length with the same base at a position of the flanks
_SURVEYED = 100_000  # promoters in which constant positions are sought
_BATCH = 1024
_FILE = "unlabelled-{}.npz"  # in the folder of checkpoints


class Distilled(shards_batches.MemoryMap):
    """The shards of the training split, followed by promoters with the teacher's labels.

    Other features of these, such as sample weights, are the means of the measured promoters.

    Parameters
    ----------
    table
        The measured promoters.
    tokens, labels
        ``(promoters, length)`` uint8 tokens and ``(promoters, conditions)`` float32 predictions of the teacher.
    """

    def __init__(self, table: shards_batches.MemoryMap, tokens: np.ndarray, labels: np.ndarray):
        self.manifest, self.features, self._table = table.manifest, table.features, table
        self._more = {SEQUENCE: tokens, EXPRESSION: labels}
        others = [name for name in self.features if name not in self._more]
        if others:
            of_measured = table.take(np.arange(len(table)), others)
            self._more |= {name: _filled(np.nanmean(values, axis=0), len(tokens)) for name, values in of_measured.items()}

    def __len__(self) -> int:
        """Return the number of promoters, measured or not."""
        return len(self._table) + len(self._more[SEQUENCE])

    def take(self, rows: np.ndarray, names: Sequence[str] | None = None) -> shards_batches.Batch:
        """Return features like `MemoryMap.take`."""
        measured = rows < len(self._table)
        batch = self._table.take(rows[measured], names)
        found = {}
        for name, values in batch.items():
            found[name] = np.empty((len(rows), values.shape[1]), values.dtype)
            found[name][measured], found[name][~measured] = values, self._more[name][rows[~measured] - len(self._table)]
        return found


def _filled(values: np.ndarray, rows: int) -> np.ndarray:
    return np.broadcast_to(values.astype(np.float32), (rows, len(values)))


def distil(
    table: shards_batches.MemoryMap,
    work: Path,
    receipt: Mapping[str, Any],
    teacher: str,
    number: int,
    mutants: float,
    seed: int,
    backend: str,
) -> Distilled:
    """Return a training split followed by unlabelled promoters with a teacher's labels.

    Parameters
    ----------
    table
        The training split.
    work
        Folder for the labels, so that a resumed training does not predict them again.
    receipt
        Receipt of the upload, from which the teacher must have been trained as well.
    teacher
        Model directory.
    number, mutants, seed
        See `unlabelled`.
    backend
        ``auto``, ``jax`` or ``tensorflow``.

    Raises
    ------
    ConfigError
        If the teacher was trained on other promoters, which may be among this run's validation or test promoters.
    InputError
        If the teacher is missing or damaged.
    """
    about = models_directory.describe_model(teacher)
    require_same_splits(teacher, about, receipt)
    asked = json.dumps([checksums.digests(Path(teacher) / "model.keras")["sha256"], about["data"], number, mutants, seed])
    path = work / _FILE.format(hashlib.sha256(asked.encode()).hexdigest()[:16])
    if path.is_file():
        with np.load(path) as saved:
            return Distilled(table, saved["tokens"], saved["labels"])
    some = np.unique(np.linspace(0, len(table) - 1, min(_SURVEYED, len(table))).round().astype(int))
    tokens = unlabelled(table.take(some, [SEQUENCE])[SEQUENCE], number, mutants, seed)
    print(f"train_model: {teacher} predicts the labels of {number:,} unlabelled promoters", flush=True)
    labels = predict(teacher, tokens, backend)
    with files.whole(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, tokens=tokens, labels=labels)
    return Distilled(table, tokens, labels)


def require_same_splits(teacher: str, about: Mapping[str, Any], receipt: Mapping[str, Any]) -> None:
    """Raise `ConfigError` unless the teacher was trained on the shards of this receipt, and predicts on their scale."""
    if about.get("scale") or about.get("scales"):
        raise ConfigError(
            f"training.teacher: {teacher} was recalibrated to the scale of another experiment; take the model that it was made from"
        )
    for split, entry in receipt["splits"].items():
        if about.get("data", {}).get(split) != entry["sha256"]:
            raise ConfigError(
                f"training.teacher: {teacher} was trained on another {split} split, so it may have seen this run's validation and test "
                "promoters; train the teacher with the same input, split and shards sections as this run"
            )


def describe(teacher: str, number: int) -> dict[str, Any]:
    """Return what ``model.json`` says of the teacher."""
    about = models_directory.describe_model(teacher)
    digest = checksums.digests(Path(teacher) / "model.keras")["sha256"]
    return {"architecture": about["architecture"], "members": about["members"], "sha256": digest, "promoters": number}


def predict(teacher: str, tokens: np.ndarray, backend: str) -> np.ndarray:
    """Return the mean prediction of a model's ensemble members, ``(promoters, conditions)`` float32."""
    model, about = models_directory.load(teacher, backend)
    from gpraflow.models import cpu  # imports Keras; the backend must be selected before

    found = cpu.faster(model).predict(tokens, batch_size=min(_BATCH, len(tokens)), verbose=0)
    return np.asarray(found, np.float32).reshape(len(tokens), about["members"], -1).mean(axis=1)


def unlabelled(tokens: np.ndarray, number: int, mutants: float, seed: int) -> np.ndarray:
    """Return promoters that are like training promoters, without labels.

    Parameters
    ----------
    tokens
        ``(promoters, length)`` tokens of training promoters.
    number
        Number of promoters to return.
    mutants
        Share of mutants: training promoters with 1 to `MOST_MUTATIONS` substitutions. The others are training promoters whose bases are
        all drawn anew, uniformly. All are made from training promoters of the most frequent length, which have their flanks at the same
        positions. Positions where 99 % of these have the same base, such as those of the flanks, and N do not change.
    seed
        Decides all draws.

    Returns
    -------
    numpy.ndarray
        ``(number, length)`` uint8 tokens; mutants first.

    Raises
    ------
    ConfigError
        If no position varies between these training promoters.
    """
    rng = randomness.generator(seed, "unlabelled promoters")
    bases_at = tokens < PADDING
    padding = np.stack([bases_at.argmax(axis=1), bases_at[:, ::-1].argmax(axis=1)])  # on the left and on the right
    _, length, count = np.unique(padding, axis=1, return_inverse=True, return_counts=True)
    tokens = tokens[length.ravel() == count.argmax()]
    shares = np.stack([(tokens == base).mean(axis=0) for base in range(PADDING + 1)])
    free = np.flatnonzero(shares.max(axis=0) < _CONSTANT)
    if not len(free):
        raise ConfigError(
            f"training.teacher: no position varies between the training promoters of the most frequent length ({len(tokens):,}), so "
            "that there is nothing to mutate"
        )
    made = tokens[rng.integers(0, len(tokens), number)]
    bases = made[:, free]
    first = round(mutants * number)  # promoters that are mutants
    wanted = np.minimum(rng.integers(1, MOST_MUTATIONS + 1, first), len(free))
    order = np.argsort(rng.random((first, len(free))), axis=1).argsort(axis=1)
    steps = np.where(order < wanted[:, None], rng.integers(1, BASES, order.shape), 0)
    changed = np.concatenate([(bases[:first] + steps) % BASES, rng.integers(0, BASES, bases[first:].shape)])
    made[:, free] = np.where(bases < PADDING, changed, bases)
    return made
