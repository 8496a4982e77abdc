"""Noise ceiling, subgroups, effects of mutations and published models."""

import json

import numpy as np
import polars as pl
import pytest
from scipy import stats

from gpraflow.core import config as configs
from gpraflow.core import drawing, verdicts
from gpraflow.core import schema as schemas
from gpraflow.evaluation import ceiling, comparisons, evaluate, figures, metrics, subgroups
from gpraflow.prediction import predictor
from gpraflow.sequences import flanks, parents, scaffold
from gpraflow.tables import ingest

EXTRAS = configs.extras_of({})


def predictions(n=200, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(8, 3, n)
    return pl.DataFrame(
        {
            "sequence": ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (n, 30))]],
            "expression": y,
            "predicted": y + rng.normal(0, 2, n),
            "theirs": y + rng.normal(0, 1, n),
            "n_reads": rng.integers(1, 300, n),
            "singleton": pl.Series([None] * n, dtype=pl.Boolean),
            "expression_sd": pl.Series([None] * n, dtype=pl.Float32),
            "kind": rng.choice(["x", "y"], n),
        }
    )


def test_ceiling_from_replicates_is_what_a_perfect_model_reaches():
    rng = np.random.default_rng(1)
    truth = rng.normal(0, 2, 40_000)
    replicates = truth[:, None] + rng.normal(0, 1.5, (40_000, 3))
    measured = replicates.mean(axis=1)
    assert np.sqrt(ceiling.from_replicates(replicates)) == pytest.approx(stats.pearsonr(truth, measured)[0], abs=0.003)
    r = stats.pearsonr(replicates[:, 0], replicates[:, 1])[0]
    assert ceiling.from_replicates(replicates[:, :2]) == pytest.approx(2 * r / (1 + r))
    table = pl.DataFrame({"expression": measured, "predicted": truth, **{f"rep{i}": replicates[:, i] for i in range(3)}})
    found = ceiling.ceiling(table, ["rep0", "rep1", "rep2"], "standard_error")
    assert found["from"] == "replicates"
    assert found["share"] == pytest.approx(1, abs=0.005)
    assert ceiling.ceiling(table.with_columns(rep1=None), ["rep0", "rep1"], "standard_error") is None


def test_ceiling_from_errors_is_what_a_perfect_model_reaches():
    rng = np.random.default_rng(2)
    truth, error = rng.normal(0, 2, 40_000), rng.uniform(0.5, 2, 40_000)
    measured = truth + error * rng.normal(size=40_000)
    table = pl.DataFrame({"expression": measured, "predicted": truth, "expression_sd": error, "n_reads": 7})
    found = ceiling.ceiling(table, [], "standard_error")
    assert found["from"] == "errors"
    assert found["r"] == pytest.approx(found["model_r"], abs=0.004)
    assert ceiling.ceiling(table.with_columns(expression_sd=None), [], "standard_error") is None


def test_ceiling_of_shrunk_labels_is_what_a_perfect_model_reaches():
    """Means of posteriors of a normal library vary less than the truth, by the mean variance of the posteriors."""
    rng = np.random.default_rng(4)
    truth, error = rng.normal(0, 2, 40_000), rng.uniform(0.5, 3, 40_000)
    weight = 4 / (4 + error**2)
    labels = weight * (truth + error * rng.normal(size=40_000))
    table = pl.DataFrame({"expression": labels, "predicted": truth, "expression_sd": 2 * np.sqrt(1 - weight)})
    assert ceiling.ceiling(table, [], "posterior_sd")["r"] == pytest.approx(stats.pearsonr(labels, truth)[0], abs=0.004)
    assert ceiling.ceiling(table, [], "standard_error")["r"] < stats.pearsonr(labels, truth)[0] - 0.1


def test_the_spread_over_reads_is_no_standard_error():
    rng = np.random.default_rng(3)
    truth, reads = rng.normal(0, 2, 30_000), rng.integers(1, 60, 30_000)
    spread = np.where(reads == 1, 0.0, 3.0)  # one read has no spread, and is the least certain
    measured = truth + 3 / np.sqrt(reads) * rng.normal(size=30_000)
    table = pl.DataFrame({"expression": measured, "predicted": truth, "expression_sd": spread, "n_reads": reads})
    found = ceiling.ceiling(table, [], "spread")
    assert found["r"] == pytest.approx(found["model_r"], abs=0.005)
    assert ceiling.ceiling(table, [], "standard_error")["r"] < 0.6


