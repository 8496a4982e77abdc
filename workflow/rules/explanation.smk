rule explain_model:
    """Explain predictions for some promoters by in-silico mutagenesis (ISM) and motifs, known and de novo."""
    input:
        predictions=explained_predictions,
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
        calibration="results/{run}/model/calibration.json",
        motifs=PLAN.motif_file("explain") or [],
        activities=f"{SIMULATED}activities.tsv.gz" if PLAN.from_simulation else [],
    output:
        promoters="results/{run}/explain{folder}/promoters.tsv",
        contributions="results/{run}/explain{folder}/contributions.parquet",
        seqlets="results/{run}/explain{folder}/seqlets.tsv",
        sites="results/{run}/explain{folder}/sites.tsv",
        motifs=motif_table("results/{run}/explain{folder}/motifs.tsv"),
        de_novo=de_novo_table("results/{run}/explain{folder}/de_novo.tsv"),
        de_novo_sites="results/{run}/explain{folder}/de_novo_sites.tsv",
        de_novo_meme="results/{run}/explain{folder}/de_novo.meme",
        summary="results/{run}/explain{folder}/summary.json",
    log:
        "results/{run}/logs/explain_model{folder}.log",
    benchmark:
        "results/{run}/benchmarks/explain_model{folder}.tsv"
    conda:
        "../../envs/train.yaml"
    threads: 2
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        code=code_with_model("explain_model"),
        dataset=PLAN.explained,
        readout=readout_of,
        promoters=PLAN.explained_promoters,
        de_novo=PLAN.config["explain"]["de_novo"],
        backend=PLAN.config["training"]["backend"],
        batch_size=PLAN.config["prediction"]["batch_size"],
        seed=PLAN.seed_of("explain"),
    script:
        "../../scripts/explain_model.py"


rule plot_motifs:
    """Draw motifs that explain the predictions, and contribution logos of a few promoters."""
    input:
        promoters="results/{run}/explain{folder}/promoters.tsv",
        contributions="results/{run}/explain{folder}/contributions.parquet",
        sites="results/{run}/explain{folder}/sites.tsv",
        motifs="results/{run}/explain{folder}/motifs.tsv",
        de_novo="results/{run}/explain{folder}/de_novo.tsv",
        de_novo_sites="results/{run}/explain{folder}/de_novo_sites.tsv",
        de_novo_meme="results/{run}/explain{folder}/de_novo.meme",
        summary="results/{run}/explain{folder}/summary.json",
    output:
        **motif_figures(),
        **de_novo_figures(),
        logos_png="results/{run}/figures/explain{folder}/logos.png",
        logos_svg=report(
            "results/{run}/figures/explain{folder}/logos.svg",
            caption="../report/logos.rst",
            category="Model interpretation",
            labels=labelled("contribution logos"),
        ),
    log:
        "results/{run}/logs/plot_motifs{folder}.log",
    benchmark:
        "results/{run}/benchmarks/plot_motifs{folder}.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        code=code_of("plot_motifs"),
        title=title_of_explained,
        unit=lambda wildcards: PLAN.unit,
        logos=PLAN.config["explain"]["logos"],
        with_motifs=PLAN.with_motifs,
        with_de_novo=PLAN.with_de_novo,
    script:
        "../../scripts/plot_motifs.py"


rule tabulate_factors:
    """Write the parameters of transcription factors, for models with interpretable parameters."""
    input:
        model="results/{run}/model/model.keras",
        about="results/{run}/model/model.json",
    output:
        factors=report(
            "results/{run}/factors.tsv",
            caption="../report/factors.rst",
            category="Factors",
        ),
        positions="results/{run}/factor_positions.tsv",
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
        code=code_with_model("tabulate_factors"),
        backend=PLAN.config["training"]["backend"],
    script:
        "../../scripts/tabulate_factors.py"


rule plot_factors:
    """Draw the parameters of transcription factors, also by position, and beside the motifs found by in-silico mutagenesis."""
    input:
        factors="results/{run}/factors.tsv",
        positions="results/{run}/factor_positions.tsv",
        motifs=PLAN.motifs_beside_factors,
    output:
        **factor_motif_figures(),
        png="results/{run}/figures/factors.png",
        svg=report(
            "results/{run}/figures/factors.svg",
            caption="../report/factors.rst",
            category="Factors",
            labels={"figure": "parameters of the factors"},
        ),
        positions_png="results/{run}/figures/factor_positions.png",
        positions_svg=report(
            "results/{run}/figures/factor_positions.svg",
            caption="../report/factor_positions.rst",
            category="Factors",
            labels={"figure": "activity of the factors by position"},
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
    params:
        code=code_of("plot_factors"),
        unit=lambda wildcards: PLAN.unit,
    script:
        "../../scripts/plot_factors.py"
