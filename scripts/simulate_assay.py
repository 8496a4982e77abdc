"""Simulate a sorted and sequenced library with known ground truth: reads and cell counts per bin, and an independent data set."""

from gpraflow.assay import simulate, simulated_library
from gpraflow.core import logs
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    params = job.params
    simulate.write(
        scaffold.load(job.input.scaffolds, params.scaffold),
        job.input.motifs,
        params.sheet,
        simulated_library.Assay(**params.library),
        params.seed,
        job.output.reads,
        paths={name: getattr(job.output, name) for name in ("bins", "truth", "independent", "activities")},
        threads=job.threads,
    )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
