"""What a job does when something gets in its way: a job that runs its rule several times, each time with a fault, and then without.

`infect` puts this into the adapters of a copied checkout. Each rule is tried once, in the first of its jobs; what happened is one line of
JSON for each attempt, in ``$FAULTS/<rule>.jsonl``, for `tests.workflow.test_faults` to judge. An attempt is a forked process, so the
libraries that the adapter imports are loaded once.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import random
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import zipfile
from pathlib import Path

FAULTS = ("kill", "terminate", "full disk", "read-only", "memory")
PAGE = 4096
_CALL = "main(snakemake)  # noqa: F821"
_BESIDE = {"shard_tfrecords": "*.tfrecord"}  # what a rule writes beside its outputs
_NEW_MOUNTS, _NEW_USER = 0x00020000, 0x10000000  # CLONE_NEWNS, CLONE_NEWUSER
_READ_ONLY, _REMOUNT, _BIND, _RECURSIVE, _PRIVATE = 1, 32, 4096, 16384, 1 << 18  # MS_*


def infect(folder, rules, call="tried"):
    """Let the adapters of ``rules`` in a copied checkout try the faults, or be ended (`ended`)."""
    for rule in rules:
        path = folder / f"scripts/{rule}.py"
        text = path.read_text()
        assert text.count(_CALL) == 1
        path.write_text(text.replace(_CALL, f"from tests.workflow import faulty\n\n    faulty.{call}(main, snakemake)  # {_CALL}"))


def tried(main, job):
    """Run ``main(job)`` with each fault of ``$FAULTS_TRIED``, and then without."""
    notes = Path(os.environ["FAULTS"], f"{job.rule}.jsonl")
    try:
        os.close(os.open(notes, os.O_CREAT | os.O_EXCL))
    except FileExistsError:  # another job of this rule tries them
        main(job)
        return
    draw = random.Random(f"{os.environ['FAULTS_SEED']} {job.rule}")
    files = Files(job)
    whole = attempt(main, job)
    assert whole["code"] == 0, whole["said"]
    expected = files.digests()
    files.remove()

    def note(fault, found, after, left):
        """Write down an attempt: an output under its final name must be that of an undisturbed run."""
        other = sorted(name for name, digest in after.items() if expected.get(name) != digest)
        with open(notes, "a") as handle:
            handle.write(json.dumps({"fault": fault, **found, "outputs": len(after), "differ": other, "left": left}) + "\n")

    for fault in os.environ["FAULTS_TRIED"].split(","):
        files.remove()
        if fault in ("kill", "terminate"):
            moment = draw.uniform(0, whole["seconds"])
            found = attempt(main, job, send=(moment, signal.SIGKILL if fault == "kill" else signal.SIGTERM))
            note(fault, found, files.digests(), files.left(found["pid"]))
        elif fault.startswith("memory"):  # "memory 500": so many MiB beside the imports
            found = attempt(main, job, memory=int(fault.partition(" ")[2] or draw.choice([16, 300, 500, 800])) << 20)
            words = Path(job.log[0]).read_text(errors="replace")[-4000:]
            note(fault, found | {"words": words}, files.digests(), files.left(found["pid"]))
        else:
            note(fault, *apart(main, job, files, draw.randrange(files.pages) if fault == "full disk" else None))
    files.remove()
    main(job)
    missing = sorted(expected.keys() - files.digests().keys())
    note("none", {"code": 0, "said": "", "missing": missing}, files.digests(), files.left())


def ended(main, job):
    """Be killed as by the kernel (column a.1), or be refused memory."""
    if job.wildcards.column == "a.1":
        os.kill(os.getpid(), signal.SIGKILL)
    _limit_memory(1 << 20)
    main(job)


def _limit_memory(more):
    """Let this process have a few bytes more than it has."""
    used = int(Path("/proc/self/statm").read_text().split()[0]) * PAGE
    resource.setrlimit(resource.RLIMIT_AS, (used + more, used + more))


def digest(path):
    """Return a digest of a file's content, less what differs between equal runs: times, and what Keras numbers and dates."""
    content = path.read_bytes()
    if path.suffix == ".keras" and zipfile.is_zipfile(path):
        content = zipfile.ZipFile(path).read("model.weights.h5")
    elif path.name in ("model.json", "search.json"):
        about, times = json.loads(content), ("seconds", "seconds_compared", "sequences_per_second")
        content = json.dumps({key: about[key] for key in about if key not in times}).encode()
    elif path.suffix == ".svg":  # Matplotlib numbers clip paths by their place in memory, and its layout varies in the last digits
        content = re.sub(rb"\bp[0-9a-f]{10}\b", b"", content)
        content = re.sub(rb"\d+\.\d+", lambda number: b"%.2f" % float(number[0]), content)
    return hashlib.sha256(content).hexdigest()


