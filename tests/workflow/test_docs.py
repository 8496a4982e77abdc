"""The documentation: generated pages are complete, and what is written is adapted to the site without loss."""

import argparse
import re
import shlex

import pytest
import yaml
from docs.hooks import api_reference, cli_reference, config_reference, github_markdown

from tests.conftest import ROOT

PAGES = [ROOT / name for name in ("README.md", "config/README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))


@pytest.fixture(scope="module")
def schemas():
    return config_reference.read_schemas(ROOT / "workflow/schemas")


@pytest.fixture(scope="module")
def parser():
    return cli_reference.load_parser(ROOT)


def leaves(part, path=""):
    for key, inner in part.get("properties", {}).items():
        if inner.get("type") == "object" and "properties" in inner:
            yield from leaves(inner, f"{path}{key}.")
        elif "properties" in (entries := inner.get("additionalProperties") or {}):
            yield from leaves(entries, f"{path}{key}.name.")
        else:
            yield f"{path}{key}"


def test_the_config_reference_has_each_key_once(schemas):
    page = config_reference.config_page(schemas["config"])
    assert sorted(re.findall(r'^\| <span id="([^"]+)">', page, flags=re.MULTILINE)) == sorted(leaves(schemas["config"]))


def test_a_key_is_shown_with_type_default_values_and_meaning():
    schema = yaml.safe_load(
        """
        type: object
        properties:
          run: {type: string, default: "", pattern: "^(a|b)$", description: goes to results/<run>/ | see docs/models.md}
          part:
            type: object
            description: a part
            required: [size]
            properties:
              size: {type: [integer, string], minimum: 1, exclusiveMaximum: 9}
              names: {type: array, items: {enum: [x, "y"]}, minItems: 2, maxItems: 2, default: [x, "y"]}
        """
    )
    page = config_reference.config_page(schema)
    see = "[docs/models.md](../models.md)"
    assert f"| <span id=\"run\">`run`</span> | string | `''` | matches `^(a|b)$` | goes to results/&lt;run>/ \\| see {see} |" in page
    assert "## `part`\n\nA part.\n" in page
    assert '| <span id="part.size">`size`</span> | integer or string | required | ≥ 1, < 9 |  |' in page
    assert '| <span id="part.names">`names`</span> | list of any | `[x, y]` | `x` `y`, 2 items |  |' in page


def test_the_tables_reference_has_each_column(schemas):
    others = {name: schema for name, schema in schemas.items() if name != "config"}
    page = config_reference.tables_page(others)
    for schema in others.values():
        for column in schema.get("properties", {}):
            assert f"`{column}`</span> |" in page


def test_the_command_reference_has_each_command_and_argument(parser):
    page = cli_reference.cli_page(parser)
    commands = list(cli_reference.commands(parser))
    assert {"gpraflow", "gpraflow predict", "gpraflow variants", "gpraflow explain"} <= {command.prog for command in commands}
    sections = dict(re.findall(r"^## `([^`]+)`\n(.*?)(?=^## |\Z)", page, flags=re.MULTILINE | re.DOTALL))
    assert set(sections) == {command.prog for command in commands}
    for command in commands:
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", command.format_help()):
            assert option == "--help" or option in sections[command.prog], f"{command.prog} {option}"


def test_an_argument_is_shown_with_value_default_and_meaning():
    parser = argparse.ArgumentParser(prog="tool", description="Gives 95 % intervals.")
    parser.add_argument("table", metavar="TABLE", help="a | b")
    parser.add_argument("-n", "--number", type=int, default=3, help="how many (default %(default)s, 5 %% at most)")
    parser.add_argument("--mode", choices=["fast", "slow"], required=True)
    parser.add_argument("--quiet", action="store_true", help="no messages")
    parser.add_argument("--hidden", help=argparse.SUPPRESS)
    page = cli_reference.cli_page(parser)
    assert "Gives 95 % intervals." in page
    assert "| `TABLE` |  | a \\| b |" in page
    assert "| `-n, --number NUMBER` | `3` | how many (default 3, 5 % at most) |" in page
    assert "| `--mode fast|slow` | required |  |" in page
    assert "| `--quiet` |  | no messages |" in page
    assert "--hidden" not in page


def test_the_api_reference_has_each_public_module(tmp_path):
    for name in ("__init__", "one", "_private", "inner/__init__", "inner/two"):
        path = tmp_path / f"library/{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'"""What {name} is.\n\nMore of it."""\n')
    library = tmp_path / "library"
    pages = api_reference.pages(library, "api")
    assert set(pages) == {"api/index.md", "api/one.md", "api/inner/index.md", "api/inner/two.md"}
    assert pages["api/inner/two.md"] == "# `library.inner.two`\n\n::: library.inner.two\n"
    assert "| [`library.inner`](inner/index.md) | What inner/__init__ is. |" in pages["api/index.md"]
    assert "| [`library.inner.two`](two.md) | What inner/two is. |" in pages["api/inner/index.md"]
    assert api_reference.navigation(library, "api") == [
        "api/index.md",
        {"inner": ["api/inner/index.md", {"two": "api/inner/two.md"}]},
        {"one": "api/one.md"},
    ]


def test_links_of_the_repository_become_links_of_the_site(tmp_path):
    for name in ("docs/using.md", "docs/images/report.png", "config/README.md", "Makefile"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    site_of = github_markdown.repository_paths(tmp_path, {"README.md": "index.md", "config/README.md": "own_data.md"})

    def resolved(text, source, uri, repository=""):
        return github_markdown.resolve_links(text, source, uri, site_of, repository)

    assert resolved("[a](docs/using.md#x) [b](config/README.md)", "README.md", "index.md") == ("[a](using.md#x) [b](own_data.md)\n", [])
    assert resolved("[a](../config/README.md)", "docs/using.md", "using.md") == ("[a](own_data.md)\n", [])
    assert resolved("[a](../docs/using.md)", "config/README.md", "own_data.md") == ("[a](using.md)\n", [])
    assert resolved('[![x](docs/images/report.png "t")](docs/using.md)', "README.md", "index.md")[0] == (
        '[![x](images/report.png "t")](using.md)\n'
    )
    assert resolved('<img src="docs/images/report.png">', "README.md", "index.md")[0] == '<img src="images/report.png">\n'
    assert resolved("[a](Makefile)", "README.md", "index.md") == ("a\n", [])
    assert resolved("[a](Makefile)", "README.md", "index.md", "https://host/blob/main")[0] == "[a](https://host/blob/main/Makefile)\n"
    kept = "`[a](b)` [c](https://d) [e](#f)\n```\n[g](h)\n```\n"
    assert resolved(kept, "README.md", "index.md") == (kept, [])
    assert resolved("[a](docs/gone.md)", "README.md", "index.md") == ("[a](docs/gone.md)\n", ["docs/gone.md"])


def test_lists_begin_after_an_empty_line_and_are_nested_by_four_spaces():
    text = "Text:\n- one\n  goes on\n  - inner\n- two\n\n1. first\n   ```\n   code\n     more\n   ```\n\nEnd\n```\n- no list\n```\n"
    expected = (
        "Text:\n\n- one\n    goes on\n    - inner\n- two\n\n1. first\n    ```\n    code\n      more\n    ```\n\nEnd\n```\n- no list\n```\n"
    )
    assert github_markdown.nest_lists(text) == expected


def commands_of(text):
    """Return the `gpraflow` commands in the shell blocks of a page."""
    for block in re.findall(r"^```(?:bash|sh|shell)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            for command in re.split(r"(?<!\|)\|(?!\|)|&&", line):
                if command.strip().startswith("gpraflow "):
                    yield re.split(r"\s[<>]", command.strip())[0]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_commands_in_the_documentation_are_accepted(path, parser):
    refused = []
    for command in commands_of(path.read_text()):
        try:
            parser.parse_args(shlex.split(command, comments=True)[1:])
        except SystemExit as stop:  # 0 after --help and --version
            refused += [command] if stop.code else []
    assert refused == []


def test_the_tutorial_has_commands_to_check():
    assert len(list(commands_of((ROOT / "docs/tutorial.md").read_text()))) == 4


def test_the_tests_that_the_security_page_names_are_there():
    text = (ROOT / "SECURITY.md").read_text()
    rows = re.findall(r"^\| [^|]+ \| [^|]+ \| (`tests/[^|]+`) \|$", text, flags=re.MULTILINE)
    named = {path for row in rows for path in re.findall(r"`([^`]+)`", row)}
    assert len(rows) > 9
    assert [path for path in sorted(named) if not (ROOT / path).is_file()] == []


def test_the_table_of_faults_names_tests_that_are_there():
    named = set(re.findall(r"`(test_\w+)`", (ROOT / "docs/faults.md").read_text()))
    defined = {
        name for path in (ROOT / "tests").rglob("test_*.py") for name in re.findall(r"^def (test_\w+)", path.read_text(), re.MULTILINE)
    }
    assert named <= defined
