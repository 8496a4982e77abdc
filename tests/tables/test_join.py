"""Tables on one scale: maps against known truth, values, and what cannot be joined."""

import json

import numpy as np
import polars as pl
import pytest

from gpraflow.core import drawing
from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats.promoters import SCHEMA
from gpraflow.tables import figures, join, maps

TRUE = np.random.default_rng(7).choice([3.0, 11.0], 4000) + np.random.default_rng(8).normal(0, 2, 4000)  # two modes: not normal


def frame(promoters, expression, **columns):
    columns = {"sequence": [f"ACGT{i}" for i in promoters], "expression": expression, **columns}
    given = pl.DataFrame(columns)
    return given.select((pl.col(n) if n in columns else pl.lit(None)).cast(dtype).alias(n) for n, dtype in SCHEMA.items())


def measured(promoters, seed, scale=1.0, offset=0.0, sd=1.0, give_sd=False, **columns):
    """Return a table whose values become true ones, plus errors of ``sd`` on the common scale, by ``offset + scale x``."""
    values = TRUE[promoters] + np.random.default_rng(seed).normal(size=len(promoters)) * sd
    if give_sd:
        columns["expression_sd"] = np.broadcast_to(sd, len(promoters)) / scale
    return frame(promoters, (values - offset) / scale, **columns)


def both(tables):
    x, y = tables["b"].join(tables["a"], on="sequence")[["expression", "expression_right"]].to_numpy().T
    return x, y


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("sd", [(2.0, 2.0), (0.5, 2.5), (2.5, 0.5)], ids=["equal errors", "second worse", "first worse"])
def test_scale_is_right_where_regression_is_not(sd, seed):
    tables = {
        "a": measured(np.arange(2000), seed, sd=sd[0], give_sd=True),
        "b": measured(np.arange(1000, 3000), seed + 100, 2.0, -1.0, sd=sd[1], give_sd=True),
    }
    x, y = both(tables)
    of_a_on_b, of_b_on_a = np.polyfit(x, y, 1)[0], 1 / np.polyfit(y, x, 1)[0]
    found = join.join(tables).maps[1]
    assert found.scale == pytest.approx(2, abs=3 * found.scale_se)
    assert found.offset == pytest.approx(-1, abs=3 * found.offset_se)
    assert 0.02 < found.scale_se < 0.12
    worst = max(abs(of_a_on_b - 2), abs(of_b_on_a - 2))
    assert worst > 0.25, "regression is attenuated"
    assert worst > 3 * abs(found.scale - 2)
    assert (found.promoters, found.shared) == (2000, 1000)


def test_without_standard_deviations_errors_count_as_equal_on_the_common_scale():
    """The map is then that of reduced major axis regression; its standard error includes that errors may be unequal."""
    tables = {"a": measured(np.arange(1500), 1, sd=2), "b": measured(np.arange(1500), 2, 2.0, -1.0, sd=2)}
    x, y = both(tables)
    found = join.join(tables)
    assert found.maps[1].scale == pytest.approx(y.std() / x.std(), rel=1e-3)
    assert found.maps[1].offset == pytest.approx(y.mean() - y.std() / x.std() * x.mean(), abs=0.02)
    assert found.maps[1].scale == pytest.approx(2, abs=0.06)
    assert [each.error_sd for each in found.maps] == pytest.approx([2, 2], rel=0.05)
    known = {
        name: table.with_columns(expression_sd=pl.lit(2 / scale, pl.Float32))
        for (name, table), scale in zip(tables.items(), (1, 2), strict=True)
    }
    assert found.maps[1].scale_se > 2 * join.join(known).maps[1].scale_se
    unequal = {"a": measured(np.arange(1500), 1, sd=1), "b": measured(np.arange(1500), 2, 2.0, -1.0, sd=2)}
    found = join.join(unequal).maps[1]
    assert abs(found.scale - 2) > 0.05, "a bias that cannot be seen"
    assert abs(found.scale - 2) < 2 * found.scale_se, "but is within the standard error"


