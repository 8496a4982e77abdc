"""Reference pages of the Python library: one for each public module, found in the source tree."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any


def modules(library: Path) -> list[str]:
    """Return the names of all public modules and packages below a package's folder, packages before their modules."""
    names = []
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return sorted(names)


def pages(library: Path, folder: str) -> dict[str, str]:
    """Return the pages: path on the site -> Markdown.

    Parameters
    ----------
    library
        Folder of the package.
    folder
        Folder of the pages on the site.
    """
    written = {}
    for name in modules(library):
        text = f"# `{name}`\n\n::: {name}\n"
        inner = [other for other in modules(library) if other.rpartition(".")[0] == name]
        if inner:
            text += "\n## Modules\n\n| module | purpose |\n|---|---|\n"
            for other in inner:
                link = uri_of(other, library, "").removeprefix(uri_of(name, library, "").removesuffix("index.md"))
                text += f"| [`{other}`]({link}) | {_summary(other, library)} |\n"
        written[uri_of(name, library, folder)] = text
    return written


def navigation(library: Path, folder: str, name: str = "") -> list[Any]:
    """Return MkDocs' navigation of a package: its own page, then its modules and packages."""
    name = name or library.name
    entries: list[Any] = [uri_of(name, library, folder)]
    for other in modules(library):
        if other.rpartition(".")[0] == name:
            label = other.rpartition(".")[2]
            inner = navigation(library, folder, other) if _is_package(other, library) else uri_of(other, library, folder)
            entries.append({label: inner})
    return entries


def uri_of(name: str, library: Path, folder: str) -> str:
    """Return the path of a module's page on the site."""
    path = "/".join(name.split(".")[1:])
    path = f"{path}/index.md".lstrip("/") if _is_package(name, library) else f"{path}.md"
    return f"{folder}/{path}" if folder else path


def _is_package(name: str, library: Path) -> bool:
    return library.parent.joinpath(*name.split(".")).is_dir()


def _summary(name: str, library: Path) -> str:
    """Return the first paragraph of a module's docstring."""
    path = library.parent.joinpath(*name.split("."))
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    docstring = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split()).replace("|", "\\|")
