"""Limits of memory and disk in messages: which rule met a limit, what the limit is, and which config keys need less.

A library can end its process where memory is refused (``abort``), and the kernel can kill it; then no message comes from the job itself.
`ended` finds such jobs in Snakemake's log after a run that failed.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import TextIO

from gpraflow.core.errors import no_memory

# Config keys that lower what a rule needs; the memory of other rules grows with the library alone.
MEMORY_KEYS = {
    "simulate_assay": "lower simulate.reads or simulate.promoters",
    "count_reads": "raise reads.min_mean_quality, since erroneous reads add distinct inserts",
    "merge_counts": "set reads.collapse_edits: 0, or name the designed sequences in reads.design",
    "group_neighbours": "lower neighbours.max_edits, or set neighbours.kmer: 0",
    "find_overlaps": "lower neighbours.max_edits",
    "find_nearest": "lower neighbours.max_edits",
    "train_model": "lower training.batch_size, or choose a smaller model.preset",
    "train_permuted": "lower training.batch_size, or choose a smaller model.preset",
    "find_learning_rate": "lower training.batch_size, or choose a smaller model.preset",
    "tune_trial": "lower training.batch_size in tuning.space and training, or choose a smaller model.preset",
    "calibrate_model": "lower prediction.batch_size",
    "predict_promoters": "lower prediction.batch_size",
    "explain_model": "lower prediction.batch_size or explain.promoters",
}
# Where a rule writes, other than below results/ of the working directory.
DISK_KEYS = {"upload_shards": "bucket.url", "fetch_dataset": "data", "train_model": "bucket.backup"}
# Peak memory of rules that hold something of a whole library: MB in any case, and bytes for each promoter (ingest_table: each row;
# merge_counts: each distinct insert), measured with inserts of 80 bp and 2 threads ("Larger libraries" and "Counting reads" in
# docs/benchmarks.md).
MEMORY_NEEDED = {
    "ingest_table": (500, 17),
    "group_neighbours": (900, 20),
    "split_promoters": (600, 50),
    "shard_tfrecords": (200, 135),
    "merge_counts": (1_800, 160),
}
_CGROUPS = Path("/sys/fs/cgroup")
_FIRST, _PER_CORE = 256 << 20, 16 << 20  # bytes of address space that a job needs beyond its imports, in all and for each core
_UNLIMITED = 1 << 60  # bytes; cgroups of version 1 show a huge number for no limit
_WORDS = 4000  # bytes at the end of a log in which its last words are sought
_FAILED = re.compile(r"^Error in (?:rule|group job) (?:\S+_)?(\w+)\b.*:$")
_LOG = re.compile(r"^ +log: (.+?)(?: \(check log file.*)?$")
_KILLED = re.compile(r"SIGKILL|returned non-zero exit status 137|OUT_OF_MEMORY")  # the last is Slurm's


def rule_of(log: str | os.PathLike) -> str:
    """Return the rule of a log file: ``results/<run>/logs/<rule>[.<wildcards>].log``."""
    return Path(log).name.partition(".")[0]


def needed(rule: str, items: int) -> int:
    """Return about how many bytes of memory a rule of `MEMORY_NEEDED` needs for so many promoters or inserts."""
    megabytes, each = MEMORY_NEEDED[rule]
    return megabytes * 1_000_000 + each * items


def expect(rule: str, items: int, what: str, terminal: TextIO | None = None) -> None:
    """Print about how much memory a rule needs, and a warning if that is more than there is; the warning also to ``terminal``."""
    size = needed(rule, items)
    print(f"memory: about {_amount(size)} for {items:,} {what}; at most {least()[1]}", flush=True)
    if text := too_large(rule, size):
        print(f"warning: {text}", file=terminal or sys.stderr, flush=True)


def too_large(rule: str, size: int) -> str:
    """Return a warning if a rule needs more memory than there is; otherwise an empty string."""
    limit, text = least()
    if size <= limit:
        return ""
    advice = f", or {MEMORY_KEYS[rule]}" if rule in MEMORY_KEYS else ""
    return (
        f"{rule} needs about {_amount(size)} of memory, but the limit is {text}, so that it will probably be ended; take a larger machine "
        f"or raise the limit{advice}"
    )


def memory() -> list[str]:
    """Return the limits of memory that hold for this process, and how much the machine has."""
    return [text for _, text in _limits()]


def least() -> tuple[int, str]:
    """Return the lowest limit of memory in bytes, and what it is."""
    return min(_limits(), default=(sys.maxsize, "an unknown amount"))


def _limits() -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    try:
        import resource
    except ImportError:  # Windows
        return found
    for name, command in (("RLIMIT_AS", "ulimit -v"), ("RLIMIT_DATA", "ulimit -d")):
        if (limit := resource.getrlimit(getattr(resource, name))[0]) != resource.RLIM_INFINITY:
            found.append((limit, f"{_amount(limit)} per process ({command})"))
    if of_group := _of_cgroup():
        found.append((of_group[0], f"{_amount(of_group[0])} for all processes of the job or container ({of_group[1]})"))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    found.append((total, f"{_amount(total)} in this machine"))
    return found


def _of_cgroup(process: str | os.PathLike = "/proc/self/cgroup", root: Path = _CGROUPS) -> tuple[int, Path] | None:
    """Return the lowest limit of this process's control groups, in bytes, and the file that holds it."""
    found = []
    try:
        lines = Path(process).read_text(encoding="utf-8").splitlines()
    except OSError:
        return None
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if controllers else (root, "memory.max")
        folder = top / path.lstrip("/")
        for place in [folder, *folder.parents]:
            if not place.is_relative_to(top):
                break
            try:
                limit = int((place / name).read_text(encoding="utf-8"))
            except (OSError, ValueError):  # no such group in this container, or "max"
                continue
            if limit < _UNLIMITED:
                found.append((limit, place / name))
    return min(found, default=None)


