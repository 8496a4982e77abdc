"""gpraflow init: configs and sample sheets for tables and FASTQ files."""

import io
import sys

import numpy as np
import polars as pl
import pytest
import yaml

from gpraflow.app import cli, init
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
