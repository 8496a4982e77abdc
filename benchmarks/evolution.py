"""Measured trajectories under selection against a model's predictions, and single mutants predicted per second.

Promoters of a table that differ by one substitution are linked into chains (`evolution.chains`). A chain holds the promoters of one start:
those selected for high expression on one side of it, those selected for low expression on the other. Columns ``step`` (0 for the start) and
``direction`` (max, min) of the table are compared with the chains, and orient them.

Figures: ``chains``, ``linked`` (share of promoters in a chain), ``gain_r`` (Pearson correlation of measured with predicted gain, from the
start to the last promoter of each side), ``gain_slope`` (mean measured over mean predicted absolute gain), ``step_r`` (correlation over
single substitutions), ``same_first`` (share of first substitutions that are the best single mutant by this model), ``mutants_per_s``
(single mutants of promoters predicted per second). ``gains``: by direction and step, trajectories with measured start, mean measured and
mean predicted gain. The alternative are the predictions in the table's column ``transformer_tpu`` (Vaishnav et al. 2022), with ``their_``
before the figure's name.

``--smallest``: a model made by hand and simulated measurements.
"""

import itertools
import tempfile
from pathlib import Path

import common
import numpy as np
import polars as pl

SCORES = ("gain_r", "gain_slope", "step_r")


def simulated(folder: Path) -> pl.DataFrame:
    """Write a model and return trajectories in it, with noise, as the table that is measured."""
    from tests import toy

    from gpraflow.core.ledger import Ledger
    from gpraflow.design import evolution
    from gpraflow.prediction.predictor import Predictor

    toy.write_whole(folder)
    rows = pl.DataFrame({"row": range(1, 21), "name": [str(n) for n in range(20)], "sequence": toy.inserts(20, 5)})
    predictor = Predictor(folder)
    start = evolution.ancestors(predictor, rows, "simulated", Ledger("benchmark", ""))
    found = pl.concat([evolution.evolve(predictor, start, regime, 6) for regime in ("up", "down")])
    found = found.filter((pl.col("generation") > 0) | (pl.col("regime") == "up"))
    noise = np.random.default_rng(1).normal(size=(2, found.height)) * 0.05
    return found.select(
        "sequence",
        pl.col("predicted").cast(pl.Float64).add(pl.Series(noise[0])).alias("expression"),
        pl.col("generation").alias("step"),
        pl.col("regime").replace({"up": "max", "down": "min"}).alias("direction"),
        pl.col("predicted").cast(pl.Float64).add(pl.Series(noise[1])).alias("transformer_tpu"),
    )


def sides(table: pl.DataFrame) -> tuple[list[tuple[str, list[int]]], int, int]:
    """Return (direction, rows from the start outwards) of both sides of each chain, the number of chains, and that of rows in them."""
    from gpraflow.design import evolution

    steps, directions = table["step"].cast(pl.Int64).to_list(), table["direction"].to_list()
    found, linked = [], 0
    chains = evolution.chains(table["sequence"].to_list())
    for chain in chains:
        linked += len(chain)
        starts = [place for place, row in enumerate(chain) if steps[row] == 0]
        if len(starts) != 1:  # the start was not measured
            continue
        for side in (chain[starts[0] :], chain[starts[0] :: -1]):
            if len(side) > 1:
                if [steps[row] for row in side] != list(range(len(side))) or len({directions[row] for row in side[1:]}) > 1:
                    raise SystemExit(f"the chain of {table['sequence'][side[0]]} disagrees with the columns step and direction")
                found.append((directions[side[1]], side))
    return found, len(chains), linked


def scores(table: pl.DataFrame, predicted: np.ndarray, found: list[tuple[str, list[int]]]) -> dict[str, float]:
    """Return `SCORES` of predictions for the rows of a table."""
    measured = table["expression"].to_numpy()
    first, last = np.array([(side[0], side[-1]) for _, side in found]).T
    before, after = np.array([pair for _, side in found for pair in itertools.pairwise(side)]).T
    gains, expected = measured[last] - measured[first], predicted[last] - predicted[first]
    steps = np.corrcoef(measured[after] - measured[before], predicted[after] - predicted[before])[0, 1]
    values = (np.corrcoef(gains, expected)[0, 1], np.abs(gains).mean() / np.abs(expected).mean(), steps)
    return {name: round(float(value), 4) for name, value in zip(SCORES, values, strict=True)}


def main() -> None:
    """Print the figures."""
    parser = common.parser(__doc__ or "")
    parser.add_argument("--model", help="model directory")
    parser.add_argument("--table", help="table with sequence, expression, step, direction and transformer_tpu")
    parser.add_argument("--promoters", type=int, default=100, help="starts whose single mutants are predicted (default 100)")
    options = common.parse(parser, promoters=20)
    if not options.smallest and not (options.model and options.table):
        parser.error("give --model and --table, or --smallest")
    from gpraflow.explanation import mutagenesis
    from gpraflow.prediction.predictor import Predictor
    from gpraflow.sequences.scaffold import BASES, tokenize

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(options.model or Path(temporary, "model"))
        table = pl.read_csv(options.table, separator="\t") if options.table else simulated(folder)
        predictor = Predictor(folder)
        predicted = predictor.members(tokenize(table["sequence"], **predictor.window)).mean(axis=1)
        found, chains, linked = sides(table)
        starts = [side for _, side in found][: options.promoters]
        sequences = table["sequence"][[side[0] for side in starts]]
        tokens = tokenize(sequences, **predictor.window)
        # The table has what varies: the insert lies between the outermost positions at which any two promoters of it differ.
        everything = tokenize(table["sequence"], **predictor.window)
        varies = np.flatnonzero((everything != everything[0]).any(axis=0))
        mutable = np.zeros_like(tokens, bool)
        mutable[:, varies[0] : varies[-1] + 1] = True
        mutagenesis.mutational_effects(predictor, tokens[:1], mutable[:1])  # compiles
        with common.timed() as lap:
            effects = mutagenesis.mutational_effects(predictor, tokens, mutable)
    same = 0
    for number, side in enumerate(starts):
        sign = 1 if found[number][0] == "max" else -1
        best = np.nan_to_num(sign * effects[number], nan=-np.inf).argmax()
        place = int(np.flatnonzero(everything[side[0]] != everything[side[1]])[0])
        same += int(best == int(place) * BASES + int(everything[side[1], place]))
    measured, gains = table["expression"].to_numpy(), []
    for direction in ("max", "min"):
        of = [side for name, side in found if name == direction]
        for step in range(1, max(map(len, of), default=0)):
            rows = [(side[0], side[step]) for side in of if len(side) > step]
            change = [round(float(np.mean([values[b] - values[a] for a, b in rows])), 3) for values in (measured, predicted)]
            gains.append([direction, step, len(rows), *change])
    theirs = scores(table, table["transformer_tpu"].to_numpy(), found)
    common.finish(
        options,
        "predictions of Vaishnav et al. 2022 (transformer_tpu)",
        chains=chains,
        linked=round(linked / table.height, 4),
        **scores(table, predicted, found),
        **{f"their_{name}": value for name, value in theirs.items()},
        same_first=round(same / len(starts), 3),
        mutants_per_s=round((BASES - 1) * int(mutable.sum()) / lap.seconds),
        gains=gains,
    )


if __name__ == "__main__":
    main()
