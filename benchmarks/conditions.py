"""Two conditions in one model against two models: r with the true difference of the simulated assay.

python benchmarks/conditions.py [--promoters 20000] [--reads 900000] [--epochs 4] [--model compact] [--seed 20221122] [--folder DIR]
Simulates config/two_conditions.yaml, trains one model of both conditions, and one of each condition on the same promoters; all are scored
on the same test promoters, a tenth of the library. Promoters are those of the workflow, from the reads on. --smallest trains a baseline.
JSON: n, promoters; joint and separate: r with the true expression in each condition and with their true difference; labels: the same of the
measured expression.
"""

import json
import shutil
import tempfile
from pathlib import Path

import common
import numpy as np
import polars as pl
import yaml

CONDITIONS = ("glucose", "galactose")
DIFFERENCE = "galactose-glucose"
SPLIT = {"fractions": {"train": 0.85, "val": 0.05, "test": 0.1}}
RUN = "two_conditions"


def measure(folder, cores, overlay):
    """Run the workflow for both conditions together and for each alone, and return the correlations with the truth."""
    (folder / "config").mkdir(parents=True, exist_ok=True)
    shutil.copy(common.ROOT / "config/two_conditions_sample_sheet.tsv", folder / "config")
    both = yaml.safe_load((common.ROOT / "config/two_conditions.yaml").read_text())
    both["simulate"] |= overlay.pop("simulate")
    results = folder / "results"
    common.run_rules(folder, [both | overlay | {"split": SPLIT}], "--", f"results/{RUN}/predictions/test.parquet", cores=cores)
    truth = pl.read_csv(results / RUN / "simulated/truth.tsv.gz", separator="\t")
    test = pl.read_parquet(results / RUN / "predictions/test.parquet").join(truth, on="sequence", how="inner", maintain_order="left")
    true = {name: test[f"mean_bin.{name}"].to_numpy() for name in CONDITIONS}
    joint = {name: test[f"predicted.{name}"].to_numpy().astype(float) for name in CONDITIONS}
    test.select("sequence").write_parquet(results / RUN / "test_promoters.parquet")
    alone = {name: separate(folder, cores, overlay, name, results / RUN / "test_promoters.parquet") for name in CONDITIONS}
    labels = {name: test[f"expression.{name}"].cast(pl.Float64).fill_null(np.nan).to_numpy() for name in CONDITIONS}
    found = {key: correlations(of, true) for key, of in {"joint": joint, "separate": alone, "labels": labels}.items()}
    return {"n": test.height, "promoters": truth.height} | found


def separate(folder, cores, overlay, name, test):
    """Train a model of one condition on the promoters of the joint run's splits, and return its predictions for test promoters."""
    run = f"{RUN}_{name}"
    parts = [
        pl.read_parquet(folder / f"results/{RUN}/splits/{split}.parquet").with_columns(split=pl.lit(split)) for split in SPLIT["fractions"]
    ]
    table = pl.concat(parts).drop_nulls(f"expression.{name}")
    columns = {role: f"{role}.{name}" for role in ("expression", "expression_sd", "n_reads", "n_bins", "singleton", "weight", "bin_cells")}
    table = table.select("sequence", "split", **{role: pl.col(column) for role, column in columns.items()})
    (folder / "results" / run).mkdir(parents=True, exist_ok=True)
    table.write_parquet(folder / f"results/{run}/table.parquet")
    config = {"run": run, "input": {"table": f"results/{run}/table.parquet"}, "split": {"method": "column"}} | overlay
    common.run_rules(folder, [config], "--", f"results/{run}/model/calibration.json", cores=cores)
    return np.array(common.call("conditions", "predict", str(folder / f"results/{run}/model"), str(test))["predicted"])


def predict(directory, path):
    """Return predictions of a model for the promoters of a table; called in a process of its own."""
    from gpraflow.prediction import predictor

    found = predictor.predict(directory, pl.read_parquet(path, glob=False))
    return {"predicted": found["predicted"].to_list()}


def correlations(predicted, true):
    """Return r with the truth in each condition and of the difference, over promoters that have a value."""
    predicted = predicted | {DIFFERENCE: predicted[CONDITIONS[1]] - predicted[CONDITIONS[0]]}
    true = true | {DIFFERENCE: true[CONDITIONS[1]] - true[CONDITIONS[0]]}
    there = {name: np.isfinite(values) for name, values in predicted.items()}
    return {name: round(float(np.corrcoef(predicted[name][there[name]], true[name][there[name]])[0, 1]), 4) for name in predicted}


def main():
    """Run the comparison."""
    parser = common.parser(__doc__)
    parser.add_argument("--promoters", type=int, default=20_000)
    parser.add_argument("--reads", type=int, default=900_000, help="reads of both conditions")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--model", default="compact")
    parser.add_argument("--sizes", type=json.loads, default={}, metavar="JSON")
    parser.add_argument("--seed", type=int, default=20221122)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="where the runs are (default: a temporary folder)")
    small = {"kmer": 3, "penalties": [100]}
    arguments = common.parse(parser, promoters=600, reads=20_000, epochs=1, model="baseline_kmer", sizes=small)
    overlay = {
        "simulate": {"promoters": arguments.promoters, "reads": arguments.reads},
        "model": {"name": arguments.model, "sizes": arguments.sizes},
        "training": {"epochs": arguments.epochs},
        "seed": arguments.seed,
    }
    with tempfile.TemporaryDirectory() as temporary:
        found = measure((arguments.folder or Path(temporary)).resolve(), arguments.cores, overlay)
    common.finish(arguments, "a model of each condition", **found)


if __name__ == "__main__":
    main()
