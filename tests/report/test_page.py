"""The report's parts, on tiny inputs."""

import base64
import datetime
import json
import re
from html.parser import HTMLParser

import pytest
import yaml

from gpraflow.app.plan import Plan
from gpraflow.core import ledger
from gpraflow.core import schema as schemas
from gpraflow.core.errors import InputError
from gpraflow.report import accounting, cost, findings
from gpraflow.report import page as report_page
from gpraflow.report import parts as report_parts
from tests.conftest import ROOT

HOSTILE = '<script>alert(1)</script> "a" & `b <javascript:alert(1)>`_ **c'
SVG = """<?xml version="1.0"?>
<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN" "http://www.w3.org/Graphics/SVG/1.1/DTD/svg11.dtd">
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="72pt" height="36pt" viewBox="0 0 72 36" xmlns="http://www.w3.org/2000/svg">
 <metadata>x</metadata><defs><style>*{fill: red}</style><clipPath id="p1"><path d="M 0 0"/></clipPath><path id="m1" d="M 0 0"/></defs>
 <script>alert(1)</script>
 <g id="axes_1" onclick="alert(1)"><use xlink:href="#m1" clip-path="url(#p1)"/><a xlink:href="https://example.org"><text>&lt;b&gt;</text></a></g>
</svg>"""
PNG = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
SCORE = {"r": 0.9, "r_low": 0.85, "r_high": 0.95}
ABOUT = {
    "architecture": "compact",
    "preset": "default",
    "parameters": 1234,
    "members": 1,
    "epochs": 4,
    "best_epoch": 3,
    "restarts": 0,
    "val_r": 0.8,
    "seconds": 30.0,
    "sequences_per_second": 10.0,
    "device": "1 x cpu",
    "backend": "jax",
    "precision": "float32",
    "commit": "abc",
    "promoters": {"train": 90, "val": 10},
    "versions": {"keras": "3"},
    "data": {"train": "00ff" * 16},
    "input": {"alphabet": "ACGTN", "length": 110, "scaffold": "pTpA", "keep": "right", "pad": "left"},
    "training": yaml.safe_load((ROOT / "config/config.yaml").read_text())["training"] | {"seed": 5},
}
LEDGER = """rule\tdataset\tkind\twhat\trows
count_reads\t1\tin\trows\t100
count_reads\t1\tdropped\tno flank\t9
count_reads\t1\tdropped\tquality\t11
count_reads\t1\tout\trows\t80
merge_pairs\t2\tin\trows\t60
merge_pairs\t2\tdropped\tmates do not agree\t10
merge_pairs\t2\tout\trows\t50
count_reads\t2\tin\trows\t50
count_reads\t2\tdropped\tquality\t0
count_reads\t2\tout\trows\t50
merge_counts\t1\tin\trows\t80
merge_counts\t1\tout\trows\t80
merge_counts\t2\tin\trows\t50
merge_counts\t2\tout\trows\t50
merge_counts\tlibrary\tin\trows\t40
merge_counts\tlibrary\tdropped\tsequencing error\t10
merge_counts\tlibrary\tout\trows\t30
estimate_expression\tlibrary\tin\trows\t30
estimate_expression\tlibrary\tout\trows\t30
ingest_table\tlibrary\tin\trows\t30
ingest_table\tlibrary\tout\trows\t30
split_promoters\tlibrary\tin\trows\t30
split_promoters\tlibrary\tdropped\tnear-duplicates\t3
split_promoters\tlibrary\tout\trows\t27
shard_tfrecords\ttrain\tin\trows\t20
shard_tfrecords\tval\tin\trows\t7
ingest_table\tother\tin\trows\t12
ingest_table\tother\tdropped\ttoo long\t2
ingest_table\tother\tout\trows\t10
"""


@pytest.fixture
def bars(tmp_path):
    (tmp_path / "ledger.tsv").write_text(LEDGER)
    return accounting.retained(ledger.load([tmp_path / "ledger.tsv"]), ["train", "val"], ["other"])


