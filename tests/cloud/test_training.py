"""The real workflow with its trainer on a VM that is taken away in the middle of training."""

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from gpraflow.models import directory
from tests.cloud import conftest, control_plane, snakemake_process
from tests.cloud.control_plane import Plan
from tests.conftest import ROOT, TINY, copy_tiny

MODEL = "results/tiny/model"


def checkpoints(emulator, bucket):
    listed = json.loads(conftest.ask(emulator, f"/storage/v1/b/{bucket}/o?prefix=shards/checkpoints/"))
    return [item["name"] for item in listed.get("items", [])]


def weights(folder):
    return [np.array(each) for each in directory.load(folder)[0].weights]


class Workflow:
    """The tiny run in a folder of its own, with shards in a bucket of the emulator."""

    def __init__(self, folder, emulator, bucket, config):
        self.folder, self.bucket = copy_tiny(folder), bucket
        config = config | {"bucket": {"url": f"gs://{bucket}/shards"}}
        (self.folder / "cloud.yaml").write_text(yaml.safe_dump(config))
        (self.folder / "setup.sh").write_text(f"export PATH={Path(sys.executable).parent}:$PATH PYTHONPATH=$PWD/scripts\n")
        # The VM starts with an empty environment. OPENBLAS_CORETYPE would choose other kernels here, and so other last bits of the
        # orthogonal initial weights of the LSTM (their QR decomposition is LAPACK's). JAX must compile as it does there.
        others = ("GOOGLE_", "SNAKEMAKE_", "CLOUDSDK", "OPENBLAS_", "JAX_DISABLE_")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(others)}
        path = f"{self.folder / 'scripts'}{os.pathsep}{ROOT / 'src'}"
        self.environment = kept | {"STORAGE_EMULATOR_HOST": emulator, "PYTHONPATH": path}

    def run(self, target, *arguments):
        """Return what Snakemake says."""
        output = self.folder.parent / "output"
        command = ["--cores", "2", "--configfile", "cloud.yaml", *arguments, "--", target]
        process = snakemake_process.start(command, self.folder, self.environment, output)
        process.join(500)
        assert process.exitcode == 0, output.read_text()[-4000:]
        return output.read_text()

    def run_on_vms(self, target, rule, google):
        """Run one rule's jobs on VMs of a `control_plane.fake_google`."""
        endpoints = ("--cloud-tpu-compute-endpoint", google.url, "--cloud-tpu-tpu-endpoint", google.url)
        place = ("--cloud-tpu-bucket", f"gs://{self.bucket}/jobs", "--cloud-tpu-setup", "setup.sh")
        place += ("--cloud-tpu-include", "config resources workflow tiny_bins.tsv")
        money = ("--cloud-tpu-project", "tests", "--cloud-tpu-zones", "zone-a", "--cloud-tpu-max-cost", "100", "--cloud-tpu-price", "1")
        often = ("--seconds-between-status-checks", "1", "--cloud-tpu-log-seconds", "0.5")
        sent = ("--set-resources", f"{rule}:tpu_type='v5litepod-8'", f"{rule}:runtime=60")
        return self.run(target, "--executor", "cloud-tpu", "--jobs", "1", *sent, *endpoints, *place, *money, *often)


@pytest.mark.slow
def test_a_training_on_vms_of_which_one_is_taken_away_is_the_same_as_one_here(tmp_path, emulator, bucket_name):
    config = yaml.safe_load(TINY)
    config["training"] |= {"epochs": 3, "checkpoint_steps": 2}
    workflow = Workflow(tmp_path / "copy", emulator, bucket_name, config)
    model = workflow.folder / MODEL
    plan = Plan(preempt=lambda machine: any(name.endswith("member_0/state.npz") for name in checkpoints(emulator, bucket_name)))
    with control_plane.fake_google(tmp_path / "google", emulator, plan) as google:
        said = workflow.run_on_vms(f"{MODEL}/model.keras", "train_model", google)
        names = [name for name, _ in google.happened("created")]
        assert names == [names[0], f"{names[0]}-r1"]
        assert google.machines == {}
    assert "train_model | train_model: epoch 3/3" in said
    assert "resuming from a checkpoint" in (workflow.folder / "results/tiny/logs/train_model.log").read_text()
    about = json.loads((model / "model.json").read_text())
    assert (about["epochs"], about["backend"]) == (3, "jax")
    assert len((model / "history.csv").read_text().splitlines()) == 4
    on_vms, history = weights(model), (model / "history.csv").read_text()
    said = workflow.run(f"{MODEL}/model.keras", "--forcerun", "train_model")
    assert "cloud-tpu" not in said
    assert (model / "history.csv").read_text() == history
    for one, two in zip(on_vms, weights(model), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_trials_of_a_tuning_on_vms_share_a_journal_in_the_bucket(tmp_path, emulator, bucket_name):
    config = yaml.safe_load(TINY)
    space = [{"key": "training.learning_rate", "low": 1e-4, "high": 0.1, "log": True}]
    config["tuning"] = {"trials": 2, "epochs": 1, "space": space}
    workflow = Workflow(tmp_path / "copy", emulator, bucket_name, config)
    folder = workflow.folder / "results/tiny/tuning"
    with control_plane.fake_google(tmp_path / "google", emulator, Plan()) as google:
        workflow.run_on_vms("results/tiny/tuning/best.yaml", "tune_trial", google)
        assert len(google.happened("created")) == 2
        assert google.machines == {}
    trials = [json.loads((folder / f"trials/{number}.json").read_text()) for number in range(2)]
    assert not (folder / "study.journal").exists()
    stored = conftest.content(emulator, bucket_name)
    entries = [json.loads(stored[name]) for name in sorted(stored) if name.startswith("shards/tuning/")]
    told = [entry for entry in entries if entry["op_code"] == 6]  # states of trials, as Optuna writes them
    assert [(entry["trial_id"], entry["state"]) for entry in told] == [(0, 1), (1, 1)]  # both in one study, complete
    assert sorted(entry["values"] for entry in told) == sorted([trial["val_loss"]] for trial in trials)
