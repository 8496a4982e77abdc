"""In-silico mutagenesis of a model in which known motifs were planted."""

import json
import re

import numpy as np
import polars as pl
import pytest

from gpraflow.app import cli
from gpraflow.explanation import explain, figures, mutagenesis
from gpraflow.explanation import sites as explanation_sites
from gpraflow.models import backend
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.sequences import motifs
from gpraflow.sequences.scaffold import tokenize
from tests import toy
from tests.conftest import ROOT

JASPAR = ROOT / "resources/motifs/jaspar2026_yeast.jaspar"
ACTIVITIES = (4.0, -3.0, 2.0, -2.0)


def write_planted(folder, planted):
    """A model whose expression is the sum of activity x occupancy over the sites of some motifs on both strands."""
    backend.select_backend("jax")
    import keras

    folder.mkdir(parents=True)
    width = max(len(motif.log_odds) for motif in planted)
    kernel, best = np.zeros((width, 4, 2 * len(planted)), np.float32), np.zeros(2 * len(planted), np.float32)
    for index, motif in enumerate(planted):
        for column, log_odds in zip((2 * index, 2 * index + 1), motif.strands, strict=True):
            kernel[: len(log_odds), :, column], best[column] = log_odds, log_odds.max(axis=1).sum()
    tokens = keras.Input((toy.LENGTH,), dtype="int32", name="tokens")
    scan, total = keras.layers.Conv1D(len(best), width, activation="sigmoid"), keras.layers.Dense(1)
    sites = scan(keras.ops.one_hot(tokens, 4))
    model = keras.Model(tokens, total(keras.layers.GlobalAveragePooling1D()(sites) * sites.shape[1]), name="toy")
    scan.set_weights([kernel, -best])
    total.set_weights([np.repeat(ACTIVITIES, 2)[:, None].astype(np.float32), np.array([5.0], np.float32)])
    model.save(folder / "model.keras")
    about = {"architecture": "toy", "parameters": model.count_params(), "members": 1}
    about["input"] = {"alphabet": "ACGTN", "length": toy.LENGTH, "scaffold": "toy", "keep": "right", "pad": "left"}
    (folder / "model.json").write_text(json.dumps(about))
    toy.calibrate(folder, prediction_predictor.predict(folder, toy.table(100, 2)))
    return folder


@pytest.fixture(scope="module")
def known():
    return motifs.load(JASPAR)


@pytest.fixture(scope="module")
def planted(known):
    by_factor = {motif.factor: motif for motif in known}
    return [by_factor[name] for name in ("REB1", "RAP1", "GCN4", "CBF1")]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, planted):
    return write_planted(tmp_path_factory.mktemp("model") / "planted", planted)


@pytest.fixture(scope="module")
def predictor(folder):
    return prediction_predictor.Predictor(folder)


def test_effects_are_those_of_each_mutant_predicted_by_itself(predictor):
    sequences = pl.Series([toy.promoters(1, 40)[0], toy.inserts(1, 41, 20)[0] + "N", toy.promoters(1, 42)[0] + toy.THREE])
    _, effects, gradients, begin = mutagenesis.explain(predictor, sequences)
    table = mutagenesis.effects_table(pl.Series(["a", "b", "c"]), sequences, effects, gradients, begin)
    assert table.columns == list(mutagenesis.EFFECTS)
    # the insert of a whole promoter; all bases but N without flanks; 40 of 47 bp in the window, of which the last flank is constant
    assert table.group_by("name", maintain_order=True).len()["len"].to_list() == [3 * 26, 3 * 20, 3 * 33]
    assert table["position"].to_list()[:4] == [8, 8, 8, 9]
    by_name = dict(zip("abc", sequences, strict=True))
    before = dict(zip("abc", predictor.promoters(sequences)["predicted"], strict=True))
    changed = []
    for name, position, ref, alt, *_ in table.iter_rows():
        sequence = by_name[name]
        assert sequence[position - 1] == ref != alt
        changed.append(sequence[: position - 1] + alt + sequence[position:])
    expected = predictor.promoters(pl.Series(changed))["predicted"] - pl.Series([before[name] for name in table["name"]])
    assert table["effect_alt_minus_ref"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-5)
    assert (mutagenesis.contributions(effects)[0, :7] == 0).all()
    own = table.filter(name="a", position=20)["effect_alt_minus_ref"].mean()
    assert mutagenesis.contributions(effects)[0, 19] == pytest.approx(-own, abs=1e-6)


