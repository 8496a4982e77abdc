"""Affine maps of tables to one scale, by a structural errors-in-variables model of the promoters that they share.

Table j measures promoter i as ``y_ij = a_j + b_j t_i + e_ij``, with true values ``t_i ~ N(mu, tau^2)`` on the scale of the first table. All
tables have errors, so none is regressed on another, which would attenuate the scale. The variance of ``e_ij`` on the common scale is::

    exp(delta_j) (psi + kappa / n_reads_ij) + scale_j^2 expression_sd_ij^2

``psi`` is variation between tables that their standard deviations do not include, or the whole error if they have none; ``kappa`` counts
only without standard deviations and with reads. Which of two tables has the larger errors (``delta_j``) cannot be told from them alone:
``delta_j ~ N(0, ERROR_SPREAD^2)`` takes them as equal within a factor, and the standard errors of the maps include it. The errors of three
tables with shared promoters are estimated. The model is fitted by maximum likelihood.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core.errors import InputError

ERROR_SPREAD = 0.7  # standard deviation of the log error variance between tables: a factor of 2
_PRIOR_MEAN, _PRIOR_SD = np.log(0.1), 10.0  # of log psi and log kappa, relative to the variance of all values: flat, for convergence
_STEP = 1e-4  # of the numerical derivative of the gradient
_LIMIT = 12.0  # of parameters in the fit, most of them logarithms


@dataclass
class Measured:
    """Values ``y`` of promoters in tables, shape ``(promoters, tables)``, NaN where not measured; variances and 1 / reads, 0 if unknown."""

    y: np.ndarray
    variance: np.ndarray
    per_read: np.ndarray

    @classmethod
    def of(cls, rows: pl.DataFrame, tables: int) -> "Measured":
        """Return the measurements of rows with ``_promoter`` and ``_table``, counted from 0, and the columns of the promoter table."""
        promoter, table = rows["_promoter"].to_numpy(), rows["_table"].to_numpy()

        def matrix(values: np.ndarray | float, empty: float) -> np.ndarray:
            found = np.full((int(promoter.max()) + 1, tables), empty)
            found[promoter, table] = values
            return found

        # A promoter without a standard deviation has the root mean square of the others in its table.
        squares = rows.select("_table", square=pl.col("expression_sd").cast(pl.Float64) ** 2)
        variance = squares.select(pl.col("square").fill_null(pl.col("square").mean().over("_table")))["square"]
        reads = rows["n_reads"]
        has_sd = variance.null_count() == 0
        has_reads = not has_sd and reads.null_count() == 0
        per_read = 1 / np.maximum(reads.to_numpy(), 1) if has_reads else np.zeros(1)
        return cls(
            matrix(rows["expression"].cast(pl.Float64).to_numpy(), np.nan),
            matrix(variance.to_numpy() if has_sd else 0.0, 0.0),
            matrix(per_read / per_read.mean() if has_reads else 0.0, 0.0),
        )

    def take(self, kept: np.ndarray) -> "Measured":
        """Return the measurements of some promoters."""
        return Measured(self.y[kept], self.variance[kept], self.per_read[kept])

    @property
    def has_sd(self) -> bool:
        """Return True if all tables have ``expression_sd``."""
        return bool(self.variance.any())

    @property
    def has_reads(self) -> bool:
        """Return True if all promoters have ``n_reads``, and errors are taken from them."""
        return bool(self.per_read.any())


@dataclass
class Fit:
    """Maps of all tables, shape ``(tables,)``, and the error model on the common scale if it was fitted (``tau2`` is not None)."""

    scale: np.ndarray
    offset: np.ndarray
    errors: tuple[np.ndarray, np.ndarray] | None = None  # standard errors of scale and offset
    tau2: float | None = None
    psi: float = 0.0
    kappa: float = 0.0
    factor: Any = 1.0  # of each table's error variance

    def on_scale(self, y: np.ndarray) -> np.ndarray:
        """Return values of all tables, shape ``(promoters, tables)``, on the common scale."""
        return self.offset + self.scale * y

    def variances(self, measured: Measured) -> np.ndarray | None:
        """Return error variances on the common scale, shape of ``y``; None if nothing is known of them."""
        own = self.factor * (self.psi + self.kappa * measured.per_read) if self.tau2 is not None else 0.0
        known = self.tau2 is not None or measured.has_sd
        return own + self.scale**2 * measured.variance if known else None


def identity(tables: int) -> tuple[np.ndarray, np.ndarray, None]:
    """Return scales 1 and offsets 0, without standard errors."""
    return np.ones(tables), np.zeros(tables), None


def matched(measured: Measured) -> tuple[np.ndarray, np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Return scales and offsets that give each table the mean and standard deviation of the first, and standard errors of both.

    The variance of errors is subtracted where tables have ``expression_sd``.

    Raises
    ------
    InputError
        If all values of a table are equal.
    """
    mean, spread, spread_se, mean_se = [], [], [], []
    for y, variance in zip(measured.y.T, measured.variance.T, strict=True):
        kept = ~np.isnan(y)
        centred = y[kept] - y[kept].mean()
        total, n = float((centred**2).mean()), int(kept.sum())
        true = total - float(variance[kept].mean())
        true = true if true > 0 else total
        if not true > 0:
            raise InputError("input.join: distribution needs tables with more than one value of expression")
        mean.append(y[kept].mean())
        spread.append(np.sqrt(true))
        mean_se.append(np.sqrt(total / n))
        spread_se.append(np.sqrt(max(float((centred**4).mean()) - total**2, 0) / n) / (2 * true))  # relative
    means, sds, of_means, of_sds = map(np.array, (mean, spread, mean_se, spread_se))
    scale = sds[0] / sds
    scale_se = scale * np.hypot(of_sds, of_sds[0])
    offset_se = np.sqrt(of_means[0] ** 2 + (scale * of_means) ** 2 + (means * scale_se) ** 2)
    scale_se[0] = offset_se[0] = 0.0
    return scale, means[0] - scale * means, (scale_se, offset_se)


