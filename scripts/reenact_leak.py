"""Show what the source slides' index error would have made of this library's scores."""

from gpraflow import reenactment, scaffold, smk, tables


def main(job):
    smk.log_to(job.log[0])
    params = job.params

    def read(path):
        table = tables.read(path)
        tokens = scaffold.tokenize(table["sequence"], params.length, params.keep, params.pad)
        return tokens, table["expression"].to_numpy()

    found = reenactment.reenact(read(job.input.train), read(job.input.val), params.seed, params.backend)
    reenactment.write(found, job.output.table)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
