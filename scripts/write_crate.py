"""Describe a finished run as an RO-Crate."""

import datetime
from pathlib import Path

import yaml

from gpraflow.core import config as configs
from gpraflow.core import files, logs, provenance
from gpraflow.core.urls import without_secrets
from gpraflow.report import crate, findings


def main(job):
    logs.log_to(job.log[0])
    config, results = configs.load(job.config), Path(job.output.metadata).parent
    files.write_text(job.output.config, yaml.safe_dump(without_secrets(config), sort_keys=False, allow_unicode=True))
    content = crate.crate(
        results,
        run=config["run"],
        title=f"Model {config['model']['name']} of a promoter library, with its evaluation. {config['card']['assay']}".strip(),
        sources=findings.digests(job.params.data),
        licence=config["card"]["licence"],
        versions=provenance.versions(crate.SOFTWARE),
        commit=provenance.commit(),
        now=datetime.datetime.now(datetime.UTC),
    )
    crate.write(content, job.output.metadata)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
