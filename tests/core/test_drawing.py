import numpy as np
import polars as pl

from gpraflow.core import drawing
from gpraflow.evaluation import figures as evaluation_figures
from gpraflow.explanation import figures as explanation_figures
from gpraflow.training import figures as training_figures

HISTORY = pl.DataFrame(
    {"member": [0, 0, 0], "epoch": [0, 1, 2], "loss": [1.0, 0.5, 0.4], "val_loss": [0.9, 0.6, 0.7], "val_r": [0.1, 0.5, 0.4]}
)


def predictions():
    rng = np.random.default_rng(0)
    y = rng.normal(8, 3, 500)
    return pl.DataFrame({"expression": y, "predicted": y + rng.normal(0, 1, 500)})


def scores():
    return {
        "n": 1500,
        "r": 0.9,
        "r_low": 0.88,
        "r_high": 0.92,
        "R2": None,
        "R2_low": None,
        "R2_high": None,
        "rho": 0.8,
        "rho_low": 0.7,
        "rho_high": 0.9,
    }


def saved(folder, figure):
    folder.mkdir()
    drawing.save(figure, folder / "a.png", folder / "a.svg")
    return (folder / "a.png").read_bytes(), (folder / "a.svg").read_bytes()


def test_training_curves_show_every_epoch_and_the_best(tmp_path):
    figure = training_figures.training_curves(HISTORY, 2)
    lines = {line.get_label(): line.get_ydata() for line in figure.axes[0].lines}
    assert list(lines["training"]) == [1.0, 0.5, 0.4]
    assert list(lines["validation"]) == [0.9, 0.6, 0.7]
    assert list(figure.axes[1].lines[0].get_ydata()) == [0.1, 0.5, 0.4]
    assert [line.get_xdata()[0] for axes in figure.axes for line in axes.lines if "best" in line.get_label()] == [2, 2]
    png, svg = saved(tmp_path / "a", figure)
    assert png.startswith(b"\x89PNG")
    assert b"Pearson r, validation" in svg


def test_scatter_counts_every_promoter_and_states_the_scores(tmp_path):
    figure = evaluation_figures.prediction_scatter(predictions(), scores(), "my set", "bins", 30)
    cells = figure.axes[0].collections[0]
    assert cells.get_array().sum() == 500
    text = saved(tmp_path / "a", figure)[1].decode()
    for part in (
        "my set",
        "n = 1,500",
        "r = 0.900 [0.880, 0.920]",
        "R² = not defined",
        "ρ = 0.800 [0.700, 0.900]",
        "predicted expression (bins)",
    ):
        assert part in text, part


def test_same_data_same_bytes(tmp_path):
    for i in "ab":
        saved(tmp_path / i, evaluation_figures.prediction_scatter(predictions(), scores(), "t", "bins", 30))
    assert (tmp_path / "a/a.png").read_bytes() == (tmp_path / "b/a.png").read_bytes()
    assert (tmp_path / "a/a.svg").read_bytes() == (tmp_path / "b/a.svg").read_bytes()


def test_constant_predictions_can_be_drawn(tmp_path):
    saved(
        tmp_path / "a",
        evaluation_figures.prediction_scatter(pl.DataFrame({"expression": [2.0, 2.0], "predicted": [2.0, 2.0]}), scores(), "t", "bins", 30),
    )


def test_each_member_of_an_ensemble_has_its_line():
    figure = training_figures.training_curves(
        pl.concat([HISTORY, HISTORY.with_columns(member=pl.lit(1, pl.Int64), val_r=pl.col("val_r") / 2)]), 2
    )
    assert [list(line.get_ydata()) for line in figure.axes[1].lines[:2]] == [[0.1, 0.5, 0.4], [0.05, 0.25, 0.2]]


def test_learning_rates_and_the_steepest_fall(tmp_path):
    rates = pl.DataFrame({"learning_rate": [1e-4, 1e-3, 1e-2], "loss": [1.1, 0.5, 2.0], "smoothed": [1.0, 0.6, 1.2]})
    figure = training_figures.learning_rates(rates, 1e-3)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [list(line.get_ydata()) for line in axes.lines[:2]] == [[1.1, 0.5, 2.0], [1.0, 0.6, 1.2]]
    assert list(axes.lines[2].get_xdata()) == [1e-3, 1e-3]
    assert saved(tmp_path / "a", figure) == saved(tmp_path / "b", training_figures.learning_rates(rates, 1e-3))