def test_parts_have_every_promoter_once():
    table = predictions()
    distance = pl.Series([0, 2, None, 40] * 50)
    parts = subgroups.parts_of(table, ["kind"], distance)
    assert set(parts) == {"reads", "expression decile", "edits to nearest training promoter", "kind"}  # all of one length
    assert all(len(of) == 200 and not of.null_count() for of in parts.values())
    assert set(parts["edits to nearest training promoter"]) == {"0", "1 to 3", "33 or more", "none near"}
    sizes = parts["expression decile"].value_counts()["count"].to_list()
    assert sizes == [20] * 10
    deciles = (
        table.with_columns(part=parts["expression decile"])
        .group_by("part")
        .agg(low=pl.col("expression").min(), high=pl.col("expression").max())
    )
    deciles = deciles.sort("low")
    assert (deciles["low"][1:] > deciles["high"][:-1]).all()
    assert parts["reads"].to_list() == [
        "1" if reads == 1 else "2 to 9" if reads < 10 else "10 to 99" if reads < 100 else "100 or more" for reads in table["n_reads"]
    ]


def test_values_of_users_columns():
    assert subgroups.by_values(pl.Series([1.0, 2.0, None])).to_list() == ["1", "2", None]
    numbers = pl.Series(np.arange(100.0))
    assert subgroups.by_values(numbers).value_counts()["count"].to_list() == [20] * 5
    many = pl.Series([f"g{i}" for i in range(30)] + ["g0"] * 5)
    found = subgroups.by_values(many)
    assert found.n_unique() == 20
    assert (found == "other").sum() == 11
    assert subgroups.by_quantiles(pl.Series([3.0, 3.0, 3.0]), 10).n_unique() == 1
    lengths = pl.Series([80, 100, 105, 105, 110, 114, None])
    assert subgroups.by_quantiles(lengths, 2).to_list() == ["1: 80 to 100"] * 2 + ["2: 105 to 114"] * 4 + [None]


def test_each_part_is_scored_as_a_set_of_its_own():
    table = predictions()
    rows = subgroups.score(table, {"kind": table["kind"]}, dataset="d", resamples=100, seed=1)
    assert [row["part"] for row in rows] == ["x", "y"]
    for row in rows:
        part = table.filter(kind=row["part"])
        assert row["n"] == part.height
        assert row["r"] == pytest.approx(stats.pearsonr(part["predicted"], part["expression"])[0])
        assert row["mean_error"] == pytest.approx((part["predicted"] - part["expression"]).mean())
        assert row["r_low"] < row["r"] < row["r_high"]
    few = subgroups.score(table[:19], {"kind": pl.Series(["x"] * 19)}, dataset="d", resamples=100, seed=1)
    assert few[0]["n"] == 19
    assert few[0]["r"] is None


def test_the_consensus_of_variants_is_what_they_were_made_from():
    base = "ACGTACGTAC"
    variants = ["TCGTACGTAC", "ACGAACGTAC", "ACGTACGTAG", "AAAA", "AAAAA", "CC", "CG"]
    names = ["a", "a", "a", "b", "b", "c", "c"]
    found = parents.consensus(pl.Series(variants), pl.Series(names))
    assert found.to_list() == [base] * 3 + [None] * 4
    table = pl.DataFrame({"sequence": variants, "of": names, "given": [base.lower()] * 7}).lazy()
    assert parents.with_parents(table, "of", "given").collect()[parents.PARENT].to_list() == [base] * 7
    assert parents.with_parents(table, "of", "").collect()[parents.PARENT].to_list() == found.to_list()
    assert parents.with_parents(table, "", "") is table