def test_gradient_effects_are_those_of_the_formula(predictor, planted):
    """Of activity x occupancy: the derivative of 1 / (1 + exp(-score)) is s (1 - s)."""
    sequences = pl.Series([toy.promoters(1, 40)[0], toy.inserts(1, 41, 20)[0] + "N"])
    tokens, effects, found, _ = mutagenesis.explain(predictor, sequences)
    width = max(len(motif.log_odds) for motif in planted)
    expected = np.zeros((2, toy.LENGTH, 4))
    for motif, activity in zip(planted, ACTIVITIES, strict=True):
        for log_odds in motif.strands:
            for row in range(2):
                for start in range(toy.LENGTH - width + 1):
                    site = tokens[row, start : start + len(log_odds)]
                    score = sum(log_odds[place, base] for place, base in enumerate(site) if base < 4) - log_odds.max(axis=1).sum()
                    occupied = 1 / (1 + np.exp(-score))
                    expected[row, start : start + len(log_odds)] += activity * occupied * (1 - occupied) * log_odds
    for row in range(2):
        own = expected[row, np.arange(toy.LENGTH), tokens[row] % 4]
        expected[row] -= own[:, None]
    assert (np.isfinite(found) == np.isfinite(effects)).all()
    there = np.isfinite(found)
    assert found[there] == pytest.approx(expected[there], abs=1e-4)
    _, none, same, _ = mutagenesis.explain(predictor, sequences, mutants=False)
    assert np.isnan(none).all()
    assert np.array_equal(same, found, equal_nan=True)
    assert mutagenesis.gradients(predictor, tokens[:0]).shape == (0, toy.LENGTH, 4)


def test_changes_of_occupancy_are_those_of_the_mutants(known):
    motif = known[3]
    tokens = tokenize(pl.Series(["ACGTTACGGATTACATTGCACGANGACCCGGG"]), 32)

    def occupancy(row):
        scores = [explanation_sites.site_scores(row, log_odds).clip(-100) for log_odds in motif.strands]
        return sum((1 / (1 + np.exp(-score))).sum() for score in scores)

    found = explanation_sites.occupancy_changes(tokens, motif)
    for place in (0, 5, 17, 31):
        for base in range(4):
            mutant = tokens.copy()
            mutant[0, place] = base
            assert found[0, place, base] == pytest.approx(occupancy(mutant) - occupancy(tokens), abs=1e-6)


def test_planted_motifs_are_found_and_no_others(predictor, known, planted):
    rng = np.random.default_rng(3)
    text = [list(sequence) for sequence in toy.promoters(160, 43)]
    for row, motif in zip(text[::2], planted * 20, strict=True):  # a site of one of them in half of the promoters
        site = ["ACGT"[base] for base in motif.log_odds.argmax(axis=1)]
        start = rng.integers(7, 33 - len(site))
        row[start : start + len(site)] = site
    tokens, effects, _, _ = mutagenesis.explain(predictor, pl.Series(["".join(row) for row in text]))
    factors = explanation_sites.find_factors(tokens, effects, known)
    truth = pl.DataFrame({"matrix": [motif.matrix_id for motif in planted], "activity": ACTIVITIES})
    found = explanation_sites.recovery(factors, truth)
    assert found["recall"] == 1.0
    assert found["precision"] >= 0.8
    together = factors.join(truth.rename({"activity": "planted"}), on="matrix")
    assert together["activity"].to_list() == pytest.approx(together["planted"].to_list(), rel=0.1)
    assert factors["explained"].is_sorted()
    assert factors["explained"][-1] > 0.95


