"""`gpraflow predict`, and the mutants of `gpraflow explain`, beside the model's own `predict`, in the same process, in turns.

python benchmarks/predict.py MODEL [--rows 100000] [--turns 3] [--batch-size 1024]
MODEL is a model directory of a run; --smallest makes one of a few parameters.
Ours: from a FASTA file of inserts to a TSV file with expression, intervals and domain, with the model already loaded, as `raw` has it.
Raw: `model.predict` of the same promoters as tokens, which are made beforehand. The last line is JSON: raw_per_s and ours_per_s (best
of the turns), ratio (of these), ratios (of each turn), peak_rss_mb; explain_per_s (mutants of as many promoters as give that many rows) and
explain_ratio; variants_per_s (a VCF of as many variants as rows, on --parents promoters, to a TSV file) and variants_ratio (of these to
raw sequences). cpu_ratio, explain_cpu_ratio and variants_cpu_ratio are the same of CPU time over all turns, for a machine that is busy
with other things.
"""

import tempfile
from pathlib import Path

import common
import numpy as np

from gpraflow.core import startup

if __name__ == "__main__":
    startup.restart_prepared()  # as the command has them
import synthetic

from gpraflow.core.ledger import Ledger
from gpraflow.explanation import mutagenesis
from gpraflow.formats import records, text
from gpraflow.prediction import variants
from gpraflow.sequences.scaffold import tokenize


def write_variants(path, inserts, number):
    """Write single-base variants, spread over promoters and positions."""
    rng = np.random.default_rng(1)
    lines = ["##fileformat=VCFv4.2", "#CHROM\tPOS\tID\tREF\tALT"]
    for place, shift in zip(rng.integers(0, 80, number).tolist(), rng.integers(1, 4, number).tolist(), strict=True):
        of = len(lines) % len(inserts)
        base = inserts[of][place]
        lines.append(f"p{of}\t{place + 1}\t.\t{base}\t{'ACGT'[('ACGT'.index(base) + shift) % 4]}")
    path.write_text("\n".join(lines) + "\n")


def compare(options, folder):
    """Predict each way in turns; files are written to ``folder``."""
    predictor, inserts, whole = synthetic.model_and_promoters(options.model, folder, options.rows, options.batch_size)
    tokens = tokenize(whole, **predictor.window)
    mutated = mutagenesis.places(predictor, whole)
    some = max(1, options.rows // int(3 * mutated[0].sum()))
    fasta, out = folder / "in.fa", folder / "out.tsv"
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

    vcf, parents = folder / "in.vcf", folder / "parents.fa"
    inserts = inserts[: options.parents]
    parents.write_text("".join(f">p{number}\n{insert}\n" for number, insert in enumerate(inserts)))
    write_variants(vcf, inserts, options.rows)

    def effects():
        ledger = Ledger("variants", "")
        with text.writing(folder / "effects.tsv") as write:
            for pairs in variants.read(parents, vcf, ledger):
                write(variants.effects(predictor, pairs, ledger))

    ways = {
        "raw": (raw, options.rows),
        "ours": (ours, options.rows),
        "variants": (effects, options.rows),
        "explain": (mutants, int(3 * mutated[:some].sum())),
    }
    laps = {name: [] for name in ways}
    predictor.model.predict(tokens[: options.batch_size], batch_size=options.batch_size, verbose=0)  # compiled
    for _ in range(options.turns):
        for name, (run, _) in ways.items():
            with common.timed() as lap:
                run()
            laps[name].append(lap)
    rates = {name: [number / lap.seconds for lap in laps[name]] for name, (_, number) in ways.items()}
    best = {name: max(values) for name, values in rates.items()}
    each = {name: sum(lap.cpu_seconds for lap in laps[name]) / number for name, (_, number) in ways.items()}
    common.finish(
        options,
        "the model's own predict, on tokens",
        raw_per_s=round(best["raw"], 1),
        ours_per_s=round(best["ours"], 1),
        ratio=round(best["ours"] / best["raw"], 3),
        ratios=[round(ours / raw, 3) for raw, ours in zip(rates["raw"], rates["ours"], strict=True)],
        explain_per_s=round(best["explain"], 1),
        explain_ratio=round(best["explain"] / best["raw"], 3),
        variants_per_s=round(best["variants"], 1),
        variants_ratio=round(best["variants"] / best["raw"], 3),
        cpu_ratio=round(each["raw"] / each["ours"], 3),
        variants_cpu_ratio=round(each["raw"] / each["variants"], 3),
        explain_cpu_ratio=round(each["raw"] / each["explain"], 3),
        peak_rss_mb=common.peak_rss_mb(),
    )


def main():
    """Predict in turns."""
    parser = common.parser(__doc__)
    parser.add_argument("model", nargs="?")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--parents", type=int, default=100, help="promoters that the variants are of")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=1024)
    options = common.parse(parser, rows=2_000, turns=1)
    if not (options.model or options.smallest):
        parser.error("MODEL is missing: give the model directory of a run, such as results/sample/model")
    with tempfile.TemporaryDirectory() as folder:
        compare(options, Path(folder))


if __name__ == "__main__":
    main()
