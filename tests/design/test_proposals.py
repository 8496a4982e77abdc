"""Acquisition functions beside naive loops and numerical integration, and the choice from a pool."""

import numpy as np
import polars as pl
import pytest
from scipy import integrate, stats
from scipy.spatial import distance

from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.design import proposals
from gpraflow.prediction import predictor as predictors
from tests import toy


def pool_of(rows=300, seed=0, dimensions=3, members=3):
    rng = np.random.default_rng(seed)
    predictions = rng.normal(8, 2, (rows, 1)) + rng.gamma(2, 0.3, (rows, 1)) * rng.normal(size=(rows, members))
    spread = predictions.std(axis=1, ddof=1)
    return proposals.Candidates(
        predicted=predictions.mean(axis=1),
        spread=spread,
        error=np.hypot(spread, 0.5),
        features=rng.normal(size=(rows, dimensions)),
        known_predicted=rng.normal(8, 1, 50),
        known_features=rng.normal(size=(50, dimensions)),
        best=11.0,
    )


# Shares


def test_shares_are_parsed():
    assert proposals.parse_shares("range") == {"range": 1.0}
    assert proposals.parse_shares("range=3,random") == {"range": 0.75, "random": 0.25}
    assert proposals.parse_shares("mixture") == dict.fromkeys(["variance", "diversity", "range", "random"], 0.25)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("varience", "--acquisition: 'varience' is not an acquisition; did you mean 'variance'?"),
        ("", "--acquisition: '' is not an acquisition"),
        ("range=0,random", "the share of 'range' is '0'; expected a number above 0"),
        ("range=-1", "the share of 'range' is '-1'"),
        ("range=nan", "the share of 'range' is 'nan'"),
        ("range=inf", "the share of 'range' is 'inf'"),
        ("range=", "the share of 'range' is ''"),
        ("range,random,range", "'range' occurs twice"),
    ],
)
def test_shares_that_cannot_be_used(text, message):
    with pytest.raises(ConfigError, match=message.replace("?", r"\?")):
        proposals.parse_shares(text)


@pytest.mark.parametrize(("count", "expected"), [(8, [4, 2, 2]), (9, [5, 2, 2]), (1, [1, 0, 0]), (10, [5, 3, 2])])
def test_numbers_are_divided_by_largest_remainders(count, expected):
    shares = {"random": 0.25, "variance": 0.5, "range": 0.25}
    assert proposals.divide(count, shares) == dict(zip(["variance", "range", "random"], expected, strict=True))


# Acquisition functions


def test_expected_improvement_is_the_integral():
    predicted, error, best = np.array([1.0, 3.0, 5.0, 2.0, 4.0]), np.array([0.5, 1.0, 2.0, 0.0, 0.0]), 3.0
    found = proposals.expected_improvement(predicted, error, best)
    for mean, sd, value in zip(predicted[:3], error[:3], found[:3], strict=True):
        expected = integrate.quad(lambda y, mean=mean, sd=sd: (y - best) * stats.norm.pdf(y, mean, sd), best, best + 30)[0]
        assert value == pytest.approx(expected, rel=1e-6)
    assert found[3:].tolist() == [0.0, 1.0]


@pytest.mark.parametrize("with_known", [False, True])
def test_levels_are_filled_as_by_a_naive_loop(with_known):
    candidates = pool_of(400)
    known = candidates.known_predicted if with_known else None
    free = np.ones(400, bool)
    free[:20] = False
    count, levels = 150, 12
    found = proposals.fill_range(candidates.predicted, known, count, free, np.random.default_rng(1), levels)
    assert len(set(found.rows)) == count
    assert free[found.rows].all()

    of_free = candidates.predicted[free]
    edges = np.linspace(of_free.min(), of_free.max(), levels + 1)
    stock = np.histogram(of_free, edges)[0]
    before = np.concatenate([candidates.predicted[~free], known]) if with_known else candidates.predicted[~free]
    taken = np.histogram(before, edges)[0]
    left, naive = stock.copy(), taken.copy()
    for _ in range(count):  # one more in the emptiest level that the pool can fill
        level = min(np.flatnonzero(left), key=lambda each: naive[each])
        naive[level] += 1
        left[level] -= 1
    chosen = np.histogram(candidates.predicted[found.rows], edges)[0]
    assert sorted(chosen + taken) == sorted(naive)
    assert (np.abs(chosen + taken - naive) <= 1).all()
    share = (chosen / np.maximum(stock, 1))[np.searchsorted(edges[1:-1], candidates.predicted[found.rows], side="right")]
    np.testing.assert_allclose(found.values, share)
    assert (np.diff(found.values) <= 0).all()
    assert found.values[0] == 1  # extremes that the pool does not fill


