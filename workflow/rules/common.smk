import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(workflow.basedir) / "scripts"))

from snakemake.exceptions import WorkflowError

from gpraflow import config as configs
from gpraflow import randomness, smk
from gpraflow.errors import GpraflowError

smk.recover()
SCHEMAS = Path(workflow.basedir) / "workflow" / "schemas"


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
            "header": True,
            "columns": {column: row[column] for column in columns},
            "expression_min": row.get(
                "expression_min", config["input"]["expression_min"]
            ),
            "expression_max": row.get(
                "expression_max", config["input"]["expression_max"]
            ),
            "duplicates": config["input"]["duplicates"],
            "title": row["title"] or row["name"],
        }
        for row in rows
    }


def load_bins(counts):
    """Return the rows of the sheet of bins, if counts are what the run starts from."""
    schema = configs.load_schema(SCHEMAS / "bins.schema.yaml")
    return (
        configs.load_sheet(fill_path(counts["bins"]), schema) if counts["table"] else []
    )


try:
    config = configs.validate(
        config, configs.load_schema(SCHEMAS / "config.schema.yaml"), "config"
    )
    SIZES = configs.choose_preset(config["model"])
    INDEPENDENT = load_datasets(config["evaluation"]["datasets"])
    BINS = load_bins(config["counts"])
    configs.check_splits(config)
except GpraflowError as error:
    raise WorkflowError(f"\n{error}\n") from None

LIBRARY = "library"
SCORED = [*config["evaluation"]["splits"], *INDEPENDENT]


wildcard_constraints:
    run=re.escape(config["run"]),
    split="|".join(config["split"]["names"]),
    dataset="|".join(map(re.escape, [LIBRARY, *SCORED])),


def lib(*modules):
    """Return the library modules that decide a rule's result, as inputs: editing one reruns the rules that name it."""
    return [f"scripts/gpraflow/{module}.py" for module in modules]


def seed_of(section):
    """Return the seed of a section's step: from the one seed and the section's own."""
    own = config[section].get("seed", 0)
    return randomness.derive(config["seed"], section, own)


def table_of(dataset):
    """Return how to read a table: the library's own or an independent one."""
    return config["input"] if dataset == LIBRARY else INDEPENDENT[dataset]


def path_of_table(wildcards):
    """Return the file that a promoter table is made from."""
    return fill_path(table_of(wildcards.dataset)["table"])


def path_of_promoters(wildcards):
    """Return the promoters to predict: a split of the library or an independent table."""
    folder = "splits" if wildcards.dataset in config["split"]["names"] else "tables"
    return f"results/{wildcards.run}/{folder}/{wildcards.dataset}.parquet"


def title_of(dataset):
    """Return the name of a data set in figures."""
    if dataset in INDEPENDENT:
        return INDEPENDENT[dataset]["title"]
    return f"{dataset} split"
