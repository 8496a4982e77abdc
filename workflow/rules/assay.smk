rule simulate_assay:
    """Simulate a sorted and sequenced library with known ground truth: reads and cell counts per bin, and an independent data set."""
    input:
        scaffolds=PLAN.scaffolds,
        motifs=PLAN.motif_file("simulate") or [],
    output:
        reads=PLAN.simulated_reads,
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
        code=code_of("simulate_assay"),
        scaffold=PLAN.config["scaffold"]["name"],
        sheet=PLAN.sheet,
        library={
            key: value
            for key, value in PLAN.config["simulate"].items()
            if key not in ("motifs", "seed")
        },
        seed=PLAN.seed_of("simulate"),
    script:
        "../../scripts/simulate_assay.py"


rule merge_pairs:
    """Merge paired reads of one bin into single reads that span the insert."""
    input:
        reads=lambda wildcards: PLAN.files_of_bin(wildcards.column, "reads"),
        reads_2=lambda wildcards: PLAN.files_of_bin(wildcards.column, "reads_2"),
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
        code=code_of("merge_pairs"),
        files=own_files(
            lambda wildcards: PLAN.files_of_bin(wildcards.column, "reads"),
            lambda wildcards: PLAN.files_of_bin(wildcards.column, "reads_2"),
        ),
        min_overlap=PLAN.config["reads"]["min_overlap"],
        quality_offset=PLAN.config["reads"]["quality_offset"],
        min_yield=PLAN.config["reads"]["min_yield"],
    script:
        "../../scripts/merge_pairs.py"


rule count_reads:
    """Count reads per distinct insert, the sequence between the flanks, in one bin."""
    input:
        reads=reads_to_count,
        reads_2=mates_to_count,
        scaffolds=PLAN.scaffolds,
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
        code=code_of("count_reads"),
        files=own_files(reads_to_count, mates_to_count),
        scaffold=PLAN.config["scaffold"]["name"],
        policy=lambda wildcards: {
            "five_prime": PLAN.config["reads"]["five_prime"],
            "three_prime": PLAN.config["reads"]["three_prime"],
            "max_flank_edits": PLAN.config["reads"]["max_flank_edits"],
            "min_mean_quality": PLAN.config["reads"]["min_mean_quality"],
            "quality_offset": quality_offset_of(wildcards),
            "reverse_complement": PLAN.config["reads"]["reverse_complement"],
            "n_in_insert": PLAN.config["reads"]["n_in_insert"],
            "min_yield": PLAN.config["reads"]["min_yield"],
            "middle": PLAN.config["reads"]["middle"],
            "umi": PLAN.config["reads"]["umi"] != "ignore",
            "insert_length": PLAN.config["scaffold"]["insert_length"],
        },
    script:
        "../../scripts/count_reads.py"


rule merge_counts:
    """Merge counts across bins, and merge inserts that are sequencing errors into the insert they derive from, or match them to a design."""
    input:
        counts=expand(
            "results/{{run}}/counts/bins/{column}.parquet", column=PLAN.columns
        ),
        # expected sequencing errors
        ledgers=expand(
            "results/{{run}}/ledger/count_reads.{column}.tsv", column=PLAN.columns
        ),
        design=PLAN.design,
        scaffolds=PLAN.scaffolds,
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
        code=code_of("merge_counts"),
        files=own_files(PLAN.design),
        columns=PLAN.columns,
        scaffold=PLAN.config["scaffold"]["name"],
        insert_length=PLAN.config["scaffold"]["insert_length"],
        design_edits=PLAN.config["reads"]["design_edits"],
        min_yield=PLAN.config["reads"]["min_yield"],
        umi=PLAN.config["reads"]["umi"],
        collapse={
            "max_edits": PLAN.config["reads"]["collapse_edits"],
            "ratio": PLAN.config["reads"]["collapse_ratio"],
            "n_in_insert": PLAN.config["reads"]["n_in_insert"],
            "max_collapsed": PLAN.config["reads"]["max_collapsed"],
        },
    script:
        "../../scripts/merge_counts.py"


