"""The profiles that come with the workflow: what Snakemake makes of them, in dry runs."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from gpraflow.core import schema as schemas
from tests.conftest import ROOT, TINY, snakemake


@pytest.fixture
def folder(workflow_folder):
    shutil.copytree(ROOT / "profiles", workflow_folder / "profiles")
    (workflow_folder / "gcp-tpu").symlink_to("profiles/gcp-tpu")
    content = yaml.safe_load(TINY) | {"bucket": {"url": "gs://bucket/{run}"}}
    (workflow_folder / "cloud.yaml").write_text(yaml.safe_dump(content))
    return workflow_folder


def dry_run(folder, *arguments):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = snakemake(folder, *arguments, "--dry-run", env=environment)
    jobs = re.findall(r"^(?:local)?rule (\w+):\n((?:    .*\n)+)", done.stdout + done.stderr, flags=re.MULTILINE)
    found = {name: re.search(r"resources: (.*)", body)[1] for name, body in jobs if "resources: " in body}
    return done, found


def test_tpu(folder):
    done, resources = dry_run(folder, "--profile", "gcp-tpu", "--configfile", "cloud.yaml")
    assert done.returncode == 0, done.stderr[-2000:]
    assert [rule for rule, text in resources.items() if "tpu_type" in text] == ["train_model"]
    assert "tpu_type=ct6e-standard-8t" in resources["train_model"]
    assert "runtime=240" in resources["train_model"]
    assert "tpu_missing=," in resources["train_model"] + ","


def test_all_that_the_tpu_profile_lacks_is_said_at_once(folder):
    """Without a config and with the profile as it is: each missing setting, with the line to write."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    done = snakemake(folder, "--profile", "gcp-tpu", env=environment)
    assert done.returncode == 1
    for line in (
        "  cloud-tpu-project: my-project-123456\n",
        "  cloud-tpu-zones: europe-west4-a us-east5-b\n",
        "  cloud-tpu-bucket: gs://BUCKET/FOLDER\n",
        "  cloud-tpu-max-cost: 20\n",
        "  cloud-tpu-service-account: NAME@PROJECT.iam.gserviceaccount.com\n",
        "bucket.url must be set for a TPU VM; write into the config of the workflow:\n",
        "  bucket:\n    url: gs://BUCKET/FOLDER\n",
    ):
        assert line in done.stderr
    assert "there is no file" not in done.stderr  # Snakemake has made the profile's setup.sh a path
    assert not (folder / "results/sample/simulated").exists()


def test_the_tpu_profile_has_the_settings_of_the_plugin_and_files_that_are_there():
    from dataclasses import fields

    from snakemake_executor_plugin_cloud_tpu import ExecutorSettings

    content = yaml.safe_load((ROOT / "gcp-tpu/profile.yaml").read_text())
    given = {key.removeprefix("cloud-tpu-").replace("-", "_") for key in content if key.startswith("cloud-tpu-")}
    assert given <= {field.name for field in fields(ExecutorSettings)}
    assert subprocess.run(["bash", "-n", ROOT / "gcp-tpu" / content["cloud-tpu-setup"]], check=False).returncode == 0
    assert all((ROOT / name).exists() for name in content["cloud-tpu-include"].split())


def test_the_setup_of_a_vm_in_an_empty_folder(tmp_path):
    """Without a home, with little on the PATH; all but the version of Python, which cannot be had everywhere, and a TPU."""
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    passed = re.compile("SSL_CERT_.*|.*_CA_BUNDLE|PIP_.*|UV_.*|https?_proxy|no_proxy", re.IGNORECASE)  # how an index of packages is reached
    environment = {key: value for key, value in os.environ.items() if passed.fullmatch(key)}
    cache = subprocess.run(
        [Path(sys.executable).with_name("uv"), "cache", "dir"], capture_output=True, text=True, check=True
    ).stdout.strip()
    environment |= {"PATH": "/usr/bin:/bin", "VM_PYTHON": sys.executable, "UV_CACHE_DIR": cache}
    environment["SETUP"] = str(ROOT / "gcp-tpu/setup.sh")
    command = ["bash", "-euo", "pipefail", "-c", '. "$SETUP"; echo never']
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600)
    if re.search("Failed to establish a new connection|error sending request|name resolution", done.stderr):
        pytest.skip("no index of packages can be reached")
    assert done.returncode == 1, done.stderr
    assert "no TPU is seen on this VM: wrong image?" in done.stderr  # the last line of the script
    assert done.stdout == "devices: [CpuDevice(id=0)]\n"
    locked = dict(re.findall(r"^([a-z0-9-]+)==([^ ;\\]+)", (ROOT / "requirements/gpraflow-tpu.lock").read_text(), re.MULTILINE))
    some = ("snakemake", "keras", "google-cloud-storage")
    code = f"import importlib.metadata, json; print(json.dumps({{name: importlib.metadata.version(name) for name in {some}}}))"
    found = subprocess.run([tmp_path / ".cloud-tpu/venv/bin/python", "-c", code], capture_output=True, text=True, check=True).stdout
    assert json.loads(found) == {name: locked[name] for name in some}


def test_what_a_tpu_needs_of_a_config_is_one():
    content = yaml.safe_load((ROOT / "gcp-tpu/training.yaml").read_text())
    filled = schemas.validate(content, schemas.load("config"), "training.yaml")
    assert filled["training"]["precision"] == "mixed_bfloat16"
    assert filled["training"]["batch_size"] % 8 == 0


def test_slurm(folder):
    done, resources = dry_run(folder, "--profile", "profiles/slurm", "--configfile", "tiny.yaml")
    assert done.returncode == 0, done.stderr[-2000:]
    assert {rule for rule, text in resources.items() if "gpu=1" in text} == {"train_model"}
    assert "slurm_partition=<gpu partition>" in resources["train_model"]
    assert "mem_mb=16000" in resources["train_model"]
    assert all("slurm_account=<account>" in resources[rule] for rule in ("count_reads", "merge_counts", "evaluate_model"))
    assert "runtime=240" in resources["count_reads"]
