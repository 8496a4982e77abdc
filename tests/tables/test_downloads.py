"""Downloads against a real HTTP server on loopback (tests/zenodo.py)."""

import errno
import hashlib
import io
import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from gpraflow.core import progress
from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.tables import downloads
from tests.zenodo import RECORD, md5, serving

CONTENT = random.Random(5).randbytes(1_000_000)
OTHER = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
MD5 = md5(CONTENT)
DOI = f"10.5281/zenodo.{RECORD}"
CONTENT_PATH = f"/api/records/{RECORD}/files/train.txt/content"


@pytest.fixture
def server():
    with serving({"train.txt": CONTENT, "val.txt": b"ACGT\t1\n", "test_ids.tar.gz": b"x"}) as running:
        yield running


@pytest.fixture
def path(tmp_path):
    return tmp_path / "data/dream/train.txt"


def source(**other):
    return downloads.Source(**{"dataset": "dream", "file": "train.txt", "doi": DOI, "registry": "datasets.yaml"} | other)


def network(server, **other):
    return downloads.Network(**{"api": server.api, "retries": 3, "timeout": 5, "backoff": 0.01} | other)


def names(path):
    return sorted(entry.name for entry in path.parent.iterdir())


def leave_part(path, content, checksum=MD5, size=1_000_000):
    path.parent.mkdir(parents=True)
    path.with_name("train.txt.part").write_bytes(content)
    path.with_name("train.txt.part.json").write_text(json.dumps({"checksum": checksum, "bytes": size}))


def test_a_file_is_fetched_with_the_checksum_of_the_api(server, path):
    about = downloads.fetch(path, source(), network(server))
    assert path.read_bytes() == CONTENT
    assert about == {"doi": DOI, "file": "train.txt", "checksum": md5(CONTENT), "bytes": 1_000_000}
    assert json.loads(path.with_name("train.txt.fetched.json").read_text()) == about
    assert names(path) == ["train.txt", "train.txt.fetched.json"]
    assert server.requests == [[f"/api/records/{RECORD}", None, 0], [CONTENT_PATH, None, 1_000_000]]


@pytest.mark.parametrize("doi", ["https://doi.org/10.5281/zenodo.10633252", "doi:10.5281/ZENODO.10633252", "10.5281/zenodo.10633251"])
def test_spellings_of_a_doi_and_the_doi_of_all_versions(server, path, doi):
    downloads.fetch(path, source(doi=doi), network(server))
    assert path.read_bytes() == CONTENT


def test_another_doi_is_refused(server, path):
    with pytest.raises(
        ConfigError, match=r"datasets\.yaml, dream\.doi: '10\.1038/x' is not a Zenodo DOI, such as 10\.5281/zenodo\.1234567"
    ):
        downloads.fetch(path, source(doi="10.1038/x"), network(server))
    assert server.requests == []


def test_a_second_call_touches_no_network(server, path):
    about = downloads.fetch(path, source(), network(server))
    server.requests.clear()
    before = path.stat()
    assert downloads.fetch(path, source(), network(server)) == about
    assert downloads.fetch(path, source(), network(server, offline=True)) == about
    assert server.requests == []
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_file_of_the_users_own_is_taken_if_its_checksum_is_right(server, path):
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    about = downloads.fetch(path, source(), network(server))
    assert server.asked("/content") == []  # only the API
    assert json.loads(path.with_name("train.txt.fetched.json").read_text()) == about
    server.requests.clear()
    downloads.fetch(path, source(), network(server))
    assert server.requests == []


@pytest.mark.parametrize(("content", "said"), [(OTHER, md5(OTHER)), (CONTENT[:-1], "999999 bytes, expected 1000000 bytes")])
def test_another_file_at_the_place_is_left_alone(server, path, content, said):
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"train\.txt: not train\.txt of dream") as caught:
        downloads.fetch(path, source(), network(server))
    assert said in str(caught.value)
    assert md5(CONTENT) in str(caught.value)
    assert "move the file elsewhere" in str(caught.value)
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    "change",
    [
        {"checksum": 5},
        {"checksum": "crc:12"},
        {"checksum": None},
        {"checksum": "md5:\u00b2"},
        {"checksum": [1]},
        {"bytes": "3"},
        {"bytes": 5},
    ],
)
def test_a_damaged_receipt_of_an_earlier_download(server, path, change):
    """It is not used: without network the file cannot be checked, with network Zenodo is asked."""
    about = downloads.fetch(path, source(), network(server))
    receipt = path.with_name("train.txt.fetched.json")
    receipt.write_text(json.dumps(about | change))
    if "checksum" in change:
        with pytest.raises(GpraflowError, match="checksum is unknown"):
            downloads.fetch(path, source(), network(server, offline=True))
    elif change["bytes"] == 5:
        with pytest.raises(InputError, match="5 bytes"):
            downloads.fetch(path, source(), network(server, offline=True))
        return
    assert downloads.fetch(path, source(), network(server)) == about
    assert json.loads(receipt.read_text()) == about
    receipt.write_text("[" * 100_000)
    assert downloads.fetch(path, source(), network(server)) == about


