"""Built-in files of the package: scaffolds, motif sets, trained models, public data sets, schemas, parts of the report, adapters.

In a checkout they lie in ``resources/``, ``workflow/schemas/``, ``workflow/report/`` and ``scripts/``. An installed package has copies in
``gpraflow/resources/``, ``gpraflow/schemas/``, ``gpraflow/report_parts/`` and ``gpraflow/adapters/`` (setup.py).
"""

import os
from pathlib import Path

from gpraflow.core.errors import ConfigError, nearest

_PACKAGE = Path(__file__).parents[1]
_CHECKOUT = _PACKAGE.parents[1]
_PLACES = {  # the first one that exists
    "resources": (_PACKAGE / "resources", _CHECKOUT / "resources"),
    "schemas": (_PACKAGE / "schemas", _CHECKOUT / "workflow" / "schemas"),
    "report": (_PACKAGE / "report_parts", _CHECKOUT / "workflow" / "report"),
    "adapters": (_PACKAGE / "adapters", _CHECKOUT / "scripts"),
}

# Names that the config can give in place of a path, by key.
SCAFFOLDS = {"built-in": "scaffolds.yaml"}
MOTIFS = {"jaspar2026_yeast": "motifs/jaspar2026_yeast.jaspar"}
MOTIF_ORGANISMS = {"jaspar2026_yeast": "yeast"}
REGISTRIES = {"built-in": "datasets.yaml"}


def models() -> list[str]:
    """Return the names of the trained models that come with the package."""
    for folder in _PLACES["resources"]:
        if (folder / "models").is_dir():
            return sorted(path.parent.name for path in folder.glob("models/*/model.json"))
    return []


def model(value: str | os.PathLike) -> Path:
    """Return the model directory that a user gives: a path, or the name of a model that comes with the package (`models`).

    A folder of that name in the working directory wins.

    Raises
    ------
    ConfigError
        If it is neither.
    """
    path, text = Path(value), os.fspath(value)
    if path.exists() or "/" in text or os.sep in text:
        return path
    if text in models():
        return path_of(f"models/{text}/model.json").parent
    raise ConfigError(
        f"{text}: neither a model directory, such as results/sample/model, nor a model that comes with gpraflow{nearest(text, models())} "
        f"({', '.join(models())}; gpraflow models lists them)"
    )


def path_of(name: str, kind: str = "resources") -> Path:
    """Return the path of a built-in file.

    Parameters
    ----------
    name
        Path below the folder.
    kind
        ``resources``, ``schemas``, ``report`` or ``adapters``.

    Raises
    ------
    FileNotFoundError
        If there is none: the installation is incomplete.
    """
    for folder in _PLACES[kind]:
        if (folder / name).is_file():
            return folder / name
    raise FileNotFoundError(f"{name}: not found in {' or '.join(map(str, _PLACES[kind]))}; install gpraflow again")


def shown(name: str, kind: str = "resources") -> str:
    """Return the path of a built-in file (`path_of`), relative to the working directory if it lies below it."""
    return _shown(path_of(name, kind))


def resolve(value: str, names: dict[str, str], key: str) -> str:
    """Return the file that a config key gives: a built-in file by its name, else the user's path as it is.

    Raises
    ------
    ConfigError
        If the value is neither a built-in name nor an existing file and looks like a name.
    """
    if value in names:
        return shown(names[value])
    if value and "/" not in value and "." not in value and not Path(value).is_file():
        raise ConfigError(
            f"{key}: '{value}' is neither a file nor a built-in name{nearest(value, names)} (built-in: {', '.join(names)}); "
            "give a path relative to the working directory"
        )
    return value


def report_files(pattern: str) -> list[str]:
    """Return the parts of the report that fit a pattern, sorted: captions (``*.rst``), template, style and script."""
    folder = path_of("report.html.j2", "report").parent
    return [_shown(path) for path in sorted(folder.glob(pattern))]


def _shown(path: Path) -> str:
    """Return a path relative to the working directory if it lies below, so that results do not depend on where a checkout lies."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