def test_standard_errors_describe_the_spread_of_maps_of_few_promoters():
    found = [
        join.join(
            {
                "a": measured(np.arange(s, s + 60), s, sd=1, give_sd=True),
                "b": measured(np.arange(s + 30, s + 90), s + 500, 2.0, -1.0, sd=1.5, give_sd=True),
            }
        ).maps[1]
        for s in range(0, 3000, 50)
    ]
    scale, error = np.array([(each.scale, each.scale_se) for each in found]).T
    assert scale.mean() == pytest.approx(2, abs=3 * scale.std() / np.sqrt(len(found)))
    assert error.mean() == pytest.approx(scale.std(), rel=0.3)
    assert 0.85 < np.mean(np.abs(scale - 2) < 1.96 * error) <= 1


def test_errors_of_three_tables_are_told_apart():
    """With three tables no standard deviations are needed to know which is noisier."""
    every = np.arange(1500)
    tables = {
        "a": measured(every, 1, sd=0.6),
        "b": measured(every, 2, 2.0, -1.0, sd=2.4),
        "c": measured(every, 3, 0.5, 3.0, sd=1.0),
    }
    found = join.join(tables).maps
    assert [each.error_sd for each in found] == pytest.approx([0.6, 2.4, 1.0], rel=0.12)
    assert [each.scale for each in found] == pytest.approx([1, 2, 0.5], rel=0.03)
    pairwise = both(tables)
    assert abs(pairwise[1].std() / pairwise[0].std() - 2) > 2 * abs(found[1].scale - 2)


def test_tables_are_linked_through_a_chain():
    tables = {
        "a": measured(np.arange(0, 800), 1, sd=1),
        "c": measured(np.arange(1200, 2000), 3, 0.1, 30.0, sd=1),
        "b": measured(np.arange(400, 1600), 2, 4.0, -3.0, sd=1),
    }
    found = join.join(tables)
    assert {pair[:3] for pair in found.pairs} == {("a", "c", 0), ("a", "b", 400), ("c", "b", 400)}
    for each, (scale, offset) in zip(found.maps, [(1, 0), (0.1, 30), (4, -3)], strict=True):
        assert each.scale == pytest.approx(scale, rel=0.05)
        assert each.offset == pytest.approx(offset, abs=2.5)
    assert found.maps[0].scale_se is None
    assert found.table.height == 2000
    truth = found.table["sequence"].str.slice(4).cast(pl.Int64).to_numpy()
    assert np.abs(found.table["expression"].to_numpy() - TRUE[truth]).mean() < 0.9
    counts = dict(found.table["source"].value_counts().iter_rows())
    assert counts == {"a": 400, "a+b": 400, "b": 400, "c+b": 400, "c": 400}


def test_reads_tell_which_promoters_have_larger_errors():
    every, rng = np.arange(2000), np.random.default_rng(0)
    tables = {}
    for name, scale in (("a", 1.0), ("b", 2.0)):
        reads = rng.integers(1, 50, 2000)
        tables[name] = measured(every, len(tables), scale, sd=np.sqrt(0.2 + 8 / reads), n_reads=reads)
    found = join.join(tables)
    error = found.table["expression"].to_numpy() - TRUE[every]
    equal = ((tables["a"]["expression"] + 2 * tables["b"]["expression"]) / 2).to_numpy() - TRUE[every]
    assert error.std() < 0.85 * equal.std()
    assert found.table["n_reads"].equals(tables["a"]["n_reads"] + tables["b"]["n_reads"])
    assert found.table["expression_sd"].null_count() == 2000