class Files:
    """Outputs of a job, with what it writes beside them."""

    def __init__(self, job):
        self.outputs = [Path(path) for path in job.output]
        self.folders = sorted({path.parent for path in self.outputs})
        self.run = Path(*self.outputs[0].parts[:2])  # results/<run>
        self.pattern = _BESIDE.get(job.rule)
        self.pages = 0

    def _all(self):
        more = [path for folder in self.folders for path in folder.glob(self.pattern)] if self.pattern else []
        for path in [*self.outputs, *more]:
            yield from ([each for each in path.rglob("*") if each.is_file()] if path.is_dir() else [path] * path.is_file())

    def digests(self):
        """Return name -> digest of what is there under its final name."""
        found = {}
        for path in self._all():
            if "tfevents" not in path.name:  # named by time and process
                found[str(path)] = digest(path)
        self.pages = max(self.pages, sum(-(-path.stat().st_size // PAGE) for path in self._all()))
        return found

    def remove(self):
        """Remove the outputs, as Snakemake does before it runs a job again, and nothing else."""
        for path in self.outputs:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)

    def left(self, pid=None):
        """Return temporary files of a process, or of all that have ended, beside the outputs."""
        names = [path.name for folder in self.folders if folder.exists() for path in folder.iterdir()]
        own = tuple(f"-{path.name}" for path in self.outputs)  # other rules write to the same folders
        left = [name for name in names if name.startswith((".partial-", ".parts-")) and name.endswith(own)]
        if pid is None:
            left = [name for name in left if not Path("/proc", name.split("-")[2]).exists()]
        else:
            left = [name for name in left if f"-{pid}-" in name]
        return sorted(left + [name for name in names if name.startswith("tmp")])


def attempt(main, job, send=None, memory=None):
    """Run ``main(job)`` in a process of its own; return how it ended, and what it printed on the terminal."""
    with tempfile.TemporaryFile(dir="/dev/shm") as terminal:
        began, pid = time.monotonic(), os.fork()
        if not pid:
            code = 1
            try:
                os.setsid()
                os.dup2(terminal.fileno(), 2)
                if memory is not None:
                    _limit_memory(memory)
                main(job)
                code = 0
            except SystemExit as ended:
                code = ended.code
            except BaseException:  # noqa: BLE001 (as the interpreter does at its end)
                sys.excepthook(*sys.exc_info())
            finally:
                with contextlib.suppress(OSError):
                    sys.stdout.flush()
                    sys.stderr.flush()
                os._exit(code)
        if send:
            time.sleep(send[0])
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, send[1])
        deadline, killed = time.monotonic() + 90, False
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() > deadline:
                os.killpg(pid, signal.SIGKILL)
                killed = True
            time.sleep(0.005)
        seconds = time.monotonic() - began
        with contextlib.suppress(ProcessLookupError):  # what it started and left running
            os.killpg(pid, signal.SIGKILL)
        terminal.seek(0)
        said = terminal.read().decode(errors="replace")
        about = {"pid": pid, "code": os.waitstatus_to_exitcode(ended[1]), "said": said, "seconds": seconds, "hung": killed}
        return about | ({"moment": send[0]} if send else {}) | ({"memory": memory} if memory is not None else {})


def apart(main, job, files, pages):
    """Run ``main(job)`` where the run's folder is a file system that has ``pages`` left, or is read-only (None).

    The file system is seen by the attempt alone (a mount namespace of its own), and what it writes is gone afterwards.
    """
    receive, send = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            problem = mounted(files.run, pages)
            found = {"skipped": problem, "code": 1, "said": ""} if problem else attempt(main, job) | {"pages": pages}
            content = [found, files.digests(), [] if problem else files.left(found["pid"])]
        except BaseException as error:  # noqa: BLE001 (the parent reports it)
            content = [{"skipped": repr(error), "code": 1, "said": ""}, {}, []]
        with open(send, "w") as handle:
            json.dump(content, handle)
        os._exit(0)
    os.close(send)
    with open(receive) as handle:
        content = json.load(handle)
    os.waitpid(pid, 0)
    return content


def mounted(run, pages):
    """Mount over the run's folder for this process alone; return why that is not possible, or an empty string."""
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source, target, kind, flags, options=""):
        if libc.mount(source.encode(), str(target).encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()):
            raise OSError(ctypes.get_errno(), f"mount {kind} {options}: {os.strerror(ctypes.get_errno())}")

    user, group = os.geteuid(), os.getegid()
    if libc.unshare(_NEW_MOUNTS | (_NEW_USER if user else 0)):
        return f"unshare: {os.strerror(ctypes.get_errno())}"
    try:
        if user:
            Path("/proc/self/setgroups").write_text("deny")
            Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
            Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
        mount("none", "/", "", _RECURSIVE | _PRIVATE)
        if pages is None:
            mount(str(run), run, "", _BIND)
            mount(str(run), run, "", _BIND | _REMOUNT | _READ_ONLY)
        else:  # what is written goes to the small file system
            small = Path(tempfile.mkdtemp(dir=run.parent))
            mount("tmpfs", small, "tmpfs", 0, f"size={(pages + 1) * PAGE}")
            for name in ("upper", "work"):
                (small / name).mkdir()
            (small / "filled").write_bytes(bytes(PAGE))
            mount("overlay", run, "overlay", 0, f"lowerdir={run},upperdir={small}/upper,workdir={small}/work")
    except OSError as error:
        return str(error)
    return ""
