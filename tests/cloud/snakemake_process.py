"""Snakemake as a process of its own without its start: Google's Compute library alone takes 8 s of a processor to import.

A server imports all that once, and every process is forked from it. Nothing of Snakemake is replaced; arguments, folder, environment and
output are as for a command.
"""

import multiprocessing
import os
import sys
from multiprocessing import forkserver
from pathlib import Path

import pytest

PRELOADED = [
    "snakemake.cli",
    "snakemake.api",
    "snakemake.workflow",
    "google.cloud.compute_v1",
    "google.cloud.tpu_v2",
    "google.cloud.storage",
    "snakemake_executor_plugin_cloud_tpu",
]


def _run(arguments: list[str], folder: Path, environment: dict[str, str], output: Path) -> None:
    os.setsid()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    with open(output, "wb", buffering=0) as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    sys.argv = ["snakemake", *arguments]
    from snakemake import cli

    cli.main()  # ends with sys.exit


def start(arguments: list[str], folder: Path, environment: dict[str, str], output: Path) -> multiprocessing.Process:
    """Return the started process; its ``exitcode`` is Snakemake's."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:  # the server does not take over sys.path before it imports
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        forkserver.ensure_running()
    process = context.Process(target=_run, args=(arguments, folder, environment, output))
    process.start()
    return process
