"""Designs with a model whose predictions are known: the mean of a value of each base."""

import re
import time

import numpy as np
import polars as pl
import pytest
from rapidfuzz.distance import Levenshtein

from gpraflow.core.errors import ConfigError, InputError
from gpraflow.design import constraints, designs, oligos, output
from gpraflow.prediction import calibration, predictor
from tests import toy


@pytest.fixture(scope="module")
def model(folder):
    return predictor.Predictor(folder)


@pytest.fixture(scope="module")
def members(ensemble):
    return predictor.Predictor(ensemble)


@pytest.fixture(scope="module")
def library():
    return toy.table(400, 7)


def design(model, library=None, given=None, **options):
    return designs.design(model, designs.Options(**{"number": 6, "budget": 300, "search": "greedy"} | options), library, given)


def test_highest_and_lowest_designs(model, library):
    found = design(model, library, objectives=("maximize", "minimize"), distance_weight=0.0, budget=2500, min_distance=0, number=2)
    for row in found.table.iter_rows(named=True):
        base = {"maximize": "G", "minimize": "A"}[row["objective"]]
        assert row["insert"] == base * 26
        assert row["sequence"] == toy.FIVE + row["insert"] + toy.THREE
        assert row["expression"] == pytest.approx(toy.said(row["sequence"]), abs=1e-5)
        assert row["predicted_low"] < row["predicted"] < row["predicted_high"]
        assert row["out_of_distribution"] == "composition"
        assert row["calls"] == 1 + (row["calls"] - 1) // 78 * 78
    assert not found.notes


def test_the_penalty_keeps_designs_within_the_training_distribution(model, library):
    plain, cautious = (design(model, library, distance_weight=weight, budget=1500, number=4).table for weight in (0.0, 10.0))
    assert (plain["out_of_distribution"] == "composition").all()
    assert (cautious["out_of_distribution"] == "").sum() >= 3
    assert cautious["predicted"].mean() < plain["predicted"].mean()
    high = np.quantile(library["expression"].to_numpy(), 0.999)
    assert cautious["promised"].to_list() == pytest.approx(np.minimum(cautious["predicted"].to_numpy(), high).tolist(), abs=1e-5)
    width = (cautious["predicted_high"] - cautious["predicted_low"]).to_list()
    assert (cautious["promised_high"] - cautious["promised_low"]).to_list() == pytest.approx(width, abs=1e-4)
    assert plain["promised"].equals(plain["predicted"].alias("promised"))


@pytest.mark.parametrize("search", ["genetic", "greedy", "gradient"])
def test_ladder(search, library, request):
    model = request.getfixturevalue("model")
    if search == "gradient":
        with pytest.raises(ConfigError, match="has no gradient; choose genetic or greedy"):
            design(model, library, objectives=("ladder",), search=search)
        return
    found = design(
        model, library, objectives=("ladder",), ladder=3, ladder_range=(4.5, 7.5), number=6, tolerance=0.3, search=search, budget=1200
    )
    assert found.table["target"].to_list() == [4.5] * 2 + [6.0] * 2 + [7.5] * 2
    assert found.table["within_tolerance"].all()
    assert (found.table["predicted"] - found.table["target"]).abs().max() <= 0.3
    inserts = found.table["insert"].to_list()
    assert min(Levenshtein.distance(a, b) for at, a in enumerate(inserts) for b in inserts[:at]) >= 3
    near = [min(Levenshtein.distance(insert, s[7:-7]) for s in library["sequence"]) for insert in inserts]
    assert min(near) >= 3
    assert (found.table["distance"] <= [min(26, 2 * each) for each in near]).all()
    steps = found.trajectory.group_by("name").agg(pl.col("predicted").last(), pl.col("calls").max())
    joined = found.table.join(steps, on="name")
    assert joined["predicted_right"].to_list() == pytest.approx(joined["predicted"].to_list(), abs=1e-4)
    assert joined["calls_right"].to_list() == joined["calls"].to_list()


def test_constraints_hold_on_the_whole_construct(model, library):
    rules = constraints.rules_of(forbid_sites=["CATCG", "GATC"], require_sites=["TATAAA"], gc=[0.4, 0.6], max_homopolymer=3, repeat_kmer=8)
    found = design(model, library, rules=tuple(rules), search="genetic", number=8)
    assert found.table.height == 8
    for sequence in found.table["sequence"]:
        assert not re.search("CATCG|CGATG|GATC|AAAA|CCCC|GGGG|TTTT", sequence)
        assert re.search("TATAAA|TTTATA", sequence)
        assert 16 <= sequence.count("G") + sequence.count("C") <= 24


