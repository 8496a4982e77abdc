"""DNA and RNA counts: reading tables per barcode and per promoter, and log2(RNA/DNA) with its error."""

import gzip
import re

import numpy as np
import polars as pl
import pytest
import yaml
from scipy import special, stats

from gpraflow.app.plan import Plan
from gpraflow.assay import dna_rna, figures, sheet
from gpraflow.assay import dna_rna_model as model
from gpraflow.core import config as configs
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger

COLUMNS = {"sequence": "sequence"} | dict.fromkeys(("name", "barcode", "replicate", "group", "split", "source"), "auto")
ONE = [{"replicate": "1", "dna": "dna", "rna": "rna"}]
TWO = [{"replicate": name, "dna": f"dna_count_{name}", "rna": f"rna_count_{name}"} for name in "12"]
LONG = [{"replicate": name, "dna": "dna_counts", "rna": "rna_counts"} for name in "12"]


def simulate(
    rng, promoters, barcodes, depth, *, replicates=1, shared_dna=False, replicate_sd=0.0, ratio_sd=1.0, levels=0.0, dispersion=0.3
):
    """Return DNA and RNA counts, promoter of each barcode, and true log2(RNA/DNA) relative to the library.

    DNA per barcode is gamma-Poisson (shape 2); RNA is Poisson-gamma around ratio x abundance of DNA, with half of its dispersion common to
    the replicates. ``levels`` is the squared coefficient of variation of DNA between promoters.
    """
    ratio = 2 ** rng.normal(0, ratio_sd, promoters)
    level = depth * (rng.gamma(1 / levels, levels, promoters) if levels else np.ones(promoters))
    promoter = np.repeat(np.arange(promoters), barcodes)
    abundance = rng.gamma(2, level[promoter] / 2)
    common, own = (rng.gamma(2 / dispersion, dispersion / 2, (replicates, len(promoter))) for _ in range(2))
    batch = np.exp(rng.normal(0, replicate_sd, (replicates, promoters)))[:, promoter]
    rna = rng.poisson(abundance * ratio[promoter] * common[0] * own * batch)
    dna = rng.poisson(np.broadcast_to(abundance, (1 if shared_dna else replicates, len(promoter))))
    truth = np.log2(ratio) - np.log2(abundance @ ratio[promoter] / abundance.sum())
    return dna.T, rna.T, promoter, truth


def estimated(dna, rna, promoter, promoters, *, libraries=None, prior="library", dispersion="auto", ledger=None):
    """Estimate as the rule does, from barcodes with DNA."""
    kept = dna.sum(axis=1) >= 1
    names = [str(number) for number in range(rna.shape[1])]
    labels = pl.DataFrame({"sequence": [f"{number}" for number in range(promoters)]})
    counts = dna_rna.Counts(labels, dna[kept], rna[kept], names, libraries or list(range(rna.shape[1])), promoter[kept])
    return counts, *dna_rna.estimate(counts, prior=prior, dispersion=dispersion, minimum_dna=1, ledger=ledger or Ledger("x", "x"))


def coverage(activity, truth):
    known = np.isfinite(activity.expression)
    return ((activity.low <= truth) & (truth <= activity.high))[known].mean()


# The estimate


@pytest.mark.parametrize("depth", [5, 20, 100])
@pytest.mark.parametrize(("barcodes", "promoters"), [(2, 1500), (5, 1500), (10, 1200), (50, 900)])
def test_intervals_cover_the_truth_with_few_barcodes_and_few_counts(barcodes, promoters, depth):
    rng = np.random.default_rng([barcodes, depth])
    dna, rna, promoter, truth = simulate(rng, promoters, barcodes, depth)
    _, activity, _ = estimated(dna, rna, promoter, promoters)
    assert 0.92 <= coverage(activity, truth) <= 0.97
    error = activity.expression - truth
    known = np.isfinite(error)
    assert np.sqrt(np.mean(error[known] ** 2)) == pytest.approx(np.sqrt(np.mean(activity.standard_error[known] ** 2)), rel=0.12)
    assert abs(error[known].mean()) < 0.1


