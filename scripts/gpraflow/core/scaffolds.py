"""Files of scaffolds (YAML): the constant sequences around inserts. The plan of a run reads them too, before any job starts."""

import os

from gpraflow.core import documents
from gpraflow.core.errors import ConfigError, nearest

KEYS = ("five_prime", "three_prime", "upstream", "downstream", "organism")


def entry(path: str | os.PathLike, name: str) -> dict[str, str]:
    """Return the constant sequences of a scaffold, ``five_prime``, ``three_prime``, ``upstream`` and ``downstream``, and its ``organism``.

    Raises
    ------
    ConfigError
        If the file is missing or not valid, or lacks this scaffold, or a sequence contains letters other than A, C, G and T.
    """
    if not os.path.exists(path):
        raise ConfigError(f"scaffold.file: {path} does not exist")
    scaffolds = documents.of_yaml(path, f"scaffold.file: {path}")
    if name not in scaffolds:
        raise ConfigError(f"scaffold.name: {path} has no scaffold '{name}'{nearest(name, scaffolds)} (it has {', '.join(scaffolds)})")
    found = scaffolds[name]
    if not isinstance(found, dict):
        raise ConfigError(f"{path}, {name}: expected five_prime, three_prime and further keys, found {documents.kind_of(found)}")
    for key, text in found.items():
        if key not in KEYS:
            raise ConfigError(f"{path}, {name}: '{key:.60}' is not a key{nearest(key, KEYS)} (known: {', '.join(KEYS)})")
        if not isinstance(text, str):
            raise ConfigError(f"{path}, {name}.{key}: expected text, found {documents.kind_of(text)}; leave the key out for none")
        if key != "organism" and set(text) - set("ACGT"):
            raise ConfigError(f"{path}, {name}.{key}: '{text:.60}' may contain A, C, G and T only")
    return dict.fromkeys(KEYS, "") | found
