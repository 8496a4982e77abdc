import os
import signal
import subprocess
import sys

import pytest

from gpraflow.core import files

WRITE_AND_WAIT = """
import sys, time
from gpraflow.core import files
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
