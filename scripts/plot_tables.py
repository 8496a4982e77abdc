"""Draw and tabulate the joined tables: shared promoters, the map of each table, and expression on the common scale."""

from pathlib import Path

from gpraflow.core import drawing, files, logs
from gpraflow.formats import promoters
from gpraflow.tables import figures, join


def main(job):
    logs.log_to(job.log[0])
    maps = join.read_maps(job.input.maps)
    tables = {Path(path).stem: promoters.scan(path).select("sequence", "expression").collect() for path in job.input.tables}
    files.write_text(job.output.table, join.summary(maps).write_csv(separator="\t"))
    drawing.save(figures.joined(tables, maps, job.params.unit), job.output.png, job.output.svg)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
