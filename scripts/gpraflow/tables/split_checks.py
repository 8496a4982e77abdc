"""Sizes of the splits: an error if a split is too small to train, validate or score on, and warnings."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.tables.splits import NOT_DRAWN, SEVERAL, Assignment, Clusters, among, by_digest

FEWEST, FEW = 10, 50  # promoters of a split, below which the run stops, or warns
_LEAST_SHARE, _MOST_SHARE = 0.5, 1.5  # of the share set by split.fractions, outside which the run warns
_PROMOTERS_OFF = 20  # smallest difference from the requested number that is worth a warning; smaller ones are chance
_LARGE = 0.25  # share of the promoters from which the largest cluster explains uneven splits
_NO_FRACTIONS = f"no split.fractions give each split {FEW} promoters"
_APART = (
    "if the library consists of designed mutants of one parent, set split.method: positions; otherwise use more diverse promoters, "
    "check the column group, or lower neighbours.max_edits"
)


def check(
    assigned: Assignment,
    *,
    method: str,
    fractions: Mapping[str, float],
    overlaps: pl.DataFrame,
    independent: str,
    seed: int,
    origin: str,
    ledger: Ledger,
) -> list[dict[str, Any]]:
    """Check the sizes of the splits.

    Parameters
    ----------
    assigned
        The splits (`splits.assign`).
    method, fractions, overlaps, independent, seed, origin
        As for `splits.assign`.
    ledger
        Ledger that `splits.assign` has written to.

    Returns
    -------
    list of dict
        One row per split with the columns `verdicts.COLUMNS`. The verdict is a warning if the split has fewer than `FEW` promoters, or
        fewer that were measured in one of several conditions; or if its share of all promoters in splits is below half or above 1.5
        times the share set by ``fractions``, and differs from it by at least 20 promoters.

    Raises
    ------
    InputError
        If a split has fewer than `FEWEST` promoters. The message names the cause, such as one cluster that holds nearly everything, and,
        for the method ``hash``, fractions that would give each split `FEW` promoters, if there are any.
    """
    sizes, clusters = assigned.sizes(), assigned.clusters
    names, total = list(sizes), len(assigned.of)
    largest = "" if method == "positions" else _largest(clusters)
    for name in sorted(names, key=lambda one: sizes[one] > 0):  # empty splits first
        if sizes[name] >= FEWEST:
            continue
        shown = ", ".join(f"{other} {size:,}" for other, size in sizes.items())
        size = "is empty" if not sizes[name] else f"has {sizes[name]} promoter{'' if sizes[name] == 1 else 's'}, fewer than {FEWEST}"
        reasons = list(_reasons(name, clusters, method, names, largest, ledger))
        if method == "hash" and not (name == "train" and _not_drawn(ledger)):
            excluded = among(assigned.table, overlaps["sequence"]) if independent == "drop" else np.zeros(total, bool)
            reasons.append(_proposal(clusters, names, seed, excluded))
        message = "; ".join(filter(None, reasons))
        where = f" ({total} promoters in all)" if not sizes[name] else f" ({total} in all: {shown})"
        raise InputError(f"{origin}: the split '{name}' {size}{where}; {message}")
    return [_verdict(name, sizes, assigned.part(name), fractions, method, largest, ledger) for name in names]


def _largest(clusters: Clusters) -> str:
    """Return a sentence on the largest cluster; empty if it holds less than a quarter of the promoters."""
    most, total = int(clusters.sizes().max(initial=0)), len(clusters.first)
    if most < max(2.0, _LARGE * total):
        return ""
    return (
        f"the largest cluster of near-duplicates (neighbours.max_edits) has {most:,} of {total:,} promoters ({100 * most / total:.0f} %), "
        "and a cluster is not divided between splits"
    )


def _dropped(name: str, ledger: Ledger) -> int:
    """Return the number of promoters that leakage control dropped from a split."""
    return sum(rows for (kind, what), rows in ledger.counts.items() if kind == "dropped" and what.startswith(f"from {name}: near-dup"))


def _not_drawn(ledger: Ledger) -> int:
    return ledger.counts.get(("dropped", NOT_DRAWN), 0)


def _reasons(name: str, clusters: Clusters, method: str, names: list[str], largest: str, ledger: Ledger) -> Iterator[str]:
    """Yield causes of a split that is too small, and remedies."""
    dropped, number = _dropped(name, ledger), int(clusters.heads.sum())
    if dropped:
        yield f"leakage control dropped {dropped:,} promoters from '{name}' as near-duplicates of those in a later split or another set"
    if name == "train" and _not_drawn(ledger):
        yield "set a larger split.train_promoters"
    elif method == "column" and not dropped:
        yield "correct the split column or remove the split from split.names"
    elif method == "list" and name == "test":
        yield "list more promoters in split.test_sequences"
    elif method == "positions":
        several = ledger.counts["dropped", SEVERAL]
        yield f"{several:,} variants were left out because their mutated positions are assigned to several splits"
        yield f"set a larger split.fractions.{name} (fraction of the mutated positions)"
    elif number < 2 * len(names):
        shown = "one cluster" if number == 1 else f"{number} clusters"
        yield f"all promoters form {shown}, and a cluster is not divided between splits: {_APART}"
    elif largest:
        yield f"{largest}: {_APART}"
    elif method == "list":
        yield f"set a larger split.fractions.{name}"
    elif method == "column":
        yield "give near-duplicates the same split in the split column, or lower neighbours.max_edits"


def _proposal(clusters: Clusters, names: list[str], seed: int, excluded: np.ndarray) -> str:
    """Return fractions that give each split `FEW` promoters, tried with the run's own hash; or else fewer, with a remark."""
    tried, digests = [], clusters.digests(seed)
    for held_out in np.arange(0.05, 0.9 / max(1, len(names) - 1), 0.05).round(2).tolist():
        fractions = dict.fromkeys(names, held_out) | {"train": round(1 - held_out * (len(names) - 1), 2)}
        of = by_digest(digests, fractions)
        sizes = {name: int(((of == index) & ~(excluded & (name != "test"))).sum()) for index, name in enumerate(names)}
        shown = ", ".join(f"{name}: {fraction}" for name, fraction in fractions.items())
        text = f"split.fractions: {{{shown}}} gives {', '.join(f'{name} {size:,}' for name, size in sizes.items())} promoters"
        tried.append((min(sizes.values()), text))
    for least in (FEW, 2 * FEWEST, FEWEST):  # of those that give so many, the one with the largest train split
        for smallest, text in tried:
            if smallest >= least:
                return text if least == FEW else f"{_NO_FRACTIONS}; {text}"
    return _NO_FRACTIONS


