"""Recalibration: a monotone map from a model's predictions to the scale of another experiment, from measured control promoters.

The map becomes part of the network (`models.scale`), so that predictions, effects, explanations, designs and exports follow it. Intervals
are conformal, from cross-validated residuals of the controls. Each condition of a model of several has its own map.
"""

import dataclasses
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from gpraflow.core import checksums, files
from gpraflow.core.conditions import column, differences
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import columns as formats_columns
from gpraflow.formats import text
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


def read_controls(
    predictor: Predictor, path: str | os.PathLike, columns: Mapping[str, str | int], ledger: Ledger, condition: str = ""
) -> pl.DataFrame:
    """Return ``sequence`` (with flanks), ``expression`` and ``n_reads`` (null if unknown) of measured controls.

    With a model of several conditions, there are such columns of each condition that controls were measured in, such as
    ``expression.glucose``, null where a control was not measured.

    Parameters
    ----------
    predictor
        The model, whose flanks inserts get.
    path
        TSV, CSV, .xlsx or Parquet.
    columns
        ``sequence``, ``expression`` and ``n_reads`` -> column; ``auto``: the column of that name, if it exists. With several conditions,
        the columns of numbers end in the condition, such as ``expression.glucose``.
    ledger
        Records input rows and changes.
    condition
        The only condition, of a model of several, that controls were measured in; its columns may lack the condition.

    Raises
    ------
    InputError
        If a sequence or a number is not valid, or a sequence occurs twice.
    ConfigError
        If there is no column of a condition of the model, or one of another condition.
    """
    predictor.of(condition)
    if condition in differences(predictor.conditions):
        raise ConfigError(f"--condition {condition}: a difference; controls are measured in conditions ({', '.join(predictor.conditions)})")
    parts = []
    for rows, names in text.read_blocks(path, "auto", header=True):
        ledger.read(rows.height)
        chosen = _columns(predictor, path, columns, names, condition)
        block = formats_columns.select_columns(rows, formats_columns.resolve_columns(chosen, names, True, path, "", ("sequence",)), path)
        block = formats_columns.check_sequences(block, path, ledger)
        for role in chosen:
            measured = role.partition(".")[0]
            if measured == "expression":
                block = formats_columns.parse_numbers(block, role, pl.Float64, path, empty_allowed="." in role, section="")
            elif role in block.columns and role != "sequence":
                block = formats_columns.parse_numbers(block, role, pl.Float64, path, empty_allowed=True, section="")
            elif role != "sequence":
                block = block.with_columns(pl.lit(None, pl.Float64).alias(role))
        named = block.with_columns(name=pl.col("row").cast(pl.String))
        parts.append(predictor.complete(named, path, ledger).select(*chosen))
    if not parts:
        raise InputError(f"{path}: the table has no rows; give a table with at least one promoter")
    controls = pl.concat(parts)
    if repeated := controls.height - controls["sequence"].n_unique():
        raise InputError(f"{path}: {repeated:,} promoters occur more than once; give one row for each promoter, such as the mean")
    return controls


