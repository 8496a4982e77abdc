"""Tables that are checked as files, and whose repeated promoters are merged in parts, against the whole table in memory."""

import itertools
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from gpraflow.core.errors import InputError
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters, text
from gpraflow.sequences.flanks import Policy
from gpraflow.sequences.scaffold import Scaffold
from gpraflow.tables import ingest, repeated

NONE = Scaffold("none", "", "")
BOTH = ("glu", "gal")


def table(seed, conditions=()):
    """Return 300 rows of 60 promoters, some of them of one barcode, with empty cells, lists of several lengths and kept columns."""
    rng, rows = np.random.default_rng(seed), 300
    pool = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(60)] + ["".join(rng.choice(list("ACGT"), 20)) for _ in range(rows)]
    columns = {"sequence": [pool[place if rng.random() < 0.7 else 60 + row] for row, place in enumerate(rng.integers(0, 60, rows))]}
    columns |= {"name": [f"n{number}" for number in rng.integers(0, 9, rows)], "barcode": rng.choice(["AC", "GT", ""], rows)}
    for name in conditions or [""]:
        suffix = f".{name}" if name else ""
        columns |= {
            f"expression{suffix}": [f"{value:.3f}" if rng.random() < 0.8 else None for value in rng.gamma(2, 2, rows)],
            f"expression_sd{suffix}": [f"{value:.3f}" if rng.random() < 0.9 else None for value in rng.random(rows)],
            f"n_reads{suffix}": rng.integers(0, 30, rows),
            f"bin_cells{suffix}": [",".join(f"{value:.1f}" for value in rng.gamma(1, 5, size)) for size in rng.integers(0, 6, rows)],
        }
    columns |= {"split": np.where(rng.random(rows) < 0.5, "train", ""), "number": rng.choice(["1", "2.5", "NA", ""], rows)}
    columns |= {"text": rng.choice(["1", "x", " "], rows)}
    return pl.DataFrame(columns).with_columns(pl.col(pl.String).replace("", None))


def scan(path, policy, conditions, folder=None):
    """Return the promoter table, the transform of its expression, and the ledger."""
    roles = ("expression", "expression_sd", "n_reads", "bin_cells")
    columns = {role: "auto" for role in promoters.SCHEMA if not conditions or role not in roles} | {"sequence": "sequence"}
    columns |= {f"{role}.{name}": f"{role}.{name}" for role in roles for name in conditions} or {"expression": "expression"}
    ledger = Ledger("ingest_table", "x")
    found = ingest.scan(
        path,
        scaffold=NONE,
        policy=Policy(insert_length=(10, 30), **policy),
        columns=columns,
        missing="drop",
        keep=["number", "text"],
        conditions=conditions,
        ledger=ledger,
        folder=folder,
    )
    fitted = ingest.fitted(found, "rank_normal", None, conditions)
    return ingest.transformed(found, fitted, path, ledger, ["number"], conditions).collect(), fitted, ledger


@pytest.fixture
def small(monkeypatch):
    """Make blocks of some thirty rows, and parts of fifty repeated ones."""

    def set_small():
        monkeypatch.setattr(text, "_BLOCK", 2000)
        monkeypatch.setattr(text, "_PARQUET_ROWS", 30)
        monkeypatch.setattr(repeated, "_TOGETHER", 50)
        monkeypatch.setattr(repeated, "_WAITING", 30)

    return set_small


def written(rows, folder, suffix):
    path = folder / f"table.{suffix}"
    if suffix == "tsv":
        rows.write_csv(path, separator="\t")
    else:
        rows.write_parquet(path)
    return path


@pytest.mark.parametrize("conditions", [(), BOTH])
@pytest.mark.parametrize("suffix", ["tsv", "parquet"])
def test_a_table_in_files_is_that_in_memory(tmp_path, small, suffix, conditions):
    path, ways = written(table(7, conditions), tmp_path, suffix), list(itertools.product(["mean", "first"], ["keep", "mean"]))
    policies = [{"duplicates": duplicates, "barcodes": barcodes} for duplicates, barcodes in ways]
    whole = [scan(path, policy, conditions) for policy in policies]
    small()
    for number, (policy, (expected, fitted, ledger)) in enumerate(zip(policies, whole, strict=True)):
        folder = tmp_path / str(number)
        folder.mkdir()
        found, again, lines = scan(path, policy, conditions, folder)
        assert found.equals(expected)
        assert found.schema == expected.schema
        assert (again, lines.counts) == (fitted, ledger.counts)
        assert lines.counts["dropped", f"repeated sequence, {'averaged' if policy['duplicates'] == 'mean' else 'first row kept'}"] > 50
        blocks = len(list(folder.iterdir()))  # files of the table alone are left
        assert 5 < blocks < 20


