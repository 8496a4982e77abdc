"""Which model for how much data: the workflow, run for several models and numbers of training promoters.

python benchmarks/learning_curve.py --config config/yeast_real.yaml --data DIR --models compact slides baseline_kmer --rows 1000 10000 0
    --table curve.tsv [--figure curve.png] [--set compact=overlay.yaml] [--epochs 8] [--folder .]
Each pair is `snakemake results/curve/metrics.json` with `split.train_promoters` (0: all) and `model.name`; pairs that the table has already
are not run again. Fewer promoters are seen more often in smaller batches: --epochs x (all / promoters)^.35 epochs of batches of
--batch-size x (promoters / all)^.5, rounded to powers of two, at least 32. The best epoch on val is scored.
Paths in configs begin in --folder. --smallest makes a table of random promoters and trains a baseline on it. The last line is JSON: curve,
r on each data set by model and promoters, as in the table.
"""

import json
import math
import tempfile
from pathlib import Path

import common
import polars as pl
import synthetic

RUN = "curve"  # one for all, so that the table is read and its clusters are found once
SCHEMA = {
    "model": pl.String,
    "promoters": pl.Int64,
    "dataset": pl.String,
    "n": pl.Int64,
    "r": pl.Float64,
    "epochs": pl.Int64,
    "seconds": pl.Float64,
}


def run(arguments, folder, configs, model, rows):
    """Run the workflow for one model and number of promoters; return its lines of the table."""
    share = (rows or arguments.all) / arguments.all
    training = {
        "patience": 1000,
        "epochs": math.ceil(arguments.epochs * share**-0.35),
        "batch_size": max(32, 2 ** round(math.log2(arguments.batch_size * share**0.5))),
    }
    content = {"run": RUN, "split": {"train_promoters": rows}, "model": {"name": model}, "training": training}
    content["evaluation"] = {"bootstrap": 100}  # intervals are not used
    content["data"] = arguments.data
    target = f"results/{RUN}/metrics.json"
    common.run_rules(folder, [*configs, content], "--", target, cores=arguments.cores)
    found = json.loads((folder / target).read_text())
    about = found["model"]
    return [
        {
            "model": model,
            "promoters": about["promoters"]["train"],
            "dataset": dataset,
            "n": scores["n"],
            "r": scores["r"],
            "epochs": about["epochs"],
            "seconds": about["seconds"],
        }
        for dataset, scores in found["datasets"].items()
    ]


def draw(table, path):
    """Draw r against the number of promoters, a panel a data set."""
    from matplotlib import pyplot as plt

    datasets = table["dataset"].unique(maintain_order=True).to_list()
    figure, panels = plt.subplots(1, len(datasets), figsize=(3 * len(datasets), 3.2), sharey=True, layout="constrained", squeeze=False)
    for axes, dataset in zip(panels[0], datasets, strict=True):
        of = table.filter(dataset=dataset)
        for colour, model in zip(common.COLOURS[1:], table["model"].unique(maintain_order=True), strict=False):
            line = of.filter(model=model).sort("promoters")
            axes.plot(line["promoters"], line["r"], "o-", color=colour, markersize=4, label=model)
        axes.set(xscale="log", xlabel="promoters to train on", title=f"{dataset} (n = {of['n'][0]:,})")
        axes.title.set_fontsize(9)
        axes.grid(axis="y", color="0.9")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0][0].set_ylabel("Pearson r")
    panels[0][-1].legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def main():
    """Run what the table does not have yet."""
    parser = common.parser(__doc__)
    parser.add_argument("--config", nargs="+", default=["config/yeast_real.yaml"])
    parser.add_argument("--data", default="data")
    parser.add_argument("--models", nargs="+", default=["compact", "biochemical", "slides", "baseline_kmer", "baseline_motif"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 3000, 10000, 30000, 0])
    parser.add_argument("--all", type=int, default=49477, help="training promoters in all, for the epochs")
    parser.add_argument("--epochs", type=int, default=8, help="epochs on all of them")
    parser.add_argument("--batch-size", type=int, default=128, help="batch size for all of them")
    parser.add_argument("--set", nargs="*", default=[], metavar="MODEL=FILE", help="config overlays of single models")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=common.ROOT, help="where the runs are")
    parser.add_argument("--table", type=Path, default=Path("learning_curve.tsv"))
    parser.add_argument("--figure", type=Path)
    arguments = common.parse(parser, models=["baseline_kmer"], rows=[500], all=800, epochs=1, table=None)
    if not arguments.smallest:
        measure(arguments, arguments.folder, arguments.config)
        return
    small = {
        "split": {"fractions": {"train": 0.8, "val": 0.1, "test": 0.1}},
        "model": {"sizes": {"kmer": 3, "penalties": [100]}},
    }
    with tempfile.TemporaryDirectory() as temporary:
        synthetic.write_table(Path(temporary, common.TABLE), 1_000)
        measure(arguments, Path(temporary), [common.CONFIG | small])


def measure(arguments, folder, configs):
    """Run what the table does not have yet, and draw it."""
    overlays = dict(text.split("=", 1) for text in arguments.set)
    table = (
        pl.read_csv(arguments.table, separator="\t", schema=SCHEMA)
        if arguments.table and arguments.table.is_file()
        else pl.DataFrame(schema=SCHEMA)
    )
    for rows in arguments.rows:
        for model in arguments.models:
            least = 0.9 * (rows or arguments.all)
            if table.filter(pl.col("model") == model, pl.col("promoters").is_between(least, rows or arguments.all)).height:
                continue
            found = run(arguments, folder, [*configs, *([overlays[model]] if model in overlays else [])], model, rows)
            table = table.vstack(pl.DataFrame(found, schema=SCHEMA))
            if arguments.table:
                table.write_csv(arguments.table, separator="\t")
            print(table.tail(1).row(0), flush=True)
    if arguments.figure:
        draw(table, arguments.figure)
    curve = table.select("model", "promoters", "dataset", "r").to_dicts()
    common.finish(arguments, None, "models are compared with each other", curve=curve)


if __name__ == "__main__":
    main()
