"""Speed and memory of counting reads, beside cutadapt's linked adapters followed by counting.

python benchmarks/reads.py [--reads 1000000] [--distinct 100000] [--rounds 3] [--fast2q PROGRAM] [--growth 1 4 16] [--seed 0]
Both count the same gzip file of 150-bp reads on 2 cores, each as a process of its own, in turns, the best of all rounds. The last line is
JSON: reads_per_s (the counting alone, without Python's start), peak_rss_mb, ratio_vs_cutadapt (whole processes, two edits in each flank;
cutadapt writes trimmed.fastq.gz, which is counted then; also counted from its pipe, and so with no edits), whether counts equal cutadapt's
with no edits (with edits it prefers a flank with two edits to an exact one further on); the same for reads with errors, and of those that
both accept (of the first million) the share with the same insert. With --fast2q, 2FAST2Q (doi:10.7717/peerj.14041; PROGRAM is its
2fast2q) extracts and counts the inserts of the file without errors once: fast2q_seconds, of the whole process, and whether counts are
equal (fast2q_counts_equal); both null without it. With --growth, peak memory after so many millions of reads of a library of 500,000 and
of one of 10,000,000 inserts.
"""

import csv
import gzip
import importlib.util
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from pathlib import Path

import common
import numpy as np
import polars as pl

from gpraflow.assay import inserts as assay_inserts
from gpraflow.assay import reads
from gpraflow.core.ledger import Ledger

FIVE, THREE = "TGCATTTTTTTCACATC", "GGTTACGGCTGTT"
BEFORE, BEHIND = b"GATTCGAAC", b"TCTTAATTAAAAAAAGATAGAAAACATTAGGAGTGTAACACAAGACTTT"
POLICY = assay_inserts.Policy(FIVE, THREE)
BASES = np.frombuffer(b"ACGT", np.uint8)
COMPARED = 1_000_000  # reads whose inserts are compared one by one


def write(path, number, distinct, errors, seed):
    """Write reads of random inserts of 80 bp (4 in 5), 79 and 81 bp with four-level qualities."""
    rng = np.random.default_rng([seed, 1])
    own = np.random.default_rng([seed, 2, *path.name.encode()])
    with gzip.open(path, "wb", compresslevel=1) as handle:
        for start in range(0, number, 100_000):
            chosen = own.integers(0, distinct, min(100_000, number - start))
            # The insert is its number, scrambled: no table of 10 million inserts is kept.
            words = (chosen[:, None].astype(np.uint64) + np.arange(1, 4, dtype=np.uint64) * np.uint64(distinct)) * np.uint64(
                0x9E3779B97F4A7C15
            )
            words ^= words >> np.uint64(29)
            words *= np.uint64(0xBF58476D1CE4E5B9)
            words ^= words >> np.uint64(32)
            inserts = BASES[(words[:, :, None] >> np.arange(0, 64, 2, dtype=np.uint64) & np.uint64(3)).reshape(len(chosen), 96)]
            lengths = np.array([80, 80, 80, 80, 80, 80, 80, 80, 79, 81])[chosen % 10]
            rows = np.empty((len(chosen), 150), np.uint8)
            for length in (79, 80, 81):
                of = lengths == length
                head, tail = BEFORE + FIVE.encode(), THREE.encode() + BEHIND
                rows[of, : len(head)] = np.frombuffer(head, np.uint8)
                rows[of, len(head) : len(head) + length] = inserts[of, :length]
                rows[of, len(head) + length :] = np.frombuffer(tail, np.uint8)[: 150 - len(head) - length]
            if errors:
                wrong = own.random(rows.shape) < errors
                rows[wrong] = BASES[own.integers(0, 4, wrong.sum())]
            quality = np.frombuffer(b"#-8F", np.uint8)[rng.choice(4, rows.shape, p=[0.005, 0.02, 0.05, 0.925])]
            lines = zip(rows, quality, strict=True)
            handle.write(b"".join(b"@SIM:%d\n%b\n+\n%b\n" % (start + i, s.tobytes(), q.tobytes()) for i, (s, q) in enumerate(lines)))


