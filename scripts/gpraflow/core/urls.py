"""URLs that may hold keys: passwords, tokens and signatures are used, but never written to logs, reports or records of Snakemake."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from gpraflow.core.errors import ConfigError

_URL = re.compile(r"\b(?!file:)[A-Za-z][A-Za-z0-9+.-]*://[^\s'\"<>]+")
_PATH = re.compile(r"((?:^|[\s'\"])/[^\s?'\"]*)\?[^\s=]*=[^\s)]*")  # as in messages of urllib3
_TOKEN = re.compile(
    r"(?i)\b(bearer (?=[\w.~+/-]{16})|(?:access|refresh|id)_token['\"]?[=:] ?['\"]?|(?:token|signature|password|upload_id)=)[^\s'\"&,)}]+"
)
_HIDDEN = "[hidden]"


def shown_url(url: str) -> str:
    """Return a URL without user, password, query and fragment, which may hold secrets."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return f"{url.partition('://')[0]}://{_HIDDEN}"
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def redacted(text: str) -> str:
    """Return text without the secrets of URLs in it, and without tokens. Names of local folders (``file://``) are kept as they are."""
    text = _URL.sub(lambda match: shown_url(match[0]), text)
    return _TOKEN.sub(rf"\1{_HIDDEN}", _PATH.sub(r"\1", text))


def reason_of(error: BaseException) -> str:
    """Return the innermost message of an error of requests, urllib3 or Google's libraries, without secrets."""
    while (inner := getattr(error, "reason", None) or (error.args[0] if error.args else None)) and isinstance(inner, BaseException):
        error = inner
    return redacted(str(error.args[-1] if len(error.args) > 1 and isinstance(error.args[-1], BaseException) else error))


def without_secrets(value: Any) -> Any:
    """Return a part of a config with the secrets in its texts removed."""
    if isinstance(value, Mapping):
        return {key: without_secrets(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_secrets(inner) for inner in value]
    return redacted(value) if isinstance(value, str) else value


class SecretUrl(str):
    """A URL with the secrets that a job needs, whose ``repr`` has none: Snakemake records the parameters of jobs as their ``repr``."""

    def __repr__(self) -> str:
        """Return the quoted URL without its secrets."""
        return repr(shown_url(str(self)))


def check_bucket(url: str, key: str) -> None:
    """Check that a bucket's URL has a supported scheme and holds no key, since it is written to receipts and logs.

    Raises
    ------
    ConfigError
        If not; the message does not repeat the key.
    """
    if not url.startswith(("file://", "gs://")) or url == "file://":
        raise ConfigError(
            f"{key}: '{redacted(url)}' must start with file:// (a folder, absolute or relative to the working directory) or gs:// "
            "(Google's storage)"
        )
    if url.startswith("gs://") and (wrong := next((sign for sign in "@?#" if sign in url), "")):
        raise ConfigError(
            f"{key}: '{shown_url(url)}' was given with '{wrong}...'; a key or signature does not belong in this URL, which is written to "
            "logs: remove it, and log in instead (gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS; docs/cloud.md)"
        )
