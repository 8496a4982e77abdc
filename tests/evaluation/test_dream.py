import json
import os
import pickle
import subprocess
import sys
import tarfile
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from scipy import stats

from gpraflow.core.errors import InputError
from gpraflow.evaluation import dream
from gpraflow.formats import promoters

# Figures of the published evaluation of one team (FACTS, golden numbers).
R = {
    "all": 0.957144539749361,
    "high": 0.6201,
    "low": 0.6212,
    "yeast": 0.8383,
    "random": 0.9677,
    "challenging": 0.9355,
    "SNVs": 0.8228,
    "motif_perturbation": 0.9671,
    "motif_tiling": 0.9450,
}
RHO = dict(zip(R, (0.961451653086994, 0.5754, 0.5960, 0.8391, 0.9703, 0.9290, 0.6775, 0.9611, 0.9274), strict=True))


class Inputs(dict):
    """As Snakemake's: names are attributes too."""

    __getattr__ = dict.__getitem__


def challenge(n=400, seed=0):
    """Return positions, predictions, measurements, subsets of all, and the public part."""
    rng = np.random.default_rng(seed)
    measured = rng.normal(0, 0.7, n)
    predicted = 10 + 3 * measured + rng.normal(0, 1, n)
    singles = {name: np.sort(rng.choice(n, 60, replace=False)) for name in dream.SINGLES}
    pairs = {name: np.unique(rng.integers(0, n, (80, 2)), axis=0) for name in dream.PAIRS}
    public = dream.Subsets({name: part[:9] for name, part in singles.items()}, {name: part[:11] for name, part in pairs.items()})
    return np.arange(n), predicted, measured, dream.Subsets(singles, pairs), public


def test_golden_numbers():
    assert round(dream.score(R, "r"), 4) == 0.7657
    assert round(dream.score(RHO, "rho"), 4) == 0.8229
    assert sum(dream.WEIGHTS.values()) == pytest.approx(4.65)


@pytest.mark.parametrize("metric", ["r", "rho"])
def test_published_rows_have_the_published_scores(root, metric):
    """Of the rounded figures in the table, so within the rounding."""
    table = pl.read_csv(root / "resources/dream_published.tsv", separator="\t", comment_prefix="#")
    rows = table.filter(metric={"r": "pearson_r_squared", "rho": "spearman_rho"}[metric])
    assert rows["team"].to_list() == ["autosome.org", "BHI", "Unlock_DNA", "Camformers", "wztr", "Vaishnav_deBoer"]
    for row in rows.iter_rows(named=True):
        values = {name: row[name] ** 0.5 if metric == "r" else row[name] for name in dream.WEIGHTS}
        assert dream.score(values, metric) == pytest.approx(row["score"], abs=1.5e-4), row["team"]


def test_published_figures_are_those_handed_down(root, shared):
    mine = pl.read_csv(root / "resources/dream_published.tsv", separator="\t", comment_prefix="#")
    assert mine.equals(pl.read_csv(shared / "reference_dream_published.tsv", separator="\t"))


@pytest.mark.parametrize("mode", dream.MODES)
def test_scores_are_those_of_a_plain_loop(mode):
    positions, predicted, measured, subsets, public = challenge()
    official = mode == "official"
    gone = set()
    for part in public.singles.values():
        gone |= set(part.tolist())
    for part in public.pairs.values():
        gone |= set(part.ravel().tolist())
    public_pairs = {tuple(pair) for part in public.pairs.values() for pair in part.tolist()}
    shuffled = np.random.default_rng(1).permutation(len(positions))
    found = dream.evaluate(positions[shuffled], predicted[shuffled], measured[shuffled], subsets, public if official else None)
    values = {"r": {}, "rho": {}}
    for name in dream.WEIGHTS:
        if name in dream.PAIRS:
            chosen = [pair for pair in subsets.pairs[name].tolist() if not (official and tuple(pair) in public_pairs)]
            p = [predicted[alt] - predicted[ref] for alt, ref in chosen]
            m = [measured[alt] - measured[ref] for alt, ref in chosen]
            assert any(set(pair) & gone for pair in chosen)  # pairs that are not public keep public positions
        else:
            of = positions.tolist() if name == "all" else subsets.singles[name].tolist()
            chosen = [position for position in of if not (official and position in gone)]
            p, m = predicted[chosen], measured[chosen]
        values["r"][name], values["rho"][name] = stats.pearsonr(p, m)[0], stats.spearmanr(p, m)[0]
        assert found[name]["n"] == len(chosen)
        assert found[name]["r"] == pytest.approx(values["r"][name], abs=1e-12)
        assert found[name]["rho"] == pytest.approx(values["rho"][name], abs=1e-12)
    w = {"all": 1, "challenging": 0.5, "SNVs": 1.25, "motif_tiling": 0.4}
    expected = sum(w.get(name, 0.3) * r * r for name, r in values["r"].items()) / 4.65
    assert found["score"]["r2"] == pytest.approx(expected)
    assert found["score"]["rho"] == pytest.approx(sum(w.get(name, 0.3) * rho for name, rho in values["rho"].items()) / 4.65)