def test_levels_of_equal_predictions():
    found = proposals.fill_range(np.full(30, 5.0), None, 10, np.ones(30, bool), np.random.default_rng(0))
    assert len(set(found.rows)) == 10


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("with_known", [False, True])
def test_diverse_promoters_are_those_of_a_naive_loop(with_known, weighted):
    candidates = pool_of(200)
    if not with_known:
        candidates = proposals.Candidates(candidates.predicted, candidates.spread, features=candidates.features)
    free = np.ones(200, bool)
    free[::7] = not with_known  # chosen by another acquisition
    weights = np.square(candidates.spread) if weighted else None
    found = proposals.spread_out(candidates, 40, free, weights)

    points = candidates.features
    around = [*candidates.known_features, *points[~free]] if with_known else []
    rows, values = [], []
    for _ in range(40):
        nearest = distance.cdist(points, np.array(around)).min(axis=1) if around else np.full(200, np.inf)
        if around:
            score = nearest**2 * (weights if weighted else 1)
        else:
            score = weights if weighted else -np.linalg.norm(points - points.mean(axis=0), axis=1)
        score = np.where(free & ~np.isin(np.arange(200), rows), score, -np.inf)
        rows.append(int(score.argmax()))
        values.append(nearest[rows[-1]])
        around.append(points[rows[-1]])
    assert found.rows.tolist() == rows
    np.testing.assert_allclose(found.values, np.where(np.isinf(values), np.nan, values), rtol=1e-6)


def test_distances_are_those_of_standardised_features():
    rng = np.random.default_rng(3)
    plane = rng.normal(size=(500, 2)) @ rng.normal(size=(2, 20)) * np.logspace(-3, 3, 20) + 7
    plane = np.column_stack([plane, np.full(500, 4.0)])  # a unit that never changes
    own, known = proposals.compressed(plane[:400], plane[400:])
    assert own.shape == (400, 2)
    assert known.shape == (100, 2)
    standard = (plane[:, :20] - plane[:400, :20].mean(axis=0)) / plane[:400, :20].std(axis=0)
    np.testing.assert_allclose(distance.cdist(own[:50], known), distance.cdist(standard[:50], standard[400:]), rtol=1e-8)
    many = rng.normal(size=(300, 100))
    assert proposals.compressed(many, many[:0])[0].shape == (300, 32)
    assert proposals.compressed(np.ones((5, 3)), np.ones((2, 3)))[1].shape == (2, 1)


# Choice


def test_variance_and_improvement_choose_the_largest():
    candidates = pool_of()
    chosen = proposals.choose(candidates, {"variance": 1.0}, 30, seed=1)
    assert chosen["row"].to_list() == np.argsort(-candidates.spread)[:30].tolist()
    np.testing.assert_allclose(chosen["value"], np.sort(candidates.spread**2)[::-1][:30])
    chosen = proposals.choose(candidates, {"improvement": 1.0}, 30, seed=1)
    gain = proposals.expected_improvement(candidates.predicted, candidates.error, 11.0)
    assert chosen["row"].to_list() == np.argsort(-gain)[:30].tolist()


def test_a_batch_avoids_promoters_that_resemble_each_other():
    candidates = pool_of()
    twins = np.concatenate([candidates.features, candidates.features])  # each promoter is there twice
    doubled = proposals.Candidates(np.tile(candidates.predicted, 2), np.tile(candidates.spread, 2), features=twins)
    plain, batch = (proposals.choose(doubled, {"variance": 1.0}, 40, 1, each)["row"].to_numpy() % 300 for each in (False, True))
    assert len(set(plain)) == 20
    assert len(set(batch)) == 40
    assert candidates.spread[batch].mean() > 1.3 * candidates.spread.mean()


def test_a_mixture_has_its_shares_in_all_first_ranks():
    candidates = pool_of(1000)
    shares = proposals.parse_shares("variance=2,range=1,diversity=1,random=1,improvement=1")
    chosen = proposals.choose(candidates, shares, 240, seed=5)
    assert chosen["row"].n_unique() == 240
    for first in (60, 120, 240):
        counts = dict(chosen.head(first)["acquisition"].value_counts().iter_rows())
        assert counts["variance"] == pytest.approx(first / 3, abs=1)
        assert all(counts[name] == pytest.approx(first / 6, abs=1) for name in ("range", "diversity", "random", "improvement"))
    assert chosen.filter(acquisition="random")["value"].null_count() == 40
    assert chosen.filter(pl.col("acquisition") != "random")["value"].null_count() == 0