@pytest.mark.parametrize(
    "options",
    [
        {"replicates": 3},
        {"replicates": 3, "shared_dna": True},
        {"replicates": 3, "replicate_sd": 0.3},
        {"levels": 0.5},
        {"ratio_sd": 2.0},
        {"dispersion": 1.0},
    ],
    ids=str,
)
@pytest.mark.parametrize(("barcodes", "depth"), [(2, 5), (10, 20)])
def test_intervals_cover_the_truth_in_other_assays(barcodes, depth, options):
    rng = np.random.default_rng([barcodes, depth, 7])
    dna, rna, promoter, truth = simulate(rng, 1200, barcodes, depth, **options)
    libraries = [0, 0, 0] if options.get("shared_dna") else None
    _, activity, _ = estimated(dna, rna, promoter, 1200, libraries=libraries)
    assert 0.92 <= coverage(activity, truth) <= 0.97


def test_the_weak_prior_covers_too_and_hardly_shrinks():
    dna, rna, promoter, truth = simulate(np.random.default_rng(3), 1000, 5, 20)
    _, library, _ = estimated(dna, rna, promoter, 1000)
    _, weak, _ = estimated(dna, rna, promoter, 1000, prior="weak")
    assert 0.92 <= coverage(weak, truth) <= 0.97
    assert np.polyfit(truth, library.expression, 1)[0] < np.polyfit(truth, weak.expression, 1)[0]
    assert np.polyfit(truth, weak.expression, 1)[0] == pytest.approx(1, abs=0.05)


def test_what_promoters_share_is_found_again():
    dna, rna, promoter, _ = simulate(np.random.default_rng(4), 1000, 10, 50, replicates=3, replicate_sd=0.3, levels=0.25)
    _, activity, separate = estimated(dna, rna, promoter, 1000)
    shared = activity.shared
    assert shared.sd / np.log(2) == pytest.approx(1, abs=0.08)
    assert shared.replicate_sd == pytest.approx(0.3, abs=0.04)
    assert shared.abundance.mean == pytest.approx(150, rel=0.1)  # of three libraries
    assert (shared.abundance.barcodes, shared.abundance.promoters) == (pytest.approx(2, abs=0.3), pytest.approx(4, abs=1))
    for each in separate.values():  # common and own dispersion: 1.15^2 - 1
        assert each.shared.dispersion == pytest.approx(0.3225, abs=0.04)
    assert 0.15 < shared.dispersion < 0.26  # the part of single replicates averages out


def test_missing_barcodes_without_dna_do_not_change_the_level():
    rng = np.random.default_rng(5)
    counts = rng.poisson(rng.gamma(2, 1.5, 40_000)).astype(float)
    kept = counts[counts >= 1][:30_000]
    abundance = model.fit_abundance(kept, np.arange(0, 30_000, 10), 1)
    assert (abundance.mean, abundance.barcodes) == (pytest.approx(3, abs=0.1), pytest.approx(2, abs=0.3))
    assert model.fit_abundance(kept, np.arange(0, 30_000, 10), 0).mean == pytest.approx(kept.mean())


def test_posterior_is_that_of_a_numerical_integration():
    """Gamma-Poisson counts with known parameters, integrated by scipy over activity and each barcode's abundance."""
    dna, rna, shape, level, sd = np.array([3.0, 0.0, 7.0]), np.array([1.0, 0.0, 9.0]), 2.0, 4.0, 0.8
    units = model._Units(rna, (shape + dna) / (shape / level + 1), 1 / (shape + dna), np.array([0]), np.zeros(1))
    average, spread, ends = model._posterior(units, 0.0, 1.0, 0.2, np.array([sd**2]))
    grid = np.linspace(-4, 4, 4001)
    density = stats.norm.logpdf(grid, 0.2, sd)
    abundance = np.linspace(1e-6, 60, 20_001)
    for d, r in zip(dna, rna, strict=True):
        of_dna = stats.gamma.pdf(abundance, shape, scale=level / shape) * stats.poisson.pmf(d, abundance)
        coarse = np.linspace(-4, 4, 161)
        each = [np.trapezoid(of_dna * stats.poisson.pmf(r, abundance * np.exp(x)), abundance) for x in coarse]
        density += np.interp(grid, coarse, np.log(each))
    weight = np.exp(density - special.logsumexp(density))
    mean = weight @ grid
    assert average[0] == pytest.approx(mean, abs=0.002)
    assert spread[0] == pytest.approx(np.sqrt(weight @ (grid - mean) ** 2), rel=0.005)
    assert ends[0] == pytest.approx(np.interp([0.025, 0.975], np.cumsum(weight), grid), abs=0.03)


