"""Commands for buckets of shards: ``python -m gpraflow.bucket verify|delete URL``."""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from gpraflow import storage
from gpraflow.errors import GpraflowError


def bucket_commands(subparsers: Any) -> None:
    """Add ``bucket verify`` and ``bucket delete`` to a command; their default ``run`` is to be called with the arguments given."""
    parser = subparsers.add_parser("bucket", help="look after a bucket of shards")
    _add(parser)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, or 1 with a message if it cannot be done."""
    parser = argparse.ArgumentParser(prog="gpraflow.bucket", description="Look after a bucket of shards.")
    _add(parser)
    given = parser.parse_args(arguments)
    try:
        given.run(given)
    except GpraflowError as error:
        print(f"gpraflow: {error}", file=sys.stderr)
        return 1
    return 0


def _add(parser: argparse.ArgumentParser) -> None:
    commands = parser.add_subparsers(required=True, metavar="verify|delete")
    verify = commands.add_parser("verify", help="compare a bucket with the manifests in it, by sizes and checksums")
    verify.set_defaults(run=lambda given: storage.verify(given.url))
    delete = commands.add_parser("delete", help="remove shards and manifests from a bucket, and nothing else in it")
    delete.add_argument("--yes", action="store_true", help="really; without it, only say what would be removed")
    delete.set_defaults(run=lambda given: storage.delete(given.url, really=given.yes))
    for command in (verify, delete):
        command.add_argument("url", help="bucket.url of the config: file://folder or gs://bucket/folder")


if __name__ == "__main__":
    sys.exit(main())
