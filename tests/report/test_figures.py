import numpy as np
import polars as pl
import pytest
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle, StepPatch

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


def audit():
    """Shuffled sequences of both sets, 30 and 31 edits away."""
    rows = [(name, kind, 8, 30 + number % 2) for name in "ab" for kind in ("scored", "shuffled") for number in range(4)]
    return pl.DataFrame(rows, schema=["dataset", "kind", "near", "distance"], orient="row")


def highest(axes):
    """The top of the bars and of the outline of shuffled sequences, as a share of the panel's height."""
    outline = max(patch.get_data().values.max() for patch in axes.patches if isinstance(patch, StepPatch))
    bars = max(bar.get_height() for bar in axes.patches if isinstance(bar, Rectangle))
    return max(bars, outline) / axes.get_ylim()[1]


def overlap(figure, axes):
    """Whether the text of a panel is drawn over one of its bars."""
    figure.canvas.draw()
    (text,) = axes.texts
    box = text.get_window_extent()
    return any(box.overlaps(bar.get_window_extent()) for bar in axes.patches if isinstance(bar, Rectangle) and bar.get_height())


@pytest.mark.parametrize("max_edits", [0, 1, 3, 8])
@pytest.mark.parametrize("edits", [[1] * 44 + [2], [0] * 5 + [1] * 40, [None] * 45, [9] * 45], ids=["1", "0", "none near", "9"])
def test_text_of_the_limit_stands_above_the_bars(edits, max_edits):
    table = pl.DataFrame({"dataset": "a", "distance": edits}, schema_overrides={"distance": pl.Int64})
    figure = figures.leak(table, audit(), pl.DataFrame(schema=subgroups.COLUMNS), {"a": "Set a"}, max_edits)
    left = figure.axes[0]
    within = sum(edit is not None and edit <= max_edits for edit in edits)
    assert texts(left) == [f"{within} within {max_edits} edits"]
    assert not overlap(figure, left)
    assert highest(left) == pytest.approx(1 / 1.3)
    low, high = left.get_xlim()
    assert low < max_edits + 0.5 < high
    plt.close(figure)


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
    figure = figures.leak(nearest(), audit(), pl.DataFrame(rows, schema=subgroups.COLUMNS), TITLES, 3)
    left, right, other, empty = figure.axes
    bars = [bar for bar in left.patches if isinstance(bar, Rectangle)]
    heights = {round(bar.get_x() + bar.get_width() / 2): bar.get_height() for bar in bars if bar.get_height()}
    assert heights == pytest.approx({0: 100 / 6, 3: 100 / 6, 4: 100 / 6, 30: 200 / 6, 39: 100 / 6})
    (outline,) = [patch for patch in left.patches if isinstance(patch, StepPatch)]
    assert np.flatnonzero(outline.get_data().values).tolist() == [30, 31]
    assert set(outline.get_data().values) == {0, 50}
    assert texts(left) == ["2 within 3 edits"]
    assert left.get_title(loc="left") == "Set a (n = 6)"
    assert texts(other) == ["0 within 3 edits"]
    assert [label.get_text() for label in right.get_yticklabels()] == ["1 to 3  (n = 3)", "33 or more  (n = 30)"]
    assert texts(right) == ["too few to score"]
    assert empty.get_yticklabels() == []
    same = figures.leak(nearest(), audit(), pl.DataFrame(rows, schema=subgroups.COLUMNS), TITLES, 3)
    assert saved(tmp_path / "a", figure) == saved(tmp_path / "b", same)
    nothing = pl.DataFrame({"dataset": ["a"], "distance": [None]}, schema_overrides={"distance": pl.Int64})
    saved(tmp_path / "c", figures.leak(nothing, audit().clear(), pl.DataFrame(schema=subgroups.COLUMNS), {"a": "Set a"}, 3))


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