def test_rows_retained_and_lost_add_up(bars):
    assert bars.rows() == [
        ("reads", "total", "reads", 160, 0),
        ("reads", "lost", "mates do not agree", 10, 150),
        ("reads", "lost", "quality", 11, 139),
        ("reads", "lost", "no flank", 9, 130),
        ("reads", "total", "counted", 130, 0),
        ("promoters", "total", "distinct inserts", 40, 0),
        ("promoters", "lost", "sequencing error", 10, 30),
        ("promoters", "total", "promoters", 30, 0),
        ("promoters", "lost", "near-duplicates", 3, 27),
        ("promoters", "total", "in splits", 27, 0),
        ("promoters", "part", "train", 20, 0),
        ("promoters", "part", "val", 7, 20),
        ("independent promoters", "total", "other", 12, 0),
        ("independent promoters", "lost", "too long", 2, 10),
        ("independent promoters", "total", "other, scored", 10, 0),
    ]


def test_rows_of_joined_tables_are_followed_from_the_tables_to_the_library(tmp_path):
    lines = LEDGER.splitlines()
    text = [lines[0], *[line for line in lines if line.startswith(("split_promoters", "shard", "ingest_table\tother"))]]
    for table, rows, dropped in (("a", 20, 1), ("b", 16, 2)):
        text += [f"ingest_table\t{table}\t{kind}\t{kind}\t{n}" for kind, n in (("in", rows), ("dropped", dropped), ("out", rows - dropped))]
    text += [f"join_tables\tlibrary\t{kind}\tx\t{rows}" for kind, rows in (("in", 33), ("dropped", 3), ("out", 30))]
    (tmp_path / "ledger.tsv").write_text("\n".join(text) + "\n")
    found = accounting.retained(ledger.load([tmp_path / "ledger.tsv"]), ["train", "val"], ["other"])
    assert [row[1:] for row in found.rows() if row[0] == "promoters"] == [
        ("total", "rows of the table", 36, 0),
        ("lost", "dropped", 3, 33),
        ("total", "accepted", 33, 0),
        ("lost", "x", 3, 30),
        ("total", "joined", 30, 0),
        ("lost", "near-duplicates", 3, 27),
        ("total", "in splits", 27, 0),
        ("part", "train", 20, 0),
        ("part", "val", 7, 20),
    ]
    assert [row[3] for row in found.rows() if row[0] == "independent promoters"] == [12, 2, 10]


def test_facts_say_what_went_in_what_was_used_and_what_was_lost(bars):
    found = dict(findings.facts(bars, ABOUT, [{"core_hours": "0.25", "jobs": "3"}, {"core_hours": "0.5", "jobs": "1"}]))
    assert found["Reads"] == "160 in, 130 used, 30 lost: 11 (6.88 %) quality; 10 (6.25 %) mates do not agree; 9 (5.62 %) no flank"
    assert found["Promoters"].startswith("40 in (distinct inserts), 27 used, 13 lost: 10 (25 %) sequencing error; 3 (7.50 %) near")
    assert found["Independent promoters"] == "12 in, 10 used, 2 lost: 2 (17 %) too long"
    assert found["Splits"] == "train 20, val 7"
    assert found["Cost"] == "0.75 core-hours in 4 jobs"
    assert found["Training"] == "epoch 3 of 4 was kept; r on the val split 0.800 (n = 10); 30 s on 1 x cpu (jax)"


def test_a_table_without_reads_begins_with_its_rows(tmp_path):
    lines = LEDGER.splitlines()
    kept = [lines[0], *[line for line in lines if re.match("(ingest|split|shard)", line) and "other" not in line]]
    (tmp_path / "ledger.tsv").write_text("\n".join(kept))
    found = accounting.retained(ledger.load([tmp_path / "ledger.tsv"]), ["train", "val"], [])
    assert found.rows()[0] == ("promoters", "total", "rows of the table", 30, 0)
    assert set(found["unit"]) == {"promoters"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, r"broken\.tsv: this table cannot be read"),
        (b"", r"broken\.tsv: this table has no header"),
        (b"a\tb\n1\t2\n3\n", r"broken\.tsv, row 3: 1 columns, but the header has 2; remove the file and run"),
        (b"a\tb\n\xff\t2\n", r"broken\.tsv: this table cannot be read"),
    ],
)
def test_a_broken_table_is_named(tmp_path, content, message):
    path = tmp_path / "broken.tsv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        report_parts.read_table(path)


def test_a_broken_figure_or_json_is_named(tmp_path):
    (tmp_path / "a.svg").write_text("<svg")
    with pytest.raises(InputError, match=r"a\.svg: this figure cannot be read"):
        report_parts.figure(tmp_path / "a.svg", folder=tmp_path, run="x", title="a", caption="")  # the PNG is missing
    (tmp_path / "a.png").write_bytes(PNG)
    with pytest.raises(InputError, match=r"a\.svg: this figure cannot be read"):
        report_parts.figure(tmp_path / "a.svg", folder=tmp_path, run="x", title="a", caption="")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json: this file cannot be read"):
        report_parts.read_json(tmp_path / "a.json")


