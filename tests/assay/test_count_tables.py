"""Count tables as people have them: columns of any name, one table a replicate, long tables, empty cells, normalised counts."""

import polars as pl
import pytest

from gpraflow.app.plan import Plan
from gpraflow.assay import count_tables, sheet
from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.core.ledger import Ledger

COLUMNS = {"sequence": "sequence", "name": "auto", "group": "auto"}


def read(folder, content, rows, columns=COLUMNS, table="", **options):
    """Read tables, name -> text, by the rows of a sample sheet; return promoter -> reads, labels, and the ledger."""
    for name, text in content.items():
        (folder / name).write_text(text)
    rows = [row | ({"table": str(folder / row["table"])} if "table" in row else {}) for row in rows]
    tables, bins = sheet.count_tables(rows, table or str(folder / next(iter(content))), "bins.tsv")
    ledger = Ledger("estimate_expression", "x")
    labels, counts = count_tables.read(tables, bins, columns, ledger, sheet="bins.tsv", **options)
    ledger.lines(labels.height)  # the sums agree
    return dict(zip(labels["sequence"], map(tuple, counts.tolist()), strict=True)), labels, ledger


TWO = [{"bin": "low"}, {"bin": "high"}]
REPLICATES = [
    {"bin": "low", "replicate": "1", "column": "low1"},
    {"bin": "high", "replicate": "1", "column": "high1"},
    {"bin": "low", "replicate": "2", "column": "low2"},
    {"bin": "high", "replicate": "2", "column": "5"},
]


def test_the_sheet_gives_each_bin_any_column_by_name_or_number(tmp_path):
    text = "sequence\tlow1\thigh1\tlow2\thigh2\nACGT\t1\t2\t3\t4\nCCCC\t5\t6\t7\t8\n"
    assert read(tmp_path, {"c.tsv": text}, REPLICATES)[0] == {"ACGT": (1, 2, 3, 4), "CCCC": (5, 6, 7, 8)}
    without = [{key: cell for key, cell in row.items() if key != "column"} | {"bin": row["column"]} for row in REPLICATES]
    with pytest.raises(
        ConfigError, match=r"c\.tsv, row 1: no column '1\.low1' for bin 1\.low1.* \(the file has sequence, low1, .*'column' of bins\.tsv"
    ):
        read(tmp_path, {"c.tsv": text}, without)


def test_a_number_is_the_name_of_a_column_first(tmp_path):
    """Bins called 1 and 2 are columns of that name, and are never taken for numbers unless the sheet gives a column."""
    text = "sequence\t2\t1\nACGT\t7\t9\n"
    assert read(tmp_path, {"c.tsv": text}, [{"bin": "1"}, {"bin": "2"}])[0] == {"ACGT": (9, 7)}
    with pytest.raises(ConfigError, match="no column '3' for bin 3"):
        read(tmp_path, {"c.tsv": text}, [{"bin": "1"}, {"bin": "3"}])
    with pytest.raises(ConfigError, match="no column number 9 for bin x; the first row has 3 columns"):
        read(tmp_path, {"c.tsv": text}, [{"bin": "1"}, {"bin": "x", "column": "9"}])


def test_one_table_for_each_replicate(tmp_path):
    rows = [{"bin": name, "replicate": replicate, "table": f"{replicate}.csv"} for replicate in ("a", "b") for name in ("low", "high")]
    content = {"a.csv": "sequence,low,high,name\nACGT,1,2,x\nCCCC,3,4,y\nACGT,1,1,x\n", "b.csv": "high,low,sequence\n9,8,GGGG\n7,6,ACGT\n"}
    reads, labels, ledger = read(tmp_path, content, rows, table="sheet")
    assert reads == {"ACGT": (2, 3, 6, 7), "CCCC": (3, 4, 0, 0), "GGGG": (0, 0, 8, 9)}
    assert labels["name"].to_list() == ["x", "y", None]
    assert ledger.counts["in", "rows"] == 5
    assert ledger.counts["dropped", "repeated sequence, reads added up"] == 1
    assert ledger.counts["dropped", "same sequence in another table, joined"] == 1


