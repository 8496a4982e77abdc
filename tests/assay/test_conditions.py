"""Reads and counts of several conditions: sample sheets, expression in each, and the simulated assay."""

import numpy as np
import polars as pl
import pytest

from gpraflow.app.plan import Plan
from gpraflow.assay import dna_rna, expression, replicates, sheet, simulated_library
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.sequences import scaffold
from tests.conftest import ROOT

BINS = 4
METHOD = {"method": "maximum_likelihood", "read_dispersion": 1.0, "prior": "library"}
FILTERS = {"minimum_reads": 1, "minimum_cells": 0, "singletons": "keep", "singleton_weight": 0.2}


def rows(*names):
    """A sample sheet: each condition, with or without replicates (``condition.replicate``), has four bins."""
    found = []
    for name in names:
        condition, _, replicate = name.partition(".")
        own = {"condition": condition} | ({"replicate": replicate} if replicate else {})
        found += [own | {"bin": str(number), "cells": 1000.0} for number in range(BINS)]
    return found


def counts_of(rng, means, reads):
    """Return reads per bin of promoters whose cells are normal around a mean bin."""
    found = np.zeros((len(means), BINS), np.int64)
    for row, (mean, number) in enumerate(zip(means, reads, strict=True)):
        bins = np.clip(np.round(rng.normal(mean, 0.5, number)), 0, BINS - 1).astype(int)
        found[row] = np.bincount(bins, minlength=BINS)
    return found


def test_replicates_and_columns_are_named_by_condition():
    of_sheet = rows("glucose.a", "glucose.b", "galactose.a")
    assert [sheet.column_of(row) for row in of_sheet[::BINS]] == ["glucose.a.0", "glucose.b.0", "galactose.a.0"]
    found = expression.check_bins(of_sheet, "bin", "sheet", "sheet.tsv")
    assert [(each.condition, each.name) for each in found] == [("glucose", "a"), ("glucose", "b"), ("galactose", "a")]
    columns, own = replicates.of_condition(found, "galactose")
    assert columns.tolist() == [8, 9, 10, 11]
    assert own[0].columns == ("a.0", "a.1", "a.2", "a.3")


def test_expression_is_estimated_in_each_condition_on_its_own():
    rng = np.random.default_rng(3)
    means = rng.uniform(0.5, 2.5, (300, 2))
    reads = rng.integers(5, 60, (300, 2))
    reads[:20, 0], reads[20:50, 1], reads[50:60] = 0, 0, 0
    counts = np.concatenate([counts_of(rng, means[:, part], reads[:, part]) for part in range(2)], axis=1)
    labels = pl.DataFrame({"sequence": [f"P{row}" for row in range(300)], "name": [f"n{row}" for row in range(300)]})
    both = expression.check_bins(rows("glucose", "galactose"), "bin", "reads", "sheet.tsv")
    ledger = Ledger("estimate_expression", "library")
    ledger.read(300)
    table = expression.expression_table(labels, counts, both, method=METHOD, filters=FILTERS, origin="sheet.tsv", ledger=ledger)
    assert table.height == 290
    for part, name in enumerate(("glucose", "galactose")):
        alone = expression.check_bins([row | {"condition": ""} for row in rows(name)], "bin", "reads", "sheet.tsv")
        own = counts[:, part * BINS : (part + 1) * BINS]
        other = Ledger("estimate_expression", "library")
        expected = expression.expression_table(labels, own, alone, method=METHOD, filters=FILTERS, origin="x", ledger=other)
        found = table.select("sequence", f"expression.{name}", f"expression_sd.{name}", f"n_reads.{name}", f"reads_0.{name}").drop_nulls()
        assert (
            found.sort("sequence").rows()
            == expected.select("sequence", "expression", "expression_sd", "n_reads", "reads_0").sort("sequence").rows()
        )
    assert ledger.counts["noted", "glucose: fewer than 1 reads"] == 30
    assert ledger.counts["noted", "galactose: fewer than 1 reads"] == 40
    assert ledger.counts["dropped", "in no condition's table"] == 10
    ledger.lines(table.height)


