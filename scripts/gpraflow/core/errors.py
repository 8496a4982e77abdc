"""Errors that are shown to users as one message without a traceback."""

import difflib
from collections.abc import Iterable


class GpraflowError(Exception):
    """A problem that the user can solve; the message names the place, what was found, what was expected and what to do."""


class InputError(GpraflowError):
    """An invalid table, sheet, shard or model."""


class ConfigError(GpraflowError):
    """An invalid key or value of the config."""


class ConflictError(GpraflowError):
    """An object in a bucket that another process changed in the meantime."""


class TrainingError(GpraflowError):
    """Training that cannot continue."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name nearest to ``name``, or an empty string if none is near."""
    known = list(known)
    folded = {k.lower(): k for k in known}
    match = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return f"; did you mean '{folded[match[0]]}'?" if match else ""


def and_more(count: int) -> str:
    """Return a remark on the number of affected rows in the same block, or an empty string if there is only one."""
    return f" ({count} such rows near here)" if count > 1 else ""