def _few_in_conditions(part: pl.LazyFrame) -> str:
    """Return the conditions in which fewer than `FEW` promoters of a split were measured, with their numbers."""
    columns = [name for name in part.collect_schema() if name.startswith("expression.")]
    if not columns:
        return ""
    measured = part.select(pl.col(columns).count()).collect(engine="streaming").row(0, named=True)
    return ", ".join(f"{name.partition('.')[2]} ({number})" for name, number in measured.items() if number < FEW)


def _verdict(
    name: str,
    assigned: Mapping[str, int],
    part: pl.LazyFrame,
    fractions: Mapping[str, float],
    method: str,
    largest: str,
    ledger: Ledger,
) -> dict[str, Any]:
    sizes = {one: size + (_not_drawn(ledger) if one == "train" else 0) for one, size in assigned.items()}
    size, text, warnings = assigned[name], f"{assigned[name]:,} promoters", []
    drawn = [one for one in assigned if method != "column" and not (method == "list" and one == "test")]  # by split.fractions
    if name in drawn:
        total = sum(sizes[one] for one in drawn)
        share, requested = sizes[name] / total, fractions[name] / sum(fractions[one] for one in drawn)
        text += f", {100 * share:.3g} % of {total:,}; split.fractions sets {100 * requested:.3g} %"
        uneven = not _LEAST_SHARE <= share / requested <= _MOST_SHARE
        if uneven and abs(share - requested) * total >= _PROMOTERS_OFF:
            warnings.append("this share differs much from that of split.fractions" + (f", because {largest}" if largest else ""))
    if dropped := _dropped(name, ledger):
        text += f"; {dropped:,} more were dropped as near-duplicates"
    if size < FEW:
        warnings.append(f"results for splits with fewer than {FEW} promoters are imprecise")
    elif few := _few_in_conditions(part):
        warnings.append(f"fewer than {FEW} were measured in {few}, so that results there are imprecise")
    verdict = "warning" if warnings else "ok"
    return {"dataset": name, "check": "split size", "value": float(size), "verdict": verdict, "text": "; ".join([text, *warnings])}
