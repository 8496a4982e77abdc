import polars as pl
import pytest

from gpraflow.core import drawing
from gpraflow.evaluation import comparisons, figures, subgroups
from gpraflow.prediction import calibration


def table():
    rows = [
        ("a", "set a", "mine", "run", 100, 0.8, 0.7, 0.85),
        ("a", "set a", "theirs", "published model", 90, 0.9, 0.85, 0.95),
        ("a", "set a", "none", "run", 100, None, None, None),
        ("b", "set b", "mine", "run", 1200, 0.5, 0.49, 0.51),
    ]
    return pl.DataFrame(rows, schema=["dataset", "title", "label", "kind", "n", "r", "r_low", "r_high"], orient="row")


def saved(folder, figure):
    folder.mkdir()
    drawing.save(figure, folder / "a.png", folder / "a.svg")
    return (folder / "a.png").read_bytes(), (folder / "a.svg").read_bytes()


def test_comparison_has_every_model_the_best_above(tmp_path):
    figure = figures.comparison(table())
    first, second = figure.axes[:2]
    assert [label.get_text() for label in first.get_yticklabels()] == ["theirs", "mine", "none"]
    assert first.get_title(loc="left") == "set a (n = 90 to 100)"
    assert second.get_title(loc="left") == "set b (n = 1,200)"
    low, high = second.get_xlim()
    assert high - low == pytest.approx(0.1)
    points = {line.get_color(): (list(line.get_xdata()), list(line.get_ydata())) for line in first.lines if line.get_marker() in "oD"}
    assert points["#D55E00"] == ([0.9], [0.0])
    assert points["#0072B2"][0][0] == 0.8
    assert points["#0072B2"][1] == [-1.0, -2.0]
    assert saved(tmp_path / "a", figure) == saved(tmp_path / "b", figures.comparison(table()))


def test_parts_show_r_and_error_of_each(tmp_path):
    row = dict.fromkeys(subgroups.COLUMNS) | {"dataset": "a", "by": "reads", "mean_error": 0.0}
    scored = {"r": 0.5, "r_low": 0.4, "r_high": 0.6, "mse": 4.0, "mse_low": 1.0, "mse_high": 9.0}
    rows = [row | scored | {"part": "1", "n": 30}, row | {"part": "2 to 9", "n": 3}]
    figure = figures.parts(pl.DataFrame(rows, schema=subgroups.COLUMNS), "set a", "bins")
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["1  (n = 30)", "2 to 9  (n = 3)"]
    assert right.get_xlabel() == "root mean squared error (bins)"
    assert next(line for line in right.lines if line.get_marker() == "s").get_xdata()[0] == 2.0
    assert b"set a (n = 33)" in saved(tmp_path / "a", figure)[1]
    saved(tmp_path / "b", figures.parts(pl.DataFrame(schema=subgroups.COLUMNS), "nothing", "bins"))


def test_runs_and_others_are_in_one_table_and_runs_are_compared_on_what_both_predicted():
    frame = pl.DataFrame({"sequence": [f"s{i}" for i in range(40)], "expression": [float(i % 7) for i in range(40)]})
    predictions = {
        "one": frame.with_columns(predicted=pl.col("expression") + pl.int_range(40) % 3),
        "two": frame.with_columns(predicted=pl.col("expression") + pl.int_range(40) % 5).tail(30),
    }
    scored = {
        "title": "Set",
        "n": 40,
        "r": 0.9,
        "published_models": {"theirs": {"n": 39, "r": 0.7}},
        "r_members_mean": 0.8,
        "r_members_sd": 0.01,
    }
    about = {"architecture": "x", "parameters": 5, "members": 2, "promoters": {"train": 99}, "training": {"seed": 3}}
    runs = {name: {"datasets": {"d": scored}, "model": about} for name in predictions}
    scores, tests = comparisons.across(runs, lambda run, dataset: predictions[run], resamples=100, seed=1)
    assert scores["label"].to_list() == ["one", "two", "theirs"]
    assert scores["kind"].to_list() == ["run", "run", "published model"]
    assert scores.select("training_promoters", "seed", "r_members_sd").row(0) == (99, 3, 0.01)
    assert tests.select("n", "model", "other").rows() == [(30, "one", "two")]
    assert tests["difference"][0] == pytest.approx(tests["r"][0] - tests["r_other"][0])
    assert tests["p_holm"][0] == tests["p"][0]
    twice = comparisons.across(runs, lambda run, dataset: pl.concat([predictions[run]] * 2), resamples=100, seed=1)[1]  # two barcodes each
    assert twice.select("n", "model", "other").rows() == [(60, "one", "two")]
    alone, none = comparisons.across(runs, lambda run, dataset: None, resamples=100, seed=1)
    assert alone.height == 3
    assert none.height == 0


def test_summary_has_the_best_of_others_first_and_the_ceiling(tmp_path):
    one = {"title": "Set a", "n": 1000, "r": 0.8, "r_low": 0.7, "r_high": 0.9, "ceiling": {"r": 0.95}}
    one["published_models"] = {
        name: {"n": 90, "r": r, "r_low": r, "r_high": r} for name, r in (("worse", 0.5), ("better", 0.85), ("none", None))
    }
    figure = figures.summary({"a": one, "b": one | {"title": "Set b", "ceiling": None, "published_models": {}, "r": None}})
    (axes,) = figure.axes
    names = ["Set a  (n = 1,000)", "better  (n = 90)", "worse  (n = 90)", "none  (n = 90)", "Set b  (n = 1,000)"]
    assert [label.get_text() for label in axes.get_yticklabels()] == names
    (mark,) = [line for line in axes.lines if line.get_marker() == "|"]
    assert (list(mark.get_xdata()), list(mark.get_ydata())) == ([0.95], [0.0])
    saved(tmp_path / "a", figure)


def test_coverage_has_a_line_for_each_data_set(tmp_path):
    rows = [(name, level, 100, level + shift, level, 1.0) for name, shift in (("a", 0.01), ("b", -0.2)) for level in calibration.LEVELS]
    table = pl.DataFrame(rows, schema=calibration.COVERAGE, orient="row")
    figure = figures.coverage(table, {"b": "Set b", "a": "Set a", "c": "Set c"})
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["nominal", "Set b (n = 100)", "Set a (n = 100)"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["50", "80", "90", "95"]
    points = [line for line in axes.lines if line.get_marker() == "s"]
    assert list(points[0].get_ydata()) == pytest.approx([51, 81, 91, 96])
    saved(tmp_path / "a", figure)
    nothing = figures.coverage(table.clear(), {"a": "Set a"})
    assert "too few validation promoters" in nothing.axes[0].texts[0].get_text()
    saved(tmp_path / "b", nothing)
