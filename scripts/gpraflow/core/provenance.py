"""Provenance of results: package versions, the commit of the code, and the identity of input files."""

import contextlib
import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

_HASHED = 64 << 20  # bytes; hashed in less than 0.2 s


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python and of the installed ones among some packages."""
    installed = {"python": platform.python_version()}
    for package in packages:
        with contextlib.suppress(PackageNotFoundError):
            installed[package] = version(package)
    return installed


def commit() -> str:
    """Return the commit of the code, with ``-dirty`` if it was changed since; empty outside a checkout.

    An installed package may lie in the environment of a repository that is not its own: only a repository that tracks this file counts.
    """
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        _git("ls-files", "--error-unmatch", Path(__file__).name)
        return _git("describe", "--always", "--dirty", "--abbrev=12", "--exclude=*").strip()
    return ""


def identity(path: str | os.PathLike) -> str:
    """Return what tells a file from another one of the same name: the SHA-256 of small files, size and time of change of large ones.

    Snakemake asks whether an input is newer than the results. A file that was changed by a clock that had been set back, or replaced by an
    older one, is not. Empty if there is no such file.
    """
    try:
        about = os.stat(path)
        if about.st_size > _HASHED:
            return f"{about.st_size} bytes, changed {about.st_mtime_ns}"
        with open(path, "rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError:
        return ""


def _git(*arguments: str) -> str:
    # Git refuses to read a checkout of another user, since its config could run programs; here it is asked for names only.
    allowed = ["-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    return subprocess.run(["git", *allowed, *arguments], cwd=Path(__file__).parent, check=True, capture_output=True, text=True).stdout
