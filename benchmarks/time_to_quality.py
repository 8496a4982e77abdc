"""Minutes of training until a model is good: r on the validation split against the time that training took.

python benchmarks/time_to_quality.py --config config/yeast_real.yaml --data DIR --models compact biochemical
    [--set faster=overlay.yaml ...] [--targets 0.93 0.94] [--minutes 30] [--folder .] [--table curve.tsv] [--figure curve.png]
Tables, splits and shards are made once, by the workflow. Each model (`model.name`, other keys as in --config), and each overlay of --set,
is then trained in a process of its own, and r on val noted after each epoch with the time since training began: compilation, batches,
validation and checkpoints count, reading of tables and the import of Keras do not. Training ends with its config, or after the first epoch
that ends beyond --minutes. Times are those of the clock: nothing else may run. Rows that --table has already are not measured again.
Paths in configs begin in --folder. --smallest trains a small network on random promoters. The last line is JSON: for each model minutes
until each target (null if it is not reached), such as compact_0.93; compact_r, the best r; compact_minutes, of the whole training.
"""

import contextlib
import os
import tempfile
import time
from pathlib import Path

import common
import polars as pl

from gpraflow.core import startup

if __name__ == "__main__":
    startup.restart_prepared()  # as the workflow's jobs are
import synthetic

RUN = "time_to_quality"  # one for all, so that tables and shards are made once
RECEIPT = f"results/{RUN}/upload.json"
SCHEMA = {"model": pl.String, "epoch": pl.Int64, "minutes": pl.Float64, "val_r": pl.Float64}


class _Enough(Exception):
    """The time is over."""


def train(folder, configs, minutes):
    """Train as rule `train_model` does; return minutes and r on val after each epoch. ``configs`` as in `common.run_rules`."""
    from gpraflow.app import overlays
    from gpraflow.app.plan import Plan
    from gpraflow.models import backend
    from gpraflow.training import options
    from gpraflow.training import train as training_train

    os.chdir(folder)
    with common.config_files(configs) as paths:
        plan, rows = Plan(overlays.read(paths)), []
    backend.select_backend(plan.config["training"]["backend"])

    def watch(line):
        rows.append(((time.monotonic() - began) / 60, line["val_r"]))
        if rows[-1][0] > minutes:
            raise _Enough

    blueprint = options.Blueprint.read(plan.model, plan.scaffolds, plan.motifs)
    with tempfile.TemporaryDirectory() as model:
        began = time.monotonic()
        with contextlib.suppress(_Enough):
            training_train.train(Path(RECEIPT), model, blueprint=blueprint, options=options.Options(**plan.training_options()), watch=watch)
    return rows


def measure(arguments, folder, configs):
    """Measure what the table does not have yet; return the table."""
    configs = [*configs, {"run": RUN, "data": arguments.data}]
    there = arguments.table and arguments.table.is_file()
    table = pl.read_csv(arguments.table, separator="\t", schema=SCHEMA) if there else pl.DataFrame(schema=SCHEMA)
    variants = {name: [{"model": {"name": name}}] for name in arguments.models}
    variants |= {name: [os.path.abspath(path)] for name, path in (text.split("=", 1) for text in arguments.set)}
    common.run_rules(folder, configs, "--", RECEIPT, cores=arguments.cores)
    for name, changes in variants.items():
        if name in table["model"]:
            continue
        rows = common.call("time_to_quality", "train", str(folder), [*configs, *changes], arguments.minutes)
        table = table.vstack(pl.DataFrame([(name, epoch, *row) for epoch, row in enumerate(rows, start=1)], schema=SCHEMA, orient="row"))
        if arguments.table:
            table.write_csv(arguments.table, separator="\t")
        print(table.tail(1).row(0), flush=True)
    return table


def draw(table, targets, path):
    """Draw r on val against minutes, a line a model."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
    for colour, (name, line) in zip(common.COLOURS[1:], table.group_by("model", maintain_order=True), strict=False):
        axes.plot(line["minutes"], line["val_r"], "o-", color=colour, markersize=3.5, label=name[0])
    for target in targets:
        axes.axhline(target, color="0.7", linewidth=0.8, linestyle=":")
    lowest = min(targets) - 0.06
    axes.set(xlabel="minutes of training", ylabel="Pearson r, validation split", ylim=(lowest, max(table["val_r"].max(), *targets) + 0.005))
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)


def figures_of(table, targets):
    """Return minutes until each target, the best r and all minutes of each model."""
    found = {}
    for (name,), line in table.group_by("model", maintain_order=True):
        for target in targets:
            reached = line.filter(pl.col("val_r") >= target)["minutes"]
            found[f"{name}_{target}"] = round(reached[0], 3) if len(reached) else None
        found |= {f"{name}_r": round(line["val_r"].max(), 4), f"{name}_minutes": round(line["minutes"].max(), 3)}
    return found


def main():
    """Measure, draw and print."""
    parser = common.parser(__doc__)
    parser.add_argument("--config", nargs="+", default=["config/yeast_real.yaml"])
    parser.add_argument("--data", default="data")
    parser.add_argument("--models", nargs="*", default=["compact", "biochemical", "slides", "dream_cnn", "legnet"])
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=FILE", help="config overlays, each trained as a model of this name")
    parser.add_argument("--targets", nargs="+", type=float, default=[0.93, 0.94])
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=common.ROOT, help="where the run is")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = common.parse(parser, models=["compact"], targets=[-1.0], table=None)
    if arguments.smallest:
        sizes = {"motif_width": 6, "learned_motifs": 4, "channels": 8, "residual_blocks": 1, "dense_units": 4}
        small = {"model": {"motifs": "", "sizes": sizes}, "training": {"epochs": 2, "batch_size": 64, "warmup_steps": 2}}
        small["split"] = {"fractions": {"train": 0.8, "val": 0.1, "test": 0.1}}
        with tempfile.TemporaryDirectory() as temporary:
            synthetic.write_table(Path(temporary, common.TABLE), 1_000)
            table = measure(arguments, Path(temporary), [common.CONFIG | small])
    else:
        table = measure(arguments, arguments.folder, [os.path.abspath(path) for path in arguments.config])
    if arguments.figure:
        draw(table, arguments.targets, arguments.figure)
    common.finish(arguments, None, "models are compared with each other", **figures_of(table, arguments.targets))


if __name__ == "__main__":
    main()