def test_a_fetched_file_that_was_changed_since_is_noticed_without_network(server, path):
    downloads.fetch(path, source(), network(server))
    server.requests.clear()
    path.write_bytes(OTHER)
    with pytest.raises(InputError, match=r"not train\.txt of dream"):
        downloads.fetch(path, source(), network(server, offline=True))
    assert server.requests == []


def test_a_file_of_another_version_is_not_taken_for_this_one(server, path):
    path.parent.mkdir(parents=True)
    path.write_bytes(OTHER)
    about = {"doi": "10.5281/zenodo.7395397", "file": "train.txt", "checksum": md5(OTHER), "bytes": len(OTHER)}
    path.with_name("train.txt.fetched.json").write_text(json.dumps(about))
    with pytest.raises(InputError, match=r"not train\.txt of dream"):
        downloads.fetch(path, source(), network(server))


def test_offline_with_the_registrys_checksum(server, path):
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    given = "sha256:" + hashlib.sha256(CONTENT).hexdigest().upper()
    about = downloads.fetch(path, source(checksum=given), network(server, offline=True))
    assert about["checksum"] == given.lower()
    assert server.requests == []


def test_offline_without_file_or_checksum_says_what_to_do(server, path):
    with pytest.raises(GpraflowError, match=r"is missing, and fetch\.offline is true.*download train\.txt from doi\.org/10\.5281"):
        downloads.fetch(path, source(), network(server, offline=True))
    path.parent.mkdir(parents=True)
    path.write_bytes(CONTENT)
    with pytest.raises(GpraflowError, match=r"checksum is unknown.*datasets\.yaml, dream.*train\.txt\.fetched\.json"):
        downloads.fetch(path, source(), network(server, offline=True))
    assert server.requests == []


# Connections


def test_a_dropped_connection_goes_on_where_it_was(server, path):
    server.drops = [300_000, 200_000]
    downloads.fetch(path, source(), network(server, retries=1))  # each time bytes were gained: more breaks than repetitions
    assert path.read_bytes() == CONTENT
    first, second, third = server.asked("/content")
    assert first == [CONTENT_PATH, None, 300_000]
    kept = int(second[1].removeprefix("bytes=").removesuffix("-"))
    assert 300_000 - downloads.BLOCK < kept <= 300_000
    assert second[2] == 200_000
    assert third[2] == 1_000_000 - int(third[1].removeprefix("bytes=").removesuffix("-"))


def test_a_connection_that_always_breaks_keeps_what_came(server, path):
    server.drops = [200_000, 0, 0, 0, 0, 0]
    with pytest.raises(GpraflowError, match=r"the connection broke 3 times at .* bytes") as caught:
        downloads.fetch(path, source(), network(server, retries=2))
    assert "the same command resumes from there" in str(caught.value)
    part = path.with_name("train.txt.part")
    kept = part.stat().st_size
    assert part.read_bytes() == CONTENT[:kept]
    assert kept > 200_000 - downloads.BLOCK
    assert names(path) == ["train.txt.part", "train.txt.part.json"]
    server.drops, server.requests[:] = [], []
    downloads.fetch(path, source(), network(server))
    assert server.asked("/content") == [[CONTENT_PATH, f"bytes={kept}-", 1_000_000 - kept]]
    assert path.read_bytes() == CONTENT
    assert names(path) == ["train.txt", "train.txt.fetched.json"]


def test_a_server_that_ignores_range_is_started_anew(server, path):
    leave_part(path, CONTENT[:400_000])
    server.ranges = False
    downloads.fetch(path, source(), network(server))
    assert server.asked("/content") == [[CONTENT_PATH, "bytes=400000-", 1_000_000]]
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_whole_asks_for_no_byte(server, path):
    leave_part(path, CONTENT)
    downloads.fetch(path, source(), network(server))
    assert server.asked("/content") == []
    assert path.read_bytes() == CONTENT


