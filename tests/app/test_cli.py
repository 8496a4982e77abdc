"""The command `gpraflow`, on a model whose answers are known."""

import gzip
import io
import subprocess
import sys

import polars as pl
import pytest
import zstandard

from gpraflow.app import cli
from gpraflow.core import files
from gpraflow.formats import promoters, records
from gpraflow.prediction import predictor
from tests import toy
from tests.command import refused, run
from tests.conftest import ROOT

INSERTS = toy.inserts(5, 20)
WHOLE = [toy.FIVE + insert + toy.THREE for insert in INSERTS]
FASTA = "".join(f">p{number} of five\n{insert[:10]}\n{insert[10:]}\n" for number, insert in enumerate(INSERTS))


def pipe(monkeypatch, content):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))


def check(found):
    assert found["sequence"].to_list() == WHOLE
    assert found["expression"].to_list() == pytest.approx([toy.said(s) for s in WHOLE], abs=1e-5)
    assert (found["expression_high"] - found["expression_low"] > 1).all()


@pytest.mark.parametrize("suffix", ["tsv", "csv", "tsv.gz", "parquet"])
def test_fasta_to_every_format(folder, tmp_path, capsys, suffix):
    (tmp_path / "in.fa").write_text(FASTA)
    out = tmp_path / "new" / f"out.{suffix}"
    assert run("predict", folder, tmp_path / "in.fa", "-o", out) == cli.DONE
    found = pl.read_parquet(out) if suffix == "parquet" else pl.read_csv(out, separator="," if suffix == "csv" else "\t")
    check(found)
    assert found["name"].to_list() == [f"p{number}" for number in range(5)]
    said = capsys.readouterr()
    assert not said.out
    assert "gpraflow: 5 promoters; 5 insert only, flanks added" in said.err
    assert "5.00 promoters" in said.err  # progress
    assert [path.name for path in out.parent.iterdir()] == [out.name]


def text(separator, header=True, names=True):
    lines = [separator.join(["sequence", "name"][: 1 + names])] if header else []
    lines += [separator.join([whole, f"p{number}"][: 1 + names]) for number, whole in enumerate(WHOLE)]
    return "\n".join(lines).encode() + b"\n"


@pytest.mark.parametrize(
    ("name", "content", "options", "names"),
    [
        ("a.tsv", text("\t"), (), "p"),
        ("a.csv", text(",", names=False), (), "1"),
        ("a.txt", text("\t"), (), "p"),
        ("a.csv.gz", gzip.compress(text(",")), (), "p"),
        ("a.fasta.zst", zstandard.compress(FASTA.encode()), (), "p"),
        ("no_suffix", FASTA.encode(), (), "p"),
        ("no_suffix", gzip.compress(FASTA.replace("\n", "\r\n").encode()), (), "p"),
        ("bom.fa", b"\xef\xbb\xbf\n" + FASTA.encode(), (), "p"),
        ("a.tsv", text("\t", header=False), ("--no-header", "--name-column", "2"), "p"),
        ("a.txt", text("\t", header=False, names=False), ("--no-header",), "1"),
        ("a.tsv", text("\t").replace(b"sequence\tname", b"dna\tid"), ("--sequence-column", "dna", "--name-column", "id"), "p"),
    ],
)
@pytest.mark.parametrize("stdin", [False, True])
def test_every_input_by_name_or_pipe(folder, tmp_path, monkeypatch, capsys, name, content, options, names, stdin):
    (tmp_path / name).write_bytes(content)
    pipe(monkeypatch, content)
    assert run("predict", folder, "-" if stdin else tmp_path / name, "-o", tmp_path / "out.tsv", "--quiet", *options) == cli.DONE
    assert not capsys.readouterr().err
    found = pl.read_csv(tmp_path / "out.tsv", separator="\t", schema_overrides={"name": pl.String})
    check(found)
    assert found["name"].to_list() == [f"p{n}" if names == "p" else str(n + 1) for n in range(5)]


def test_numbers_are_those_of_predict_promoters(folder, tmp_path):
    table = toy.table(3000, 21)
    promoters.write(table, tmp_path / "in.parquet")
    assert run("predict", folder, tmp_path / "in.parquet", "-o", tmp_path / "out.parquet", "--quiet") == cli.DONE
    found = pl.read_parquet(tmp_path / "out.parquet")
    assert found["expression"].equals(predictor.predict(folder, table)["predicted"].alias("expression"))