def test_a_planted_site_is_listed_where_it_is(predictor, planted):
    reb1 = planted[0]
    best = "".join("ACGT"[base] for base in reb1.log_odds.argmax(axis=1))
    insert = toy.inserts(1, 44)[0]
    sequence = toy.FIVE + insert[:5] + best + insert[5 + len(best) :] + toy.THREE
    tokens, effects, _, begin = mutagenesis.explain(predictor, pl.Series([sequence]))
    sites = explanation_sites.find_sites(predictor, pl.Series(["a"]), tokens, effects, begin, [reb1])
    line = sites.filter(strand="+", start=13).row(0, named=True)
    assert (line["factor"], line["end"]) == ("REB1", 12 + len(best))
    assert line["occupancy"] == pytest.approx(0.5)
    assert line["similarity"] > 0.95
    assert sequence[line["start"] - 1 : line["end"]] == best
    assert line["effect"] == pytest.approx(ACTIVITIES[0] / 2, abs=0.3)  # a best site is half occupied, a random sequence hardly
    again = explanation_sites.find_sites(predictor, pl.Series(["a"]), tokens, effects, begin, [reb1])
    assert sites.equals(again)
    without = explanation_sites.find_sites(predictor, pl.Series(["a"]), tokens, effects, begin, [])
    assert without.height == 0
    assert without.schema == pl.Schema(explanation_sites.SITES)


def test_chosen_promoters_are_spread_over_predicted_expression():
    predicted = np.random.default_rng(1).normal(size=103)
    rows = explain.choose(predicted, 10, seed=4)
    rank = predicted.argsort().argsort()[rows]
    edges = np.cumsum([0] + [11] * 3 + [10] * 7)
    assert ((rank >= edges[:-1]) & (rank < edges[1:])).all()
    assert (explain.choose(predicted, 10, seed=4) == rows).all()
    assert (explain.choose(predicted, 10, seed=5) != rows).any()
    assert sorted(explain.choose(predicted, 200, seed=4)) == list(range(103))


def test_promoters_with_the_most_varied_mutants_are_taken(folder, predictor):
    predictions = prediction_predictor.predict(
        folder, pl.DataFrame({"sequence": toy.promoters(90, 47)}).with_columns(expression=pl.lit(1.0))
    )
    predicted = predictions["predicted"].to_numpy()
    rows = explain.choose_varied(predictor, predictions, 10, seed=4)
    estimated = mutagenesis.explain(predictor, predictions["sequence"], mutants=False).estimated
    variance = np.nansum(estimated.astype(float) ** 2, axis=(1, 2))
    for row, candidates in zip(rows, explain.choose(predicted, 30, seed=4).reshape(10, 3), strict=True):
        assert row in candidates
        assert variance[row] == variance[candidates].max()
    assert (explain.choose_varied(predictor, predictions, 40, seed=4) == explain.choose(predicted, 40, seed=4)).all()  # too few


def test_peaks_are_where_contributions_are_large_and_name_the_site_there():
    effects = np.zeros((2, 60, 4), np.float32)
    effects[0, 10:18, :3] = -1  # three mutants each: contributions of 1, then of -1
    effects[1, 40:46, :3] = 2
    effects[1, :5] = np.nan
    columns = {"name": ["a", "a", "b"], "factor": ["X", "Y", "Z"], "matrix": ["x", "y", "z"], "strand": ["+", "-", "+"]}
    columns |= {"start": [14, 9, 1], "end": [20, 15, 8], "effect": [0.5, -2.0, 3.0]}
    found = explanation_sites.find_seqlets(pl.Series(["a", "b"]), effects, np.array([0, 5]), pl.DataFrame(columns))
    assert found["name"].to_list() == ["a", "b"]
    first, second = found.rows(named=True)
    assert (first["start"], first["end"]) == (11, 18)  # from 1
    assert first["contribution"] == pytest.approx(1)
    assert first["factor"] == "Y"  # both share enough with it, this one does more
    assert (second["start"], second["end"]) == (35, 42)  # the mean over 5 bp is large beside it, too
    assert second["contribution"] == pytest.approx(-1.5)
    assert second["matrix"] is None


