rule design_promoters:
    """Design promoters with the trained model, and compare searches with and without penalties for uncertainty."""
    input:
        library="results/{run}/splits/train.parquet",
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
        calibration="results/{run}/model/calibration.json",
        motifs=PLAN.motif_file("design") or [],
        starts=PLAN.design_starts,
    output:
        designs="results/{run}/design/designs.parquet",
        table=report(
            "results/{run}/design/designs.tsv",
            caption="../report/designs_table.rst",
            category="Designs",
        ),
        fasta="results/{run}/design/designs.fasta",
        oligos="results/{run}/design/oligos.csv",
        trajectory="results/{run}/design/trajectory.parquet",
        compared="results/{run}/design/compared.parquet",
        search="results/{run}/design/search.json",
    log:
        "results/{run}/logs/design_promoters.log",
    benchmark:
        "results/{run}/benchmarks/design_promoters.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=120,
    params:
        code=code_with_model("design_promoters"),
        design=PLAN.design_options,
        backend=PLAN.config["training"]["backend"],
        batch_size=PLAN.config["prediction"]["batch_size"],
    script:
        "../../scripts/design_promoters.py"


rule measure_designs:
    """Express and measure designs in the simulated cells of the library, and compare promised with true expression."""
    input:
        designs="results/{run}/design/designs.parquet",
        compared="results/{run}/design/compared.parquet",
        search="results/{run}/design/search.json",
        truth="results/{run}/simulated/truth.tsv.gz",
        transform="results/{run}/tables/library.transform.json",
        scaffolds=PLAN.scaffolds,
        motifs=PLAN.motif_file("simulate") or [],
    output:
        **judged_files("truth"),
    log:
        "results/{run}/logs/measure_designs.log",
    benchmark:
        "results/{run}/benchmarks/measure_designs.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        code=code_of("measure_designs"),
        scaffold=PLAN.config["scaffold"]["name"],
        sheet=PLAN.sheet,
        library={
            key: value
            for key, value in PLAN.config["simulate"].items()
            if key not in ("motifs", "seed")
        },
        seed=PLAN.seed_of("simulate"),
        readout=PLAN.design_readout,
        conditions=PLAN.conditions,
        gate_scale=PLAN.config["counts"]["scale"] == "gate",
    script:
        "../../scripts/measure_designs.py"


rule judge_designs:
    """Predict designs with a second model, the judge, and compare with what the first one promised; it stands in for a truth."""
    input:
        designs="results/{run}/design/designs.parquet",
        compared="results/{run}/design/compared.parquet",
        search="results/{run}/design/search.json",
        library="results/{run}/splits/train.parquet",
        judge=PLAN.judge_files,
    output:
        **judged_files("judge"),
    log:
        "results/{run}/logs/judge_designs.log",
    benchmark:
        "results/{run}/benchmarks/judge_designs.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=code_of("judge_designs"),
        judge=PLAN.fill(PLAN.config["design"]["judge"]),
        readout=PLAN.design_readout,
        backend=PLAN.config["training"]["backend"],
        batch_size=PLAN.config["prediction"]["batch_size"],
    script:
        "../../scripts/judge_designs.py"


rule plot_designs:
    """Draw designs beside the library and, if they were measured or judged, promised against true expression."""
    input:
        **{
            name: path if PLAN.judged else []
            for name, path in judged_files(PLAN.judged, plain=True).items()
        },
        library="results/{run}/splits/train.parquet",
        designs="results/{run}/design/designs.parquet",
        trajectory="results/{run}/design/trajectory.parquet",
        motifs=PLAN.motif_file("design") or [],
    output:
        **truth_figures(),
        png="results/{run}/figures/design/designs.png",
        svg=report(
            "results/{run}/figures/design/designs.svg",
            caption="../report/designs.rst",
            category="Designs",
            labels={"figure": "designs"},
        ),
    log:
        "results/{run}/logs/plot_designs.log",
    benchmark:
        "results/{run}/benchmarks/plot_designs.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_of("plot_designs"),
        unit=lambda wildcards: PLAN.unit,
        readout=PLAN.design_readout,
    script:
        "../../scripts/plot_designs.py"
