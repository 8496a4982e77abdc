"""Effects of random variants of the library, and percentiles among them."""

import numpy as np
import polars as pl
import pytest

from gpraflow.core.errors import InputError
from gpraflow.prediction import background
from gpraflow.prediction import predictor as prediction_predictor
from tests import toy


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return prediction_predictor.Predictor(toy.write_whole(tmp_path_factory.mktemp("model") / "model"))


def test_quantiles_are_those_of_random_substitutions_of_inserts(predictor, tmp_path):
    found = background.compute(predictor, pl.Series(toy.promoters(40, 3)), (toy.FIVE, toy.THREE))
    assert found["variants"] == 2_000
    quantiles = found["effects"][""]
    # The model is the mean of a value for each base, so that effects are differences of two values divided by the length.
    values = np.array([toy.VALUES[base] for base in "ACGT"])
    differences = {round(float(one - other) / toy.LENGTH, 4) for one in values for other in values if one != other}
    assert quantiles == sorted(quantiles)
    assert quantiles[0] == pytest.approx(min(differences), abs=1e-3)
    assert quantiles[-1] == pytest.approx(max(differences), abs=1e-3)
    assert found == background.compute(predictor, pl.Series(toy.promoters(40, 3)), (toy.FIVE, toy.THREE))
    (tmp_path / "model").mkdir()
    background.write(found, tmp_path / "model" / background.FILE)
    assert background.read(tmp_path / "model") == found
    assert background.read(tmp_path) is None


def test_nothing_to_change_gives_no_background(predictor):
    assert background.compute(predictor, pl.Series(["N" * 30]), ("", "")) == {"variants": 0, "effects": {}}


def test_percentiles():
    quantiles = np.linspace(-1, 1, 201)
    values = np.array([-2, -1, -0.5, 0, 0.25, 1, 3, np.nan])
    found = background.percentiles(values, quantiles)
    assert found[:-1] == pytest.approx([0, 0, 25, 50, 62.5, 100, 100], abs=1e-6)
    assert np.isnan(found[-1])
    assert background.percentiles(np.array([0.0]), [0.0, 0.0, 0.0])[0] == 50  # ties
    assert background.percentiles(np.array([1.0]), [0.0, 1.0, 1.0])[0] == 75


def test_quantiles_that_fall_are_refused(tmp_path):
    background.write({"variants": 3, "effects": {"": [0.0, 1.0], "b-a": [1.0, 1.0, 0.5]}}, tmp_path / background.FILE)
    with pytest.raises(InputError, match=r"background\.json: effects\.b-a: quantiles are not ascending; make it again: snakemake"):
        background.read(tmp_path)
    background.write({"variants": 3, "effects": {"": [0.0]}}, tmp_path / background.FILE)
    with pytest.raises(InputError, match=r"background\.json: effects\.: \[0\.0\] is too short"):
        background.read(tmp_path)
