rule collect_ledger:
    """Collect the ledgers of all steps in one table, and check that they add up."""
    input:
        ledgers=ledgers_of_run,
    output:
        ledger=report(
            "results/{run}/ledger.tsv",
            caption="../report/ledger.rst",
            category="Read and sequence accounting",
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
    params:
        code=code_of("collect_ledger"),
    script:
        "../../scripts/collect_ledger.py"


rule plot_scores:
    """Draw Pearson r on every data set, and the coverage of prediction intervals."""
    input:
        metrics="results/{run}/metrics.json",
        predictions=expand(
            "results/{{run}}/predictions/{scored}.parquet", scored=PLAN.scored
        ),
        calibration="results/{run}/model/calibration.json",
    output:
        table=report(
            "results/{run}/intervals.tsv",
            caption="../report/intervals.rst",
            category="Scores",
        ),
        scores_png="results/{run}/figures/scores.png",
        scores_svg=report(
            "results/{run}/figures/scores.svg",
            caption="../report/scores.rst",
            category="Scores",
            labels={"figure": "data sets"},
        ),
        intervals_png="results/{run}/figures/intervals.png",
        intervals_svg=report(
            "results/{run}/figures/intervals.svg",
            caption="../report/intervals.rst",
            category="Scores",
            labels={"figure": "calibration of prediction intervals"},
        ),
    log:
        "results/{run}/logs/plot_scores.log",
    benchmark:
        "results/{run}/benchmarks/plot_scores.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_of("plot_scores"),
        datasets=PLAN.scored,
        readouts=[PLAN.readout_of(scored) for scored in PLAN.scored],
    script:
        "../../scripts/plot_scores.py"


rule plot_leak:
    """Draw the distance of scored promoters to the training set, scores by distance, and the effect of data leakage."""
    input:
        nearest="results/{run}/neighbours/nearest.parquet",
        audit="results/{run}/neighbours/audit.parquet",
        subgroups="results/{run}/subgroups.tsv",
        demonstration="results/{run}/leak/demonstration.tsv",
        about="results/{run}/model/model.json",
    output:
        table=report(
            "results/{run}/leak/distances.tsv",
            caption="../report/distances.rst",
            category="Leakage control",
        ),
        distance_png="results/{run}/figures/leak/distance.png",
        distance_svg=report(
            "results/{run}/figures/leak/distance.svg",
            caption="../report/distance.rst",
            category="Leakage control",
            labels={"figure": "distance to the training set"},
        ),
        demonstration_png="results/{run}/figures/leak/demonstration.png",
        demonstration_svg=report(
            "results/{run}/figures/leak/demonstration.svg",
            caption="../report/leak.rst",
            category="Leakage control",
            labels={"figure": "effect of data leakage"},
        ),
    log:
        "results/{run}/logs/plot_leak.log",
    benchmark:
        "results/{run}/benchmarks/plot_leak.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        code=code_of("plot_leak"),
        titles={scored: PLAN.title_of(scored) for scored in PLAN.scored},
        sources={scored: PLAN.dataset_of(scored) for scored in PLAN.scored},
        max_edits=PLAN.config["neighbours"]["max_edits"],
    script:
        "../../scripts/plot_leak.py"


rule plot_ledger:
    """Draw reads and promoters retained at each step, and those lost with the reason."""
    input:
        ledger="results/{run}/ledger.tsv",
    output:
        png="results/{run}/figures/ledger.png",
        svg=report(
            "results/{run}/figures/ledger.svg",
            caption="../report/ledger_figure.rst",
            category="Read and sequence accounting",
            labels={"figure": "reads and promoters retained"},
        ),
    log:
        "results/{run}/logs/plot_ledger.log",
    benchmark:
        "results/{run}/benchmarks/plot_ledger.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("plot_ledger"),
        splits=PLAN.config["split"]["names"],
        independent=list(PLAN.independent),
    script:
        "../../scripts/plot_ledger.py"


rule plot_cost:
    """Draw and tabulate the cost of each rule: CPU time, wall time and memory."""

    # Benchmark files are not outputs, so they cannot be inputs; the report's figures and tables stand for the rules that wrote them.
    input:
        tables=expand("results/{{run}}/{table}.tsv", table=PLAN.report_tables),
        figures=expand(
            "results/{{run}}/figures/{figure}.svg", figure=PLAN.report_figures
        ),
    output:
        table=report(
            "results/{run}/cost.tsv", caption="../report/cost.rst", category="Cost"
        ),
        png="results/{run}/figures/cost.png",
        svg=report(
            "results/{run}/figures/cost.svg",
            caption="../report/cost.rst",
            category="Cost",
            labels={"figure": "CPU time"},
        ),
    log:
        "results/{run}/logs/plot_cost.log",
    benchmark:
        "results/{run}/benchmarks/plot_cost.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("plot_cost"),
        benchmarks="results/{run}/benchmarks",
    script:
        "../../scripts/plot_cost.py"


rule write_report:
    """Write the report: one HTML page that embeds all figures and tables; and the model card."""

    # The report shows config and commit, but neither is a param: changing a key that affects no result must not rerun this rule.
    input:
        figures=expand(
            "results/{{run}}/figures/{figure}.svg",
            figure=[*PLAN.report_figures, "cost"],
        ),
        pngs=expand(
            "results/{{run}}/figures/{figure}.png",
            figure=[*PLAN.report_figures, "cost"],
        ),
        tables=expand(
            "results/{{run}}/{table}.tsv", table=[*PLAN.report_tables, "cost"]
        ),
        predictions=expand(
            "results/{{run}}/predictions/{scored}.parquet", scored=PLAN.scored
        ),
        metrics="results/{run}/metrics.json",
        about="results/{run}/model/model.json",
        captions=resources.report_files("*.rst"),
        template=resources.shown("report.html.j2", "report"),
        parts=[
            resources.shown(part, "report")
            for part in ["methods.html.j2", "report.css", "report.js"]
        ],
    output:
        report="results/{run}/report.html",
        card="results/{run}/model_card.json",
        card_text="results/{run}/model_card.md",
        multiqc=directory("results/{run}/multiqc"),
    log:
        "results/{run}/logs/write_report.log",
    benchmark:
        "results/{run}/benchmarks/write_report.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=30,
    params:
        code=code_of("write_report"),
        data=PLAN.input_files(),
        datasets=PLAN.scored,
        independent=list(PLAN.independent),
        explained=PLAN.explained,
        foreign_motifs=PLAN.foreign_motifs,
        scaffolds=PLAN.scaffolds,
        card=PLAN.config["card"],
    script:
        "../../scripts/write_report.py"


rule write_crate:
    """Describe a finished run as an RO-Crate."""
    input:
        report="results/{run}/report.html",
    output:
        metadata="results/{run}/ro-crate-metadata.json",
        config="results/{run}/config.complete.yaml",
    log:
        "results/{run}/logs/write_crate.log",
    benchmark:
        "results/{run}/benchmarks/write_crate.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        code=code_of("write_crate"),
        data=PLAN.input_files(),
    script:
        "../../scripts/write_crate.py"
