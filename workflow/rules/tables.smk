rule fetch_dataset:
    """Download a file of a public data set to {data}, or verify the existing one."""

    # The output is a receipt, not the file: Snakemake removes outputs before a job and after a failed one, but the file and its partial
    # download must survive and are shared by all runs. No param `code`: the checksum determines the content.
    output:
        receipt="results/{run}/fetched/{public}/{file}.json",
    log:
        "results/{run}/logs/fetch_dataset.{public}.{file}.log",
    benchmark:
        "results/{run}/benchmarks/fetch_dataset.{public}.{file}.tsv"
    # compute nodes often have no internet access
    localrule: True
    conda:
        "../../envs/fetch.yaml"
    threads: 1
    resources:
        mem_mb=500,
        runtime=240,
    params:
        path=lambda wildcards: PLAN.fill(
            f"{{data}}/{wildcards.public}/{wildcards.file}"
        ),
        source=public_source,
        network={
            "api": SecretUrl(PLAN.config["fetch"]["api"]),
            "mirrors": [SecretUrl(url) for url in PLAN.config["fetch"]["mirrors"]],
            "retries": PLAN.config["fetch"]["retries"],
            "timeout": PLAN.config["fetch"]["timeout"],
            "offline": PLAN.config["fetch"]["offline"],
        },
    script:
        "../../scripts/fetch_dataset.py"


rule ingest_table:
    """Read and validate a table of sequences and expression, and write the promoter table."""
    input:
        table=path_of_table,
        scaffolds=PLAN.scaffolds,
        transform=transform_of_library,
    output:
        promoters="results/{run}/tables/{dataset}.parquet",
        transform="results/{run}/tables/{dataset}.transform.json",
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
        code=code_of("ingest_table"),
        files=own_files(path_of_table),
        fetched=lambda wildcards: PLAN.fetched(
            wildcards.dataset, PLAN.table_of(wildcards.dataset)["table"]
        ),
        reading=lambda wildcards: PLAN.reading_of(wildcards.dataset),
        transform=lambda wildcards: PLAN.transform_of(wildcards.dataset),
        measured=lambda wildcards: PLAN.measured_of(wildcards.dataset),
        parents=lambda wildcards: [
            PLAN.extras_of(wildcards.dataset)[key]
            for key in ["parent", "parent_sequence"]
        ],
        scaffold=PLAN.config["scaffold"]["name"],
        policy=lambda wildcards: {
            "add_missing_flanks": PLAN.config["scaffold"]["add_missing_flanks"],
            "damaged_flanks": PLAN.config["scaffold"]["damaged_flanks"],
            "max_flank_edits": PLAN.config["scaffold"]["max_flank_edits"],
            "insert_length": PLAN.config["scaffold"]["insert_length"],
            "outside_length": PLAN.config["scaffold"]["outside_length"],
            "duplicates": PLAN.table_of(wildcards.dataset)["duplicates"],
            "segments": PLAN.config["scaffold"]["segments"],
            "barcodes": PLAN.table_of(wildcards.dataset)["barcodes"],
        },
    script:
        "../../scripts/ingest_table.py"


rule join_tables:
    """Bring the tables of one condition to the scale of the first, and write one promoter table."""
    input:
        tables=expand("results/{{run}}/tables/{table}.parquet", table=PLAN.tables),
    output:
        promoters="results/{run}/tables/{joined}.parquet",
        transform="results/{run}/tables/{joined}.transform.json",
        maps="results/{run}/tables/{joined}.maps.json",
        ledger="results/{run}/ledger/join_tables.{joined}.tsv",
    log:
        "results/{run}/logs/join_tables.{joined}.log",
    benchmark:
        "results/{run}/benchmarks/join_tables.{joined}.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        code=code_of("join_tables"),
        names=list(PLAN.tables),
        method=PLAN.config["input"]["join"],
        min_shared=PLAN.config["input"]["min_shared"],
        transform=PLAN.transform,
    script:
        "../../scripts/join_tables.py"


rule plot_tables:
    """Draw and tabulate the joined tables: shared promoters, the map of each table, and expression on the common scale."""
    input:
        tables=expand("results/{{run}}/tables/{table}.parquet", table=PLAN.tables),
        maps=f"results/{{run}}/tables/{LIBRARY}.maps.json",
    output:
        table=report(
            "results/{run}/joined.tsv",
            caption="../report/joined_table.rst",
            category="Joined tables",
        ),
        png="results/{run}/figures/joined.png",
        svg=report(
            "results/{run}/figures/joined.svg",
            caption="../report/joined.rst",
            category="Joined tables",
            labels={"figure": "joined tables"},
        ),
    log:
        "results/{run}/logs/plot_tables.log",
    benchmark:
        "results/{run}/benchmarks/plot_tables.tsv"
    conda:
        "../../envs/plot.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        code=code_of("plot_tables"),
        unit=lambda wildcards: PLAN.unit_of_tables,
    script:
        "../../scripts/plot_tables.py"


