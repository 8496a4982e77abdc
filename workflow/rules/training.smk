rule train_model:
    """Train the model on the train split, choose the best epoch on the val split."""
    input:
        receipt="results/{run}/upload.json",
        lib=lib(
            "training",
            "datasets",
            "scaffold",
            "randomness",
            "models/__init__",
            f"models/{config['model']['name']}",
        ),
    output:
        model="results/{run}/model/model.keras",
        last="results/{run}/model/last.keras",
        about="results/{run}/model/model.json",
        history="results/{run}/model/history.csv",
        tensorboard=directory("results/{run}/model/tensorboard"),
    log:
        "results/{run}/logs/train_model.log",
    benchmark:
        "results/{run}/benchmarks/train_model.tsv"
    conda:
        "../../envs/train.yaml"
    threads: workflow.cores
    resources:
        mem_mb=6000,
        runtime=480,
    params:
        name=config["model"]["name"],
        preset=config["model"]["preset"],
        sizes=SIZES,
        options=config["training"] | {"seed": seed_of("training")},
    script:
        "../../scripts/train_model.py"
