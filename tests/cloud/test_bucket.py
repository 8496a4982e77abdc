"""Uploads to gs:// and reading from there, against emulators on loopback: whatever breaks, a rerun ends with a bucket as the shards are."""

import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from gpraflow.app import cli
from gpraflow.core import checksums, progress
from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.shards import batches as shards_batches
from gpraflow.shards import manifest as shards_manifest
from gpraflow.shards import upload as shards_upload
from gpraflow.storage import connect
from gpraflow.storage import google as storage_google
from gpraflow.storage.local import FileBucket
from tests.cloud import conftest, libraries, servers
from tests.cloud.conftest import content, store
from tests.cloud.servers import Fault

ROOT = Path(__file__).parents[2]
ROWS = {"train": 130_000, "val": 250}  # train has a shard of more than 8 MB, whose upload is a session
ALWAYS = 10**9

# What is left, in words of docs/cloud.md.
ALL = "all shards and manifests: the same run continued"
PART = "complete objects and no manifest; the next run uploads the rest"
NOTHING = "nothing"
UNCHANGED = "what was there"

# Fault -> (what the user sees, what is left): the rows of the table in docs/cloud.md. "…" stands for anything.
AGAIN = "Google Cloud Storage: {}; retrying"
REACHED = "Google Cloud Storage was still busy or unreachable after repeated attempts ({}); objects in the bucket are kept, "
BUSY = REACHED + "run the same command again later"
ROWS_OF_TABLE = {
    "the server is busy (429 or 5xx) when an upload begins": (AGAIN.format("503 …"), ALL),
    "the server is busy in the middle of a large shard": (AGAIN.format("429 …"), ALL),
    "the connection breaks in a small shard": (AGAIN.format("…"), ALL),
    "the connection breaks in a piece of a large shard": (AGAIN.format("…"), ALL),
    "the answer to a small shard is lost": (AGAIN.format("…"), ALL),
    "the answer to a piece of a large shard is lost": (AGAIN.format("…"), ALL),
    "the answer to the last piece of a large shard is lost": (AGAIN.format("…"), ALL),
    "a byte of a small shard changes on the way": ("damaged in transfer; retrying", ALL),
    "a byte of a large shard changes on the way": ("damaged in transfer; retrying", ALL),
    "the server loses the session of a large shard (404, 410)": ("the server lost the data received so far; retrying", ALL),
    "the answer to a question breaks off": (AGAIN.format("…"), ALL),
    "the server stays busy for ten minutes": (BUSY.format("503 …"), PART),
    "the connection breaks again and again": (BUSY.format("…"), PART),
    "every answer is lost": (BUSY.format("…"), PART),
    "bytes change on the way again and again": (
        "damaged in transfer 3 times; run the same command again, from another network if that does not help",
        PART,
    ),
    "no network": (BUSY.format("…"), NOTHING),
    "`kill -9`": ("nothing", PART),
    "another run with other shards writes to the same bucket": (
        "another run changed this object in the meantime; give each run its own bucket.url, then run again",
        "the other run's shards; if both stop, shards of both and no receipt of either",
    ),
    "no credentials": (
        "no Google credentials were found; run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key "
        "file of a service account (docs/cloud.md)",
        NOTHING,
    ),
    "expired credentials, or a key that was deleted": (
        "the Google credentials have expired or are no longer valid (…); run `gcloud auth application-default login` again, or create a "
        "new key for the service account",
        UNCHANGED,
    ),
    "no permission": (
        "this account lacks permission (403 …); grant it the roles of docs/cloud.md on the bucket (roles/storage.objectUser, and "
        "roles/storage.legacyBucketReader for bucket.location)",
        UNCHANGED,
    ),
    "no such bucket": ("this bucket does not exist; create it (docs/cloud.md) or correct bucket.url", NOTHING),
    "the bucket is in another region than bucket.location": (
        "this bucket is in …, but bucket.location is …: training in another region is slow, and Google charges for transfers between "
        "regions; create a bucket there (buckets cannot be moved), or correct bucket.location",
        UNCHANGED,
    ),
    "the bucket's reader pays, and no project was named": (
        "reads from this bucket are billed to the reader (requester pays); set the environment variable GOOGLE_CLOUD_QUOTA_PROJECT to "
        "the project that pays",
        UNCHANGED,
    ),
    "training: a byte of a shard changes on the way": ("damaged in transfer; retrying", "the whole shard: the same run continued"),
    "training: the connection breaks in a shard": (AGAIN.format("…"), "the whole shard: the same run continued"),
    "training: a shard is missing in the bucket": ("not in the bucket; upload again (snakemake --forcerun upload_shards)", UNCHANGED),
    "training: a shard in the bucket is another": (
        "its checksum differs from the manifest; the shard is damaged or from another run",
        UNCHANGED,
    ),
}