def test_batches_begin_at_the_same_rows_as_in_the_whole_table():
    table = pl.DataFrame({"x": range(1000)})
    for size in (1, 7, 99, 1000):
        for rows in (1, 10, 64, 1000, 2000):
            found = list(records.regroup(table.iter_slices(size), rows))
            assert pl.concat(found).equals(table)
            assert all(block.height % rows == 0 for block in found[:-1])
            assert found[-1].height >= min(rows, 1000)


def test_output_to_a_pipe_and_repeated_names(folder, monkeypatch, capsysbinary):
    pipe(monkeypatch, (FASTA + FASTA).encode())
    assert run("predict", folder, "-", "--reads", "8") == cli.DONE
    said = capsysbinary.readouterr()
    found = pl.read_csv(said.out, separator="\t")
    check(found.head(5))
    assert found.height == 10
    assert b"5 repeated names (output rows are in the order of the input)" in said.err


def test_empty_texts_are_empty_and_rows_without_a_name_have_their_number(folder, tmp_path):
    (tmp_path / "in.tsv").write_text(f"name\tsequence\n\t{WHOLE[0]}\nb\t{WHOLE[1]}\n")
    assert run("predict", folder, tmp_path / "in.tsv", "-o", tmp_path / "out.tsv") == cli.DONE
    lines = [line.split("\t") for line in (tmp_path / "out.tsv").read_text().splitlines()]
    assert [(line[0], line[-1]) for line in lines] == [("name", "out_of_distribution"), ("1", ""), ("b", "")]


def test_a_full_disk_behind_standard_output_is_no_fault_of_the_program(folder, tmp_path):
    (tmp_path / "in.fa").write_text(FASTA)
    with open("/dev/full", "wb") as full:
        command = [sys.executable, "-m", "gpraflow.app.cli", "predict", folder, tmp_path / "in.fa", "--quiet"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT / "scripts", check=False)
    assert done.returncode == cli.FAILED
    assert "gpraflow: standard output: could not be written (No space left on device)" in done.stderr
    assert "a bug in gpraflow" not in done.stderr


def test_what_a_killed_process_left_is_removed(folder, tmp_path):
    (tmp_path / "in.fa").write_text(FASTA)
    with subprocess.Popen(["true"]) as dead:  # a process that is there no longer, on this machine, and one of another machine
        left = [f".parts-{host}-{dead.pid}-out.parquet" for host in (files.HOST, "node-17")]
    for name in left:
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.parquet").touch()
    assert run("predict", folder, tmp_path / "in.fa", "-o", tmp_path / "out.parquet") == cli.DONE
    assert sorted(path.name for path in tmp_path.iterdir()) == [left[1], "in.fa", "out.parquet"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.fa", None, "none.fa: this file does not exist"),
        ("empty.fa", b"", "empty.fa: the file is empty"),
        ("blank.fa", b"\n\n", "blank.fa: no FASTA record found"),
        ("blank.tsv", b"\n\n", "blank.tsv: the file is empty; give at least one sequence"),
        ("header.tsv", b"sequence\n", "header.tsv: the table has no rows"),
        (
            "protein.fa",
            b">YFG1\nMKVLAAGIVPLL\n",
            "protein.fa, record 1 ('YFG1'): letter 'L' at position 4 of 'MKVLAAGIVPLL'; this looks like a",
        ),
        ("gap.fa", b">a\nACGT\n>b\nAC-T\n", "gap.fa, record 2 ('b'): letter '-' at position 3 of 'AC-T'; only A, C, G, T and N"),
        (
            "tab.fa",
            b">p0\tACGT\n>p1\tCCCC\n",
            "tab.fa, record 1 ('p0'): the sequence stands behind a tab in the header line; give it a line of its own, such as with tr",
        ),
        ("hole.fa", b">a\nACGT\n>b\n>c\nAC\n", "hole.fa, record 2 ('b'): the sequence is empty; delete the record"),
        (
            "column.tsv",
            b"seq\nACGT\n",
            "no column 'sequence' for sequence; did you mean 'seq'? (the file has seq); give --sequence-column, or --no-header",
        ),
        ("mixed.csv", b"name;sequence,x\na;ACGT,1\n", "(the file has name;sequence, x); cells seem to be separated by semicolons: convert"),
        ("mac.fa", b">a\rACGT\r>b\rACGT\r", "mac.fa: a line ends with CR only"),
        ("mac.tsv", b"name\tsequence\ra\tACGT\r", "mac.tsv, row 1: a line ends with CR only"),
        ("cut.fa.gz", gzip.compress(FASTA.encode())[:-9], "cut.fa.gz: the .gz file is truncated"),
        ("false.parquet", b"PAR1 no", "false.parquet: not a readable Parquet file"),
    ],
)
def test_input_that_cannot_be_used_is_one_message_and_no_output(folder, tmp_path, capsys, name, content, message):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    assert message in refused(capsys, "predict", folder, tmp_path / name, "-o", tmp_path / "out" / "out.tsv")
    assert not list((tmp_path / "out").glob("*"))


