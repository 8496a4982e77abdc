"""From reads per sorted bin to the expression of each promoter.

Bin b is the interval ``gates[b] .. gates[b + 1]`` of the sorted signal (log2 YFP/RFP, or bin units); the outer gates are open. Of
``cells[b]`` sorted cells, ``reads[b]`` reads were taken, ``r = reads / cells`` a cell.
"""

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import ndtr

from gpraflow import tables
from gpraflow.errors import ConfigError, InputError
from gpraflow.ledger import Ledger

_BLOCK = 10_000
_ROUNDS = 40
_TOLERANCE = 1e-5  # of a unit of the signal: far below any standard error
_Z95 = 1.959963984540054


@dataclass(frozen=True)
class Estimate:
    """Expression of promoters, each field of shape ``(promoters,)``.

    ``standard_error``, ``low`` and ``high`` (95 %) are in the units of ``expression``; ``cells`` are effective cells; ``sd`` is the
    spread of single cells within the promoter.
    """

    expression: np.ndarray
    standard_error: np.ndarray
    low: np.ndarray
    high: np.ndarray
    sd: np.ndarray
    cells: np.ndarray
    n_reads: np.ndarray
    n_bins: np.ndarray
    singleton: np.ndarray


def _reads_per_cell(counts: np.ndarray, cells: np.ndarray) -> np.ndarray:
    reads = counts.sum(axis=0, dtype=np.float64)
    return np.divide(reads, cells, out=np.zeros(len(cells)), where=cells > 0)


