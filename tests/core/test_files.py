import errno
import os
import signal
import subprocess
import sys

import pytest

from gpraflow.core import files
from gpraflow.core.errors import GpraflowError, InputError
from tests.conftest import ROOT

ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
WRITE_AND_WAIT = """
import sys, time
from gpraflow.core import files
from gpraflow.core.errors import GpraflowError, InputError
with files.whole(sys.argv[1]) as temporary:
    temporary.write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(root, tmp_path):
    target = tmp_path / "a[1].txt"
    command = [sys.executable, "-c", WRITE_AND_WAIT, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root / "scripts")}) as process:
        assert process.stdout.readline() == b"writing\n"
        os.kill(process.pid, signal.SIGKILL)
    assert not target.exists()
    assert len(list(tmp_path.iterdir())) == 1
    (tmp_path / ".partial-1-b.txt").write_text("of another file")
    files.write_text(target, "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".partial-1-b.txt", "a[1].txt"]
    assert target.read_text() == "whole"


def fail_in_the_middle(target):
    with files.whole(target) as temporary:
        temporary.write_text("half")
        raise ValueError("x")


def test_a_failure_leaves_what_was_there(tmp_path):
    target = tmp_path / "a.txt"
    files.write_text(target, "before")
    with pytest.raises(ValueError, match="x"):
        fail_in_the_middle(target)
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert target.read_text() == "before"


def test_the_temporary_file_of_a_live_process_is_left_alone(root, tmp_path):
    """Two processes that write the same file, and one whose name ends like the other's."""
    target = tmp_path / "b.txt"
    for name in ("b.txt", "strain-b.txt"):
        command = [sys.executable, "-c", WRITE_AND_WAIT, str(tmp_path / name)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(root / "scripts")}) as process:
            assert process.stdout.readline() == b"writing\n"
            (theirs,) = tmp_path.glob(f".partial-*-{name}")
            files.write_text(target, "whole")
            assert theirs.read_text() == "half"
            process.kill()
    files.write_text(target, "again")
    assert sorted(path.name.rpartition("-")[2] for path in tmp_path.iterdir()) == ["b.txt", "b.txt"]  # the other one is strain-b's


def test_the_temporary_file_of_another_machine_is_left_alone(tmp_path):
    """Of ``b.txt`` on machine node-1, not of ``99-b.txt`` on machine node; process 4194304 is above the largest on Linux."""
    program = "import socket, sys; socket.gethostname = lambda: sys.argv[1]; from gpraflow.core import files; print(files.HOST)"
    hosts = [
        subprocess.run([sys.executable, "-c", program, name], capture_output=True, text=True, check=True, env=ENVIRONMENT).stdout.strip()
        for name in ("node", f"node-{4194304}")
    ]
    theirs = tmp_path / f".partial-{hosts[1]}-99-b.txt"
    theirs.write_text("half")
    write = f"import sys; from gpraflow.core import files; files.HOST = {hosts[0]!r}; files.write_text(sys.argv[1], 'whole')"
    subprocess.run([sys.executable, "-c", write, str(tmp_path / "99-b.txt")], check=True, env=ENVIRONMENT)
    assert theirs.read_text() == "half"


@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device"),
            GpraflowError,
            r"out\.tsv: could not be written \(No space left on device\); free",
        ),
        (
            PermissionError(13, "Permission denied", "{folder}"),
            GpraflowError,
            r"out\.tsv: could not be written \(Permission denied\); make",
        ),
        (
            NotADirectoryError(20, "Not a directory", "{folder}/out.tsv"),
            GpraflowError,
            r"out\.tsv: could not be written \(Not a directory\)",
        ),
        (PermissionError(13, "Permission denied", "{folder}/in.tsv"), InputError, r"in\.tsv: could not be read \(Permission denied\)$"),
        (FileNotFoundError(2, "No such file or directory", "/else/in.tsv"), InputError, r"^/else/in\.tsv: could not be read"),
        (ConnectionResetError(104, "Connection reset by peer"), ConnectionResetError, "Connection reset"),
        (TimeoutError("timed out"), TimeoutError, "timed out"),
    ],
)
def test_an_error_is_blamed_on_its_cause(tmp_path, error, kind, message):
    if isinstance(error.filename, str):
        error.filename = error.filename.replace("{folder}", str(tmp_path))
    with pytest.raises(kind, match=message) as caught, files.whole(tmp_path / "out.tsv"):
        raise error
    assert type(caught.value) is kind
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_is_asked_to_end_leaves_nothing_behind(tmp_path):
    """SIGTERM, as from Ctrl-C in Snakemake, Slurm or ``kill``."""
    code = "import sys; from gpraflow.core import logs; logs.log_to(sys.argv.pop(1))" + WRITE_AND_WAIT.replace(
        'print("writing", flush=True)', 'open(sys.argv[1] + ".begun", "w").close()'
    )
    folder = tmp_path / "out"
    folder.mkdir()
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "job.log"), str(folder / "a.txt")], env=ENVIRONMENT) as process:
        while not (folder / "a.txt.begun").exists():
            assert process.poll() is None
        assert len(list(folder.glob(".partial-*"))) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 128 + signal.SIGTERM
    assert [path.name for path in folder.iterdir()] == ["a.txt.begun"]


def test_a_job_that_is_asked_to_end_inside_a_library_calls_nobody_to_report_a_bug(tmp_path):
    """Polars makes a panic of the exit that a signal causes in a function of Python's that it called."""
    code = (
        "import os, signal, sys; from gpraflow.core import logs; logs.log_to(sys.argv[1])\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\nexcept SystemExit:\n    raise RuntimeError('PyErr: SystemExit(143)') from None\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "job.log")], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == ""
    assert "PyErr: SystemExit(143)" in (tmp_path / "job.log").read_text()


def test_ctrl_c_is_no_bug_and_a_full_disk_has_no_room_for_the_log(tmp_path):
    code = "import sys; from gpraflow.core import logs; logs.log_to(sys.argv[1]); raise {}"
    log = str(tmp_path / "train_model.log")
    done = subprocess.run([sys.executable, "-c", code.format("KeyboardInterrupt"), log], env=ENVIRONMENT, capture_output=True, text=True)
    assert done.stderr == ""
    full = subprocess.run(
        [sys.executable, "-c", code.format("OSError(28, 'x')"), "/dev/full"], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert "gpraflow: /dev/full: could not be written (x); free space" in full.stderr


def test_the_message_of_a_full_disk_says_how_much_is_free(tmp_path):
    with (
        pytest.raises(GpraflowError, match=r"could not be written \(No space.*\); free space.* \([\d,]+ of [\d,]+ bytes are free there\)$"),
        files.whole(tmp_path / "new/out.tsv"),
    ):
        raise OSError(errno.ENOSPC, "No space left on device")