def test_pipes_that_cannot_be_used(folder, monkeypatch, capsys):
    pipe(monkeypatch, b"")
    assert "standard input: the file is empty; give at least one sequence" in refused(capsys, "predict", folder, "-")
    pipe(monkeypatch, b"PAR1....")
    assert "standard input: Parquet cannot be read from a pipe" in refused(capsys, "predict", folder, "-")


def test_an_error_late_in_a_file_leaves_no_output(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(records, "_RECORDS", 2)
    (tmp_path / "in.fa").write_text(FASTA + ">bad\nACXT\n")
    for suffix in ("tsv", "parquet"):
        assert "record 6 ('bad'): letter 'X'" in refused(
            capsys, "predict", folder, tmp_path / "in.fa", "-o", tmp_path / f"out.{suffix}", "--quiet"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["in.fa"]


def test_options_that_cannot_be_used(folder, tmp_path, capsys):
    (tmp_path / "in.fa").write_text(FASTA)
    for name, message in (
        ("out.doc", "the file extension does not show the format; use .tsv, .csv or .parquet"),
        ("out.xlsx", ".xlsx files can be read but not written; use .tsv, .csv or .parquet"),
    ):
        assert message in refused(capsys, "predict", folder, tmp_path / "in.fa", "-o", tmp_path / name)
    assert "model.json: this file does not exist" in refused(capsys, "predict", tmp_path, tmp_path / "in.fa")
    for name in ("model.json", "model.keras"):
        (tmp_path / name).write_text("{")
    assert "model.json: damaged" in refused(capsys, "predict", tmp_path, tmp_path / "in.fa")
    for arguments in (["predict", "m"], ["predict", "m", "i", "--reads", "0"], ["predikt"], []):
        with pytest.raises(SystemExit) as stopped:
            cli.main(arguments)
        assert stopped.value.code == cli.REFUSED


def test_a_fault_is_told_from_bad_input(folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "in.fa").write_text(FASTA)
    monkeypatch.setattr(predictor.Predictor, "members", lambda *_: 1 / 0)
    assert run("predict", folder, tmp_path / "in.fa", "-o", tmp_path / "out.tsv", "--quiet") == cli.FAILED
    assert "gpraflow: ZeroDivisionError: division by zero (a bug in gpraflow; gpraflow --traceback" in capsys.readouterr().err


def test_help_is_cheap():
    code = (
        "import sys\nfrom gpraflow.app import cli\n"
        "try:\n    cli.main(['predict', '--help'])\nexcept SystemExit:\n    pass\n"
        "assert not {'keras', 'jax', 'tensorflow', 'polars', 'numpy'} & set(sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT / "scripts")}, capture_output=True, text=True, check=True
    )
    assert "95 % interval" in done.stdout


def test_a_command_that_uses_a_model_starts_with_large_pages(tmp_path):
    shown = "import os; print(os.environ.get('GLIBC_TUNABLES'), os.getpid())"
    code = f"from gpraflow.core import startup\nstartup.restart_prepared()\n{shown}"
    paths = {"PYTHONPATH": str(ROOT / "scripts")}
    for given, found in (
        ({}, "glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.check=1"}, "glibc.malloc.check=1:glibc.malloc.hugetlb=1"),
        ({"GLIBC_TUNABLES": "glibc.malloc.hugetlb=0"}, "glibc.malloc.hugetlb=0"),  # a user's own choice
    ):
        with subprocess.Popen([sys.executable, "-c", code], env=paths | given, stdout=subprocess.PIPE, text=True) as process:
            output, _ = process.communicate(timeout=60)
        assert output.split() == [found, str(process.pid)]  # the same process, as signals and pipes need it

    command = [sys.executable, "-m", "gpraflow.app.cli", "predict", str(tmp_path / "none"), "-", "--nonsense"]
    done = subprocess.run(command, env=paths, capture_output=True, text=True, timeout=60, input="")
    assert done.returncode == 2
    assert "unrecognized arguments: --nonsense" in done.stderr
    done = subprocess.run(command[:-1], env=paths, capture_output=True, text=True, timeout=60, input=">a\nACGT\n")
    assert done.returncode == 2
    assert done.stderr.startswith("gpraflow: ")
    assert "model.json: this file does not exist" in done.stderr
