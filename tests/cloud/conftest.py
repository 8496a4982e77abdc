import itertools
import json
import urllib.parse
import urllib.request

import pytest

from tests.cloud import servers

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def emulator():
    """URL of a fake-gcs-server."""
    with servers.fake_gcs_server() as url:
        yield url


@pytest.fixture
def proxy(emulator, monkeypatch):
    """A `servers.FaultProxy` before the emulator; Google's library goes through it, and waits little."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    from gpraflow.storage import google

    with servers.fault_proxy(emulator) as proxy:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", proxy.url)
        monkeypatch.setattr(google, "RETRY", DEFAULT_RETRY.with_delay(initial=0.01, maximum=0.1).with_timeout(60))
        yield proxy


@pytest.fixture
def bucket_name(emulator):
    """Name of a new bucket of the emulator."""
    return new_bucket(emulator)


def new_bucket(emulator):
    name = f"bucket-{next(_numbers)}"
    ask(emulator, "/storage/v1/b?project=tests", json.dumps({"name": name}).encode())
    return name


def ask(emulator, path, data=None, method=None):
    request = urllib.request.Request(f"{emulator}{path}", data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


def content(emulator, name):
    """Return object -> content of a bucket, asked without Google's library."""
    listed = json.loads(ask(emulator, f"/storage/v1/b/{name}/o")).get("items", [])
    return {
        item["name"]: ask(emulator, f"/download/storage/v1/b/{name}/o/{urllib.parse.quote(item['name'], '')}?alt=media") for item in listed
    }


def store(emulator, name, objects):
    """Put objects into a bucket without Google's library."""
    for key, value in objects.items():
        ask(emulator, f"/upload/storage/v1/b/{name}/o?uploadType=media&name={urllib.parse.quote(key, '')}", value)
