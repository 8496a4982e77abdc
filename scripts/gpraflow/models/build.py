"""Construction of networks by name."""

import importlib
from typing import Any

from gpraflow.core.errors import ConfigError
from gpraflow.models.registry import describe


def build(
    name: str, length: int, sizes: dict[str, Any], *, outputs: int = 1, conditions: int = 1, upstream: str = "", motifs: str = ""
) -> Any:
    """Build a network by name; select the backend first (`select_backend`).

    Parameters
    ----------
    name, length, sizes
        Architecture, promoter window in bp, and all hyperparameters of the architecture.
    outputs
        Number of outputs: for each condition 1, standardised expression, or one logit per bin.
    conditions
        Number of conditions, for architectures to which it matters.
    upstream
        Plasmid sequence upstream of the promoter, 5' to 3'.
    motifs
        Motif file, for architectures initialised with known motifs; empty for none.

    Raises
    ------
    ConfigError
        If the architecture does not exist, or its sizes are incompatible.
    """
    architecture = describe(name)
    arguments = (
        sizes | ({"motifs": motifs} if architecture.motifs else {}) | ({"conditions": conditions} if architecture.conditions else {})
    )
    try:
        return importlib.import_module(architecture.module).build(length, outputs=outputs, upstream=upstream, **arguments)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"model.{name}: no model can be built from these sizes: {error}") from error