def test_gradient_is_that_of_finite_differences():
    rng = np.random.default_rng(3)
    z = rng.normal(size=(40, 3))
    z[:10, 2] = z[10:20, 0] = np.nan
    model = maps._Likelihood(z, rng.uniform(0, 0.3, z.shape), rng.uniform(0.2, 2, z.shape))
    at = rng.normal(0, 0.3, len(model.start))
    gradient = model.posterior(at)[1]
    for index in range(len(at)):
        step = np.eye(len(at))[index] * 1e-6
        assert gradient[index] == pytest.approx((model.posterior(at + step)[0] - model.posterior(at - step)[0]) / 2e-6, rel=1e-4, abs=1e-5)
    b = np.exp([0, *at[model.b]])
    covariance = np.exp(at[1]) * np.outer(b, b)
    own = b**2 * np.exp(at[model.delta]) * (np.exp(at[model.psi]) + np.exp(at[model.kappa]) * model.per_read[30]) + model.variance[30]
    covariance += np.diag(own)
    left = z[30] - np.array([0, *at[model.a]]) - b * at[0]
    expected = 0.5 * (np.linalg.slogdet(covariance)[1] + left @ np.linalg.solve(covariance, left))
    assert model.scores(at)[0][30] == pytest.approx(expected), "the density of a normal distribution"


# Values


def test_values_are_means_weighted_by_inverse_variance():
    rng = np.random.default_rng(5)
    every = np.arange(1000)
    sds = rng.uniform(0.3, 3, (2, 1000))
    tables = {"a": measured(every, 1, sd=sds[0], give_sd=True), "b": measured(every, 2, sd=sds[1], give_sd=True)}
    found = join.join(tables, method="none")
    total = found.maps[0].error_sd ** 2 + sds**2
    values = np.stack([tables[name]["expression"].to_numpy() for name in "ab"])
    assert found.table["expression"].to_numpy() == pytest.approx((values / total).sum(axis=0) / (1 / total).sum(axis=0), rel=1e-3)
    assert found.table["expression_sd"].to_numpy() == pytest.approx((1 / total).sum(axis=0) ** -0.5, rel=0.05)
    assert (found.maps[1].scale, found.maps[1].scale_se) == (1, None)
    z = (found.table["expression"].to_numpy() - TRUE[every]) / found.table["expression_sd"].to_numpy()
    assert z.std() == pytest.approx(1, abs=0.08), "the standard deviation is that of the error"


def test_variation_between_tables_is_part_of_the_standard_deviation():
    every = np.arange(1500)
    tables = {
        "a": measured(every, 1, sd=1.0, expression_sd=np.full(1500, 0.1)),
        "b": measured(every, 2, 2.0, sd=1.0, expression_sd=np.full(1500, 0.05)),
    }
    found = join.join(tables)
    assert found.table["expression_sd"].mean() == pytest.approx(1 / np.sqrt(2), rel=0.05)
    weight = found.table["weight"].to_numpy()
    assert weight == pytest.approx(TRUE[every].var() / (TRUE[every].var() + 0.5), rel=0.01)


def test_labels_and_counts_are_carried_along():
    a = frame(
        range(30),
        TRUE[:30],
        name=[f"p{i}" for i in range(30)],
        group=["g"] * 30,
        split=[None] * 30,
        n_reads=range(30),
        weight=[1.0] * 30,
        source=["x"] * 30,
        bin_cells=[[1.0, 2.0]] * 30,
    )
    b = frame(range(5, 40), TRUE[5:40] / 2, split=["test"] * 35, n_reads=[10] * 35, weight=[2.0] * 35)
    ledger = Ledger("join_tables", "library")
    table = join.join({"a": a, "b": b}, ledger=ledger).table
    assert table.schema == SCHEMA
    assert table["sequence"].to_list() == [f"ACGT{i}" for i in range(40)]
    assert table["source"].to_list() == ["a"] * 5 + ["a+b"] * 25 + ["b"] * 10
    assert table["n_reads"].to_list() == [*range(5), *(i + 10 for i in range(5, 30)), *[10] * 10]
    assert table["weight"].to_list() == [1.0] * 5 + [3.0] * 25 + [2.0] * 10
    assert table["split"].to_list() == [None] * 5 + ["test"] * 35
    assert table["group"].to_list() == ["g"] * 30 + [None] * 10
    assert table["name"].to_list() == [*(f"p{i}" for i in range(30)), *[None] * 10]
    assert table["bin_cells"].null_count() == table["singleton"].null_count() == 40
    assert table["expression"].to_numpy() == pytest.approx(TRUE[:40], abs=1e-3)
    lines = {(kind, what): rows for _, _, kind, what, rows in ledger.lines(40)}
    assert lines["in", "rows"] == 65
    assert lines["dropped", "promoter in several tables, averaged"] == 25
    assert lines["noted", "source replaced by the name of the table"] == 30
    assert lines["noted", "cells per bin left out"] == 30


