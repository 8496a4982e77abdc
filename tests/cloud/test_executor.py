"""The executor plugin from the command line: Snakemake, Google's own clients, the control planes played on loopback, an emulated bucket.

A VM is an empty folder with next to no environment, in which its startup-script runs; the workflow is one small job between two others.
"""

import contextlib
import datetime
import io
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from snakemake_interface_common.exceptions import WorkflowError

from snakemake_executor_plugin_cloud_tpu import Executor, ExecutorSettings, control, internals, vm
from snakemake_executor_plugin_cloud_tpu import __main__ as command
from snakemake_executor_plugin_cloud_tpu.control import Machine
from snakemake_executor_plugin_cloud_tpu.settings import PRICES
from tests.background import serving
from tests.cloud import conftest, control_plane, snakemake_process
from tests.cloud.control_plane import Plan

ROOT = Path(__file__).parents[2]
SNAKEFILE = """
rule all:
    input: "results/summary.txt"

rule prepare:
    output: "results/input.txt"
    shell: "echo 4 > {output}; pwd > results/where"

rule train:
    input: "results/input.txt"
    output: model="results/model.txt", history=directory("results/history")
    log: "logs/train.log"
    resources: runtime=10
    shell:
        "mkdir -p {output.history}; "
        "{{ echo begun; cat extra/note.txt; ls -A | tr '\\n' ' '; pwd; }} > {log}; "
        "cat $GATE/progress 2>/dev/null || true; "
        "echo step >> $GATE/progress; touch $GATE/running; "
        "while [ -e $GATE/closed ]; do sleep 0.05; done; "
        "[ ! -e $GATE/fail ] || {{ echo the job fails; exit 3; }}; "
        "expr $(cat {input}) + 1 > {output.model}; cp {output.model} {output.history}/line"

rule summarise:
    input: "results/model.txt"
    output: "results/summary.txt"
    shell: "cat {input} results/history/line > {output}"
"""
KINDS = {"compute": "ct6e-standard-8t", "tpu": "v5litepod-8"}
# Each fault is tried with both services; where CI=true with Compute Engine only, but for the first test.
FAULTY = ("compute", pytest.param("tpu", marks=pytest.mark.slow))
ZONES = ["zone-a", "zone-b"]


