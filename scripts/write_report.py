"""Write the report: one HTML page that embeds all figures and tables; and the model card."""

import datetime
from pathlib import Path

from gpraflow.core import config as configs
from gpraflow.core import files, logs
from gpraflow.report import findings, model_card, multiqc
from gpraflow.report import page as report_page


def main(job):
    logs.log_to(job.log[0])
    inputs = {name: list(job.input[name]) for name in ("figures", "tables", "captions", "predictions")}
    common = {"results": Path(job.input.metrics).parent, "config": configs.load(job.config), "sources": findings.digests(job.params.data)}
    page = report_page.page(
        template=job.input.template,
        datasets=job.params.datasets,
        independent=job.params.independent,
        explained=job.params.explained,
        foreign_motifs=job.params.foreign_motifs,
        now=datetime.datetime.now(datetime.UTC),
        **common,
        **inputs,
    )
    model_card.write(model_card.of_run(scaffolds_file=job.params.scaffolds, **common), Path(job.output.card).parent)
    multiqc.write(multiqc.of_run(common["results"], common["config"]["run"]), job.output.multiqc)
    files.write_text(job.output.report, page)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
