import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from snakemake.exceptions import WorkflowError

from gpraflow import config as configs
from gpraflow import memory, models, randomness, sheet, smk
from gpraflow.errors import GpraflowError

smk.recover()
smk.put_first(Path(workflow.basedir) / "scripts")
memory.ask_for_large_pages(os.environ)  # jobs inherit it
SCHEMAS = Path(workflow.basedir) / "workflow" / "schemas"
EXPRESSION = "results/{run}/expression/promoters.parquet"
SIMULATED = "results/{run}/simulated/"
LIBRARY = "library"


def fill_path(text):
    """Return a path or URL of the config with {run} and {data} filled in."""
    return text.replace("{run}", config["run"]).replace("{data}", config["data"])


def load_datasets(path):
    """Return the independent data sets of the sheet by name, as the config's input section would describe them."""
    schema = configs.load_schema(SCHEMAS / "datasets.schema.yaml")
    rows = configs.load_sheet(path, schema) if path else []
    columns = ["sequence", "expression", "expression_sd", "n_reads", "group"]
    return {
        row["name"]: {
            "table": row["table"],
            "format": "auto",
            "header": row["header"],
            "columns": {
                column: (
                    int(row[column])
                    if not row["header"] and row[column].isdigit()
                    else row[column]
                )
                for column in columns
            },
            "expression_min": row.get(
                "expression_min", config["input"]["expression_min"]
            ),
            "expression_max": row.get(
                "expression_max", config["input"]["expression_max"]
            ),
            "duplicates": config["input"]["duplicates"],
            "title": row["title"] or row["name"],
            "extras": configs.extras_of(row),
        }
        for row in rows
    }


def load_public(tables):
    """Return data set -> the file of the registry that its table is; those whose table is no file of a public data set are left out."""
    origin = config["fetch"]["registry"]
    registry = configs.load_registry(
        origin, configs.load_schema(SCHEMAS / "registry.schema.yaml")
    )
    found = {
        dataset: configs.public_file(
            fill_path(table), fill_path("{data}"), registry, origin
        )
        for dataset, table in tables.items()
    }
    return {dataset: source for dataset, source in found.items() if source}


def load_bins(counts):
    """Return the rows of the sheet of bins, checked; none without a sheet."""
    schema = configs.load_schema(SCHEMAS / "bins.schema.yaml")
    path = fill_path(counts["bins"])
    if not FROM_BINS and not Path(path).is_file():
        return []
    rows = [
        {
            key: fill_path(cell) if isinstance(cell, str) else cell
            for key, cell in row.items()
        }
        for row in configs.load_sheet(path, schema)
    ]
    wanted = {}
    if FROM_BINS:
        sheet.replicates_of(rows, counts["cells"] == "sheet", path)
        wanted["counts.cells"] = fill_path(counts["cells"])
    for name, entry in INDEPENDENT.items():
        wanted[f"evaluation.datasets, {name}"] = fill_path(entry["table"])
    if FROM_READS:
        sheet.check_reads(rows, path)
    sheet.check_simulated(rows, fill_path(SIMULATED), wanted, path)
    return rows


try:
    config = configs.validate(
        config, configs.load_schema(SCHEMAS / "config.schema.yaml"), "config"
    )
    PRESET, SIZES = models.choose_sizes(
        config["model"]["name"], config["model"]["preset"], config["model"]["sizes"]
    )
    configs.check_space(config["tuning"]["space"], config["training"], SIZES)
    INDEPENDENT = load_datasets(config["evaluation"]["datasets"])
    SCORED = [*config["evaluation"]["splits"], *INDEPENDENT]
    EXPLAINED = configs.choose_explained(config["explain"]["dataset"], SCORED)
    configs.check_comparison(config["comparison"]["runs"], config["run"])
    configs.check_dream(config["evaluation"]["dream"], INDEPENDENT)
    PUBLIC = load_public(
        {LIBRARY: config["input"]["table"]}
        | {dataset: entry["table"] for dataset, entry in INDEPENDENT.items()}
        | {
            f"dream/{key}": config["evaluation"]["dream"][key]
            for key in ("subsets", "public")
        }
    )
    FROM_BINS = fill_path(config["input"]["table"]) == fill_path(EXPRESSION)
    FROM_READS = FROM_BINS and not config["counts"]["table"]
    SHEET = load_bins(config["counts"])
    configs.check_splits(config)
    if smk.on_tpu(workflow):
        configs.check_bucket_for_tpu(config)
