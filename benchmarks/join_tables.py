"""What joining two tables on shifted scales brings: models of table a, table b, and both, on simulated truth or on a table of one's own.

python benchmarks/join_tables.py [--table yeast_train.tsv.gz --test yeast_test_native.tsv.gz] [--model baseline_kmer|compact] [--seeds 5]
    [--promoters 6000] [--shared 0.2] [--selection 0.5] [--noise 0.7 0.7] [--sd] [--contenders a b ...] [--figure join.png]
Table a has a random half of the promoters, and table b the other half, of which it prefers strong promoters (probability exp(selection z)
to be kept); a share of a's promoters is in b too. Both measure expression with errors (--noise: standard deviations, a and b, in those of
expression), and b on the scale (expression - OFFSET) / SCALE. They give standard deviations only with --sd. Without --table, truth is
simulated as by `simulate_assay`. Models are trained on a, on b brought to a's scale (`b`), and on both: joined by shared promoters
(`shared`), as they are (`none`), with equal mean and standard deviation (`distribution`), with maps learnt in turns with the model and
without shared promoters (`learnt`: the slopes of both tables' values on predictions), with weights (`weighted`: column `weight`), and with
the maps of least squares (`least_squares`) and of the simulation (`known`).
The last line is JSON: for each of them the mean over --seeds of Pearson r with the expression of test promoters, gain (r less that of the
better one of a and b), rmse on the scale of a, and the scale of b (SCALE is 2.5), each with its standard deviation between seeds; scale_se,
the mean of the standard errors of `shared`.
"""

from pathlib import Path

import common
import numpy as np
import polars as pl

from gpraflow.assay import simulated_library
from gpraflow.core import resources
from gpraflow.evaluation import metrics
from gpraflow.formats.promoters import SCHEMA
from gpraflow.models import backend, build, registry
from gpraflow.sequences import scaffold
from gpraflow.tables import join

LENGTH = 110
SCALE, OFFSET = 2.5, -4.0  # expression = OFFSET + SCALE x value in table b
JOINED = ("none", "distribution", "least_squares", "learnt", "shared", "weighted", "known")
TURNS = 5  # of learning maps
COLOURS = {"a": "#56B4E9", "b": "#56B4E9", "none": "#999999", "shared": "#0072B2"}


def simulated(promoters, tests, seed):
    """Return sequences and expression of a library and of test promoters, in units of the standard deviation around 10."""
    flanks = scaffold.load(resources.resolve("built-in", resources.SCAFFOLDS, ""), "pTpA")
    motifs = resources.resolve("jaspar2026_yeast", resources.MOTIFS, "")
    assay = simulated_library.Assay(promoters=promoters, independent=tests)
    library = simulated_library.make_library(flanks, motifs, np.linspace(-4, 4, 17), assay, seed)
    (signal,) = library.signal
    expression = 10 + 3 * (signal - signal.mean()) / signal.std()
    return (library.sequences[:promoters], expression[:promoters]), (library.sequences[promoters:], expression[promoters:])


def read(path, rows, rng):
    """Return sequences and expression of a table; at most ``rows`` of them, drawn at random."""
    table = pl.read_csv(path, separator="\t", infer_schema_length=None).unique("sequence", maintain_order=True)
    chosen = np.sort(rng.permutation(table.height)[:rows])
    return table["sequence"][chosen], table["expression"].to_numpy()[chosen]