@pytest.mark.parametrize("about", [(md5(OTHER), len(OTHER)), (md5(CONTENT), 7), None])
def test_a_part_of_another_version_is_not_glued(server, path, about):
    leave_part(path, OTHER[:400_000], *(about or ()))
    if about is None:
        path.with_name("train.txt.part.json").unlink()
    downloads.fetch(path, source(), network(server))
    assert server.asked("/content") == [[CONTENT_PATH, None, 1_000_000]]
    assert path.read_bytes() == CONTENT


def test_a_damaged_part_costs_one_more_download(server, path):
    leave_part(path, bytes(400_000))
    downloads.fetch(path, source(), network(server))
    assert server.asked("/content") == [[CONTENT_PATH, "bytes=400000-", 600_000], [CONTENT_PATH, None, 1_000_000]]
    assert path.read_bytes() == CONTENT


def test_a_part_beyond_the_end_is_started_anew_when_the_size_is_not_known(server, path):
    leave_part(path, CONTENT + b"more", size=None)
    downloads.fetch(path, source(checksum=md5(CONTENT)), network(server))
    assert [(wanted, sent) for _, wanted, sent in server.asked("/content")] == [("bytes=1000004-", 0), (None, 1_000_000)]
    assert path.read_bytes() == CONTENT


def test_429_is_waited_for_as_long_as_the_server_says(server, path, capsys):
    server.answers = [("/content", 429, [("Retry-After", "1")])]
    began = time.monotonic()
    downloads.fetch(path, source(), network(server))
    assert 1 <= time.monotonic() - began < 5
    assert [sent for *_, sent in server.asked("/content")] == [0, 1_000_000]
    assert "the server returned HTTP 429; retrying in 1 s" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("headers", "waited"),
    [
        ([("Retry-After", "86400")], 300),
        ([("X-RateLimit-Reset", "{now+40}")], 40),
        ([("Retry-After", "soon")], 0),
        ([], 0),
    ],
)
def test_waits_are_capped_and_zenodos_own_header_is_read(server, path, monkeypatch, headers, waited):
    waits = []
    monkeypatch.setattr(downloads, "time", SimpleNamespace(sleep=waits.append, time=time.time, monotonic=time.monotonic))
    headers = [(key, value.replace("{now+40}", str(int(time.time()) + 40))) for key, value in headers]
    server.answers = [(f"/records/{RECORD}", 429, headers)]
    downloads.fetch(path, source(), network(server))
    assert waits == [pytest.approx(waited, abs=1.5)]
    assert path.read_bytes() == CONTENT


def test_5xx_is_tried_again_and_then_told(server, path):
    server.answers = [("/api", 503, [])] * 3
    downloads.fetch(path, source(), network(server))
    assert len(server.asked("/api/records")) == 3 + 2
    path.unlink()
    server.answers = [("/api", 503, [])] * 9
    with pytest.raises(GpraflowError, match=r"train\.txt: http://127\.0\.0\.1:\d+/api/records/\d+ returned HTTP 503 .*try again later"):
        downloads.fetch(path, source(), network(server, retries=2))
    assert not path.exists()


def test_a_server_that_is_not_there(server, path):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        gone = network(server, api=f"http://127.0.0.1:{closed.getsockname()[1]}/api", retries=1)
        with pytest.raises(GpraflowError, match=r"cannot be reached \(.*refused.*\); check the network, or copy the file to") as caught:
            downloads.fetch(path, source(), gone)
    assert "object at" not in str(caught.value)
    assert not path.parent.exists()


def test_a_server_that_falls_silent(server, path):
    server.delay = 3
    with pytest.raises(GpraflowError, match=r"broke 1 times at 0 bytes \(.*timed out"):
        downloads.fetch(path, source(), network(server, timeout=0.3, retries=0))


# Records


def test_a_record_that_is_not_there(server, path):
    with pytest.raises(InputError, match=r"datasets\.yaml, dream: Zenodo has no record 999 .*returned HTTP 404.*correct the doi"):
        downloads.fetch(path, source(doi="10.5281/zenodo.999"), network(server))


def test_a_file_that_is_not_in_the_record(server, path):
    with pytest.raises(InputError) as caught:
        downloads.fetch(path, source(file="trian.txt"), network(server))
    assert str(caught.value) == (
        "datasets.yaml, dream: record 10633252 has no file 'trian.txt'; did you mean 'train.txt'? "
        "(it has test_ids.tar.gz, train.txt, val.txt); correct the name"
    )


