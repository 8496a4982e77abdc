"""JSON schemas of the config, of sheets and of JSON files: defaults, validation, and typed rows of sheets."""

import copy
import os
import re
from collections.abc import Iterator
from typing import Any

import jsonschema
import yaml

from gpraflow.core import documents, names, numbers, resources, sheets
from gpraflow.core.errors import ConfigError, GpraflowError, InputError, nearest
from gpraflow.core.urls import redacted


class Row(dict):
    """A row of a sheet, with its line number in the file."""

    line: int


_SHOWN, _LISTED = 600, 50  # characters of a message, and messages, that are shown

# The C loader, where PyYAML has it, reads the config's schema in a tenth of the time; each job reads it again.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _check_pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """Check a pattern as JSON schema does: ``$`` is the end of the text, not the place before a last line break as in Python."""
    if validator.is_type(instance, "string") and not re.search(pattern.replace("$", r"\Z"), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")


def _check_format(validator: Any, kind: str, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    """Check ``format: name``, a name that becomes part of paths; the type is checked separately, but for keys of a mapping."""
    if (validator.is_type(instance, "string") or "type" not in schema) and (problem := names.fault(instance)):
        yield jsonschema.ValidationError(problem)


_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _check_pattern, "format": _check_format})


def load(name: str) -> dict[str, Any]:
    """Read a built-in JSON schema, written as YAML: ``config``, ``sample_sheet``, or of a JSON file, ``files/manifest``."""
    return yaml.load(resources.path_of(f"{name}.schema.yaml", "schemas").read_text(encoding="utf-8"), Loader=_Loader)


def defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the defaults of a schema of nested objects."""
    return fill({}, schema)


def fill(content: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of ``content`` with the schema's defaults for missing keys, at every level."""
    filled = copy.deepcopy(content)
    for key, part in schema.get("properties", {}).items():
        if "default" in part and key not in filled:
            filled[key] = copy.deepcopy(part["default"])
        if part.get("type") == "object" and isinstance(filled.get(key, {}), dict):
            inner = fill(filled.get(key, {}), part)
            if inner or key in filled:  # a section that is missing is there if it has defaults
                filled[key] = inner
    entries = schema.get("additionalProperties")
    if isinstance(entries, dict):
        own = {name: entry for name, entry in filled.items() if name not in schema.get("properties", {}) and isinstance(entry, dict)}
        filled |= {name: fill(entry, entries) for name, entry in own.items()}
    return filled


def _message(error: jsonschema.ValidationError) -> str:
    key = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})  # type: ignore[union-attr]
        wrong = sorted(set(error.instance) - set(known))
        prefix = f"{key}." if key else ""
        renamed = error.schema.get("x-renamed", {})  # type: ignore[union-attr]
        return "; ".join(
            f"'{prefix}{name}' was renamed to '{prefix}{renamed[name]}' in version 0.2"
            if name in renamed
            else f"'{prefix}{name}' is not a key{nearest(str(name), known)}"
            for name in wrong
        )
    if error.validator == "required":
        return f"{key or 'it'}: {error.message}"
    if error.validator == "enum":
        allowed = [str(value) for value in error.validator_value]  # type: ignore[union-attr]
        hint = nearest(str(error.instance), allowed)
        return f"{key}: '{error.instance}' is not one of {', '.join(allowed)}{hint}"
    if error.validator == "type":
        types = error.validator_value
        types = " or ".join(types) if isinstance(types, list) else types
        hint = ""
        if types == "object" and (required := error.schema.get("required")):  # type: ignore[union-attr]
            hint = f"; write keys and values, such as {{{required[0]}: ...}}"
        if "number" in str(types) and isinstance(error.instance, str) and re.fullmatch(r"[-+]?\d+[eE][-+]?\d+", error.instance):
            hint = f" (text in YAML); write {re.sub('[eE]', '.0e', error.instance)}"
        if "number" in str(types) and isinstance(error.instance, str) and re.fullmatch(r"[-+]?\d+,\d+", error.instance):
            hint = f"; write a decimal point: {error.instance.replace(',', '.')}"
        return f"{key}: {error.instance!r} is not of type {types}{hint}"
    return f"{key}: {error.message}" if key else error.message


def _whole_numbers(content: Any, schema: Any) -> Any:
    """Return ``content`` with numbers such as 3.0 as whole numbers where the schema has these, and not numbers in general."""
    if not isinstance(schema, dict):
        return content
    if isinstance(content, dict):
        parts, others = schema.get("properties", {}), schema.get("additionalProperties")
        return {key: _whole_numbers(value, parts.get(key, others)) for key, value in content.items()}
    if isinstance(content, list):
        return [_whole_numbers(value, schema.get("items")) for value in content]
    kinds = schema.get("type", [])
    if isinstance(content, float) and content.is_integer() and "integer" in kinds and "number" not in kinds:
        return int(content)
    return content


