"""The sorted bins of replicates, and the reads that a cell of each bin gave."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Replicate:
    """The sorted bins of one replicate, in the order of the signal.

    ``columns`` names the bins' count columns. ``gates``, shape ``(intervals + 1,)``, are their limits in the unit of expression; the
    outermost values are ignored, since outer bins are open. ``bins`` selects the intervals between gates that are bins: all of them, unless
    there are gaps between bins, whose cells were not sorted. ``cells``, shape ``(bins,)``, are the cells sorted into each bin; None if
    each read counts as one cell. ``share``, shape ``(bins,)``, is proportional to the cells of the population within each bin's gates,
    which differs from ``cells`` where sorting stopped at a number of cells; None if it is proportional to ``cells``. ``condition`` is that
    in which the cells were sorted; empty if there is only one.
    """

    name: str
    columns: tuple[str, ...]
    gates: np.ndarray
    cells: np.ndarray | None
    share: np.ndarray | None = None
    bins: slice | np.ndarray = field(default_factory=lambda: slice(None))
    condition: str = ""

    @property
    def width(self) -> float:
        """Mean width of the closed bins; 1 if there are none."""
        closed = np.diff(np.concatenate([[np.nan], self.gates[1:-1], [np.nan]]))[self.bins][1:-1]
        return float(closed.mean()) if len(closed) else 1.0

    @property
    def gaps(self) -> list[tuple[str, str]]:
        """Pairs of neighbouring bins between whose gates there is a gap."""
        places = np.arange(len(self.gates) - 1)[self.bins]
        return [self.columns[i : i + 2] for i in np.flatnonzero(np.diff(places) > 1)]  # type: ignore[misc]

    @property
    def edges(self) -> np.ndarray:
        """``(intervals + 1,)`` finite limits: the gates, with open bins given the mean width of closed bins."""
        inner = self.gates[1:-1]
        return np.concatenate([[inner[0] - self.width], inner, [inner[-1] + self.width]])

    @property
    def values(self) -> np.ndarray:
        """``(bins,)`` middle of each bin."""
        return ((self.edges[:-1] + self.edges[1:]) / 2)[self.bins]

    def over_intervals(self, of_bins: np.ndarray) -> np.ndarray:
        """Return values of bins, ``(..., bins)``, as values of intervals, ``(..., intervals)``: NaN in gaps."""
        values = np.full((*of_bins.shape[:-1], len(self.gates) - 1), np.nan)
        values[..., self.bins] = of_bins
        return values


def replicate_columns(replicates: Sequence[Replicate]) -> list[tuple[slice, Replicate]]:
    """Return the columns of each replicate in a matrix of counts, where replicates follow each other."""
    ends = np.cumsum([len(each.columns) for each in replicates]).tolist()
    return [(slice(end - len(each.columns), end), each) for end, each in zip(ends, replicates, strict=True)]


def of_condition(replicates: Sequence[Replicate], condition: str) -> tuple[np.ndarray, list[Replicate]]:
    """Return the columns of a condition in a matrix of counts, and its replicates, whose columns are named without the condition."""
    own = [(part, each) for part, each in replicate_columns(replicates) if each.condition == condition]
    names = [tuple(column.removeprefix(f"{condition}.") for column in each.columns) for _, each in own]
    columns = np.concatenate([np.arange(part.start, part.stop) for part, _ in own])
    return columns, [replace(each, columns=columns) for (_, each), columns in zip(own, names, strict=True)]


def reads_per_cell(counts: np.ndarray, replicates: Sequence[Replicate]) -> np.ndarray:
    """Return reads per sorted cell, ``(bins of all replicates,)``; 0 for a bin without reads, 1 where each read counts as one cell."""
    reads = counts.sum(axis=0, dtype=np.float64)
    cells = np.concatenate([reads[part] if each.cells is None else each.cells for part, each in replicate_columns(replicates)])
    return np.divide(reads, cells, out=np.zeros(len(cells)), where=cells > 0)


def reads_per_population_cell(counts: np.ndarray, replicates: Sequence[Replicate]) -> np.ndarray:
    """Return reads per cell of the population, ``(bins of all replicates,)``: reads per sorted cell times the fraction that was sorted.

    The fraction of a bin's cells that was sorted is its share of the sorted cells over its share of the population. This is relative: it
    is 1 in every bin of a replicate without `Replicate.share`.
    """
    rate = reads_per_cell(counts, replicates)
    reads = counts.sum(axis=0, dtype=np.float64)
    for part, each in replicate_columns(replicates):
        if each.share is not None:
            cells = reads[part] if each.cells is None else each.cells
            population = each.share / each.share.sum()
            rate[part] *= np.divide(cells / cells.sum(), population, out=np.zeros(len(cells)), where=population > 0)
    return rate


def cells_per_bin(counts: np.ndarray, replicates: Sequence[Replicate]) -> np.ndarray:
    """Return the population's cells inferred from a promoter's reads in each bin, summed over replicates, ``(promoters, bins)`` float32.

    The cells of a bin are divided among its reads: cells of a promoter = its reads / `reads_per_population_cell`. All replicates have the
    same number of bins.
    """
    rate = reads_per_population_cell(counts, replicates)
    cells = np.divide(counts, rate, out=np.zeros(counts.shape), where=rate > 0)
    return np.add.reduce([cells[:, part] for part, _ in replicate_columns(replicates)]).astype(np.float32)
