"""No path and no name of a user is a pattern: of files, of columns, of Snakemake, of formulas, of markup, of lines."""

import ast
import re

import numpy as np
import polars as pl
import pytest

from gpraflow.app.plan import Plan
from gpraflow.assay import count_tables, sheet
from gpraflow.core import drawing, ledger
from gpraflow.core.errors import ConfigError
from gpraflow.formats import columns as formats_columns
from gpraflow.formats import promoters, text
from gpraflow.report import parts
from tests.conftest import ROOT, copy_tiny, snakemake

NAMES = ["lib[1].parquet", "*.parquet", "l?b1.parquet", "[1]*?{x}$.parquet"]
SEQUENCES = ["ACGTACGT", "TTTTACGT"]


@pytest.fixture(params=NAMES)
def own(request, tmp_path):
    """Path of a promoter table, beside others that fit it as a pattern."""
    for name in ("lib1.parquet", "1-a-x$.parquet", "1aa{x}$.parquet"):
        promoters.write(pl.DataFrame({"sequence": ["AAAA"] * 3, "expression": [9.0] * 3}), tmp_path / name)
    path = tmp_path / request.param
    promoters.write(pl.DataFrame({"sequence": SEQUENCES, "expression": [1.0, 2.0]}), path)
    return path


def test_tables_are_read_by_their_names(own):
    assert promoters.read(own)["sequence"].to_list() == SEQUENCES
    ((rows, _),) = text.read_blocks(own, "auto", True)
    assert rows["sequence"].to_list() == SEQUENCES


def test_tables_are_written_by_their_names(own, tmp_path):
    out = tmp_path / "out" / own.name
    with text.writing(out) as write:
        for number in range(3):
            write(pl.DataFrame({"sequence": ["A"], "expression": [float(number)]}))
    assert [path.name for path in out.parent.iterdir()] == [own.name]
    with open(out, "rb") as handle:
        assert pl.read_parquet(handle)["expression"].to_list() == [0.0, 1.0, 2.0]


def test_every_table_is_read_by_its_name():
    """Polars expands patterns in paths unless it is told not to."""
    calls = [
        (path, node)
        for path in (ROOT / "scripts").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and re.fullmatch(r"pl\.(read|scan)_\w+", ast.unparse(node.func))
    ]
    assert len(calls) > 25
    patterns = [f"{path.name}:{node.lineno}" for path, node in calls if not re.search(r"glob=False|BytesIO", ast.unparse(node))]
    assert patterns == []


BINS = ["[12]", "1", "2", "*", "^1$"]


def test_bins_of_a_table_of_counts(tmp_path):
    counts = np.arange(10).reshape(2, 5)
    table = pl.DataFrame({"sequence": SEQUENCES} | {name: counts[:, i] for i, name in enumerate(BINS)})
    table.write_parquet(tmp_path / "counts.parquet")
    columns = [sheet.CountColumn(name, 0, name, False) for name in BINS]
    _, found = count_tables.read([tmp_path / "counts.parquet"], columns, {"sequence": "sequence"}, ledger.Ledger("x", "y"))
    assert found.tolist() == counts.tolist()


@pytest.mark.parametrize("name", ["*", "^.*$"])
def test_columns_that_are_kept(name):
    with pytest.raises(ConfigError, match=r"^t\.tsv: a column named .* would be taken as a pattern"):
        formats_columns.resolve_columns({"sequence": "sequence", name: name}, ["sequence", name], True, "t.tsv", required=())


# Snakemake

PATHS = {
    "data": {"data": "a{b}"},
    "input.table": {"input": {"table": "{x}.tsv"}},
    "counts.table": {"counts": {"table": "results/{run}/a}.tsv"}},
    "reads.design": {"reads": {"design": "{data}/{a}.fa"}},
    "bucket.url": {"bucket": {"url": "file://{x}"}},
    "training.initial_model": {"training": {"initial_model": "a{1}"}},
    "training.teacher": {"training": {"teacher": "a{1}"}},
}


@pytest.mark.parametrize("key", PATHS)
def test_braces_in_paths_are_refused(key, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match=rf"^{key}: '.*' has a brace, which Snakemake takes as a wildcard; .*only \{{run\}} and \{{data\}}"
    ):
        Plan({"input": {"table": "x.tsv"}, "evaluation": {"datasets": ""}} | PATHS[key])


