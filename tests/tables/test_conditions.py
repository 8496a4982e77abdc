"""Promoter tables of several conditions."""

import numpy as np
import polars as pl
import pytest

from gpraflow.core import conditions as names
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import conditions, promoters, transform
from gpraflow.sequences.flanks import Policy
from gpraflow.sequences.scaffold import Scaffold
from gpraflow.tables import ingest

BOTH = ["glucose", "galactose"]
COLUMNS = {
    "sequence": "sequence",
    "expression.glucose": "EL_glu",
    "expression_sd.glucose": "SD_glu",
    "n_reads.glucose": "auto",
    "expression.galactose": "EL_gal",
    "weight.galactose": "w_gal",
}


def read(path, **options):
    policy = Policy(insert_length=(1, 50), duplicates=options.pop("duplicates", "error"), barcodes=options.pop("barcodes", "keep"))
    given = {"columns": COLUMNS, "conditions": BOTH} | options
    return ingest.ingest(path, scaffold=Scaffold("none", "", ""), policy=policy, **given)


@pytest.fixture
def table(tmp_path):
    def write(*rows, header="sequence\tEL_glu\tSD_glu\tn_reads.glucose\tEL_gal\tw_gal"):
        (tmp_path / "table.tsv").write_text("\n".join([header, *rows]) + "\n")
        return tmp_path / "table.tsv"

    return write


def test_readouts_are_conditions_and_later_minus_earlier_ones():
    assert names.readouts(["a", "b", "c"]) == ["a", "b", "c", "b-a", "c-a", "c-b"]
    assert names.weights("c-a", ["a", "b", "c"]) == [-1, 0, 1]
    assert names.weights("b", ["a", "b", "c"]) == [0, 1, 0]
    assert (names.readouts([]), names.weights("", [])) == ([], [1.0])


@pytest.mark.parametrize("bad", ["a-b", "a.b", "", "a b", "a/b", 5, "é"])
def test_a_condition_that_cannot_be_part_of_a_column_is_refused(bad):
    with pytest.raises(ConfigError, match=r"input\.conditions: .* use letters, digits and _"):
        names.check(["fine", bad], "input.conditions")
    with pytest.raises(ConfigError, match="'fine' is the only condition; name at least two"):
        names.check(["fine"], "input.conditions")


def test_a_missing_column_is_named_with_the_key_of_its_condition(table):
    path = table("ACGT\t1\t.5\t10\t3\t2")
    for column in ("EL_gall", ""):
        with pytest.raises(ConfigError, match=r"input\.conditions\.galactose\.expression "):
            read(path, columns=COLUMNS | {"expression.galactose": column})


def test_a_condition_in_which_nothing_was_measured_is_an_error(table):
    with pytest.raises(InputError, match=r"table\.tsv: no promoter has expression in the condition 'galactose'; correct its column"):
        read(table("ACGT\t1\t.5\t10\t\t2", "CCCC\t4\t\t7\tNA\t"))


def test_each_condition_has_its_own_columns_and_the_others_are_means_of_what_was_measured(table):
    found = read(table("ACGT\t1\t.5\t10\t3\t2", "CCCC\t4\t\t7\t\t", "GGGG\t\t\t\t6\t1"))
    assert found["expression.glucose"].to_list() == [1, 4, None]
    assert found["expression.galactose"].to_list() == [3, None, 6]
    assert found["expression_sd.glucose"].to_list() == [0.5, None, None]
    assert (found["n_reads.glucose"].to_list(), found["n_reads.galactose"].to_list()) == ([10, 7, None], [None] * 3)
    assert found["expression"].to_list() == [2, 4, 6]
    assert found["n_reads"].to_list() == [10, 7, 0]
    assert found["weight"].to_list() == [2, None, 1]
    assert set(promoters.SCHEMA) <= set(found.columns)


def test_a_promoter_without_any_value_stops_or_is_dropped_and_missing_values_are_counted(table):
    path = table("ACGT\t1\t\t\t3\t", "CCCC\tNA\t\t\t\t", "GGGG\t\t\t\t6\t")
    with pytest.raises(InputError, match=r"table.tsv, row 3: no expression in any condition; delete the row, or set input.missing: drop"):
        read(path)
    ledger = Ledger("ingest_table", "library")
    assert read(path, missing="drop", ledger=ledger).height == 2
    assert ledger.counts["dropped", "expression missing (empty, NA or NaN)"] == 1
    assert ledger.counts["noted", "not measured in glucose"] == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("ACGT\t1\t\t\tx\t", r"row 2: expression.galactose 'x' is not a number"),
        ("ACGT\t1\t\t\t99\t", r"row 2: expression.galactose 99 is outside -4 .. 21"),
        ("ACGT\t1\t-1\t\t2\t", r"row 2: expression_sd.glucose '-1' must not be negative"),
        ("ACGT\t1\t\t2.5\t2\t", r"row 2: n_reads.glucose '2.5' must be a whole number"),
    ],
)
def test_a_wrong_cell_is_named_with_its_condition(table, row, message):
    with pytest.raises(InputError, match=message):
        read(table(row), expression_range=(-4, 21))


