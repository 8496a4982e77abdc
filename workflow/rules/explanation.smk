rule explain_model:
    """Explain some promoters by the effects of all of their single mutants, and by known motifs."""
    input:
        predictions=f"results/{{run}}/predictions/{EXPLAINED}.parquet",
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
        calibration="results/{run}/model/calibration.json",
        motifs=config["explain"]["motifs"] or [],
        activities=f"{SIMULATED}activities.tsv.gz" if FROM_SIMULATION else [],
        lib=[
            *lib(
                "explain",
                "metrics",
                "motifs",
                "prediction",
                "models/cpu",
                "models/gradients",
                "bases",
                "calibration",
                "scaffold",
                "randomness",
            ),
            *model_lib(),
        ],
    output:
        promoters="results/{run}/explain/promoters.tsv",
        contributions="results/{run}/explain/contributions.parquet",
        peaks="results/{run}/explain/peaks.tsv",
        sites="results/{run}/explain/sites.tsv",
        motifs=report(
            "results/{run}/explain/motifs.tsv",
            caption="../report/motifs_table.rst",
            category="Explanation",
        ),
        summary="results/{run}/explain/summary.json",
    log:
        "results/{run}/logs/explain_model.log",
    benchmark:
        "results/{run}/benchmarks/explain_model.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        dataset=EXPLAINED,
        promoters=config["explain"]["promoters"],
        backend=config["training"]["backend"],
        batch_size=config["prediction"]["batch_size"],
        seed=seed_of("explain"),
    script:
        "../../scripts/explain_model.py"


rule plot_motifs:
    """Draw the motifs that explain the model, and the contributions of the bases of a few promoters."""
    input:
        promoters="results/{run}/explain/promoters.tsv",
        contributions="results/{run}/explain/contributions.parquet",
        sites="results/{run}/explain/sites.tsv",
        motifs="results/{run}/explain/motifs.tsv",
        summary="results/{run}/explain/summary.json",
        lib=lib("plots"),
    output:
        png="results/{run}/figures/explain/motifs.png",
        svg=report(
            "results/{run}/figures/explain/motifs.svg",
            caption="../report/motifs.rst",
            category="Explanation",
            labels={"figure": "motifs"},
        ),
        logos_png="results/{run}/figures/explain/logos.png",
        logos_svg=report(
            "results/{run}/figures/explain/logos.svg",
            caption="../report/logos.rst",
            category="Explanation",
            labels={"figure": "contributions of bases"},
        ),
    log:
        "results/{run}/logs/plot_motifs.log",
    benchmark:
        "results/{run}/benchmarks/plot_motifs.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        title=title_of(EXPLAINED) if EXPLAINED else "",
        unit=config["plots"]["unit"],
        logos=config["explain"]["logos"],
    script:
        "../../scripts/plot_motifs.py"


rule train_shuffled:
    """Train the model on shuffled labels, only if asked for (evaluation.shuffled_epochs): nothing may be learnt from them."""
    input:
        receipt="results/{run}/upload.json",
        scaffolds=config["scaffold"]["file"],
        motifs=MOTIFS,
        lib=[
            *lib(
                "training",
                "objectives",
                "schedules",
                "steppers",
                "models/cpu",
                "datasets",
                "scaffold",
                "randomness",
            ),
            *model_lib(),
        ],
    output:
        control="results/{run}/shuffled.json",
    log:
        "results/{run}/logs/train_shuffled.log",
    benchmark:
        "results/{run}/benchmarks/train_shuffled.tsv"
    conda:
        "../../envs/train.yaml"
    threads: workflow.cores
    resources:
        mem_mb=6000,
        runtime=480,
    params:
        model=MODEL,
        options=config["training"]
        | {
            "seed": seed_of("training"),
            "epochs": config["evaluation"]["shuffled_epochs"],
            "ensemble": 1,
        },
    script:
        "../../scripts/train_shuffled.py"
