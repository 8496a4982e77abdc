"""Draw designs beside the library and, if they were measured or judged, promised against true expression."""

import polars as pl

from gpraflow.core import drawing, logs
from gpraflow.design import figures
from gpraflow.formats import promoters
from gpraflow.sequences import motifs


def main(job):
    logs.log_to(job.log[0])
    inputs, params = job.input, job.params
    known = motifs.load(inputs.motifs) if inputs.motifs else []
    table, trajectory = (pl.read_parquet(inputs[name], glob=False) for name in ("designs", "trajectory"))
    library = promoters.read(inputs.library) if not params.readout else promoters.read(inputs.library).clear()
    drawing.save(figures.designs(table, trajectory, library, known, params.unit), job.output.png, job.output.svg)
    if inputs.measured:
        drawn = figures.truth_of_run(inputs.measured, inputs.truth, inputs.summary, params.unit)
        drawing.save(drawn, job.output.truth_png, job.output.truth_svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
