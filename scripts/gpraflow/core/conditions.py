"""Names of conditions (media, inducers, cell types, time points) and of the differences between them.

A library can be measured in several conditions. A *readout* is what is measured and predicted then: expression in one condition, or the
difference of expression between two conditions. Standard library only, because the Snakefile imports this module.
"""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from gpraflow.core.errors import ConfigError

ROLES = ("expression", "expression_sd", "n_reads", "n_bins", "singleton", "weight", "bin_cells")  # measured in each condition
_NAME = re.compile(r"[A-Za-z0-9_]+")


def column(role: str, readout: str = "") -> str:
    """Return the name of a column of a readout, such as ``expression.glucose``; ``role`` itself without conditions."""
    return f"{role}.{readout}" if readout else role


def differences(conditions: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return difference -> its conditions: each condition minus each one before it, such as ``galactose-glucose``."""
    return {f"{b}-{a}": (b, a) for a, b in itertools.combinations(conditions, 2)}


def readouts(conditions: Sequence[str]) -> list[str]:
    """Return all conditions, then all differences; none without conditions."""
    return [*conditions, *differences(conditions)]


def shown(title: str, readout: str) -> str:
    """Return a title with the readout that it is of, such as ``test split, galactose - glucose``."""
    return f"{title}, {readout.replace('-', ' - ')}" if readout else title


def weights(readout: str, conditions: Sequence[str]) -> list[float]:
    """Return the weight of each condition in a readout: 1 for a condition; 1 and -1 for those of a difference; 1 without conditions."""
    if not conditions:
        return [1.0]
    plus, minus = differences(conditions).get(readout, (readout, ""))
    return [float(name == plus) - float(name == minus) for name in conditions]


def check(names: Iterable[Any], where: str) -> list[str]:
    """Return the names of conditions.

    Raises
    ------
    ConfigError
        If a name has other characters than letters, digits and ``_``, or there is only one condition.
    """
    found = list(names)
    for name in found:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"{where}: '{name}' cannot be the name of a condition, since it becomes part of column names; use letters, digits and _"
            )
    if len(found) == 1:
        raise ConfigError(f"{where}: '{found[0]}' is the only condition; name at least two, or none")
    return found


def of_rows(rows: Iterable[Mapping[str, Any]], path: Any) -> list[str]:
    """Return the conditions of a sample sheet in order of their first rows; none if it has no column ``condition``.

    Unsorted samples need no condition.

    Raises
    ------
    ConfigError
        As `check`, or if rows lack their condition.
    """
    rows = [row for row in rows if row.get("kind") != "unsorted"]
    named = [row.get("condition", "") for row in rows]
    if any(named) and not all(named):
        row = rows[named.index("")]
        line = getattr(row, "line", named.index("") + 2)
        raise ConfigError(f"{path}, row {line}: condition is empty; name it in every row or in none")
    return check(dict.fromkeys(filter(None, named)), f"{path}, column condition")
