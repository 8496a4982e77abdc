"""Mutual information between what a model predicts and the sorted bin of a read, in bits.

Variational information takes the model's own p(bin | sequence) as correct; predictive information of a scalar prediction assumes nothing
about it, and is not smaller (Kinney and Atwal 2014, doi:10.1162/NECO_a_00568; Tareen et al. 2022, doi:10.1186/s13059-022-02661-7). Neither
depends on the scale of expression, so models with different outputs can be compared. Both are means over reads; standard errors treat
promoters, not reads, as independent.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats
from scipy.special import digamma, ndtri

from gpraflow.core import randomness
from gpraflow.core.errors import InputError
from gpraflow.evaluation import metrics

_NOISE = 0.01  # standard deviation of the noise, relative to that of predictions, as in MAVE-NN


@dataclass(frozen=True)
class Information:
    """Information in bits, and its values in resamples of the promoters, ``(resamples,)``."""

    bits: float
    resamples: np.ndarray

    @property
    def standard_error(self) -> float:
        """Standard deviation of the resamples."""
        return float(self.resamples.std(ddof=1))

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, percentiles of the resamples."""
        return metrics.interval(self.resamples)

    def minus(self, other: "Information") -> "Information":
        """Return the difference from another model's information about the same counts, with the same seed and number of resamples."""
        return Information(self.bits - other.bits, self.resamples - other.resamples)


def variational(probabilities: np.ndarray, counts: np.ndarray, resamples: int = 1000, seed: int = 0) -> Information:
    """Return the variational information, ``H(bin) + mean log2 p(bin | sequence)`` over reads, resampled by bootstrap.

    It is negative if the model predicts the bins worse than their shares among all reads do.

    Parameters
    ----------
    probabilities
        ``(promoters, bins)`` p(bin | sequence) of the model, which must not have seen these counts.
    counts
        ``(promoters, bins)`` reads (or cells) in each bin.
    resamples, seed
        Number of bootstrap resamples of promoters, and their seed.

    Raises
    ------
    InputError
        If the shapes differ, counts are negative or all 0, a row of probabilities does not add up to 1, or a bin with reads has p = 0.
    """
    counts, probabilities = np.asarray(counts, np.float64), np.asarray(probabilities, np.float64)
    _check_counts(counts, probabilities.shape[:1], probabilities.shape[1:])
    wrong = np.flatnonzero(~np.isclose(probabilities.sum(axis=1), 1, atol=1e-3) | ((probabilities <= 0) & (counts > 0)).any(axis=1))
    if len(wrong):
        row = probabilities[wrong[0]]
        raise InputError(
            f"promoter {wrong[0]}: p(bin | sequence) must add up to 1 and be above 0 in bins with reads, but is {row.round(4).tolist()}; "
            "pass the softmax of logits"
        )
    terms = np.where(counts > 0, counts * np.log2(np.where(counts > 0, probabilities, 1.0)), 0.0).sum(axis=1)
    sums = np.column_stack([counts, terms])
    rng, share = randomness.generator(seed, "information"), np.full(len(sums), 1 / len(sums))
    drawn = np.stack([rng.multinomial(len(sums), share) @ sums for _ in range(resamples)])
    return Information(float(_bits(sums.sum(axis=0)[None])[0]), _bits(drawn))


def _bits(sums: np.ndarray) -> np.ndarray:
    """Return H(bin) + mean log2 p of ``(resamples, bins + 1)`` sums: reads in each bin, and log2 p over reads."""
    reads = sums[:, :-1].sum(axis=1)
    share = sums[:, :-1] / reads[:, None]
    return sums[:, -1] / reads - (share * np.log2(np.where(share > 0, share, 1.0))).sum(axis=1)