def test_promoters_without_rna_have_a_low_and_uncertain_expression():
    dna, rna, promoter, _ = simulate(np.random.default_rng(6), 500, 5, 20)
    rna[promoter < 3] = 0
    _, activity, _ = estimated(dna, rna, promoter, 500)
    assert np.isfinite(activity.expression).all()
    assert (activity.expression[:3] < np.quantile(activity.expression, 0.05)).all()
    assert (activity.standard_error[:3] > np.median(activity.standard_error)).all()
    assert (activity.low < activity.expression).all()
    assert (activity.expression < activity.high).all()


def test_promoters_with_one_barcode_take_the_dispersion_of_the_others():
    rng = np.random.default_rng(8)
    dna, rna, promoter, truth = simulate(rng, 1500, 6, 50)
    kept = (promoter >= 750) | (np.arange(len(promoter)) % 6 == 0)
    _, activity, _ = estimated(dna[kept], rna[kept], promoter[kept], 1500)
    covered = (activity.low <= truth) & (truth <= activity.high)
    assert 0.92 <= covered[:750][np.isfinite(activity.low[:750])].mean() <= 0.97
    assert np.nanmean(activity.standard_error[:750]) > 1.5 * activity.standard_error[750:].mean()


def test_one_barcode_each_leaves_the_dispersion_unknown_unless_it_is_given():
    dna, rna, promoter, truth = simulate(np.random.default_rng(9), 1000, 1, 50)
    ledger = Ledger("x", "x")
    with pytest.warns(UserWarning, match=r"one row \(barcode\) each.*set counts\.barcode_dispersion"):
        _, counting, _ = estimated(dna, rna, promoter, 1000, ledger=ledger)
    assert ledger.counts["noted", "promoters whose error leaves out the variation between barcodes"] == 1000
    assert coverage(counting, truth) < 0.8
    _, given, _ = estimated(dna, rna, promoter, 1000, dispersion=0.3225)
    assert 0.92 <= coverage(given, truth) <= 0.97


# Tables


def write(path, text):
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


def read(path, rows=ONE, **options):
    columns = COLUMNS | options.pop("columns", {})
    ledger = options.pop("ledger", Ledger("x", "x"))
    defaults = {"barcodes": None, "design": None, "empty": "error", "minimum_dna": 1}
    return dna_rna.read_counts(path, rows, columns, **defaults | options, ledger=ledger)


def test_barcodes_of_a_sequence_are_joined(tmp_path):
    path = write(tmp_path / "c.tsv", "barcode\tsequence\tdna\trna\nAA\tACGT\t3\t4\nCC\tTTTT\t5\t0\nGG\tacgt\t2\t1\nTT\tTTTT\t0\t8\n")
    ledger = Ledger("x", "x")
    counts = read(path, ledger=ledger)
    assert counts.labels["sequence"].to_list() == ["ACGT", "TTTT"]
    assert counts.promoter.tolist() == [0, 0, 1]
    assert (counts.dna[:, 0].tolist(), counts.rna[:, 0].tolist()) == ([3, 2, 5], [4, 1, 0])
    assert ledger.counts["dropped", "fewer than 1 DNA counts"] == 1
    assert ledger.counts["dropped", "further barcode of a promoter, counts combined"] == 1
    assert ledger.lines(2)[-1] == ("x", "x", "out", "rows", 2)
    every = read(path, minimum_dna=0)
    assert every.rna[:, 0].tolist() == [4, 1, 0, 8]
    with pytest.raises(InputError, match=r"no row has 9 DNA counts or more \(counts\.minimum_dna\)"):
        read(path, minimum_dna=9)


# Layouts of MPRAsnakeflow and MPRAlib, with made-up counts
BARCODE = (
    "barcode\toligo_name\tdna_count_1\trna_count_1\tdna_count_2\trna_count_2\n"
    "AAAC\tp1\t3\t4\t5\t6\nAAAG\tp1\t\t\t2\t9\nCCCA\tp_2\t7\t0\t1\t1\nCCCG\tno_BC\t1\t1\t1\t1\nCCCT\tp_2\t1\t2\t\t\n"
)
OLIGO = (
    "replicate\toligo_name\tdna_counts\trna_counts\tdna_normalized\trna_normalized\tlog2FoldChange\tn_bc\n"
    "1\tp1\t3\t4\t0.1\t0.2\t1.0\t1\n1\tp_2\t8\t2\t0.1\t0.2\t1.0\t2\n2\tp1\t7\t15\t0.1\t0.2\t1.0\t2\n2\tp_2\t1\t1\t0.1\t0.2\t1.0\t1\n"
)
DESIGN = ">p1\nACGTACGT\n>p 2\nTTTTACGT\n>p3\nGGGGACGT\n"
IGVF = {"columns": {"name": "oligo_name"}, "empty": "zero"}


