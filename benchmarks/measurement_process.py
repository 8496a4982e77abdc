"""Information about the sorted bins (bits a read) in an inferred measurement process, in loss ``bins``, and in MAVE-NN.

python benchmarks/measurement_process.py [--table ecoli_lac_sortseq_bins.tsv.gz] [--mavenn PYTHON] [--seeds 3] [--network slides] [...]
A measurement process is p(bin | phi), a softmax of tanh units of a scalar phenotype phi that the model predicts (MPA regression; Tareen et
al. 2022, doi:10.1186/s13059-022-02661-7). It is compared with loss ``bins``, which predicts logits of the bins from the sequence, and with
mean squared error; for both an additive model and a network. All see the same reads: --table has columns ct_0, ct_1, ..., sequence and set
(training, validation, test), and training promoters within 3 edits of a later split are left out; without it reads are simulated.
--mavenn is a Python with MAVE-NN, which is no dependency (uv venv DIR; uv pip install --python DIR mavenn); without it MAVE-NN is left out.
The last line is JSON. Of each model, means over seeds: information about the test reads as [bits, standard error], namely variational,
predictive (of the scalar: phi, mean bin or expression), of_mean_bin (predictive, of the mean of p(bin | sequence)) and calibrated
(variational, after a measurement process of the scalar is fitted to validation reads); seconds and cpu_seconds of training. differences:
what the measurement process has in addition to the others, paired by promoters, as [bits, standard error over promoters, standard deviation
between seeds (null for one)]. mavenn_own: what MAVE-NN itself computes.
"""

import tempfile
from pathlib import Path

import common
import numpy as np
import polars as pl
from scipy.special import softmax

from gpraflow.evaluation import information
from gpraflow.models import backend, build, registry
from gpraflow.sequences import neighbours, scaffold
from gpraflow.training import objectives

SPLITS = {"training": "train", "validation": "val", "test": "test"}
EDITS = 3
LENGTH, BINS = 30, 5  # of the simulated library
HIDDEN = 50  # tanh units of the measurement process, as in MAVE-NN
KINDS = ("variational", "predictive", "of_mean_bin", "calibrated")
PAIRS = [
    ("additive_measurement_process", "mavenn"),
    *((f"{kind}_measurement_process", f"{kind}_{other}") for kind in ("additive", "network") for other in ("bins", "bins_smoothed", "mse")),
]


def read(path):
    """Return sequences, counts and splits of a table, without promoters that have a near-duplicate in a later split."""
    table = pl.read_csv(path, separator="\t").with_columns(pl.col("set").cast(pl.Enum(list(SPLITS))))
    cluster = pl.Series(neighbours.groups(table["sequence"], EDITS, threads=2))
    table = table.filter(pl.col("set").to_physical() == pl.col("set").to_physical().max().over(cluster))
    return table["sequence"], table.select(pl.col("^ct_[0-9]+$")).to_numpy(), table["set"].cast(pl.String).replace(SPLITS).to_numpy()


def simulated(rows, rng):
    """Return random sequences, one read of each, and splits; the signal of a cell is normal around the sum of effects of the bases."""
    tokens = rng.integers(0, 4, (rows, LENGTH), dtype=np.uint8)
    effects = rng.normal(size=(LENGTH, 4)) / np.sqrt(LENGTH)
    signal = effects[np.arange(LENGTH), tokens].sum(axis=1) + 0.5 * rng.normal(size=rows)
    counts = np.eye(BINS, dtype=int)[np.searchsorted(np.linspace(-0.8, 0.8, BINS - 1), signal)]
    return pl.Series(scaffold.detokenize(tokens)), counts, rng.choice(["train", "val", "test"], rows, p=[0.6, 0.2, 0.2])


class Data:
    """Tokens and reads of each split."""

    def __init__(self, sequences, counts, split):
        self.sequences, self.counts, self.split, self.bins = sequences, counts, split, counts.shape[1]
        tokens = scaffold.tokenize(sequences, len(sequences[0]))
        self.tokens, self.reads = ({name: each[split == name] for name in ("train", "val", "test")} for each in (tokens, counts))

    def objective(self, head):
        """Return the objective of training, as `train_model` has it with ``bin_labels: cells``."""
        reads = self.reads["train"]
        expression = (reads @ np.arange(self.bins) / reads.sum(axis=1)).astype(np.float32)
        cells, loss = (None, "mse") if head == "mse" else (reads.astype(np.float32), "bins")
        prior = {"bins_smoothed": 1.0, "measurement_process": 0.01}.get(head, 0.0)
        return objectives.fit(expression, cells, loss=loss, bins=self.bins, huber_delta=1.0, cells_prior=prior)


def measurement_process(phi, bins):
    """Return logits of the bins, a sum of tanh units of a scalar phenotype, as Keras tensors."""
    from keras import initializers, layers

    normal = {f"{weights}_initializer": initializers.RandomNormal(stddev=1.0) for weights in ("kernel", "bias")}
    return layers.Dense(bins, name="process_logits")(layers.Dense(HIDDEN, activation="tanh", name="process_units", **normal)(phi))


