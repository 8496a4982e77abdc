"""Upload shards and manifests to the bucket that training reads from."""

from gpraflow.core import logs
from gpraflow.shards import upload


def main(job):
    terminal = logs.log_to(job.log[0])
    manifests = dict(zip(job.params.splits, job.input.manifests, strict=True))
    upload.upload(
        manifests,
        job.params.url,
        job.output.receipt,
        progress=print,
        location=job.params.location,
        terminal=terminal,
    )


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
