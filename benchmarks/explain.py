"""In-silico mutagenesis of promoters beside the model's own `predict` of the same mutants, in the same process, in turns.

python benchmarks/explain.py MODEL [--promoters 1000] [--plain 64] [--turns 3] [--batch-size 1024]
MODEL is a model directory of a run; --smallest makes one of a few parameters, whose mutants are predicted one by one.
Ours: `mutational_effects` of all single mutants of random inserts in the model's scaffold. Raw: `model.predict` of the mutants of the
first --plain promoters as tokens, which are made beforehand. The last line is JSON: mutants_per_s and raw_per_s (best of the turns),
ratio (of these), ratios (of each turn), cpu_ratio (of CPU time over all turns, for a machine that is busy with other things), seconds
(the fastest turn with all promoters), mutants, largest_difference (of the effects of the first --plain promoters, in units of
expression), peak_rss_mb.
"""

import tempfile
from pathlib import Path

import common
import numpy as np

from gpraflow.core import startup

if __name__ == "__main__":
    startup.restart_prepared()  # as the command has them
import synthetic

from gpraflow.explanation import mutagenesis
from gpraflow.sequences.scaffold import BASES, tokenize


def mutants_of(tokens, mutated):
    """Return the tokens of all single mutants, and their promoters, positions and bases."""
    rows, places = np.nonzero(mutated)
    rows, places = np.repeat(rows, BASES - 1), np.repeat(places, BASES - 1)
    bases = (tokens[rows, places] + np.tile(np.arange(1, BASES, dtype=np.uint8), len(rows) // (BASES - 1))) % BASES
    changed = tokens[rows]
    changed[np.arange(len(rows)), places] = bases
    return changed, (rows, places, bases)


def compare(options, folder):
    """Predict each way in turns."""
    predictor, _, whole = synthetic.model_and_promoters(options.model, folder, options.promoters, options.batch_size)
    tokens, mutated = tokenize(whole, **predictor.window), mutagenesis.places(predictor, whole)
    plain = min(options.plain, options.promoters)
    changed, places = mutants_of(tokens[:plain], mutated[:plain])
    mutagenesis.mutational_effects(predictor, tokens, mutated)  # compiled
    predictor.model.predict(changed[: options.batch_size], batch_size=options.batch_size, verbose=0)
    laps = {"ours": [], "raw": []}
    for _ in range(options.turns):
        with common.timed() as lap:
            effects = mutagenesis.mutational_effects(predictor, tokens, mutated)
        laps["ours"].append(lap)
        with common.timed() as lap:
            predictor.model.predict(changed, batch_size=options.batch_size, verbose=0)
        laps["raw"].append(lap)
    number = {"ours": int((BASES - 1) * mutated.sum()), "raw": len(changed)}
    rates = {name: [number[name] / lap.seconds for lap in each] for name, each in laps.items()}
    cpu = {name: sum(lap.cpu_seconds for lap in each) / number[name] for name, each in laps.items()}
    reference = predictor.members(tokens[:plain]).mean(axis=1)
    expected = predictor.members(changed).mean(axis=1) - reference[places[0]]
    common.finish(
        options,
        "the model's own predict of all mutants, on tokens",
        mutants_per_s=round(max(rates["ours"]), 1),
        raw_per_s=round(max(rates["raw"]), 1),
        ratio=round(max(rates["ours"]) / max(rates["raw"]), 3),
        ratios=[round(ours / raw, 3) for ours, raw in zip(rates["ours"], rates["raw"], strict=True)],
        cpu_ratio=round(cpu["raw"] / cpu["ours"], 3),
        seconds=round(min(lap.seconds for lap in laps["ours"]), 4),
        mutants=number["ours"],
        largest_difference=float(f"{np.abs(effects[places] - expected).max():.2g}"),
        peak_rss_mb=common.peak_rss_mb(),
    )


def main():
    """Predict in turns."""
    parser = common.parser(__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--promoters", type=int, default=1_000)
    parser.add_argument("--plain", type=int, default=64)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=1024)
    options = common.parse(parser, promoters=20, plain=4, turns=1)
    if not (options.model or options.smallest):
        parser.error("MODEL is missing: give the model directory of a run, such as results/sample/model")
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder))


if __name__ == "__main__":
    main()
