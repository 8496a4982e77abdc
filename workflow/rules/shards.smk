rule shard_tfrecords:
    """Write one split as TFRecord shards with a manifest."""
    input:
        promoters="results/{run}/splits/{split}.parquet",
    output:
        manifest="results/{run}/shards/{split}/manifest.json",
        ledger="results/{run}/ledger/shard_tfrecords.{split}.tsv",
    log:
        "results/{run}/logs/shard_tfrecords.{split}.log",
    benchmark:
        "results/{run}/benchmarks/shard_tfrecords.{split}.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 2
    resources:
        mem_mb=memory_of("shard_tfrecords", least=4000),
        runtime=30,
    params:
        code=code_of("shard_tfrecords"),
        scaffold=PLAN.config["scaffold"]["name"],
        length=PLAN.config["scaffold"]["length"],
        keep=PLAN.config["scaffold"]["keep"],
        pad=PLAN.config["scaffold"]["pad"],
        rows_per_shard=PLAN.config["shards"]["rows_per_shard"],
        extra_features=PLAN.extra_features,
        compression=PLAN.config["shards"]["compression"],
        seed=PLAN.seed_of("shards"),
        conditions=PLAN.conditions,
    script:
        "../../scripts/shard_tfrecords.py"


rule upload_shards:
    """Upload shards and manifests to the bucket that training reads from."""
    input:
        manifests=expand(
            "results/{{run}}/shards/{split}/manifest.json",
            split=PLAN.config["split"]["names"],
        ),
    output:
        receipt="results/{run}/upload.json",
    log:
        "results/{run}/logs/upload_shards.log",
    benchmark:
        "results/{run}/benchmarks/upload_shards.tsv"
    conda:
        "../../envs/tables.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=120,
    params:
        code=code_of("upload_shards"),
        splits=PLAN.config["split"]["names"],
        url=PLAN.fill(PLAN.config["bucket"]["url"]),
        location=PLAN.config["bucket"]["location"],
    script:
        "../../scripts/upload_shards.py"
