"""Building a network by name."""

import importlib
from typing import Any

from gpraflow.core.errors import ConfigError
from gpraflow.models.registry import describe


def build(name: str, length: int, sizes: dict[str, Any], *, outputs: int = 1, upstream: str = "", motifs: str = "") -> Any:
    """Build a network by name; choose the backend first (`select_backend`).

    Parameters
    ----------
    name, length, sizes
        Architecture, promoter window in bp, and all its sizes.
    outputs
        1 for standardised expression, or logits of so many bins.
    upstream
        Plasmid before the promoter, 5' to 3'.
    motifs
        JASPAR file, for architectures that start from known motifs.

    Raises
    ------
    ConfigError
        If there is no such architecture, or its sizes do not go together.
    """
    architecture = describe(name)
    given = sizes | ({"motifs": motifs} if architecture.motifs else {})
    try:
        return importlib.import_module(architecture.module).build(length, outputs=outputs, upstream=upstream, **given)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model.{name}: no model can be built from these sizes: {error}") from error