def test_counts_per_barcode_as_mprasnakeflow_writes_them(tmp_path):
    path, design = write(tmp_path / "b.tsv.gz", BARCODE), write(tmp_path / "d.fa", DESIGN)
    ledger = Ledger("x", "x")
    counts = read(path, TWO, design=design, ledger=ledger, **IGVF)
    assert counts.labels.rows() == [("ACGTACGT", "p1"), ("TTTTACGT", "p_2")]
    assert counts.dna.tolist() == [[3, 5], [0, 2], [7, 1], [1, 0]]
    assert counts.rna.tolist() == [[4, 6], [0, 9], [0, 1], [2, 0]]
    assert (counts.libraries, counts.replicates) == ([0, 1], ["1", "2"])
    assert ledger.counts["noted", "empty counts taken as 0 reads"] == 4
    assert ledger.counts["dropped", "name not in the design"] == 1
    ledger.lines(2)
    with pytest.raises(InputError, match=r"b\.tsv\.gz, row 3: count dna_count_1 is empty \(4 counts .* set counts\.empty: zero"):
        read(path, TWO, design=design, columns=IGVF["columns"])


def test_counts_per_oligo_as_mprasnakeflow_writes_them(tmp_path):
    path, design = write(tmp_path / "o.tsv.gz", OLIGO), write(tmp_path / "d.fa", DESIGN)
    ledger = Ledger("x", "x")
    counts = read(path, LONG, design=design, ledger=ledger, **IGVF)
    assert counts.labels.rows() == [("ACGTACGT", "p1"), ("TTTTACGT", "p_2")]
    assert (counts.dna.tolist(), counts.rna.tolist()) == ([[3, 7], [8, 1]], [[4, 15], [2, 1]])
    assert ledger.counts["dropped", "further replicate of a row, joined"] == 2
    ledger.lines(2)
    with pytest.raises(InputError, match=r"row 4: replicate '2' is not in the sample sheet \(1\) \(2 such rows"):
        read(path, LONG[:1], design=design, **IGVF)
    with pytest.raises(InputError, match=r"no row of replicate '3'"):
        read(path, [*LONG, {"replicate": "3", "dna": "dna_counts", "rna": "rna_counts"}], design=design, **IGVF)
    with pytest.raises(ConfigError, match=r"several replicates .* RNA column 'rna_counts', but the table has no column of replicates"):
        read(path, LONG, design=design, columns={"name": "oligo_name", "replicate": ""})


def test_na_and_ambiguous_bases_are_read_as_for_sorted_bins(tmp_path):
    path = write(tmp_path / "c.tsv", "sequence\tdna\trna\nACRT\t3\t4\nCCCC\t5\tNA\n")
    counts = read(path, empty="zero", ambiguous="n")
    assert (counts.labels["sequence"].to_list(), counts.rna[:, 0].tolist()) == (["ACNT", "CCCC"], [4, 0])
    with pytest.raises(InputError, match=r"c\.tsv, row 2: letter 'R' at position 3 .* set input\.ambiguous: n"):
        read(path, empty="zero")
    with pytest.raises(InputError, match=r"c\.tsv, row 3: count rna is empty .* set counts\.empty: zero"):
        read(path, ambiguous="n")
    barcodes = write(tmp_path / "m.tsv", "barcode\tsequence\nAAAC\tACRT\n")
    by_barcode = write(tmp_path / "b.tsv", "barcode\tdna\trna\nAAAC\t3\t4\n")
    assert read(by_barcode, barcodes=barcodes, ambiguous="n").labels["sequence"].to_list() == ["ACNT"]


