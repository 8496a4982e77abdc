"""Fingerprints follow what code does, not how it is written down."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from gpraflow.core import dependencies
from tests.conftest import ROOT

SCRIPTS = ROOT / "scripts"
BEFORE = '''"""A module."""
import os


def area(width, height):
    """Return the area."""
    return width * height  # of a rectangle


class Box:
    """A box."""

    side = 1
'''
FOUR = """\
from typing import TYPE_CHECKING
from gpraflow.core.errors import text
if TYPE_CHECKING:
    from gpraflow import three
"""


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of its own: `main.py` imports `one`, which imports `two` inside a function."""
    root = tmp_path / "gpraflow"
    for name, text in {
        "__init__.py": "",
        "one.py": "def f():\n    from gpraflow import two\n    return two.g()\n",
        "two.py": BEFORE,
        "three.py": "x = 1\n",
        "core/__init__.py": "",
        "core/errors.py": "text = 'a'\n",
        "four.py": FOUR,
    }.items():
        (root / name).parent.mkdir(exist_ok=True, parents=True)
        (root / name).write_text(text)
    (tmp_path / "main.py").write_text("from gpraflow import one\nfrom gpraflow.four import text\n")
    monkeypatch.setattr(dependencies, "_ROOT", root)
    dependencies._path.cache_clear()
    yield root
    dependencies._path.cache_clear()


def fingerprint(package):
    dependencies._source.cache_clear()
    dependencies._path.cache_clear()
    return dependencies.fingerprint(package.parent / "main.py")


def test_the_closure_has_imports_inside_functions_and_none_for_type_checkers(package):
    found = dependencies.closure(package.parent / "main.py")
    assert found == {"gpraflow.one", "gpraflow.two", "gpraflow.four", "gpraflow.core.errors"}
    assert dependencies.closure(package.parent / "main.py", "gpraflow.three") == found | {"gpraflow.three"}
    with pytest.raises(FileNotFoundError, match=r"gpraflow\.five: no such module"):
        dependencies.closure(package.parent / "main.py", "gpraflow.five")


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("two.py", "# of a rectangle", "# of any rectangle"),
        ("two.py", '"""Return the area."""', '"""Return an area, in square metres."""'),
        ("two.py", '"""A module."""\n', ""),
        ("two.py", '    """A box."""\n\n', ""),
        ("two.py", "width * height", "(width * height)"),
        ("two.py", "import os\n\n\n", "import os\n"),
        ("three.py", "x = 1", "x = 2"),  # is not imported
        ("core/errors.py", "'a'", "'b'"),  # decides nothing
    ],
)
def test_what_decides_nothing_leaves_the_fingerprint(package, name, before, after):
    first = fingerprint(package)
    text = (package / name).read_text()
    assert text.count(before) == 1
    (package / name).write_text(text.replace(before, after))
    assert fingerprint(package) == first


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("two.py", "width * height", "height * width"),
        ("two.py", "side = 1", "side = 1.0"),
        ("two.py", "(width, height)", "(width, height=1)"),
        ("one.py", "return two.g()", "return two.h()"),
        ("../main.py", "import one", "import one, three"),
    ],
)
def test_what_decides_changes_the_fingerprint(package, name, before, after):
    first = fingerprint(package)
    text = (package / name).read_text()
    assert text.count(before) == 1
    (package / name).write_text(text.replace(before, after))
    assert fingerprint(package) != first


def test_a_text_that_is_no_docstring_counts(package):
    first = fingerprint(package)
    (package / "two.py").write_text(BEFORE + "\nvalue = 'text'\n")
    second = fingerprint(package)
    (package / "two.py").write_text(BEFORE + "\nvalue = 'other'\n")
    assert len({first, second, fingerprint(package)}) == 3


def test_modules_that_decide_nothing_exist_and_have_a_reason():
    for module, reason in dependencies.IGNORED_MODULES.items():
        assert dependencies._path(module), module
        assert reason


def test_the_closure_is_what_python_imports():
    """An independent look: the modules that are there after an adapter was imported are in its closure."""
    code = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='x'); print(*[m for m in sys.modules if m.startswith('gpraflow')])"
    for name in ("estimate_expression", "split_promoters", "train_model"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(SCRIPTS / f"{name}.py")],
            env={"PYTHONPATH": str(SCRIPTS)},
            capture_output=True,
            text=True,
            check=True,
        )
        loaded = {module for module in done.stdout.split() if Path(dependencies._path(module)).name != "__init__.py"}
        assert loaded <= dependencies.closure(SCRIPTS / f"{name}.py")


def test_only_the_standard_library_is_needed():
    tree = ast.parse((SCRIPTS / "gpraflow/core/dependencies.py").read_text())
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module] if isinstance(node, ast.ImportFrom) else []
        assert all(name.split(".")[0] in sys.stdlib_module_names for name in names)
