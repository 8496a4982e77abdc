"""The workflow with a gs:// bucket, from a table to a trained model, as a user runs it."""

import json
import os
import random

import pytest

from tests.cloud.conftest import content, new_bucket
from tests.conftest import copy_workflow, snakemake

CONFIG = """\
run: tiny
input: {{table: table.tsv, duplicates: first}}
split: {{fractions: {{train: 0.8, val: 0.1, test: 0.1}}}}
shards: {{rows_per_shard: 100}}
bucket: {{url: "gs://{bucket}/of/{{run}}", location: {location}}}
model: {{name: baseline_kmer}}
evaluation: {{datasets: ""}}
"""
TARGETS = ("results/tiny/model/model.keras", "--configfile", "mine.yaml")


@pytest.mark.slow
def test_from_a_table_to_a_model(emulator, tmp_path):
    folder, bucket, draw = tmp_path / "copy", new_bucket(emulator), random.Random(3)
    copy_workflow(folder)
    rows = [f"{''.join(draw.choices('ACGT', k=80))}\t{draw.uniform(0, 17):.3f}\n" for _ in range(600)]
    (folder / "table.tsv").write_text("sequence\texpression\n" + "".join(rows))
    environment = os.environ | {"STORAGE_EMULATOR_HOST": emulator}

    (folder / "mine.yaml").write_text(CONFIG.format(bucket=bucket, location="europe-west4"))
    done = snakemake(folder, *TARGETS, env=environment)
    assert done.returncode == 1
    assert f"gpraflow: gs://{bucket}/of/tiny: this bucket is in US-CENTRAL1, but bucket.location is europe-west4" in done.stderr
    assert content(emulator, bucket) == {}

    (folder / "mine.yaml").write_text(CONFIG.format(bucket=bucket, location="us-central1"))
    done = snakemake(folder, *TARGETS, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    local = {
        f"of/tiny/{path.relative_to(folder / 'results/tiny/shards').as_posix()}": path.read_bytes()
        for path in (folder / "results/tiny/shards").glob("*/*")
    }
    assert content(emulator, bucket) == local
    assert len(local) > 8
    receipt = json.loads((folder / "results/tiny/upload.json").read_text())
    assert receipt["bucket"] == f"gs://{bucket}/of/tiny"
    about = json.loads((folder / "results/tiny/model/model.json").read_text())
    assert about["data"] == {split: entry["sha256"] for split, entry in receipt["splits"].items()}
    assert about["promoters"]["train"] == receipt["splits"]["train"]["rows"]
    assert "train/manifest.json: uploaded" in (folder / "results/tiny/logs/upload_shards.log").read_text()