@pytest.mark.parametrize(
    "text",
    [
        "AAAC\tp1\nCCCA\tp2\nGGGG\tp1\nGGGG\tp2\n",
        "barcode\toligoName\nAAAC\tp1\nCCCA\tp2\nGGGG\tp1\nGGGG\tp2\n",
        "Barcode\telement\tx\nAAAC\tp1\t1\nCCCA\tp2\t1\nGGGG\tp1\t1\nGGGG\tp2\t1\n",
    ],
)
def test_a_barcode_map_names_promoters(tmp_path, text):
    path = write(tmp_path / "c.tsv", "barcode\tdna\trna\nAAAC\t3\t4\nCCCA\t1\t2\nGGGG\t5\t5\nTTTT\t1\t1\n")
    design = write(tmp_path / "d.tsv", "name\tsequence\np1\tACGT\np2\tTTTT\n")
    ledger = Ledger("x", "x")
    counts = read(path, barcodes=write(tmp_path / "m.tsv", text), design=design, ledger=ledger)
    assert counts.labels.rows() == [("ACGT", "p1"), ("TTTT", "p2")]
    assert counts.dna[:, 0].tolist() == [3, 1]
    assert ledger.counts["dropped", "barcode not in the map"] == 1
    assert ledger.counts["dropped", "barcode of several promoters"] == 1
    assert ledger.counts["noted", "barcodes of several promoters in the map, not used"] == 1
    ledger.lines(2)


def test_barcodes_of_several_promoters_are_not_used(tmp_path):
    """The same barcodes and counts give the same result from a table with sequences and from a map."""
    rows = [
        ("AA", "ACGT", 3, 4),
        ("CC", "TTTT", 5, 2),
        ("GG", "ACGT", 7, 9),
        ("GG", "TTTT", 1, 8),
        ("TT", "acgt", 2, 1),
        ("CC", "tttt", 1, 1),
    ]
    text = "".join(f"{barcode}\t{sequence}\t{dna}\t{rna}\n" for barcode, sequence, dna, rna in rows)
    ledger = Ledger("x", "x")
    counts = read(write(tmp_path / "c.tsv", f"barcode\tsequence\tdna\trna\n{text}"), ledger=ledger)
    assert counts.labels["sequence"].to_list() == ["ACGT", "TTTT"]
    assert (counts.dna[:, 0].tolist(), counts.rna[:, 0].tolist()) == ([3, 2, 5, 1], [4, 1, 2, 1])
    assert ledger.counts["dropped", "barcode of several promoters"] == 2
    ledger.lines(2)
    pairs = "".join(f"{barcode}\t{sequence}\n" for barcode, sequence, _, _ in rows)
    without = "".join(f"{barcode}\t{dna}\t{rna}\n" for barcode, _, dna, rna in rows)
    mapped, of_map = Ledger("x", "x"), write(tmp_path / "m.tsv", f"barcode\tsequence\n{pairs}")
    same = read(write(tmp_path / "b.tsv", f"barcode\tdna\trna\n{without}"), barcodes=of_map, ledger=mapped)
    assert (same.dna.tolist(), same.rna.tolist()) == (counts.dna.tolist(), counts.rna.tolist())
    assert mapped.counts["dropped", "barcode of several promoters"] == 2


def test_barcodes_that_most_promoters_share_are_an_error(tmp_path):
    path = write(tmp_path / "c.tsv", "barcode\tsequence\tdna\trna\nA\tACGT\t3\t4\nA\tTTTT\t5\t2\nC\tCCCC\t5\t2\n\tGGGG\t1\t1\n")
    assert read(path, columns={"barcode": ""}).dna[:, 0].tolist() == [3, 5, 5, 1]
    assert read(path).dna[:, 0].tolist() == [5, 1]  # a row without a barcode is used
    path.write_text(path.read_text() + "C\tAAAA\t1\t1\n")
    with pytest.raises(
        InputError, match=r"c\.tsv: 4 of 5 rows have a barcode that several promoters share; .*counts\.columns\.barcode: ''"
    ):
        read(path)


@pytest.mark.parametrize("name", ["name", "oligo_name", "oligoName", "element"])
def test_names_of_columns_in_versions_of_mprasnakeflow(tmp_path, name):
    design = write(tmp_path / "d.fa", DESIGN)
    text = BARCODE.replace("barcode", "Barcode").replace("oligo_name", name)
    counts = read(write(tmp_path / "b.tsv", text), TWO, design=design, empty="zero")
    assert counts.labels.rows() == [("ACGTACGT", "p1"), ("TTTTACGT", "p_2")]
    of_map = write(tmp_path / "m.tsv", "AAAC\tp1\nCCCA\tp_2\nCCCG\tp1\n")
    assert read(tmp_path / "b.tsv", TWO, design=design, barcodes=of_map, empty="zero").dna.tolist() == [[3, 5], [1, 1], [7, 1]]
    if name != "name":
        other = "element" if name != "element" else "oligo_name"
        header, *lines = text.splitlines()
        ambiguous = write(tmp_path / "two.tsv", "".join(f"{line}\n" for line in [f"{header}\t{other}", *(f"{line}\tz" for line in lines)]))
        with pytest.raises(ConfigError, match=r"no column of sequences or names; set counts\.columns\.name"):
            read(ambiguous, TWO, design=design, empty="zero")