def seen(fault):
    """Return a pattern for what the user sees."""
    return re.escape(ROWS_OF_TABLE[fault][0]).replace("…", ".*")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """Folder of shards: a large one, and several small ones."""
    folder = tmp_path_factory.mktemp("shards")
    libraries.write(folder, "train", ROWS["train"], 110_000)
    libraries.write(folder, "val", ROWS["val"], 100)
    return folder


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Shards with the names of some of those, of other promoters."""
    folder = tmp_path_factory.mktemp("other")
    libraries.write(folder, "val", ROWS["val"], 100, seed=6)
    return folder


@pytest.fixture(scope="module")
def earlier(tmp_path_factory):
    """Shards with the names of those, of still other promoters."""
    folder = tmp_path_factory.mktemp("earlier")
    libraries.write(folder, "val", ROWS["val"], 100, seed=7)
    return folder


@pytest.fixture
def url(bucket_name):
    return f"gs://{bucket_name}/runs/mine"


def upload(folder, url, receipt, *splits, **options):
    lines = []
    manifests = {split: folder / split / "manifest.json" for split in splits or ("train", "val")}
    found = shards_upload.upload(manifests, url, receipt, progress=lines.append, **options)
    return found, lines


def expected(folder, *splits):
    """Return object -> content of what should be in the bucket."""
    found = libraries.content(folder)
    return {f"runs/mine/{name}": value for name, value in found.items() if name.split("/")[0] in (splits or ("train", "val"))}


def sent(proxy):
    return [path for _, path, _ in proxy.requests if "/upload/" in path]


def of_objects(proxy):
    """Return what was asked of objects; the library also asks once for the bucket itself, for its own purposes."""
    return [path for _, path, _ in proxy.requests if "/o" in path.split("/b/")[1]]


# Without faults


def test_shards_arrive_and_a_second_run_sends_nothing(proxy, emulator, bucket_name, url, local, tmp_path):
    receipt, lines = upload(local, url, tmp_path / "upload.json")
    assert content(emulator, bucket_name) == expected(local)
    assert receipt["bucket"] == url
    assert {split: entry["rows"] for split, entry in receipt["splits"].items()} == ROWS
    assert lines[:3] == [
        f"train/{name}: uploaded" for name in ("train-00000-of-00002.tfrecord", "train-00001-of-00002.tfrecord", "manifest.json")
    ]
    proxy.requests.clear()
    again, lines = upload(local, url, tmp_path / "again.json")
    assert again == receipt
    assert len(lines) == 7
    assert all(line.endswith("already there") for line in lines)
    assert sent(proxy) == []


def test_only_what_differs_is_sent(proxy, emulator, bucket_name, url, local, tmp_path):
    upload(local, url, tmp_path / "upload.json")
    changed, foreign = (
        "runs/mine/val/val-00001-of-00003.tfrecord",
        {"runs/mine/val/notes.txt": b"x", "runs/mine/readme": b"y", "val/x": b"z", "runs/mine/val/val-00000-of-00009.tfrecord": b"old"},
    )
    store(emulator, bucket_name, {changed: b"other", **foreign})
    proxy.requests.clear()
    _, lines = upload(local, url, tmp_path / "again.json")
    assert [line for line in lines if not line.endswith("already there")] == [
        "val/val-00000-of-00009.tfrecord: kept, since no manifest lists it",
        "val/val-00001-of-00003.tfrecord: uploaded",
    ]
    assert len(sent(proxy)) == 1
    assert content(emulator, bucket_name) == expected(local) | foreign


def test_other_shards_replace_the_old_ones(proxy, emulator, bucket_name, url, local, other, tmp_path):
    old, _ = upload(local, url, tmp_path / "old.json", "val")
    proxy.faults = [Fault("POST", "/upload/", answer=(400, "{}"), times=ALWAYS)]
    with pytest.raises(GpraflowError, match="rejected the request"):
        upload(other, url, tmp_path / "new.json", "val")
    assert content(emulator, bucket_name) == expected(local, "val")
    proxy.faults = []
    upload(other, url, tmp_path / "new.json", "val")
    assert content(emulator, bucket_name) == expected(other)
    with pytest.raises(InputError, match="not the manifest that was uploaded"):
        shards_batches.open_split(old, "val")


def test_progress_in_bytes(proxy, url, local, tmp_path, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.0)
    terminal = io.StringIO()
    upload(local, url, tmp_path / "upload.json", "val", terminal=terminal)
    lines = terminal.getvalue().splitlines()
    total = sum(path.stat().st_size for path in (local / "val").iterdir())
    assert len(lines) == 4
    assert re.fullmatch(rf"upload_shards: val: {total:,} bytes of {total:,} bytes \(100%\), .*/s", lines[-1])


@pytest.fixture(params=["file", "gs"])
def either(request, proxy, bucket_name, tmp_path):
    """A bucket of each kind."""
    return connect.connect(f"file://{tmp_path}/bucket" if request.param == "file" else f"gs://{bucket_name}/folder")


def test_both_kinds_of_buckets_do_the_same(either, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(b"123456789")
    two.write_bytes(b"2")
    assert either.find("a/b") is None
    either.put("a/b", one, "e3069283", None)
    first = either.find("a/b")
    assert (first.size, first.crc32c) == (9, "e3069283")
    assert either.get("a/b") == b"123456789"
    assert either.names("") == ["a/b"]
    assert either.names("b") == []
    with pytest.raises(GpraflowError, match="a/b: another run changed this object"):
        either.put("a/b", two, checksums.crc32c(b"2"), None)
    either.put("a/b", two, checksums.crc32c(b"2"), first)
    with pytest.raises(GpraflowError, match="a/b: another run changed this object"):
        either.put("a/b", one, "e3069283", first)
    assert either.get("a/b") == b"2"
    either.delete("a/b", either.find("a/b"))
    assert either.find("a/b") is None
    with pytest.raises(InputError, match="a/b: not in the bucket; upload again"):
        either.get("a/b")


def test_an_object_that_another_process_removed_meanwhile(proxy, bucket_name, tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    connected = connect.connect(f"gs://{bucket_name}")
    connected.put("x", tmp_path / "one", checksums.crc32c(b"1"), None)
    entry = connected.find("x")
    connected.delete("x", entry)
    connected.delete("x", entry)
    assert connected.names("") == []


@pytest.mark.parametrize("bad", ["gs://", "gs://Upper/x", "gs://x", "gs:///x", "gs://under_score-/x"])
def test_urls_that_name_no_bucket(bad):
    with pytest.raises(ConfigError, match="expected gs://name"):
        connect.connect(bad)


# Faults for a moment, which the same run gets over


MULTIPART, PIECE = "uploadType=multipart", "upload_id="
MOMENTS = {
    "the server is busy (429 or 5xx) when an upload begins": ("val", Fault("POST", MULTIPART, answer=(503, "{}"), times=3)),
    "the server is busy in the middle of a large shard": ("train", Fault("PUT", PIECE, answer=(429, "{}"), skip=1)),
    "the connection breaks in a small shard": ("val", Fault("POST", MULTIPART, cut=3000)),
    "the connection breaks in a piece of a large shard": ("train", Fault("PUT", PIECE, cut=100_000, skip=2)),
    "the answer to a small shard is lost": ("val", Fault("POST", MULTIPART, cut_answer=-1)),
    "the answer to a piece of a large shard is lost": ("train", Fault("PUT", PIECE, cut_answer=-1, skip=1)),
    "the answer to the last piece of a large shard is lost": ("train", Fault("PUT", PIECE, cut_answer=-1, skip=4)),
    "a byte of a small shard changes on the way": ("val", Fault("POST", MULTIPART, corrupt=3000)),
    "a byte of a large shard changes on the way": ("train", Fault("PUT", PIECE, corrupt=100_000, skip=1)),
    "the server loses the session of a large shard (404, 410)": ("train", Fault("PUT", PIECE, answer=(410, "{}"), skip=2)),
    "the answer to a question breaks off": ("val", Fault("GET", "/o?", cut_answer=1)),
}


@pytest.mark.parametrize("fault", MOMENTS)
def test_the_same_run_gets_over(proxy, emulator, bucket_name, url, local, tmp_path, monkeypatch, capsys, fault):
    monkeypatch.setattr(storage_google, "CHUNK", 2 << 20)
    split, proxy.faults = MOMENTS[fault][0], [MOMENTS[fault][1].fresh()]
    upload(local, url, tmp_path / "upload.json", split)
    assert proxy.faults[0].times == 0
    assert re.search(seen(fault), capsys.readouterr().out)
    assert content(emulator, bucket_name) == expected(local, split)
    assert (tmp_path / "upload.json").is_file()
    assert ROWS_OF_TABLE[fault][1] == ALL


def test_a_broken_connection_costs_one_piece(proxy, emulator, bucket_name, url, local, tmp_path, monkeypatch):
    monkeypatch.setattr(storage_google, "CHUNK", 2 << 20)
    proxy.faults = [Fault("PUT", PIECE, cut=100_000, skip=3)]
    upload(local, url, tmp_path / "upload.json", "train")
    large = (local / "train/train-00000-of-00002.tfrecord").stat().st_size
    pieces = [count for method, path, count in proxy.requests if method == "PUT"]
    assert sum(pieces) == large + 100_000
    assert len(sent(proxy)) == len(pieces) + 3  # one session, one small shard, the manifest


# Faults that stay: the run ends with a message, and the next one mends it


LASTING = {
    "the server stays busy for ten minutes": Fault("POST", MULTIPART, answer=(503, "{}"), times=ALWAYS),
    "the connection breaks again and again": Fault("POST", MULTIPART, cut=1000, times=ALWAYS),
    "every answer is lost": Fault("POST", MULTIPART, cut_answer=-1, times=ALWAYS),
    "bytes change on the way again and again": Fault("POST", MULTIPART, corrupt=3000, times=ALWAYS, least=4000),
}


def check_left(fault, emulator, bucket_name, whole, receipt, split="val"):
    """Compare what is left with what the table says, where nothing was before."""
    found = content(emulator, bucket_name)
    assert ROWS_OF_TABLE[fault][1] in (PART, NOTHING, UNCHANGED)
    assert found.items() <= (whole.items() if ROWS_OF_TABLE[fault][1] == PART else {}.items())
    assert f"runs/mine/{split}/manifest.json" not in found
    assert not receipt.exists()


@pytest.fixture
def impatient(proxy, monkeypatch):
    """Give up after a second instead of ten minutes."""
    monkeypatch.setattr(storage_google, "RETRY", storage_google.RETRY.with_timeout(1))


@pytest.mark.parametrize("fault", LASTING)
def test_the_next_run_mends(proxy, impatient, emulator, bucket_name, url, local, tmp_path, fault):
    proxy.faults = [LASTING[fault].fresh()]
    with pytest.raises(GpraflowError, match=seen(fault)):
        upload(local, url, tmp_path / "upload.json", "val")
    check_left(fault, emulator, bucket_name, expected(local, "val"), tmp_path / "upload.json")
    there = len(content(emulator, bucket_name))
    proxy.faults = []
    _, lines = upload(local, url, tmp_path / "upload.json", "val")
    assert content(emulator, bucket_name) == expected(local, "val")
    assert sum(line.endswith("already there") for line in lines) == there


def test_no_network(proxy, impatient, emulator, bucket_name, url, local, tmp_path, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{servers.free_port()}")
    with pytest.raises(GpraflowError, match=seen("no network")):
        upload(local, url, tmp_path / "upload.json", "val")
    check_left("no network", emulator, bucket_name, {}, tmp_path / "upload.json")


def test_kill_9_in_mid_upload(proxy, emulator, bucket_name, url, local, tmp_path):
    held = Fault("PUT", PIECE, hold=threading.Event(), skip=1)
    proxy.faults = [held]
    program = (
        "import sys; from gpraflow.shards import upload; from gpraflow.storage import google; google.CHUNK = 2 << 20; "
        "upload.upload({s: f'{sys.argv[1]}/{s}/manifest.json' for s in ('val', 'train')}, sys.argv[2], sys.argv[3])"
    )
    command = [sys.executable, "-c", program, str(local), url, str(tmp_path / "upload.json")]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT / "scripts")})
    assert held.reached.wait(60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    held.hold.set()
    found = content(emulator, bucket_name)
    assert found.items() >= expected(local, "val").items()
    assert "runs/mine/train/train-00000-of-00002.tfrecord" not in found
    check_left("`kill -9`", emulator, bucket_name, expected(local), tmp_path / "upload.json", "train")
    _, lines = upload(local, url, tmp_path / "upload.json", "val", "train")
    assert content(emulator, bucket_name) == expected(local)
    assert all(line.endswith("already there") for line in lines if line.startswith("val"))
    shards_upload.verify(url)


def test_a_server_that_compares_checksums_refuses_what_changed_on_the_way(local, tmp_path, monkeypatch, capsys):
    with servers.gcp_storage_emulator() as behind, servers.fault_proxy(behind) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        conftest.ask(behind, "/storage/v1/b?project=tests", b'{"name": "bucket"}')
        proxy.faults = [Fault("POST", MULTIPART, corrupt=3000, least=4000, times=2)]
        upload(local, "gs://bucket/x", tmp_path / "upload.json", "val")
        found = {name: conftest.ask(behind, f"/bucket/x/val/{name}") for name in os.listdir(local / "val")}
    assert proxy.faults[0].times == 0
    assert capsys.readouterr().out.count("damaged in transfer; retrying") == 2
    assert not any(method == "DELETE" for method, _, _ in proxy.requests)  # nothing damaged was stored
    assert found == {name: (local / "val" / name).read_bytes() for name in os.listdir(local / "val")}


# Two runs at once


def test_two_runs_with_the_same_shards_get_along(proxy, emulator, bucket_name, url, local, tmp_path):
    held = Fault("POST", MULTIPART, hold=threading.Event())
    proxy.faults = [held]
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(upload, local, url, tmp_path / "slow.json", "val")
        assert held.reached.wait(60)
        quick, _ = upload(local, url, tmp_path / "quick.json", "val")
        held.hold.set()
        assert slow.result()[0] == quick
    assert content(emulator, bucket_name) == expected(local, "val")


FOREIGN = "another run with other shards writes to the same bucket"


@pytest.mark.parametrize(("skip", "arrive"), [(0, 2), (3, 3)], ids=["first shard", "manifest"])
def test_a_run_does_not_overwrite_what_another_wrote_meanwhile(
    proxy, emulator, bucket_name, url, local, other, earlier, tmp_path, skip, arrive
):
    upload(earlier, url, tmp_path / "earlier.json", "val")
    held = Fault("POST", MULTIPART, hold=threading.Event(), skip=skip)
    proxy.faults = [held]
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(upload, local, url, tmp_path / "slow.json", "val")
        assert held.reached.wait(60)
        begun = time.monotonic()
        # what arrived later would be in the other run's way too
        while len(content(emulator, bucket_name).items() & expected(local, "val").items()) < arrive:
            assert time.monotonic() - begun < 60
            time.sleep(0.02)
        upload(other, url, tmp_path / "quick.json", "val")
        held.hold.set()
        with pytest.raises(GpraflowError, match=seen(FOREIGN)):
            slow.result()
    assert content(emulator, bucket_name) == expected(other)
    assert not (tmp_path / "slow.json").exists()


def test_two_runs_that_spoil_each_others_shards_both_stop(proxy, emulator, bucket_name, url, local, other, earlier, tmp_path):
    upload(earlier, url, tmp_path / "earlier", "val")
    first, second = (Fault("POST", MULTIPART, hold=threading.Event(), skip=skip) for skip in (3, 3))
    proxy.faults = [first]
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(upload, local, url, tmp_path / "one.json", "val")
        assert first.reached.wait(60)  # shards are there, the manifest is on its way
        proxy.faults = [second]
        two = pool.submit(upload, other, url, tmp_path / "two.json", "val")
        assert second.reached.wait(60)  # shards are replaced, the manifest is on its way
        first.hold.set()
        with pytest.raises(GpraflowError, match=seen(FOREIGN)):
            one.result()
        second.hold.set()
        with pytest.raises(GpraflowError, match=seen(FOREIGN)):
            two.result()
    assert not list(tmp_path.glob("*.json"))
    upload(local, url, tmp_path / "one.json", "val")
    assert content(emulator, bucket_name) == expected(local, "val")


# Access


def refusal(status, message):
    return Fault("GET", "", answer=(status, json.dumps({"error": {"code": status, "message": message}})), times=ALWAYS)


REFUSALS = {
    "no permission": refusal(403, "mail@example.org does not have storage.objects.list access to the Google Cloud Storage bucket."),
    "no such bucket": refusal(404, "The specified bucket does not exist."),
    "the bucket's reader pays, and no project was named": refusal(400, "Bucket is a requester pays bucket but no user project provided."),
}


@pytest.mark.parametrize("fault", REFUSALS)
def test_refusals(proxy, emulator, bucket_name, url, local, tmp_path, fault):
    before = {"runs/mine/val/manifest.json": b"of an earlier run"}
    store(emulator, bucket_name, before)
    proxy.faults = [REFUSALS[fault].fresh()]
    with pytest.raises(GpraflowError, match=f"gs://{bucket_name}: {seen(fault)}"):
        upload(local, url, tmp_path / "upload.json", "val")
    assert content(emulator, bucket_name) == before
    assert not (tmp_path / "upload.json").exists()
    assert len(of_objects(proxy)) == 1  # waiting would mend nothing


def test_a_bucket_that_is_not_there(proxy, local, tmp_path):
    for act in (
        lambda: upload(local, "gs://not-there/x", tmp_path / "upload.json", "val"),
        lambda: connect.connect("gs://not-there").get("x"),
        lambda: shards_upload.verify("gs://not-there"),
    ):
        with pytest.raises(GpraflowError, match=f"gs://not-there: {seen('no such bucket')}"):
            act()


def test_who_pays(proxy, url, local, tmp_path, monkeypatch):
    monkeypatch.setenv("GOOGLE_CLOUD_QUOTA_PROJECT", "payer")
    upload(local, url, tmp_path / "upload.json", "val")
    assert all("userProject=payer" in path for path in of_objects(proxy))


def test_region(proxy, emulator, bucket_name, url, local, tmp_path):
    fault = "the bucket is in another region than bucket.location"
    with pytest.raises(ConfigError, match=f"{url}: {seen(fault)}"):
        upload(local, url, tmp_path / "upload.json", "val", location="europe-west4")
    check_left(fault, emulator, bucket_name, {}, tmp_path / "upload.json")
    upload(local, url, tmp_path / "upload.json", "val", location="us-central1")
    upload(local, f"file://{tmp_path}/folder", tmp_path / "upload.json", "val", location="europe-west4")


@pytest.fixture
def without_credentials(tmp_path, monkeypatch):
    """An account on a machine that is not Google's and where nobody logged in."""
    for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))


