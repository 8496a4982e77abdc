"""Errors that are shown to users as one message without a traceback."""

import difflib
import re
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit


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
    """Return a remark on the number of affected rows in the same block, or an empty string if there is only one."""
    return f" ({count} such rows near here)" if count > 1 else ""
