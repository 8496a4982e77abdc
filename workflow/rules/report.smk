rule plot_scores:
    """Draw r on every data set, and what share of the measurements lies within the intervals of predictions."""
    input:
        metrics="results/{run}/metrics.json",
        predictions=expand(
            "results/{{run}}/predictions/{dataset}.parquet", dataset=SCORED
        ),
        calibration="results/{run}/model/calibration.json",
        lib=lib("score_plots", "plots", "calibration"),
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
            labels={"figure": "calibration of intervals"},
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
        datasets=SCORED,
    script:
        "../../scripts/plot_scores.py"


rule plot_leak:
    """Draw how near the scored promoters are to training, scores by that distance, and what a leak would have made of them."""
    input:
        nearest="results/{run}/neighbours/nearest.parquet",
        strata="results/{run}/strata.tsv",
        reenactment="results/{run}/leak/reenactment.tsv",
        about="results/{run}/model/model.json",
        lib=lib("audit_plots", "plots"),
    output:
        table=report(
            "results/{run}/leak/distances.tsv",
            caption="../report/distances.rst",
            category="Leak guard",
        ),
        distance_png="results/{run}/figures/leak/distance.png",
        distance_svg=report(
            "results/{run}/figures/leak/distance.svg",
            caption="../report/distance.rst",
            category="Leak guard",
            labels={"figure": "distance to training"},
        ),
        reenactment_png="results/{run}/figures/leak/reenactment.png",
        reenactment_svg=report(
            "results/{run}/figures/leak/reenactment.svg",
            caption="../report/leak.rst",
            category="Leak guard",
            labels={"figure": "what a leak would do"},
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
        titles={dataset: title_of(dataset) for dataset in SCORED},
        max_edits=config["neighbours"]["max_edits"],
    script:
        "../../scripts/plot_leak.py"


rule plot_ledger:
    """Draw the way of the data: what went in, what was lost and why, what was used."""
    input:
        ledger="results/{run}/ledger.tsv",
        lib=lib("audit_plots", "plots", "ledger"),
    output:
        png="results/{run}/figures/ledger.png",
        svg=report(
            "results/{run}/figures/ledger.svg",
            caption="../report/ledger_figure.rst",
            category="Ledger",
            labels={"figure": "the way of the data"},
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
        splits=config["split"]["names"],
        independent=list(INDEPENDENT),
    script:
        "../../scripts/plot_ledger.py"


rule plot_cost:
    """Draw and tabulate what the run cost: time on processors, wall time and memory of each rule."""

    # The benchmark files are no outputs, so Snakemake does not know them: what the report needs stands for the rules that wrote them.
    input:
        tables=expand("results/{{run}}/{table}.tsv", table=REPORT_TABLES),
        figures=expand("results/{{run}}/figures/{figure}.svg", figure=REPORT_FIGURES),
        lib=lib("audit_plots", "plots", "cost"),
    output:
        table=report(
            "results/{run}/cost.tsv", caption="../report/cost.rst", category="Cost"
        ),
        png="results/{run}/figures/cost.png",
        svg=report(
            "results/{run}/figures/cost.svg",
            caption="../report/cost.rst",
            category="Cost",
            labels={"figure": "time on processors"},
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
        benchmarks="results/{run}/benchmarks",
    script:
        "../../scripts/plot_cost.py"


rule write_report:
    """Write the report: one HTML page with all figures and tables inside."""

    # The config is shown as it is, but is no param: keys that decide nothing rerun nothing. So is the commit, which the script finds out.
    input:
        figures=expand(
            "results/{{run}}/figures/{figure}.svg", figure=[*REPORT_FIGURES, "cost"]
        ),
        pngs=expand(
            "results/{{run}}/figures/{figure}.png", figure=[*REPORT_FIGURES, "cost"]
        ),
        tables=expand("results/{{run}}/{table}.tsv", table=[*REPORT_TABLES, "cost"]),
        metrics="results/{run}/metrics.json",
        about="results/{run}/model/model.json",
        captions=expand(
            "workflow/report/{caption}.rst",
            caption=sorted(glob_wildcards("workflow/report/{caption}.rst").caption),
        ),
        template="workflow/report/report.html.j2",
        parts=expand(
            "workflow/report/{part}",
            part=["methods.html.j2", "report.css", "report.js"],
        ),
        lib=lib("report", "ledger"),
    output:
        report="results/{run}/report.html",
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
        data=input_files(),
        datasets=SCORED,
        independent=list(INDEPENDENT),
        explained=EXPLAINED,
    script:
        "../../scripts/write_report.py"
