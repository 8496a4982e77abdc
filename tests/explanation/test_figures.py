"""Figures of model interpretation, with and without a motif file."""

import json
import runpy
from types import SimpleNamespace

import matplotlib.pyplot as plt
import numpy as np
import polars as pl
import pytest

from gpraflow.core import drawing, logs
from gpraflow.explanation import explain, figures
from gpraflow.explanation import sites as explanation_sites
from tests.conftest import ROOT

SEQUENCE = "ACGTACGTAC"
NO_SITES = pl.DataFrame(schema=explanation_sites.SITES)
SITE = NO_SITES.vstack(pl.DataFrame([("1", "REB1", "m", "+", 2, 7, 0.4, 0.9, 1.5)], schema=explanation_sites.SITES, orient="row"))


def texts(figure):
    return [text.get_text() for axes in figure.axes for text in axes.texts] + [axes.get_ylabel() for axes in figure.axes]


@pytest.mark.parametrize(("sites", "panels", "expected"), [(None, 1, []), (NO_SITES, 2, ["no motif site found"]), (SITE, 2, ["REB1 +"])])
def test_logos_have_sites_only_if_motifs_were_searched_for(tmp_path, sites, panels, expected):
    promoters = pl.DataFrame({"name": ["1"], "sequence": [SEQUENCE], "expression": [1.0], "predicted": [2.0]})
    contributions = pl.DataFrame({"name": ["1"] * 10, "position": range(1, 11), "contribution": np.linspace(-1, 1, 10)})
    figure = figures.contribution_logos(figures.logos_of(promoters, contributions, sites, "test split", 1), "log2(expression)")
    assert len(figure.subfigs[0].axes) == panels
    assert texts(figure) == [*expected, "contribution\n(log2(expression))", *(["sites"] if sites is not None else [])]
    assert figure.subfigs[0].axes[-1].get_xlabel() == "position in the promoter (bp, 5' to 3')"
    drawing.save(figure, tmp_path / "a.png", tmp_path / "a.svg")


@pytest.mark.parametrize("with_motifs", [False, True])
def test_the_figure_of_motifs_is_drawn_only_if_motifs_were_searched_for(tmp_path, monkeypatch, with_motifs):
    monkeypatch.setattr(logs, "log_to", lambda path: None)
    promoters = pl.DataFrame({"name": ["1"], "sequence": [SEQUENCE], "expression": [1.0], "predicted": [2.0]})
    promoters.write_csv(tmp_path / "promoters.tsv", separator="\t")
    NO_SITES.write_csv(tmp_path / "sites.tsv", separator="\t")
    pl.DataFrame(schema=explanation_sites.SUMMARY).write_csv(tmp_path / "motifs.tsv", separator="\t")
    bases = {
        "name": ["1"] * 10,
        "position": range(1, 11),
        "base": list(SEQUENCE),
        "contribution": [0.5] * 10,
        "gradient_x_input": [0.1] * 10,
    }
    pl.DataFrame(bases, schema_overrides=explain.CONTRIBUTIONS).write_parquet(tmp_path / "contributions.parquet")
    explained = 0.0 if with_motifs else None
    (tmp_path / "summary.json").write_text(json.dumps({"promoters": 1, "explained": explained, "recovery": None}))
    suffixes = {"promoters": "tsv", "sites": "tsv", "motifs": "tsv", "contributions": "parquet", "summary": "json"}

    class Files(SimpleNamespace):
        def __getitem__(self, name):
            return getattr(self, name)

    inputs = Files(**{name: str(tmp_path / f"{name}.{suffix}") for name, suffix in suffixes.items()})
    output = SimpleNamespace(**{f"logos_{kind}": tmp_path / f"logos.{kind}" for kind in ("png", "svg")})
    if with_motifs:
        output.png, output.svg = tmp_path / "motifs.png", tmp_path / "motifs.svg"
    params = SimpleNamespace(title="test split", unit="bins", logos=1, with_motifs=with_motifs, with_de_novo=False)
    job = SimpleNamespace(log=[""], input=inputs, output=output, params=params)
    runpy.run_path(str(ROOT / "scripts/plot_motifs.py"), run_name="adapter")["main"](job)
    assert (tmp_path / "motifs.svg").exists() == with_motifs
    assert ("no motif site found" in (tmp_path / "logos.svg").read_text()) == with_motifs
    if with_motifs:
        assert "motifs that explain 0 % of the effects (0)" in (tmp_path / "motifs.svg").read_text()


