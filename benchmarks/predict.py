"""`gpraflow predict`, and the mutants of `gpraflow explain`, beside the model's own `predict`, in the same process, in turns.

python benchmarks/predict.py MODEL [--rows 100000] [--turns 3] [--batch-size 1024]
Ours: from a FASTA file of inserts to a TSV file with expression, intervals and domain, with the model already loaded, as `raw` has it.
Raw: `model.predict` of the same promoters as tokens, which are made beforehand. The last line is JSON: rows, raw_per_s and ours_per_s (best
of the turns), ratio (of these), ratios (of each turn), peak_rss_mb; explain_per_s (mutants of as many promoters as give that many rows) and
explain_ratio. cpu_ratio and explain_cpu_ratio are the same of CPU time over all turns, for a machine that is busy with other things.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import polars as pl

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT / "benchmarks"), str(ROOT / "scripts")]
from gpraflow.core import startup

if __name__ == "__main__":
    startup.restart_prepared()  # as the command has them
import synthetic

from gpraflow.core.ledger import Ledger
from gpraflow.explanation import mutagenesis
from gpraflow.formats import records, text
from gpraflow.prediction import predictor as prediction_predictor
from gpraflow.sequences.scaffold import tokenize


def main():
    """Predict in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=1024)
    options = parser.parse_args()
    predictor = prediction_predictor.Predictor(options.model, batch_size=options.batch_size)
    five, three = predictor.flanks
    whole = synthetic.promoter_table(options.rows)["sequence"]
    inserts = whole.str.slice(len(synthetic.FIVE_PRIME), 80)
    tokens = tokenize(pl.Series([five + insert + three for insert in inserts]), **predictor.window)
    mutated = mutagenesis.places(predictor, whole)
    some = max(1, options.rows // int(3 * mutated[0].sum()))
    found = {"raw": [], "ours": [], "explain": []}
    busy = dict.fromkeys(found, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        fasta, out = Path(folder) / "in.fa", Path(folder) / "out.tsv"
        fasta.write_text("".join(f">p{number}\n{insert}\n" for number, insert in enumerate(inserts)))

        def raw():
            predictor.model.predict(tokens, batch_size=options.batch_size, verbose=0)

        def ours():
            ledger = Ledger("predict", "")
            with text.writing(out) as write:
                for rows in records.records(fasta, ledger, ambiguous="n"):
                    write(predictor.records(rows, fasta, ledger))

        def mutants():
            mutagenesis.mutational_effects(predictor, tokens[:some], mutated[:some])

        number = {"raw": options.rows, "ours": options.rows, "explain": int(3 * mutated[:some].sum())}
        predictor.model.predict(tokens[: options.batch_size], batch_size=options.batch_size, verbose=0)  # compiled
        for _ in range(options.turns):
            for name, run in (("raw", raw), ("ours", ours), ("explain", mutants)):
                started, before = time.perf_counter(), time.process_time()
                run()
                busy[name] += time.process_time() - before
                found[name].append(number[name] / (time.perf_counter() - started))
    best = {name: max(values) for name, values in found.items()}
    each = {name: seconds / number[name] for name, seconds in busy.items()}
    result = {
        "rows": options.rows,
        "raw_per_s": round(best["raw"], 1),
        "ours_per_s": round(best["ours"], 1),
        "ratio": round(best["ours"] / best["raw"], 3),
        "ratios": [round(ours / raw, 3) for raw, ours in zip(found["raw"], found["ours"], strict=True)],
        "explain_per_s": round(best["explain"], 1),
        "explain_ratio": round(best["explain"] / best["raw"], 3),
        "cpu_ratio": round(each["raw"] / each["ours"], 3),
        "explain_cpu_ratio": round(each["raw"] / each["explain"], 3),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
