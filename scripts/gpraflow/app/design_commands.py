"""The command ``gpraflow design``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpraflow.app import arguments
from gpraflow.core.errors import INTERRUPTED, ConfigError, InputError

if TYPE_CHECKING:
    import polars as pl


_KINDS = ("maximize", "minimize", "target", "ladder")  # objectives.KINDS, which imports Polars
_METHODS = ("genetic", "greedy", "gradient")
_PRESETS = ("none", "pool_200", "pool_250", "pool_300")
_SAME = (  # options with the names of keys of the config section design
    *("ladder", "ladder_range", "tolerance", "spread_weight", "distance_weight", "search", "budget", "beam", "seed"),
    *("starts", "length", "template", "protect", "max_edits", "min_distance"),
    *("gc", "gc_window", "gc_window_range", "max_homopolymer", "repeat_kmer", "motif_score"),
)


def design_command(commands: Any) -> None:
    """Add ``gpraflow design``."""
    parser = commands.add_parser(
        "design",
        help="design promoters: highest, lowest or target expression, under constraints; an oligo pool",
        description="Design promoters with a trained model. Writes designs.tsv, designs.fasta, oligos.csv, trajectory.parquet, "
        "summary.json and a figure. All constraints are checked on the whole construct, with its flanks, and on both strands. "
        "docs/design.md explains objectives, searches and columns.",
    )
    arguments.add_model(parser)
    parser.add_argument("-o", "--output", required=True, metavar="FOLDER", help="output folder")
    aims = parser.add_argument_group("objectives")
    aims.add_argument(
        "--objective", nargs="+", choices=_KINDS, default=["maximize"], metavar="KIND", help=f"{', '.join(_KINDS)} (default maximize)"
    )
    aims.add_argument("--number", type=arguments.positive, default=100, metavar="N", help="designs of each objective (default 100)")
    aims.add_argument("--target", nargs="+", type=float, default=[], metavar="X", help="target: expression, in the training table's unit")
    aims.add_argument("--ladder", type=arguments.positive, default=10, metavar="N", help="ladder: number of targets (default 10)")
    aims.add_argument(
        "--ladder-range",
        nargs=2,
        type=float,
        default=[],
        metavar=("LOW", "HIGH"),
        help="ladder: lowest and highest target (default: the range of predictions of random inserts)",
    )
    aims.add_argument("--tolerance", type=_number_or_auto, default="auto", metavar="X", help="largest difference from a target")
    arguments.add_condition(aims)
    aims.add_argument(
        "--spread-weight",
        type=_number_or_auto,
        default="auto",
        metavar="W",
        help="penalty: W x SD between ensemble members (default 1 for an ensemble)",
    )
    aims.add_argument("--distance-weight", type=float, default=1.0, metavar="W", help="penalty for distance from training promoters (1)")
    start = parser.add_argument_group("starts")
    start.add_argument("--library", default="", metavar="FILE", help="training promoters, such as results/sample/splits/train.parquet")
    start.add_argument("--starts", default="random", metavar="KIND", help="random (default), library (its best), or a FASTA file or table")
    start.add_argument("--length", type=arguments.count, default=0, metavar="BP", help="length of random inserts (default: the usual one)")
    start.add_argument("--template", default="", metavar="DNA", help="insert in IUPAC codes, N where it may change: NNNNTATAAANNNN")
    start.add_argument("--protect", nargs="+", default=[], metavar="A-B", help="positions of the insert, from 1, that stay as they are")
    start.add_argument(
        "--max-edits", type=arguments.count, default=0, metavar="N", help="largest number of substitutions from the start (0: any)"
    )
    rules = parser.add_argument_group("constraints")
    rules.add_argument(
        "--min-distance",
        type=arguments.count,
        default=3,
        metavar="N",
        help="least edits from each training promoter and other design (default 3)",
    )
    rules.add_argument("--forbid-site", nargs="+", default=[], metavar="SITE", help="restriction enzyme (BsaI) or IUPAC site (GGTCTC)")
    rules.add_argument("--require-site", nargs="+", default=[], metavar="SITE", help="site that each design has")
    rules.add_argument("--gc", nargs=2, type=float, default=[0.0, 1.0], metavar=("LOW", "HIGH"), help="share of G and C")
    rules.add_argument("--gc-window", type=arguments.count, default=0, metavar="BP", help="windows for --gc-window-range")
    rules.add_argument("--gc-window-range", nargs=2, type=float, default=[0.0, 1.0], metavar=("LOW", "HIGH"), help="GC of each window")
    rules.add_argument("--max-homopolymer", type=arguments.count, default=0, metavar="BP", help="longest run of one base (0: any)")
    rules.add_argument("--repeat-kmer", type=arguments.count, default=0, metavar="K", help="no k-mer of this length occurs twice (0: may)")
    rules.add_argument("--forbid-motif", nargs="+", default=[], metavar="NAME", help="factor or matrix without any site")
    rules.add_argument("--require-motif", nargs="+", default=[], metavar="NAME", help="factor or matrix with at least one site")
    rules.add_argument(
        "--motif-score", type=float, default=0.85, metavar="S", help="score of a site, as a share of the range (default .85)"
    )
    rules.add_argument("--motifs", default="", metavar="FILE", help="JASPAR, MEME or TRANSFAC file (default: jaspar2026_yeast)")
    pool = parser.add_argument_group("oligo pool")
    pool.add_argument("--pool", choices=_PRESETS, default="none", help="limits of synthesis (default none)")
    pool.add_argument("--forward-primer", default="", metavar="DNA", help="primer site before the design")
    pool.add_argument("--reverse-primer", default="", metavar="DNA", help="primer site behind the design, on the same strand")
    pool.add_argument("--without-flanks", action="store_true", help="oligos hold the insert only")
    pool.add_argument("--max-oligo", type=arguments.count, default=0, metavar="BP", help="longest oligo (default: that of --pool)")
    how = parser.add_argument_group("search")
    how.add_argument("--search", choices=_METHODS, default="genetic", help="search (default genetic)")
    how.add_argument("--budget", type=arguments.positive, default=1000, metavar="N", help="model calls per design (default 1000)")
    how.add_argument("--beam", type=arguments.positive, default=1, metavar="N", help="greedy: width of the beam (default 1)")
    how.add_argument("--seed", type=arguments.count, default=0, metavar="N", help="random seed (default 0)")
    arguments.add_quiet(parser)
    parser.set_defaults(run=_design)


def _number_or_auto(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a number or auto, found '{text:.50}'") from None


def _design(options: argparse.Namespace) -> int:
    import time

    from tqdm import tqdm

    from gpraflow.core import drawing, files
    from gpraflow.core.ledger import Ledger
    from gpraflow.design import designs, figures, output

    known = arguments.load_motifs(options)
    keys = {
        "number": options.number,
        "objectives": options.objective,
        "targets": options.target,
        "forbid_sites": options.forbid_site,
        "require_sites": options.require_site,
        "forbid_motifs": options.forbid_motif,
        "require_motifs": options.require_motif,
        "oligos": {
            "preset": options.pool,
            "forward": options.forward_primer,
            "reverse": options.reverse_primer,
            "with_flanks": not options.without_flanks,
            "max_length": options.max_oligo,
        },
        **{name: getattr(options, name) for name in _SAME},
    }
    wanted = designs.options_of(keys, known)
    library = read_library(options.library) if options.library else None
    model = arguments.load_model(options)
    given = None if options.starts in ("random", "library") else designs.read_starts(model, options.starts, Ledger("design", ""))
    begun = time.monotonic()
    with tqdm(desc="gpraflow", unit=" calls", unit_scale=True, disable=options.quiet, file=sys.stderr) as bar:
        designer = designs.Designer(model, wanted, library, given, bar.update)
        found = designer.run()
    folder = Path(options.output)
    stem = ".partial" if found.partial else ""
    names = {key: folder / f"{Path(name).stem}{stem}{Path(name).suffix}" for key, name in output.FILES.items()}
    output.write(found, designer, names)
    files.write_json(folder / f"summary{stem}.json", output.summary(found, designer, time.monotonic() - begun))
    if found.table.height:
        shown = library if library is not None and "expression" in library.columns else _no_library()
        drawn = figures.designs(found.table, found.trajectory, shown, known, arguments.unit_and_readout(model))
        drawing.save(drawn, folder / f"designs{stem}.png", folder / f"designs{stem}.svg")
    if not options.quiet:
        for note in found.notes:
            print(f"gpraflow: {note}", file=sys.stderr)
        print(f"gpraflow: {found.table.height:,} designs in {names['table']}", file=sys.stderr)
    if found.partial:
        print("gpraflow: interrupted; designs that were finished are in files named .partial", file=sys.stderr)
        return INTERRUPTED
    return 0


def _no_library() -> "pl.DataFrame":
    import polars as pl

    return pl.DataFrame(schema={"sequence": pl.String, "expression": pl.Float32})


def read_library(path: str) -> "pl.DataFrame":
    """Return the training promoters: ``sequence``, and ``expression`` if the file is a Parquet table that has it.

    Raises
    ------
    InputError, ConfigError
        If the file cannot be used.
    """
    import polars as pl

    from gpraflow.formats import records
    from gpraflow.formats import text as formats_text

    if formats_text.suffix_of(Path(path)) not in (".parquet", ".pq"):
        return records.read_sequences(path).to_frame("sequence")
    formats_text.require_file(Path(path))
    try:
        table = pl.read_parquet(Path(path), glob=False)
    except formats_text.UNREADABLE as error:
        raise InputError(f"{path}: not a readable Parquet file ({error}); give the training promoters") from error
    if "sequence" not in table.columns:
        raise ConfigError(f"{path}: no column 'sequence' (it has {', '.join(table.columns)}); give the training promoters")
    return table.select("sequence", *(["expression"] if "expression" in table.columns else []))
