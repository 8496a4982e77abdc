"""The workflow as a user runs it: from the command line, in a folder of its own."""

import base64
import contextlib
import gzip
import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from gpraflow.app import run
from gpraflow.evaluation import metrics
from gpraflow.formats import promoters as formats_promoters
from tests import browsing
from tests.conftest import copy_finished, snakemake

STEPS = ("simulated", "counts", "expression", "tables", "splits", "shards", "bucket", "ledger")


def digest(folder):
    """Return name -> digest of all reads, counts, tables, splits, shards and their ledgers."""
    results = folder / "results/tiny"
    names = [path for part in STEPS for path in (results / part).rglob("*")]
    return {str(path.relative_to(results)): hashlib.sha256(path.read_bytes()).hexdigest() for path in names if path.is_file()}


@pytest.fixture(scope="module")
def finished(finished_once, tmp_path_factory):
    return copy_finished(finished_once, tmp_path_factory.mktemp("workflow") / "copy")


def test_scores_are_those_of_the_saved_predictions(finished):
    results = finished / "results/tiny"
    content = json.loads((results / "metrics.json").read_text())
    assert list(content["datasets"]) == ["simulated_independent", "test"]
    for name, found in content["datasets"].items():
        predictions = formats_promoters.read(results / f"predictions/{name}.parquet")
        expected = metrics.scores(predictions["predicted"].to_numpy(), predictions["expression"].to_numpy())
        assert found["n"] == predictions.height
        assert {key: found[key] for key in metrics.SCORES} == pytest.approx(expected)
        assert found["r_low"] <= found["r"] <= found["r_high"]
        assert found["independent"] == (name != "test")
    assert content["model"]["parameters"] > 0
    assert content["model"]["backend"] == "jax"
    tsv = pl.read_csv(results / "metrics.tsv", separator="\t")
    assert dict(zip(tsv["dataset"], tsv["n"], strict=True)) == {name: found["n"] for name, found in content["datasets"].items()}


def test_promoters_are_explained_and_checked(finished):
    results = finished / "results/tiny"
    predictions = formats_promoters.read(results / "predictions/test.parquet")
    promoters = pl.read_csv(results / "explain/promoters.tsv", separator="\t")
    assert promoters.height == min(24, predictions.height)
    own = predictions[[row - 1 for row in promoters["name"]]]
    assert own["sequence"].equals(promoters["sequence"])
    summary = json.loads((results / "explain/summary.json").read_text())
    truth = pl.read_csv(results / "simulated/activities.tsv.gz", separator="\t")
    assert summary["dataset"] == "test"
    assert summary["recovery"]["active"] == truth.height == 10
    motifs = pl.read_csv(results / "explain/motifs.tsv", separator="\t")
    assert motifs.height == summary["motifs"] == summary["recovery"]["found"]
    bases = pl.read_parquet(results / "explain/contributions.parquet")
    assert summary["mutants"] == 3 * bases["A"].is_not_null().sum()
    for figure in ("motifs", "logos"):
        assert (results / f"figures/explain/{figure}.png").stat().st_size > 10_000
        assert (results / f"figures/explain/{figure}.svg").stat().st_size > 5_000
    checked = pl.read_csv(results / "checks.tsv", separator="\t")
    assert dict(checked.group_by("dataset").len().iter_rows()) == {"simulated_independent": 9, "test": 10, "train": 1, "val": 1}
    short = checked.filter(check="padding", dataset="test")["text"].item()
    assert f"{(predictions['sequence'].str.len_bytes() < 110).sum()} promoters shorter than the window" in short


