"""Checksums of files.

Apart from `files`, because the Snakefile imports that, and Snakemake's own environment need not have google-crc32c.
"""

import hashlib
import os
from typing import Any

import google_crc32c

from gpraflow.core.files import BLOCK


def digests(path: str | os.PathLike) -> dict[str, Any]:
    """Return ``bytes``, ``sha256`` and ``crc32c`` (both hexadecimal) of a file, read once."""
    sha256, crc32c, size = hashlib.sha256(), google_crc32c.Checksum(), 0
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            sha256.update(block)
            crc32c.update(block)
            size += len(block)
    return {"bytes": size, "sha256": sha256.hexdigest(), "crc32c": crc32c.hexdigest().decode()}


def crc32c_of(path: str | os.PathLike) -> str:
    """Return the CRC32C of a file in hexadecimal."""
    checksum = google_crc32c.Checksum()
    with open(path, "rb") as handle:
        while block := handle.read(BLOCK):
            checksum.update(block)
    return checksum.hexdigest().decode()


def crc32c(content: bytes) -> str:
    """Return the CRC32C of ``content`` in hexadecimal."""
    return google_crc32c.Checksum(content).hexdigest().decode()
