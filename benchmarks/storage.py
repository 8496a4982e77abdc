"""Speed of uploading shards to gs://, beside a plain loop over the same files with the same client.

python benchmarks/storage.py [--megabytes 1000] [--rounds 3] [--seed 0]
Both upload the same shards to an emulator of Google Cloud Storage on loopback (fake-gcs-server, in memory, a new one each time), in turn,
as often as --rounds. Ours also reads every shard beforehand to compare it with its manifest, asks what is there, compares checksums
and looks at all objects again. Says nothing of Google's own speed, where eight objects at a time hide the way there and back. The last
line is JSON: megabytes, shards, loop_mb_per_s and ours_mb_per_s (medians), and ratio_vs_copy (median of the rounds' ratios).
"""

import os
import statistics
import tempfile
from pathlib import Path

import common
import synthetic


def copy_loop(folder, emulator):
    """Upload files one after the other, as the library's documentation does."""
    from google.cloud import storage

    bucket = storage.Client(project=None).bucket(emulator)
    for path in sorted(folder.iterdir()):
        bucket.blob(f"loop/train/{path.name}").upload_from_filename(path)


def ours(folder, emulator):
    """Upload the split as the workflow does."""
    from gpraflow.shards import upload as shards_upload

    shards_upload.upload({"train": folder / "manifest.json"}, f"gs://{emulator}/ours", folder.parent / "upload.json")


def seconds_of(upload, folder):
    """Return how long an upload to a fresh emulator takes."""
    from tests.cloud import conftest, servers

    with servers.fake_gcs_server() as url:
        os.environ["STORAGE_EMULATOR_HOST"] = url
        bucket = conftest.new_bucket(url)
        with common.timed() as lap:
            upload(folder, bucket)
        return lap.seconds


def main():
    """Write shards, upload them each way in turn."""
    parser = common.parser(__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = common.parse(parser, megabytes=4, rounds=1)
    from gpraflow.shards import records, write

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "train"
        form = common.shard_options()
        record = len(records.layout(form["length"], {"expression": 1})[0])
        table = synthetic.promoter_table(arguments.megabytes * 1_000_000 // record, arguments.seed)
        manifest = write.write(table, folder / "manifest.json", threads=2, **form)
        del table
        for upload in (copy_loop, ours):  # imports, and the files in the page cache
            seconds_of(upload, folder)
        rounds = []
        for number in range(arguments.rounds):
            order = (copy_loop, ours) if number % 2 == 0 else (ours, copy_loop)
            rounds.append({upload.__name__: seconds_of(upload, folder) for upload in order})
            print(rounds[-1], flush=True)
    megabytes = sum(shard["bytes"] for shard in manifest["shards"]) / 1e6
    common.finish(
        arguments,
        "a loop over upload_from_filename",
        megabytes=round(megabytes),
        shards=len(manifest["shards"]),
        loop_mb_per_s=round(statistics.median(megabytes / each["copy_loop"] for each in rounds), 1),
        ours_mb_per_s=round(statistics.median(megabytes / each["ours"] for each in rounds), 1),
        ratio_vs_copy=round(statistics.median(each["copy_loop"] / each["ours"] for each in rounds), 2),
    )


if __name__ == "__main__":
    main()
