"""YAML and JSON files, read strictly: UTF-8, each key once, finite numbers, and no more values than a file of ours can have."""

import json
import os
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from gpraflow.core.errors import ConfigError, GpraflowError, InputError
from gpraflow.core.urls import redacted

_MOST_BYTES = 256 << 20
_MOST_VALUES = 300_000  # anchors of YAML that refer to each other stand for any number of values
_MOST_LETTERS = 1_000_000
_MOST_DIGITS = 2**63 - 1
ENDLESS = "more values, or deeper nested ones, than such a file can have; do anchors refer to each other?"
_PLAIN = (str, bool, int, float, type(None))


class _Loader(yaml.SafeLoader):
    """PyYAML's safe loader, which in addition refuses keys that occur twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[tuple[str, str]] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"the key '{key.value}' occurs twice", key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


def read_text(path: str | os.PathLike, error: type[GpraflowError] = InputError) -> str:
    """Return the text of a small UTF-8 file, without byte order mark.

    Raises
    ------
    GpraflowError
        Of the class ``error``, if the file cannot be read, is not UTF-8, has NUL bytes or is larger than any that we write.
    """
    try:
        size = os.stat(path).st_size
        if size > _MOST_BYTES:
            raise error(f"{path}: {size:,} bytes; a file of this kind has at most {_MOST_BYTES:,}")
        with open(path, encoding="utf-8-sig") as handle:
            text = handle.read()
    except UnicodeDecodeError:
        raise error(f"{path}: not UTF-8 text; save it as UTF-8 (of a table: as tab-separated text, or as CSV UTF-8)") from None
    except FileNotFoundError:
        raise error(f"{path}: this file does not exist") from None
    except (OSError, ValueError) as problem:
        raise error(f"{path!s:.500}: could not be read ({getattr(problem, 'strerror', None) or problem})") from None
    if "\0" in text:
        raise error(f"{path}: NUL bytes; this is not a text file, or it is damaged")
    return text


def of_yaml(path: str | os.PathLike, where: str, what: str = "a mapping of names to values") -> dict[Any, Any]:
    """Return the mapping in a YAML file; ``where`` names it in messages, ``what`` says what it should be.

    Raises
    ------
    ConfigError
        If the file cannot be read, is not YAML, is no mapping, has a key twice, or holds what `faults` finds.
    """
    text = read_text(path, ConfigError)
    try:
        content = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{where}: not valid YAML ({redacted(str(error))})") from None
    except (RecursionError, ValueError, TypeError, AttributeError, KeyError) as error:  # too deep; impossible dates; keys that are lists
        reason = "nested too deeply" if isinstance(error, RecursionError) else f"{error!s:.200}"
        raise ConfigError(f"{where}: not valid YAML ({redacted(reason)})") from None
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"{where}: not {what}, but {kind_of(content)}")
    if problem := next(faults(content), None):
        raise ConfigError(f"{where}: {redacted(problem)}")
    return content


def of_json(content: bytes | str, origin: str) -> Any:
    """Return the content of a JSON file.

    Raises
    ------
    InputError
        If it is not UTF-8 or JSON, has a key twice, or holds what `faults` finds.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            raise ValueError(f"the key '{next(name for name in names if names.count(name) > 1)}' occurs twice")
        return found

    try:
        if len(content) > _MOST_BYTES:
            raise InputError(f"{origin}: {len(content):,} bytes; a file of this kind has at most {_MOST_BYTES:,}")
        found = json.loads(content, object_pairs_hook=once)
    except RecursionError:
        raise InputError(f"{origin}: damaged (nested too deeply)") from None
    except ValueError as error:
        raise InputError(f"{origin}: damaged ({error!s:.200})") from None
    if problem := next(faults(found), None):
        raise InputError(f"{origin}: {problem}")
    return found


def faults(content: Any, infinite: Callable[[tuple[str, ...]], bool] = lambda key: False) -> Iterator[str]:
    """Yield what no config, sheet or file of ours holds, each with its key.

    Keys that are no text, other values than text, numbers, true, false, null, lists and mappings (such as dates), NaN and infinities,
    whole numbers beyond 64 bits, control characters, and more values or longer text than any file of ours has.

    Parameters
    ----------
    content
        Content of a YAML or JSON file.
    infinite
        Of a key, whether its value may be infinite.
    """
    waiting: list[tuple[tuple[str, ...], Any]] = [((), content)]
    visited = 0
    while waiting:
        place, value = waiting.pop()
        visited += 1
        if visited > _MOST_VALUES or len(place) > 100:
            yield ENDLESS
            return
        if isinstance(value, Mapping):
            for key in value:
                if not isinstance(key, str):
                    yield f"{_at(place)}the key {key!r:.100} is {kind_of(key)}, not text; put it in quotes"
            waiting += [((*place, key), part) for key, part in reversed(list(value.items())) if isinstance(key, str)]
        elif isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
            waiting += [((*place, str(index)), part) for index, part in reversed(list(enumerate(value)))]
        elif problem := _fault(value, infinite(place)):
            yield f"{_at(place)}{problem}"


def _fault(value: Any, infinite: bool) -> str:
    if not isinstance(value, _PLAIN):
        return f"{value!r:.100} is {kind_of(value)}; put text in quotes"
    if isinstance(value, float) and (value != value or (not infinite and value in (float("inf"), float("-inf")))):
        return f"{value} is not a finite number"
    if isinstance(value, int) and abs(value) > _MOST_DIGITS:
        return "a whole number beyond 64 bits"
    if isinstance(value, str):
        if len(value) > _MOST_LETTERS:
            return f"'{value[:20]}...' has {len(value):,} characters, more than {_MOST_LETTERS:,}"
        if bad := next((letter for letter in value if letter < " " and letter not in "\t\n\r"), ""):
            return f"{value!r:.100} has the control character {bad!r}; remove it"
        if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
            return f"{value!r:.100} has half a character (a surrogate); remove it"
    return ""


def _at(place: tuple[str, ...]) -> str:
    return f"{'.'.join(place)[:300]}: " if place else ""


def kind_of(value: Any) -> str:
    """Return what a value of a YAML or JSON file is, for messages."""
    if value is None:
        return "null (nothing)"
    kinds = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
    return kinds.get(type(value), f"a {type(value).__name__}")
