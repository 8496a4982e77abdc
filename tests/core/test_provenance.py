import os
import shutil
import subprocess
import sys

import pytest

from tests.conftest import ROOT


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("git"), reason="only root can give files away; needs Git"
)
def test_the_commit_of_a_checkout_of_another_user(tmp_path):
    """Git itself refuses such a checkout ("dubious ownership")."""
    copy = tmp_path / "copy"
    (copy / "gpraflow").mkdir(parents=True)
    shutil.copytree(ROOT / "scripts/gpraflow/core", copy / "gpraflow/core", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "scripts/gpraflow/__init__.py", copy / "gpraflow")
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run(["git", *identity, *arguments], cwd=copy, check=True)
    for path in [copy, *copy.rglob("*")]:
        os.chown(path, 65534, 65534)
    assert subprocess.run(
        ["git", "status"], cwd=copy, capture_output=True, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    ).returncode
    code = "from gpraflow.core import provenance; print(provenance.commit())"
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(copy)}, capture_output=True, text=True
    )
    assert len(found.stdout.strip()) == 12, found.stderr