except GpraflowError as error:
    raise WorkflowError(f"\n{error}\n") from None

BINS = SHEET if FROM_BINS else []
COLUMNS = [sheet.column_of(row) for row in BINS]
COUNTS = fill_path(config["counts"]["table"]) or "results/{run}/counts/counts.parquet"
TABLE_OF_CELLS = (
    []
    if config["counts"]["cells"] in ("sheet", "reads")
    else fill_path(config["counts"]["cells"])
)
SIMULATED_READS = [
    SIMULATED + path.removeprefix(fill_path(SIMULATED))
    for row in SHEET
    for key in ("reads", "reads_2")
    for path in sheet.split_files(row.get(key, ""))
    if path.startswith(fill_path(SIMULATED))
]
REPLICATE_FIGURES = (
    {
        "replicates_png": "results/{run}/figures/assay/replicates.png",
        "replicates_svg": report(
            "results/{run}/figures/assay/replicates.svg",
            caption="../report/replicates.rst",
            category="Assay",
            labels={"figure": "8 replicates"},
        ),
    }
    if len({row.get("replicate", "") for row in BINS}) > 1
    else {}
)
ASSAY_FIGURES = [
    *(["yield", "distinct", "rarefaction", "inserts"] if FROM_READS else []),
    *(["depth", "expression", "profiles"] if FROM_BINS else []),
    *(["replicates"] if REPLICATE_FIGURES else []),
]
TEST_SEQUENCES = (
    [fill_path(config["split"]["test_sequences"])]
    if config["split"]["method"] == "list"
    else []
)
ARCHITECTURE = models.describe(config["model"]["name"])
MODEL = {
    "name": config["model"]["name"],
    "preset": PRESET,
    "sizes": SIZES,
    "scaffold": config["scaffold"]["name"],
}
MOTIFS = config["model"]["motifs"] if ARCHITECTURE.motifs else []
EXTRA_FEATURES = sorted(
    {
        *config["shards"]["extra_features"],
        *models.features_of(config["training"], ARCHITECTURE),
    }
)
SHUFFLED = (
    "results/{run}/shuffled.json" if config["evaluation"]["shuffled_epochs"] else []
)
FROM_SIMULATION = FROM_READS and bool(SIMULATED_READS)
COMPARED, DREAM = config["comparison"]["runs"], config["evaluation"]["dream"]["dataset"]
REPORT_FIGURES = [
    *["scores", "ledger", "leak/distance", "leak/reenactment", "training", "intervals"],
    *[f"assay/{figure}" for figure in ASSAY_FIGURES],
    *[f"predictions/{dataset}" for dataset in SCORED],
    *[f"strata/{dataset}" for dataset in SCORED],
    *(["comparison"] if COMPARED else []),
    *(["factors"] if ARCHITECTURE.parameters else []),
    *(["explain/motifs", "explain/logos"] if EXPLAINED else []),
]
REPORT_TABLES = [
    *["metrics", "checks", "strata", "peers", "intervals", "ledger", "splits/summary"],
    *["neighbours/overlaps", "leak/distances", "leak/reenactment"],
    *(["comparison/scores", "comparison/tests"] if COMPARED else []),
    *(["dream"] if DREAM else []),
    *(["factors"] if ARCHITECTURE.parameters else []),
    *(["explain/motifs"] if EXPLAINED else []),
]


