"""The way of a table as large as DREAM 2022's, from TSV.gz to verified shards: time and memory of each stage.

python benchmarks/full_scale.py [--rows 6739258] [--seed 0] [--folder DIR]
Each stage is the script of its rule with the sample's settings, in a process of its own; the last one reads every record back, compares
checksums and counts that every promoter of the splits is in exactly one record. The last line is JSON: rows, stages (seconds,
peak_rss_mb), seconds, peak_rss_mb, promoters of each split.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]
SPLITS = {"train": 0.95, "val": 0.025, "test": 0.025}

STAGE = """
import json, resource, runpy, sys, time
from types import SimpleNamespace
script, job = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, sys.argv[3])
class Given(SimpleNamespace):
    def items(self):
        return vars(self).items()
given = Given(log=[job["log"]], threads=2, **{name: Given(**job.get(name, {})) for name in ("input", "output", "params", "wildcards")})
start = time.perf_counter()
runpy.run_path(script, run_name="stage")["main"](given)
usage = resource.getrusage(resource.RUSAGE_SELF)
with open(job["measured"], "w") as handle:
    json.dump({"seconds": round(time.perf_counter() - start, 1), "peak_rss_mb": usage.ru_maxrss // 1024}, handle)
"""


def stage(folder, rule, **job):
    """Run the script of a rule; return its seconds and memory."""
    job |= {"log": f"{folder}/{rule}.log", "measured": f"{folder}/measured.json"}
    print(f"{rule} ...", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, "-c", STAGE, str(ROOT / f"scripts/{rule}.py"), json.dumps(job), str(ROOT / "scripts")])
    if done.returncode:
        sys.exit(Path(job["log"]).read_text()[-2000:])
    return json.loads(Path(job["measured"]).read_text())


def verify(folder):
    """Read every record back; return promoters of each split."""
    import numpy as np
    import polars as pl

    from gpraflow.shards import batches, manifest
    from gpraflow.shards import records as shards_records

    found = {}
    for split in SPLITS:
        source = batches.open_split(json.loads(Path(folder, "upload.json").read_text()), split)
        encoder = shards_records.Encoder(110, {"expression": 1})
        hashes = []
        for shard in source.manifest["shards"]:
            records = np.frombuffer(source.get(shard), np.uint8).reshape(shard["rows"], -1)
            assert not encoder.damaged(records).any(), f"{shard['name']}: a record is damaged"
            tokens = manifest.decode(records, source.manifest, ["sequence"])["sequence"]
            hashes.append(pl.Series(np.ascontiguousarray(tokens).view("S110").ravel().tolist()).hash().to_numpy())
        written = np.concatenate(hashes)
        expected = pl.scan_parquet(f"{folder}/{split}.parquet").select(pl.len()).collect().item()
        assert len(written) == expected == source.manifest["rows"], f"{split}: {len(written)} records for {expected} promoters"
        found[split] = {"promoters": expected, "records_alike": int(len(written) - len(np.unique(written)))}
    return found


def main():
    """Make the table, run the stages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=6_739_258)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", help="keep files here, and use a table that is there")
    arguments = parser.parse_args()
    import polars as pl
    from benchmarks import synthetic

    from gpraflow.sequences import neighbours

    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.folder or temporary
        table = Path(folder, f"table-{arguments.rows}-{arguments.seed}.tsv.gz")
        if not table.is_file():
            synthetic.write_table(table, arguments.rows, arguments.seed)
        scaffold = {"scaffold": "pTpA", "max_flank_edits": 4}
        scaffolds = str(ROOT / "resources/scaffolds.yaml")
        library, clusters, overlaps = (f"{folder}/{name}.parquet" for name in ("library", "clusters", "overlaps"))
        pl.DataFrame(schema=neighbours.OVERLAPS).write_parquet(overlaps)
        stages = {
            "ingest_table": {
                "input": {"table": str(table), "scaffolds": scaffolds},
                "output": {"promoters": library, "ledger": f"{folder}/ingest.tsv"},
                "params": {
                    "format": "auto",
                    "header": False,
                    "columns": {"sequence": 1, "expression": 2},
                    "expression_min": -4,
                    "expression_max": 21,
                    "scaffold": "pTpA",
                    "policy": {"duplicates": "mean"},
                },
                "wildcards": {"dataset": "library"},
            },
            "group_neighbours": {
                "input": {"promoters": library, "scaffolds": scaffolds},
                "output": {"clusters": clusters, "ledger": f"{folder}/group.tsv"},
                "params": scaffold | {"max_edits": 3, "kmer": 0},
            },
            "split_promoters": {
                "input": {"promoters": library, "clusters": clusters, "overlaps": overlaps},
                "output": {
                    "splits": [f"{folder}/{split}.parquet" for split in SPLITS],
                    "summary": f"{folder}/summary.tsv",
                    "ledger": f"{folder}/split.tsv",
                },
                "params": {
                    "method": "hash",
                    "names": list(SPLITS),
                    "fractions": SPLITS,
                    "labels": {},
                    "across": "drop",
                    "independent": "drop",
                    "seed": arguments.seed,
                },
            },
        }
        window = {"scaffold": "pTpA", "length": 110, "keep": "right", "pad": "left"}
        measured = {rule: stage(folder, rule, **job) for rule, job in stages.items()}
        for split in SPLITS:
            measured[f"shard_tfrecords {split}"] = stage(
                folder,
                "shard_tfrecords",
                input={"promoters": f"{folder}/{split}.parquet"},
                output={"manifest": f"{folder}/shards/{split}/manifest.json", "ledger": f"{folder}/{split}.tsv"},
                params=window | {"rows_per_shard": 100_000, "extra_features": [], "compression": "none", "seed": arguments.seed},
                wildcards={"split": split},
            )
        measured["upload_shards"] = stage(
            folder,
            "upload_shards",
            input={"manifests": [f"{folder}/shards/{split}/manifest.json" for split in SPLITS]},
            output={"receipt": f"{folder}/upload.json"},
            params={"splits": list(SPLITS), "url": f"file://{folder}/bucket"},
        )
        start = time.perf_counter()
        found = verify(folder)
        measured["verify"] = {"seconds": round(time.perf_counter() - start, 1)}
    total = {
        "seconds": round(sum(each["seconds"] for each in measured.values()), 1),
        "peak_rss_mb": max(each.get("peak_rss_mb", 0) for each in measured.values()),
    }
    print(json.dumps({"rows": arguments.rows, "stages": measured, "splits": found} | total))


if __name__ == "__main__":
    main()
