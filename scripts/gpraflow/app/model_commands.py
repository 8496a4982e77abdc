"""The commands on models themselves: ``gpraflow models``, ``gpraflow recalibrate`` and ``gpraflow export``."""

import argparse
import sys
from typing import Any

from gpraflow.app import arguments
from gpraflow.app.serve_commands import add_motifs, export_page
from gpraflow.core.errors import ConfigError


def models_command(commands: Any) -> None:
    """Add ``gpraflow models``."""
    parser = commands.add_parser(
        "models",
        help="list the trained models that come with gpraflow",
        description="List the trained models that come with gpraflow. Every command that takes a MODEL takes such a name. The model "
        "card in the folder of a model says what it was trained on, how it scores, and what it is not for.",
    )
    parser.add_argument("name", nargs="?", default="", metavar="NAME", help="print the model card of this model")
    parser.set_defaults(run=_models)


def recalibrate_command(commands: Any) -> None:
    """Add ``gpraflow recalibrate``."""
    parser = commands.add_parser(
        "recalibrate",
        help="bring a model to the scale of your experiment, from at least 20 measured controls",
        description="Fit an increasing map from the predictions of a model to the measurements of control promoters, and new 95 %% "
        "intervals, and write a model directory on the new scale. Predictions, effects of variants, explanations and designs with it are "
        "on that scale. docs/using.md describes it.",
    )
    arguments.add_model(parser)
    parser.add_argument("controls", metavar="CONTROLS", help="table of measured promoters: TSV, CSV, .xlsx or Parquet")
    parser.add_argument("-o", "--output", required=True, metavar="NEWMODEL", help="new model directory")
    parser.add_argument(
        "--map",
        default="auto",
        choices=["auto", "affine", "isotonic"],
        help="shape of the map; auto (default): affine, or isotonic if that predicts at least 50 controls better in cross-validation",
    )
    arguments.add_sequence_column(parser)
    parser.add_argument(
        "--expression-column", default="expression", metavar="COLUMN", help="column with measured expression (default expression)"
    )
    parser.add_argument("--reads-column", default="auto", metavar="COLUMN", help="column with reads (default: n_reads, if it exists)")
    parser.add_argument(
        "--condition",
        default="",
        metavar="NAME",
        help="for a model of several conditions: the only one that controls were measured in. By default, columns such as "
        "expression.glucose hold the measurements of each; the new model has the conditions that have such a column",
    )
    arguments.add_quiet(parser)
    parser.set_defaults(run=_recalibrate)


def export_command(commands: Any) -> None:
    """Add ``gpraflow export``."""
    parser = commands.add_parser(
        "export",
        help="write a model as ONNX or TensorFlow SavedModel, for other programs, or as a page that works without a server",
        description="Write the network of a model for other programs, or, with --page, the page of gpraflow serve as one HTML file that "
        "works without a server and without a network (for the architecture compact; docs/serve.md). The input is a batch of "
        "tokens (A 0, C 1, G 2, T 3, N 4) or of "
        "one-hot channels A, C, G, T, the output expression of each ensemble member (and condition). The written model is compared with "
        "the original on random promoters before it gets its name. docs/using.md has examples.",
    )
    arguments.add_model(parser)
    form = parser.add_mutually_exclusive_group(required=True)
    form.add_argument("--format", choices=["onnx", "saved_model"], help="format of the output")
    form.add_argument("--page", metavar="FILE", help="write the page as this HTML file")
    parser.add_argument("-o", "--output", metavar="OUT", help="with --format: file (onnx) or folder (saved_model)")
    parser.add_argument("--name", default="", metavar="TEXT", help="with --page: what the page calls the model (default: from its path)")
    add_motifs(parser, "with --page: ")
    parser.add_argument("--input", default="tokens", choices=["tokens", "one_hot"], help="input of the exported network (default tokens)")
    arguments.add_quiet(parser)
    parser.set_defaults(run=_export)


def _models(options: argparse.Namespace) -> None:
    from gpraflow.core import resources
    from gpraflow.report import model_card

    if options.name:
        card = model_card.read(resources.model(options.name) / model_card.JSON)
        sys.stdout.write(model_card.markdown(card))
        return
    print("name\tarchitecture\tmembers\tparameters\tunit\tassay\tfolder")
    for name in resources.models():
        folder = resources.model(name)
        card = model_card.read(folder / model_card.JSON)
        model = card["model"]
        cells = [name, model["architecture"], model["members"], model["parameters"], card["use"]["unit"], card["use"]["assay"], folder]
        print("\t".join(map(str, cells)))


def _recalibrate(options: argparse.Namespace) -> None:
    import datetime
    from pathlib import Path

    from gpraflow.core.ledger import Ledger
    from gpraflow.models import about
    from gpraflow.prediction import recalibrate
    from gpraflow.report import model_card

    predictor, ledger = arguments.load_model(options), Ledger("recalibrate", "")
    columns = {"sequence": options.sequence_column, "expression": options.expression_column, "n_reads": options.reads_column}
    controls = recalibrate.read_controls(predictor, options.controls, columns, ledger, options.condition)
    maps = recalibrate.recalibrate(predictor, controls, options.output, kind=options.map, source=options.controls)
    five, three = predictor.flanks
    scaffold = {"name": predictor.about["input"]["scaffold"], "five_prime": five, "three_prime": three}
    card = model_card.recalibrated(
        model_card.of_model(predictor.directory, predictor.about, scaffold),
        name=Path(options.output).name,
        about=about.read(Path(options.output) / "model.json"),
        maps=maps,
        controls=options.controls,
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
    )
    model_card.write(card, options.output)
    if options.quiet:
        return
    for name, found in maps.items():
        errors = f"root mean squared error {found['rmse_before']:.3g} before, {found['rmse']:.3g} after (cross-validated)"
        line = f"affine: {found['slope']:.3g} x prediction {found['offset']:+.3g}"
        summary = f"{found['kind']} map from {found['controls']} controls, r = {found['r']:.3f}; {errors}; {line}"
        print(f"gpraflow: {name}{': ' if name else ''}{summary}", file=sys.stderr)
    left_out = [name for name in predictor.conditions if name not in maps]
    notes = [f"without controls, and not in the new model: {', '.join(left_out)}"] if left_out else []
    if noted := [*notes, *ledger.remarks("noted")]:
        print(f"gpraflow: {'; '.join(noted)}", file=sys.stderr)


def _export(options: argparse.Namespace) -> None:
    from gpraflow.core import resources
    from gpraflow.models import export

    if options.page:
        export_page(options)
        return
    if not options.output:
        raise ConfigError("gpraflow export --format: name the output with -o")
    largest = export.export(resources.model(options.model), options.output, options.format, options.input, options.backend)
    if not options.quiet:
        print(f"gpraflow: {options.output}: largest difference to the model on {export.COMPARED} promoters {largest:.2g}", file=sys.stderr)
