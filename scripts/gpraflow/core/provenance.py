"""Provenance of results: package versions and the commit of the code."""

import contextlib
import platform
import subprocess
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


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


def _git(*arguments: str) -> str:
    # Git refuses to read a checkout of another user, since its config could run programs; here it is asked for names only.
    allowed = ["-c", "safe.directory=*", "-c", "core.fsmonitor=false"]
    return subprocess.run(["git", *allowed, *arguments], cwd=Path(__file__).parent, check=True, capture_output=True, text=True).stdout