def test_tuning_shows_trials_by_their_end():
    trials = pl.DataFrame(
        {"trial": [0, 1, 2], "state": ["complete", "pruned", "failed"], "val_loss": [0.4, 0.5, None], "best_so_far": [0.4, 0.4, 0.4]}
    )
    figure = training_figures.tuning(
        trials, pl.DataFrame({"key": [], "importance": []}, schema={"key": pl.String, "importance": pl.Float64})
    )
    lines = {line.get_label(): (list(line.get_xdata()), list(line.get_ydata())) for line in figure.axes[0].lines}
    assert lines["complete (n = 1)"] == ([1], [0.4])
    assert lines["pruned (n = 1)"] == ([2], [0.5])
    assert figure.axes[1].texts[0].get_text() == "fewer than four complete trials"


SUMMARY = {"promoters": 8, "explained": 0.61, "recovery": {"active": 5, "precision": 0.5, "recall": 0.2}}


def motifs_and_sites():
    motifs = pl.DataFrame(
        {"factor": ["REB1", "RAP1", "CBF1"], "matrix": ["MA1", "MA2", "MA3"], "sites": [3, 1, 0], "mean_effect": [2.0, -1.0, None]}
    ).with_columns(promoters=pl.Series([0.375, 0.125, 0.0]), planted=pl.Series([1.5, None, None]))
    sites = {
        "name": ["1", "1", "2", "2"],
        "factor": ["REB1"] * 3 + ["RAP1"],
        "matrix": ["MA1"] * 3 + ["MA2"],
        "strand": ["+", "-", "+", "-"],
    }
    sites |= {"start": [2, 5, 9, 1], "end": [8, 11, 15, 6], "similarity": [0.9, 0.8, 0.7, -0.9], "effect": [1.0, 2.0, 3.0, -1.0]}
    return motifs, pl.DataFrame(sites)


def test_motifs_show_every_site_and_what_is_planted(tmp_path):
    motifs, sites = motifs_and_sites()
    figure = explanation_figures.motifs(motifs, sites, SUMMARY, "my set", "bins")
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["CBF1  MA3  (0)", "RAP1  MA2  (1)", "REB1  MA1  (3)  *"]
    dots = [line for line in left.lines if line.get_marker() == "o"]
    assert [list(line.get_xdata()) for line in dots] == [[-1.0], [1.0, 2.0, 3.0]]
    assert [bar.get_width() for bar in right.patches] == [0.0, 12.5, 37.5]
    text = saved(tmp_path / "a", figure)[1].decode()
    for part in ("my set: motifs that explain 61 % of the effects (3)", "one of the 5 factors", "precision 0.50, recall 0.20", "n = 8"):
        assert part in text
    few = explanation_figures.motifs(motifs, sites, SUMMARY, "my set", "bins", most=1)
    assert len(few.axes[1].patches) == 1
    assert "(3, the first 1 shown)" in few.get_suptitle()
    none = explanation_figures.motifs(motifs.clear(), sites.clear(), SUMMARY | {"recovery": None}, "my set", "bins")
    assert "no motif explains the effects" in saved(tmp_path / "b", none)[1].decode()


def test_logos_are_of_promoters_spread_over_their_order(tmp_path):
    _, sites = motifs_and_sites()
    promoters = pl.DataFrame({"name": [str(i) for i in range(9)], "sequence": ["ACGTN" * 4] * 9}).with_columns(
        expression=pl.lit(3.0), predicted=pl.int_range(9).cast(pl.Float64)
    )
    contributions = promoters.select("name").join(pl.DataFrame({"position": range(3, 21)}), how="cross")
    contributions = contributions.with_columns(contribution=pl.col("position") / 10)
    logos = explanation_figures.logos_of(promoters, contributions, sites, "my set", 3)
    assert [logo[4] for logo in logos] == [f"my set, promoter {i}: predicted {i}.0, measured 3.0" for i in (0, 4, 8)]
    np.testing.assert_allclose(logos[0][1], [0, 0, *(np.arange(3, 21) / 10)])
    assert explanation_figures.logos_of(promoters, contributions, sites, "", 3)[0][3].height == 0
    assert explanation_figures.logos_of(promoters[:2], contributions, sites, "", 20)[1][3].height == 2
    figure = explanation_figures.contribution_logos(logos[:2], "bins")
    assert len(figure.axes) == 4
    assert "contribution" in saved(tmp_path / "a", figure)[1].decode()
