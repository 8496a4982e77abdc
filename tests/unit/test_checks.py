import numpy as np
import polars as pl
import pytest
from gpraflow import checks
from scipy import stats


def table(n=400, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(9, 3, n)
    sequences = ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (n, 40))]]
    columns = {"sequence": sequences, "expression": y, "predicted": y + rng.normal(0, 1.5, n)}
    return pl.DataFrame(columns).with_columns(singleton=pl.lit(None, pl.Boolean), n_reads=pl.lit(None, pl.Int64))


def verdicts(rows):
    return {row["check"]: row["verdict"] for row in checks.check(rows, "d")}


def test_nothing_is_wrong_with_good_predictions():
    assert set(verdicts(table()).values()) == {"ok"}


def test_each_fault_is_found_and_no_other():
    good = table()
    gc = good["sequence"].str.count_matches("[GC]").cast(pl.Float64)
    noise = pl.Series(np.random.default_rng(5).normal(0, 1, 400))
    gc_only = good.with_columns(expression=gc + noise, predicted=gc)
    faults = {
        "constant predictions": good.with_columns(predicted=9 + 0.01 * pl.col("predicted")),
        "scale": good.with_columns(expression=(pl.col("expression") - 9) / 4),
        "GC content": gc_only,
        "singletons": good.with_columns(n_reads=pl.when(pl.int_range(400) % 3 == 0).then(1).otherwise(9)),
    }
    for fault, rows in faults.items():
        assert {name for name, verdict in verdicts(rows).items() if verdict == "warning"} == {fault}
    text = next(row["text"] for row in checks.check(faults["scale"], "d") if row["check"] == "scale")
    assert "Only r and rho mean something" in text


def test_partial_correlation_is_that_of_residuals():
    rng = np.random.default_rng(1)
    z = rng.normal(size=500)
    x, y = z + rng.normal(size=500), 2 * z + rng.normal(size=500)
    residuals = [v - np.polyval(np.polyfit(z, v, 1), z) for v in (x, y)]
    r = [np.corrcoef(a, b)[0, 1] for a, b in ((x, y), (x, z), (y, z))]
    assert checks.partial_correlation(*r) == pytest.approx(stats.pearsonr(*residuals)[0])
    assert checks.partial_correlation(0.5, float("nan"), float("nan")) == 0.5


def test_constant_measurements_are_no_crash():
    rows = table().with_columns(expression=pl.lit(3.0), predicted=pl.lit(3.0))
    assert all(row["value"] is None for row in checks.check(rows, "d") if row["check"] != "singletons")