def test_no_credentials(without_credentials, local, tmp_path):
    with pytest.raises(GpraflowError, match=f"gs://bucket: {seen('no credentials')}"):
        upload(local, "gs://bucket/x", tmp_path / "upload.json", "val")
    assert not (tmp_path / "upload.json").exists()


@pytest.mark.parametrize("when", ["asking for access", "using it"])
def test_a_key_that_is_no_longer_valid(without_credentials, local, tmp_path, monkeypatch, when):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    plain = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    refused = (400, '{"error": "invalid_grant", "error_description": "Invalid JWT"}')
    granted = (200, '{"access_token": "t", "expires_in": 3600}')
    invalid = (401, '{"error": {"code": 401, "message": "Invalid Credentials"}}')
    with servers.fault_proxy("http://127.0.0.1:9") as google:
        google.faults = [
            Fault("POST", "/token", answer=refused if when == "asking for access" else granted, times=ALWAYS),
            Fault("GET", "/storage/", answer=invalid, times=ALWAYS),
        ]
        account = {"type": "service_account", "client_email": "a@example.org", "token_uri": f"{google.url}/token"}
        account["private_key"] = key.private_bytes(*plain).decode()
        (tmp_path / "key.json").write_text(json.dumps(account))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        monkeypatch.setenv("API_ENDPOINT_OVERRIDE", google.url)
        with pytest.raises(GpraflowError, match=seen("expired credentials, or a key that was deleted")) as raised:
            upload(local, "gs://bucket/x", tmp_path / "upload.json", "val")
    assert ("invalid_grant: Invalid JWT" if when == "asking for access" else "401 Invalid Credentials") in str(raised.value)
    assert not (tmp_path / "upload.json").exists()