def test_a_barcode_map_can_have_sequences(tmp_path):
    path = write(tmp_path / "c.tsv", "barcode\tdna\trna\nAAAC\t3\t4\nCCCA\t1\t2\n")
    counts = read(path, barcodes=write(tmp_path / "m.tsv", "barcode\tsequence\nAAAC\tACGT\nCCCA\tacgt\n"))
    assert (counts.labels["sequence"].to_list(), counts.promoter.tolist()) == (["ACGT"], [0, 0])
    with pytest.raises(InputError, match=r"m\.tsv, row 2: letter 'X' at position 1"):
        read(path, barcodes=write(tmp_path / "m.tsv", "barcode\tsequence\nAAAC\tXCGT\n"))
    with pytest.raises(ConfigError, match=r"m\.tsv: one column; a barcode map needs two"):
        read(path, barcodes=write(tmp_path / "m.tsv", "AAAC\n"))
    with pytest.raises(ConfigError, match=r"m\.tsv, row 1: no column for the promoter of a barcode; name it name, oligo_name"):
        read(path, barcodes=write(tmp_path / "m.tsv", "barcode\tx\nAAAC\t1\n"))
    for header in ("barcode\tname\n", "barcode\tx"):
        with pytest.raises(InputError, match=r"m\.tsv: a header and no rows"):
            read(path, barcodes=write(tmp_path / "m.tsv", header))
    with pytest.raises(ConfigError, match=r"counts\.barcodes needs the column of barcodes"):
        read(path, barcodes=write(tmp_path / "m.tsv", "AAAC\tp\n"), columns={"barcode": ""})


@pytest.mark.parametrize(
    ("text", "rows", "options", "error", "message"),
    [
        ("sequence\tdna\nA\t1\n", ONE, {}, ConfigError, r"no column 'rna', which the sample sheet has as rna of replicate '1'"),
        ("sequence\tdna\trna\nA\t1\t-1\n", ONE, {}, InputError, r"row 2: count rna '-1' must be a whole number"),
        ("sequence\tdna\trna\nA\t1\t1.5\n", ONE, {}, InputError, r"row 2: count rna '1\.5' must be a whole number"),
        ("sequence\tdna\trna\nA\t1\t0\n", ONE, {}, InputError, r"all RNA counts of replicate '1' are 0"),
        ("sequence\tdna\trna\n", ONE, {}, InputError, r"the table has no rows"),
        ("name\tdna\trna\na\t1\t1\n", ONE, {}, ConfigError, r"no column 'sequence' for sequence"),
        ("name\tdna\trna\na\t1\t1\n", ONE, {"columns": {"sequence": ""}}, ConfigError, r"set counts\.design to a FASTA file or table"),
        (
            "sequence\tgroup\tdna\trna\nA\tx\t1\t1\nA\ty\t1\t1\n",
            ONE,
            {},
            InputError,
            r"rows 2 and 3: the same sequence with group 'x' and 'y'",
        ),
    ],
)
def test_faults_are_named(tmp_path, text, rows, options, error, message):
    with pytest.raises(error, match=message):
        read(write(tmp_path / "c.tsv", text), rows, **options)


def test_an_empty_label_is_that_of_the_other_rows(tmp_path):
    text = "sequence\tgroup\tdna\trna\nA\t\t1\t1\nC\t\t1\t1\nA\tx\t1\t1\n"
    assert read(write(tmp_path / "c.tsv", text)).labels.select("sequence", "group").rows() == [("A", "x"), ("C", None)]


def test_names_that_the_design_lacks_stop_the_run(tmp_path):
    path, design = write(tmp_path / "c.tsv", "name\tdna\trna\na\t1\t1\nb\t1\t1\nc\t1\t1\n"), write(tmp_path / "d.fa", ">a\nACGT\n")
    with pytest.raises(InputError, match=r"only 1 of 3 rows belong to a known sequence; check the names in .*d\.fa"):
        read(path, design=design)
    with pytest.raises(InputError, match=r"d\.fa: the name 'a_b' occurs twice"):
        read(path, design=write(tmp_path / "d.fa", ">a b\nACGT\n>a_b\nCCCC\n"))


