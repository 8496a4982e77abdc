"""gpraflow check: what it understands and proposes, against inputs whose faults are known."""

import dataclasses
import gzip
import os
import re
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import yaml

from gpraflow.app import check, cli, costs, overlays, run
from gpraflow.app.plan import Plan
from gpraflow.assay import simulate, simulated_library
from gpraflow.core import limits, resources
from gpraflow.core.errors import ConfigError
from gpraflow.core.inspection import Inspection
from gpraflow.sequences import scaffold
from gpraflow.sequences.scaffold import Scaffold
from tests.conftest import ROOT

FIVE, THREE = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
BASES = np.array(list("ACGT"))
FRACTIONS = {"fractions": {"train": 0.7, "val": 0.15, "test": 0.15}}
OWN = {"evaluation": {"datasets": ""}, "explain": {"motifs": ""}, "model": {"motifs": ""}, "split": FRACTIONS}


def inserts(rows, length=80, seed=1):
    return ["".join(row) for row in BASES[np.random.default_rng(seed).integers(0, 4, (rows, length))]]


def promoters(rows, length=80, seed=1):
    return [FIVE + insert + THREE for insert in inserts(rows, length, seed)]


def turned(sequence):
    return sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(sequences, expression=None, name="library.tsv", columns=("sequence", "expression"), separator="\t", decimal="."):
    values = np.linspace(0, 10, len(sequences)).round(3) if expression is None else expression
    lines = [separator.join(columns)]
    lines += [f"{sequence}{separator}{str(value).replace('.', decimal)}" for sequence, value in zip(sequences, values, strict=True)]
    text = "\n".join(lines) + "\n"
    if name.endswith(".gz"):
        with gzip.open(name, "wt") as handle:
            handle.write(text)
    else:
        with open(name, "w") as handle:
            handle.write(text)
    return name


def checked(config, **options):
    return check.check(OWN | {"run": "mine"} | config, **options)


def value_of(report, what):
    return next(value for each in report.inspections for name, value in each.lines if name == what)


def test_a_table_as_it_should_be(folder):
    report = checked({"input": {"table": table(promoters(600))}})
    assert report.errors == []
    assert report.keys == {}
    assert value_of(report, "rows") == "600"
    assert value_of(report, "columns") == "sequence, expression"
    assert value_of(report, "flanks") == "whole promoters: both flanks of 'pTpA' at the ends of 100 %"
    assert value_of(report, "insert length") == "80 bp, most 80 bp"
    assert value_of(report, "clusters").startswith("600 among 600 promoters; 0 % of them")
    assert "Nothing was found that would stop a run." in report.text()


def test_conditions_of_a_table(folder):
    sequences = promoters(600)
    rows = [f"{sequence}\t{row % 11 if row % 10 else ''}\t{row % 7 if row % 10 != 5 else ''}" for row, sequence in enumerate(sequences)]
    (folder / "library.tsv").write_text("\n".join(["sequence\tglu\tgal", *rows[1:]]) + "\n")
    named = {"glucose": {"expression": "glu"}, "galactose": {"expression": "gal"}}
    report = checked({"input": {"table": "library.tsv", "conditions": named}})
    assert report.errors == []
    assert report.keys == {}
    assert value_of(report, "conditions") == "glucose, galactose; the first is the reference"
    assert value_of(report, "columns") == "sequence, expression.glucose = glu, expression.galactose = gal"
    assert value_of(report, "noted") == "9.8 % not measured in glucose"
    assert value_of(report, "expression").endswith("in glucose")
    missing = [value for each in report.inspections for name, value in each.lines if name == "missing"]
    assert missing == ["59 of 599 rows have no expression in glucose", "60 of 599 rows have no expression in galactose"]
    named["galactose"]["expression"] = "gall"
    assert "no column 'gall' for expression.galactose" in checked({"input": {"table": "library.tsv", "conditions": named}}).errors[0]


def test_two_conditions_of_one_column(folder):
    """Such as of a table with a row for each promoter and condition, of which half the rows would be lost as duplicates."""
    same = {"glucose": {"expression": "expression"}, "galactose": {"expression": "expression"}}
    (error,) = checked({"input": {"table": table(promoters(100)), "conditions": same}}).errors
    assert "input.conditions: glucose and galactose have the same column of expression, 'expression'" in error
    assert "pivoted" in error


def test_conditions_of_a_sample_sheet(folder):
    names = [f"{condition}_{number}" for condition in ("a", "b") for number in range(3)]
    counts = np.random.default_rng(2).poisson(4, (600, 6))
    rows = ["\t".join([sequence, *map(str, row)]) for sequence, row in zip(promoters(600), counts, strict=True)]
    (folder / "counts.tsv").write_text("\n".join(["\t".join(["sequence", *names]), *rows]) + "\n")
    lines = [f"{name.partition('_')[0]}\t{name.partition('_')[2]}\t{name}" for name in names]
    (folder / "sheet.tsv").write_text("\n".join(["condition\tbin\tcolumn", *lines]) + "\n")
    report = checked({"counts": {"table": "counts.tsv", "sample_sheet": "sheet.tsv", "cells": "reads"}})
    assert report.errors == []
    assert value_of(report, "mean bin in b").startswith("0")
    assert value_of(report, "clusters").startswith("600 among 600 promoters")


