rule train_model:
    """Train the model on the train split; the val split chooses the best epoch."""
    input:
        receipt="results/{run}/upload.json",
        scaffolds=PLAN.scaffolds,
        motifs=PLAN.motifs,
        teacher=PLAN.teacher_files,
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
        tpu_missing=PLAN.tpu_missing,  # the executor for TPUs reports it
        mem_mb=6000,
        runtime=480,
        processes=1,  # docs/slurm.md
        launcher="",
        backup=PLAN.fill(PLAN.config["bucket"]["backup"]),  # not a param: another backup location must not rerun training
    params:
        code=code_with_model("train_model"),
        model=PLAN.model,
        options=PLAN.training_options(),
    script:
        "../../scripts/train_model.py"


rule train_permuted:
    """Label-permutation control: train on permuted labels (only with evaluation.permutation_epochs) and record r on the val split."""
    input:
        receipt="results/{run}/upload.json",
        scaffolds=PLAN.scaffolds,
        motifs=PLAN.motifs,
    output:
        control="results/{run}/permuted_labels.json",
    log:
        "results/{run}/logs/train_permuted.log",
    benchmark:
        "results/{run}/benchmarks/train_permuted.tsv"
    conda:
        "../../envs/train.yaml"
    threads: workflow.cores
    resources:
        mem_mb=6000,
        runtime=480,
    params:
        code=code_with_model("train_permuted"),
        model=PLAN.model,
        options=PLAN.training_options(
            epochs=PLAN.config["evaluation"]["permutation_epochs"], ensemble=1
        ),
    script:
        "../../scripts/train_permuted.py"


rule plot_training:
    """Draw training curves."""
    input:
        history="results/{run}/model/history.csv",
        about="results/{run}/model/model.json",
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
    params:
        code=code_of("plot_training"),
    script:
        "../../scripts/plot_training.py"


rule find_learning_rate:
    """Learning-rate range test: train while the learning rate rises with each batch until the loss diverges."""
    input:
        receipt="results/{run}/upload.json",
        scaffolds=PLAN.scaffolds,
        motifs=PLAN.motifs,
        teacher=PLAN.teacher_files,
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
        code=code_with_model("find_learning_rate"),
        model=PLAN.model,
        options=PLAN.training_options(),
        range=PLAN.config["range_test"],
    script:
        "../../scripts/find_learning_rate.py"


rule plot_learning_rate:
    """Draw the loss of the learning-rate range test."""
    input:
        rates="results/{run}/range_test/rates.tsv",
        suggestion="results/{run}/range_test/suggestion.json",
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
    params:
        code=code_of("plot_learning_rate"),
    script:
        "../../scripts/plot_learning_rate.py"


rule tune_trial:
    """Train one trial of the hyper-parameter tuning."""
    input:
        receipt="results/{run}/upload.json",
        scaffolds=PLAN.scaffolds,
        motifs=PLAN.motifs,
        teacher=PLAN.teacher_files,
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
        tpu_missing=PLAN.tpu_missing,  # the executor for TPUs reports it
        mem_mb=6000,
        runtime=480,
    params:
        code=code_with_model("tune_trial"),
        model=PLAN.model,
        options=PLAN.training_options(),
        space=PLAN.config["tuning"]["space"],
        epochs=PLAN.config["tuning"]["epochs"],
        seed=PLAN.seed_of("tuning"),
    script:
        "../../scripts/tune_trial.py"


rule tune_model:
    """Collect tuning trials: table, importance of hyper-parameters, and the best configuration."""
    input:
        trials=expand(
            "results/{{run}}/tuning/trials/{trial}.json",
            trial=range(PLAN.config["tuning"]["trials"]),
        ),
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
    params:
        code=code_of("tune_model"),
    script:
        "../../scripts/tune_model.py"


rule plot_tuning:
    """Draw the results of tuning trials, and the importance of hyper-parameters."""
    input:
        trials="results/{run}/tuning/trials.tsv",
        importance="results/{run}/tuning/importance.tsv",
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
    params:
        code=code_of("plot_tuning"),
    script:
        "../../scripts/plot_tuning.py"


rule check_tpu:
    """Compile the training step for a TPU without having one: memory use and estimated time per epoch."""
    input:
        scaffolds=PLAN.scaffolds,
        motifs=PLAN.motifs,
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
        code=code_with_model("check_tpu"),
        model=PLAN.model,
        options=PLAN.training_options(),
        length=PLAN.config["scaffold"]["length"],
        tpu=PLAN.config["tpu"],
        conditions=PLAN.conditions,
    script:
        "../../scripts/check_tpu.py"