def test_tables_and_columns_of_the_sheet_are_checked():
    rows = [{"bin": "a", "table": "x.tsv"}, {"bin": "b"}]
    with pytest.raises(ConfigError, match=r"s\.tsv, row 3: bin 'b' has no table; fill in the column table"):
        sheet.count_tables(rows, "sheet", "s.tsv")
    with pytest.raises(ConfigError, match=r"row 2: bin 'a' has a table of its own, but counts.table is y.tsv; set counts.table: sheet"):
        sheet.count_tables(rows, "y.tsv", "s.tsv")
    with pytest.raises(ConfigError, match=r"row 3: bin 'b' has the column 'n' of y.tsv, as bin 'a' has"):
        sheet.count_tables([{"bin": "a", "column": "n"}, {"bin": "b", "column": "n"}], "y.tsv", "s.tsv")
    shared = [{"bin": "a", "replicate": name, "table": "x.tsv"} for name in "12"]
    assert [each.column for each in sheet.count_tables(shared, "sheet", "s.tsv")[1]] == ["1.a", "2.a"]


LONG = COLUMNS | {"bin": "gate", "count": "n", "replicate": ""}


def test_long_tables(tmp_path):
    text = "sequence gate n name|ACGT low 1 x|CCCC high 2 y|ACGT high 3 x|ACGT high 4 x|GGGG unsorted 5 z|ACGT unsorted 9 x|"
    text = text.replace(" ", "\t").replace("|", "\n")
    reads, labels, ledger = read(tmp_path, {"c.tsv": text}, TWO, LONG)
    assert reads == {"ACGT": (1, 7), "CCCC": (0, 2)}
    assert labels["name"].to_list() == ["x", "y"]
    assert ledger.counts["in", "rows"] == 6
    assert ledger.counts["dropped", "of a bin that the sample sheet lacks"] == 2
    assert ledger.counts["dropped", "same sequence in another bin, joined"] == 2
    assert ledger.counts["noted", "same sequence and bin again, reads added up"] == 1
    with pytest.raises(
        ConfigError, match=r"c\.tsv: no row of bin 'lo'; did you mean 'low'\? \(the file has the bins high, low, unsorted\)"
    ):
        read(tmp_path, {"c.tsv": text}, [{"bin": "lo"}, {"bin": "high"}], LONG)
    with pytest.raises(InputError, match="row 3: the bin is empty"):
        read(tmp_path, {"c.tsv": "sequence\tgate\tn\nACGT\tlow\t1\nACGT\t\t1\n"}, TWO, LONG)
    with pytest.raises(ConfigError, match=r"counts\.columns\.count must name a column"):
        read(tmp_path, {"c.tsv": text}, TWO, LONG | {"count": ""})


def test_long_tables_with_replicates(tmp_path):
    rows = [{"bin": name, "replicate": replicate} for replicate in "12" for name in ("low", "high")]
    text = "sequence,rep,gate,n\nACGT,1,low,1\nACGT,2,low,2\nACGT,2,high,3\nCCCC,1,high,4\n"
    expected = {"ACGT": (1, 0, 2, 3), "CCCC": (0, 4, 0, 0)}
    assert read(tmp_path, {"c.csv": text}, rows, LONG | {"replicate": "rep"})[0] == expected
    assert read(tmp_path, {"c.csv": text.replace("rep", "replicate", 1)}, rows, LONG | {"replicate": "auto"})[0] == expected


def test_long_tables_with_conditions(tmp_path):
    rows = [{"bin": name, "condition": condition, "replicate": "1"} for condition in ("glu", "gal") for name in ("low", "high")]
    rows += [{"bin": "input", "kind": "unsorted"}]
    text = "sequence,medium,replicate,gate,n\nACGT,glu,1,low,1\nACGT,gal,1,low,2\nACGT,gal,1,high,3\nCCCC,glu,1,high,4\nACGT,,,input,5\n"
    columns = LONG | {"replicate": "auto", "condition": "medium"}
    assert read(tmp_path, {"c.csv": text}, rows, columns)[0] == {"ACGT": (1, 0, 2, 3, 5), "CCCC": (0, 4, 0, 0, 0)}
    without = [{key: cell for key, cell in row.items() if key != "replicate"} for row in rows]
    assert read(tmp_path, {"c.csv": text}, without, columns | {"replicate": ""})[0] == {"ACGT": (1, 0, 2, 3, 5), "CCCC": (0, 4, 0, 0, 0)}


