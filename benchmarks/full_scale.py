"""The way of a table as large as DREAM 2022's, from TSV.gz to verified shards: time and memory of each stage.

python benchmarks/full_scale.py [--rows 6739258] [--seed 0] [--cores 2] [--folder DIR]
Snakemake runs the workflow's rules with their defaults; seconds and memory are those of its benchmark files, with Python's start. The
last stage reads every record back, compares checksums and counts that every promoter of the splits is in exactly one record. The last line
is JSON: stages (seconds, cpu_seconds, peak_rss_mb), seconds and cpu_seconds (sums of the stages), seconds_with_snakemake, peak_rss_mb,
promoters of each split.
"""

import json
import tempfile
from pathlib import Path

import common
import synthetic


def verify(results):
    """Read every record back; return promoters of each split."""
    import numpy as np
    import polars as pl

    from gpraflow.shards import batches, manifest
    from gpraflow.shards import records as shards_records

    receipt = json.loads((results / "upload.json").read_text())
    form, found = common.shard_options(), {}
    for split in receipt["splits"]:
        source = batches.open_split(receipt, split)
        encoder = shards_records.Encoder(form["length"], {"expression": 1})
        hashes = []
        for shard in source.manifest["shards"]:
            records = np.frombuffer(source.get(shard), np.uint8).reshape(shard["rows"], -1)
            assert not encoder.damaged(records).any(), f"{shard['name']}: a record is damaged"
            tokens = manifest.decode(records, source.manifest, ["sequence"])["sequence"]
            hashes.append(pl.Series(np.ascontiguousarray(tokens).view(f"S{form['length']}").ravel().tolist()).hash().to_numpy())
        written = np.concatenate(hashes)
        expected = pl.scan_parquet(results / f"splits/{split}.parquet").select(pl.len()).collect().item()
        assert len(written) == expected == source.manifest["rows"], f"{split}: {len(written)} records for {expected} promoters"
        found[split] = {"promoters": expected, "records_alike": int(len(written) - len(np.unique(written)))}
    return found


def measure(arguments, folder):
    """Make the table, run the rules in a folder, verify."""
    table = folder / f"table-{arguments.rows}-{arguments.seed}.tsv.gz"
    if not table.is_file():
        synthetic.write_table(table, arguments.rows, arguments.seed)
    given = {"input": {"table": str(table.absolute())}, "bucket": {"url": f"file://{folder.absolute()}/bucket"}, "seed": arguments.seed}
    target = f"results/{common.RUN}/upload.json"
    with common.timed() as whole:
        common.run_rules(folder, [common.CONFIG, given], "--forceall", "--", target, cores=arguments.cores)
    stages = common.costs(folder)
    with common.timed() as lap:
        splits = verify(folder / "results" / common.RUN)
    stages["verify"] = {"seconds": round(lap.seconds, 1), "cpu_seconds": round(lap.cpu_seconds, 1), "peak_rss_mb": common.peak_rss_mb()}
    common.finish(
        arguments,
        None,
        "no other program goes this way",
        stages=stages,
        seconds=round(sum(each["seconds"] for each in stages.values()), 1),
        seconds_with_snakemake=round(whole.seconds + lap.seconds, 1),
        peak_rss_mb=max(each.get("peak_rss_mb", 0) for each in stages.values()),
        cpu_seconds=round(sum(each["cpu_seconds"] for each in stages.values()), 1),
        splits=splits,
    )


def main():
    """Run all in the given folder, or a temporary one."""
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, default=6_739_258)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="keep files here, and use a table that is there")
    arguments = common.parse(parser, rows=5_000)
    with tempfile.TemporaryDirectory() as temporary:
        measure(arguments, arguments.folder or Path(temporary))


if __name__ == "__main__":
    main()
