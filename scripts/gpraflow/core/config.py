"""Validation of the config and of sheets: defaults, checks across keys, and messages that name the key and the nearest valid one."""

import os
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from gpraflow.core import documents, scaffolds
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError, nearest
from gpraflow.core.urls import SecretUrl, check_bucket, redacted

_LONGEST_PATH, _LONGEST_NAME = 4000, 255  # bytes that Linux allows, less those of temporary names
EXPRESSION = "results/{run}/expression/promoters.parquet"  # table that is estimated from sorted bins


def load(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a config with all defaults, validated against the schema.

    Raises
    ------
    ConfigError
        With one line for each invalid key.
    """
    return schemas.validate(dict(content), schemas.load("config"), "config")


def from_counts(content: Mapping[str, Any]) -> bool:
    """Return whether expression is estimated from counts in this run, rather than read from a table."""
    return not content["input"]["tables"] and _is_estimated(content["input"]["table"], content)


def _is_estimated(table: str, content: Mapping[str, Any]) -> bool:
    """Return whether a table is the one that this run estimates from counts."""
    filled = [path.replace("{run}", content["run"]).replace("{data}", content["data"]) for path in (table, EXPRESSION)]
    return filled[0] == filled[1]


def from_bins(content: Mapping[str, Any]) -> bool:
    """Return whether expression is estimated from counts of sorted bins in this run."""
    return from_counts(content) and content["counts"]["kind"] == "sorted_bins"


def from_dna_rna(content: Mapping[str, Any]) -> bool:
    """Return whether expression is estimated from counts of DNA and RNA in this run."""
    return from_counts(content) and content["counts"]["kind"] == "dna_rna"


def check_counts(content: Mapping[str, Any]) -> None:
    """Check that keys of ``counts`` agree with ``counts.kind``.

    Raises
    ------
    ConfigError
        If DNA and RNA counts have no table or no header, or training needs bins that they do not have.
    """
    if not from_dna_rna(content):
        return
    if not content["counts"]["table"]:
        raise ConfigError(
            "counts.kind: dna_rna needs counts.table, a table of DNA and RNA counts per barcode or promoter; "
            "count barcodes with a program such as MPRAsnakeflow (config/mprasnakeflow.yaml)"
        )
    if not content["counts"]["header"]:
        raise ConfigError(
            "counts.header: false needs sorted bins, but counts.kind is dna_rna, whose sample sheet names columns; "
            "add a first row with the names of columns to counts.table"
        )
    if content["training"]["loss"] == "bins":
        raise ConfigError("training.loss: bins needs sorted bins, but counts.kind is dna_rna; set training.loss: mse")


def check_tables(content: Mapping[str, Any], taken: Sequence[str]) -> None:
    """Check that ``input.tables``, if there are any, agree with other keys.

    Parameters
    ----------
    content
        The config with all defaults.
    taken
        Names that a table must not have: those of data sets and splits.

    Raises
    ------
    ConfigError
        If not.
    """
    tables, own = content["input"]["tables"], content["input"]["table"]
    if not tables:
        return
    if not _is_estimated(own, content):
        raise ConfigError(f"input.table: {own} is given beside input.tables, which takes its place; remove it, or list it in input.tables")
    if len(tables) < 2:
        raise ConfigError(f"input.tables: there is one table ({', '.join(tables)}); give two or more, or set input.table")
    if content["input"].get("conditions"):
        raise ConfigError("input.tables: tables of several conditions (input.conditions) cannot be joined yet; give one of the two keys")
    for name, entry in tables.items():
        if name in taken:
            raise ConfigError(f"input.tables: '{name}' is already the name of a data set or split; rename the table")
        if _is_estimated(entry["table"], content):
            raise ConfigError(
                f"input.tables.{name}: {entry['table']} is the table that this run would estimate from counts, but a run that joins tables "
                "has no counts; estimate it in a run of its own, and give results/<that run>/expression/promoters.parquet"
            )
    if content["training"]["loss"] == "bins" and content["training"]["bin_labels"] == "cells":
        raise ConfigError(
            "training.bin_labels: cells needs cells per bin, which tables of several sorts do not share; set training.loss: mse"
        )


def check_teacher(content: Mapping[str, Any]) -> None:
    """Raise `ConfigError` if a network cannot learn a teacher's predictions."""
    training = content["training"]
    if training["teacher"] and (training["loss"], training["bin_labels"]) == ("bins", "cells"):
        raise ConfigError(
            "training.bin_labels: cells needs cells per bin, but training.teacher predicts expression; set training.bin_labels: normal, or "
            "training.loss: mse"
        )


def from_reads(content: Mapping[str, Any]) -> bool:
    """Return whether this run counts the reads of sorted bins itself."""
    return from_bins(content) and not content["counts"]["table"]


def input_unit(content: Mapping[str, Any]) -> str:
    """Return the unit of expression as it is estimated or read: that of ``plots.unit``, or what the input is."""
    if content["plots"]["unit"] != "auto":
        return content["plots"]["unit"]
    if content["input"]["tables"]:
        return f"units of the table {next(iter(content['input']['tables']))}"
    if from_dna_rna(content):
        return "log2(RNA/DNA)"
    return {"bin": "bin units", "gate": "units of the gates"}[content["counts"]["scale"]] if from_bins(content) else "units of the table"


def unit(content: Mapping[str, Any]) -> str:
    """Return the unit of expression in training, scores and figures: that of the input (`input_unit`), transformed."""
    own, transform = content["plots"]["unit"], content["input"]["transform"]
    return input_unit(content) if transform == "none" else transformed_unit(transform, "expression" if own == "auto" else own)


def transformed_unit(transform: str, name: str) -> str:
    """Return the unit of a quantity after ``input.transform``."""
    return {"none": name, "log2": f"log2({name})", "rank_normal": f"normal score of {name}"}[transform]


def check_transform(content: Mapping[str, Any]) -> None:
    """Check that other keys agree with ``input.transform``.

    Raises
    ------
    ConfigError
        If not.
    """
    name, floor = content["input"]["transform"], content["input"]["transform_floor"]
    if floor is not None and name != "log2":
        raise ConfigError(
            f"input.transform_floor: {floor:g} applies to input.transform: log2 only, and that is {name}; remove it, or set log2"
        )
    if name == "none":
        return
    if content["training"]["loss"] == "bins" and content["training"]["bin_labels"] == "normal":
        raise ConfigError(f"training.bin_labels: normal needs expression in bins, but input.transform is {name}; set training.loss: mse")
    if content["evaluation"]["dream"]["dataset"]:
        raise ConfigError(f"input.transform: {name} changes the labels that evaluation.dream scores; set input.transform: none")


def check_conditions(content: Mapping[str, Any], conditions: Sequence[str], datasets: Mapping[str, str]) -> None:
    """Check the conditions of independent data sets, and keys that do not work with several conditions.

    Parameters
    ----------
    content
        The config.
    conditions
        Conditions of the library; empty for one.
    datasets
        Independent data set -> its condition; empty for all conditions.

    Raises
    ------
    ConfigError
        If a data set has an unknown condition, or a key needs a single condition.
    """
    taken: dict[str, str] = {}
    for name, entry in content["input"]["conditions"].items():
        of_expression = str(entry["expression"])
        if of_expression != "auto" and (other := taken.setdefault(of_expression, name)) != name:
            raise ConfigError(
                f"input.conditions: {other} and {name} have the same column of expression, '{of_expression}'; name a column for each "
                "condition. A table with a row for each promoter and condition must be pivoted first, so that each condition has a column"
            )
    sheet = content["evaluation"]["datasets"]
    for name, condition in datasets.items():
        if condition and condition not in conditions:
            known = ", ".join(conditions) or "none: the library was measured in one condition"
            raise ConfigError(
                f"{sheet}, {name}: condition '{condition}' is not one of the library's{nearest(condition, conditions)} ({known})"
            )
    if conditions and content["evaluation"]["dream"]["dataset"]:
        raise ConfigError(
            "evaluation.dream: the challenge has one condition, but the library several; leave evaluation.dream.dataset empty"
        )
    if conditions and content["prediction"]["pairs"]:
        raise ConfigError("prediction.pairs: pairs of independent data sets need a library of one condition; leave it empty")


def check_simulated_conditions(number: int, conditions: Sequence[str], sheet: str) -> None:
    """Check that the simulated assay has as many conditions as its sample sheet.

    Raises
    ------
    ConfigError
        If not.
    """
    if number != (len(conditions) or 1):
        raise ConfigError(
            f"simulate.conditions: {number}, but {sheet} has {len(conditions) or 1}; give each of them bins in the column condition"
        )


def check_urls(content: Mapping[str, Any]) -> None:
    """Check the URLs of the bucket and of checkpoint backups.

    Raises
    ------
    ConfigError
        If one has another scheme than ``file://`` and ``gs://``, or holds a key.
    """
    bucket = content["bucket"]
    check_bucket(bucket["url"], "bucket.url")
    if bucket["backup"]:
        check_bucket(bucket["backup"], "bucket.backup")


def check_path(path: str, where: str) -> None:
    """Check that a path, with ``{run}`` and ``{data}`` replaced, has no braces, which Snakemake takes as wildcards, and is not too long.

    Raises
    ------
    ConfigError
        If not.
    """
    if len(os.fsencode(path)) > _LONGEST_PATH or any(len(os.fsencode(part)) > _LONGEST_NAME for part in path.split("/")):
        raise ConfigError(
            f"{where}: '{redacted(path):.60}...' is too long: a path has at most {_LONGEST_PATH} bytes, each of its names {_LONGEST_NAME}; "
            "is this a path?"
        )
    if "{" in path or "}" in path:
        raise ConfigError(
            f"{where}: '{redacted(path)}' has a brace, which Snakemake takes as a wildcard; rename the file or folder (only {{run}} and "
            "{data} are replaced)"
        )


def check_ranges(content: Mapping[str, Any]) -> None:
    """Check that the minimum of each range is not above its maximum.

    Raises
    ------
    ConfigError
        If it is.
    """
    low, high = content["scaffold"]["insert_length"]
    if low > high:
        raise ConfigError(f"scaffold.insert_length: [{low}, {high}]: the minimum comes first; write [{high}, {low}]")
    check_range(content["input"]["expression_min"], content["input"]["expression_max"], "input.expression_min")


def check_range(low: float, high: float, where: str) -> None:
    """Check that the lowest valid expression is below the highest.

    Raises
    ------
    ConfigError
        If it is not.
    """
    if low >= high:
        raise ConfigError(f"{where}: {low:g} is not below expression_max, {high:g}; no expression is valid")


def check_scaffold(path: str | os.PathLike, name: str) -> None:
    """Check that a file of scaffolds, if it is there, has a scaffold, with valid sequences (`scaffolds.entry`).

    Raises
    ------
    ConfigError
        If it has not.
    """
    if os.path.exists(path):
        scaffolds.entry(path, name)


def check_umi(content: Mapping[str, Any]) -> None:
    """Check that the flanks have N, the bases of the UMI, if UMIs are used.

    Raises
    ------
    ConfigError
        If not.
    """
    keys = content["reads"]
    if keys["umi"] != "ignore" and "N" not in keys["five_prime"] + keys["three_prime"]:
        raise ConfigError(
            f"reads.umi: {keys['umi']} needs the place of the UMI: write its bases as N in reads.five_prime (now {keys['five_prime']}) or "
            f"reads.three_prime (now {keys['three_prime']}), such as ACGTNNNNNNNNACGT; or set reads.umi: ignore"
        )


def check_splits(content: dict[str, Any]) -> None:
    """Check that every split to score is made, and that ``split.method: list`` has its list of test sequences.

    Raises
    ------
    ConfigError
        If not.
    """
    made = content["split"]["names"]
    for name in content["evaluation"]["splits"]:
        if name not in made:
            raise ConfigError(f"evaluation.splits: '{name}' is not in split.names ({', '.join(made)})")
    if content["split"]["method"] == "list" and not (content["split"]["test_sequences"] and "test" in made):
        raise ConfigError("split.method: list needs split.test_sequences (a FASTA file or table), and test in split.names")


def extras_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns that a row of the sheet of independent data sets names beside those of the promoter table.

    Returns
    -------
    dict
        ``published_models``, ``groups``, ``replicates`` (lists of columns), ``parent``, ``parent_sequence``, ``parent_expression`` (a
        column or empty), ``sd_is``, and the columns to read for them: ``keep``, and ``keep_if_there`` if the table has them.
    """
    lists = {
        key: [name.strip() for name in row.get(key, "").split(",") if name.strip()] for key in ("published_models", "groups", "replicates")
    }
    single = {key: row.get(key, "") for key in ("parent", "parent_sequence", "parent_expression")}
    keep = [*dict.fromkeys([*chain.from_iterable(lists.values()), *filter(None, single.values())])]
    # A table can hold a published model's predictions for parents too: of the model `x` in x_parent or, in published tables, x_base.
    of_parents = [f"{model}_{end}" for model in lists["published_models"] for end in ("parent", "base") if single["parent_expression"]]
    return {**lists, **single, "sd_is": row.get("sd_is", "standard_error"), "keep": keep, "keep_if_there": of_parents}


def check_comparison(runs: Sequence[str], own: str) -> None:
    """Check that the runs to compare with are finished and differ from this run.

    Raises
    ------
    ConfigError
        If not.
    """
    for run in runs:
        if run == own:
            raise ConfigError(f"comparison.runs: '{run}' is this run itself, which is always included; remove it")
        if not (path := Path("results") / run / "metrics.json").is_file():
            finished = sorted(file.parent.name for file in Path("results").glob("*/metrics.json") if file.parent.name != own)
            hint = nearest(run, finished) if finished else ""
            raise ConfigError(f"comparison.runs: {path} does not exist{hint} (finished: {', '.join(finished) or 'none'}); finish it first")


def choose_explained(requested: str, scored: Sequence[str]) -> str:
    """Return the data set for model interpretation: ``auto`` is the first scored one; empty for none.

    Raises
    ------
    ConfigError
        If the data set is not scored.
    """
    if requested == "auto":
        return scored[0] if scored else ""
    if requested and requested not in scored:
        there = ", ".join(scored) or "none"
        raise ConfigError(
            f"explain.dataset: '{requested}' is not scored{nearest(requested, scored)} (evaluation.splits and datasets are {there})"
        )
    return requested


def check_pairs(names: Sequence[str], datasets: Mapping[str, Any]) -> None:
    """Check that the data sets of ``prediction.pairs`` are independent data sets.

    Raises
    ------
    ConfigError
        If one is not.
    """
    for name in names:
        if name not in datasets:
            there = ", ".join(datasets) or "none"
            raise ConfigError(f"prediction.pairs: '{name}' is not an independent data set{nearest(name, datasets)} (known: {there})")


def check_dream(dream: Mapping[str, Any], datasets: Mapping[str, Any]) -> None:
    """Check that the DREAM challenge's test table is an independent data set and that its subsets are given.

    Raises
    ------
    ConfigError
        If not.
    """
    name = dream["dataset"]
    if name and name not in datasets:
        there = ", ".join(datasets) or "none"
        raise ConfigError(f"evaluation.dream.dataset: '{name}' is not an independent data set{nearest(name, datasets)} (known: {there})")
    if name and datasets[name]["header"]:
        raise ConfigError(
            f"evaluation.dream.dataset: '{name}' has a header; the challenge's test table has none, since rows are addressed by position"
        )
    if name and not dream["subsets"]:
        raise ConfigError("evaluation.dream.subsets: give the folder or .tar.gz of the challenge's test_subset_ids")


def check_design(content: Mapping[str, Any], readouts: Sequence[str]) -> None:
    """Check the keys of ``design`` that the schema cannot: targets, the range of a ladder, and the condition.

    Parameters
    ----------
    content
        The config.
    readouts
        Conditions and differences of the run; one empty name without conditions.

    Raises
    ------
    ConfigError
        If one does not fit.
    """
    design = content["design"]
    if "target" in design["objectives"] and not design["targets"]:
        raise ConfigError("design.targets: the objective target needs at least one target; give expression, such as [4, 8, 12]")
    ends = design["ladder_range"]
    if len(ends) == 1 or (ends and ends[0] >= ends[1]):
        raise ConfigError(f"design.ladder_range: found {ends}, expected lowest and highest target, or [] for the range of predictions")
    if design["condition"] and design["condition"] not in readouts:
        there = ", ".join(filter(None, readouts)) or "one condition, without a name"
        raise ConfigError(f"design.condition: '{design['condition']}' is no condition{nearest(design['condition'], readouts)} (of {there})")


def check_space(space: Sequence[Mapping[str, Any]], options: Mapping[str, Any], sizes: Mapping[str, Any]) -> None:
    """Check the keys and ranges of ``tuning.space``.

    Raises
    ------
    ConfigError
        If a key is neither ``training.<key>`` nor ``model.sizes.<size>`` of the chosen architecture, or its range is invalid.
    """
    known = [f"training.{key}" for key in options] + [f"model.sizes.{key}" for key in sizes]
    for entry in space:
        key, values = entry["key"], {name: value for name, value in entry.items() if name != "key"}
        if key not in known:
            raise ConfigError(f"tuning.space: '{key}' is not a key that can be tuned{nearest(key, known)}")
        if "choices" in values:
            if set(values) != {"choices"} or not values["choices"]:
                raise ConfigError(f"tuning.space.{key}: choices must not be empty or combined with other keys, found {values}")
        elif not {"low", "high"} <= set(values) <= {"low", "high", "log"} or not values["low"] < values["high"]:
            raise ConfigError(f"tuning.space.{key}: expected low, high (greater than low) and optionally log, or choices; found {values}")
        elif values.get("log") and values["low"] <= 0:
            raise ConfigError(f"tuning.space.{key}: low must be above 0 for log, found {values['low']}")


def organism_of(path: str | os.PathLike, name: str) -> str:
    """Return the organism that a file of scaffolds gives for a scaffold; empty if it gives none, or cannot be read yet."""
    try:
        return scaffolds.entry(path, name)["organism"]
    except ConfigError:
        return ""  # the first rule that needs the scaffold names what is wrong with the file


def load_registry(path: str | os.PathLike, schema: dict[str, Any]) -> dict[str, Any]:
    """Read the registry of public data sets.

    Raises
    ------
    ConfigError
        If the file is missing or invalid, or the checksum of a file is neither given nor available from Zenodo.
    """
    if not os.path.exists(path):
        raise ConfigError(f"fetch.registry: {path} does not exist")
    content = documents.of_yaml(path, str(path), "a registry of data sets, which maps names to entries")
    registry = schemas.validate(content, schema, str(path))
    for dataset, entry in registry.items():
        for role, file in entry["files"].items():
            if not entry["doi"] and not (file["checksum"] and file["mirrors"]):
                raise ConfigError(f"{path}, {dataset}.files.{role}: without a Zenodo doi, a file needs a checksum and mirrors")
    return registry


def public_file(table: str, data: str, registry: dict[str, Any], origin: str) -> dict[str, Any] | None:
    """Return the arguments of `downloads.Source` for the table ``<data>/<data set>/<file>``; None if it belongs to no public data set.

    Parameters
    ----------
    table
        Path from the config, with ``{data}`` filled in.
    data
        Data folder of the config.
    registry
        See `load_registry`.
    origin
        Path of the registry.

    Raises
    ------
    ConfigError
        If the registry has the data set but not the file, and the file does not exist.
    """
    path = os.path.normpath(table)
    dataset, name = os.path.basename(os.path.dirname(path)), os.path.basename(path)
    if dataset not in registry or path != os.path.normpath(os.path.join(data, dataset, name)):
        return None
    entry = registry[dataset]
    by_name = {file["name"]: file for file in entry["files"].values()}
    if name not in by_name:
        if os.path.isfile(path):
            return None
        raise ConfigError(f"{table}: {origin} has no file '{name}' in {dataset}{nearest(name, by_name)} (it has {', '.join(by_name)})")
    file = by_name[name]
    return {
        "dataset": dataset,
        "file": name,
        "doi": entry["doi"],
        "checksum": file["checksum"],
        "mirrors": [SecretUrl(mirror) for mirror in file["mirrors"]],
        "registry": origin,
    }
