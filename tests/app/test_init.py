"""gpraflow init: configs and sample sheets for tables and FASTQ files."""

import io
import sys

import numpy as np
import polars as pl
import pytest
import yaml

from gpraflow.app import cli, init
from gpraflow.core.errors import InputError
from tests.app.test_check import assays, inserts, promoters, skewed, table  # noqa: F401


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def config_of(folder="."):
    with open(f"{folder}/config.yaml") as handle:
        return yaml.safe_load(handle)


def test_a_table(folder, capsys):
    table(promoters(3000), skewed(3000), columns=("promoter", "YFP"), name="my library.tsv")
    assert cli.main(["init", "my library.tsv"]) == cli.DONE
    assert config_of() == {
        "run": "my_library",
        "input": {
            "table": "my library.tsv",
            "columns": {"sequence": "promoter", "expression": "YFP"},
            "expression_max": config_of()["input"]["expression_max"],
            "transform": "log2",
        },
        "evaluation": {"datasets": ""},
    }
    said = capsys.readouterr().out
    assert "Written: config.yaml" in said
    assert "make run CONFIG=config.yaml" in said
    assert cli.main(["check", "config.yaml"]) == cli.DONE
    assert cli.main(["init", "my library.tsv"]) == cli.REFUSED
    assert "config.yaml: this file exists" in capsys.readouterr().err
    assert cli.main(["init", "my library.tsv", "--force", "--run", "other"]) == cli.DONE
    assert config_of()["run"] == "other"


def test_inserts_get_no_flanks_unless_asked(folder):
    table(inserts(3000), name="inserts.csv", separator=";", decimal=",")
    assert cli.main(["init", "inserts.csv", "-o", "plain"]) == cli.DONE
    assert config_of("plain")["scaffold"] == {"name": "none", "length": 80}
    assert config_of("plain")["input"] == {"table": "inserts.csv", "decimal": ","}
    assert cli.main(["init", "inserts.csv", "-o", "yeast", "--scaffold", "pTpA"]) == cli.DONE
    assert "scaffold" not in config_of("yeast")


def test_a_table_of_counts(folder, capsys):
    counts = np.random.default_rng(0).poisson(3, (3000, 11))
    columns = {f"bin {k}": counts[:, k] for k in (10, *range(10))}
    pl.DataFrame({"sequence": promoters(3000)} | columns).write_csv("counts.tsv", separator="\t")
    assert cli.main(["init", "counts.tsv", "-o", "new"]) == cli.DONE
    assert config_of("new")["counts"] == {"table": "counts.tsv", "sample_sheet": "new/sample_sheet.tsv", "cells": "reads"}
    sheet = pl.read_csv("new/sample_sheet.tsv", separator="\t")
    assert sheet["bin"].to_list() == [f"bin_{k}" for k in range(11)]
    assert sheet["column"].to_list() == [f"bin {k}" for k in range(11)]
    assert "Bins must go from low to high signal. By their names the order is bin 0, bin 1," in capsys.readouterr().out
    assert cli.main(["check", "new/config.yaml"]) == cli.DONE


def test_a_table_of_dna_and_rna(folder):
    rng = np.random.default_rng(0)
    dna = {f"dna_{k}": rng.poisson(40, 3000) for k in (1, 2)}
    rna = {f"rna_{k}": rng.poisson(80, 3000) for k in (1, 2)}
    pl.DataFrame({"sequence": promoters(3000)} | dna | rna).write_csv("mpra.tsv", separator="\t")
    assert cli.main(["init", "mpra.tsv"]) == cli.DONE
    assert config_of()["counts"] == {"kind": "dna_rna", "table": "mpra.tsv", "sample_sheet": "sample_sheet.tsv"}
    assert (folder / "sample_sheet.tsv").read_text() == "replicate\tdna\trna\n1\tdna_1\trna_1\n2\tdna_2\trna_2\n"


