"""Which model for how much data: the workflow, run for several models and numbers of training promoters.

python benchmarks/learning_curve.py --config config/yeast_real.yaml --data DIR --models compact slides baseline_kmer --rows 1000 10000 0
    --table curve.tsv [--figure curve.png] [--set compact=overlay.yaml] [--epochs 8]
Each pair is `snakemake results/curve/metrics.json` with `split.train_promoters` (0: all) and `model.name`; pairs that the table has already
are not run again. Fewer promoters are seen more often in smaller batches: --epochs x (all / promoters)^.35 epochs of batches of
--batch-size x (promoters / all)^.5, rounded to powers of two, at least 32. The best epoch on val is scored.
The last line is JSON: r on each data set by model and promoters, as in the table.
"""

import argparse
import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path

import polars as pl
import yaml

ROOT = Path(__file__).parents[1]
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
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")  # Okabe and Ito


def run(arguments, model, rows, overlay):
    """Run the workflow for one model and number of promoters; return its lines of the table."""
    share = (rows or arguments.all) / arguments.all
    training = {
        "patience": 1000,
        "epochs": math.ceil(arguments.epochs * share**-0.35),
        "batch_size": max(32, 2 ** round(math.log2(arguments.batch_size * share**0.5))),
    }
    content = {"run": RUN, "split": {"train_promoters": rows}, "model": {"name": model}, "training": training}
    content["evaluation"] = {"bootstrap": 100}  # intervals are not used
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(content, file)
        file.flush()
        files = [*arguments.config, *overlay, file.name]
        command = [sys.executable, "-m", "snakemake", "--cores", str(arguments.cores), "--configfile", *files]
        command += ["--config", f"data={arguments.data}", "--", f"results/{RUN}/metrics.json"]
        done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}:\n{done.stderr[-3000:]}")
    found = json.loads((ROOT / f"results/{RUN}/metrics.json").read_text())
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
        for colour, model in zip(COLOURS, table["model"].unique(maintain_order=True), strict=False):
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", nargs="+", default=["config/yeast_real.yaml"])
    parser.add_argument("--data", default="data")
    parser.add_argument("--models", nargs="+", default=["compact", "biochemical", "slides", "baseline_kmer", "baseline_motif"])
    parser.add_argument("--rows", nargs="+", type=int, default=[1000, 3000, 10000, 30000, 0])
    parser.add_argument("--all", type=int, default=49477, help="training promoters in all, for the epochs")
    parser.add_argument("--epochs", type=int, default=8, help="epochs on all of them")
    parser.add_argument("--batch-size", type=int, default=128, help="batch size for all of them")
    parser.add_argument("--set", nargs="*", default=[], metavar="MODEL=FILE", help="config overlays of single models")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--table", type=Path, default=Path("learning_curve.tsv"))
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    overlays = dict(text.split("=", 1) for text in arguments.set)
    table = pl.read_csv(arguments.table, separator="\t", schema=SCHEMA) if arguments.table.is_file() else pl.DataFrame(schema=SCHEMA)
    for rows in arguments.rows:
        for model in arguments.models:
            least = 0.9 * (rows or arguments.all)
            if table.filter(pl.col("model") == model, pl.col("promoters").is_between(least, rows or arguments.all)).height:
                continue
            table = table.vstack(pl.DataFrame(run(arguments, model, rows, [overlays[model]] if model in overlays else []), schema=SCHEMA))
            table.write_csv(arguments.table, separator="\t")
            print(table.tail(1).row(0), flush=True)
    if arguments.figure:
        draw(table, arguments.figure)
    print(json.dumps(table.select("model", "promoters", "dataset", "r").to_dicts()))


if __name__ == "__main__":
    main()