rule estimate_expression:
    """Estimate the expression of each promoter from its reads per sorted bin, or from its DNA and RNA counts."""
    input:
        **PLAN.dna_rna_files,
        counts=PLAN.counts,
        cells=PLAN.cells,
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
        code=code_of("estimate_expression"),
        files=own_files(PLAN.counts, PLAN.cells, *PLAN.dna_rna_files.values()),
        columns=PLAN.count_columns,
        places=PLAN.places,
        reading={
            "header": PLAN.counts_header,
            "empty": PLAN.config["counts"]["empty"],
            "ambiguous": PLAN.config["input"]["ambiguous"],
        },
        sheet_path=PLAN.config["counts"]["sample_sheet"],
        sheet=PLAN.sheet,
        dna_rna=PLAN.dna_rna_options,
        cells=PLAN.config["counts"]["cells"],
        method=PLAN.config["counts"]["method"],
        scale=PLAN.config["counts"]["scale"],
        overlap=PLAN.config["counts"]["overlap"],
        read_dispersion=PLAN.config["counts"]["read_dispersion"],
        prior=PLAN.config["counts"]["prior"],
        minimum_input_reads=PLAN.config["counts"]["minimum_input_reads"],
        minimum_reads=PLAN.config["counts"]["minimum_reads"],
        minimum_cells=PLAN.config["counts"]["minimum_cells"],
        singletons=PLAN.config["counts"]["singletons"],
        singleton_weight=PLAN.config["counts"]["singleton_weight"],
    script:
        "../../scripts/estimate_expression.py"


rule plot_reads:
    """Draw reads counted and lost per bin, distinct inserts, rarefaction, and insert length and composition."""
    input:
        ledger=ledgers_of_reads,
        counts="results/{run}/counts/counts.parquet",
        scaffolds=PLAN.scaffolds,
    output:
        yield_png="results/{run}/figures/assay/yield.png",
        yield_svg=report(
            "results/{run}/figures/assay/yield.svg",
            caption="../report/yield.rst",
            category="Assay",
            labels={"figure": "1 reads counted and lost"},
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
        code=code_of("plot_reads"),
        columns=PLAN.columns,
        sheet=PLAN.bins,
        scaffold=PLAN.config["scaffold"]["name"],
    script:
        "../../scripts/plot_reads.py"


rule plot_expression:
    """Draw reads per promoter, expression, distributions over bins or DNA and RNA counts, and replicates against each other."""
    input:
        promoters="results/{run}/expression/promoters.parquet",
        cells=PLAN.cells,
    output:
        **figures_of_kind(),
        **replicate_figures(),
        depth_png="results/{run}/figures/assay{folder}/depth.png",
        depth_svg=report(
            "results/{run}/figures/assay{folder}/depth.svg",
            caption="../report/depth.rst",
            category="Assay",
            labels=labelled("5 reads per promoter"),
        ),
        expression_png="results/{run}/figures/assay{folder}/expression.png",
        expression_svg=report(
            "results/{run}/figures/assay{folder}/expression.svg",
            caption="../report/expression.rst",
            category="Assay",
            labels=labelled("6 expression"),
        ),
    log:
        "results/{run}/logs/plot_expression{folder}.log",
    benchmark:
        "results/{run}/benchmarks/plot_expression{folder}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        code=code_of("plot_expression"),
        kind=PLAN.config["counts"]["kind"],
        sheet=PLAN.sheet,
        sheet_path=PLAN.config["counts"]["sample_sheet"],
        cells=PLAN.config["counts"]["cells"],
        scale=PLAN.config["counts"]["scale"],
        overlap=PLAN.config["counts"]["overlap"],
        unit=lambda wildcards: PLAN.input_unit,
        condition=readout_of,
        conditions=PLAN.conditions,
    script:
        "../../scripts/plot_expression.py"
