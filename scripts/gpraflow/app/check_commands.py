"""The commands ``gpraflow check`` and ``gpraflow init``."""

import argparse
import sys
from typing import Any

from gpraflow.core.errors import REFUSED


def check_command(commands: Any) -> None:
    """Add ``gpraflow check``."""
    parser = commands.add_parser(
        "check",
        help="read the first rows or reads of all inputs, say what was understood, and propose config keys",
        description="Read the first rows or reads of everything that a config names, with the readers of the run, and say what was "
        "understood and what would stop the run. Proposals are config keys to set. Exit code 2 if a run would stop, otherwise 0. "
        "docs/check.md describes the tables.",
    )
    parser.add_argument("config", nargs="+", metavar="CONFIG", help="config files; later ones win")
    parser.add_argument(
        "--config", dest="settings", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="config keys, such as data=../data"
    )
    parser.add_argument("--rows", type=int, default=10_000, metavar="N", help="rows or reads of each input to read (default 10000)")
    parser.add_argument(
        "--write", default="", metavar="FILE", help="write a draft config with the proposals: what differs from the defaults"
    )
    parser.add_argument("--force", action="store_true", help="overwrite the files of --write")
    parser.add_argument("--here", action="store_true", help="exit code 2 also if a step needs more memory than this machine allows")
    parser.set_defaults(run=_check)


def init_command(commands: Any) -> None:
    """Add ``gpraflow init``."""
    parser = commands.add_parser(
        "init",
        help="write a config and a sample sheet for a table or FASTQ files",
        description="Look at a table of promoters, a table of counts per bin, or FASTQ files of sorted bins, and write a config and, for "
        "bins, a sample sheet. Without files, questions are asked on the terminal.",
    )
    parser.add_argument("files", nargs="*", metavar="FILE", help="a table (TSV, CSV, .xlsx, Parquet), or the FASTQ files of all bins")
    parser.add_argument("-o", "--output", default="", metavar="FOLDER", help="folder for config.yaml and sample_sheet.tsv (default: .)")
    parser.add_argument("--run", dest="name", default="", metavar="NAME", help="name of the run (default: that of the folder or file)")
    parser.add_argument("--scaffold", default="", metavar="NAME", help="built-in scaffold, if known (default: the one that is found)")
    parser.add_argument("--force", action="store_true", help="overwrite config.yaml and sample_sheet.tsv")
    parser.set_defaults(run=_init)


def _check(options: argparse.Namespace) -> int:
    from gpraflow.app import check, overlays
    from gpraflow.core.errors import ConfigError

    if options.rows < 100:
        raise ConfigError(f"--rows {options.rows}: expected at least 100")
    config = overlays.read(options.config, options.settings)
    title = f"gpraflow check {' '.join(options.config)}: run '{config.get('run', 'sample')}'"
    report = check.check(config, options.rows, check.threads_here(), title)
    sys.stdout.write(report.text())
    sys.stdout.flush()
    if options.write:
        written = check.write(report, options.write, options.force)
        print(f"Written: {', '.join(written)}")
    return REFUSED if report.errors or (options.here and report.too_large) else 0


def _init(options: argparse.Namespace) -> int:
    from gpraflow.app import init

    return init.main(options)
