"""Google's two control planes for TPUs, played on loopback: a VM is an empty folder in which the startup-script runs."""

import contextlib
import json
import os
import re
import signal
import subprocess
import threading
import time
import urllib.parse
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from tests.background import serving

STEP = 0.1  # seconds that a VM stays in one state
QUOTA = "Quota 'TPUS_PER_TPU_FAMILY' exceeded.  Limit: 0.0 in region europe-west4."


@dataclass
class Plan:
    """What happens to VMs.

    Parameters
    ----------
    quota
        Every request is refused.
    full
        Zones that have no TPU, for so many requests each.
    preempt
        Called with the VM while it runs, several times a second: True takes it away. Only for so many VMs: ``preemptions``.
    refuse_deletes
        So many requests to delete get a 503.
    deletion
        Seconds that a deletion takes; another request meanwhile is refused.
    """

    quota: bool = False
    full: dict = field(default_factory=dict)
    preempt: object = None
    preemptions: int = 1
    refuse_deletes: int = 0
    deletion: float = 0


class FakeGoogle(ThreadingHTTPServer):
    """``machines`` holds those that are there now, ``events`` what happened, as (event, name, zone); `url` is the endpoint of both."""

    daemon_threads = True

    def __init__(self, folder: Path, storage: str, plan: Plan | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.folder, self.storage, self.plan = folder, storage, plan or Plan()
        self.machines, self.operations, self.events, self.lock = {}, {}, [], threading.RLock()
        self.ended = threading.Event()

    def handle_error(self, request, client_address):  # clients that are killed
        pass

    def happened(self, event):
        with self.lock:
            return [(name, zone) for each, name, zone in self.events if each == event]

    def note(self, event, machine):
        self.events.append((event, machine["name"], machine["zone"]))

    def boot(self, machine):
        folder = self.folder / f"vm-{len(self.happened('started'))}-{machine['name']}"
        folder.mkdir(parents=True)
        machine["folder"] = folder
        script = folder / "startup-script"
        script.write_text(machine["script"])
        script.chmod(0o755)
        self.run_script(machine)
        self.note("started", machine)

    def run_script(self, machine):
        folder = machine["folder"]
        environment = {"PATH": "/usr/bin:/bin", "TMPDIR": str(folder), "HOME": str(folder), "STORAGE_EMULATOR_HOST": self.storage}
        with open(folder / "console", "ab") as console:
            machine["process"] = subprocess.Popen(
                [folder / "startup-script"], cwd=folder, env=environment, stdout=console, stderr=console, start_new_session=True
            )

    def reboot(self, machine):
        """Cut off all that runs on a VM and start it again, as after maintenance."""
        with self.lock:
            halt(machine)
            self.run_script(machine)
            self.note("started again", machine)

    def drive(self, machine, operation):
        """Let a VM live."""
        full = False
        time.sleep(STEP)
        with self.lock:
            if self.plan.full.get(machine["zone"], 0) > 0:
                self.plan.full[machine["zone"]] -= 1
                full = True
            if machine["key"] not in self.machines:
                return
            if full:
                self.note("full", machine)
                machine["state"] = "FULL"
                if operation:
                    del self.machines[machine["key"]]
                    message = "The zone does not have enough resources available to fulfill the request."
                    operation["error"] = {"errors": [{"code": "ZONE_RESOURCE_POOL_EXHAUSTED", "message": message}]}
                    operation["status"] = "DONE"
                return
            if operation:
                operation["status"] = "DONE"
            machine["state"] = "RUNNING"
            self.boot(machine)
        seconds, began = machine.get("seconds"), time.monotonic()
        while not self.ended.wait(0.05):
            with self.lock:
                if machine["key"] not in self.machines:
                    return
                taken = self.plan.preempt and len(self.happened("preempted")) < self.plan.preemptions and self.plan.preempt(machine)
                over = seconds and time.monotonic() - began > seconds
                if taken or over:
                    halt(machine)
                    self.note("preempted" if taken else "expired", machine)
                    if operation:
                        del self.machines[machine["key"]]  # instanceTerminationAction=DELETE
                    else:
                        machine["state"] = "SUSPENDED"
                    return

    def add(self, machine, operation):
        self.machines[machine["key"]] = machine
        self.note("created", machine)
        threading.Thread(target=self.drive, args=(machine, operation), daemon=True).start()

    def remove(self, machine):
        with self.lock:
            halt(machine)
            self.machines.pop(machine["key"], None)
            self.note("deleted", machine)

    def close(self):
        self.ended.set()
        with self.lock:
            for machine in self.machines.values():
                halt(machine)


def halt(machine):
    """End all that runs on a VM, at once: everything of the session in which the startup-script began."""
    process = machine.get("process")
    if process is None:
        return
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                session = int((entry / "stat").read_text().rpartition(")")[2].split()[3])
                if session == process.pid:
                    os.kill(int(entry.name), signal.SIGKILL)
    process.wait()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, content, status=200):
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def refuse(self, status, reason, message):
        error = {"code": status, "message": message, "status": reason, "errors": [{"reason": reason, "message": message}]}
        self.answer({"error": error}, status)

    def do(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        length = int(self.headers.get("Content-Length") or 0)
        given = json.loads(self.rfile.read(length)) if length else {}
        instance = re.fullmatch(r"/compute/v1/projects/([^/]+)/zones/([^/]+)/(instances|operations)(?:/([^/]+))?", url.path)
        resource = re.fullmatch(r"/v2/projects/([^/]+)/locations/([^/]+)/(queuedResources)(?:/([^/:]+))?", url.path)
        with self.server.lock:
            if instance:
                return self.compute(*instance.groups(), given)
            if resource:
                return self.tpu(*resource.groups(), given, query)
            return self.refuse(404, "notFound", f"no such method {self.command} {url.path}")

    do_GET = do_POST = do_DELETE = do

    def create(self, key, name, zone, kind, script, labels, seconds, operation):
        server = self.server
        if server.plan.quota:
            return self.refuse(403, "quotaExceeded", QUOTA)
        if key in server.machines:
            return self.refuse(409, "alreadyExists", f"The resource '{name}' already exists")
        machine = {"key": key, "name": name, "zone": zone, "kind": kind, "script": script, "labels": labels, "seconds": seconds}
        server.add(machine | {"state": "PROVISIONING"}, operation)
        return self.answer(operation or {"name": "operations/x", "done": True})

    def delete(self, machine):
        if self.server.plan.refuse_deletes > 0:
            self.server.plan.refuse_deletes -= 1
            return self.refuse(503, "backendError", "try again")
        if machine["state"] in ("STOPPING", "DELETING"):
            return self.refuse(400, "resourceNotReady", f"The resource '{machine['name']}' is not ready")
        machine["state"] = {"compute": "STOPPING", "tpu": "DELETING"}[machine["key"][0]]
        if self.server.plan.deletion:
            halt(machine)
            threading.Timer(self.server.plan.deletion, self.server.remove, [machine]).start()
        else:
            self.server.remove(machine)
        return self.answer({"name": "deletion", "status": "DONE", "done": True})

    def compute(self, project, zone, collection, name, given):
        server = self.server
        if collection == "operations":
            return self.answer(server.operations[name])
        if self.command == "POST":
            assert given["scheduling"]["instanceTerminationAction"] == "DELETE"
            assert given["scheduling"]["onHostMaintenance"] == "TERMINATE"
            script = next(item["value"] for item in given["metadata"]["items"] if item["key"] == "startup-script")
            seconds = int(given["scheduling"]["maxRunDuration"]["seconds"])
            operation = {"name": f"operation-{len(server.operations)}", "status": "RUNNING"}
            server.operations[operation["name"]] = operation
            kind = given["machineType"].rpartition("/")[2]
            return self.create(("compute", zone, given["name"]), given["name"], zone, kind, script, given["labels"], seconds, operation)
        if name is None:
            found = [each for key, each in server.machines.items() if key[:2] == ("compute", zone)]
            return self.answer({"items": [_instance(each) for each in found]})
        machine = server.machines.get(("compute", zone, name))
        if machine is None:
            return self.refuse(404, "notFound", f"The resource '{name}' was not found")
        return self.delete(machine) if self.command == "DELETE" else self.answer(_instance(machine))

    def tpu(self, project, zone, collection, name, given, query):
        server = self.server
        if self.command == "POST":
            node, name = given["tpu"]["nodeSpec"][0]["node"], query["queuedResourceId"]
            assert node["runtimeVersion"]
            script, kind = node["metadata"]["startup-script"], node["acceleratorType"]
            return self.create(("tpu", zone, name), name, zone, kind, script, node["labels"], None, None)
        if name is None:
            found = [each for key, each in server.machines.items() if key[:2] == ("tpu", zone)]
            return self.answer({"queuedResources": [_resource(project, each) for each in found]})
        machine = server.machines.get(("tpu", zone, name))
        if machine is None:
            return self.refuse(404, "NOT_FOUND", f"Resource '{name}' was not found")
        if self.command == "DELETE":
            if query.get("force", "").lower() != "true" and machine["state"] == "RUNNING":
                return self.refuse(400, "FAILED_PRECONDITION", "queued resource has nodes; use force or delete the nodes first")
            return self.delete(machine)
        return self.answer(_resource(project, machine))


def _instance(machine):
    return {
        "name": machine["name"],
        "status": machine["state"],
        "labels": machine["labels"],
        "machineType": f"zones/{machine['zone']}/machineTypes/{machine['kind']}",
        "creationTimestamp": "2026-11-25T20:00:00.000-08:00",
    }


def _resource(project, machine):
    state = {"state": {"PROVISIONING": "PROVISIONING", "RUNNING": "ACTIVE", "FULL": "FAILED"}.get(machine["state"], machine["state"])}
    if machine["state"] == "FULL":
        state["failedData"] = {"error": {"code": 8, "message": "There is no more capacity in the zone; the request has expired"}}
    node = {"acceleratorType": machine["kind"], "labels": machine["labels"]}
    return {
        "name": f"projects/{project}/locations/{machine['zone']}/queuedResources/{machine['name']}",
        "tpu": {"nodeSpec": [{"nodeId": machine["name"], "node": node}]},
        "state": state,
        "createTime": "2026-11-25T20:00:00Z",
    }


@contextlib.contextmanager
def fake_google(folder, storage, plan=None):
    """Run a `FakeGoogle` while the block runs; ``storage`` is the URL of the bucket's emulator."""
    with serving(FakeGoogle(folder, storage, plan)) as server:
        try:
            yield server
        finally:
            server.close()
