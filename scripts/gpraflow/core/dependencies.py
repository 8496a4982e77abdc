"""Which code affects a result: the modules that a script imports, directly or indirectly, and a fingerprint of them.

Snakemake reruns a job if its parameters change. Each rule has the fingerprint of its script as a parameter, so that editing an estimator
reruns the rules it affects. The fingerprint is a hash over syntax trees without docstrings, comments and layout: rewording a comment reruns
nothing. Only the standard library is needed, since the Snakefile computes fingerprints where Snakemake alone may be installed.
"""

import ast
import hashlib
from functools import cache
from pathlib import Path
from typing import NamedTuple

PACKAGE = "gpraflow"
_ROOT = Path(__file__).parents[1]

# Modules that do not affect results, with the reason. Editing them reruns nothing.
IGNORED_MODULES = {
    "gpraflow": "the version and `load` for notebooks",
    "gpraflow.core.dependencies": "computes fingerprints",
    "gpraflow.core.documents": "reads YAML and JSON, or refuses them",
    "gpraflow.core.errors": "wording of messages",
    "gpraflow.core.files": "how content reaches the disk, whole or not at all; the content comes from its callers",
    "gpraflow.core.limits": "wording of messages",
    "gpraflow.core.ledger": "counts what other modules decide; `collect_ledger` checks the sums",
    "gpraflow.core.logs": "where messages of jobs go",
    "gpraflow.core.names": "refuses names that cannot be part of paths",
    "gpraflow.core.progress": "progress bars",
    "gpraflow.core.provenance": "versions and commit, which are recorded with results",
    "gpraflow.core.resources": "finds built-in files, which are inputs of the rules that read them",
    "gpraflow.core.startup": "environment of processes",
    "gpraflow.core.urls": "URLs in messages, without keys",
    "gpraflow.storage.backup": "copies of checkpoints; a training with and without them ends with the same weights",
    "gpraflow.storage.base": "access to buckets; checksums guard the content",
    "gpraflow.storage.connect": "access to buckets",
    "gpraflow.storage.google": "access to buckets",
    "gpraflow.storage.local": "access to buckets",
}


@cache
def _path(module: str) -> Path | None:
    """Return the file of a module of this package, or None if there is no such module."""
    base = _ROOT.joinpath(*module.split(".")[1:])
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


class _Source(NamedTuple):
    """What is known of a file: a hash of its syntax tree, and the modules of this package that it imports."""

    digest: str
    imports: frozenset[str]


@cache
def _source(path: Path) -> _Source:
    """Read a file; one walk over its syntax tree collects both."""
    text: list[str] = []
    imports: set[str] = set()

    def visit(node: object, counts: bool = True) -> None:
        # The text leaves out docstrings, positions and empty fields, so that it is the same for all supported versions of Python. Imports
        # for type checkers (``counts`` is false) are part of the text, but import nothing.
        if isinstance(node, ast.AST):
            kind = type(node)
            if counts and kind is ast.Import:
                imports.update(alias.name for alias in node.names if alias.name.split(".")[0] == PACKAGE)  # type: ignore[attr-defined]
            elif counts and kind is ast.ImportFrom:
                imports.update(_imported(node))  # type: ignore[arg-type]
            elif kind is ast.If and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":  # type: ignore[attr-defined]
                counts = False
            text.append(kind.__name__)
            for name in node._fields:
                value = getattr(node, name, None)
                if value is None or value == [] or name in ("kind", "type_comment"):
                    continue
                if name == "body" and isinstance(node, _WITH_DOCSTRING) and _is_text(value[0]):
                    value = value[1:]
                text.append(f"({name}")
                visit(value, counts)
                text.append(")")
        elif isinstance(node, list):
            for part in node:
                text.append("[")
                visit(part, counts)
                text.append("]")
        else:
            text.append(repr(node))

    visit(ast.parse(path.read_bytes()))
    return _Source(hashlib.sha256(" ".join(text).encode()).hexdigest(), frozenset(imports))


_WITH_DOCSTRING = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _imported(node: ast.ImportFrom) -> set[str]:
    """Return the modules of this package that ``from x import y, z`` imports: ``x.y`` where it is a module, else ``x``."""
    if not node.module or node.module.split(".")[0] != PACKAGE:
        return set()
    names = (f"{node.module}.{alias.name}" for alias in node.names)
    return {name if _path(name) else node.module for name in names}


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
    imported: set[str] = set()
    waiting = {*modules, *_source(script).imports}
    while waiting:
        module = waiting.pop()
        imported.add(module)
        path = _path(module)
        if path is None:
            raise FileNotFoundError(f"{module}: no such module below {_ROOT}")
        waiting |= _source(path).imports - imported
    return imported


def fingerprint(script: Path, *modules: str) -> str:
    """Return a hash of the code that decides what a script writes: the script and its `closure` without `IGNORED_MODULES`."""
    return _combined(closure(script, *modules), script)


def fingerprint_of(*modules: str) -> str:
    """Return a hash of modules of this package and of what they import, without `IGNORED_MODULES`."""
    reached = set(modules).union(*(closure(path) for module in modules if (path := _path(module))))
    return _combined(reached)


def _combined(modules: set[str], *scripts: Path) -> str:
    """Return a hash of scripts and modules, without `IGNORED_MODULES`."""
    paths = [*scripts, *(path for module in sorted(modules - IGNORED_MODULES.keys()) if (path := _path(module)))]
    return hashlib.sha256("".join(_source(path).digest for path in paths).encode()).hexdigest()[:16]
