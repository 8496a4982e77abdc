"""Opening of a bucket by URL."""

from gpraflow.core.errors import ConfigError
from gpraflow.storage.base import Bucket
from gpraflow.storage.local import FileBucket


def connect(url: str) -> Bucket:
    """Return the bucket of a URL: ``file://`` and a path (absolute, or relative to the working directory), or ``gs://bucket/folder``.

    Raises
    ------
    ConfigError
        If the URL has another form.
    GpraflowError
        If no credentials are available.
    """
    if url.startswith("file://") and len(url) > len("file://"):
        return FileBucket(url)
    if url.startswith("gs://"):
        from gpraflow.storage.google import GoogleBucket  # slow import (about 1 s), needed for gs:// only

        return GoogleBucket(url)
    raise ConfigError(
        f"bucket.url: '{url}' must start with file:// (a folder, absolute or relative to the working directory) or gs:// (Google's storage)"
    )
