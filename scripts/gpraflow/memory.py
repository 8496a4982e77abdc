"""Large pages of memory for processes that use a model.

JAX asks for its arrays anew at each step and gives them back afterwards, and Linux zeroes each page again, 4 kB at a time. glibc (2.35 and
later) asks for pages of 2 MB where its environment variable says so at the start of a process: docs/experiments.md has what that gains.
Without glibc, or where the administrator has turned large pages off, nothing changes.
"""

import os
import sys
from collections.abc import MutableMapping

_VARIABLE, _NAME = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"


def ask_for_large_pages(environment: MutableMapping[str, str]) -> bool:
    """Let processes that start with this environment use large pages; return whether it was changed: what a user set stays."""
    before = environment.get(_VARIABLE, "")
    if _NAME in before:
        return False
    environment[_VARIABLE] = ":".join([*filter(None, [before]), f"{_NAME}=1"])
    return True


def start_with_large_pages() -> None:
    """Start this program once more, with the same arguments, unless it has large pages: to be called before anything else is done."""
    if sys.platform == "linux" and ask_for_large_pages(os.environ):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