def test_the_column_of_each_condition_must_exist(table):
    with pytest.raises(ConfigError, match=r"no column 'EL_gal' for expression\.galactose"):
        read(table("ACGT\t1\t\t\t2\t", header="sequence\tEL_glu\tSD_glu\tn_reads.glucose\tEL_suc\tw_gal"))


def test_repeated_sequences_are_averaged_in_each_condition_and_rows_of_one_condition_each_become_one(table):
    rows = ["ACGT\t1\t1\t10\t\t", "ACGT\t\t\t\t4\t1", "ACGT\t3\t1\t20\t\t"]
    with pytest.raises(InputError, match=r"rows 2 and 3: the same sequence with expression\.glucose 1 and empty"):
        read(table(*rows))
    found = read(table(*rows), duplicates="mean")
    assert found.select("expression.glucose", "expression.galactose", "n_reads.glucose").rows() == [(2, 4, 30)]
    assert found["expression_sd.glucose"].to_list() == pytest.approx([np.sqrt(1 / 2)])


def test_barcodes_are_averaged_over_those_measured_in_a_condition(table):
    header = "sequence\tbarcode\tEL_glu\tSD_glu\tn_reads.glucose\tEL_gal\tw_gal"
    path = table("ACGT\tAA\t1\t\t30\t\t", "ACGT\tCC\t5\t\t10\t2\t1", "ACGT\tGG\t\t\t\t8\t3", header=header)
    found = read(path, barcodes="mean", columns=COLUMNS | {"barcode": "barcode"})
    assert found["expression.glucose"].to_list() == [2]  # by reads: (30 x 1 + 10 x 5) / 40
    assert found["expression.galactose"].to_list() == [6.5]  # by weight: (1 x 2 + 3 x 8) / 4


def test_log2_is_taken_in_each_condition(table):
    found = read(table("ACGT\t1\t.5\t10\t8\t2", "CCCC\t4\t\t7\t\t"), positive=True)
    logs = ingest.transformed(found.lazy(), transform.Transform("log2"), "x", Ledger("ingest_table", "x"), conditions=BOTH).collect()
    assert logs["expression.glucose"].to_list() == [0, 2]
    assert logs["expression.galactose"].to_list() == [3, None]
    assert logs["expression_sd.glucose"].to_list() == pytest.approx([0.5 / np.log(2), None])
    assert logs["expression"].to_list() == [1.5, 2]
    assert ingest.expression_of(found.lazy(), BOTH).tolist() == [1, 4, 8]


def wide():
    return conditions.join(
        {
            "glucose": pl.DataFrame(
                {"sequence": ["A", "C", "G"], "name": ["a", None, "g"], "expression": [1.0, 2, 3], "expression_sd": [3.0, 1, 1]}
                | {"n_reads": [5, 6, 7], "singleton": [True, False, False]}
            ),
            "galactose": pl.DataFrame(
                {"sequence": ["C", "A", "T"], "name": [None, "a", "t"], "expression": [5.0, 7, 9], "expression_sd": [1.0, 4, 1]}
                | {"n_reads": [8, 2, 1], "singleton": [False, False, True]}
            ),
        },
        ["sequence", "name"],
    )


def test_tables_of_conditions_are_joined_by_promoter():
    found = wide()
    assert found.select("sequence", "name", "expression.glucose", "expression.galactose").rows() == [
        *[("A", "a", 1, 7), ("C", None, 2, 5), ("G", "g", 3, None), ("T", "t", None, 9)]
    ]
    assert found["expression"].to_list() == [4, 3.5, 3, 9]
    assert found["expression_sd"].to_list() == pytest.approx([2.5, np.sqrt(2) / 2, 1, 1])
    assert found["n_reads"].to_list() == [7, 14, 7, 1]
    assert found["singleton"].to_list() == [False, False, False, True]


def test_a_condition_is_selected_with_its_columns_and_promoters():
    found = conditions.select(wide().with_columns(**{"predicted.galactose": pl.Series([1.0, 2, 3, 4])}), "galactose", BOTH)
    assert found.select("sequence", "expression", "n_reads", "predicted").rows() == [("A", 7, 2, 1), ("C", 5, 8, 2), ("T", 9, 1, 4)]
    assert not [name for name in found.columns if "." in name]
    assert found["weight"].null_count() == 3  # a mean over conditions would be that of another quantity


def test_a_difference_needs_both_conditions_and_errors_add_up():
    table = wide().with_columns(**{"predicted.galactose-glucose": pl.Series([0.5, 1.5, 2.5, 3.5])})
    found = conditions.select(table, "galactose-glucose", BOTH)
    assert found.select("sequence", "expression", "n_reads", "singleton", "predicted").rows() == [
        *[("A", 6, 2, True, 0.5), ("C", 3, 6, False, 1.5)]
    ]
    assert found["expression_sd"].to_list() == pytest.approx([5, np.sqrt(2)])
    assert {"expression.glucose", "expression.galactose", "expression_sd.glucose"} <= set(found.columns)
    assert conditions.reads(table, "galactose-glucose", BOTH)[:2].tolist() == [2, 6]
    assert conditions.reads(table.drop("n_reads.glucose"), "glucose", BOTH) is None
