"""Each rule when it is killed or lacks disk or memory: nothing half-written under a final name, one message, the same bytes afterwards."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import yaml

from gpraflow.core import limits
from gpraflow.core.errors import no_memory
from tests.conftest import ROOT, TINY, copy_finished, snakemake
from tests.workflow import faulty
from tests.workflow.test_workflow import digest

SEED = 1
ENDED = 128 + 15  # exit code after SIGTERM
RULES = {path.stem for path in (ROOT / "scripts").glob("*.py")}
# Rules that the run `tiny` lacks, and the run that has them here.
OTHERS = {
    "merge_pairs": "pairs",
    "join_tables": "tables",
    "plot_tables": "tables",
    "train_permuted": "tables",
    "compare_models": "tables",
    "plot_comparison": "tables",
    "find_learning_rate": "tuning",
    "plot_learning_rate": "tuning",
    "tune_trial": "tuning",
    "tune_model": "tuning",
    "plot_tuning": "tuning",
    "tabulate_factors": "tuning",
    "write_crate": "",  # writes two small files
    "plot_factors": "tuning",
    "fetch_dataset": "tests/tables/test_downloads.py",
    "select_condition": "",  # writes one file, as predict_promoters does
    "judge_designs": "",  # writes one small table
    "score_dream": "",  # writes two small files
    "check_tpu": "",  # needs libtpu
}


ABORTED = -6


def tried(folder, rules, faults, *arguments, config="tiny.yaml"):
    """Run a part of the workflow in which jobs of some rules try the faults; return rule -> attempts.

    Temporary files have no folder of their own: TMPDIR names one that is missing.
    """
    faulty.infect(folder, rules)
    notes = folder / "attempts"
    notes.mkdir()
    environment = {"PYTHONPATH": str(ROOT), "FAULTS": str(notes), "FAULTS_SEED": str(SEED), "FAULTS_TRIED": ",".join(faults)}
    environment = os.environ | environment | {"TMPDIR": str(folder / "missing")}
    done = snakemake(folder, "--configfile", config, *arguments, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    found = {rule: [json.loads(line) for line in (notes / f"{rule}.jsonl").read_text().splitlines()] for rule in rules}
    for rule, attempts in found.items():
        assert [attempt["fault"] for attempt in attempts] == [*faults, "none"], rule
        for attempt in attempts:
            check(rule, attempt)
    return found


def check(rule, attempt):
    """What holds after each attempt."""
    fault, code, said, about = attempt["fault"], attempt["code"], attempt["said"], (rule, attempt)
    if "skipped" in attempt:
        return
    assert attempt["differ"] == [], about  # an output under its final name is whole
    if fault == "none":
        assert attempt["missing"] == [], about
        assert attempt["left"] == [], about  # nor are there temporary files of the attempts before
        return
    assert not attempt["hung"], about
    if fault == "kill":
        assert code in (-9, 0), about
        return
    assert "Traceback" not in said, about
    if code != ABORTED:  # a library that ends the process leaves its parts; the next attempt removes them
        assert attempt["left"] == [], about
    if fault == "terminate":
        assert code in (ENDED, 0, 1, -15), about  # -15: before the job began its log; 1: in Polars, which makes an error of the exit
        assert "gpraflow: " not in said, about
    elif fault == "full disk":
        assert code == 1, about
        assert re.search(r"could not be written \((No space left on device|Disk quota exceeded)\)", said), about
        assert f"Rule {rule} writes below results/ of the working directory, which --directory changes" in said, about
    elif fault == "read-only":
        assert code == 1, about
        assert "could not be written (Read-only file system)" in said, about
        assert f"Rule {rule} writes below results/" in said, about
    elif code == 1:
        assert f"gpraflow: {rule}: not enough memory (" in said, about
        assert re.search(r"Limits: [\d,.]+ [MG]B per process \(ulimit -v\)", said), about
        assert limits.MEMORY_KEYS.get(rule, "") in said, about
    elif code:  # a library ended the process; Snakemake's onerror says the same from the log
        assert no_memory(attempt["words"]), about


def test_each_rule_is_tried_in_some_run(finished_once):
    in_tiny = {path.name.partition(".")[0] for path in (finished_once / "results/tiny/logs").iterdir()}
    assert in_tiny | OTHERS.keys() == RULES, "OTHERS names the rules that the run `tiny` lacks"


def test_three_rules_when_killed_and_without_disk_and_memory(finished_once, tmp_path):
    folder = copy_finished(finished_once, tmp_path / "copy")
    for path in ("counts/bins/a.1.parquet", "shards/train/manifest.json", "shards/train/train-00000-of-00001.tfrecord"):
        (folder / "results/tiny" / path).unlink()
    before = digest(finished_once)
    rules, targets = ["count_reads", "split_promoters", "shard_tfrecords"], ["counts/bins/a.1.parquet", "shards/train/manifest.json"]
    found = tried(folder, rules, faulty.FAULTS, "--", *(f"results/tiny/{target}" for target in targets))
    assert digest(folder) == before
    assert any(attempt["code"] == -9 for attempts in found.values() for attempt in attempts)


def test_jobs_that_are_ended_for_their_memory_are_explained(finished_once, tmp_path):
    folder = copy_finished(finished_once, tmp_path / "copy", keep=["simulated"])
    faulty.infect(folder, ["count_reads"], "ended")
    targets = [f"results/tiny/counts/bins/{column}.parquet" for column in ("a.1", "b.1")]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = snakemake(folder, "--configfile", "tiny.yaml", "--keep-going", "--", *targets, env=environment)
    assert done.returncode == 1
    messages = re.findall(r"gpraflow: (count_reads: not enough memory .*)", done.stderr)
    assert len(messages) == 2
    assert sum("killed by SIGKILL, as the kernel and batch systems do when memory is used up" in message for message in messages) == 1
    for message in messages:
        assert re.search(r"Limits: .*[\d,.]+ GB in this machine\. To need less, raise reads\.min_mean_quality", message)
    assert not any((folder / target).exists() for target in targets)


@pytest.fixture
def small_group():
    """A control group whose processes have 600 MB together; needs root and a kernel that lets it."""
    for top, limit in (("/sys/fs/cgroup/memory", "memory.limit_in_bytes"), ("/sys/fs/cgroup", "memory.max")):
        group = Path(top, f"gpraflow-test-{os.getpid()}")
        try:
            group.mkdir()
            (group / limit).write_text("600000000")
        except OSError:
            with contextlib.suppress(OSError):
                group.rmdir()
            continue
        yield group
        with contextlib.suppress(OSError):
            group.rmdir()
        return
    pytest.skip("no control group can be made here")


@pytest.mark.long
def test_a_training_that_the_kernel_kills_for_its_memory_is_explained(finished_once, tmp_path, small_group):
    folder = copy_finished(finished_once, tmp_path / "copy")
    shutil.rmtree(folder / "results/tiny/model")
    arguments = ["--cores", "1", "--configfile", "tiny.yaml", "--", "results/tiny/model/model.keras"]
    command = ["sh", "-c", f'echo $$ > {small_group}/cgroup.procs; exec "$@"', "sh", sys.executable, "-m", "snakemake", *arguments]
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=300)
    assert done.returncode == 1
    assert re.search(
        r"gpraflow: train_model: not enough memory \(killed by SIGKILL, .*600 MB for all processes of the job or container "
        rf"\({small_group}/memory\..*lower training\.batch_size",
        done.stderr,
    ), done.stderr[-2000:]
    assert not (folder / "results/tiny/model/model.keras").exists()


@pytest.mark.long
def test_every_rule_when_killed_and_without_disk_and_memory(finished_once, tmp_path):
    folder = copy_finished(finished_once, tmp_path / "copy", keep=[])
    rules = sorted({path.name.partition(".")[0] for path in (finished_once / "results/tiny/logs").iterdir()})
    found = tried(folder, rules, [*faulty.FAULTS, "memory 16"])
    assert digest(folder) == digest(finished_once)
    killed = [rule for rule, attempts in found.items() if any(attempt["code"] == -9 for attempt in attempts)]
    assert len(killed) > len(rules) / 2
    for rule, key in {
        "count_reads": "reads.min_mean_quality",
        "merge_counts": "reads.collapse_edits",
        "group_neighbours": "neighbours.max_edits",
        "train_model": "training.batch_size",
    }.items():
        assert any(attempt["fault"].startswith("memory") and key in attempt["said"] for attempt in found[rule]), rule


@pytest.mark.long
@pytest.mark.parametrize("run", ["pairs", "tables", "tuning"])
def test_rules_of_other_runs_when_killed_and_without_disk_and_memory(finished_once, tmp_path, run):
    if run == "pairs" and not shutil.which("fastp"):
        pytest.skip("fastp is not installed (apt install fastp)")
    keep = {"pairs": [], "tables": None, "tuning": ["upload.json", "bucket", "shards", "splits", "tables", "neighbours", "ledger"]}[run]
    folder = copy_finished(finished_once, tmp_path / "copy", keep=keep)
    config = {"pairs": of_pairs, "tables": of_tables, "tuning": of_tuning}[run](folder)
    (folder / "mine.yaml").write_text(yaml.safe_dump(config))
    targets = {
        "pairs": ["--until", "merge_pairs"],
        "tables": ["--", "results/mine/figures/joined.svg", "results/mine/figures/comparison.svg", "results/mine/metrics.json"],
        "tuning": ["--", *(f"results/tiny/figures/{name}.svg" for name in ("learning_rate", "tuning", "factors"))],
    }[run]
    tried(folder, [rule for rule, of in OTHERS.items() if of == run], ["kill", "full disk"], *targets, config="mine.yaml")


def of_pairs(folder):
    reads = "results/{run}/simulated/reads"
    rows = [
        f"{name}\t{reads}/{name}_1.fastq.gz\t{reads}/{name}_2.fastq.gz\t{low}\t{high}" for name, low, high in (("x", "", 0), ("y", 0, ""))
    ]
    (folder / "tiny_bins.tsv").write_text("\n".join(["bin\treads\treads_2\tlower\tupper", *rows]) + "\n")
    config = yaml.safe_load(TINY)
    return config | {"simulate": config["simulate"] | {"reads": 3000, "read_length": 100}}


def of_tables(folder):
    """The library as two tables of one condition, a baseline, and a comparison with the run `tiny`."""
    library = pl.read_parquet(folder / "results/tiny/tables/library.parquet").select("sequence", "expression")
    library[:400].write_csv(folder / "a.tsv", separator="\t")
    library[200:].with_columns(pl.col("expression") / 2).write_csv(folder / "b.tsv", separator="\t")
    return {
        "run": "mine",
        "input": {"tables": {"a": {"table": "a.tsv"}, "b": {"table": "b.tsv"}}},
        "model": {"name": "baseline_kmer"},
        "evaluation": {"datasets": "", "bootstrap": 100, "permutation_epochs": 1},
        "split": {"fractions": {"train": 0.8, "val": 0.1, "test": 0.1}},
        "explain": {"dataset": ""},
        "comparison": {"runs": ["tiny"]},
    }


def of_tuning(folder):
    return yaml.safe_load(TINY) | {
        "model": {"name": "biochemical", "preset": "small"},
        "range_test": {"steps": 40, "high": 0.01},
        "tuning": {"trials": 2, "epochs": 1, "space": [{"key": "training.learning_rate", "low": 0.001, "high": 0.01}]},
    }