def test_template_and_protected_segments(model, library):
    template = "NNNNTATAAANNNNRNNNNNNNNNNN"
    found = design(model, library, template=template, budget=2000)
    assert all(re.fullmatch("....TATAAA....[AG].{11}", insert) for insert in found.table["insert"])
    given = pl.DataFrame({"name": ["a", "b"], "insert": toy.inserts(2, 9)})
    kept = design(model, library, given, starts="given.fa", protect=("3-8", "20"), max_edits=4, number=2, min_distance=0)
    for row in kept.table.iter_rows(named=True):
        start = given.filter(name=row["start"])["insert"][0]
        assert [at for at in [*range(2, 8), 19] if row["insert"][at] != start[at]] == []
        assert row["edits"] == sum(a != b for a, b in zip(row["insert"], start, strict=True)) <= 4


def test_starts_from_the_library_are_its_best(model, library):
    found = design(model, library, starts="library", max_edits=5, number=5, min_distance=3)
    best = library.with_row_index("row", 1).sort("expression", descending=True).head(5)
    assert set(found.table["start"]) == {f"library, row {row}" for row in best["row"]}
    assert (found.table["edits"] >= 3).all()
    assert (found.table["edits"] <= 5).all()


def test_targets_are_searched_together_each_from_its_own_starts(model, library):
    options = {"objectives": ("target",), "targets": (5.0, 6.5), "number": 5, "min_distance": 3, "tolerance": 0.4}
    found = design(model, library, starts="library", **options)
    assert found.table["target"].to_list() == [5.0] * 3 + [6.5] * 2
    for (target,), part in found.table.group_by("target"):
        off = library.with_row_index("row", 1).with_columns(off=(pl.col("expression") - target).abs()).sort("off", maintain_order=True)
        assert set(part["start"]) == {f"library, row {row}" for row in off["row"].head(part.height)}
    given = pl.DataFrame({"name": ["a", "b"], "insert": toy.inserts(2, 9)})
    of_given = design(model, library, given, starts="given.fa", **options | {"min_distance": 0})
    assert of_given.table.group_by("target", "start").len().sort("target", "start").rows() == [
        *((5.0, "a", 2), (5.0, "b", 1)),
        *((6.5, "a", 1), (6.5, "b", 1)),
    ]


def test_searches_are_compared_with_and_without_penalties(model, library):
    options = {"objectives": ("maximize", "ladder"), "budget": 400, "min_distance": 0, "distance_weight": 10.0}
    designer = designs.Designer(model, designs.Options(**options), library)
    found = output.compare(designer, 2)
    groups = found.group_by("search", "penalty", "objective", maintain_order=True).len().rows()
    assert groups == [(search, penalty, "maximize", 2) for search in ("genetic", "greedy") for penalty in (True, False)]
    assert found["nearest"].null_count() == 8
    for search in ("genetic", "greedy"):
        cautious, plain = (found.filter(search=search, penalty=penalty)["predicted"].mean() for penalty in (True, False))
        assert cautious < plain
    alone = design(model, library, **options | {"objectives": ("maximize",), "distance_weight": 0.0, "number": 2})
    assert found.filter(search="greedy", penalty=False)["insert"].to_list() == alone.table["insert"].to_list()
    assert designer.options.search == "genetic"


def test_ensemble_and_its_spread(members, library):
    found = design(members, library, number=3)
    assert found.table.select("member_1", "member_2", "member_3").to_numpy().mean(axis=1) == pytest.approx(
        found.table["predicted"].to_numpy(), abs=1e-4
    )
    # Its members differ by a constant, so that the penalty is 1
    error = np.sqrt(members.calibration.model_variance)
    lost = found.table["predicted"].to_numpy() - found.table["score"].to_numpy()
    assert (lost > 1).all()
    assert (lost < 1 + 5 * error).all()


def test_same_seed_same_designs(model, library):
    one, two, other = (design(model, library, search="genetic", seed=seed) for seed in (3, 3, 4))
    assert one.table.equals(two.table)
    assert one.trajectory.equals(two.trajectory)
    assert not one.table.equals(other.table)


def test_random_starts_have_the_composition_of_the_library(model):
    rich = pl.DataFrame({"sequence": [toy.FIVE + "GC" * 12 + "AT" + toy.THREE] * 50})
    made = designs.Designer(model, designs.Options(), rich)
    share = made._random(200, np.random.Generator(np.random.PCG64(1)))
    assert np.isin(share, (1, 2)).mean() > 0.8
    plain = designs.Designer(model, designs.Options())._random(500, np.random.Generator(np.random.PCG64(1)))
    assert np.bincount(plain.ravel()) / plain.size == pytest.approx([0.25] * 4, abs=0.035)


