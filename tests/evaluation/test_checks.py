import numpy as np
import polars as pl
import pytest
from scipy import stats

from gpraflow.evaluation import checks


def table(n=400, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.normal(9, 3, n)
    sequences = ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (n, 40))]]
    columns = {"sequence": sequences, "expression": y, "predicted": y + rng.normal(0, 1.5, n)}
    return pl.DataFrame(columns).with_columns(singleton=pl.lit(None, pl.Boolean), n_reads=pl.lit(None, pl.Int64))


def verdicts(rows, both_strands=False):
    return {row["check"]: row["verdict"] for row in checks.check(rows, "d", both_strands, strand="both")}


def test_nothing_is_wrong_with_good_predictions():
    found = verdicts(table())
    assert {name for name, verdict in found.items() if verdict == "not applicable"} == {"singletons", "strand asymmetry", "padding"}
    assert set(verdicts(probed(1.0, 0.1, 0.1).with_columns(n_reads=9)).values()) == {"ok"}


def probed(turned, plasmid, otherwise, n=400):
    """Predictions with those of other guises: as they are, plus normal noise of so many sd; every fourth promoter is short."""
    rng, rows = np.random.default_rng(3), table(n)
    p = rows["predicted"].to_numpy()
    guises = {
        name: pl.Series(p + share * p.std() * rng.normal(size=n)) for name, share in zip("tio", (turned, plasmid, otherwise), strict=True)
    }
    short = pl.int_range(n) % 4 == 0
    return rows.with_columns(
        predicted_reverse_complement=guises["t"],
        predicted_in_plasmid=pl.when(short).then(guises["i"]),
        predicted_padded_otherwise=pl.when(short).then(guises["o"]),
    )


def finding(rows, check, both_strands=False, strand="both"):
    return next(row for row in checks.check(rows, "d", both_strands, strand=strand) if row["check"] == check)


def test_strands_that_are_all_the_same_or_have_nothing_in_common_are_told():
    found = finding(probed(1.0, 0, 0), "strand asymmetry")
    p, turned = (probed(1.0, 0, 0)[name].to_numpy() for name in ("predicted", "predicted_reverse_complement"))
    assert found["value"] == pytest.approx(stats.pearsonr(p, turned)[0])
    assert f"({np.abs(p - turned).mean() / p.std():.2f} sd)" in found["text"]
    assert "400 inserts" in found["text"]
    same = probed(0.001, 0, 0)
    assert finding(same, "strand asymmetry")["verdict"] == "warning"
    assert "does not distinguish strands" in finding(same, "strand asymmetry")["text"]
    assert finding(same, "strand asymmetry", both_strands=True)["verdict"] == "ok"
    other = finding(probed(20.0, 0, 0), "strand asymmetry", both_strands=True)
    assert other["verdict"] == "warning"
    assert "the two orientations are unrelated" in other["text"]


@pytest.mark.parametrize("share", [20.0, 0.001, 1.0])
def test_strands_are_judged_only_if_both_are_known_to_count(share):
    rows = probed(share, 0, 0)
    p, turned = (rows[name].to_numpy() for name in ("predicted", "predicted_reverse_complement"))
    one, unknown = (finding(rows, "strand asymmetry", strand=strand) for strand in ("one", "unknown"))
    assert (one["verdict"], one["value"]) == ("not assessed", None)
    assert one["text"] == "not assessed: elements act on one strand only (assay.strand: one)"
    assert (unknown["verdict"], unknown["value"]) == ("note", pytest.approx(stats.pearsonr(p, turned)[0]))
    assert f"is {unknown['value']:.3f}" in unknown["text"]
    assert unknown["text"].endswith("not judged, because assay.strand is unknown")
    default = next(row for row in checks.check(rows, "d") if row["check"] == "strand asymmetry")
    assert default == unknown | {"dataset": "d"}
    none = rows.with_columns(predicted_reverse_complement=pl.lit(1.0))
    assert finding(none, "strand asymmetry", strand="unknown")["verdict"] == "not assessed"


def test_padding_that_decides_predictions_is_told():
    assert finding(probed(1, 0.1, 0.1), "padding")["verdict"] == "ok"
    for plasmid, otherwise in ((0.1, 1.0), (1.0, 0.1)):
        rows = probed(1, plasmid, otherwise)
        found, p = finding(rows, "padding"), rows["predicted"]
        column = "predicted_in_plasmid" if plasmid > otherwise else "predicted_padded_otherwise"
        assert found["verdict"] == "warning"
        assert found["value"] == pytest.approx((rows[column] - p).abs().mean() / p.to_numpy().std())
        assert "100 promoters shorter than the window" in found["text"]
    unknown = finding(probed(1, 1, 0.1).with_columns(predicted_in_plasmid=pl.lit(None, pl.Float32)), "padding")
    assert unknown["verdict"] == "ok"
    assert "plasmid" not in unknown["text"]
    long = probed(1, 1, 1).with_columns(predicted_padded_otherwise=pl.lit(None, pl.Float32))
    assert finding(long, "padding")["verdict"] == "not applicable"
    assert finding(long, "padding")["value"] is None


def test_what_permuted_labels_teach_is_told():
    nothing, something = ({"n": 500, "epochs": 4, "r": 0.04, "val_loss": loss} for loss in (0.997, 0.6))
    assert checks.permuted_labels(nothing)["verdict"] == "ok"
    assert checks.permuted_labels(something)["verdict"] == "warning"
    assert "r = 0.040 and explains 0.3 % of the variance of the 500 validation promoters" in checks.permuted_labels(nothing)["text"]
    assert checks.permuted_labels(nothing | {"r": None})["value"] == 0


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
    assert "Only r and rho are meaningful here, not R2, mse and slope" in text


