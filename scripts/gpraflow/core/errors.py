"""What a user is told: one message, no traceback."""

import difflib
import re
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit


class GpraflowError(Exception):
    """A problem that the user can mend; the message says where, what was found and what to do."""


class InputError(GpraflowError):
    """A table, sheet, shard or model that cannot be used as it is."""


class ConfigError(GpraflowError):
    """A key or value of the config that cannot be used."""


class ConflictError(GpraflowError):
    """An object in a bucket that is no longer as it was seen."""


class TrainingError(GpraflowError):
    """Training that cannot go on."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name nearest to ``name``, or an empty string if none is near."""
    known = list(known)
    folded = {k.lower(): k for k in known}
    match = difflib.get_close_matches(name.lower(), folded, n=1, cutoff=0.5)
    return f"; did you mean '{folded[match[0]]}'?" if match else ""


def shown_url(url: str) -> str:
    """Return a URL without password and query, which may hold secrets."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def reason_of(error: BaseException) -> str:
    """Return the innermost message of an error of requests, urllib3 or Google's libraries, without secrets."""
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) and isinstance(inner, BaseException):
        error = inner
    text = str(error.args[-1] if len(error.args) > 1 and isinstance(error.args[-1], BaseException) else error)
    return re.sub(r"https?://\S+", lambda match: shown_url(match[0]), text)


def and_more(count: int) -> str:
    return f" ({count} such rows near here)" if count > 1 else ""
