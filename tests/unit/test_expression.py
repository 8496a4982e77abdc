import numpy as np
import polars as pl
import pytest
from gpraflow import expression, tables
from gpraflow.errors import ConfigError, GpraflowError, InputError
from gpraflow.ledger import Ledger
from scipy import optimize, stats

BINS = 18
GATES = np.arange(BINS + 1) - 0.5


def assay(promoters, seed=0, cells_per_promoter=60.0):
    """Counts of a simulated sort: gamma-Poisson cells, normal within promoters, Poisson reads a cell, depth differing by bin."""
    rng = np.random.default_rng(seed)
    mean = np.clip(rng.normal(8.5, 3.5, promoters), 0, 17)
    sd = np.exp(rng.normal(np.log(1.5), 0.15, promoters))
    gates = np.concatenate([[-np.inf], GATES[1:-1], [np.inf]])
    share = np.diff(stats.norm.cdf(gates, mean[:, None], sd[:, None]), axis=1)
    cells = rng.poisson(rng.gamma(0.7, cells_per_promoter, promoters)[:, None] * share)
    counts = rng.poisson(cells * rng.uniform(0.3, 3, BINS))
    return mean, counts, cells.sum(axis=0).astype(float)


def test_weighted_mean_is_the_published_formula_promoter_by_promoter():
    _, counts, cells = assay(200)
    found = expression.weighted_mean(counts, np.arange(BINS), cells)
    per_cell = counts.sum(axis=0) / cells
    for row, value, sd in zip(counts, found.expression, found.sd, strict=True):
        weights = [n / r for n, r in zip(row, per_cell, strict=True)]
        if not row.sum():
            assert np.isnan(value)
            continue
        expected = sum(w * b for b, w in enumerate(weights)) / sum(weights)
        assert value == pytest.approx(expected)
        assert sd == pytest.approx(np.sqrt(sum(w * (b - expected) ** 2 for b, w in enumerate(weights)) / sum(weights)), abs=1e-6)
    assert (found.n_reads == counts.sum(axis=1)).all()
    assert (found.n_bins == (counts > 0).sum(axis=1)).all()
    assert (found.singleton == (found.n_bins == 1)).all()


def test_maximum_likelihood_is_the_mode_that_scipy_finds_promoter_by_promoter():
    _, counts, cells = assay(60)
    counts = counts[counts.sum(axis=1) > 0][:25]
    per_cell = counts.sum(axis=0) / cells
    seen = per_cell / (1 + per_cell)
    effective = counts / (1 + per_cell)
    gates = np.concatenate([[-np.inf], GATES[1:-1], [np.inf]])
    prior_mean, prior_log_sd = (8.0, 7.0), (np.log(1.5), 0.2)
    start = np.full(len(counts), 8.0)
    mean, log_sd, variance, _ = expression._fit(effective, seen, gates, start, np.full(len(counts), np.log(1.5)), prior_mean, prior_log_sd)

    for row, m, s, v in zip(effective, mean, log_sd, variance, strict=True):

        def loss(parameters, row=row):
            share = seen * np.diff(stats.norm.cdf(gates, parameters[0], np.exp(parameters[1])))
            likelihood = np.sum(row * np.log(np.maximum(share, 1e-300) / share.sum()))
            return -likelihood - stats.norm.logpdf(parameters[0], *prior_mean) - stats.norm.logpdf(parameters[1], *prior_log_sd)

        best = min(
            (
                optimize.minimize(loss, [x, np.log(1.5)], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-10})
                for x in (m, 5.0, 12.0)
            ),
            key=lambda r: r.fun,
        )
        assert (m, s) == pytest.approx(tuple(best.x), abs=2e-4)
        if row.sum() > 20:  # the expected information is close to the curvature
            step = 1e-3
            curve = (loss([m + step, s]) - 2 * loss([m, s]) + loss([m - step, s])) / step**2
            assert v == pytest.approx(1 / curve, rel=0.3)


def test_intervals_cover_the_truth_and_deep_promoters_are_right():
    mean, counts, cells = assay(6000, seed=1)
    found = expression.maximum_likelihood(counts, GATES, cells)
    deep = found.n_reads > 5
    inside = (found.low[deep] <= mean[deep]) & (mean[deep] <= found.high[deep])
    assert 0.92 <= inside.mean() <= 0.97
    very = found.n_reads > 100
    assert np.corrcoef(found.expression[very], mean[very])[0, 1] > 0.99
    other = expression.weighted_mean(counts, np.arange(BINS), cells)
    squared = [np.mean((estimate.expression[very] - mean[very]) ** 2) for estimate in (found, other)]
    assert squared[0] < squared[1]


def test_open_bins_do_not_run_away():
    _, counts, cells = assay(500)
    counts[0] = 0
    counts[0, -1] = 50
    counts[1] = 0
    found = expression.maximum_likelihood(counts, GATES, cells)
    assert 16.5 < found.expression[0] < 30
    assert found.high[0] > found.expression[0] + 0.5
    assert np.isnan(found.expression[1])
    assert np.isfinite(np.delete(found.expression, np.flatnonzero(counts.sum(axis=1) == 0))).all()


def test_two_bins_are_enough_for_either_method():
    """With one gate only the order of promoters can be told; cells below and above it decide."""
    counts = np.array([[90, 10], [50, 50], [10, 90]])
    for method in ("weighted_mean", "maximum_likelihood"):
        found = expression.estimate(counts, np.array([-np.inf, 4.0, np.inf]), None, method, 1.0)
        assert found.expression[0] < found.expression[1] < found.expression[2]
        assert found.expression[1] == pytest.approx(4.0, abs=0.05)


