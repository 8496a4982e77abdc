"""Label-permutation control: train on permuted labels (only with evaluation.permutation_epochs) and record r on the val split."""

from gpraflow.core import files, logs
from gpraflow.training import options, train


def main(job):
    logs.log_to(job.log[0])
    with files.scratch_folder(job.output.control) as folder:
        about = train.train(
            job.input.receipt,
            folder,
            blueprint=options.Blueprint.read(job.params.model, job.input.scaffolds, job.input.motifs or ""),
            options=options.Options(**job.params.options),
            permuted_labels=True,
        )
    control = {"n": about["promoters"]["val"], "epochs": about["epochs"], "r": about["val_r"], "val_loss": about["val_loss"]}
    files.write_json(job.output.control, control)


if __name__ == "__main__":
    main(snakemake)  # noqa: F821
