"""The commands ``gpraflow evolve`` and ``gpraflow ecc``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpraflow.app import arguments

if TYPE_CHECKING:
    from gpraflow.core.ledger import Ledger

_AT_A_TIME = 128  # trajectories in parallel
_ROBUSTNESS = "robustness"
_MODES = ("drift", "up", "down", "stabilising", _ROBUSTNESS)  # the regimes of `evolution.REGIMES`, which imports Polars, and robustness


def evolve_command(commands: Any) -> None:
    """Add ``gpraflow evolve``."""
    parser = commands.add_parser(
        "evolve",
        help="simulate drift and selection of promoters; mutational robustness and evolvability",
        description="Simulate the evolution of promoters under a trained model: neutral drift, selection for high or low expression, "
        "stabilising selection. Compute mutational robustness and evolvability vectors. docs/evolution.md describes the tables.",
    )
    _add_model(parser)
    parser.add_argument("input", metavar="PROMOTERS", help="promoters or inserts: FASTA, TSV, CSV (.gz, .zst), .xlsx, Parquet, or -")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="output folder for tables and figures")
    parser.add_argument(
        "--mode",
        nargs="+",
        choices=_MODES,
        default=["drift", "up", "down"],
        help="drift: random mutations, all accepted; up, down: the best of all single mutants fixes (strong selection, weak mutation); "
        "stabilising: random mutations, accepted within --bound; robustness: mutational robustness and evolvability vectors, with "
        "--epsilon (default: drift up down)",
    )
    parser.add_argument("--generations", type=arguments.positive, default=10, metavar="N", help="generations (default 10)")
    parser.add_argument(
        "--replicates",
        type=arguments.positive,
        default=1,
        metavar="N",
        help="trajectories per promoter of drift and stabilising (default 1)",
    )
    parser.add_argument(
        "--bound", type=arguments.above_0, metavar="X", help="stabilising: largest difference of predicted expression from the ancestor"
    )
    parser.add_argument(
        "--epsilon", type=arguments.above_0, metavar="X", help="robustness: differences of predicted expression below X count as no change"
    )
    _add_seed(parser)
    parser.add_argument("--format", choices=["tsv", "parquet"], default="tsv", help="format of long tables (default tsv: .tsv.gz)")
    arguments.add_sequence_column(parser)
    arguments.add_name_column(parser)
    parser.set_defaults(run=_evolve)


def ecc_command(commands: Any) -> None:
    """Add ``gpraflow ecc``."""
    parser = commands.add_parser(
        "ecc",
        help="expression conservation coefficient (ECC) of sets of orthologous promoters",
        description="Compute the expression conservation coefficient of sets of orthologous promoters: log2 of the standard deviation of "
        "predicted expression among random mutants of their consensus over that among the orthologs. Above 0: stabilising selection. "
        "docs/evolution.md describes the table.",
    )
    _add_model(parser)
    parser.add_argument("input", metavar="ORTHOLOGS", help="table (TSV, CSV, .xlsx, Parquet) of orthologs, a row for each")
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="output folder for ecc.tsv and the figure")
    parser.add_argument("--set-column", default="auto", metavar="COLUMN", help="column with the set of each ortholog (default: set)")
    parser.add_argument(
        "--isolates-column",
        default="auto",
        metavar="COLUMN",
        help="column with the number of isolates that have the ortholog (default: isolates, if it exists; otherwise 1 each)",
    )
    parser.add_argument(
        "--draws",
        type=arguments.positive,
        default=1,
        metavar="N",
        help="draws of random mutants to average over (default 1, as in the paper)",
    )
    _add_seed(parser)
    arguments.add_sequence_column(parser)
    parser.set_defaults(run=_ecc)


def _add_model(parser: argparse.ArgumentParser) -> None:
    arguments.add_model(parser)
    arguments.add_condition(parser)
    arguments.add_quiet(parser)


def _add_seed(parser: argparse.ArgumentParser) -> None:
    help_text = "seed of random mutations (default 1): same seed, same result"
    parser.add_argument("--seed", type=arguments.count, default=1, metavar="N", help=help_text)


def _remove(folder: Path, *patterns: str) -> None:
    """Remove files of an earlier call."""
    for pattern in patterns:
        for old in folder.glob(pattern):
            old.unlink()


def _say(ledger: "Ledger", what: str, *remarks: str) -> None:
    read = ledger.counts["in", "rows"]
    print("; ".join([f"gpraflow: {read:,} {what}", *ledger.remarks("noted", "dropped"), *filter(None, remarks)]), file=sys.stderr)


def _evolve(options: argparse.Namespace) -> None:
    import numpy as np
    import polars as pl
    from tqdm import tqdm

    from gpraflow.core import drawing, files
    from gpraflow.core.errors import ConfigError
    from gpraflow.core.ledger import Ledger
    from gpraflow.design import evolution, evolution_figures
    from gpraflow.formats import records
    from gpraflow.formats import text as formats_text

    regimes = [regime for regime in evolution.REGIMES if regime in options.mode]
    evolution.check_options(regimes, options.generations, options.replicates, options.bound)
    for name, mode, number in (("epsilon", _ROBUSTNESS, options.epsilon), ("bound", evolution.STABILISING, options.bound)):
        if (mode in options.mode) != (number is not None):
            raise ConfigError(f"--{name} and --mode {mode} belong together: give both, or neither")
    ledger, repeated = Ledger("evolve", ""), records.RepeatedNames()
    columns = {"sequence": options.sequence_column, "name": options.name_column}
    rows = pl.concat(list(records.records(options.input, ledger, columns=columns)))
    predictor = arguments.load_model(options)
    start = evolution.ancestors(predictor, rows, options.input, ledger)
    repeated.add(start.rows["name"])
    repeated.note(ledger)
    folder, unit = Path(options.output), arguments.unit_and_readout(predictor)
    suffix = "parquet" if options.format == "parquet" else "tsv.gz"
    _remove(folder, "trajectories.*", "summary.tsv", "robustness.*", "evolvability.*")
    step = max(1, _AT_A_TIME // options.replicates)
    parts = [(begin, min(begin + step, len(start))) for begin in range(0, len(start), step)]
    modes = len(regimes) + (_ROBUSTNESS in options.mode)
    interval = 0.5 if sys.stderr.isatty() else 30  # a log needs fewer lines
    with tqdm(
        total=modes * len(start), desc="gpraflow", unit=" promoters", unit_scale=True, mininterval=interval, disable=options.quiet
    ) as progress:
        if regimes:
            light: list[pl.DataFrame] = []
            with formats_text.writing(folder / f"trajectories.{suffix}") as write:
                for regime in regimes:
                    for begin, end in parts:
                        found = evolution.evolve(
                            *(predictor, start.part(begin, end), regime, options.generations),
                            replicates=options.replicates,
                            bound=options.bound,
                            seed=options.seed,
                            first=begin,
                        )
                        write(found)
                        light.append(found.drop("name", "sequence"))
                        progress.update(end - begin)
            table = pl.concat(light)
            files.write_text(folder / "summary.tsv", evolution.summarise(table).write_csv(separator="\t", float_precision=6))
            shape = (-1, options.generations + 1)
            values = {regime: table.filter(regime=regime)["predicted"].to_numpy().reshape(shape) for regime in regimes}
            drawing.save(evolution_figures.trajectories(values, unit), folder / "trajectories.png", folder / "trajectories.svg")
        if _ROBUSTNESS in options.mode:
            landscapes: list[evolution.Landscape] = []
            with formats_text.writing(folder / f"evolvability.{suffix}") as write:
                for begin, end in parts:
                    landscapes.append(evolution.landscape(predictor, start.part(begin, end), options.epsilon))
                    write(landscapes[-1].vectors)
                    progress.update(end - begin)
            table = pl.concat([each.robustness for each in landscapes])
            files.write_text(folder / "robustness.tsv", table.write_csv(separator="\t", float_precision=6))
            effects = np.concatenate([each.sorted_effects for each in landscapes])
            figure = evolution_figures.robustness(effects, table, options.epsilon, unit)
            drawing.save(figure, folder / "robustness.png", folder / "robustness.svg")
    if not options.quiet:
        _say(ledger, "promoters")


def _ecc(options: argparse.Namespace) -> None:
    from gpraflow.core import drawing, files
    from gpraflow.core.ledger import Ledger
    from gpraflow.design import evolution, evolution_figures

    ledger, folder = Ledger("ecc", ""), Path(options.output)
    columns = {"sequence": options.sequence_column, "set": options.set_column, "isolates": options.isolates_column}
    rows = evolution.read_orthologs(options.input, columns, ledger)
    predictor = arguments.load_model(options)
    whole = evolution.complete_orthologs(predictor, rows, options.input, ledger)
    table = evolution.conservation(predictor, whole, options.input, options.seed, options.draws)
    _remove(folder, "ecc.*")
    files.write_text(folder / "ecc.tsv", table.write_csv(separator="\t", float_precision=6))
    drawing.save(evolution_figures.conservation(table), folder / "ecc.png", folder / "ecc.svg")
    if not options.quiet:
        without = table["ecc"].null_count()
        _say(ledger, "orthologs", f"{table.height:,} sets", f"{without:,} without a coefficient (column reason)" if without else "")
