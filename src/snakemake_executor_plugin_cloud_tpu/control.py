"""Creation, status and deletion of TPU VMs: Compute Engine for v6e, v5p and TPU7x, queued resources for v5e and older."""

import re
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from snakemake_executor_plugin_cloud_tpu.settings import GENERATIONS, ExecutorSettings

LABEL = "snakemake-cloud-tpu"  # label of every VM, by which abandoned VMs are identified
WAIT_MINUTES = 20  # maximum wait of a queued resource or flexible start in one zone
DISK_GB = 100
# What a VM may ask for beyond the roles of its service account: objects of the bucket, and its own deletion. The Cloud TPU API knows only
# the scope of all services, so there the roles alone limit what a VM can do (docs/cloud.md).
SCOPES = ["https://www.googleapis.com/auth/devstorage.read_write", "https://www.googleapis.com/auth/compute"]
TPU_SCOPES = ["https://www.googleapis.com/auth/cloud-platform"]
TIMEOUT = 60  # seconds until a request times out

State = Literal["waiting", "running", "gone", "full", "failed"]


@dataclass(frozen=True)
class Machine:
    """Name and zone of a VM."""

    name: str
    zone: str


@dataclass(frozen=True)
class ListedMachine:
    """A VM of this plugin, as listed by a control plane."""

    machine: Machine
    kind: str
    state: str
    created: str


class ControlPlane(Protocol):
    """Interface of both control planes; methods raise the exceptions of Google's libraries."""

    def create(self, machine: Machine, kind: str, script: str, seconds: int, labels: dict[str, str]) -> None:
        """Request a VM that runs ``script`` at startup; Compute Engine deletes it after ``seconds``."""

    def state(self, machine: Machine) -> tuple[State, str]:
        """Return a VM's state and Google's description: ``gone`` is preempted or deleted, ``full`` means no capacity in the zone."""

    def delete(self, machine: Machine) -> None:
        """Delete a VM in any state; raise `NotFound` if it does not exist."""

    def address(self, machine: Machine) -> str:
        """Return the URL to which the VM sends a DELETE request to delete itself."""

    def find(self, zone: str) -> list[ListedMachine]:
        """Return all VMs of this plugin in a zone."""


def uses_compute_engine(kind: str) -> bool:
    """Return whether a TPU type is a machine type of Compute Engine, such as ``ct6e-standard-8t``."""
    return bool(re.match(r"(ct\d|tpu\d)", kind))


def connect(kind: str, settings: ExecutorSettings) -> ControlPlane:
    """Return the control plane for this TPU type."""
    return ComputeEngine(settings) if uses_compute_engine(kind) else QueuedResources(settings)


def _transport(kind: Any, endpoint: str) -> dict[str, Any]:
    scheme, host = endpoint.split("://")
    if scheme == "https":
        return {"transport": kind(host=host)}  # uses the application default credentials
    from google.auth.credentials import AnonymousCredentials

    return {"transport": kind(host=host, url_scheme=scheme, credentials=AnonymousCredentials())}


class ComputeEngine:
    """Instances of Compute Engine."""

    def __init__(self, settings: ExecutorSettings):
        from google.cloud import compute_v1
        from google.cloud.compute_v1.services.instances.transports import InstancesRestTransport
        from google.cloud.compute_v1.services.zone_operations.transports import ZoneOperationsRestTransport

        self.settings, self.api = settings, compute_v1
        self.instances = compute_v1.InstancesClient(**_transport(InstancesRestTransport, settings.compute_endpoint))
        self.operations = compute_v1.ZoneOperationsClient(**_transport(ZoneOperationsRestTransport, settings.compute_endpoint))
        self.create_operations: dict[Machine, str] = {}  # names of create operations

    def create(self, machine: Machine, kind: str, script: str, seconds: int, labels: dict[str, str]) -> None:
        """See `ControlPlane`."""
        api, settings = self.api, self.settings
        disk = api.AttachedDiskInitializeParams(source_image=settings.image, disk_size_gb=DISK_GB)
        outside = api.AccessConfig(name="nat", type_="ONE_TO_ONE_NAT")
        instance = api.Instance(
            name=machine.name,
            machine_type=f"zones/{machine.zone}/machineTypes/{kind}",
            labels=labels | {LABEL: "1"},
            disks=[api.AttachedDisk(boot=True, auto_delete=True, initialize_params=disk)],
            network_interfaces=[api.NetworkInterface(network=f"global/networks/{settings.network}", access_configs=[outside])],
            scheduling=api.Scheduling(
                provisioning_model=settings.provisioning,
                on_host_maintenance="TERMINATE",
                automatic_restart=False,
                instance_termination_action="DELETE",
                max_run_duration=api.Duration(seconds=seconds),
            ),
            service_accounts=[api.ServiceAccount(email=settings.service_account, scopes=SCOPES)],
            metadata=api.Metadata(items=[api.Items(key="startup-script", value=script)]),
        )
        if settings.provisioning == "FLEX_START":
            instance.params = api.InstanceParams(request_valid_for_duration=api.Duration(seconds=WAIT_MINUTES * 60))
        operation = self.instances.insert_unary(
            project=settings.project, zone=machine.zone, instance_resource=instance, timeout=TIMEOUT, retry=None
        )
        self.create_operations[machine] = operation.name

    def state(self, machine: Machine) -> tuple[State, str]:
        """See `ControlPlane`."""
        from google.api_core.exceptions import NotFound

        where: dict[str, Any] = {"project": self.settings.project, "zone": machine.zone, "timeout": TIMEOUT}
        if machine in self.create_operations:
            try:
                operation = self.operations.get(operation=self.create_operations[machine], **where)
                if operation.error.errors:  # missing capacity is an error of the operation, not of the request
                    error = operation.error.errors[0]
                    return "full" if is_full(f"{error.code} {error.message}") else "failed", f"{error.code}: {error.message}"
                if operation.status != self.api.Operation.Status.DONE:  # more informative than the instance's status
                    return "waiting", "being created"
            except NotFound:  # old operations are deleted by Google
                pass
        try:
            status = self.instances.get(instance=machine.name, **where).status
        except NotFound:
            return "gone", "no longer exists"
        known: dict[str, State] = {"PROVISIONING": "waiting", "STAGING": "waiting", "RUNNING": "running"}
        return known.get(status, "gone"), status

    def delete(self, machine: Machine) -> None:
        """See `ControlPlane`."""
        self.instances.delete_unary(project=self.settings.project, zone=machine.zone, instance=machine.name, timeout=TIMEOUT)

    def address(self, machine: Machine) -> str:
        """See `ControlPlane`."""
        where = f"projects/{self.settings.project}/zones/{machine.zone}/instances/{machine.name}"
        return f"{self.settings.compute_endpoint}/compute/v1/{where}"

    def find(self, zone: str) -> list[ListedMachine]:
        """See `ControlPlane`."""
        request = self.api.ListInstancesRequest(project=self.settings.project, zone=zone, filter=f"labels.{LABEL}=1")
        return [
            ListedMachine(Machine(each.name, zone), each.machine_type.rpartition("/")[2], each.status, each.creation_timestamp)
            for each in self.instances.list(request=request, timeout=TIMEOUT)
            if each.labels.get(LABEL) == "1"
        ]


