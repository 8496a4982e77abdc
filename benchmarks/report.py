"""Bytes of the report per data set, with figures as `drawing.save` writes them and as Matplotlib does.

python benchmarks/report.py [--datasets 10] [--promoters 5000] [--seed 0]
Draws the figures that a report has of each data set (predictions, scores in subgroups, distances to the training promoters) for one data
set and for `--datasets`, of normal measurements with r = .9, and puts them into markup as the report does: the SVG in the page, and SVG and
PNG as downloads. The last line is JSON: kilobytes per data set (the difference of both, per further data set), of ours and of Matplotlib's
files, and their ratio; seconds per data set for drawing and saving.
"""

import tempfile
from pathlib import Path

import common
import numpy as np
import polars as pl
from matplotlib import pyplot as plt

from gpraflow.core import drawing
from gpraflow.evaluation import figures, metrics, subgroups
from gpraflow.report import figures as report_figures
from gpraflow.report import parts

EDITS = "edits to nearest training promoter"
GROUPS = {
    "reads": ["1", "2 to 9", "10 to 99", "100 or more"],
    "expression decile": [f"{number}: {number} to {number + 1}" for number in range(1, 11)],
    EDITS: ["1 to 9", "10 to 19", "20 to 29", "none near"],
}


def simulated(names: list[str], promoters: int, seed: int) -> dict:
    """Return predictions, scores, subgroups and distances of data sets."""
    rng = np.random.default_rng(seed)
    tables, scores, rows, nearest = {}, {}, [], []
    for name in names:
        measured = rng.normal(8, 3, promoters)
        predicted = measured + rng.normal(0, 1.45, promoters)
        tables[name] = pl.DataFrame({"expression": measured, "predicted": predicted})
        scores[name] = {"n": promoters, **metrics.with_intervals(predicted, measured, 20, seed, 1)}
        groups = {by: pl.Series(np.array(of)[rng.integers(0, len(of), promoters)]) for by, of in GROUPS.items()}
        rows += subgroups.score(tables[name], groups, dataset=name, resamples=20, seed=seed)
        nearest.append(pl.DataFrame({"dataset": [name] * promoters, "distance": rng.integers(5, 40, promoters)}))
    return {"tables": tables, "scores": scores, "rows": pl.DataFrame(rows, subgroups.COLUMNS, orient="row"), "nearest": pl.concat(nearest)}


def drawn(content: dict) -> dict[str, object]:
    """Return the figures, by their place in the folder of figures."""
    found = {}
    for name, table in content["tables"].items():
        found[f"predictions/{name}"] = figures.prediction_scatter(table, content["scores"][name], name, "log2 YFP/RFP", 40)
        found[f"subgroups/{name}"] = figures.parts(content["rows"].filter(dataset=name), name, "log2 YFP/RFP")
    audit = content["nearest"].with_columns(kind=pl.lit("shuffled"))
    titles = {name: name for name in content["tables"]}
    found["leak/distance"] = report_figures.leak(content["nearest"], audit, content["rows"], titles, 3)
    return found


def as_matplotlib_does(figure, png: Path, svg: Path) -> None:
    """Save a figure without `drawing.save`."""
    plain = {key: value for key, value in drawing.STYLE.items() if key != "font.sans-serif"}
    for path in (png, svg):
        with plt.rc_context(plain):
            figure.savefig(path, bbox_inches="tight")
    plt.close(figure)


def kilobytes(content: dict, save) -> float:
    """Return the size of the figures' part of a report."""
    with tempfile.TemporaryDirectory() as name:
        folder, total = Path(name), 0
        for place, figure in drawn(content).items():
            path = folder / f"{place}.svg"
            path.parent.mkdir(exist_ok=True)
            save(figure, path.with_suffix(".png"), path)
            shown = parts.figure(path, folder=folder, run="run", title=place, caption="")
            total += len(shown.picture.encode()) + sum(len(each.uri) for each in shown.downloads)
    return total / 1000


def main():
    """Draw for one data set and for several, both ways."""
    parser = common.parser(__doc__)
    parser.add_argument("--datasets", type=int, default=10)
    parser.add_argument("--promoters", type=int, default=5000)
    parser.add_argument("--seed", type=int, default=0)
    options = common.parse(parser, datasets=2, promoters=400)
    contents = [simulated([f"set {number}" for number in range(n)], options.promoters, options.seed) for n in (1, options.datasets)]
    further = options.datasets - 1
    with common.timed() as lap:
        one, several = (kilobytes(content, drawing.save) for content in contents)
    plain_one, plain_several = (kilobytes(content, as_matplotlib_does) for content in contents)
    ours, plain = (several - one) / further, (plain_several - plain_one) / further
    print(f"{ours:.0f} kB per data set, {plain:.0f} kB with Matplotlib's files")
    common.finish(
        options,
        "the files that Matplotlib writes",
        kb_per_dataset=round(ours, 1),
        matplotlib_kb_per_dataset=round(plain, 1),
        ratio=round(plain / ours, 2),
        seconds_per_dataset=round(lap.cpu_seconds / (options.datasets + 1), 2),
    )


if __name__ == "__main__":
    main()