def _columns(
    predictor: Predictor, path: Any, columns: Mapping[str, str | int], names: Sequence[str], condition: str
) -> dict[str, str | int]:
    """Return role -> column, as for `columns.resolve_columns`, of the conditions that a table has columns of."""
    if not predictor.conditions:
        return dict(columns)
    found: dict[str, str | int] = {"sequence": columns["sequence"]}
    prefix = {role: role if columns[role] == "auto" else str(columns[role]) for role in ("expression", "n_reads")}
    if condition:
        for role, name in prefix.items():
            there = column(name, condition)
            found[column(role, condition)] = there if there in names else (name if role == "expression" or name in names else "auto")
        return found
    unknown = [name for name in names if name.startswith(f"{prefix['expression']}.")]
    unknown = [name for name in unknown if name.partition(".")[2] not in predictor.conditions]
    listed = ", ".join(predictor.conditions)
    if unknown:
        raise ConfigError(f"{path}, row 1: column '{unknown[0]}': the model has no such condition (it has {listed}); rename or delete it")
    for name in predictor.conditions:
        if column(prefix["expression"], name) in names:
            found |= {column(role, name): column(prefix[role], name) for role in prefix}
            if column(prefix["n_reads"], name) not in names:
                found[column("n_reads", name)] = "auto"
    if len(found) == 1:
        expected = ", ".join(column(prefix["expression"], name) for name in predictor.conditions)
        raise ConfigError(
            f"{path}, row 1: no column of a condition ({formats_columns.listed(names)}); call them {expected}, or name the only condition "
            "that was measured with --condition"
        )
    return found


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
    known: calibration.Calibration, scale: Scale, residual: np.ndarray, mapped: np.ndarray, reads: np.ndarray
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
        ``(controls,)`` measured minus cross-validated prediction; without intervals if there are fewer than 20.
    mapped
        ``(controls, members)`` predictions on the new scale.
    reads
        ``(controls,)``; NaN if unknown.
    """
    slope, levels = scale.slope, known.levels if len(residual) >= FEWEST else ()
    of_effects = known.effects and dataclasses.replace(
        known.effects,
        **{name: getattr(known.effects, name) * slope**2 for name in ("variance", "edit_variance", "read_variance")},
    )
    stretched = dataclasses.replace(
        known,
        model_variance=known.model_variance * slope**2,
        read_variance=known.read_variance * slope**2,
        levels=tuple(scale(np.array(levels)).tolist()),
        level_variances=tuple((np.array(known.level_variances) * slope**2).tolist()) if levels else (),
        quantiles=(1.0,) * len(conformal.LEVELS),
        level_quantiles=tuple((1.0,) * len(levels) for _ in conformal.LEVELS) if levels else (),
        effects=of_effects,
        expression_quantiles=tuple(scale(np.array(known.expression_quantiles)).tolist()),
        validation=len(residual),
    )
    sd = stretched.half_width(mapped.mean(axis=1), spread_of(mapped), reads)
    quantiles = conformal.quantiles(np.abs(residual) / sd)  # 20 controls are enough for each level
    of_levels = tuple((value or 0.0,) * len(levels) for value in quantiles) if levels else ()
    return dataclasses.replace(stretched, quantiles=quantiles, level_quantiles=of_levels)


@dataclasses.dataclass(frozen=True)
class _Fit:
    """The map of one condition, and where its controls are among all."""

    rows: np.ndarray
    scale: Scale
    measured: np.ndarray
    reads: np.ndarray
    cross_validated: np.ndarray
    about: dict[str, Any]


def recalibrate(
    predictor: Predictor, controls: pl.DataFrame, target: str | os.PathLike, *, kind: str = AUTO, source: str = "controls"
) -> dict[str, dict[str, Any]]:
    """Write a model on the scale of measured controls.

    Of several conditions each gets its own map, and differences are those of mapped expression. The new model has the conditions that
    controls were measured in: a difference between a condition on the new scale and one on the old scale has no meaning.

    Parameters
    ----------
    predictor
        The model.
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
        For each condition (an empty name for a model of one): ``kind``, ``controls`` and their ``lowest`` and ``highest`` value, Pearson's
        ``r``, ``slope`` and ``offset`` of the affine map, ``knots`` and ``values`` of an isotonic one, and cross-validated ``rmse_before``,
        ``rmse``, ``R2_before`` and ``R2``. model.json has it as ``scale``, or ``scales`` for several conditions.

    Raises
    ------
    InputError
        If a condition has fewer than 20 controls, or predictions and controls are unrelated (r below .3).
    ConfigError
        If the map needs more controls, or ``target`` exists already.
    """
    predictor.require_calibration("it holds flanks, intervals and the transform of expression")
    if (Path(target) / "model.json").exists():
        raise ConfigError(f"{target}: there is a model already; give another folder with -o")
    kept = [name for name in predictor.conditions if column("expression", name) in controls.columns] or [""]
    outputs = predictor.outputs(tokenize(controls["sequence"], **predictor.window)) if controls.height else np.empty((0, 1, 1))
    digest = checksums.digests(predictor.directory / "model.keras")["sha256"]
    fits = {name: _fit(predictor.of(name), controls, outputs, kind, source, digest) for name in kept}

    content = json.loads((predictor.directory / "model.json").read_text(encoding="utf-8"))
    before = content.pop("scale", {})
    content.pop("scales", None)
    if len(kept) > 1:
        content |= {"conditions": kept, "scales": {name: each.about for name, each in fits.items()}}
    else:
        of_several = {"condition": kept[0] or before.get("condition")} if kept[0] or "condition" in before else {}
        content |= {"conditions": [], "scale": fits[kept[0]].about | of_several}
    members, conditions = predictor.about["members"], predictor.conditions or [""]
    if kept != conditions:
        content.setdefault("network_conditions", conditions)
    places = [member * len(conditions) + conditions.index(name) for member in range(members) for name in kept]
    network, _ = models_directory.load(predictor.directory, predictor.backend)
    every = kept == conditions
    models_directory.write_scaled(
        Path(target) / "model.keras", network, [fits[name].scale for name in kept] * members, None if every else places
    )
    digest = checksums.digests(Path(target) / "model.keras")["sha256"]
    written = {name: _rescaled(each, outputs, predictor.of(name)) for name, each in fits.items()}
    for name, pair in differences(kept).items():
        written[name] = _of_difference(predictor.of(name), [fits[each] for each in pair], outputs)
    written = {"" if len(kept) == 1 else name: dataclasses.replace(each, model_sha256=digest) for name, each in written.items()}
    calibration.write(written, Path(target) / calibration.FILE)
    files.write_json(Path(target) / "model.json", content)  # last: without it the folder is no model
    return {name: each.about for name, each in fits.items()}


def _fit(predictor: Predictor, controls: pl.DataFrame, outputs: np.ndarray, kind: str, source: str, digest: str) -> _Fit:
    """Return the map of the readout of ``predictor``; errors as `recalibrate`."""
    known, name = predictor.require_calibration(), predictor.readout
    where = f"{source}, {name}" if name else source
    values = controls[column("expression", name)]
    rows = values.is_not_null().to_numpy()
    number = int(rows.sum())
    if number < FEWEST:
        raise InputError(f"{where}: {number} controls; recalibration needs at least {FEWEST} measured promoters")
    if kind == ISOTONIC and number < FEWEST_ISOTONIC:
        raise ConfigError(f"--map isotonic: needs at least {FEWEST_ISOTONIC} controls, {where} has {number}; use --map affine")
    measured = known.transform.forward(values.drop_nulls().to_numpy())
    if not np.isfinite(measured).all():
        raise InputError(f"{where}: {known.transform.name} of expression is not finite for some controls; give values in range")
    predicted = (outputs[rows] @ predictor.weights).mean(axis=1)
    r = float(np.corrcoef(predicted, measured)[0, 1]) if predicted.std() and measured.std() else float("nan")
    if not r >= LOWEST_R:
        raise InputError(
            f"{where}: r = {r:.2f} between predictions and {number} controls, below {LOWEST_R}: this model does not predict these "
            "measurements, and no scale would change that. Check that sequences belong to the values, their strand and the scaffold"
        )
    chosen, tried = choose(predicted, measured, kind)
    scale = fit(predicted, measured, chosen)
    errors = {"_before": measured - predicted, "": measured - tried[chosen]}
    about = {
        "kind": chosen,
        "controls": number,
        "lowest": float(measured.min()),
        "highest": float(measured.max()),
        "r": r,
        "slope": scale.slope,
        "offset": scale.offset,
        "knots": list(scale.knots),
        "values": list(scale.values),
        **{f"rmse{when}": float(np.sqrt(np.mean(error**2))) for when, error in errors.items()},
        **{f"R2{when}": float(1 - np.mean(error**2) / measured.var()) for when, error in errors.items()},
        "of": digest,
    }
    reads = controls[column("n_reads", name)].fill_null(np.nan).to_numpy()[rows]
    return _Fit(rows, scale, measured, reads, tried[chosen], about)


def _rescaled(fitted: _Fit, outputs: np.ndarray, predictor: Predictor) -> calibration.Calibration:
    """Return the new calibration of a condition."""
    mapped = fitted.scale(outputs[fitted.rows] @ predictor.weights)
    return rescaled(predictor.require_calibration(), fitted.scale, fitted.measured - fitted.cross_validated, mapped, fitted.reads)


def _of_difference(predictor: Predictor, pair: Sequence[_Fit], outputs: np.ndarray) -> calibration.Calibration:
    """Return the new calibration of the difference between two conditions.

    Its residuals are those of controls measured in both. What depends on the predicted difference (variances, levels, the distribution of
    the library) follows the line from old to new predicted differences of all controls (least squares); without a rising line it is left
    out.
    """
    of_outputs = [outputs[:, :, int(np.argmax(weights))] for weights in (predictor.weights, -predictor.weights)]
    mapped = np.subtract(*(each.scale(own) for each, own in zip(pair, of_outputs, strict=True)))
    before, after = (values.mean(axis=1) for values in (np.subtract(*of_outputs), mapped))
    known = predictor.require_calibration()
    slope, offset = np.polyfit(before, after, 1) if before.std() else (0.0, 0.0)
    if slope <= 0:
        known = dataclasses.replace(known, levels=(), level_variances=(), level_quantiles=(), effects=None, expression_quantiles=())
        slope = float(np.sqrt(np.mean([each.scale.slope**2 for each in pair])))
    both = pair[0].rows & pair[1].rows
    residual, reads = np.zeros(0), np.zeros(0)
    if both.any():
        errors, depth = (
            [values[both[each.rows]] for each, values in zip(pair, of_each, strict=True)]
            for of_each in ([each.measured - each.cross_validated for each in pair], [each.reads for each in pair])
        )
        residual, reads = errors[0] - errors[1], np.minimum(*depth)
    return rescaled(known, Scale(float(slope), float(offset)), residual, mapped[both], reads)
