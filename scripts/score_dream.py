"""Compute the score of the DREAM challenge 2022 for the predictions of its test promoters."""

from gpraflow.core import logs
from gpraflow.evaluation import dream
from gpraflow.formats import promoters


def main(job):
    logs.log_to(job.log[0])
    fetched = job.params.fetched
    table, subsets = (fetched[key].get("path") or job.input[key] for key in ("table", "subsets"))
    public = fetched["public"].get("path") or job.input.get("public")
    scored = dream.score_predictions(
        promoters.read(job.input.predictions),
        dream.read_test_table(table),
        dream.read_subsets(subsets),
        dream.read_public(public) if public else None,
        table,
    )
    comparison = dream.table_of(scored, job.params.run, job.input.published)
    dream.write({"run": job.params.run, "modes": dream.MODES, "scores": scored}, comparison, job.output.json, job.output.tsv)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
