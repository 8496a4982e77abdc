"""What the executor needs of Snakemake beyond its interface for executors.

`snakemake_interface_executor_plugins` has no way to learn, before anything is submitted, which jobs will run, or to keep rules on this
machine. These are attributes of Snakemake itself. Everything of that kind is here, and tests/cloud/test_executor.py fails with the name
of what has moved.
"""

from collections.abc import Iterable
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError


class MovedError(WorkflowError):
    """An attribute of Snakemake that this version has no longer."""

    def __init__(self, name: str):
        super().__init__(f"cloud-tpu: this version of Snakemake has no {name}; use the version in requirements/gpraflow.lock")


def keep_local(workflow: Any, resource: str) -> None:
    """Run all rules without ``resource`` on this machine."""
    try:
        names = [rule.name for rule in workflow.rules if resource not in rule.resources]
        workflow.localrules(*names)
    except AttributeError as error:
        raise MovedError(f"workflow.{error.name}") from error


def remote_jobs(workflow: Any) -> Iterable[Any]:
    """Return the jobs that will run on other machines."""
    try:
        return [job for job in workflow.dag.needrun_jobs() if not job.is_local]
    except AttributeError as error:
        raise MovedError(f"workflow.dag.{error.name}") from error


def immediate_submit(workflow: Any) -> bool:
    """Return whether Snakemake submits all jobs at once (``--immediate-submit``)."""
    try:
        return bool(workflow.remote_execution_settings.immediate_submit)
    except AttributeError as error:
        raise MovedError(f"workflow.{error.name}") from error
