"""The sorted bins of replicates, and the reads that a cell of each bin gave."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class Replicate:
    """The sorted bins of one replicate, in the order of the signal.

    ``columns`` names the bins' count columns. ``gates``, shape ``(intervals + 1,)``, are their limits in the unit of expression; the
    outermost values are ignored, since outer bins are open. ``bins`` selects the intervals between gates that are bins: all of them, unless
    there are gaps between bins, whose cells were not sorted. If bins overlap, ``bins``, shape ``(intervals, bins)``, is the share of each
    interval's cells that the sorter puts into each bin (`divide_intervals`). ``cells``, shape ``(bins,)``, are the cells sorted into each
    bin; None if each read counts as one cell. ``share``, shape ``(bins,)``, is proportional to the population's cells that belong to each
    bin, which differs from ``cells`` where sorting stopped at a number of cells; None if it is proportional to ``cells``. ``condition`` is
    that in which the cells were sorted; empty if there is only one.
    """

    name: str
    columns: tuple[str, ...]
    gates: np.ndarray
    cells: np.ndarray | None
    share: np.ndarray | None = None
    bins: slice | np.ndarray = field(default_factory=lambda: slice(None))
    condition: str = ""

    @property
    def _spans(self) -> np.ndarray:
        """``(bins, 2)`` index in ``gates`` of the lower and the upper limit of what each bin takes."""
        if isinstance(self.bins, np.ndarray) and self.bins.ndim == 2:
            taken = self.bins > 0
            return np.column_stack([taken.argmax(axis=0), len(taken) - taken[::-1].argmax(axis=0)])
        places = np.arange(len(self.gates) - 1)[self.bins]
        return np.column_stack([places, places + 1])

    @property
    def width(self) -> float:
        """Mean width of the closed bins, whose overlaps are cut in the middle; 1 if there are none."""
        inner = np.concatenate([[np.nan], self.gates[1:-1], [np.nan]])
        lower, upper = inner[self._spans].T
        middle = (upper[:-1] + lower[1:]) / 2
        cut = lower[1:] < upper[:-1]
        closed = np.where(np.append(cut, False), np.append(middle, np.nan), upper) - np.where(
            np.insert(cut, 0, False), np.insert(middle, 0, np.nan), lower
        )
        closed = closed[np.isfinite(closed) & (closed > 0)]
        return float(closed.mean()) if len(closed) else 1.0

    @property
    def gaps(self) -> list[tuple[str, str]]:
        """Pairs of neighbouring bins between whose gates there is a gap."""
        lower, upper = self._spans.T
        return [self.columns[i : i + 2] for i in np.flatnonzero(lower[1:] > upper[:-1])]  # type: ignore[misc]

    @property
    def overlap(self) -> bool:
        """True if the gates of bins overlap."""
        return isinstance(self.bins, np.ndarray) and self.bins.ndim == 2

    @property
    def limits(self) -> np.ndarray:
        """``(bins, 2)`` finite limits of the bins: their gates, with open bins given the mean width of closed bins."""
        inner, width = self.gates[1:-1], self.width
        return np.concatenate([[inner[0] - width], inner, [inner[-1] + width]])[self._spans]

    @property
    def values(self) -> np.ndarray:
        """``(bins,)`` middle of each bin."""
        return self.limits.mean(axis=1)


def of_bins(intervals: np.ndarray, bins: slice | np.ndarray) -> np.ndarray:
    """Return the parts of intervals between gates, ``(..., intervals)``, that go into each bin, ``(..., bins)``; see `Replicate`."""
    return intervals @ bins if isinstance(bins, np.ndarray) and bins.ndim == 2 else intervals[..., bins]


def divide_intervals(spans: Sequence[tuple[int, int]], overlap: str, fraction: np.ndarray | None = None) -> np.ndarray:
    """Return the share of the cells in each interval between gates that the sorter puts into each bin, ``(intervals, bins)``.

    Parameters
    ----------
    spans
        For each bin, the index of its lower and of its upper limit.
    overlap
        What becomes of cells that lie in several bins. ``repeated``: bins were sorted one after the other, so that each takes its cells
        from the whole population. ``discarded``: the sorter rejects them. ``divided``: they are divided equally among the bins that are
        still sorted; see ``fraction``.
    fraction
        ``(bins,)`` how long each bin was sorted, in any unit, where sorting stopped at a number of cells; None if all were sorted equally
        long. All bins were begun together, and the overlap goes to the bins that are left. The shares are those of the time in which the
        bin was sorted.
    """
    there = np.zeros((max(upper for _, upper in spans), len(spans)), bool)
    for place, (lower, upper) in enumerate(spans):
        there[lower:upper, place] = True
    shares = there.astype(np.float64)
    if overlap == "repeated":
        return shares
    several = np.flatnonzero(there.sum(axis=1) > 1)
    if overlap == "discarded":
        shares[several] = 0
        return shares
    times = np.ones(len(spans)) if fraction is None else np.asarray(fraction, np.float64)
    for interval in several:
        bins = np.flatnonzero(there[interval])
        bins = bins[np.argsort(times[bins], kind="stable")]
        taken = np.cumsum(np.diff(times[bins], prepend=0) / np.arange(len(bins), 0, -1))
        shares[interval, bins] = np.divide(taken, times[bins], out=np.zeros(len(bins)), where=times[bins] > 0)
    return shares


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
