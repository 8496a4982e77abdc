import numpy as np
import polars as pl
import pytest

from gpraflow.core import drawing
from gpraflow.evaluation import leak, subgroups
from gpraflow.report import cost, figures

TITLES = {"a": "Set a", "b": "Set b"}


def texts(axes):
    return [text.get_text() for text in axes.texts]


def saved(folder, figure):
    folder.mkdir()
    drawing.save(figure, folder / "a.png", folder / "a.svg")
    return (folder / "a.png").read_bytes(), (folder / "a.svg").read_bytes()


def nearest():
    edits = [0, 3, 4, 30, 30, None] + [35] * 4
    return pl.DataFrame({"dataset": ["a"] * 6 + ["b"] * 4, "distance": edits})


def test_distances_count_what_the_guard_let_through():
    assert figures.distances(nearest(), ["a", "b", "none"], 3).rows() == [
        ("a", 6, 2, 4.0, 0, 1),
        ("b", 4, 0, 35.0, 35, 0),
        ("none", 0, 0, None, None, 0),
    ]


def test_leak_shows_every_promoter_and_says_where_none_is_near(tmp_path):
    row = dict.fromkeys(subgroups.COLUMNS) | {"by": "edits to nearest training promoter", "mean_error": 0.0}
    rows = [
        row | {"dataset": "a", "part": "1 to 3", "n": 3},
        row | {"dataset": "a", "part": "33 or more", "n": 30, "r": 0.5, "r_low": 0.4, "r_high": 0.6},
        row | {"dataset": "a", "by": "reads", "part": "1", "n": 30, "r": 0.1, "r_low": 0.0, "r_high": 0.2},
    ]
    figure = figures.leak(nearest(), pl.DataFrame(rows, schema=subgroups.COLUMNS), TITLES, 3)
    left, right, other, empty = figure.axes
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in left.patches if bar.get_height()}
    assert heights == pytest.approx({0: 100 / 6, 3: 100 / 6, 4: 100 / 6, 30: 200 / 6, 39: 100 / 6})
    assert texts(left) == ["2 within\n3 edits"]
    assert left.get_title(loc="left") == "Set a (n = 6)"
    assert texts(other) == ["0 within\n3 edits"]
    assert [label.get_text() for label in right.get_yticklabels()] == ["1 to 3  (n = 3)", "33 or more  (n = 30)"]
    assert texts(right) == ["too few to score"]
    assert empty.get_yticklabels() == []
    same = figures.leak(nearest(), pl.DataFrame(rows, schema=subgroups.COLUMNS), TITLES, 3)
    assert saved(tmp_path / "a", figure) == saved(tmp_path / "b", same)
    nothing = pl.DataFrame({"dataset": ["a"], "distance": [None]}, schema_overrides={"distance": pl.Int64})
    saved(tmp_path / "c", figures.leak(nothing, pl.DataFrame(schema=subgroups.COLUMNS), {"a": "Set a"}, 3))


def test_demonstration_shows_the_runs_model_beside(tmp_path):
    rows = [
        ("index error", 1, 10, 1, 0.99, 0.9, 0.95),
        ("leakage-controlled", 1, 20, 1, 0.0, 0.2, 0.5),
        ("permuted labels", 1, 20, 1, 0.0, 0.0, -0.1),
    ]
    table = pl.DataFrame(rows, schema=leak.COLUMNS, orient="row")
    figure = figures.demonstration(table, 0.8, 21)
    (axes,) = figure.axes
    assert [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"] == [0.95, 0.5, -0.1, 0.8]
    assert {"0.950", "-0.100", "n = 10; 99 % also in training", "n = 21; 0 % also in training"} <= set(texts(axes))
    saved(tmp_path / "a", figure)
    saved(tmp_path / "b", figures.demonstration(table, None, 21))


def test_waterfall_begins_each_loss_where_the_next_total_ends(tmp_path):
    rows = [
        ("reads", "total", "reads", 1000, 0),
        ("reads", "lost", "quality", 250, 750),
        ("reads", "lost", "rare", 1, 749),
        ("reads", "total", "counted", 749, 0),
        ("promoters", "total", "rows of the table", 10, 0),
        ("promoters", "part", "train", 10, 0),
    ]
    figure = figures.waterfall(pl.DataFrame(rows, schema=["unit", "kind", "label", "rows", "start"], orient="row"))
    first, second = figure.axes
    assert [(bar.get_x(), bar.get_width()) for bar in first.patches] == [(0, 1000), (750, 250), (749, 1), (0, 749)]
    assert {"1,000", "−250", "25 %", "0.10 %", "749"} <= set(texts(first))
    assert [label.get_text() for label in first.get_yticklabels()] == ["reads", "lost: quality", "lost: rare", "counted"]
    assert {"10", "100 %"} == set(texts(second))
    saved(tmp_path / "a", figure)


def test_cost_puts_small_rules_together(tmp_path):
    rows = [(f"rule_{i}", 1, 60.0, 60.0 * (20 - i), (20 - i) / 60, 100.0 if i else None) for i in range(20)]
    table = pl.DataFrame(rows, schema=cost.COLUMNS, orient="row")
    figure = figures.cost(table, most=3)
    (axes,) = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["rule_0", "rule_1", "rule_2", "17 other rules"]
    assert sum(bar.get_width() for bar in axes.patches) == pytest.approx(table["core_hours"].sum())
    assert "all rules: 3.50" in axes.get_xlabel()
    assert "unknown" in texts(axes)
    minutes = figures.cost(table.with_columns(pl.col("core_seconds") / 10))
    assert "core-minutes" in minutes.axes[0].get_xlabel()
    saved(tmp_path / "a", figure)
    figures.cost(pl.DataFrame(schema=cost.COLUMNS))  # a run whose benchmark files are gone
    assert np.isfinite(axes.get_xlim()).all()
