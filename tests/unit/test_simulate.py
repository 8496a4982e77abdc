import numpy as np
import pytest
from gpraflow import motifs, simulate
from gpraflow.errors import InputError
from gpraflow.scaffold import Scaffold, tokenize

PTPA = Scaffold("pTpA", "TGCATTTTTTTCACATC", "GGTTACGGCTGTT")
SIZE = simulate.Library(promoters=2000, independent=100, mean_reads=20, cell_sd=1.5, active_factors=10)


@pytest.fixture(scope="module")
def motif_file(root):
    return str(root / "resources/motifs/jaspar2026_yeast.jaspar")


@pytest.fixture(scope="module")
def library(motif_file):
    return simulate.library(PTPA, motif_file, SIZE, seed=1)


def test_motifs_are_jaspars(motif_file):
    found = {motif.matrix_id: motif for motif in motifs.load(motif_file)}
    assert len(found) == 176
    abf1 = found["MA0265.3"]
    assert (abf1.factor, abf1.log_odds.shape) == ("ABF1", (14, 4))
    assert abf1.log_odds[1, 1] == pytest.approx(np.log((421 / 427 + 0.01) / 1.04 / 0.25), rel=1e-5)


def test_scan_equals_a_naive_loop(motif_file):
    chosen = motifs.load(motif_file)[:7]
    concentration = np.linspace(-1, 2, 7)
    rng = np.random.default_rng(0)
    tokens = rng.integers(0, 5, (3, 40), dtype=np.uint8)
    for row, sums in zip(tokens, motifs.site_sums(tokens, chosen, concentration), strict=True):
        for motif, c, found in zip(chosen, concentration, sums, strict=True):
            best, width, total = motif.log_odds.max(axis=1).sum(), len(motif.log_odds), 0.0
            for strand in (row, [4 if t == 4 else 3 - t for t in row[::-1]]):
                for start in range(40 - width + 1):
                    score = sum(motif.log_odds[i, strand[start + i]] for i in range(width) if strand[start + i] < 4)
                    total += np.exp(score - best + c)
            assert found == pytest.approx(total, rel=1e-4)


def test_missing_and_empty_motif_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        motifs.load(tmp_path / "no")
    (tmp_path / "empty").write_text("")
    with pytest.raises(InputError, match="no motif"):
        motifs.load(tmp_path / "empty")


def test_library_has_the_declared_form(library):
    table = library["promoters"]
    assert table.height == 2000
    assert library["independent"].height == 100
    assert table["sequence"].str.starts_with(PTPA.five_prime).all()
    assert table["sequence"].str.ends_with(PTPA.three_prime).all()
    lengths = table["sequence"].str.len_bytes()
    assert 0.78 < (lengths == 110).mean() < 0.86
    assert 0.10 < (lengths == 109).mean() < 0.16
    assert 0.004 < table["sequence"].str.contains("N").mean() < 0.02
    assert 17 < table["n_reads"].mean() < 23
    assert ((table["expression"] >= 0) & (table["expression"] <= 17)).all()
    assert (table["singleton"] == (table["n_bins"] == 1)).all()
    assert ((table["expression"] == table["expression"].round()) | ~table["singleton"]).all()


def test_measurement_is_the_truth_plus_noise_that_falls_with_depth(library):
    table, truth = library["promoters"], library["truth"]
    assert (truth["sequence"] == table["sequence"]).all()
    inner = ((truth["mean_bin"] > 3) & (truth["mean_bin"] < 14)).to_numpy()
    error = (table["expression"] - truth["mean_bin"]).to_numpy()
    expected = np.sqrt((1.5**2 + 1 / 12) / table["n_reads"].to_numpy())  # cells, and rounding to bins
    assert np.std(error[inner] / expected[inner]) == pytest.approx(1, abs=0.07)


def test_truth_is_made_by_the_activities(library, motif_file):
    by_id = {motif.matrix_id: motif for motif in motifs.load(motif_file)}
    activities = library["activities"]
    tokens = tokenize(library["truth"]["sequence"], 120)
    sums = motifs.site_sums(tokens, [by_id[m] for m in activities["matrix"]], activities["log_concentration"].to_numpy())
    signal = sums / (1 + sums) @ activities["activity"].to_numpy()
    assert np.corrcoef(signal, library["truth"]["mean_bin"])[0, 1] > 0.98


def test_same_seed_same_bytes(tmp_path, motif_file, library):
    again = simulate.library(PTPA, motif_file, SIZE, seed=1)
    for folder, tables in (("a", library), ("b", again)):
        simulate.write(tables, {name: str(tmp_path / folder / f"{name}.tsv.gz") for name in tables})
    for name in library:
        assert (tmp_path / "a" / f"{name}.tsv.gz").read_bytes() == (tmp_path / "b" / f"{name}.tsv.gz").read_bytes()
    other = simulate.library(PTPA, motif_file, SIZE, seed=2)
    assert not (other["promoters"]["sequence"] == library["promoters"]["sequence"]).any()
