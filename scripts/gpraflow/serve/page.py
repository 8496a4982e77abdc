"""The page: one HTML file with its style and its script, whose content security policy allows nothing else."""

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

import jinja2

from gpraflow.core import resources

# Modules of the script, each after those that it imports.
SCRIPTS = ("dom", "sequence", "plots", "track", "save", "engine", "design", "main")
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./[a-z]+\.js";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const |function |async function |class )", re.MULTILINE)


def script(*more: str) -> str:
    """Return the modules of the page as one module; ``more`` are further ones, before the last.

    Names at the top of a module are those of one scope then (tested: none occurs twice).
    """
    names = [*SCRIPTS[:-1], *more, SCRIPTS[-1]]
    parts = [resources.path_of(f"page/{name}.js").read_text(encoding="utf-8") for name in names]
    return "\n".join(_EXPORT.sub("", _IMPORT.sub("", part)) for part in parts)


def html(data: Mapping[str, Any], *more: str, connect: str = "'self'") -> str:
    """Return the page.

    Parameters
    ----------
    data
        What the script begins with: ``model`` (`answers.describe`), and ``network`` in the offline file.
    more
        Further modules of the script.
    connect
        Where the script may send requests, as in a content security policy.
    """
    style = resources.path_of("page/page.css").read_text(encoding="utf-8")
    code = script(*more)
    rules = {
        "default-src": "'none'",
        "script-src": _digest(code),
        "style-src": _digest(style),
        "img-src": "data: blob:",
        "connect-src": connect,
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    text = resources.path_of("page/page.html.j2").read_text(encoding="utf-8")
    return template.from_string(text).render(
        model=data["model"],
        policy="; ".join(f"{name} {value}" for name, value in rules.items()),
        style=style,
        script=code,
        data=json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c"),
    )


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
