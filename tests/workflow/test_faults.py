"""Kills, full disks and parallel runs, at every rule of a run. Each case is a row of the table in docs/faults.md."""

import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import copy_finished, snakemake
from tests.workflow.test_workflow import digest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")]
COMMAND = [sys.executable, "-m", "gpraflow.app.run", "--cores", "2", "--configfile", "tiny.yaml"]


def rules_of(folder):
    """Return the rules that a finished run has logs of, in the order of their first log."""
    first = {}
    for path in sorted((folder / "results/tiny/logs").rglob("*.log"), key=lambda path: path.stat().st_mtime):
        first.setdefault(path.name.split(".")[0], path.stat().st_mtime)
    return list(first)


def test_a_kill_during_every_rule(finished_once, tmp_path):
    """One run, killed (-9, the whole process group) at a random moment of each of its rules, ends with the same bytes."""
    folder = copy_finished(finished_once, tmp_path / "copy", keep=[])
    logs, rng = folder / "results/tiny/logs", random.Random(1)
    killed = []
    waiting = rules_of(finished_once)
    assert len(waiting) > 20
    while waiting:
        for path in logs.rglob("*.log") if logs.exists() else ():
            path.unlink()
        with open(folder / "run.log", "a") as log:
            process = subprocess.Popen(COMMAND, cwd=folder, stdout=log, stderr=log, start_new_session=True)
            while process.poll() is None:
                begun = {path.name.split(".")[0] for path in logs.rglob("*.log")} if logs.exists() else set()
                if now := [rule for rule in waiting if rule in begun]:
                    time.sleep(rng.random() * 0.4)
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(process.pid, signal.SIGKILL)
                    killed += now
                    waiting = [rule for rule in waiting if rule not in now]
                time.sleep(0.005)
        if process.returncode == 0:
            break
    last = subprocess.run(COMMAND, cwd=folder, text=True, capture_output=True, timeout=900)
    assert last.returncode == 0, last.stderr[-3000:]
    assert len(killed) > 15, killed
    assert digest(folder) == digest(finished_once)
    assert not list((folder / "results").rglob(".partial-*"))


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("mount"), reason="a small file system can only be mounted by root")
@pytest.mark.parametrize("size", [60, 150, 400, 900, 1800])
def test_a_disk_that_is_full_at_some_rule(finished_once, tmp_path, size):
    """The first job that cannot write says so; there is no half file, and with more space the run ends with the same bytes."""
    folder = copy_finished(finished_once, tmp_path / "copy", keep=[])
    results = folder / "results/tiny"
    results.mkdir(exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(results)], capture_output=True).returncode:
        pytest.skip("mounting is not allowed here")
    try:
        done = snakemake(folder, "--configfile", "tiny.yaml")
        assert done.returncode != 0
        assert re.search(r"could not be written \(No space left on device\)|No space left on device", done.stderr + done.stdout)
        assert "a bug in gpraflow" not in done.stderr
        assert not list(results.rglob(".partial-*"))
        whole, found = digest(finished_once), digest(folder)
        assert {name for name in found if found[name] != whole.get(name)} <= {name for name in found if name.startswith("ledger/")}
        subprocess.run(["mount", "-o", "remount,size=200m", str(results)], check=True)
        again = snakemake(folder, "--configfile", "tiny.yaml", "--rerun-incomplete", "--until", "upload_shards")
        assert again.returncode == 0, again.stderr[-2000:]
    finally:
        subprocess.run(["umount", str(results)], check=True)


def test_two_runs_at_the_same_time(finished_once, tmp_path):
    """Of one name: the second stops at once. Of two names in one folder: both end as they do one after the other."""
    folder = copy_finished(finished_once, tmp_path / "copy", keep=["simulated", "counts", "expression", "ledger"])
    (folder / "other.yaml").write_text(
        "run: other\ninput: {table: results/tiny/expression/promoters.parquet}\nevaluation: {datasets: ''}\n"
    )
    until = ["--until", "split_promoters"]
    with open(folder / "run.log", "w") as log:
        first = subprocess.Popen([*COMMAND, *until], cwd=folder, stdout=log, stderr=log)
        while not list((folder / ".snakemake/locks").glob("*")):
            assert first.poll() is None
        second = subprocess.run([*COMMAND, *until], cwd=folder, text=True, capture_output=True, timeout=300)
        other = subprocess.run([*COMMAND, "other.yaml", *until], cwd=folder, text=True, capture_output=True, timeout=300)
        assert first.wait(300) == 0
    assert second.returncode != 0
    assert "cannot be locked" in second.stderr + second.stdout
    assert other.returncode == 0, other.stderr[-2000:]
    whole = digest(finished_once)
    assert {name: found for name, found in digest(folder).items() if name.startswith("splits/")} == {
        name: found for name, found in whole.items() if name.startswith("splits/")
    }
    for split in ("train", "val", "test"):
        assert (folder / f"results/other/splits/{split}.parquet").exists()
