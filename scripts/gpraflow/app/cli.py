"""The command `gpraflow`: checks of inputs, predictions, variant effects and explanations of a trained model, maintenance of buckets.

Exit codes: 0 success; 2 invalid input or options; 1 any other failure; 130 interrupted. Each command imports its modules when it is run,
which keeps ``--help`` fast.
"""

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import chain
from typing import TYPE_CHECKING, Any

from gpraflow import __version__
from gpraflow.app import arguments
from gpraflow.app.check_commands import check_command, init_command
from gpraflow.app.design_commands import design_command
from gpraflow.app.evolve_commands import ecc_command, evolve_command
from gpraflow.app.model_commands import export_command, models_command, recalibrate_command
from gpraflow.app.propose_commands import propose_command
from gpraflow.app.serve_commands import serve_command
from gpraflow.core import startup
from gpraflow.core.errors import INTERRUPTED, REFUSED, ConfigError, InputError, explained
from gpraflow.core.urls import redacted

if TYPE_CHECKING:
    import polars as pl

    from gpraflow.core.ledger import Ledger
    from gpraflow.prediction.predictor import Predictor

DONE, FAILED = 0, 1


def predict_command(commands: Any) -> None:
    """Add ``gpraflow predict``."""
    parser = commands.add_parser(
        "predict",
        help="predict expression of promoters, with 95 %% intervals",
        description="Predict the expression of promoters. Output columns: name, sequence with flanks, expression and its 95 % interval in "
        "the unit of the training table (in each condition, and the difference between conditions, if the model has several), and "
        "why a promoter is out of distribution (empty if it is not). docs/using.md describes them.",
    )
    arguments.add_model(parser)
    arguments.add_input(parser)
    arguments.add_output(parser)
    arguments.add_columns(parser)
    parser.add_argument(
        "--reads", type=arguments.positive, help="reads per measurement that intervals assume (default: median in validation)"
    )
    parser.set_defaults(run=_predict)


_MAPS = 20  # references of which `gpraflow variants --map` draws the effects of all mutants


def variants_command(commands: Any) -> None:
    """Add ``gpraflow variants``."""
    parser = commands.add_parser(
        "variants",
        help="predict variant effects: expression of alt minus expression of ref",
        description="Predict variant effects: the expression of the alternative promoter minus that of the reference. Variants with "
        "positive effects raise expression. If the model was trained on log2 of expression, effects are log2 fold changes.",
    )
    arguments.add_model(parser)
    parser.add_argument("ref", metavar="REF", help="reference promoters: FASTA or table, as for predict")
    parser.add_argument(
        "alt",
        metavar="ALT",
        help="alternative promoters with the same names; or a VCF, or names such as p1:5:A>G (one, or a file with one per line), with a "
        "name in REF as CHROM, or a chromosome with --regions",
    )
    parser.add_argument(
        "--regions", default="", metavar="BED", help="genomic region of each construct: chrom, start, end, name in REF, score, strand"
    )
    parser.add_argument(
        "--on-mismatch",
        choices=["stop", "skip"],
        default="stop",
        help="a REF allele that differs from the sequence: stop (default), or skip and list it in OUT.mismatches.tsv",
    )
    parser.add_argument(
        "--annotate",
        action="store_true",
        help="also give the percentile of each effect among all single mutants of its promoter and among random variants of the library, "
        "motifs lost and gained, and an HGVS-like name; predicts all single mutants of each reference",
    )
    parser.add_argument(
        "--motifs", default="", metavar="FILE", help="motifs for --annotate: a JASPAR, MEME or TRANSFAC file (default: jaspar2026_yeast)"
    )
    parser.add_argument(
        "--map",
        default="",
        metavar="FOLDER",
        help=f"draw the effects of all single mutants of each reference with variants (the first {_MAPS}) to this folder",
    )
    arguments.add_output(parser)
    arguments.add_columns(parser)
    parser.set_defaults(run=_variants)