def test_tables_to_join(folder):
    first, second = table(promoters(400), name="a.tsv"), table(promoters(600)[200:], name="b.tsv")
    report = checked({"input": {"tables": {"a": {"table": first}, "b": {"table": second}}}})
    assert report.errors == []
    assert [each.title for each in report.inspections][1:3] == ["a.tsv (table a)", "b.tsv (table b)"]
    assert value_of(report, "clusters").startswith("600 among 600 promoters")
    assert "b.tsv: this file does not exist" in " ".join(
        checked({"input": {"tables": {"a": {"table": first}, "b": {"table": "gone/b.tsv"}}}}).errors
    ).replace("gone/", "")


def test_the_first_rows_stand_for_the_table(folder):
    name = table(promoters(3000), name="library.tsv.gz")
    report = checked({"input": {"table": name}}, rows=1000)
    assert report.errors == []
    total = int(value_of(report, "rows").split()[1].rstrip(",").replace(",", ""))
    assert 2800 <= total <= 3200
    assert value_of(report, "rows").endswith("of which the first 1,000 were read")
    assert 1900 <= int(value_of(report, "splits").split()[1].replace(",", "")) <= 2300


def skewed(rows):
    return np.random.default_rng(3).lognormal(0, 2, rows).round(4) + 0.001


