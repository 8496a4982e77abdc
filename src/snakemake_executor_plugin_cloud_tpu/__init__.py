"""Snakemake executor ``cloud-tpu``: jobs with a resource ``tpu_type`` run on a TPU VM that is made for each of them, all others here.

A job travels as an archive (its inputs, scripts, config) through a bucket; the VM needs neither ssh nor a shared file system. It runs the
job from its startup-script, sends the log piece by piece, and brings outputs and logs back by the bucket. ``tpu_type`` is a machine type of
Compute Engine (``ct6e-standard-8t``) or an accelerator type of the Cloud TPU API (``v5litepod-8``).

A VM is deleted when its job ends, fails or is cancelled, or this process ends by itself; and by Google after its runtime, on Compute
Engine. ``python -m snakemake_executor_plugin_cloud_tpu`` lists those that are there, and deletes them.
"""

from snakemake_interface_executor_plugins.settings import CommonSettings

from snakemake_executor_plugin_cloud_tpu.executor import Executor
from snakemake_executor_plugin_cloud_tpu.settings import ExecutorSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    can_transfer_local_files=True,  # so that files stay where they are, and no storage provider is needed
    job_deploy_sources=False,
    pass_default_storage_provider_args=False,
    pass_default_resources_args=True,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)