# Reading


def rows_of(receipt, split, cache):
    """Return expression and tokens of all promoters, as the trainer gets them."""
    batches = shards_batches.MemoryMap(shards_batches.open_split(receipt, split), cache).batches(50, shuffle=False)
    found = list(batches)
    return np.concatenate([batch["expression"][:, 0] for batch in found]), np.concatenate([batch["sequence"] for batch in found])


@pytest.fixture
def there(proxy, url, local, tmp_path):
    """A receipt of shards in the bucket."""
    return upload(local, url, tmp_path / "upload.json", "val")[0]


def same_as_in_a_folder(there, local, tmp_path):
    plain, _ = upload(local, f"file://{tmp_path}/plain", tmp_path / "plain.json", "val")
    for one, two in zip(rows_of(plain, "val", None), rows_of(there, "val", tmp_path / "cache"), strict=True):
        assert len(one) == ROWS["val"]
        assert (one == two).all()


def test_the_trainer_gets_the_same_promoters(there, proxy, local, tmp_path):
    same_as_in_a_folder(there, local, tmp_path)
    proxy.requests.clear()
    same_as_in_a_folder(there, local, tmp_path)
    assert [path for _, path, _ in proxy.requests if "tfrecord" in path] == []  # what was fetched is used again
    data = shards_batches.load(there, "val")
    assert sorted(data.expression[:, 0]) == list(range(ROWS["val"]))