def explain_command(commands: Any) -> None:
    """Add ``gpraflow explain``."""
    parser = commands.add_parser(
        "explain",
        help="in-silico mutagenesis (ISM), and motifs that explain the effects",
        description="Predict all single substitutions in each insert (in-silico mutagenesis, ISM), draw contribution logos, and find known "
        "motifs that explain the effects.",
    )
    arguments.add_model(parser)
    arguments.add_input(parser)
    parser.add_argument(
        "-o", "--output", required=True, metavar="FOLDER", help="output folder for effects.tsv.gz, motifs.tsv, sites.tsv and logos"
    )
    arguments.add_quiet(parser)
    parser.add_argument(
        "--gradients", action="store_true", help="approximate effects by gradients: much faster than predicting mutants, less accurate"
    )
    parser.add_argument(
        "--motifs", default="", metavar="FILE", help="known motifs: a JASPAR, MEME or TRANSFAC file (default: jaspar2026_yeast)"
    )
    parser.add_argument(
        "--motif-promoters", type=arguments.positive, default=200, metavar="N", help="search the first N promoters for motifs (default 200)"
    )
    parser.add_argument("--logos", type=arguments.count, default=5, metavar="N", help="draw logos of the first N promoters (default 5)")
    parser.add_argument(
        "--de-novo", type=arguments.count, default=0, metavar="N", help="also find up to N motifs without known motifs (default 0)"
    )
    parser.add_argument(
        "--epistasis",
        action="store_true",
        help="also predict all pairs of substitutions in the promoters whose logos are drawn, for their interaction",
    )
    parser.add_argument(
        "--marginalize",
        default="",
        metavar="MOTIFS",
        help="instead: insert the best site of each motif of this file, and pairs of the first four, into the promoters of the input as "
        "backgrounds (random: into 100 random inserts), at each position and on both strands",
    )
    parser.add_argument(
        "--spacings", default="0-20", metavar="FIRST-LAST", help="bases between two motifs with --marginalize (default 0-20)"
    )
    parser.add_argument(
        "--length", type=arguments.positive, default=80, metavar="BP", help="length of random inserts with --marginalize (default 80)"
    )
    arguments.add_condition(parser)
    arguments.add_columns(parser)
    parser.set_defaults(run=_explain)


def bucket_commands(commands: Any) -> None:
    """Add ``gpraflow bucket verify`` and ``gpraflow bucket delete``."""
    parser = commands.add_parser("bucket", help="verify or delete the shards in a bucket")
    inner = parser.add_subparsers(required=True, metavar="verify|delete")
    verify = inner.add_parser("verify", help="verify sizes and checksums of shards")
    verify.set_defaults(run=_verify_bucket)
    delete = inner.add_parser("delete", help="delete manifests and the shards that they list from a bucket, and nothing else")
    delete.add_argument("--yes", action="store_true", help="delete; without this option, only list what would be deleted")
    delete.add_argument(
        "--unlisted", action="store_true", help="also delete shards that no manifest lists, as an interrupted upload leaves them"
    )
    delete.set_defaults(run=_delete_bucket)
    for command in (verify, delete):
        command.add_argument("url", help="bucket, as bucket.url in the config: file://folder or gs://bucket/folder")


# Functions that add commands to the parser.
COMMANDS: tuple[Callable[[Any], None], ...] = (
    *(check_command, init_command),
    *(predict_command, variants_command, explain_command, bucket_commands),
    *(design_command, evolve_command, ecc_command, propose_command),
    *(models_command, recalibrate_command, export_command),
    serve_command,
)


@contextmanager
def _working(
    options: argparse.Namespace, ledger: "Ledger", blocks: Iterator["pl.DataFrame"], at_a_time: int = 1 << 30
) -> Iterator[tuple["Predictor", Iterator["pl.DataFrame"]]]:
    """Yield the model and the input blocks, with a progress bar on standard error; print a summary at the end."""
    from tqdm import tqdm

    first = next(blocks)  # before the model is loaded, because most input errors appear here
    predictor = arguments.load_model(options)
    interval = 0.5 if sys.stderr.isatty() else 30  # a log needs fewer lines
    with tqdm(desc="gpraflow", unit=" promoters", unit_scale=True, mininterval=interval, disable=options.quiet) as bar:

        def counted() -> Iterator["pl.DataFrame"]:
            for block in chain([first], blocks):
                for part in block.iter_slices(at_a_time):
                    yield part
                    bar.update(part.height)

        yield predictor, counted()
    if not options.quiet:
        print("; ".join([f"gpraflow: {ledger.counts['in', 'rows']:,} promoters", *ledger.remarks("noted")]), file=sys.stderr)