def test_promoters_that_differ_between_tables_are_counted():
    tables = {"a": measured(np.arange(500), 1, sd=0.5), "b": measured(np.arange(500), 2, sd=0.5)}
    tables["b"] = tables["b"].with_columns(
        expression=pl.when(pl.col("sequence") == "ACGT3").then(pl.col("expression") + 20).otherwise("expression").cast(pl.Float32)
    )
    ledger = Ledger("join_tables", "library")
    join.join(tables, ledger=ledger)
    assert ledger.counts["noted", "in several tables, with values that differ by more than 5 standard deviations"] == 1


def test_random_draws_of_one_library_have_equal_mean_and_spread():
    rng = np.random.default_rng(0)
    drawn = rng.permutation(4000)
    tables = {"a": measured(drawn[:2000], 1, sd=0.5, give_sd=True), "b": measured(drawn[2000:], 2, 2.0, -1.0, sd=3.0, give_sd=True)}
    found = join.join(tables, method="distribution")
    assert found.maps[1].shared == 0
    assert found.maps[1].scale == pytest.approx(2, abs=3 * found.maps[1].scale_se)
    assert found.maps[1].offset == pytest.approx(-1, abs=3 * found.maps[1].offset_se)
    plain = tables["a"]["expression"].std() / tables["b"]["expression"].std()
    assert abs(plain - 2) > 4 * abs(found.maps[1].scale - 2), "errors widen the distribution of the noisier table"
    b = found.table.filter(source="b")["expression"]
    assert b.mean() == pytest.approx(tables["a"]["expression"].mean(), abs=1e-3)
    again = join.join({name: table.with_columns(expression_sd=pl.lit(None, pl.Float32)) for name, table in tables.items()}, method="none")
    assert again.table["expression"].to_list() == [*tables["a"]["expression"], *tables["b"]["expression"]]
    assert again.table["weight"].null_count() == 4000


# What cannot be joined


def test_no_shared_promoters_name_the_remedies():
    tables = {"a": measured(np.arange(100), 1), "b": measured(np.arange(90, 190), 2), "c": measured(np.arange(300, 400), 3)}
    with pytest.raises(InputError, match=r"b shares too few promoters .*\(10 with a, 0 with c\).*at least 20 \(input.min_shared\)"):
        join.join(tables)
    with pytest.raises(InputError, match=r"c shares too few .*input.join: distribution .* none"):
        join.join(tables, min_shared=10)
    assert join.join({name: tables[name] for name in "ab"}, min_shared=10).maps[1].scale == pytest.approx(1, abs=0.5)


def test_a_group_of_tables_that_is_not_linked_to_the_first():
    tables = {"a": measured(np.arange(100), 1), "b": measured(np.arange(200, 400), 2), "c": measured(np.arange(300, 400), 3)}
    with pytest.raises(InputError, match=r"b shares too few promoters .*\(0 with a, 100 with c\)"):
        join.join(tables)


