"""What a user is told: one message, no traceback."""

import difflib
from collections.abc import Iterable


class GpraflowError(Exception):
    """A problem that the user can mend; the message says where, what was found and what to do."""


class InputError(GpraflowError):
    """A table, sheet, shard or model that cannot be used as it is."""


class ConfigError(GpraflowError):
    """A key or value of the config that cannot be used."""


class TrainingError(GpraflowError):
    """Training that cannot go on."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name nearest to ``name``, or an empty string if none is near."""
    known = list(known)
    folded = {k.lower(): k for k in known}
    match = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return f"; did you mean '{folded[match[0]]}'?" if match else ""
