"""Variant effects calibrated on pairs of promoters, with errors whose correlation falls with the number of edits."""

import json
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from rapidfuzz.distance import Levenshtein

import calibrate_model
from gpraflow.core.errors import InputError
from gpraflow.formats import promoters, transform
from gpraflow.prediction import background, calibration, effects, pairs
from tests import toy

BASES = np.array(list("ACGT"))


def text(tokens):
    return ["".join(row) for row in BASES[tokens]]


def mutants(clusters, each, seed, length=72, most=5):
    """Random sequences, each with variants of up to ``most`` substitutions."""
    rng = np.random.default_rng(seed)
    parents = rng.integers(0, 4, (clusters, length))
    tokens = np.repeat(parents, each + 1, axis=0)
    for row in range(len(tokens)):
        if row % (each + 1):
            places = rng.choice(length, rng.integers(1, most + 1), replace=False)
            tokens[row, places] = (tokens[row, places] + rng.integers(1, 4, len(places))) % 4
    return tokens


def measured(tokens, seed, members=0, model=1.0, noise=0.3, reads=True):
    """Predictions that err by a sum over positions, so that the error of a difference has a variance in proportion to the edits."""
    rng = np.random.default_rng(seed)
    length, rows = tokens.shape[1], len(tokens)
    of_base = np.random.default_rng(99).normal(size=(length, 4)) * np.sqrt(model / 2)  # the variance of one substitution is model
    depth = np.random.default_rng(seed + 1).choice([4, 16, 64], rows, p=[0.25, 0.5, 0.25])
    error = of_base[np.arange(length), tokens].sum(axis=1)
    predicted = np.random.default_rng(98).normal(size=(length, 4))[np.arange(length), tokens].sum(axis=1)
    expression = predicted - error + rng.normal(size=rows) * np.sqrt(noise**2 + 4 / depth * reads)
    columns = {"sequence": text(tokens), "expression": expression, "predicted": predicted, "n_reads": depth if reads else [None] * rows}
    found = pl.DataFrame(columns, schema_overrides={"n_reads": pl.Int64}).unique("sequence", keep="first", maintain_order=True)
    if members:
        spread = rng.normal(size=(found.height, members)) * 0.1
        found = found.with_columns(
            predicted_members=pl.Series(found["predicted"].to_numpy()[:, None] + spread, dtype=pl.Array(pl.Float64, members))
        )
    return found


def whole(sequences):
    return sequences


def test_pairs_are_a_few_edits_apart_and_disjoint_for_each_number():
    sequences = pl.Series(text(mutants(40, 8, 1))).unique(maintain_order=True)
    found = pairs.find(sequences)
    assert found.height > 300
    assert set(found["edits"]) == {1, 2, 3, 4, 5}
    for a, b, edits, _ in found.iter_rows():
        assert a < b
        assert edits == Levenshtein.distance(sequences[a], sequences[b])
    for _, part in found.group_by("edits"):
        assert len(set(part["a"]) | set(part["b"])) == 2 * part.height
    assert found["cluster"].n_unique() <= 40
    assert pairs.find(sequences).equals(found)


def test_unrelated_short_and_no_sequences_have_no_pairs():
    assert not pairs.find(pl.Series(text(np.random.default_rng(1).integers(0, 4, (2000, 80))))).height
    assert pairs.find(pl.Series([], dtype=pl.String)).columns == ["a", "b", "edits", "cluster"]
    assert not pairs.find(pl.Series(text(np.random.default_rng(1).integers(0, 4, (500, 26))))).filter(pl.col("edits") > 1).height


def test_a_cluster_of_thousands_is_sampled(monkeypatch):
    monkeypatch.setattr(pairs, "_MEMBERS", 50)
    sequences = pl.Series(text(mutants(1, 600, 2, most=2))).unique(maintain_order=True)
    found = pairs.find(sequences)
    rows = set(found["a"]) | set(found["b"])
    assert 20 < len(rows) <= 50
    assert max(rows) > 0.9 * len(sequences)  # from all of the cluster


