"""The executor: creates, monitors and deletes one VM per job."""

import asyncio
import atexit
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import tarfile
import threading
import time
import uuid
import zlib
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from snakemake_executor_plugin_cloud_tpu import control, internals
from snakemake_executor_plugin_cloud_tpu.control import Machine

TPU = "tpu_type"  # resource that requests a TPU VM for a job
MISSING = "tpu_missing"  # resource with a config key that the workflow lacks for a TPU VM, "a.b: example"; empty if nothing
FOLDER = "_tpu"  # folder in the bucket
VM_PROGRAM = Path(__file__).with_name("vm.py")
DELETE_ATTEMPTS = 6
COMMAND = ".cloud-tpu/job.sh"  # script in a job's archive
LONGEST_WAIT = 600  # maximum seconds between rounds of requests to all zones
LEFT_OUT = re.compile(r"(^|/)(\.git|\.snakemake|__pycache__|\.venv[^/]*)(/|$)")


@dataclass
class _Task:
    """State of a submitted job."""

    info: SubmittedJobInfo
    name: str  # external job ID in Snakemake, the name of the first VM
    kind: str  # TPU type
    seconds: int  # maximum run time of the job
    number: int = 0  # number of previous VMs, including earlier runs
    restarts: int = 0  # VMs preempted in this run
    machine: Machine | None = None  # current VM
    created: float = 0.0  # time of creation
    ready: bool = False  # input files are in the bucket
    zone: int = 0  # index of the next zone to request
    rounds: int = 0  # rounds in which no zone had capacity
    wait: float = 0.0  # time of the next request
    last_status: str = ""  # as last shown
    pieces: int = 0  # number of log objects shown
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def job(self) -> JobExecutorInterface:
        return self.info.job


class _Failure(Exception):
    """The job has failed or cannot run."""


