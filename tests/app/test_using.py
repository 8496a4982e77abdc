"""The tutorial's Python blocks, run as a reader would."""

import re

from tests import toy
from tests.conftest import ROOT


def test_tutorial(tmp_path, monkeypatch, capsys):
    toy.write_whole(tmp_path / "results/sample/model")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "docs/using.md").read_text(), flags=re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    names = {}
    for block in blocks:
        exec(compile(block, "docs/using.md", "exec"), names)
    assert len(names["effects"]) == 3 * (80 + 14)
    assert "expression_low" in capsys.readouterr().out