@pytest.mark.parametrize("members", [0, 3])
@pytest.mark.parametrize("reads", [True, False])
def test_intervals_of_effects_cover_for_each_number_of_edits(members, reads):
    rows = pairs.differences([measured(mutants(400, 4, 3), 4, members, reads=reads)], whole)
    known = effects.fit(rows)
    new = pairs.differences([measured(mutants(1500, 4, 5), 6, members, reads=reads)], whole)
    assert known.edits == (1, 5)
    assert (known.reads is None) == (not reads)
    edits, error = new["edits"].to_numpy(), np.abs(new["error"].to_numpy())
    half = known.half_width(new["effect"].to_numpy(), new["spread"].to_numpy(), edits)
    usual = np.full(len(error), True) if not reads else ((new["reads_a"] == 16) & (new["reads_b"] == 16)).to_numpy()
    for number in range(1, 6):
        part = usual & (edits == number)
        assert part.sum() > 100
        assert np.mean(error[part] <= half[part]) == pytest.approx(0.95, abs=0.035), number
        assert half[part].mean() <= 1.15 * np.quantile(error[part], 0.95)


def test_variance_is_that_of_the_data():
    known = effects.fit(pairs.differences([measured(mutants(2000, 4, 7), 8)], whole))
    assert known.variance == pytest.approx(2 * 0.3**2, abs=0.25)
    assert known.edit_variance + known.effect_factor * 2 == pytest.approx(1, abs=0.2)  # an edit changes predictions with the variance 2
    assert known.read_variance == pytest.approx(4, rel=0.2)


def test_more_edits_than_in_pairs_have_variances_in_proportion_and_fewer_those_of_the_fewest():
    known = effects.Effects(100, (2, 4), 0.0, 1.0, 0.5, 0.0, 8.0, (0.7, 1.3, 1.6, 2.0), 16.0)
    found = known.half_width(np.zeros(5), np.zeros(5), np.array([0, 1, 2, 4, 8]))
    assert found == pytest.approx(2 * np.sqrt([3, 3, 3, 4, 8]))
    with_effect = effects.Effects(100, (1, 4), 2.0, 1.0, 0.5, 0.25, 0.0, (0.7, 1.3, 1.6, 2.0), None)
    assert with_effect.half_width(np.array([4.0]), np.array([3.0]), np.array([2]))[0] == pytest.approx(2 * np.sqrt(18 + 1 + 1 + 4))


def test_too_few_pairs_calibrate_nothing():
    rows = pairs.differences([measured(mutants(400, 4, 9), 10)], whole)
    of_one = rows.filter(edits=1)
    assert effects.fit(of_one.head(99)) is None
    assert effects.fit(rows.clear()) is None
    few = pl.concat([of_one.head(100), rows.filter(edits=3).head(19)])
    assert effects.fit(few).edits == (1, 1)
    assert effects.fit(few).edit_variance == 0


def test_replicated_promoters_are_averaged_and_tables_are_not_mixed():
    one = measured(mutants(60, 3, 11), 12)
    twice = pl.concat([one, one.with_columns(expression=pl.col("expression") + 1)])
    found, expected = pairs.differences([twice], whole), pairs.differences([one], whole)
    assert found["error"].to_list() == pytest.approx(expected["error"].to_list())
    assert found["reads_a"].to_list() == (2 * expected["reads_a"]).to_list()
    apart = pairs.differences([one[::2], one[1::2]], whole)
    assert apart.height < expected.height
    assert set(apart["cluster"][:1]).isdisjoint(apart["cluster"][-1:])


def test_parents_are_promoters_too():
    table = pl.DataFrame(
        {
            "sequence": ["ACGT", "ACGA", "CCCC"],
            "expression": [1.0, 2.0, 3.0],
            "n_reads": [5, None, 7],
            "parent_sequence": ["ACGG", "ACGG", None],
            "of_parent": [9.0, 9.0, 4.0],
        }
    )
    found = pairs.measured(table, "of_parent")
    assert found.rows() == [("ACGT", 1.0, 5), ("ACGA", 2.0, None), ("CCCC", 3.0, 7), ("ACGG", 9.0, None)]
    assert pairs.measured(table).height == 3
    known = table.with_columns(parent_sequence=pl.lit("ACGT"))
    assert pairs.measured(known, "of_parent").height == 3  # the parent is a row


