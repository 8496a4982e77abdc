rule fetch_dataset:
    """Bring a file of a public data set to {data}, or find the right one there."""

    # The output is a receipt and the file itself is no output: Snakemake removes outputs before a job and after one that failed, and
    # the file, its part and its record are to outlive that and are shared by all runs. No `lib`: the checksum decides what is fetched.
    output:
        receipt="results/{run}/fetched/{public}/{file}.json",
    log:
        "results/{run}/logs/fetch_dataset.{public}.{file}.log",
    benchmark:
        "results/{run}/benchmarks/fetch_dataset.{public}.{file}.tsv"
    # nodes of a cluster often have no way out
    localrule: True
    conda:
        "../../envs/fetch.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=240,
    params:
        path=lambda wildcards: fill_path(
            f"{{data}}/{wildcards.public}/{wildcards.file}"
        ),
        source=public_source,
        network={
            "api": config["fetch"]["api"],
            "mirrors": config["fetch"]["mirrors"],
            "retries": config["fetch"]["retries"],
            "timeout": config["fetch"]["timeout"],
            "offline": config["fetch"]["offline"],
        },
    script:
        "../../scripts/fetch_dataset.py"


rule ingest_table:
    """Read a table of sequences and expression, check every row, write the promoter table."""
    input:
        table=path_of_table,
        scaffolds=config["scaffold"]["file"],
        lib=lib("tables", "scaffold", "bases"),
    output:
        promoters="results/{run}/tables/{dataset}.parquet",
        ledger="results/{run}/ledger/ingest_table.{dataset}.tsv",
    log:
        "results/{run}/logs/ingest_table.{dataset}.log",
    benchmark:
        "results/{run}/benchmarks/ingest_table.{dataset}.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        fetched=fetched_table,
        format=lambda wildcards: table_of(wildcards.dataset)["format"],
        header=lambda wildcards: table_of(wildcards.dataset)["header"],
        columns=lambda wildcards: table_of(wildcards.dataset)["columns"],
        expression_min=lambda wildcards: table_of(wildcards.dataset)["expression_min"],
        expression_max=lambda wildcards: table_of(wildcards.dataset)["expression_max"],
        extras=lambda wildcards: {
            key: extras_of(wildcards.dataset)[key]
            for key in ["keep", "keep_if_there", "base", "base_sequence"]
        },
        scaffold=config["scaffold"]["name"],
        policy=lambda wildcards: {
            "add_missing_flanks": config["scaffold"]["add_missing_flanks"],
            "damaged_flanks": config["scaffold"]["damaged_flanks"],
            "max_flank_edits": config["scaffold"]["max_flank_edits"],
            "insert_length": config["scaffold"]["insert_length"],
            "outside_length": config["scaffold"]["outside_length"],
            "duplicates": table_of(wildcards.dataset)["duplicates"],
        },
    script:
        "../../scripts/ingest_table.py"


rule group_neighbours:
    """Find the families of near-duplicate promoters, which must stay in one split."""
    input:
        promoters="results/{run}/tables/library.parquet",
        scaffolds=config["scaffold"]["file"],
        lib=lib("neighbours", "scaffold"),
    output:
        families="results/{run}/neighbours/library.parquet",
        ledger="results/{run}/ledger/group_neighbours.library.tsv",
    log:
        "results/{run}/logs/group_neighbours.log",
    benchmark:
        "results/{run}/benchmarks/group_neighbours.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        scaffold=config["scaffold"]["name"],
        max_flank_edits=config["scaffold"]["max_flank_edits"],
        max_edits=config["neighbours"]["max_edits"],
        kmer=config["neighbours"]["kmer"],
    script:
        "../../scripts/group_neighbours.py"


rule find_overlaps:
    """Find the promoters of the library that are near-duplicates of promoters of independent data sets."""
    input:
        promoters="results/{run}/tables/library.parquet",
        independent=expand(
            "results/{{run}}/tables/{dataset}.parquet", dataset=INDEPENDENT
        ),
        test_sequences=TEST_SEQUENCES,
        scaffolds=config["scaffold"]["file"],
        lib=lib("neighbours", "scaffold", "splits"),
    output:
        overlaps="results/{run}/neighbours/overlaps.parquet",
        summary=report(
            "results/{run}/neighbours/overlaps.tsv",
            caption="../report/overlaps.rst",
            category="Leak guard",
        ),
    log:
        "results/{run}/logs/find_overlaps.log",
    benchmark:
        "results/{run}/benchmarks/find_overlaps.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        datasets=list(INDEPENDENT),
        scaffold=config["scaffold"]["name"],
        max_flank_edits=config["scaffold"]["max_flank_edits"],
        max_edits=config["neighbours"]["max_edits"],
    script:
        "../../scripts/find_overlaps.py"


rule find_nearest:
    """Find the training promoter that is nearest to each promoter of the data sets to score."""
    input:
        training="results/{run}/splits/train.parquet",
        promoters=[path_of_promoters(dataset, "results/{run}") for dataset in SCORED],
        scaffolds=config["scaffold"]["file"],
        lib=lib("neighbours", "scaffold"),
    output:
        nearest="results/{run}/neighbours/nearest.parquet",
    log:
        "results/{run}/logs/find_nearest.log",
    benchmark:
        "results/{run}/benchmarks/find_nearest.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 8
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        datasets=SCORED,
        scaffold=config["scaffold"]["name"],
        max_flank_edits=config["scaffold"]["max_flank_edits"],
        max_edits=config["neighbours"]["max_edits"],
    script:
        "../../scripts/find_nearest.py"


rule split_promoters:
    """Send whole families of promoters to train, val and test."""
    input:
        promoters="results/{run}/tables/library.parquet",
        families="results/{run}/neighbours/library.parquet",
        overlaps="results/{run}/neighbours/overlaps.parquet",
        lib=lib("splits"),
    output:
        splits=expand(
            "results/{{run}}/splits/{split}.parquet", split=config["split"]["names"]
        ),
        summary=report(
            "results/{run}/splits/summary.tsv",
            caption="../report/splits.rst",
            category="Leak guard",
        ),
        ledger="results/{run}/ledger/split_promoters.library.tsv",
    log:
        "results/{run}/logs/split_promoters.log",
    benchmark:
        "results/{run}/benchmarks/split_promoters.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        method=config["split"]["method"],
        names=config["split"]["names"],
        fractions=config["split"]["fractions"],
        labels=config["split"]["labels"],
        across=config["split"]["across"],
        independent=config["neighbours"]["independent"],
        train_promoters=config["split"]["train_promoters"],
        seed=seed_of("split"),
    script:
        "../../scripts/split_promoters.py"
