import dataclasses
import gzip
import io
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest
from Bio import SeqIO
from scipy import stats

from gpraflow.assay import inserts, simulate, simulated_library, simulated_reads
from gpraflow.assay import reads as assay_reads
from gpraflow.core import logs
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.sequences import motifs, scaffold
from gpraflow.sequences.scaffold import Scaffold, one_hot, tokenize
from tests.assay import in_memory

BINS = 18
INNER = np.linspace(-4, 4, BINS - 1)
SINGLE = simulated_library.Assay(promoters=1500, independent=150, active_factors=12, reads=30_000)
PAIRED = dataclasses.replace(SINGLE, promoters=300, independent=10, reads=4000, read_length=100, reverse_reads=0.1, indel_errors=0.0)
TABLES = ("truth", "independent", "activities")


def sheet_of(folder, replicates=("",), paired=False, suffix=".fastq.gz", lanes=1):
    rows = []
    for replicate in replicates:
        for number in range(BINS):
            names = [",".join(f"{folder}/reads/{replicate}{number}_L{i}_R{mate}{suffix}" for i in range(lanes)) for mate in (1, 2)]
            row = {"bin": f"bin_{number}", "reads": names[0]} | ({"reads_2": names[1]} if paired else {})
            row |= {"lower": INNER[number - 1]} if number else {}
            row |= {"upper": INNER[number]} if number < BINS - 1 else {}
            rows.append(row | ({"replicate": replicate} if replicate else {}))
    return rows


def paths_of(folder):
    return {"bins": str(folder / "bins.tsv")} | {name: str(folder / f"{name}.tsv.gz") for name in TABLES}


@dataclasses.dataclass
class Run:
    """What a simulation wrote: sheet, tables and, by column `reads` or `reads_2`, Biopython's records of all bins."""

    folder: object
    bins: pl.DataFrame
    truth: pl.DataFrame
    independent: pl.DataFrame
    activities: pl.DataFrame

    def records(self, column="reads", rows=slice(None)):
        for cell in self.bins[column].to_list()[rows]:
            for name in cell.split(","):
                yield from SeqIO.parse(io.StringIO("\n".join(lines_of(name))), "fastq")


def lines_of(name):
    with gzip.open(name, "rt") if str(name).endswith(".gz") else open(name) as handle:
        return handle.read().splitlines()


def files_of(rows):
    return [name for row in rows for key in ("reads", "reads_2") for name in row.get(key, "").split(",") if name]


def simulated(folder, root, assay, seed=1, threads=2, **form):
    pTpA = scaffold.load(root / "resources/scaffolds.yaml", "pTpA")
    motif_file = str(root / "resources/motifs/jaspar2026_yeast.jaspar")
    rows = sheet_of(folder, **form)
    simulate.write(pTpA, motif_file, rows, assay, seed, files_of(rows), paths_of(folder), threads)
    tables = {name: pl.read_csv(folder / f"{name}.tsv.gz", separator="\t") for name in TABLES}
    return Run(folder, pl.read_csv(folder / "bins.tsv", separator="\t"), **tables)


@pytest.fixture(scope="module")
def motif_file(root):
    return str(root / "resources/motifs/jaspar2026_yeast.jaspar")


@pytest.fixture(scope="module")
def pTpA(root):
    return scaffold.load(root / "resources/scaffolds.yaml", "pTpA")


@pytest.fixture(scope="module")
def single(tmp_path_factory, root):
    return simulated(tmp_path_factory.mktemp("single"), root, SINGLE)


@pytest.fixture(scope="module")
def pairs(tmp_path_factory, root):
    return simulated(tmp_path_factory.mktemp("pairs"), root, PAIRED, paired=True)


def as_matrix(texts):
    return np.frombuffer("".join(texts).encode(), np.uint8).reshape(len(texts), -1)


def bases(records):
    return as_matrix([str(record.seq) for record in records])


def qualities(records):
    return np.array([record.letter_annotations["phred_quality"] for record in records])


# motifs and occupancy


def test_motifs_are_jaspars(motif_file):
    found = {motif.matrix_id: motif for motif in motifs.load(motif_file)}
    assert len(found) == 176
    abf1 = found["MA0265.3"]
    assert (abf1.factor, abf1.log_odds.shape) == ("ABF1", (14, 4))
    assert abf1.log_odds[1, 1] == pytest.approx(np.log((421 / 427 + 0.01) / 1.04 / 0.25), rel=1e-5)