def test_gates_of_a_condition_are_converted_to_the_bins_of_the_first():
    of_sheet = []
    for condition, shift in (("glucose", 0.0), ("galactose", 1.0)):
        gates = [None, 0 + shift, 2 + shift, 4 + shift, None]
        for number in range(BINS):
            ends = {key: gate for key, gate in (("lower", gates[number]), ("upper", gates[number + 1])) if gate is not None}
            of_sheet.append({"condition": condition, "bin": str(number), "cells": 10.0} | ends)
    glucose, galactose = expression.check_bins(of_sheet, "bin", "sheet", "sheet.tsv")
    assert glucose.gates[1:-1].tolist() == [0.5, 1.5, 2.5]
    assert galactose.gates[1:-1].tolist() == [1, 2, 3]  # half a bin higher, so that differences between conditions have a unit


def test_dna_and_rna_of_several_conditions_may_share_their_dna(tmp_path):
    rng = np.random.default_rng(4)
    text = ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (60, 30))]]
    table = {"sequence": text, "dna": rng.integers(200, 400, 60)}
    table |= {"rna_a": (table["dna"] * 2.0).astype(int), "rna_b": (table["dna"] * np.linspace(0.5, 8, 60)).astype(int)}
    pl.DataFrame(table).write_csv(tmp_path / "counts.tsv", separator="\t")
    of_sheet = [{"condition": name, "replicate": "1", "dna": "dna", "rna": f"rna_{name}"} for name in ("a", "b")]
    options = {"empty": "error", "ambiguous": "error", "minimum_dna": 1, "prior": "weak", "barcode_dispersion": 0.0, "minimum_reads": 1}
    ledger = Ledger("estimate_expression", "library")
    columns = {"sequence": "sequence", "name": "auto", "replicate": "auto", "barcode": "auto"}
    found = dna_rna.expression_table(tmp_path / "counts.tsv", of_sheet, columns, options, ledger)
    difference = found["expression.b"] - found["expression.a"]
    np.testing.assert_allclose(
        difference - difference[0], np.log2(table["rna_b"] / table["rna_a"]) - np.log2(table["rna_b"][0] / table["rna_a"][0]), atol=0.1
    )
    ledger.lines(found.height)
    long = pl.DataFrame(table).unpivot(["rna_a", "rna_b"], index=["sequence", "dna"], variable_name="medium", value_name="rna")
    long.with_columns(pl.col("medium").str.replace("rna_", "")).write_csv(tmp_path / "long.tsv", separator="\t")
    of_sheet = [row | {"rna": "rna"} for row in of_sheet]
    own = Ledger("estimate_expression", "library")
    columns |= {"condition": "medium"}
    assert dna_rna.expression_table(tmp_path / "long.tsv", of_sheet, columns, options, own).equals(found)
    assert own.counts["noted", "a: of another condition"] == own.counts["noted", "b: of another condition"] == 60
    assert own.counts["dropped", "of another condition"] == 60
    assert own.counts.get(("dropped", "in no condition's table"), 0) == 0
    own.lines(found.height)
    with pytest.raises(InputError, match=r"long\.tsv: no row of condition 'c', which the sample sheet has \(the file has a, b\)"):
        dna_rna.expression_table(tmp_path / "long.tsv", [*of_sheet, of_sheet[0] | {"condition": "c"}], columns, options, own)


def test_the_simulated_conditions_differ_by_concentrations_and_one_condition_is_as_before():
    flanks = scaffold.load(ROOT / "resources/scaffolds.yaml", "pTpA")
    motifs, gates = next((ROOT / "resources").rglob("*.jaspar")), np.arange(-3.0, 4.0)
    sizes = {"promoters": 400, "independent": 10, "active_factors": 20}
    one, two = (
        simulated_library.make_library(flanks, str(motifs), gates, simulated_library.Assay(**sizes, conditions=n), 1) for n in (1, 2)
    )
    assert two.sequences.equals(one.sequences)
    assert (two.signal[0] == one.signal[0]).all()
    assert (two.cell_sd == one.cell_sd).all()
    change = (two.activities["log_concentration_2"] - two.activities["log_concentration"]).round(5)
    assert set(change) == {-2.0, 0.0, 2.0}
    difference = two.signal[1] - two.signal[0]
    assert difference.std() > 0.2
    assert 0.5 < np.corrcoef(two.signal)[0, 1] < 0.99
    assert one.activities.columns == ["factor", "matrix", "activity", "log_concentration", "effect_sd"]


