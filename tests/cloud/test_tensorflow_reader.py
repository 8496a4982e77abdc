"""TensorFlow's own gs:// reader, which knows Google's hosts only, through a proxy on loopback that answers for them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpraflow.shards import upload
from tests.cloud import libraries, servers
from tests.cloud.servers import Fault

ROOT = Path(__file__).parents[2]
ROWS = 530
# In a process of its own, because TensorFlow looks at proxies and certificates once; in one, because its import takes long.
PROGRAM = """
import json, sys
import tensorflow as tf
from gpraflow.shards import batches, tf_batches, upload
receipt = upload.read_receipt(sys.argv[1])
try:
    tf.io.gfile.exists(receipt["bucket"] + "/x")
except tf.errors.UnimplementedError:
    print(json.dumps({"without": True}))
    sys.exit()

def read():
    rows, tokens = [], 0
    for batch in tf_batches.tf_batches(batches.open_split(receipt, "val"), 32, drop_remainder=False):
        rows += batch["expression"].numpy()[batch["mask"].numpy() > 0].tolist()
        tokens += int((batch["sequence"].numpy() < 4).sum())
    return rows, tokens

rows, tokens = read()
try:
    again = read()
    damage = "none"
except tf.errors.DataLossError as error:
    damage = error.message
print(json.dumps({"rows": rows, "tokens": tokens, "damage": damage}))
"""


def test_tensorflow_reads_shards_and_refuses_a_record_that_changes_on_the_way(proxy, emulator, bucket_name, tmp_path):
    path = libraries.write(tmp_path / "shards", "val", ROWS, 100)
    upload.upload({"val": path}, f"gs://{bucket_name}/x", tmp_path / "upload.json")
    with servers.tls_proxy(emulator, tmp_path) as google:
        google.faults = [Fault("GET", "val-00003-of-00006.tfrecord", corrupt_answer=700, skip=1)]
        own = {
            "STORAGE_EMULATOR_HOST": proxy.url,
            "HTTPS_PROXY": google.url,
            "NO_PROXY": "127.0.0.1",
            "CURL_CA_BUNDLE": str(google.certificate),
            "NO_GCE_CHECK": "true",
            "HOME": str(tmp_path),
            "KERAS_BACKEND": "tensorflow",
            "PYTHONPATH": str(ROOT / "scripts"),
        }
        kept = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy") and not key.startswith("GOOGLE_")}
        command = [sys.executable, "-c", PROGRAM, str(tmp_path / "upload.json")]
        done = subprocess.run(command, env=kept | own, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    if "without" in found:
        pytest.skip("this TensorFlow was built without gs://")
    assert sorted(found["rows"]) == list(range(ROWS))
    assert found["tokens"] == ROWS * libraries.LENGTH
    assert sum("tfrecord" in path for _, path, _ in google.requests) >= 12  # it was TensorFlow that asked, each time anew
    assert "corrupted record" in found["damage"]