def test_the_output_table_has_the_columns_of_other_assays():
    dna, rna, promoter, _ = simulate(np.random.default_rng(10), 60, 4, 20, replicates=2)
    counts, activity, separate = estimated(dna, rna, promoter, 60)
    ledger = Ledger("x", "x")
    ledger.read(60)
    table = dna_rna.to_table(counts, activity, separate, minimum_reads=150, ledger=ledger)
    reads = np.bincount(promoter, (dna + rna).sum(axis=1))
    assert table["n_reads"].to_list() == [n for n in reads if n >= 150]
    assert ledger.lines(table.height)
    assert 0 < table.height < 60
    assert (table["dna"] + table["rna"]).to_list() == table["n_reads"].to_list()
    assert (table["n_reads_0"] + table["n_reads_1"]).to_list() == table["n_reads"].to_list()
    assert table["weight"].mean() == pytest.approx(1, abs=1e-5)
    assert np.corrcoef(table["expression_0"], table["expression_1"])[0, 1] > 0.6
    assert table["n_barcodes"].max() == 4
    drawn = figures.of_dna_rna(table, ["0", "1"], "log2(RNA/DNA)")
    assert list(drawn) == ["depth", "expression", "counts", "replicates"]
    assert drawn["expression"].axes[0].get_xlabel() == "expression (log2(RNA/DNA))"
    left, right = drawn["counts"].axes[:2]
    assert left.collections[0].get_array().sum() == right.collections[0].get_array().sum() == table.height
    assert (left.get_ylabel(), right.get_ylabel()) == ("RNA counts + 1", "standard error (log2(RNA/DNA))")


# Config


def test_the_unit_and_keys_of_a_dna_rna_run():
    content = {"counts": {"kind": "dna_rna", "table": "c.tsv"}}
    config = configs.load(content)
    assert (configs.from_counts(config), configs.from_dna_rna(config), configs.from_bins(config), configs.from_reads(config)) == (
        True,
        True,
        False,
        False,
    )
    assert configs.input_unit(config) == "log2(RNA/DNA)"
    with pytest.raises(ConfigError, match=r"counts\.kind: dna_rna needs counts\.table"):
        configs.check_counts(configs.load({"counts": {"kind": "dna_rna"}}))
    with pytest.raises(ConfigError, match=r"counts\.header: false needs sorted bins"):
        configs.check_counts(configs.load({"counts": content["counts"] | {"header": False}}))
    with pytest.raises(ConfigError, match=r"training\.loss: bins needs sorted bins"):
        configs.check_counts(configs.load(content | {"training": {"loss": "bins"}}))
    table = configs.load({"counts": {"kind": "dna_rna"}, "input": {"table": "x.tsv"}})
    configs.check_counts(table)
    assert not configs.from_dna_rna(table)


CHANGES = {
    "columns": {"barcode": "tag", "name": "x"},
    "barcodes": "map.tsv",
    "design": "design.fa",
    "empty": "zero",
    "minimum_dna": 5,
    "barcode_dispersion": 0.5,
    "prior": "weak",
    "minimum_reads": 9,
}


@pytest.mark.parametrize("key", CHANGES)
def test_a_key_reaches_the_rule_of_dna_and_rna_counts_only(tmp_path, monkeypatch, key):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "s.tsv", "replicate\tdna\trna\na\td\tr\n")
    write(tmp_path / "bins.tsv", "bin\nlow\nhigh\n")
    base = {"run": "mine", "evaluation": {"datasets": ""}, "model": {"name": "baseline_kmer"}}
    kinds = {"dna_rna": {"sample_sheet": "s.tsv"}, "sorted_bins": {"sample_sheet": "bins.tsv", "cells": "reads"}}

    def parameters(kind, **changes):
        plan = Plan(base | {"counts": {"kind": kind, "table": "c.tsv", **kinds[kind], **changes}})
        return {role: name for role, name in plan.count_columns.items() if role != "name"}, plan.dna_rna_files, plan.dna_rna_options

    assert parameters("dna_rna") != parameters("dna_rna", **{key: CHANGES[key]})
    assert parameters("sorted_bins") == parameters("sorted_bins", **{key: CHANGES[key]})
    assert parameters("sorted_bins")[1:] == ({}, {})


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("", r"s\.tsv: no replicate"),
        ("sd\tdna\trna\n", r"s\.tsv, row 2: 'sd' is a reserved column name"),
        ("1\tdna\trna\n2\trna\tother\n", r"s\.tsv, row 2: the column 'rna' is listed as DNA and as RNA"),
        ("1\tdna\trna\n1\tdna\tother\n", r"the replicate '1' is listed 2 times"),
        ("1\tdna\t\n", r"'rna' is a required property"),
    ],
)
def test_faults_of_the_sample_sheet(tmp_path, rows, message):
    path = write(tmp_path / "s.tsv", "replicate\tdna\trna\n" + rows)
    with pytest.raises(ConfigError, match=message):
        sheet.check_dna_rna(schemas.load_sheet(path, schemas.load("dna_rna_sheet")), path)