def test_every_read_and_promoter_is_accounted_for_from_fastq_to_shards(finished):
    results = finished / "results/tiny"
    ledger = pl.read_csv(results / "ledger.tsv", separator="\t", schema_overrides={"dataset": pl.String})
    sums = {}
    for rule, dataset, kind, _, rows in ledger.iter_rows():
        of = sums.setdefault((rule, dataset), {"in": 0, "dropped": 0, "out": 0, "noted": 0})
        of[kind] += rows
    for step, of in sums.items():
        assert of["in"] == of["out"] + of["dropped"], step
    columns = [f"{replicate}.{number}" for replicate in "ab" for number in range(3)]
    counts = pl.read_parquet(results / "counts/counts.parquet")
    assert counts.columns == ["sequence", *columns]
    for column in columns:
        with gzip.open(results / f"simulated/reads/{column.replace('.', '_')}.fastq.gz", "rt") as handle:
            assert sums["count_reads", column]["in"] == len(handle.readlines()) // 4
        by_insert = pl.read_parquet(results / f"counts/bins/{column}.parquet")
        assert sums["count_reads", column]["out"] == by_insert["reads"].sum() == sums["merge_counts", column]["in"]
        assert sums["merge_counts", column]["out"] == counts[column].sum()
    assert sum(sums["count_reads", column]["in"] for column in columns) == 9000
    assert sums["merge_counts", "library"]["out"] == counts.height == sums["estimate_expression", "library"]["in"]
    given = pl.read_parquet(results / "expression/promoters.parquet")
    assert sums["estimate_expression", "library"]["out"] == given.height == sums["ingest_table", "library"]["in"]

    parts = {split: formats_promoters.read(results / f"splits/{split}.parquet") for split in ("train", "val", "test")}
    assert sorted(pl.concat(parts.values())["sequence"]) == sorted(given["sequence"])
    for split, part in parts.items():
        manifest = json.loads((results / f"bucket/{split}/manifest.json").read_text())
        assert manifest["rows"] == part.height
        shard = results / f"bucket/{split}" / manifest["shards"][0]["name"]
        assert shard.stat().st_size == manifest["record_bytes"] * part.height
    together = [
        "count_reads",
        "merge_counts",
        "estimate_expression",
        "ingest_table",
        "group_neighbours",
        "split_promoters",
        "shard_tfrecords",
    ]
    assert set(ledger["rule"]) == {*together, "predict_promoters"}
    parts_of_it = sorted(line for path in (results / "ledger").iterdir() for line in path.read_text().splitlines()[1:])
    assert sorted((results / "ledger.tsv").read_text().splitlines()[1:]) == parts_of_it


def test_counted_promoters_are_the_simulated_ones(finished):
    results = finished / "results/tiny"
    truth = pl.read_csv(results / "simulated/truth.tsv.gz", separator="\t")
    found = pl.read_parquet(results / "expression/promoters.parquet").join(truth, on="sequence")
    deep = found.filter(pl.col("n_reads") >= 20)
    assert deep.height > 100
    assert np.corrcoef(deep["expression"], deep["mean_signal"])[0, 1] > 0.9
    assert found.height > 0.9 * truth.filter(pl.col("reads") > 0).height


def test_second_run_has_nothing_to_do(finished):
    before = {path: path.stat().st_mtime_ns for path in (finished / "results").rglob("*")}
    done = snakemake(finished, "--configfile", "tiny.yaml")
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr
    assert before == {path: path.stat().st_mtime_ns for path in (finished / "results").rglob("*")}


def test_two_configurations_live_side_by_side(finished):
    before = digest(finished)
    (finished / "other.yaml").write_text("run: other\nseed: 5\n")
    done = snakemake(finished, "--configfile", "tiny.yaml", "other.yaml", "--until", "split_promoters")
    assert done.returncode == 0, done.stderr[-2000:]
    assert digest(finished) == before
    other = formats_promoters.read(finished / "results/other/splits/train.parquet")
    assert not set(other["sequence"]) & set(formats_promoters.read(finished / "results/tiny/splits/train.parquet")["sequence"])


BEFORE = {  # what a run has when it gets there
    "reads": [],
    "tables": ["simulated", "counts", "expression", "ledger"],
    "shards": ["simulated", "counts", "expression", "ledger", "tables", "splits"],
    "training": [*STEPS, "upload.json"],
}


