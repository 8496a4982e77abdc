from snakemake.utils import min_version

min_version("9.19")


configfile: "config/config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/assay.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/shards.smk"
include: "workflow/rules/training.smk"
include: "workflow/rules/evaluation.smk"
include: "workflow/rules/explanation.smk"
include: "workflow/rules/report.smk"


report: "workflow/report/workflow.rst"


rule all:
    default_target: True
    input:
        expand("results/{run}/report.html", run=config["run"]),


rule learning_rate:
    """Learning-rate range test, only if asked for: snakemake learning_rate."""
    input:
        expand("results/{run}/figures/learning_rate.svg", run=config["run"]),


rule tuning:
    """Hyper-parameter tuning, only if asked for: snakemake tuning."""
    input:
        expand("results/{run}/tuning/best.yaml", run=config["run"]),
        expand("results/{run}/figures/tuning.svg", run=config["run"]),


rule tpu:
    """What a TPU would make of the training, only if asked for: make tpu-check."""
    input:
        expand("results/{run}/tpu/check.json", run=config["run"]),