def predictive(prediction: np.ndarray, counts: np.ndarray, resamples: int = 100, seed: int = 0, neighbours: int = 5) -> Information:
    """Return the mutual information of a scalar prediction and the bin of a read, by nearest neighbours.

    ``I = H(prediction) - sum_b p_b H(prediction | b)`` with the entropy estimator of Kozachenko and Leonenko (Kraskov et al. 2004,
    doi:10.1103/PhysRevE.69.066138): in one dimension ``psi(n) - sum_b p_b psi(n_b)`` plus the mean log ratio of a read's distance to its
    k-th neighbour among all reads to that among the reads of its bin. Predictions are replaced by normal scores of their ranks, so that
    their scale does not matter, with a little noise that separates the reads of one promoter. The resamples are random halves of the
    promoters, drawn without replacement, whose spread is the standard error of the whole (delete-half jackknife; Shao and Wu 1989,
    doi:10.1214/aos/1176347263); they are shifted to the estimate from all promoters. MAVE-NN divides this spread by the square root of 2.

    Parameters
    ----------
    prediction
        ``(promoters,)`` predictions, on any scale.
    counts
        ``(promoters, bins)`` reads in each bin.
    resamples, seed
        Number of random halves, and the seed.
    neighbours
        k. A bin with fewer than k + 1 reads counts as one that the prediction says nothing about.

    Raises
    ------
    InputError
        If shapes differ, a prediction is not finite, counts are not whole numbers, or there are too few reads.
    """
    counts, prediction = np.asarray(counts), np.asarray(prediction, np.float64)
    _check_counts(counts, prediction.shape, counts.shape[1:])
    if not np.isfinite(prediction).all():
        raise InputError(f"promoter {np.flatnonzero(~np.isfinite(prediction))[0]}: the prediction is not a finite number")
    if (counts != np.floor(counts)).any():
        raise InputError("predictive information needs whole reads in each bin, not cells that were estimated from them")
    if counts.sum() < 4 * (neighbours + 1):
        raise InputError(f"predictive information needs at least {4 * (neighbours + 1)} reads, but there are {counts.sum()}")
    rng = randomness.generator(seed, "information")
    promoter, bins = (np.repeat(index, counts.astype(np.int64).ravel()) for index in np.indices(counts.shape).reshape(2, -1))
    scores = ndtri((stats.rankdata(prediction) - 0.5) / len(prediction))
    x = scores[promoter] + _NOISE * rng.normal(size=len(promoter))
    bits, halves = _nearest(x, bins, neighbours), np.empty(resamples)
    for number in range(resamples):
        chosen = (rng.permutation(len(counts)) < len(counts) // 2)[promoter]
        halves[number] = _nearest(x[chosen], bins[chosen], neighbours)
    return Information(bits, bits + halves - halves.mean())


def _nearest(x: np.ndarray, bins: np.ndarray, k: int) -> float:
    """Return the mutual information in bits of numbers ``x``, no two of them equal, and their bins."""
    order = np.argsort(x)
    x, bins = x[order], bins[order]
    among_all, total = np.log(_distances(x, k)), 0.0
    for b in np.unique(bins):
        of_bin = bins == b
        n = int(of_bin.sum())
        if n > k:
            total += n * (digamma(len(x)) - digamma(n)) + (among_all[of_bin] - np.log(_distances(x[of_bin], k))).sum()
    return float(total / len(x) / np.log(2))


def _distances(x: np.ndarray, k: int) -> np.ndarray:
    """Return the distance of each of ``(n,)`` ascending numbers to its k-th nearest neighbour."""
    padded = np.concatenate([np.full(k, -np.inf), x, np.full(k, np.inf)])
    windows = [np.maximum(x - padded[left : left + len(x)], padded[left + k : left + k + len(x)] - x) for left in range(k + 1)]
    return np.minimum.reduce(windows)


def _check_counts(counts: np.ndarray, promoters: tuple[int, ...], bins: tuple[int, ...]) -> None:
    """Raise if counts are not ``(promoters, bins)`` numbers of at least 0, not all 0."""
    if counts.ndim != 2 or counts.shape != promoters + bins:
        raise InputError(f"counts have shape {counts.shape}, but there are {promoters[0]} predictions; pass (promoters, bins)")
    if not (counts >= 0).all() or not counts.sum() > 0:
        raise InputError("counts must be at least 0, and not all 0")