def too_little(rule: str) -> str:
    """Return a message if the limit of address space (``ulimit -v``) leaves a job too little to begin; otherwise an empty string.

    Polars and JAX start a thread for each core. Where that fails, they may wait for ever for threads that are not there.
    """
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (ImportError, OSError):  # not Linux
        return ""
    needed = _FIRST + _PER_CORE * len(os.sched_getaffinity(0))
    if limit == resource.RLIM_INFINITY or limit - used >= needed:
        return ""
    return out_of_memory(rule, f"{_amount(max(0, limit - used))} are left when the job begins, {_amount(needed)} is the least")


def out_of_memory(rule: str, reason: str) -> str:
    """Return the message for a rule that was refused memory, or killed for it."""
    advice = f"{MEMORY_KEYS[rule]}; or " if rule in MEMORY_KEYS else ""
    return (
        f"{rule}: not enough memory ({reason}). Limits: {', '.join(memory())}. To need less, {advice}run fewer jobs at a time (--cores), "
        f"or with one thread (--set-threads {rule}=1); otherwise raise the limit (ulimit -v, the batch system's memory) or take a larger "
        "machine"
    )


def disk(rule: str) -> str:
    """Return where a rule's files can go instead."""
    key = f"; the config key {DISK_KEYS[rule]} says where its other files go" if rule in DISK_KEYS else ""
    return f"Rule {rule} writes below results/ of the working directory, which --directory changes{key}"


def ended(snakemake_logs: Iterable[str | os.PathLike]) -> Iterator[str]:
    """Yield a message for each job that was ended without one of its own, since memory was refused or the kernel killed it.

    Parameters
    ----------
    snakemake_logs
        Snakemake's own logs of a run that failed.
    """
    lines, seen = [], set()
    for path in snakemake_logs:
        with contextlib.suppress(OSError):
            lines += Path(path).read_text(encoding="utf-8", errors="replace").splitlines()
    ends = [number for number, line in enumerate(lines) if _FAILED.match(line.strip())]
    for before, number, after in zip([0, *ends], ends, [*ends[1:], len(lines)], strict=False):
        about = list(takewhile(lambda line: line.startswith("    "), lines[number + 1 : after]))
        log = next((match[1] for line in about if (match := _LOG.match(line))), "")
        if not log or log in seen:
            continue
        seen.add(log)
        rule, words = rule_of(log), _last_words(log)
        # How the script ended is written before "Error in rule", what an executor says of it after that.
        killed = [line for line in [*lines[before:number], *about] if _KILLED.search(line) and (f".{rule}.py" in line or line in about)]
        if "Traceback (most recent call last)" in words:
            continue  # the job said what was wrong
        if no_memory(words):
            last = next(text.strip() for text in reversed(words.splitlines()) if no_memory(text))
            yield f"{out_of_memory(rule, last[:200])}. Log: {log}"
        elif killed:
            reason = "killed by SIGKILL, as the kernel and batch systems do when memory is used up; if you ended it, ignore this"
            yield f"{out_of_memory(rule, reason)}. Log: {log}"


def _last_words(log: str | os.PathLike) -> str:
    try:
        with open(log, "rb") as handle:
            handle.seek(max(0, os.fstat(handle.fileno()).st_size - _WORDS))
            return handle.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _amount(count: int) -> str:
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.0f} MB"