def test_calibrated_effects_are_narrower_and_say_what_they_rest_on(tmp_path):
    folder = toy.write_model(tmp_path / "model")
    rng = np.random.default_rng(13)
    rows = []
    for insert in toy.inserts(300, 14):
        shift = rng.normal() * 2  # an error that similar promoters share
        for changed in (insert, ("C" if insert[5] != "C" else "G").join([insert[:5], insert[6:]])):
            sequence = toy.FIVE + changed + toy.THREE
            rows.append((sequence, toy.said(sequence), toy.said(sequence) + shift + rng.normal() * 0.2))
    table = pl.DataFrame(rows, schema=["sequence", "predicted", "expression"], orient="row").with_columns(n_reads=pl.lit(None, pl.Int64))
    known = toy.calibrate(folder, table)
    assert known.effects.pairs == 300
    assert calibration.load(folder / calibration.FILE) == known
    same = np.full(2, table["predicted"].median())
    half, basis = known.half_width_of_effect(same, same, np.zeros(2), np.array([1, 1000]))
    assert basis.tolist() == ["pairs", "independent"]
    assert half[0] == pytest.approx(1.96 * 0.2 * 2**0.5, rel=0.15)
    assert half[1] == pytest.approx(1.96 * 2 * 2**0.5, rel=0.15)
    content = json.loads((folder / calibration.FILE).read_text())
    del content["effects"]["reads"]
    (tmp_path / "damaged.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"damaged\.json: effects: 'reads' is a required property; make it again"):
        calibration.load(tmp_path / "damaged.json")


def promoter_table(columns):
    table = pl.DataFrame(columns)
    missing = [pl.lit(None).cast(kind).alias(name) for name, kind in promoters.SCHEMA.items() if name not in table.columns]
    return table.with_columns(missing).cast({name: kind for name, kind in promoters.SCHEMA.items() if name in columns})


def test_the_rule_takes_pairs_of_independent_data_sets_and_their_parents(tmp_path):
    rng = np.random.default_rng(15)
    parents = toy.inserts(200, 16)
    variants = [("C" if one[5] != "C" else "G").join([one[:5], one[6:]]) for one in parents]
    whole_of = [[toy.FIVE + one + toy.THREE for one in texts] for texts in (parents, variants)]
    of_parents, of_variants = ([toy.said(one) + rng.normal() * 0.3 for one in texts] for texts in whole_of)
    unrelated = toy.table(300, 17).drop("n_reads")
    for name in ("train", "val"):
        promoters.write(promoter_table(unrelated.to_dict()), tmp_path / f"{name}.parquet")
    mutated = {"sequence": whole_of[1], "expression": of_variants, "parent_sequence": whole_of[0], "of_parent": of_parents}
    promoters.write(promoter_table(mutated), tmp_path / "mutants.parquet")
    (tmp_path / "scaffolds.yaml").write_text(f"toy: {{five_prime: {toy.FIVE}, three_prime: {toy.THREE}}}\n")
    transform.write(transform.NONE, tmp_path / "transform.json")
    folder = toy.write_model(tmp_path / "model")
    job = SimpleNamespace(
        log=[str(tmp_path / "log")],
        threads=1,
        output=SimpleNamespace(calibration=str(folder / calibration.FILE), background=str(folder / background.FILE)),
        params=SimpleNamespace(
            scaffold="toy",
            flanks={"damaged_flanks": "keep", "max_flank_edits": 1},
            window={"length": toy.LENGTH, "keep": "right", "pad": "left"},
            backend="jax",
            batch_size=64,
        ),
    )
    found = {}
    for name, others, columns in (("none", [], []), ("rows", ["mutants"], [""]), ("parents", ["mutants"], ["of_parent"])):
        (folder / calibration.FILE).unlink(missing_ok=True)
        job.params.parent_expression = columns
        job.input = SimpleNamespace(
            model=str(folder / "model.keras"),
            train=tmp_path / "train.parquet",
            validation=tmp_path / "val.parquet",
            pairs=[tmp_path / f"{other}.parquet" for other in others],
            scaffolds=tmp_path / "scaffolds.yaml",
            transform=tmp_path / "transform.json",
        )
        calibrate_model.main(job)
        found[name] = calibration.read(folder)[""]
    assert background.read(folder)["variants"] == 2_000
    assert found["none"].effects is found["rows"].effects is None
    assert (found["parents"].effects.pairs, found["parents"].effects.edits) == (200, (1, 1))
    half = found["parents"].effects.half_width(np.zeros(1), np.zeros(1), np.ones(1, int))
    assert half[0] == pytest.approx(1.96 * 0.3 * 2**0.5, rel=0.25)
    assert found["parents"].levels == found["none"].levels
