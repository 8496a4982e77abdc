"""Express and measure designs in the simulated cells of the library, and compare promised with true expression."""

from gpraflow.assay import simulate, simulated_library
from gpraflow.core import logs
from gpraflow.design import truth
from gpraflow.formats import transform
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    params, of_run = job.params, transform.read(job.input.transform)
    unit = {"readout": params.readout, "gate_scale": params.gate_scale, "transform": of_run}

    def measure(sequences):
        flanks, assay = scaffold.load(job.input.scaffolds, params.scaffold), simulated_library.Assay(**params.library)
        return simulate.measure(sequences, flanks, job.input.motifs, params.sheet, assay, params.seed, **unit)

    library = simulate.true_expression(job.input.truth, names=params.conditions, **unit)
    truth.judge(job.input, job.output, measure, library, truth.TRUTH)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
