"""How the workflow's jobs and the command ``gpraflow`` start: huge pages, a light import of Keras, and where packages come from.

The first two are settings of the environment that child processes inherit. None is set by ``import gpraflow``. docs/benchmarks.md has what
they gain; ``GPRAFLOW_LIGHT_KERAS=0`` and ``GLIBC_TUNABLES=glibc.malloc.hugetlb=0`` turn them off.

Transparent huge pages: JAX allocates new arrays at each step and frees them afterwards, and Linux zeroes each page again, 4 kB at a
time. glibc (2.35 and later) asks for pages of 2 MB if an environment variable says so when the process starts. Without glibc, or where the
administrator has turned huge pages off, nothing changes.
"""

import importlib.util
import os
import re
import site
import sys
from collections.abc import MutableMapping
from pathlib import Path

from gpraflow.core.errors import ConfigError

LIGHT_KERAS = "GPRAFLOW_LIGHT_KERAS"
_TUNABLES, _HUGE_PAGES = "GLIBC_TUNABLES", "glibc.malloc.hugetlb"
_SPECIAL = r"""[\s'"$&;()<>|`\\]"""  # what a shell does not take literally in the middle of a word
_UNUSED = ("matplotlib", "pandas", "sklearn")  # imported by Keras for features that no job uses


def prepare(environment: MutableMapping[str, str]) -> bool:
    """Request huge pages and a light import of Keras for processes that start with ``environment``.

    Returns
    -------
    bool
        Whether the request for huge pages was added. What the user has set is kept.
    """
    environment.setdefault(LIGHT_KERAS, "1")
    tunables = environment.get(_TUNABLES, "")
    if _HUGE_PAGES in tunables:
        return False
    environment[_TUNABLES] = ":".join([*filter(None, [tunables]), f"{_HUGE_PAGES}=1"])
    return True


def check_interpreter(path: str) -> None:
    """Check that Snakemake can start jobs with this Python: it writes the path into shell commands without quotes.

    Raises
    ------
    ConfigError
        If the path holds white space, quotes or other special characters of the shell.
    """
    if special := re.search(_SPECIAL, path):
        raise ConfigError(
            f"{path}: the path of Python has the character {special[0]!r}, which Snakemake cannot run; "
            "move the environment (of a checkout: the whole folder, then make setup again) to a path without white space and quotes"
        )


def prepare_jobs(environment: MutableMapping[str, str], scripts: Path) -> None:
    """Prepare the environment that jobs inherit, and let them import this package from ``scripts`` before any other folder.

    Snakemake appends to the path of scripts: an installed gpraflow, as of another checkout, would win over the workflow's own.
    Packages in the user's home (`pip install --user`) win over those of a conda environment, so that jobs do without them, unless
    Snakemake itself lies there.
    """
    prepare(environment)
    snakemake = importlib.util.find_spec("snakemake")
    if not (snakemake and snakemake.origin and snakemake.origin.startswith(site.getusersitepackages())):
        environment.setdefault("PYTHONNOUSERSITE", "1")
    if (scripts / "gpraflow" / "__init__.py").is_file():
        others = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path not in ("", str(scripts))]
        environment["PYTHONPATH"] = os.pathsep.join([str(scripts), *others])


def restart_prepared() -> None:
    """Start this program again with the same arguments, unless it was started by `prepare`; call it before anything else."""
    if sys.platform == "linux" and prepare(os.environ):
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def import_keras() -> None:
    """Import Keras; without pandas, scikit-learn and matplotlib if ``GPRAFLOW_LIGHT_KERAS`` is 1, which halves the time.

    Keras imports these three if they are installed, for adapters that no job uses. A name that is None in ``sys.modules`` counts as not
    installed; the names are removed again, so that the process can import them afterwards.
    """
    hidden = [name for name in _UNUSED if name not in sys.modules] if os.environ.get(LIGHT_KERAS) == "1" else []
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        import keras  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]
