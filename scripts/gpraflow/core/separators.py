"""Separators of cells in sheets. Standard library only, because the Snakefile and all jobs import it."""

import os
from collections.abc import Iterable
from pathlib import Path

from gpraflow.core.errors import ConfigError

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t"}  # name, as in the config -> sign
NAMES = {sign: name for name, sign in SEPARATORS.items()}


def separator_of(path: str | os.PathLike, header: str, known: Iterable[str]) -> str:
    """Return the separator of a sheet from its name and its header line.

    Raises
    ------
    ConfigError
        If columns of the sheet are separated by another sign.
    """
    usual = (",", ";") if Path(path).suffix.lower() == ".csv" else ("\t",)
    for sign in usual:
        if sign in header:
            return sign
    for sign, word in NAMES.items():
        if {cell.strip(' "\r\n') for cell in header.split(sign)} & set(known) and sign in header:
            raise ConfigError(
                f"{path}, row 1: columns are separated by {word}s, but the cells of this sheet must be separated by "
                f"{NAMES[usual[0]]}s; {'name the file .tsv' if sign == chr(9) else 'name the file .csv'}, or convert it"
            )
    return usual[0]