class _Likelihood:
    """Negative log posterior of the model and its gradient, for values in units of their standard deviation.

    Parameters are mu, log tau^2, a and log b of each table but the first, log psi, log kappa, and delta of each table.
    """

    def __init__(self, z: np.ndarray, variance: np.ndarray, per_read: np.ndarray):
        self.seen = ~np.isnan(z)
        self.z, self.variance, self.per_read = np.where(self.seen, z, 0.0), variance, per_read
        self.tables = z.shape[1]
        size = 2 + 2 * (self.tables - 1) + 2 + self.tables
        self.a = slice(2, self.tables + 1)
        self.b = slice(self.tables + 1, 2 * self.tables)
        self.psi, self.kappa, self.delta = 2 * self.tables, 2 * self.tables + 1, slice(2 * self.tables + 2, size)
        self.start = np.zeros(size)
        self.start[[self.psi, self.kappa]] = _PRIOR_MEAN
        self.precision = np.zeros(size)  # of the prior
        self.precision[[self.psi, self.kappa]] = 1 / _PRIOR_SD**2
        self.precision[self.delta] = 1 / ERROR_SPREAD**2

    def scores(self, parameters: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the negative log likelihood of each promoter, and its gradient, shape ``(promoters, parameters)``."""
        mu, tau2 = parameters[0], np.exp(parameters[1])
        a, b = np.append(0.0, parameters[self.a]), np.exp(np.append(0.0, parameters[self.b]))
        factor = np.exp(parameters[self.delta])
        psi, kappa = np.exp(parameters[self.psi]), np.exp(parameters[self.kappa]) * self.per_read
        own = b**2 * factor * (psi + kappa)
        v = own + self.variance
        w = self.seen / v
        residual = self.z - a - b * mu
        information = 1 / tau2 + (b**2 * w).sum(axis=1)
        t = (b * w * residual).sum(axis=1) / information  # posterior mean of the true value less mu
        logs = (np.log(v) * self.seen).sum(axis=1) + np.log(tau2 * information)
        value = 0.5 * (logs + (w * residual**2).sum(axis=1) - information * t**2)
        # By Fisher's identity the gradient is that of the complete data, averaged over the posterior of the true value.
        spread, left = 1 / information, residual - b * t[:, None]
        of_v = 0.5 * w * (1 - w * (left**2 + b**2 * spread[:, None]))
        of_b = -w * (left * (mu + t)[:, None] - b * spread[:, None])
        gradient = np.empty((len(value), len(parameters)))
        gradient[:, 0] = -t / tau2
        gradient[:, 1] = 0.5 * (1 - (t**2 + spread) / tau2)
        gradient[:, self.a] = (-w * left)[:, 1:]
        gradient[:, self.b] = (of_b * b + 2 * of_v * own)[:, 1:]
        gradient[:, self.psi] = (of_v * b**2 * factor * psi).sum(axis=1)
        gradient[:, self.kappa] = (of_v * b**2 * factor * kappa).sum(axis=1)
        gradient[:, self.delta] = of_v * own
        return value, gradient

    def posterior(self, parameters: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.scores(parameters)
        away = parameters - np.where(np.isin(np.arange(len(parameters)), [self.psi, self.kappa]), _PRIOR_MEAN, 0.0)
        return float(value.sum() + 0.5 * (self.precision * away**2).sum()), gradient.sum(axis=0) + self.precision * away


def fit(measured: Measured, start: tuple[np.ndarray, np.ndarray], *, free: bool) -> Fit:
    """Return maps and error model of shared promoters; with ``free=False`` the maps stay those of the start.

    Standard errors are those of the sandwich estimator (infinitesimal jackknife), which holds whatever the distribution of true values.
    """
    from scipy import optimize

    begun = Fit(*start)
    values = begun.on_scale(measured.y)
    mean, sd = float(np.nanmean(values)), float(np.nanstd(values)) or 1.0
    z = (values - mean) / sd
    model = _Likelihood(z, (begun.scale / sd) ** 2 * measured.variance, measured.per_read)
    moves = np.ones(len(model.start), bool)
    moves[model.kappa] = measured.has_reads
    moves[model.a] = moves[model.b] = free
    at = model.start.copy()

    def cost(some: np.ndarray) -> tuple[float, np.ndarray]:
        at[moves] = some
        value, gradient = model.posterior(at)
        return value / len(z), gradient[moves] / len(z)

    bounds = [(-_LIMIT, _LIMIT)] * int(moves.sum())
    found = optimize.minimize(
        cost, model.start[moves], jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 2000, "ftol": 1e-13}
    )
    at[moves] = found.x
    a, b = np.append(0.0, at[model.a]), np.exp(np.append(0.0, at[model.b]))
    result = Fit(begun.scale / b, mean + (begun.offset - mean - sd * a) / b)
    result.tau2, result.psi = float(sd**2 * np.exp(at[1])), float(sd**2 * np.exp(at[model.psi]))
    result.kappa = float(sd**2 * np.exp(at[model.kappa])) if measured.has_reads else 0.0
    result.factor = np.exp(at[model.delta])
    if free:
        result.errors = _standard_errors(model, at, moves, result, mean, sd, b)
    return result


def _standard_errors(
    model: _Likelihood, at: np.ndarray, moves: np.ndarray, found: Fit, mean: float, sd: float, b: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return standard errors of scales and offsets by the delta method."""
    index = np.flatnonzero(moves)
    hessian = np.empty((len(index), len(index)))
    for column, parameter in enumerate(index):
        step = np.zeros(len(at))
        step[parameter] = _STEP
        hessian[column] = ((model.posterior(at + step)[1] - model.posterior(at - step)[1]) / (2 * _STEP))[index]
    scores = model.scores(at)[1][:, index]
    inverse = np.linalg.pinv((hessian + hessian.T) / 2)
    covariance = np.zeros((len(at), len(at)))
    covariance[np.ix_(index, index)] = inverse @ (scores.T @ scores + np.diag(model.precision[index])) @ inverse
    of_scale, of_offset = np.zeros(model.tables), np.zeros(model.tables)
    for table in range(1, model.tables):
        pair = np.ix_([model.a.start + table - 1, model.b.start + table - 1], [model.a.start + table - 1, model.b.start + table - 1])
        slope = np.array([-sd / b[table], mean - found.offset[table]])
        of_scale[table] = found.scale[table] * np.sqrt(covariance[pair][1, 1])
        of_offset[table] = np.sqrt(slope @ covariance[pair] @ slope)
    return of_scale, of_offset