def test_a_column_of_conditions_counts_only_with_several_conditions(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    counts = {"table": "c.csv", "sample_sheet": "bins.csv", "cells": "reads", "columns": {"bin": "bin", "count": "n"}}
    config = {"run": "mine", "counts": counts, "evaluation": {"datasets": ""}}
    for text, there in (("bin\nlow\nhigh\n", False), ("condition,bin\na,low\na,high\nb,low\nb,high\n", True)):
        (tmp_path / "bins.csv").write_text(text)
        assert ("condition" in Plan(config).count_columns) == there


def test_no_header(tmp_path):
    text = "ACGT\t1\t2\nCCCC\t3\t4\n"
    rows = [{"bin": "low", "column": "3"}, {"bin": "high", "column": "2"}]
    assert read(tmp_path, {"c.tsv": text}, rows, {"sequence": 1, "name": "auto"}, header=False)[0] == {"ACGT": (2, 1), "CCCC": (4, 3)}
    with pytest.raises(ConfigError, match=r"counts\.header is false, so bins need numbers of columns, but bin low has none; write"):
        read(tmp_path, {"c.tsv": text}, TWO, {"sequence": 1}, header=False)
    with pytest.raises(ConfigError, match=r"counts\.header is false, so counts\.columns\.sequence must be a number from 1, not 'sequence'"):
        read(tmp_path, {"c.tsv": text}, rows, header=False)
    with pytest.raises(ConfigError, match=r"no column 'low' for bin low.*set counts\.header: false"):
        read(tmp_path, {"c.tsv": text}, TWO, {"sequence": 1})


def test_a_first_column_without_a_name(tmp_path):
    """As pandas writes an index: given by its number, and named by its number in messages."""
    text = ",low,high\nACGT,0,6\n"
    assert read(tmp_path, {"c.csv": text}, TWO, {"sequence": 1})[0] == {"ACGT": (0, 6)}
    for wanted, message in (
        ("", r"counts\.columns\.sequence must name a column or give its number, from 1 \(the file has column 1, low, high\)"),
        ("sequence", r"no column 'sequence' for sequence \(the file has column 1, low, high\); set .* to a column's name or its number"),
    ):
        with pytest.raises(ConfigError, match=message):
            read(tmp_path, {"c.csv": text}, TWO, {"sequence": wanted})


def test_row_names_of_r(tmp_path):
    """The header of R's write.table has one cell less than the rows."""
    text = '"low"\t"high"\n"ACGT"\t0\t6\n"CCCC"\t1\t2\n'
    assert read(tmp_path, {"c.tsv": text}, TWO, {"sequence": 1})[0] == {"ACGT": (0, 6), "CCCC": (1, 2)}


@pytest.mark.parametrize("cell", ["1,234", "0,1667", "12,5"])
def test_commas_in_counts_are_not_advised_to_be_decimal_signs(tmp_path, cell):
    text = f"sequence\tlow\thigh\nACGT\t1\t2\nCCCC\t3\t{cell}\n"
    with pytest.raises(InputError, match=rf"c\.tsv, row 3: bin high '{cell}' has a comma; .* such as 1234\. .* raw read counts") as error:
        read(tmp_path, {"c.tsv": text}, TWO)
    assert "input.decimal" not in str(error.value)


def test_percentages_are_no_counts(tmp_path):
    with pytest.raises(InputError, match=r"row 2: bin low '12 %' must be a whole number: raw read counts are needed"):
        read(tmp_path, {"c.tsv": "sequence\tlow\thigh\nACGT\t12 %\t2 %\n"}, TWO)


@pytest.mark.parametrize("block", [5, 16 << 20])
@pytest.mark.parametrize("blank", ["", " ", "NA", "NaN"])
def test_empty_counts_by_policy(tmp_path, monkeypatch, blank, block):
    monkeypatch.setattr("gpraflow.formats.text._BLOCK", block)
    text = f"sequence\tlow\thigh\nACGT\t1\t2\nCCCC\t3\t{blank}\nGGGG\t{blank}\t{blank}\n"
    with pytest.raises(
        InputError, match=r"c\.tsv, row \d: bin (low|high) is empty \(3 counts of this table are empty or NA\);.*set counts\.empty: zero"
    ):
        read(tmp_path, {"c.tsv": text}, TWO)
    reads, _, ledger = read(tmp_path, {"c.tsv": text}, TWO, empty="zero")
    assert reads == {"ACGT": (1, 2), "CCCC": (3, 0), "GGGG": (0, 0)}
    assert ledger.counts["noted", "empty counts taken as 0 reads"] == 3


def test_empty_counts_of_parquet_and_of_long_tables(tmp_path):
    pl.DataFrame({"sequence": ["ACGT", "CCCC"], "low": [1, None], "high": [2.0, float("nan")]}).write_parquet(tmp_path / "c.parquet")
    ledger = Ledger("x", "x")
    _, counts = count_tables.read([tmp_path / "c.parquet"], sheet.count_tables(TWO, "c", "s")[1], COLUMNS, ledger, empty="zero")
    assert counts.tolist() == [[1, 2], [0, 0]]
    assert ledger.counts["noted", "empty counts taken as 0 reads"] == 2
    text = "sequence\tgate\tn\nACGT\tlow\t1\nACGT\thigh\t\n"
    with pytest.raises(InputError, match=r"row 3: count is empty \(one count of this table is empty or NA\)"):
        read(tmp_path, {"c.tsv": text}, TWO, LONG)
    assert read(tmp_path, {"c.tsv": text}, TWO, LONG, empty="zero")[0] == {"ACGT": (1, 0)}


def test_fractions_need_raw_reads(tmp_path):
    text = "sequence\tlow\thigh\nACGT\t0.0000\t1.0000\nCCCC\t0.1667\t0.8333\n"
    with pytest.raises(
        InputError, match=r"c\.tsv, row 3: bin low '0\.1667' must be a whole number: raw read counts are needed.*CPM.*input\.table"
    ):
        read(tmp_path, {"c.tsv": text}, TWO)


def test_ambiguous_letters_by_policy(tmp_path):
    text = "sequence\tlow\thigh\nACGTACGR\t1\t2\n"
    with pytest.raises(InputError, match=r"row 2: letter 'R' at position 8 .*set input\.ambiguous: n"):
        read(tmp_path, {"c.tsv": text}, TWO)
    reads, _, ledger = read(tmp_path, {"c.tsv": text}, TWO, ambiguous="n")
    assert reads == {"ACGTACGN": (1, 2)}
    assert ledger.counts["noted", "IUPAC ambiguity codes replaced by N"] == 1


def test_labels_that_differ_between_tables(tmp_path):
    rows = [{"bin": name, "replicate": name[0], "table": f"{name[0]}.csv"} for name in ("a1", "a2", "b1", "b2")]
    content = {"a.csv": "sequence,a1,a2,group\nACGT,1,2,x\n", "b.csv": "sequence,b1,b2,group\nACGT,1,2,y\n"}
    with pytest.raises(GpraflowError, match=r"rows \d+ and \d+: the same sequence with group .*counts\.columns\.group: ''"):
        read(tmp_path, content, rows, table="sheet")
    content["b.csv"] = "sequence,b1,b2\nACGT,1,2\n"
    reads, labels, _ = read(tmp_path, content, rows, table="sheet")
    assert (reads, labels["group"].to_list()) == ({"ACGT": (1, 2, 1, 2)}, ["x"])


def test_a_run_takes_its_tables_from_the_sheet(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bins.tsv").write_text(
        "bin\treplicate\ttable\tcolumn\nlow\t1\t{data}/1.tsv\t\nhigh\t1\t{data}/1.tsv\tHIGH\nlow\t2\t2.tsv\t\nhigh\t2\t2.tsv\t\n"
    )
    counts = {"table": "sheet", "sample_sheet": "bins.tsv", "cells": "reads", "header": True}
    plan = Plan({"run": "mine", "data": "folder", "counts": counts, "evaluation": {"datasets": ""}})
    assert not plan.from_reads
    assert plan.counts == ["folder/1.tsv", "2.tsv"]
    assert plan.places == [
        ("1.low", 0, "low", False, False),
        ("1.high", 0, "HIGH", True, False),
        ("2.low", 1, "low", False, False),
        ("2.high", 1, "high", False, False),
    ]
    assert [each["path"] for each in plan.input_files() if each["what"] == "counts"] == ["folder/1.tsv", "2.tsv"]
