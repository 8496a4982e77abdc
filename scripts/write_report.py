"""Write the report: one HTML page that embeds all figures and tables."""

import datetime
from pathlib import Path

from gpraflow.core import config as configs
from gpraflow.core import files, logs
from gpraflow.report import page as report_page


def main(job):
    logs.log_to(job.log[0])
    inputs = {name: list(job.input[name]) for name in ("figures", "tables", "captions")}
    page = report_page.page(
        results=Path(job.input.metrics).parent,
        template=job.input.template,
        config=configs.load(job.config),
        data=job.params.data,
        datasets=job.params.datasets,
        independent=job.params.independent,
        explained=job.params.explained,
        foreign_motifs=job.params.foreign_motifs,
        now=datetime.datetime.now(datetime.UTC),
        **inputs,
    )
    files.write_text(job.output.report, page)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
