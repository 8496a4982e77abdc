"""Names that become parts of paths: those of runs, data sets, bins, shards and downloaded files."""

import re
from typing import Any

from gpraflow.core.errors import GpraflowError, InputError

LONGEST = 100  # characters; with the name of a rule, a suffix and the prefix of a temporary file, file systems allow 255 bytes
_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def fault(name: Any) -> str:
    """Return what keeps a name from being part of a path; empty if nothing does."""
    if not isinstance(name, str):
        return f"{name!r} is not text"
    if not _PATTERN.fullmatch(name):
        return (
            f"{name[:LONGEST]!r} cannot be part of a file name; use letters (A to Z), digits, '_', '.' and '-', beginning with a letter or "
            "digit"
        )
    return f"'{name[:20]}...' has {len(name)} characters, at most {LONGEST} are possible; shorten it" if len(name) > LONGEST else ""


def check(name: Any, where: str, error: type[GpraflowError] = InputError) -> str:
    """Return ``name`` if it can be part of a path.

    Parameters
    ----------
    name
        Name from a config, sheet, manifest, receipt or registry.
    where
        File and key that hold the name, for the message.
    error
        Class of the error.

    Raises
    ------
    GpraflowError
        If the name has other characters than letters, digits, ``_``, ``.`` and ``-``, begins with one of these three, or is too long.
    """
    if problem := fault(name):
        raise error(f"{where}: {problem}")
    return name
