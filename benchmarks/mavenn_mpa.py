"""Measurement-process-agnostic (MPA) regression with MAVE-NN, for benchmarks/measurement_process.py.

It runs in a Python that has MAVE-NN, which is no dependency of gpraflow.
"""

import os
import time
from pathlib import Path

import numpy as np


def train(folder: str, epochs: int, batch_size: int, learning_rate: float, seed: int) -> dict[str, float]:
    """Train an additive model on ``data.npz`` of the folder, and write p(bin | sequence) and phi of its test split to ``mavenn.npz``."""
    os.environ["KERAS_BACKEND"] = "tensorflow"  # the only one of MAVE-NN
    import keras
    import mavenn

    data = np.load(Path(folder, "data.npz"))
    sequences, counts, split = data["sequences"], data["counts"], data["split"]
    train, test = split != "test", split == "test"
    keras.utils.set_random_seed(seed)
    started, cpu = time.perf_counter(), time.process_time()
    model = mavenn.Model(L=len(sequences[0]), Y=counts.shape[1], alphabet="dna", regression_type="MPA", gpmap_type="additive")
    model.set_data(x=sequences[train], y=counts[train], validation_flags=split[train] == "val", verbose=False)
    options = {"early_stopping": True, "early_stopping_patience": 15, "verbose": False, "try_tqdm": False}
    history = model.fit(epochs=epochs, batch_size=batch_size, learning_rate=learning_rate, **options).history
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    phi = np.asarray(model.x_to_phi(sequences[test])).ravel()
    probabilities = np.asarray(model.p_of_y_given_phi(np.arange(counts.shape[1]), phi, paired=False)).T
    np.savez(Path(folder, "mavenn.npz"), phi=phi, probabilities=probabilities)
    variational, predictive = (getattr(model, name)(sequences[test], counts[test]) for name in ("I_variational", "I_predictive"))
    names = ("variational", "variational_error", "predictive", "predictive_error")
    values = dict(zip(names, map(float, [*variational, *predictive]), strict=True))
    return values | {"version": mavenn.__version__, "epochs": len(history["loss"]), "seconds": seconds, "cpu_seconds": cpu_seconds}