def test_factors_are_drawn_in_the_order_of_the_table():
    """In one order in equal runs, whose figures are then equal."""
    names = [f"F{number}" for number in range(24)]
    values = {
        name: np.linspace(low, high, 24) for name, low, high in (("activity", -1, 1), ("potentiation", 0, 1), ("concentration", 1, 2))
    }
    table = pl.DataFrame({"member": 0, "factor": names, "matrix_id": "MA1"} | values)
    for axes in figures.factors(table).axes:
        rows = [line.get_ydata()[0] for line in axes.lines if line.get_marker() == "o"]
        assert rows == list(range(24))


PARAMETERS = pl.DataFrame(
    {
        "member": [0, 0, 0, 1, 1, 1],
        "factor": ["A", "B", "unknown_1"] * 2,
        "matrix_id": ["MA1", "MA2", "-"] * 2,
        "activity": [1.0, -0.5, 9.0, 3.0, -0.7, 9.0],
        "potentiation": 0.1,
        "concentration": 1.0,
    }
)


def test_factors_are_compared_with_motifs_of_the_same_matrix():
    found = pl.DataFrame({"factor": ["B", "OTHER", "A"], "matrix": ["MA2", "MA9", "MA1"], "activity": [-4.0, 1.0, -2.0]})
    assert figures.beside_motifs(PARAMETERS, found).rows() == [("B", "MA2", -4.0, pytest.approx(-0.6)), ("A", "MA1", -2.0, 2.0)]
    figure = figures.factors_and_motifs(PARAMETERS, found)
    assert figure.get_suptitle() == "1 of 2 motifs have the sign of their factor"
    assert [text.get_text() for text in figure.axes[0].texts] == ["B", "A"]
    assert figures.factors_and_motifs(PARAMETERS, found.head(0)).get_suptitle() == "No motif is a factor of the model"
    plt.close("all")


def test_activity_by_position_is_the_mean_over_members_with_their_range():
    of = {"factor": "A", "matrix_id": "MA1", "strand": "+", "first": [1, 5], "last": [4, 8]}
    positions = pl.concat(pl.DataFrame(of | {"member": member, "activity": [low, 2.0]}) for member, low in ((0, 1.0), (1, 3.0)))
    figure = figures.factor_positions(positions, PARAMETERS, most=1)
    (axes,) = figure.axes
    assert axes.get_title(loc="left") == "A  MA1"
    assert axes.lines[1].get_xydata().tolist() == [[2.5, 2.0], [6.5, 2.0]]
    band = axes.collections[0].get_paths()[0].vertices
    assert (band[:, 1].min(), band[:, 1].max()) == (1, 3)
    assert figure.get_suptitle() == "Activity by position (the strongest 1 of 2)"
    plt.close(figure)


def test_epistasis_leaves_positions_without_substitutions_empty():
    found = np.array([[np.nan, 0.5, -1], [0.5, np.nan, 0.2], [-1, 0.2, np.nan]])
    figure = figures.epistasis(found, [4, 5, 7], "p", bases="ACT")
    axes = figure.axes[0]
    drawn = np.ma.filled(axes.images[0].get_array(), np.nan)
    expected = np.full((4, 4), np.nan)
    expected[np.ix_([0, 1, 3], [0, 1, 3])] = found
    assert np.array_equal(drawn, expected, equal_nan=True)
    assert axes.images[0].get_clim() == (-1, 1)
    assert [(text.get_position()[0], text.get_text()) for text in axes.texts[::2]] == [(4, "A"), (5, "C"), (7, "T")]
    plt.close(figure)