def test_an_svg_goes_into_the_page_without_scripts_and_with_ids_of_its_own():
    found = report_parts.inline_svg(SVG, "one-", HOSTILE)
    assert "script>" not in found.replace("&lt;script&gt;", "").replace("&lt;/script&gt;", "")
    for gone in ("onclick", "style>", "metadata", "https:", "DOCTYPE", "width="):
        assert gone not in found
    for kept in ('id="one-p1"', "url(#one-p1)", 'href="#one-m1"', 'id="one-axes_1"', 'viewBox="0 0 72 36"', 'role="img"', "&lt;b&gt;"):
        assert kept in found
    assert '<title id="one-title">&lt;script&gt;' in found
    assert report_parts.width_of(SVG) == 96


def test_a_large_svg_is_shown_as_png_but_can_be_downloaded(tmp_path, monkeypatch):
    (tmp_path / "a.svg").write_text(SVG)
    (tmp_path / "a.png").write_bytes(PNG)
    assert report_parts.figure(tmp_path / "a.svg", folder=tmp_path, run="x", title="t", caption="").picture.startswith("<svg")
    monkeypatch.setattr(report_parts, "LARGEST_SVG", 10)
    found = report_parts.figure(tmp_path / "a.svg", folder=tmp_path, run="x", title=HOSTILE, caption="")
    assert re.fullmatch(r'<img src="data:image/png;base64,[^"]+" alt="&lt;script&gt;[^"<>]*">', found.picture)
    png, svg = found.downloads
    assert (png.name, svg.name) == ("x_a.png", "x_a.svg")
    assert base64.b64decode(svg.uri.partition(",")[2]).decode() == SVG


@pytest.mark.parametrize(("kind", "method"), [("sorted_bins", "shared"), ("dna_rna", "distribution")])
def test_every_caption_is_right_and_hostile_titles_are_text(kind, method):
    for path in sorted((ROOT / "workflow/report").glob("*.rst")):
        values = {"unit": "bins", "bootstrap": 100, "max_edits": 3, "title": HOSTILE}
        config = {"run": "x", "model": {"name": "a", "preset": "b", "motifs": ""}}
        config |= {"counts": {"cells": "reads", "kind": kind}, "explain": {"motifs": ""}, "input": {"table": "mine.tsv", "join": method}}
        found = report_parts.caption(path.read_text(), config=config, **values)
        assert found.startswith("<p>"), path
        assert "<script" not in found
        assert "href" not in found
        assert "problematic" not in found
    assert {name for _, _, name, *_ in [*report_page.FIGURES.values(), *report_page.TABLES.values()]} <= {
        path.stem for path in (ROOT / "workflow/report").glob("*.rst")
    }, "every caption that FIGURES or TABLES names is a file of workflow/report"
    text = report_parts.caption("Of **{{ snakemake.params.title }}**.", unit="", bootstrap=1, max_edits=1, title="a*b_ & <c>")
    assert text == "<p>Of <strong>a*b_ &amp; &lt;c&gt;</strong>.</p>"


@pytest.mark.parametrize("kind", ["dna_rna", "table"])
def test_captions_of_runs_without_bins_do_not_speak_of_bins(kind, tmp_path):
    (tmp_path / "sheet.tsv").write_text("replicate\tdna\trna\n1\td\tr\n")
    counts = {"kind": "dna_rna", "table": "counts.tsv", "sample_sheet": str(tmp_path / "sheet.tsv")}
    mine = {"input": {"table": "mine.tsv"}} if kind == "table" else {"counts": counts}
    plan = Plan(mine | {"model": {"name": "baseline_kmer"}, "evaluation": {"datasets": ""}})
    values = {"unit": plan.unit, "bootstrap": 100, "max_edits": 3, "title": "test"}
    names = [report_page.FIGURES[name][2] for name in plan.report_figures if name in report_page.FIGURES]
    names += [report_page.TABLES[f"{name}.tsv"][2] for name in plan.report_tables]
    assert {"scores", "ledger", "splits", "metrics"} <= set(names)
    assert ("expression" in names) == (kind == "dna_rna")
    for name in names:
        found = report_parts.caption((ROOT / f"workflow/report/{name}.rst").read_text(), config=plan.config, **values)
        assert not re.search(r"\bbins?\b", found), found
    assert plan.unit == {"dna_rna": "log2(RNA/DNA)", "table": "units of the table"}[kind]