CASES = {
    "column names": (
        {"columns": ("promoter", "YFP_mean")},
        {"input.columns.sequence": "promoter", "input.columns.expression": "YFP_mean"},
        "no column 'sequence'",
    ),
    "decimal commas": ({"separator": ";", "decimal": ",", "name": "library.csv"}, {"input.decimal": ","}, "set input.decimal: ','"),
    "limits": (
        {"expression": np.linspace(-9, 30, 600).round(2)},
        {"input.expression_min": -15.0, "input.expression_max": 35.0},
        "outside -4",
    ),
    "missing": ({"expression": ["NA", *np.linspace(0, 9, 599).round(2)]}, {"input.missing": "drop"}, "expression is NA"),
    "skew": ({"expression": skewed(600)}, {"input.transform": "log2"}, ""),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cells_need(folder, case):
    options, keys, message = CASES[case]
    report = checked({"input": {"table": table(promoters(600), **options), "expression_max": 1e6 if case == "skew" else 21}})
    assert report.keys == keys
    assert message in "\n".join(report.errors)
    assert bool(report.errors) == bool(message)
    again = check.check(overlays.with_keys(report.config, report.keys))
    assert again.errors == []
    assert again.keys == {}


def test_a_table_without_header(folder):
    name = table(promoters(600))
    (folder / "bare.tsv").write_text((folder / name).read_text().partition("\n")[2])
    report = checked({"input": {"table": "bare.tsv"}})
    assert report.keys == {"input.header": False, "input.columns.sequence": 1, "input.columns.expression": 2}
    assert check.check(overlays.with_keys(report.config, report.keys)).errors == []


@pytest.mark.parametrize(
    ("name", "given", "keys"),
    [("a.tsv", {"separator": "comma"}, {"input.separator": "auto"}), ("a.dat", {}, {"input.format": "tsv"}), ("a.txt", {}, {})],
)
def test_formats(folder, name, given, keys):
    report = checked({"input": {"table": table(promoters(600), name=name)} | given})
    assert report.keys == keys
    assert bool(report.errors) == bool(keys)
    assert check.check(overlays.with_keys(report.config, report.keys)).errors == []


def test_bases_beyond_the_flanks_of_a_table(folder):
    report = checked({"input": {"table": table([f"AAC{sequence}" for sequence in promoters(600)])}})
    assert report.scaffolds == {"mine": {"five_prime": f"AAC{FIVE}", "three_prime": THREE}}
    assert "at 4..20 rather than at the ends" in report.proposals[0].finding


def test_a_long_table_of_which_the_first_rows_lack_bins(folder):
    sequences, counts = inserts(500), np.random.default_rng(0).poisson(3, 1500)
    bins = [name for name in ("b0", "b1", "b2") for _ in range(500)]
    pl.DataFrame({"sequence": sequences * 3, "bin": bins, "count": counts}).write_csv("long.tsv", separator="\t")
    (folder / "bins.tsv").write_text("bin\nb0\nb1\nb2\n")
    columns = {"bin": "bin", "count": "count"}
    config = {"counts": {"table": "long.tsv", "sample_sheet": "bins.tsv", "cells": "reads", "columns": columns}}
    config |= {"scaffold": {"name": "none", "length": 80}}
    first = checked(config, rows=700)
    assert first.errors == []
    assert any(value.startswith("not all in the first rows (long.tsv: no row of bin 'b2'") for _, value in first.inspections[-1].lines)
    assert checked(config).errors == []
    (folder / "bins.tsv").write_text("bin\nb0\nb1\nb9\n")
    assert "no row of bin 'b9'" in checked(config).errors[0]


def test_letters(folder):
    sequences = promoters(600)
    sequences[3] = sequences[3][:30] + "RYK" + sequences[3][33:]
    report = checked({"input": {"table": table([sequence.lower() for sequence in sequences])}})
    assert report.keys == {"input.ambiguous": "n"}
    assert value_of(report, "letters").startswith("lower case in 100 %")
    rna = checked({"input": {"table": table([sequence.replace("T", "U") for sequence in promoters(600)])}})
    assert "replace U by T" in rna.errors[0]
    assert [(proposal.keys, proposal.advice) for proposal in rna.proposals] == [({}, "replace U by T in the table")]


def test_repeated_sequences(folder):
    sequences = promoters(600)
    report = checked({"input": {"table": table([*sequences, sequences[0]])}})
    assert report.keys == {"input.duplicates": "mean"}
    assert "the same sequence with expression 0 and 10" in report.errors[0]


@pytest.mark.parametrize(
    ("ends", "given", "keys"),
    [
        (("GGGACATCGTAGAGAGTCGTACTTA", "ATGGGCGAATTAAGTAAGGGCGAGG"), "pTpA", {"scaffold.name": "utr5_egfp", "scaffold.length": 130}),
        ((FIVE, THREE), "none", {"scaffold.name": "pTpA"}),
        (("GACTTCAAGCATGGCTA", "CCTGAGGTTACGCATTC"), "pTpA", {"scaffold.name": "mine", "scaffold.length": 114}),
        (("", ""), "pTpA", {}),
    ],
)
def test_flanks_of_a_table(folder, ends, given, keys):
    sequences = [ends[0] + insert + ends[1] for insert in inserts(600)]
    report = checked({"input": {"table": table(sequences)}, "scaffold": {"name": given, "length": 110}})
    assert report.keys == keys
    new = {"mine": {"five_prime": ends[0], "three_prime": ends[1]}} if keys.get("scaffold.name") == "mine" else {}
    assert report.scaffolds == new
    if not ends[0]:
        assert value_of(report, "flanks") == "inserts only, to which the flanks of 'pTpA' are added"


def test_flanks_on_the_other_strand_of_a_table(folder):
    report = checked({"input": {"table": table([turned(sequence) for sequence in promoters(600)])}})
    assert report.keys == {}
    (proposal,) = report.proposals
    assert "on the reverse strand in 100 % of the sequences, the 3' flank at 1..13" in proposal.finding


@pytest.mark.parametrize("side", ["right", "left"])
def test_barcodes(folder, side):
    barcodes = inserts(800, 16, seed=2)
    joined = [(p + b) if side == "right" else (b + p) for p, b in zip(np.repeat(inserts(200, 60), 4), barcodes, strict=True)]
    config = {"input": {"table": table(joined)}, "scaffold": {"name": "none", "length": 76, "insert_length": [76, 76]}}
    report = checked(config)
    segments = "promoter 60, barcode 16" if side == "right" else "barcode 16, promoter 60"
    assert report.keys == {"scaffold.segments": segments, "scaffold.length": 60}
    mutants = [a[:k] + "ACGT"["ACGT".index(a[k]) - 1] + a[k + 1 :] for a in inserts(1, 76) for k in range(76)]
    single = checked(config | {"input": {"table": table(mutants)}})
    assert "scaffold.segments" not in single.keys  # mutants of one parent are equal but for a few bases, too


def test_lengths(folder):
    report = checked({"input": {"table": table(promoters(600, length=150))}})
    assert report.keys == {"scaffold.insert_length": [150, 150], "scaffold.length": 180}
    assert "scaffold 'pTpA' takes 70 to 150 bp" in report.errors[0]


def test_variants_of_one_parent(folder):
    (parent,) = inserts(1, 60)
    mutants = [parent[:k] + base + parent[k + 1 :] for k in range(60) for base in "ACGT" if base != parent[k]]
    config = {"input": {"table": table(mutants)}, "scaffold": {"name": "none", "length": 60, "insert_length": [60, 60]}}
    report = checked(config)
    assert "has 180 of 180 promoters" in report.errors[0] or "all promoters form one cluster" in report.errors[0]
    assert report.keys["split.method"] == "positions"
    assert check.check(overlays.with_keys(report.config, report.keys)).errors == []


def test_small_splits(folder):
    report = checked({"input": {"table": table(promoters(300))}, "split": {}})
    assert "the split" in report.errors[0]
    assert report.keys["split.fractions"]["train"] < 0.95
    assert check.check(overlays.with_keys(report.config, report.keys)).errors == []


def test_files_that_are_not_there(folder):
    assert "library.tsv: this file does not exist" in checked({"input": {"table": "library.tsv"}}).errors[0]
    entry = yaml.safe_load((ROOT / "resources/datasets.yaml").read_text())["dream2022"]
    name = next(iter(entry["files"].values()))["name"]
    public = checked({"input": {"table": f"{{data}}/dream2022/{name}", "header": False, "columns": {"sequence": 1, "expression": 2}}})
    assert public.errors == []
    assert value_of(public, "public data set").startswith("not downloaded yet")
    sample = check.check(yaml.safe_load((ROOT / "config/config.yaml").read_text()) | {"evaluation": {"datasets": ""}})
    assert "config/sample_sheet.tsv: this file does not exist" in sample.errors[0]


def test_the_sample_is_simulated(folder, monkeypatch):
    monkeypatch.chdir(ROOT)
    if (ROOT / "results/sample/simulated").exists():
        pytest.skip("the sample was simulated here")
    report = check.check(overlays.read([]))
    assert report.errors == []
    assert value_of(report, "reads").startswith("simulated by the run; 18 files")


def test_a_config_that_is_invalid(folder):
    report = checked({"scaffold": {"nme": "pTpA"}})
    assert report.errors == ["config: 'scaffold.nme' is not a key; did you mean 'name'?"]
    with pytest.raises(ConfigError, match="not written, because the config is invalid"):
        check.write(report, "draft.yaml")


def test_independent_data_sets(folder):
    table(promoters(60, seed=5), columns=("promoter", "expression"), name="other.tsv")
    (folder / "datasets.tsv").write_text("name\ttable\nother\tother.tsv\n")
    report = checked({"input": {"table": table(promoters(600))}, "evaluation": {"datasets": "datasets.tsv"}})
    assert "other.tsv, row 1: no column 'sequence'" in report.errors[0]
    (proposal,) = report.proposals
    assert proposal.advice == "write sequence = promoter into the row of 'other' in datasets.tsv"
    table(promoters(60), name="other.tsv")  # the library's own
    again = check.check(report.config)
    assert again.errors == []
    assert value_of(again, "near-duplicates").startswith("60 of 600 promoters are within 3 edits of 'other'")


def test_counts(folder):
    rng = np.random.default_rng(0)
    counts = rng.poisson(3, (600, 4))
    frame = pl.DataFrame({"seq": inserts(600)} | {f"b{k}": counts[:, k] for k in range(4)})
    frame.write_csv("counts.tsv", separator="\t")
    (folder / "bins.tsv").write_text("bin\tcells\n" + "".join(f"b{k}\t{1000 + k}\n" for k in range(4)))
    config = {"counts": {"table": "counts.tsv", "sample_sheet": "bins.tsv", "cells": "sheet"}}
    report = checked(config | {"scaffold": {"name": "none", "length": 80}})
    assert report.keys == {"counts.columns.sequence": "seq"}
    assert "no column 'sequence'" in report.errors[0]
    again = check.check(overlays.with_keys(report.config, report.keys))
    assert again.errors == []
    sums = counts.sum(axis=0)
    assert value_of(again, "bins") == "4"
    assert [value for each in again.inspections for name, value in each.lines if name == "bins"][1] == (
        f"4, {sums.min():,} to {sums.max():,} reads each in these rows"
    )
    assert [value for each in again.inspections for name, value in each.lines if name == "cells"] == ["1,000 to 1,003 a bin, 4,006 in all"]
    frame.with_columns(b1=pl.when(pl.col("b1") > 0).then("b1")).write_csv("counts.tsv", separator="\t")
    empty = check.check(again.config)
    assert empty.keys == {"counts.empty": "zero"}
    assert "set counts.empty: zero" in empty.errors[0]
    (folder / "bins.tsv").write_text("bin\nb0\nb1\nb2\nb3\n")
    assert "cells of bin 'b0' are missing" in check.check(again.config).errors[0]


def test_gates_that_overlap(folder):
    """What counts.overlap allows in a run must not stop it in the check."""
    counts = np.random.default_rng(1).poisson(3, (600, 3))
    pl.DataFrame({"sequence": inserts(600)} | {f"b{k}": counts[:, k] for k in range(3)}).write_csv("counts.tsv", separator="\t")
    (folder / "bins.csv").write_text("bin,lower_quantile,upper_quantile\nb0,0,.5\nb1,.45,.8\nb2,.75,1\n")
    config = {"counts": {"table": "counts.tsv", "sample_sheet": "bins.csv", "cells": "reads", "scale": "gate"}}
    config |= {"scaffold": {"name": "none", "length": 80}}
    assert "set counts.overlap" in checked(config).errors[0]
    config["counts"]["overlap"] = "divided"
    report = checked(config)
    assert report.errors == []
    assert value_of(report, "gates") == "given as quantiles of the population; counts.scale: gate"


def test_dna_and_rna(folder):
    rng = np.random.default_rng(0)
    dna = rng.poisson(50, 600)
    pl.DataFrame({"sequence": inserts(600), "dna_1": dna, "rna_1": rng.poisson(dna * 2)}).write_csv("counts.tsv", separator="\t")
    (folder / "replicates.tsv").write_text("replicate\tdna\trna\n1\tdna_1\trna_1\n")
    config = {"counts": {"kind": "dna_rna", "table": "counts.tsv", "sample_sheet": "replicates.tsv"}}
    report = checked(config | {"scaffold": {"name": "none", "length": 80}, "input": {"expression_min": -15, "expression_max": 15}})
    assert report.errors == []
    assert value_of(report, "promoters") == "600 in these rows"
    assert value_of(report, "expression").startswith("log2(RNA/DNA)")
    (folder / "replicates.tsv").write_text("replicate\trna\n1\trna_1\n")
    assert "replicates.tsv: no column 'dna'; a " in checked(config).errors[0]


def test_an_unsorted_sample(folder):
    counts = np.random.default_rng(1).poisson(3, (600, 3)) + 1
    counts[:60, 2], counts[60:, 2] = 0, 5
    pl.DataFrame({"sequence": inserts(600)} | {f"b{k}": counts[:, k] for k in range(3)}).write_csv("counts.tsv", separator="\t")
    (folder / "bins.csv").write_text("bin,kind\nb0,\nb1,\nb2,unsorted\n")
    config = {"counts": {"table": "counts.tsv", "sample_sheet": "bins.csv", "cells": "reads"}}
    config |= {"scaffold": {"name": "none", "length": 80}}
    report = checked(config)
    assert report.errors == []
    assert value_of(report, "bins") == "2; unsorted samples: 1"
    assert value_of(report, "dropped") == "10 % by counts.minimum_input_reads in the unsorted samples"
    assert value_of(report, "clusters").startswith("540 among 540 promoters")
    config["counts"]["minimum_input_reads"] = 9
    assert "no promoter has 9 reads in the unsorted sample 'b2'" in checked(config).errors[0]


def test_barcodes_are_not_proposed_as_promoters_that_the_design_has(folder):
    (folder / "design.fa").write_text("".join(f">p{row}\n{sequence}\n" for row, sequence in enumerate(inserts(300))))
    counts = np.random.default_rng(0).poisson(30, (600, 2))
    names = {"barcode": inserts(600, 15, seed=3), "oligo_name": [f"p{row // 2}" for row in range(600)]}
    pl.DataFrame(names | {"dna_1": counts[:, 0], "rna_1": counts[:, 1]}).write_csv("counts.tsv", separator="\t")
    (folder / "replicates.tsv").write_text("replicate\tdna\trna\n1\tdna_1\trna_1\n")
    given = {"table": "counts.tsv", "sample_sheet": "replicates.tsv", "design": "design.fa", "columns": {"name": "oligo_name"}}
    report = checked({"counts": {"kind": "dna_rna"} | given, "scaffold": {"name": "none", "length": 80}, "input": {"expression_min": -15}})
    assert report.errors == []
    assert set(report.keys) <= {"split.fractions"}
    assert value_of(report, "promoters") == "300 in these rows"


# Reads


def test_reads_of_several_conditions(folder):
    rng, sheet = np.random.default_rng(0), ["condition,bin,reads"]
    for name in ("glu_low", "glu_high", "gal_low", "gal_high"):
        drawn = rng.choice(promoters(200), 400)
        records = [f"@r{row}\nACGTA{sequence}\n+\n{'I' * (len(sequence) + 5)}\n" for row, sequence in enumerate(drawn)]
        with gzip.open(f"{name}.fastq.gz", "wt") as handle:
            handle.write("".join(records))
        sheet.append(f"{name.replace('_', ',')},{name}.fastq.gz")
    (folder / "sheet.csv").write_text("\n".join(sheet) + "\n")
    report = checked({"counts": {"sample_sheet": "sheet.csv", "cells": "reads"}})
    assert report.errors == []
    assert value_of(report, "conditions").startswith("glu, gal;")
    assert value_of(report, "promoters").startswith("200 distinct inserts")


@pytest.fixture(scope="module")
def assays(tmp_path_factory):
    """Four simulated bins, by scaffold and further parameters."""
    made = {}
    known = {name: scaffold.load(resources.path_of("scaffolds.yaml"), name) for name in ("pTpA", "utr5_egfp")}
    known["unknown"] = Scaffold("unknown", "GACTTCAAGCATGGCTA", "CCTGAGGTTACGCATTC")
    motifs = str(resources.path_of("motifs/jaspar2026_yeast.jaspar"))

    def make(name="pTpA", paired=False, **options):
        key = name, paired, *options.items()
        if key not in made:
            folder = tmp_path_factory.mktemp("assay")
            gates = [None, -1.0, 0.0, 1.0, None]
            rows = [{"bin": f"b{k}", "reads": f"{folder}/b{k}_R1.fastq.gz"} for k in range(4)]
            for k, row in enumerate(rows):
                row |= {"reads_2": f"{folder}/b{k}_R2.fastq.gz"} if paired else {}
                row |= {side: gates[k + at] for side, at in (("lower", 0), ("upper", 1)) if gates[k + at] is not None}
            assay = simulated_library.Assay(promoters=800, independent=2, active_factors=8, reads=6000)
            names = [row[key] for row in rows for key in ("reads", "reads_2") if key in row]
            paths = {"bins": f"{folder}/bins.tsv"} | {each: f"{folder}/{each}.gz" for each in ("truth", "independent", "activities")}
            simulate.write(known[name], motifs, rows, dataclasses.replace(assay, **options), 1, names, paths)
            made[key] = folder
        return made[key]

    return make


def of_reads(folder, **reads):
    return checked({"counts": {"sample_sheet": f"{folder}/bins.tsv", "cells": "sheet"}, "reads": {"reverse_complement": False} | reads})


def test_reads_as_they_should_be(assays):
    report = of_reads(assays())
    assert report.errors == []
    assert report.keys == {}
    assert "the 5' flank mostly at 16..32" in value_of(report, "flanks")
    assert value_of(report, "reads") == "6,000"
    assert "mean quality below 28" in value_of(report, "lost")
    assert int(value_of(report, "promoters").split()[0].replace(",", "")) <= 900
    assert " reads a cell" in value_of(report, "cells")


def test_reads_of_the_other_strand(assays):
    report = of_reads(assays(reverse_reads=1.0))
    assert report.keys == {"reads.reverse_complement": True}
    assert "flanks found on the reverse strand" in report.proposals[0].finding
    assert report.proposals[0].finding.endswith("at 16..28")
    assert "Usual cause: reads of the opposite strand" in report.errors[0]
    assert len(report.errors) == 1
    assert value_of(report, "counted") == value_of(of_reads(assays(reverse_reads=1.0), reverse_complement=True), "counted")


def test_reads_of_another_scaffold(assays):
    report = of_reads(assays("utr5_egfp"))
    assert report.keys["scaffold.name"] == "utr5_egfp"
    assert check.check(overlays.with_keys(report.config, report.keys)).errors == []


@pytest.mark.parametrize("reverse", [0.0, 0.5])
def test_reads_of_an_unknown_scaffold(assays, reverse):
    report = of_reads(assays("unknown", reverse_reads=reverse))
    assert report.keys["scaffold.name"] == "mine"
    assert report.keys.get("reads.reverse_complement", False) == (reverse > 0)
    entry = report.scaffolds["mine"]
    five, three = entry["five_prime"], entry["three_prime"]
    if reverse and not five.endswith("GACTTCAAGCATGGCTA"):  # reads of both strands do not tell which is the reporter's
        five, three = turned(three), turned(five)
    assert five.endswith("GACTTCAAGCATGGCTA")
    assert three.startswith("CCTGAGGTTACGCATTC")
    assert [len(entry[key]) for key in ("five_prime", "three_prime")] == [20, 20]
    files = check.write(report, "draft.yaml")
    assert files == ["draft_scaffolds.yaml", "draft.yaml"]
    assert check.check(overlays.load("draft.yaml")).errors == []


def test_reads_that_begin_within_the_flank_and_old_qualities(assays, folder):
    source = assays()
    sheet = (source / "bins.tsv").read_text()
    for path in source.glob("*.fastq.gz"):
        lines = gzip.decompress(path.read_bytes()).split(b"\n")
        lines[1::4] = [line[22:] for line in lines[1::4]]
        lines[3::4] = [line[22:].translate(bytes(min(255, byte + 31) for byte in range(256))) for line in lines[3::4]]
        (folder / path.name).write_bytes(gzip.compress(b"\n".join(lines)))
    (folder / "bins.tsv").write_text(sheet.replace(str(source), str(folder)))
    report = of_reads(folder)
    assert report.keys == {"reads.quality_offset": 64, "reads.five_prime": FIVE[7:]}
    assert "set reads.quality_offset: 64" in report.errors[0]


def test_pairs(assays):
    report = of_reads(assays(paired=True, read_length=100))
    if not check.assay_inspection.has_fastp():
        assert "fastp, which is not installed" in report.proposals[0].finding
        return
    assert report.errors == []
    assert value_of(report, "pairs").startswith("9")
    apart = of_reads(assays(paired=True, read_length=100), min_overlap=95)
    assert "merging of pairs" in apart.errors[0]


def test_a_fastq_that_is_cut_off(assays, folder):
    source = assays()
    (folder / "bins.tsv").write_text((source / "bins.tsv").read_text().replace(f"{source}/b1_R1.fastq.gz", "cut.fastq"))
    (folder / "cut.fastq").write_bytes(gzip.decompress((source / "b1_R1.fastq.gz").read_bytes())[:-250])
    report = of_reads(folder)
    assert "cut.fastq: the file ends in the middle of read 1,5" in report.errors[0]


# The command, the draft, and the run


def test_the_command_and_its_draft(folder, capsys):
    (folder / "mine.yaml").write_text(
        "run: mine\ninput: {table: '{data}/library.tsv', columns: {sequence: promoter}}\nexplain: {motifs: ''}\n"
    )
    (folder / "data").mkdir()
    table(promoters(600), skewed(600), columns=("promoter", "score"), name="data/library.tsv")
    assert cli.main(["check", "mine.yaml"]) == cli.REFUSED
    said = capsys.readouterr().out
    assert "gpraflow check mine.yaml: run 'mine'" in said
    assert "       input.columns.expression: score\n" in said
    assert "no column 'expression' for expression" in said
    assert cli.main(["check", "mine.yaml", "--write", "draft.yaml"]) == cli.REFUSED
    draft = (folder / "draft.yaml").read_text()
    content = yaml.safe_load(draft)
    assert content["input"]["columns"] == {"sequence": "promoter", "expression": "score"}
    assert content["input"]["transform"] == "log2"
    assert "# labels skewed" in draft
    assert set(content) == {"run", "input", "evaluation", "explain", "split"}
    assert cli.main(["check", "draft.yaml"]) == cli.DONE
    assert cli.main(["check", "mine.yaml", "--write", "draft.yaml"]) == cli.REFUSED
    assert "draft.yaml: this file exists; give another name, or --force" in capsys.readouterr().err
    assert cli.main(["check", "mine.yaml", "--config", "data=elsewhere"]) == cli.REFUSED
    assert "elsewhere/library.tsv: this file does not exist" in capsys.readouterr().out
    assert cli.main(["check", "none.yaml"]) == cli.REFUSED
    assert "none.yaml: this config file does not exist" in capsys.readouterr().err


def test_a_draft_holds_what_differs_from_the_config_of_the_folder(folder):
    (folder / "config").mkdir()
    (folder / "config/config.yaml").write_text("training: {epochs: 9}\nevaluation: {datasets: sheet.tsv}\n")
    config = overlays.read([], ["run=mine"])
    assert config == {"run": "mine", "training": {"epochs": 9}, "evaluation": {"datasets": "sheet.tsv"}}
    full = Plan({"run": "mine", "input": {"table": "mine.tsv"}}).config  # epochs as in the schema
    content = yaml.safe_load(overlays.text(full, {}))
    assert content["training"] == {"epochs": full["training"]["epochs"]}
    assert content["evaluation"] == {"datasets": ""}


def test_a_run_begins_with_the_check(folder, monkeypatch, capfd):
    (folder / "Snakefile").write_text("rule all:\n    shell: 'touch done'\n")
    (folder / "mine.yaml").write_text("run: mine\ninput: {table: none.tsv}\n")
    command = ["--cores", "1", "--configfile", "mine.yaml", "--config", "data=x"]
    assert run.main(command) == 2
    out, err = capfd.readouterr()
    assert "none.tsv: this file does not exist" in out
    assert "not started" in err
    assert not (folder / "done").exists()
    started = []

    class Process:
        pid = 1

        def __init__(self, command):
            started.append(command)

        def wait(self):
            return 0

    monkeypatch.setattr(run.subprocess, "Popen", Process)
    monkeypatch.setattr(run.signal, "signal", lambda *_: None)
    monkeypatch.setattr(run.subprocess, "run", lambda *_, **__: pytest.fail("checked"))
    assert run.main([*command, run.NO_CHECK]) == 0
    assert run.main([*command, "-n"]) == 0
    (folder / "results/mine/tables").mkdir(parents=True)
    (folder / "results/mine/tables/library.parquet").touch()
    assert run.main(command) == 0
    assert [run.NO_CHECK in each for each in started] == [False] * 3
    (folder / "mine.yaml").write_text("run: other\n")
    monkeypatch.setattr(run.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 1))  # a fault of the check stops nothing
    assert run.main(command) == 0
    assert len(started) == 4
    assert started[0][:3] == [sys.executable, "-m", "snakemake"]