def _midpoints(gates: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the middle of each bin, and the mean width of the closed bins (1 where all are open), which open bins are given too."""
    inner = gates[1:-1]
    width = float(np.diff(inner).mean()) if len(inner) > 1 else 1.0
    return np.concatenate([[inner[0] - width / 2], (inner[:-1] + inner[1:]) / 2, [inner[-1] + width / 2]]), width


def _seen(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return counts.sum(axis=1), (counts > 0).sum(axis=1)


def weighted_mean(counts: np.ndarray, values: np.ndarray, cells: np.ndarray) -> Estimate:
    """Return the published estimate: the mean value of bins, weighted by the cells that the reads stand for.

    ``e = sum_b c_b v_b / sum_b c_b`` with ``c_b = n_b / r_b`` (de Boer et al. 2020, doi:10.1038/s41587-019-0315-8; v is the bin index).
    The standard error is ``sqrt(sum_b Var(c_b) (v_b - e)^2) / sum_b c_b`` with the variance of cells counted through reads,
    ``Var(c_b) = c_b (1 + r_b) / r_b`` (each cell gives a Poisson number of reads).

    Parameters
    ----------
    counts
        ``(promoters, bins)`` reads.
    values
        ``(bins,)`` index or midpoint of each bin.
    cells
        ``(bins,)`` cells sorted.

    Returns
    -------
    Estimate
        NaN where a promoter has no reads.
    """
    counts = np.asarray(counts)
    per_cell = _reads_per_cell(counts, cells)
    scale = np.divide(1.0, per_cell, out=np.zeros(len(per_cell)), where=per_cell > 0)
    weights = counts * scale
    total = weights.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = weights @ values / total
        square = weights @ values**2 / total
        noise = weights * (1 + scale)
        error = np.sqrt(np.maximum(noise @ values**2 - 2 * mean * (noise @ values) + mean**2 * noise.sum(axis=1), 0)) / total
        effective = np.maximum(total**2 / noise.sum(axis=1), total > 0)
    n_reads, n_bins = _seen(counts)
    sd = np.sqrt(np.maximum(square - mean**2, 0))
    return Estimate(mean, error, mean - _Z95 * error, mean + _Z95 * error, sd, effective, n_reads, n_bins, n_bins == 1)


def _interval_terms(mean: np.ndarray, log_sd: np.ndarray, gates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return P_b and the derivatives of log P_b by mean and by log sd, each ``(promoters, bins)``."""
    sd = np.exp(log_sd)[:, None]
    z = (gates[None, :] - mean[:, None]) / sd
    density = np.exp(-0.5 * z * z) / np.sqrt(2 * np.pi)
    inner = np.where(np.isfinite(z), z, 0.0)
    # Whichever tail is the smaller loses no digits.
    upper_tail = z[:, :-1] > 0
    probability = np.where(upper_tail, ndtr(-z[:, :-1]) - ndtr(-z[:, 1:]), ndtr(z[:, 1:]) - ndtr(z[:, :-1]))
    probability = np.maximum(probability, 1e-300)
    by_mean = (density[:, :-1] - density[:, 1:]) / (sd * probability)
    by_log_sd = (inner[:, :-1] * density[:, :-1] - inner[:, 1:] * density[:, 1:]) / probability
    return probability, by_mean, by_log_sd


def _fit(
    effective: np.ndarray,
    seen: np.ndarray,
    gates: np.ndarray,
    mean: np.ndarray,
    log_sd: np.ndarray,
    prior_mean: tuple[float, float],
    prior_log_sd: tuple[float, float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return mean, log sd and their variances at the mode of each promoter's posterior, by Fisher scoring."""
    out = np.stack([mean, log_sd, np.zeros(len(mean)), np.zeros(len(mean))])
    furthest = np.ptp(_midpoints(gates)[0]) / 4  # a step at a time
    active = np.arange(len(mean))  # most are there after a few rounds; the rest go on alone
    for _ in range(_ROUNDS):
        mean, log_sd = out[0, active], out[1, active]
        total = effective.sum(axis=1)
        probability, by_mean, by_log_sd = _interval_terms(mean, log_sd, gates)
        share = probability * seen
        share /= share.sum(axis=1, keepdims=True)
        centre_m, centre_s = _row_sums(share, by_mean), _row_sums(share, by_log_sd)
        slope_m = _row_sums(effective, by_mean) - total * centre_m - (mean - prior_mean[0]) / prior_mean[1] ** 2
        slope_s = _row_sums(effective, by_log_sd) - total * centre_s - (log_sd - prior_log_sd[0]) / prior_log_sd[1] ** 2
        share_m = share * by_mean
        i_mm = total * (_row_sums(share_m, by_mean) - centre_m**2) + 1 / prior_mean[1] ** 2
        i_ms = total * (_row_sums(share_m, by_log_sd) - centre_m * centre_s)
        i_ss = total * (_row_sums(share * by_log_sd, by_log_sd) - centre_s**2) + 1 / prior_log_sd[1] ** 2
        determinant = i_mm * i_ss - i_ms**2
        step_m = (i_ss * slope_m - i_ms * slope_s) / determinant
        step_s = (i_mm * slope_s - i_ms * slope_m) / determinant
        out[0, active] += np.clip(step_m, -furthest, furthest)
        out[1, active] += np.clip(step_s, -0.5, 0.5)
        out[2, active], out[3, active] = i_ss / determinant, i_mm / determinant
        going = np.maximum(np.abs(step_m), np.abs(step_s)) > _TOLERANCE
        active, effective = active[going], effective[going]
        if not len(active):
            break
    return out[0], out[1], out[2], out[3]


def _row_sums(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", a, b)


def maximum_likelihood(counts: np.ndarray, gates: np.ndarray, cells: np.ndarray, read_dispersion: float = 1.0) -> Estimate:
    """Estimate each promoter's mean signal by interval-censored maximum likelihood with shrinkage.

    Single cells of a promoter are normal on the log scale; the gates cut the signal into bins, the outer ones open. A cell of bin b
    gives r_b reads on average. If cells are Poisson and the reads of a cell have the variance ``r + (read_dispersion - 1) r^2``, the
    reads of a bin have the variance ``n (1 + read_dispersion r_b)``: they tell as much as ``n / (1 + read_dispersion r_b)`` cells,
    a share ``v_b = r_b / (1 + read_dispersion r_b)`` of those sorted. The (quasi-)likelihood of these effective cells is multinomial
    with probabilities proportional to ``v_b P_b(mean, sd)``.

    The sd within promoters is shared and each promoter's own is shrunk to it on the log scale (normal prior whose centre and width
    are estimated from deeply read promoters); the mean has the library's mean and twice its sd as a weak prior, which keeps
    promoters that were seen in an open bin only from running away.

    Parameters
    ----------
    counts
        ``(promoters, bins)`` reads.
    gates
        ``(bins + 1,)`` increasing limits; the first and last may be infinite and are taken as open in any case.
    cells
        ``(bins,)`` cells sorted.
    read_dispersion
        1 for a Poisson number of reads of each cell; larger for uneven amplification.

    Returns
    -------
    Estimate
        NaN where a promoter has no reads. ``cells`` are effective cells, at least 1.
    """
    counts = np.asarray(counts)
    gates = np.concatenate([[-np.inf], np.asarray(gates, np.float64)[1:-1], [np.inf]])
    per_cell = _reads_per_cell(counts, cells)
    seen = per_cell / (1 + read_dispersion * per_cell)
    n_reads, n_bins = _seen(counts)
    usable = n_reads > 0

    middle, width = _midpoints(gates)
    start = weighted_mean(counts[usable], middle, cells)
    effective = counts[usable] / (1 + read_dispersion * per_cell)
    # A promoter that was seen at all was seen through at least one cell.
    effective *= np.maximum(1.0, 1.0 / effective.sum(axis=1))[:, None]

    prior_mean = (float(start.expression.mean()), 2 * float(start.expression.std()) + width)
    deep = effective.sum(axis=1) >= 50
    first_sd = np.log(max(float(np.median(start.sd[deep if deep.any() else slice(None)])), width / 2))
    prior_log_sd = (first_sd, 0.3)
    if deep.sum() >= 20:
        rows = np.flatnonzero(deep)[:_BLOCK]
        _, own, _, variance = _fit(
            effective[rows], seen, gates, start.expression[rows], np.full(len(rows), first_sd), prior_mean, (first_sd, 1.0)
        )
        prior_log_sd = (float(np.median(own)), float(np.sqrt(max(np.var(own) - np.mean(variance), 0.02**2))))

    fitted = np.empty((4, usable.sum()))

    def fit_block(begin: int) -> None:
        part = slice(begin, begin + _BLOCK)
        log_sd = np.full(len(start.expression[part]), prior_log_sd[0])
        fitted[:, part] = _fit(effective[part], seen, gates, start.expression[part], log_sd, prior_mean, prior_log_sd)

    with ThreadPoolExecutor(os.cpu_count()) as pool:  # NumPy lets threads run side by side; blocks do not depend on each other
        list(pool.map(fit_block, range(0, fitted.shape[1], _BLOCK)))
    out = np.full((4, len(counts)), np.nan)
    out[:, usable] = fitted
    error = np.sqrt(out[2])
    total = np.zeros(len(counts))
    total[usable] = effective.sum(axis=1)
    return Estimate(out[0], error, out[0] - _Z95 * error, out[0] + _Z95 * error, np.exp(out[1]), total, n_reads, n_bins, n_bins == 1)


def read_counts(
    path: str | os.PathLike, bins: Sequence[str], columns: Mapping[str, str], ledger: Ledger
) -> tuple[pl.DataFrame, np.ndarray]:
    """Read a table of sequences and reads per bin.

    Parameters
    ----------
    path
        TSV, CSV (.gz, .zst) or Parquet with a header.
    bins
        Names of the columns that hold the reads of each bin.
    columns
        ``sequence``, ``group``, ``split``, ``source`` -> column, as for `tables.ingest`.
    ledger
        Takes the counts.

    Returns
    -------
    tuple
        The labels (one row a distinct sequence; reads of equal sequences are added up) and ``(promoters, bins)`` int64 reads.

    Raises
    ------
    InputError
        If a count is empty, negative or no whole number, or labels of equal sequences differ; with file and row.
    ConfigError
        If a column is not there.
    """
    roles = {f"bin {name}": name for name in bins}
    parts = []
    for rows in tables.read_columns(path, {**columns, **roles}, "counts", ledger):
        for role in roles:
            rows = tables.whole_numbers(rows, role, path)
        parts.append(rows)
    table = pl.concat(parts)
    labels = [name for name in ("group", "split", "source") if name in table.columns]
    for name in labels:
        spread = table.filter(pl.col(name).n_unique().over("sequence") > 1)
        if spread.height:
            raise InputError(f"{path}, row {spread['row'][0]}: the same sequence is there again with another {name}; mend the column")
    merged = table.group_by("sequence", maintain_order=True).agg(pl.col(labels).first(), pl.col(list(roles)).sum())
    ledger.drop("same sequence again, reads added up", table.height - merged.height)
    return merged.select("sequence", *labels), merged.select(list(roles)).to_numpy()


def check_bins(sheet: Sequence[Mapping[str, Any]], method: str, cells_from: str, origin: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return gates ``(bins + 1,)`` and cells ``(bins,)`` (None: take reads) of a sheet of bins.

    Without gates in the sheet, bins are their index: gates are -0.5, 0.5, ...

    Raises
    ------
    ConfigError
        If there are fewer than 2 or more than 64 bins, gates are missing for maximum likelihood, unordered, overlapping or apart, or
        cells are missing.
    """
    if not 2 <= len(sheet) <= 64:
        raise ConfigError(f"{origin}: {len(sheet)} bins; 2 to 64 are possible")
    given = [row for row in sheet if "lower" in row or "upper" in row]
    if given:
        gates = [sheet[0].get("lower", -np.inf)]
        for number, row in enumerate(sheet, start=2):
            lower, upper = row.get("lower", -np.inf), row.get("upper", np.inf)
            if not lower < upper:
                raise ConfigError(f"{origin}, row {number}: bin '{row['bin']}': lower gate {lower:g} is not below upper gate {upper:g}")
            if lower != gates[-1]:
                fault = "overlaps the one before" if lower < gates[-1] else "leaves a gap to the one before"
                raise ConfigError(
                    f"{origin}, row {number}: bin '{row['bin']}' ({lower:g} to {upper:g}) {fault}, which ends at {gates[-1]:g}"
                )
            gates.append(upper)
    elif method == "maximum_likelihood":
        raise ConfigError(
            f"{origin}: maximum_likelihood needs the columns lower and upper; give the gates or set counts.method: weighted_mean"
        )
    else:
        gates = list(np.arange(len(sheet) + 1) - 0.5)
    if cells_from == "reads":
        return np.array(gates), None
    for number, row in enumerate(sheet, start=2):
        if "cells" not in row:
            raise ConfigError(f"{origin}, row {number}: cells of bin '{row['bin']}' are missing; give them or set counts.cells: reads")
    return np.array(gates), np.array([row["cells"] for row in sheet], np.float64)


def estimate(counts: np.ndarray, gates: np.ndarray, cells: np.ndarray | None, method: str, read_dispersion: float) -> Estimate:
    """Estimate expression by ``weighted_mean`` (values are midpoints of bins) or ``maximum_likelihood``.

    Without ``cells`` each read stands for one cell.

    Raises
    ------
    InputError
        If reads lie in fewer than two bins.
    """
    reads = counts.sum(axis=0)
    if (reads > 0).sum() < 2:
        raise InputError(f"{(reads > 0).sum()} of {len(reads)} bins have reads; expression needs at least two")
    if cells is None:
        cells = reads.astype(np.float64)
    if method == "maximum_likelihood":
        return maximum_likelihood(counts, gates, cells, read_dispersion)
    return weighted_mean(counts, _midpoints(gates)[0], cells)


def to_table(labels: pl.DataFrame, found: Estimate, minimum_reads: int, ledger: Ledger) -> pl.DataFrame:
    """Return labels and estimates of promoters with at least ``minimum_reads`` reads, columns as `tables.SCHEMA` names them."""
    table = labels.with_columns(
        expression=found.expression,
        expression_sd=found.standard_error,
        n_reads=found.n_reads,
        n_bins=found.n_bins,
        singleton=found.singleton,
        effective_cells=found.cells,
        low=found.low,
        high=found.high,
    )
    enough = pl.col("n_reads") >= max(1, minimum_reads)
    ledger.drop(f"fewer than {max(1, minimum_reads)} reads", table.filter(~enough).height)
    ledger.note("singletons (all reads in one bin)", int(table.filter(enough)["singleton"].sum()))
    return table.filter(enough)
