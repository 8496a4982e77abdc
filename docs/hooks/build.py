"""MkDocs' events: adds the pages that are written elsewhere or generated, and adapts what is written for GitHub.

MkDocs puts this folder on the path while it loads this file; `mkdocs.yml` names it.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import api_reference
import cli_reference
import config_reference
import github_markdown

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
LIBRARY = ROOT / "scripts" / "gpraflow"
SCHEMAS = ROOT / "workflow" / "schemas"
API = "reference/api"
# Pages that are written outside docs/: path in the repository -> path on the site.
OUTSIDE = {
    "README.md": "index.md",
    "config/README.md": "own_data.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
}
SOURCES = {uri: path for path, uri in OUTSIDE.items()}
log = logging.getLogger("mkdocs.hooks.gpraflow")  # what is logged below "mkdocs" counts for --strict


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the library's modules into the navigation, where `mkdocs.yml` has their folder."""
    config.nav = _with_api(config.nav)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are written outside docs/, and the generated ones."""
    from mkdocs.structure.files import File

    for path, uri in OUTSIDE.items():
        files.append(File.generated(config, uri, abs_src_path=str(ROOT / path)))
    for uri, text in generated().items():
        files.append(File.generated(config, uri, content=text))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let the links and lists of a page that is written for GitHub work on the site."""
    uri = page.file.src_uri
    if page.file.generated_by and uri not in SOURCES:
        return markdown
    source = SOURCES.get(uri, f"docs/{uri}")
    repository = f"{config.repo_url.rstrip('/')}/blob/main" if config.repo_url else ""
    text, missing = github_markdown.resolve_links(markdown, source, uri, github_markdown.repository_paths(ROOT, OUTSIDE), repository)
    for link in missing:
        log.warning("%s: the link '%s' points to no file of the repository", source, link)
    return github_markdown.nest_lists(text)


def generated() -> dict[str, str]:
    """Return the generated pages: path on the site -> Markdown."""
    schemas = config_reference.read_schemas(SCHEMAS)
    # The library of this checkout, whichever is installed.
    sys.path.insert(0, os.fspath(LIBRARY.parent))
    try:
        parser = cli_reference.load_parser(ROOT)
    finally:
        sys.path.remove(os.fspath(LIBRARY.parent))
    return {
        "reference/config.md": config_reference.config_page(schemas.pop("config")),
        "reference/tables.md": config_reference.tables_page(schemas),
        "reference/cli.md": cli_reference.cli_page(parser),
        **api_reference.pages(LIBRARY, API),
    }


def _with_api(entries: Any) -> Any:
    if isinstance(entries, list):
        return [_with_api(entry) for entry in entries]
    if isinstance(entries, dict):
        return {title: _with_api(entry) for title, entry in entries.items()}
    return api_reference.navigation(LIBRARY, API) if entries == f"{API}/" else entries
