"""Settings of the executor, their validation, and prices of VMs."""

import re
from dataclasses import dataclass, field
from pathlib import Path

import yaml
from snakemake_interface_common.exceptions import WorkflowError
from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

PRICES = Path(__file__).with_name("prices.yaml")
GENERATIONS = {  # accelerator type of queued resources -> image of the VM
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
    "v4": "tpu-ubuntu2204-base",
    "v3": "tpu-ubuntu2204-base",
    "v2": "tpu-ubuntu2204-base",
}
_BUCKET = re.compile(r"gs://([^/]+)(?:/(.*?))?/?")
IMAGE = "projects/ubuntu-os-accelerator-images/global/images/family/ubuntu-accel-2204-amd64-tpu-v5e-v5p-v6e"


def _setting(default, text, kind=str, **more):
    return field(default=default, metadata={"help": text, "type": kind, **more})


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Settings ``--cloud-tpu-...``, available as command-line options, profile keys and environment variables."""

    project: str | None = _setting(None, "Google Cloud project that pays", env_var=True)
    zones: str | None = _setting(None, "zones to request VMs in, in this order, such as 'europe-west4-a us-east5-b'", env_var=True)
    bucket: str | None = _setting(None, "gs://BUCKET/FOLDER for transferring jobs, preferably in the region of the zones", env_var=True)
    max_cost: float | None = _setting(None, "maximum cost of this run's VMs in US dollars", float)
    price: float | None = _setting(None, "price of one VM in US dollars per hour; replaces the table of prices", float)
    prices: str | None = _setting(None, "table of prices; replaces the plugin's prices.yaml")
    provisioning: str = _setting("SPOT", "SPOT (cheap, can be preempted), FLEX_START or STANDARD")
    service_account: str = _setting("default", "e-mail address of the VM's service account")
    network: str = _setting("default", "VPC network of the VM")
    image: str = _setting(IMAGE, "boot image (Compute Engine)")
    runtime_version: str | None = _setting(None, "TPU VM image (queued resources); default: chosen by accelerator type")
    setup: str | None = _setting(None, "file with shell commands that the VM runs before the job, in the folder of the workflow")
    include: str = _setting("", "files and folders that the job needs besides its inputs, scripts, config files and files tracked by git")
    max_restarts: int = _setting(5, "maximum number of new VMs after preemptions", int)
    stockout_rounds: int = _setting(6, "maximum rounds of requests to all zones when none has a TPU; waits between rounds increase", int)
    boot_minutes: int = _setting(30, "minutes for starting and setting up the VM, in addition to the job's runtime", int)
    linger_seconds: float = _setting(120.0, "seconds after the end of the job until a remaining VM deletes itself", float)
    log_seconds: float = _setting(10.0, "seconds between uploads of the log", float)
    retry_seconds: float = _setting(30.0, "first wait after a round without a TPU; doubles up to 10 minutes", float)
    compute_endpoint: str = _setting("https://compute.googleapis.com", "URL of Compute Engine; another one for tests", env_var=True)
    tpu_endpoint: str = _setting("https://tpu.googleapis.com", "URL of the Cloud TPU API; another one for tests", env_var=True)

    def zone_list(self) -> list[str]:
        """Return the zones in which VMs are requested."""
        return re.split(r"[\s,]+", (self.zones or "").strip())

    def place(self) -> tuple[str, str]:
        """Return the name of the bucket and the folder in it."""
        match = _BUCKET.fullmatch(self.bucket or "")
        if not match:
            raise WorkflowError(f"cloud-tpu-bucket: '{self.bucket}' should look like gs://BUCKET/FOLDER")
        return match[1], match[2] or ""

    def check(self, *more: str) -> None:
        """Check that all settings are set and valid.

        Parameters
        ----------
        more
            Config keys that the workflow lacks, as ``a.b: example``; empty ones are ignored.

        Raises
        ------
        WorkflowError
            If settings are missing or invalid; the message lists each with the line to add to the profile.
        """
        required = {
            "project": ("my-project-123456", "the Google Cloud project that pays"),
            "zones": ("europe-west4-a us-east5-b", "zones that have the TPU"),
            "bucket": ("gs://BUCKET/FOLDER", "for transferring jobs"),
            "max_cost": ("20", "maximum cost of this run's VMs in US dollars"),
            "service_account": ("NAME@PROJECT.iam.gserviceaccount.com", "of the VM"),
        }
        problems = []
        for key, (example, text) in required.items():
            if _is_open(getattr(self, key)):
                name = f"cloud-tpu-{key.replace('_', '-')}"
                problems.append(f"{name} is missing ({text}); write into the profile:\n  {name}: {example}")
        if self.provisioning not in ("SPOT", "FLEX_START", "STANDARD"):
            problems.append(f"cloud-tpu-provisioning: '{self.provisioning}' is not one of SPOT, FLEX_START, STANDARD")
        for key in ("setup", "prices"):
            if (path := getattr(self, key)) and not Path(path).is_file():
                problems.append(f"cloud-tpu-{key}: there is no file {path}")
        if not _is_open(self.bucket) and not _BUCKET.fullmatch(self.bucket or ""):
            problems.append(f"cloud-tpu-bucket: '{self.bucket}' should look like gs://BUCKET/FOLDER")
        problems += [_lacking(text) for text in more if text]
        if problems:
            raise WorkflowError("\n".join(["cloud-tpu: before training on a TPU (profile, or --options; see docs/cloud.md):", *problems]))

    def price_of(self, kind: str) -> float:
        """Return the price of a VM of type ``kind`` in US dollars per hour.

        Raises
        ------
        WorkflowError
            If the price is unknown.
        """
        path = Path(self.prices) if self.prices else PRICES
        if self.price is not None:
            return self.price
        table = yaml.safe_load(path.read_text(encoding="utf-8"))
        price = (table.get("prices", {}).get(kind) or {}).get(self.provisioning)
        if price is None:
            raise WorkflowError(
                f"the price of {kind} ({self.provisioning}) is unknown, so cloud-tpu-max-cost cannot be enforced: look it up for your "
                "region (https://cloud.google.com/tpu/pricing, times the chips of a VM) and set cloud-tpu-price, or put it into a copy of "
                f"{path.name} and set cloud-tpu-prices"
            )
        return float(price)


def _lacking(text: str) -> str:
    """Return the problem for ``a.b: value``, a config key that the workflow lacks, as lines to write."""
    key, _, value = text.partition(": ")
    *sections, last = key.split(".")
    lines = [f"{'  ' * level}{section}:" for level, section in enumerate(sections, start=1)]
    lines.append(f"{'  ' * (len(sections) + 1)}{last}: {value}")
    return "\n".join([f"{key} must be set for a TPU VM; write into the config of the workflow:", *lines])


def _is_open(value) -> bool:
    """Return whether a setting is not filled in: the placeholder ``<...>``, empty or 0."""
    return value is None or value == 0 or (isinstance(value, str) and (not value.strip() or "<" in value))