def plan(tmp_path, monkeypatch, lines, **sections):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sheet.tsv").write_text("\n".join(["condition\tbin\treads\tcells", *lines]) + "\n")
    return Plan({"run": "x", "counts": {"sample_sheet": "sheet.tsv", "cells": "sheet"}, "evaluation": {"datasets": ""}} | sections)


LINES = [f"{condition}\t{number}\t{condition}{number}.fastq\t9" for condition in ("a", "b") for number in range(2)]


def test_a_plan_has_a_data_set_for_each_condition_and_difference(tmp_path, monkeypatch):
    found = plan(tmp_path, monkeypatch, LINES)
    assert (found.conditions, found.columns) == (["a", "b"], ["a.0", "a.1", "b.0", "b.1"])
    assert (found.datasets, found.scored) == (["test"], ["test.a", "test.b", "test.b-a"])
    assert found.extras_of("test.b-a")["difference"] == ["b", "a"]
    assert "difference" not in found.extras_of("test.a")
    assert found.title_of("test.b-a") == "test split, b - a"
    assert found.reading_of("library")["columns"]["n_reads.b"] == "auto"
    assert {"assay/a/expression", "predictions/test.b-a", "explain/b-a/logos"} <= set(found.report_figures)


@pytest.mark.parametrize(
    ("lines", "sections", "message"),
    [
        ([*LINES, "\t2\tx.fastq\t9"], {}, r"sheet.tsv, row 6: condition is empty; name it in every row or in none"),
        (LINES[:2], {}, r"column condition: 'a' is the only condition"),
        ([line.replace("a\t", "a-1\t", 1) for line in LINES], {}, r"'a-1' cannot be the name of a condition"),
        (LINES, {"input": {"conditions": {"a": {"expression": "x"}, "b": {"expression": "y"}}}}, r"input.conditions names the columns of"),
        (LINES, {"prediction": {"pairs": ["test"]}}, "prediction.pairs"),
        ([*LINES, LINES[0]], {}, r"the bin '0' of condition 'a' is listed 2 times"),
    ],
)
def test_a_plan_refuses_what_has_no_meaning_with_conditions(tmp_path, monkeypatch, lines, sections, message):
    with pytest.raises(ConfigError, match=message):
        plan(tmp_path, monkeypatch, lines, **sections)


def test_conditions_of_a_table_and_of_an_independent_data_set(tmp_path, monkeypatch):
    (tmp_path / "sets.tsv").write_text("name\ttable\texpression\tcondition\nnative\tnative.tsv\tEL\tgal\nboth\tboth.tsv\texpression\t\n")
    columns = {"glu": {"expression": "E1", "n_reads": "N1"}, "gal": {"expression": "E2"}}
    monkeypatch.chdir(tmp_path)
    found = Plan({"input": {"table": "t.tsv", "conditions": columns}, "evaluation": {"datasets": "sets.tsv"}})
    assert found.scored == ["test.glu", "test.gal", "test.gal-glu", "native.gal", "both.glu", "both.gal", "both.gal-glu"]
    assert found.reading_of("library")["columns"]["expression.gal"] == "E2"
    assert found.reading_of("native")["columns"]["expression.gal"] == "EL"
    assert found.reading_of("native")["conditions"] == ["gal"]
    assert found.reading_of("both")["columns"]["n_reads.glu"] == "N1"
    (tmp_path / "sets.tsv").write_text("name\ttable\tcondition\nnative\tnative.tsv\tgall\n")
    with pytest.raises(ConfigError, match=r"sets.tsv, native: condition 'gall' is not one of the library's.*gal.*\(glu, gal\)"):
        Plan({"input": {"table": "t.tsv", "conditions": columns}, "evaluation": {"datasets": "sets.tsv"}})