class Executor(RemoteExecutor):
    """Executor ``cloud-tpu``; see the package docstring."""

    def __post_init__(self) -> None:
        """Validate settings, prices and jobs before anything is created or computed."""
        self.settings = self.workflow.executor_settings
        internals.keep_local(self.workflow, TPU)
        jobs = list(internals.remote_jobs(self.workflow))
        self.settings.check(*dict.fromkeys(str(job.resources.get(MISSING) or "") for job in jobs))
        self.live: dict[str, _Task] = {}  # `active_jobs` of the base class is empty during a poll
        self.planes: dict[bool, control.ControlPlane] = {}
        self.spent = 0.0  # US dollars for deleted VMs
        self.cancelled = False
        for job in jobs:
            self._afford(self._kind(job), self._seconds(job), job.name)
        bucket, folder = self.settings.place()
        self.folder = f"{folder}/{FOLDER}".lstrip("/")
        self.bucket = _storage_bucket(self.settings.project, bucket)
        atexit.register(self._delete_all)

    # Interface of Snakemake executors

    @property
    def cores(self) -> str:
        """Number of cores on the VM: a job uses all."""
        return "all"

    def additional_general_args(self) -> str:
        """Return arguments that suppress the host name in Snakemake's output on the VM."""
        return "--quiet host"

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit a job. Its name is reported to Snakemake before the VM is created, so that the VM can always be identified."""
        known = self.dag.incomplete_external_jobid(job)
        name = known or f"smk-{re.sub('[^a-z0-9-]', '-', job.name.lower())[:36]}-{uuid.uuid4().hex[:10]}"
        if job.is_group():
            raise WorkflowError(f"cloud-tpu does not support group jobs; remove the group of rule {job.name}")
        for path in map(Path, job.output):  # incomplete outputs of an earlier run would prevent Snakemake from resuming the job
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        info = SubmittedJobInfo(job, external_jobid=name)
        self.live[name] = _Task(info, name, self._kind(job), self._seconds(job))
        self.report_job_submission(info)

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncIterator[SubmittedJobInfo]:
        """Poll all jobs; yield those still running."""
        for info in active_jobs:
            task = self.live.get(info.external_jobid or "")
            if task is None or self.cancelled:
                continue
            async with self.status_rate_limiter:
                ended, problem = await asyncio.to_thread(self._poll, task)
            if not ended:
                yield info
                continue
            self.live.pop(task.name, None)
            if problem is None:
                self.report_job_success(info)
            else:
                self.report_job_error(info, msg=f"{problem} ")

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """Delete all VMs, including those that are being created or polled."""
        self._delete_all()

    def shutdown(self) -> None:
        """Shut down; delete VMs that remain after an error in Snakemake."""
        if not internals.immediate_submit(self.workflow):
            self._delete_all()
        super().shutdown()

    # One job

    def _poll(self, task: _Task) -> tuple[bool, str | None]:
        """Advance a job by one step; return whether it has ended, and the error message or None."""
        with task.lock:
            if self.cancelled:
                return False, None
            try:
                if not task.ready:
                    self._prepare(task)
                if task.machine is None:
                    if time.time() >= task.wait:
                        self._create(task)
                    return False, None
                return self._look(task)
            except (_Failure, WorkflowError) as problem:
                self._delete(task)
                return True, str(problem)
            except Exception as error:  # noqa: BLE001 (no error may leave a VM running)
                if _passes(error):
                    self.logger.warning(f"{task.name}: {_message_of(error)}; retrying")
                    return False, None
                self._delete(task)
                return True, f"{type(error).__name__}: {_message_of(error)}"

    def _prepare(self, task: _Task) -> None:
        """Upload the job's files, or reconnect to its VM if an earlier run created one."""
        archive, digest = self._archive(task)
        known = {name.removeprefix("vms/"): name for name in self._names(task, "vms/")}
        numbers = {number: vm for vm in known if (number := _number(task.name, vm)) >= 0}  # others' VMs must not be deleted
        if numbers:
            task.number = max(numbers)
            last = numbers[task.number]
            about = json.loads(self._get(task, known[last]))
            machine = Machine(last, about["zone"])
            if self._find(task, "digest") == digest.encode():
                self.logger.info(f"{task.name}: reconnected to {last} in {machine.zone}")
                task.machine, task.created, task.ready = machine, about["created"], True
                return
            self.logger.info(f"{task.name}: inputs, code or settings have changed; deleting {last} and restarting the job")
            wanted = task.kind
            task.machine, task.created, task.kind = machine, about["created"], about["kind"]
            self._delete(task)
            task.kind = wanted
            if task.machine is not None:
                raise _Failure(f"{last} could not be deleted")
            task.number += 1
        self._put(task, "job.tar.gz", archive)
        self._put(task, "digest", digest.encode())
        task.ready = True

    def _create(self, task: _Task) -> None:
        """Request a VM in the next zone."""
        zones = self.settings.zone_list()
        machine = Machine(task.name if not task.number else f"{task.name}-r{task.number}", zones[task.zone])
        limit = self._afford(task.kind, task.seconds, task.job.name)
        self.logger.info(f"{task.name}: requesting {task.kind} ({self.settings.provisioning}) in {machine.zone}, at most ${limit:.2f}")
        task.created, task.pieces, task.last_status = time.time(), 0, ""
        self._put(task, f"vms/{machine.name}", json.dumps({"zone": machine.zone, "kind": task.kind, "created": task.created}).encode())
        task.machine = machine
        labels = {"snakemake-rule": re.sub(r"[^a-z0-9_-]", "-", task.job.name.lower())[:63], "snakemake-job": task.name}
        try:
            self._plane(task.kind).create(machine, task.kind, self._script(task, machine), self._lifetime(task.seconds), labels)
        except Exception as error:
            if "alreadyExists" in repr(error) or "already exists" in _message_of(error).lower():
                return  # the response to an identical request was lost
            if control.is_full(f"{getattr(error, 'code', '')} {_message_of(error)}") or getattr(error, "code", None) == 503:
                self._next_zone(task, _message_of(error))
                return
            if _passes(error):  # the VM may or may not exist
                return
            raise _Failure(f"{machine.zone} rejected the request for {task.kind}: {_message_of(error)}{_advice(error)}") from error

    def _look(self, task: _Task) -> tuple[bool, str | None]:
        """Check a job's VM, show new log lines, and handle its end, preemption or missing capacity."""
        assert task.machine is not None
        state, text = self._plane(task.kind).state(task.machine)
        done = self._find(task, f"{task.machine.name}/exit.json")  # read after the state, because the VM may report and then disappear
        self._show_log(task)
        if done is not None:
            return True, self._end(task, json.loads(done)["status"])
        if text != task.last_status:
            task.last_status = text
            self.logger.info(f"{task.machine.name}: {text}")
        if state == "failed":
            raise _Failure(f"{task.machine.name} in {task.machine.zone}: {text}{_advice_of(text)}")
        if state == "full":
            self._next_zone(task, text)
        elif state == "gone":
            if task.restarts >= self.settings.max_restarts:
                raise _Failure(
                    f"{task.machine.name} was preempted or deleted ({text}); cloud-tpu-max-restarts ({task.restarts}) is reached"
                )
            self.logger.info(f"{task.machine.name} was preempted or deleted ({text}); requesting another VM")
            self._delete(task)
            task.number, task.restarts = task.number + 1, task.restarts + 1
        return False, None

    def _next_zone(self, task: _Task, text: str) -> None:
        assert task.machine is not None
        zones = self.settings.zone_list()
        self.logger.info(f"{task.machine.zone} has no capacity for {task.kind}: {text}")
        task.created = time.time()  # the VM never ran, so it cost nothing
        self._delete(task)
        task.zone += 1
        if task.zone < len(zones):
            return
        task.zone, task.rounds = 0, task.rounds + 1
        if task.rounds >= self.settings.stockout_rounds:
            raise _Failure(
                f"no {task.kind} ({self.settings.provisioning}) in {', '.join(zones)} after {task.rounds} rounds of requests; run the same "
                "command again later, add zones to cloud-tpu-zones, or set cloud-tpu-provisioning to STANDARD"
            )
        wait = min(self.settings.retry_seconds * 2 ** (task.rounds - 1), LONGEST_WAIT)
        task.wait = time.time() + wait
        self.logger.info(f"{task.name}: no zone has a TPU; retrying in {wait:.0f} s")

    def _end(self, task: _Task, status: int) -> str | None:
        """Download results and delete the VM; return the error message or None."""
        assert task.machine is not None
        vm = task.machine.name
        packed = self._find(task, f"{vm}/result.tar.gz")
        refused = self._unpack(task.job, packed, failed=status != 0) if packed is not None else []
        self._delete(task)
        if refused:
            return (
                f"{vm}: the results hold {len(refused)} entries that this job does not declare, or that are not plain files: "
                f"{', '.join(refused[:3])}{', ...' if len(refused) > 3 else ''} (all in the log); only its log was written. If the job "
                "does not write them itself, somebody else can write to the bucket"
            )
        if status == 0 and packed is None:
            return f"{vm}: the results are not in the bucket; run the same command again"
        if status:
            return f"exit status {status} on {vm}; log: gs://{self.bucket.name}/{self._path(task, vm)}/log/"
        for name in self._names(task, ""):
            self._remove(task, name)
        return None

    def _unpack(self, job: JobExecutorInterface, packed: bytes, *, failed: bool) -> list[str]:
        """Write the declared files of a result archive, only the log of a failed job; return the names of all other entries.

        Whoever can write to the bucket can change the archive: if an entry is not declared by the job, or is a link or a special file,
        only the log is written.
        """
        try:
            with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                declared = _Declared(job)
                members = archive.getmembers()
                refused = {each.name: fault for each in members if (fault := declared.fault(each))}
                for name, fault in refused.items():
                    self.logger.error(f"{job.name}: {name!r} in the results was refused: {fault}")
                for each in members:
                    if not declared.fault(each) and (each.name in declared.logs or not (failed or refused)):
                        archive.extract(each, filter="data")
                        if each.isfile():
                            os.utime(each.name)  # the VM's clock may differ
        except (tarfile.TarError, EOFError, zlib.error) as error:
            raise _Failure(f"{job.name}: the results are not a readable archive ({error}); run the same command again") from error
        return [repr(name) for name in refused]

    def _show_log(self, task: _Task) -> None:
        assert task.machine is not None
        prefix = f"{task.machine.name}/log/"
        for name in self._names(task, prefix)[task.pieces :]:
            for line in self._get(task, name).decode(errors="replace").splitlines():
                self.logger.info(f"{task.job.name} | {line}")
            task.pieces += 1

    # Files

    def _archive(self, task: _Task) -> tuple[bytes, str]:
        """Return an archive of all files that the VM needs for a job, and a digest of its contents."""
        command = f"set -e\n. .cloud-tpu/setup.sh\n{self.format_job_exec(task.job)}\n"
        setup = Path(self.settings.setup).read_text(encoding="utf-8") if self.settings.setup else ""
        contents: dict[str, Callable[[], bytes]] = {COMMAND: command.encode, ".cloud-tpu/setup.sh": setup.encode}
        inputs = [str(path) for path in task.job.input]
        sources = [path for path in self.workflow.dag.get_sources() if os.path.isfile(path)]
        outside = sorted(path for path in {*inputs, *sources} if os.path.isabs(path) or path.startswith(".."))
        if outside:
            raise _Failure(
                f"{task.job.name}: files outside the working directory cannot be sent to a VM, move them into it: {', '.join(outside[:3])}"
            )
        for path in _files([*sources, *inputs, *self.settings.include.split()]):
            contents[path] = Path(path).read_bytes
        packed, digest = io.BytesIO(), hashlib.sha256()
        with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=6) as archive:
            for name in sorted(contents):
                content = contents[name]()
                entry = tarfile.TarInfo(name)
                # Inputs must not be newer than outputs for Snakemake on the VM; all files are executable.
                entry.size, entry.mode, entry.mtime = len(content), 0o755, int(time.time()) - 60
                archive.addfile(entry, io.BytesIO(content))
                if name == COMMAND:
                    content = b" ".join(sorted(content.split()))  # the order of some Snakemake options differs between processes
                digest.update(f"{name} {hashlib.sha256(content).hexdigest()}\n".encode())
        return packed.getvalue(), digest.hexdigest()

    def _script(self, task: _Task, machine: Machine) -> str:
        """Return the startup script of a VM."""
        job = task.job
        results = [str(path) for path in [*job.output, *job.log, *([job.benchmark] if job.benchmark else [])]]
        settings = {
            "bucket": self.bucket.name,
            "folder": self._path(task, ""),
            "vm": machine.name,
            "seconds": task.seconds,
            "interval": self.settings.log_seconds,
            "results": results,
            "address": self._plane(task.kind).address(machine),
            "linger": self.settings.linger_seconds,
        }
        return f"#!/usr/bin/env python3\nSETTINGS = {settings!r}\n{VM_PROGRAM.read_text(encoding='utf-8')}"

    def _path(self, task: _Task, name: str) -> str:
        return f"{self.folder}/{task.name}/{name}".rstrip("/")

    def _names(self, task: _Task, prefix: str) -> list[str]:
        start = f"{self._path(task, '')}/"
        return sorted(blob.name.removeprefix(start) for blob in self.bucket.list_blobs(prefix=start + prefix, timeout=control.TIMEOUT))

    def _get(self, task: _Task, name: str) -> bytes:
        return self.bucket.blob(self._path(task, name)).download_as_bytes(timeout=control.TIMEOUT)

    def _find(self, task: _Task, name: str) -> bytes | None:
        from google.api_core.exceptions import NotFound

        try:
            return self._get(task, name)
        except NotFound:
            return None

    def _put(self, task: _Task, name: str, content: bytes) -> None:
        self.bucket.blob(self._path(task, name)).upload_from_string(
            content, content_type="application/octet-stream", checksum="crc32c", timeout=control.TIMEOUT
        )

    def _remove(self, task: _Task, name: str) -> None:
        from google.api_core.exceptions import GoogleAPICallError

        try:
            self.bucket.blob(self._path(task, name)).delete(timeout=control.TIMEOUT)
        except GoogleAPICallError as error:  # leftover objects cost almost nothing
            self.logger.info(f"gs://{self.bucket.name}/{self._path(task, name)} could not be deleted: {_message_of(error)}")

    # Machines

    def _plane(self, kind: str) -> control.ControlPlane:
        key = control.uses_compute_engine(kind)
        if key not in self.planes:
            self.planes[key] = control.connect(kind, self.settings)
        return self.planes[key]

    def _kind(self, job: JobExecutorInterface) -> str:
        return str(job.resources.get(TPU))

    def _seconds(self, job: JobExecutorInterface) -> int:
        minutes = job.resources.get("runtime")
        if not isinstance(minutes, int):
            raise WorkflowError(f"rule {job.name}: set the resource runtime (minutes), which limits what its VM can cost")
        return minutes * 60

    def _lifetime(self, seconds: int) -> int:
        return seconds + self.settings.boot_minutes * 60

    def _afford(self, kind: str, seconds: int, rule: str) -> float:
        """Return the maximum cost of a VM in US dollars, after checking it against the cost limit of the run.

        Raises
        ------
        WorkflowError
            If it exceeds the limit together with running and past VMs, or the price is unknown.
        """
        price = self.settings.price_of(kind)
        most = price * self._lifetime(seconds) / 3600
        running = sum(
            self.settings.price_of(each.kind) * self._lifetime(each.seconds) / 3600 for each in self.live.values() if each.machine
        )
        if self.spent + running + most > self.settings.max_cost:
            hours = self._lifetime(seconds) / 3600
            raise WorkflowError(
                f"rule {rule}: a {kind} costs up to ${most:.2f} (${price:g} an hour, {hours:.1f} hours: "
                "its runtime and cloud-tpu-boot-minutes)"
                + (f", and ${self.spent + running:.2f} are already spent or reserved" if self.spent + running else "")
                + f"; cloud-tpu-max-cost is ${self.settings.max_cost:.2f}: raise it, or lower the rule's resource runtime"
            )
        return most

    def _delete(self, task: _Task) -> None:
        """Delete a job's VM and add its cost; log an error if it cannot be deleted."""
        from google.api_core.exceptions import NotFound

        machine = task.machine
        if machine is None:
            return
        for attempt in range(DELETE_ATTEMPTS):
            try:
                self._plane(task.kind).delete(machine)
                break
            except NotFound:
                break
            except Exception as error:  # noqa: BLE001 (retry after any error: the VM costs money)
                if self._vanishes(task):
                    break
                if attempt == DELETE_ATTEMPTS - 1 or not _passes(error):
                    self.logger.error(
                        f"THE VM {machine.name} IN {machine.zone} COULD NOT BE DELETED AND MAY KEEP COSTING MONEY: {_message_of(error)}. "
                        "Delete it: python -m snakemake_executor_plugin_cloud_tpu sweep --yes "
                        f"--project {shlex.quote(self.settings.project)} --zones {machine.zone}"
                    )
                    return
                time.sleep(2.0**attempt / 2)
        task.machine = None
        self.spent += self.settings.price_of(task.kind) * (time.time() - task.created) / 3600

    def _vanishes(self, task: _Task) -> bool:
        """Return whether a VM whose deletion failed is already being deleted."""
        assert task.machine is not None
        try:
            return self._plane(task.kind).state(task.machine)[0] == "gone"
        except Exception:  # noqa: BLE001 (unknown state counts as no)
            return False

    def _delete_all(self) -> None:
        """Delete all VMs and stop polling jobs."""
        self.cancelled = True
        for task in list(self.live.values()):
            with task.lock:  # waits for a request in progress
                if task.machine is not None:
                    self.logger.info(f"deleting {task.machine.name}")
                    self._delete(task)