def validate(
    content: Any, schema: dict[str, Any], origin: str, error: type[GpraflowError] = ConfigError, advice: str = ""
) -> dict[str, Any]:
    """Return ``content`` with defaults, validated against ``schema``; whole numbers may be written as 3.0.

    Infinities are allowed at keys of the highest level that have ``x-infinite``.

    Raises
    ------
    GpraflowError
        Of the class ``error``, with one line for each error: ``origin``, the key, what was found, what is expected; then ``advice``.
    """
    infinite = {(key,) for key, part in schema.get("properties", {}).items() if part.get("x-infinite")}
    messages = list(documents.faults(content, infinite.__contains__))
    if not messages:
        filled = _whole_numbers(fill(content, schema) if isinstance(content, dict) else content, schema)
        errors = _Validator(schema).iter_errors(filled)
        messages = [_message(found) for found in sorted(errors, key=lambda found: list(map(str, found.absolute_path)))]
    if messages:
        shown = [f"{origin}: {redacted(message if len(message) <= _SHOWN else message[:_SHOWN] + '...')}" for message in messages[:_LISTED]]
        shown += [f"{origin}: {len(messages) - _LISTED} more errors"] if len(messages) > _LISTED else []
        raise error("\n".join(shown) + (f"; {advice}" if advice else ""))
    return filled


def parse(content: bytes | str, name: str, origin: str, advice: str) -> dict[str, Any]:
    """Return the content of a JSON file, validated against a built-in schema.

    Parameters
    ----------
    content
        The file's content.
    name
        Name of the schema in ``workflow/schemas/files/``.
    origin
        File, for error messages.
    advice
        What to do about a file that is not valid.

    Raises
    ------
    InputError
        If the file is damaged, or has other keys or values than the schema; with one line for each error, and ``advice``.
    """
    schema = load(f"files/{name}")
    try:
        found = documents.of_json(content, origin)
    except InputError as error:
        raise InputError(f"{error}; {advice}") from None
    if not isinstance(found, dict):
        raise InputError(f"{origin}: not a {schema['title']}: {documents.kind_of(found)}; {advice}")
    return validate(found, schema, origin, InputError, advice)


def read_json(path: str | os.PathLike, name: str, advice: str) -> dict[str, Any]:
    """Return the content of a JSON file, as `parse`."""
    return parse(documents.read_text(path), name, str(path), advice)


def load_sheet(path: str | os.PathLike, schema: dict[str, Any]) -> list[Row]:
    """Read a sheet; each row is validated against ``schema``, and empty cells take the schema's default.

    `sheets.rows` lists the formats. The value ``x-open`` of a column, an infinity, is the same as an empty cell.
    Values of the first required column, which names rows, must be unique, or unique within the values of the columns ``x-unique-within``.

    Raises
    ------
    ConfigError
        If the sheet is missing, a column is unknown, or a cell is wrong; with file and line.
    InputError
        If a row has more cells than the sheet has columns.
    """
    known, renamed = schema["properties"], schema.get("x-renamed", {})
    lines = sheets.rows(path, known)
    header = _without_empty_end(next(lines, (0, []))[1])
    if not header:
        raise ConfigError(f"{path}: the sheet is empty; its first row names the columns ({', '.join(known)})")
    for column in header:
        if column in renamed:
            raise ConfigError(f"{path}: the column '{column}' was renamed to '{renamed[column]}' in version 0.2")
        if column not in known:
            hint = nearest(column, known) or f"; it can have {', '.join(known)}"
            raise ConfigError(f"{path}: '{column[:_SHOWN]}' is not a column of this sheet{hint}")
        if header.count(column) > 1:
            raise ConfigError(f"{path}: the column '{column}' occurs {header.count(column)} times; delete all but one")
    if absent := [name for name in schema["required"] if name not in header]:
        raise ConfigError(f"{path}: no column '{absent[0]}'; a {schema['title']} needs {', '.join(schema['required'])}")
    rows = []
    for number, row_cells in lines:
        cells = _without_empty_end(row_cells) if len(row_cells) > len(header) else row_cells
        if len(cells) > len(header):
            raise InputError(f"{path}, row {number}: more cells than the header has columns")
        typed = {name: _typed(cell, known[name]) for name, cell in zip(header, cells, strict=False) if cell}
        typed = {name: value for name, value in typed.items() if known[name].get("x-open") != value}
        row = Row(validate(typed, schema, f"{path}, row {number}"))
        row.line = number
        rows.append(row)
    key = schema["required"][0]
    within = schema.get("x-unique-within", [])
    names = [([row.get(column, "") for column in within], row[key]) for row in rows]
    for outer, name in names:
        if (times := names.count((outer, name))) > 1:
            where = "".join(f" of {column} '{value}'" for column, value in zip(within, outer, strict=True) if value)
            raise ConfigError(f"{path}: the {key} '{name}'{where} is listed {times} times; each may be listed once")
    return rows


def _without_empty_end(cells: list[str]) -> list[str]:
    """Return cells without the empty ones at their end, which spreadsheets export."""
    filled = [place for place, cell in enumerate(cells, start=1) if cell]
    return cells[: filled[-1]] if filled else []


def _typed(cell: str, part: dict[str, Any]) -> Any:
    """Return the cell of a sheet converted to the type in the schema; unchanged if that fails."""
    if part.get("type") == "number":
        return cell if (number := numbers.parse(cell)) is None else number
    if part.get("type") == "boolean":
        return {"true": True, "false": False}.get(cell.lower(), cell)
    return cell