def test_the_same_seed_gives_the_same_choice():
    candidates = pool_of(500)
    first, again, other = (proposals.choose(candidates, {"range": 0.5, "random": 0.5}, 100, seed) for seed in (3, 3, 4))
    assert first.equals(again)
    assert first["row"].to_list() != other["row"].to_list()
    every = proposals.choose(candidates, proposals.parse_shares("mixture"), 500, seed=3)
    assert sorted(every["row"]) == list(range(500))


# Layers of a model


def test_the_last_dense_layer_of_each_member_gives_its_prediction(tmp_path):
    from gpraflow.training import network, objectives
    from tests.models.test_models import blueprint

    objective = objectives.Objective("mse", 1, 2.0, 5.0)
    cores = [network.build_core(blueprint("compact"), toy.LENGTH, objective, f"member_{number}") for number in range(2)]
    model = network.serving(cores, objective, toy.LENGTH, rc_averaging=True, name="compact")

    class Served:
        batch_size = 64

    Served.model = model
    tokens = np.random.default_rng(0).integers(0, 4, (100, toy.LENGTH), dtype=np.uint8)
    found, none = proposals.features(Served, tokens, tokens[:0])
    assert none.shape == (0, found.shape[1])
    raw = np.stack([np.asarray(core.predict(tokens, verbose=0))[:, 0] for core in cores], axis=1)
    kernels = [core.get_layer("expression").get_weights() for core in cores]
    units = found.shape[1] // 2
    for number, (kernel, bias) in enumerate(kernels):
        part = found[:, number * units : (number + 1) * units]
        np.testing.assert_allclose(part @ kernel[:, 0] + bias, raw[:, number], rtol=1e-4, atol=1e-5)


def test_a_model_without_dense_layers_has_frequencies_of_3_mers(folder):
    model = predictors.Predictor(folder)
    tokens = np.zeros((2, toy.LENGTH), np.uint8)
    (found,) = proposals.features(model, tokens)
    assert found.shape == (2, 64)
    assert found[:, 0].tolist() == [toy.LENGTH - 2] * 2  # AAA


# Pools


@pytest.fixture(scope="module")
def three(ensemble):
    return predictors.Predictor(ensemble)


def read(model, tmp_path, content, **options):
    (tmp_path / "pool.fa").write_text(content)
    ledger = Ledger("propose", "")
    return proposals.read_pool(model, tmp_path / "pool.fa", ledger, **options), ledger


def fasta(sequences):
    return "".join(f">p{number}\n{sequence}\n" for number, sequence in enumerate(sequences))


def test_inserts_get_flanks_and_what_cannot_be_proposed_is_counted(three, tmp_path):
    inserts = toy.inserts(10, 1)
    sequences = [*inserts[:5], *(toy.FIVE + each + toy.THREE for each in inserts[5:]), inserts[0][:-1] + "N", inserts[0][:-3]]
    found, ledger = read(three, tmp_path, fasta(sequences))
    assert found["sequence"].to_list() == [toy.FIVE + each + toy.THREE for each in inserts]
    assert found["name"].to_list() == [f"p{number}" for number in range(10)]
    assert ledger.counts["dropped", "not of 40 to 40 bp, as training promoters are"] == 1
    assert ledger.counts["dropped", "with N"] == 1
    ledger.lines(found.height)


def test_duplicates_are_an_error_or_dropped(three, tmp_path):
    inserts = toy.inserts(4, 1)
    content = fasta([*inserts, inserts[2], toy.FIVE + inserts[0] + toy.THREE])
    with pytest.raises(InputError, match=r"pool.fa, row 5 \('p4'\): the same sequence as row 3 \('p2'\) \(2 such rows near here\)"):
        read(three, tmp_path, content)
    found, ledger = read(three, tmp_path, content, duplicates="first")
    assert found["name"].to_list() == ["p0", "p1", "p2", "p3"]
    assert ledger.counts["dropped", "repeated in the pool"] == 2


@pytest.mark.parametrize(
    ("sequences", "message"),
    [
        (["TGCATTTTTTTCACATC" + each + "GGTTACGGCTGTT" for each in toy.inserts(5, 1)], "flanks of the scaffold 'pTpA', but .* on 'toy'"),
        (toy.inserts(5, 1, length=30), r"5 of 5 promoters are shorter or longer .* 40 to 40 bp .*row 1, 'p0': 44 bp"),
    ],
)
def test_pools_of_another_scaffold_or_length(three, tmp_path, sequences, message):
    with pytest.raises(InputError, match=message):
        read(three, tmp_path, fasta(sequences))


