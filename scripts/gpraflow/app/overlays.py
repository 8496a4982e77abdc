"""Config files: read them as Snakemake does, change keys, and write what differs from the defaults."""

import copy
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from gpraflow.core import documents
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError
from gpraflow.core.urls import redacted

BASE = Path("config/config.yaml")  # read by the Snakefile before any other, if it exists
_WIDTH = 100


def read(paths: Sequence[str], settings: Sequence[str] = ()) -> dict[str, Any]:
    """Return the config of a run: `BASE` of the working directory, the config files, and settings ``KEY=VALUE``, later ones win.

    Raises
    ------
    ConfigError
        If a file is missing or not valid YAML, or a setting has no ``=``.
    """
    config: dict[str, Any] = with_base({})
    for path in paths:
        config = _updated(config, load(path))
    for setting in settings:
        key, sign, value = setting.partition("=")
        if not sign or not key.isidentifier():
            raise ConfigError(f"--config {redacted(setting)}: expected KEY=VALUE, such as data=../data")
        config = _updated(config, {key: _parsed(value, f"--config {key}")})
    return config


def with_base(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with the keys of `BASE`, if it exists, that ``content`` lacks."""
    return _updated(load(str(BASE)) if BASE.is_file() else {}, content)


def load(path: str) -> dict[str, Any]:
    """Return the content of a config file; `ConfigError` if it is missing, not valid YAML, no mapping, or larger than any config."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"{path}: this config file does not exist") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not UTF-8 text; a config is a YAML file") from None
    content = _parsed(text, path)
    if content is not None and not isinstance(content, dict):
        raise ConfigError(f"{path}: not a config, which maps keys to values")
    if documents.ENDLESS in documents.faults(content):  # Snakemake would write them all out
        raise ConfigError(f"{path}: {documents.ENDLESS}")
    return content or {}


def _parsed(text: str, origin: str) -> Any:
    try:
        return yaml.safe_load(text)
    except RecursionError:
        raise ConfigError(f"{origin}: not valid YAML (nested too deeply)") from None
    except (yaml.YAMLError, ValueError) as error:  # also impossible dates
        raise ConfigError(f"{origin}: not valid YAML ({redacted(str(error))})") from None


def _updated(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with changes, recursively, as Snakemake combines config files."""
    result = dict(config)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = _updated(old if isinstance(old, Mapping) else {}, value) if isinstance(value, Mapping) else value
    return result


def get(config: Mapping[str, Any], key: str) -> Any:
    """Return the value of a key with dots."""
    value: Any = config
    for part in key.split("."):
        value = value[part]
    return value


def with_keys(config: Mapping[str, Any], keys: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a config with keys (with dots) set."""
    result: dict[str, Any] = copy.deepcopy(dict(config))
    for key, value in keys.items():
        inner: dict[str, Any] = result
        *sections, last = key.split(".")
        for section in sections:
            inner = inner.setdefault(section, {})
        inner[last] = value
    return result


def line(key: str, value: Any) -> str:
    """Return a key and its value as in a config."""
    return f"{key}: {_text(value)}"


def _text(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False).strip()
    return text.removesuffix("...").strip()


def changes(config: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Return the keys of a config, at every level, whose values differ from the defaults."""
    differing = {}
    for key, value in config.items():
        default = defaults.get(key)
        if isinstance(value, Mapping) and isinstance(default, Mapping):
            if inner := changes(value, default):
                differing[key] = inner
        elif key not in defaults or value != default:
            differing[key] = value
    return differing


def text(config: Mapping[str, Any], comments: Mapping[str, str], heading: Sequence[str] = ()) -> str:
    """Return the YAML of a config with only the keys that differ from the defaults, or from `BASE`.

    Parameters
    ----------
    config
        A config with all defaults; ``run`` and ``evaluation.datasets`` are written even if they are the defaults, since those of the sample
        differ.
    comments
        Key with dots -> why it is set; other keys have the description of the schema.
    heading
        Lines of a comment at the top.
    """
    schema = schemas.load("config")
    defaults = schemas.defaults(schema)
    content = _updated(changes(config, defaults), changes(config, schemas.fill(with_base({}), schema)))
    content = _without_defaults(content, schema)
    content = _updated(content, {"evaluation": {"datasets": config["evaluation"]["datasets"]}})
    content = {"run": config["run"], **{key: value for key, value in content.items() if key != "run"}}
    lines = [f"# {line}" for line in heading]
    lines += _lines(content, schema, comments, "", 0)
    return "\n".join(lines) + "\n"


def _without_defaults(content: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config without the defaults in entries whose names are free, such as those of ``input.conditions``."""
    result = dict(content)
    for key, value in content.items():
        part = schema.get("properties", {}).get(key, {})
        if not isinstance(value, Mapping):
            continue
        if isinstance(entries := part.get("additionalProperties"), dict) and "properties" in entries:
            defaults = schemas.defaults(entries)
            result[key] = {name: changes(entry, defaults) if isinstance(entry, Mapping) else entry for name, entry in value.items()}
        else:
            result[key] = _without_defaults(value, part)
    return result


def _lines(content: Mapping[str, Any], schema: Mapping[str, Any], comments: Mapping[str, str], prefix: str, depth: int) -> list[str]:
    lines, indent = [], "  " * depth
    for key, value in content.items():
        part, name = schema.get("properties", {}).get(key, {}), f"{prefix}{key}"
        nested = isinstance(value, Mapping) and part.get("properties") and value
        comment = comments.get(name) or ("" if nested else part.get("description", ""))
        own = f"{indent}{key}:" if nested else f"{indent}{line(key, value)}"
        if comment and len(own) + len(comment) + 3 <= _WIDTH:
            lines.append(f"{own} # {comment}")
        else:
            lines += textwrap.wrap(comment, _WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ") if comment else []
            lines.append(own)
        if nested:
            lines += _lines(value, part, comments, f"{name}.", depth + 1)
    return lines
