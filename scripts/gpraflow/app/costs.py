"""Rough time and memory of a run, from speeds that were measured once: orders of magnitude, not promises.

The figures are those of docs/benchmarks.md, which names the program for each, on 2 cores of a machine with AVX-512.
"""

from typing import Any

from gpraflow.core import limits
from gpraflow.core.inspection import about

# Promoters per second in training, window of 110 bp ("Speed of models": benchmarks/training.py).
_TRAINING = {
    ("compact", ""): 1_300,
    ("biochemical", "small"): 5_500,
    ("biochemical", ""): 3_700,
    ("slides", "small"): 1_600,
    ("slides", ""): 47,
    ("vaishnav_cnn", ""): 410,
    ("vaishnav_transformer", ""): 66,
    ("legnet", ""): 60,
    ("dream_cnn", ""): 55,
    ("dream_rnn", ""): 34,
    ("dream_attn", ""): 19,
    # Trained once, not in epochs ("Learning curves": benchmarks/learning_curve.py).
    ("baseline_kmer", ""): 16_000,
    ("baseline_motif", ""): 1_000,
}
_WINDOW = 110
# "Windows of other libraries": 230 bp takes 2.3 times as long as 110 bp, 500 bp 5.1 times; memory of training 1.3, 1.8, 3.1 GB.
_LONGER = 1.1  # time grows by the window's ratio to 110 bp, times this
_TRAINING_GB, _TRAINING_GB_PER_BP = 1.3, 0.0046
_READS = 870_000  # reads per second of count_reads ("Counting reads": benchmarks/reads.py)
_DISTINCT = 96_000  # distinct inserts per second of merge_counts (same section)
_ROWS = 147_000  # promoters per second from ingest_table to shards ("Library of the size of DREAM 2022": benchmarks/full_scale.py)
_STEPS = 3  # that need most memory are named
SOURCE = "speeds of docs/benchmarks.md, 2 cores; orders of magnitude"


def training_rate(name: str, preset: str, window: int) -> float:
    """Return promoters per second in training; 0 if the architecture was not measured."""
    rate = _TRAINING.get((name, preset)) or _TRAINING.get((name, ""), 0)
    return rate / max(1.0, window / _WINDOW * _LONGER) if window > _WINDOW else rate * _WINDOW / window


def memory(config: dict[str, Any], promoters: int, distinct: int) -> dict[str, int]:
    """Return about how many bytes of memory the steps need that need most; ``distinct`` as of `lines`."""
    found = {rule: limits.needed(rule, promoters) for rule in limits.MEMORY_NEEDED if rule != "merge_counts"}
    if distinct:
        found["merge_counts"] = limits.needed("merge_counts", distinct)
    longer = max(0, config["scaffold"]["length"] - _WINDOW)
    return found | {"train_model": round(1e9 * (_TRAINING_GB + longer * _TRAINING_GB_PER_BP))}


def too_large(needed: dict[str, int]) -> list[str]:
    """Return a message for each step that holds a library larger than the memory that this machine allows (`memory`)."""
    return [text for rule in limits.MEMORY_NEEDED if rule in needed and (text := limits.too_large(rule, needed[rule]))]


def lines(config: dict[str, Any], preset: str, promoters: int, trained: int, reads: int, distinct: int) -> list[tuple[str, str]]:
    """Return what takes time and memory, and about how much.

    Parameters
    ----------
    config
        A config with all defaults.
    preset
        Of the model.
    promoters, trained
        Promoters of the library, and those of the training split.
    reads, distinct
        Reads to count, and distinct inserts; 0 if the run does not start from reads.
    """
    training, name, window = config["training"], config["model"]["name"], config["scaffold"]["length"]
    parts: list[str] = []
    if reads:
        parts.append(f"{duration(reads / _READS + distinct / _DISTINCT)} for {about(reads)} reads")
    parts.append(f"{duration(promoters / _ROWS)} for tables, clusters and shards")
    rate, baseline = training_rate(name, preset, window), name.startswith("baseline_")
    epochs, members = (1, 1) if baseline else (training["epochs"], training["ensemble"])
    if rate:
        times = "" if baseline else f" ({epochs} epochs{f' x {members} members' if members > 1 else ''})"
        parts.append(f"{duration(trained * epochs * members / rate)} for training {name}{times}")
    else:
        parts.append(f"unknown for training {name}, whose speed was not measured")
    needed = memory(config, promoters, distinct)
    most = sorted(needed, key=lambda each: -needed[each])[:_STEPS]
    return [
        ("time", f"{'; '.join(parts)}; some minutes for checks and report"),
        ("memory", f"about {', '.join(f'{needed[rule] / 1e9:.2g} GB ({rule})' for rule in most)}; at most {limits.least()[1]}"),
        ("estimated from", SOURCE),
        *(("warning", text) for rule in most if (text := limits.too_large(rule, needed[rule]))),
    ]


def duration(seconds: float) -> str:
    """Return a rough duration: ``less than a minute``, ``about 5 min``, ``about 3 h``, ``about 2 days``."""
    for unit, size, least in (("days", 86_400, 172_800), ("h", 3_600, 5_400), ("min", 60, 60)):
        if seconds >= least:
            return f"about {float(f'{seconds / size:.1g}'):g} {unit}"
    return "less than a minute"
