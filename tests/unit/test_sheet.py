import pytest
from gpraflow import config, sheet
from gpraflow.errors import ConfigError


def test_columns_and_files():
    assert sheet.column_of({"bin": "3"}) == "3"
    assert sheet.column_of({"bin": "3", "replicate": "a"}) == "a.3"
    assert sheet.split_files(" a.fq , b.fq,") == ["a.fq", "b.fq"]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({}, "s.tsv, row 3: bin '2' has no reads"),
        ({"reads": "b,c", "reads_2": "d"}, "s.tsv, row 3: bin '2' has 2 files in reads, but 1 in reads_2"),
        ({"reads": "a"}, "s.tsv, row 3: bin '2': a is there already, for bin '1'"),
        ({"reads": "b", "reads_2": "b"}, "s.tsv, row 3: bin '2': b is there already, for bin '2'"),
    ],
)
def test_files_of_bins_are_checked(row, message):
    with pytest.raises(ConfigError, match=message):
        sheet.check_reads([{"bin": "1", "reads": "a"}, {"bin": "2", **row}], "s.tsv")


def test_a_bin_may_be_there_once_in_each_replicate(root, tmp_path):
    schema = config.load_schema(root / "workflow/schemas/bins.schema.yaml")
    path = tmp_path / "bins.tsv"
    path.write_text("bin\treads\treplicate\n1\ta\tx\n1\tb\ty\n2\tc\ty\n")
    assert [sheet.column_of(row) for row in config.load_sheet(path, schema)] == ["x.1", "y.1", "y.2"]
    path.write_text("bin\treads\treplicate\n1\ta\tx\n2\tb\ty\n1\tc\tx\n")
    with pytest.raises(ConfigError, match="the bin '1' of replicate 'x' is there 2 times"):
        config.load_sheet(path, schema)
    path.write_text("bin\treads\n1\ta\n1\tb\n")
    with pytest.raises(ConfigError, match="the bin '1' is there 2 times"):
        config.load_sheet(path, schema)
    path.write_text("bin\treplicate\na/b\tx\n")
    with pytest.raises(ConfigError, match="row 2: bin"):
        config.load_sheet(path, schema)
