"""Training options and the description of the network to build."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from gpraflow.sequences import scaffold
from gpraflow.training import objectives, schedules


@dataclass(frozen=True)
class Options:
    """Training options: the keys of the config's section ``training``."""

    backend: Literal["auto", "jax", "tensorflow"]
    device: Literal["auto", "cpu", "gpu", "tpu"]
    seed: int
    epochs: int
    batch_size: int
    loss: objectives.Loss
    huber_delta: float
    bin_labels: Literal["normal", "cells"]
    bins: int
    cells_prior: float
    difference_weight: float
    sample_weight: Literal["none", "weight", "n_reads"]
    reads_half: float
    optimizer: Literal["adam", "adamw", "rmsprop", "lion"]
    learning_rate: float
    schedule: schedules.Schedule
    warmup_steps: int
    weight_decay: float
    gradient_clip: float
    ema: float
    patience: int
    rc_augmentation: bool
    rc_averaging: bool
    precision: Literal["float32", "mixed_bfloat16"]
    ensemble: int
    divergence_factor: float
    checkpoint_steps: int
    initial_model: str
    teacher: str
    teacher_promoters: int
    teacher_mutants: float


@dataclass(frozen=True)
class Blueprint:
    """The network to build: architecture, preset, all sizes, and external inputs.

    ``upstream`` is the plasmid sequence upstream of the promoter, 5' to 3'; ``motifs`` is a motif file; empty for none.
    """

    name: str
    preset: str
    sizes: Mapping[str, Any]
    upstream: str = ""
    motifs: str = ""

    @classmethod
    def read(cls, model: Mapping[str, Any], scaffolds: str | os.PathLike, motifs: str) -> "Blueprint":
        """Return the blueprint for ``name``, ``preset``, ``sizes`` and ``scaffold``; the file ``scaffolds`` holds the plasmid sequence."""
        upstream = scaffold.load(scaffolds, model["scaffold"]).upstream
        return cls(model["name"], model["preset"], model["sizes"], upstream, motifs)