SHARD = "%2Fval-"
READING = {
    "training: a byte of a shard changes on the way": Fault("GET", SHARD, corrupt_answer=200, times=2),
    "training: the connection breaks in a shard": Fault("GET", SHARD, cut_answer=2000, times=3),
    "the server is busy (429 or 5xx) when an upload begins": Fault("GET", SHARD, answer=(503, "{}"), times=2),
}


@pytest.mark.parametrize("fault", READING)
def test_the_trainer_gets_over(there, proxy, local, tmp_path, capsys, fault):
    proxy.faults = [READING[fault].fresh()]
    same_as_in_a_folder(there, local, tmp_path)
    assert proxy.faults[0].times == 0
    assert re.search(seen(fault), capsys.readouterr().out)


def test_a_byte_that_changes_where_a_broken_connection_is_gone_on_from(there, proxy, local, tmp_path):
    proxy.faults = [Fault("GET", "val-00001", cut_answer=2000), Fault("GET", "val-00001", corrupt_answer=200)]
    same_as_in_a_folder(there, local, tmp_path)
    assert [fault.times for fault in proxy.faults] == [0, 0]


def test_bytes_that_always_change_on_the_way_to_the_trainer(there, proxy, tmp_path):
    proxy.faults = [Fault("GET", "val-00001", corrupt_answer=200, times=ALWAYS)]
    with pytest.raises(GpraflowError, match=r"val-00001-of-00003\.tfrecord: damaged in transfer 3 times"):
        rows_of(there, "val", tmp_path / "cache")
    assert not list((tmp_path / "cache").glob("*val-00001*"))


