rule estimate_expression:
    """Estimate the expression of each promoter from its reads per sorted bin."""
    input:
        counts=fill_path(config["counts"]["table"]) or "counts.table/is/not/set",
        lib=lib("expression", "tables"),
    output:
        promoters="results/{run}/expression/promoters.parquet",
        ledger="results/{run}/ledger/estimate_expression.library.tsv",
    log:
        "results/{run}/logs/estimate_expression.log",
    benchmark:
        "results/{run}/benchmarks/estimate_expression.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 4
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        columns=config["counts"]["columns"],
        sheet=config["counts"]["bins"],
        bins=BINS,
        cells=config["counts"]["cells"],
        method=config["counts"]["method"],
        read_dispersion=config["counts"]["read_dispersion"],
        minimum_reads=config["counts"]["minimum_reads"],
    script:
        "../../scripts/estimate_expression.py"


rule simulate_assay:
    """Simulate a sorted library with a known truth, and an independent set of the same biology."""
    input:
        scaffolds=config["scaffold"]["file"],
        motifs=config["simulate"]["motifs"],
        lib=lib("simulate", "motifs", "scaffold", "randomness"),
    output:
        promoters="results/{run}/simulated/promoters.tsv.gz",
        independent="results/{run}/simulated/independent.tsv.gz",
        truth="results/{run}/simulated/truth.tsv.gz",
        activities="results/{run}/simulated/activities.tsv.gz",
    log:
        "results/{run}/logs/simulate_assay.log",
    benchmark:
        "results/{run}/benchmarks/simulate_assay.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        scaffold=config["scaffold"]["name"],
        promoters=config["simulate"]["promoters"],
        independent=config["simulate"]["independent"],
        mean_reads=config["simulate"]["mean_reads"],
        cell_sd=config["simulate"]["cell_sd"],
        active_factors=config["simulate"]["active_factors"],
        seed=seed_of("simulate"),
    script:
        "../../scripts/simulate_assay.py"