def test_interrupted_designs_are_kept(model, library):
    calls = []

    def progress(number):
        calls.append(number)
        if len(calls) > 2:
            raise KeyboardInterrupt

    options = designs.Options(number=4, objectives=("target", "maximize"), targets=(6.0,), budget=10**6, search="greedy", tolerance=2.0)
    found = designs.design(model, options, library, None, progress)
    assert found.partial
    assert found.table["objective"].to_list() == ["target"] * 4


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"spread_weight": 1.0}, "is a single model, so there is no spread between ensemble members; train an ensemble"),
        (
            {"objectives": ("target",), "targets": (30.0,)},
            "design.targets: 30 cannot be reached: the highest prediction of a trial search is",
        ),
        ({"objectives": ("target",), "targets": (-5.0,)}, "design.targets: -5 cannot be reached: the lowest prediction"),
        ({"objectives": ("target",)}, "needs at least one target"),
        ({"template": "N" * 40}, "40 bp and flanks of 14 bp make 54 bp, more than the model's window of 40 bp; shorten the template"),
        ({"template": "N" * 20}, "the training promoters had 40 to 40 bp; give a template of 26 to 26 bp"),
        ({"template": "N" * 26, "length": 25}, "contradict each other"),
        ({"starts": "library", "max_edits": 2}, "'at most 2 edits from the start, a training promoter' and 'at least 3 edits from each"),
        (
            {"rules": ("TTACA",)},
            "forbidden site TTACA: cannot be met: it lies in fixed bases, positions 1 to 5 of the construct: the flanks",
        ),
        (
            {"pool": oligos.Pool("ACGTACGTAC", "ACGTACGTAC", True, 55)},
            "oligos would have 60 bp (primer sites 20 bp, insert 26 bp, flanks 14 bp)",
        ),
        ({"protect": ("5-40",)}, "segment 5-40 ends beyond the insert of 26 bp"),
        ({"protect": ("5:40",)}, "'5:40' is no segment"),
    ],
)
def test_bad_input_is_explained_within_seconds(model, library, options, expected):
    if "rules" in options:
        options = options | {"rules": tuple(constraints.rules_of(forbid_sites=options["rules"]))}
    begun = time.process_time()
    with pytest.raises((InputError, ConfigError), match=re.escape(expected)):
        design(model, library, **options)
    assert time.process_time() - begun < 60


def test_a_model_without_calibration_is_refused(tmp_path, library):
    bare = predictor.Predictor(toy.write_model(tmp_path / "bare"))
    with pytest.raises(InputError, match=rf"{calibration.FILE}: this file does not exist; designs need its flanks"):
        design(bare, library)


def test_oligos_and_their_joints(model, library):
    rules = constraints.rules_of(forbid_sites=["BsaI"])
    pool = oligos.Pool("AAGGTCTCA", "CCCGG", True, 100)  # the primer site holds that of BsaI, once
    found = design(model, library, rules=tuple(rules), pool=pool)
    table = oligos.pool_table(found.table["name"], found.table["insert"], pool, model.flanks)
    assert (table["oligo"] == "AAGGTCTCA" + found.table["sequence"] + "CCCGG").all()
    assert (table["length"] == 54).all()
    joined = pl.Series(["AAGGTCTCA" + "ACGT" + "CCCGG", "AAGGTCTCA" + "GGTCT" + "CCCGG"])
    assert oligos.new_sites(pool, joined, rules) == [[], ["forbidden site BsaI (GGTCTC)"]]
    short = oligos.pool_of("pool_200", "", "", False, 0)
    assert oligos.pool_table(pl.Series(["d"]), pl.Series(["ACGT"]), short, model.flanks)["oligo"][0] == "ACGT"
    with pytest.raises(ConfigError, match="found N in ACNGT"):
        oligos.pool_of("none", "ACNGT", "", True, 0)


def test_given_starts(model):
    rows = pl.DataFrame({"row": [1, 2], "name": ["whole", "insert"], "sequence": [toy.promoters(1, 3)[0], toy.inserts(2, 4)[1]]})
    found = designs.given_starts(model, rows, "starts.fa")
    assert found["insert"].to_list() == [toy.inserts(1, 3)[0], toy.inserts(2, 4)[1]]
    with pytest.raises(InputError, match=r"starts.fa, sequence 1: .* has bases other than ACGT"):
        designs.given_starts(model, rows.with_columns(sequence=pl.lit(toy.FIVE + "N" * 26 + toy.THREE)), "starts.fa")