wildcard_constraints:
    trial=r"\d+",
    run=re.escape(config["run"]),
    split="|".join(config["split"]["names"]),
    dataset="|".join(map(re.escape, [LIBRARY, *SCORED])),
    column="|".join(map(re.escape, COLUMNS)) or "there/are/no/bins",
    public="|".join(re.escape(source["dataset"]) for source in PUBLIC.values())
    or "there/are/no/public/files",
    file="|".join(re.escape(source["file"]) for source in PUBLIC.values())
    or "there/are/no/public/files",


def lib(*modules):
    """Return the library modules that decide a rule's result, as inputs: editing one reruns the rules that name it."""
    return [f"scripts/gpraflow/{module}.py" for module in modules]


def model_lib():
    """Return the library modules that decide what the architecture is."""
    return lib("models/__init__", f"models/{ARCHITECTURE.name}", *ARCHITECTURE.uses)


def seed_of(section):
    """Return the seed of a section's step: from the one seed and the section's own."""
    own = config[section].get("seed", 0)
    return randomness.derive(config["seed"], section, own)


def backup_url():
    """Return where checkpoints are copied to: on a TPU always somewhere, because its VM can be taken away."""
    if smk.on_tpu(workflow) and not config["bucket"]["backup"]:
        return f"{fill_path(config['bucket']['url'])}/checkpoints"
    return fill_path(config["bucket"]["backup"])


def table_of(dataset):
    """Return how to read a table: the library's own or an independent one."""
    return config["input"] if dataset == LIBRARY else INDEPENDENT[dataset]


def file_or_receipt(wildcards, name, path):
    """Return a file, or the receipt that it is there if it is one of a public data set."""
    if name in PUBLIC:
        source = PUBLIC[name]
        # What is in the file is settled by the params `fetched`: a receipt that is written again, as after another fetch.timeout, reruns nothing.
        return ancient(
            f"results/{wildcards.run}/fetched/{source['dataset']}/{source['file']}.json"
        )
    return fill_path(path)


def fetched_file(name, path):
    """Return path, DOI and checksum of a public file; nothing for others, which are input files."""
    if name not in PUBLIC:
        return {}
    source = PUBLIC[name]
    return {
        "path": fill_path(path),
        "doi": source["doi"],
        "checksum": source["checksum"],
    }


def path_of_table(wildcards):
    """Return the file that a promoter table is made from, or its receipt."""
    return file_or_receipt(
        wildcards, wildcards.dataset, table_of(wildcards.dataset)["table"]
    )


def fetched_table(wildcards):
    """Return what `fetched_file` says of a promoter table."""
    return fetched_file(wildcards.dataset, table_of(wildcards.dataset)["table"])


def dream_inputs(wildcards):
    """Return the predictions and the files of the DREAM challenge that score_dream reads, or their receipts."""
    dream = config["evaluation"]["dream"]
    table = INDEPENDENT[dream["dataset"]]["table"]
    return {
        "predictions": f"results/{wildcards.run}/predictions/{dream['dataset']}.parquet",
        "table": file_or_receipt(wildcards, dream["dataset"], table),
        "subsets": file_or_receipt(wildcards, "dream/subsets", dream["subsets"]),
        "public": (
            file_or_receipt(wildcards, "dream/public", dream["public"])
            if dream["public"]
            else []
        ),
    }


def dream_fetched():
    """Return what `fetched_file` says of the files of the DREAM challenge."""
    dream = config["evaluation"]["dream"]
    files = {"table": INDEPENDENT.get(dream["dataset"], {}).get("table", "")}
    files |= {key: dream[key] for key in ("subsets", "public")}
    names = {"table": dream["dataset"]}
    return {
        key: fetched_file(names.get(key, f"dream/{key}"), path)
        for key, path in files.items()
    }