def test_what_is_not_there_is_not_scored():
    positions, predicted, measured, subsets, _ = challenge()
    found = dream.evaluate(positions, predicted, measured, dream.Subsets(subsets.singles, {}))
    assert found["SNVs"] == {"n": 0, "r": None, "r2": None, "rho": None}
    assert found["score"] == {"n": 400, "r": None, "r2": None, "rho": None}
    with pytest.raises(InputError, match=r"subset 'high' contains position \d+, which has no prediction"):
        dream.evaluate(positions[:30], predicted[:30], measured[:30], subsets)
    with pytest.raises(InputError, match="position 7 occurs more than once"):
        dream.evaluate(np.append(positions, 7), np.append(predicted, 0), np.append(measured, 0), subsets)


CSV = {
    "high": "high_exp_seqs",
    "low": "low_exp_seqs",
    "yeast": "yeast_seqs",
    "random": "all_random_seqs",
    "challenging": "challenging_seqs",
    "SNVs": "all_SNVs_seqs",
    "motif_tiling": "motif_tiling_seqs",
}
JSON = {"SNVs": "SNVs_exp", "motif_perturbation": "motif_perturbation_exp", "motif_tiling": "motif_tiling_exp"}


def published(folder, subsets, public, perturbation):
    """Write the challenge's files, rows twice and out of order."""
    names = CSV | {"motif_perturbation": perturbation}
    for name, part in subsets.singles.items():
        rows = "".join(f"tag,ACGT,{position},1.5\n" for position in [*part[::-1], part[0]])
        (folder / f"{names[name]}.csv").write_text("tag,sequence,pos,exp\n" + rows)
        text = json.dumps({str(position): 0 for position in public.singles[name].tolist()})
        (folder / f"{name}_exp_indices.json").write_text(text)
    for name, part in subsets.pairs.items():
        rows = "".join(f"{alt},{ref},1,2\n" for alt, ref in [*part[::-1], part[0]])
        (folder / f"{names[name]}.csv").write_text("alt_pos,ref_pos,alt_exp,ref_exp\n" + rows)
        text = json.dumps({f"{alt},{ref}": 0 for alt, ref in public.pairs[name].tolist()})
        (folder / f"{JSON[name]}_indices.json").write_text(text)


@pytest.mark.parametrize("perturbation", ["motif_perturbation", "motif_perturbation_seqs"])
@pytest.mark.parametrize("archive", [False, True])
def test_published_files_are_read_under_both_names(tmp_path, perturbation, archive):
    *_, subsets, public = challenge()
    folder = tmp_path / "ids"
    folder.mkdir()
    published(folder, subsets, public, perturbation)
    path = folder
    if archive:
        path = tmp_path / "ids.tar.gz"
        with tarfile.open(path, "w:gz") as tar:
            tar.add(folder, arcname="test_subset_ids")
    for found, expected in ((dream.read_subsets(path), subsets), (dream.read_public(path), public)):
        for kind in ("singles", "pairs"):
            mine, theirs = getattr(found, kind), getattr(expected, kind)
            assert set(mine) == set(theirs)
            for name in mine:
                assert (mine[name] == theirs[name]).all()


