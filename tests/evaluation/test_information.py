"""Variational and predictive information: closed forms, slow implementations of other authors' definitions, standard errors, bad inputs."""

import numpy as np
import pytest
from scipy import integrate, special, stats
from scipy.spatial import cKDTree

from gpraflow.core.errors import InputError
from gpraflow.evaluation import information


def sort(promoters, rng, sd=0.7, bins=4, reads=1.3):
    """Return phenotypes, p(bin | phenotype) and counts of a simulated sort."""
    phi = rng.normal(size=promoters)
    edges = np.concatenate([[-np.inf], np.linspace(-1, 1, bins - 1), [np.inf]])
    probabilities = np.diff(special.ndtr((edges - phi[:, None]) / sd), axis=1)
    return phi, probabilities, rng.multinomial(rng.poisson(reads, promoters), probabilities)


def test_variational_is_entropy_of_bins_less_that_given_the_sequence():
    # Read by read, as MAVE-NN's I_variational: each read is a row.
    _, probabilities, counts = sort(200, np.random.default_rng(0))
    bins = [b for row in counts for b, n in enumerate(row) for _ in range(n)]
    logs = [np.log2(p) for row, ps in zip(counts, probabilities, strict=True) for p, n in zip(ps, row, strict=True) for _ in range(n)]
    share = [bins.count(b) / len(bins) for b in range(4)]
    expected = -sum(p * np.log2(p) for p in share) + np.mean(logs)
    assert information.variational(probabilities, counts, 10).bits == pytest.approx(expected, abs=1e-12)


def test_variational_of_known_channels():
    counts = np.eye(4, dtype=int)[np.arange(400) % 4]
    certain = np.where(counts, 1.0, 0.0)
    assert information.variational(certain, counts, 5).bits == pytest.approx(2)
    assert information.variational(np.full((400, 4), 0.25), counts, 5).bits == pytest.approx(0)
    wrong = np.where(counts, 0.01, 0.33)
    assert information.variational(wrong, counts, 5).bits == pytest.approx(2 + np.log2(0.01))  # below 0
    empty_bin = np.column_stack([counts, np.zeros(400, int)])
    assert information.variational(np.column_stack([certain, np.zeros(400)]), empty_bin, 5).bits == pytest.approx(2)


def truth(sd=0.7, bins=4):
    """Return the information of phenotype and bin in `sort`, by numerical integration."""
    edges = np.concatenate([[-np.inf], np.linspace(-1, 1, bins - 1), [np.inf]])

    def conditional(phi):
        return stats.norm.pdf(phi) * special.entr(np.diff(special.ndtr((edges - phi) / sd))).sum()

    marginal = np.diff(special.ndtr(edges / np.hypot(1, sd)))
    return (special.entr(marginal).sum() - integrate.quad(conditional, -8, 8)[0]) / np.log(2)


def test_both_approach_the_true_information():
    phi, probabilities, counts = sort(20_000, np.random.default_rng(1))
    assert information.variational(probabilities, counts, 2).bits == pytest.approx(truth(), abs=0.015)
    assert information.predictive(phi, counts, 2).bits == pytest.approx(truth(), abs=0.02)
    assert information.predictive(np.exp(2 * phi), counts, 2).bits == information.predictive(phi, counts, 2).bits  # any rising scale


def test_predictive_needs_no_measurement_process_but_variational_does():
    phi, probabilities, counts = sort(5_000, np.random.default_rng(2))
    blurred = 0.5 * probabilities + 0.125
    assert information.variational(blurred, counts, 2).bits < information.predictive(phi, counts, 2).bits - 0.05
    assert information.predictive(blurred @ np.arange(4), counts, 2).bits == pytest.approx(truth(), abs=0.04)


def test_a_prediction_without_information_has_none():
    rng = np.random.default_rng(3)
    *_, counts = sort(4_000, rng)
    assert information.predictive(rng.normal(size=4_000), counts, 2).bits == pytest.approx(0, abs=0.03)
    assert information.predictive(np.ones(4_000), counts, 2).bits == pytest.approx(0, abs=0.03)