def long_table(names, replicates=1, seed=0):
    rng = np.random.default_rng(seed)
    sequences = promoters(600)
    parts = [
        pl.DataFrame({"sequence": sequences, "rep": str(replicate + 1), "sample": name, "reads": rng.poisson(4, 600)})
        for replicate in range(replicates)
        for name in names
    ]
    return pl.concat(parts)


def test_a_long_table_of_counts(folder, capsys):
    """Bins are those of all rows, also beyond the first rows that are looked at."""
    long_table(["high", "low", "mid 1"], 8).write_csv("long.tsv", separator="\t")
    assert cli.main(["init", "long.tsv", "-o", "new"]) == cli.DONE
    columns = {"bin": "sample", "count": "reads", "replicate": "rep"}
    assert config_of("new")["counts"] == {
        "table": "long.tsv",
        "columns": columns,
        "sample_sheet": "new/sample_sheet.tsv",
        "cells": "reads",
    }
    assert "input" not in config_of("new")
    sheet = pl.read_csv("new/sample_sheet.tsv", separator="\t", infer_schema=False)
    assert sheet["replicate"].to_list() == [str(replicate) for replicate in range(1, 9) for _ in range(3)]
    assert sheet["bin"].to_list() == ["low", "mid_1", "high"] * 8
    assert sheet["column"].to_list()[:6] == [None, "1.mid 1", None, None, "2.mid 1", None]
    said = capsys.readouterr().out
    assert "a row for each sequence and bin (count = reads, replicate = rep, bin = sample)" in " ".join(said.split())
    assert "By their names the order is low, mid_1, high: check it in new/sample_sheet.tsv" in said
    assert cli.main(["check", "new/config.yaml"]) == cli.DONE


def test_long_tables_of_several_conditions(folder):
    one = long_table(["1", "2", "3"]).drop("rep").rename({"sample": "bin", "reads": "count"})
    pl.concat([one.with_columns(condition=pl.lit(name)) for name in ("glucose", "galactose")]).write_csv("long.csv")
    draft = init.of_table("long.csv", "sheet.tsv")
    assert draft.config["counts"]["columns"] == {"bin": "bin", "count": "count"}
    assert [(row["condition"], row["bin"], "column" in row) for row in draft.sheet] == [
        *(("glucose", k, False) for k in "123"),
        *(("galactose", k, False) for k in "123"),
    ]
    assert "Bins were taken as those of several conditions (glucose, galactose)" in " ".join(draft.remarks)
    one.with_columns(condition=pl.lit("glucose")).write_csv("one.csv")
    assert init.of_table("one.csv", "sheet.tsv").sheet == [{"bin": k} for k in "123"]


def test_columns_of_long_tables():
    table = long_table(["low", "high"])

    def found(changed):
        return init.long_columns(changed, ["sequence"], init.inspection.number_columns(changed))

    assert found(table) == {"count": "reads", "replicate": "rep", "bin": "sample"}
    assert found(table.rename({"sample": "FACS"})) == {"count": "reads", "replicate": "rep", "bin": "FACS"}
    assert found(table.rename({"sample": "sortBin", "reads": "readCount"})) == {"count": "readCount", "replicate": "rep", "bin": "sortBin"}
    assert found(table.rename({"reads": "n"}).drop("rep")) == {"count": "n", "bin": "sample"}
    assert found(table.rename({"sample": "group"})) == {}
    assert found(table.with_columns(YFP=pl.lit(1.5))) == {}  # expression of a replicate, with reads
    assert found(table.unique("sequence").drop("sample")) == {}
    assert found(table.unique("sequence").rename({"sample": "n_bins"})) == {}
    assert found(table.with_columns(total_count=pl.lit(3))) == {}


def test_counts_that_may_be_a_long_table_are_said(folder):
    long_table(["low", "high"]).drop("rep").rename({"sample": "group", "reads": "value"}).write_csv("x.csv")
    draft = init.of_table("x.csv", "sheet.tsv")
    assert draft.config["input"]["columns"] == {"expression": "value"}
    assert draft.remarks == [
        "Sequences repeat, and 'value' holds whole numbers. If these are counts, with a row for each sequence and bin, give the table as "
        "counts.table, and its columns as counts.columns.bin and counts.columns.count."
    ]