def test_wrong_files_are_named(tmp_path):
    *_, subsets, public = challenge()
    published(tmp_path, subsets, public, "motif_perturbation")
    (tmp_path / "low_exp_seqs.csv").write_text("pos\n1\nx\n")
    with pytest.raises(InputError, match=r"low_exp_seqs\.csv, row 3: position 'x' is not a whole number"):
        dream.read_subsets(tmp_path)
    (tmp_path / "low_exp_seqs.csv").unlink()
    with pytest.raises(InputError, match=r"no low_exp_seqs\.csv for the subset 'low'"):
        dream.read_subsets(tmp_path)
    (tmp_path / "yeast_exp_indices.json").write_text("[1, 2]")
    with pytest.raises(InputError, match=r"yeast_exp_indices\.json is not a JSON object"):
        dream.read_public(tmp_path)
    with pytest.raises(InputError, match="neither a folder nor a file"):
        dream.read_subsets(tmp_path / "none")
    (tmp_path / "a.tar.gz").write_text("no archive")
    with pytest.raises(InputError, match="not a readable tar archive"):
        dream.read_public(tmp_path / "a.tar.gz")


def test_predictions_are_joined_by_sequence_and_stand_beside_the_published_rows(tmp_path, root):
    positions, predicted, measured, subsets, public = challenge()
    rng = np.random.default_rng(3)
    sequences = ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (400, 30))]]
    sequences[5] = sequences[6]  # the same promoter measured twice
    predicted[5] = predicted[6]
    (tmp_path / "test.txt").write_text("".join(f"{s.lower()}\t{m!r}\n" for s, m in zip(sequences, measured.tolist(), strict=True)))
    predictions = pl.DataFrame({"sequence": sequences, "predicted": predicted}).unique("sequence").sample(fraction=1, shuffle=True, seed=1)
    test = dream.read_test_table(tmp_path / "test.txt")
    found = dream.score_predictions(predictions, test, subsets, public, "test.txt")
    assert found == {
        "official": dream.evaluate(positions, predicted, measured, subsets, public),
        "full": dream.evaluate(positions, predicted, measured, subsets),
    }
    table = dream.table_of(found, "mine", root / "resources/dream_published.tsv")
    assert table.height == 2 * (2 + 6)
    mine = table.filter(team="mine", metric="pearson_r_squared", mode="official").row(0, named=True)
    assert mine["SNVs"] == found["official"]["SNVs"]["r2"]
    assert mine["score"] == found["official"]["score"]["r2"]
    assert table.filter(team="autosome.org")["score"].to_list() == [0.8184, 0.8541]
    with pytest.raises(InputError, match=r"test\.txt, row 1: this promoter has no prediction \(1 such rows\)"):
        dream.score_predictions(predictions.filter(pl.col("sequence") != sequences[0]), test, subsets, None, "test.txt")
    (tmp_path / "test.txt").write_text("ACGT\t1\nACGT\tx\n")
    with pytest.raises(InputError, match=r"test\.txt, row 2: expression 'x' is not a number"):
        dream.read_test_table(tmp_path / "test.txt")


def test_adapter_scores_a_table_that_was_fetched(tmp_path, root):
    """As the rule gives it: the input is a receipt, the file itself is named by the params."""
    _, predicted, measured, subsets, public = challenge()
    (tmp_path / "subsets").mkdir()
    published(tmp_path / "subsets", subsets, public, "motif_perturbation")
    sequences = ["".join(row) for row in np.array(list("ACGT"))[np.random.default_rng(3).integers(0, 4, (400, 30))]]
    (tmp_path / "test.txt").write_text("".join(f"{s}\t{m!r}\n" for s, m in zip(sequences, measured.tolist(), strict=True)))
    promoters.write(pl.DataFrame({"sequence": sequences, "expression": measured, "predicted": predicted}), tmp_path / "p.parquet")
    inputs = {"predictions": tmp_path / "p.parquet", "table": "receipt", "subsets": tmp_path / "subsets", "public": tmp_path / "subsets"}
    job = SimpleNamespace(
        input=Inputs(inputs | {"published": root / "resources/dream_published.tsv"}),
        output=SimpleNamespace(json=tmp_path / "dream.json", tsv=tmp_path / "dream.tsv"),
        params=SimpleNamespace(run="mine", fetched={"table": {"path": tmp_path / "test.txt"}, "subsets": {}, "public": {}}),
        log=[tmp_path / "log"],
    )
    code = "import pickle, runpy, sys; runpy.run_path('scripts/score_dream.py')['main'](pickle.load(sys.stdin.buffer))"
    environment = os.environ | {"PYTHONPATH": f"scripts{os.pathsep}."}
    done = subprocess.run([sys.executable, "-c", code], cwd=root, input=pickle.dumps(job), env=environment, capture_output=True)
    assert done.returncode == 0, (tmp_path / "log").read_text()
    content = json.loads((tmp_path / "dream.json").read_text())
    assert content["scores"]["full"]["score"]["n"] == 400
    assert content["scores"]["official"]["SNVs"]["n"] == len(subsets.pairs["SNVs"]) - 11
    found = pl.read_csv(tmp_path / "dream.tsv", separator="\t").filter(team="mine", metric="spearman_rho")
    assert found["mode"].to_list() == ["official", "full"]
    assert found["score"][0] == pytest.approx(content["scores"]["official"]["score"]["rho"], abs=5e-5)


