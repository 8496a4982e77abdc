"""The packages of the library stand in layers: each imports those of lower layers only, and no modules import each other in a circle."""

import ast
from pathlib import Path

from tests.conftest import ROOT

LIBRARY = ROOT / "scripts/gpraflow"
# The lowest layer first, as in the tables of docs/architecture.md and CONTRIBUTING.md.
LAYERS = (
    ("core",),
    ("sequences",),
    ("storage",),
    ("formats",),
    ("assay",),
    ("tables", "shards"),
    ("models",),
    ("training", "prediction"),
    ("evaluation",),
    ("explanation",),
    ("design",),
    ("report", "serve"),
    ("app",),
)
LEVEL = {package: level for level, layer in enumerate(LAYERS) for package in layer}


def imports():
    """Return module -> modules of the library that it imports, also inside functions, but not for type checkers only."""
    found = {}
    for path in LIBRARY.rglob("*.py"):
        parts = path.relative_to(LIBRARY).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        tree = ast.parse(path.read_text())
        skipped = {
            inner
            for node in ast.walk(tree)
            if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
            for inner in ast.walk(node)
        }
        found[name] = set()
        for node in ast.walk(tree):
            if node in skipped:
                continue
            assert not (isinstance(node, ast.ImportFrom) and node.level), f"{path}: relative import"
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gpraflow":
                base = node.module.removeprefix("gpraflow").removeprefix(".")
                for alias in node.names:
                    inner = f"{base}.{alias.name}".removeprefix(".")
                    is_module = (LIBRARY / inner.replace(".", "/")).with_suffix(".py").is_file()
                    found[name].add(inner if is_module else base)
    return found


IMPORTS = imports()


def package(module):
    return module.split(".")[0]


def test_every_package_has_its_layer():
    assert {path.name for path in LIBRARY.iterdir() if path.is_dir() and (path / "__init__.py").exists()} == set(LEVEL)


def test_no_package_imports_one_above_it():
    wrong = [
        f"{module} imports {other}"
        for module, others in IMPORTS.items()
        for other in others
        if module and other and package(module) != package(other) and LEVEL[package(other)] >= LEVEL[package(module)]
    ]
    assert not wrong, "a package imports only packages of lower layers (LAYERS); move the function, or import it elsewhere"


def test_no_modules_import_each_other_in_a_circle():
    def visit(module, path):
        assert module not in path, " -> ".join([*path, module])
        if module not in done:
            for other in IMPORTS.get(module, ()):
                visit(other, [*path, module])
            done.add(module)

    done = set()
    for module in IMPORTS:
        visit(module, [])


def test_packages_hold_nothing_but_their_docstring():
    for path in LIBRARY.rglob("__init__.py"):
        if path.parent != LIBRARY:
            tree = ast.parse(path.read_text())
            assert len(tree.body) == 1, path
            assert ast.get_docstring(tree), path


def test_no_process_wide_tricks():
    """No import hook, no patched module, nothing written into Snakemake's own folder."""
    for path in [*(ROOT / "scripts").rglob("*.py"), *(ROOT / "workflow").rglob("*.smk"), ROOT / "workflow/Snakefile", ROOT / "Snakefile"]:
        text = Path(path).read_text()
        for word in ("meta_path", "unittest", "mock.patch", ".snakemake", "path_hooks"):
            assert word not in text, f"{path.relative_to(ROOT)}: {word}"
