rule simulate_assay:
    """Simulate a sorted library with a known truth: reads per bin, cells per bin, and an independent set of the same biology."""
    input:
        scaffolds=config["scaffold"]["file"],
        motifs=config["simulate"]["motifs"],
        lib=lib("simulate", "motifs", "scaffold", "randomness", "sheet"),
    output:
        reads=SIMULATED_READS,
        bins="results/{run}/simulated/bins.tsv",
        truth="results/{run}/simulated/truth.tsv.gz",
        independent="results/{run}/simulated/independent.tsv.gz",
        activities="results/{run}/simulated/activities.tsv.gz",
    log:
        "results/{run}/logs/simulate_assay.log",
    benchmark:
        "results/{run}/benchmarks/simulate_assay.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 8
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        scaffold=config["scaffold"]["name"],
        sheet=SHEET,
        library={
            key: value
            for key, value in config["simulate"].items()
            if key not in ("motifs", "seed")
        },
        seed=seed_of("simulate"),
    script:
        "../../scripts/simulate_assay.py"


rule merge_pairs:
    """Merge the mates of read pairs of one bin into reads of the whole insert."""
    input:
        reads=lambda wildcards: files_of_bin(wildcards.column, "reads"),
        reads_2=lambda wildcards: files_of_bin(wildcards.column, "reads_2"),
        lib=lib("pairs", "reads", "scaffold"),
    output:
        reads="results/{run}/merged/{column}.fastq.gz",
        report="results/{run}/merged/{column}.json",
        ledger="results/{run}/ledger/merge_pairs.{column}.tsv",
    log:
        "results/{run}/logs/merge_pairs.{column}.log",
    benchmark:
        "results/{run}/benchmarks/merge_pairs.{column}.tsv"
    conda:
        "../../envs/reads.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=120,
    params:
        min_overlap=config["reads"]["min_overlap"],
        quality_offset=config["reads"]["quality_offset"],
        min_yield=config["reads"]["min_yield"],
    script:
        "../../scripts/merge_pairs.py"


rule count_reads:
    """Count the reads of each distinct insert of one bin: what lies between the flanks."""
    input:
        reads=reads_to_count,
        scaffolds=config["scaffold"]["file"],
        lib=lib("reads", "scaffold"),
    output:
        counts="results/{run}/counts/bins/{column}.parquet",
        ledger="results/{run}/ledger/count_reads.{column}.tsv",
    log:
        "results/{run}/logs/count_reads.{column}.log",
    benchmark:
        "results/{run}/benchmarks/count_reads.{column}.tsv"
    conda:
        "../../envs/reads.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        scaffold=config["scaffold"]["name"],
        policy=lambda wildcards: {
            "five_prime": config["reads"]["five_prime"],
            "three_prime": config["reads"]["three_prime"],
            "max_flank_edits": config["reads"]["max_flank_edits"],
            "min_mean_quality": config["reads"]["min_mean_quality"],
            "quality_offset": quality_offset_of(wildcards),
            "reverse_complement": config["reads"]["reverse_complement"],
            "n_in_insert": config["reads"]["n_in_insert"],
            "min_yield": config["reads"]["min_yield"],
            "insert_length": config["scaffold"]["insert_length"],
        },
    script:
        "../../scripts/count_reads.py"


rule merge_counts:
    """Set the counts of all bins side by side and merge inserts that are sequencing errors of another one."""
    input:
        counts=expand("results/{{run}}/counts/bins/{column}.parquet", column=COLUMNS),
        scaffolds=config["scaffold"]["file"],
        lib=lib("counts", "neighbours", "scaffold"),
    output:
        counts="results/{run}/counts/counts.parquet",
        ledger="results/{run}/ledger/merge_counts.library.tsv",
    log:
        "results/{run}/logs/merge_counts.log",
    benchmark:
        "results/{run}/benchmarks/merge_counts.tsv"
    conda:
        "../../envs/reads.yaml"
    threads: 8
    resources:
        mem_mb=16000,
        runtime=120,
    params:
        columns=COLUMNS,
        scaffold=config["scaffold"]["name"],
        n_in_insert=config["reads"]["n_in_insert"],
        collapse_edits=config["reads"]["collapse_edits"],
        collapse_ratio=config["reads"]["collapse_ratio"],
    script:
        "../../scripts/merge_counts.py"