def two_tables(sequences, expression, options, rng):
    """Return tables a and b, with errors, and b on its own scale."""
    order, size = rng.permutation(len(expression)), len(expression) // 2
    first, rest = order[:size], order[size:]
    z = (expression - expression.mean()) / expression.std()
    preference = np.exp(options.selection * z)
    fewer = round((1 - options.shared) * size)
    others = rng.choice(rest, min(fewer, len(rest) // 2), replace=False, p=preference[rest] / preference[rest].sum())
    again = rng.choice(first, round(options.shared * size), replace=False, p=preference[first] / preference[first].sum())
    tables = {}
    for name, rows, noise in (("a", first, options.noise[0]), ("b", rng.permutation(np.concatenate([others, again])), options.noise[1])):
        values = expression[rows] + noise * expression.std() * rng.normal(size=len(rows))
        given = pl.DataFrame({"sequence": sequences[rows], "expression": values if name == "a" else (values - OFFSET) / SCALE})
        if options.sd:
            given = given.with_columns(expression_sd=pl.lit(noise * expression.std() / (1 if name == "a" else SCALE)))
        tables[name] = given.select((pl.col(n) if n in given else pl.lit(None)).cast(dtype).alias(n) for n, dtype in SCHEMA.items())
    return tables


def on_scale(table, scale, offset):
    """Return a table with its values mapped."""
    return table.with_columns(
        (offset + scale * pl.col("expression").cast(pl.Float64)).cast(pl.Float32).alias("expression"),
        (scale * pl.col("expression_sd").cast(pl.Float64)).cast(pl.Float32).alias("expression_sd"),
    )


class Model:
    """Trains a model on a table, and predicts."""

    def __init__(self, options, seed):
        self.options, self.seed = options, seed
        backend.select_backend("jax")

    def train(self, table, weighted=False):
        """Return a function that predicts expression of sequences."""
        import keras

        tokens, labels = scaffold.tokenize(table["sequence"], LENGTH), table["expression"].to_numpy()
        weights = table["weight"].to_numpy() if weighted else None
        if self.options.model == "baseline_kmer":
            from gpraflow.models.zoo import baseline_kmer

            sizes = baseline_kmer.PRESETS["default"] | {"kmer": self.options.kmer}
            model = baseline_kmer.fit(tokens, labels, weights, upstream="", seed=0, **sizes)
            mean, sd = 0.0, 1.0
        else:
            keras.utils.set_random_seed(self.seed)
            motifs = resources.resolve("jaspar2026_yeast", resources.MOTIFS, "")
            about = registry.describe(self.options.model)
            model = build.build(self.options.model, LENGTH, about.presets["default"], motifs=motifs if about.motifs else "")
            mean, sd = labels.mean(), labels.std()
            steps = self.options.epochs * (len(labels) // self.options.batch_size + 1)
            rate = keras.optimizers.schedules.CosineDecay(0.0, steps, warmup_target=0.002, warmup_steps=min(100, steps // 10))
            model.compile(keras.optimizers.AdamW(rate, weight_decay=0.01, clipnorm=1.0), "mse")
            model.fit(tokens, (labels - mean) / sd, self.options.batch_size, self.options.epochs, 0, sample_weight=weights)
        return lambda sequences: mean + sd * model.predict(scaffold.tokenize(sequences, LENGTH), batch_size=1024, verbose=0)[:, 0]


def learnt(tables, model):
    """Return scale and offset of b, found in turns with the model: expression of both tables has the same slope on its predictions."""
    a, b = tables["a"], tables["b"]
    scale = a["expression"].std() / b["expression"].std()
    offset = a["expression"].mean() - scale * b["expression"].mean()
    for _ in range(TURNS):
        predict = model.train(pl.concat([a, on_scale(b, scale, offset)]))
        (slope_a, start_a), (slope_b, start_b) = (
            np.polyfit(predict(each["sequence"]), each["expression"].to_numpy(), 1) for each in (a, b)
        )
        scale = slope_a / slope_b
        offset = start_a - scale * start_b
    return scale, offset


def compare(sets, options, seed):
    """Return contender -> r, rmse, and the scale of b; and the standard error of `shared`."""
    rng = np.random.default_rng(seed)
    library, test = sets(rng, seed)
    tables, model, found = two_tables(*library, options, rng), Model(options, seed), {}
    joined = join.join(tables)
    both = tables["a"].join(tables["b"], on="sequence", suffix="_b")
    maps = {
        "shared": (joined.maps[1].scale, joined.maps[1].offset),
        "distribution": [getattr(join.join(tables, method="distribution").maps[1], key) for key in ("scale", "offset")],
        "none": (1.0, 0.0),
        "least_squares": tuple(np.polyfit(both["expression_b"], both["expression"], 1)),
        "known": (SCALE, OFFSET),
    }
    maps["weighted"] = maps["b"] = maps["shared"]
    if "learnt" in options.contenders:
        maps["learnt"] = learnt(tables, model)
    for name in options.contenders:
        if name in ("a", "b"):
            table = on_scale(tables[name], *maps["b"]) if name == "b" else tables["a"]
        elif name in ("shared", "weighted"):
            table = joined.table
        else:
            table = join.join(tables | {"b": on_scale(tables["b"], *maps[name])}, method="none").table
        predicted = model.train(table, name == "weighted")(test[0])
        scale = {"scale": float(maps[name][0])} if name in maps else {}
        found[name] = {"r": metrics.scores(predicted, test[1])["r"], "rmse": float(np.sqrt(np.mean((predicted - test[1]) ** 2))), **scale}
        print(f"seed {seed}, {name}: {found[name]}", flush=True)
    return found, joined, tables


def draw(runs, options, path):
    """Draw the shared promoters of the first run with the map and that of least squares, and r of each contender."""
    from matplotlib import pyplot as plt

    _, joined, tables = runs[0]
    both = tables["a"].join(tables["b"], on="sequence", suffix="_b")
    x, y = both["expression_b"].to_numpy(), both["expression"].to_numpy()
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained", width_ratios=[1, 1.2])
    left.plot(x, y, ".", color="0.6", markersize=2, alpha=0.5)
    ends = np.array([x.min(), x.max()])
    slope, start = np.polyfit(x, y, 1)
    for line, label, style in (
        (OFFSET + SCALE * ends, "true", {"color": "black", "linewidth": 2.4}),
        (joined.maps[1].offset + joined.maps[1].scale * ends, "errors in both tables", {"color": "#D55E00", "linestyle": "--"}),
        (start + slope * ends, "least squares", {"color": "#009E73", "linestyle": ":"}),
    ):
        left.plot(ends, line, label=label, **style)
    left.set(xlabel="table b (own scale)", ylabel="table a", title=f"{len(x):,} shared promoters")
    left.legend(frameon=False, fontsize=8)
    names = list(options.contenders)
    for found, _, _ in runs:
        right.plot([found[name]["r"] for name in names], range(len(names)), color="0.85", linewidth=0.8, zorder=0)
    for place, name in enumerate(names):
        values = [found[name]["r"] for found, _, _ in runs]
        colour = COLOURS.get(name, "#CC79A7")
        right.plot(values, [place] * len(values), "o", color=colour, markersize=4, alpha=0.8)
        right.plot(np.mean(values), place, "|", color=colour, markersize=16, markeredgewidth=2)
    labels = {"a": "table a alone", "b": "table b alone", "none": "both, as they are", "shared": "both, shared promoters"}
    labels |= {"weighted": "both, shared promoters, weighted", "least_squares": "both, least squares", "known": "both, true scale"}
    labels |= {"distribution": "both, equal mean and sd", "learnt": "both, learnt with the model"}
    right.set_yticks(range(len(names)), [labels[name] for name in names])
    right.invert_yaxis()
    right.set(xlabel="Pearson r on test promoters", title=f"{options.model}, {len(runs)} seeds (lines)")
    right.grid(axis="x", color="0.9")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.title.set_fontsize(10)
    figure.savefig(path, dpi=150)


def main():
    """Compare the contenders for each seed."""
    parser = common.parser(__doc__)
    parser.add_argument("--table", type=Path, help="sequences and expression to split; without it, simulated ones")
    parser.add_argument("--test", type=Path, help="test promoters, with --table")
    parser.add_argument("--promoters", type=int, default=6_000, help="of both tables, before b is drawn; at most")
    parser.add_argument("--tests", type=int, default=4_000)
    parser.add_argument("--shared", type=float, default=0.2, help="share of a's promoters that are in b")
    parser.add_argument("--selection", type=float, default=0.5, help="preference of b for strong promoters")
    parser.add_argument("--noise", type=float, nargs=2, default=[0.7, 0.7], help="of a and b, in standard deviations of expression")
    parser.add_argument("--sd", action="store_true", help="give the standard deviations of both tables")
    parser.add_argument("--model", default="baseline_kmer", choices=["baseline_kmer", "compact"])
    parser.add_argument("--kmer", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--contenders", nargs="+", default=["a", "b", *JOINED], choices=["a", "b", *JOINED], help="a or b among them")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--figure", type=Path)
    few = ["a", "b", "shared", "none"]
    options = common.parse(parser, promoters=4_000, tests=1_000, noise=[0.5, 0.5], contenders=few, seeds=1)

    def sets(rng, seed):
        if not options.table:
            return simulated(options.promoters, options.tests, seed)
        return read(options.table, options.promoters, rng), read(options.test, options.tests, rng)

    runs = [compare(sets, options, seed) for seed in range(options.seeds)]
    figures = {}
    for name in options.contenders:
        for found, _, _ in runs:
            found[name]["gain"] = found[name]["r"] - max(found[one]["r"] for one in ("a", "b") if one in found)
        keys = runs[0][0][name]
        values = {key: [found[name][key] for found, _, _ in runs] for key in keys}
        figures[name] = {key: [round(float(np.mean(each)), 4), round(float(np.std(each)), 4)] for key, each in values.items()}
    if options.figure:
        draw(runs, options, options.figure)
    promoters = {name: table.height for name, table in runs[0][2].items()} | {"joined": runs[0][1].table.height}
    error = round(float(np.mean([joined.maps[1].scale_se for _, joined, _ in runs])), 4)
    common.finish(options, "each table alone, and both without a map", promoters=promoters, scale_se=error, **figures)


if __name__ == "__main__":
    main()
