"""Reference pages of the config and of the tables that it names, from the JSON schemas."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def read_schemas(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the schemas of a folder by name: ``config`` for ``config.schema.yaml``."""
    return {
        path.name.removesuffix(".schema.yaml"): yaml.safe_load(path.read_text("utf-8")) for path in sorted(folder.glob("*.schema.yaml"))
    }


def config_page(schema: dict[str, Any]) -> str:
    """Return the Markdown of the config reference: a section for each section of the config, a row for each key."""
    plain = {key: part for key, part in schema["properties"].items() if not _is_section(part)}
    sections = {key: part for key, part in schema["properties"].items() if _is_section(part)}
    lines = [
        "# Config reference",
        "",
        "Every key of the config with its type, its default and its allowed values.",
        "The page is generated from `workflow/schemas/config.schema.yaml`, which the workflow checks the config against.",
        "Write only the keys that differ from the defaults into your config file.",
        "",
        "## General",
        "",
        *_table(plain, "", schema.get("required", []), "key"),
    ]
    for key, part in sections.items():
        lines += _section(part, key, 2, "key")
    return "\n".join(lines) + "\n"


def tables_page(schemas: dict[str, dict[str, Any]]) -> str:
    """Return the Markdown of the reference of all other schemas: a section for each, a row for each column or key."""
    lines = [
        "# Sample sheets and registries",
        "",
        "Columns and keys of the files that the config names.",
        "The page is generated from the schemas in `workflow/schemas/`.",
        "",
    ]
    for name, schema in schemas.items():
        title = _text(schema.get("title", name))
        lines += [f"## {title[0].upper()}{title[1:]}", ""]
        if schema.get("description"):
            lines += [_sentence(schema["description"]), ""]
        lines += _body(schema, "", 3, "column" if "properties" in schema else "key")
    return "\n".join(lines) + "\n"


def _is_section(part: dict[str, Any]) -> bool:
    return part.get("type") == "object" and ("properties" in part or "properties" in _entries(part))


def _entries(part: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the values of a mapping with free keys."""
    entries = part.get("additionalProperties")
    return entries if isinstance(entries, dict) else {}


def _section(part: dict[str, Any], prefix: str, level: int, first: str) -> list[str]:
    lines = [f"{'#' * level} `{prefix}`", ""]
    if part.get("description"):
        lines += [_sentence(part["description"]), ""]
    return lines + _body(part, prefix, level + 1, first)


def _body(part: dict[str, Any], prefix: str, level: int, first: str) -> list[str]:
    dot = f"{prefix}." if prefix else ""
    if "properties" not in part:
        return _section(_entries(part), f"{dot}<name>", level, first)
    plain = {key: inner for key, inner in part["properties"].items() if not _is_section(inner)}
    lines = _table(plain, dot, part.get("required", []), first)
    for key, inner in part["properties"].items():
        if _is_section(inner):
            lines += _section(inner, f"{dot}{key}", level, first)
    return lines


def _table(keys: dict[str, Any], dot: str, required: list[str], first: str) -> list[str]:
    if not keys:
        return []
    lines = [f"| {first} | type | default | values | meaning |", "|---|---|---|---|---|"]
    for key, part in keys.items():
        default = _code(yaml.safe_dump(part["default"], default_flow_style=True, width=1000)) if "default" in part else ""
        default = "required" if key in required else default
        anchor = re.sub(r"[^\w.-]", "", f"{dot}{key}")
        lines.append(
            f'| <span id="{anchor}">`{key}`</span> | {_type(part)} | {default} | {", ".join(_values(part))} | '
            f"{_text(part.get('description', ''))} |"
        )
    return [*lines, ""]


def _type(part: dict[str, Any]) -> str:
    kind = part.get("type", "any")
    if kind == "array":
        items = part.get("items", {})
        return f"list of {_type(items)}" + (f" ({', '.join(map(_code, items['properties']))})" if "properties" in items else "")
    return " or ".join(kind) if isinstance(kind, list) else {"object": "mapping"}.get(kind, kind)


def _values(part: dict[str, Any]) -> Iterator[str]:
    """Yield what limits a value: choices, bounds, a pattern, a number of items."""
    inner = part.get("items", {}) if part.get("type") == "array" else part
    if "enum" in inner:
        yield " ".join(_code(str(value)) for value in inner["enum"])
    for name, sign in _BOUNDS.items():
        if name in inner:
            yield f"{sign} {inner[name]}"
    if "pattern" in inner:
        yield f"matches {_code(inner['pattern'])}"
    if inner.get("format") == "name":
        yield f"up to 100 letters, digits, {_code('_')}, {_code('.')} and {_code('-')}"
    if "minItems" in part:
        yield f"{part['minItems']} items" if part.get("maxItems") == part["minItems"] else f"at least {part['minItems']} items"


def _code(value: str) -> str:
    """Return a literal as code in a cell of a table."""
    value = value.removesuffix("\n").removesuffix("\n...")
    return f"`` {value} ``" if "`" in value else f"`{value}`"


def _text(value: str) -> str:
    """Return a description in a cell of a table: nothing in it is HTML or Markdown but code, and pages of docs/ are links."""
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")
    return re.sub(r"\bdocs/(\w+\.md)", r"[docs/\1](../\1)", value)


def _sentence(value: str) -> str:
    value = _text(value)
    return f"{value[0].upper()}{value[1:]}" + ("" if value.endswith(".") else ".")