def test_repeated_rows_are_averaged_in_place_of_the_first(tmp_path, small):
    """The same in Python: a dictionary of the rows of each sequence and barcode, in the order of the file."""
    rows = table(3).filter(pl.col("expression").is_not_null())
    small()
    found = ingest.scan(
        written(rows, tmp_path, "tsv"),
        scaffold=NONE,
        policy=Policy(insert_length=(10, 30), duplicates="mean"),
        columns={**dict.fromkeys(promoters.SCHEMA, "auto"), "sequence": "sequence", "expression": "expression"},
        folder=tmp_path,
    ).collect()
    of_key = {}
    for row in rows.iter_rows(named=True):
        of_key.setdefault((row["sequence"], row["barcode"] or None), []).append(row)
    assert len(of_key) < rows.height - 50
    assert found.select("sequence", "barcode").rows() == list(of_key)
    assert found["name"].to_list() == [each[0]["name"] for each in of_key.values()]
    assert found["n_reads"].to_list() == [sum(row["n_reads"] for row in each) for each in of_key.values()]
    means = [np.mean([float(row["expression"]) for row in each]) for each in of_key.values()]
    assert found["expression"].to_list() == pytest.approx(means, rel=1e-6)
    splits = [next((row["split"] for row in each if row["split"]), None) for each in of_key.values()]
    assert found["split"].to_list() == splits


@pytest.mark.parametrize(
    ("policy", "column", "value"),
    [("error", "expression", "1"), ("mean", "split", "test"), ("first", "group", "g2"), ("mean", "name", "n1")],
)
def test_errors_name_the_first_of_all_rows(tmp_path, small, policy, column, value):
    """Two repeated sequences differ; the first is that of the table, whatever part it is merged in."""
    sequences = ["".join(np.random.default_rng(seed).choice(list("ACGT"), 20)) for seed in range(150)]
    rows = pl.DataFrame({"sequence": sequences * 2, "expression": "2", "split": "train", "group": "g", "name": "n"})
    for row in (260, 170, 290):  # rows 172, 262 and 292 of the file
        rows = rows.with_columns(pl.when(pl.int_range(300) == row).then(pl.lit(value)).otherwise(column).alias(column))
    path = written(rows, tmp_path, "tsv")
    columns = dict.fromkeys(promoters.SCHEMA, "auto") | {"sequence": "sequence", "expression": "expression"}
    options = {"scaffold": NONE, "policy": Policy(insert_length=(10, 30), duplicates=policy), "columns": columns}

    def outcome(folder=None):
        ledger = Ledger("ingest_table", "x")
        try:
            ingest.scan(path, **options, ledger=ledger, folder=folder)
        except InputError as error:
            return str(error)
        return ledger.counts["noted", "sequences with several names, the first kept"]

    whole = outcome()
    small()
    (tmp_path / "parts").mkdir()
    assert outcome(tmp_path / "parts") == whole
    if column == "name":
        assert whole == 3
    else:
        assert f"rows 22 and 172: the same sequence with {column} " in whole


def test_a_value_that_is_no_number_makes_a_column_text(tmp_path, small):
    rows = pl.DataFrame({"sequence": [f"{'ACGT'[row % 4] * 10}{'ACGT'[row // 4 % 4] * 9}" for row in range(16)], "expression": "1"})
    rows = rows.with_columns(number=pl.lit(" 2 "), text=pl.when(pl.int_range(16) == 15).then(pl.lit("x")).otherwise(pl.lit(" 2 ")))
    small()
    found, _, _ = scan(written(rows.with_columns(expression=pl.int_range(16).cast(pl.String)), tmp_path, "tsv"), {}, (), tmp_path)
    assert found["text"].to_list() == ["2"] * 15 + ["x"]
    assert found.schema["number"] == pl.Float64


def test_no_repeated_promoter_changes_no_file(tmp_path):
    rows = pl.DataFrame({"row": [1, 2, 3], "sequence": ["A", "C", "A"], "barcode": [None, None, "T"]})
    blocks = repeated.Blocks(tmp_path)
    blocks.add(rows[:2])
    blocks.add(rows[2:])
    before = list(blocks._parts)
    repeated.merge(blocks, ingest._SameSequence("mean", "x", ()), Ledger("ingest_table", "x"), tmp_path)
    assert blocks._parts == before
    assert_frame_equal(blocks.scan().collect(), rows)


def test_a_killed_import_leaves_nothing_that_the_next_does_not_remove(tmp_path):
    from gpraflow.core import files

    code = (
        "import os, sys\nfrom pathlib import Path\nimport polars as pl\nfrom gpraflow.core import files\n"
        "from gpraflow.tables import repeated\nwith files.scratch_folder(Path(sys.argv[1])) as folder:\n"
        "    repeated.Blocks(folder).add(pl.DataFrame({'row': [1]}))\n    os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "library.parquet"], check=False)
    assert len(list(tmp_path.glob(".parts-*/*.parquet"))) == 1
    with files.scratch_folder(tmp_path / "library.parquet") as folder:
        assert list(folder.iterdir()) == []
    assert list(tmp_path.iterdir()) == []