def bins(**columns):
    rows = [{"bin": f"b{i}", "lower": i, "upper": i + 1, "cells": 10} for i in range(3)]
    for key, value in columns.items():
        for row, cell in zip(rows, value, strict=True):
            if cell is None:
                row.pop(key)
            else:
                row[key] = cell
    return rows


@pytest.mark.parametrize(
    ("sheet", "method", "message"),
    [
        (bins(lower=[0, 0.5, 2]), "weighted_mean", r"row 3: bin 'b1' \(0\.5 to 2\) overlaps the one before, which ends at 1"),
        (bins(lower=[0, 1, 2.5]), "weighted_mean", r"row 4: bin 'b2' \(2\.5 to 3\) leaves a gap"),
        (bins(lower=[2, 1, 0], upper=[3, 2, 1]), "weighted_mean", r"row 3: bin 'b1' \(1 to 2\) overlaps"),
        (bins(upper=[0, 2, 3]), "weighted_mean", r"row 2: bin 'b0': lower gate 0 is not below upper gate 0"),
        (bins(cells=[1, None, 1]), "weighted_mean", r"row 3: cells of bin 'b1' are missing"),
        (bins(lower=[None] * 3, upper=[None] * 3), "maximum_likelihood", r"needs the columns lower and upper"),
        (bins()[:1], "weighted_mean", r"1 bins; 2 to 64 are possible"),
    ],
)
def test_bad_sheet_of_bins(sheet, method, message):
    with pytest.raises(ConfigError, match=message) as caught:
        expression.check_bins(sheet, method, "sheet", "bins.tsv")
    assert "bins.tsv" in str(caught.value)


def test_gates_and_cells_of_a_sheet():
    gates, cells = expression.check_bins(bins(lower=[None, 1, 2], upper=[1, 2, None]), "maximum_likelihood", "sheet", "b")
    assert gates.tolist() == [-np.inf, 1, 2, np.inf]
    assert cells.tolist() == [10, 10, 10]
    gates, cells = expression.check_bins([{"bin": "a"}, {"bin": "b"}], "weighted_mean", "reads", "b")
    assert gates.tolist() == [-0.5, 0.5, 1.5]
    assert cells is None


def read(tmp_path, text):
    (tmp_path / "c.tsv").write_text(text)
    ledger = Ledger("estimate_expression", "x")
    return *expression.read_counts(
        tmp_path / "c.tsv", ["a", "b"], {"sequence": "sequence", "group": "auto", "split": "auto"}, ledger
    ), ledger


def test_equal_sequences_are_added_up_and_counted(tmp_path):
    labels, counts, ledger = read(tmp_path, "sequence\ta\tb\tgroup\nACGT\t1\t2\tx\nCCCC\t0\t5\ty\nacgt\t3\t0\tx\n")
    assert labels.rows() == [("ACGT", "x"), ("CCCC", "y")]
    assert counts.tolist() == [[4, 2], [0, 5]]
    assert ledger.counts["dropped", "same sequence again, reads added up"] == 1
    assert ledger.counts["noted", "lower case made upper case"] == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("sequence\ta\tb\nACGT\t1\t-2\n", r"row 2: bin b '-2' must be a whole number"),
        ("sequence\ta\tb\nACGT\t1.5\t2\n", r"row 2: bin a '1\.5' must be a whole number"),
        ("sequence\ta\tb\nACGT\t\t2\n", r"row 2: bin a is empty"),
        ("sequence\ta\tc\nACGT\t1\t2\n", r"row 1: no column 'b' for bin b"),
        ("sequence\ta\tb\nAC*T\t1\t2\n", r"row 2: letter '\*'"),
        ("sequence\ta\tb\tsplit\nACGT\t1\t2\ttrain\nACGT\t1\t2\ttest\n", r"the same sequence is there again with another split"),
        ("sequence\ta\tb\n", r"the table has no rows"),
    ],
)
def test_bad_counts(tmp_path, text, message):
    with pytest.raises(GpraflowError, match=message) as caught:
        read(tmp_path, text)
    assert "c.tsv" in str(caught.value)


def test_all_bins_but_one_empty():
    with pytest.raises(InputError, match="1 of 3 bins have reads"):
        expression.estimate(np.array([[0, 3, 0]]), GATES[:4], None, "weighted_mean", 1.0)


def test_filters_are_counted():
    labels = pl.DataFrame({"sequence": ["A", "C", "G"]})
    found = expression.estimate(np.array([[2, 2], [0, 1], [0, 0]]), GATES[:3], None, "weighted_mean", 1.0)
    ledger = Ledger("estimate_expression", "x")
    ledger.read(3)
    table = expression.to_table(labels, found, 1, ledger)
    assert table["sequence"].to_list() == ["A", "C"]
    assert table["singleton"].to_list() == [False, True]
    assert ledger.counts["dropped", "fewer than 1 reads"] == 1
    assert ledger.counts["noted", "singletons (all reads in one bin)"] == 1


def test_real_lac_counts(shared):
    """Against the plain formula on every row, reads standing for cells."""
    ledger = Ledger("estimate_expression", "lac")
    names = [f"ct_{i}" for i in range(10)]
    labels, counts = expression.read_counts(
        shared / "ecoli_lac_sortseq_bins.tsv.gz", names, {"sequence": "sequence", "split": "set"}, ledger
    )
    found = expression.estimate(counts, np.arange(11) - 0.5, None, "weighted_mean", 1.0)
    raw = pl.read_csv(shared / "ecoli_lac_sortseq_bins.tsv.gz", separator="\t")
    given = raw.select(names).to_numpy()
    assert labels["sequence"].to_list() == raw["sequence"].to_list()
    assert found.expression == pytest.approx((given * np.arange(10)).sum(axis=1) / given.sum(axis=1))
    assert tables.SCHEMA.keys() >= {"sequence", "split"} == set(labels.columns)
