# The entry for those who work in a checkout: snakemake --cores 8. Other workflows import workflow/Snakefile (docs/deployment.md).
include: "workflow/Snakefile"


# Snakemake takes no default target from an included file.
rule default:
    default_target: True
    input:
        rules.all.input,
