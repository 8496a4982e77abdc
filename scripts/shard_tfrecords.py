"""Write one split as TFRecord shards with a manifest."""

from gpraflow.core import logs
from gpraflow.core.ledger import Ledger
from gpraflow.formats import promoters
from gpraflow.shards import write


def main(job):
    logs.log_to(job.log[0])
    params, ledger = job.params, Ledger("shard_tfrecords", job.wildcards.split)
    manifest = write.write(
        promoters.scan(job.input.promoters),
        job.output.manifest,
        split=job.wildcards.split,
        scaffold=params.scaffold,
        length=params.length,
        keep=params.keep,
        pad=params.pad,
        rows_per_shard=params.rows_per_shard,
        extra_features=params.extra_features,
        compression=params.compression,
        seed=params.seed,
        conditions=params.conditions,
        threads=job.threads,
        ledger=ledger,
    )
    ledger.write(job.output.ledger, manifest["rows"])


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