def test_a_record_without_files(server, path):
    server.files.clear()
    with pytest.raises(InputError, match="it lists no files; access may be restricted"):
        downloads.fetch(path, source(), network(server))


def test_an_answer_that_is_no_record(server, path):
    server.answers = [("/api", 200, [])]
    with pytest.raises(InputError, match="it lists no files"):
        downloads.fetch(path, source(), network(server))
    with pytest.raises(InputError, match="Zenodo has no record"):
        downloads.fetch(path, source(), network(server, api=server.url))


# Checksums and mirrors


def test_a_wrong_checksum_leaves_nothing_and_says_so(server, path):
    server.served["train.txt"] = OTHER
    with pytest.raises(GpraflowError) as caught:
        downloads.fetch(path, source(), network(server))
    for part in (str(path), f"Zenodo ({DOI})", md5(OTHER), md5(CONTENT), "no data are kept", "fetch.mirrors", "datasets.yaml, dream"):
        assert part in str(caught.value)
    assert names(path) == []


def test_a_wrong_size_is_seen_before_the_download(server, path):
    server.served["train.txt"] = CONTENT + b"x"
    with pytest.raises(GpraflowError, match="offers 1000001 bytes, expected 1000000"):
        downloads.fetch(path, source(), network(server))
    assert names(path) == []


def test_the_next_mirror_is_taken_after_a_wrong_checksum(server, path):
    server.served["train.txt"] = OTHER
    with serving({"train.txt": CONTENT}) as mirror:
        downloads.fetch(path, source(mirrors=[f"{mirror.url}/mirror/dream/train.txt"]), network(server))
        assert mirror.requests == [["/mirror/dream/train.txt", None, 1_000_000]]
    assert path.read_bytes() == CONTENT


def test_a_mirror_goes_on_where_zenodo_broke(server, path):
    server.drops = [500_000, 0, 0]
    with serving({"train.txt": CONTENT}) as mirror:
        downloads.fetch(path, source(mirrors=[f"{mirror.url}/mirror/dream/train.txt"]), network(server, retries=1))
        ((_, begin, sent),) = mirror.requests
    assert begin == f"bytes={1_000_000 - sent}-"
    assert sent < 500_000 + downloads.BLOCK
    assert path.read_bytes() == CONTENT


def test_mirrors_of_the_config_come_first_and_with_a_checksum_zenodo_is_not_asked(server, path):
    mirrors = [f"{server.url}/nothing/{{file}}", f"{server.url}/mirror/{{dataset}}/{{file}}"]
    downloads.fetch(path, source(checksum=md5(CONTENT)), network(server, mirrors=mirrors))
    assert [asked for asked, *_ in server.requests] == ["/nothing/train.txt", "/mirror/dream/train.txt"]
    assert path.read_bytes() == CONTENT


def test_zenodo_that_contradicts_the_registry_is_not_downloaded(server, path):
    with pytest.raises(GpraflowError, match=f"has {md5(CONTENT)}, but {md5(OTHER)} is expected"):
        downloads.fetch(path, source(checksum=md5(OTHER)), network(server))
    assert server.asked("/content") == []


def test_a_mirror_alone_with_a_checksum(server, path):
    own = source(doi="", checksum="sha256:" + hashlib.sha256(CONTENT).hexdigest(), mirrors=[f"{server.url}/mirror/dream/train.txt"])
    downloads.fetch(path, own, network(server))
    assert path.read_bytes() == CONTENT
    assert server.asked("/api") == []


def test_messages_and_records_hold_no_password(server, path, capsys):
    secret = server.url.replace("http://", "http://me:secret@") + "/mirror/none/train.txt?token=secret"
    with pytest.raises(GpraflowError) as caught:
        downloads.fetch(path, source(doi="", checksum=md5(CONTENT), mirrors=[secret]), network(server))
    assert "/mirror/none/train.txt: returned HTTP 404" in str(caught.value)
    assert "secret" not in str(caught.value) + capsys.readouterr().out


@pytest.mark.parametrize("checksum", ["crc32:00", "md5:xyz", "d41d8cd98f00b204e9800998ecf8427e"])
def test_checksums_that_cannot_be_computed(server, path, checksum):
    with pytest.raises(ConfigError, match=r"md5:\.\.\., sha1:\.\.\., sha256:\.\.\., sha512:\.\.\. in hexadecimal"):
        downloads.fetch(path, source(checksum=checksum), network(server))


