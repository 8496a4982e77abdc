import numpy as np
import polars as pl
import pytest
from scipy import stats

from gpraflow.core import randomness
from gpraflow.evaluation import comparisons, metrics


def models(n=300, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(size=n)
    shared = rng.normal(size=n)
    return y, {"a": y + 0.5 * shared + 0.3 * rng.normal(size=n), "b": y + 0.5 * shared + 0.8 * rng.normal(size=n)}


def test_williams_is_the_published_example():
    """n = 103, r = .4, .5 and .1: t = -.89, p = .37 (documentation of R's psych, r.test)."""
    t, p = comparisons.williams(0.4, 0.5, 0.1, 103)
    assert round(t, 2) == -0.89
    assert round(p, 2) == 0.37
    turned = comparisons.williams(0.5, 0.4, 0.1, 103)
    assert turned == (pytest.approx(-t), pytest.approx(p))
    assert comparisons.williams(0.6, 0.6, 1.0, 50) == (0.0, 1.0)
    assert np.isnan(comparisons.williams(0.5, float("nan"), 0.1, 50)).all()


def test_williams_finds_what_is_not_there_in_one_of_twenty():
    rng = np.random.default_rng(7)
    y = rng.normal(size=(1500, 60))
    a, b = (y + rng.normal(size=y.shape) for _ in range(2))
    p = [
        comparisons.williams(*(np.corrcoef(u, v)[0, 1] for u, v in ((x, m), (z, m), (x, z))), 60)[1]
        for x, z, m in zip(a, b, y, strict=True)
    ]
    assert 0.035 < np.mean(np.array(p) < 0.05) < 0.065


def test_holm_is_a_plain_loop():
    rng = np.random.default_rng(3)
    p = [*rng.uniform(0, 0.05, 9).tolist(), None, 0.9]
    tested = sorted(value for value in p if value is not None)
    expected = {}
    for rank, value in enumerate(tested):
        expected[value] = max(min(1.0, (len(tested) - i) * tested[i]) for i in range(rank + 1))
    assert comparisons.holm(p) == [None if value is None else pytest.approx(expected[value]) for value in p]
    assert comparisons.holm([0.01, 0.04, 0.03]) == [pytest.approx(0.03), pytest.approx(0.06), pytest.approx(0.06)]


def resampled(y, predictions, resamples):
    return {name: metrics.bootstrap(values, y, resamples, seed=5)["r"] for name, values in predictions.items()}


def test_the_difference_is_that_of_paired_resamples():
    y, predictions = models()
    row = comparisons.compare(y, predictions, resampled(y, predictions, 400), dataset="d")
    assert row["difference"] == pytest.approx(stats.pearsonr(predictions["a"], y)[0] - stats.pearsonr(predictions["b"], y)[0])
    naive = []
    rows = metrics._CHUNK_CELLS // 300
    for start in range(0, 400, rows):
        drawn = randomness.generator(5, "bootstrap", start).integers(0, 300, (min(rows, 400 - start), 300), dtype=np.int32)
        naive += [np.subtract(*(np.corrcoef(predictions[name][i], y[i])[0, 1] for name in "ab")) for i in drawn]
    assert (row["difference_low"], row["difference_high"]) == pytest.approx(tuple(np.percentile(naive, [2.5, 97.5])))
    assert row["difference_low"] > 0
    assert row["p"] < 1e-4
    table = comparisons.table([row, row | {"p": 0.04}, row | {"p": None}])
    assert table["p_holm"].to_list() == [pytest.approx(2 * row["p"]), pytest.approx(0.04), None]


def test_a_model_is_not_better_than_itself():
    y, predictions = models()
    twice = {"a": predictions["a"], "b": predictions["a"]}
    row = comparisons.compare(y, twice, resampled(y, twice, 100), dataset="d")
    assert (row["difference"], row["difference_low"], row["difference_high"], row["p"]) == (0, 0, 0, 1)


def test_three_runs_are_resampled_once_each(monkeypatch):
    y, predictions = models()
    predictions["c"] = predictions["a"] + 0.1 * predictions["b"]
    sequences = [f"promoter {i}" for i in range(len(y))]
    tables = {run: pl.DataFrame({"sequence": sequences, "expression": y, "predicted": each}) for run, each in predictions.items()}
    tables["short"] = tables["b"][10:]
    scored = {"n": 300, "title": "d"} | dict.fromkeys(metrics.SCORES, 0.5)
    runs = {run: {"datasets": {"d": scored}, "model": {}} for run in tables}
    calls, bootstrap = [], metrics.bootstrap
    monkeypatch.setattr(metrics, "bootstrap", lambda *given: calls.append(len(given[0])) or bootstrap(*given))
    _, compared = comparisons.across(runs, lambda run, _: tables[run], resamples=200, seed=3)
    assert sorted(calls) == [290] * 3 + [300] * 3  # b and its part are the same on the 290
    assert compared.select("model", "other", "n").rows() == [
        ("a", "b", 300), ("a", "c", 300), ("a", "short", 290), ("b", "c", 300), ("b", "short", 290), ("c", "short", 290)
    ]  # fmt: skip
    for row in compared.drop("p_holm").iter_rows(named=True):
        rows = slice(300 - row["n"], 300)
        values = {name: np.asarray(predictions["b" if name == "short" else name])[rows] for name in (row["model"], row["other"])}
        drawn = {name: bootstrap(each, y[rows], 200, metrics.seed_of(3, "d"))["r"] for name, each in values.items()}
        assert row == comparisons.compare(y[rows], values, drawn, dataset="d")