@pytest.mark.parametrize("fault", ["training: a shard is missing in the bucket", "training: a shard in the bucket is another"])
def test_the_trainer_refuses(there, emulator, bucket_name, tmp_path, fault):
    name = "runs/mine/val/val-00001-of-00003.tfrecord"
    whole = content(emulator, bucket_name)
    if "missing" in fault:
        conftest.ask(emulator, f"/storage/v1/b/{bucket_name}/o/{name.replace('/', '%2F')}", method="DELETE")
    else:
        store(emulator, bucket_name, {name: whole[name][:-1] + b"x"})
    before = content(emulator, bucket_name)
    with pytest.raises(InputError, match=rf"val-00001-of-00003\.tfrecord: {seen(fault)}"):
        rows_of(there, "val", tmp_path / "cache")
    assert content(emulator, bucket_name) == before


# Commands


def command(capsys, *arguments):
    """Return exit status, output, and errors of ``gpraflow bucket``."""
    status = cli.main(["bucket", *arguments])
    said = capsys.readouterr()
    return status, said.out.splitlines(), said.err


def test_verify(there, emulator, bucket_name, url, local, capsys):
    size = sum(path.stat().st_size for path in (local / "val").glob("*.tfrecord"))
    assert command(capsys, "verify", url) == (0, [f"{url}/val: 3 shards, 250 promoters, {size:,} bytes: consistent with the manifest"], "")
    whole = content(emulator, bucket_name)
    names = [f"runs/mine/val/val-0000{number}-of-00003.tfrecord" for number in range(3)]
    store(
        emulator,
        bucket_name,
        {names[0]: whole[names[0]][:-1] + b"x", names[1]: b"cut", "runs/mine/val/val-00007-of-00009.tfrecord": b"old"},
    )
    conftest.ask(emulator, f"/storage/v1/b/{bucket_name}/o/{names[2].replace('/', '%2F')}", method="DELETE")
    store(emulator, bucket_name, {"runs/mine/train/train-00000-of-00002.tfrecord": b"first"})
    status, lines, errors = command(capsys, "verify", url)
    assert (status, lines) == (2, [])
    for part in (
        f"gpraflow: {url}: differs from what was uploaded:",
        "val-00000-of-00003.tfrecord: its checksum differs from the manifest",
        "val-00001-of-00003.tfrecord: 3 bytes, but the manifest lists",
        "val-00002-of-00003.tfrecord: not in the bucket",
        "val-00007-of-00009.tfrecord: not listed in the manifest",
        "train: 1 shards and no manifest.json: this upload is incomplete",
    ):
        assert part in errors
    assert command(capsys, "verify", f"gs://{bucket_name}/elsewhere")[2].endswith("no shards found; correct the URL or upload first\n")


