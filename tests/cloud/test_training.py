"""The real workflow with its trainer on a VM that is taken away in the middle of training."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from gpraflow import models

from tests.cloud import conftest, control_plane, snakemake_process
from tests.cloud.control_plane import Plan
from tests.conftest import ROOT, TINY, copy_tiny

MODEL = "results/tiny/model"


def checkpoints(emulator, bucket):
    listed = json.loads(conftest.ask(emulator, f"/storage/v1/b/{bucket}/o?prefix=shards/checkpoints/"))
    return [item["name"] for item in listed.get("items", [])]


def weights(folder):
    return [np.array(each) for each in models.load(folder)[0].weights]


@pytest.mark.slow
def test_a_training_on_vms_of_which_one_is_taken_away_is_the_same_as_one_here(tmp_path, emulator, bucket_name):
    folder = copy_tiny(tmp_path / "copy")
    config = yaml.safe_load(TINY) | {"bucket": {"url": f"gs://{bucket_name}/shards"}}
    config["training"] |= {"epochs": 3, "checkpoint_steps": 2}
    (folder / "cloud.yaml").write_text(yaml.safe_dump(config))
    (folder / "setup.sh").write_text(f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH=$PWD/scripts\n")
    # The VM starts with an empty environment. OPENBLAS_CORETYPE would choose other kernels here, and so other last bits of the
    # orthogonal initial weights of the LSTM (their QR decomposition is LAPACK's).
    others = ("GOOGLE_", "SNAKEMAKE_", "CLOUDSDK", "OPENBLAS_")
    kept = {key: value for key, value in os.environ.items() if not key.startswith(others)}
    environment = kept | {"STORAGE_EMULATOR_HOST": emulator, "PYTHONPATH": f"{folder / 'scripts'}{os.pathsep}{ROOT / 'src'}"}
    model, output = folder / MODEL, tmp_path / "output"

    def run(*arguments):
        process = snakemake_process.start(
            ["--cores", "2", "--configfile", "cloud.yaml", *arguments, "--", f"{MODEL}/model.keras"], folder, environment, output
        )
        process.join(500)
        assert process.exitcode == 0, output.read_text()[-4000:]
        return output.read_text()

    plan = Plan(preempt=lambda machine: any(name.endswith("member_0/state.npz") for name in checkpoints(emulator, bucket_name)))
    with control_plane.fake_google(tmp_path / "google", emulator, plan) as google:
        endpoints = ("--cloud-tpu-compute-endpoint", google.url, "--cloud-tpu-tpu-endpoint", google.url)
        place = ("--cloud-tpu-bucket", f"gs://{bucket_name}/jobs", "--cloud-tpu-setup", "setup.sh")
        place += ("--cloud-tpu-include", "config resources workflow tiny_bins.tsv")
        money = ("--cloud-tpu-project", "tests", "--cloud-tpu-zones", "zone-a", "--cloud-tpu-max-cost", "100", "--cloud-tpu-price", "1")
        often = ("--seconds-between-status-checks", "1", "--cloud-tpu-log-seconds", "0.5")
        sent = ("--set-resources", "train_model:tpu_type='v5litepod-8'", "train_model:runtime=60")
        said = run("--executor", "cloud-tpu", "--jobs", "1", *sent, *endpoints, *place, *money, *often)
        names = [name for name, _ in google.happened("created")]
        assert names == [names[0], f"{names[0]}-r1"]
        assert google.machines == {}
    assert "train_model | train_model: epoch 3/3" in said
    assert "going on from a checkpoint" in (folder / "results/tiny/logs/train_model.log").read_text()
    about = json.loads((model / "model.json").read_text())
    assert (about["epochs"], about["backend"]) == (3, "jax")
    assert len((model / "history.csv").read_text().splitlines()) == 4
    on_vms, history = weights(model), (model / "history.csv").read_text()
    said = run("--forcerun", "train_model")
    assert "cloud-tpu" not in said
    assert (model / "history.csv").read_text() == history
    for one, two in zip(on_vms, weights(model), strict=True):
        np.testing.assert_array_equal(one, two)
