"""Explain predictions for some promoters by in-silico mutagenesis (ISM) and motifs, known and de novo."""

from pathlib import Path

from gpraflow.core import files, logs
from gpraflow.explanation import explain, sites
from gpraflow.formats import promoters
from gpraflow.prediction import predictor
from gpraflow.sequences import motifs


def main(job):
    logs.log_to(job.log[0])
    model = predictor.Predictor(Path(job.input.model).parent, job.params.backend, job.params.batch_size).of(job.params.readout)
    explanation = explain.explain_some(
        model,
        promoters.read(job.input.predictions),
        motifs.load(job.input.motifs, most=sites.MOST) if job.input.motifs else [],
        number=job.params.promoters,
        seed=job.params.seed,
        de_novo=job.params.de_novo,
        truth=explain.read_truth(job.input.activities, model.readout, model.conditions) if job.input.activities else None,
    )
    for name in ("promoters", "seqlets", "sites", "motifs", "de_novo", "de_novo_sites"):
        files.write_text(job.output[name], getattr(explanation, name).write_csv(separator="\t", float_precision=6))
    files.write_parquet(job.output.contributions, explanation.contributions)
    files.write_text(job.output.de_novo_meme, explanation.meme)
    files.write_json(job.output.summary, {"dataset": job.params.dataset} | explanation.summary)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
