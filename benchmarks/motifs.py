"""Motifs found in a model's predictions, against the factors that decide expression in a simulated assay.

python benchmarks/motifs.py RESULTS [--dataset simulated_independent] [--promoters 1000] [--withheld 0.5] [--de-novo 40] [--effects FILE]
    [--rest FILE] [--modisco PYTHON]
RESULTS is the folder of a run of the simulated sample, such as results/sample; --smallest plants motifs in effects without a model.
Promoters are taken as `explain_model` takes them, and their ISM effects kept in --effects if it is given. Each way of searching sees the
same effects: known motifs; de novo motifs, matched to the known ones; and known motifs of which half of the planted factors are withheld,
with de novo motifs for what is missing. --rest writes the known motifs without the withheld ones (MEME format), to train a model that
does not know them: RESULTS of that model are scored by the same call.
With --modisco, TF-MoDISco (arXiv:1811.00416) searches the same effects, with its defaults and with windows for short promoters; PYTHON has
modisco-lite. Its patterns are matched as the de novo motifs are, and explain what known motifs of these matrices would.
The last line is JSON: known, de_novo, modisco and modisco_short (precision, recall, recall of the stronger half, as in `summary.json`; null
without modisco-lite), explained_known, explained_de_novo, explained_modisco and explained_modisco_short (variance of ISM effects
explained), withheld (recall of the withheld factors and of their stronger half, by de novo motifs), and the CPU seconds of each way.
"""

import subprocess
import tempfile
from pathlib import Path

import common
import numpy as np
import polars as pl

from gpraflow.core import startup

if __name__ == "__main__":
    startup.restart_prepared()  # as the command has them

from gpraflow.core import files
from gpraflow.explanation import discovery, explain, matching, mutagenesis, sites
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.sequences import motifs

MOTIFS = common.ROOT / "resources/motifs/jaspar2026_yeast.jaspar"


def of_run(options):
    """Return tokens, effects and the truth of a run."""
    folder = Path(options.results)
    truth = pl.read_csv(folder / "simulated/activities.tsv.gz", separator="\t", glob=False)
    if options.effects and Path(options.effects).exists():
        kept = np.load(options.effects)
        return kept["tokens"][: options.promoters], kept["effects"][: options.promoters], truth
    predictor = prediction_predictor.Predictor(folder / "model")
    predictions = pl.read_parquet(folder / f"predictions/{options.dataset}.parquet", glob=False)
    rows = explain.choose_varied(predictor, predictions, options.promoters, 0)
    tokens, effects, *_ = mutagenesis.explain(predictor, predictions["sequence"][rows])
    if options.effects:
        np.savez(options.effects, tokens=tokens, effects=effects)
    return tokens, effects, truth


SHORT = {  # windows of 10 bp with flanks of 5 bp, and clusters of few seqlets
    **{"sliding_window_size": 10, "flank_size": 5, "min_metacluster_size": 30, "final_min_cluster_size": 10},
    **{"trim_to_window_size": 20, "initial_flank_to_add": 5, "max_passing_windows_frac": 0.5},
}
MODISCO_LIMIT = 1200  # seconds


def by_modisco(options, tokens, effects, known, truth):
    """Return the figures of TF-MoDISco, with its defaults and for short promoters."""
    figures = {}
    for name, changed in (("modisco", {}), ("modisco_short", SHORT)):
        keys = (name, f"explained_{name}", f"{name}_cpu_s", f"{name}_seqlets")
        figures |= dict.fromkeys(keys)
        if not options.modisco:
            continue
        with tempfile.TemporaryDirectory() as folder:
            source, target = Path(folder) / "effects.npz", Path(folder) / "motifs.npz"
            np.savez(source, tokens=tokens, effects=effects)
            arguments = ("motifs_modisco", "discover", str(source), str(target), changed)
            try:
                done = common.call(*arguments, python=options.modisco, timeout=MODISCO_LIMIT)
            except subprocess.TimeoutExpired:
                print(f"{name}: no result within {MODISCO_LIMIT} s", flush=True)
                continue
            with np.load(target) as kept:
                matrices = [kept[key] for key in kept.files]
        names = enumerate(matrices, start=1)
        found = [motifs.Motif(f"pattern_{rank}", discovery.consensus(each), np.log(4 * each).astype(np.float32)) for rank, each in names]
        factors = sites.find_factors(tokens, effects, found)
        explained = round(float(factors["explained"][-1]), 4) if factors.height else 0
        values = (matching.recovery(found, known, truth), explained, done["cpu_seconds"], done["seqlets"])
        figures |= dict(zip(keys, values, strict=True))
    return figures