def test_the_profiles_are_of_cells_only_if_cells_were_counted():
    text = (ROOT / "workflow/report/profiles.rst").read_text()
    values = {"unit": "bins", "bootstrap": 1, "max_edits": 1}
    of_reads, of_cells = (report_parts.caption(text, config={"counts": {"cells": cells}}, **values) for cells in ("reads", "sheet"))
    assert "cells inferred" not in of_reads
    assert (
        "Bars: reads, as cell counts per bin are unknown, weighted by the population in each bin if the sample sheet has it; line: reads "
        "expected in each bin" in " ".join(of_reads.split())
    )
    assert "Bars: cells inferred from reads; line: cells expected in each bin" in " ".join(of_cells.split())


@pytest.mark.parametrize(("motifs", "expected"), [("", "no motif file was given"), ("my.jaspar", "Bars below are sites")])
def test_the_logos_say_if_no_motif_file_was_given(motifs, expected):
    text = (ROOT / "workflow/report/logos.rst").read_text()
    found = report_parts.caption(text, config={"explain": {"motifs": motifs}}, title="Set", unit="bins", bootstrap=1, max_edits=1)
    assert [part in found for part in ("no motif file was given", "Bars below are sites")].count(True) == 1
    assert expected in found


def test_tables_show_intervals_beside_values_and_keep_numbers_to_sort_by():
    rows = [
        {"name": "a", "n": "12345", "r": "0.987654", "r_low": "0.9", "r_high": "1.0", "p": "0.00001", "none": "", "seen": "true"},
        {"name": "b", "n": "5", "r": "", "r_low": "", "r_high": "", "p": "0.5", "none": "", "seen": "false"},
    ]
    assert [report_parts.probability(p) for p in (0.0, 0.00012, 0.5)] == ["< 0.0001", "= 0.00012", "= 0.5"]
    columns, cells = report_parts.shape(rows)
    assert columns == ("name", "n", "r [95 % interval]", "p", "seen")
    assert [cell.text for cell in cells[0]] == ["a", "12,345", "0.988 [0.900, 1.000]", "< 0.0001", "yes"]
    assert [cell.text for cell in cells[1]] == ["b", "5", "–", "0.5", "no"]
    assert [cell.number for cell in cells[0]] == [None, 12345, 0.987654, 0.00001, None]
    assert report_parts.shape([]) == ((), [])


def test_long_tables_say_how_long_they_are(tmp_path, monkeypatch):
    monkeypatch.setattr(report_parts, "MOST_ROWS", 2)
    (tmp_path / "a.tsv").write_text("x\n1\n2\n3\n")
    found = report_parts.table(tmp_path / "a.tsv", folder=tmp_path, run="r", title="t", caption="", unfolded=True)
    assert (len(found.rows), found.total) == (2, 3)
    assert base64.b64decode(found.download.uri.partition(",")[2]) == b"x\n1\n2\n3\n"


