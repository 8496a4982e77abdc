"""From shards in a bucket to arrays and batches."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from gpraflow import files, shards, storage
from gpraflow.errors import InputError


@dataclass(frozen=True)
class Promoters:
    """One split in memory: ``(rows, length)`` uint8 tokens, ``(rows,)`` float32 expression, and the manifest that they came with."""

    tokens: np.ndarray
    expression: np.ndarray
    manifest: dict[str, Any]


def load(receipt: dict[str, Any], split: str) -> Promoters:
    """Read all shards of a split from the bucket of an upload receipt, every checksum compared.

    Raises
    ------
    InputError
        If the split was not uploaded, or a manifest or shard is missing, changed, cut or from another run; the message names it.
    """
    if split not in receipt["splits"]:
        raise InputError(f"split '{split}' was not uploaded to {receipt['bucket']} (there are {', '.join(receipt['splits'])})")
    bucket, entry = storage.connect(receipt["bucket"]), receipt["splits"][split]
    content = bucket.get(entry["manifest"])
    where = f"{receipt['bucket']}/{entry['manifest']}"
    if files.crc32c(content) != entry["crc32c"]:
        raise InputError(f"{where}: not the manifest that was uploaded; upload again (snakemake --forcerun upload_shards)")
    manifest = shards.parse_manifest(content, where)
    parts = list(shards.iterate(manifest, lambda name: bucket.get(f"{split}/{name}"), f"{receipt['bucket']}/{split}"))
    return Promoters(
        np.concatenate([part[shards.SEQUENCE] for part in parts]),
        np.concatenate([part[shards.EXPRESSION][:, 0] for part in parts]),
        manifest,
    )
