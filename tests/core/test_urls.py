"""Planted keys: none reaches a message, a log, a report or what Snakemake records of a job."""

import json
import subprocess
import sys

import pytest
import yaml

from gpraflow.app import cli
from gpraflow.app.plan import Plan
from gpraflow.core import config, urls
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError, GpraflowError
from gpraflow.storage import connect
from tests.conftest import ROOT

PLANTED = "pL4nt3d-s3cr3t-K3y"
LEAKS = [
    (f"https://me:{PLANTED}@host.org/a.tsv?x=1 is busy", "https://host.org/a.tsv is busy"),
    (f"GET https://host.org/a?X-Goog-Signature={PLANTED}&b=2", "GET https://host.org/a"),
    (f"gs://{PLANTED}@bucket/folder", "gs://bucket/folder"),
    (f"Max retries exceeded with url: /a/b?sig={PLANTED} (Caused by x)", "Max retries exceeded with url: /a/b (Caused by x)"),
    (f"Authorization: Bearer {PLANTED}.x-y", "Authorization: Bearer [hidden]"),
    (f'{{"access_token": "{PLANTED}", "n": 1}}', '{"access_token": "[hidden]", "n": 1}'),
    (f"upload_id={PLANTED}&name=x", "upload_id=[hidden]&name=x"),
    (f"http://[broken{PLANTED}", "http://[hidden]"),
]
HARMLESS = ["file:///data/a?b#c", "results/{run}/x.tsv", "https://zenodo.org/api", "a bearer of news", "unexpected token: 'x'", "b@c"]


@pytest.mark.parametrize(("text", "shown"), LEAKS)
def test_secrets_are_removed_from_text(text, shown):
    assert urls.redacted(text) == shown


@pytest.mark.parametrize("text", HARMLESS)
def test_other_text_is_kept(text):
    assert urls.redacted(text) == text


def test_the_whole_config():
    content = {"a": [f"see https://me:{PLANTED}@host.org/{{file}}?k={PLANTED}"], "b": {"c": f"ftp://{PLANTED}@x/y"}, "n": 3}
    assert urls.without_secrets(content) == {"a": ["see https://host.org/{file}"], "b": {"c": "ftp://x/y"}, "n": 3}


@pytest.mark.parametrize("key", ["url", "backup"])
@pytest.mark.parametrize(
    "url",
    [
        f"gs://bucket/folder?X-Goog-Signature={PLANTED}",
        f"gs://me:{PLANTED}@bucket/folder",
        f"gs://bucket/folder#{PLANTED}",
        f"https://storage.googleapis.com/bucket?X-Goog-Signature={PLANTED}",
        f"s3://{PLANTED}@bucket/folder",
    ],
)
def test_a_bucket_with_a_key_is_refused_before_the_first_job(key, url, capsys):
    with pytest.raises(ConfigError, match=rf"^bucket\.{key}: ") as raised:
        Plan({"bucket": {key: url}})
    assert PLANTED not in str(raised.value)
    with pytest.raises(ConfigError) as raised:
        connect.connect(url)
    assert PLANTED not in str(raised.value)
    assert cli.main(["--traceback", "bucket", "verify", url]) == cli.REFUSED
    assert PLANTED not in "".join(capsys.readouterr())


@pytest.mark.parametrize("url", ["file://results/{run}/[1]?*#", "gs://bucket/a/b", "gs://bucket"])
def test_other_buckets_are_not(url):
    config.check_urls({"bucket": {"url": url, "backup": ""}})


def test_messages_of_the_config(tmp_path):
    with pytest.raises(ConfigError, match=r"fetch\.mirrors\.0: 'ftp://host/\{file\}' does not match") as raised:
        config.load({"fetch": {"mirrors": [f"ftp://me:{PLANTED}@host/{{file}}"]}})
    assert PLANTED not in str(raised.value)
    path = tmp_path / "registry.yaml"
    path.write_text(f'x: {{title: "https://me:{PLANTED}@host/": 3: }}')
    with pytest.raises(GpraflowError) as raised:
        config.load_registry(path, schemas.load("registry"))
    assert PLANTED not in str(raised.value)


JOB = """
import sys
from types import SimpleNamespace
import fetch_dataset
mirror = sys.argv[1]
source = {"dataset": "x", "file": "a.tsv", "checksum": "md5:" + "0" * 32, "mirrors": [mirror]}
network = {"api": mirror, "mirrors": [mirror], "retries": 1, "timeout": 5, "offline": False, "backoff": 0.01}
params = SimpleNamespace(path="data/x/a.tsv", source=source, network=network)
fetch_dataset.main(SimpleNamespace(log=["fetch.log"], params=params, output=SimpleNamespace(receipt="receipt.json")))
"""


def test_a_job_that_cannot_reach_a_mirror(tmp_path):
    """Neither in its log, with the traceback and the warnings of libraries, nor on the terminal."""
    command = [sys.executable, "-c", JOB, f"http://me:{PLANTED}@127.0.0.1:1/a.tsv?sig={PLANTED}"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "scripts")}, capture_output=True, text=True, timeout=60)
    log = (tmp_path / "fetch.log").read_text()
    assert done.returncode == 1
    assert "http://127.0.0.1:1/a.tsv: cannot be reached" in log
    assert "Retrying (" in log
    assert "Traceback" in log
    assert PLANTED not in log + done.stdout + done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and PLANTED.encode() in path.read_bytes()]


SNAKEFILE = """
from gpraflow.core.urls import SecretUrl

rule fetch:
    output: "done"
    params: network=dict(mirrors=[SecretUrl(config["mirror"])]), source=lambda wildcards: dict(mirror=SecretUrl(config["mirror"]))
    run:
        assert params.network["mirrors"][0] == params.source["mirror"] == config["mirror"]
        open("done", "w").close()
"""


def test_what_snakemake_records_of_a_job(tmp_path):
    mirror = f"https://me:{PLANTED}@host.org/{{file}}?sig={PLANTED}"
    (tmp_path / "Snakefile").write_text(SNAKEFILE)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"mirror": mirror}))
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", "mine.yaml"]
    environment = {"PYTHONPATH": str(ROOT / "scripts"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    (record,) = (path for path in (tmp_path / ".snakemake/metadata").rglob("*") if path.is_file())
    assert "{'mirrors': ['https://host.org/{file}']}" in json.loads(record.read_text())["params"]
    leaks = [path for path in tmp_path.rglob("*") if path.is_file() and PLANTED.encode() in path.read_bytes()]
    assert leaks == [tmp_path / "mine.yaml"]
    assert PLANTED not in done.stdout + done.stderr


def test_the_rule_hides_what_its_params_hold():
    """`fetch.api`, `fetch.mirrors` and the registry's mirrors are `SecretUrl`s in workflow/rules/tables.smk."""
    rules = (ROOT / "workflow/rules/tables.smk").read_text()
    assert '"api": SecretUrl(PLAN.config["fetch"]["api"])' in rules
    assert '"mirrors": [SecretUrl(url) for url in PLAN.config["fetch"]["mirrors"]]' in rules
    file = {"name": "a.tsv", "checksum": "md5:0", "mirrors": [f"https://{PLANTED}@host/a.tsv"]}
    source = config.public_file("data/x/a.tsv", "data", {"x": {"doi": "", "files": {"library": file}}}, "registry.yaml")
    assert PLANTED not in repr(source)
    assert source["mirrors"] == file["mirrors"]