def _predict(options: argparse.Namespace) -> None:
    from gpraflow.core.ledger import Ledger
    from gpraflow.formats import records
    from gpraflow.formats import text as formats_text

    ledger, repeated = Ledger("predict", ""), records.RepeatedNames()
    blocks = records.regroup(records.records(options.input, ledger, **arguments.columns(options), ambiguous="n"), options.batch_size)
    with formats_text.writing(options.output) as write, _working(options, ledger, blocks) as (predictor, counted):
        for rows in counted:
            repeated.add(rows["name"])
            write(predictor.records(rows, options.input, ledger, options.reads))
        repeated.note(ledger)


def _variants(options: argparse.Namespace) -> None:
    import polars as pl

    from gpraflow.core import files
    from gpraflow.core.ledger import Ledger
    from gpraflow.explanation import context
    from gpraflow.explanation import sites as explanation_sites
    from gpraflow.formats import text as formats_text
    from gpraflow.formats import vcf
    from gpraflow.prediction import variants

    if options.motifs and not options.annotate:
        raise ConfigError("--motifs is for --annotate, which says which motifs a variant loses and gains")
    known = arguments.load_motifs(options, explanation_sites.MOST) if options.annotate else []
    to_vcf = variants.is_vcf(options.output) and not str(options.output).endswith(".zst")
    records: list[pl.DataFrame] = []  # for a VCF, whose header names all contigs
    drawn: dict[str, pl.DataFrame] = {}  # for --map: reference -> its variants
    ledger = Ledger("variants", "")
    mismatches: list[tuple[Any, ...]] | None = [] if options.on_mismatch == "skip" else None
    if mismatches is not None and options.output == formats_text.STDIN:
        raise ConfigError("--on-mismatch skip: give an output file with -o; the mismatches are listed beside it")
    blocks = variants.read(options.ref, options.alt, ledger, **arguments.columns(options), regions=options.regions, mismatches=mismatches)

    def list_mismatches() -> None:
        table = pl.DataFrame(mismatches, schema=variants.MISMATCHES, orient="row")
        files.write_text(f"{options.output}.mismatches.tsv", table.write_csv(separator="\t"))

    try:
        writing = nullcontext(records.append) if to_vcf else formats_text.writing(options.output)
        with writing as write, _working(options, ledger, blocks) as (predictor, counted):
            for pairs in counted:
                whole = variants.whole_promoters(predictor, pairs, ledger)
                found = variants.effects(predictor, pairs, ledger, whole)
                if options.annotate:
                    found = context.annotate(predictor, pairs, whole, found, known)
                if options.map:
                    context.collect(drawn, pairs, whole, _MAPS)
                write(context.vcf_records(pairs, found) if to_vcf else found)
            if options.map:
                context.draw_maps(predictor, drawn, options.map, arguments.unit_of(predictor))
        if to_vcf:
            table = pl.concat(records)
            vcf.write(options.output, table, dict.fromkeys(table["chrom"].unique(maintain_order=True), 0), context.DESCRIPTIONS)
    except InputError:
        if mismatches:
            list_mismatches()
        raise
    if mismatches is not None:
        list_mismatches()