def additive(length, outputs):
    """Return a model whose outputs are sums of effects of the bases."""
    import keras
    from keras import layers

    tokens = keras.Input((length,), dtype="int32", name="tokens")
    flat = layers.Flatten()(layers.CategoryEncoding(num_tokens=4, output_mode="one_hot")(layers.Reshape((length, 1))(tokens)))
    return keras.Model(tokens, layers.Dense(outputs, name="expression")(flat))


def train(data, options, kind, head, seed):
    """Train a model; return its scalar prediction and p(bin | sequence), or None, of the promoters of each split, and the times.

    ``head`` is ``measurement_process``, ``bins``, ``bins_smoothed`` (with pseudo-cells, as is the default of ``training.cells_prior``) or
    ``mse``. The epoch with the lowest loss on val is kept.
    """
    import keras

    keras.utils.set_random_seed(seed)
    length, objective = data.tokens["train"].shape[1], data.objective(head)
    outputs = 1 if head == "measurement_process" else objective.outputs
    if kind == "additive":
        core, epochs, rate = additive(length, outputs), options.additive_epochs, 0.005
    else:
        sizes = registry.describe(options.network).presets[options.preset]
        core, epochs, rate = build.build(options.network, length, sizes, outputs=outputs), options.network_epochs, 0.002
    inputs, predicted = core.inputs, core.outputs[0]
    model = keras.Model(inputs, measurement_process(predicted, data.bins) if head == "measurement_process" else predicted)
    target = {name: objective.targets(features(counts)) for name, counts in data.reads.items()}
    weight = {name: counts.sum(axis=1).astype(np.float32) for name, counts in data.reads.items()}
    schedule = keras.optimizers.schedules.CosineDecay(rate, epochs * -(-len(target["train"]) // options.batch_size))
    model.compile(keras.optimizers.AdamW(schedule, weight_decay=0.01, clipnorm=1.0), lambda labels, raw: objective.losses(raw, labels))
    with tempfile.TemporaryDirectory() as folder, common.timed() as lap:
        best = Path(folder, "best.weights.h5")
        keep = keras.callbacks.ModelCheckpoint(best, save_best_only=True, save_weights_only=True)
        val = (data.tokens["val"], target["val"], weight["val"])
        model.fit(
            data.tokens["train"], target["train"], options.batch_size, epochs, 0, [keep], validation_data=val, sample_weight=weight["train"]
        )
        model.load_weights(best)
    both = keras.Model(inputs, [predicted, model.outputs[0]])
    predictions = {}
    for name in ("val", "test"):
        scalar, logits = (each.astype(np.float64) for each in both.predict(data.tokens[name], batch_size=1024, verbose=0))
        probabilities = None if head == "mse" else softmax(logits, axis=1)
        predictions[name] = scalar[:, 0] if predicted.shape[1] == 1 else probabilities @ np.arange(data.bins), probabilities
    return predictions, lap


def features(counts):
    """Return the features from which an objective makes its targets."""
    mean = counts @ np.arange(counts.shape[1]) / counts.sum(axis=1)
    return {objectives.EXPRESSION: mean[:, None].astype(np.float32), objectives.CELLS: counts.astype(np.float32)}


def calibrated(data, prediction, options):
    """Return p(bin | prediction) of test promoters, a measurement process fitted to the predictions and reads of val."""
    import keras

    keras.utils.set_random_seed(options.seed)
    mean, sd = prediction["val"].mean(), prediction["val"].std()
    x = {name: ((values - mean) / sd)[:, None].astype(np.float32) for name, values in prediction.items()}
    phi = keras.Input((1,))
    objective = data.objective("measurement_process")
    model = keras.Model(phi, measurement_process(phi, data.bins))
    model.compile(keras.optimizers.Adam(0.01), lambda labels, raw: objective.losses(raw, labels))
    reads = data.reads["val"]
    model.fit(x["val"], objective.targets(features(reads)), 1024, options.calibration_epochs, 0, sample_weight=reads.sum(axis=1))
    return softmax(model.predict(x["test"], batch_size=1024, verbose=0).astype(np.float64), axis=1)


class Measured:
    """Information of one kind of model, of one training for each seed."""

    def __init__(self):
        self.variational, self.predictive, self.of_mean_bin, self.calibrated, self.laps = [], [], [], [], []

    def add(self, data, options, predictions, lap):
        """Add a training."""
        reads = data.reads["test"]
        scalar, probabilities = predictions["test"]
        if probabilities is not None:
            self.variational.append(information.variational(probabilities, reads, options.resamples))
            mean_bin = probabilities @ np.arange(data.bins)
            self.of_mean_bin.append(information.predictive(mean_bin, reads, options.resamples // 10))
        self.predictive.append(information.predictive(scalar, reads, options.resamples // 10))
        if "val" in predictions:
            values = calibrated(data, {name: values for name, (values, _) in predictions.items()}, options)
            self.calibrated.append(information.variational(values, reads, options.resamples))
        self.laps.append(lap)

    def figures(self):
        """Return means over seeds, for the line of JSON."""
        bits = {name: described(mean(getattr(self, name))) for name in KINDS if getattr(self, name)}
        bits |= {
            "seconds": round(float(np.mean([lap[0] for lap in self.laps])), 1),
            "cpu_seconds": round(float(np.mean([lap[1] for lap in self.laps])), 1),
        }
        return bits


def mean(several):
    """Return the mean information over seeds; its standard error is that over promoters."""
    return information.Information(float(np.mean([each.bits for each in several])), np.mean([each.resamples for each in several], axis=0))


def described(each):
    """Return bits and standard error."""
    return [round(each.bits, 4), round(each.standard_error, 4)]


def differences(first, second):
    """Return how much more information the first has: bits, standard error over promoters, standard deviation between seeds."""
    if len(second) == 1:
        second = second * len(first)
    each = [one.minus(other) for one, other in zip(first, second, strict=True)]
    return [*described(mean(each)), round(float(np.std([one.bits for one in each], ddof=1)), 4) if len(each) > 1 else None]


def mavenn(data, options):
    """Train MAVE-NN in its own Python; return its own figures, its training as `Measured.add` takes it, and the times."""
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder, "data.npz"), sequences=np.array(data.sequences.to_list()), counts=data.counts, split=data.split.astype(str))
        settings = (options.mavenn_epochs, options.mavenn_batch_size, options.mavenn_learning_rate, options.seed)
        own = common.call("mavenn_mpa", "train", folder, *settings, python=options.mavenn)
        arrays = np.load(Path(folder, "mavenn.npz"))
        return (
            own,
            {"test": (arrays["phi"].astype(np.float64), arrays["probabilities"].astype(np.float64))},
            (own["seconds"], own["cpu_seconds"]),
        )


def main():
    """Train all models on the same reads, and compare their information about the test reads."""
    parser = common.parser(__doc__)
    parser.add_argument("--table", type=Path, help="counts of a sort; without it, a simulated one")
    parser.add_argument("--rows", type=int, default=20_000, help="promoters of the simulated sort")
    parser.add_argument("--mavenn", type=Path, metavar="PYTHON", help="a Python that has MAVE-NN")
    parser.add_argument("--mavenn-epochs", type=int, default=200, help="at most; MAVE-NN stops after 15 without a lower loss")
    parser.add_argument("--mavenn-batch-size", type=int, default=200)
    parser.add_argument("--mavenn-learning-rate", type=float, default=0.001)
    parser.add_argument("--heads", nargs="+", default=["measurement_process", "bins", "bins_smoothed", "mse"])
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--additive-epochs", type=int, default=60, help="0: without the additive model")
    parser.add_argument("--network", default="slides")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--network-epochs", type=int, default=8, help="0: without the network")
    parser.add_argument("--calibration-epochs", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resamples", type=int, default=1000)
    small = {
        "rows": 1_500,
        "batch_size": 32,
        "additive_epochs": 20,
        "network_epochs": 0,
        "calibration_epochs": 20,
        "seeds": 2,
        "resamples": 100,
    }
    options = common.parse(parser, **small)
    data = Data(*(read(options.table) if options.table else simulated(options.rows, np.random.default_rng(options.seed))))
    backend.select_backend("jax")
    measured = {}
    for kind in [kind for kind in ("additive", "network") if getattr(options, f"{kind}_epochs")]:
        for head in options.heads:
            model = measured[f"{kind}_{head}"] = Measured()
            for seed in range(options.seed, options.seed + options.seeds):
                trained, lap = train(data, options, kind, head, seed)
                model.add(data, options, trained, (lap.seconds, lap.cpu_seconds))
            print(f"{kind}, {head}: {model.figures()}", flush=True)
    own = {}
    if options.mavenn:
        own, trained, lap = mavenn(data, options)
        model = measured["mavenn"] = Measured()
        model.add(data, options, trained, lap)
        print(f"mavenn: {model.figures()}, its own: {own}", flush=True)
    compared = {
        f"{first}_vs_{second}": {
            name: differences(getattr(measured[first], name), getattr(measured[second], name))
            for name in KINDS
            if getattr(measured[first], name) and getattr(measured[second], name)
        }
        for first, second in PAIRS
        if first in measured and second in measured
    }
    promoters = {name: len(reads) for name, reads in data.reads.items()}
    figures = {"promoters": promoters, "differences": compared} | {name: model.figures() for name, model in measured.items()}
    if options.mavenn:
        common.finish(options, f"MAVE-NN {own['version']}", mavenn_own=own, **figures)
    else:
        common.finish(options, None, "no Python with MAVE-NN was given (--mavenn)", **figures)


if __name__ == "__main__":
    main()