# Each rule is killed in test_faults; here the whole run ends as if it had not been.
@pytest.mark.parametrize("moment", ["tables", *(pytest.param(name, marks=pytest.mark.long) for name in BEFORE if name != "tables")])
def test_killed_run_finishes_with_the_same_command_and_the_same_bytes(finished, finished_once, tmp_path, moment):
    """kill -9 of the whole process group at four moments, each of a run that has just what comes before."""
    workflow_folder = copy_finished(finished_once, tmp_path / "copy", keep=BEFORE[moment])
    results = workflow_folder / "results/tiny"
    sign = {
        "reads": lambda: (results / "logs/count_reads.a.1.log").exists(),
        "tables": lambda: (results / "logs/ingest_table.library.log").exists(),
        "shards": lambda: any((results / "shards").rglob("*.tfrecord")),
        "training": lambda: (results / "model/.training").exists(),
    }[moment]
    command = [sys.executable, "-m", "gpraflow.app.run", "--cores", "2", "--configfile", "tiny.yaml"]
    with open(workflow_folder / "killed.log", "w") as log:
        process = subprocess.Popen(command, cwd=workflow_folder, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 400
        while not sign():
            assert process.poll() is None, (workflow_folder / "killed.log").read_text()[-2000:]
            assert time.monotonic() < deadline
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not (results / "metrics.json").exists()
    assert list((workflow_folder / ".snakemake/locks").iterdir())
    until = ["--until", "evaluate_model" if moment == "training" else "upload_shards"]
    done = subprocess.run([*command, *until], cwd=workflow_folder, text=True, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "an earlier run in this folder was killed; resuming it" in done.stderr
    assert not (workflow_folder / "results/.running").exists()
    found, expected = (
        {name: value for name, value in digest(folder).items() if moment == "training" or not name.startswith("ledger/predict")}
        for folder in (workflow_folder, finished)
    )
    assert found == expected
    assert not list(results.rglob(".partial*"))
    assert not (results / "model/.training").exists()
    assert (results / "metrics.json").exists() == (moment == "training")


@pytest.mark.long
def test_equal_runs_give_equal_figures_and_models(finished_once, tmp_path):
    """Byte for byte, but for the figure of times, and for the last digits of Matplotlib's layout of logos."""
    again = copy_finished(finished_once, tmp_path / "copy", keep=BEFORE["training"])
    done = snakemake(again, "--configfile", "tiny.yaml")
    assert done.returncode == 0, done.stderr[-3000:]
    results = [folder / "results/tiny" for folder in (finished_once, again)]
    names = sorted(path.relative_to(results[0]) for kind in ("svg", "png", "keras") for path in results[0].rglob(f"*.{kind}"))
    assert len(names) > 40
    different = [str(name) for name in names if (results[0] / name).read_bytes() != (results[1] / name).read_bytes()]
    assert {"figures/cost.png", "figures/cost.svg"} <= set(different)
    assert set(different) <= {"figures/cost.png", "figures/cost.svg", "figures/explain/logos.png", "figures/explain/logos.svg"}


def lives(pid):
    return Path(f"/proc/{pid}").exists() and "Z" not in Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1][:3]


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")
def test_a_job_that_outlives_its_killed_snakemake_keeps_the_folder_locked(finished_once, tmp_path):
    """kill -9 of Snakemake alone, as by the kernel when memory runs out: the job goes on, a second run must not start beside it."""
    workflow_folder = copy_finished(finished_once, tmp_path / "copy", keep=BEFORE["training"])
    command = [sys.executable, "-m", "gpraflow.app.run", "--cores", "2", "--configfile", "tiny.yaml"]
    process = subprocess.Popen(command, cwd=workflow_folder, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 400
    while not (workflow_folder / "results/tiny/model/.training").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    alive = run.workers(workflow_folder)
    jobs = [number for number, text in alive.items() if "train_model.py" in text]
    (record,) = (workflow_folder / "results/.running").iterdir()
    try:
        for each in jobs:
            os.kill(each, signal.SIGSTOP)  # lest it ends before the second run begins
        os.kill(int(record.stem), signal.SIGKILL)
        assert process.wait(60) == 128 + signal.SIGKILL
        assert jobs
        assert any(map(lives, jobs))
        second = subprocess.run(command, cwd=workflow_folder, text=True, capture_output=True, timeout=100)
        assert second.returncode == 1
        assert "jobs of a killed run are still running in this folder" in second.stderr
        assert f"process {jobs[0]}: " in second.stderr
        third = snakemake(workflow_folder, "--configfile", "tiny.yaml")
        assert "Directory cannot be locked" in third.stderr + third.stdout
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_run_of_another_machine_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run.RECORDS.mkdir(parents=True)
    record = run.RECORDS / "123.json"
    record.write_text('{"host": "node-17", "boot": "x", "since": "2026-01-01 00:00:00"}')
    assert run.main(["--cores", "2"]) == 1
    said = capsys.readouterr().err
    assert "a run that was started on node-17 on 2026-01-01 00:00:00 has not ended, or was killed" in said
    assert "delete results/.running/123.json, run `snakemake --unlock --cores 2` and start again" in said
    assert record.exists()


def test_reading_the_workflow_changes_nothing(workflow_folder):
    """What is marked as incomplete, and a lock, are still there after commands that only look."""
    marks = workflow_folder / ".snakemake/incomplete"
    marks.mkdir(parents=True)
    output = workflow_folder / "results/tiny/upload.json"
    output.parent.mkdir(parents=True)
    output.write_text("half")
    (marks / base64.urlsafe_b64encode(b"results/tiny/upload.json").decode()).write_text("{}")
    for looking in (["--list-rules"], ["--help"], ["--summary"], ["--lint"]):
        snakemake(workflow_folder, *looking, "--configfile", "tiny.yaml")
        assert output.read_text() == "half"
        assert list(marks.iterdir())


def test_locks_of_a_live_run_are_kept(workflow_folder):
    (workflow_folder / "slow.smk").write_text('rule all:\n    output: "slow.txt"\n    shell: "sleep 20; touch {output}"\n')
    command = [sys.executable, "-m", "gpraflow.app.run", "--cores", "1", "--snakefile", "slow.smk"]
    process = subprocess.Popen(command, cwd=workflow_folder, start_new_session=True, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    try:
        locks = workflow_folder / ".snakemake/locks"
        deadline = time.monotonic() + 60
        while not (locks.exists() and list(locks.iterdir())):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        second = subprocess.run(command, cwd=workflow_folder, text=True, capture_output=True, timeout=100)
        assert second.returncode != 0
        assert "Directory cannot be locked" in second.stderr + second.stdout
        assert list(locks.iterdir())
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def outputs(folder):
    results = folder / "results/tiny"
    return [path for path in results.rglob("*") if path.is_file() and "logs" not in path.parts and "simulate" not in str(path)]


SEQUENCE = "TGCATTTTTTTCACATC" + "ACGT" * 20 + "GGTTACGGCTGTT"


@pytest.mark.parametrize(
    ("table", "overlay", "message"),
    [
        (None, "", r"mine\.tsv"),
        ("", "", r"mine\.tsv: the file is empty"),
        (f"sequence\texpression\n{SEQUENCE}\t99\n", "", r"mine\.tsv, row 2: expression 99 is outside -4 \.\. 21"),
        (f"sequence\texpression\n{SEQUENCE}\t1\n", "training: {learning_rat: 1}", r"'training\.learning_rat' is not a key; did you mean"),
        (f"sequence\texpression\n{SEQUENCE}\t1\n", "model: {preset: smal}", r"no preset 'smal'; did you mean 'small'\?"),
        (f"sequence\texpression\n{SEQUENCE}\t1\n", "evaluation: {datasets: none.tsv}", r"none\.tsv: this file does not exist"),
        (f"sequence\texpression\n{SEQUENCE}\t1\n", "", r"the split '\w+' is empty \(1 promoters in all\)"),
    ],
    ids=["missing file", "empty file", "range", "misspelt key", "unknown preset", "missing sheet", "empty split"],
)
def test_bad_input_is_one_message_and_leaves_no_output(workflow_folder, table, overlay, message):
    if table is not None:
        (workflow_folder / "mine.tsv").write_text(table)
    (workflow_folder / "mine.yaml").write_text("input: {table: mine.tsv}\n" + overlay + "\n")
    done = snakemake(workflow_folder, "--configfile", "tiny.yaml", "mine.yaml", "--until", "split_promoters")
    text = done.stderr + done.stdout
    assert done.returncode != 0
    assert re.search(message, text), text[-2000:]
    assert "Traceback" not in text
    assert not [path for path in outputs(workflow_folder) if "splits" in path.parts]
    if "is empty \\(" not in message:  # an empty split is found after the table was read
        assert outputs(workflow_folder) == []


def test_bucket_that_cannot_be_written(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "copy", symlinks=True)
    (folder / "mine.yaml").write_text("bucket: {url: 'file://Snakefile/bucket'}\n")
    done = snakemake(folder, "--configfile", "tiny.yaml", "mine.yaml", "--until", "upload_shards")
    assert done.returncode != 0
    assert "gpraflow: Snakefile/bucket/" in done.stderr
    assert "could not be written" in done.stderr
    assert not (folder / "results/tiny/upload.json").exists()


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="a small file system can only be mounted by root")
def test_full_disk_in_the_middle_of_the_shards(workflow_folder):
    shards = workflow_folder / "results/tiny/shards"
    shards.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40k", "tmpfs", str(shards)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        done = snakemake(workflow_folder, "--configfile", "tiny.yaml", "--until", "shard_tfrecords")
        assert done.returncode != 0
        assert re.search(r"gpraflow: .*train-00000-of-00001\.tfrecord: could not be written \(No space left on device\)", done.stderr)
        assert not [path for path in shards.rglob("*") if path.is_file() and path.parent.name == "train"]
    finally:
        subprocess.run(["umount", str(shards)], check=True)


def test_own_table_without_header_inserts_only_other_scaffold(workflow_folder):
    """Own data from a headerless .csv.gz of inserts in another scaffold, with an independent set of the same."""
    rng = np.random.default_rng(0)

    def rows(count):
        inserts = ["".join(row) for row in np.array(list("acgt"))[rng.integers(0, 4, (count, 50))]]
        return "".join(f"{text},{text.count('g') / 3:.3f},x\n" for text in inserts)

    (workflow_folder / "mine.csv.gz").write_bytes(gzip.compress(rows(300).encode()))
    (workflow_folder / "other.csv").write_text("promoter,YFP,x\n" + rows(40))
    (workflow_folder / "scaffolds.yaml").write_text("mine:\n  five_prime: ACGTTGCA\n  three_prime: TTGACA\n")
    (workflow_folder / "sets.tsv").write_text("name\ttable\tsequence\texpression\nother\t{data}/other.csv\tpromoter\tYFP\n")
    (workflow_folder / "mine.yaml").write_text(
        "run: mine\ndata: .\ninput: {table: '{data}/mine.csv.gz', header: false, columns: {sequence: 1, expression: 2}}\n"
        "scaffold: {file: scaffolds.yaml, name: mine, length: 64}\nevaluation: {datasets: sets.tsv}\n"
    )
    done = snakemake(workflow_folder, "--configfile", "tiny.yaml", "mine.yaml", "--until", "evaluate_model")
    assert done.returncode == 0, done.stderr[-3000:]
    results = workflow_folder / "results/mine"
    assert json.loads((results / "metrics.json").read_text())["datasets"]["other"]["n"] == 40
    table = formats_promoters.read(results / "tables/library.parquet")
    assert table["sequence"].str.contains("^ACGTTGCA[ACGT]{50}TTGACA$").all()
    ledger = (results / "ledger/ingest_table.library.tsv").read_text()
    assert "lower case converted to upper case\t300" in ledger
    assert "insert only, flanks added\t300" in ledger


def test_tables_on_two_scales_become_one_library(workflow_folder):
    """Two tables of different form, the second with values (x - 8) / 2, share a third of their promoters."""
    rng = np.random.default_rng(0)
    inserts = ["".join(row) for row in np.array(list("ACGT"))[rng.integers(0, 4, (300, 80))]]
    truth = rng.normal(8, 2, 300)
    values = [truth + rng.normal(0, 0.2, 300), (truth + rng.normal(0, 0.2, 300) - 8) / 2]
    first, second = (list(zip(inserts, column, strict=True)) for column in values)
    (workflow_folder / "a.tsv").write_text("sequence\texpression\n" + "".join(f"{text}\t{value:.4f}\n" for text, value in first[:200]))
    lines = "".join(f"{text.lower()};{value:.4f}\n".replace(".", ",") for text, value in second[100:])
    (workflow_folder / "b.csv").write_text("promoter;log2\n" + lines)
    (workflow_folder / "mine.yaml").write_text(
        "run: mine\nevaluation: {datasets: ''}\ninput:\n  tables:\n    a: {table: a.tsv}\n"
        "    b: {table: b.csv, decimal: ',', columns: {sequence: promoter, expression: log2}}\n"
    )
    files = [f"results/mine/{name}" for name in ("joined.tsv", "figures/joined.svg", "tables/library.parquet")]
    done = snakemake(workflow_folder, "--configfile", "tiny.yaml", "mine.yaml", "--", *files)
    assert done.returncode == 0, done.stderr[-3000:]
    results = workflow_folder / "results/mine"
    maps = json.loads((results / "tables/library.maps.json").read_text())
    assert maps["pairs"] == [{"tables": ["a", "b"], "shared": 100, "r": pytest.approx(0.99, abs=0.01)}]
    found = maps["tables"][1]
    assert (found["scale"], found["offset"]) == (pytest.approx(2, abs=3 * found["scale_se"]), pytest.approx(8, abs=3 * found["offset_se"]))
    assert found["scale_se"] < 0.05
    table = formats_promoters.read(results / "tables/library.parquet")
    assert dict(table["source"].value_counts().iter_rows()) == {"a": 100, "a+b": 100, "b": 100}
    expected = dict(zip(inserts, truth, strict=True))
    true = np.array([expected[text[17:97]] for text in table["sequence"]])
    assert np.abs(table["expression"].to_numpy() - true).max() < 1
    shown = pl.read_csv(results / "joined.tsv", separator="\t")
    assert shown.select("table", "promoters", "shared").rows() == [("a", 200, 100), ("b", 200, 100)]
    assert (
        "join_tables\tlibrary\tdropped\tpromoter in several tables, averaged\t100"
        in (results / "ledger/join_tables.library.tsv").read_text()
    )
    (workflow_folder / "mine.yaml").write_text((workflow_folder / "mine.yaml").read_text() + "  min_shared: 101\n")
    done = snakemake(workflow_folder, "--configfile", "tiny.yaml", "mine.yaml", "--", *files)
    assert "gpraflow: input.tables: b shares too few promoters with the other tables (100 with a)" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (results / "tables/library.parquet").exists()


@pytest.mark.skipif(shutil.which("fastp") is None, reason="fastp is not installed (apt install fastp)")
def test_own_paired_reads_with_lanes(workflow_folder):
    """Simulate pairs, take them as one's own: counts are those of the pairs."""
    reads = "results/{run}/simulated/reads"
    cells = [("low_1", "", -1), ("mid.2", -1, 1), ("high-3", 1, "")]
    (workflow_folder / "tiny_bins.tsv").write_text(
        "bin\treads\treads_2\tlower\tupper\n"
        + "".join(
            f"{b}\t{reads}/{i}a_1.fq.gz,{reads}/{i}b_1.fq\t{reads}/{i}a_2.fq.gz,{reads}/{i}b_2.fq\t{lo}\t{hi}\n"
            for i, (b, lo, hi) in enumerate(cells)
        )
    )
    (workflow_folder / "pairs.yaml").write_text("simulate: {reads: 3000, read_length: 100}\n")
    done = snakemake(workflow_folder, "--configfile", "tiny.yaml", "pairs.yaml", "--until", "simulate_assay")
    assert done.returncode == 0, done.stderr[-3000:]
    shutil.copytree(workflow_folder / "results/tiny/simulated", workflow_folder / "own")
    sheet = (workflow_folder / "own/bins.tsv").read_text().replace("results/tiny/simulated", "{data}")
    (workflow_folder / "own_bins.tsv").write_text(sheet)
    own = {path: path.read_bytes() for path in (workflow_folder / "own/reads").iterdir()}

    (workflow_folder / "own.yaml").write_text("run: own\ndata: own\ncounts: {sample_sheet: own_bins.tsv}\n")
    done = snakemake(workflow_folder, "--configfile", "tiny.yaml", "own.yaml")
    assert done.returncode != 0
    assert (
        "counts.cells is results/own/simulated/bins.tsv, a file of the simulated assay, but own_bins.tsv lists your own bins" in done.stderr
    )
    (workflow_folder / "own.yaml").write_text(
        "run: own\ndata: own\ncounts: {sample_sheet: own_bins.tsv, cells: sheet}\nevaluation: {datasets: ''}\n"
    )
    done = snakemake(workflow_folder, "--configfile", "tiny.yaml", "own.yaml", "--until", "plot_reads", "estimate_expression")
    assert done.returncode == 0, done.stderr[-3000:]
    assert own == {path: path.read_bytes() for path in (workflow_folder / "own/reads").iterdir()}
    assert not (workflow_folder / "results/own/simulated").exists()

    ledger = pl.concat([pl.read_csv(path, separator="\t") for path in sorted((workflow_folder / "results/own/ledger").glob("m*s.*.tsv"))])
    pairs = ledger.filter(rule="merge_pairs", kind="in")
    assert pairs["rows"].sum() == 3000
    assert sorted(pairs["dataset"]) == ["high-3", "low_1", "mid.2"]
    kept = ledger.filter(rule="merge_counts", kind="out").filter(pl.col("dataset") != "library")["rows"].sum()
    assert kept > 0.9 * 3000
    table = pl.read_parquet(workflow_folder / "results/own/counts/counts.parquet")
    truth = pl.read_csv(workflow_folder / "own/truth.tsv.gz", separator="\t")
    both = table.select("sequence", n=pl.sum_horizontal("low_1", "mid.2", "high-3")).join(truth, on="sequence")
    assert both["n"].sum() > 0.9 * kept
    assert (both["n"] <= both["reads"] + 2).all()


def test_the_sheet_of_bins_is_checked_before_anything_runs(workflow_folder):
    sheet = workflow_folder / "tiny_bins.tsv"
    good = sheet.read_text()
    for wrong, right, message in (
        ("\t-1\t1\ta", "\t-2\t1\ta", r"tiny_bins\.tsv, row 3: bin 'a\.1' \(-2 to 1\) overlaps the one before, which ends at -1"),
        ("\ta\n1", "\ta\n0", r"tiny_bins\.tsv: the bin '0' of replicate 'a' is listed 2 times"),
        ("a_1.fastq.gz", "a_0.fastq.gz", r"row 3: bin 'a\.1': .*a_0\.fastq\.gz is already listed for bin 'a\.0'"),
        ("bin\treads\t", "bin\treeds\t", r"'reeds' is not a column of this sheet; did you mean 'reads'\?"),
    ):
        assert good.count(wrong) == 1
        sheet.write_text(good.replace(wrong, right))
        done = snakemake(workflow_folder, "--configfile", "tiny.yaml", "--dry-run")
        assert done.returncode != 0
        assert re.search(message, done.stderr + done.stdout), (done.stderr + done.stdout)[-1500:]


def test_snakemakes_own_report_can_be_made_too(finished):
    done = snakemake(finished, "--configfile", "tiny.yaml", "--report", "snakemake.html")
    assert done.returncode == 0, done.stderr[-3000:]
    text = (finished / "snakemake.html").read_text()
    for part in (
        "Results of gpraflow",
        "Measured against predicted expression of",
        "demonstration.svg",
        "intervals.tsv",
        "cost.tsv",
        "yield.svg",
    ):
        assert part in text


@pytest.fixture
def opened(browser, finished):
    """Give a function that opens the report; what the page asked for and complained about is kept."""
    address = (finished / "results/tiny/report.html").as_uri()
    with browsing.pages(browser) as opened:
        yield lambda width=1280, height=900, **options: opened(
            address, viewport={"width": width, "height": height}, reduced_motion="reduce", **options
        )


def test_report_opens_without_errors_and_asks_for_nothing(opened, finished):
    page = opened()
    assert page.said == []
    assert [url for url in page.asked if not url.startswith("data:")] == [(finished / "results/tiny/report.html").as_uri()]
    titles = page.locator("h2").all_inner_texts()
    assert titles[titles.index("Summary") :] == [
        "Summary",
        "Scores",
        "Assay quality control",
        "Read and sequence accounting",
        "Splits and leakage control",
        "Training",
        "Predictions",
        "Subgroups",
        "Calibration of prediction intervals",
        "Model interpretation",
        "Designs",
        "Cost",
        "Methods",
    ]
    drawn = {
        path.relative_to(finished / "results/tiny/figures").with_suffix("") for path in (finished / "results/tiny/figures").rglob("*.svg")
    }
    assert page.locator("figure").count() == len(drawn) == 24
    messages = page.locator("figure svg[role=img] > title").all_text_contents()
    assert len(messages) == 24
    assert [message for message in messages if not re.search(r": .*\d", message)] == []  # what a figure says, with numbers
    scores = json.loads((finished / "results/tiny/metrics.json").read_text())["datasets"]
    assert "Data are simulated" in page.locator("#summary").inner_text()
    for name, card in zip(("test", "simulated_independent"), page.locator(".card").all(), strict=True):
        scored = scores[name]
        text = card.inner_text()
        assert scored["title"] in text
        assert f"r = {scored['r']:.3f}" in text
        assert f"{scored['r_low']:.3f} to {scored['r_high']:.3f}" in text
        assert f"n = {scored['n']:,} promoters" in text


def test_report_puts_warnings_first_and_says_them_in_words(opened, finished):
    checks = pl.read_csv(finished / "results/tiny/checks.tsv", separator="\t").filter(verdict="warning")
    assert checks.height  # a tiny run is a bad one
    page = opened()
    box = page.locator(".warnings")
    assert box.bounding_box()["y"] < min(page.locator("#summary-title").bounding_box()["y"], 700)
    for text in checks["text"]:
        assert text in box.inner_text()
    assert box.locator("li").count() >= checks.height
    assert all(line.startswith("Warning") for line in box.locator("li").all_inner_texts())


def test_reports_links_lead_to_sections(opened):
    page = opened()
    links = page.locator("nav a")
    assert links.count() >= 10
    for link in links.all():
        page.evaluate("scrollTo({top: 0, behavior: 'instant'})")
        target = link.get_attribute("href")
        link.click()
        page.wait_for_function(
            "id => { const box = document.querySelector(id).getBoundingClientRect(); return box.top > -5 && box.top < innerHeight - 20; }",
            arg=target,
        )
        assert page.url.endswith(target)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement !== document.body")


def test_reports_downloads_are_the_files_of_the_run(opened, finished):
    page = opened()
    results = finished / "results/tiny"
    links = page.eval_on_selector_all("a[download]", "links => links.map(link => [link.download, link.href])")
    files = {"tiny_" + "_".join(path.relative_to(results / "figures").parts): path for path in (results / "figures").rglob("*.*")}
    files |= {"tiny_" + "_".join(path.relative_to(results).parts): path for path in results.rglob("*.tsv")}
    assert len(links) == 24 * 2 + page.locator("details table.sortable").count()
    for name, uri in links:
        assert base64.b64decode(uri.partition(",")[2]) == files[name].read_bytes(), name
    with page.expect_download() as waiting:
        page.locator("a[download='tiny_metrics.tsv']").click()
    assert Path(waiting.value.path()).read_bytes() == (results / "metrics.tsv").read_bytes()


@pytest.mark.parametrize(("width", "height", "scale"), [(1280, 900, 1), (390, 844, 3), (320, 256, 4)], ids=["desktop", "phone", "400 %"])
def test_report_needs_no_scrolling_sideways(opened, width, height, scale):
    page = opened(width, height, device_scale_factor=scale)
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") == width
    beyond = page.evaluate(
        """() => [...document.querySelectorAll("h1, h2, h3, p, li, dt, dd, summary, .scroll, pre, nav a")]
            .filter(one => !one.closest(".scroll, .skip") || one.matches(".scroll"))
            .filter(one => one.getBoundingClientRect().right > innerWidth + 1 || one.getBoundingClientRect().left < 0)
            .map(one => one.outerHTML.slice(0, 80))"""
    )
    assert beyond == []
    wide = page.evaluate(
        "[...document.querySelectorAll('.scroll')].filter(one => one.scrollWidth > one.clientWidth).every(one => one.tabIndex === 0)"
    )
    assert wide


def test_report_is_sorted_by_script_prints_and_can_do_without_script(opened):
    page = opened()
    page.locator("summary", has_text="Cost per rule").click()
    table = page.locator("#table-cost table")
    header = table.locator("th", has_text="jobs")
    jobs = f"td:nth-child({1 + header.evaluate('cell => cell.cellIndex')})"
    header.locator("button").click()
    rising = [int(text) for text in table.locator(f"tbody {jobs}").all_inner_texts()]
    header.locator("button").click()
    assert header.get_attribute("aria-sort") == "descending"
    falling = [int(text) for text in table.locator(f"tbody {jobs}").all_inner_texts()]
    assert rising == sorted(rising)
    assert falling == rising[::-1]
    assert rising[0] < rising[-1]
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    long = page.locator("#table-ledger")
    rows = long.locator("tbody tr")
    assert rows.count() > 20
    long.get_by_label("Search").fill("COUNT_READS dropped")
    shown = rows.locator("visible=true").all_inner_texts()
    assert long.get_by_role("status").inner_text() == f"{len(shown)} of {rows.count()} rows"
    assert 0 < len(shown) < rows.count()
    assert all("count_reads" in text and "dropped" in text for text in shown)
    long.get_by_label("Search").fill("")
    assert rows.locator("visible=true").count() == rows.count()
    assert page.locator("#table-metrics input").count() == 0  # few rows
    printed = page.pdf()
    assert printed.startswith(b"%PDF")
    assert printed.count(b"/Type /Page\n") > 3
    plain = opened(java_script_enabled=False)
    assert plain.locator("th button").count() == 0
    assert plain.locator("h2").all_inner_texts() == page.locator("h2").all_inner_texts()


def test_report_begins_with_what_to_use_and_follows_the_systems_dark_mode(opened, finished):
    page = opened(color_scheme="dark")
    start = page.locator("main > section").first
    assert start.get_attribute("id") == "start"
    named = re.findall(r"results/tiny/\S+?(?=:|$)", "\n".join(start.locator("li").all_inner_texts()[:3]), flags=re.MULTILINE)
    assert named == ["results/tiny/model/", "results/tiny/metrics.tsv", "results/tiny/expression/promoters.parquet"]
    assert all((finished / name).exists() for name in named)
    colours = "element => { const style = getComputedStyle(element); return [style.color, style.backgroundColor]; }"
    ink, paper = (sum(map(int, re.findall(r"\d+", text)[:3])) for text in page.locator("body").evaluate(colours))
    assert ink > 600
    assert paper < 150
    drawn = page.locator(".picture > svg").first
    assert drawn.evaluate("element => getComputedStyle(element).backgroundColor") == "rgb(255, 255, 255)"
    assert drawn.bounding_box()["width"] > 900


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_report_is_accessible(opened, scheme):
    """axe-core's rules, in both colour schemes, with all tables open."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright")
    page = opened(color_scheme=scheme)
    page.eval_on_selector_all("details", "all => all.forEach(one => { one.open = true; })")
    found = axe.Axe().run(page).response["violations"]
    assert [(rule["id"], [node["html"][:100] for node in rule["nodes"]]) for rule in found] == []


def test_another_checkouts_library_is_never_run(workflow_folder, tmp_path):
    """An installed gpraflow, or one that PYTHONPATH names, stands behind the workflow's own."""
    stale = tmp_path / "stale" / "gpraflow"
    stale.mkdir(parents=True)
    (stale / "__init__.py").write_text("raise ImportError('the stale copy')")
    environment = os.environ | {"PYTHONPATH": str(stale.parent)}
    target = "results/tiny/simulated/truth.tsv.gz"
    done = snakemake(workflow_folder, target, "--configfile", "tiny.yaml", env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (workflow_folder / target).is_file()
