"""Inserted motifs and pairs of mutations, of a model whose interactions are known exactly."""

import json

import numpy as np
import polars as pl
import pytest

from gpraflow.assay import simulated_library
from gpraflow.core import resources
from gpraflow.core.errors import InputError
from gpraflow.explanation import grammar
from gpraflow.models import backend
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.sequences import motifs
from gpraflow.sequences.motifs import Motif
from gpraflow.sequences.scaffold import Scaffold, detokenize, tokenize
from tests import toy

SITES = ("ACGGTC", "GGATTT")
ACTIVITIES, TOGETHER = (2.0, -1.0), 3.0


def motif(name, site):
    return Motif(name, name, np.array([np.where(np.arange(4) == "ACGT".index(base), 2.0, -2.0) for base in site], np.float32))


def expression(sequence):
    """Sites on the forward strand add their activity, and a first-before-second pair an interaction, in the window."""
    counts = [sum(sequence[place : place + 6] == site for place in range(len(sequence) - 5)) for site in SITES]
    return 5.0 + ACTIVITIES[0] * counts[0] + ACTIVITIES[1] * counts[1] + TOGETHER * counts[0] * counts[1]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    """Counts of exact sites, and their product, as a Keras model."""
    backend.select_backend("jax")
    import keras

    folder = tmp_path_factory.mktemp("grammar") / "model"
    folder.mkdir()
    tokens = keras.Input((toy.LENGTH,), dtype="int32", name="tokens")
    kernel = np.zeros((6, 4, 2), np.float32)
    for index, site in enumerate(SITES):
        kernel[np.arange(6), ["ACGT".index(base) for base in site], index] = 1
    scan, total = keras.layers.Conv1D(2, 6, activation="relu"), keras.layers.Dense(1)
    counts = keras.ops.sum(scan(keras.ops.one_hot(tokens, 4)), axis=1)
    both = counts[:, :1] * counts[:, 1:]
    model = keras.Model(tokens, total(keras.ops.concatenate([counts, both], axis=1)), name="toy")
    scan.set_weights([kernel, np.full(2, -5, np.float32)])  # 1 for a perfect site, otherwise 0
    total.set_weights([np.array([*ACTIVITIES, TOGETHER], np.float32)[:, None], np.array([5.0], np.float32)])
    model.save(folder / "model.keras")
    about = {"architecture": "toy", "parameters": model.count_params(), "members": 1}
    about["input"] = {"alphabet": "ACGTN", "length": toy.LENGTH, "scaffold": "toy", "keep": "right", "pad": "left"}
    (folder / "model.json").write_text(json.dumps(about))
    toy.calibrate(folder, prediction_predictor.predict(folder, toy.table(100, 2)))
    found = prediction_predictor.Predictor(folder)
    some = toy.promoters(1, 9)[0][:8] + SITES[0] + "CC" + SITES[1] + toy.promoters(1, 9)[0][22:]
    assert found.promoters(pl.Series([some]))["predicted"][0] == pytest.approx(expression(some[-toy.LENGTH :]), abs=1e-5)
    return found


def test_inserted_motifs_have_their_activity_at_each_position(predictor):
    backgrounds = grammar.random_backgrounds(predictor, 20, 26, seed=1)
    table = grammar.insert(predictor, backgrounds, [motif("one", SITES[0]), motif("other", SITES[1])])
    assert table.columns == list(grammar.POSITIONS)
    assert table.filter(motif="one", strand="+")["start"].to_list() == list(range(1, 22))
    means = {(name, strand): part["effect"].mean() for (name, strand), part in table.group_by("motif", "strand")}
    assert means["one", "+"] == pytest.approx(2, abs=0.15)  # random backgrounds hardly have sites of their own
    assert means["other", "+"] == pytest.approx(-1, abs=0.15)
    assert means["one", "-"] == pytest.approx(0, abs=0.15)
    assert means["other", "-"] == pytest.approx(0, abs=0.15)
    text = ["".join("ACGTN"[base] for base in row) for row in backgrounds.tokens]
    at = backgrounds.begin + 4
    expected = np.mean([expression(row[:at] + SITES[0] + row[at + 6 :]) - expression(row) for row in text])
    assert table.filter(motif="one", strand="+", start=5)["effect"][0] == pytest.approx(expected, abs=1e-5)
    again = grammar.random_backgrounds(predictor, 20, 26, seed=1)
    assert np.array_equal(again.tokens, backgrounds.tokens)


def test_planted_interactions_of_pairs_are_found_and_no_others(predictor):
    backgrounds = grammar.random_backgrounds(predictor, 12, 26, seed=2)
    table = grammar.insert_pairs(predictor, backgrounds, [motif("one", SITES[0]), motif("other", SITES[1])], [-2, 0, 3, 10, 40])
    assert sorted(table["spacing"].unique()) == [-2, 0, 3, 10]  # the last does not fit
    free = table.filter(pl.col("spacing") >= 0)
    assert free.filter(orientation="++")["interaction"].to_list() == pytest.approx([TOGETHER] * 3, abs=0.3)
    assert free.filter(pl.col("orientation") != "++")["interaction"].abs().max() < 0.3
    broken = table.filter(spacing=-2, orientation="++")  # the second site overwrites the end of the first
    assert broken["both"][0] == pytest.approx(ACTIVITIES[1], abs=0.3)
    assert (table["both"] - table["sum_of_each"] - table["interaction"]).abs().max() < 1e-6