def test_warnings_say_of_which_data_set_and_what():
    tables = {
        "checks.tsv": [
            {"dataset": "a", "check": "scale", "verdict": "warning", "text": "other scale"},
            {"dataset": "b", "check": "scale", "verdict": "ok", "text": "same scale"},
            {"dataset": "val", "check": "split size", "verdict": "warning", "text": "12 promoters"},
        ],
        "leak/distances.tsv": [
            {"dataset": "b", "n": "1000", "within_max_edits": "7"},
            {"dataset": "a", "n": "10", "within_max_edits": "0"},
        ],
        "intervals.tsv": [
            {"dataset": "a", "level": "0.950000", "inside": "0.71", "high": "0.75", "n": "50"},
            {"dataset": "a", "level": "0.500000", "inside": "0.1", "high": "0.2", "n": "50"},
            {"dataset": "b", "level": "0.950000", "inside": "0.89", "high": "0.91", "n": "50"},
        ],
    }
    found = findings.warnings_of(tables, {"restarts": 2}, {"a": "Set a", "b": "Set b"}, 3)
    assert [(each.of, each.text) for each in found] == [
        ("Set a", "scale: other scale."),
        ("val split", "split size: 12 promoters."),
        ("Set b", "leakage: 7 of 1,000 promoters are within 3 edits of a training promoter; their scores do not test generalisation."),
        ("Set a", "intervals: 95 % intervals contain 71.0 % of 50 measurements: they are too narrow for this data set."),
        ("Training", "diverged 2 times; the best weights were restored and the learning rate was lowered."),
    ]
    apart = findings.warnings_of(tables, {}, {}, 3, near_by_design=["b"])
    assert [each.text.partition(":")[0] for each in apart] == ["scale", "split size", "intervals"]
    assert findings.warnings_of({}, {}, {}, 3) == []
    (foreign,) = findings.warnings_of({}, {}, {}, 3, foreign_motifs=["model.motifs", "explain.motifs"])
    assert foreign.of == "Motifs"
    assert foreign.text.startswith("model.motifs and explain.motifs are the built-in yeast set, but the scaffold is not one of yeast")
    rows = [{"condition": "index error", "r": "0.99"}, {"condition": "leakage-controlled", "r": "0.5", "test_records": "20"}]
    baseline = {"leak/demonstration.tsv": rows}
    (found,) = findings.warnings_of(baseline, {"val_r": 0.4}, {}, 3)
    assert (found.of, found.text.partition(",")[0]) == ("val split", "baseline: ridge regression on 5-mers")
    assert findings.warnings_of(baseline, {"val_r": 0.6}, {}, 3) == []
    few = {"leak/demonstration.tsv": [row | {"test_records": "19"} for row in rows]}
    few |= {"intervals.tsv": [tables["intervals.tsv"][0] | {"n": "19"}]}
    assert findings.warnings_of(few, {"val_r": 0.4}, {}, 3) == []


def test_notes_say_what_a_reviewer_would_ask():
    good = {"commit": "abc", "covered": True, "simulated": False}
    assert findings.notes_of({"a": {"independent": True}}, ABOUT, **good) == []
    bad = {"commit": "abd-dirty", "covered": False, "simulated": True}
    found = " ".join(findings.notes_of({"a": {"independent": False}}, ABOUT | {"best_epoch": 4}, **bad))
    for part in (
        "are simulated",
        "no independent data set",
        "best epoch was the last",
        "no intervals",
        "uncommitted changes since commit abd.",
        "trained at commit abc",
    ):
        assert part in found
    assert "not a git checkout" in findings.notes_of({"a": {"independent": True}}, ABOUT, **good | {"commit": ""})[0]


def test_a_value_that_is_not_judged_is_a_remark(tmp_path):
    config = run_folder(tmp_path, {"one": "Set one"})
    (tmp_path / "checks.tsv").write_text("dataset\tcheck\tvalue\tverdict\ttext\none\tstrand asymmetry\t0.1\tnote\tr is 0.100\n")
    text = write(tmp_path, config)
    assert "<li>Set one, strand asymmetry: r is 0.100.</li>" in text
    assert "No warnings." in text


def test_a_card_names_ceiling_and_the_best_of_others():
    scored = SCORE | {"title": "Set", "independent": True, "n": 50, "ceiling": {"from": "errors", "r": 0.98, "share": 0.918}}
    scored["published_models"] = {"weak": SCORE | {"r": 0.5, "n": 40}, "strong": SCORE | {"r": 0.97, "n": 41}, "none": {"r": None, "n": 3}}
    row = {
        "dataset": "d",
        "other": "strong",
        "difference": "-0.07",
        "difference_low": "-0.09",
        "difference_high": "-0.05",
        "p_holm": "0.0004",
    }
    runs = [{"dataset": "d", "kind": "run", "label": name, **{k: str(v) for k, v in SCORE.items()}} for name in ("mine", "theirs")]
    found = findings.card("d", scored, [row, row | {"other": "weak"}], runs, "mine")
    assert (found["r"], found["ends"], found["n"], found["kind"]) == ("0.900", "0.850 to 0.950", 50, "independent of the library")
    assert found["lines"] == [
        "91.8 % of the noise ceiling, 0.980 (from errors)",
        "best of 2 published models, strong: r 0.970 [0.850, 0.950], n = 41",
        "this model minus strong: -0.070 [-0.090, -0.050], p = 0.0004 (Holm)",
        "other run, theirs: r 0.900 [0.850, 0.950]",
    ]


