import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from gpraflow.core import randomness
from gpraflow.core.errors import InputError
from gpraflow.evaluation import metrics


def sample(n, ties=False, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(8, 3, n)
    x = y + rng.normal(0.5, 2, n)
    return (x.round(), y.round()) if ties else (x, y)


def r2_naive(predicted, measured):
    mean = sum(measured) / len(measured)
    return 1 - sum((m - p) ** 2 for m, p in zip(measured, predicted, strict=True)) / sum((m - mean) ** 2 for m in measured)


@pytest.mark.parametrize("ties", [False, True])
def test_scores_are_scipys(ties):
    x, y = sample(500, ties)
    found = metrics.scores(x, y)
    assert found["r"] == pytest.approx(stats.pearsonr(x, y)[0], abs=1e-12)
    assert found["r2"] == pytest.approx(stats.pearsonr(x, y)[0] ** 2, abs=1e-12)
    assert found["rho"] == pytest.approx(stats.spearmanr(x, y)[0], abs=1e-12)
    assert found["R2"] == pytest.approx(r2_naive(x, y), abs=1e-12)
    assert found["mse"] == pytest.approx(sum((a - b) ** 2 for a, b in zip(x, y, strict=True)) / 500, abs=1e-12)
    assert found["slope"] == pytest.approx(stats.linregress(x, y).slope, abs=1e-12)
    assert found["R2"] < found["r2"]  # the offset counts


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("rows", [1, 7])  # 7 does not divide the resamples
def test_bootstrap_equals_scoring_each_resample(monkeypatch, ties, rows):
    x, y = sample(40, ties)
    monkeypatch.setattr(metrics, "_CHUNK_CELLS", 40 * rows)
    found = metrics.bootstrap(x, y, 30, seed=5, threads=2)
    drawn = [
        row
        for start in range(0, 30, rows)
        for row in randomness.generator(5, "bootstrap", start).integers(0, 40, (min(rows, 30 - start), 40), dtype=np.int32)
    ]
    for i, rows in enumerate(drawn):
        naive = metrics.scores(x[rows], y[rows])
        for name in metrics.SCORES:
            assert found[name][i] == pytest.approx(naive[name], abs=1e-10), name


def test_intervals_are_close_to_scipys_and_hold_the_score():
    x, y = sample(400)
    found = metrics.evaluate(pl.DataFrame({"predicted": x, "expression": y}), resamples=4000, seed=1, name="a")
    fisher = stats.pearsonr(x, y).confidence_interval(0.95)
    assert found["r_low"] == pytest.approx(fisher.low, abs=0.01)
    assert found["r_high"] == pytest.approx(fisher.high, abs=0.01)
    for name in metrics.SCORES:
        assert found[f"{name}_low"] < found[name] < found[f"{name}_high"]
    assert found["n"] == 400


def test_95_percent_intervals_cover_the_truth():
    """Bivariate normal draws of 150 promoters with r = .8: 93 to 97 % of the intervals hold the true score."""
    rng, draws, n, r = np.random.default_rng(20261125), 600, 150, 0.8
    truth = {"r": r, "r2": r * r, "rho": 6 / np.pi * np.arcsin(r / 2), "mse": 2 - 2 * r, "slope": r, "R2": 2 * r - 1}
    covered = dict.fromkeys(metrics.SCORES, 0)
    for _ in range(draws):
        y = rng.normal(size=n)
        x = r * y + np.sqrt(1 - r * r) * rng.normal(size=n)
        found = metrics.with_intervals(x, y, 500, int(rng.integers(2**31)))
        for name in metrics.SCORES:
            covered[name] += found[f"{name}_low"] <= truth[name] <= found[f"{name}_high"]
    for name, times in covered.items():
        assert 0.93 <= times / draws <= 0.97, (name, times / draws)


def test_members_of_an_ensemble_are_scored_one_by_one():
    x, y = sample(60)
    members = np.stack([x, x + np.sin(np.arange(60)), y], axis=1)
    frame = pl.DataFrame({"predicted": members.mean(axis=1), "expression": y})
    frame = frame.with_columns(pl.Series(metrics.MEMBERS, members, pl.Array(pl.Float32, 3)))
    found = metrics.evaluate(frame, resamples=100, seed=1, name="a")
    each = [stats.pearsonr(column, y)[0] for column in members.T]
    assert found["r_members_mean"] == pytest.approx(np.mean(each), abs=1e-6)
    assert found["r_members_sd"] == pytest.approx(np.std(each, ddof=1), abs=1e-6)
    assert found["r"] == pytest.approx(stats.pearsonr(members.mean(axis=1), y)[0])
    assert "r_members_mean" not in metrics.evaluate(frame.drop(metrics.MEMBERS), resamples=100, seed=1, name="a")


def test_intervals_of_a_set_do_not_depend_on_other_sets():
    x, y = sample(50)
    frame = pl.DataFrame({"predicted": x, "expression": y})
    again = [metrics.evaluate(frame, resamples=200, seed=1, name=name) for name in ("a", "a", "b")]
    assert again[0] == again[1]
    assert again[0]["r_low"] != again[2]["r_low"]


def test_constant_predictions_have_no_correlation(tmp_path):
    frame = pl.DataFrame({"predicted": [2.0] * 30, "expression": np.arange(30.0)})
    found = metrics.evaluate(frame, resamples=100, seed=1, name="a")
    assert found["r"] is None
    assert found["rho"] is None
    assert found["mse"] == pytest.approx(np.mean((np.arange(30) - 2.0) ** 2))
    metrics.write({"datasets": {"a": found}}, tmp_path / "m.json", tmp_path / "m.tsv")
    assert json.loads((tmp_path / "m.json").read_text())["datasets"]["a"]["r"] is None
    assert pl.read_csv(tmp_path / "m.tsv", separator="\t")["n"].to_list() == [30]


@pytest.mark.parametrize(("n", "defined"), [(1, []), (2, ["R2"]), (3, ["r", "r2", "R2", "rho", "slope"]), (19, list(metrics.SCORES))])
def test_few_promoters_have_scores_without_intervals(tmp_path, n, defined):
    x, y = sample(n)
    found = metrics.evaluate(pl.DataFrame({"predicted": x, "expression": y}), resamples=100, seed=1, name="a")
    assert found["remark"] == f"a has {n} promoter{'s' if n > 1 else ''}; at least 20 are needed for an interval"
    assert found["mse"] == pytest.approx(np.mean((x - y) ** 2))
    assert {name for name in metrics.SCORES if found[name] is not None} == {"mse", *defined}
    assert all(found[f"{name}_{end}"] is None for name in metrics.SCORES for end in ("low", "high"))
    if n > 2:
        assert found["r"] == pytest.approx(stats.pearsonr(x, y)[0])
    metrics.write({"datasets": {"a": found}}, tmp_path / "m.json", tmp_path / "m.tsv")
    header, cells = ((tmp_path / "m.tsv").read_text().splitlines()[i].split("\t") for i in (0, 1))
    assert {cells[header.index(f"{name}_low")] for name in metrics.SCORES} == {""}
    assert json.loads((tmp_path / "m.json").read_text())["datasets"]["a"]["r_low"] is None


def test_twenty_promoters_have_an_interval():
    x, y = sample(20)
    found = metrics.evaluate(pl.DataFrame({"predicted": x, "expression": y}), resamples=200, seed=1, name="a")
    assert found["remark"] is None
    assert found["r_low"] < found["r"] < found["r_high"]


def test_no_promoter_is_an_error():
    empty = pl.DataFrame({"predicted": [], "expression": []}, schema={"predicted": pl.Float64, "expression": pl.Float64})
    with pytest.raises(InputError, match=r"a: no promoters to score; leave it out of evaluation\.splits"):
        metrics.evaluate(empty, resamples=100, seed=1, name="a")


@pytest.mark.parametrize(
    ("file", "reference_set"),
    [
        ("random", "complex_random_2954"),
        ("native", "complex_native_3733"),
        ("drift", "complex_drift"),
        ("sswm", "complex_sswm_unique"),
    ],
)
def test_published_models_give_the_reference_figures(shared, file, reference_set):
    reference = pl.read_csv(shared / "reference_peers.tsv", separator="\t").filter(pl.col("set") == reference_set)
    table = pl.read_csv(shared / f"yeast_test_{file}.tsv.gz", separator="\t", infer_schema_length=None)
    checked = 0
    for row in reference.iter_rows(named=True):
        if row["peer"] in table.columns:
            found = metrics.scores(table[row["peer"]].to_numpy(), table["expression"].to_numpy())
            assert (table.height, *(round(found[key], 4) for key in ("r", "r2", "rho"))) == (row["n"], row["r"], row["r2"], row["rho"])
            checked += 1
    assert checked >= 2