class _Declared:
    """Files and folders that a job declares as its outputs, log and benchmark."""

    def __init__(self, job: JobExecutorInterface):
        folders = {str(path) for path in job.output if internals.is_directory(path)}
        self.folders = {os.path.normpath(path) for path in folders}
        self.logs = {os.path.normpath(str(path)) for path in job.log}
        benchmarks = [str(job.benchmark)] if job.benchmark else []
        self.files = {os.path.normpath(path) for path in [*map(str, job.output), *benchmarks] if path not in folders} | self.logs

    def fault(self, entry: tarfile.TarInfo) -> str:
        """Return why an entry of an archive must not be written; empty if it may."""
        if not (entry.isfile() or entry.isdir()):
            return "it is a link or a special file"
        own = entry.name in (self.files if entry.isfile() else self.folders)
        within = os.path.normpath(entry.name) == entry.name and any(entry.name.startswith(f"{folder}/") for folder in self.folders)
        return "" if own or within else "the job does not declare it as output, log or benchmark"


def _storage_bucket(project: str, name: str) -> Any:
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage

    try:
        return storage.Client(project=project).bucket(name)
    except DefaultCredentialsError as error:
        raise WorkflowError(
            "cloud-tpu: no Google credentials were found; run `gcloud auth application-default login`, or set "
            "GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account (docs/cloud.md)"
        ) from error