def test_long_tables_that_cannot_be_drafted(folder):
    long_table(["DNA", "RNA"]).write_csv("mpra.csv")
    with pytest.raises(InputError, match=r"mpra\.csv: rows of DNA and of RNA \(column 'sample'\); give a table with a column"):
        init.of_table("mpra.csv", "sheet.tsv")
    long_table(["low"]).write_csv("one.csv")
    with pytest.raises(InputError, match=r"one\.csv: 1 bins by the column 'sample'; 2 to 64 are needed"):
        init.of_table("one.csv", "sheet.tsv")
    table = long_table(["low", "high"]).with_columns(sample=pl.when(pl.col("reads") != 9).then("sample"))
    table.write_csv("gap.csv")
    with pytest.raises(InputError, match=r"gap\.csv: a row has no sample; name it in every row"):
        init.of_table("gap.csv", "sheet.tsv")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("glu_low glu_high gal_low gal_high", "glu//low glu//high gal//low gal//high"),
        ("glu_bin1 glu_bin2 glu_bin3 gal_bin1 gal_bin2 gal_bin3 total", "glu//bin1 glu//bin2 glu//bin3 gal//bin1 gal//bin2 gal//bin3"),
        ("low.glu high.glu low.gal high.gal", "glu//low glu//high gal//low gal//high"),
        ("reads_glu1 reads_glu2 reads_gal1 reads_gal2", ""),
        ("glu1 glu2 gal1 gal2", "glu//1 glu//2 gal//1 gal//2"),
        ("glu_bin_1_reads glu_bin_2_reads gal_bin_1_reads gal_bin_2_reads", "glu//bin1 glu//bin2 gal//bin1 gal//bin2"),
        ("rep1_bin1 rep1_bin2 rep2_bin1 rep2_bin2", "/1/bin1 /1/bin2 /2/bin1 /2/bin2"),
        ("glu_rep1_low glu_rep1_high gal_rep1_low gal_rep1_high", "glu/1/low glu/1/high gal/1/low gal/1/high"),
        ("bin_0 bin_1 bin_2 bin_10", ""),
        ("low mid high", ""),
        ("low_1 high_1 low_2 high_2", "/1/low /1/high /2/low /2/high"),
        ("glu_low glu_high", ""),
        ("glu_low glu_high gal_low", ""),
        ("P1 P2 P3 P4", ""),
        ("dna_1 dna_2 dna_3 rna_1 rna_2 rna_3", "dna//1 dna//2 dna//3 rna//1 rna//2 rna//3"),
    ],
)
def test_conditions_of_bins(names, expected):
    assert " ".join("/".join(key) for key in init.bins_by_condition(names.split()).values()) == expected


def test_counts_of_several_conditions(folder, capsys):
    names = ["gal_high", "gal_low", "glu_high", "glu_low"]
    counts = np.random.default_rng(0).poisson(3, (600, 4))
    pl.DataFrame({"sequence": promoters(600)} | dict(zip(names, counts.T, strict=True))).write_csv("counts.csv")
    assert cli.main(["init", "counts.csv"]) == cli.DONE
    assert (folder / "sample_sheet.tsv").read_text() == (
        "condition\tbin\tcolumn\ngal\tlow\tgal_low\ngal\thigh\tgal_high\nglu\tlow\tglu_low\nglu\thigh\tglu_high\n"
    )
    said = capsys.readouterr().out
    assert (
        "Bins were taken as those of several conditions (gal, glu): check the column condition of sample_sheet.tsv, the order of the bins"
        in said
    )
    assert "conditions        gal, glu; the first is the reference" in said
    assert cli.main(["check", "config.yaml"]) == cli.DONE