def test_nearest_neighbours_agree_with_a_tree():
    # I = H(x) - sum p H(x | bin) with entropies from scipy's k-d tree; a bin of too few reads has the entropy of all, as in MAVE-NN.
    rng = np.random.default_rng(4)
    x = rng.normal(size=300)
    bins = np.where(np.arange(300) < 4, 3, (x > rng.normal(size=300)).astype(int))

    def entropy(values):
        distance = cKDTree(values[:, None]).query(values[:, None], k=6)[0][:, -1]
        return (special.digamma(len(values)) - special.digamma(5) + np.log(2) + np.log(distance).mean()) / np.log(2)

    rest = bins == 3
    expected = entropy(x) - sum((bins == b).mean() * entropy(x[bins == b]) for b in (0, 1))
    # The tree's H(x) is the mean over all reads; the few of bin 3 get their own terms of it, so they cancel exactly.
    own = information._distances(np.sort(x), 5)[np.argsort(np.argsort(x))][rest]
    per_read = (special.digamma(300) - special.digamma(5) + np.log(2) + np.log(own)) / np.log(2)
    expected -= per_read.sum() / 300
    assert information._nearest(x, bins, 5) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("kind", ["variational", "predictive"])
def test_standard_errors_are_the_spread_between_libraries(kind):
    estimates = []
    for seed in range(60):
        phi, probabilities, counts = sort(1_000, np.random.default_rng(seed))
        if kind == "variational":
            estimates.append(information.variational(probabilities, counts, 100))
        else:
            estimates.append(information.predictive(phi, counts, 40))
    spread = np.std([each.bits for each in estimates], ddof=1)
    assert np.mean([each.standard_error for each in estimates]) == pytest.approx(spread, rel=0.25)
    low, high = np.transpose([each.interval for each in estimates])
    inside = (low < np.mean([each.bits for each in estimates])) & (np.mean([each.bits for each in estimates]) < high)
    assert inside.mean() > 0.8


def test_differences_are_paired():
    phi, probabilities, counts = sort(1_000, np.random.default_rng(5))
    best = information.variational(probabilities, counts, 200, seed=3)
    assert not information.variational(probabilities, counts, 200, seed=3).minus(best).resamples.any()
    blurred = information.variational(0.9 * probabilities + 0.025, counts, 200, seed=3)
    difference = best.minus(blurred)
    assert difference.bits == best.bits - blurred.bits
    assert difference.standard_error < 0.5 * best.standard_error
    alike = [information.predictive(prediction, counts, 20, seed=3) for prediction in (phi, np.exp(phi))]
    assert not alike[0].minus(alike[1]).resamples.any()


def test_seeds_decide_the_resamples():
    phi, probabilities, counts = sort(200, np.random.default_rng(7))
    for first, again, other in [
        [information.variational(probabilities, counts, 20, seed) for seed in (1, 1, 2)],
        [information.predictive(phi, counts, 20, seed) for seed in (1, 1, 2)],
    ]:
        assert np.array_equal(first.resamples, again.resamples)
        assert not np.array_equal(first.resamples, other.resamples)


def test_bad_inputs():
    counts = np.eye(4, dtype=int)[np.arange(40) % 4]
    even = np.full((40, 4), 0.25)
    with pytest.raises(InputError, match=r"promoter 0: .* must add up to 1 .* \[1.0, 1.0, 1.0, 1.0\]"):
        information.variational(np.ones((40, 4)), counts)
    impossible = even.copy()
    impossible[7] = [0.5, 0.5, 0, 0]  # its read is in bin 3
    with pytest.raises(InputError, match="promoter 7"):
        information.variational(impossible, counts)
    with pytest.raises(InputError, match="promoter 3"):
        information.variational(np.where(np.arange(40)[:, None] == 3, np.nan, even), counts)
    for broken in (counts[:-1], counts[:, :-1], counts.ravel()):
        with pytest.raises(InputError, match="shape"):
            information.variational(even, broken)
    for broken in (-counts, 0 * counts, np.where(counts, np.nan, 0)):
        with pytest.raises(InputError, match="at least 0, and not all 0"):
            information.variational(even, broken)
        with pytest.raises(InputError, match="at least 0, and not all 0"):
            information.predictive(np.arange(40.0), broken)
    with pytest.raises(InputError, match="promoter 5: the prediction is not a finite number"):
        information.predictive(np.where(np.arange(40) == 5, np.nan, 0.0), counts)
    with pytest.raises(InputError, match="shape"):
        information.predictive(np.zeros(39), counts)
    with pytest.raises(InputError, match="whole reads"):
        information.predictive(np.arange(40.0), 0.5 * counts)
    with pytest.raises(InputError, match="at least 24 reads, but there are 20"):
        information.predictive(np.arange(20.0), counts[:20])