def _marginalize(options: argparse.Namespace) -> None:
    """Run ``gpraflow explain --marginalize``."""
    import re
    from pathlib import Path

    import polars as pl

    from gpraflow.core import drawing, files, resources
    from gpraflow.core.ledger import Ledger
    from gpraflow.explanation import figures, grammar
    from gpraflow.formats import records
    from gpraflow.sequences import motifs

    inserted = motifs.load(resources.resolve(options.marginalize, resources.MOTIFS, "--marginalize"), most=grammar.MOST)
    matched = re.fullmatch(r"(-?\d+)-(\d+)", options.spacings)
    if not matched or not -1000 <= int(matched[1]) <= int(matched[2]) <= 1000:
        raise ConfigError(f"--spacings {options.spacings}: expected the first and the last spacing in bp, such as 0-20; at most 1000")
    ledger, given = Ledger("explain", ""), None
    if options.input != "random":
        given = pl.concat(list(records.records(options.input, ledger, **arguments.columns(options), ambiguous="n")))
    predictor = arguments.load_model(options)
    if given is None:
        backgrounds = grammar.random_backgrounds(predictor, grammar.RANDOM, options.length)
    else:
        backgrounds = grammar.given_backgrounds(predictor, predictor.complete(given, options.input, ledger)["sequence"])
    paired, spacings = inserted[: grammar.PAIRED], range(int(matched[1]), int(matched[2]) + 1)
    number = grammar.cost(backgrounds, inserted, spacings)
    if not options.quiet:
        print(f"gpraflow: {number:,} sequences to predict", file=sys.stderr)
    positions = grammar.insert(predictor, backgrounds, inserted)
    pairs = grammar.insert_pairs(predictor, backgrounds, paired, spacings)
    folder, unit = Path(options.output), arguments.unit_of(predictor)
    for name, table in (("positions", positions), ("summary", grammar.summarize(positions)), ("pairs", pairs)):
        files.write_text(folder / f"{name}.tsv", table.write_csv(separator="\t", float_precision=6))
    factors = {motif.matrix_id: motif.factor for motif in inserted}
    drawing.save(figures.inserted(positions, factors, unit), folder / "positions.png", folder / "positions.svg")
    drawing.save(figures.inserted_pairs(pairs, factors, unit), folder / "pairs.png", folder / "pairs.svg")
    if not options.quiet:
        of = f"{len(backgrounds.tokens)} backgrounds of {backgrounds.end - backgrounds.begin} bp"
        print(f"gpraflow: {len(inserted)} motifs inserted into {of}; pairs of the first {len(paired)}", file=sys.stderr)


def _explain(options: argparse.Namespace) -> None:
    import re
    from pathlib import Path

    import numpy as np
    import polars as pl

    from gpraflow.core import drawing, files
    from gpraflow.core.ledger import Ledger
    from gpraflow.explanation import explain, figures, grammar, mutagenesis
    from gpraflow.explanation import sites as explanation_sites
    from gpraflow.formats import records
    from gpraflow.formats import text as formats_text

    if options.marginalize:
        _marginalize(options)
        return
    known = arguments.load_motifs(options, explanation_sites.MOST)
    folder, ledger, repeated = Path(options.output), Ledger("explain", ""), records.RepeatedNames()
    first: list[tuple[Any, ...]] = []  # promoters used for the motif search
    blocks = records.records(options.input, ledger, **arguments.columns(options), ambiguous="n")
    with formats_text.writing(folder / "effects.tsv.gz") as write, _working(options, ledger, blocks, at_a_time=256) as (predictor, counted):
        if options.gradients and not mutagenesis.has_gradient(predictor):
            raise ConfigError(f"--gradients: the model {options.model} has no gradient; leave out this option")
        if options.epistasis:
            grammar.cost_of_epistasis(options.logos, predictor.window["length"])
        for old in [
            folder / "motifs.tsv",
            folder / "sites.tsv",
            *folder.glob("de_novo*.*"),
            *folder.glob("epistasis/*.*"),
            *(folder / "logos").glob("[0-9]*_*.*g"),
        ]:  # files of an earlier call
            old.unlink(missing_ok=True)
        for rows in counted:
            repeated.add(rows["name"])
            rows = predictor.complete(rows, options.input, ledger)
            ledger.note_window(rows["sequence"], **predictor.window)
            tokens, effects, estimated, begin = mutagenesis.explain(predictor, rows["sequence"], mutants=not options.gradients)
            write(mutagenesis.effects_table(rows["name"], rows["sequence"], effects, estimated, begin))
            some = max(0, options.motif_promoters - sum(len(part[1]) for part in first))
            used = estimated if options.gradients else effects
            first.append((rows.head(some), tokens[:some], used[:some], begin[:some]))
        repeated.note(ledger)
    rows = pl.concat([part[0] for part in first])
    tokens, effects, begin = (np.concatenate([part[index] for part in first]) for index in (1, 2, 3))
    factors = explanation_sites.find_factors(tokens, effects, known)
    named = [motif for motif in known if motif.matrix_id in set(factors["matrix"])]
    places = pl.Series("name", range(rows.height)).cast(pl.String)  # names may repeat
    of_place = explanation_sites.find_sites(predictor, places, tokens, effects, begin, named)
    summary = explanation_sites.summarize(factors, of_place, rows.height)
    sites = of_place.with_columns(pl.col("name").replace_strict(places, rows["name"])).sort("name", "start", "matrix", maintain_order=True)
    files.write_text(folder / "motifs.tsv", summary.write_csv(separator="\t", float_precision=6))
    files.write_text(folder / "sites.tsv", sites.write_csv(separator="\t", float_precision=4))
    if options.de_novo:
        found = explain.find_de_novo(rows["name"], tokens, effects, begin, known, most=options.de_novo)
        files.write_text(folder / "de_novo.tsv", found.table.write_csv(separator="\t", float_precision=6))
        files.write_text(folder / "de_novo_sites.tsv", found.sites.write_csv(separator="\t", float_precision=4))
        files.write_text(folder / "de_novo.meme", found.meme)
        figure = figures.de_novo(found.table, found.sites, found.motifs, f"{rows.height} promoters", arguments.unit_of(predictor))
        drawing.save(figure, folder / "de_novo.png", folder / "de_novo.svg")
    values = mutagenesis.contributions(effects)
    for row in range(min(options.logos, rows.height)):
        name, sequence = rows["name"][row], rows["sequence"][row]
        here = of_place.filter(name=places[row])
        title = f"{name}: gradient x input" if options.gradients else name
        figure = figures.contribution_logos([(sequence, values[row], int(begin[row]), here, title)], arguments.unit_of(predictor))
        stem = f"{row + 1}_{re.sub('[^A-Za-z0-9._-]', '_', name)[:60]}"
        drawing.save(figure, folder / "logos" / f"{stem}.png", folder / "logos" / f"{stem}.svg")
        (mutated,) = np.nonzero(np.isfinite(effects[row]).all(axis=1))
        if options.epistasis and len(mutated) > 1:
            pairs = grammar.strongest(grammar.epistasis(predictor, tokens[row], mutated))
            of = mutated - int(begin[row])
            bases = "".join(sequence[place] for place in of)
            figure = figures.epistasis(pairs, (of + 1).tolist(), name, arguments.unit_of(predictor), bases)
            drawing.save(figure, folder / "epistasis" / f"{stem}.png", folder / "epistasis" / f"{stem}.svg")
            table = grammar.pairs_table(pairs, of + 1)
            files.write_text(folder / "epistasis" / f"{stem}.tsv", table.write_csv(separator="\t", float_precision=6))


