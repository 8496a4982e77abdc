"""A public data set on its way into a run: fetched from a server on loopback, then from nowhere."""

import json
import random

import pytest

from gpraflow.formats import promoters as formats_promoters
from tests.conftest import copy_workflow, snakemake
from tests.zenodo import RECORD, md5, serving

_draw = random.Random(3)


def promoters(count, of=(0, 17)):
    inserts = ("".join(_draw.choices("ACGT", k=80)) for _ in range(count))
    return "".join(f"TGCATTTTTTTCACATC{insert}GGTTACGGCTGTT\t{_draw.uniform(*of):.3f}\n" for insert in inserts).encode()


TRAIN, TEST = promoters(2000), promoters(40, (-1.4, 1.7))
REGISTRY = f"""\
dream:
  title: a tiny challenge
  licence: CC BY 4.0
  doi: 10.5281/zenodo.{RECORD}
  files:
    train: {{name: train.txt}}
    test: {{name: test.txt}}
"""
CONFIG = """\
run: tiny
fetch: {{registry: registry.yaml, api: "{api}", retries: 1, timeout: 5}}
input: {{table: "{{data}}/dream/train.txt", header: false, columns: {{sequence: 1, expression: 2}}}}
scaffold: {{insert_length: [48, 112]}}
evaluation: {{datasets: sets.tsv}}
"""
SETS = "name\ttable\theader\tsequence\texpression\texpression_min\texpression_max\ntest_set\t{data}/dream/test.txt\tfalse\t1\t2\t-5\t5\n"
OWN = ("--configfile", "mine.yaml")


def targets(run):
    return [f"results/{run}/tables/{table}.parquet" for table in ("library", "test_set")]


def prepare(folder, server):
    copy_workflow(folder)
    (folder / "registry.yaml").write_text(REGISTRY)
    (folder / "mine.yaml").write_text(CONFIG.format(api=server.api))
    (folder / "sets.tsv").write_text(SETS)
    return folder


@pytest.fixture(scope="module")
def fetched(tmp_path_factory):
    """A run up to its tables, the requests that it made, and what it said; the server is gone since."""
    with serving({"train.txt": TRAIN, "test.txt": TEST}) as server:
        folder = prepare(tmp_path_factory.mktemp("fetch") / "copy", server)
        done = snakemake(folder, *targets("tiny"), *OWN)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, server.requests, done.stderr


def state(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in (folder / "data").rglob("*")}


def test_tables_are_fetched_and_read(fetched):
    folder, requests, said = fetched
    assert (folder / "data/dream/train.txt").read_bytes() == TRAIN
    assert (folder / "data/dream/test.txt").read_bytes() == TEST
    assert sum(sent for path, _, sent in requests if path.endswith("/content")) == len(TRAIN) + len(TEST)
    assert len(requests) == 4
    receipt = json.loads((folder / "results/tiny/fetched/dream/train.txt.json").read_text())
    assert receipt["checksum"] == md5(TRAIN)
    assert f"fetch_dataset: data/dream/train.txt: {len(TRAIN):,} bytes, {md5(TRAIN)}" in said
    library = formats_promoters.read(folder / "results/tiny/tables/library.parquet")
    assert sorted(zip(library["sequence"], library["expression"], strict=True)) == sorted(
        (sequence, pytest.approx(float(expression))) for sequence, expression in (line.split("\t") for line in TRAIN.decode().splitlines())
    )
    assert formats_promoters.read(folder / "results/tiny/tables/test_set.parquet").height == 40


def test_a_second_run_and_another_one_touch_no_network(fetched):
    """Nothing runs again, even after an edit of the library. Other settings, and another run, take the files that are there."""
    folder, _, _ = fetched
    before = state(folder)
    module = folder / "scripts/gpraflow/tables/downloads.py"
    module.write_text(module.read_text() + "\n# edited\n")
    done = snakemake(folder, *targets("tiny"), *OWN)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Nothing to be done" in done.stderr
    (folder / "offline.yaml").write_text("fetch: {offline: true}\n")
    done = snakemake(folder, *targets("tiny"), *OWN, "offline.yaml", "--dry-run")
    assert "rule fetch_dataset:" in done.stdout + done.stderr
    assert "rule ingest_table:" not in done.stdout + done.stderr
    done = snakemake(folder, targets("other")[0], *OWN, "offline.yaml", "--config", "run=other")
    assert done.returncode == 0, done.stderr[-3000:]
    assert formats_promoters.read(folder / "results/other/tables/library.parquet").height == 2000
    assert state(folder) == before


def test_a_failed_job_keeps_the_part_and_the_same_command_goes_on(tmp_path):
    half, target = len(TRAIN) // 2, "results/tiny/fetched/dream/train.txt.json"
    with serving({"train.txt": TRAIN, "test.txt": TEST}) as server:
        folder = prepare(tmp_path / "copy", server)
        part = folder / "data/dream/train.txt.part"
        server.drops = [half, 0, 0]
        done = snakemake(folder, target, *OWN)
        assert done.returncode == 1
        assert "gpraflow: data/dream/train.txt: no server provides train.txt" in done.stderr
        assert "the connection broke 2 times" in done.stderr
        kept = part.stat().st_size
        assert part.read_bytes() == TRAIN[:kept]
        server.drops, server.requests[:] = [], []
        done = snakemake(folder, target, *OWN)
    assert done.returncode == 0, done.stderr[-3000:]
    assert [(wanted, sent) for _, wanted, sent in server.asked("/content")] == [(f"bytes={kept}-" if kept else None, len(TRAIN) - kept)]
    assert part.with_name("train.txt").read_bytes() == TRAIN
