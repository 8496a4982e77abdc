"""Attributes of Snakemake that the executor uses beyond the executor interface.

`snakemake_interface_executor_plugins` does not provide the list of jobs before submission, or a method to run rules locally. Both are
attributes of Snakemake itself. All such accesses are in this module; if an attribute is missing, tests/cloud/test_executor.py fails with
its name.
"""

from collections.abc import Iterable
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError


class MovedError(WorkflowError):
    """An attribute that the installed Snakemake version does not have."""

    def __init__(self, name: str):
        super().__init__(f"cloud-tpu: this version of Snakemake has no {name}; use the version in requirements/gpraflow.lock")


def keep_local(workflow: Any, resource: str) -> None:
    """Run all rules without the resource ``resource`` locally."""
    try:
        names = [rule.name for rule in workflow.rules if resource not in rule.resources]
        workflow.localrules(*names)
    except AttributeError as error:
        raise MovedError(f"workflow.{error.name}") from error


def remote_jobs(workflow: Any) -> Iterable[Any]:
    """Return the jobs that will run remotely."""
    try:
        return [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    except AttributeError as error:
        raise MovedError(f"workflow.dag.{error.name}") from error


def is_directory(output: Any) -> bool:
    """Return whether an output of a job is declared as ``directory()``."""
    try:
        return bool(output.is_directory)
    except AttributeError as error:
        raise MovedError(f"job.output.{error.name}") from error


def immediate_submit(workflow: Any) -> bool:
    """Return whether Snakemake submits all jobs at once (``--immediate-submit``)."""
    try:
        return bool(workflow.remote_execution_settings.immediate_submit)
    except AttributeError as error:
        raise MovedError(f"workflow.{error.name}") from error
