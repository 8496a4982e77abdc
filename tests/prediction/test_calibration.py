"""Prediction intervals on data whose error variance is known."""

import json
from dataclasses import asdict

import numpy as np
import polars as pl
import pytest

from gpraflow.core.errors import InputError
from gpraflow.prediction import calibrate, calibration, conformal
from tests import toy


def table(rows, seed, reads=True, members=0):
    """Predictions from 0 to 16 whose errors have the standard deviation .5 at 0 and 2.5 at 16, and heavy tails below 8."""
    rng = np.random.default_rng(seed)
    predicted, depth = rng.uniform(0, 16, rows), rng.choice([1, 4, 16, 64], rows)
    spread = rng.choice([0.1, 1.0], rows) if members else np.zeros(rows)
    shape = np.where(predicted < 8, rng.standard_t(4, rows) / np.sqrt(2), rng.normal(size=rows))
    error = shape * np.sqrt((0.5 + predicted / 8) ** 2 + spread**2) + rng.normal(size=rows) * np.sqrt(4 / depth if reads else 0)
    columns = {"predicted": predicted, "expression": predicted + error, "n_reads": depth if reads else [None] * rows}
    found = pl.DataFrame(columns, schema_overrides={"n_reads": pl.Int64}).with_columns(sequence=pl.lit("A"))
    return found.with_columns(predicted_sd=pl.Series(spread)) if members else found


@pytest.fixture(scope="module")
def fit(tmp_path_factory):
    folder = toy.write_model(tmp_path_factory.mktemp("calibration") / "model")
    return lambda validation: toy.calibrate(folder, validation)


def half_widths(known, rows):
    spread = rows["predicted_sd"].to_numpy() if "predicted_sd" in rows.columns else np.zeros(rows.height)
    return known.half_width(rows["predicted"].to_numpy(), spread, rows["n_reads"].cast(pl.Float64).fill_null(np.nan).to_numpy())


def constant(validation, rows):
    """Half-widths of the previous method: one variance of the model's error for all promoters."""
    error = (validation["expression"] - validation["predicted"]).to_numpy()
    parts, others = (
        np.stack([np.ones(each.height), 1 / each["n_reads"].fill_null(1).to_numpy() * each["n_reads"].is_not_null().to_numpy()])
        for each in (validation, rows)
    )
    factors = conformal.variance_factors(error, parts)
    return conformal.quantiles(np.abs(error) / np.sqrt(factors @ parts))[-1] * np.sqrt(factors @ others)


@pytest.mark.parametrize("reads", [True, False])
@pytest.mark.parametrize("members", [0, 3])
def test_intervals_cover_at_each_level_depth_and_spread_and_are_not_wider(fit, reads, members):
    validation, new = table(6000, 1, reads, members), table(40_000, 2, reads, members)
    half = half_widths(fit(validation), new)
    inside = np.abs((new["expression"] - new["predicted"]).to_numpy()) <= half
    groups = {"predicted": 5} | ({"n_reads": 4} if reads else {}) | ({"predicted_sd": 2} if members else {})
    for column, number in groups.items():
        order = np.argsort(new[column].to_numpy(), kind="stable")
        covered = [inside[part].mean() for part in np.array_split(order, number)]
        assert min(covered) > 0.93, (column, covered)
        assert max(covered) < 0.97, (column, covered)
    before = constant(validation, new)
    assert half.mean() <= before.mean()
    lowest = (new["predicted"] < 3.2).to_numpy()
    assert np.mean(np.abs((new["expression"] - new["predicted"]).to_numpy())[lowest] <= before[lowest]) > 0.97  # too wide there


@pytest.mark.parametrize("rows", [20, 50, 199])
def test_few_validation_promoters_have_one_variance(fit, rows):
    known = fit(table(rows, 3))
    assert (known.levels, known.level_variances, known.level_quantiles) == ((), (), ())
    same = known.half_width(np.array([0.0, 16.0]), np.zeros(2), 4)
    assert same[0] == same[1] > 0
    new = table(20_000, 4)
    assert np.mean(np.abs((new["expression"] - new["predicted"]).to_numpy()) <= half_widths(known, new)) > 0.88