def test_the_cost_of_epistasis_is_that_of_all_substitutions_and_pairs():
    assert grammar.cost_of_epistasis(2, 3) == 2 * (1 + 9 + 3 * 9)
    with pytest.raises(InputError, match=r"90,000 promoters of up to 50 bp are .* at most 20,000,000 are: lower --logos"):
        grammar.cost_of_epistasis(90_000, 50)


def test_epistasis_is_that_of_all_double_mutants(predictor):
    text = toy.promoters(1, 5)[0]
    text = text[:8] + SITES[0] + "C" + SITES[1] + text[21:]
    tokens = tokenize(pl.Series([text]), **predictor.window)[0]
    places = np.array([8, 9, 12, 14, 15, 16, 30])
    found = grammar.epistasis(predictor, tokens, places)
    assert found.shape == (7, 3, 7, 3)
    assert np.isnan(found[2, :, 2]).all()
    assert np.array_equal(found, found.transpose(2, 3, 0, 1), equal_nan=True)

    def changed(*substitutions):
        bases = list("".join("ACGTN"[base] for base in tokens))
        for place, shift in substitutions:
            bases[place] = "ACGT"[(tokens[place] + shift) % 4]
        return expression("".join(bases))

    reference = changed()
    for one, other in ((0, 1), (1, 4), (3, 5), (2, 6), (4, 5)):
        for a in range(3):
            for b in range(3):
                singles = [changed((places[index], shift + 1)) - reference for index, shift in ((one, a), (other, b))]
                both = changed((places[one], a + 1), (places[other], b + 1)) - reference
                assert found[one, a, other, b] == pytest.approx(both - sum(singles), abs=1e-4)
    strongest = grammar.strongest(found)
    # Both mutants of one site lose it once; of both sites, the interaction is lost once, not twice.
    assert strongest[0, 1] == pytest.approx(ACTIVITIES[0] + TOGETHER, abs=1e-4)
    assert strongest[1, 4] == pytest.approx(TOGETHER, abs=1e-4)
    assert strongest[0, 6] == pytest.approx(0, abs=1e-4)


def test_periods_of_a_spacing_curve():
    spacing = np.arange(0, 60)
    wave = 0.5 * np.cos(2 * np.pi * spacing / 10.5 + 1) + 0.01 * spacing
    amplitude, share = grammar.periodicity(spacing, wave)
    assert amplitude == pytest.approx(0.5, abs=1e-6)
    assert share == pytest.approx(1, abs=1e-6)
    assert grammar.periodicity(spacing, 0.3 * np.cos(2 * np.pi * spacing / 7))[1] < 0.1
    assert grammar.periodicity(spacing, 0.01 * spacing)[1] == 0
    with pytest.raises(ValueError, match="eight"):
        grammar.periodicity(spacing[:7], wave[:7])


class Function:
    """A function of ``(sequences, length)`` tokens in place of a model."""

    def __init__(self, length, of):
        self.window, self.flanks, self.of = {"length": length, "keep": "right", "pad": "left"}, ("", ""), of

    def members(self, tokens):
        return self.of(tokens)[:, None]


@pytest.mark.parametrize(("amplitude", "period", "share"), [(0.5, 10.5, (0.95, 1)), (0, 10.5, (0, 0.1)), (0.5, 7, (0, 0.1))])
def test_a_planted_wave_of_the_helix_is_found_and_no_other(amplitude, period, share):
    site = np.array(["ACGT".index(base) for base in SITES[0]], np.uint8)

    def expression(tokens):
        windows = (np.lib.stride_tricks.sliding_window_view(tokens, len(site), axis=1) == site).all(axis=2)
        at = np.arange(windows.shape[1])
        return windows @ (2 + 0.02 * at + amplitude * np.cos(2 * np.pi * at / period))

    model = Function(80, expression)
    positions = grammar.insert(model, grammar.random_backgrounds(model, 30, 80, seed=1), [motif("one", SITES[0])])
    found = grammar.summarize(positions)
    assert found.columns == list(grammar.SUMMARY)
    assert found["strand"].to_list() == ["+", "-"]
    assert share[0] <= found["wave_share"][0] <= share[1]
    assert found["wave_amplitude"][0] == pytest.approx(amplitude if period == 10.5 else 0, abs=0.06)
    assert found["mean_effect"][0] == pytest.approx(2.75, abs=0.2)
    assert found["wave_amplitude"][1] == pytest.approx(0, abs=0.06)


