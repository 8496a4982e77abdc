"""Which promoters to measure next: learning curves of the acquisitions of `gpraflow propose` in a simulated assay with known truth.

python benchmarks/propose.py [--start 3000] [--chosen 3000] [--rounds 3] [--pool 12000] [--acquisitions random range ...] [--seeds 3]
    [--table curve.tsv] [--figure curve.png]
A library of --start random promoters is measured, and an ensemble is trained. Then, --rounds times, each acquisition chooses --chosen
promoters of a new random pool, they are measured, and the ensemble is trained again on all that it has measured. All acquisitions begin
with the same library and see the same pools. The assay is that of `simulate_assay` at the level of counts: sorted cells, reads of each
cell, and the weighted mean of the bins. The networks are `compact` with the occupancies of the known motifs
fixed, so that a training takes seconds. --acquisitions are those of `gpraflow propose --acquisition`; `+batch` after one is --batch. A
tenth of the measured promoters is held out for the error of predictions. With --table, rows that it has already are not run again.
The last line is JSON: curve, means over seeds and their standard deviations, by acquisition and number of measured promoters, of r
(Pearson, of predictions with the true expression of random test promoters), r_bottom and r_top (within the tenth of the test promoters
of lowest and highest true expression), rmse (in bins), and strongest (mean true expression in bins of the 100 strongest promoters
measured); gains, the mean difference of each to random draws in the last round, with its standard error over seeds (null for one).
"""

import json
from pathlib import Path

import common
import numpy as np
import polars as pl

from gpraflow.app.plan import Plan
from gpraflow.assay import empirical_bayes, simulated_library
from gpraflow.assay.replicates import Replicate
from gpraflow.core import randomness, resources
from gpraflow.design import proposals
from gpraflow.models import backend
from gpraflow.prediction import conformal
from gpraflow.sequences import scaffold
from gpraflow.training import network, objectives, schedules, steppers
from gpraflow.training import options as training_options

GATES = np.arange(-4.0, 4.25, 0.5)  # log2 YFP/RFP, of config/sample_sheet.tsv
READS_PER_CELL, DEPTH_SPREAD, AMPLIFICATION = 1.2, 0.3, 0.5  # of the sample run
LENGTH = 110
STATE = ("rows", "expression", "reads", "trained", "factors")  # of a campaign
BATCH = 1024  # promoters per prediction
SCORES = ("r", "r_bottom", "r_top", "rmse", "strongest")
SCHEMA = {"seed": pl.Int64, "acquisition": pl.String, "promoters": pl.Int64, **dict.fromkeys((*SCORES, "cpu_seconds"), pl.Float64)}


class World:
    """Random promoters of which the truth is known, and their measurement."""

    def __init__(self, options, ensemble, seed):
        self.seed, self.options = seed, options
        count = options.start + options.rounds * options.pool
        assay = simulated_library.Assay(promoters=count, independent=options.tests)
        plan = Plan(common.CONFIG)
        motifs = resources.resolve("jaspar2026_yeast", resources.MOTIFS, "motifs")
        library = simulated_library.make_library(scaffold.load(plan.scaffolds, "pTpA"), motifs, GATES, assay, seed)
        self.assay, self.library = assay, library
        self.inputs = ensemble.occupancies(scaffold.tokenize(library.sequences, LENGTH))
        self.truth = simulated_library.bin_units(library.signal[0], GATES)
        self.tests = np.arange(count, count + options.tests)
        self.start = np.arange(options.start)

    def pool(self, number):
        """Return the promoters of the pool of a round, from 0."""
        return self.options.start + number * self.options.pool + np.arange(self.options.pool)

    def measure(self, rows, *names):
        """Return measured expression and reads of promoters that are sorted and sequenced together; NaN without reads."""
        rng = randomness.generator(self.seed, "measure", *names)
        assay = self.assay
        cells = rng.poisson(assay.cells_per_promoter * simulated_library.gamma(rng, assay.cell_dispersion, len(rows)))
        bins = simulated_library.sort_cells(
            self.library.signal[0, rows], self.library.cell_sd[rows], cells, GATES, assay.sorting_errors, rng
        ).astype(int)
        width = len(GATES) + 1
        depth = np.exp(rng.normal(0, DEPTH_SPREAD, width))
        copies = rng.lognormal(-(AMPLIFICATION**2) / 2, AMPLIFICATION, len(bins))
        reads = rng.poisson(copies * READS_PER_CELL * (depth / depth.mean())[bins])
        place = np.repeat(np.arange(len(rows)), cells) * width + bins
        counts = np.bincount(place, reads, minlength=len(rows) * width).reshape(len(rows), width).astype(np.int64)
        sorted_cells = np.bincount(bins, minlength=width).astype(float)
        edges = np.concatenate([[-np.inf], simulated_library.bin_units(GATES, GATES), [np.inf]])
        replicate = Replicate("", tuple(f"bin_{b}" for b in range(width)), edges, sorted_cells)
        return empirical_bayes.moments(counts, [replicate], 1.0).mean, counts.sum(axis=1)