rule estimate_expression:
    """Estimate the expression of each promoter from its reads per sorted bin."""
    input:
        counts=COUNTS,
        cells=TABLE_OF_CELLS,
        lib=lib("expression", "tables", "sheet"),
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
        mem_mb=8000,
        runtime=60,
    params:
        columns=config["counts"]["columns"],
        sheet_path=config["counts"]["bins"],
        sheet=BINS,
        cells=config["counts"]["cells"],
        method=config["counts"]["method"],
        scale=config["counts"]["scale"],
        read_dispersion=config["counts"]["read_dispersion"],
        prior=config["counts"]["prior"],
        minimum_reads=config["counts"]["minimum_reads"],
        minimum_cells=config["counts"]["minimum_cells"],
        singletons=config["counts"]["singletons"],
        singleton_weight=config["counts"]["singleton_weight"],
    script:
        "../../scripts/estimate_expression.py"


rule plot_reads:
    """Draw what became of the reads of each bin, how many inserts they hold, and what the inserts look like."""
    input:
        ledger=ledgers_of_reads,
        counts="results/{run}/counts/counts.parquet",
        scaffolds=config["scaffold"]["file"],
        lib=lib("assay_plots", "plots", "scaffold"),
    output:
        yield_png="results/{run}/figures/assay/yield.png",
        yield_svg=report(
            "results/{run}/figures/assay/yield.svg",
            caption="../report/yield.rst",
            category="Assay",
            labels={"figure": "1 reads that count, and losses"},
        ),
        distinct_png="results/{run}/figures/assay/distinct.png",
        distinct_svg=report(
            "results/{run}/figures/assay/distinct.svg",
            caption="../report/distinct.rst",
            category="Assay",
            labels={"figure": "2 reads and distinct inserts per bin"},
        ),
        rarefaction_png="results/{run}/figures/assay/rarefaction.png",
        rarefaction_svg=report(
            "results/{run}/figures/assay/rarefaction.svg",
            caption="../report/rarefaction.rst",
            category="Assay",
            labels={"figure": "3 rarefaction"},
        ),
        inserts_png="results/{run}/figures/assay/inserts.png",
        inserts_svg=report(
            "results/{run}/figures/assay/inserts.svg",
            caption="../report/inserts.rst",
            category="Assay",
            labels={"figure": "4 insert length and base composition"},
        ),
    log:
        "results/{run}/logs/plot_reads.log",
    benchmark:
        "results/{run}/benchmarks/plot_reads.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        columns=COLUMNS,
        sheet=BINS,
        scaffold=config["scaffold"]["name"],
    script:
        "../../scripts/plot_reads.py"


rule plot_expression:
    """Draw reads per promoter, expression, profiles over bins with the fitted curve, and replicates against each other."""
    input:
        promoters="results/{run}/expression/promoters.parquet",
        cells=TABLE_OF_CELLS,
        lib=lib("assay_plots", "plots", "expression", "sheet"),
    output:
        **REPLICATE_FIGURES,
        depth_png="results/{run}/figures/assay/depth.png",
        depth_svg=report(
            "results/{run}/figures/assay/depth.svg",
            caption="../report/depth.rst",
            category="Assay",
            labels={"figure": "5 reads per promoter"},
        ),
        expression_png="results/{run}/figures/assay/expression.png",
        expression_svg=report(
            "results/{run}/figures/assay/expression.svg",
            caption="../report/expression.rst",
            category="Assay",
            labels={"figure": "6 expression"},
        ),
        profiles_png="results/{run}/figures/assay/profiles.png",
        profiles_svg=report(
            "results/{run}/figures/assay/profiles.svg",
            caption="../report/profiles.rst",
            category="Assay",
            labels={"figure": "7 profiles over bins"},
        ),
    log:
        "results/{run}/logs/plot_expression.log",
    benchmark:
        "results/{run}/benchmarks/plot_expression.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        sheet=BINS,
        sheet_path=config["counts"]["bins"],
        cells=config["counts"]["cells"],
        scale=config["counts"]["scale"],
        unit=config["plots"]["unit"],
    script:
        "../../scripts/plot_expression.py"
