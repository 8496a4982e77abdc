"""``make run``: start Snakemake, and resume a run that was killed, unless one of its processes is still alive.

A killed Snakemake (``kill -9``, power failure) leaves a lock on the working directory and outputs marked as incomplete.
``--rerun-incomplete`` recreates these outputs. The lock is removed with ``snakemake --unlock``, but only if it is certain that no process
uses the folder: each run keeps a record of its name, machine and process in ``results/.running/``, and jobs that outlive their Snakemake
are detected by their working directory. With a record of the same run from another machine, or without ``/proc``, the command stops and
prints advice.

Runs of different names work side by side in one folder. A run whose name is in use stops at once and says by whom. ``snakemake --unlock``
would take the locks of all runs, so beside another run a killed one is resumed with ``--nolock``: that its name is not in use was
checked.

Before a run reads its inputs for the first time, or after its config has changed, ``gpraflow check`` looks at them, and an error that it
finds stops the run before it starts, and so does a library too large for the memory of this machine, if jobs run here; ``--no-check``
skips this.
"""

import contextlib
import getpass
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from gpraflow.core import files

RECORDS = Path("results/.running")
# All of Snakemake's but `code`, which compares the times of scripts: the parameter `code` of each rule says whether code has changed.
TRIGGERS = ("input", "mtime", "params", "software-env")
# An input that looks newer than an output is compared by its checksum, where Snakemake takes the time alone for more than 1 MB.
OPTIONS = ("--rerun-triggers", *TRIGGERS, "--rerun-incomplete", "--max-checksum-file-size", "100MB")
_PROC = Path("/proc")
NO_CHECK = "--no-check"
_SCRIPT = re.compile(r"/scripts/tmp\w+\.\w+\.py$")  # Snakemake's copy of a rule's script
_STOPS = 2  # exit code of `gpraflow check` if a run would stop
# With these options Snakemake runs nothing, ...
_IDLE = {
    *("-n", "--dry-run", "--dryrun", "--unlock", "--lint", "--rulegraph", "--dag", "--filegraph", "--summary", "-S", "--list-rules", "-l"),
    *("--touch", "-t", "--report", "--cleanup-metadata", "--delete-all-output", "-h", "--help", "-v", "--version", "--archive"),
    *("--detailed-summary", "-D", "--list-target-rules"),
}
_ELSEWHERE = {"-s", "--snakefile", "-d", "--directory"}  # ... or another workflow or folder than those that are known here.
_OTHER_MACHINES = {"-e", "--executor", "--profile"}  # jobs run where there can be more memory
_UNCHECKED = {*_IDLE, *_ELSEWHERE, "--until", "-U", "--omit-from", "-O"}


