rule calibrate_model:
    """Find the spread of validation promoters around their predictions, and what training promoters are like."""
    input:
        train="results/{run}/splits/train.parquet",
        validation="results/{run}/splits/val.parquet",
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
        scaffolds=config["scaffold"]["file"],
        lib=[*lib("calibration", "prediction", "scaffold"), *model_lib()],
    output:
        calibration="results/{run}/model/calibration.json",
    log:
        "results/{run}/logs/calibrate_model.log",
    benchmark:
        "results/{run}/benchmarks/calibrate_model.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        scaffold=config["scaffold"]["name"],
        flanks={
            "damaged_flanks": config["scaffold"]["damaged_flanks"],
            "max_flank_edits": config["scaffold"]["max_flank_edits"],
        },
        window={key: config["scaffold"][key] for key in ("length", "keep", "pad")},
        backend=config["training"]["backend"],
        batch_size=config["prediction"]["batch_size"],
    script:
        "../../scripts/calibrate_model.py"


rule predict_promoters:
    """Predict the expression of a split or an independent data set."""
    input:
        promoters=path_of_promoters,
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
        calibration="results/{run}/model/calibration.json",
        lib=[*lib("prediction", "calibration", "scaffold"), *model_lib()],
    output:
        predictions="results/{run}/predictions/{dataset}.parquet",
        ledger="results/{run}/ledger/predict_promoters.{dataset}.tsv",
    log:
        "results/{run}/logs/predict_promoters.{dataset}.log",
    benchmark:
        "results/{run}/benchmarks/predict_promoters.{dataset}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        backend=config["training"]["backend"],
        batch_size=config["prediction"]["batch_size"],
    script:
        "../../scripts/predict_promoters.py"


rule evaluate_model:
    """Score every data set as a whole, with bootstrap intervals."""
    input:
        predictions=expand(
            "results/{{run}}/predictions/{dataset}.parquet", dataset=SCORED
        ),
        about="results/{run}/model/model.json",
        lib=lib("metrics", "randomness"),
    output:
        json="results/{run}/metrics.json",
        tsv=report(
            "results/{run}/metrics.tsv",
            caption="../report/metrics.rst",
            category="Scores",
        ),
    log:
        "results/{run}/logs/evaluate_model.log",
    benchmark:
        "results/{run}/benchmarks/evaluate_model.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        run=config["run"],
        datasets=SCORED,
        independent=list(INDEPENDENT),
        titles=[title_of(dataset) for dataset in SCORED],
        bootstrap=config["evaluation"]["bootstrap"],
        seed=seed_of("evaluation"),
    script:
        "../../scripts/evaluate_model.py"


rule plot_training:
    """Draw the training curves."""
    input:
        history="results/{run}/model/history.csv",
        about="results/{run}/model/model.json",
        lib=lib("plots"),
    output:
        png="results/{run}/figures/training.png",
        svg=report(
            "results/{run}/figures/training.svg",
            caption="../report/training.rst",
            category="Training",
            labels={"figure": "training curves"},
        ),
    log:
        "results/{run}/logs/plot_training.log",
    benchmark:
        "results/{run}/benchmarks/plot_training.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/plot_training.py"


rule plot_predictions:
    """Draw measured against predicted expression of one data set."""
    input:
        predictions="results/{run}/predictions/{dataset}.parquet",
        metrics="results/{run}/metrics.json",
        lib=lib("plots"),
    output:
        png="results/{run}/figures/predictions/{dataset}.png",
        svg=report(
            "results/{run}/figures/predictions/{dataset}.svg",
            caption="../report/predictions.rst",
            category="Predictions",
            labels={"data set": "{dataset}"},
        ),
    log:
        "results/{run}/logs/plot_predictions.{dataset}.log",
    benchmark:
        "results/{run}/benchmarks/plot_predictions.{dataset}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        title=lambda wildcards: title_of(wildcards.dataset),
        unit=config["plots"]["unit"],
        hexagons=config["plots"]["hexagons"],
    script:
        "../../scripts/plot_predictions.py"


rule collect_ledger:
    """Collect the ledgers of all steps in one table, and check that nothing is lost between them."""
    input:
        ledgers=ledgers_of_run,
        lib=lib("ledger"),
    output:
        ledger=report(
            "results/{run}/ledger.tsv",
            caption="../report/ledger.rst",
            category="Ledger",
        ),
    log:
        "results/{run}/logs/collect_ledger.log",
    benchmark:
        "results/{run}/benchmarks/collect_ledger.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/collect_ledger.py"