def test_a_library_larger_than_memory_is_refused_before_the_first_job(folder, monkeypatch, capfd):
    """A file with a hole stands in for one of a terabyte; jobs of other machines are not refused."""
    (folder / "Snakefile").write_text("rule all:\n    shell: 'touch done'\n")
    rng = np.random.default_rng(5)
    table(["".join(each) for each in rng.choice(list("ACGT"), (12_000, 80))])
    (folder / "mine.yaml").write_text("run: mine\ninput: {table: library.tsv, expression_max: 20}\nscaffold: {name: none}\n")
    command = ["--cores", "1", "--configfile", "mine.yaml"]
    assert run.main(command) == 0
    assert (folder / "done").exists()
    (folder / "done").unlink()
    os.truncate("library.tsv", 1 << 40)
    assert run.main(command) == 2
    out, err = capfd.readouterr()
    assert re.search(r"A run would need more memory than this machine allows:\n  \w+ needs about ", out)
    assert "or start without the check (--no-check, make run CHECK=0)" in err
    assert not (folder / "done").exists()
    assert cli.main(["check", "mine.yaml"]) == 0
    assert cli.main(["check", "--here", "mine.yaml"]) == 2
    asked = []
    monkeypatch.setattr(run.subprocess, "run", lambda command, **_: asked.append(command) or subprocess.CompletedProcess(command, 2))
    for options, environment in (([], ""), (["--profile", "x"], ""), (["--executor=slurm"], ""), ([], "profiles/slurm")):
        monkeypatch.setenv("SNAKEMAKE_PROFILE", environment)
        assert run.main([*command, *options]) == 2
    assert ["--here" in each for each in asked] == [True, False, False, False]