def test_a_summary_counts_sites_and_promoters():
    factors = pl.DataFrame({"factor": ["A", "B"], "matrix": ["a", "b"], "activity": [1.0, 2.0], "z": [5.0, 4.0], "explained": [0.5, 0.6]})
    sites = pl.DataFrame({"name": ["1", "1", "3"], "matrix": ["a"] * 3, "effect": [1.0, 2.0, 6.0]})
    found = explanation_sites.summarize(factors, sites, 8)
    assert found.columns == list(explanation_sites.SUMMARY)
    assert found.select("sites", "mean_effect", "promoters").rows() == [(3, 3.0, 0.25), (0, None, 0.0)]


def test_a_data_set_is_explained_and_compared_with_the_truth(folder, predictor, known, planted):
    rng = np.random.default_rng(7)
    text = [list(sequence) for sequence in toy.promoters(120, 47)]
    for row, motif in zip(text, planted * 30, strict=True):
        site = ["ACGT"[base] for base in motif.log_odds.argmax(axis=1)]
        start = rng.integers(7, 33 - len(site))
        row[start : start + len(site)] = site
    table = pl.DataFrame({"sequence": ["".join(row) for row in text]}).with_columns(expression=pl.lit(1.0))
    predictions = prediction_predictor.predict(folder, table)
    active = [motif.matrix_id for motif in planted] + ["none/1"]
    truth = pl.DataFrame({"matrix": active, "activity": [*ACTIVITIES, 0.1]})
    found = explain.explain_some(predictor, predictions, known, number=80, seed=1, truth=truth)
    assert found.promoters.height == found.summary["promoters"] == 80
    assert found.promoters["predicted"].is_sorted()
    whole = predictions[[int(name) - 1 for name in found.promoters["name"]]]
    assert whole["sequence"].to_list() == found.promoters["sequence"].to_list()
    assert found.summary["mutants"] == 80 * 78
    assert found.summary["recovery"]["recall"] == 0.8
    assert dict(found.motifs.drop_nulls("planted").select("matrix", "planted").rows()) == dict(zip(active[:4], ACTIVITIES, strict=True))
    of_first = found.contributions.filter(name=found.promoters["name"][0])
    assert "".join(of_first["base"]) == found.promoters["sequence"][0]
    assert of_first["position"].to_list() == list(range(1, 41))
    assert of_first["A"].null_count() == 14  # flanks
    mean = -of_first.select(pl.sum_horizontal("A", "C", "G", "T") / 3).to_series().to_numpy()
    assert of_first["contribution"].to_numpy() == pytest.approx(mean, abs=1e-6)
    assert 0.5 < found.summary["r_of_gradient_x_input"] < 1
    gradient = of_first["gradient_x_input"].to_numpy()
    of_all = mutagenesis.contributions(mutagenesis.explain(predictor, found.promoters["sequence"][:1], mutants=False)[2])
    assert gradient == pytest.approx(of_all[0], abs=1e-6)
    assert found.summary["seqlets_with_a_site"] == found.seqlets["matrix"].is_not_null().sum() > 40
    without = explain.explain_some(predictor, predictions, [], number=3, seed=1)
    assert (without.motifs.height, without.sites.height, without.summary["recovery"]) == (0, 0, None)
    assert without.seqlets.height
    of_motifs = ("motifs", "explained", "seqlets_with_a_site")
    assert [without.summary[key] for key in of_motifs] == [None] * 3  # not 0: none was searched for
    truth = pl.DataFrame({"matrix": ["x"], "activity": [1.0]})
    assert explain.explain_some(predictor, predictions, [], number=3, seed=1, truth=truth).summary["recovery"] is None


