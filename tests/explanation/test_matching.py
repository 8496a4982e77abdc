"""p-values of motif comparisons, against simulation and a naive enumeration."""

import numpy as np
import polars as pl
import pytest

from gpraflow.explanation import matching
from gpraflow.sequences import motifs
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def known():
    return motifs.load(ROOT / "resources/motifs/jaspar2026_yeast.jaspar")


def motif(name, frequencies):
    return motifs.Motif(name, name, np.log(np.asarray(frequencies) / 0.25).astype(np.float32))


def test_a_motif_and_its_reverse_complement_match_themselves(known):
    by_factor = {each.factor: each for each in known}
    rap1 = by_factor["RAP1"]
    turned = motifs.Motif("turned", "turned", rap1.log_odds[::-1, ::-1])
    cropped = motifs.Motif("cropped", "cropped", rap1.log_odds[2:])
    best = matching.best_matches([rap1, turned, cropped], known)
    assert best["factor"].to_list() == ["RAP1"] * 3
    assert best["strand"].to_list() == ["+", "-", "+"]
    assert best["offset"].to_list() == [0, 0, -2]
    assert best["overlap"].to_list() == [len(rap1.log_odds), len(rap1.log_odds), len(rap1.log_odds) - 2]
    assert (best["q_value"] >= best["p_value"]).all()
    assert best["q_value"].max() < 1e-6


def test_p_values_of_random_motifs_are_uniform(known):
    """Queries of columns drawn from those of the targets, as the null hypothesis has them."""
    rng = np.random.default_rng(3)
    targets = known[:40]
    columns = np.concatenate([each.frequencies for each in targets])
    queries = [motif(f"q{number}", columns[rng.integers(0, len(columns), 8)]) for number in range(25)]
    p = matching.compare(queries, targets)["p_value"].to_numpy()
    assert len(p) == 1000
    assert 0.02 < (p <= 0.05).mean() < 0.08
    assert 0.3 < np.median(p) < 0.6
    assert matching.best_matches(queries, targets, 0.01).height <= 1


def test_the_distribution_of_a_sum_is_that_of_all_combinations():
    rng = np.random.default_rng(4)
    own, columns = rng.dirichlet([0.5] * 4, 2), rng.dirichlet([0.5] * 4, 7)
    null = matching._Null(own, columns)
    levels = [
        np.round((-np.linalg.norm(row - columns, axis=1) - median) / null.step).astype(int) + 100
        for row, median in zip(own, null.median[:, 0], strict=True)
    ]
    sums = (levels[0][:, None] + levels[1]).ravel()
    for level in (150, 190, 200, 215, 240):
        assert null.tail(0, 2)[level] == pytest.approx((sums >= level).mean(), abs=1e-12)


def test_de_novo_motifs_are_compared_with_the_truth(known):
    by_factor = {each.factor: each for each in known}
    found = [motifs.Motif(f"m{number}", "", by_factor[factor].log_odds) for number, factor in enumerate(("REB1", "RAP1", "GCN4"))]
    truth = pl.DataFrame(
        {"matrix": [by_factor[factor].matrix_id for factor in ("REB1", "RAP1", "HSF1", "ROX1")], "activity": [3.0, 1, -2, 0.5]}
    )
    recovery = matching.recovery(found, known, truth, 1e-6)
    assert recovery["active"] == 4
    assert recovery["found"] == 3
    assert recovery["precision"] == pytest.approx(2 / 3)
    assert recovery["recall"] == recovery["recall_of_best_matches"] == 0.5
    assert recovery["recall_of_the_stronger_half"] == 0.5  # REB1 and HSF1
    assert "recall_of_the_effective_half" not in recovery
    seen = truth.with_columns(effect_sd=pl.Series([0.4, 0.3, 0.001, 0.02]))
    assert matching.recovery(found, known, seen, 1e-6)["recall_of_the_effective_half"] == 1  # REB1 and RAP1
    assert matching.recovery([], known, truth)["precision"] is None


def test_nothing_is_compared_with_nothing(known):
    assert matching.compare([], known).equals(pl.DataFrame(schema=matching.MATCHES))
    assert matching.best_matches(known[:1], []).height == 0
