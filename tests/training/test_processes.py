"""One training in several processes."""

import numpy as np
import pytest

from gpraflow.core.errors import ConfigError, TrainingError
from gpraflow.models import registry
from gpraflow.shards import upload
from gpraflow.training import data as training_data
from gpraflow.training import options as training_options
from gpraflow.training import processes, steppers, train
from tests.models.test_models import OPTIONS, blueprint
from tests.training.test_training import NAME, drive, receipt, saved_weights  # noqa: F401

CHOSEN = {"batch_size": 16, "ema": 0.9, "checkpoint_steps": 2, "rc_augmentation": True}


def in_two(receipt, directory, **options):  # noqa: F811
    chosen = training_options.Options(**(vars(OPTIONS) | {"backend": "jax"} | CHOSEN | options))
    plan = blueprint(NAME)
    plan = training_options.Blueprint(plan.name, plan.preset, plan.sizes)  # as `drive` does
    processes.train(receipt, directory, blueprint=plan, options=chosen, backup="", number=2)


@pytest.mark.slow
def test_two_processes_go_on_from_one_s_checkpoint_and_end_with_its_weights(receipt, tmp_path, capfd):  # noqa: F811
    whole = drive("jax", receipt, tmp_path / "whole", 0, **CHOSEN)
    assert whole.returncode == 0, whole.stderr[-2000:]
    killed = drive("jax", receipt, tmp_path / "two", 6, **CHOSEN)
    assert killed.returncode == -9
    in_two(receipt, tmp_path / "two")
    assert capfd.readouterr().out.count("resuming from a checkpoint, epoch 2, batch 3") == 1  # the other process says nothing
    for ours, expected in zip(saved_weights(tmp_path / "two", "jax"), saved_weights(tmp_path / "whole", "jax"), strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-3, atol=1e-5)
    assert not (tmp_path / "two" / train.WORK).exists()


@pytest.mark.parametrize("name", [NAME, "legnet"])  # tokens turned around, and flags for the model to turn them
def test_each_process_has_its_part_of_a_batch(receipt, tmp_path, monkeypatch, name):  # noqa: F811
    options = training_options.Options(**(vars(OPTIONS) | CHOSEN))
    data = training_data.TrainingData(upload.read_receipt(receipt), tmp_path, registry.describe(name), options)

    def batches(process, number):
        monkeypatch.setattr(steppers, "process", lambda: (process, number))
        return list(data.batches(16, 3, 1, 2))

    for whole, *parts in zip(batches(0, 1), batches(0, 2), batches(1, 2), strict=True):
        for place, expected in enumerate(whole[0]):
            np.testing.assert_array_equal(np.concatenate([part[0][place] for part in parts]), expected)
        for place in (1, 2):
            np.testing.assert_array_equal(np.concatenate([part[place] for part in parts]), whole[place])
    assert len(batches(1, 2)) == 96 // 16 - 2


def test_a_process_that_fails_ends_all(tmp_path):
    with pytest.raises(TrainingError, match=r"process [12] of 2 has failed; see the log of train_model"):
        in_two(tmp_path / "missing.json", tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_tensorflow_trains_in_one_process(tmp_path):
    with pytest.raises(ConfigError, match="only jax trains with several processes"):
        in_two(tmp_path / "receipt.json", tmp_path / "model", backend="tensorflow")