rule group_neighbours:
    """Cluster near-duplicate promoters, which must stay in one split."""
    input:
        promoters="results/{run}/tables/library.parquet",
        scaffolds=PLAN.scaffolds,
    output:
        clusters="results/{run}/neighbours/library.parquet",
        ledger="results/{run}/ledger/group_neighbours.library.tsv",
    log:
        "results/{run}/logs/group_neighbours.log",
    benchmark:
        "results/{run}/benchmarks/group_neighbours.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 8
    resources:
        mem_mb=memory_of("group_neighbours", least=8000),
        runtime=60,
    params:
        code=code_of("group_neighbours"),
        scaffold=PLAN.config["scaffold"]["name"],
        max_flank_edits=PLAN.config["scaffold"]["max_flank_edits"],
        max_edits=PLAN.config["neighbours"]["max_edits"],
        kmer=PLAN.config["neighbours"]["kmer"],
    script:
        "../../scripts/group_neighbours.py"


rule find_overlaps:
    """Find library promoters that are near-duplicates of independent data sets or of listed test sequences."""
    input:
        promoters="results/{run}/tables/library.parquet",
        independent=expand(
            "results/{{run}}/tables/{dataset}.parquet", dataset=PLAN.independent
        ),
        test_sequences=PLAN.test_sequences,
        scaffolds=PLAN.scaffolds,
    output:
        overlaps="results/{run}/neighbours/overlaps.parquet",
        summary=report(
            "results/{run}/neighbours/overlaps.tsv",
            caption="../report/overlaps.rst",
            category="Leakage control",
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
        code=code_of("find_overlaps"),
        files=own_files(PLAN.test_sequences),
        datasets=list(PLAN.independent),
        scaffold=PLAN.config["scaffold"]["name"],
        max_flank_edits=PLAN.config["scaffold"]["max_flank_edits"],
        max_edits=PLAN.config["neighbours"]["max_edits"],
    script:
        "../../scripts/find_overlaps.py"


rule find_nearest:
    """Find the nearest training promoter of each scored promoter, and compare a sample with shuffled sequences."""
    input:
        training="results/{run}/splits/train.parquet",
        promoters=[
            PLAN.promoters_of(dataset, "results/{run}") for dataset in PLAN.datasets
        ],
        scaffolds=PLAN.scaffolds,
    output:
        nearest="results/{run}/neighbours/nearest.parquet",
        audit="results/{run}/neighbours/audit.parquet",
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
        code=code_of("find_nearest"),
        datasets=PLAN.datasets,
        scaffold=PLAN.config["scaffold"]["name"],
        max_flank_edits=PLAN.config["scaffold"]["max_flank_edits"],
        max_edits=PLAN.config["neighbours"]["max_edits"],
        seed=PLAN.seed_of("split"),
    script:
        "../../scripts/find_nearest.py"


rule split_promoters:
    """Assign whole clusters of promoters to train, val and test."""
    input:
        promoters="results/{run}/tables/library.parquet",
        clusters="results/{run}/neighbours/library.parquet",
        overlaps="results/{run}/neighbours/overlaps.parquet",
    output:
        splits=expand(
            "results/{{run}}/splits/{split}.parquet",
            split=PLAN.config["split"]["names"],
        ),
        summary=report(
            "results/{run}/splits/summary.tsv",
            caption="../report/splits.rst",
            category="Leakage control",
        ),
        checks="results/{run}/splits/checks.tsv",
        ledger="results/{run}/ledger/split_promoters.library.tsv",
    log:
        "results/{run}/logs/split_promoters.log",
    benchmark:
        "results/{run}/benchmarks/split_promoters.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=memory_of("split_promoters", least=4000),
        runtime=30,
    params:
        code=code_of("split_promoters"),
        options={
            "method": PLAN.config["split"]["method"],
            "names": PLAN.config["split"]["names"],
            "fractions": PLAN.config["split"]["fractions"],
            "labels": PLAN.config["split"]["labels"],
            "across": PLAN.config["split"]["across"],
            "independent": PLAN.config["neighbours"]["independent"],
            "train_promoters": PLAN.config["split"]["train_promoters"],
            "seed": PLAN.seed_of("split"),
        },
    script:
        "../../scripts/split_promoters.py"
