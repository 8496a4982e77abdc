"""Write the parameters of transcription factors, for models with interpretable parameters."""

from pathlib import Path

from gpraflow.core import files, logs
from gpraflow.models import directory


def main(job):
    logs.log_to(job.log[0])
    for path, read in ((job.output.factors, directory.parameters), (job.output.positions, directory.position_parameters)):
        table = read(Path(job.input.model).parent, job.params.backend)
        files.write_text(path, table.write_csv(separator="\t", float_precision=6))


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