def test_three_replicates_of_dna_and_rna(folder):
    rng = np.random.default_rng(0)
    columns = {f"{kind}_{k}": rng.poisson(40, 100) for kind in ("dna", "rna") for k in (1, 2, 3)}
    pl.DataFrame({"sequence": promoters(100)} | columns).write_csv("mpra.csv")
    draft = init.of_table("mpra.csv", "sheet.tsv")
    assert draft.config["counts"]["kind"] == "dna_rna"
    assert draft.sheet == [{"replicate": str(k), "dna": f"dna_{k}", "rna": f"rna_{k}"} for k in (1, 2, 3)]


def test_expression_in_several_conditions(folder, capsys):
    rng = np.random.default_rng(0)
    columns = {"EL_glu": rng.normal(8, 2, 600), "SD_glu": rng.uniform(0.1, 1, 600), "reads_glu": rng.poisson(90, 600)}
    columns |= {"EL_gal": rng.normal(8, 2, 600), "SD_gal": rng.uniform(0.1, 1, 600), "reads_gal": rng.poisson(90, 600)}
    pl.DataFrame({"sequence": promoters(600)} | columns).write_csv("library.csv")
    assert cli.main(["init", "library.csv"]) == cli.DONE
    assert config_of()["input"]["conditions"] == {
        name: {"expression": f"EL_{name}", "expression_sd": f"SD_{name}", "n_reads": f"reads_{name}"} for name in ("glu", "gal")
    }
    remark = "Columns of expression were taken as conditions (glu, gal), of which 'glu' is the reference: check input.conditions."
    assert remark in capsys.readouterr().out
    assert remark in " ".join((folder / "config.yaml").read_text().replace("#", "").split())
    assert cli.main(["check", "config.yaml"]) == cli.DONE


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("expression expression.glucose expression.galactose", {"glucose": "expression.glucose", "galactose": "expression.galactose"}),
        ("log2_K562 log2_HepG2 n", {"K562": "log2_K562", "HepG2": "log2_HepG2"}),
        ("mean_rep1 mean_rep2", {}),
        ("expression_1 expression_2", {}),
        ("expression expression_low expression_high", {}),
        ("YFP mean_RFP", {}),
        ("log2_dna log2_rna", {}),
    ],
)
def test_conditions_of_expression(names, expected):
    rows = pl.DataFrame({name: [0.5, 1.5] for name in names.split()})
    assert init.expression_by_condition(rows, rows.columns) == {name: {"expression": column} for name, column in expected.items()}
    counts = pl.DataFrame({name: [0, 1] for name in names.split()})
    assert init.expression_by_condition(counts, counts.columns) == {}


def test_several_columns_of_numbers_are_said(folder, capsys):
    rng = np.random.default_rng(0)
    pl.DataFrame({"sequence": promoters(600), "glucose": rng.normal(8, 2, 600), "raffinose": rng.normal(8, 2, 600)}).write_csv("x.csv")
    assert cli.main(["init", "x.csv"]) == cli.DONE
    assert config_of()["input"]["columns"] == {"expression": "glucose"}
    text = "'glucose' was taken as expression: check it. If they are conditions, give their columns as input.conditions;"
    assert text in capsys.readouterr().out
    assert text in " ".join((folder / "config.yaml").read_text().replace("#", "").split())


