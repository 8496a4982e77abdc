"""Errors that are shown to users as one message without a traceback."""

import difflib
import errno
import os
import re
from collections.abc import Iterable

REFUSED = 2  # exit code for input or options that cannot be used
INTERRUPTED = 130  # exit code after Ctrl-C
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # they can change a terminal, or hide what a message says
_ENDLESS = re.compile(r"\S{400,}")


def visible(text: str) -> str:
    """Return text of files as a terminal may show it: control characters are shown as their codes."""
    return _UNPRINTABLE.sub(lambda found: f"\\x{ord(found[0]):02x}", text)


class GpraflowError(Exception):
    """A problem that the user can solve; the message names the place, what was found, what was expected and what to do.

    Control characters from files are shown as their codes, and words of hundreds of letters are shortened.
    """

    def __init__(self, message: str = ""):
        super().__init__(_ENDLESS.sub(lambda found: f"{found[0][:100]}... ({len(found[0]):,} characters)", visible(str(message))))


class InputError(GpraflowError):
    """An invalid table, sheet, shard or model."""


class ConfigError(GpraflowError):
    """An invalid key or value of the config."""


class ConflictError(GpraflowError):
    """An object in a bucket that another process changed in the meantime."""


class TrainingError(GpraflowError):
    """Training that cannot continue."""


_NO_MEMORY = re.compile(  # a thread that cannot be started lacks memory for its stack
    r"memory allocation|out of memory|allocate memory|unable to allocate|failed to allocate|failed to map segment|RESOURCE_EXHAUSTED"
    r"|bad_alloc|start new thread|spawn threads?\b|pthread_create(?:\(\))? failed|thread constructor failed"
    r"|Resource temporarily unavailable|allocation error",
    re.IGNORECASE,
)


def no_memory(text: str) -> bool:
    """Return True if a message of a library says that memory was refused."""
    return bool(_NO_MEMORY.search(text))


def is_no_memory(error: BaseException) -> bool:
    """Return True if memory was refused: Polars, NumPy and JAX raise errors of their own for that, also panics."""
    return isinstance(error, MemoryError) or (not isinstance(error, (OSError, GpraflowError)) and no_memory(str(error)))


def explained(error: BaseException) -> str:
    """Return the message of an error that the user can solve; empty for any other, which is a fault of gpraflow.

    Beside `GpraflowError`, these are files that cannot be read or written, and memory that is used up or limited (`is_no_memory`).
    """
    if isinstance(error, GpraflowError):
        return str(error)
    if is_no_memory(error):
        return str(
            GpraflowError(
                f"not enough memory ({type(error).__name__}: {str(error)[:200] or 'no details'}); close other programs, raise the limit "
                "(ulimit -v, the batch system's memory), use fewer threads or a machine with more memory"
            )
        )
    if isinstance(error, OSError) and isinstance(error.filename, (str, bytes, os.PathLike)):
        return str(
            GpraflowError(f"{os.fsdecode(error.filename)}: could not be used ({error.strerror}); check the path and its permissions")
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EMFILE, errno.EIO):
        return str(GpraflowError(f"{error.strerror}; free space, memory or files, then run again"))
    return ""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name nearest to ``name``, or an empty string if none is near."""
    known = list(known)
    folded = {k.lower(): k for k in known}
    match = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return f"; did you mean '{folded[match[0]]}'?" if match else ""


def and_more(count: int) -> str:
    """Return a remark on the number of affected rows in the same block, or an empty string if there is only one."""
    return f" ({count} such rows near here)" if count > 1 else ""