def ours(target, paths):
    """Count in this process and write the counts as the workflow does; return rows, reads, seconds of the counting and peak memory (MB)."""
    with common.timed() as lap:
        table = reads.count(paths, POLICY, Ledger("count_reads", "a"), threads=2)
    memory = common.peak_rss_mb()
    table.write_parquet(target)
    return {"distinct": table.height, "reads": int(table["reads"].sum()), "seconds": lap.seconds, "rss": memory}


def ours_in_process(target, *paths):
    """Count in a fresh process; return seconds of the whole process and what `ours` returns."""
    with common.timed() as lap:
        said = common.call("reads", "ours", str(target), [str(path) for path in paths])
    return lap.seconds, said


def cutadapt(path, *options, edits=2):
    """Return cutadapt's command with both flanks required whole and so many edits in each."""
    adapter = f"{FIVE};required;o={len(FIVE)};e={edits}...{THREE};required;o={len(THREE)};e={edits}"
    return [sys.executable, "-m", "cutadapt", "--quiet", "-j", "2", "-g", adapter, "--discard-untrimmed", *options, str(path)]


def theirs(path, edits, trimmed=None):
    """Count what cutadapt leaves, from its pipe or from the FASTQ file that it writes first; return seconds and counts."""
    with common.timed() as lap:
        if trimmed:
            subprocess.run(cutadapt(path, "-o", str(trimmed), edits=edits), check=True)
            with gzip.open(trimmed) as handle:
                counts = Counter(islice(handle, 1, None, 4))
        else:
            with subprocess.Popen(cutadapt(path, "--fasta", edits=edits), stdout=subprocess.PIPE) as process:
                counts = Counter(line for line in process.stdout if not line.startswith(b">"))
    return lap.seconds, {insert.rstrip().decode(): number for insert, number in counts.items()}


def fast2q(program, path, folder):
    """Extract and count with 2FAST2Q, with no edits in the flanks and any quality; return seconds and counts."""
    (given := folder / "given").mkdir()
    (given / path.name).symlink_to(path)
    options = {"--s": given, "--o": folder, "--mo": "EC", "--us": FIVE, "--ds": THREE, "--ph": 1, "--qsu": 1, "--qsd": 1, "--cp": 2}
    with common.timed() as lap:
        subprocess.run(
            [program, "-c", *(str(part) for option in options.items() for part in option)], stdout=subprocess.DEVNULL, check=True
        )
    (table,) = folder.glob("2FAST2Q_output_*/compiled.csv")
    with open(table, newline="", encoding="utf-8") as handle:
        return lap.seconds, {insert: int(number) for insert, number in islice(csv.reader(handle), 1, None)}


def agreement(path):
    """Return reads that both accept, the share of them with the same insert, and of the others those whose exact flanks we took."""
    lines = subprocess.run(cutadapt(path), capture_output=True, text=True, check=True).stdout.splitlines()
    inserts = dict(zip(lines[::4], lines[1::4], strict=True))
    with gzip.open(path, "rt") as handle:
        records = handle.read().splitlines()
    names, sequences = records[::4], records[1::4]
    rows = np.zeros((len(sequences), 152), np.uint8)
    rows[:, :150] = np.frombuffer("".join(sequences).encode(), np.uint8).reshape(-1, 150)
    both = same = exact = 0
    for start in range(0, len(rows), 8192):
        part = slice(start, start + 8192)
        found = assay_inserts.find_inserts(rows[part], np.full(len(rows[part]), 150), POLICY)
        for name, sequence, first, last, ok in zip(
            names[part], sequences[part], found.start, found.end, found.ok & ~found.reverse, strict=True
        ):
            if ok and name in inserts:
                both += 1
                same += sequence[first:last] == inserts[name]
                exact += sequence[first:last] != inserts[name] and f"{FIVE}{sequence[first:last]}{THREE}" in sequence
    return {"both_accept": both, "same_insert": same / both, "other_insert_but_ours_between_exact_flanks": exact}


