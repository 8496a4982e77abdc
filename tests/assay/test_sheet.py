import pytest

from gpraflow.assay import sheet
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError


def test_columns_and_files():
    assert sheet.column_of({"bin": "3"}) == "3"
    assert sheet.column_of({"bin": "3", "replicate": "a"}) == "a.3"
    assert sheet.split_files(" a.fq , b.fq,") == ["a.fq", "b.fq"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "s.tsv, row 3: bin '2' has no reads; fill in the column reads, or give a table of counts as counts.table"),
        ({"table": "c.tsv"}, "s.tsv, row 3: bin '2' has no reads; set counts.table: sheet to read c.tsv"),
        ({"reads": "b,c", "reads_2": "d"}, "s.tsv, row 3: bin '2' has 2 files in reads, but 1 in reads_2"),
        ({"reads": "a"}, "s.tsv, row 3: bin '2': a is already listed for bin '1'"),
        ({"reads": "b", "reads_2": "b"}, "s.tsv, row 3: bin '2': b is already listed for bin '2'"),
    ],
)
def test_files_of_bins_are_checked(row, message):
    with pytest.raises(ConfigError, match=message):
        sheet.check_reads([{"bin": "1", "reads": "a"}, {"bin": "2", **row}], "s.tsv")


def test_a_file_is_the_same_however_it_is_written():
    with pytest.raises(ConfigError, match=r"\./a/b is already listed for bin '1'"):
        sheet.check_reads([{"bin": "1", "reads": "a/b"}, {"bin": "2", "reads": "./a/b"}], "s.tsv")


@pytest.mark.parametrize("row", [{"bin": "library"}, {"bin": "name"}, {"bin": "source"}, {"bin": "2", "replicate": "sd"}])
def test_names_of_columns_of_our_own_are_refused(row):
    rows = [{"bin": "1", **({"replicate": "x"} if "replicate" in row else {})}, row]
    with pytest.raises(ConfigError, match=r"s.tsv, row 3: '(library|name|source|sd)' is a reserved column name"):
        sheet.replicates_of(rows, False, "s.tsv")


MADE = "results/a/simulated/"


def test_simulation_never_writes_over_files_of_the_user():
    own, simulated = [{"bin": "1", "reads": "my/1.fq"}], [{"bin": "1", "reads": f"{MADE}reads/1.fq"}]
    cells = {"counts.cells": f"{MADE}bins.tsv"}
    sheet.check_simulated(simulated, MADE, cells, "s.tsv")
    sheet.check_simulated(own, MADE, {"counts.cells": "sheet", "evaluation.datasets, x": "my/x.tsv"}, "s.tsv")
    for rows in (own, simulated + own, [{"bin": "1"}]):
        with pytest.raises(
            ConfigError, match=r"counts.cells is results/a/simulated/bins.tsv.* s.tsv lists your own bins; set counts.cells to sheet, reads"
        ):
            sheet.check_simulated(rows, MADE, cells, "s.tsv")
    with pytest.raises(ConfigError, match=r"set evaluation.datasets, x to a sheet of your own, or ''"):
        sheet.check_simulated(own, MADE, {"evaluation.datasets, x": f"{MADE}independent.tsv.gz"}, "s.tsv")


def test_a_bin_may_be_there_once_in_each_replicate(root, tmp_path):
    schema = schemas.load("sample_sheet")
    path = tmp_path / "bins.tsv"
    path.write_text("bin\treads\treplicate\n1\ta\tx\n1\tb\ty\n2\tc\ty\n")
    assert [sheet.column_of(row) for row in schemas.load_sheet(path, schema)] == ["x.1", "y.1", "y.2"]
    path.write_text("bin\treads\treplicate\n1\ta\tx\n2\tb\ty\n1\tc\tx\n")
    with pytest.raises(ConfigError, match="the bin '1' of replicate 'x' is listed 2 times"):
        schemas.load_sheet(path, schema)
    path.write_text("bin\treads\n1\ta\n1\tb\n")
    with pytest.raises(ConfigError, match="the bin '1' is listed 2 times"):
        schemas.load_sheet(path, schema)
    path.write_text("bin\treplicate\na/b\tx\n")
    with pytest.raises(ConfigError, match="row 2: bin"):
        schemas.load_sheet(path, schema)


def test_infinite_gates_are_open(tmp_path):
    """As exported by R and Python; an infinity on the wrong side is an error."""
    path = tmp_path / "s.csv"
    path.write_text("bin,lower,upper\na,-inf,1\nb,1,2\nc,2,Inf\n")
    rows = schemas.load_sheet(path, schemas.load("sample_sheet"))
    assert [(row.get("lower"), row.get("upper")) for row in rows] == [(None, 1), (1, 2), (2, None)]
    path.write_text("bin,lower,upper\na,,1\nb,inf,2\n")
    with pytest.raises(ConfigError, match=r"s\.csv, row 3: lower: inf is not a finite number"):
        schemas.load_sheet(path, schemas.load("sample_sheet"))