@pytest.mark.parametrize(("name", "text"), [("mprasnakeflow_sample_sheet", BARCODE), ("mprasnakeflow_oligo_sample_sheet", OLIGO)])
def test_the_overlay_fits_the_tables_of_mprasnakeflow(root, tmp_path, monkeypatch, name, text):
    monkeypatch.chdir(root)
    overlay = yaml.safe_load((root / "config/mprasnakeflow.yaml").read_text())
    overlay["counts"]["sample_sheet"] = f"config/{name}.tsv"
    plan = Plan(overlay)
    assert (plan.has_replicates, plan.unit, plan.columns) == (True, "log2(RNA/DNA)", [])
    assert [*plan.reads_figures, *plan.expression_figures] == ["depth", "expression", "counts", "replicates"]
    assert plan.extras_of("library")["sd_is"] == "posterior_sd"
    assert [each["what"] for each in plan.input_files()][:2] == ["counts", "design"]
    rows = [row for row in plan.sheet if row["replicate"] != "3"]  # the made-up files have two replicates
    design = write(tmp_path / "d.fa", DESIGN)
    files = {"barcodes": None, "design": design, "ledger": Ledger("x", "x")}
    options = {key: plan.dna_rna_options[key] for key in ("empty", "ambiguous", "minimum_dna")}
    counts = dna_rna.read_counts(write(tmp_path / "c.tsv.gz", text), rows, plan.count_columns, **files, **options)
    assert counts.labels["name"].to_list() == ["p1", "p_2"]
    assert re.fullmatch(r".*/reporter_experiment\.barcode\.tsv\.gz", plan.counts[0])


def errors_of_ratios(dna, rna, promoter, truth):
    """Return the root mean squared errors of two simple estimates, without their mean error, over promoters with a barcode.

    They are the log ratio of the sums of a promoter's counts, and the mean of its barcodes; both with one added to counts.
    """
    kept = dna[:, 0] >= 1
    dna, rna, promoter = dna[kept, 0], rna[kept, 0], promoter[kept]
    barcodes, sums_of_dna, sums_of_rna, logs = (
        np.bincount(promoter, values, len(truth)) for values in (np.ones(len(dna)), dna, rna, np.log2((rna + 1) / (dna + 1)))
    )
    known = barcodes > 0
    estimates = np.log2((sums_of_rna + 1) / (sums_of_dna + 1))[known], (logs / np.maximum(barcodes, 1))[known]
    return [float((each - truth[known]).std()) for each in estimates]


def test_the_estimate_is_better_than_ratios_of_counts():
    for barcodes, depth in ((2, 5), (10, 5), (10, 100)):
        dna, rna, promoter, truth = simulate(np.random.default_rng([barcodes, depth, 1]), 1000, barcodes, depth)
        _, activity, _ = estimated(dna, rna, promoter, 1000)
        own = np.nanstd(activity.expression - truth)
        assert own < min(errors_of_ratios(dna, rna, promoter, truth))


def accuracy():
    """Return the rows of the table in docs/assay.md: coverage and error of the estimate, and errors of ratios, of simulated assays."""
    rows = []
    for barcodes in (2, 5, 10, 50):
        for depth in (5, 20, 100):
            dna, rna, promoter, truth = simulate(np.random.default_rng([barcodes, depth, 1]), 2000, barcodes, depth)
            _, activity, _ = estimated(dna, rna, promoter, 2000)
            errors = [np.sqrt(np.nanmean((activity.expression - truth) ** 2)), *errors_of_ratios(dna, rna, promoter, truth)]
            cells = [str(barcodes), str(depth), f"{coverage(activity, truth):.3f}", *(f"{each:.2f}" for each in errors)]
            rows.append(f"| {' | '.join(cells)} |")
    return rows


if __name__ == "__main__":  # python -m tests.assay.test_dna_rna
    print("\n".join(accuracy()))