def test_too_few_promoters_are_a_sentence_in_place_of_an_interval(tmp_path):
    none = {"r": -0.954, "r_low": None, "r_high": None}
    remark = "test has 3 promoters; at least 20 are needed for an interval"
    scored = none | {"title": "test split", "independent": False, "n": 3, "ceiling": None, "remark": remark}
    scored["published_models"] = {"theirs": none | {"n": 5}}
    row = {"dataset": "test", "other": "theirs", "difference": "-0.07", "difference_low": "", "difference_high": "", "p_holm": "0.04"}
    found = findings.card("test", scored, [row], [], "mine")
    assert (found["r"], found["ends"]) == ("-0.954", "")
    assert found["lines"] == [
        f"{remark}.",
        "published model, theirs: r -0.954 (no interval), n = 5",
        "this model minus theirs: -0.070 (no interval)",
    ]
    cells = report_parts.shape([{"r": "0.9", "r_low": "", "r_high": ""}, {"r": "0.8", "r_low": "0.7", "r_high": "0.9"}])[1]
    assert [line[0].text for line in cells] == ["0.900", "0.800 [0.700, 0.900]"]
    config = run_folder(tmp_path, {"one": "Set one"})
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    metrics["datasets"]["one"] |= scored | {"title": "Set one", "published_models": {}}
    (tmp_path / "metrics.json").write_text(json.dumps(metrics))
    lines = "".join(f"one\t{name}\t\tnot assessed\tnot assessed: few\n" for name in ("scale", "GC content"))
    (tmp_path / "checks.tsv").write_text("dataset\tcheck\tvalue\tverdict\ttext\none\tx\t1\tok\ty\n" + lines)
    text = write(tmp_path, config)
    assert "<p>Pearson's r, no interval</p>" in text
    assert f"<p>{remark}.</p>" in text
    assert "1 check of the predictions" in text
    assert "2 checks were not assessed" in text


def test_digests_of_input_files(tmp_path):
    (tmp_path / "a.tsv").write_bytes(b"abc")
    data = [{"what": "library", "path": str(tmp_path / "a.tsv"), "doi": "10.5281/x", "checksum": "md5:1"}]
    data.append({"what": "other", "path": str(tmp_path / "gone.tsv")})
    found = findings.digests(data)
    assert found[0]["sha256"] == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert (found[0]["bytes"], found[0]["published as"]) == ("3", "10.5281/x md5:1")
    assert found[1]["sha256"] == "file no longer exists"
    assert findings.digests(data, largest=2)[0]["sha256"] == "not computed: larger than 2 bytes"


def test_cost_is_summed_by_rule(tmp_path):
    head = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"
    (tmp_path / "count_reads.a.1.tsv").write_text(head + "10.0\t0:00:10\t100.5\t0\t0\t0\t0\t0\t0\t7200.0\n")
    (tmp_path / "count_reads.b.tsv").write_text(head + "5.0\t0:00:05\t300.0\t0\t0\t0\t0\t0\t0\t3600.0\n")
    (tmp_path / "quick.tsv").write_text(head + "0.5\t0:00:00\tNA\tNA\tNA\tNA\tNA\tNA\tNA\tNA\n")
    found = cost.read(tmp_path)
    assert found.rows() == [("count_reads", 2, 15.0, 10800.0, 3.0, 300.0), ("quick", 1, 0.5, 0.5, pytest.approx(0.5 / 3600), None)]
    assert cost.read(tmp_path / "none").height == 0
    (tmp_path / "quick.tsv").write_text("seconds\n1\n")
    with pytest.raises(InputError, match=r"quick\.tsv: not a Snakemake benchmark file"):
        cost.read(tmp_path)