@pytest.mark.parametrize("of_parents", ["theirs_parent", "theirs_base"])
def test_effects_and_published_models_stand_beside_the_scores(tmp_path, of_parents):
    rng = np.random.default_rng(4)
    table = predictions().with_columns(parent=pl.lit(8.0), predicted_parent=pl.Series(rng.normal(8, 1, 200)), **{of_parents: pl.lit(8.5)})
    table = table.with_columns(theirs=pl.when(pl.int_range(200) < 10).then(None).otherwise("theirs"))
    extras = EXTRAS | {"published_models": ["theirs"], "parent_expression": "parent"}
    found, parts, compared = evaluate.evaluate(table, name="d", model="mine", extras=extras, distance=None, resamples=200, seed=1)
    p, m = table["predicted"] - table["predicted_parent"], table["expression"] - 8
    assert found["effects"]["r"] == pytest.approx(stats.pearsonr(p, m)[0])
    assert found["effects"]["n"] == 200
    large = m.abs() >= m.abs().median()
    assert found["effects"]["sign"] == pytest.approx(((p.sign() == m.sign()) & large).sum() / large.sum())
    known = table.drop_nulls("theirs")
    assert found["published_models"]["theirs"]["n"] == 190
    assert found["published_models"]["theirs"]["r"] == pytest.approx(stats.pearsonr(known["theirs"], known["expression"])[0])
    assert found["published_models"]["theirs"]["effects"]["r"] == pytest.approx(found["published_models"]["theirs"]["r"])
    assert [(row["model"], row["other"], row["n"]) for row in compared] == [("mine", "theirs", 190)]
    assert compared[0]["difference"] < 0
    assert {row["by"] for row in parts} == {"reads", "expression decile"}
    paths = {f"{name}_path": tmp_path / name for name in ("json", "tsv", "subgroups", "published_models", "checks")}
    of_splits = [{"dataset": "val", "check": "split size", "value": 12.0, "verdict": "warning", "text": "12 promoters"}]
    evaluate.write({"datasets": {"d": found}, "split_checks": of_splits}, parts, compared, **paths)
    assert verdicts.read(paths["checks_path"])[0] == of_splits[0]
    assert json.loads((tmp_path / "json").read_text())["datasets"]["d"]["effects"]["n"] == 200
    assert pl.read_csv(tmp_path / "tsv", separator="\t")["effects_r"][0] == pytest.approx(found["effects"]["r"], abs=1e-6)
    assert pl.read_csv(tmp_path / "subgroups", separator="\t").height == len(parts)
    assert pl.read_csv(tmp_path / "published_models", separator="\t").columns == list(comparisons.COLUMNS)
    plain, *_ = evaluate.evaluate(predictions(), name="d", model="m", extras=EXTRAS, distance=None, resamples=100, seed=1)
    assert (plain["ceiling"], plain["effects"], plain["published_models"]) == (None, None, {})


@pytest.mark.parametrize("n", [1, 2, 5])
def test_few_promoters_are_evaluated_drawn_and_compared_without_intervals(tmp_path, n):
    rows = predictions(n).with_columns(parent=pl.lit(8.0), predicted_parent=pl.lit(8.1), theirs_parent=pl.lit(8.2))
    extras = EXTRAS | {"published_models": ["theirs"], "parent_expression": "parent", "groups": ["kind"]}
    found, parts, compared = evaluate.evaluate(rows, name="d", model="m", extras=extras, distance=None, resamples=100, seed=1)
    assert [row["r"] for row in parts] == [None] * len(parts)
    assert found["ceiling"] is None
    assert {row["verdict"] for row in found["checks"]} == {"warning", "not assessed"}
    assert [(row["difference_low"], row["difference_high"]) for row in compared] == [(None, None)] * (n >= comparisons.FEWEST)
    assert (found["r"] is None) == (n < 3)
    scored = found | {"title": "Set", "independent": False}
    for number, figure in enumerate((figures.summary({"d": scored}), figures.prediction_scatter(rows, scored, "Set", "bins", 10))):
        drawing.save(figure, tmp_path / f"{number}.png", tmp_path / f"{number}.svg")
    assert f"Set  (n = {n}: too few for an interval)" in (tmp_path / "0.svg").read_text()
    assert f"Set has {n} promoter{'s' if n > 1 else ''}; at least 20" in (tmp_path / "1.svg").read_text()


def test_distances_are_those_of_the_same_data_set():
    nearest = pl.DataFrame({"dataset": ["a", "b", "a"], "sequence": ["AC", "AC", "GG"], "distance": [1, 2, None]})
    assert evaluate.distances_of(pl.DataFrame({"sequence": ["GG", "AC", "TT"]}), nearest, "a").to_list() == [None, 1, None]


