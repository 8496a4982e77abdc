"""The command ``gpraflow propose``."""

import argparse
import sys
from pathlib import Path
from typing import Any

from gpraflow.app import arguments
from gpraflow.core import numbers
from gpraflow.core.errors import ConfigError


def propose_command(commands: Any) -> None:
    """Add ``gpraflow propose``."""
    parser = commands.add_parser(
        "propose",
        help="choose the promoters to measure next from a pool (active learning)",
        description="Choose the promoters of a pool whose measurement should improve the model most, or that should be strong. Output "
        "columns: rank, name, sequence with flanks, expression and its 95 % interval, spread between ensemble members, acquisition and its "
        "value, and the reason. docs/proposals.md describes the acquisitions.",
    )
    arguments.add_model(parser)
    parser.add_argument("pool", metavar="POOL", nargs="?", default="", help="promoters or inserts to choose from, as INPUT of predict")
    parser.add_argument(
        "--random", type=arguments.positive, metavar="N", help="instead of POOL: choose from N random promoters of the model's scaffold"
    )
    parser.add_argument(
        "--insert-length", type=arguments.positive, metavar="BP", help="with --random: length of inserts (default: fills the window)"
    )
    parser.add_argument("-n", "--number", type=arguments.positive, required=True, metavar="N", help="promoters to choose")
    parser.add_argument(
        "--acquisition",
        default="diversity",
        metavar="NAME",
        help="diversity (far from measured promoters and from each other, default), range, variance, improvement, random, mixture, or "
        "shares of several, such as range=2,random=1; variance and improvement need an ensemble",
    )
    parser.add_argument("--batch", action="store_true", help="variance, improvement: avoid promoters that resemble each other")
    parser.add_argument(
        "--measured",
        nargs="+",
        metavar="FILE",
        help="measured promoters, which are excluded: FASTA or tables (default: the splits of the run that MODEL belongs to, if they are "
        "there)",
    )
    parser.add_argument(
        "--best", type=_number, metavar="X", help="improvement: expression to exceed (default: highest prediction measured)"
    )
    parser.add_argument("--duplicates", choices=["error", "first"], default="error", help="promoters that POOL has twice (default error)")
    arguments.add_condition(parser)
    parser.add_argument("--seed", type=arguments.count, default=0, help="random seed; the same seed gives the same choice (default 0)")
    parser.add_argument(
        "-o", "--output", default="-", metavar="OUT", help="table: .tsv, .csv (also .gz) or .parquet; - is TSV on standard output (default)"
    )
    parser.add_argument("--fasta", default="", metavar="FILE", help="also write the chosen promoters as FASTA")
    arguments.add_quiet(parser)
    arguments.add_sequence_column(parser)
    arguments.add_name_column(parser)
    parser.set_defaults(run=_propose)


def _number(text: str) -> float:
    number = numbers.parse(text)
    if number is None or not abs(number) < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number, found '{text:.50}'")
    return number


def _propose(options: argparse.Namespace) -> None:
    from gpraflow.core import files
    from gpraflow.core.ledger import Ledger
    from gpraflow.design import proposals
    from gpraflow.formats import text as formats_text

    if bool(options.pool) == bool(options.random):
        raise ConfigError("give either a POOL or --random N, the promoters to choose from")
    if options.insert_length and options.pool:
        raise ConfigError("--insert-length: the inserts of POOL have their own lengths; use it with --random")
    shares = proposals.parse_shares(options.acquisition)
    columns = {"columns": {"sequence": options.sequence_column, "name": options.name_column}, "header": True}
    ledger = Ledger("propose", options.pool)
    with formats_text.writing(options.output) as write:
        predictor = arguments.load_model(options)
        if options.pool:
            pool = proposals.read_pool(predictor, options.pool, ledger, options.duplicates, **columns)
        else:
            pool = proposals.random_pool(predictor, options.random, options.seed, ledger, options.insert_length)
        own = [] if options.measured else _splits_of(predictor.directory)
        measured = proposals.read_measured(predictor, options.measured or own, **(columns if options.measured else {}))
        chosen = proposals.propose(
            predictor, pool, options.number, shares, ledger, measured=measured, best=options.best, batch=options.batch, seed=options.seed
        )
        if options.fasta:
            files.write_text(options.fasta, proposals.fasta(chosen))
        write(chosen)
    if not options.quiet:
        known = f"{len(measured):,} measured promoters" + (f" in {own[0].parent}" if own else "")
        done = f"gpraflow: {chosen.height:,} of {ledger.counts['in', 'rows']:,} promoters chosen"
        print("; ".join([done, known, *ledger.remarks("dropped", "noted")]), file=sys.stderr)


def _splits_of(model: Path) -> list[Path]:
    """Return the promoter tables of the run that a model directory belongs to, as far as they are there."""
    return sorted((model.absolute().parent / "splits").glob("*.parquet"))
