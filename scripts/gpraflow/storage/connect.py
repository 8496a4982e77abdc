"""Opening of a bucket by URL."""

from gpraflow.core.urls import check_bucket
from gpraflow.storage.base import Bucket
from gpraflow.storage.local import FileBucket


def connect(url: str) -> Bucket:
    """Return the bucket of a URL: ``file://`` and a path (absolute, or relative to the working directory), or ``gs://bucket/folder``.

    Raises
    ------
    ConfigError
        If the URL has another form, or holds a key.
    GpraflowError
        If no credentials are available.
    """
    check_bucket(url, "bucket.url")
    if url.startswith("file://"):
        return FileBucket(url)
    from gpraflow.storage.google import GoogleBucket  # slow import (about 1 s), needed for gs:// only

    return GoogleBucket(url)
