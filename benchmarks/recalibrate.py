"""Recalibration of the yeast model from some measured controls of each independent data set: R2 and coverage of the remaining promoters.

python benchmarks/recalibrate.py [--data ../shared/data] [--model yeast-ypd] [--controls 100] [--draws 50]
Each draw takes that many controls at random from each yeast_test_*.tsv.gz, recalibrates, and scores the other promoters. Without the data
(and with --smallest), promoters are random and their measurements simulated. The last line is JSON: for each data set mean R2 and mean
coverage of 95 % intervals before and after, the range of coverage over the draws, and how often the map was isotonic; and the mean over
data sets of R2 before and after, and the lowest coverage after.
"""

import sys
from pathlib import Path

import common
import numpy as np

SETS = ("random", "native", "drift", "sswm", "gini")


def tables(options):
    """Return data set -> promoters, expression and reads."""
    import polars as pl

    folder = Path(options.data)
    if not options.smallest and folder.is_dir():
        found = {}
        for name in SETS:
            table = pl.read_csv(folder / f"yeast_test_{name}.tsv.gz", separator="\t", infer_schema_length=None)
            reads = pl.col("reads").cast(pl.Float64) if "reads" in table.columns else pl.lit(None, pl.Float64)
            found[name] = table.select("sequence", "expression", n_reads=reads)
        return found
    from tests import toy

    sequences = toy.promoters(400, 1)
    rng = np.random.default_rng(0)
    measured = 2 * np.array([toy.said(sequence) for sequence in sequences]) - 5 + rng.normal(0, 0.3, len(sequences))
    return {"simulated": pl.DataFrame({"sequence": sequences, "expression": measured, "n_reads": [float("nan")] * len(sequences)})}


def score(measured, predicted, half):
    """Return R2 and the fraction of measurements within the interval."""
    return 1 - np.mean((measured - predicted) ** 2) / measured.var(), np.mean(np.abs(measured - predicted) <= half)


def of_set(model, table, controls, draws, seed=0):
    """Return the figures of one data set."""
    import polars as pl

    from gpraflow.prediction import recalibrate
    from gpraflow.sequences.scaffold import tokenize

    known, rng = model.require_calibration(), np.random.default_rng(seed)
    members = model.members(tokenize(table["sequence"], **model.window))
    predicted, spread = members.mean(axis=1), recalibrate.spread_of(members)
    measured = table["expression"].to_numpy()
    reads = table["n_reads"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    rows, isotonic = [], 0
    for _ in range(draws):
        own = np.zeros(len(measured), bool)
        own[rng.choice(len(measured), controls, replace=False)] = True
        kind, tried = recalibrate.choose(predicted[own], measured[own])
        scale = recalibrate.fit(predicted[own], measured[own], kind)
        new = recalibrate.rescaled(known, scale, measured[own] - tried[kind], scale(members[own]), reads[own])
        before = score(measured[~own], predicted[~own], known.half_width(predicted[~own], spread[~own], reads[~own]))
        mapped = scale(members[~own])
        half = new.half_width(mapped.mean(axis=1), recalibrate.spread_of(mapped), reads[~own])
        rows.append((*before, *score(measured[~own], mapped.mean(axis=1), half)))
        isotonic += kind == recalibrate.ISOTONIC
    names = ("R2_before", "coverage_before", "R2", "coverage")
    figures = {name: round(float(value), 3) for name, value in zip(names, np.mean(rows, axis=0), strict=True)}
    ends = np.quantile([row[3] for row in rows], [0.05, 0.95])
    return {
        "n": len(measured),
        **figures,
        "coverage_5_to_95": [round(float(end), 3) for end in ends],
        "isotonic": round(isotonic / draws, 2),
    }


def main():
    """Recalibrate and score."""
    parser = common.parser(__doc__)
    parser.add_argument("--data", default="../shared/data")
    parser.add_argument("--model", default="yeast-ypd")
    parser.add_argument("--controls", type=int, default=100)
    parser.add_argument("--draws", type=int, default=50)
    options = common.parse(parser, draws=5)
    import tempfile

    from tests import toy

    import gpraflow

    with tempfile.TemporaryDirectory() as folder:
        real = not options.smallest and Path(options.data).is_dir()
        model = gpraflow.load(options.model if real else toy.write_whole(Path(folder) / "toy"))
        figures = {}
        for name, table in tables(options).items():
            figures[name] = of_set(model, table, options.controls, options.draws)
            print(name, figures[name], file=sys.stderr, flush=True)
    means = {name: float(np.mean([row[name] for row in figures.values()])) for name in ("R2_before", "R2")}
    lowest = min(row["coverage"] for row in figures.values())
    common.finish(options, "the model before recalibration", sets=figures, **means, lowest_coverage=lowest)


if __name__ == "__main__":
    main()
