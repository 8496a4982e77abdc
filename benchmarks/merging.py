"""Memory and time of merging the counts of 18 bins, sequencing errors included.

python benchmarks/merging.py [--inserts 3500000 ...] [--seed 0]
Half of the inserts (random, 80 bp) are parents, with five reads in each of four bins; the other half are copies of them with one wrong
base, with one read in one bin. Each number of inserts is merged in a process of its own, as rule `merge_counts` does, with two threads.
The last line is JSON: for each number of inserts seconds, cpu_seconds, peak_rss_mb, parents (promoters of the table of counts) and
whether they are those that were made.
"""

import resource
import tempfile
from pathlib import Path

import common
import numpy as np
import polars as pl
import synthetic

BINS = 18
_ROWS = 500_000


def write(folder, number, seed):
    """Write the counts of each bin to a folder of its own."""
    rng = np.random.default_rng(seed)
    for index in range(BINS):
        (folder / f"bin{index}").mkdir()
    for begin in range(0, number // 2, _ROWS):
        size = min(_ROWS, number // 2 - begin)
        parents = synthetic.random_inserts(size, rng)
        errors, at = parents.copy(), rng.integers(0, 80, size)
        errors[np.arange(size), at] = synthetic.BASES[(np.searchsorted(synthetic.BASES, errors[np.arange(size), at]) + 1) % 4]
        of = np.arange(size) % BINS
        for inserts, reads, shifts in ((parents, 5, (0, 3, 7, 11)), (errors, 1, (0,))):
            texts = pl.Series("insert", inserts.view("S80").ravel()).cast(pl.String)
            for shift in shifts:
                for index in range(BINS):
                    chosen = texts[np.flatnonzero((of + shift) % BINS == index)]
                    path = folder / f"bin{index}" / f"{begin}.{reads}.{shift}.parquet"
                    pl.DataFrame({"insert": chosen, "reads": pl.repeat(reads, len(chosen), dtype=pl.Int64, eager=True)}).write_parquet(path)


def merge(folder):
    """Merge in this process, write the table, and return what it took."""
    from gpraflow.assay import counts
    from gpraflow.core import files
    from gpraflow.sequences.scaffold import Scaffold

    with common.timed() as lap:
        tables = [(str(index), pl.scan_parquet(f"{folder}/bin{index}/*.parquet")) for index in range(BINS)]
        flanks = Scaffold("pTpA", synthetic.FIVE_PRIME.decode(), synthetic.THREE_PRIME.decode())
        table, _ = counts.merge(tables, flanks, 2, 2, threads=2, folder=folder)
        files.write_parquet(f"{folder}/counts.parquet", table)
    memory, rows = common.peak_rss_mb(), pl.scan_parquet(f"{folder}/counts.parquet")
    columns = [str(index) for index in range(BINS)]
    parents, reads = rows.select(pl.len(), pl.sum_horizontal(pl.sum(*columns)).alias("reads")).collect(engine="streaming").row(0)
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "seconds": round(lap.seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "peak_rss_mb": memory,
        "parents": parents,
        "reads": reads,
    }


def main():
    """Make counts, merge them."""
    parser = common.parser(__doc__)
    parser.add_argument("--inserts", type=int, nargs="+", default=[3_500_000])
    parser.add_argument("--seed", type=int, default=0)
    arguments = common.parse(parser, inserts=[2_000])
    found = []
    for number in arguments.inserts:
        with tempfile.TemporaryDirectory() as temporary:
            write(Path(temporary), number, arguments.seed)
            figures = common.call("merging", "merge", temporary)
        right = (figures["parents"], figures.pop("reads")) == (number // 2, number // 2 * 21)
        found.append({"inserts": number, **figures, "right": right})
        print(found[-1], flush=True)
    common.finish(arguments, None, "no other program merges counts with their sequencing errors across bins", merged=found)


if __name__ == "__main__":
    main()