def test_missing_and_empty_motif_file(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        motifs.load(tmp_path / "no")
    (tmp_path / "empty").write_text("")
    with pytest.raises(InputError, match="no motif"):
        motifs.load(tmp_path / "empty")


def enumerated(row, chosen, concentration):
    """Occupancies from every configuration of sites that do not overlap, one by one."""
    sites = []
    for index, motif in enumerate(chosen):
        width, best = len(motif.log_odds), motif.log_odds.max(axis=1).sum()
        for start in range(len(row) - width + 1):
            word = row[start : start + width]
            if 4 in word:
                continue
            for strand in (word, [3 - t for t in word[::-1]]):
                score = sum(motif.log_odds[i, t] for i, t in enumerate(strand))
                sites.append((start, start + width, index, np.exp(score - best + concentration[index])))
    total, bound = 0.0, np.zeros(len(chosen))

    def extend(first, taken, weight, counts):
        nonlocal total, bound
        total += weight
        bound = bound + weight * counts
        for number in range(first, len(sites)):
            start, end, index, factor = sites[number]
            if all(end <= other[0] or start >= other[1] for other in taken):
                extend(number + 1, [*taken, sites[number]], weight * factor, counts + np.eye(len(chosen))[index])

    extend(0, [], 1.0, np.zeros(len(chosen)))
    return bound / total


def random_motif(rng, name, width):
    return motifs.Motif(name, name, rng.normal(0, 1, (width, 4)).astype(np.float32))


def test_occupancies_are_those_of_all_configurations_counted_one_by_one():
    rng = np.random.default_rng(0)
    chosen = [random_motif(rng, name, width) for name, width in (("a", 4), ("b", 3), ("c", 5), ("d", 4), ("wide", 20))]
    concentration = np.array([2.0, 1.0, 3.0, 0.5, 5.0])
    tokens = rng.integers(0, 4, (6, 11), dtype=np.uint8)
    tokens[0, 0], tokens[1, 6] = 4, 4
    found = motifs.occupancies(tokens, chosen, concentration)
    assert found.dtype == np.float64
    for row, values in zip(tokens, found, strict=True):
        np.testing.assert_allclose(values, enumerated(list(row), chosen, concentration), rtol=2e-4)
    assert (found[:, 4] == 0).all()  # wider than the promoter: no site


def test_occupancies_depend_on_neither_the_promoters_beside_nor_the_padding():
    rng = np.random.default_rng(1)
    chosen = [random_motif(rng, str(width), width) for width in (6, 9, 12, 6)]
    tokens = rng.integers(0, 4, (600, 60), dtype=np.uint8)
    together = motifs.occupancies(tokens, chosen, np.ones(4))
    np.testing.assert_allclose(motifs.occupancies(tokens[555:556], chosen, np.ones(4)), together[555:556], rtol=1e-5)
    padded = np.pad(tokens[:20], ((0, 0), (15, 3)), constant_values=4)
    np.testing.assert_allclose(motifs.occupancies(padded, chosen, np.ones(4)), together[:20], rtol=1e-5)
    assert motifs.occupancies(tokens[:0], chosen, np.ones(4)).shape == (0, 4)


def consensus(text):
    """A motif that binds one word only, on one strand."""
    return motifs.Motif(text, text, np.where(one_hot(tokenize(pl.Series([text]), len(text)))[0] > 0, 2.0, -20.0).astype(np.float32))


def test_sites_apart_do_not_know_of_each_other_and_overlapping_sites_compete():
    first, second = consensus("ACCTGA"), consensus("GATTCC")
    apart = tokenize(pl.Series(["ACCTGATTTTGATTCC"]), 16)
    overlapping = tokenize(pl.Series(["TTTACCTGATTCCTTT"]), 16)
    strong = np.log([9.0, 9.0])
    np.testing.assert_allclose(motifs.occupancies(apart, [first, second], strong), [[0.9, 0.9]], rtol=1e-4)
    (shared,) = motifs.occupancies(overlapping, [first, second], strong)
    np.testing.assert_allclose(shared, [9 / 19, 9 / 19], rtol=1e-4)
    assert shared.sum() < 1
    (yielding,) = motifs.occupancies(overlapping, [first, second], np.log([9.0, 900.0]))
    np.testing.assert_allclose(yielding, [9 / 910, 900 / 910], rtol=1e-3)


def test_occupancy_saturates_at_the_sites_that_have_room():
    motif, tokens = consensus("AAAA"), tokenize(pl.Series(["A" * 10]), 10)
    found = [motifs.occupancies(tokens, [motif], np.array([c]))[0, 0] for c in (-4.0, -4.0 + np.log(2), 3.0, 3.0 + np.log(2), 12.0)]
    assert found[1] / found[0] == pytest.approx(2, abs=0.2)
    assert found[3] / found[2] < 1.2
    assert found[4] == pytest.approx(2, abs=0.01)  # two of four bp fit into ten


def test_a_site_on_the_other_strand_counts_the_same():
    chosen = [consensus("ACCTGA"), consensus("GATTCC")]
    tokens = tokenize(pl.Series(["TTTACCTGATTCCTTTGATTCC"]), 22)
    for both in (np.zeros(2), np.array([1.0, 3.0])):
        turned = motifs.occupancies(scaffold.reverse_complement(tokens), chosen, both)
        np.testing.assert_allclose(motifs.occupancies(tokens, chosen, both), turned, rtol=1e-5)


# promoters


def test_inserts_have_the_library_s_lengths_and_some_n(pTpA, motif_file):
    library = simulated_library.make_library(
        pTpA, motif_file, INNER, dataclasses.replace(SINGLE, promoters=10_000, active_factors=2), seed=3
    )
    assert library.sequences.str.starts_with(pTpA.five_prime).all()
    assert library.sequences.str.ends_with(pTpA.three_prime).all()
    lengths = library.sequences.str.len_bytes().to_numpy() - 30
    assert (lengths == library.lengths).all()
    assert 0.805 < (lengths == 80).mean() < 0.835
    assert 0.115 < (lengths == 79).mean() < 0.137
    assert (lengths.min(), lengths.max()) > (56, 85)
    assert lengths.max() <= 105
    assert 0.002 < library.sequences.str.contains("N").mean() < 0.006
    assert library.sequences.str.count_matches("N").max() == 1
    assert library.sequences.n_unique() == 10_150


def test_strength_is_activity_times_occupancy_scaled_to_the_gates(single, motif_file):
    by_id = {motif.matrix_id: motif for motif in motifs.load(motif_file)}
    chosen = [by_id[name] for name in single.activities["matrix"]]
    assert single.activities["factor"].to_list() == [motif.factor for motif in chosen]
    bound = motifs.occupancies(tokenize(single.truth["sequence"], 140), chosen, single.activities["log_concentration"].to_numpy())
    strength = bound @ single.activities["activity"].to_numpy()
    of_factors = (np.abs(single.activities["activity"].to_numpy()) * bound).std(axis=0)  # fewer than 5,000 promoters
    np.testing.assert_allclose(single.activities["effect_sd"], of_factors, atol=2e-6)
    signal = single.truth["mean_signal"].to_numpy()
    standard = (strength - strength.mean()) / strength.std()
    np.testing.assert_allclose(signal, 4 * np.tanh(2.0 * standard / 4), atol=2e-4)
    np.testing.assert_allclose(single.truth["mean_bin"], (signal + 4) / 0.5 + 0.5, atol=1e-4)
    spread = np.log(single.truth["cell_sd"].to_numpy())
    assert spread.mean() == pytest.approx(np.log(0.75), abs=0.02)
    assert spread.std() == pytest.approx(0.1, abs=0.01)


def test_independent_promoters_are_measured_through_200_cells(single):
    table = single.independent
    assert table.columns == ["sequence", "expression", "expression_sd", "n_reads", "n_bins", "singleton"]
    assert not set(table["sequence"]) & set(single.truth["sequence"])
    assert (table["n_reads"] == 200).all()
    assert ((table["expression"] * 200 - (table["expression"] * 200).round()).abs() < 0.01).all()
    assert (table["singleton"] == (table["n_bins"] == 1)).all()
    inner = table.filter((pl.col("expression") > 5) & (pl.col("expression") < 12))
    # Cells of 1.5 bins, with a spread of 10 %, rounding to bins and 2 % of cells a bin off.
    expected = np.sqrt((1.5**2 * np.exp(2 * 0.1**2) + 1 / 12 + 0.02) / 200)
    assert np.sqrt((inner["expression_sd"] ** 2).mean()) == pytest.approx(expected, rel=0.05)


# the sort


def test_cells_of_promoters_are_over_dispersed(single):
    cells = single.truth["cells"].to_numpy()
    assert cells.mean() == pytest.approx(25, rel=0.1)
    assert (cells.var() - cells.mean()) / cells.mean() ** 2 == pytest.approx(1, abs=0.2)
    rng = np.random.default_rng(0)
    for dispersion in (0.0, 0.5, 3.0):
        drawn = rng.poisson(10 * simulated_library.gamma(rng, dispersion, 100_000))
        assert drawn.mean() == pytest.approx(10, rel=0.03)
        assert drawn.var() == pytest.approx(10 + dispersion * 100, rel=0.06)


def test_cells_fall_into_bins_as_the_normal_law_says():
    rng = np.random.default_rng(0)
    bins = simulated_library.sort_cells(np.array([0.3, -4.2]), np.array([0.8, 0.5]), np.array([80_000, 40_000]), INNER, 0.0, rng)
    for cells, mean, sd in ((bins[:80_000], 0.3, 0.8), (bins[80_000:], -4.2, 0.5)):
        expected = np.diff(stats.norm.cdf([-np.inf, *INNER, np.inf], mean, sd))
        np.testing.assert_allclose(np.bincount(cells, minlength=BINS) / len(cells), expected, atol=0.007)


def test_sorting_errors_go_to_the_neighbours():
    rng = np.random.default_rng(0)
    signal = np.array([INNER[0] - 0.25, 0.25, INNER[-1] + 0.25])  # the lowest bin, bin 9, the highest
    bins = simulated_library.sort_cells(signal, np.full(3, 1e-6), np.full(3, 50_000), INNER, 0.02, rng).reshape(3, -1)
    shares = [np.bincount(row, minlength=BINS) / 50_000 for row in bins]
    assert shares[0][[0, 1]] == pytest.approx([0.98, 0.02], abs=0.002)
    assert shares[1][[8, 9, 10]] == pytest.approx([0.01, 0.98, 0.01], abs=0.002)
    assert shares[2][[16, 17]] == pytest.approx([0.02, 0.98], abs=0.002)
    assert [np.count_nonzero(share) for share in shares] == [2, 3, 2]


def test_sheet_and_truth_count_the_same_cells_and_their_mean_bin_is_the_truth(tmp_path, root, monkeypatch):
    sorted_into = {}

    def keep(row, owner, reads, *_):
        sorted_into[row["replicate"], row["bin"]] = owner
        return np.zeros(1500, int)

    monkeypatch.setattr(simulate, "write_bin", keep)
    run = simulated(tmp_path, root, dataclasses.replace(SINGLE, cells_per_promoter=60), replicates=("one", "two"))
    assert run.bins.columns == ["bin", "reads", "lower", "upper", "cells", "replicate"]
    assert run.bins["lower"].to_list() == [None, *INNER, None, *INNER]
    for row in run.bins.iter_rows(named=True):
        assert row["cells"] == len(sorted_into[row["replicate"], row["bin"]])
    everywhere = np.concatenate(list(sorted_into.values()))
    assert (run.truth["cells"].to_numpy() == np.bincount(everywhere, minlength=1500)).all()

    means, counts = [], []
    for replicate in ("one", "two"):
        owners = [sorted_into[replicate, f"bin_{number}"] for number in range(BINS)]
        count = sum(np.bincount(owner, minlength=1500) for owner in owners)
        total = sum(number * np.bincount(owner, minlength=1500) for number, owner in enumerate(owners))
        counts.append(count)
        means.append(total / np.maximum(count, 1))
    assert counts[0].mean() == pytest.approx(60, rel=0.1)
    assert np.corrcoef(counts)[0, 1] > 0.95  # the same library, sorted twice
    assert (means[0] != means[1]).any()
    deep = counts[0] > 50
    assert deep.sum() > 500
    assert np.corrcoef(means[0][deep], run.truth["mean_bin"].to_numpy()[deep])[0, 1] > 0.98
    inside = deep & run.truth["mean_bin"].is_between(3, 14).to_numpy()
    error = (means[0] - run.truth["mean_bin"].to_numpy())[inside] * np.sqrt(counts[0][inside])
    spread = 2 * run.truth["cell_sd"].to_numpy()[inside]
    assert np.std(error / np.sqrt(spread**2 + 1 / 12 + 0.02)) == pytest.approx(1, abs=0.08)


# sequencing


def test_reads_are_shared_out_by_cells_and_depth(single):
    rng = np.random.default_rng(0)
    cells = np.full(4000, 100)
    reads = np.array(simulated_reads.depths(cells, dataclasses.replace(SINGLE, reads=4_000_000), rng))
    assert reads.sum() == 4_000_000
    assert np.log(reads).std() == pytest.approx(0.3, abs=0.015)
    assert simulated_reads.depths(np.array([0, 10, 30]), dataclasses.replace(SINGLE, reads=400, depth_spread=0.0), rng) == [0, 100, 300]
    assert sum(1 for _ in single.records()) == 30_000
    assert single.truth["reads"].sum() == pytest.approx(29_700, abs=60)


def test_reads_of_a_cell_vary_with_amplification(tmp_path, pTpA, motif_file):
    assay = dataclasses.replace(SINGLE, promoters=20_000, independent=1, active_factors=1, read_length=1, foreign_reads=0.0)
    library = simulated_library.make_library(pTpA, motif_file, INNER, assay, 1)
    molecules = simulated_reads.make_molecules(pTpA, library, assay, paired=False)
    courses = simulated_reads.quality_courses(assay, np.random.default_rng(0))
    row = {"bin": "b", "reads": str(tmp_path / "b.fastq")}
    for spread in (0.0, 0.5):
        cells = np.arange(20_000, dtype=np.int32)
        reads = simulated_reads.write_bin(row, cells, 400_000, molecules, courses, dataclasses.replace(assay, pcr_spread=spread), 1)
        assert reads.sum() == 400_000
        assert reads.var() == pytest.approx(20 + 400 * (np.exp(spread**2) - 1), rel=0.05)


def test_a_record_is_plain_fastq(single):
    name = single.bins["reads"][9]
    lines = lines_of(name)
    count = len(lines) // 4
    digits = len(str(count))
    assert lines[0] == f"@sim.bin_9.{1:0{digits}}"
    assert lines[-4] == f"@sim.bin_9.{count}"
    assert len({*lines[::4]}) == count
    assert {*lines[2::4]} == {"+"}
    assert {len(line) for line in lines[1::4] + lines[3::4]} == {150}
    assert {*"".join(lines[1::4])} == set("ACGTN")
    assert {*"".join(lines[3::4])} == set("#-8F")  # 2, 12, 23, 37
    with open(name, "rb") as handle:
        assert handle.read(10)[4:8] == b"\0\0\0\0"  # no time stamp


def test_errors_are_as_many_as_asked_for_and_lie_where_quality_is_low(tmp_path, root):
    assay = dataclasses.replace(SINGLE, promoters=40, independent=1, active_factors=2, reads=20_000, indel_errors=0.0, base_errors=0.004)
    run = simulated(tmp_path, root, assay)
    records = list(run.records())
    read, quality = bases(records), qualities(records)
    plasmid = "GTTCCCGATTCGAAC", "TCTTAATTAAAAAAAGATAGAAAACATTAGG"
    amplicons = as_matrix([(plasmid[0] + text + plasmid[1]).ljust(150)[:150] for text in run.truth["sequence"]])
    distance = np.stack([(read != amplicon).sum(axis=1) for amplicon in amplicons])
    own = distance.min(axis=0) < 85
    assert own.mean() == pytest.approx(0.99, abs=0.003)
    assert own.sum() == run.truth["reads"].sum()
    assert (np.bincount(distance.argmin(axis=0)[own], minlength=40) == run.truth["reads"].to_numpy()).all()

    read, quality, true = read[own], quality[own], amplicons[distance.argmin(axis=0)[own]]
    known = (true != ord(" ")) & (true != ord("N"))
    is_n = read == ord("N")
    assert (is_n == (quality == 2)).all()
    assert is_n[known].mean() == pytest.approx(0.0004, rel=0.2)
    wrong = (read != true) & known & ~is_n
    assert wrong.sum() / (known & ~is_n).sum() == pytest.approx(0.004, rel=0.06)
    rates = [wrong[known & (quality == q)].mean() for q in (12, 23, 37)]
    assert rates[0] == pytest.approx(rates[1] * 10**1.1, rel=0.15)
    assert rates[1] == pytest.approx(rates[2] * 10**1.4, rel=0.2)
    assert quality[:, :30].mean() > quality[:, -30:].mean() + 1
    assert (quality == 37).mean() == pytest.approx(0.9, abs=0.02)
    assert 0 < (quality.mean(axis=1) < 20).mean() < 0.03


def test_flanks_are_exact_as_often_as_errors_leave_them(single):
    records = list(single.records(rows=slice(6, 12)))
    read, quality = bases(records), qualities(records)
    scale = 0.002 / np.mean(10 ** (-quality[quality > 2] / 10))
    right = np.where(quality > 2, 1 - scale * 10 ** (-quality / 10), 0) - 0.0001
    for text, begin in (("GTTCCCGATTCGAAC", 0), ("TGCATTTTTTTCACATC", 15)):
        found = (read[:, begin : begin + len(text)] == as_matrix([text])).all(axis=1).mean()
        assert found == pytest.approx(0.99 * np.prod(right[:, begin : begin + len(text)], axis=1).mean(), abs=0.004)
    three = "GGTTACGGCTGTTTCTTAATTAA"  # with plasmid behind it
    found = np.mean([three in str(record.seq) for record in records])
    assert found == pytest.approx(0.99 * np.prod(right[:, 112 : 112 + len(three)], axis=1).mean(), abs=0.008)


def test_single_reads_run_into_the_plasmid_and_on_if_it_is_short(pTpA, motif_file, root):
    pTpA = dataclasses.replace(pTpA, upstream=pTpA.upstream[-37:])
    assay = dataclasses.replace(SINGLE, promoters=20, independent=1, active_factors=1, read_length=250, upstream_bases=50)
    library = simulated_library.make_library(pTpA, motif_file, INNER, assay, 1)
    forward, reverse = simulated_reads.make_molecules(pTpA, library, assay, paired=False)
    extensions = set()
    for number, sequence in enumerate(library.sequences[:20]):
        for tokens, ends in ((forward, (37, 31)), (scaffold.reverse_complement(reverse), None)):
            text = "".join("ACGTN"[t] for t in tokens[number])
            assert pTpA.upstream + sequence + pTpA.downstream in text
            if ends:
                assert text.index(sequence) == 50
                extensions.add((text[:13], text[50 + len(sequence) + 31 :][:40]))
            else:
                assert len(text) - text.index(sequence) - len(sequence) == 50
    assert len(extensions) == 1  # the plasmid is the same behind every promoter
    other = simulated_reads.make_molecules(pTpA, dataclasses.replace(library, inserts=library.inserts[::-1]), assay, paired=False)
    assert (other[0][:20, :67] == forward[:20, :67]).all()
    bare = Scaffold("bare", "", "")
    plain = simulated_reads.make_molecules(bare, simulated_library.make_library(bare, motif_file, INNER, assay, 1), assay, paired=False)
    assert plain[0].shape == plain[1].shape == (20 + 2000, 250 + 16)


def test_indels_shift_the_rest_of_the_read():
    assay = dataclasses.replace(SINGLE, read_length=60, base_errors=0.0, indel_errors=0.002)
    rng = np.random.default_rng(0)
    molecules = rng.integers(0, 4, (20_000, 76), dtype=np.uint8)
    before = molecules.copy()
    called, quality = simulated_reads.misread(molecules, simulated_reads.quality_courses(assay, rng), assay, rng)
    assert (molecules == before).all()
    assert called.shape == quality.shape == (20_000, 60)
    true = np.frombuffer(b"ACGT", np.uint8)[molecules]
    whole = (called == true[:, :60]).all(axis=1)
    assert whole.mean() == pytest.approx(np.exp(-0.12), abs=0.02)  # some indels change nothing that is seen
    one_out = (called[:, -8:] == true[:, 53:61]).all(axis=1) & ~whole
    one_in = (called[:, -8:] == true[:, 51:59]).all(axis=1) & ~whole
    assert one_out.mean() == pytest.approx(0.05, abs=0.01)
    assert one_in.mean() == pytest.approx(0.05, abs=0.01)


def test_without_errors_reads_are_the_molecules(tmp_path, root):
    assay = dataclasses.replace(
        SINGLE, promoters=200, independent=1, active_factors=1, reads=3000, base_errors=0.0, indel_errors=0.0, foreign_reads=0.0
    )
    run = simulated(tmp_path, root, assay, suffix=".fastq", lanes=2)
    texts = [str(record.seq) for record in run.records()]
    counts = {row["sequence"]: row["reads"] for row in run.truth.iter_rows(named=True)}
    found = dict.fromkeys(counts, 0)
    for text in texts:
        found[text[15 : text.index("GGTTACGGCTGTTTCTTAATT") + 13]] += 1
    assert found == counts
    lanes = [name.split(",") for name in run.bins["reads"]]
    sizes = [[len(lines_of(name)) // 4 for name in lane] for lane in lanes]
    assert sum(map(sum, sizes)) == 3000
    assert all(0 <= first - second <= 1 for first, second in sizes)


def test_foreign_and_reverse_reads(tmp_path, root):
    assay = dataclasses.replace(SINGLE, promoters=300, independent=1, active_factors=1, reads=8000, foreign_reads=0.2, reverse_reads=0.3)
    run = simulated(tmp_path, root, assay)
    texts = [str(record.seq) for record in run.records()]
    forward = np.mean(["GAACTGCATTTTTTTCACATC" in text for text in texts])
    backward = np.mean([text.startswith("TTTTTTTAATTAAGAAACAGCCGTAACC") for text in texts])
    assert forward == pytest.approx(0.8 * 0.7, abs=0.025)
    assert backward == pytest.approx(0.8 * 0.3, abs=0.025)
    assert run.truth["reads"].sum() == pytest.approx(6400, abs=150)


def test_pairs_are_the_two_ends_of_one_amplicon(pairs):
    truth = {text[17:37]: text for text in pairs.truth["sequence"]}
    lefts, rights, amplicons, turned = [], [], [], 0
    for first, second in zip(pairs.records("reads"), pairs.records("reads_2"), strict=True):
        assert first.id == second.id
        assert len(first) == len(second) == 100
        if not str(first.seq).startswith("GTTCCCGATTC") and str(second.seq).startswith("GTTCCCGATTC"):
            turned += 1
            first, second = second, first
        if promoter := truth.get(str(first.seq)[32:52]):
            lefts.append(str(first.seq))
            rights.append(str(second.seq.reverse_complement()))
            amplicons.append("GTTCCCGATTCGAAC" + promoter + "TCTTAATTAAAAAAA")
    assert turned / 4000 == pytest.approx(0.1, abs=0.015)
    assert len(lefts) == pytest.approx(4000 * 0.99, rel=0.03)
    for reads, ends in ((lefts, [text[:100] for text in amplicons]), (rights, [text[-100:] for text in amplicons])):
        assert (as_matrix(reads) != as_matrix(ends)).mean() == pytest.approx(0.002, abs=0.0012)
    usual = [number for number, text in enumerate(amplicons) if len(text) == 140]
    disagreements = as_matrix([lefts[number][40:] for number in usual]) != as_matrix([rights[number][:60] for number in usual])
    assert 0.002 < disagreements.mean() < 0.006


def test_short_amplicons_of_pairs_end_in_the_adapters(pTpA, motif_file):
    assay = dataclasses.replace(PAIRED, promoters=30, independent=1, active_factors=1, read_length=200)
    library = simulated_library.make_library(pTpA, motif_file, INNER, assay, 1)
    first, second = simulated_reads.make_molecules(pTpA, library, assay, paired=True)
    for number, sequence in enumerate(library.sequences[:30]):
        amplicon = "GTTCCCGATTCGAAC" + sequence + "TCTTAATTAAAAAAA"
        forth, back = ("".join("ACGTN"[t] for t in tokens[number]) for tokens in (first, second))
        assert forth.startswith(amplicon + "AGATCGGAAGAGCACACGTCTGAACTCCAGTCA")
        turned = "".join("TGCAN"["ACGTN".index(base)] for base in amplicon[::-1])
        assert back.startswith(turned + "AGATCGGAAGAGCGTCGTGTAGGGAAAGAGTGT")


# the whole


def test_same_seed_same_bytes_whatever_the_threads(tmp_path, root):
    assay = dataclasses.replace(SINGLE, promoters=200, independent=20, active_factors=3, reads=3000)
    contents = []
    for folder, seed, threads in (("a", 1, 1), ("b", 1, 3), ("c", 2, 3)):
        simulated(tmp_path / folder, root, assay, seed, threads, paired=True)
        files = sorted(path for path in (tmp_path / folder).rglob("*") if path.is_file())
        contents.append({path.relative_to(tmp_path / folder): path.read_bytes() for path in files})
        contents[-1].pop(next(path for path in contents[-1] if path.name == "bins.tsv"))  # names its folder
    assert len(contents[0]) == 2 * BINS + 3
    assert contents[0] == contents[1]
    assert all(contents[0][name] != contents[2][name] for name in contents[0])


def test_a_run_that_is_cut_off_leaves_no_part_of_a_file(tmp_path, root, monkeypatch):
    blocks = []

    def fail_later(*arguments):
        blocks.append(1)
        if len(blocks) > 3:
            raise KeyboardInterrupt
        return misread(*arguments)

    misread = simulated_reads.misread
    monkeypatch.setattr(simulated_reads, "misread", fail_later)
    monkeypatch.setattr(simulated_reads, "BLOCK", 50)
    with pytest.raises(KeyboardInterrupt):
        simulated(tmp_path, root, dataclasses.replace(SINGLE, promoters=200, independent=1, active_factors=1, reads=9000), threads=1)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_empty_bin_gives_an_empty_file(tmp_path, root):
    assay = dataclasses.replace(SINGLE, promoters=20, independent=1, active_factors=1, reads=100, signal_sd=0.01, sorting_errors=0.0)
    run = simulated(tmp_path, root, assay)
    assert run.bins["cells"][0] == 0
    with gzip.open(run.bins["reads"][0]) as handle:
        assert handle.read() == b""
    assert sum(1 for _ in run.records()) == 100


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({3: {"lower": None, "upper": None}, 4: {"lower": None}}, "gate between bins 'bin_3' and 'bin_4': found none"),
        ({3: {"upper": -2.4}}, "gate between bins 'bin_3' and 'bin_4': found -2.5 and -2.4"),
        ({3: {"upper": -3.0}, 4: {"lower": -3.0}}, "with increasing gates"),
        ({3: {"reads": None}}, "bin 'bin_3' has no reads"),
        ({3: {"reads": "a.gz"}, 4: {"reads": "a.gz"}}, "a.gz is already listed"),
    ],
)
def test_a_sheet_that_cannot_be_simulated_is_refused(tmp_path, change, message):
    rows = sheet_of(tmp_path)
    for number, cells in change.items():
        rows[number] = {column: value for column, value in (rows[number] | cells).items() if value is not None}
    with pytest.raises(ConfigError, match=message):
        simulate.write(Scaffold("x", "", ""), "", rows, SINGLE, 1, files_of(rows), {})


def test_files_that_are_not_simulated_are_left_as_they_are(tmp_path):
    rows = sheet_of(tmp_path)
    Path(rows[3]["reads"]).parent.mkdir(parents=True, exist_ok=True)
    Path(rows[3]["reads"]).write_text("precious")
    with pytest.raises(ConfigError, match="is not one of the simulated files, and is not overwritten"):
        simulate.write(Scaffold("x", "", ""), "", rows, SINGLE, 1, files_of(rows[:3]), {})
    assert Path(rows[3]["reads"]).read_text() == "precious"


def test_a_gate_may_be_given_by_one_of_its_bins_and_replicates_have_their_own(tmp_path):
    rows = sheet_of(tmp_path, replicates=("a", "b"))
    del rows[3]["upper"], rows[6]["lower"]
    for row in rows[BINS:]:
        row |= {column: row[column] + 1 for column in ("lower", "upper") if column in row}
    gates = simulated_library.replicate_gates(rows)
    np.testing.assert_array_equal(gates["a"], INNER)
    np.testing.assert_array_equal(gates["b"], INNER + 1)
    with pytest.raises(ConfigError, match="at least two bins"):
        simulated_library.replicate_gates(rows[:1])
    np.testing.assert_allclose(simulated_library.bin_units(np.array([1.0, 4.0]), np.array([1.0])), [0.5, 3.5])


def test_plasmid_of_a_scaffold_is_optional_and_checked(tmp_path, pTpA):
    assert pTpA.upstream.endswith("GTTCCCGATTCGAAC")
    assert pTpA.downstream.startswith("TCTTAATTAA")
    assert Scaffold("x", "A", "C") == Scaffold("x", "A", "C", "", "")
    (tmp_path / "s.yaml").write_text("odd: {five_prime: ACGT, downstream: ACGU}\nplain: {five_prime: ACGT}\n")
    assert scaffold.load(tmp_path / "s.yaml", "plain").upstream == ""
    with pytest.raises(ConfigError, match=r"odd\.downstream"):
        scaffold.load(tmp_path / "s.yaml", "odd")


def test_adapter_writes_what_the_rule_names(tmp_path, root, monkeypatch):
    monkeypatch.setattr(logs, "log_to", lambda path: io.StringIO())
    paths = paths_of(tmp_path)
    library = dataclasses.asdict(dataclasses.replace(SINGLE, promoters=50, independent=5, active_factors=2, reads=500))
    job = SimpleNamespace(
        input=SimpleNamespace(scaffolds=root / "resources/scaffolds.yaml", motifs=root / "resources/motifs/jaspar2026_yeast.jaspar"),
        output=SimpleNamespace(reads=files_of(sheet_of(tmp_path)), **paths),
        params=SimpleNamespace(scaffold="pTpA", seed=1, sheet=sheet_of(tmp_path), library=library),
        log=[str(tmp_path / "log")],
        threads=1,
    )
    runpy.run_path(str(root / "scripts/simulate_assay.py"))["main"](job)
    assert sum(len(lines_of(path)) for path in (tmp_path / "reads").iterdir()) == 4 * 500
    assert all((tmp_path / name).is_file() for name in ("bins.tsv", "truth.tsv.gz", "independent.tsv.gz", "activities.tsv.gz"))


@pytest.mark.parametrize("max_edits", [1, 2])
@pytest.mark.parametrize("min_mean_quality", [0, 28])
def test_simulated_errors_are_those_that_qualities_predict(single, pTpA, max_edits, min_mean_quality):
    """Merging of sequencing errors does not stop on simulated reads: with the default `reads.max_collapsed`, nor with half of it."""
    policy = inserts.Policy.of(pTpA, "auto", "auto", min_mean_quality=min_mean_quality)
    bins, expected = [], 0
    for name, path in single.bins.select("bin", "reads").iter_rows():
        ledger = Ledger("count_reads", name)
        bins.append((name, assay_reads.count([path], policy, ledger).lazy()))
        expected += ledger.counts["noted", assay_reads.EXPECTED_ERRORS]
    table, ledgers = in_memory.merge(bins, pTpA, max_edits, 2, expected=expected, max_collapsed=0.025)
    moved = sum(ledger.counts.get(("noted", "reads with a sequencing error, counted for the parent insert"), 0) for ledger, _ in ledgers)
    assert 0.7 < moved / expected < 1.3
    assert table.height < 3 * 1500


def test_an_unsorted_sample_is_of_the_whole_library_and_no_bin(tmp_path, root, monkeypatch):
    taken = {}

    def keep(row, owner, reads, *_):
        taken[row["bin"]] = owner, reads
        return np.full(PAIRED.promoters, 1 + (row["bin"] == "input"))

    monkeypatch.setattr(simulate, "write_bin", keep)
    rows = [*sheet_of(tmp_path), {"bin": "input", "kind": "unsorted", "reads": f"{tmp_path}/reads/input.fastq.gz"}]
    assay = dataclasses.replace(PAIRED, cells_per_promoter=30)
    pTpA = scaffold.load(root / "resources/scaffolds.yaml", "pTpA")
    motif_file = str(root / "resources/motifs/jaspar2026_yeast.jaspar")
    simulate.write(pTpA, motif_file, rows, assay, 1, files_of(rows), paths_of(tmp_path), 1)
    bins = pl.read_csv(tmp_path / "bins.tsv", separator="\t")
    truth = pl.read_csv(tmp_path / "truth.tsv.gz", separator="\t")
    assert bins["kind"].to_list() == [None] * BINS + ["unsorted"]
    assert bins["cells"].to_list() == [*(len(taken[f"bin_{number}"][0]) for number in range(BINS)), None]
    assert truth["cells"].sum() == bins["cells"].sum()
    assert truth["reads"].to_list() == [BINS] * PAIRED.promoters  # without those of the unsorted sample
    owner, reads = taken["input"]
    assert len(owner) == pytest.approx(30 * PAIRED.promoters, rel=0.15)
    assert reads > 0
    sorted_cells = np.bincount(np.concatenate([cells for name, (cells, _) in taken.items() if name != "input"]), minlength=PAIRED.promoters)
    assert np.corrcoef(np.bincount(owner, minlength=PAIRED.promoters), sorted_cells)[0, 1] > 0.9
