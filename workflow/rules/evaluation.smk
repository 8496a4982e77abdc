rule calibrate_model:
    """Find the spread of validation promoters around their predictions, and what training promoters are like."""
    input:
        train="results/{run}/splits/train.parquet",
        validation="results/{run}/splits/val.parquet",
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
        scaffolds=config["scaffold"]["file"],
        lib=[
            *lib("calibration", "prediction", "models/cpu", "bases", "scaffold"),
            *model_lib(),
        ],
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
        promoters=lambda wildcards: path_of_promoters(
            wildcards.dataset, f"results/{wildcards.run}"
        ),
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
        calibration="results/{run}/model/calibration.json",
        scaffolds=config["scaffold"]["file"],
        lib=[
            *lib("prediction", "models/cpu", "bases", "calibration", "scaffold"),
            *model_lib(),
        ],
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
        scaffold=config["scaffold"]["name"],
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
        nearest="results/{run}/neighbours/nearest.parquet",
        about="results/{run}/model/model.json",
        shuffled=SHUFFLED,
        lib=lib(
            "evaluation",
            "metrics",
            "strata",
            "noise",
            "comparisons",
            "checks",
            "bases",
            "randomness",
        ),
    output:
        json="results/{run}/metrics.json",
        tsv=report(
            "results/{run}/metrics.tsv",
            caption="../report/metrics.rst",
            category="Scores",
        ),
        strata=report(
            "results/{run}/strata.tsv",
            caption="../report/strata.rst",
            category="Scores",
        ),
        checks=report(
            "results/{run}/checks.tsv",
            caption="../report/checks.rst",
            category="Scores",
        ),
        peers=report(
            "results/{run}/peers.tsv",
            caption="../report/peers.rst",
            category="Scores",
        ),
    log:
        "results/{run}/logs/evaluate_model.log",
    benchmark:
        "results/{run}/benchmarks/evaluate_model.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        run=config["run"],
        datasets=SCORED,
        independent=list(INDEPENDENT),
        titles=[title_of(dataset) for dataset in SCORED],
        extras=[extras_of(dataset) for dataset in SCORED],
        bootstrap=config["evaluation"]["bootstrap"],
        seed=seed_of("evaluation"),
    script:
        "../../scripts/evaluate_model.py"


rule score_dream:
    """Score the predictions for the DREAM challenge's test promoters as the challenge did."""
    input:
        unpack(dream_inputs),
        published="resources/dream_published.tsv",
        lib=lib("dream", "metrics", "tables"),
    output:
        json="results/{run}/dream.json",
        tsv=report(
            "results/{run}/dream.tsv",
            caption="../report/dream.rst",
            category="Scores",
        ),
    log:
        "results/{run}/logs/score_dream.log",
    benchmark:
        "results/{run}/benchmarks/score_dream.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        fetched=dream_fetched(),
        run=config["run"],
    script:
        "../../scripts/score_dream.py"


rule tabulate_factors:
    """Write the parameters of the factors, for a model whose parameters can be read."""
    input:
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
        lib=model_lib(),
    output:
        factors=report(
            "results/{run}/factors.tsv",
            caption="../report/factors.rst",
            category="Factors",
        ),
    log:
        "results/{run}/logs/tabulate_factors.log",
    benchmark:
        "results/{run}/benchmarks/tabulate_factors.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        backend=config["training"]["backend"],
    script:
        "../../scripts/tabulate_factors.py"


rule plot_factors:
    """Draw activity, potentiation and concentration of the factors."""
    input:
        factors="results/{run}/factors.tsv",
        lib=lib("plots"),
    output:
        png="results/{run}/figures/factors.png",
        svg=report(
            "results/{run}/figures/factors.svg",
            caption="../report/factors.rst",
            category="Factors",
            labels={"figure": "parameters of the factors"},
        ),
    log:
        "results/{run}/logs/plot_factors.log",
    benchmark:
        "results/{run}/benchmarks/plot_factors.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/plot_factors.py"


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


rule plot_strata:
    """Draw the scores of the parts of one data set."""
    input:
        strata="results/{run}/strata.tsv",
        lib=lib("score_plots", "plots"),
    output:
        png="results/{run}/figures/strata/{dataset}.png",
        svg=report(
            "results/{run}/figures/strata/{dataset}.svg",
            caption="../report/strata_figure.rst",
            category="Scores",
            labels={"data set": "{dataset}"},
        ),
    log:
        "results/{run}/logs/plot_strata.{dataset}.log",
    benchmark:
        "results/{run}/benchmarks/plot_strata.{dataset}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        title=lambda wildcards: title_of(wildcards.dataset),
        unit=config["plots"]["unit"],
    script:
        "../../scripts/plot_strata.py"


rule compare_models:
    """Put the scores of several runs in one table and compare each two of them."""
    input:
        metrics=["results/{run}/metrics.json", *metrics_of_others()],
        predictions=[
            *expand("results/{{run}}/predictions/{dataset}.parquet", dataset=SCORED),
            *predictions_of_others(),
        ],
        lib=lib("comparisons", "metrics", "randomness"),
    output:
        scores=report(
            "results/{run}/comparison/scores.tsv",
            caption="../report/comparison_scores.rst",
            category="Comparison",
        ),
        tests=report(
            "results/{run}/comparison/tests.tsv",
            caption="../report/comparison_tests.rst",
            category="Comparison",
        ),
    log:
        "results/{run}/logs/compare_models.log",
    benchmark:
        "results/{run}/benchmarks/compare_models.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 2
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        runs=[config["run"], *config["comparison"]["runs"]],
        bootstrap=config["evaluation"]["bootstrap"],
        seed=seed_of("evaluation"),
    script:
        "../../scripts/compare_models.py"


rule plot_comparison:
    """Draw the scores of several runs as a forest plot."""
    input:
        scores="results/{run}/comparison/scores.tsv",
        lib=lib("score_plots", "plots"),
    output:
        png="results/{run}/figures/comparison.png",
        svg=report(
            "results/{run}/figures/comparison.svg",
            caption="../report/comparison.rst",
            category="Comparison",
            labels={"figure": "runs"},
        ),
    log:
        "results/{run}/logs/plot_comparison.log",
    benchmark:
        "results/{run}/benchmarks/plot_comparison.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    script:
        "../../scripts/plot_comparison.py"


rule reenact_leak:
    """Show what the source slides' index error would have made of this library's scores."""
    input:
        train="results/{run}/splits/train.parquet",
        val="results/{run}/splits/val.parquet",
        lib=lib(
            "reenactment",
            "metrics",
            "models/__init__",
            "models/baseline_kmer",
            "randomness",
            "scaffold",
        ),
    output:
        table=report(
            "results/{run}/leak/reenactment.tsv",
            caption="../report/leak.rst",
            category="Leak guard",
        ),
    log:
        "results/{run}/logs/reenact_leak.log",
    benchmark:
        "results/{run}/benchmarks/reenact_leak.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        backend=config["training"]["backend"],
        length=config["scaffold"]["length"],
        keep=config["scaffold"]["keep"],
        pad=config["scaffold"]["pad"],
        seed=seed_of("evaluation"),
    script:
        "../../scripts/reenact_leak.py"


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