def test_braces_in_sheets_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bins.tsv").write_text("bin\treads\n1\ta.fq\n2\tb{x}.fq\n")
    (tmp_path / "sets.tsv").write_text("name\ttable\nmine\tb{x}.tsv\n")
    content = {"counts": {"sample_sheet": "bins.tsv", "cells": "reads"}, "evaluation": {"datasets": ""}}
    with pytest.raises(ConfigError, match=r"^bins\.tsv, 2: reads: 'b\{x\}\.fq' has a brace"):
        Plan(content)
    with pytest.raises(ConfigError, match=r"^sets\.tsv, mine: table: 'b\{x\}\.tsv' has a brace"):
        Plan({"input": {"table": "x.tsv"}, "evaluation": {"datasets": "sets.tsv"}})


def test_a_run_with_odd_names_is_planned(tmp_path):
    """A dry run: paths with every other sign, and braces in a title and a unit."""
    folder = copy_tiny(tmp_path / "copy")
    odd = folder / "[1]*?$HOME"
    odd.mkdir()
    (odd / "[1]*?$.tsv").write_text("sequence\texpression\nACGT\t1.0\n")
    (folder / "sets.tsv").write_text("name\ttable\ttitle\nmine\t[1]*?$HOME/[1]*?$.tsv\t{set} of $x$\n")
    overlay = "plots: {unit: 'log2 |{YFP}|'}\nevaluation: {datasets: sets.tsv}\ninput: {table: '[1]*?$HOME/[1]*?$.tsv'}\n"
    (folder / "odd.yaml").write_text(overlay)
    done = snakemake(folder, "--configfile", "tiny.yaml", "odd.yaml", "--dry-run")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "[1]*?$HOME/[1]*?$.tsv" in done.stdout + done.stderr


# Figures and the report

ODD = ["$x", "$x$", r"cost in $\frac{a$", "a $ b $ c", "$$", r"\$x\$", "a_b^{2}"]


@pytest.mark.parametrize("name", ODD)
def test_dollars_begin_no_formula(tmp_path, name):
    with drawing.plt.rc_context(drawing.STYLE):
        figure, axes = drawing.plt.subplots(layout="constrained")
        axes.plot([1, 1000], [0, 1], label=name)
        axes.set(xscale="log", xlabel=name, title=name)
        axes.set_yticks([0, 1], labels=[name, "other"])
        axes.legend(title=name)
    drawing.save(figure, tmp_path / "a.png", tmp_path / "a.svg")
    svg = (tmp_path / "a.svg").read_text()
    assert svg.count(f">{name}</text>") == 5
    assert r"\mathdefault" not in re.sub("<!--.*?-->", "", svg)  # exponents of the axis are formulas


@pytest.mark.parametrize("unit", ["log2 |YFP|", "a_ b_", "|a|", "`a` *b* **c**", "a\u2028b", "a\x0bb\x0cc", "x\\", "[1]_", "å_", "::"])
def test_captions_show_text_as_it_is(unit):
    caption = "Expression ({{ snakemake.params.unit }}) of **{{ snakemake.params.title }}**.\nEnd."
    found = parts.caption(caption, unit=unit, title=unit, bootstrap=1, max_edits=1)
    shown = " ".join(unit.split())
    assert found == f"<p>Expression ({shown}) of <strong>{shown}</strong>.\nEnd.</p>"


@pytest.mark.parametrize("sign", ["\u2028", "\u2029", "\x0b", "\x0c", "\x1c", "\x85", "\n"])
def test_only_line_breaks_end_a_row(tmp_path, sign):
    rows = [{"label": f"a{sign}b", "n": "1"}, {"label": "c", "n": "2"}]
    (tmp_path / "t.tsv").write_text(pl.DataFrame(rows).write_csv(separator="\t"), encoding="utf-8")
    assert parts.read_table(tmp_path / "t.tsv") == rows
    if sign != "\n":
        content = f'sequence,label\n"ACGT","a{sign}b"\n'
        (tmp_path / "t.csv").write_text(content, encoding="utf-8")
        ((block, _),) = text.read_blocks(tmp_path / "t.csv", "auto", True)
        assert block["label"].to_list() == [f"a{sign}b"]
