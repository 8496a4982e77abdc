"""Buckets of Google Cloud Storage, ``gs://``; imported only if needed.

Transfers, retries and sessions are handled by Google's library. This module adds three things: every write names the version of the object
that it may replace, checksums of objects of any size are compared on both sides, and error messages say what to do.
"""

import base64
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from google.api_core import exceptions as answers
from google.auth import exceptions as access
from google.cloud.storage import Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from gpraflow.core import checksums
from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.core.urls import reason_of, redacted, shown_url
from gpraflow.storage.base import Entry, conflict

CHUNK = 32 << 20  # bytes per chunk of a resumable upload; a broken connection loses at most one chunk
ATTEMPTS = 3  # transfers of an object that arrives damaged
RETRY = DEFAULT_RETRY.with_timeout(600)  # seconds until requests to an unavailable server fail; delays double up to a minute
TIMEOUT = 60  # seconds without a byte before a connection counts as broken
PAYER = "GOOGLE_CLOUD_QUOTA_PROJECT"  # environment variable, as in Google's libraries

_DAMAGED = "damaged in transfer"
_NAME = r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]"


class GoogleBucket:
    """A bucket of Google Cloud Storage, or a folder in one, accessed with the application default credentials."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        match = re.fullmatch(rf"gs://({_NAME})(?:/(.+))?", self.url)
        if not match:
            raise ConfigError(f"bucket.url: '{shown_url(url)}' is not a Google bucket URL; expected gs://name or gs://name/folder")
        self._prefix = f"{match[2]}/" if match[2] else ""
        self._where = f"gs://{match[1]}"
        with _with_advice(self._where):
            client = Client(project=None)  # access to an existing bucket needs no project
            self._bucket = client.bucket(match[1], user_project=os.environ.get(PAYER) or None)

    def find(self, name: str) -> Entry | None:
        """See `storage.Bucket`."""
        with _with_advice(self._where):
            blob = self._bucket.get_blob(self._prefix + name, retry=_patient, timeout=TIMEOUT)
        return Entry(blob.size, _hexadecimal(blob.crc32c), blob.generation) if blob is not None else None

    def get(self, name: str) -> bytes:
        """See `storage.Bucket`."""
        with _with_advice(self._where):
            for _ in range(ATTEMPTS):
                blob = self._bucket.blob(self._prefix + name)
                content = None
                try:
                    content = blob.download_as_bytes(checksum="crc32c", retry=_patient, timeout=TIMEOUT)
                except answers.NotFound:
                    self.names(name)  # raises if the bucket does not exist
                    raise InputError(f"{self.url}/{name}: not in the bucket; upload again (snakemake --forcerun upload_shards)") from None
                except DataCorruption:
                    pass
                # The library does not check the checksum of downloads resumed after a broken connection.
                if content is not None and checksums.crc32c(content) == _hexadecimal(blob.crc32c):
                    return content
                print(f"{self.url}/{name}: {_DAMAGED}; retrying", flush=True)
        raise _attempts_failed(f"{self.url}/{name}", _DAMAGED)

    def put(self, name: str, path: Path, crc32c: str, seen: Entry | None) -> None:
        """See `storage.Bucket`."""
        generation = seen.version if seen else 0
        with _with_advice(self._where):
            for _ in range(ATTEMPTS):
                blob, why = self._bucket.blob(self._prefix + name, chunk_size=CHUNK), _DAMAGED
                try:
                    blob.upload_from_filename(
                        path,
                        content_type="application/octet-stream",
                        if_generation_match=generation,
                        checksum="crc32c",
                        retry=_patient,
                        timeout=TIMEOUT,
                    )
                    if (arrived := _hexadecimal(blob.crc32c)) == crc32c:
                        return
                    self.delete(name, Entry(blob.size, arrived, blob.generation))
                    generation = 0
                except answers.PreconditionFailed:
                    current = self.find(name)  # our own upload if only the response was lost
                    if current is None or current.crc32c != crc32c:
                        raise conflict(f"{self.url}/{name}") from None
                    return
                except DataCorruption:
                    generation = 0  # the library has deleted the damaged object
                except answers.GoogleAPICallError as error:
                    if error.code in (404, 410):
                        self.names(name)  # raises if the bucket does not exist
                        why = "the server lost the data received so far"
                    elif "crc32c" not in _reason(error).lower():
                        raise
                print(f"{self.url}/{name}: {why}; retrying", flush=True)
        raise _attempts_failed(f"{self.url}/{name}", why)

    def delete(self, name: str, seen: Entry) -> None:
        """See `storage.Bucket`."""
        with _with_advice(self._where):
            try:
                self._bucket.blob(self._prefix + name).delete(if_generation_match=seen.version, retry=_patient, timeout=TIMEOUT)
            except answers.NotFound:
                pass
            except answers.PreconditionFailed:
                raise conflict(f"{self.url}/{name}") from None

    def path(self, name: str) -> Path | None:
        """See `storage.Bucket`."""
        return None

    def names(self, prefix: str) -> list[str]:
        """See `storage.Bucket`."""
        with _with_advice(self._where):
            blobs = self._bucket.list_blobs(
                prefix=self._prefix + prefix, fields="items(name),nextPageToken", retry=_patient, timeout=TIMEOUT
            )
            return sorted(blob.name.removeprefix(self._prefix) for blob in blobs)

    def location(self) -> str | None:
        """See `storage.Bucket`."""
        with _with_advice(self._where):
            self._bucket.reload(retry=_patient, timeout=TIMEOUT)
        return self._bucket.location


def _hexadecimal(checksum: str | None) -> str:
    """Convert Google's base64 checksum (big-endian) to hexadecimal, as used by `files`."""
    return base64.b64decode(checksum or "").hex()


