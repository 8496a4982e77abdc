"""Checkpoints that are copied to a bucket: a training that is cut off on one machine goes on on another."""

import shutil

import numpy as np
import pytest

from gpraflow.core.errors import GpraflowError
from gpraflow.models import backend, directory
from gpraflow.storage import backup as storage_backup
from gpraflow.training import options as training_options
from gpraflow.training import run
from gpraflow.training import train as training_train

backend.select_backend("jax")

from tests.cloud import conftest  # noqa: E402
from tests.cloud.servers import Fault  # noqa: E402
from tests.models.test_models import OPTIONS, blueprint, library, upload  # noqa: E402

NAME = "vaishnav_cnn"  # quick to compile, and has dropout


class Gone(BaseException):
    """The machine is taken away."""


@pytest.fixture(scope="module")
def receipt(tmp_path_factory):
    table = library(96, 1)
    return upload(tmp_path_factory.mktemp("training"), train=table, val=table.head(32))


@pytest.fixture
def url(bucket_name):
    return f"gs://{bucket_name}/mine/checkpoints"


def train(receipt, folder, backup="", **options):
    given = vars(OPTIONS) | {"batch_size": 16, "ema": 0.9, "checkpoint_steps": 2} | options
    return training_train.train(receipt, folder, blueprint=blueprint(NAME), options=training_options.Options(**given), backup=backup)


def weights(folder):
    return [np.array(each) for each in directory.load(folder)[0].weights]


def end_after(monkeypatch, saves):
    """Let the machine go away after so many checkpoints."""
    save, done = run.MemberTraining._save, []

    def saving(self, name):
        save(self, name)
        done.append(name)
        if len(done) == saves:
            raise Gone

    monkeypatch.setattr(run.MemberTraining, "_save", saving)


def cut_off(receipt, folder, url, saves, **options):
    with pytest.MonkeyPatch.context() as patch:
        end_after(patch, saves)
        with pytest.raises(Gone):
            train(receipt, folder, url, **options)
    shutil.rmtree(folder)


@pytest.mark.parametrize("saves", [1, 6, 12], ids=["at the beginning", "in an epoch", "in the second member"])
def test_a_training_goes_on_in_another_empty_folder_and_ends_with_equal_weights(
    proxy, emulator, bucket_name, url, receipt, tmp_path, capsys, saves
):
    options = {"ensemble": 2, "epochs": 2}
    train(receipt, tmp_path / "whole", **options)
    cut_off(receipt, tmp_path / "one", url, saves, **options)
    capsys.readouterr()
    about = train(receipt, tmp_path / "other", url, **options)
    assert capsys.readouterr().out.count("resuming from a checkpoint") == {1: 0, 6: 1, 12: 2}[saves]
    for ours, expected in zip(weights(tmp_path / "other"), weights(tmp_path / "whole"), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert (tmp_path / "other/history.csv").read_text() == (tmp_path / "whole/history.csv").read_text()
    assert about["epochs"] == 2
    names = {name.removeprefix("mine/checkpoints/").partition("/")[2] for name in conftest.content(emulator, bucket_name)}
    assert names == {f"member_{member}/{file}.npz" for member in (0, 1) for file in ("best", "state")}


def test_copies_of_another_training_are_not_taken_up(proxy, url, receipt, tmp_path, capsys):
    cut_off(receipt, tmp_path / "one", url, 4)
    train(receipt, tmp_path / "other", url, learning_rate=0.02)
    assert "resuming" not in capsys.readouterr().out


def test_a_copy_that_cannot_be_made_ends_a_training_only_at_its_beginning(proxy, url, receipt, tmp_path, capsys):
    refused = (403, '{"error": {"message": "no"}}')
    proxy.faults = [Fault("POST", "/upload/", answer=refused, times=99)]
    with pytest.raises(GpraflowError, match="this account lacks permission"):
        train(receipt, tmp_path / "one", url)
    proxy.faults = [Fault("POST", "/upload/", answer=refused, times=99, skip=1)]
    about = train(receipt, tmp_path / "other", url)
    assert about["epochs"] == OPTIONS.epochs
    assert "this checkpoint was not copied, training continues" in capsys.readouterr().out


def test_a_folder_can_hold_copies_too(tmp_path):
    backup = storage_backup.Backup(f"file://{tmp_path}/copies", "mine")
    (tmp_path / "a").write_bytes(b"one")
    assert not backup.fetch("x/a", tmp_path / "b")
    backup.keep("x/a", tmp_path / "a")
    (tmp_path / "a").write_bytes(b"two")
    backup.keep("x/a", tmp_path / "a")
    assert backup.fetch("x/a", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"two"


def test_a_tpu_vm_has_a_backup_by_default(tmp_path):
    receipt = tmp_path / "upload.json"
    receipt.write_text('{"bucket": "gs://bucket/folder", "splits": {}}')
    assert training_train.backup_url("", receipt, on_tpu=True) == "gs://bucket/folder/checkpoints"
    assert training_train.backup_url("", receipt, on_tpu=False) == ""
    assert training_train.backup_url("gs://other", receipt, on_tpu=True) == "gs://other"