def compare(path, folder, rounds):
    """Count a file each way in turns; return name -> list of seconds and results."""
    ways = {"ours": lambda: ours_in_process(folder / "counts.parquet", path)}
    if importlib.util.find_spec("cutadapt"):
        ways["cutadapt"] = lambda: theirs(path, 2, folder / "trimmed.fastq.gz")
        ways["cutadapt_piped"] = lambda: theirs(path, 2)
        ways["cutadapt_piped_without_edits"] = lambda: theirs(path, 0)
    found = {name: [] for name in ways}
    for _ in range(rounds):
        for name, run in ways.items():
            found[name].append(run())
        print(f"{path.name}: " + ", ".join(f"{name} {turns[-1][0]:.2f} s" for name, turns in found.items()), flush=True)
    return found


def main():
    """Generate, count both ways, compare."""
    parser = common.parser(__doc__)
    parser.add_argument("--reads", type=int, default=1_000_000)
    parser.add_argument("--distinct", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--fast2q", metavar="PROGRAM", help="2fast2q, of a Python of its own")
    parser.add_argument("--growth", type=int, nargs="*", default=[], metavar="MILLIONS")
    parser.add_argument("--seed", type=int, default=0)
    arguments = common.parse(parser, reads=2_000, distinct=200, rounds=1)
    if not arguments.fast2q:
        print("2FAST2Q is left out; its program was not given (--fast2q)", flush=True)
    summary = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        exact, faulty, target = (folder / name for name in ("exact.fastq.gz", "faulty.fastq.gz", "counts.parquet"))
        write(exact, arguments.reads, arguments.distinct, 0, arguments.seed)
        write(faulty, arguments.reads, arguments.distinct, 0.003, arguments.seed)
        for kind, path in (("", exact), ("_with_errors", faulty)):
            turns = compare(path, folder, arguments.rounds)
            runs = turns.pop("ours")
            fastest = min(seconds for seconds, _ in runs)
            summary[f"reads_per_s{kind}"] = round(arguments.reads / min(said["seconds"] for _, said in runs))
            summary[f"peak_rss_mb{kind}"] = max(said["rss"] for _, said in runs)
            summary |= {f"ratio_vs_{name}{kind}": round(min(each[0] for each in times) / fastest, 2) for name, times in turns.items()}
            if path is exact and turns:
                counts = turns["cutadapt_piped_without_edits"][-1][1]
                summary["counts_equal"] = dict(pl.read_parquet(target).iter_rows()) == counts
            if path is exact:
                seconds, counts = fast2q(arguments.fast2q, exact, folder) if arguments.fast2q else (None, None)
                summary["fast2q_seconds"] = seconds and round(seconds, 2)
                summary["fast2q_counts_equal"] = counts and dict(pl.read_parquet(target).iter_rows()) == counts
        if turns:
            if arguments.reads > COMPARED:
                faulty = folder / "fewer.fastq.gz"
                write(faulty, COMPARED, arguments.distinct, 0.003, arguments.seed)
            summary["agreement_with_errors"] = agreement(faulty)
        for distinct in (500_000, 10_000_000) if arguments.growth else ():
            lanes = [folder / f"lane_{distinct}_{number}.fastq.gz" for number in range(max(arguments.growth))]
            with ProcessPoolExecutor(2) as pool:
                list(pool.map(write, lanes, *zip(*[(1_000_000, distinct, 0, arguments.seed)] * len(lanes), strict=True)))
            for millions in arguments.growth:
                _, said = ours_in_process(target, *lanes[:millions])
                print(f"{millions} M reads of {distinct:,} inserts: {said}", flush=True)
                summary.setdefault("memory", []).append({"library": distinct, **{k: round(v, 1) for k, v in said.items()}})
            for lane in lanes:
                lane.unlink()
    if turns:
        common.finish(arguments, "cutadapt, and counting what it leaves" + (", 2FAST2Q" if arguments.fast2q else ""), **summary)
    else:
        common.finish(arguments, None, "cutadapt is not installed (pip install cutadapt)", **summary)


if __name__ == "__main__":
    main()
