"""Cost of a run: run time, core-hours and memory of its jobs, from Snakemake's benchmark files."""

import os
from pathlib import Path

import polars as pl

from gpraflow.core import files
from gpraflow.core.errors import InputError

COLUMNS = {
    "rule": pl.String,
    "jobs": pl.Int64,
    "wall_seconds": pl.Float64,
    "core_seconds": pl.Float64,
    "core_hours": pl.Float64,
    "peak_memory_mb": pl.Float64,
}
_UNKNOWN = ("NA", "-", "")  # values for jobs too short to be measured


def read(folder: str | os.PathLike) -> pl.DataFrame:
    """Return the cost of each rule, from the last execution of its jobs, sorted by core-hours (descending).

    Parameters
    ----------
    folder
        Benchmark files, ``<rule>.tsv``, ``<rule>.<wildcards>.tsv`` or ``<rule>/<condition>.tsv``.

    Returns
    -------
    polars.DataFrame
        `COLUMNS`. ``wall_seconds`` and ``core_seconds`` (CPU time) are sums over jobs; ``peak_memory_mb`` is the maximum over jobs
        (resident memory in MB). For jobs with unknown CPU time, wall time is used.

    Raises
    ------
    InputError
        If a file is not a benchmark file.
    """
    rows = []
    for path in sorted(Path(folder).rglob("*.tsv")):
        try:
            job = pl.read_csv(path, separator="\t", infer_schema=False, glob=False).select("s", "cpu_time", "max_rss").row(-1, named=True)
            wall, cores, memory = (None if job[name] in (None, *_UNKNOWN) else float(job[name]) for name in ("s", "cpu_time", "max_rss"))
        except (pl.exceptions.PolarsError, ValueError, IndexError) as error:
            raise InputError(f"{path}: not a Snakemake benchmark file ({error}); remove it") from error
        rows.append((path.relative_to(folder).parts[0].split(".")[0], wall or 0.0, wall or 0.0 if cores is None else cores, memory))
    jobs = pl.DataFrame(rows, schema={"rule": pl.String, "wall": pl.Float64, "cores": pl.Float64, "memory": pl.Float64}, orient="row")
    costs = jobs.group_by("rule").agg(
        jobs=pl.len().cast(pl.Int64),
        wall_seconds=pl.col("wall").sum(),
        core_seconds=pl.col("cores").sum(),
        peak_memory_mb=pl.col("memory").max(),
    )
    costs = costs.with_columns(core_hours=pl.col("core_seconds") / 3600)
    return costs.select(*COLUMNS).sort("core_seconds", "rule", descending=[True, False])


def write(table: pl.DataFrame, path: str | os.PathLike) -> None:
    """Write the table from `read` as TSV."""
    files.write_text(path, table.write_csv(separator="\t", float_precision=5))