@pytest.mark.parametrize("key", ["shards", "rows", "format", "features"])
def test_verify_with_a_manifest_that_lacks_a_key(local, tmp_path, capsys, key):
    url = f"file://{tmp_path}/bucket"
    upload(local, url, tmp_path / "upload.json", "train", "val")
    path = tmp_path / "bucket/val/manifest.json"
    path.write_text(json.dumps({name: value for name, value in json.loads(path.read_text()).items() if name != key}))
    (next((tmp_path / "bucket/train").glob("train-00001*"))).unlink()
    status, lines, errors = command(capsys, "verify", url)
    assert (status, lines) == (2, [])
    assert f"  {url}/val/manifest.json: it: '{key}' is a required property; write the shards again\n" in errors
    assert "train-00001-of-" in errors  # of the other split too
    assert "Traceback" not in errors


def test_delete(there, proxy, emulator, bucket_name, url, capsys):
    mine = {
        "val/notes.txt": b"x",
        "readme": b"y",
        "val/val-00000-of-00009.tfrecord": b"old",
        "web/manifest.json": b'{"name": "an extension"}',
        "web/web-00000-of-00001.tfrecord": b"of other people",
        "old/manifest.json": b'{"format": "another-1", "shards": [{"name": "old-00000-of-00001.tfrecord"}]}',
        "old/old-00000-of-00001.tfrecord": b"of another program",
    }
    foreign = {f"runs/mine/{name}": value for name, value in mine.items()} | {"runs/other/val/manifest.json": b"z"}
    store(emulator, bucket_name, foreign)
    whole = content(emulator, bucket_name)
    kept = [f"{url}/{name}: kept, since no manifest of gpraflow lists it" for name in sorted(mine)]
    status, lines, _ = command(capsys, "delete", url)
    assert (status, lines[4:]) == (0, kept)
    assert lines[3] == f"{url}/val/manifest.json: would be removed"
    assert content(emulator, bucket_name) == whole
    proxy.requests.clear()
    status, lines, _ = command(capsys, "delete", "--yes", url)
    assert (status, lines[3]) == (0, f"{url}/val/manifest.json: removed")
    deleted = [path for method, path, _ in proxy.requests if method == "DELETE"]
    assert ["manifest.json" in path for path in deleted] == [False, False, False, True]  # if it is interrupted, the rest is still listed
    assert content(emulator, bucket_name) == foreign
    assert command(capsys, "delete", "--yes", url) == (0, [f"{url}: no shards here", *kept], "")
    status, lines, _ = command(capsys, "delete", "--yes", "--unlisted", url)
    unlisted = [f"runs/mine/{name}" for name in mine if name.endswith("tfrecord")]
    assert content(emulator, bucket_name) == {name: value for name, value in foreign.items() if name not in unlisted}