def _files(paths: Iterable[str]) -> list[str]:
    """Return all files in the paths, which may be files or folders."""
    files = set()
    for path in paths:
        if os.path.isdir(path):
            files |= {os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names}
        else:
            files.add(path)
    return sorted(name for name in map(os.path.normpath, files) if not LEFT_OUT.search(name))


def _number(name: str, vm: str) -> int:
    """Return the index of a VM among those of its job, from 0; -1 if it belongs to another job."""
    match = re.fullmatch(re.escape(name) + r"(?:-r(\d+))?", vm)
    return int(match[1] or 0) if match else -1


def _passes(error: BaseException) -> bool:
    """Return whether an error is transient: no response, or a busy server."""
    from google.api_core import exceptions as answers
    from google.auth.exceptions import TransportError
    from requests import RequestException

    busy = (
        answers.ServerError,
        answers.TooManyRequests,
        answers.RetryError,
        TransportError,
        RequestException,
        ConnectionError,
        TimeoutError,
    )
    return isinstance(error, busy)


def _message_of(error: BaseException) -> str:
    message = getattr(error, "message", None)
    return str(message) if isinstance(message, str) and message else str(error) or type(error).__name__


def _advice(error: BaseException) -> str:
    return _advice_of(f"{getattr(error, 'code', '')} {_message_of(error)}")


def _advice_of(text: str) -> str:
    """Return advice for an error message of Google's."""
    text = text.lower()
    if "quota" in text:
        return "; request a higher quota (https://console.cloud.google.com/iam-admin/quotas), or use another zone or type (docs/cloud.md)"
    if "permission" in text or "403" in text:
        return "; grant this account the roles of docs/cloud.md"
    return ""