def test_whole_numbers_are_singletons_only_among_others():
    rows = table()
    some = rows.with_columns(expression=pl.when(pl.int_range(400) % 3 == 0).then(pl.col("expression").round()).otherwise("expression"))
    assert finding(some, "singletons")["value"] == pytest.approx(134 / 400)
    counts = rows.with_columns(expression=pl.col("expression").round())
    for rows_, transform in ((counts, "none"), (rows, "none"), (some, "log2")):
        found = next(row for row in checks.check(rows_, "d", transform=transform) if row["check"] == "singletons")
        assert (found["verdict"], found["value"]) == ("not applicable", None)
    assert "cell" not in " ".join(row["text"] for row in checks.check(counts, "d"))


def test_few_promoters_that_hold_the_variance_are_a_warning():
    rng, rows = np.random.default_rng(7), table(1000)
    skewed = rng.lognormal(0, 2.5, 1000)
    found = finding(rows.with_columns(expression=pl.Series(skewed)), "label distribution")
    squares = sorted(((skewed - skewed.mean()) ** 2).tolist())
    share = sum(squares[-10:]) / sum(squares)
    assert share > 0.5
    assert (found["verdict"], found["value"]) == ("warning", pytest.approx(share))
    assert found["text"].startswith(f"10 of 1,000 promoters account for {100 * share:.0f} % of the variance of the measurements;")
    assert found["text"].endswith("set input.transform: log2")
    lower = checks.check(rows.with_columns(expression=pl.Series(skewed) - 1), "d")
    assert next(row["text"] for row in lower if row["check"] == "label distribution").endswith("log2 and input.transform_floor")
    log2 = checks.check(rows.with_columns(expression=pl.Series(np.log2(skewed))), "d", transform="log2")
    assert next(row["verdict"] for row in log2 if row["check"] == "label distribution") == "ok"
    one = rows.head(30).with_columns(expression=pl.when(pl.int_range(30) == 4).then(900.0).otherwise("expression"))
    assert "1 of 30 promoters account for 97 %" in finding(one, "label distribution")["text"]
    assert finding(rows.with_columns(expression=pl.lit(1.0)), "label distribution")["verdict"] == "not assessed"


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
    found = {row["check"]: row for row in checks.check(rows, "d")}
    for name in ("constant predictions", "scale", "GC content"):
        assert (found[name]["verdict"], found[name]["value"]) == ("not assessed", None), name
    assert found["scale"]["text"] == "not assessed: all measurements are equal"
    assert found["GC content"]["text"].startswith("not assessed: r is not defined")


@pytest.mark.parametrize(
    ("dataset", "n", "text"),
    [
        ("test", 3, "test has 3 promoters; at least 20 are needed for intervals and verdicts; raise split.fractions.test"),
        ("native", 1, "native has 1 promoter; at least 20 are needed for intervals and verdicts"),
        ("native", 19, "native has 19 promoters; at least 20 are needed for intervals and verdicts"),
    ],
)
def test_few_promoters_are_a_warning_and_no_other_verdict(dataset, n, text):
    rows = checks.check(probed(1.0, 0.1, 0.1).head(n), dataset)
    assert rows[0] == {"dataset": dataset, "check": "number of promoters", "value": n, "verdict": "warning", "text": text}
    assert [row["check"] for row in rows[1:]] == [row["check"] for row in checks.check(table(), "d")][1:]
    assert {row["verdict"] for row in rows[1:]} == {"not assessed"}
    assert all(row["value"] is None for row in rows[1:])
    assert {row["verdict"] for row in checks.check(table(20), dataset)} == {"ok", "not applicable"}
    assert checks.permuted_labels({"n": n, "epochs": 1, "r": 1.0, "val_loss": 0.1})["verdict"] == "not assessed"


def test_gc_content_is_no_matter_where_nothing_agrees():
    """r of -0.5 against a partial r of -1: `partial < r / 2` held, and read as if GC content explained the agreement."""
    rows = table().with_columns(predicted=-pl.col("expression"))
    found = finding(rows, "GC content")
    assert (found["verdict"], found["value"]) == ("not assessed", None)
    assert found["text"] == "not assessed: r is -1.000, not significantly above 0, so there is no agreement to explain"
    weak = rows.with_columns(predicted=pl.Series(np.random.default_rng(9).normal(size=400)) + 0.02 * pl.col("expression"))
    r = stats.pearsonr(weak["predicted"], weak["expression"])[0]
    assert 0 < r < 1.96 / 20
    assert finding(weak, "GC content")["verdict"] == "not assessed"
    gc = rows["sequence"].str.count_matches("[GC]").cast(pl.Float64)
    for changed in ({"predicted": gc, "expression": gc + rows["expression"]}, {"expression": gc, "predicted": gc + rows["expression"]}):
        found = finding(rows.with_columns(**changed), "GC content")
        assert (found["verdict"], found["value"]) == ("warning", 0.0)


def test_few_or_equal_predictions_of_other_guises_are_not_judged():
    few = probed(20.0, 9.0, 9.0).with_columns(
        pl.when(pl.int_range(400) < 19).then(f"predicted_{name}").alias(f"predicted_{name}")
        for name in ("reverse_complement", "padded_otherwise")
    )
    assert finding(few, "strand asymmetry")["text"] == "not assessed: 19 reverse-complemented inserts; at least 20 are needed"
    assert finding(few, "padding")["text"] == "not assessed: 5 promoters shorter than the window; at least 20 are needed"
    equal = probed(1, 1, 1).with_columns(predicted=pl.lit(3.0))
    for name in ("strand asymmetry", "padding"):
        assert finding(equal, name)["text"] == "not assessed: all predictions are equal"
