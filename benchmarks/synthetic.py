"""Made-up promoter libraries for benchmarks: as large as DREAM 2022 and of its shape, with near-duplicates whose partners are known."""

import numpy as np
import polars as pl
from isal import igzip

FIVE_PRIME, THREE_PRIME = b"TGCATTTTTTTCACATC", b"GGTTACGGCTGTT"
BASES = np.frombuffer(b"ACGT", np.uint8)
_ROWS = 200_000


def random_inserts(rows, rng, length=80):
    """Return ``(rows, length)`` ASCII codes."""
    return BASES[rng.integers(0, 4, (rows, length), dtype=np.uint8)]


def write_table(path, rows, seed=0, repeated=0.01):
    """Write a table like DREAM 2022's training set (sequence, tab, expression; no header; gzip) and return its distinct promoters.

    13 % of inserts have 79 bp, 5 % 81 bp, one in a thousand an N; 58 % of expressions are whole numbers; of the share ``repeated`` of rows
    the sequence is there before, with another expression.
    """
    rng = np.random.default_rng(seed)
    distinct, first = 0, None
    with open(path, "wb") as raw, igzip.IGzipFile(fileobj=raw, mode="wb", compresslevel=1, mtime=0) as handle:
        for begin in range(0, rows, _ROWS):
            size = min(_ROWS, rows - begin)
            inserts = random_inserts(size, rng, 81)
            unknown = np.flatnonzero(rng.random(size) < 0.001)
            inserts[unknown, rng.integers(0, 79, len(unknown))] = ord("N")
            length = rng.choice([79, 80, 81], size, p=[0.13, 0.82, 0.05])
            again = int(size * repeated) if first is not None else 0
            if first is None:
                first = inserts.copy()
            inserts[:again], length[:again] = first[:again], 80
            expression = rng.normal(11, 2.5, size).clip(0, 17)
            expression = np.where(rng.random(size) < 0.58, np.round(expression), expression)
            handle.write(_lines(inserts, length, expression))
            distinct += size - again
    return distinct


def _lines(inserts, length, expression):
    """Return rows of the table as bytes; expression has four decimal places."""
    text = np.empty((len(inserts), 120), np.uint8)
    text[:, :17], text[:, 17:98], text[:, 98:111] = np.frombuffer(FIVE_PRIME, np.uint8), inserts, np.frombuffer(THREE_PRIME, np.uint8)
    text[:, 17:98][np.arange(81) >= length[:, None]] = 0  # taken out below
    units = np.rint(expression * 10_000).astype(np.int64)
    text[:, 111], text[:, 114], text[:, 119] = np.frombuffer(b"\t.\n", np.uint8)
    for place, power in zip((112, 113, 115, 116, 117, 118), (100_000, 10_000, 1_000, 100, 10, 1), strict=True):
        text[:, place] = units // power % 10 + ord("0")
    return text[text != 0].tobytes()


def promoter_table(rows, seed=0):
    """Return a promoter table of random inserts with both flanks: ``sequence`` and ``expression``."""
    rng = np.random.default_rng(seed)
    parts = []
    for begin in range(0, rows, _ROWS):
        size = min(_ROWS, rows - begin)
        text = np.empty((size, 110), np.uint8)
        text[:, :17], text[:, 97:] = np.frombuffer(FIVE_PRIME, np.uint8), np.frombuffer(THREE_PRIME, np.uint8)
        text[:, 17:97] = random_inserts(size, rng)
        sequences = pl.Series(text.view("S110").ravel().tolist()).cast(pl.String)
        parts.append(pl.DataFrame({"sequence": sequences, "expression": rng.normal(11, 2.5, size).astype("f4")}))
    return pl.concat(parts)


def model_and_promoters(model, folder, rows, batch_size):
    """Return the predictor of a model directory, or of a small model if there is none, and random inserts without and with its flanks."""
    from gpraflow.prediction import predictor as prediction_predictor

    if not model:
        from tests import toy

        model = toy.write_whole(folder / "model")
    predictor = prediction_predictor.Predictor(model, batch_size=batch_size)
    five, three = predictor.flanks
    inserts = promoter_table(rows)["sequence"].str.slice(len(FIVE_PRIME), 80)
    return predictor, inserts, pl.Series([five + insert + three for insert in inserts])
