"""What several commands share: types of numbers, arguments for the model, its inputs and outputs, and the model itself."""

import argparse
from typing import TYPE_CHECKING, Any

from gpraflow.core import numbers

if TYPE_CHECKING:
    from gpraflow.prediction.predictor import Predictor
    from gpraflow.sequences.motifs import Motif

_FORMATS = "output file; the extension selects TSV, CSV (also .gz) or Parquet; - is TSV on standard output (default)"


def count(text: str) -> int:
    """Return a whole number of at least 0; `argparse.ArgumentTypeError` for other text."""
    if (number := numbers.parse_count(text)) is None:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 0, found '{text:.50}'")
    return number


def positive(text: str) -> int:
    """Return a whole number of at least 1; `argparse.ArgumentTypeError` for other text."""
    number = numbers.parse_count(text)
    if not number:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found '{text:.50}'")
    return number


def above_0(text: str) -> float:
    """Return a finite number above 0; `argparse.ArgumentTypeError` for other text."""
    number = numbers.parse(text)
    if number is None or not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"expected a number above 0, found '{text:.50}'")
    return number


def add_model(parser: argparse.ArgumentParser) -> None:
    """Add MODEL, ``--backend`` and ``--batch-size``."""
    parser.add_argument("model", metavar="MODEL", help="model directory, such as results/sample/model, or name in gpraflow models")
    parser.add_argument(
        "--backend", default="auto", choices=["auto", "jax", "tensorflow"], help="Keras backend (default: JAX if installed)"
    )
    parser.add_argument("--batch-size", type=positive, default=1024, help="promoters per batch (default 1024)")


def load_model(options: argparse.Namespace) -> "Predictor":
    """Return the model of `add_model`, for the condition of `add_condition` if the command has that option."""
    from gpraflow.core import resources
    from gpraflow.prediction import predictor as prediction_predictor

    directory = resources.model(options.model)
    predictor = prediction_predictor.Predictor(directory, options.backend, options.batch_size, light=options.backend == "auto")
    return predictor.of(getattr(options, "condition", ""))


def unit_of(predictor: "Predictor") -> str:
    """Return the unit of the model's own predictions, for figures."""
    from gpraflow.core import config

    name = predictor.transform.name
    return "units of expression" if name == "none" else config.transformed_unit(name, "expression")


def unit_and_readout(predictor: "Predictor") -> str:
    """Return `unit_of`, with the condition or difference of a model of several conditions."""
    return ", ".join(filter(None, (unit_of(predictor), predictor.readout)))


def load_motifs(options: argparse.Namespace, most: int | None = None) -> "list[Motif]":
    """Return the motifs of ``--motifs``: a file, or a built-in set, by default the first; at most ``most``."""
    from gpraflow.core import resources
    from gpraflow.sequences import motifs

    path = resources.resolve(options.motifs or next(iter(resources.MOTIFS)), resources.MOTIFS, "--motifs")
    return motifs.load(path, most=most)


def add_condition(parser: Any) -> None:
    """Add ``--condition`` to a parser or a group of options."""
    parser.add_argument(
        "--condition",
        default="",
        metavar="NAME",
        help="for a model of several conditions: condition, or difference such as galactose-glucose (default: the first condition)",
    )


def add_input(parser: argparse.ArgumentParser) -> None:
    """Add INPUT."""
    parser.add_argument(
        "input", metavar="INPUT", help="promoters or inserts: FASTA, TSV, CSV (.gz, .zst), Parquet, or - for standard input"
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """Add ``--output`` for a table, and ``--quiet``."""
    parser.add_argument("-o", "--output", default="-", metavar="OUT", help=_FORMATS)
    add_quiet(parser)


def add_quiet(parser: argparse.ArgumentParser) -> None:
    """Add ``--quiet``."""
    parser.add_argument("--quiet", action="store_true", help="print errors only, no progress and no summary")


def add_columns(parser: argparse.ArgumentParser) -> None:
    """Add ``--sequence-column``, ``--name-column`` and ``--no-header``, which `columns` reads."""
    add_sequence_column(parser, "; with --no-header its number from 1")
    add_name_column(parser)
    parser.add_argument("--no-header", action="store_true", help="the table has no header row")


def add_sequence_column(parser: argparse.ArgumentParser, more: str = "") -> None:
    """Add ``--sequence-column``; ``more`` is appended to its help."""
    parser.add_argument("--sequence-column", default="sequence", metavar="COLUMN", help=f"column with sequences (default sequence){more}")


def add_name_column(parser: argparse.ArgumentParser) -> None:
    """Add ``--name-column``."""
    parser.add_argument("--name-column", default="auto", metavar="COLUMN", help="column with names (default: name, if it exists)")


def columns(options: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_columns` as ``columns`` and ``header`` of `formats.records.records`."""
    of_roles = {"sequence": options.sequence_column, "name": options.name_column}
    if not options.no_header:
        return {"columns": of_roles, "header": True}
    chosen = {role: column if (number := numbers.parse_count(column)) is None else number for role, column in of_roles.items()}
    return {"columns": chosen | ({"sequence": 1} if chosen["sequence"] == "sequence" else {}), "header": False}
