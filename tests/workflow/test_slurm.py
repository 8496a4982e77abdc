"""The Slurm profile on a real Slurm: Debian's slurm-wlm on loopback, with one node that says it has 16 cores and a GPU."""

import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
import yaml

from tests.conftest import ROOT, copy_finished

TOOLS = ("sacct", "sacctmgr", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun", "sshare")
DAEMONS = ("munged", "slurmctld", "slurmd")
CONFIG = """\
ClusterName=here
SlurmctldHost={host}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/controller
SlurmdSpoolDir={folder}/node
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MinJobAge=3600
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=64000 Gres=gpu:1 State=UNKNOWN
PartitionName=batch Nodes={host} Default=YES MaxTime=INFINITE State=UP
PartitionName=accelerated Nodes={host} MaxTime=INFINITE State=UP
"""
# Without a database of accounts sacct knows of no job; squeue does.
QUICK = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "2")


def free_ports(number):
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """Start Slurm; give the environment with its tools, which do not find it by variables: the executor plugin removes them for jobs."""
    missing = [name for name in (*DAEMONS, *TOOLS) if not shutil.which(name, path=os.environ["PATH"] + ":/usr/sbin")]
    if missing or os.getuid():
        pytest.skip(f"needs root and Debian's slurm-wlm ({', '.join(missing) or 'no root'})")
    folder = tmp_path_factory.mktemp("slurm")
    host = socket.gethostname().split(".")[0]
    (folder / "slurm.conf").write_text(CONFIG.format(host=host, folder=folder, ports=free_ports(2)))
    (folder / "gres.conf").write_text(f"NodeName={host} Name=gpu File=/dev/null\n")
    (folder / "munge.key").write_bytes(secrets.token_bytes(128))
    (folder / "munge.key").chmod(0o400)
    for name in ("controller", "node", "tools"):
        (folder / name).mkdir()
    for name in TOOLS:
        tool = folder / "tools" / name
        tool.write_text(f'#!/bin/sh\nSLURM_CONF={folder}/slurm.conf exec {shutil.which(name)} "$@"\n')
        tool.chmod(0o755)
    munge = [f"--{name}={folder}/munge.{end}" for name, end in (("key-file", "key"), ("socket", "socket"), ("pid-file", "pid"))]
    munge += [f"--log-file={folder}/munge.log", f"--seed-file={folder}/munge.seed"]
    commands = {"munged": ["--foreground", "--force", *munge], "slurmctld": ["-D", "-c"], "slurmd": ["-D"]}
    environment = os.environ | {"PATH": f"{folder / 'tools'}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}:/usr/sbin"}
    running = []
    try:
        for name, arguments in commands.items():
            with open(folder / f"{name}.log", "w") as log:
                command = [shutil.which(name, path=environment["PATH"]), *arguments]
                variables = environment | {"SLURM_CONF": str(folder / "slurm.conf")}
                running.append(subprocess.Popen(command, env=variables, stdout=log, stderr=subprocess.STDOUT))
            time.sleep(1)
        deadline = time.monotonic() + 60
        while "idle" not in (told := subprocess.run(["sinfo"], env=environment, capture_output=True, text=True)).stdout:
            if time.monotonic() > deadline:
                logs = "\n".join(path.read_text()[-2000:] for path in folder.glob("*.log"))
                pytest.fail(f"Slurm did not start: {told.stdout}{told.stderr}\n{logs}")
            time.sleep(0.5)
        yield environment
    finally:
        subprocess.run(["scancel", "--user=root"], env=environment, capture_output=True)
        for process in reversed(running):
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture
def folder(finished_once, tmp_path):
    """The tiny workflow after its simulation, with the profile as a user fills it in."""
    workflow_folder = copy_finished(finished_once, tmp_path / "copy", keep=["simulated"])
    shutil.copytree(ROOT / "profiles", workflow_folder / "profiles")
    profile = workflow_folder / "profiles/slurm/config.yaml"
    text = profile.read_text()
    for placeholder, name in {"<account>": "lab", "<partition>": "batch", "<gpu partition>": "accelerated"}.items():
        text = text.replace(placeholder, name)
    profile.write_text(text)
    return workflow_folder


def run(folder, environment, *arguments):
    command = [sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--configfile", "tiny.yaml", *QUICK, *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


def jobs(environment):
    """Return rule -> list of (partition, cores, MB, GPUs a node, state) of all Slurm jobs so far."""
    command = ["squeue", "--states=all", "--noheader", "--format=%k|%P|%C|%m|%b|%T"]
    lines = subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.splitlines()
    found = {}
    for comment, *rest in (line.split("|") for line in lines):
        found.setdefault(comment.removeprefix("rule_").split("_wildcards")[0], []).append(tuple(rest))
    return found


def test_reads_of_each_bin_are_a_job_of_their_own(folder, cluster):
    done = run(folder, cluster, "--until", "count_reads")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    found = jobs(cluster)
    assert found["count_reads"] == 6 * [("batch", "1", "4000M", "N/A", "COMPLETED")]
    assert len(list((folder / "results/tiny/counts/bins").iterdir())) == 6


def test_a_job_that_fails_says_why(folder, cluster):
    bins = folder / "tiny_bins.tsv"
    bins.write_text(bins.read_text().replace("results/{run}/simulated/reads/a_0.fastq.gz", "broken.fastq"))
    config = folder / "tiny.yaml"
    text = config.read_text().replace("sample_sheet: tiny_bins.tsv", "sample_sheet: tiny_bins.tsv, cells: reads")
    config.write_text(text.replace("bootstrap: 100", "bootstrap: 100, datasets: ''"))
    (folder / "broken.fastq").write_text("@r\nACGT\n+\nII\n")
    done = run(folder, cluster, "--until", "count_reads", "results/tiny/counts/bins/a.0.parquet")
    assert done.returncode != 0
    (log,) = (folder / "results/tiny/logs").rglob("*a.0.log")
    assert str(log.relative_to(folder)) in done.stdout + done.stderr
    assert "broken.fastq" in log.read_text()
    assert not list((folder / "results/tiny/counts/bins").glob("*"))


@pytest.mark.slow
def test_a_training_gets_the_gpu_and_may_be_two_processes(folder, cluster):
    profile = folder / "profiles/slurm/config.yaml"  # --set-resources would take the place of all that the profile sets
    content = yaml.safe_load(profile.read_text())
    content["set-resources"]["train_model"] |= {"tasks": 2, "processes": 2, "launcher": "srun --overlap --ntasks=2"}
    profile.write_text(yaml.safe_dump(content))
    done = run(folder, cluster, "results/tiny/model/model.keras")
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert [job[0] for job in jobs(cluster)["train_model"]] == ["accelerated"]
    shown = subprocess.run(["scontrol", "show", "jobs", "--oneliner"], env=cluster, capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in shown.splitlines() if "Comment=rule_train_model" in line)
    assert re.search(r"TresPer\w+=gres.gpu.1", line), line  # squeue shows those of nodes only
    assert json.loads((folder / "results/tiny/model/model.json").read_text())["device"] == "2 x cpu"