def test_two_hundred_promoters_have_levels_and_still_cover(fit):
    covered = []
    for seed in range(10):
        known, new = fit(table(200, 100 + seed)), table(4000, 200 + seed)
        assert len(known.levels) == 3
        covered.append(np.mean(np.abs((new["expression"] - new["predicted"]).to_numpy()) <= half_widths(known, new)))
    assert 0.93 < np.mean(covered) < 0.98


def test_equal_predictions_are_one_level(fit):
    known = fit(table(500, 5).with_columns(predicted=pl.lit(3.0)))
    assert known.levels == (3.0,)
    wide = known.half_width(np.array([-5.0, 3.0, 20.0]), np.zeros(3))
    assert wide == pytest.approx(wide[0])
    assert wide[0] > 0


def test_coverage_counts_with_the_quantiles_of_each_level(fit):
    known, new = fit(table(4000, 6)), table(20_000, 7)
    half = half_widths(known, new)
    new = new.with_columns(predicted_low=new["predicted"] - half, predicted_high=new["predicted"] + half)
    for row in calibration.coverage(new, known, "new"):
        assert row["inside"] == pytest.approx(row["level"], abs=0.02)


def test_files_of_older_versions_are_read_with_their_intervals(fit, tmp_path):
    new = fit(table(1000, 8))
    path = tmp_path / "new.json"
    calibration.write({"": new}, path)
    assert calibration.load(path) == new
    content = json.loads(path.read_text())
    older = {key: value for key, value in content.items() if key not in ("levels", "level_variances", "level_quantiles", "effects")}
    (tmp_path / "old.json").write_text(json.dumps(older))
    known = calibration.load(tmp_path / "old.json")
    assert (known.levels, known.effects) == ((), None)
    expected = known.quantiles[3] * np.sqrt(known.spread_factor * 4 + known.model_variance + known.read_variance / 9)
    assert known.half_width(np.array([0.0, 50.0]), np.full(2, 2.0), 9) == pytest.approx([expected] * 2)
    half, basis = known.half_width_of_effect(np.zeros(1), np.ones(1), np.full(1, 0.5), np.ones(1, int))
    assert half[0] == pytest.approx(known.quantiles[3] * np.sqrt(known.spread_factor * 0.25 + 2 * known.model_variance))
    assert basis.tolist() == ["independent"]
    assert asdict(known)["model_variance"] == content["model_variance"]


def test_quantiles_of_measured_expression_are_kept(fit, tmp_path):
    """Those of the training promoters, through the file; older calibrations have none."""
    known = fit(table(500, 9))
    expected = np.quantile(toy.table(5000, 1)["expression"].to_numpy(), np.arange(101) / 100)
    assert known.expression_quantiles == pytest.approx(expected, abs=1e-6)
    calibration.write({"": known}, tmp_path / "new.json")
    assert calibration.load(tmp_path / "new.json") == known
    older = json.loads((tmp_path / "new.json").read_text())
    del older["expression_quantiles"]
    (tmp_path / "old.json").write_text(json.dumps(older))
    assert calibration.load(tmp_path / "old.json").expression_quantiles == ()
    for wrong in (older["levels"], [2.0] * 100 + [1.0]):
        (tmp_path / "wrong.json").write_text(json.dumps(older | {"expression_quantiles": wrong}))
        with pytest.raises(InputError, match="expression_quantiles are not 101 ascending numbers"):
            calibration.load(tmp_path / "wrong.json")


def test_quantiles_of_each_condition_and_difference_are_of_promoters_measured_there():
    train = pl.DataFrame({"sequence": ["A"] * 3, "expression.a": [1.0, 2.0, None], "expression.b": [5.0, None, 7.0]}).lazy()
    found = {readout: calibrate._expression(train, readout, ["a", "b"]).tolist() for readout in ("a", "b", "b-a")}
    assert found == {"a": [1, 2], "b": [5, 7], "b-a": [4]}
