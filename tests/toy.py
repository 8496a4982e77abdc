"""Model directories made by hand: what the model says of a promoter is known."""

import json

import numpy as np
import polars as pl

from gpraflow.models import backend
from gpraflow.prediction import calibration, pairs
from gpraflow.sequences.scaffold import Scaffold

FIVE, THREE = "TTACATC", "GGTTACG"
LENGTH = 40
VALUES = {"A": 0.0, "C": 8.0, "G": 12.0, "T": 4.0, "N": 0.0}  # expression is the mean of these over the window
SD, NOISE = 0.5, 2.0  # residuals have the variance SD^2 + NOISE / reads


def inserts(rows, seed, length=26):
    bases = np.array(list("ACGT"))[np.random.default_rng(seed).integers(0, 4, (rows, length))]
    return ["".join(row) for row in bases]


def promoters(rows, seed):
    return [FIVE + insert + THREE for insert in inserts(rows, seed)]


def said(sequence):
    """What the model says of a whole promoter."""
    return sum(VALUES[base] for base in sequence[-LENGTH:]) / LENGTH


def table(rows, seed):
    """Promoters, their measured expression, and the reads that it is from."""
    rng = np.random.default_rng(seed + 1000)
    sequences, reads = promoters(rows, seed), rng.choice([2, 8, 32, 128], rows)
    measured = np.array([said(s) for s in sequences]) + rng.normal(size=rows) * np.sqrt(SD**2 + NOISE / reads)
    return pl.DataFrame({"sequence": sequences, "expression": measured.astype("f4"), "n_reads": reads})


def write_model(folder, spread=()):
    """Write a model; ``spread`` is what members of an ensemble add to the known expression."""
    backend.select_backend("jax")
    import keras

    folder.mkdir(parents=True)
    tokens = keras.Input((LENGTH,), dtype="int32", name="tokens")
    members = max(1, len(spread))
    base = keras.layers.Embedding(5, members, name="values")
    model = keras.Model(tokens, keras.layers.GlobalAveragePooling1D(name="mean")(base(tokens)), name="toy")
    base.set_weights([np.array([[value + extra for extra in spread or (0,)] for value in VALUES.values()], np.float32)])
    model.save(folder / "model.keras")
    about = {"architecture": "toy", "parameters": model.count_params(), "members": members}
    about["input"] = {"alphabet": "ACGTN", "length": LENGTH, "scaffold": "toy", "keep": "right", "pad": "left"}
    (folder / "model.json").write_text(json.dumps(about))
    return folder


def calibrate(folder, validation, **options):
    """Give a model its calibration, from a table with predictions."""
    found = calibration.fit(
        table(5000, 1).lazy(),
        validation,
        differences=pairs.differences([validation], lambda sequences: sequences.str.strip_prefix(FIVE).str.strip_suffix(THREE)),
        model=folder / "model.keras",
        scaffold=Scaffold("toy", FIVE, THREE),
        damaged_flanks="keep",
        max_flank_edits=1,
        length=LENGTH,
        keep="right",
        pad="left",
        **{"expression": table(5000, 1)["expression"].to_numpy()} | options,
    )
    calibration.write({"": found}, folder / calibration.FILE)
    return found


def write_whole(folder, rows=1000, **options):
    """Write a model with its calibration."""
    from gpraflow.prediction import predictor

    write_model(folder, **options)
    calibrate(folder, predictor.predict(folder, table(rows, 2)))
    return folder
