"""What the benchmarks share: the path to the library, options, timing, runs of the workflow's rules, the line of JSON.

The last line that each program prints is a JSON object with these keys and the program's own figures, which its docstring names:

benchmark     the program, without ``.py``
smallest      whether it ran at its smallest size: such figures show that the program works, not how fast it is
settings      its options
alternative   what ours is compared with in the same run; null if nothing was
skipped       why nothing was compared; only where ``alternative`` is null

This module needs the standard library only, so that programs can run under a Python without gpraflow's dependencies.
"""

import argparse
import contextlib
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]  # this checkout's library, not an installed one; `tests` has emulators

RUN = "benchmark"
TABLE = "table.tsv.gz"
CONFIG = {  # a table as `synthetic.write_table` writes it; other keys have their defaults
    "run": RUN,
    "input": {"table": TABLE, "header": False, "columns": {"sequence": 1, "expression": 2}, "duplicates": "mean"},
}


# Options and result


def parser(documentation: str) -> argparse.ArgumentParser:
    """Return a parser of options whose help is the program's docstring."""
    found = argparse.ArgumentParser(description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False)
    found.add_argument("--smallest", action="store_true", help="run within seconds, to see that the program works")
    return found


def parse(parser: argparse.ArgumentParser, **smallest) -> argparse.Namespace:
    """Return the options; with ``--smallest`` those of ``smallest`` are the defaults."""
    if "--smallest" in sys.argv[1:]:
        parser.set_defaults(**smallest)
    return parser.parse_args()


def finish(options: argparse.Namespace, alternative: str | None, skipped: str = "", **figures) -> None:
    """Print the line of JSON; ``skipped`` says why there is no alternative."""
    assert bool(alternative) != bool(skipped), "name the alternative, or say why there is none"
    settings = {name: value for name, value in vars(options).items() if name != "smallest"}
    line = {"benchmark": Path(sys.argv[0]).stem, "smallest": options.smallest, "settings": settings, "alternative": alternative}
    print(json.dumps(line | ({"skipped": skipped} if skipped else {}) | figures, default=str), flush=True)


COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#999999")  # Okabe and Ito, and grey


# Time and memory


class Lap:
    """Seconds on the clock and of the processor, once the block of `timed` has ended."""

    seconds = cpu_seconds = float("nan")


@contextlib.contextmanager
def timed() -> Iterator[Lap]:
    """Measure a block."""
    lap, started, before = Lap(), time.perf_counter(), time.process_time()
    yield lap
    lap.seconds, lap.cpu_seconds = time.perf_counter() - started, time.process_time() - before


def peak_rss_mb() -> int:
    """Return the peak memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


# Other processes


def last_line(command: Sequence[str], timeout: float | None = None) -> dict:
    """Run a command and return its last line, which is JSON; raises `subprocess.TimeoutExpired` after ``timeout`` seconds."""
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=timeout)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def call(module: str, function: str, *arguments, python: str | Path = sys.executable, timeout: float | None = None) -> dict:
    """Call a function of a benchmark in a fresh Python process, and return what it returns; all of it has to fit into JSON."""
    code = "import importlib, json, sys; sys.path.insert(0, sys.argv[1]); "
    code += "print(json.dumps(getattr(importlib.import_module(sys.argv[2]), sys.argv[3])(*json.loads(sys.argv[4]))))"
    return last_line([python, "-c", code, str(ROOT / "benchmarks"), module, function, json.dumps(arguments)], timeout)


# The workflow's rules


@contextlib.contextmanager
def config_files(configs: Sequence[dict | str | Path]) -> Iterator[list[str]]:
    """Provide the paths of config files; those given as content are temporary files."""
    with tempfile.TemporaryDirectory() as temporary:
        files = []
        for number, config in enumerate(configs):
            if isinstance(config, dict):
                path = Path(temporary, f"{number}.yaml")
                path.write_text(json.dumps(config))  # JSON is YAML
                config = path
            files.append(str(config))
        yield files


def run_rules(folder: Path | str, configs: Sequence[dict | str | Path], *arguments: str, cores: int = 2) -> None:
    """Run Snakemake with this checkout's rules in a folder of one's own.

    Parameters
    ----------
    folder
        Where results go, and where relative paths begin.
    configs
        Config files, paths from the current folder, or what is in them; later ones win.
    arguments
        Further ones of Snakemake: options, then ``--`` and the files to make.
    cores
        As Snakemake's.
    """
    with config_files(configs) as files:
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "workflow/Snakefile"), "--directory", str(folder)]
        command += ["--cores", str(cores), "--configfile", *files, *arguments]
        done = subprocess.run(command, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stderr[-3000:]}")


def costs(folder: Path | str, run: str = RUN) -> dict[str, dict[str, float]]:
    """Return job -> ``seconds``, ``cpu_seconds`` and ``peak_rss_mb`` of a run, from the benchmark files that Snakemake wrote.

    All include Python's start. CPU time and memory are what Snakemake saw from time to time; 0 for a job that ended before it looked.
    """
    found = {}
    for path in sorted(Path(folder, "results", run, "benchmarks").glob("*.tsv")):
        with path.open(newline="") as handle:
            (row,) = csv.DictReader(handle, delimiter="\t")
        cpu, memory = (float(row[key]) if row[key].replace(".", "").isdigit() else 0.0 for key in ("cpu_time", "max_rss"))
        found[path.stem] = {"seconds": float(row["s"]), "cpu_seconds": cpu, "peak_rss_mb": memory}
    return found


def shard_options() -> dict:
    """Return what rule `shard_tfrecords` passes to `gpraflow.shards.write.write` for the train split, with `CONFIG`."""
    from gpraflow.app.plan import Plan

    plan = Plan(CONFIG)
    scaffold, shards = plan.config["scaffold"], plan.config["shards"]
    window = {key: scaffold[key] for key in ("length", "keep", "pad")}
    form = {"rows_per_shard": shards["rows_per_shard"], "extra_features": plan.extra_features, "compression": shards["compression"]}
    return {"split": "train", "scaffold": scaffold["name"], **window, **form, "seed": plan.seed_of("shards")}