def test_public_part_with_stored_predictions(shared):
    """Camformer's stored predictions on the public part, against scipy; with it removed, nothing is left in the official mode."""
    table, subsets = dream.read_tables([shared / "dream_public.tsv.gz"], [shared / "dream_public_pairs.tsv.gz"])
    assert {name: len(part) for name, part in (subsets.singles | subsets.pairs).items()} == {
        "high": 96,
        "low": 99,
        "yeast": 208,
        "random": 733,
        "challenging": 195,
        "SNVs": 4670,
        "motif_perturbation": 328,
        "motif_tiling": 263,
    }
    assert len(subsets.positions()) == table.height == 9045
    columns = [table[name].to_numpy() for name in ("pos", "camformer", "expression")]
    found = dream.evaluate(*columns, subsets)
    by_position = dict(zip(columns[0], zip(*columns[1:], strict=True), strict=True))
    for name in ("yeast", "random"):
        p, m = zip(*(by_position[position] for position in subsets.singles[name]), strict=True)
        assert found[name]["r"] == pytest.approx(stats.pearsonr(p, m)[0], abs=1e-9)
    p, m = zip(*(np.subtract(by_position[alt], by_position[ref]) for alt, ref in subsets.pairs["SNVs"]), strict=True)
    assert found["SNVs"]["rho"] == pytest.approx(stats.spearmanr(p, m)[0], abs=1e-9)
    assert found["score"]["r2"] > 0.7
    official = dream.evaluate(*columns, subsets, subsets)
    assert {part["n"] for part in official.values()} == {0}


def test_flags_and_pairs_of_several_files_are_one(tmp_path):
    flags = "\t".join(dream.SINGLES)
    (tmp_path / "a.tsv").write_text(f"pos\texpression\t{flags}\tmodel\n3\t1.5\t1\t0\t0\t0\t0\t2\n4\t1\t0\t1\t0\t0\t0\t1\n")
    (tmp_path / "b.tsv").write_text(f"pos\texpression\t{flags}\tmodel\n4\t1\t0\t1\t0\t0\t0\t1\n9\t0\t0\t0\t0\t1\t1\t3\n")
    (tmp_path / "p.tsv").write_text("alt_pos\tref_pos\ttype\n3\t4\tsnv\n9\t3\tmotif_tiling\n3\t4\tsnv\n")
    table, subsets = dream.read_tables([tmp_path / "a.tsv", tmp_path / "b.tsv"], [tmp_path / "p.tsv"])
    assert table["pos"].to_list() == [3, 4, 9]
    assert {name: part.tolist() for name, part in subsets.singles.items() if len(part)} == {
        "high": [3],
        "low": [4],
        "random": [9],
        "challenging": [9],
    }
    assert subsets.pairs["SNVs"].tolist() == [[3, 4]]
    assert subsets.pairs["motif_tiling"].tolist() == [[9, 3]]
    (tmp_path / "p.tsv").write_text("alt_pos\tref_pos\ttype\n3\t4\tindel\n")
    with pytest.raises(InputError, match="type 'indel' of a pair is not one of snv"):
        dream.read_tables([tmp_path / "a.tsv"], [tmp_path / "p.tsv"])
