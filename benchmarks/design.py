"""The searches of `gpraflow design`: what each reaches for how many model calls, and designs per minute.

python benchmarks/design.py MODEL [--library splits/train.parquet] [--designs 50] [--budget 1000] [--ladder 1000] [--turns 1]
    [--budgets 100 300] [--ledidi PYTHON]
MODEL is a model directory of a run; --smallest makes one of a few parameters, which has no gradient.
Each search maximises expression from the same starts with the same budget, under the same constraints (no BsaI and BamHI sites, GC of 25 to
65 %, homopolymers of at most 10 bp, 3 edits between designs), without penalties, so that what they reach can be compared. Then, with the
default penalties, as they are used: --designs designs for each of --budgets, maximised and minimised, and --designs at 10 targets. Then
--ladder designs at 10 targets with the default search and the default penalties; 0 for none.

With --ledidi, Ledidi (doi:10.1101/2020.05.21.109686), which edits sequences by gradients, maximises expression of the same model from the
same starts with as many model calls, but without constraints (design_ledidi.py). PYTHON has PyTorch (gigabytes of CUDA libraries, without
which its wheel cannot be imported), ledidi, tangermeme and numba besides gpraflow's packages.

The last line is JSON: for each search best (highest prediction), mean (of the predictions of all designs), calls, seconds and cpu_seconds
per design, such as genetic_mean; the same of ledidi (null without it); with penalties, for each search and budget the mean scores, such as
genetic_100_maximize and genetic_100_minimize, and the calls per design at targets, genetic_ladder_calls; ladder_seconds,
ladder_cpu_seconds, ladder_designs, ladder_calls (per design), ladder_within (share of the designs within the tolerance, by the model) and
ladder_broken (designs that break a constraint); peak_rss_mb.
"""

import tempfile
from pathlib import Path

import common
import numpy as np
import polars as pl

from gpraflow.core import startup

if __name__ == "__main__":
    startup.restart_prepared()  # as the command has them

from gpraflow.core import randomness
from gpraflow.design import constraints, designs, searches
from gpraflow.explanation import mutagenesis
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.sequences.scaffold import tokenize


def rules():
    """Return the constraints of all designs."""
    return tuple(constraints.rules_of(forbid_sites=["BsaI", "BamHI"], gc=[0.25, 0.65], max_homopolymer=10))


def methods_of(predictor):
    """Return the searches that the model allows."""
    return [method for method in searches.METHODS if method != searches.GRADIENT or mutagenesis.has_gradient(predictor)]


LEDIDI = "import sys; sys.path.insert(0, {!r}); import design_ledidi; design_ledidi.main()"


def compare(predictor, library, options, folder):
    """Return the figures of each search, from the same starts."""
    base = designs.Options(number=options.designs, budget=options.budget, rules=rules(), spread_weight=0.0, distance_weight=0.0, seed=1)
    designer = designs.Designer(predictor, base, library)
    rng = randomness.generator(1, "benchmark", "starts")
    space = designer.space(designer._random(options.designs, rng))
    begin, left = searches.repair(space, rng)
    assert not left.any()
    (request,) = designer.requests()
    figures, methods = {}, methods_of(predictor)
    for rows in (8, 32, 128):  # compiles the model
        some = np.resize(begin, (rows, begin.shape[1]))
        designer.model.members(some)
        if searches.GRADIENT in methods:
            designer.model.gradient(some, np.ones((rows, predictor.about["members"])))
    for method in methods:
        objective = designer.objective([request] * options.designs)
        found, laps = None, []
        for _ in range(options.turns):
            with common.timed() as lap:
                rng = randomness.generator(1, "benchmark", method)
                found = searches.search(objective, space, begin=begin, method=method, budget=options.budget, rng=rng)
            laps.append(lap)
        assert not space.violations(found.tokens, np.arange(options.designs)).any()
        figures |= {
            f"{method}_best": float(found.predicted.max()),
            f"{method}_mean": float(found.predicted.mean()),
            f"{method}_calls": float(found.calls.mean()),
            f"{method}_seconds": min(lap.seconds for lap in laps) / options.designs,
            f"{method}_cpu_seconds": min(lap.cpu_seconds for lap in laps) / options.designs,
        }
    theirs = dict.fromkeys(("best", "mean", "calls", "seconds", "cpu_seconds"))
    if options.ledidi:
        np.savez(folder / "starts.npz", tokens=begin, fixed=(np.bitwise_count(space.bits) == 1).all(axis=0))
        command = [options.ledidi, "-c", LEDIDI.format(str(Path(__file__).parent)), options.model, folder / "starts.npz", options.budget]
        theirs = common.last_line(command)
    return figures | {f"ledidi_{name}": value for name, value in theirs.items()}


def penalized(predictor, library, options):
    """Return the mean scores of each search at each budget with the default penalties, and its calls per design of a ladder."""
    figures = {}
    for method in methods_of(predictor):
        common_options = {"number": options.designs, "search": method, "rules": rules(), "seed": 1}
        for budget in options.budgets:
            wanted = designs.Options(objectives=("maximize", "minimize"), budget=budget, **common_options)
            table = designs.design(predictor, wanted, library).table
            for objective in wanted.objectives:
                figures[f"{method}_{budget}_{objective}"] = float(table.filter(objective=objective)["score"].mean())
        wanted = designs.Options(objectives=("ladder",), budget=options.budget, **common_options)
        figures[f"{method}_ladder_calls"] = float(designs.design(predictor, wanted, library).table["calls"].mean())
    return figures


def ladder(predictor, library, options):
    """Return the figures of the ladder with default search and penalties."""
    with common.timed() as lap:
        wanted = designs.Options(number=options.ladder, objectives=("ladder",), budget=options.budget, rules=rules(), seed=1)
        table = designs.design(predictor, wanted, library).table
    tokens = [tokenize(pl.Series([sequence]), len(sequence)) for sequence in table["sequence"]]
    broken = sum(bool(constraints.violations(rules(), one)[0]) for one in tokens)
    within = float(table["within_tolerance"].mean())
    figures = {"seconds": lap.seconds, "cpu_seconds": lap.cpu_seconds, "designs": table.height, "calls": float(table["calls"].mean())}
    return {f"ladder_{name}": value for name, value in (figures | {"within": within, "broken": broken}).items()}


if __name__ == "__main__":
    parser = common.parser(__doc__)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--library", type=Path)
    parser.add_argument("--designs", type=int, default=50)
    parser.add_argument("--budget", type=int, default=1000)
    parser.add_argument("--budgets", type=int, nargs="+", default=[100, 300], help="model calls per design with penalties")
    parser.add_argument("--ladder", type=int, default=1000)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--ledidi", metavar="PYTHON", help="Python that has PyTorch and Ledidi")
    options = common.parse(parser, designs=3, budget=120, budgets=[50], ladder=10)
    with tempfile.TemporaryDirectory() as folder:
        if not options.model:
            from tests import toy

            options.model = toy.write_whole(Path(folder) / "model")
        model = prediction_predictor.Predictor(options.model)
        trained = pl.read_parquet(options.library) if options.library else None
        found = compare(model, trained, options, Path(folder))
        found |= penalized(model, trained, options)
        found |= ladder(model, trained, options) if options.ladder else {}
        skipped = "" if options.ledidi else "no Python with Ledidi was given (--ledidi)"
        common.finish(options, "Ledidi" if options.ledidi else None, skipped, **found, peak_rss_mb=common.peak_rss_mb())