BOMBS = {
    "lists": "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 10)),
    "mappings": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{{', '.join(f'{key}: *a{i - 1}' for key in 'abcdefghi')}}}\n" for i in range(1, 10)),
    "itself": "a: &a {b: *a}\n",
    "brackets": f"a: {'[' * 5000}{']' * 5000}\n",
}


@pytest.mark.parametrize("kind", BOMBS)
def test_anchors_that_stand_for_billions_of_values(folder, monkeypatch, capfd, kind):
    """They are refused before Snakemake, which writes them all out, sees them; also without the check."""
    (folder / "mine.yaml").write_text("run: mine\n" + BOMBS[kind])
    monkeypatch.setattr(run.subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    command = ["--cores", "1", "--configfile", "mine.yaml"]
    for arguments in (command, [*command, run.NO_CHECK], [*command, "-n"]):
        assert run.main(arguments) == 2
        error = capfd.readouterr().err
        assert re.match(r"gpraflow: mine\.yaml: (more values, or deeper nested ones|not valid YAML \(nested too deeply)", error)
        assert len(error) < 300


def test_names_in_files_do_not_control_the_terminal():
    found = Inspection("a\x1b[2J.tsv")
    found.say("columns", "\x9b31mred, b\x07")
    found.propose("the column '\x1b]0;x\x07'", {"input.columns.sequence": "\x1b[31m"})
    text = check.Report("title", [found]).text()
    assert r"a\x1b[2J.tsv" in text
    assert r"\x9b31mred, b\x07" in text
    assert all(letter == "\n" or letter.isprintable() for letter in text)


def test_costs(monkeypatch):
    config = Plan({"run": "mine", "input": {"table": "mine.tsv"}}).config
    assert config["model"]["name"] == "compact"
    longer = costs.training_rate("compact", "default", 230)
    assert 2.0 < costs.training_rate("compact", "default", 110) / longer < 2.5  # 2.3 in docs/benchmarks.md
    assert costs.training_rate("none", "small", 110) == 0
    assert [costs.duration(seconds) for seconds in (5, 300, 10_000, 500_000)] == [
        "less than a minute",
        "about 5 min",
        "about 3 h",
        "about 6 days",
    ]
    lines = dict(costs.lines(config, "default", 1_000_000, 950_000, 0, 0))
    assert "for training compact (4 epochs)" in lines["time"]
    assert re.match(r"about [\d.]+ GB \(\w+\), .* GB \(\w+\); at most .* GB ", lines["memory"])
    assert "warning" not in lines
    monkeypatch.setattr(limits, "_limits", lambda: [(4_000_000_000, "4.0 GB in this machine")])
    warned = [text for what, text in costs.lines(config, "default", 30_000_000, 1_000, 0, 0) if what == "warning"]
    assert [text.split()[0] for text in warned] == ["shard_tfrecords"]
    assert all("the limit is 4.0 GB in this machine" in text for text in warned)
    assert "about 0.8 h" in lines["time"] or "about 50 min" in lines["time"]


def test_real_measurements(shared, monkeypatch):
    monkeypatch.chdir(ROOT)
    report = check.check(overlays.read(["config/dream_demo.yaml"], [f"data={shared}"]), rows=2000)
    assert report.errors == []
    assert report.keys == {}
    assert "whole promoters: both flanks of 'pTpA'" in value_of(report, "flanks")
    lac = check.check(overlays.read(["config/ecoli_lac.yaml"], [f"data={shared}"]), rows=2000)
    assert lac.errors == []
    assert lac.keys == {}
