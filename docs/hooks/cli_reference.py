"""Reference page of the command line, from its argparse parser."""

from __future__ import annotations

import argparse
import importlib
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path


def load_parser(root: Path) -> argparse.ArgumentParser:
    """Return the parser of the command ``gpraflow``: ``parser()`` of the module that ``[project.scripts]`` in pyproject.toml names."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    module = project["scripts"]["gpraflow"].partition(":")[0]
    return importlib.import_module(module).parser()


def cli_page(parser: argparse.ArgumentParser) -> str:
    """Return the Markdown of the command reference: a section for each command, with its usage and a row for each argument."""
    lines = [
        "# Command reference",
        "",
        "Commands, arguments and options of `gpraflow`, generated from the program itself.",
        "`gpraflow COMMAND --help` prints the same.",
        "",
    ]
    for command in commands(parser):
        lines += [f"## `{command.prog}`", ""]
        if command.description:
            lines += [_text(_expand(command.description, command, {})), ""]
        command.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=80)
        lines += ["```text", command.format_usage().removeprefix("usage: ").rstrip(), "```", ""]
        rows = [row for action in command._actions if (row := _row(action, command))]
        lines += ["| argument | default | meaning |", "|---|---|---|", *rows, ""] if rows else []
    return "\n".join(lines) + "\n"


def commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    """Yield a parser and those of all its commands; argparse has no other way to list them than ``_actions``."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from commands(inner)


def _row(action: argparse.Action, parser: argparse.ArgumentParser) -> str:
    """Return the row of an argument; empty for ``--help`` and for what is hidden."""
    if isinstance(action, argparse._HelpAction) or action.help == argparse.SUPPRESS:
        return ""
    value = str(action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper()))
    if isinstance(action, argparse._SubParsersAction):
        name, default, meaning = value, "", f"one of {', '.join(action.choices)}"
    else:
        takes_value = action.nargs != 0
        name = ", ".join(action.option_strings) + (f" {value}" if takes_value else "") if action.option_strings else value
        default = f"`{action.default}`" if takes_value and action.default not in (None, "", argparse.SUPPRESS) else ""
        if action.required and action.option_strings:
            default = "required"
        meaning = _expand(action.help or "", parser, vars(action))
    return f"| `{name}` | {default} | {_text(meaning)} |"


def _expand(text: str, parser: argparse.ArgumentParser, fields: dict) -> str:
    """Return a help text with its ``%(default)s`` and ``%%``; a description may hold a plain ``%``, as argparse lets it."""
    try:
        return text % ({"prog": parser.prog} | fields)
    except (TypeError, ValueError, KeyError):
        return text


def _text(value: str) -> str:
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("*", "\\*")
    return re.sub(r"\bdocs/(\w+\.md)", r"[docs/\1](../\1)", value)
