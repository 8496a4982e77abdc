"""Recalibration: a monotone map from a model's predictions to the scale of another experiment, from measured control promoters.

The map becomes part of the network (`models.scale`), so that predictions, effects, explanations, designs and exports follow it. Intervals
are conformal, from cross-validated residuals of the controls.
"""

import dataclasses
import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import checksums
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import columns as formats_columns
from gpraflow.models import directory as models_directory
from gpraflow.models.scale import Scale
from gpraflow.prediction import calibration, conformal
from gpraflow.prediction.predictor import Predictor, spread_of
from gpraflow.sequences.scaffold import tokenize

FEWEST = 20  # controls
FEWEST_ISOTONIC = 50  # controls; with fewer, the steps of an isotonic map are noise
LOWEST_R = 0.3  # Pearson's r between predictions and controls
AUTO, AFFINE, ISOTONIC = "auto", "affine", "isotonic"
_FOLDS = 10
_CONTROLS = {"sequence": pl.String, "expression": pl.Float64, "n_reads": pl.Float64}


def read_controls(predictor: Predictor, path: str | os.PathLike, columns: Mapping[str, str | int], ledger: Ledger) -> pl.DataFrame:
    """Return ``sequence`` (with flanks), ``expression`` and ``n_reads`` (null if unknown) of measured controls.

    Parameters
    ----------
    predictor
        The model, whose flanks inserts get.
    path
        TSV, CSV, .xlsx or Parquet.
    columns
        ``sequence``, ``expression`` and ``n_reads`` -> column; ``auto``: the column of that name, if it exists.
    ledger
        Records input rows and changes.

    Raises
    ------
    InputError
        If a sequence or a number is not valid, or a sequence occurs twice.
    """
    parts = [pl.DataFrame(schema=_CONTROLS)]
    for block in formats_columns.read_columns(path, columns, "", ledger):
        rows = formats_columns.parse_numbers(block, "expression", pl.Float64, path, section="")
        if "n_reads" in rows.columns:
            rows = formats_columns.parse_numbers(rows, "n_reads", pl.Float64, path, empty_allowed=True, section="")
        else:
            rows = rows.with_columns(n_reads=pl.lit(None, pl.Float64))
        named = rows.with_columns(name=pl.col("row").cast(pl.String))
        parts.append(predictor.complete(named, path, ledger).select(*_CONTROLS))
    controls = pl.concat(parts)
    if repeated := controls.height - controls["sequence"].n_unique():
        raise InputError(f"{path}: {repeated:,} promoters occur more than once; give one row for each promoter, such as the mean")
    return controls


def fit(predicted: np.ndarray, measured: np.ndarray, kind: str) -> Scale:
    """Return the map of a kind, ``affine`` (least squares) or ``isotonic``, from predictions to measurements, each ``(controls,)``.

    The isotonic map is linear between the means of the blocks of the isotonic regression, and has the slope of the affine map beyond them.
    """
    slope, offset = np.polyfit(predicted, measured, 1)
    if kind == AFFINE:
        return Scale(float(slope), float(offset))
    from scipy import optimize

    order = np.argsort(predicted, kind="stable")
    x, y = predicted[order], measured[order]
    blocks = optimize.isotonic_regression(y).blocks
    edges = list(itertools.pairwise(blocks))
    knots = np.array([x[begin:end].mean() for begin, end in edges])
    values = np.array([y[begin:end].mean() for begin, end in edges])
    kept = np.r_[True, np.diff(knots) > 1e-6]
    return Scale(float(slope), float(offset), tuple(knots[kept].tolist()), tuple(values[kept].tolist()))


def cross_validated(predicted: np.ndarray, measured: np.ndarray, kind: str) -> np.ndarray:
    """Return the predictions for each control by a map fitted to the other tenths of the controls, ``(controls,)``.

    Tenths are taken in turns in the order of predictions, so that each covers the whole range.
    """
    folds = np.argsort(np.argsort(predicted, kind="stable")) % _FOLDS
    found = np.empty(len(predicted))
    for fold in range(_FOLDS):
        own = folds == fold
        found[own] = fit(predicted[~own], measured[~own], kind)(predicted[own])
    return found


def choose(predicted: np.ndarray, measured: np.ndarray, kind: str = AUTO) -> tuple[str, dict[str, np.ndarray]]:
    """Return the kind of map and the cross-validated predictions of each kind that was tried.

    ``auto`` is affine, unless there are at least 50 controls and the cross-validated squared error of the isotonic map is smaller by
    more than the standard error of the difference.
    """
    kinds = [AFFINE, ISOTONIC] if kind == AUTO and len(predicted) >= FEWEST_ISOTONIC else [AFFINE if kind == AUTO else kind]
    tried = {each: cross_validated(predicted, measured, each) for each in kinds}
    if len(tried) == 1:
        return kinds[0], tried
    gain = (measured - tried[AFFINE]) ** 2 - (measured - tried[ISOTONIC]) ** 2
    better = gain.mean() > gain.std(ddof=1) / np.sqrt(len(gain))
    return (ISOTONIC if better else AFFINE), tried


