"""Excerpts of tables: the first rows, and how many there are in all."""

import gzip

import polars as pl
import pytest
import zstandard

from gpraflow.core.errors import InputError
from gpraflow.formats import excerpts, text

LINES = [f"{'ACGT' * 20}\t{number / 7:.4f}" for number in range(50_000)]
TEXT = "# a comment\n# another\nsequence\texpression\n" + "\n".join(LINES) + "\n"


def write(path):
    if path.suffix == ".gz":
        path.write_bytes(gzip.compress(TEXT.encode()))
    elif path.suffix == ".zst":
        path.write_bytes(zstandard.compress(TEXT.encode()))
    else:
        path.write_text(TEXT)


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz", "a.tsv.zst"])
def test_first_rows_of_text(tmp_path, name):
    write(tmp_path / name)
    folder = tmp_path / "parts"
    folder.mkdir()
    part = excerpts.of_table(str(tmp_path / name), folder, 1000)
    assert (part.rows, part.complete) == (1000, False)
    assert 49_000 <= part.total <= 51_000
    (rows, names), *others = text.read_blocks(part.path, "auto", True)
    assert not others
    assert names == ["sequence", "expression"]
    assert rows.height == 1000
    assert rows[text.ROW].to_list() == list(range(4, 1004))  # line numbers of the source
    assert rows["expression"][-1] == f"{999 / 7:.4f}"
    assert part.restored(f"{part.path}, row 4: wrong") == f"{tmp_path / name}, row 4: wrong"
    assert "of which the first 1,000 were read" in part.shown
    whole = excerpts.of_table(str(tmp_path / name), folder, 50_000)
    assert (whole.rows, whole.total, whole.complete, whole.shown) == (50_000, 50_000, True, "50,000")


def test_first_rows_of_parquet(tmp_path):
    pl.DataFrame({"sequence": ["ACGT"] * 500, "expression": range(500)}).write_parquet(tmp_path / "a.parquet")
    folder = tmp_path / "parts"
    folder.mkdir()
    part = excerpts.of_table(str(tmp_path / "a.parquet"), folder, 100)
    assert (part.rows, part.total, part.complete) == (100, 500, False)
    assert pl.read_parquet(part.path)["expression"].to_list() == list(range(100))


@pytest.mark.parametrize("name", ["a.tsv", "a.tsv.gz", "a.tsv.zst"])
def test_rows_of_a_text_are_estimated_from_its_beginning(tmp_path, name):
    write(tmp_path / name)
    assert excerpts.rows_of(tmp_path / name) == pytest.approx(50_003, rel=0.02)


def test_rows_of_a_table_that_cannot_be_read_are_unknown(tmp_path):
    pl.DataFrame({"sequence": ["ACGT"] * 500}).write_parquet(tmp_path / "a.parquet")
    assert excerpts.rows_of(tmp_path / "a.parquet") == 500
    empty = {"a.tsv": b"", "a.tsv.gz": gzip.compress(b""), "a.tsv.zst": zstandard.compress(b""), "a.xlsx": b"x", "b.parquet": b"no Parquet"}
    for name, content in (empty | {"cut.tsv.gz": gzip.compress(TEXT.encode())[:300]}).items():
        (tmp_path / name).write_bytes(content)
        assert excerpts.rows_of(tmp_path / name) == 0, name
    assert excerpts.rows_of(tmp_path / "none.tsv") == 0


def test_faults_are_those_of_the_readers(tmp_path):
    with pytest.raises(InputError, match=r"none.tsv: this file does not exist"):
        excerpts.of_table(str(tmp_path / "none.tsv"), tmp_path, 100)
    (tmp_path / "cut.tsv.gz").write_bytes(gzip.compress(TEXT.encode())[:300])
    with pytest.raises(InputError, match=r"cut.tsv.gz: the .gz file is truncated"):
        excerpts.of_table(str(tmp_path / "cut.tsv.gz"), tmp_path, 100)
    (tmp_path / "bad.parquet").write_text("no Parquet")
    with pytest.raises(InputError, match=r"bad.parquet: not a readable Parquet file"):
        excerpts.of_table(str(tmp_path / "bad.parquet"), tmp_path, 100)
