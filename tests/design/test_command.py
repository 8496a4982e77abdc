"""The command ``gpraflow design``, and the worked example of docs/design.md on a model with gradients."""

import json
import re
import shlex
import signal
import subprocess
import sys

import numpy as np
import polars as pl
import pytest

from gpraflow.app import cli
from gpraflow.core import checksums
from gpraflow.design import designs, objectives
from gpraflow.prediction import predictor
from gpraflow.sequences.scaffold import tokenize
from tests import toy
from tests.command import run
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("library") / "train.parquet"
    toy.table(300, 7).write_parquet(path)
    return path


def test_from_a_model_to_an_oligo_pool(folder, library, tmp_path, capsys):
    command = ["design", folder, "-o", tmp_path / "pool", "--library", library, "--objective", "maximize", "target", "--target", "6"]
    command += ["--number", "3", "--budget", "150", "--forbid-site", "BsaI", "GATC", "--gc", "0.3", "0.8", "--forward-primer", "ACGTAC"]
    assert run(*command) == cli.DONE
    out = tmp_path / "pool"
    names = {
        "designs.tsv",
        "designs.parquet",
        "designs.fasta",
        "oligos.csv",
        "trajectory.parquet",
        "summary.json",
        "designs.png",
        "designs.svg",
    }
    assert {path.name for path in out.iterdir()} == names
    table = pl.read_csv(out / "designs.tsv", separator="\t")
    assert table["objective"].to_list() == ["maximize"] * 3 + ["target"] * 3
    assert table["expression"].to_list() == pytest.approx([toy.said(sequence) for sequence in table["sequence"]], abs=1e-4)
    assert not table["sequence"].str.contains("GATC|GGTCTC|GAGACC").any()
    pool = pl.read_csv(out / "oligos.csv")
    assert (pool["oligo"] == "ACGTAC" + table["sequence"]).all()
    fasta = (out / "designs.fasta").read_text().splitlines()
    assert fasta[1::2] == table["insert"].to_list()
    assert fasta[0].startswith(">design_1 objective=maximize predicted=")
    summary = json.loads((out / "summary.json").read_text())
    assert (summary["designs"], summary["partial"], summary["spread_weight"]) == (6, False, 0.0)
    assert summary["within_tolerance"] == 1.0
    assert "6 designs in" in capsys.readouterr().err
    before = (out / "designs.tsv").read_bytes()
    assert run(*command, "--quiet") == cli.DONE
    assert (out / "designs.tsv").read_bytes() == before
    assert not capsys.readouterr().err


def test_ctrl_c_keeps_what_is_finished(folder, library, tmp_path, capsys, monkeypatch):
    whole = designs.Designer._designs

    def interrupted(self, request, number, taken):
        if number:
            raise KeyboardInterrupt
        return whole(self, request, number, taken)

    monkeypatch.setattr(designs.Designer, "_designs", interrupted)
    command = ["design", folder, "-o", tmp_path / "pool", "--objective", "minimize", "maximize", "--number", "2", "--budget", "60"]
    assert run(*command) == 130
    assert "interrupted; designs that were finished are in files named .partial" in capsys.readouterr().err
    table = pl.read_csv(tmp_path / "pool/designs.partial.tsv", separator="\t")
    assert table["objective"].to_list() == ["minimize"] * 2
    assert json.loads((tmp_path / "pool/summary.partial.json").read_text())["partial"] is True
    assert not (tmp_path / "pool/designs.tsv").exists()


def test_a_signal_of_the_keyboard_ends_the_command_with_what_is_finished(folder, tmp_path):
    """A target that the starts meet is finished at once; the search for the highest expression would last for hours."""
    command = ["design", folder, "-o", tmp_path / "pool", "--objective", "target", "maximize", "--target", "6", "--tolerance", "30"]
    command += ["--number", "3", "--budget", 10**9]
    kept = signal.signal(signal.SIGINT, signal.default_int_handler)  # the background job of a shell ignores it, and so do its children
    try:
        process = subprocess.Popen([sys.executable, "-m", "gpraflow.app.cli", *map(str, command)], stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, kept)
    said = b""
    with process:
        while not re.search(rb"[1-9][0-9.]*k? calls", said):
            part = process.stderr.read1()
            assert part, said.decode()
            said += part
        process.send_signal(signal.SIGINT)
        said += process.communicate()[1]
    assert process.returncode == cli.INTERRUPTED
    assert b"interrupted; designs that were finished are in files named .partial" in said
    assert b"Traceback" not in said
    files_there = {path.name for path in (tmp_path / "pool").iterdir()}
    names = ("designs", "oligos", "trajectory", "summary")
    assert {name.split(".")[0] for name in files_there} == set(names)
    assert all(".partial." in name for name in files_there)
    table = pl.read_csv(tmp_path / "pool/designs.partial.tsv", separator="\t")
    assert table["objective"].to_list() == ["target"] * 3
    assert table["expression"].to_list() == pytest.approx([toy.said(sequence) for sequence in table["sequence"]], abs=1e-4)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--forbid-site", "TTACA"], "the flanks themselves, which no design can change"),
        (["--spread-weight", "1"], "is a single model"),
        (["--starts", "none.fa"], "none.fa"),
        (["--library", "none.parquet"], "none.parquet: this file does not exist"),
        (["--forbid-motif", "REB11"], "motif 'REB11' is no motif of the file"),
        (["--condition", "glucose"], "the model has no condition 'glucose'"),
    ],
)
def test_refused(folder, tmp_path, capsys, options, expected):
    assert run("design", folder, "-o", tmp_path / "pool", "--quiet", *options) == cli.REFUSED
    assert expected in capsys.readouterr().err
    assert not (tmp_path / "pool").exists()


