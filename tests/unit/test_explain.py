"""In-silico mutagenesis of a model in which known motifs were planted."""

import json
import re

import numpy as np
import polars as pl
import pytest
from gpraflow import cli, explain, models, motifs, prediction
from gpraflow.scaffold import tokenize

from tests.conftest import ROOT
from tests.unit import toy

JASPAR = ROOT / "resources/motifs/jaspar2026_yeast.jaspar"
ACTIVITIES = (4.0, -3.0, 2.0, -2.0)


def write_planted(folder, planted):
    """A model whose expression is the sum of activity x occupancy over the sites of some motifs on both strands."""
    models.select_backend("jax")
    import keras

    folder.mkdir(parents=True)
    width = max(len(motif.log_odds) for motif in planted)
    kernel, best = np.zeros((width, 4, 2 * len(planted)), np.float32), np.zeros(2 * len(planted), np.float32)
    for index, motif in enumerate(planted):
        for column, log_odds in zip((2 * index, 2 * index + 1), explain.strands(motif), strict=True):
            kernel[: len(log_odds), :, column], best[column] = log_odds, log_odds.max(axis=1).sum()
    tokens = keras.Input((toy.LENGTH,), dtype="int32", name="tokens")
    one_hot, scan, total = keras.layers.Embedding(5, 4), keras.layers.Conv1D(len(best), width, activation="sigmoid"), keras.layers.Dense(1)
    sites = scan(one_hot(tokens))
    model = keras.Model(tokens, total(keras.layers.GlobalAveragePooling1D()(sites) * sites.shape[1]), name="toy")
    one_hot.set_weights([np.eye(5, 4, dtype=np.float32)])
    scan.set_weights([kernel, -best])
    total.set_weights([np.repeat(ACTIVITIES, 2)[:, None].astype(np.float32), np.array([5.0], np.float32)])
    model.save(folder / "model.keras")
    about = {"architecture": "toy", "parameters": model.count_params(), "members": 1}
    about["input"] = {"alphabet": "ACGTN", "length": toy.LENGTH, "scaffold": "toy", "keep": "right", "pad": "left"}
    (folder / "model.json").write_text(json.dumps(about))
    toy.calibrate(folder, prediction.predict(folder, toy.table(100, 2)))
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
    return prediction.Predictor(folder)


def test_effects_are_those_of_each_mutant_predicted_by_itself(predictor):
    sequences = pl.Series([toy.promoters(1, 40)[0], toy.inserts(1, 41, 20)[0] + "N", toy.promoters(1, 42)[0] + toy.THREE])
    _, effects, begin = explain.explain(predictor, sequences)
    table = explain.effects_table(pl.Series(["a", "b", "c"]), sequences, effects, begin)
    assert table.columns == list(explain.EFFECTS)
    # the insert of a whole promoter; all bases but N without flanks; 40 of 47 bp in the window, of which the last flank is constant
    assert table.group_by("name", maintain_order=True).len()["len"].to_list() == [3 * 26, 3 * 20, 3 * 33]
    assert table["position"].to_list()[:4] == [8, 8, 8, 9]
    by_name = dict(zip("abc", sequences, strict=True))
    before = dict(zip("abc", predictor.promoters(sequences)["predicted"], strict=True))
    changed = []
    for name, position, ref, alt, _ in table.iter_rows():
        sequence = by_name[name]
        assert sequence[position - 1] == ref != alt
        changed.append(sequence[: position - 1] + alt + sequence[position:])
    expected = predictor.promoters(pl.Series(changed))["predicted"] - pl.Series([before[name] for name in table["name"]])
    assert table["effect_alt_minus_ref"].to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-5)
    assert (explain.contributions(effects)[0, :7] == 0).all()
    own = table.filter(name="a", position=20)["effect_alt_minus_ref"].mean()
    assert explain.contributions(effects)[0, 19] == pytest.approx(-own, abs=1e-6)


def test_changes_of_occupancy_are_those_of_the_mutants(known):
    motif = known[3]
    tokens = tokenize(pl.Series(["ACGTTACGGATTACATTGCACGANGACCCGGG"]), 32)

    def occupancy(row):
        scores = [explain.site_scores(row, log_odds).clip(-100) for log_odds in explain.strands(motif)]
        return sum((1 / (1 + np.exp(-score))).sum() for score in scores)

    found = explain.occupancy_changes(tokens, motif)
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
    tokens, effects, _ = explain.explain(predictor, pl.Series(["".join(row) for row in text]))
    factors = explain.find_factors(tokens, effects, known)
    truth = pl.DataFrame({"matrix": [motif.matrix_id for motif in planted], "activity": ACTIVITIES})
    found = explain.recovery(factors, truth)
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
    tokens, effects, begin = explain.explain(predictor, pl.Series([sequence]))
    sites = explain.find_sites(pl.Series(["a"]), tokens, effects, begin, [reb1])
    line = sites.filter(strand="+", start=13).row(0, named=True)
    assert (line["factor"], line["end"]) == ("REB1", 12 + len(best))
    assert line["occupancy"] == pytest.approx(0.5)
    assert line["similarity"] > 0.95
    assert sequence[line["start"] - 1 : line["end"]] == best


def test_nothing_is_found_where_the_model_uses_no_motif(known, tmp_path):
    flat = prediction.Predictor(toy.write_whole(tmp_path / "flat", spread=(0.0,)))
    rng = np.random.default_rng(0)
    tokens = tokenize(pl.Series(toy.promoters(60, 45)), toy.LENGTH)
    noise = rng.normal(size=(60, toy.LENGTH, 4)).astype("f4")
    found = explain.find_factors(tokens, noise, known)
    assert found.height <= 1
    assert explain.recovery(found.clear(), pl.DataFrame({"matrix": ["x", "y"], "activity": [1.0, 2.0]}))["recall"] == 0
    effects = explain.mutational_effects(flat, tokens[:1], np.ones((1, toy.LENGTH), bool))
    assert effects[0, 20, 2] == pytest.approx((12 - toy.VALUES["ACGT"[tokens[0, 20]]]) / toy.LENGTH, abs=1e-5)


def test_command(folder, tmp_path, capsys):
    (tmp_path / "in.fa").write_text("".join(f">p/{n} x\n{insert}\n" for n, insert in enumerate(toy.inserts(120, 46))))
    out = tmp_path / "out"
    assert cli.main(["explain", str(folder), str(tmp_path / "in.fa"), "-o", str(out), "--logos", "2"]) == cli.DONE
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [
        "1_p_0.png", "1_p_0.svg", "2_p_1.png", "2_p_1.svg", "effects.tsv.gz", "motifs.tsv", "sites.tsv",
    ]  # fmt: skip
    effects = pl.read_csv(out / "effects.tsv.gz", separator="\t")
    assert effects.height == 120 * 78
    assert pl.read_csv(out / "motifs.tsv", separator="\t").columns == list(explain.FACTORS)
    assert set(pl.read_csv(out / "sites.tsv", separator="\t")["name"]) <= set(effects["name"])
    assert re.search(r"120 insert only, flanks added", capsys.readouterr().err)
    missing = ["explain", str(folder), str(tmp_path / "in.fa"), "-o", str(out), "--motifs", str(tmp_path / "none")]
    assert cli.main(missing) == cli.REFUSED