@pytest.fixture(scope="module")
def simulated():
    """The true expression function of a simulated assay, of motifs that compete, in place of a model; and the activity of its factors."""
    path = resources.resolve(next(iter(resources.MOTIFS)), resources.MOTIFS, "--motifs")
    assay = simulated_library.Assay(promoters=500, independent=0, active_factors=12)
    library = simulated_library.make_library(Scaffold("none", "", ""), str(path), np.array([-2.0, 2.0]), assay, seed=1)
    cell = library.cell
    model = Function(80, lambda tokens: cell.signal(pl.Series(detokenize(tokens)))[0])
    return model, cell, [each for each in motifs.load(path) if all(motifs.likeness(each, factor) < 0.6 for factor in cell.factors)]


def test_the_planted_activities_of_a_simulation_are_found_at_each_place(simulated):
    model, cell, others = simulated
    backgrounds = grammar.random_backgrounds(model, 25, 80, seed=2)
    absent = [each for each in others if len(each.log_odds) <= 8][:2]
    table = grammar.insert(model, backgrounds, [*cell.factors, *absent], step=18)
    of = {(name, strand): part for (name, strand), part in table.group_by("motif", "strand")}
    for factor, activity in zip(cell.factors, cell.activity, strict=True):
        forward, reverse = of[factor.matrix_id, "+"], of[factor.matrix_id, "-"]
        mean = forward["effect"].mean()
        assert np.sign(mean) == np.sign(activity)
        assert abs(mean) > 3 * forward["standard_error"].max()
        assert reverse["effect"].mean() == pytest.approx(mean, rel=0.1)  # no strand, and no place, was planted
        slope = np.polyfit(forward["start"], forward["effect"], 1)[0] * 72
        assert abs(slope) < 0.2 * abs(mean)
    least = min(abs(of[each.matrix_id, "+"]["effect"].mean()) for each in cell.factors)
    for each in absent:
        assert abs(of[each.matrix_id, "+"]["effect"].mean()) < least / 3


def test_a_simulation_without_grammar_shows_none(simulated):
    model, cell, _ = simulated
    repressors = [cell.factors[index] for index in np.argsort(cell.activity)[:2]]
    backgrounds = grammar.random_backgrounds(model, 25, 80, seed=3)
    wave = grammar.summarize(grammar.insert(model, backgrounds, repressors[:1], step=3))
    assert (wave["wave_amplitude"] < 0.1 * wave["mean_effect"].abs()).all()
    pairs = grammar.insert_pairs(model, backgrounds, repressors, [-5, 0, 1, 5, 10, 16, 21, 30], ["++", "+-"])
    free = pairs.filter(pl.col("spacing") >= 0)
    assert free["both"].max() - free["both"].min() < 0.25 * free["sum_of_each"].abs().mean()
    apart = free["interaction"].max() - free["interaction"].min()
    overlapping = (pairs.filter(spacing=-5)["interaction"] - free["interaction"].mean()).abs().min()
    assert overlapping > 2 * apart  # one molecule in place of two


def test_what_does_not_fit_is_refused(predictor):
    backgrounds = grammar.random_backgrounds(predictor, 2, 5)
    with pytest.raises(InputError, match=r"the motif one of 6 bp does not fit into backgrounds of 5 bp"):
        grammar.insert(predictor, backgrounds, [motif("one", SITES[0])])
    with pytest.raises(InputError, match="5,000 motifs; at most 200"):
        grammar.insert(predictor, backgrounds, [motif(f"m{number}", SITES[0]) for number in range(5000)])
    with pytest.raises(InputError, match="no motif"):
        grammar.insert_pairs(predictor, backgrounds, [], [1])
    with pytest.raises(InputError, match=r"--length 50: .* longer than the model's window of 40 bp"):
        grammar.random_backgrounds(predictor, 2, 50)
    with pytest.raises(InputError, match="give backgrounds of one length"):
        grammar.given_backgrounds(predictor, pl.Series(["ACGT", "ACGTA"]))
    with pytest.raises(InputError, match="backgrounds: no sequence"):
        grammar.given_backgrounds(predictor, pl.Series([], dtype=pl.String))
    with pytest.raises(InputError, match="41 bp are longer"):
        grammar.given_backgrounds(predictor, pl.Series(["A" * 41]))


def test_the_cost_is_the_number_of_predicted_sequences(predictor, monkeypatch):
    backgrounds, both = grammar.random_backgrounds(predictor, 3, 26), [motif("one", SITES[0]), motif("other", SITES[1])]
    predicted = []
    expression_of = grammar._expression
    monkeypatch.setattr(grammar, "_expression", lambda of, tokens: predicted.append(tokens[..., 0].size) or expression_of(of, tokens))
    grammar.insert(predictor, backgrounds, both)
    grammar.insert_pairs(predictor, backgrounds, both, range(-1, 30))
    assert grammar.cost(backgrounds, both, range(-1, 30)) == sum(predicted)
    many = backgrounds._replace(tokens=np.repeat(backgrounds.tokens[:1], 20_000_000, axis=0)[:, :0])
    with pytest.raises(InputError, match=r"2 motifs in 20,000,000 backgrounds of 26 bp .* at most 20,000,000 are"):
        grammar.cost(many, both, [0])
