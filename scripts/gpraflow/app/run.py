"""``make run``: start Snakemake, and resume a run that was killed, unless one of its processes is still alive.

A killed Snakemake (``kill -9``, power failure) leaves a lock on the working directory and outputs marked as incomplete.
``--rerun-incomplete`` recreates these outputs. The lock is removed with ``snakemake --unlock``, but only if it is certain that no process
uses the folder: each run keeps a record of its machine and process in ``results/.running/``, and jobs that outlive their Snakemake are
detected by their working directory. With a record from another machine, or without ``/proc``, the command stops and prints advice.
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


def main(arguments: Sequence[str]) -> int:
    """Run Snakemake with these arguments; return its exit code, or 1 if a killed run cannot be resumed."""
    snakemake = [sys.executable, "-m", "snakemake"]
    if problem := _resume(snakemake, arguments):
        print(f"gpraflow: {problem}", file=sys.stderr)
        return 1
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