def test_random_promoters_are_those_of_the_scaffold(three):
    ledger = Ledger("propose", "")
    found = proposals.random_pool(three, 500, 1, ledger)
    assert found["sequence"].n_unique() == 500
    inside = found["sequence"].str.strip_prefix(toy.FIVE).str.strip_suffix(toy.THREE)
    assert set(inside.str.len_bytes()) == {26}
    counts = pl.Series(list("".join(inside))).value_counts()["count"].to_numpy()
    assert len(counts) == 4
    assert stats.chisquare(counts).pvalue > 1e-4
    assert found.equals(proposals.random_pool(three, 500, 1, ledger))
    assert not found.equals(proposals.random_pool(three, 500, 2, ledger))
    with pytest.raises(ConfigError, match=r"--insert-length: inserts of 30 bp give promoters of 44 bp, .* choose 26 to 26"):
        proposals.random_pool(three, 5, 1, ledger, insert_length=30)


# Proposals


def propose(model, count=20, acquisition="range", rows=400, measured=None, **options):
    ledger = Ledger("propose", "")
    ledger.read(rows)
    pool = pl.DataFrame({"name": [f"p{number}" for number in range(rows)], "sequence": toy.promoters(rows, 9)}).with_row_index("row")
    return proposals.propose(model, pool, count, proposals.parse_shares(acquisition), ledger, measured=measured, **options), ledger


def test_proposals_have_predictions_values_and_reasons(three):
    found, _ = propose(three, acquisition="range=2,improvement,random", best=9.0)
    assert found["rank"].to_list() == list(range(1, 21))
    assert found["expression"].to_list() == pytest.approx([toy.said(s) for s in found["sequence"]], abs=1e-4)
    assert (found["expression_low"] < found["expression"]).all()
    assert found["expression_sd"].to_list() == pytest.approx([1.0] * 20, abs=1e-4)
    every = {name: part for (name,), part in found.partition_by("acquisition", as_dict=True).items()}
    assert {name: part.height for name, part in every.items()} == {"range": 10, "improvement": 5, "random": 5}
    strongest = sorted(map(toy.said, toy.promoters(400, 9)))[::-1]
    assert every["improvement"]["expression"][0] == pytest.approx(strongest[0], abs=1e-4)
    known = three.calibration
    sd = np.sqrt(known.spread_factor + known.model_variance_at(every["improvement"]["expression"].to_numpy()))
    expected = proposals.expected_improvement(every["improvement"]["expression"].to_numpy(), sd, 9.0)
    assert every["improvement"]["acquisition_value"].to_list() == pytest.approx(expected.tolist(), rel=1e-3)
    assert every["improvement"]["reason"].str.contains(" over 9$").all()
    assert every["random"]["reason"].unique().to_list() == ["random draw"]
    assert every["range"]["expression"].min() < 5.2
    assert proposals.fasta(found).splitlines()[:2] == [f">{found['name'][0]} rank=1 acquisition=range", found["sequence"][0]]


def test_measured_promoters_are_excluded(three):
    measured = pl.Series(toy.promoters(400, 9)[:150])
    found, ledger = propose(three, count=250, acquisition="mixture", measured=measured)
    assert not set(found["sequence"]) & set(measured)
    assert found["sequence"].n_unique() == 250
    assert ledger.counts["dropped", "measured already"] == 150
    with pytest.raises(InputError, match=r"250 promoters are left .* fewer than -n 251 \(pool: 400; 150 measured already\)"):
        propose(three, count=251, measured=measured)


def test_improvement_is_over_the_best_prediction_of_measured_promoters(three):
    measured = pl.Series(toy.promoters(50, 10))
    found, _ = propose(three, acquisition="improvement", measured=measured)
    best = max(map(toy.said, measured))
    assert found["reason"].str.ends_with(f" over {best:.4g}").all()
    with pytest.raises(ConfigError, match="--acquisition improvement: give --measured, or with --best"):
        propose(three, acquisition="improvement")


@pytest.mark.parametrize("acquisition", ["variance", "improvement", "mixture"])
def test_a_single_model_has_no_spread(folder, acquisition):
    with pytest.raises(ConfigError, match=r"one network, but (variance|improvement) needs the spread .* training.ensemble: 3"):
        propose(predictors.Predictor(folder), acquisition=acquisition, best=5.0)


def test_a_single_model_chooses_without_a_spread(folder):
    found, _ = propose(predictors.Predictor(folder), acquisition="range,diversity,random")
    assert found["acquisition"].n_unique() == 3
    assert "expression_sd" not in found.columns


def test_no_promoters_are_no_choice(three):
    with pytest.raises(ConfigError, match="-n 0: expected at least 1"):
        propose(three, count=0)
