"""Run the fuzzer: mutate, read, classify."""

import collections
import contextlib
import io
import random
import resource
import signal
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from gpraflow.core.errors import GpraflowError
from tests.fuzz.targets import Target

CLEAN, RIGHT, CHANGED, TRACEBACK, HANG, MEMORY = "clean", "right", "accepted-changed", "traceback", "hang", "memory"
GOOD = (CLEAN, RIGHT)
_PROC = Path("/proc/self")
SECONDS, BYTES = 10, 400 << 20  # per input; seconds of the processor, since the machine may be busy
_BUSY = 60  # times as long on the clock


def _peak() -> int:
    """Return the peak memory of this process since `_reset_peak` in bytes, or since its start where that is not possible."""
    for line in (_PROC / "status").read_text().splitlines() if _PROC.is_dir() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) << 10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def _reset_peak() -> None:
    with contextlib.suppress(OSError):
        (_PROC / "clear_refs").write_text("5")


class _HangError(BaseException):
    pass


@contextlib.contextmanager
def _limited(seconds: float) -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise _HangError

    timers = ((signal.SIGPROF, signal.ITIMER_PROF, seconds), (signal.SIGALRM, signal.ITIMER_REAL, _BUSY * seconds))
    before = {kind: signal.signal(kind, stop) for kind, _, _ in timers}
    for _, timer, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for kind, timer, _ in timers:
            signal.setitimer(timer, 0)
            signal.signal(kind, before[kind])


def classify(target: Target, content: bytes, folder: Path, seconds: float = SECONDS) -> tuple[str, str]:
    """Read a file with this content; return its class and what was found."""
    path = folder / target.name
    path.write_bytes(content)
    _reset_peak()
    peak = _peak()
    try:
        with _limited(seconds), contextlib.redirect_stderr(io.StringIO()):
            found = target.read(path)
    except _HangError:
        return HANG, f"longer than {seconds} s of the processor, or {_BUSY * seconds} s"
    except GpraflowError as error:
        message = str(error)
        return (CLEAN, message) if message.strip() and len(message) < 100_000 else (TRACEBACK, f"a message of {len(message)} characters")
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001 (also the panics of extensions, which are no exceptions)
        return TRACEBACK, traceback.format_exc()
    if _peak() - peak > BYTES:
        return MEMORY, f"more than {BYTES >> 20} MiB"
    try:
        difference = target.differs(content, found)
    except Exception as error:  # noqa: BLE001 (the independent reader cannot read what was accepted)
        difference = f"the independent reader refuses it ({type(error).__name__}: {error})"
    return (CHANGED, difference) if difference else (RIGHT, "")


def fuzz(
    targets: Sequence[Target], inputs: int, seed: int, folder: Path, keep: Path | None = None, say: Callable[[str], None] = print
) -> dict[str, collections.Counter]:
    """Classify ``inputs`` mutated files; input i of a seed is the same however many there are. Bad ones are kept in ``keep``."""
    classes: dict[str, collections.Counter] = {target.name: collections.Counter() for target in targets}
    weights = [target.weight for target in targets]
    for number in range(inputs):
        rng = random.Random(f"{seed}-{number}")
        target = rng.choices(targets, weights)[0]
        content = target.mutate(target.example(rng), rng)
        kind, found = classify(target, content, folder)
        classes[target.name][kind] += 1
        if kind not in GOOD:
            say(f"{kind}: {target.name}, seed {seed}, input {number}: {found[-1500:]}")
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{seed}-{number}-{target.name}").write_bytes(content)
    return classes


def table(classes: dict[str, collections.Counter]) -> str:
    """Return the classes of all targets as a table."""
    kinds = (CLEAN, RIGHT, CHANGED, TRACEBACK, HANG, MEMORY)
    rows = [("input", *kinds)] + [(name, *(str(counts[kind]) for kind in kinds)) for name, counts in classes.items()]
    total: collections.Counter = sum(classes.values(), collections.Counter())
    rows.append(("all", *(str(total[kind]) for kind in kinds)))
    return "\n".join(f"{row[0]:20}" + "".join(f"{cell:>18}" for cell in row[1:]) for row in rows)
