"""Assay quality control as custom content for MultiQC (doi:10.1093/bioinformatics/btw354), which collects such files from many runs.

Each file is JSON as described in https://docs.seqera.io/multiqc/custom_content; names end in ``_mqc.json``, by which MultiQC finds them.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from gpraflow.core import files
from gpraflow.core.ledger import load
from gpraflow.report.parts import of_95, read_intervals, read_json

_SCORES = {"r": "Pearson r", "rho": "Spearman rho", "R2": "R2", "n": "promoters"}


def content(
    run: str, ledger: pl.DataFrame, metrics: Mapping[str, Any], intervals: Sequence[Mapping[str, str]]
) -> dict[str, dict[str, Any]]:
    """Return file name -> content for a run.

    Parameters
    ----------
    run
        Name of the run; samples are named ``run: bin`` and ``run: data set``, so that runs can be shown beside each other.
    ledger
        The run's `ledger`.
    metrics
        Content of ``metrics.json``.
    intervals
        Rows of ``intervals.tsv``.
    """
    found = {}
    reads = _bars(run, ledger.filter(rule="count_reads"), "counted")
    if reads:
        found["gpraflow_reads_mqc.json"] = _section(
            "gpraflow_reads",
            "Reads per sorted bin",
            "Reads of each bin: counted, and lost with the reason. A bin that loses many reads for one reason was sequenced poorly, or its "
            "flanks differ from the configured scaffold.",
            "bargraph",
            reads,
            {"title": "gpraflow: reads per sorted bin", "ylab": "reads"},
        )
    promoters = _bars(run, ledger.filter(rule="split_promoters", dataset="library"), "in splits")
    if promoters:
        found["gpraflow_promoters_mqc.json"] = _section(
            "gpraflow_promoters",
            "Promoters",
            "Promoters of the library in the splits, and those lost there with the reason.",
            "bargraph",
            promoters,
            {"title": "gpraflow: promoters in splits", "ylab": "promoters"},
        )
    covered = {row["dataset"]: float(row["inside"]) for row in of_95(intervals)}
    scores = {
        f"{run}: {of['title']}": {label: of[name] for name, label in _SCORES.items() if of.get(name) is not None}
        | ({"coverage of 95 % intervals": covered[name]} if name in covered else {})
        for name, of in metrics["datasets"].items()
    }
    found["gpraflow_scores_mqc.json"] = _section(
        "gpraflow_scores",
        "Scores of the model",
        "Predicted against measured expression of each data set; splits of the library are leakage-controlled.",
        "table",
        scores,
        {"title": "gpraflow: scores of the model"},
    )
    return found


def _bars(run: str, rows: pl.DataFrame, kept: str) -> dict[str, dict[str, int]]:
    """Return sample -> category -> rows of a step: those that were kept, and those dropped for each reason."""
    found: dict[str, dict[str, int]] = {}
    for dataset, kind, what, count in (
        rows.filter(pl.col("kind").is_in(["out", "dropped"])).select("dataset", "kind", "what", "rows").iter_rows()
    ):
        sample = found.setdefault(f"{run}: {dataset}", {})
        sample[kept if kind == "out" else what] = count
    return found


def _section(name: str, title: str, text: str, kind: str, data: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    parent = {"parent_id": "gpraflow", "parent_name": "gpraflow", "parent_description": "Promoter library from sorting and sequencing."}
    about = {"id": name, "section_name": title, "description": text, "plot_type": kind, "pconfig": {"id": f"{name}_plot", **config}}
    return parent | about | {"data": dict(data)}


def of_run(results: Path, run: str) -> dict[str, dict[str, Any]]:
    """Return the `content` of a finished run."""
    return content(run, load([results / "ledger.tsv"]), read_json(results / "metrics.json"), read_intervals(results))


def write(contents: Mapping[str, Mapping[str, Any]], folder: str | os.PathLike) -> None:
    """Write the files of `content`."""
    for name, one in contents.items():
        files.write_json(Path(folder) / name, one)