def planted(known, promoters):
    """Return tokens, effects and the truth of four factors, without a model."""
    rng = np.random.default_rng(1)
    tokens = rng.integers(0, 4, (promoters, 60)).astype(np.uint8)
    active = [motif for motif in known if motif.factor in ("REB1", "MIG1", "GCN4", "RAP1")]
    for row in range(promoters):
        site = active[row % 4].log_odds.argmax(axis=1)
        start = rng.integers(0, 60 - len(site))
        tokens[row, start : start + len(site)] = site
    activities = np.array([3.0, -2.0, 2.0, -1.5])
    effects = sum(activity * sites.occupancy_changes(tokens, motif) for activity, motif in zip(activities, active, strict=True))
    return tokens, effects.astype(np.float32), pl.DataFrame({"matrix": [m.matrix_id for m in active], "activity": activities})


def main():
    """Search each way."""
    parser = common.parser(__doc__)
    parser.add_argument("results", nargs="?")
    parser.add_argument("--dataset", default="simulated_independent")
    parser.add_argument("--promoters", type=int, default=1_000)
    parser.add_argument("--withheld", type=float, default=0.5, help="fraction of the planted factors that are withheld")
    parser.add_argument("--de-novo", type=int, default=40)
    parser.add_argument("--rest", type=Path, help="file for the known motifs without the withheld ones")
    parser.add_argument("--modisco", metavar="PYTHON", help="Python that has modisco-lite")
    parser.add_argument("--effects", default="", help="file that keeps ISM effects between calls")
    options = common.parse(parser, promoters=60, de_novo=4)
    if not (options.results or options.smallest):
        parser.error("RESULTS is missing: give the folder of a run of the simulated sample, such as results/sample")
    known = motifs.load(MOTIFS)
    tokens, effects, truth = of_run(options) if options.results else planted(known, options.promoters)
    with common.timed() as of_known:
        factors = sites.find_factors(tokens, effects, known)
    with common.timed() as of_de_novo:
        found, explained = discovery.discover(tokens, effects, most=options.de_novo)
    named = [each.motif(discovery.name_of(rank)) for rank, each in enumerate(found, start=1)]

    rng = np.random.default_rng(2)
    withheld = truth[np.sort(rng.permutation(truth.height)[: round(options.withheld * truth.height)])]
    rest = [motif for motif in known if motif.matrix_id not in set(withheld["matrix"])]
    if options.rest:
        files.write_text(options.rest, motifs.meme(rest))
    with common.timed() as of_both:
        partial = sites.find_factors(tokens, effects, rest)
    # The withheld matrices are unknown to the search; they are only used to see whether a de novo motif is one of them.
    recovered = matching.recovery(named, known, withheld)
    common.finish(
        options,
        "known motifs, de novo motifs, known motifs without half of the planted ones" + (", TF-MoDISco" if options.modisco else ""),
        known=sites.recovery(factors, truth, known),
        de_novo=matching.recovery(named, known, truth),
        explained_known=round(float(factors["explained"][-1]), 4) if factors.height else 0,
        explained_de_novo=round(explained[-1], 4) if explained else 0,
        explained_partial=round(float(partial["explained"][-1]), 4) if partial.height else 0,
        withheld={key: value for key, value in recovered.items() if key == "active" or key.startswith("recall")},
        **by_modisco(options, tokens, effects, known, truth),
        known_cpu_s=round(of_known.cpu_seconds, 3),
        de_novo_cpu_s=round(of_de_novo.cpu_seconds, 3),
        partial_cpu_s=round(of_both.cpu_seconds, 3),
    )


if __name__ == "__main__":
    main()
