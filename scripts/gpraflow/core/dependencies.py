"""Which code affects a result: the modules that a script imports, directly or indirectly, and a fingerprint of them.

Snakemake reruns a job if its parameters change. Each rule has the fingerprint of its script as a parameter, so that editing an estimator
reruns the rules it affects. The fingerprint is a hash over syntax trees without docstrings, comments and layout: rewording a comment reruns
nothing. Only the standard library is needed, since the Snakefile computes fingerprints where Snakemake alone may be installed.
"""

import ast
import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

PACKAGE = "gpraflow"
_ROOT = Path(__file__).parents[1]

# Modules that do not affect results, with the reason. Editing them reruns nothing.
UNDECISIVE = {
    "gpraflow": "the version and `load` for notebooks",
    "gpraflow.core.dependencies": "computes fingerprints",
    "gpraflow.core.errors": "wording of messages",
    "gpraflow.core.files": "how content reaches the disk, whole or not at all; the content comes from its callers",
    "gpraflow.core.ledger": "counts what other modules decide; `collect_ledger` checks the sums",
    "gpraflow.core.logs": "where messages of jobs go",
    "gpraflow.core.progress": "progress bars",
    "gpraflow.core.provenance": "versions and commit, which are recorded with results",
    "gpraflow.core.resources": "finds built-in files, which are inputs of the rules that read them",
    "gpraflow.core.startup": "environment of processes",
    "gpraflow.storage.backup": "copies of checkpoints; a training with and without them ends with the same weights",
    "gpraflow.storage.base": "access to buckets; checksums guard the content",
    "gpraflow.storage.connect": "access to buckets",
    "gpraflow.storage.google": "access to buckets",
    "gpraflow.storage.local": "access to buckets",
}


def _path(module: str) -> Path | None:
    """Return the file of a module of this package, or None if there is no such module."""
    base = _ROOT.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def _is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all nodes that can run, hence without blocks for type checkers."""
    for node in ast.iter_child_nodes(tree):
        if not _is_type_checking(node):
            yield node
            yield from _nodes(node)


def _imports(tree: ast.AST) -> set[str]:
    """Return the modules of this package that a syntax tree imports, at the top or inside functions."""
    found = set()
    for node in _nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE}
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == PACKAGE:
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                found.add(submodule if _path(submodule) else node.module)
    return found


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_bytes())


def closure(script: Path, *modules: str) -> set[str]:
    """Return the modules of this package that a script imports, directly or not.

    Parameters
    ----------
    script
        A file; it need not belong to the package.
    modules
        Further modules, for those that are imported by a computed name (architectures).

    Raises
    ------
    FileNotFoundError
        If the script or a module does not exist.
    """
    found: set[str] = set()
    waiting = {*modules, *_imports(_parsed(script))}
    while waiting:
        module = waiting.pop()
        found.add(module)
        path = _path(module)
        if path is None:
            raise FileNotFoundError(f"{module}: no such module below {_ROOT}")
        waiting |= _imports(_parsed(path)) - found
    return found


def _canonical(node: object) -> Iterator[str]:
    """Yield a syntax tree as text without docstrings; the same for all supported Python versions, which differ in empty fields."""
    if isinstance(node, ast.AST):
        yield type(node).__name__
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                value = [part for index, part in enumerate(value) if index or not _is_text(part)]
            if value is None or value == [] or name in ("kind", "type_comment"):
                continue
            yield f"({name}"
            yield from _canonical(value)
            yield ")"
    elif isinstance(node, list):
        for part in node:
            yield "["
            yield from _canonical(part)
            yield "]"
    else:
        yield repr(node)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(" ".join(_canonical(_parsed(path))).encode()).hexdigest()


def fingerprint(script: Path, *modules: str) -> str:
    """Return a hash of the code that decides what a script writes: the script and its `closure` without `UNDECISIVE`."""
    paths = [path for module in sorted(closure(script, *modules) - UNDECISIVE.keys()) if (path := _path(module))]
    return _combined([script, *paths])


def fingerprint_of(*modules: str) -> str:
    """Return a hash of modules of this package and of what they import, without `UNDECISIVE`."""
    reached = set(modules).union(*(closure(path) for module in modules if (path := _path(module))))
    return _combined(path for module in sorted(reached - UNDECISIVE.keys()) if (path := _path(module)))


def _combined(paths: Iterable[Path]) -> str:
    return hashlib.sha256("".join(_digest(path) for path in paths).encode()).hexdigest()[:16]