def public_source(wildcards):
    """Return what the registry says of a file."""
    return next(
        source
        for source in PUBLIC.values()
        if (source["dataset"], source["file"]) == (wildcards.public, wildcards.file)
    )


def extras_of(dataset):
    """Return what is known of a data set beside its promoters: nothing of the library and its splits."""
    return INDEPENDENT.get(dataset, {}).get("extras", configs.extras_of({}))


def path_of_promoters(dataset, results):
    """Return the promoters of a data set to score: a split of the library or an independent table."""
    folder = "splits" if dataset in config["split"]["names"] else "tables"
    return f"{results}/{folder}/{dataset}.parquet"


def metrics_of_others():
    """Return the scores of the other runs to compare with."""
    return [f"results/{run}/metrics.json" for run in config["comparison"]["runs"]]


def predictions_of_others():
    """Return the other runs' predictions for data sets of this one."""
    paths = [
        f"results/{run}/predictions/{dataset}.parquet"
        for run in config["comparison"]["runs"]
        for dataset in SCORED
    ]
    return [path for path in paths if Path(path).is_file()]


def title_of(dataset):
    """Return the name of a data set in figures."""
    if dataset in INDEPENDENT:
        return INDEPENDENT[dataset]["title"]
    return f"{dataset} split"


def files_of_bin(column, key):
    """Return the files of a bin in a column of the sheet."""
    row = BINS[COLUMNS.index(column)]
    return sheet.split_files(row.get(key, ""))


def reads_to_count(wildcards):
    """Return the reads of a bin: as they are, or merged from pairs."""
    if files_of_bin(wildcards.column, "reads_2"):
        return [f"results/{wildcards.run}/merged/{wildcards.column}.fastq.gz"]
    return files_of_bin(wildcards.column, "reads")


def quality_offset_of(wildcards):
    """Return the quality offset of the reads to count: merged pairs have Phred+33."""
    merged = files_of_bin(wildcards.column, "reads_2")
    return 33 if merged else config["reads"]["quality_offset"]


def ledgers_of_reads(wildcards):
    """Return the ledgers of the steps between reads and counts per bin."""
    return [
        f"results/{wildcards.run}/ledger/{rule}.{column}.tsv"
        for column in COLUMNS
        for rule in ["merge_pairs", "count_reads"]
        if rule == "count_reads" or files_of_bin(column, "reads_2")
    ]


def ledgers_of_run(wildcards):
    """Return the ledgers of all steps, in the order of the way of the data."""
    steps = [
        *(["merge_counts.library"] if FROM_READS else []),
        *(["estimate_expression.library"] if FROM_BINS else []),
        *[f"ingest_table.{dataset}" for dataset in [LIBRARY, *INDEPENDENT]],
        "group_neighbours.library",
        "split_promoters.library",
        *[f"shard_tfrecords.{split}" for split in config["split"]["names"]],
        *[f"predict_promoters.{dataset}" for dataset in SCORED],
    ]
    return [
        *(ledgers_of_reads(wildcards) if FROM_READS else []),
        *[f"results/{wildcards.run}/ledger/{step}.tsv" for step in steps],
    ]


def input_files():
    """Return the files that a run starts from, for their digests: what they are, path, and DOI and checksum of public ones."""
    if FROM_READS:
        library = [
            ("reads", path)
            for column in COLUMNS
            for key in ("reads", "reads_2")
            for path in files_of_bin(column, key)
        ]
    else:
        library = [
            ("counts", COUNTS) if FROM_BINS else (LIBRARY, config["input"]["table"])
        ]
    files = [
        *library,
        *[(name, entry["table"]) for name, entry in INDEPENDENT.items()],
        *[("test sequences", path) for path in TEST_SEQUENCES],
        ("scaffolds", config["scaffold"]["file"]),
        *([("motifs", MOTIFS)] if MOTIFS else []),
    ]
    return [
        {"what": name, "path": fill_path(path), **fetched_file(name, path)}
        for name, path in files
    ]
