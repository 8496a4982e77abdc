"""Two runs in one folder: of one name, of two names, killed or alive."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from gpraflow.app import run
from tests.conftest import TINY, copy_tiny
from tests.workflow.test_workflow import STEPS

pytestmark = pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs /proc")

# A run of one job, which writes half of its output and then waits for the file go.<run>.
SNAKEFILE = """\
rule one:
    output:
        "results/" + config["run"] + "/one.txt",
    shell:
        "echo half > {output}; while [ ! -e go.{config[run]} ]; do sleep 0.05; done; echo whole > {output}"
"""
MAKE_RUN = (sys.executable, "-m", "gpraflow.app.run", "--no-check")
SNAKEMAKE = (sys.executable, "-m", "snakemake")


class Place:
    """A working directory with runs of several names."""

    def __init__(self, folder):
        self.folder, self.started = folder, []
        (folder / "Snakefile").write_text(SNAKEFILE)
        for name in "abc":
            (folder / f"{name}.yaml").write_text(f"run: {name}\n")

    def output(self, name):
        path = self.folder / f"results/{name}/one.txt"
        return path.read_text().strip() if path.exists() else ""

    def begin(self, name, command=MAKE_RUN):
        """Start a run, and return when its job waits."""
        with open(self.folder / f"{name}.log", "w") as log:
            options = {"cwd": self.folder, "start_new_session": True, "stdout": log, "stderr": log}
            process = subprocess.Popen([*command, "--cores", "1", "--configfile", f"{name}.yaml"], **options)
        self.started.append(process)
        self.wait(lambda: self.output(name) == "half", process)
        return process

    def wait(self, condition, process=None):
        deadline = time.monotonic() + 120
        while not condition():
            assert process is None or process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def go(self, name):
        (self.folder / f"go.{name}").touch()

    def run(self, name, command=MAKE_RUN):
        command = [*command, "--cores", "1", "--configfile", f"{name}.yaml"]
        return subprocess.run(command, cwd=self.folder, text=True, capture_output=True, timeout=120)

    def records(self):
        return {json.loads(path.read_text())["run"] for path in (self.folder / run.RECORDS).glob("*.json")}


@pytest.fixture
def place(tmp_path):
    place = Place(tmp_path)
    yield place
    for process in place.started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_second_run_of_a_name_says_who_makes_it_and_other_names_run_beside_it(place):
    first, plain = place.begin("a"), place.begin("b", SNAKEMAKE)
    (record,) = (place.folder / run.RECORDS).iterdir()
    second = place.run("a")
    assert second.returncode == 1
    assert f"run 'a' is in progress in this folder: process {record.stem} of {socket.gethostname()}, started by " in second.stderr
    assert f"end it (kill {record.stem})" in second.stderr
    assert "Building DAG" not in second.stderr
    other = place.run("b")  # held by a plain Snakemake
    assert other.returncode == 1
    assert f"run 'b' is in progress in this folder: process {plain.pid} of {socket.gethostname()}, started as: " in other.stderr
    place.go("c")
    assert place.run("c").returncode == 0
    assert place.output("c") == "whole"
    assert (place.output("a"), place.output("b")) == ("half", "half")
    for name in "ab":
        place.go(name)
    assert first.wait(60) == plain.wait(60) == 0
    assert (place.output("a"), place.output("b")) == ("whole", "whole")
    assert not (place.folder / run.RECORDS).exists()


def test_a_run_that_was_killed_beside_another_resumes_with_the_same_command(place):
    """Also where the other one, when it ends, takes all locks of the folder with it, as Snakemake does."""
    alive, killed = place.begin("a"), place.begin("b")
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    place.wait(lambda: not any("b.yaml" in command for command in run.workers(place.folder).values()))
    assert place.output("b") == "half"
    place.go("b")
    again = place.run("b")
    assert again.returncode == 0, again.stderr
    assert "an earlier run of this name was killed; resuming it beside another run" in again.stderr
    assert place.output("b") == "whole"
    assert place.records() == {"a", "b"}  # the lock of b is there until none of the runs is alive
    (place.folder / "results/b/one.txt").unlink()
    assert place.run("b").returncode == 0
    place.go("a")
    assert alive.wait(60) == 0
    assert place.output("a") == "whole"
    assert "Nothing to be done" in place.run("b").stderr
    assert not (place.folder / run.RECORDS).exists()


@pytest.mark.long
def test_two_runs_side_by_side_write_the_bytes_of_a_run_alone(finished_once, tmp_path):
    folder = copy_tiny(tmp_path / "copy")
    started = []
    for name in ("one", "two"):
        (folder / f"{name}.yaml").write_text(TINY.replace("run: tiny", f"run: {name}"))
        command = [*MAKE_RUN, "--cores", "1", "--configfile", f"{name}.yaml", "--until", "upload_shards"]
        with open(folder / f"{name}.log", "w") as log:
            started.append(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
    assert [process.wait(800) for process in started] == [0, 0], (folder / "one.log").read_text()[-2000:]

    def content(results, name):
        paths = [path for part in STEPS for path in (results / part).rglob("*") if path.is_file()]
        return {str(path.relative_to(results)): path.read_bytes().replace(f"/{name}/".encode(), b"/tiny/") for path in paths}

    alone = content(finished_once / "results/tiny", "tiny")
    for name in ("one", "two"):
        found = content(folder / f"results/{name}", name)
        assert len(found) > 40
        assert {path for path in found if found[path] != alone[path]} == set()


def test_processes_that_make_no_files_hold_no_name(place):
    """Such as a pager that shows a log of Snakemake, or a dry run."""
    assert run._makes_files(["python", "-m", "snakemake", "--cores", "2"])
    assert run._makes_files(["python", "/venv/bin/snakemake", "--configfile", "a.yaml"])
    assert not run._makes_files(["less", ".snakemake/log/x.snakemake.log"])
    assert not run._makes_files(["python", "-m", "snakemake", "-n"])
    assert not run._makes_files(["python", "-m", "snakemake", "--report=x.html"])


def test_a_record_that_is_being_written_is_none(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run.RECORDS.mkdir(parents=True)
    (run.RECORDS / ".partial-host-1-2.json").write_text("{")
    (run.RECORDS / "7.json").write_text('{"host": "elsewhere", "since": "now", "run": "mine"}')
    assert [path.name for path in run._Folder().elsewhere] == ["7.json"]
