"""The RO-Crate of a run refers to what is there; the files for MultiQC are read by MultiQC itself where that is installed."""

import datetime
import hashlib
import json
import shutil
import subprocess

import polars as pl
import pytest

from gpraflow.report import crate, multiqc
from tests.report.test_page import LEDGER, SCORE

NOW = datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC)
SOURCES = [
    {"what": "library", "file": "/home/me/a.tsv", "bytes": "3", "sha256": "0f" * 32, "published as": "10.5281/zenodo.1"},
    {"what": "gone", "file": "b.tsv", "bytes": "", "sha256": "file no longer exists", "published as": ""},
]
METRICS = {"datasets": {"val": SCORE | {"title": "validation", "R2": 0.7, "rho": None, "n": 50}}}
INTERVALS = [{"dataset": "val", "level": "0.950000", "inside": "0.94", "low": "0.9", "high": "0.97"}]


@pytest.fixture
def results(tmp_path):
    folder = tmp_path / "results/mine"
    for name in ("report.html", "model/model.keras", "model/.training/state", "logs/x.log", "shards/train/1", "metrics.tsv", crate.CONFIG):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return folder


def made(results, licence="CC0"):
    return crate.crate(
        results,
        run="mine",
        title="A run",
        sources=SOURCES,
        licence=licence,
        versions={"python": "3.11.7", "numpy": "2.0"},
        commit="abc",
        now=NOW,
    )


@pytest.mark.skipif(not shutil.which("rocrate-validator"), reason="needs rocrate-validator (pip install roc-validator)")
@pytest.mark.parametrize("licence", ["CC0", "https://creativecommons.org/publicdomain/zero/1.0/", ""])
def test_the_crate_is_valid(results, licence):
    (results / crate.METADATA).write_text(json.dumps(made(results, licence)))
    command = ["rocrate-validator", "-y", "validate", "--profile-identifier", "process-run-crate", str(results)]
    done = subprocess.run([*command, "--skip-availability-check"], capture_output=True, text=True, timeout=120)
    if "URLError" in done.stdout:
        pytest.skip("rocrate-validator fetches the context of the crate from w3id.org, which cannot be reached")
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_reference_is_described_and_every_file_is_there(results):
    content = made(results)
    entities = {entity["@id"]: entity for entity in content["@graph"]}
    assert len(entities) == len(content["@graph"])
    referred = set()

    def walk(part):
        if isinstance(part, dict):
            if set(part) == {"@id"}:
                referred.add(part["@id"])
            for value in part.values():
                walk(value)
        elif isinstance(part, list):
            for value in part:
                walk(value)

    walk(content["@graph"])
    assert referred - set(entities) == {"https://w3id.org/ro/crate/1.1"}
    files = {name: entity for name, entity in entities.items() if entity["@type"] == "File"}
    assert set(files) == {"report.html", "model/model.keras", "metrics.tsv", crate.CONFIG}
    for name, entity in files.items():
        assert entity["sha256"] == hashlib.sha256(name.encode()).hexdigest()
        assert entity["contentSize"] == str(len(name))
    assert "/home" not in json.dumps(content)


def test_the_action_joins_inputs_code_and_results(results):
    entities = {entity["@id"]: entity for entity in made(results)["@graph"]}
    action = entities["#run"]
    assert [each["@id"] for each in action["object"]] == [f"#{'0f' * 32}", "#b.tsv", crate.CONFIG]
    assert {each["@id"] for each in action["result"]} == {"report.html", "model/model.keras", "metrics.tsv"}
    instrument = entities[action["instrument"]["@id"]]
    assert instrument["softwareVersion"].endswith("(commit abc)")
    assert [each["@id"] for each in instrument["softwareRequirements"]] == ["pkg:generic/python@3.11.7", "pkg:pypi/numpy@2.0"]
    assert entities[f"#{'0f' * 32}"]["identifier"] == "10.5281/zenodo.1"


@pytest.mark.parametrize(
    ("licence", "place", "name"),
    [
        ("CC0", "#licence", "CC0"),
        ("", "#licence", "not stated"),
        ("https://creativecommons.org/licenses/by/4.0/", "https://creativecommons.org/licenses/by/4.0/", None),
        (crate.LICENCE, crate.LICENCE, "MIT License"),
    ],
)
def test_the_licence_is_an_entity(results, licence, place, name):
    entities = {entity["@id"]: entity for entity in made(results, licence)["@graph"]}
    assert entities["./"]["license"] == {"@id": place}
    assert entities[place]["name"] == (name or licence)


@pytest.fixture
def contents(tmp_path):
    (tmp_path / "ledger.tsv").write_text(LEDGER)
    rows = pl.read_csv(tmp_path / "ledger.tsv", separator="\t", schema_overrides={"dataset": pl.String})
    return multiqc.content("mine", rows, METRICS, INTERVALS)


def test_reads_and_promoters_of_each_sample_add_up(contents):
    reads = contents["gpraflow_reads_mqc.json"]
    assert reads["data"] == {"mine: 1": {"no flank": 9, "quality": 11, "counted": 80}, "mine: 2": {"quality": 0, "counted": 50}}
    assert contents["gpraflow_promoters_mqc.json"]["data"] == {"mine: library": {"near-duplicates": 3, "in splits": 27}}
    scores = contents["gpraflow_scores_mqc.json"]["data"]
    assert scores == {"mine: validation": {"Pearson r": 0.9, "R2": 0.7, "promoters": 50, "coverage of 95 % intervals": 0.94}}


def test_a_run_of_a_table_has_no_reads():
    rows = pl.DataFrame({"rule": ["split_promoters"], "dataset": ["library"], "kind": ["out"], "what": ["rows"], "rows": [5]})
    assert set(multiqc.content("mine", rows, METRICS, [])) == {"gpraflow_promoters_mqc.json", "gpraflow_scores_mqc.json"}


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("multiqc"), reason="needs MultiQC (pip install multiqc)")
def test_multiqc_shows_all_files(contents, tmp_path):
    multiqc.write(contents, tmp_path / "mine")
    done = subprocess.run(["multiqc", "--quiet", "-o", "report", "mine"], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    (data,) = (tmp_path / "report").glob("*_data")
    shown = json.loads((data / "multiqc_data.json").read_text())
    text = json.dumps(shown)
    for part in ("mine: 1", "mine: validation", "near-duplicates"):
        assert part in text
    named = {path.name for path in data.iterdir()}
    assert {f"multiqc_gpraflow_{name}_plot.txt" for name in ("reads", "promoters", "scores")} <= named