def rescaled(
    known: calibration.Calibration, scale: Scale, residual: np.ndarray, members: np.ndarray, reads: np.ndarray
) -> calibration.Calibration:
    """Return a calibration on the new scale, with intervals from the controls.

    The standard deviation of an error keeps its dependence on expression, spread and reads, stretched by the slope of the map; its factor
    is new: the conformal quantile (`conformal.quantiles`) of the controls' absolute residuals in these standard deviations.

    Parameters
    ----------
    known
        Calibration of the model before.
    scale
        The map.
    residual
        ``(controls,)`` measured minus cross-validated prediction.
    members
        ``(controls, members)`` predictions on the old scale.
    reads
        ``(controls,)``; NaN if unknown.
    """
    slope = scale.slope
    of_effects = known.effects and dataclasses.replace(
        known.effects,
        **{name: getattr(known.effects, name) * slope**2 for name in ("variance", "edit_variance", "read_variance")},
    )
    stretched = dataclasses.replace(
        known,
        model_variance=known.model_variance * slope**2,
        read_variance=known.read_variance * slope**2,
        levels=tuple(scale(np.array(known.levels)).tolist()),
        level_variances=tuple((np.array(known.level_variances) * slope**2).tolist()),
        quantiles=(1.0,) * len(conformal.LEVELS),
        level_quantiles=tuple((1.0,) * len(known.levels) for _ in conformal.LEVELS) if known.levels else (),
        effects=of_effects,
        expression_quantiles=tuple(scale(np.array(known.expression_quantiles)).tolist()),
        validation=len(residual),
    )
    mapped = scale(members)
    sd = stretched.half_width(mapped.mean(axis=1), spread_of(mapped), reads)
    quantiles = conformal.quantiles(np.abs(residual) / sd)  # 20 controls are enough for each level
    of_levels = tuple((value or 0.0,) * len(known.levels) for value in quantiles) if known.levels else ()
    return dataclasses.replace(stretched, quantiles=quantiles, level_quantiles=of_levels)


def recalibrate(
    predictor: Predictor, controls: pl.DataFrame, target: str | os.PathLike, *, kind: str = AUTO, source: str = "controls"
) -> dict[str, Any]:
    """Write a model on the scale of measured controls.

    Parameters
    ----------
    predictor
        The model, of one condition.
    controls
        Rows of `read_controls`.
    target
        New model directory.
    kind
        ``auto`` (`choose`), ``affine`` or ``isotonic``.
    source
        Name of the controls' file, for messages.

    Returns
    -------
    dict
        ``kind``, ``controls``, Pearson's ``r``, ``slope`` and ``offset`` of the affine map, ``knots`` and ``values`` of an isotonic one,
        and cross-validated ``rmse_before`` and ``rmse``; model.json has it as ``scale``.

    Raises
    ------
    InputError
        If there are fewer than 20 controls, or predictions and controls are unrelated (r below .3).
    ConfigError
        If the model has several conditions, the map needs more controls, or ``target`` exists already.
    """
    known = predictor.require_calibration("it holds flanks, intervals and the transform of expression")
    if predictor.conditions:
        raise ConfigError(
            f"{predictor.directory}: several conditions ({', '.join(predictor.conditions)}); recalibrate takes a model of one"
        )
    if (Path(target) / "model.json").exists():
        raise ConfigError(f"{target}: there is a model already; give another folder with -o")
    if controls.height < FEWEST:
        raise InputError(f"{source}: {controls.height} controls; recalibration needs at least {FEWEST} measured promoters")
    if kind == ISOTONIC and controls.height < FEWEST_ISOTONIC:
        raise ConfigError(f"--map isotonic: needs at least {FEWEST_ISOTONIC} controls, {source} has {controls.height}; use --map affine")
    measured = known.transform.forward(controls["expression"].to_numpy())
    if not np.isfinite(measured).all():
        raise InputError(f"{source}: {known.transform.name} of expression is not finite for some controls; give values in range")
    members = predictor.members(tokenize(controls["sequence"], **predictor.window))
    predicted = members.mean(axis=1)
    r = float(np.corrcoef(predicted, measured)[0, 1]) if predicted.std() and measured.std() else float("nan")
    if not r >= LOWEST_R:
        raise InputError(
            f"{source}: r = {r:.2f} between predictions and {len(measured)} controls, below {LOWEST_R}: this model does not predict these "
            "measurements, and no scale would change that. Check that sequences belong to the values, their strand and the scaffold"
        )
    chosen, tried = choose(predicted, measured, kind)
    scale = fit(predicted, measured, chosen)
    residual = measured - tried[chosen]
    found = {
        "kind": chosen,
        "controls": len(measured),
        "r": r,
        "slope": scale.slope,
        "offset": scale.offset,
        "knots": list(scale.knots),
        "values": list(scale.values),
        "rmse_before": float(np.sqrt(np.mean((measured - predicted) ** 2))),
        "rmse": float(np.sqrt(np.mean(residual**2))),
        "of": checksums.digests(predictor.directory / "model.keras")["sha256"],
    }
    network, _ = models_directory.load(predictor.directory, predictor.backend)
    models_directory.write_scaled(predictor.directory, target, network, scale, found)
    written = rescaled(known, scale, residual, members, controls["n_reads"].fill_null(np.nan).to_numpy())
    digest = checksums.digests(Path(target) / "model.keras")["sha256"]
    calibration.write({"": dataclasses.replace(written, model_sha256=digest)}, Path(target) / calibration.FILE)
    return found
