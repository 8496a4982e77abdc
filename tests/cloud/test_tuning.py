"""Trials of a tuning on machines that share nothing but a bucket."""

import itertools
import json
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from gpraflow.core.errors import GpraflowError
from gpraflow.models import backend
from gpraflow.shards import upload as shards_upload
from gpraflow.storage import connect as storage_connect
from gpraflow.training import train

backend.select_backend("jax")
from gpraflow.training import tuning  # noqa: E402
from tests.cloud import conftest  # noqa: E402
from tests.cloud.servers import Fault  # noqa: E402
from tests.models.test_models import library, upload  # noqa: E402
from tests.training.test_tuning import trial  # noqa: E402

SPLITS = ("train", "val")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Folder of shards, and the receipt of a file:// bucket."""
    folder = tmp_path_factory.mktemp("tuning")
    return folder, upload(folder, train=library(96, 1), val=library(32, 2))


@pytest.fixture
def receipt(folder, bucket_name, emulator, monkeypatch):
    """Receipt of a gs:// bucket of the same shards."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator)
    path = folder[0] / f"{bucket_name}.json"
    shards_upload.upload({split: folder[0] / split / "manifest.json" for split in SPLITS}, f"gs://{bucket_name}/shards", path)
    return path


def machines(root):
    """Return folders, a new one each time: none sees the files of another."""
    return (root / f"machine_{number}" for number in itertools.count())


def test_trials_on_several_machines_learn_from_each_other_as_on_one(folder, receipt, emulator, bucket_name, tmp_path):
    here = [trial(folder[1], tmp_path / "here", number) for number in range(7)]
    there = [trial(receipt, machine, number) for number, machine in zip(range(7), machines(tmp_path), strict=False)]
    assert there == here  # the last two values are drawn from what the five before had shown, not at random
    assert not list(tmp_path.glob("machine_*/study.journal"))
    entries = [name for name in conftest.content(emulator, bucket_name) if "/tuning/" in name]
    assert [name.rpartition("/")[2] for name in sorted(entries)] == [f"{number:08d}" for number in range(len(entries))]
    alone = trial(folder[1], tmp_path / "alone", 6)
    assert alone["parameters"] != here[6]["parameters"]  # what it draws without them


def test_a_trial_that_was_killed_on_one_machine_is_made_again_on_another(receipt, emulator, bucket_name, tmp_path, monkeypatch):
    real = train.train

    def killed(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", killed)
    one, two = itertools.islice(machines(tmp_path), 2)
    with pytest.raises(KeyboardInterrupt):
        trial(receipt, one, 0)
    monkeypatch.setattr(train, "train", real)
    assert trial(receipt, two, 0)["state"] == "complete"
    journal = {name: json.loads(entry) for name, entry in conftest.content(emulator, bucket_name).items() if "/tuning/" in name}
    states = [entry["state"] for _, entry in sorted(journal.items()) if entry["op_code"] == 6]
    assert states == [3, 1]  # failed, complete


def test_no_entry_is_lost_or_doubled_when_many_write_and_answers_are_lost(proxy, emulator, bucket_name):

    def connect():
        return tuning.BucketJournal(storage_connect.connect(f"gs://{bucket_name}/journal"))

    proxy.faults = [Fault("POST", "uploadType=multipart", cut_answer=-1, skip=skip) for skip in (3, 5, 7)]
    proxy.faults += [Fault("POST", "uploadType=multipart", answer=(503, "{}"), skip=11), Fault("GET", "/o?", cut_answer=1, skip=2)]
    together = threading.Barrier(4)

    def write(writer):
        journal = connect()
        together.wait(60)
        for number in range(6):
            journal.append_logs([{"writer": writer, "number": number}])
        return journal.read_logs(0)

    with ThreadPoolExecutor(4) as pool:
        read = list(pool.map(write, range(4)))
    assert [fault.times for fault in proxy.faults] == [0] * 5
    entries = connect().read_logs(0)
    assert len(entries) == 24
    for writer in range(4):
        assert [entry["number"] for entry in entries if entry["writer"] == writer] == list(range(6))
        assert read[writer] == entries[: len(read[writer])]
    assert connect().read_logs(20) == entries[20:]


def test_an_entry_that_could_not_be_written_leaves_no_gap(proxy, bucket_name):
    journal = tuning.BucketJournal(storage_connect.connect(f"gs://{bucket_name}/journal"))
    journal.append_logs([{"number": 0}])
    proxy.faults = [Fault("POST", "/upload/", answer=(403, "{}"))]
    with pytest.raises(GpraflowError, match="lacks permission"):
        journal.append_logs([{"number": 1}])
    proxy.faults = []
    journal.append_logs([{"number": 2}])
    assert journal.read_logs(0) == [{"number": 0}, {"number": 2}]
    assert journal.bucket.names("") == ["00000000", "00000001"]