@pytest.fixture(scope="module")
def trained(finished_once):
    return finished_once / "results/tiny"


def test_worked_example_of_the_documentation(trained, tmp_path, monkeypatch, capsys):
    (tmp_path / "results").mkdir()
    (tmp_path / "results/sample").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/design.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(block, "docs/design.md", "exec"), names)
    assert set(names["reached"]) == {"genetic", "greedy", "gradient"}
    for table in names["reached"].values():
        assert table.height == 4
        assert table["calls"].max() <= 250
        assert not table["sequence"].str.contains("GGTCTC|GAGACC|GGATCC").any()
    assert len(capsys.readouterr().out.splitlines()) == 3


def test_the_command_of_the_documentation(trained, tmp_path, monkeypatch, capsys):
    """In smaller numbers."""
    (tmp_path / "results").mkdir()
    (tmp_path / "results/sample").symlink_to(trained)
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs/design.md").read_text()
    (block,) = re.findall(r"^```bash\n(gpraflow design.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    command = shlex.split(block.replace("\\\n", " "))[1:]
    assert run(*command, "--number", 2, "--ladder", 2, "--budget", 40) == cli.DONE
    described = re.findall(r"^\| `([a-z]+\.[a-z]+)`(?:, `([a-z]+\.[a-z]+)`)? \|", page, flags=re.MULTILINE)
    assert {path.name for path in (tmp_path / "pool").iterdir()} == {name for names in described for name in names if name}
    oligos = pl.read_csv(tmp_path / "pool/oligos.csv")
    assert oligos.height == 6
    assert oligos["oligo"].str.starts_with("ACACGACGCTCTTCCGATCT").all()
    for oligo in oligos["oligo"].str.strip_prefix("ACACGACGCTCTTCCGATCT").str.strip_suffix("AGATCGGAAGAGCACACGTC"):
        assert len(oligo) == 110
        assert 33 <= sum(base in "GC" for base in oligo) <= 66
        assert not re.search("GGTCTC|GAGACC|GGATCC|A{9}|C{9}|G{9}|T{9}", oligo)
    assert "6 designs in" in capsys.readouterr().err


def test_gradients_of_a_trained_model_are_those_of_its_predictions(trained):
    model = objectives.model_of(predictor.Predictor(trained / "model"))
    sequences = pl.read_parquet(trained / "splits/val.parquet")["sequence"]
    short = next(sequence for sequence in sequences if len(sequence) == 110 and "N" not in sequence)
    tokens = tokenize(pl.Series([short, short[:50] + short[51:] + "A"]), 110)
    slopes = model.gradient(tokens, np.array([[1.0], [-2.0]]))
    assert slopes.shape == (2, 110, 4)
    one, other = (model.gradient(tokens[[row]], np.ones((1, 1)))[0] for row in (0, 1))
    assert slopes[0] == pytest.approx(one, abs=1e-5)
    assert slopes[1] == pytest.approx(-2 * other, abs=1e-4)
    cut = tokens[:, 10:]  # shorter constructs are padded at the left
    assert model.members(cut).shape == (2, 1)
    assert model.gradient(cut, np.ones((2, 1))).shape == (2, 100, 4)


def test_the_tiny_run_measured_its_designs(trained):
    summary = json.loads((trained / "design/summary.json").read_text())
    assert {"share_above_p99", "share_below_p1", "ladder_r", "coverage_95", "seconds"} <= set(summary)
    assert summary["judged_by"] == "simulated assay"
    table = pl.read_parquet(trained / "design/designs.parquet")
    measured = pl.read_parquet(trained / "design/measured.parquet")
    assert measured["name"].to_list() == table["name"].to_list()
    assert table.group_by("objective").len().sort("objective").rows() == [("maximize", 2), ("minimize", 2), ("target", 2)]
    page = (trained / "report.html").read_text()
    assert "Promised and true expression" in page
    assert checksums.digests(trained / "design/designs.tsv")["bytes"] > 500