def _line(process: int) -> list[int]:
    """Return a process id and those of its ancestors."""
    processes: list[int] = []
    while process > 0 and process not in processes:
        processes.append(process)
        try:
            process = int((_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            break
    return processes


def workers(folder: Path) -> dict[int, str]:
    """Return the processes of Snakemake and its jobs whose working directory is ``folder``: process id -> command."""
    return {number: " ".join(command) for number, command in _workers(folder).items()}


def _workers(folder: Path) -> dict[int, list[str]]:
    running, own = {}, _line(os.getpid())
    for entry in _PROC.glob("[0-9]*"):
        if int(entry.name) in own:
            continue
        with contextlib.suppress(OSError):  # the process has ended or belongs to another user
            command = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            if any("snakemake" in word for word in command) and (entry / "cwd").resolve() == folder.resolve():
                running[int(entry.name)] = command
    return running


def name_of(arguments: Sequence[str]) -> str:
    """Return the name of the run that Snakemake makes with these arguments; empty if that is another workflow, or the config is invalid."""
    from gpraflow.app import overlays
    from gpraflow.core.errors import ConfigError

    if {argument.partition("=")[0] for argument in arguments} & _ELSEWHERE:
        return ""
    try:
        config = overlays.read(_values(arguments, "--configfile", "--configfiles"), _values(arguments, "--config", "-C"))
    except (ConfigError, OSError):
        return ""
    return str(config.get("run", "sample"))


def _records() -> dict[Path, dict[str, str]]:
    """Return the records of runs; a record that another process is writing, or has just removed, is none."""
    found = {}
    for path in sorted(RECORDS.glob("*.json")):
        if path.stem.isdigit():
            with contextlib.suppress(FileNotFoundError):
                found[path] = json.loads(path.read_text(encoding="utf-8"))
    return found


class _Folder:
    """What runs in the working directory, and what was killed there.

    Attributes
    ----------
    live : dict
        Snakemake processes: process id -> name of the run (empty if unknown) and a description.
    orphans : dict
        Jobs whose Snakemake is gone: process id -> command.
    killed : dict
        Records of runs of this machine whose Snakemake is gone.
    elsewhere : dict
        Records of other machines.
    """

    def __init__(self) -> None:
        records = _records()
        alive = _workers(Path.cwd()) if _PROC.is_dir() else {}
        self.elsewhere = {path: record for path, record in records.items() if record["host"] != socket.gethostname()}
        here = {int(path.stem): record for path, record in records.items() if path not in self.elsewhere}
        self.killed = {path: record for path, record in records.items() if path not in self.elsewhere and int(path.stem) not in alive}
        self.live: dict[int, tuple[str, str]] = {}
        self.orphans: dict[int, str] = {}
        for number, command in alive.items():
            first = next(other for other in reversed(_line(number)) if other in alive)  # the Snakemake process of a job
            if number in here:
                since = f"started by {here[number].get('user', 'another user')} on {here[number]['since']}"
                self.live[number] = (here[number].get("run", ""), since)
            elif _is_job(alive[first]):
                self.orphans[number] = " ".join(command)
            elif number == first and _makes_files(command):
                self.live[number] = (name_of(command), f"started as: {' '.join(command)[-120:]}")


def _is_job(command: Sequence[str]) -> bool:
    return any(word == "--target-jobs" or _SCRIPT.search(word) for word in command)


def _makes_files(command: Sequence[str]) -> bool:
    """Return True for a Snakemake process that is no dry run, report or the like."""
    program = any(Path(word).name == "snakemake" for word in command[:4])  # python -m snakemake, or python bin/snakemake
    return program and not {word.partition("=")[0] for word in command} & _IDLE


def _resume(snakemake: Sequence[str], arguments: Sequence[str], run: str) -> tuple[str, list[str]]:
    """Prepare the folder for a run: refuse if its name is in use, and remove the lock of a killed run.

    Returns
    -------
    str
        Why the run cannot start; empty if it can.
    list of str
        Further options for Snakemake.
    """
    folder = _Folder()
    unlock = f"snakemake --unlock {' '.join(arguments)}"
    if (holder := _holder(folder, run)) and not set(arguments) & _IDLE:
        return holder, []
    for path, record in folder.elsewhere.items():
        if not run or record.get("run", run) == run:
            return (
                f"a run that was started on {record['host']} on {record['since']} has not ended, or was killed; whether it still runs "
                f"cannot be checked from {socket.gethostname()}. If it does not, delete {path}, run `{unlock}` and start again"
            ), []
    if not folder.killed:
        return "", []
    if not _PROC.is_dir():
        return (
            f"a run in this folder was killed, or is still running. If none is running, delete {RECORDS}, run `{unlock}` and start again"
        ), []
    if folder.orphans:
        shown = "\n".join(f"  process {number}: {command[:120]}" for number, command in folder.orphans.items())
        return f"jobs of a killed run are still running in this folder:\n{shown}\nWait for them to end, or kill them", []
    if folder.live or folder.elsewhere:
        if not any(not run or record.get("run", run) == run for record in folder.killed.values()):
            return "", []
        print("gpraflow: an earlier run of this name was killed; resuming it beside another run", file=sys.stderr)
        return "", ["--nolock"]  # the records stay until the locks can be removed
    print("gpraflow: an earlier run in this folder was killed; resuming it", file=sys.stderr)
    done = subprocess.run([*snakemake, "--unlock", *arguments], capture_output=True, text=True)
    if done.returncode:
        return f"snakemake --unlock failed:\n{done.stderr[-2000:]}", []
    for path in folder.killed:
        path.unlink(missing_ok=True)
    return "", []


def _holder(folder: _Folder, run: str) -> str:
    """Return a message if a live run has this name; otherwise an empty string."""
    for number, (name, about) in folder.live.items():
        if run and name == run:
            return (
                f"run {run!r} is in progress in this folder: process {number} of {socket.gethostname()}, {about}. Wait until it has "
                f"ended, or end it (kill {number}). Runs of other names (config key run) can be made at the same time"
            )
    return ""


def _values(arguments: Sequence[str], *names: str) -> list[str]:
    """Return the values of an option of Snakemake that takes several."""
    values, taken = [], False
    for argument in arguments:
        if argument.startswith("-"):
            name, sign, value = argument.partition("=")
            taken = name in names
            values += [value] if taken and sign else []
        elif taken:
            values.append(argument)
    return values


def _unreadable(arguments: Sequence[str]) -> str:
    """Return why a config file cannot be read, or an empty string; Snakemake would write out anchors that refer to each other."""
    from gpraflow.app import overlays
    from gpraflow.core.errors import ConfigError

    try:
        for path in _values(arguments, "--configfile", "--configfiles"):
            overlays.load(path)
    except ConfigError as error:
        return str(error)
    return ""


def _is_checked(configs: Sequence[str], settings: Sequence[str]) -> bool:
    """Return True if the run has read its library since its config files changed."""
    from gpraflow.app import overlays
    from gpraflow.core.errors import ConfigError

    try:
        config = overlays.read(configs, settings)
    except ConfigError:
        return False  # the check says what is wrong
    table = Path("results", str(config.get("run", "sample")), "tables", "library.parquet")
    sources = [Path(path) for path in configs] + ([overlays.BASE] if overlays.BASE.is_file() else [])
    return table.is_file() and table.stat().st_mtime >= max(path.stat().st_mtime for path in sources)


def _check(arguments: Sequence[str]) -> bool:
    """Print what `gpraflow check` finds; return False if the run would stop. What the check itself cannot do never stops a run."""
    configs, settings = _values(arguments, "--configfile", "--configfiles"), _values(arguments, "--config", "-C")
    names = {argument.partition("=")[0] for argument in arguments}
    if not configs or names & _UNCHECKED or _is_checked(configs, settings):
        return True
    here = [] if names & _OTHER_MACHINES or os.environ.get("SNAKEMAKE_PROFILE") else ["--here"]
    command = [sys.executable, "-m", "gpraflow.app.cli", "check", *here, *configs, *(["--config", *settings] if settings else [])]
    return subprocess.run(command).returncode != _STOPS


def main(arguments: Sequence[str]) -> int:
    """Check the inputs, and run Snakemake with these arguments.

    Returns
    -------
    int
        The exit code of Snakemake; 1 if a killed run cannot be resumed; 2 if a config file cannot be read, or the check found what would
        stop the run.
    """
    checks, arguments = NO_CHECK not in arguments, [argument for argument in arguments if argument != NO_CHECK]
    snakemake = [sys.executable, "-m", "snakemake"]
    run = name_of(arguments)
    problem, options = _resume(snakemake, arguments, run)
    if problem:
        print(f"gpraflow: {problem}", file=sys.stderr)
        return 1
    if problem := _unreadable(arguments):
        print(f"gpraflow: {problem}", file=sys.stderr)
        return _STOPS
    if checks and not _check(arguments):
        print(f"gpraflow: not started; correct what is above, or start without the check ({NO_CHECK}, make run CHECK=0)", file=sys.stderr)
        return _STOPS
    RECORDS.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([*snakemake, *OPTIONS, *options, *arguments])
    record = RECORDS / f"{process.pid}.json"
    about = {"host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S"), "run": run, "user": _user()}
    try:
        files.write_json(record, about)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches Snakemake, which first ends its jobs
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    except BaseException:
        process.terminate()
        raise
    if code == -signal.SIGKILL:  # its jobs may still be alive; the next run handles the lock
        return 128 + signal.SIGKILL
    record.unlink(missing_ok=True)
    if code and (holder := _holder(_Folder(), run)):  # both were started at the same moment
        print(f"gpraflow: {holder}", file=sys.stderr)
    with contextlib.suppress(OSError):  # the folder holds the record of another run
        RECORDS.rmdir()
    return code if code >= 0 else 128 - code


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in containers
        return f"user {os.getuid()}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
