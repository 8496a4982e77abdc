rule shard_tfrecords:
    """Write one split as TFRecord shards and their manifest."""
    input:
        promoters="results/{run}/splits/{split}.parquet",
        lib=lib("shards", "scaffold", "randomness"),
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
        mem_mb=4000,
        runtime=30,
    params:
        scaffold=config["scaffold"]["name"],
        length=config["scaffold"]["length"],
        keep=config["scaffold"]["keep"],
        pad=config["scaffold"]["pad"],
        rows_per_shard=config["shards"]["rows_per_shard"],
        extra_features=EXTRA_FEATURES,
        compression=config["shards"]["compression"],
        seed=seed_of("shards"),
    script:
        "../../scripts/shard_tfrecords.py"


rule upload_shards:
    """Bring all shards and manifests into the bucket that the trainer reads from."""
    input:
        manifests=expand(
            "results/{{run}}/shards/{split}/manifest.json",
            split=config["split"]["names"],
        ),
        lib=lib("storage"),
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
        splits=config["split"]["names"],
        url=fill_path(config["bucket"]["url"]),
        location=config["bucket"]["location"],
    script:
        "../../scripts/upload_shards.py"
