rule evaluate_model:
    """Score predictions on every data set and on its subgroups, with bootstrap intervals, checks and published models."""
    input:
        predictions=expand(
            "results/{{run}}/predictions/{scored}.parquet", scored=PLAN.scored
        ),
        nearest="results/{run}/neighbours/nearest.parquet",
        audit="results/{run}/neighbours/audit.parquet",
        about="results/{run}/model/model.json",
        split_checks="results/{run}/splits/checks.tsv",
        permuted_labels=(
            "results/{run}/permuted_labels.json"
            if PLAN.config["evaluation"]["permutation_epochs"]
            else []
        ),
    output:
        json="results/{run}/metrics.json",
        tsv=report(
            "results/{run}/metrics.tsv",
            caption="../report/metrics.rst",
            category="Scores",
        ),
        subgroups=report(
            "results/{run}/subgroups.tsv",
            caption="../report/subgroups.rst",
            category="Scores",
        ),
        checks=report(
            "results/{run}/checks.tsv",
            caption="../report/checks.rst",
            category="Scores",
        ),
        published_models=report(
            "results/{run}/published_models.tsv",
            caption="../report/published_models.rst",
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
        code=code_of("evaluate_model"),
        run=PLAN.config["run"],
        datasets=PLAN.scored,
        sources=[PLAN.dataset_of(scored) for scored in PLAN.scored],
        independent=list(PLAN.independent),
        split_method=PLAN.config["split"]["method"],
        # Snakemake looks for wildcards in texts, but not in those of functions.
        titles=lambda wildcards: [PLAN.title_of(dataset) for dataset in PLAN.scored],
        extras=[PLAN.extras_of(dataset) for dataset in PLAN.scored],
        transform=PLAN.config["input"]["transform"],
        strand=PLAN.config["assay"]["strand"],
        bootstrap=PLAN.config["evaluation"]["bootstrap"],
        seed=PLAN.seed_of("evaluation"),
    script:
        "../../scripts/evaluate_model.py"


rule score_dream:
    """Compute the score of the DREAM challenge 2022 for the predictions of its test promoters."""
    input:
        unpack(dream_inputs),
        published=resources.shown("dream_published.tsv"),
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
        code=code_of("score_dream"),
        fetched={
            role: PLAN.fetched(name, path)
            for role, (name, path) in PLAN.dream_files().items()
        },
        run=PLAN.config["run"],
    script:
        "../../scripts/score_dream.py"


rule plot_predictions:
    """Draw measured against predicted expression of one data set."""
    input:
        predictions="results/{run}/predictions/{scored}.parquet",
        metrics="results/{run}/metrics.json",
    output:
        png="results/{run}/figures/predictions/{scored}.png",
        svg=report(
            "results/{run}/figures/predictions/{scored}.svg",
            caption="../report/predictions.rst",
            category="Predictions",
            labels={"data set": "{scored}"},
        ),
    log:
        "results/{run}/logs/plot_predictions.{scored}.log",
    benchmark:
        "results/{run}/benchmarks/plot_predictions.{scored}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("plot_predictions"),
        title=lambda wildcards: PLAN.title_of(wildcards.scored),
        unit=lambda wildcards: PLAN.unit,
        hexagons=PLAN.config["plots"]["hexagons"],
        quantity=lambda wildcards: PLAN.quantity_of(wildcards.scored),
    script:
        "../../scripts/plot_predictions.py"


rule plot_subgroups:
    """Draw the scores in subgroups of one data set."""
    input:
        subgroups="results/{run}/subgroups.tsv",
    output:
        png="results/{run}/figures/subgroups/{scored}.png",
        svg=report(
            "results/{run}/figures/subgroups/{scored}.svg",
            caption="../report/subgroups_figure.rst",
            category="Scores",
            labels={"data set": "{scored}"},
        ),
    log:
        "results/{run}/logs/plot_subgroups.{scored}.log",
    benchmark:
        "results/{run}/benchmarks/plot_subgroups.{scored}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("plot_subgroups"),
        title=lambda wildcards: PLAN.title_of(wildcards.scored),
        unit=lambda wildcards: PLAN.unit,
    script:
        "../../scripts/plot_subgroups.py"


rule compare_models:
    """Collect the scores of several runs in one table, and compare runs pairwise."""
    input:
        metrics=[
            "results/{run}/metrics.json",
            *expand(
                "results/{other}/metrics.json", other=PLAN.config["comparison"]["runs"]
            ),
        ],
        predictions=[
            *expand(
                "results/{{run}}/predictions/{scored}.parquet", scored=PLAN.scored
            ),
            *PLAN.predictions_of_others(),
        ],
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
        code=code_of("compare_models"),
        runs=[PLAN.config["run"], *PLAN.config["comparison"]["runs"]],
        bootstrap=PLAN.config["evaluation"]["bootstrap"],
        seed=PLAN.seed_of("evaluation"),
    script:
        "../../scripts/compare_models.py"


rule plot_comparison:
    """Draw the scores of several runs as a forest plot."""
    input:
        scores="results/{run}/comparison/scores.tsv",
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
    params:
        code=code_of("plot_comparison"),
    script:
        "../../scripts/plot_comparison.py"


rule demonstrate_leak:
    """Demonstrate the effect of data leakage: scores with the index error of the source slides, and with leakage-controlled splits."""
    input:
        train="results/{run}/splits/train.parquet",
        val="results/{run}/splits/val.parquet",
    output:
        table=report(
            "results/{run}/leak/demonstration.tsv",
            caption="../report/leak.rst",
            category="Leakage control",
        ),
    log:
        "results/{run}/logs/demonstrate_leak.log",
    benchmark:
        "results/{run}/benchmarks/demonstrate_leak.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_of("demonstrate_leak", "gpraflow.models.zoo.baseline_kmer"),
        backend=PLAN.config["training"]["backend"],
        length=PLAN.config["scaffold"]["length"],
        keep=PLAN.config["scaffold"]["keep"],
        pad=PLAN.config["scaffold"]["pad"],
        seed=PLAN.seed_of("evaluation"),
    script:
        "../../scripts/demonstrate_leak.py"
