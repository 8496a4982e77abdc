"""Pages that are written for GitHub, as MkDocs needs them: links and lists.

In the repository, links are relative to the file that holds them and may point to any file. On the site, a page has another
place, and files that are no pages do not exist. Python-Markdown, which MkDocs uses, starts a list only after an empty line and
nests by four spaces; GitHub needs neither.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from pathlib import Path

_FENCE = re.compile(r"^\s*(```+|~~~+)")
_ITEM = re.compile(r"^(\s*)([-*+]|\d+[.)])(\s+)(?=\S)")
_CODE_SPAN = re.compile(r"(`+)(?!`).*?(?<!`)\1(?!`)")
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\[\]]*\])*)\]\(\s*([^()\s]+)((?:\s+\"[^\"]*\")?)\s*\)")
_ATTRIBUTE = re.compile(r"\b(src|href)=\"([^\"]+)\"")
_ELSEWHERE = re.compile(r"^([a-z][a-z0-9+.-]*:|//|#)", re.IGNORECASE)


def resolve_links(text: str, source: str, uri: str, site_of: Callable[[str], str | None], repository: str) -> tuple[str, list[str]]:
    """Return a page with links that work on the site, and the links whose target does not exist.

    Parameters
    ----------
    text
        Markdown of the page, as in the repository.
    source
        Path of the page in the repository, such as ``config/README.md``.
    uri
        Path of the page on the site before it is rendered, such as ``own_data.md``.
    site_of
        Gives, for a path in the repository, the path on the site; the path itself, with ``repository:`` before it, if there is such a
        file but no page; None if there is no such file.
    repository
        URL of the repository's files, such as ``https://github.com/OWNER/NAME/blob/main``. Where it is empty, a link to a file that is
        no page becomes plain text.
    """
    missing: list[str] = []

    def target_of(link: str) -> str | None:
        path, mark, anchor = link.partition("#")
        there = site_of(posixpath.normpath(posixpath.join(posixpath.dirname(source), path)))
        if there is None:
            missing.append(link)
            return link
        if there.startswith("repository:"):
            return f"{repository}/{there.removeprefix('repository:')}{mark}{anchor}" if repository else None
        return posixpath.relpath(there, posixpath.dirname(uri) or ".") + mark + anchor

    def in_markdown(match: re.Match[str]) -> str:
        image, label, link, title = match.groups()
        label = _LINK.sub(in_markdown, label)  # a picture that is a link
        if _ELSEWHERE.match(link):
            return f"{image}[{label}]({link}{title})"
        target = target_of(link)
        return label if target is None else f"{image}[{label}]({target}{title})"

    def in_html(match: re.Match[str]) -> str:
        name, link = match.groups()
        if _ELSEWHERE.match(link):
            return match[0]
        return f'{name}="{target_of(link) or link}"'

    lines = []
    for line, code in _with_code_marked(text):
        if not code:
            spans: list[str] = []

            def put_aside(match: re.Match[str], spans: list[str] = spans) -> str:
                spans.append(match[0])
                return f"\0{len(spans) - 1}\0"

            line = _ATTRIBUTE.sub(in_html, _LINK.sub(in_markdown, _CODE_SPAN.sub(put_aside, line)))
            line = re.sub("\0(\\d+)\0", lambda match, spans=spans: spans[int(match[1])], line)
        lines.append(line)
    return "\n".join(lines) + "\n", missing


def nest_lists(text: str) -> str:
    """Return Markdown whose lists begin after an empty line and are nested by four spaces."""
    lines: list[str] = []
    offsets: list[int] = []  # column at which the text of each open list item begins
    fenced = False
    for line in text.splitlines():
        indent = len(line) - len(line.lstrip())
        item = None if fenced else _ITEM.match(line)
        if line.strip() and not fenced:
            was_in_list = bool(offsets)
            while offsets and indent < offsets[-1]:
                offsets.pop()
            if item and not was_in_list and lines and lines[-1].strip():
                lines.append("")
        depth = len(offsets)
        lines.append((" " * 4 * depth + line[min(indent, offsets[-1] if offsets else 0) :]) if line.strip() else "")
        if _FENCE.match(line):
            fenced = not fenced
        if item:
            offsets.append(len(item[0]))
    return "\n".join(lines) + "\n"


def _with_code_marked(text: str) -> Iterator[tuple[str, bool]]:
    """Yield each line and whether it belongs to a fenced block of code."""
    fenced = False
    for line in text.splitlines():
        fence = _FENCE.match(line) is not None
        yield line, fenced or fence
        fenced ^= fence


def repository_paths(root: Path, pages: dict[str, str]) -> Callable[[str], str | None]:
    """Return the function ``site_of`` that `resolve_links` takes.

    Parameters
    ----------
    root
        Folder of the repository.
    pages
        Pages that are written outside ``docs/``: path in the repository -> path on the site.
    """

    def site_of(path: str) -> str | None:
        if path in pages:
            return pages[path]
        if f"{path}/README.md" in pages:
            return pages[f"{path}/README.md"]
        if not (root / path).exists():
            return None
        return path.removeprefix("docs/") if path.startswith("docs/") and (root / path).is_file() else f"repository:{path}"

    return site_of
