"""Demonstrate the effect of data leakage: scores with the index error of the source slides, and with leakage-controlled splits."""

from gpraflow.core import logs
from gpraflow.evaluation import leak
from gpraflow.formats import promoters
from gpraflow.sequences import scaffold


def main(job):
    logs.log_to(job.log[0])
    params = job.params

    def read(path):
        table = promoters.read(path)
        tokens = scaffold.tokenize(table["sequence"], params.length, params.keep, params.pad)
        return tokens, table["expression"].to_numpy()

    scores = leak.demonstrate(read(job.input.train), read(job.input.val), params.seed, params.backend)
    leak.write(scores, job.output.table)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