class Ensemble:
    """Networks that are trained again and again; compiled once.

    Each is `compact` with the occupancies of the known motifs fixed, which are computed once for each promoter.
    """

    def __init__(self, options):
        import jax
        import keras

        self.options = options
        plan = Plan(common.CONFIG | {"model": {"name": "compact", "sizes": {"learned_motifs": 0} | options.sizes}})
        blueprint = training_options.Blueprint.read(plan.model, plan.scaffolds, plan.motifs)
        self.objective, self.training = objectives.Objective("mse", 1, 1.0, 0.0), plan.training_options()
        self.initial = {}

        def stepper(model):
            optimizer = steppers.optimizer_of("adamw", self.training["weight_decay"], self.training["gradient_clip"])
            return steppers.stepper(model, optimizer, self.objective, self.training["ema"])

        def parts():
            core = network.build_core(blueprint, LENGTH, self.objective, "core")
            occupancies = core.get_layer("strands").output
            return keras.Model(core.inputs, occupancies), keras.Model([occupancies], core.outputs[0])

        def fresh(seed):
            if seed not in self.initial:
                keras.utils.set_random_seed(seed)
                self.initial[seed] = stepper(parts()[1]).state()
            return self.initial[seed]

        self.fresh = fresh
        front, back = parts()
        self.front, self.parameters, self.stepper = front, back.count_params(), stepper(back)
        inner = proposals.representation(back)
        both = keras.Model(inner.inputs, [back.get_layer("expression")(inner.output), inner.output])
        for kind in ("trainable_variables", "non_trainable_variables"):
            assert list(map(id, getattr(both, kind))) == list(map(id, getattr(back, kind)))
        self.call = jax.jit(lambda weights, others, x: both.stateless_call(weights, others, x, training=False)[0])

    def occupancies(self, tokens):
        """Return the binned occupancies of the motifs on both strands, ``(promoters, bins, strands x motifs)`` float16."""
        parts = np.split(tokens, range(8 * BATCH, len(tokens), 8 * BATCH))
        return np.concatenate([self.front.predict(part, batch_size=BATCH, verbose=0).astype(np.float16) for part in parts])

    def train(self, inputs, expression, seed):
        """Return the trained networks: weights, other variables, and the scale of expression."""
        options, networks = self.options, []
        offset, scale = expression.mean(), expression.std()
        target = ((expression - offset) / scale).astype(np.float32)[:, None]
        size = options.batch_size
        epochs = max(1, round(options.epochs * (len(inputs) / (0.9 * options.start)) ** -0.5))
        steps = epochs * (len(inputs) // size)
        for member in range(options.members):
            self.stepper.restore(self.fresh(randomness.derive(seed, "initial", member) % 2**32), 0)
            rng = randomness.generator(seed, "order", member, len(inputs))
            step = 0
            for _ in range(epochs):
                order = rng.permutation(len(inputs))[: len(inputs) // size * size].reshape(-1, size)
                for rows in order:
                    rate = schedules.rate("cosine", options.learning_rate, step, steps, self.training["warmup_steps"])
                    self.stepper.step([inputs[rows].astype(np.float32)], target[rows], np.ones(size, np.float32), rate, None)
                    step += 1
            networks.append(self.stepper.served(self.stepper.state()))
        return networks, offset, scale

    def predict(self, trained, inputs):
        """Return predictions ``(promoters, members)`` and the input of the last layer ``(promoters, members x units)``."""
        networks, offset, scale = trained
        predicted, features = np.empty((len(inputs), len(networks))), []
        for member, (weights, others) in enumerate(networks):
            layers = []
            for begin in range(0, len(inputs), BATCH):
                part = inputs[begin : begin + BATCH].astype(np.float32)
                padded = np.concatenate([part, np.zeros((BATCH - len(part), *part.shape[1:]), np.float32)])
                outputs, inner = (np.asarray(each)[: len(part)] for each in self.call(weights, others, padded))
                predicted[begin : begin + BATCH, member] = offset + scale * outputs[:, 0].astype(np.float64)
                layers.append(inner)
            features.append(np.concatenate(layers))
        return predicted, np.concatenate(features, axis=1)


def scores(predicted, truth):
    """Return r over all promoters and within the tenths of lowest and highest truth, and the root mean squared error."""
    low, high = np.quantile(truth, [0.1, 0.9])
    parts = {"r": truth > -np.inf, "r_bottom": truth <= low, "r_top": truth >= high}
    found = {name: float(np.corrcoef(predicted[rows], truth[rows])[0, 1]) for name, rows in parts.items()}
    return found | {"rmse": float(np.sqrt(np.mean((predicted - truth) ** 2)))}


class Campaign:
    """The rounds of one acquisition."""

    def __init__(self, world, ensemble, acquisition):
        self.world, self.ensemble = world, ensemble
        name, _, batch = acquisition.partition("+")
        self.shares, self.batch = proposals.parse_shares(name), bool(batch)
        self.rows, self.expression, self.reads = np.empty(0, int), np.empty(0), np.empty(0)

    def add(self, rows, *names):
        """Measure promoters; those without reads are lost."""
        expression, reads = self.world.measure(rows, *names)
        there = np.isfinite(expression)
        for name, values in (("rows", rows), ("expression", expression), ("reads", reads)):
            setattr(self, name, np.concatenate([getattr(self, name), values[there]]))

    def train(self):
        """Train, and return the scores."""
        world = self.world
        held = randomness.generator(world.seed, "held", len(self.rows)).random(len(self.rows)) < 0.1
        self.trained = self.ensemble.train(world.inputs[self.rows[~held]], self.expression[~held], world.seed)
        members = self.ensemble.predict(self.trained, world.inputs[self.rows[held]])[0]
        spread = members.std(axis=1, ddof=1) if members.shape[1] > 1 else np.zeros(len(members))
        parts = np.stack([spread**2, 1 / self.reads[held], np.ones(len(spread))])
        self.factors = conformal.variance_factors(self.expression[held] - members.mean(axis=1), parts)
        predicted = self.ensemble.predict(self.trained, world.inputs[world.tests])[0].mean(axis=1)
        strongest = np.sort(world.truth[self.rows])[-100:].mean()
        return scores(predicted, world.truth[world.tests]) | {"strongest": float(strongest)}

    def choose(self, number, count):
        """Return the promoters to measure in a round."""
        world, pool = self.world, self.world.pool(number)
        members, features = self.ensemble.predict(self.trained, world.inputs[pool])
        known, known_features = self.ensemble.predict(self.trained, world.inputs[self.rows])
        own, other = proposals.compressed(features, known_features)
        spread, mean = members.std(axis=1, ddof=1), members.mean(axis=1)
        candidates = proposals.Candidates(
            predicted=mean,
            spread=spread,
            error=np.sqrt(self.factors[0] * spread**2 + self.factors[2]),
            features=own,
            known_predicted=known.mean(axis=1),
            known_features=other,
            best=float(known.mean(axis=1).max()),
        )
        chosen = proposals.choose(candidates, self.shares, count, randomness.derive(world.seed, "choose", number), self.batch)
        return pool[chosen["row"].to_numpy()]


def run(options):
    """Run what the table does not have yet, and return it."""
    there = options.table and options.table.is_file()
    table = pl.read_csv(options.table, separator="\t", schema=SCHEMA) if there else pl.DataFrame(schema=SCHEMA)
    backend.select_backend("jax")
    ensemble = Ensemble(options)
    print(f"{ensemble.parameters:,} parameters in each of {options.members} networks", flush=True)
    for seed in range(options.seed, options.seed + options.seeds):
        world = first = None
        for acquisition in options.acquisitions:
            if table.filter(pl.col("seed") == seed, pl.col("acquisition") == acquisition).height > options.rounds:
                continue
            world = world or World(options, ensemble, seed)
            campaign, found = Campaign(world, ensemble, acquisition), []
            for number in range(options.rounds + 1):
                with common.timed() as lap:
                    if number:
                        campaign.add(campaign.choose(number - 1, options.chosen), number)
                        scored = campaign.train()
                    elif first:  # the same for all acquisitions
                        start, scored = first
                        vars(campaign).update(start)
                    else:
                        campaign.add(world.start, "start")
                        scored = campaign.train()
                        first = {name: getattr(campaign, name) for name in STATE}, scored
                measured = options.start + number * options.chosen
                found.append({"seed": seed, "acquisition": acquisition, "promoters": measured, **scored, "cpu_seconds": lap.cpu_seconds})
                print({key: round(value, 4) if isinstance(value, float) else value for key, value in found[-1].items()}, flush=True)
            table = table.vstack(pl.DataFrame(found, schema=SCHEMA))
            if options.table:
                table.write_csv(options.table, separator="\t")
    return table


def summarize(table):
    """Return the mean and standard deviation of each score, and the gains over random draws in the last round."""
    wanted = [
        expression
        for name in SCORES
        for expression in (pl.col(name).mean().round(4), pl.col(name).std().fill_null(0).round(4).alias(f"{name}_sd"))
    ]
    curve = table.group_by("acquisition", "promoters", maintain_order=True).agg(pl.len().alias("seeds"), *wanted)
    last = table.filter(promoters=table["promoters"].max())
    base = last.filter(acquisition="random").select("seed", *SCORES)
    gains = {}
    for acquisition in last["acquisition"].unique(maintain_order=True):
        pairs = last.filter(acquisition=acquisition).join(base, on="seed", suffix="_random")
        each = {name: (pairs[name] - pairs[f"{name}_random"]).to_numpy() for name in SCORES}
        if acquisition != "random" and pairs.height:
            error = {name: values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan for name, values in each.items()}
            gains[acquisition] = {
                name: [round(float(each[name].mean()), 4), round(float(error[name]), 4) if pairs.height > 1 else None] for name in SCORES
            }
    return curve, gains


def draw(curve, path):
    """Draw r against the number of promoters: all test promoters, bottom and top tenth."""
    from matplotlib import pyplot as plt

    titles = {"r": "all test promoters", "r_bottom": "lowest tenth of expression", "r_top": "highest tenth of expression"}
    figure, panels = plt.subplots(1, len(titles), figsize=(9, 3.2), layout="constrained")
    for axes, (name, title) in zip(panels, titles.items(), strict=True):
        for colour, acquisition in zip(common.COLOURS, curve["acquisition"].unique(maintain_order=True), strict=False):
            line = curve.filter(acquisition=acquisition).sort("promoters")
            error = line[f"{name}_sd"] / np.sqrt(line["seeds"])
            axes.errorbar(line["promoters"], line[name], error, fmt="o-", color=colour, markersize=4, capsize=2, label=acquisition)
        axes.set(xlabel="measured promoters", title=title)
        axes.title.set_fontsize(9)
        axes.grid(axis="y", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("Pearson r with the truth")
    panels[-1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main():
    """Compare the acquisitions."""
    parser = common.parser(__doc__)
    parser.add_argument("--start", type=int, default=3_000, help="promoters of the first library")
    parser.add_argument("--chosen", type=int, default=3_000, help="promoters chosen in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--pool", type=int, default=12_000, help="random promoters to choose from in each round")
    parser.add_argument("--tests", type=int, default=3_000)
    every = ["random", "range", "variance", "diversity", "mixture", "improvement", "variance+batch"]
    parser.add_argument("--acquisitions", nargs="+", default=every)
    sizes = {"bin_width": 10, "channels": 16, "residual_blocks": 1}
    parser.add_argument("--sizes", type=json.loads, default=sizes, metavar="JSON", help="of compact, where they differ from its preset")
    parser.add_argument("--members", type=int, default=3, help="networks of the ensemble")
    parser.add_argument("--epochs", type=float, default=8, help="on the first library; fewer on more promoters, by the square root")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=0.004)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--table", type=Path, help="rows of finished campaigns")
    parser.add_argument("--figure", type=Path)
    small = {"start": 200, "chosen": 100, "rounds": 1, "pool": 300, "tests": 200, "acquisitions": ["random", "mixture"]}
    small |= {"members": 2, "epochs": 8, "batch_size": 16, "seeds": 1}
    options = common.parse(parser, **small)
    curve, gains = summarize(run(options))
    if options.figure:
        draw(curve, options.figure)
    common.finish(options, "random draws", curve=curve.to_dicts(), gains=gains)


if __name__ == "__main__":
    main()