FOREIGN_OBJECTS = {
    "val-00001-of-00003.tfrecord": b"of other people",
    "manifest.json": b'{"name": "an extension"}',
}


@pytest.mark.parametrize("name", FOREIGN_OBJECTS)
def test_objects_of_others_are_never_replaced(local, tmp_path, name):
    folder = tmp_path / "bucket/val"
    folder.mkdir(parents=True)
    (folder / name).write_bytes(FOREIGN_OBJECTS[name])
    url = f"file://{tmp_path}/bucket"
    with pytest.raises(GpraflowError, match=rf"val/{name}: differs .*no manifest of gpraflow lists it.*delete --unlisted --yes {url}"):
        upload(local, url, tmp_path / "upload.json", "val")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {name: FOREIGN_OBJECTS[name]}
    assert not (tmp_path / "upload.json").exists()


def test_of_two_uploads_to_one_folder_the_later_refuses(local, other, earlier, tmp_path, monkeypatch):
    """As with a bucket of Google (`test_a_run_does_not_overwrite_what_another_wrote_meanwhile`)."""
    url, arrived, go, put = f"file://{tmp_path}/bucket", threading.Event(), threading.Event(), FileBucket.put
    upload(earlier, url, tmp_path / "earlier.json", "val")

    def held(bucket, name, path, *rest):
        if name == "val/manifest.json" and path.is_relative_to(local):
            arrived.set()
            assert go.wait(60)
        put(bucket, name, path, *rest)

    monkeypatch.setattr(FileBucket, "put", held)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(upload, local, url, tmp_path / "slow.json", "val")
        assert arrived.wait(60)
        upload(other, url, tmp_path / "quick.json", "val")
        go.set()
        with pytest.raises(GpraflowError, match=seen(FOREIGN)):
            slow.result()
    assert {path.name: path.read_bytes() for path in (tmp_path / "bucket/val").iterdir()} == {
        path.name: path.read_bytes() for path in (other / "val").iterdir()
    }
    assert not (tmp_path / "slow.json").exists()


def test_checksums_that_cannot_be_forged_are_compared(local, tmp_path):
    """CRC32C can be; here only the SHA-256 differs."""
    receipt, _ = upload(local, f"file://{tmp_path}/bucket", tmp_path / "upload.json", "val")
    receipt["splits"]["val"]["sha256"] = "0" * 64
    with pytest.raises(InputError, match=r"manifest\.json: not the manifest that was uploaded"):
        shards_batches.open_split(receipt, "val")
    shard = {"bytes": 3, "rows": 3, "crc32c": checksums.crc32c(b"abc"), "sha256": "0" * 64}
    with pytest.raises(InputError, match=r"x: its SHA-256 differs from the manifest"):
        shards_manifest.verify(b"abc", {"compression": "none", "record_bytes": 1}, shard, "x")


# Docs


def test_the_table_of_faults_is_in_the_docs():
    text = (ROOT / "docs/cloud.md").read_text()
    rows = [f"| {fault} | {sees} | {left} |" for fault, (sees, left) in ROWS_OF_TABLE.items()]
    listed = re.findall(r"^\| .* \|$", text.split("fault | what you see")[1].split("\n\n")[0], flags=re.MULTILINE)
    assert listed == rows
