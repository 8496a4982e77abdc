"""The only module that knows Snakemake: logs of jobs, and what the Snakefile needs before it reads the config."""

import base64
import contextlib
import json
import os
import re
import shutil
import sys
import traceback
from pathlib import Path
from typing import Any, TextIO

from gpraflow.errors import GpraflowError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_held: list[TextIO] = []


def log_to(path: str | os.PathLike) -> TextIO:
    """Send file descriptors 1 and 2 of this process to a log file, C++ libraries included; return the terminal that was there.

    Errors end up in the log with their traceback and on the terminal as one message.
    """
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    _share_lock()
    terminal = os.fdopen(os.dup(2), "w", buffering=1, encoding="utf-8", errors="replace")
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)

    def report(kind: type[BaseException], error: BaseException, trace: Any) -> None:
        traceback.print_exception(kind, error, trace)
        message = str(error) if isinstance(error, GpraflowError) else f"{kind.__name__}: {error} (a fault of gpraflow; traceback in {path})"
        terminal.write(f"\ngpraflow: {message}\n\n")

    sys.excepthook = report
    return terminal


def recover(directory: str = ".snakemake") -> None:
    """Let a run that was killed go on with the same command.

    A killed Snakemake leaves locks and outputs marked as incomplete behind. Every Snakemake process of this workflow and every job
    holds a shared file lock, which the kernel gives back whatever happens. If this process can have it alone, no other one is alive:
    Snakemake's locks are stale and are removed, and so are outputs whose local job was cut off, which makes Snakemake run it again.
    Jobs that were handed to a remote executor are left to Snakemake, which can take them up again.
    """
    with contextlib.suppress(OSError):  # a folder that cannot be written: Snakemake's own message is enough
        os.makedirs(directory, exist_ok=True)
    handle = _share_lock(directory)
    if handle is None or _only_looks(sys.argv[1:]):
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        for lock in Path(directory, "locks").glob("*.lock"):
            lock.unlink(missing_ok=True)
        for output in _cut_off(Path(directory, "incomplete")):
            if output.is_dir():
                shutil.rmtree(output)
            else:
                output.unlink(missing_ok=True)
    except BlockingIOError:
        pass  # another process is alive
    finally:
        fcntl.flock(handle, fcntl.LOCK_SH)  # also after a failed change to exclusive, which gives the shared lock up


def put_first(folder: str | os.PathLike) -> None:
    """Let the jobs of this workflow import from a folder before any other.

    Snakemake appends to the path of scripts: an installed gpraflow, as of another checkout, would win over the workflow's own.
    """
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != str(folder)]
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *others])


def on_tpu(workflow: Any) -> bool:
    """Return whether models are trained on a Cloud TPU: a profile sends `train_model` there by the resource ``tpu_type``."""
    return "tpu_type" in workflow.resource_settings.overwrite_resources.get("train_model", {})


def _share_lock(directory: str = ".snakemake") -> TextIO | None:
    """Hold the workflow's lock together with others until this process ends; return its file, or None where that cannot be."""
    if fcntl is None:
        return None
    try:
        handle = open(os.path.join(directory, "gpraflow.lock"), "a")  # noqa: SIM115 (held until the process ends)
        fcntl.flock(handle, fcntl.LOCK_SH)
    except OSError:
        return None
    _held.append(handle)
    return handle


def _only_looks(arguments: list[str]) -> bool:
    """Return whether Snakemake's command line runs nothing."""
    looking = {"--dry-run", "--dryrun", "--lint", "--report", "--dag", "--rulegraph", "--summary", "--list", "--unlock"}
    return any(a.split("=")[0] in looking or re.fullmatch("-[a-zA-Z]*n[a-zA-Z]*", a) for a in arguments)


def _cut_off(markers: Path) -> list[Path]:
    """Return the outputs that Snakemake's marks name; a mark's path is the output's name in base64, cut into parts."""
    found = []
    for marker in markers.rglob("*"):
        if not marker.is_file():
            continue
        try:
            remote = json.loads(marker.read_text(encoding="utf-8")).get("external_jobid")
        except ValueError:  # the mark itself was cut off
            remote = None
        if not remote:
            coded = "".join(part.removeprefix("@") for part in marker.relative_to(markers).parts)
            found.append(Path(base64.urlsafe_b64decode(coded).decode()))
    return found
