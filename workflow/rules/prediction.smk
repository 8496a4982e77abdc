rule calibrate_model:
    """Calibrate the intervals of predictions and of variant effects, and describe the training distribution."""
    input:
        train="results/{run}/splits/train.parquet",
        validation="results/{run}/splits/val.parquet",
        pairs=expand(
            "results/{{run}}/tables/{dataset}.parquet",
            dataset=PLAN.config["prediction"]["pairs"],
        ),
        transform="results/{run}/tables/library.transform.json",
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
        scaffolds=PLAN.scaffolds,
    output:
        calibration="results/{run}/model/calibration.json",
        background="results/{run}/model/background.json",
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
        code=code_with_model("calibrate_model"),
        scaffold=PLAN.config["scaffold"]["name"],
        flanks={
            "damaged_flanks": PLAN.config["scaffold"]["damaged_flanks"],
            "max_flank_edits": PLAN.config["scaffold"]["max_flank_edits"],
        },
        window={key: PLAN.config["scaffold"][key] for key in ("length", "keep", "pad")},
        backend=PLAN.config["training"]["backend"],
        batch_size=PLAN.config["prediction"]["batch_size"],
        parent_expression=[
            PLAN.extras_of(dataset)["parent_expression"]
            for dataset in PLAN.config["prediction"]["pairs"]
        ],
    script:
        "../../scripts/calibrate_model.py"


rule predict_promoters:
    """Predict the expression of a split or an independent data set."""
    input:
        promoters=lambda wildcards: PLAN.promoters_of(
            wildcards.dataset, f"results/{wildcards.run}"
        ),
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
        calibration="results/{run}/model/calibration.json",
        scaffolds=PLAN.scaffolds,
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
        code=code_with_model("predict_promoters"),
        scaffold=PLAN.config["scaffold"]["name"],
        backend=PLAN.config["training"]["backend"],
        batch_size=PLAN.config["prediction"]["batch_size"],
    script:
        "../../scripts/predict_promoters.py"


rule select_condition:
    """Select the predictions of a data set in one condition, or of the difference between two; only with several conditions."""
    input:
        predictions=lambda wildcards: f"results/{wildcards.run}/predictions/{PLAN.dataset_of(wildcards.scored)}.parquet",
    output:
        predictions="results/{run}/predictions/{scored}.parquet",
    log:
        "results/{run}/logs/select_condition.{scored}.log",
    benchmark:
        "results/{run}/benchmarks/select_condition.{scored}.tsv"
    wildcard_constraints:
        scored=(
            "|".join(map(re.escape, PLAN.scored))
            if PLAN.conditions
            else "there/are/no/conditions"
        ),
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        code=code_of("select_condition"),
        readout=lambda wildcards: PLAN.readout_of(wildcards.scored),
        conditions=PLAN.conditions,
    script:
        "../../scripts/select_condition.py"
