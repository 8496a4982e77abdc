import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

os.environ["KERAS_BACKEND"] = "jax"  # before anything imports Keras; TensorFlow does
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("OMP_NUM_THREADS", "1")  # scikit-learn's threads wait busily where others work on the same cores
# What JAX compiled is kept between tests and runs of them: most train the same few networks again.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "gpraflow-tests-jax"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # of tiny networks, compilation takes longer than training

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def root():
    return ROOT


@pytest.fixture(scope="session")
def shared():
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real measurements (../shared/data) are not here")
    return folder


def copy_workflow(target: Path) -> Path:
    """Copy what a fresh clone would hold, without results."""
    for name in ("Snakefile", "config", "envs", "resources", "scripts", "workflow"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, target / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            target.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)
    return target


def snakemake(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    """Run Snakemake as a user does, in a folder of the test's own."""
    command = [sys.executable, "-m", "snakemake", "--cores", "2", *arguments]
    return subprocess.run(command, cwd=folder, text=True, capture_output=True, timeout=600, **options)


# The sample, small: two replicates of three bins.
TINY = """\
run: tiny
simulate: {promoters: 600, independent: 60, reads: 9000, cells_per_promoter: 10, independent_cells: 20, active_factors: 10}
counts: {sample_sheet: tiny_bins.tsv}
model:
  name: slides
  preset: small
  sizes: {conv1d_filters: 8, conv2d_filters: 8, residual_blocks: 1, pool_size: 10, bottleneck_units: 8,
          attention_blocks: 1, attention_heads: 2, lstm_layers: 1, lstm_units: 2, dense_units: [4]}
training: {epochs: 1, batch_size: 64}
evaluation: {bootstrap: 100}
design: {number: 2, compared: 0, budget: 40, ladder: 2}
split: {fractions: {train: 0.8, val: 0.1, test: 0.1}}
"""
TINY_BINS = "bin\treads\tlower\tupper\treplicate\n" + "".join(
    f"{number}\tresults/{{run}}/simulated/reads/{replicate}_{number}.fastq.gz\t{lower}\t{upper}\t{replicate}\n"
    for replicate in "ab"
    for number, (lower, upper) in enumerate([("", -1), (-1, 1), (1, "")])
)


def copy_tiny(folder: Path) -> Path:
    """Copy the workflow with the config `tiny.yaml`: the sample in half a minute."""
    copy_workflow(folder)
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "tiny_bins.tsv").write_text(TINY_BINS)
    return folder


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory):
    """A finished run with the config `tiny.yaml`, made once for all test processes; it is copied, not changed."""
    base = tmp_path_factory.getbasetemp()
    base = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base  # that of the run of all processes
    folder = base / "finished"
    with open(base / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            made = copy_tiny(base / "finishing")
            done = snakemake(made, "--configfile", "tiny.yaml")
            assert done.returncode == 0, done.stderr[-3000:]
            made.rename(folder)
    return folder


def copy_finished(finished: Path, folder: Path, keep: Sequence[str] | None = None) -> Path:
    """Copy a finished run. ``keep`` names what is left of its results: the run then continues from there, with all else missing."""
    shutil.copytree(finished, folder, symlinks=True)
    for path in [] if keep is None else (folder / "results/tiny").iterdir():
        if path.name not in keep:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    return folder


@pytest.fixture
def workflow_folder(tmp_path):
    """A copy of the workflow with the config `tiny.yaml`."""
    return copy_tiny(tmp_path / "copy")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model directory whose predictions are known (`toy`)."""
    from tests import toy

    return toy.write_whole(tmp_path_factory.mktemp("model") / "single")


@pytest.fixture(scope="module")
def ensemble(tmp_path_factory):
    """The same for an ensemble of three."""
    from tests import toy

    return toy.write_whole(tmp_path_factory.mktemp("model") / "ensemble", spread=(-1.0, 0.0, 1.0))


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium."""
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not path:
        pytest.skip("chromium is not installed (apt install chromium)")
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"] if os.geteuid() == 0 else [])
        yield started
        started.close()