def test_tables_that_do_not_agree():
    every = np.arange(200)
    falling = frame(every, -TRUE[every])
    with pytest.raises(InputError, match=r"200 promoters are in both a and b, .*correlation of -1.00; expression falls in one as it rises"):
        join.join({"a": measured(every, 1, sd=0.5), "b": falling})
    with pytest.raises(InputError, match=r"correlation of -?0.[01].; at least 0.3 is needed"):
        join.join({"a": measured(every, 1), "b": frame(every, TRUE[1000:1200])})
    with pytest.raises(InputError, match="all have the same expression in one of them"):
        join.join({"a": measured(every, 1), "b": frame(every, np.ones(200))})
    with pytest.raises(InputError, match="more than one value"):
        join.join({"a": measured(every, 1), "b": frame(every, np.ones(200))}, method="distribution")


def test_rows_that_are_not_one_for_each_promoter():
    twice = frame([*range(50), *range(50)], [*TRUE[:50], *TRUE[:50]], barcode=["x"] * 50 + ["y"] * 50)
    with pytest.raises(InputError, match=r"input.tables.b: 50 rows repeat a promoter .*input.barcodes: mean"):
        join.join({"a": measured(np.arange(50), 1), "b": twice})
    splits = [measured(np.arange(50), seed, split=[name] * 50) for seed, name in enumerate(("train", "test"))]
    with pytest.raises(InputError, match=r"50 promoters have another split .*'train' in a, 'test' in b;.*input.tables.b.columns.split: ''"):
        join.join(dict(zip("ab", splits, strict=True)))


# Files and figure


def test_maps_are_written_read_and_drawn(tmp_path):
    tables = {name: measured(np.arange(5 * i, 60 + 5 * i), i, 1.0 + i) for i, name in enumerate("abcd")}
    joined = join.join(tables)
    join.write_maps(joined, "shared", tmp_path / "maps.json")
    found = join.read_maps(tmp_path / "maps.json")
    assert found == json.loads((tmp_path / "maps.json").read_text())
    assert [each["scale"] for each in found["tables"]] == [each.scale for each in joined.maps]
    assert found["pairs"][0] == {"tables": ["a", "b"], "shared": 55, "r": joined.pairs[0][3]}
    table = join.summary(found)
    assert table.columns[:3] == ["table", "promoters", "shared"]
    assert table["scale"][1] == pytest.approx(joined.maps[1].scale, rel=1e-5)
    (tmp_path / "maps.json").write_text("{")
    with pytest.raises(InputError, match="not the maps of joined tables"):
        join.read_maps(tmp_path / "maps.json")
    figure = figures.joined(tables, found, "log2")
    drawn = [axes for axes in figure.axes if axes.lines]
    assert len(drawn) == 5, "the five pairs that share most"
    first, second = found["tables"][0], found["tables"][1]
    x, y = drawn[0].lines[1].get_data()
    assert (drawn[0].get_xlabel(), drawn[0].get_ylabel()) == ("b (own scale)", "a (common scale)")
    assert y == pytest.approx(second["offset"] + second["scale"] * np.asarray(x))
    assert first["scale"] == 1
    drawing.save(figure, tmp_path / "x.png", tmp_path / "x.svg")
    assert (tmp_path / "x.png").stat().st_size > 10_000


def test_ranks_are_those_of_the_joined_table_and_logarithms_those_of_each():
    tables = {"a": measured(np.arange(100), 1, sd=0.1), "b": measured(np.arange(50, 150), 2, 3.0, sd=0.1)}
    joined = join.join(tables)
    table, found = join.transformed(joined, {"name": "rank_normal", "floor": None}, Ledger("join_tables", "library"))
    assert found.name == "rank_normal"
    assert table["expression"].rank().to_list() == joined.table["expression"].rank().to_list()
    assert table["expression"].std() == pytest.approx(1, abs=0.05)
    table, found = join.transformed(joined, {"name": "log2", "floor": 0.1}, Ledger("join_tables", "library"))
    assert (found.name, found.floor) == ("log2", 0.1)
    assert table.equals(joined.table), "values have their logarithm already"
