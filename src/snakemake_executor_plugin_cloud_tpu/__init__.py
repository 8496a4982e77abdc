"""Snakemake executor ``cloud-tpu``: each job with the resource ``tpu_type`` runs on its own TPU VM, all other jobs run locally.

A job is transferred through a bucket as an archive of its inputs, scripts and config; neither ssh nor a shared file system is needed. The
VM runs the job from its startup script, streams the log to the bucket, and uploads outputs and logs. ``tpu_type`` is a machine type of
Compute Engine (``ct6e-standard-8t``) or an accelerator type of the Cloud TPU API (``v5litepod-8``).

A VM is deleted when its job ends, fails or is cancelled, or when this process exits. On Compute Engine, Google also deletes it after its
maximum run time. ``python -m snakemake_executor_plugin_cloud_tpu`` lists and deletes remaining VMs.
"""

from snakemake_interface_executor_plugins.settings import CommonSettings

from snakemake_executor_plugin_cloud_tpu.executor import Executor
from snakemake_executor_plugin_cloud_tpu.settings import ExecutorSettings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=True,
    can_transfer_local_files=True,  # keeps local paths; no storage provider is needed
    job_deploy_sources=False,
    pass_default_storage_provider_args=False,
    pass_default_resources_args=True,
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)