class Lab:
    """A folder with the workflow, a bucket, a control plane, and a gate at which the job can be held."""

    def __init__(self, folder, emulator, bucket, google):
        self.folder, self.emulator, self.bucket, self.google = folder, emulator, bucket, google
        self.gate, self.work = folder / "gate", folder / "work"
        for each in (self.gate, self.work / "extra"):
            each.mkdir(parents=True)
        (self.work / "Snakefile").write_text(SNAKEFILE)
        (self.work / "extra/note.txt").write_text("a note that goes along\n")
        (self.work / "setup.sh").write_text(f"export PATH={Path(sys.executable).parent}:$PATH GATE={self.gate}\n")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith(("GOOGLE_", "SNAKEMAKE_", "CLOUDSDK"))}
        self.environment |= {"STORAGE_EMULATOR_HOST": emulator, "PYTHONPATH": str(ROOT / "src")}
        self.output = folder / "output"

    def command(self, kind="compute", **settings):
        given = {
            "project": "tests",
            "zones": " ".join(ZONES),
            "bucket": f"gs://{self.bucket}/runs",
            "max-cost": 100,
            "price": 2.0,
            "setup": "setup.sh",
            "include": "extra",
            "log-seconds": 0.1,
            "linger-seconds": 60,
            "retry-seconds": 0.1,
            "compute-endpoint": self.google.url,
            "tpu-endpoint": self.google.url,
        } | settings
        options = [part for key, value in given.items() if value is not None for part in (f"--cloud-tpu-{key}", str(value))]
        return [
            *("--executor", "cloud-tpu", "--jobs", "2", "--cores", "2"),
            *("--seconds-between-status-checks", "0", "--max-status-checks-per-second", "20", "--latency-wait", "1"),
            *("--set-resources", f"train:tpu_type='{KINDS[kind]}'"),
            *options,
        ]

    def run(self, kind="compute", **settings):
        """Return exit status and output of a run."""
        with self.started(kind, **settings) as process:
            return self.end_of(process)

    def run_alone(self, kind):
        """Do the same in a process that shares nothing with the others, such as the order of sets."""
        command = [sys.executable, "-m", "snakemake", *self.command(kind)]
        environment = self.environment | {"PYTHONHASHSEED": "20"}
        done = subprocess.run(
            command, cwd=self.work, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300
        )
        return done.returncode, done.stdout

    def end_of(self, process):
        process.join(120)
        assert process.exitcode is not None, self.output.read_text()[-3000:]
        return process.exitcode, self.output.read_text()

    @contextlib.contextmanager
    def started(self, kind="compute", **settings):
        process = snakemake_process.start(self.command(kind, **settings), self.work, self.environment, self.output)
        try:
            yield process
        finally:
            process.kill()
            process.join()

    def close_gate(self):
        (self.gate / "closed").touch()

    def open_gate(self):
        (self.gate / "closed").unlink()

    def wait_for(self, condition, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, self.output.read_text()[-3000:]
            time.sleep(0.02)

    def running(self):
        return (self.gate / "running").exists()

    def check_done(self, kept=None):
        assert (self.work / "results/summary.txt").read_text() == "5\n5\n"
        assert conftest.content(self.emulator, self.bucket) == (kept or {})  # nothing of the job is left in the bucket
        self.check_none_left()

    def check_none_left(self):
        assert self.google.machines == {}


@pytest.fixture
def lab(tmp_path, emulator, bucket_name):
    with control_plane.fake_google(tmp_path / "google", emulator) as google:
        yield Lab(tmp_path, emulator, bucket_name, google)


@pytest.mark.parametrize("kind", KINDS)
def test_a_job_runs_on_a_vm_of_its_own_and_all_others_here(lab, kind):
    status, output = lab.run(kind)
    assert status == 0, output
    lab.check_done()
    assert [zone for _, zone in lab.google.happened("created")] == ["zone-a"]
    assert Path((lab.work / "results/where").read_text().strip()) == lab.work
    log = (lab.work / "logs/train.log").read_text()
    assert log.startswith("begun\na note that goes along\n.cloud-tpu Snakefile extra logs results ")  # and nothing else
    assert "/google/vm-0-smk-train-" in log
    assert "train | " in output
    # finished is finished, and what ran on the VM is known to this Snakemake
    again = lab.run(kind)
    assert again[0] == 0
    assert "Nothing to be done" in again[1]
    assert len(lab.google.happened("created")) == 1


def test_google_deletes_the_vm_at_the_latest_when_runtime_and_start_are_over(lab):
    lab.close_gate()
    with lab.started() as process:
        lab.wait_for(lab.running)
        (machine,) = lab.google.machines.values()
        assert machine["seconds"] == (10 + 30) * 60
        assert machine["labels"]["snakemake-rule"] == "train"
        assert machine["labels"]["snakemake-job"] == machine["name"]
        lab.open_gate()
        assert lab.end_of(process)[0] == 0
    lab.check_done()


# What can go wrong. Fault -> (what the user sees, what is left): rows of the table in docs/cloud.md; "…" stands for anything.

RESUMED = "the VM was deleted; the job continued on another one"
NONE = "no VM; the next run restarts the job"
GOES_ON = "no VM; the next run resumes training from its last checkpoint"
ROWS_OF_TABLE = {
    "TPU: the job fails": ("exit status 1 on …; log: gs://…", "no VM; the rule's log is here"),
    "TPU: the VM is taken away": ("was preempted or deleted (…); requesting another VM", RESUMED),
    "TPU: VMs are taken away again and again": (
        "was preempted or deleted (…); cloud-tpu-max-restarts (1) is reached",
        GOES_ON,
    ),
    "TPU: no quota": ("zone-a rejected the request for …: Quota 'TPUS_PER_TPU_FAMILY' exceeded. …; request a higher quota …", NONE),
    "TPU: a zone has none": ("zone-a has no capacity for …: …", "nothing: the next zone is requested"),
    "TPU: no zone has one, again and again": (
        "no … (SPOT) in zone-a, zone-b after 2 rounds of requests; run the same command again later, add zones to cloud-tpu-zones, or set "
        "cloud-tpu-provisioning to STANDARD",
        NONE,
    ),
    "TPU: Ctrl-C": ("deleting …", GOES_ON),
    "TPU: SIGTERM": ("Will exit after finishing currently running jobs", "no VM, after the job has ended on it"),
    "TPU: the VM is started again, as after maintenance": ("was preempted or deleted (…); requesting another VM", RESUMED),
    "TPU: `kill -9`": (
        "nothing; the next run, after `snakemake --unlock`: reconnected to … in …",
        "the VM, which the next run finds again",
    ),
    "TPU: `kill -9`, and the job ends before the next run": (
        "nothing; the next run, after `snakemake --unlock`: reconnected to … in …",
        "no VM, it has deleted itself; results in the bucket, which the next run takes",
    ),
    "TPU: `kill -9`, then other inputs or code": (
        "inputs, code or settings have changed; deleting … and restarting the job",
        "the VM until the next run",
    ),
    "TPU: Google does not delete": ("nothing; retried, and if all attempts fail: THE VM … COULD NOT BE DELETED …", "no VM"),
    "TPU: it would cost too much": (
        "rule train: a … costs up to $1.33 ($2 an hour, 0.7 hours: its runtime and cloud-tpu-boot-minutes); cloud-tpu-max-cost is $1.00: "
        "raise it, or lower the rule's resource runtime",
        "nothing was started",
    ),
    "TPU: no price is known": (
        "the price of … (FLEX_START) is unknown, so cloud-tpu-max-cost cannot be enforced: …",
        "nothing was started",
    ),
    "TPU: the profile was not filled in": ("cloud-tpu-project is missing (…); write into the profile: …", "nothing was started"),
}


def seen(fault, output):
    """Assert that the user sees what the table says, wherever lines are broken."""
    pattern = re.escape(ROWS_OF_TABLE[fault][0].partition("; the next run, after")[0]).replace("…", ".*")
    assert re.search(pattern.replace(r"\ ", r"\s+"), output, flags=re.DOTALL), output


def test_a_job_that_fails(lab):
    (lab.gate / "fail").touch()
    status, output = lab.run()
    assert status == 1
    seen("TPU: the job fails", output)
    assert "train | the job fails" in output
    assert (lab.work / "logs/train.log").read_text().startswith("begun\n")
    assert not (lab.work / "results/model.txt").exists()
    lab.check_none_left()
    kept = conftest.content(lab.emulator, lab.bucket)  # of the failed job, with its log
    assert b"the job fails\n" in b"".join(kept.values())
    (lab.gate / "fail").unlink()
    (lab.work / "results/history").mkdir()
    (lab.work / "results/history/old").touch()
    assert lab.run()[0] == 0
    lab.check_done(kept)
    assert not (lab.work / "results/history/old").exists()


@pytest.mark.parametrize("kind", FAULTY)
def test_a_vm_that_is_taken_away(lab, kind):
    lab.close_gate()
    lab.google.plan.preempt = lambda machine: lab.running() and lab.open_gate() is None
    status, output = lab.run(kind)
    assert status == 0, output
    seen("TPU: the VM is taken away", output)
    names = [name for name, _ in lab.google.happened("created")]
    assert names == [names[0], f"{names[0]}-r1"]
    assert (lab.gate / "progress").read_text() == "step\nstep\n"
    lab.check_done()


def test_vms_that_are_taken_away_again_and_again(lab):
    lab.close_gate()
    lab.google.plan = Plan(preempt=lambda machine: lab.running(), preemptions=2)
    status, output = lab.run(**{"max-restarts": 1})
    assert status == 1
    seen("TPU: VMs are taken away again and again", output)
    lab.check_none_left()


@pytest.mark.parametrize("kind", FAULTY)
def test_quota(lab, kind):
    lab.google.plan = Plan(quota=True)
    status, output = lab.run(kind)
    assert status == 1
    seen("TPU: no quota", output)
    assert lab.google.happened("created") == []


@pytest.mark.parametrize("kind", FAULTY)
def test_a_zone_without_tpus(lab, kind):
    lab.google.plan = Plan(full={"zone-a": 99, "zone-b": 1})
    status, output = lab.run(kind)
    assert status == 0, output
    seen("TPU: a zone has none", output)
    assert "no zone has a TPU; retrying in" in output
    assert [zone for _, zone in lab.google.happened("created")] == ["zone-a", "zone-b", "zone-a", "zone-b"]
    assert [zone for _, zone in lab.google.happened("started")] == ["zone-b"]
    lab.check_done()


def test_no_zone_with_tpus(lab):
    lab.google.plan = Plan(full={"zone-a": 99, "zone-b": 99})
    status, output = lab.run(**{"stockout-rounds": 2})
    assert status == 1
    seen("TPU: no zone has one, again and again", output)
    assert len(lab.google.happened("created")) == 4
    lab.check_none_left()


@pytest.mark.parametrize("when", ["asked for", "running"])
def test_interrupt(lab, when):
    lab.close_gate()
    with lab.started() as process:
        lab.wait_for(lab.running if when == "running" else lambda: lab.google.happened("created"))
        os.kill(process.pid, signal.SIGINT)
        status, output = lab.end_of(process)
    assert status == 1
    seen("TPU: Ctrl-C", output)
    lab.check_none_left()
    if when == "running":
        lab.open_gate()
        assert lab.run()[0] == 0
        assert [name.partition("-r")[2][-1:] for name, _ in lab.google.happened("created")][1:] == ["1"]
        lab.check_done()


def test_terminate(lab):
    lab.close_gate()
    with lab.started() as process:
        lab.wait_for(lab.running)
        os.kill(process.pid, signal.SIGTERM)
        lab.wait_for(lambda: "Will exit" in lab.output.read_text())
        lab.open_gate()
        status, output = lab.end_of(process)
    assert status == 1
    seen("TPU: SIGTERM", output)
    assert (lab.work / "results/model.txt").exists()
    assert not (lab.work / "results/summary.txt").exists()
    lab.check_none_left()


@pytest.mark.parametrize("kind", FAULTY)
def test_a_vm_that_is_started_again(lab, kind):
    lab.close_gate()
    with lab.started(kind, **{"linger-seconds": 0.1}) as process:
        lab.wait_for(lab.running)
        (machine,) = lab.google.machines.values()
        lab.google.reboot(machine)
        lab.wait_for(lambda: lab.google.happened("deleted"))
        lab.open_gate()
        status, output = lab.end_of(process)
    assert status == 0, output
    seen("TPU: the VM is started again, as after maintenance", output)
    assert [name for name, _ in lab.google.happened("created")] == [machine["name"], f"{machine['name']}-r1"]
    assert (lab.gate / "progress").read_text() == "step\nstep\n"
    lab.check_done()


def kill_while_running(lab, kind="compute", **settings):
    """Kill Snakemake while the job runs, of which there are old outputs; its VM goes on."""
    (lab.work / "results").mkdir()
    for name, content in (("model.txt", "an old one"), ("input.txt", "4\n")):
        (lab.work / "results" / name).write_text(content)
    os.utime(lab.work / "results/model.txt", (1e9, 1e9))
    lab.close_gate()
    with lab.started(kind, **settings) as process:
        lab.wait_for(lab.running)
        lab.wait_for(lambda: not lab.google.plan.preempt or lab.google.happened("preempted"))
        lab.wait_for(lambda: len(lab.google.happened("started")) == 1 + len(lab.google.happened("preempted")))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
    assert len(lab.google.machines) == 1
    unlocking = snakemake_process.start(["--unlock"], lab.work, lab.environment, lab.output)
    unlocking.join(60)
    assert unlocking.exitcode == 0


@pytest.mark.parametrize("kind", FAULTY)
@pytest.mark.parametrize("ends", ["before", "after"])
def test_kill(lab, kind, ends):
    """Also the second VM of a job is found again, and a VM that has ended its job in between."""
    if kind == "tpu":
        lab.google.plan = Plan(preempt=lambda machine: lab.running())
    kill_while_running(lab, kind)
    number = len(lab.google.happened("created"))
    lab.open_gate()
    if ends == "before":
        lab.wait_for(lambda: any(name.endswith("exit.json") for name in conftest.content(lab.emulator, lab.bucket)))
    status, output = lab.run(kind) if kind == "compute" else lab.run_alone(kind)
    assert status == 0, output
    assert re.search(r"reconnected to smk-train-\w+(-r1)? in zone-a", output)
    assert len(lab.google.happened("created")) == number == {"compute": 1, "tpu": 2}[kind]
    lab.check_done()


@pytest.mark.parametrize("kind", KINDS)
def test_kill_and_nobody_comes_until_the_job_has_ended(lab, kind):
    """The VM deletes itself, and its result is still there for the next run."""
    kill_while_running(lab, kind, **{"linger-seconds": 0.5})
    assert lab.google.happened("deleted") == []
    lab.open_gate()
    lab.wait_for(lambda: lab.google.machines == {})
    status, output = lab.run(kind)
    assert status == 0, output
    assert re.search(r"reconnected to smk-train-\w+ in zone-a", output)
    assert len(lab.google.happened("created")) == 1
    lab.check_done()


@pytest.mark.parametrize("kind", FAULTY)
def test_a_vm_that_deletes_itself_at_the_same_time(lab, kind):
    """Google refuses to delete what is being deleted; that is no reason for alarm."""
    lab.google.plan = Plan(deletion=3)
    kill_while_running(lab, kind, **{"linger-seconds": 0.5})
    (machine,) = lab.google.machines.values()
    lab.open_gate()
    lab.wait_for(lambda: machine["state"] in ("STOPPING", "DELETING"))
    status, output = lab.run(kind)
    assert status == 0, output
    assert "COULD NOT BE DELETED" not in output
    lab.wait_for(lambda: lab.google.machines == {})
    lab.check_done()


def test_kill_and_then_other_inputs(lab):
    kill_while_running(lab)
    (lab.work / "extra/note.txt").write_text("another note\n")
    lab.open_gate()
    status, output = lab.run()
    assert status == 0, output
    seen("TPU: `kill -9`, then other inputs or code", output)
    assert len(lab.google.happened("created")) == 2
    assert "another note" in (lab.work / "logs/train.log").read_text()
    lab.check_done()


def test_sweep(lab, capsys):
    kill_while_running(lab)
    (machine,) = lab.google.machines.values()
    other = {"key": ("compute", "zone-b", "mine"), "name": "mine", "zone": "zone-b", "kind": "x", "labels": {}, "state": "RUNNING"}
    lab.google.machines[other["key"]] = other
    where = ["--project", "tests", "--zones", "zone-a zone-b", "--compute-endpoint", lab.google.url, "--tpu-endpoint", lab.google.url]
    line = f"{machine['name']} in zone-a: ct6e-standard-8t, RUNNING, since 2026-11-25T20:00:00.000-08:00"
    for arguments, expected in (
        (["list"], line),
        (["sweep"], f"{line}: would be deleted (--yes)"),
        (["sweep", "--yes"], f"{line}: deleted"),
        (["list"], "no VMs of the executor in these zones"),
    ):
        assert command.main([*arguments, *where]) == 0
        assert capsys.readouterr().out == f"{expected}\n"
    assert list(lab.google.machines.values()) == [other]  # what is not the plugin's stays


def test_deleting_is_tried_again(lab):
    lab.google.plan = Plan(refuse_deletes=2)
    status, output = lab.run()
    assert status == 0, output
    assert lab.google.plan.refuse_deletes == 0
    assert "COULD NOT BE DELETED" not in output
    lab.check_done()


BEFORE = {
    "TPU: it would cost too much": {"max-cost": 1},
    "TPU: no price is known": {"price": None, "provisioning": "FLEX_START"},
    "TPU: the profile was not filled in": {"project": "<project>"},
}


@pytest.mark.parametrize("fault", BEFORE)
def test_what_is_checked_before_anything_is_begun(lab, fault):
    status, output = lab.run(**BEFORE[fault])
    assert status == 1
    seen(fault, output)
    assert "Traceback" not in output
    assert not (lab.work / "results").exists()
    assert lab.google.events == []


def test_the_table_of_faults_is_in_the_docs():
    text = (ROOT / "docs/cloud.md").read_text()
    rows = [f"| {fault} | {sees} | {left} |" for fault, (sees, left) in ROWS_OF_TABLE.items()]
    assert re.findall(r"^\| TPU: .* \|$", text, flags=re.MULTILINE) == rows


# Without Snakemake


def test_a_job_that_takes_longer_than_its_runtime(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        entry = tarfile.TarInfo(".cloud-tpu/job.sh")
        entry.size = len(script := b"echo begun\nsleep 60\n")
        archive.addfile(entry, io.BytesIO(script))
    with open("job.log", "wb", buffering=0) as log:
        assert vm.run({"seconds": 1}, SimpleNamespace(get=lambda name: packed.getvalue()), log) == 124
    told = (tmp_path / "job.log").read_text()
    assert told == "begun\nthe job took longer than its runtime of 0 minutes and was ended\n"


def test_all_that_is_missing_is_said_at_once():
    settings = ExecutorSettings(project="<project>", zones=" ", bucket=None, provisioning="spot", setup="nowhere.sh")
    with pytest.raises(WorkflowError) as raised:
        settings.check("", "bucket.url: gs://BUCKET/FOLDER")
    lines = str(raised.value).splitlines()[1:]
    keys = [match[1] for line in lines if (match := re.match(r"cloud-tpu-([a-z-]+)", line))]
    assert keys == ["project", "zones", "bucket", "max-cost", "provisioning", "setup"]
    to_write = [line.strip().partition(":")[0] for line in lines[:-3] if line.startswith("  ")]
    assert to_write == [f"cloud-tpu-{key}" for key in keys[:4]]  # the line to write
    assert lines[-2:] == ["  bucket:", "    url: gs://BUCKET/FOLDER"]


def test_prices(tmp_path):
    table = tmp_path / "mine.yaml"
    table.write_text("checked: 2026-11-25\nprices:\n  v5litepod-8: {SPOT: 1.5, STANDARD: 4}\n")
    assert ExecutorSettings(prices=str(table)).price_of("v5litepod-8") == 1.5
    assert ExecutorSettings(prices=str(table), provisioning="STANDARD").price_of("v5litepod-8") == 4
    assert ExecutorSettings(price=0.5, prices=str(table)).price_of("v4-8") == 0.5
    with pytest.raises(WorkflowError, match=r"the price of v4-8 \(SPOT\) is unknown"):
        ExecutorSettings(prices=str(table)).price_of("v4-8")


def test_the_table_of_prices_is_dated_and_goes_by_chips():
    table = yaml.safe_load(PRICES.read_text())
    assert isinstance(table["checked"], datetime.date)
    of = {kind: models for kind, models in table["prices"].items() if models["STANDARD"] is not None}
    assert set(table["prices"]) - set(of) == {"tpu7x-standard-4t"}
    for models in of.values():
        assert 0.2 * models["STANDARD"] < models["SPOT"] < models["STANDARD"]
        assert models.get("FLEX_START") is None
    for one, several, chips in (("ct6e-standard-1t", "ct6e-standard-8t", 8), ("v5litepod-1", "v5litepod-4", 4)):
        for model in ("SPOT", "STANDARD"):
            assert of[several][model] == pytest.approx(chips * of[one][model], rel=0.01)


def test_what_the_executor_needs_of_snakemake_beyond_its_interface_is_there():
    """Fails with the name of what has moved in another version of Snakemake."""
    from snakemake import api, dag, io, workflow  # api first: the others import each other

    assert api
    assert callable(workflow.Workflow.localrules)
    assert isinstance(workflow.Workflow.rules, property)
    assert callable(dag.DAG.needrun_jobs)
    assert "remote_execution_settings" in workflow.Workflow.__dataclass_fields__
    assert isinstance(io._IOFile.is_directory, property)

    class Empty:
        rules = ()

    with pytest.raises(internals.MovedError, match=r"no workflow\.localrules; use the version in requirements/gpraflow\.lock"):
        internals.keep_local(Empty(), "tpu_type")
    with pytest.raises(internals.MovedError, match=r"no workflow\.dag\.dag"):
        internals.remote_jobs(Empty())


class Output(str):
    """An output of a job, as in Snakemake."""

    is_directory = False


class Folder(Output):
    is_directory = True


JOB = SimpleNamespace(
    name="train",
    output=[Output("results/model.txt"), Folder("results/history")],
    log=["logs/train.log"],
    benchmark="benchmarks/train.tsv",
)
DECLARED = {"results/model.txt", "results/history/line", "results/history/deep/er", "logs/train.log", "benchmarks/train.tsv"}


def archive_of(*entries):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, kind, target in [*((name, tarfile.REGTYPE, "") for name in sorted(DECLARED)), *entries]:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, target, 4 if kind == tarfile.REGTYPE else 0
            archive.addfile(entry, io.BytesIO(b"new\n"))
    return packed.getvalue()


def end_of_job(packed, status=0):
    """Let the executor take these results; return its error message or None, and what it logged."""
    logged, found = [], {"smk-train/result.tar.gz": packed}
    executor = SimpleNamespace(
        bucket=SimpleNamespace(name="b"),
        logger=SimpleNamespace(error=logged.append, info=logged.append),
        _find=lambda task, name: found.get(name),
        _names=lambda task, prefix: [],
        _delete=lambda task: None,
        _path=lambda task, name: name,
    )
    executor._unpack = lambda *arguments, **options: Executor._unpack(executor, *arguments, **options)
    task = SimpleNamespace(machine=SimpleNamespace(name="smk-train"), job=JOB)
    return Executor._end(executor, task, status), "\n".join(logged)


def written(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}


def test_all_declared_files_are_taken(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [(name, tarfile.DIRTYPE, "") for name in ("results/history", "results/history/deep")]
    assert end_of_job(archive_of(*folders)) == (None, "")
    assert written(tmp_path) == DECLARED


@pytest.mark.parametrize(
    "entry",
    [
        *[
            (name, tarfile.REGTYPE, "")
            for name in (
                "Snakefile",
                "scripts/train_model.py",
                ".git/hooks/post-checkout",
                ".venv/bin/python",
                "results/other.txt",
                "results/model.txt/x",
                "results/historyx",
                "results/history",
                "results/history/../../Snakefile",
                "./results/model.txt",
                "results/history/../x",
                "../outside",
                "/tmp/outside",
            )
        ],
        ("logs", tarfile.DIRTYPE, ""),
        ("results/model.txt", tarfile.DIRTYPE, ""),
        ("results/history/link", tarfile.SYMTYPE, "../../Snakefile"),
        ("results/history/link", tarfile.SYMTYPE, "/etc"),
        ("results/history/link", tarfile.LNKTYPE, "Snakefile"),
        ("results/history/pipe", tarfile.FIFOTYPE, ""),
        ("results/history/device", tarfile.CHRTYPE, ""),
    ],
    ids=lambda entry: f"{entry[0]}-{entry[1].decode()}",
)
@pytest.mark.parametrize("status", [0, 3])
def test_everything_else_in_the_results_is_refused(tmp_path, monkeypatch, entry, status):
    work = tmp_path / "work"
    work.mkdir()
    (work / "Snakefile").write_text("old\n")
    monkeypatch.chdir(work)
    message, logged = end_of_job(archive_of(entry), status)
    assert "smk-train: the results hold 1 entries that this job does not declare" in message
    assert repr(entry[0]) in message
    assert f"train: {entry[0]!r} in the results was refused: " in logged
    assert ("link or a special file" in logged) == (entry[1] not in (tarfile.REGTYPE, tarfile.DIRTYPE))
    assert written(tmp_path) == {"work/Snakefile", "work/logs/train.log"}
    assert (work / "Snakefile").read_text() == "old\n"


def test_a_damaged_archive_is_an_error(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for packed in (b"no archive", archive_of()[:-30]):
        with pytest.raises(Exception, match=r"^train: the results are not a readable archive"):
            end_of_job(packed)


def test_a_vm_packs_links_as_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "work/results/history").mkdir(parents=True)
    (tmp_path / "work/results/model.txt").write_text("new\n")
    (tmp_path / "work/results/history/line").symlink_to("../model.txt")
    os.link("work/results/model.txt", "work/results/history/deep")
    packed = vm.pack({"results": ["results/model.txt", "results/history"]})
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        assert {each.name for each in archive if each.isfile() and each.size == 4} == {
            "results/model.txt",
            "results/history/line",
            "results/history/deep",
        }


def test_a_vm_of_another_job_is_never_deleted():
    """The names come from the bucket."""
    deleted, names = [], ["vms/production-server", "vms/smk-train-1x", "vms/smk-train-1-r1x"]
    executor = SimpleNamespace(
        logger=SimpleNamespace(info=lambda text: None),
        _archive=lambda task: (b"", "digest"),
        _names=lambda task, prefix: names,
        _get=lambda task, name: b'{"zone": "zone-a", "created": 0, "kind": "x"}',
        _find=lambda task, name: b"another digest",
        _put=lambda task, name, content: None,
        _delete=lambda task: deleted.append(task.machine.name),
    )
    task = SimpleNamespace(name="smk-train-1", machine=None, kind="x", number=0, created=0.0, ready=False)
    with contextlib.suppress(Exception):
        Executor._prepare(executor, task)
    assert deleted == []
    assert task.ready
    assert task.number == 0


@pytest.mark.parametrize("kind", KINDS)
def test_scopes_of_a_vm(kind):
    """Storage and what its deletion needs; the Cloud TPU API has one scope for everything."""
    with control_plane_of(kind) as (plane, requests):
        plane.create(Machine("smk-x", "zone-a"), KINDS[kind], "script", 60, {})
    (request,) = requests
    if kind == "compute":
        (account,) = request["serviceAccounts"]
        assert account["email"] == "vm@tests.iam.gserviceaccount.com"
        assert sorted(scope.rpartition("/")[2] for scope in account["scopes"]) == ["compute", "devstorage.read_write"]
    else:
        account = request["tpu"]["nodeSpec"][0]["node"]["serviceAccount"]
        assert account["email"] == "vm@tests.iam.gserviceaccount.com"
        assert account["scope"] == ["https://www.googleapis.com/auth/cloud-platform"]


@contextlib.contextmanager
def control_plane_of(kind):
    """Yield a control plane that talks to loopback, and the bodies of its requests."""
    requests = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(b'{"name": "operation"}')

        def log_message(self, *_):
            pass

    with serving(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        account = "vm@tests.iam.gserviceaccount.com"
        settings = ExecutorSettings(project="tests", zones="zone-a", service_account=account, compute_endpoint=url, tpu_endpoint=url)
        yield control.connect(KINDS[kind], settings), requests