def test_explained_promoters_keep_their_names(folder, predictor, tmp_path):
    names = [f"promoter {number}, {letter} $x$" for number, letter in enumerate("αβγδε")]
    table = pl.DataFrame({"sequence": toy.promoters(5, 47), "name": names}).with_columns(expression=pl.lit(1.0))
    predictions = prediction_predictor.predict(folder, table)
    assert predictions["name"].to_list() == names
    found = explain.explain_some(predictor, predictions, [], number=5, seed=1)
    sequences = dict(zip(table["sequence"], names, strict=True))
    assert found.promoters["name"].to_list() == [sequences[sequence] for sequence in found.promoters["sequence"]]
    assert set(found.contributions["name"]) == set(names)
    found.promoters.write_csv(tmp_path / "promoters.tsv", separator="\t")
    assert pl.read_csv(tmp_path / "promoters.tsv", separator="\t")["name"].to_list() == found.promoters["name"].to_list()
    logos = figures.contribution_logos(figures.logos_of(found.promoters, found.contributions, found.sites, "set", 1), "bins")
    title = logos.subfigs[0].axes[0].get_title(loc="left")
    assert title.startswith(f"set, promoter {found.promoters['name'][0]}: ")
    for repeated in (["a"] * 5, ["a", "b", "c", "d", None]):
        again = explain.explain_some(predictor, predictions.with_columns(name=pl.Series(repeated)), [], number=5, seed=1)
        assert sorted(again.promoters["name"]) == list("12345")


def test_nothing_is_found_where_the_model_uses_no_motif(known, tmp_path):
    flat = prediction_predictor.Predictor(toy.write_whole(tmp_path / "flat", spread=(0.0,)))
    rng = np.random.default_rng(0)
    tokens = tokenize(pl.Series(toy.promoters(60, 45)), toy.LENGTH)
    noise = rng.normal(size=(60, toy.LENGTH, 4)).astype("f4")
    found = explanation_sites.find_factors(tokens, noise, known)
    assert found.height <= 1
    nothing = explanation_sites.recovery(found.clear(), pl.DataFrame({"matrix": ["x", "y"], "activity": [1.0, 2.0]}))
    assert (nothing["recall"], nothing["precision"]) == (0, None)
    effects = mutagenesis.mutational_effects(flat, tokens[:1], np.ones((1, toy.LENGTH), bool))
    assert effects[0, 20, 2] == pytest.approx((12 - toy.VALUES["ACGT"[tokens[0, 20]]]) / toy.LENGTH, abs=1e-5)


def test_motifs_that_are_all_but_the_same_pass_for_each_other(known):
    by_factor = {motif.factor: motif for motif in known}
    mig1, mig2, reb1 = (by_factor[name] for name in ("MIG1", "MIG2", "REB1"))
    assert motifs.likeness(mig1, mig1) == pytest.approx(1)
    turned = motifs.Motif("turned", "x", np.pad(mig1.log_odds[::-1, ::-1], ((3, 0), (0, 0))))
    assert [motifs.likeness(mig1, turned), motifs.likeness(turned, mig1)] == pytest.approx([1, 1])
    assert motifs.likeness(mig1, mig2) > 0.9 > 0.8 > motifs.likeness(mig1, reb1)
    factors = pl.DataFrame({"matrix": [mig1.matrix_id, reb1.matrix_id]})
    found = explanation_sites.recovery(factors, pl.DataFrame({"matrix": [mig2.matrix_id], "activity": [1.0]}), known)
    assert (found["precision"], found["precision_with_alike"]) == (0, 0.5)