def test_fastq_files(assays, folder, capsys):  # noqa: F811
    source = assays("unknown")
    assert cli.main(["init", *map(str, sorted(source.glob("*.fastq.gz")))]) == cli.DONE
    sheet = pl.read_csv("sample_sheet.tsv", separator="\t")
    assert sheet["bin"].to_list() == ["b0", "b1", "b2", "b3"]
    assert sheet["reads"].to_list() == [f"{source}/b{k}_R1.fastq.gz" for k in range(4)]
    config = config_of()
    assert config["counts"] == {"sample_sheet": "sample_sheet.tsv", "cells": "reads"}
    assert config["scaffold"]["file"] == "config_scaffolds.yaml"
    assert list(yaml.safe_load((folder / "config_scaffolds.yaml").read_text())) == ["mine"]
    assert "set counts.cells: sheet; without cells, each read counts as one cell." in capsys.readouterr().out
    assert cli.main(["check", "config.yaml"]) == cli.DONE


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (["bin_1.fq.gz", "bin_2.fq.gz", "bin_10.fq.gz"], [("1", "", 1), ("2", "", 1), ("10", "", 1)]),
        (["bin1.fastq", "bin2.fastq"], [("bin1", "", 1), ("bin2", "", 1)]),
        (["low_1.fq", "low_2.fq", "high_1.fq", "high_2.fq"], [("low", "", 1), ("low", "", 2), ("high", "", 1), ("high", "", 2)]),
        (["x_1.fq", "x_2.fq"], [("1", "", 1), ("2", "", 1)]),
        (["A_L001_R1_001.fq.gz", "A_L002_R1_001.fq.gz", "B_L001_R1_001.fq.gz"], [("A", "", 1), ("A", "", 1), ("B", "", 1)]),
        (["A_R1.fq", "A_R2.fq", "B_R1.fq", "B_R2.fq"], [("A", "", 1), ("A", "", 2), ("B", "", 1), ("B", "", 2)]),
        (["rep1_P1.fq", "rep2_P1.fq", "rep1_P2.fq"], [("P1", "1", 1), ("P1", "2", 1), ("P2", "1", 1)]),
        (["A_R2.fq", "B_R2.fq"], [("A", "", 1), ("B", "", 1)]),
    ],
)
def test_names_of_fastq_files(files, expected):
    assert [(each.bin, each.replicate, each.mate) for each in init.parse_names(files)] == expected


def test_order_of_bins():
    draft = init.of_reads([f"x/{name}.fq" for name in ("bin_10", "bin_2", "bin_1")], "sheet.tsv")
    assert [row["bin"] for row in draft.sheet] == ["1", "2", "10"]
    assert [row["bin"] for row in init.of_reads(["high.fq", "mid.fq", "low.fq"], "sheet.tsv").sheet] == ["low", "mid", "high"]


def test_what_cannot_be_used(folder, capsys, monkeypatch):
    def refused(*arguments):
        assert cli.main(["init", *arguments]) == cli.REFUSED
        return capsys.readouterr().err

    assert "none.tsv: this file does not exist" in refused("none.tsv")
    (folder / "words.tsv").write_text("a\tb\nx\ty\n")
    assert "no column holds DNA sequences (the file has a, b)" in refused("words.tsv")
    (folder / "mpra.tsv").write_text("barcode\toligo_name\tdna_count_1\trna_count_1\nACGTACGTACGTACG\tx\t3\t4\n")
    assert "mpra.tsv: the only sequences are barcodes (column 'barcode')" in refused("mpra.tsv")
    (folder / "a_1.fq").write_text("@r\nA\n+\nI\n")
    assert "one bin only, 'a_1'" in refused("a_1.fq")
    assert "give either FASTQ files or a table" in refused("a_1.fq", "words.tsv")
    monkeypatch.setattr(sys, "stdin", io.StringIO("1\n"))
    assert "a terminal is needed" in refused()
    assert not (folder / "config.yaml").exists()


def test_questions(folder, monkeypatch, capsys):
    table(promoters(3000), name="mine.tsv")
    answers = iter(["4", "1", "nothing.tsv", "mine.tsv"])
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: next(answers))
    assert cli.main(["init"]) == cli.DONE
    assert config_of()["input"] == {"table": "mine.tsv"}
    for name in ("x_low.fq", "x_high.fq"):
        (folder / name).write_text("@r\nA\n+\nI\n")
    answers = iter(["3", "y*.fq", "x_*.fq"])
    assert init._ask() == ["x_high.fq", "x_low.fq"]
    assert "No file fits; try again." in capsys.readouterr().out
