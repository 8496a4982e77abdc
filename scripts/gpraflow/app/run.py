"""``make run``: start Snakemake, and resume a run that was killed, unless one of its processes is still alive.

A killed Snakemake (``kill -9``, power failure) leaves a lock on the working directory and outputs marked as incomplete.
``--rerun-incomplete`` recreates these outputs. The lock is removed with ``snakemake --unlock``, but only if it is certain that no process
uses the folder: each run keeps a record of its machine and process in ``results/.running/``, and jobs that outlive their Snakemake are
detected by their working directory. With a record from another machine, or without ``/proc``, the command stops and prints advice.

Before a run reads its inputs for the first time, or after its config has changed, ``gpraflow check`` looks at them, and an error that it
finds stops the run before it starts; ``--no-check`` skips this.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

RECORDS = Path("results/.running")
# All of Snakemake's but `code`, which compares the times of scripts: the parameter `code` of each rule says whether code has changed.
TRIGGERS = ("input", "mtime", "params", "software-env")
_PROC = Path("/proc")
NO_CHECK = "--no-check"
_STOPS = 2  # exit code of `gpraflow check` if a run would stop
# With these options Snakemake runs nothing, or another workflow or folder than those that a check knows.
_UNCHECKED = {
    *("-n", "--dry-run", "--dryrun", "--unlock", "--lint", "--rulegraph", "--dag", "--filegraph", "--summary", "-S", "--list-rules", "-l"),
    *("--touch", "-t", "--report", "--cleanup-metadata", "--delete-all-output", "-s", "--snakefile", "-d", "--directory", "-h", "--help"),
    *("-v", "--version", "--archive", "--detailed-summary", "-D", "--list-target-rules", "--until", "-U", "--omit-from", "-O"),
}


def _own_line() -> set[int]:
    """Return the process ids of this process and its ancestors."""
    processes, process = set(), os.getpid()
    while process > 0 and process not in processes:
        processes.add(process)
        try:
            process = int((_PROC / str(process) / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            break
    return processes


def workers(folder: Path) -> dict[int, str]:
    """Return the processes of Snakemake and its jobs whose working directory is ``folder``: process id -> command."""
    running, own = {}, _own_line()
    for entry in _PROC.glob("[0-9]*"):
        if int(entry.name) in own:
            continue
        with contextlib.suppress(OSError):  # the process has ended or belongs to another user
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            if "snakemake" in command and (entry / "cwd").resolve() == folder.resolve():
                running[int(entry.name)] = command
    return running


def _resume(snakemake: Sequence[str], arguments: Sequence[str]) -> str:
    """Remove the lock of a killed run; return the reason if that is impossible, otherwise an empty string."""
    records = {path: json.loads(path.read_text(encoding="utf-8")) for path in sorted(RECORDS.glob("*.json"))}
    if not records:
        return ""
    unlock = f"snakemake --unlock {' '.join(arguments)}"
    for path, record in records.items():
        if record["host"] != socket.gethostname():
            return (
                f"a run that was started on {record['host']} on {record['since']} has not ended, or was killed; whether it still runs "
                f"cannot be checked from {socket.gethostname()}. If it does not, delete {path}, run `{unlock}` and start again"
            )
    if not _PROC.is_dir():
        return f"a run in this folder was killed, or is still running. If none is running, delete {RECORDS}, run `{unlock}` and start again"
    if alive := workers(Path.cwd()):
        shown = "\n".join(f"  process {number}: {command[:120]}" for number, command in alive.items())
        return (
            ""
            if _known(records, alive)
            else f"jobs of a killed run are still running in this folder:\n{shown}\nWait for them to end, or kill them"
        )
    print("gpraflow: an earlier run in this folder was killed; resuming it", file=sys.stderr)
    done = subprocess.run([*snakemake, "--unlock", *arguments], capture_output=True, text=True)
    if done.returncode:
        return f"snakemake --unlock failed:\n{done.stderr[-2000:]}"
    for path in records:
        path.unlink(missing_ok=True)
    return ""


def _known(records: dict[Path, dict[str, str]], alive: dict[int, str]) -> bool:
    """Return True if a recorded run is alive; Snakemake's own lock then decides if a second run can start."""
    return any(int(path.stem) in alive for path in records)


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
    files = [Path(path) for path in configs] + ([overlays.BASE] if overlays.BASE.is_file() else [])
    return table.is_file() and table.stat().st_mtime >= max(path.stat().st_mtime for path in files)


def _check(arguments: Sequence[str]) -> bool:
    """Print what `gpraflow check` finds; return False if the run would stop. What the check itself cannot do never stops a run."""
    configs, settings = _values(arguments, "--configfile", "--configfiles"), _values(arguments, "--config", "-C")
    if not configs or {argument.partition("=")[0] for argument in arguments} & _UNCHECKED or _is_checked(configs, settings):
        return True
    command = [sys.executable, "-m", "gpraflow.app.cli", "check", *configs, *(["--config", *settings] if settings else [])]
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
    if problem := _resume(snakemake, arguments):
        print(f"gpraflow: {problem}", file=sys.stderr)
        return 1
    if problem := _unreadable(arguments):
        print(f"gpraflow: {problem}", file=sys.stderr)
        return _STOPS
    if checks and not _check(arguments):
        print(f"gpraflow: not started; correct what is above, or start without the check ({NO_CHECK}, make run CHECK=0)", file=sys.stderr)
        return _STOPS
    RECORDS.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([*snakemake, "--rerun-triggers", *TRIGGERS, "--rerun-incomplete", *arguments])
    record = RECORDS / f"{process.pid}.json"
    try:
        record.write_text(json.dumps({"host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}), encoding="utf-8")
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C also reaches Snakemake, which first ends its jobs
        signal.signal(signal.SIGTERM, lambda *_: process.terminate())
        code = process.wait()
    except BaseException:
        process.terminate()
        raise
    if code == -signal.SIGKILL:  # its jobs may still be alive; the next run handles the lock
        return 128 + signal.SIGKILL
    record.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # the folder holds the record of another run
        RECORDS.rmdir()
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
