import numpy as np
import pytest
from scipy import optimize

from gpraflow.prediction import conformal

RNG = np.random.default_rng


def test_factors_are_those_of_maximum_likelihood():
    rng = RNG(1)
    parts = np.stack([np.ones(3000), rng.uniform(0, 4, 3000), np.zeros(3000)])
    residual = rng.normal(size=3000) * np.sqrt(np.array([0.5, 2.0, 0.0]) @ parts)

    def unlikely(factors):
        variance = np.square(factors) @ parts[:2]
        return np.sum(np.log(variance) + residual**2 / variance)

    independent = np.square(optimize.minimize(unlikely, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-7, "fatol": 1e-7}).x)
    found = conformal.variance_factors(residual, parts)
    assert found[:2] == pytest.approx(independent, rel=1e-3)
    assert found[2] == 0
    assert found[:2] == pytest.approx([0.5, 2.0], rel=0.25)


def test_quantiles_have_the_rank_of_split_conformal_prediction():
    assert conformal.quantiles(np.arange(1.0, 20)[::-1]) == (10.0, 16.0, 18.0, 19.0)
    assert conformal.quantiles(np.arange(1.0, 19)) == (10.0, 16.0, 18.0, None)
    assert conformal.quantiles(np.array([])) == (None,) * 4


def test_scores_of_a_fold_are_from_a_fit_to_the_others():
    rng = RNG(2)
    residual, parts, folds = rng.normal(size=50), np.ones((1, 50)), np.arange(50) % 2
    residual[folds == 1] *= 10
    found = conformal.scores(residual, parts, folds)
    for fold in (0, 1):
        other = np.sqrt(np.mean(residual[folds != fold] ** 2))
        assert found[folds == fold] == pytest.approx(np.abs(residual[folds == fold]) / other, rel=1e-4)
    assert conformal.scores(residual, parts) == pytest.approx(np.abs(residual) / np.sqrt(np.mean(residual**2)), rel=1e-4)


@pytest.mark.parametrize(
    ("rows", "size", "number"), [(50, 0, 0), (199, 0, 0), (200, 100, 3), (300, 100, 5), (500, 100, 8), (5000, 1000, 8)]
)
def test_windows_hold_a_fifth_and_at_least_a_hundred(rows, size, number):
    values = RNG(3).normal(size=rows)
    found = conformal.windows(values)
    assert [len(window) for window in found] == [size] * number
    if number:
        ordered = np.sort(values)
        assert np.sort(values[found[0]]).tolist() == ordered[:size].tolist()
        assert np.sort(values[found[-1]]).tolist() == ordered[-size:].tolist()
        medians = [np.median(values[window]) for window in found]
        assert medians == sorted(medians)


def test_windows_of_equal_values_are_one():
    assert len(conformal.windows(np.ones(1000))) == 1


def test_weights_interpolate():
    found = conformal.weights(np.array([-1.0, 0.0, 0.5, 1.0, 3.0, 9.0]), (0.0, 1.0, 5.0))
    assert found.tolist() == [[1, 1, 0.5, 0, 0, 0], [0, 0, 0.5, 1, 0.5, 0], [0, 0, 0, 0, 0.5, 1]]
