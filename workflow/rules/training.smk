rule train_model:
    """Train the model on the train split, choose the best epoch on the val split."""
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
        processes=1,  # docs/slurm.md
        launcher="",
        backup=backup_url(),  # no param: where copies lie decides nothing, so that another place reruns nothing
    params:
        model=MODEL,
        options=config["training"] | {"seed": seed_of("training")},
    script:
        "../../scripts/train_model.py"


rule find_learning_rate:
    """Train with a rate that rises from batch to batch until the loss explodes."""
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
        rates="results/{run}/range_test/rates.tsv",
        suggestion="results/{run}/range_test/suggestion.json",
    log:
        "results/{run}/logs/find_learning_rate.log",
    benchmark:
        "results/{run}/benchmarks/find_learning_rate.tsv"
    conda:
        "../../envs/train.yaml"
    threads: workflow.cores
    resources:
        mem_mb=6000,
        runtime=120,
    params:
        model=MODEL,
        options=config["training"] | {"seed": seed_of("training")},
        range=config["range_test"],
    script:
        "../../scripts/find_learning_rate.py"


rule plot_learning_rate:
    """Draw the loss against the rising learning rate."""
    input:
        rates="results/{run}/range_test/rates.tsv",
        suggestion="results/{run}/range_test/suggestion.json",
        lib=lib("plots"),
    output:
        png="results/{run}/figures/learning_rate.png",
        svg=report(
            "results/{run}/figures/learning_rate.svg",
            caption="../report/learning_rate.rst",
            category="Training",
            labels={"figure": "learning-rate range test"},
        ),
    log:
        "results/{run}/logs/plot_learning_rate.log",
    benchmark:
        "results/{run}/benchmarks/plot_learning_rate.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/plot_learning_rate.py"


rule tune_trial:
    """Train with one set of hyper-parameters."""
    input:
        receipt="results/{run}/upload.json",
        scaffolds=config["scaffold"]["file"],
        motifs=MOTIFS,
        lib=[
            *lib(
                "tuning",
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
        trial="results/{run}/tuning/trials/{trial}.json",
    log:
        "results/{run}/logs/tune_trial.{trial}.log",
    benchmark:
        "results/{run}/benchmarks/tune_trial.{trial}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=6000,
        runtime=480,
    params:
        model=MODEL,
        options=config["training"] | {"seed": seed_of("training")},
        space=config["tuning"]["space"],
        epochs=config["tuning"]["epochs"],
        seed=seed_of("tuning"),
    script:
        "../../scripts/tune_trial.py"


rule tune_model:
    """Collect the trials of a tuning: table, importance, and the best one's config."""
    input:
        trials=expand(
            "results/{{run}}/tuning/trials/{trial}.json",
            trial=range(config["tuning"]["trials"]),
        ),
        lib=lib("tuning"),
    output:
        trials="results/{run}/tuning/trials.tsv",
        importance="results/{run}/tuning/importance.tsv",
        best="results/{run}/tuning/best.yaml",
    log:
        "results/{run}/logs/tune_model.log",
    benchmark:
        "results/{run}/benchmarks/tune_model.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    script:
        "../../scripts/tune_model.py"


rule plot_tuning:
    """Draw what the trials reached, and which hyper-parameters mattered."""
    input:
        trials="results/{run}/tuning/trials.tsv",
        importance="results/{run}/tuning/importance.tsv",
        lib=lib("plots"),
    output:
        png="results/{run}/figures/tuning.png",
        svg=report(
            "results/{run}/figures/tuning.svg",
            caption="../report/tuning.rst",
            category="Training",
            labels={"figure": "tuning"},
        ),
    log:
        "results/{run}/logs/plot_tuning.log",
    benchmark:
        "results/{run}/benchmarks/plot_tuning.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/plot_tuning.py"


rule check_tpu:
    """Compile the train step for a TPU that is not there: does it fit, and how long may an epoch take."""
    input:
        scaffolds=config["scaffold"]["file"],
        motifs=MOTIFS,
        lib=[
            *lib(
                "tpu",
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
        check="results/{run}/tpu/check.json",
    log:
        "results/{run}/logs/check_tpu.log",
    benchmark:
        "results/{run}/benchmarks/check_tpu.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=6000,
        runtime=30,
    params:
        model=MODEL,
        options=config["training"] | {"seed": seed_of("training")},
        length=config["scaffold"]["length"],
        tpu=config["tpu"],
    script:
        "../../scripts/check_tpu.py"