def _attempts_failed(url: str, why: str) -> GpraflowError:
    return GpraflowError(f"{url}: {why} {ATTEMPTS} times; run the same command again, from another network if that does not help")


def _patient(act: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a request so that it is retried, with a message, while the server is busy (429, 5xx) or connections break."""
    return RETRY(act, on_error=lambda error: print(f"Google Cloud Storage: {_reason(error)}; retrying", flush=True))


@contextmanager
def _with_advice(where: str) -> Iterator[None]:
    """Convert errors of Google's libraries to messages that say what to do."""
    try:
        yield
    except access.DefaultCredentialsError as error:
        raise GpraflowError(
            f"{where}: no Google credentials were found; run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account (docs/cloud.md)"
        ) from error
    except (access.RefreshError, answers.Unauthorized) as error:
        raise GpraflowError(
            f"{where}: the Google credentials have expired or are no longer valid ({_reason(error)}); run "
            "`gcloud auth application-default login` again, or create a new key for the service account"
        ) from error
    except answers.Forbidden as error:
        raise GpraflowError(
            f"{where}: this account lacks permission ({_reason(error)}); grant it the roles of docs/cloud.md on the bucket "
            "(roles/storage.objectUser, and roles/storage.legacyBucketReader for bucket.location)"
        ) from error
    except answers.NotFound as error:
        raise GpraflowError(f"{where}: this bucket does not exist; create it (docs/cloud.md) or correct bucket.url") from error
    except answers.BadRequest as error:
        if "requester pays" not in _reason(error).lower():
            raise _refused(where, error) from error
        raise GpraflowError(
            f"{where}: reads from this bucket are billed to the reader (requester pays); set the environment variable {PAYER} to "
            "the project that pays"
        ) from error
    except (answers.RetryError, requests.RequestException, access.TransportError) as error:
        reason = _reason(getattr(error, "cause", None) or error)
        raise GpraflowError(
            f"{where}: Google Cloud Storage was still busy or unreachable after repeated attempts ({reason}); objects in the bucket are "
            "kept, run the same command again later"
        ) from error
    except answers.GoogleAPICallError as error:
        raise _refused(where, error) from error


def _refused(where: str, error: answers.GoogleAPICallError) -> GpraflowError:
    return GpraflowError(
        f"{where}: Google Cloud Storage rejected the request ({_reason(error)}); fix the cause and run the same command again"
    )


def _reason(error: BaseException) -> str:
    """Return the server's status and message, or the connection error."""
    if isinstance(error, access.GoogleAuthError) and error.args and isinstance(error.args[0], str):
        return redacted(error.args[0])
    response: Any = getattr(error, "response", None)
    try:
        return redacted(f"{response.status_code} {response.json()['error']['message']}")
    except (AttributeError, ValueError, KeyError, TypeError):  # no response, or an unusual one
        pass
    if response is not None:
        return f"{response.status_code} {response.reason}"
    return reason_of(error) or type(error).__name__
