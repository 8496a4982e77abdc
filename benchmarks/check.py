"""Time and memory of `gpraflow check` on a large table, on the reads of many bins, and on DNA and RNA counts.

python benchmarks/check.py [--rows 2000000] [--reads 6000000] [--bins 18] [--rounds 3] [--seed 0]
Each check is a process of its own, the slowest of all rounds. The last line is JSON: table_seconds, reads_seconds, counts_seconds, the
same as table_cpu_seconds and so on, peak_rss_mb.
"""

import gzip
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import common
import numpy as np

FIVE, THREE = b"TGCATTTTTTTCACATC", b"GGTTACGGCTGTT"
BASES = np.frombuffer(b"ACGT", np.uint8)


def letters(rng, rows, length):
    """Return random sequences as rows of bytes."""
    return BASES[rng.integers(0, 4, (rows, length), dtype=np.uint8)]


def joined(*parts):
    """Return rows of letters and constant texts side by side, each row with a line ending."""
    rows = max(len(part) for part in parts if isinstance(part, np.ndarray))
    wide = [part if isinstance(part, np.ndarray) else np.broadcast_to(np.frombuffer(part, np.uint8), (rows, len(part))) for part in parts]
    return np.concatenate([*wide, np.full((rows, 1), ord("\n"), np.uint8)], axis=1).tobytes()


def digits(values, width):
    """Return numbers as rows of digits."""
    return (values[:, None] // 10 ** np.arange(width)[::-1] % 10 + ord("0")).astype(np.uint8)


def write_table(path, rng, rows):
    with gzip.open(path, "wb", compresslevel=1) as handle:
        handle.write(b"sequence\texpression\n")
        for start in range(0, rows, 100_000):
            number = min(100_000, rows - start)
            units, rest = digits(rng.integers(0, 18, number), 2), digits(rng.integers(0, 1000, number), 3)
            handle.write(joined(FIVE, letters(rng, number, 80), THREE, b"\t", units, b".", rest))


def write_reads(folder, rng, reads, bins):
    library = letters(rng, max(1000, reads // 100), 80)
    for each in range(bins):
        with gzip.open(folder / f"b{each}.fastq.gz", "wb", compresslevel=1) as handle:
            for start in range(0, reads // bins, 100_000):
                chosen = library[rng.integers(0, len(library), min(100_000, reads // bins - start))]
                handle.write(
                    joined(
                        b"@read\n", letters(rng, len(chosen), 13), FIVE, chosen, THREE, letters(rng, len(chosen), 27), b"\n+\n" + b"F" * 150
                    )
                )
    (folder / "reads.tsv").write_text("bin\treads\n" + "".join(f"b{each}\tb{each}.fastq.gz\n" for each in range(bins)))


def write_counts(path, rng, rows):
    with gzip.open(path, "wb", compresslevel=1) as handle:
        handle.write(b"sequence\tdna_1\trna_1\tdna_2\trna_2\n")
        for start in range(0, rows, 100_000):
            number = min(100_000, rows - start)
            counts = [digits(rng.integers(0, 1000, number), 3) for _ in range(4)]
            handle.write(joined(letters(rng, number, 110), *(part for count in counts for part in (b"\t", count))))


CONFIGS = {
    "table": "run: big\ninput: {table: table.tsv.gz}\nevaluation: {datasets: ''}\n",
    "reads": "run: big\ncounts: {sample_sheet: reads.tsv, cells: reads}\nevaluation: {datasets: ''}\n",
    "counts": "run: big\ncounts: {kind: dna_rna, table: counts.tsv.gz, sample_sheet: replicates.tsv}\nevaluation: {datasets: ''}\n"
    "input: {expression_min: -15, expression_max: 15}\nscaffold: {name: none}\n",
}


def main():
    parser = common.parser(__doc__)
    parser.add_argument("--rows", type=int, default=2_000_000)
    parser.add_argument("--reads", type=int, default=6_000_000)
    parser.add_argument("--bins", type=int, default=18)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    options = common.parse(parser, rows=3000, reads=8000, bins=2, rounds=1)
    rng = np.random.default_rng(options.seed)
    seconds, cpu = dict.fromkeys(CONFIGS, 0.0), dict.fromkeys(CONFIGS, 0.0)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_table(folder / "table.tsv.gz", rng, options.rows)
        write_reads(folder, rng, options.reads, options.bins)
        write_counts(folder / "counts.tsv.gz", rng, options.rows)
        (folder / "replicates.tsv").write_text("replicate\tdna\trna\n1\tdna_1\trna_1\n2\tdna_2\trna_2\n")
        for name, text in CONFIGS.items():
            (folder / f"{name}.yaml").write_text(text)
        code = f"import sys; sys.path.insert(0, {str(common.ROOT / 'scripts')!r}); from gpraflow.app import cli; sys.exit(cli.main())"
        for _ in range(options.rounds):
            for name in CONFIGS:
                started, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
                command = [sys.executable, "-c", code, "check", f"{name}.yaml"]
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
                seconds[name] = max(seconds[name], time.perf_counter() - started)
                after = resource.getrusage(resource.RUSAGE_CHILDREN)
                cpu[name] = max(cpu[name], after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
                if done.returncode:
                    sys.exit(f"{name}: {done.stdout}{done.stderr}")
                if name == "reads" and "% of each bin's reads" not in done.stdout and "of a bin's reads" not in done.stdout:
                    sys.exit(done.stdout)
    for name, value in seconds.items():
        print(f"{name}: {value:.1f} s, {cpu[name]:.1f} s of CPU time")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    figures = {f"{name}_seconds": round(value, 2) for name, value in seconds.items()}
    figures |= {f"{name}_cpu_seconds": round(value, 2) for name, value in cpu.items()}
    common.finish(options, None, "no other program inspects the inputs of a run", **figures, peak_rss_mb=peak)


if __name__ == "__main__":
    main()
