"""Nothing that a user imports changes the process; what jobs do for speed can be switched off and changes no result."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gpraflow.core import startup
from gpraflow.core.errors import ConfigError
from tests.conftest import ROOT

PREDICT = """
import sys
from pathlib import Path
import gpraflow
model = gpraflow.load(sys.argv[1])
after = {name: name in sys.modules for name in ("pandas", "sklearn", "matplotlib")}
print(*model.predict(["ACGT" * 20, "TTACATC" + "GCGCATAT" * 3 + "GGTTACG"])["expression"])
print(*(name for name, there in after.items() if there))
import tensorflow, pandas, sklearn, matplotlib.pyplot
print(tensorflow.constant([1.0]).numpy()[0], pandas.DataFrame({"a": [1]}).shape, sklearn.__name__)
print(*(type(finder).__module__ for finder in sys.meta_path if type(finder).__module__.startswith("gpraflow")))
"""


def predictions(folder, light):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts"), "KERAS_BACKEND": "jax"} | light
    command = [sys.executable, "-c", PREDICT, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.split("\n")


def test_other_packages_can_be_imported_afterwards_and_predictions_are_the_same(folder):
    found = {name: predictions(folder, {"GPRAFLOW_LIGHT_KERAS": name} if name else {}) for name in ("", "0", "1")}
    for name, (_, loaded, others, finders, *_) in found.items():
        assert loaded == ("" if name == "1" else "pandas sklearn matplotlib")
        assert others == "1.0 (1, 1) sklearn"
        assert finders == ""
    assert found["1"][0] == found["0"][0] == found[""][0]


def test_importing_the_package_leaves_the_environment(tmp_path):
    code = """
import importlib.util
import os
def environment():
    return {name: value for name, value in os.environ.items() if name != "_RJEM_MALLOC_CONF"}  # which Polars sets
before = environment()
import gpraflow, gpraflow.prediction.predictor
assert environment() == before
"""
    subprocess.run([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")}, check=True)


@pytest.mark.parametrize(
    "path", ["/a b/python", "/it's/python", '/a"b/python', "/a$b/python", "/OneDrive (Lab)/python", "/a\\b/python", "/a\tb"]
)
def test_a_path_that_snakemake_cannot_run_is_refused(path):
    with pytest.raises(ConfigError, match=r"the path of Python has the character .*, which Snakemake cannot run; move the environment"):
        startup.check_interpreter(path)


def test_other_paths_are_accepted():
    for path in (sys.executable, "/home/müller/gpraflow-2_x+y@z/.venv/bin/python", "/data/lab,2024=final/~x/python3.12"):
        startup.check_interpreter(path)


@pytest.mark.parametrize("name", ["a b", "it's", 'a"b', "a$b", "a(b", "fine-2"])
def test_make_setup_refuses_such_a_folder_at_once(tmp_path, name):
    """Nothing but the check runs: python is a script that runs what is given with -c and writes the rest down."""
    folder = tmp_path / name
    (folder / "requirements").mkdir(parents=True)
    for file in ("Makefile", "pyproject.toml", "requirements/gpraflow.lock"):
        shutil.copy(ROOT / file, folder / file)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\n[ "$1" = -c ] && exec {sys.executable} "$@"\necho "$@" >> {tmp_path}/calls\nexit 3\n')
    python.chmod(0o755)
    done = subprocess.run(["make", "setup", f"PYTHON={python}"], cwd=folder, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    refused = f"{folder}: this path has white space, quotes or other special characters" in done.stdout
    assert refused == (name != "fine-2")
    assert (tmp_path / "calls").exists() == (name == "fine-2")


@pytest.mark.parametrize("place", ["elsewhere", "beside Snakemake"])
def test_jobs_leave_packages_in_the_home_folder_alone_unless_snakemake_lies_there(tmp_path, monkeypatch, place):
    folder = ROOT if place == "elsewhere" else Path(importlib.util.find_spec("snakemake").origin).parents[1]
    monkeypatch.setattr("site.getusersitepackages", lambda: str(folder / "site" if place == "elsewhere" else folder))
    environment = {}
    startup.prepare_jobs(environment, tmp_path)
    assert environment.get("PYTHONNOUSERSITE") == ("1" if place == "elsewhere" else None)
    environment = {"PYTHONNOUSERSITE": ""}
    startup.prepare_jobs(environment, tmp_path)
    assert environment["PYTHONNOUSERSITE"] == ""
