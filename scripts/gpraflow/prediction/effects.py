"""Calibration of variant effects on pairs of similar promoters.

The errors of predictions for similar promoters are correlated, so that the error of their difference is smaller than that of two unrelated
promoters. How much smaller can only be learnt from measured pairs (`pairs.differences`).
"""

from dataclasses import dataclass

import numpy as np
import polars as pl

from gpraflow.prediction import conformal

FEWEST = 100  # pairs that are needed for a calibration
_EACH = 20  # pairs that are needed for a number of edits
DIFFERENCES = {
    "cluster": pl.Int64,
    "edits": pl.Int64,
    "effect": pl.Float64,
    "error": pl.Float64,
    "spread": pl.Float64,
    "reads_a": pl.Float64,
    "reads_b": pl.Float64,
}


@dataclass(frozen=True)
class Effects:
    """Calibration of variant effects, in `calibration.json` as ``effects``.

    The variance of the error of an effect (predicted minus measured difference of two promoters) is ``spread_factor spread^2 + variance +
    edit_variance edits + effect_factor effect^2 + read_variance (1 / n_a + 1 / n_b)``, with the standard deviation of the difference
    between ensemble members, the number of edits, the predicted effect, and the reads of the two measurements.

    Attributes
    ----------
    pairs
        Number of pairs.
    edits
        Smallest and largest number of edits in the pairs.
    quantiles
        Half-width of the interval in standard deviations, for each of `conformal.LEVELS`.
    reads
        Median reads of the promoters of the pairs; None if unknown.
    """

    pairs: int
    edits: tuple[int, int]
    spread_factor: float
    variance: float
    edit_variance: float
    effect_factor: float
    read_variance: float
    quantiles: tuple[float, ...]
    reads: float | None

    def half_width(self, effect: np.ndarray, spread: np.ndarray, edits: np.ndarray) -> np.ndarray:
        """Return the half-width of the 95 % interval of a measured difference, for measurements with the median reads of the pairs.

        Parameters
        ----------
        effect, spread
            ``(pairs,)`` predicted difference, and its standard deviation between ensemble members, 0 for a single model.
        edits
            ``(pairs,)`` edits between the two promoters. Fewer than in all calibrated pairs count as the fewest of these; with more than
            in all of them, the variance grows in proportion to the edits, as if their errors were independent.

        Returns
        -------
        numpy.ndarray
            ``(pairs,)`` float64.
        """
        least, most = self.edits
        reads = np.full(len(effect), np.nan)
        factors = (self.spread_factor, self.variance, self.edit_variance, self.effect_factor, self.read_variance)
        variance = np.array(factors) @ _parts(effect, spread, np.clip(edits, least, most), np.stack([reads, reads]), self.reads)
        return self.quantiles[-1] * np.sqrt(variance * np.maximum(edits / most, 1))


def fit(rows: pl.DataFrame) -> Effects | None:
    """Calibrate the intervals of variant effects on pairs of similar promoters.

    The variance model of `Effects` maximises the likelihood of normal errors. Each fifth of the clusters is scored by a fit to the others
    (`conformal.scores`), and quantiles are those of split conformal prediction (`conformal.quantiles`).

    Parameters
    ----------
    rows
        `differences`. Numbers of edits with fewer than 20 pairs are not used.

    Returns
    -------
    Effects or None
        None if there are fewer than 100 pairs.
    """
    rows = rows.filter(pl.len().over("edits") >= _EACH)
    if rows.height < FEWEST:
        return None
    effect, error, spread = (rows[name].to_numpy() for name in ("effect", "error", "spread"))
    edits = rows["edits"].to_numpy()
    reads = np.stack([rows[name].fill_null(np.nan).to_numpy() for name in ("reads_a", "reads_b")])
    usual = float(np.nanmedian(reads)) if np.isfinite(reads).any() else None
    parts = _parts(effect, spread, edits, reads, usual)
    if edits.min() == edits.max():
        parts[2] = 0  # cannot be told from the constant
    factors = conformal.variance_factors(error, parts)
    scored = conformal.scores(error, parts, _folds(rows["cluster"].to_numpy()))
    return Effects(
        pairs=rows.height,
        edits=(int(edits.min()), int(edits.max())),
        spread_factor=float(factors[0]),
        variance=float(factors[1]),
        edit_variance=float(factors[2]),
        effect_factor=float(factors[3]),
        read_variance=float(factors[4]),
        quantiles=tuple(value for value in conformal.quantiles(scored) if value is not None),
        reads=usual,
    )


def _parts(effect: np.ndarray, spread: np.ndarray, edits: np.ndarray, reads: np.ndarray, usual: float | None) -> np.ndarray:
    """Return the ``(5, pairs)`` variance components of `Effects`.

    ``reads`` has the shape ``(2, pairs)``; unknown reads (NaN) count as the usual ones. None: reads are unknown in all pairs.
    """
    depth = np.inf if usual is None else np.maximum(np.where(np.isnan(reads), usual, reads), 1)
    per_read = np.sum(1 / depth * np.ones_like(reads), axis=0)
    return np.stack([np.square(spread), np.ones(len(effect)), edits.astype(np.float64), np.square(effect), per_read])


def _folds(clusters: np.ndarray) -> np.ndarray:
    """Return the fold of each pair, by whole clusters; of single pairs if one cluster has more than a fifth of them."""
    _, cluster, size = np.unique(clusters, return_inverse=True, return_counts=True)
    if size.max() * conformal.FOLDS > len(clusters):
        return np.arange(len(clusters)) % conformal.FOLDS
    order = np.argsort(np.argsort(-size, kind="stable"))
    return order[cluster] % conformal.FOLDS
