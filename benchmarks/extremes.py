"""How models rank promoters within the highest and the lowest tenth of measured expression, beside published models and replicates.

python benchmarks/extremes.py [--models yeast-ypd NAME=FOLDER ...] [--sets val random dream] [--data ../shared/data]
val: validation promoters of yeast_train; random: yeast_test_random; dream: dream_public, with its own subsets of high and low promoters
in place of tenths. Choose models on val alone. Without the data (and with --smallest), promoters are random and their measurements
simulated. The last line is JSON: for each set, part (all, high, low) and model Pearson r, such as val_high_yeast-ypd; published models
stand beside ours where the tables have their predictions; val_high_replicates is r between the two replicates of the same promoters,
where there are two.
"""

import tempfile
from pathlib import Path

import common
import numpy as np
import polars as pl

PUBLISHED = ("transformer_tpu", "cnn_gpu", "camformer")
FILES = {"val": "yeast_train", "random": "yeast_test_random", "dream": "dream_public"}


def table_of(options, name):
    """Return the promoters of a data set."""
    path = Path(options.data, f"{FILES[name]}.tsv.gz")
    if options.smallest or not path.is_file():
        from tests import toy

        sequences, rng = toy.promoters(400, 1), np.random.default_rng(0)
        truth = np.array([toy.said(sequence) for sequence in sequences])
        one, two = (truth + rng.normal(0, 0.1, len(truth)) for _ in range(2))
        return pl.DataFrame({"sequence": sequences, "expression": (one + two) / 2, "el_rep1": one, "el_rep2": two})
    table = pl.read_csv(path, separator="\t", infer_schema_length=None)
    return table.filter(pl.col("split") == "val") if name == "val" else table


def parts_of(table):
    """Return part -> which promoters: those that the table marks, or tenths of measured expression."""
    expression = table["expression"].to_numpy()
    if "high" in table.columns:
        ends = {name: table[name].to_numpy() == 1 for name in ("high", "low")}
    else:
        ends = {"high": expression >= np.quantile(expression, 0.9), "low": expression <= np.quantile(expression, 0.1)}
    return {"all": np.ones(len(expression), bool), **ends}


def predictions_of(models, table):
    """Return model -> predictions: ours, those that the table has, and for replicates one as the prediction of the other."""
    from gpraflow.core import resources
    from gpraflow.prediction.predictor import Predictor
    from gpraflow.sequences.scaffold import tokenize

    found = {}
    for name, folder in models.items():
        model = Predictor(resources.model(folder))
        found[name] = model.members(tokenize(table["sequence"], **model.window)).mean(axis=1)
    return found | {name: table[name].cast(pl.Float64).to_numpy() for name in PUBLISHED if name in table.columns}


def r_of(one, two):
    """Return Pearson r where both are known."""
    both = np.isfinite(one) & np.isfinite(two)
    return round(float(np.corrcoef(one[both], two[both])[0, 1]), 3)


def main():
    """Score and print."""
    parser = common.parser(__doc__)
    parser.add_argument("--models", nargs="+", default=["yeast-ypd"], metavar="NAME=FOLDER")
    parser.add_argument("--sets", nargs="+", choices=FILES, default=["val"])
    parser.add_argument("--data", default=str(common.ROOT.parent / "shared/data"))
    options = common.parse(parser)
    models = {text.split("=")[0]: text.split("=")[-1] for text in options.models}
    if options.smallest:
        from tests import toy

        folder = tempfile.TemporaryDirectory()
        models = {"toy": str(toy.write_whole(Path(folder.name, "model")))}
    found, published = {}, set()
    for name in options.sets:
        table = table_of(options, name)
        predicted, expression = predictions_of(models, table), table["expression"].to_numpy()
        published |= predicted.keys() - models.keys()
        for part, chosen in parts_of(table).items():
            found[f"{name}_{part}_n"] = int(chosen.sum())
            found |= {f"{name}_{part}_{model}": r_of(values[chosen], expression[chosen]) for model, values in predicted.items()}
            if "el_rep1" in table.columns:
                one, two = (table[f"el_rep{number}"].cast(pl.Float64).to_numpy() for number in (1, 2))
                found[f"{name}_{part}_replicates"] = r_of(one[chosen], two[chosen])
            print({key: value for key, value in found.items() if key.startswith(f"{name}_{part}_")}, flush=True)
    skipped = "" if published else "the tables have no predictions of published models"
    common.finish(options, "published models" if published else None, skipped, **found)


if __name__ == "__main__":
    main()