@pytest.mark.parametrize(
    ("file", "sets"),
    [
        ("random", {"complex_random_2954": None}),
        ("native", {"complex_native_3733": None}),
        ("drift", {"complex_drift": None, "complex_drift_delta": "effects"}),
        ("sswm", {"complex_sswm_unique": None}),
        ("gini", {"complex_gini_2184": None}),
    ],
)
def test_published_models_from_ingestion_to_scores_give_the_reference_figures(shared, root, file, sets):
    """The sheet of the real data sets, ingestion and scoring: figures equal to 4 decimals."""
    rows = schemas.load_sheet(root / "config/yeast_real_datasets.tsv", schemas.load("datasets"))
    (row,) = (row for row in rows if row["name"] == f"yeast_test_{file}")
    extras = configs.extras_of(row)
    table = ingest.ingest(
        row["table"].replace("{data}", str(shared)),
        scaffold=scaffold.load(root / "resources/scaffolds.yaml", "pTpA"),
        policy=flanks.Policy(),
        columns={key: row[key] for key in ("sequence", "expression", "expression_sd", "n_reads")},
        keep=extras["keep"],
        keep_if_there=extras["keep_if_there"],
    )
    found, *_ = evaluate.evaluate(
        table.with_columns(predicted="expression"), name=file, model="m", extras=extras, distance=None, resamples=100, seed=1
    )
    reference = pl.read_csv(shared / "reference_peers.tsv", separator="\t").filter(pl.col("set").is_in(list(sets)))
    checked = set()
    for expected in reference.iter_rows(named=True):
        if expected["peer"] not in found["published_models"]:
            continue
        mine = found["published_models"][expected["peer"]]
        mine = mine[sets[expected["set"]]] if sets[expected["set"]] else mine
        assert (mine["n"], *(round(mine[key], 4) for key in ("r", "r2", "rho"))) == tuple(expected[key] for key in ("n", "r", "r2", "rho"))
        checked.add((expected["set"], expected["peer"]))
    assert {name for name, _ in checked} == set(sets)
    assert {peer for _, peer in checked} == set(extras["published_models"])


def test_real_bases_are_mostly_the_consensus(shared):
    table = pl.read_csv(shared / "yeast_test_drift.tsv.gz", separator="\t")
    found = table.with_columns(parents.consensus(table["sequence"], table["base_tag"])).drop_nulls(parents.PARENT)
    edits = [sum(a != b for a, b in zip(*pair, strict=True)) for pair in found.select("sequence", parents.PARENT).iter_rows()]
    assert found.height == 2682
    assert sum(number == n_mut for number, n_mut in zip(edits, found["n_mut"], strict=True)) == 2568


def test_members_of_metrics_are_predictions():
    assert predictor.MEMBERS == metrics.MEMBERS


@pytest.mark.parametrize("shrunk", [False, True])
@pytest.mark.parametrize("cells", [1, 4, 30])
@pytest.mark.parametrize("shared", [0.0, 0.6, 0.95])
def test_ceiling_of_a_difference_is_the_correlation_of_measured_and_true_differences(shrunk, cells, shared):
    """Truth of two conditions with correlation ``shared``, errors that differ between promoters, and labels shrunk in each on its own."""
    rng, n = np.random.default_rng(cells), 200_000
    common = rng.normal(size=n)
    truth = [2 * (np.sqrt(shared) * common + np.sqrt(1 - shared) * rng.normal(size=n)) + shift for shift in (3.0, 5.0)]
    labels, errors = [], []
    for true, mean in zip(truth, (3.0, 5.0), strict=True):
        error = 1.5 / np.sqrt(rng.poisson(cells, n) + 1)
        measured = true + error * rng.normal(size=n)
        factor = 4 / (4 + error**2) if shrunk else np.ones(n)
        labels.append(mean + factor * (measured - mean))
        errors.append(error * np.sqrt(factor))
    expected = np.corrcoef(labels[1] - labels[0], truth[1] - truth[0])[0, 1] ** 2
    assert ceiling.from_difference(tuple(labels), tuple(errors), shrunk) == pytest.approx(expected, abs=0.02)


def test_ceiling_of_a_difference_without_one_is_zero():
    rng = np.random.default_rng(1)
    truth = rng.normal(size=20_000)
    labels = tuple(truth + 0.5 * rng.normal(size=20_000) for _ in range(2))
    errors = (np.full(20_000, 0.5), np.full(20_000, 0.5))
    assert ceiling.from_difference(labels, errors) < 0.03
    factor = 1 / 1.25
    assert ceiling.from_difference(tuple(factor * each for each in labels), tuple(np.sqrt(factor) * each for each in errors), True) < 0.03