class Page(HTMLParser):
    """What a test asks of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.tags, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values] if tag == "a" and "href" in values else []


def run_folder(folder, titles):
    """Write the least that a run leaves behind."""
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    config = schemas.validate(config, schemas.load("config"), "config")
    scored = {
        name: SCORE | {"title": title, "independent": True, "n": 50, "ceiling": None, "published_models": {}}
        for name, title in titles.items()
    }
    (folder / "model").mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps({"datasets": scored}))
    (folder / "model/model.json").write_text(json.dumps(ABOUT))
    (folder / "ledger.tsv").write_text(LEDGER)
    first = next(iter(titles))
    (folder / "checks.tsv").write_text(f"dataset\tcheck\tvalue\tverdict\ttext\n{first}\tscale\t1\twarning\t{HOSTILE}\n")
    (folder / "published_models.tsv").write_text("dataset\tn\n")
    for name in ("scores", f"predictions/{first}"):
        path = folder / f"figures/{name}.svg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SVG)
        path.with_suffix(".png").write_bytes(PNG)
    return config


def write(folder, config, **changes):
    given = {
        "results": folder,
        "figures": sorted(map(str, folder.rglob("*.svg"))),
        "tables": [str(folder / name) for name in ("ledger.tsv", "published_models.tsv", "checks.tsv")],
        "captions": sorted(map(str, (ROOT / "workflow/report").glob("*.rst"))),
        "template": ROOT / "workflow/report/report.html.j2",
        "config": config | {"run": "mine"},
        "sources": [],
        "datasets": list(json.loads((folder / "metrics.json").read_text())["datasets"]),
        "independent": ["other"],
        "explained": "",
        "now": datetime.datetime(2026, 1, 2, 3, 4),
    }
    return report_page.page(**given | changes)


def test_captions_name_the_data_set_that_a_figure_is_of(tmp_path):
    config = run_folder(tmp_path, {"one": "Set one", "two": "Set two"})
    (tmp_path / "figures/explain").mkdir()
    for name in ("motifs", "logos"):
        (tmp_path / f"figures/explain/{name}.svg").write_text(SVG)
        (tmp_path / f"figures/explain/{name}.png").write_bytes(PNG)
    text = write(tmp_path, config, explained="two")
    assert "predictions for <strong>Set two</strong>:" in text
    assert "of some promoters of <strong>Set two</strong>," in text
    assert "expression of <strong>Set one</strong>;" in text


@pytest.mark.parametrize(
    ("reads", "sentence"),
    [
        ({}, "Inserts within 2 edits of an insert with at least 2 times their reads minus one were merged into it"),
        ({"collapse_edits": 0}, "Sequencing errors were not merged."),
        ({"design": "a.fa"}, "matched to the designed sequences (<code>a.fa</code>): to the nearest one within 1 edit, if it was the only"),
        (
            {"design": "a.fa", "design_edits": 0},
            "matched to the designed sequences (<code>a.fa</code>) exactly; other inserts were dropped.",
        ),
    ],
)
def test_methods_say_how_inserts_were_merged_or_matched(tmp_path, reads, sentence):
    config = run_folder(tmp_path, {"one": "Set one"})
    text = write(tmp_path, config | {"reads": config["reads"] | reads})
    assert sentence in text
    assert ("directional networks" in text) == (not reads)


def test_the_page_holds_what_there_is_escaped_and_no_more(tmp_path):
    config = run_folder(tmp_path, {"one": HOSTILE, "two": "Set two"})
    text = write(tmp_path, config)
    page = Page(text)
    assert page.tags.count("script") == 1  # the page's own
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "javascript:" not in "".join(str(link.get("href")) for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    inside = [link["href"][1:] for link in page.links if link["href"].startswith("#")]
    assert set(inside) <= set(page.ids)
    assert {"summary", "scores", "ledger", "predictions", "methods"} <= set(inside)
    assert not {"assay", "leak", "comparison", "factors"} & set(page.ids)  # a run without them; published_models.tsv has no rows
    assert "1 warning: interpret the scores with care" in text
    assert text.index("1 warning") < text.index("Summary</h2>") < text.index('id="scores"') < text.index('id="methods"')
    assert not [link for link in page.links if not link["href"].startswith(("#", "data:"))]
    for link in page.links:
        if "download" in link:
            original = {"tsv": tmp_path, "svg": tmp_path / "figures", "png": tmp_path / "figures"}[link["download"].rsplit(".", 1)[1]]
            path = original / link["download"].removeprefix("mine_").replace("predictions_", "predictions/")
            assert base64.b64decode(link["href"].partition(",")[2]) == path.read_bytes()
    assert sum("download" in link for link in page.links) == 2 * 2 + 2
    named = re.findall(r'<a [^>]*download=[^>]*aria-label="([^"]*)">([^<]*)</a>', text)
    assert len(named) == 6
    assert all(name.startswith(f"{seen}: ") for name, seen in named)  # who speaks what is seen finds the link
    regions = re.findall(r'role="region" aria-label="([^"]*)"', text)
    assert len(regions) == len(set(regions)) > 2
    assert "2026-01-02 03:04 UTC" in text
    assert (
        yaml.safe_load(re.search(r"<pre[^>]*>(.*?)</pre>", text, re.DOTALL)[1].replace("&#39;", "'").replace("&#34;", '"'))["run"] == "mine"
    )


def test_the_page_is_written_for_other_configs_too(tmp_path):
    config = run_folder(tmp_path, {"one": "Set one"})
    shares = config | {"split": config["split"] | {"fractions": {"train": 0.9, "val": 0.2, "test": 0.1}}}
    assert "by a seeded hash (train 0.75, val 0.167, test 0.0833)" in write(tmp_path, shares)
    config |= {"counts": config["counts"] | {"method": "weighted_mean"}, "neighbours": config["neighbours"] | {"kmer": 24}}
    config |= {"input": config["input"] | {"table": "{data}/x.tsv"}, "split": config["split"] | {"method": "column", "train_promoters": 99}}
    (tmp_path / "checks.tsv").write_text("dataset\tcheck\tvalue\tverdict\ttext\none\tscale\t1\tok\tsame\n")
    (tmp_path / "model/model.json").write_text(
        json.dumps(ABOUT | {"members": 3, "epochs": 1, "best_epoch": 1, "sequences_per_second": None})
    )
    text = write(tmp_path, config)
    assert "No warnings." in text
    assert "{data}/x.tsv" in text
    assert "Unit of expression: units of the table." in text
    listed = text[text.index('<ul id="assumptions">') :].partition("</ul>")[0]
    assert text.index('id="summary-title"') < text.index('<ul id="assumptions">') < text.index('id="methods"')
    assert "It is unknown whether regulatory elements act in one orientation or in both." in listed
    assert "<code>assay.strand: unknown</code>" in listed
    assert "Sequence accounting</h2>" in text
    said = re.sub(r"<pre.*?</pre>|<style>.*?</style>|<script>.*?</script>|data:[^\"]*", "", text, flags=re.DOTALL)
    assert not re.findall(r"[^.>]*(?:bin units|\bcells\b|Reads and|Read and)[^.<]*", said)
    assert "share a k-mer of 24 bp" in text
    assert "At most 99 promoters were used for training" in text
    assert "ensemble of 3 seeds" in text
    assert "were searched for the flanks" not in text
    assert "Optimiser" not in text  # a baseline has none


def test_a_broken_table_ends_the_page_with_its_name(tmp_path):
    config = run_folder(tmp_path, {"one": "Set one"})
    (tmp_path / "checks.tsv").write_text("dataset\tcheck\n1\n")
    with pytest.raises(InputError, match=r"checks\.tsv, row 2: 1 columns, but the header has 2"):
        write(tmp_path, config)


def test_all_of_a_runs_figures_and_tables_have_their_place():
    text = (ROOT / "scripts/gpraflow/app/plan.py").read_text().replace("{folder}", "")  # of a condition
    figures = text[text.index("def report_figures") : text.index("def report_tables")]
    named = {name.partition("/{")[0] for name in re.findall(r'"([a-z][\w/{}]*)"', figures)} - {"assay", "comparison", "runs"}
    assert {"scores", "leak/distance", "predictions", "explain/motifs"} <= named
    assert named <= set(report_page.FIGURES), "every figure of Plan.report_figures is in FIGURES of report/page.py"
    tables = {f"{name}.tsv" for name in re.findall(r'"([a-z][\w/]*)"', text[text.index("def report_tables") :])} - {
        "comparison.tsv",
        "runs.tsv",
    }
    assert tables | {"cost.tsv"} == set(report_page.TABLES), "tables of Plan.report_tables are those of TABLES in report/page.py"


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return sum(
        w * (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4) for w, p in zip((0.2126, 0.7152, 0.0722), parts, strict=True)
    )


def test_text_stands_out_from_what_is_behind_it():
    """WCAG 2.2, 1.4.3: 4.5 to 1."""
    themes = re.findall(r":root \{ (.*?) \}", (ROOT / "workflow/report/report.css").read_text())
    light, dark, printed = (dict(re.findall(r"--(\w+): (#\w{6});", theme)) for theme in themes)
    assert printed == light
    assert luminance(dark["paper"]) < 0.1
    pairs = [("ink", "pale"), ("soft", "pale"), ("blue", "pale"), ("alarm", "pale"), ("alarm", "alarmed"), ("ink", "alarmed")]
    for named in (light, dark):
        for ink, paper in [*pairs, *((ink, "paper") for ink in ("ink", "soft", "blue", "alarm"))]:
            less, more = sorted((luminance(named[paper]), luminance(named[ink])))
            assert (more + 0.05) / (less + 0.05) >= 4.5, (ink, paper)