def test_command(folder, tmp_path, capsys):
    (tmp_path / "in.fa").write_text("".join(f">p/{n} x\n{insert}\n" for n, insert in enumerate(toy.inserts(120, 46))))
    out = tmp_path / "out"
    assert cli.main(["explain", str(folder), str(tmp_path / "in.fa"), "-o", str(out), "--logos", "2"]) == cli.DONE
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        "1_p_0.png", "1_p_0.svg", "2_p_1.png", "2_p_1.svg", "effects.tsv.gz", "motifs.tsv", "sites.tsv",
    ]  # fmt: skip
    effects = pl.read_csv(out / "effects.tsv.gz", separator="\t")
    assert effects.height == 120 * 78
    assert pl.read_csv(out / "motifs.tsv", separator="\t").columns == list(explanation_sites.SUMMARY)
    assert set(pl.read_csv(out / "sites.tsv", separator="\t")["name"]) <= set(effects["name"])
    assert re.search(r"120 insert only, flanks added", capsys.readouterr().err)
    fast = ["explain", str(folder), str(tmp_path / "in.fa"), "-o", str(tmp_path / "fast"), "--gradients", "--logos", "1"]
    assert cli.main(fast) == cli.DONE
    estimated = pl.read_csv(tmp_path / "fast/effects.tsv.gz", separator="\t")
    assert estimated["gradient_alt_minus_ref"].to_list() == effects["gradient_alt_minus_ref"].to_list()
    assert estimated["effect_alt_minus_ref"].null_count() == estimated.height
    assert "gradient x input" in (tmp_path / "fast/logos/1_p_0.svg").read_text()
    missing = ["explain", str(folder), str(tmp_path / "in.fa"), "-o", str(out), "--motifs", str(tmp_path / "none")]
    assert cli.main(missing) == cli.REFUSED
    embedded = toy.write_whole(tmp_path / "embedded")
    capsys.readouterr()
    assert cli.main(["explain", str(embedded), str(tmp_path / "in.fa"), "-o", str(tmp_path / "no"), "--gradients"]) == cli.REFUSED
    assert re.search(r"--gradients: the model .*embedded has no gradient; leave out this option", capsys.readouterr().err)
    assert not (tmp_path / "no/effects.tsv.gz").exists()


def test_command_with_one_name_for_all_and_what_was_there(folder, tmp_path, capsys):
    sequences, found = toy.inserts(120, 46), []
    for names in ([f"n{row}" for row in range(120)], ["x"] * 120):
        (tmp_path / "in.fa").write_text("".join(f">{name}\n{text}\n" for name, text in zip(names, sequences, strict=True)))
        logos = 3 if names[0] == "n0" else 1
        assert cli.main(["explain", str(folder), str(tmp_path / "in.fa"), "-o", str(tmp_path / "out"), "--logos", str(logos)]) == cli.DONE
        found.append(pl.read_csv(tmp_path / "out/motifs.tsv", separator="\t"))
    assert found[0].equals(found[1])
    assert found[0]["promoters"].max() > 1 / 120
    said = capsys.readouterr().err
    assert "119 repeated names" in said
    (tmp_path / "long.fa").write_text(f">a\n{toy.inserts(1, 47, length=60)[0]}\n")
    assert cli.main(["explain", str(folder), str(tmp_path / "long.fa"), "-o", str(tmp_path / "long"), "--logos", "0"]) == cli.DONE
    assert "1 longer than 40 bp, right end kept" in capsys.readouterr().err
    assert {path.name for path in (tmp_path / "out/logos").iterdir()} == {"1_x.png", "1_x.svg"}
    (tmp_path / "motifs.meme").write_text(">x\nMEME\n")
    wrong = ["explain", str(folder), str(tmp_path / "in.fa"), "-o", str(tmp_path / "no"), "--motifs", str(tmp_path / "motifs.meme")]
    assert cli.main(wrong) == cli.REFUSED
    assert "motifs.meme, line 2: 'MEME' is not a number" in capsys.readouterr().err
