"""The steps of a run: designs and the comparison of searches, their judgement, and the files of both."""

import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import files
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.design import oligos, searches
from gpraflow.design.designs import REASONS, Designer, Designs, options_of, read_starts
from gpraflow.prediction.predictor import Predictor
from gpraflow.sequences import motifs as sequences_motifs
from gpraflow.sequences.scaffold import tokenize

_COMPARED = ("search", "penalty")  # columns that the table of compared searches begins with
FILES = {
    "designs": "designs.parquet",
    "table": "designs.tsv",
    "fasta": "designs.fasta",
    "oligos": "oligos.csv",
    "trajectory": "trajectory.parquet",
}


def write(found: Designs, designer: Designer, paths: Mapping[str, str | os.PathLike]) -> None:
    """Write designs to the files ``designs``, ``table``, ``fasta`` (inserts), ``oligos`` and ``trajectory`` (`FILES`)."""
    table = found.table
    files.write_parquet(paths["designs"], table)
    files.write_text(paths["table"], table.write_csv(separator="\t", float_precision=6))
    lines = [
        f">{name} objective={objective}{'' if target is None else f' target={target:.6g}'} predicted={predicted:.6g}\n{insert}\n"
        for name, objective, target, predicted, insert in table.select("name", "objective", "target", "predicted", "insert").iter_rows()
    ]
    files.write_text(paths["fasta"], "".join(lines))
    pool = oligos.pool_table(table["name"], table["insert"], designer.options.pool, designer.flanks)
    files.write_text(paths["oligos"], pool.write_csv())
    files.write_parquet(paths["trajectory"], found.trajectory)


def summary(found: Designs, designer: Designer, seconds: float) -> dict[str, Any]:
    """Return what was asked for and what was reached, by the model.

    Returns
    -------
    dict
        ``designs``, ``partial``, ``notes``; ``search``, ``budget``, ``spread_weight``, ``distance_weight``, ``tolerance``;
        ``within_tolerance`` (share of the designs with a target, None without any), ``out_of_distribution`` (share), ``calls`` (mean per
        design) and ``seconds``.
    """
    table, options = found.table, designer.options
    within = table["within_tolerance"].drop_nulls()
    return {
        "designs": table.height,
        "partial": found.partial,
        "notes": found.notes,
        "search": options.search,
        "budget": options.budget,
        "spread_weight": designer.spread,
        "distance_weight": options.distance_weight,
        "tolerance": designer.tolerance,
        "within_tolerance": float(within.mean()) if len(within) else None,  # type: ignore[arg-type]
        "out_of_distribution": float((table["out_of_distribution"] != "").mean()) if table.height else None,  # type: ignore[arg-type]
        "calls": float(table["calls"].mean()) if table.height else None,  # type: ignore[arg-type]
        "seconds": round(seconds, 2),
    }


def design_and_compare(
    predictor: Predictor,
    keys: Mapping[str, Any],
    library: pl.DataFrame,
    motif_file: str,
    starts_file: str,
    paths: Mapping[str, str | os.PathLike],
) -> None:
    """Design promoters and compare searches, as the config section ``design`` says.

    Parameters
    ----------
    predictor
        The model.
    keys
        The section, with numbers in place of ``auto`` in ``number`` and ``compared``.
    library
        Training promoters.
    motif_file, starts_file
        Known motifs, and given starts; empty for none.
    paths
        `FILES`; ``compared``, the table of `compare`, without rows if nothing is compared; and ``search``, the `summary`.
    """
    predictor = predictor.of(keys["condition"])
    known = sequences_motifs.load(motif_file) if motif_file else []
    given = read_starts(predictor, starts_file, Ledger("design_promoters", "")) if starts_file else None
    begun = time.monotonic()
    designer = Designer(predictor, options_of(keys, known), library, given)
    found = designer.run()
    if found.partial:
        raise KeyboardInterrupt  # a run has no partial results
    seconds = time.monotonic() - begun
    for note in found.notes:
        print(note)
    write(found, designer, paths)
    compared = compare(designer, keys["compared"]) if keys["compared"] else found.table.clear().with_columns(penalty=pl.lit(True))
    files.write_parquet(paths["compared"], compared)
    files.write_json(
        paths["search"], summary(found, designer, seconds) | {"seconds_compared": round(time.monotonic() - begun - seconds, 2)}
    )


def compare(designer: Designer, number: int) -> pl.DataFrame:
    """Design extremes from the same starts by each search, with and without the penalties for uncertainty.

    Targets are left out, because each search reaches those within the range of the library; without ``maximize`` and ``minimize`` among the
    objectives, both are compared.

    Parameters
    ----------
    designer
        Model, library and options.
    number
        Designs of each objective, for each search.

    Returns
    -------
    polars.DataFrame
        ``search`` and ``penalty``, then the columns of `designs.Designs.table`; ``nearest`` and ``distance`` are null.
    """
    extremes = tuple(kind for kind in designer.options.objectives if kind in REASONS) or tuple(REASONS)
    parts = []
    for method in searches.METHODS:
        if method == searches.GRADIENT and not designer.has_gradient:
            continue
        for penalty in (True, False):
            changes: dict[str, Any] = {"search": method, "number": number, "objectives": extremes}
            if not penalty:
                changes |= {"spread_weight": 0.0, "distance_weight": 0.0}
            table = designer.changed(**changes).run(together=True, nearest=False).table
            parts.append(table.with_columns(pl.lit(method).alias("search"), pl.lit(penalty).alias("penalty")))
    table = pl.concat(parts)
    return table.select(*_COMPARED, pl.exclude(_COMPARED))


def judge_of(model: Predictor, readout: str, library: pl.Series) -> tuple[Callable[[pl.Series], pl.DataFrame], np.ndarray]:
    """Return a function that predicts promoters by a second model, and its predictions for the library.

    Raises
    ------
    InputError
        If the judge's transform of expression is not none, so that its predictions cannot be compared.
    """
    model = model.of(readout)
    if model.transform.name == "rank_normal":
        raise InputError(f"design.judge: {model.directory} was trained on ranks; give a model that was trained as this run's")

    def predicted(sequences: pl.Series) -> np.ndarray:
        return model.members(tokenize(sequences, **model.window)).mean(axis=1)

    return lambda sequences: pl.DataFrame({"true": predicted(sequences), "measured": None}), predicted(library)
