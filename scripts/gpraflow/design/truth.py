"""Promised against true expression of designs: by the simulated assay, which knows the truth, or by a second model as the judge."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import files
from gpraflow.evaluation import metrics

TRUTH, JUDGE = "simulated assay", "judge"
ROWS = {
    "search": pl.String,
    "penalty": pl.Boolean,
    "objective": pl.String,
    "n": pl.Int64,
    "promised": pl.Float64,
    "true": pl.Float64,
    "optimism": pl.Float64,
    "mean_error": pl.Float64,
    "r": pl.Float64,
    "within_interval": pl.Float64,
    "beyond_library": pl.Float64,
}
_ENDS = (0.01, 0.99)  # quantiles of the library that extreme designs must pass


def rows_of(table: pl.DataFrame, library: np.ndarray) -> pl.DataFrame:
    """Return promised against true expression for each search, with and without penalty, and each objective.

    Parameters
    ----------
    table
        Designs with ``true``, and ``measured`` if they were measured; ``penalty`` may be missing.
    library
        True expression of the library, in the same units.

    Returns
    -------
    polars.DataFrame
        Columns `ROWS`. ``promised`` and ``true`` are means, ``optimism`` is by how much designs fall short of the promise (promised minus
        true for maximised designs, true minus promised for minimised ones, null for targets), ``mean_error`` the mean absolute difference,
        ``r`` Pearson's r between promised and true, for targets between target and true; ``within_interval`` the share whose measurement
        (without one: whose true expression) lies in the 95 % interval, and ``beyond_library`` the share beyond the library's 99th
        percentile (maximised) or 1st percentile (minimised).
    """
    table = table if "penalty" in table.columns else table.with_columns(penalty=pl.lit(True))
    low_end, high_end = np.quantile(library, _ENDS)
    found = []
    for (search, penalty, objective), part in table.group_by("search", "penalty", "objective", maintain_order=True):
        promised, true = (part[name].to_numpy().astype(np.float64) for name in ("promised", "true"))
        measured = part["measured"].to_numpy() if "measured" in part.columns else true
        low, high = (part[name].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in ("promised_low", "promised_high"))
        sign = {"maximize": 1.0, "minimize": -1.0}.get(str(objective))
        wanted = part["target"].to_numpy() if sign is None else promised
        r = metrics.pearson(wanted, true) if part.height > 2 and np.ptp(wanted) > 0 and np.ptp(true) > 0 else np.nan
        beyond = None if sign is None else float(((true > high_end) if sign > 0 else (true < low_end)).mean())
        known = np.isfinite(low)
        found.append(
            {
                "search": search,
                "penalty": penalty,
                "objective": objective,
                "n": part.height,
                "promised": promised.mean(),
                "true": true.mean(),
                "optimism": None if sign is None else float((sign * (promised - true)).mean()),
                "mean_error": float(np.abs(promised - true).mean()),
                "r": None if np.isnan(r) else float(r),
                "within_interval": float(((measured >= low) & (measured <= high))[known].mean()) if known.any() else None,
                "beyond_library": beyond,
            }
        )
    return pl.DataFrame(found, schema=ROWS)


def summarise(table: pl.DataFrame, library: np.ndarray, judged_by: str, seconds: float) -> dict[str, Any]:
    """Return the key figures of the designs that were selected.

    Returns
    -------
    dict
        ``judged_by`` (`TRUTH` or `JUDGE`), ``designs``, ``share_above_p99`` (of maximised designs), ``share_below_p1`` (of minimised ones),
        ``ladder_r`` (Pearson's r between target and true expression), ``coverage_95`` (share of measurements in the promised interval),
        ``coverage_95_true`` (share of true expression in it), ``mean_error`` and ``seconds`` of the search; None where there are no such
        designs.
    """
    rows = {row["objective"]: row for row in rows_of(table, library).iter_rows(named=True)}
    of_true = {row["objective"]: row for row in rows_of(table.drop("measured", strict=False), library).iter_rows(named=True)}
    total = table.height

    def mean(of: dict[str, dict[str, Any]], key: str) -> float | None:
        known = [(row[key], row["n"]) for row in of.values() if row[key] is not None]
        return sum(value * n for value, n in known) / sum(n for _, n in known) if known else None

    return {
        "judged_by": judged_by,
        "designs": total,
        "share_above_p99": rows.get("maximize", {}).get("beyond_library"),
        "share_below_p1": rows.get("minimize", {}).get("beyond_library"),
        "ladder_r": rows.get("target", {}).get("r"),
        "coverage_95": mean(rows, "within_interval"),
        "coverage_95_true": mean(of_true, "within_interval"),
        "mean_error": mean(rows, "mean_error"),
        "seconds": seconds,
    }


def in_order(columns: Sequence[str]) -> list[str]:
    """Return the columns that the tables of measured designs begin with, of those that exist."""
    first = (
        "name",
        "search",
        "penalty",
        "objective",
        "target",
        "predicted",
        "promised",
        "promised_low",
        "promised_high",
        "true",
        "measured",
    )
    return [name for name in first if name in columns]


def judge(
    inputs: Mapping[str, Any],
    outputs: Mapping[str, Any],
    measure: Callable[[pl.Series], pl.DataFrame],
    library: np.ndarray,
    judged_by: str,
) -> None:
    """Compare promised with true expression, and write the table of designs, the rows of all searches, and the key figures.

    Parameters
    ----------
    inputs, outputs
        ``designs``, ``compared`` and ``search``, files of designs (`output.design_and_compare`); ``measured``, ``truth`` and ``summary``.
    measure
        Returns ``true`` and ``measured`` of whole promoters, transformed as in training.
    library
        True expression of the library, in the same unit.
    judged_by
        `TRUTH` or `JUDGE`.
    """
    search = json.loads(Path(inputs["search"]).read_text(encoding="utf-8"))
    tables = [pl.read_parquet(inputs[name], glob=False) for name in ("designs", "compared")]
    result = measure(pl.concat([table["sequence"] for table in tables]))
    result = result if result["measured"].null_count() == 0 else result.drop("measured")
    designs = pl.concat([tables[0], result[: tables[0].height]], how="horizontal")
    others = pl.concat([tables[1], result[tables[0].height :]], how="horizontal")
    rows = [rows_of(designs, library).with_columns(set=pl.lit("designs"))]
    rows += [rows_of(others, library).with_columns(set=pl.lit("compared"))] if others.height else []
    files.write_parquet(outputs["measured"], designs.select(in_order(designs.columns)))
    files.write_text(outputs["truth"], pl.concat(rows).select("set", *ROWS).write_csv(separator="\t", float_precision=4))
    ends = dict(zip(("library_p1", "library_p99"), np.quantile(library, _ENDS).tolist(), strict=True))
    figures = summarise(designs, library, judged_by, search["seconds"])
    files.write_json(outputs["summary"], search | figures | ends)