# Disks and processes


def test_a_full_disk_is_seen_beforehand(server, path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=999_999))
    with pytest.raises(GpraflowError, match=r"needs 1\.0 MB more, but only 999,999 bytes are free"):
        downloads.fetch(path, source(), network(server))
    assert names(path) == []


def test_a_disk_that_fills_up_keeps_what_came(server, path):
    """A limit on the size of files stands for the full disk: writes fail in the same manner."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, limits[1]))
    try:
        with pytest.raises(GpraflowError) as caught:
            downloads.fetch(path, source(), network(server))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.strerror(errno.EFBIG) in str(caught.value)
    assert "at 300,000 bytes; free space" in str(caught.value)
    assert path.with_name("train.txt.part").read_bytes() == CONTENT[:300_000]
    server.requests.clear()
    downloads.fetch(path, source(), network(server))
    assert server.asked("/content") == [[CONTENT_PATH, "bytes=300000-", 700_000]]
    assert path.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written(server, path):
    path.parent.parent.mkdir()
    path.parent.write_text("a file where the folder should be")
    with pytest.raises(GpraflowError, match=r"train\.txt\.part: .*(exists|Not a directory).*; choose another folder \(key data\)"):
        downloads.fetch(path, source(), network(server))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(server, path):
    path.parent.mkdir(parents=True)
    path.parent.chmod(0o500)
    with pytest.raises(GpraflowError, match=r"Permission denied; choose another folder \(key data\)"):
        downloads.fetch(path, source(), network(server))


FETCH = """
import json, sys
from gpraflow.tables import downloads
path, source, network = json.loads(sys.argv[1])
downloads.fetch(path, downloads.Source(**source), downloads.Network(**network))
"""


def process(root, path, server):
    arguments = json.dumps([str(path), vars(source()), vars(network(server))])
    return subprocess.Popen(
        [sys.executable, "-c", FETCH, arguments], env={**os.environ, "PYTHONPATH": str(root / "scripts")}, stdout=subprocess.DEVNULL
    )


def wait_for_part(path, size):
    part, deadline = path.with_name("train.txt.part"), time.monotonic() + 30
    while not (part.exists() and part.stat().st_size >= size):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return part


def test_a_killed_download_goes_on_where_it_was(root, server, path):
    server.delay = 0.02
    with process(root, path, server) as running:
        part = wait_for_part(path, 200_000)
        os.kill(running.pid, signal.SIGKILL)
    kept = part.stat().st_size
    assert not path.exists()
    assert 200_000 <= kept < 1_000_000
    server.delay, server.requests[:] = 0.0, []
    downloads.fetch(path, source(), network(server))
    assert server.asked("/content") == [[CONTENT_PATH, f"bytes={kept}-", 1_000_000 - kept]]
    assert path.read_bytes() == CONTENT


def test_two_processes_share_one_download(root, server, path):
    server.delay = 0.01
    with process(root, path, server) as running:
        wait_for_part(path, 100_000)
        downloads.fetch(path, source(), network(server))
        assert running.wait(30) == 0
    assert [sent for *_, sent in server.asked("/content")] == [1_000_000]
    assert path.read_bytes() == CONTENT
    assert names(path) == ["train.txt", "train.txt.fetched.json"]


# Progress


class Terminal(io.StringIO):
    def __init__(self, live):
        super().__init__()
        self.live = live

    def isatty(self):
        return self.live


def test_lines_where_there_is_no_terminal(server, path, monkeypatch):
    monkeypatch.setattr(progress, "LINE_EVERY", 0.05)
    server.delay = 0.01
    terminal = Terminal(live=False)
    downloads.fetch(path, source(), network(server), terminal)
    lines = terminal.getvalue().splitlines()
    assert len(lines) > 5
    assert all(line.startswith("fetch_dataset: ") for line in lines)
    assert any(" bytes of 1.0 MB (5" in line and line.endswith("/s") for line in lines)


def test_a_bar_on_a_terminal(server, path):
    terminal = Terminal(live=True)
    leave_part(path, CONTENT[:500_000])
    downloads.fetch(path, source(), network(server), terminal)
    assert "fetch_dataset train.txt:  50%" in terminal.getvalue()
    assert "1.00M/1.00M" in terminal.getvalue()