def _verify_bucket(options: argparse.Namespace) -> None:
    from gpraflow.shards import upload

    upload.verify(options.url)


def _delete_bucket(options: argparse.Namespace) -> None:
    from gpraflow.shards import upload

    upload.delete(options.url, really=options.yes, unlisted=options.unlisted)


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    main_parser = argparse.ArgumentParser(
        prog="gpraflow",
        description="Checks of a run's inputs; predictions, variant effects and explanations of a trained model; designed and evolved "
        "promoters, and the next library; maintenance of buckets.",
    )
    main_parser.add_argument("--version", action="version", version=f"gpraflow {__version__}")
    main_parser.add_argument("--traceback", action="store_true", help="print the Python traceback of an error")
    commands = main_parser.add_subparsers(required=True, metavar="COMMAND")
    for add in COMMANDS:
        add(commands)
    return main_parser


def main(given: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; messages go to standard error."""
    options = parser().parse_args(given)
    if given is None and "model" in options:
        startup.restart_prepared()
    try:
        return options.run(options) or DONE  # `check` returns REFUSED if a run would stop
    except KeyboardInterrupt:
        print("gpraflow: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of the output has exited, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 (last chance to turn it into a message, also of panics, which are no exceptions)
        if options.traceback:
            print(redacted(traceback.format_exc()), end="", file=sys.stderr)
        message = explained(error) or (
            f"{type(error).__name__}: {error} (a bug in gpraflow; gpraflow --traceback ... prints the traceback)"
        )
        print(f"gpraflow: {redacted(message)}", file=sys.stderr)
        return REFUSED if isinstance(error, (InputError, ConfigError)) else FAILED


if __name__ == "__main__":
    sys.exit(main())
