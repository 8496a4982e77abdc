"""De novo motifs from effects whose motifs are known."""

import numpy as np
import polars as pl
import pytest
from scipy import optimize

from gpraflow.explanation import discovery, matching
from gpraflow.explanation import sites as explanation_sites
from gpraflow.sequences import motif_files, motifs
from tests.conftest import ROOT

ACTIVITIES = {"REB1": 4.0, "MIG1": -3.0, "GCN4": 2.0}


@pytest.fixture(scope="module")
def known():
    return motifs.load(ROOT / "resources/motifs/jaspar2026_yeast.jaspar")


@pytest.fixture(scope="module")
def data(known):
    """Promoters, half of them with a planted site; effects are activity x change of occupancy, in the dense formula, with noise."""
    rng = np.random.default_rng(1)
    by_factor = {each.factor: each for each in known}
    tokens = rng.integers(0, 4, (120, 50)).astype(np.uint8)
    tokens[:3, :5] = 4  # padding
    for row, factor in zip(range(0, 120, 2), [*ACTIVITIES] * 20, strict=True):
        site = by_factor[factor].strands[row % 4 // 2].argmax(axis=1)
        start = rng.integers(5, 50 - len(site))
        tokens[row, start : start + len(site)] = site
    effects = sum(activity * explanation_sites.occupancy_changes(tokens, by_factor[factor], 1.0) for factor, activity in ACTIVITIES.items())
    effects = (effects + rng.normal(0, 0.02, effects.shape)).astype(np.float32)
    effects[:, 45:] = np.nan
    np.put_along_axis(effects, np.minimum(tokens, 3)[:, :, None].astype(int), 0, axis=2)
    effects[:3, :5] = np.nan
    return tokens, effects


def test_planted_motifs_are_found_without_knowing_them(data, known):
    tokens, effects = data
    found, explained = discovery.discover(tokens, effects, most=4)
    assert explained == sorted(explained)
    assert explained[-1] > 0.85
    named = [each.motif(discovery.name_of(number)) for number, each in enumerate(found, start=1)]
    best = matching.best_matches(named, [each for each in known if each.factor in ACTIVITIES], 0.01)
    signs = {each.matrix_id: np.sign(fitted.activity) for each, fitted in zip(named, found, strict=True)}
    assert set(best["factor"]) == set(ACTIVITIES)
    assert all(signs[name] == np.sign(ACTIVITIES[factor]) for name, factor in best.select("motif", "factor").iter_rows())
    assert len(found) <= len(ACTIVITIES) + 1
    sites = discovery.sites_of(pl.Series([f"p{row}" for row in range(120)]), tokens, np.zeros(120, int), found)
    table = discovery.table(found, explained, sites, 120)
    assert table.columns == list(discovery.MOTIFS)
    assert table["sites"].min() >= 10
    assert table["forward"].min() > 0.2
    assert table["forward"].max() < 0.8
    once, again = (discovery.discover(tokens[:40], effects[:40], most=1)[0] for _ in range(2))
    assert np.array_equal(once[0].matrix, again[0].matrix)


def test_sites_are_where_they_were_planted(known):
    reb1 = next(each for each in known if each.factor == "REB1")
    fitted = discovery.Fitted(np.pad(reb1.log_odds.astype(float), ((2, 1), (0, 0))), 1 - float(reb1.log_odds.max(axis=1).sum()), 3.0)
    tokens = np.random.default_rng(5).integers(0, 4, (2, 50)).astype(np.uint8)
    width = len(reb1.log_odds)
    tokens[0, 20 : 20 + width] = reb1.log_odds.argmax(axis=1)
    tokens[1, 30 : 30 + width] = 3 - reb1.log_odds.argmax(axis=1)[::-1]
    sites = discovery.sites_of(pl.Series(["a", "b"]), tokens, np.array([0, 10]), [fitted]).filter(pl.col("occupancy") > 0.6)
    first, last = fitted.trimmed()
    assert sites.select("name", "strand", "start", "end").rows() == [
        ("a", "+", 21 + first - 2, 20 + last - 2),
        ("b", "-", 30 - 10 + width + 2 - last + 1, 30 - 10 + width + 2 - first),
    ]
    assert sites["effect"].to_list() == pytest.approx([3 / (1 + np.exp(-1))] * 2)


def test_the_gradient_of_a_fit_is_that_of_finite_differences(data):
    tokens, effects = data
    known = np.isfinite(effects).ravel()
    target = np.where(known, effects.ravel(), 0)
    rng = np.random.default_rng(2)
    fitted = discovery.Fitted(rng.normal(size=(6, 4)), -1.0)
    sites = discovery.find_sites(tokens[:20], fitted)
    some = 20 * 50 * 4
    arguments = (sites, known[:some][sites.places], target[:some], 0.3)
    values = np.append(fitted.matrix.ravel(), fitted.offset)
    gradient = discovery._loss(values, *arguments)[1]
    expected = optimize.approx_fprime(values, lambda at: discovery._loss(at, *arguments)[0], 1e-6)
    assert gradient == pytest.approx(expected, abs=1e-5 * np.abs(expected).max() + 1e-7)


def test_changes_of_occupancy_are_those_of_the_dense_formula(data, known):
    tokens, _ = data
    motif = known[7]
    fitted = discovery.Fitted(motif.log_odds, 1.5 - float(motif.log_odds.max(axis=1).sum()))
    sparse = discovery.occupancy_changes(tokens, fitted, discovery.find_sites(tokens, fitted, 1e-7)).reshape(*tokens.shape, 4)
    there = tokens < 4
    assert sparse[there] == pytest.approx(explanation_sites.occupancy_changes(tokens, motif, 1.5)[there], abs=1e-5)


def test_noise_has_no_motif():
    rng = np.random.default_rng(3)
    tokens = rng.integers(0, 4, (60, 40)).astype(np.uint8)
    effects = rng.normal(size=(60, 40, 4)).astype(np.float32)
    assert discovery.discover(tokens, np.full_like(effects, np.nan)) == ([], [])
    assert discovery.discover(tokens[:, :8], effects[:, :8]) == ([], [])
    assert len(discovery.discover(tokens, effects, most=3, least=0.05)[0]) == 0


def test_motifs_are_written_in_meme_format(tmp_path, known):
    by_factor = {each.factor: each for each in known}
    fitted = [discovery.Fitted(by_factor[factor].log_odds.astype(float), 0.0) for factor in ("REB1", "RAP1")]
    named = [each.motif(discovery.name_of(rank)) for rank, each in enumerate(fitted, start=1)]
    (tmp_path / "found.meme").write_text(motifs.meme(named))
    read = motif_files.read(tmp_path / "found.meme")
    assert [each.matrix_id for each in read] == ["denovo_1", "denovo_2"]
    assert np.array(read[0].rows).sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert matching.best_matches(motifs.load(tmp_path / "found.meme"), known)["factor"].to_list() == ["REB1", "RAP1"]
    assert discovery.consensus(np.array([[0.5, 0.5, 0, 0], [0.9, 0.1, 0, 0], [0.25] * 4])) == "MAN"