class QueuedResources:
    """Queued resources of the Cloud TPU API, which Google no longer develops; v5e and older are available through it only."""

    def __init__(self, settings: ExecutorSettings):
        from google.cloud import tpu_v2
        from google.cloud.tpu_v2.services.tpu.transports import TpuRestTransport

        self.settings, self.api = settings, tpu_v2
        self.client = tpu_v2.TpuClient(**_transport(TpuRestTransport, settings.tpu_endpoint))

    def _name(self, machine: Machine) -> str:
        return f"projects/{self.settings.project}/locations/{machine.zone}/queuedResources/{machine.name}"

    def create(self, machine: Machine, kind: str, script: str, seconds: int, labels: dict[str, str]) -> None:
        """See `ControlPlane`; run time is limited by the VM itself (`vm`), not by Google."""
        api, settings = self.api, self.settings
        parent = f"projects/{settings.project}/locations/{machine.zone}"
        image = settings.runtime_version or GENERATIONS.get(kind.split("-")[0], "tpu-ubuntu2204-base")
        labels = labels | {LABEL: "1"}
        node = api.Node(accelerator_type=kind, runtime_version=image, metadata={"startup-script": script}, labels=labels)
        node.network_config = api.NetworkConfig(network=settings.network, enable_external_ips=True)
        if settings.service_account != "default":
            node.service_account = api.ServiceAccount(email=settings.service_account, scope=TPU_SCOPES)
        resource = api.QueuedResource(
            tpu=api.QueuedResource.Tpu(node_spec=[api.QueuedResource.Tpu.NodeSpec(parent=parent, node_id=machine.name, node=node)]),
            queueing_policy=api.QueuedResource.QueueingPolicy(valid_until_duration={"seconds": WAIT_MINUTES * 60}),
        )
        if settings.provisioning == "SPOT":
            resource.spot = api.QueuedResource.Spot()
        self.client.create_queued_resource(
            parent=parent, queued_resource_id=machine.name, queued_resource=resource, timeout=TIMEOUT, retry=None
        )

    def state(self, machine: Machine) -> tuple[State, str]:
        """See `ControlPlane`."""
        from google.api_core.exceptions import NotFound

        try:
            current = self.client.get_queued_resource(name=self._name(machine), timeout=TIMEOUT).state
        except NotFound:
            return "gone", "deleted"
        name = current.state.name
        text = f"{name} {current.failed_data.error.message}".strip()
        if name == "FAILED":
            return "full" if is_full(text) else "failed", text
        known: dict[str, State] = {"ACTIVE": "running", "SUSPENDING": "gone", "SUSPENDED": "gone", "DELETING": "gone"}
        return known.get(name, "waiting"), text

    def delete(self, machine: Machine) -> None:
        """See `ControlPlane`."""
        request = self.api.DeleteQueuedResourceRequest(name=self._name(machine), force=True)  # force: also deletes its node
        self.client.delete_queued_resource(request=request, timeout=TIMEOUT)

    def address(self, machine: Machine) -> str:
        """See `ControlPlane`."""
        return f"{self.settings.tpu_endpoint}/v2/{self._name(machine)}?force=true"

    def find(self, zone: str) -> list[ListedMachine]:
        """See `ControlPlane`."""
        machines = []
        for each in self.client.list_queued_resources(parent=f"projects/{self.settings.project}/locations/{zone}", timeout=TIMEOUT):
            node = each.tpu.node_spec[0].node if each.tpu.node_spec else None
            if node is not None and node.labels.get(LABEL) == "1":
                created = each.create_time.isoformat() if each.create_time else ""
                machines.append(
                    ListedMachine(Machine(each.name.rpartition("/")[2], zone), node.accelerator_type, each.state.state.name, created)
                )
        return machines


def is_full(text: str) -> bool:
    """Return whether Google's error message reports missing TPU capacity in a zone, so that another zone or a retry may succeed."""
    text = text.lower()
    return "quota" not in text and any(
        word in text for word in ("exhausted", "stockout", "capacity", "enough resources", "expired", "unavailable")
    )
