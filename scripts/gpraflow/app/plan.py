"""The plan of a run, derived from its config: data sets, bins, model, and the figures and tables of its report.

The Snakefile creates one `Plan` from the validated config and its sheets; rules get their inputs and parameters from it. This module does
not depend on Snakemake and imports only packages that Snakemake itself requires.
"""

from collections.abc import Iterable, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import Any

from gpraflow.assay import sheet
from gpraflow.core import conditions, numbers, randomness, resources
from gpraflow.core import config as configs
from gpraflow.core import schema as schemas
from gpraflow.core.errors import ConfigError, InputError
from gpraflow.models import registry
from gpraflow.sequences import motif_files, segments

SIMULATED = "results/{run}/simulated/"
LIBRARY = "library"
COLUMNS = ("sequence", "expression", "expression_sd", "n_reads", "group")  # columns that a sheet of independent data sets can name

_EXPLAINED = {"sample": 24, "compact": 1000}  # promoters that are explained; with other models `_EXPLAINED_OTHERWISE`
_EXPLAINED_OTHERWISE = 200
_DESIGNS, _COMPARED = 20, 4  # designs of each objective in the simulated sample, and those with which searches are compared

_PATHS = {  # section -> keys with a path or a bucket
    "fetch": ["registry"],
    "simulate": ["motifs"],
    "reads": ["design"],
    "counts": ["table", "sample_sheet", "cells", "barcodes", "design"],
    "input": ["table"],
    "scaffold": ["file"],
    "split": ["test_sequences"],
    "bucket": ["url", "backup"],
    "model": ["motifs"],
    "training": ["initial_model", "teacher"],
    "evaluation": ["datasets"],
    "explain": ["motifs"],
    "design": ["motifs", "judge"],
}


class Plan:
    """A run: the validated config and everything derived from it.

    Parameters
    ----------
    config
        The user's config; schema defaults are added.

    Attributes
    ----------
    config : dict
        The validated config with all defaults.
    independent : dict
        Independent data set -> options for reading its table, as in the config section ``input``.
    conditions : list of str
        Conditions in which the library was measured; empty for one.
    tables : dict
        Table to join -> options for reading it, as in the config section ``input``; empty if the library is one table.
    datasets : list of str
        Splits and independent data sets that are predicted.
    scored : list of str
        What is scored: these data sets or, with several conditions, each of them in each condition and for each difference, such as
        ``test.glucose`` and ``test.galactose-glucose``.
    explained : str
        Data set whose promoters are explained; empty if none.
    public : dict
        Data set -> its file in the registry of public data sets; only for data sets in the registry.
    bins : list of dict
        Rows of the sample sheet of sorted bins, with unsorted samples, which are counted like bins; empty if expression comes from DNA
        and RNA counts or from a table.
    sheet : list of dict
        Rows of the sample sheet, of whatever kind.
    columns : list of str
        Unique column name of each bin.
    counts : list of str
        Tables of counts per bin, or the table of DNA and RNA counts.
    places : list of tuple
        Where the reads of each bin stand in these tables.
    architecture : registry.Architecture
        Architecture of the model.
    teacher : str
        Directory of the model whose predictions are learned; empty for none.

    Raises
    ------
    ConfigError, InputError
        If the config or a sheet is invalid, or they are inconsistent.
    """

    def __init__(self, config: Mapping[str, Any]):
        self.config = config = configs.load(config)
        model = config["model"]
        preset, sizes = registry.choose_sizes(model["name"], model["preset"], model["sizes"])
        configs.check_space(config["tuning"]["space"], config["training"], sizes)
        configs.check_splits(config)
        configs.check_ranges(config)
        segments.parse(config["scaffold"]["segments"])
        configs.check_transform(config)
        configs.check_teacher(config)
        configs.check_urls(config)
        configs.check_umi(config)
        configs.check_counts(config)
        self._check_paths()
        self.scaffolds = resources.resolve(config["scaffold"]["file"], resources.SCAFFOLDS, "scaffold.file")
        configs.check_scaffold(self.scaffolds, config["scaffold"]["name"])
        self.independent = self._load_datasets(config["evaluation"]["datasets"])
        configs.check_tables(config, [LIBRARY, *config["split"]["names"], *self.independent])
        self.tables = self._load_tables()
        self.datasets = [*config["evaluation"]["splits"], *self.independent]
        self.explained = configs.choose_explained(config["explain"]["dataset"], self.datasets)
        configs.check_comparison(config["comparison"]["runs"], config["run"])
        configs.check_pairs(config["prediction"]["pairs"], self.independent)
        configs.check_dream(config["evaluation"]["dream"], self.independent)
        self.dream = config["evaluation"]["dream"]["dataset"]
        self.public = self._load_public()
        self.from_counts = configs.from_counts(config)
        self.from_bins = configs.from_bins(config)
        self.from_dna_rna = configs.from_dna_rna(config)
        self.from_reads = configs.from_reads(config)
        self.sheet = self._load_sheet()
        self.conditions = self._conditions()
        self.scored = [conditions.column(dataset, readout) for dataset in self.datasets for readout in self.readouts_of(dataset)]
        if self.from_bins and sheet.by_quantile(self.sheet) and (config["counts"]["scale"], config["plots"]["unit"]) == ("gate", "auto"):
            config["plots"]["unit"] = "SD of the population"
        self._check_paths_of_sheets()
        self.bins = self.sheet if self.from_bins else []
        self.columns = [sheet.column_of(row) for row in self.bins]
        self.counts, self.places = self._count_tables()
        self.simulated_reads = [
            SIMULATED + path.removeprefix(self.fill(SIMULATED))
            for row in self.sheet
            for key in ("reads", "reads_2")
            for path in sheet.split_files(row.get(key, ""))
            if path.startswith(self.fill(SIMULATED))
        ]
        self.from_simulation = self.from_reads and bool(self.simulated_reads)
        self.architecture = registry.describe(model["name"])
        self.model = {"name": model["name"], "preset": preset, "sizes": sizes, "scaffold": config["scaffold"]["name"]}
        self.motifs: str | list[str] = (self.motif_file("model") or []) if self.architecture.motifs else []
        self._check_needed_motifs()
        self.teacher = self._teacher()
        configs.check_design(config, self.readouts)

    def fill(self, text: str) -> str:
        """Return a path or URL of the config with {run} and {data} replaced."""
        return text.replace("{run}", self.config["run"]).replace("{data}", self.config["data"])

    def seed_of(self, section: str) -> int:
        """Return the seed of a section's step, derived from the base seed and the section's own seed."""
        return randomness.derive(self.config["seed"], section, self.config[section].get("seed", 0))

    # Conditions

    def _conditions(self) -> list[str]:
        """Return the conditions of the sample sheet or of ``input.conditions``; none if there is only one."""
        sheet_path, named = self.fill(self.config["counts"]["sample_sheet"]), self.config["input"]["conditions"]
        if not self.from_counts:
            found = conditions.check(named, "input.conditions")
        elif named:
            raise ConfigError(
                f"input.conditions names the columns of input.table, but this run estimates expression from counts; remove it, and give "
                f"the conditions in the column condition of {sheet_path}"
            )
        else:
            found = conditions.of_rows(self.sheet, sheet_path)
        of_sheet = [entry["condition"] for entry in self.independent.values()]
        configs.check_conditions(self.config, found, dict(zip(self.independent, of_sheet, strict=True)))
        if self.from_bins and self.fill(self.config["counts"]["cells"]).startswith(self.fill(SIMULATED)):
            configs.check_simulated_conditions(self.config["simulate"]["conditions"], found, sheet_path)
        return found

    @property
    def readouts(self) -> list[str]:
        """Return the conditions and the differences between them; one empty name without conditions."""
        return conditions.readouts(self.conditions) or [""]

    def readouts_of(self, dataset: str) -> list[str]:
        """Return the readouts in which a data set was measured: all, or the one condition of an independent data set."""
        own = self.independent.get(dataset, {}).get("condition", "")
        return [own] if own else self.readouts

    def dataset_of(self, scored: str) -> str:
        """Return the data set of one of ``scored``."""
        return scored.rpartition(".")[0] if self.conditions else scored

    def readout_of(self, scored: str) -> str:
        """Return the readout of one of ``scored``; empty without conditions."""
        return scored.rpartition(".")[2] if self.conditions else ""

    @property
    def readouts_explained(self) -> list[str]:
        """Return the readouts whose predictions are explained; none with one condition."""
        return list(filter(None, self.readouts_of(self.explained))) if self.explained else []

    @staticmethod
    def folders(readouts: Iterable[str]) -> list[str]:
        """Return the ends of the folders with what is made for each readout, such as ``/glucose``; one empty end without readouts."""
        return [f"/{readout}" for readout in readouts] or [""]

    def quantity_of(self, scored: str) -> str:
        """Return what is measured and predicted in one of ``scored``, for figures."""
        difference = self.readout_of(scored) in conditions.differences(self.conditions)
        return "difference of expression" if difference else "expression"

    def measured_conditions(self, dataset: str) -> list[str]:
        """Return the conditions in which a data set was measured; empty if there is only one."""
        own = self.independent.get(dataset, {}).get("condition", "")
        return [own] if own else self.conditions

    @property
    def simulates(self) -> bool:
        """Return True if this run reads a file of the simulated assay."""
        paths = [file["path"] for file in self.input_files()] + ([self.cells] if self.from_bins and isinstance(self.cells, str) else [])
        return any(path.startswith(self.fill(SIMULATED)) for path in paths)

    # Motif files

    def motif_file(self, section: str) -> str:
        """Return the motif file of a section; empty if none."""
        value = self.fill(self.config[section]["motifs"])
        return resources.resolve(value, resources.MOTIFS, f"{section}.motifs")

    @property
    def with_motifs(self) -> bool:
        """Return True if known motifs are searched for in the explained promoters."""
        return bool(self.explained and self.motif_file("explain"))

    @property
    def motifs_beside_factors(self) -> list[str]:
        """Return the table of motifs of the first readout, for comparison with the factors of an interpretable model; or nothing."""
        if not (self.motifs and self.with_motifs):
            return []
        return [f"results/{{run}}/explain{self.folders(self.readouts_explained)[0]}/motifs.tsv"]

    @property
    def explained_promoters(self) -> int:
        """Return the number of promoters to explain."""
        number = self.config["explain"]["promoters"]
        kind = "sample" if self.from_simulation else self.config["model"]["name"]
        return _EXPLAINED.get(kind, _EXPLAINED_OTHERWISE) if number == "auto" else number

    @property
    def with_de_novo(self) -> bool:
        """Return True if motifs are searched for without known motifs in the explained promoters."""
        return bool(self.explained and self.config["explain"]["de_novo"])

    @property
    def sections_with_motifs(self) -> list[str]:
        """Return the sections of the config whose motif files this run reads."""
        used = {"simulate": self.simulates, "model": bool(self.motifs), "explain": self.with_motifs}
        used |= {"design": bool(self.designs and self.motif_file("design"))}
        return [section for section, is_used in used.items() if is_used]

    @property
    def foreign_motifs(self) -> list[str]:
        """Return the keys whose motifs are a built-in set of an organism that the scaffold does not name as its own."""
        of_scaffold = configs.organism_of(self.scaffolds, self.config["scaffold"]["name"])
        organisms = {section: resources.MOTIF_ORGANISMS.get(self.config[section]["motifs"], "") for section in self.sections_with_motifs}
        return [f"{section}.motifs" for section, organism in organisms.items() if organism and organism != of_scaffold]

    def check_motif_files(self) -> None:
        """Read all motif files of this run, before any job starts.

        Raises
        ------
        InputError
            If a file cannot be used; the message names key, file and line.
        """
        section_of = {self.motif_file(section): section for section in reversed(self.sections_with_motifs)}
        for path, section in section_of.items():
            try:
                motif_files.read(path)
            except InputError as error:
                raise InputError(f"{section}.motifs: {error}") from None

    def _check_needed_motifs(self) -> None:
        if self.simulates and not self.motif_file("simulate"):
            raise ConfigError("simulate.motifs: the simulation needs motifs; give a motif file or jaspar2026_yeast")
        if not self.architecture.motifs or self.motifs:
            return
        name, learned = self.architecture.name, self.architecture.learned
        if not learned:
            raise ConfigError(
                f"model.motifs: {name} needs a motif file; give one, or choose a model that needs none, such as compact or baseline_kmer"
            )
        if not self.model["sizes"][learned]:
            raise ConfigError(
                f"model.motifs: without a motif file, {name} has motifs only if it learns them, and model.sizes.{learned} is 0; "
                f"set model.sizes: {{{learned}: 48}}, give a motif file, or choose a model that needs none, such as compact"
            )

    # Sheets and public data sets

    def _load_datasets(self, path: str) -> dict[str, dict[str, Any]]:
        rows = schemas.load_sheet(path, schemas.load("datasets")) if path else []
        inputs = self.config["input"]
        for row in rows:
            low, high = (row.get(key, inputs[key]) for key in ("expression_min", "expression_max"))
            configs.check_range(low, high, f"{path}, row {row.line}: expression_min")

        def column(row: Mapping[str, Any], name: str) -> str | int:
            number = None if row["header"] else numbers.parse_count(row[name])
            return row[name] if number is None else number

        return {
            row["name"]: {
                "table": row["table"],
                "format": "auto",
                "header": row["header"],
                "columns": {name: column(row, name) for name in COLUMNS} | {"name": "auto"},  # "name" in the sheet names the data set
                "expression_min": row.get("expression_min", inputs["expression_min"]),
                "expression_max": row.get("expression_max", inputs["expression_max"]),
                "decimal": row.get("decimal", inputs["decimal"]),
                **{key: inputs[key] for key in ("separator", "missing", "ambiguous")},
                "duplicates": inputs["duplicates"],
                "barcodes": inputs["barcodes"],
                "title": row["title"] or row["name"],
                "condition": row["condition"],
                "extras": configs.extras_of(row),
            }
            for row in rows
        }

    def _load_tables(self) -> dict[str, dict[str, Any]]:
        inputs = self.config["input"]
        return {
            name: inputs | entry | {"columns": inputs["columns"] | entry.get("columns", {})} for name, entry in inputs["tables"].items()
        }

    def _load_public(self) -> dict[str, dict[str, Any]]:
        origin = resources.resolve(self.config["fetch"]["registry"], resources.REGISTRIES, "fetch.registry")
        known = configs.load_registry(origin, schemas.load("registry"))
        dream = self.config["evaluation"]["dream"]
        tables = {name: self.table_of(name)["table"] for name in self.sources}
        tables |= {dataset: entry["table"] for dataset, entry in self.independent.items()}
        tables |= {f"dream/{key}": dream[key] for key in ("subsets", "public")}
        sources = {dataset: configs.public_file(self.fill(table), self.fill("{data}"), known, origin) for dataset, table in tables.items()}
        return {dataset: source for dataset, source in sources.items() if source}

    def _load_sheet(self) -> list[dict[str, Any]]:
        """Return the validated rows of the sample sheet; none if expression comes from a table and there is no sheet."""
        counts = self.config["counts"]
        path = self.fill(counts["sample_sheet"])
        if not self.from_counts and (counts["kind"] == "dna_rna" or not Path(path).is_file()):
            return []
        rows = schemas.load_sheet(path, schemas.load("dna_rna_sheet" if self.from_dna_rna else "sample_sheet"))
        for row in rows:
            row.update({key: self.fill(cell) for key, cell in row.items() if isinstance(cell, str)})
        conditions.of_rows(rows, path)
        required = {}
        if self.from_dna_rna:
            sheet.check_dna_rna(rows, path)
        if self.from_bins:
            sheet.replicates_of(rows, counts["cells"] == "sheet", path, counts["overlap"])
            required["counts.cells"] = self.fill(counts["cells"])
        for name, entry in self.independent.items():
            required[f"evaluation.datasets, {name}"] = self.fill(entry["table"])
        if self.from_reads:
            sheet.check_reads(rows, path)
        sheet.check_simulated(rows, self.fill(SIMULATED), required, path)
        return [dict(row) for row in rows]

    def _check_paths(self) -> None:
        """Check all paths of the config, before any of them is used."""
        paths = {f"{section}.{key}": self.config[section][key] for section, keys in _PATHS.items() for key in keys}
        paths |= {f"input.tables.{name}.table": entry["table"] for name, entry in self.config["input"]["tables"].items()}
        paths |= {f"evaluation.dream.{key}": self.config["evaluation"]["dream"][key] for key in ("subsets", "public")}
        for key, path in {"data": self.config["data"], **paths}.items():
            configs.check_path(self.fill(path), key)

    def _check_paths_of_sheets(self) -> None:
        """Check all paths of the sheets."""
        paths = {f"{self.config['evaluation']['datasets']}, {name}: table": entry["table"] for name, entry in self.independent.items()}
        for row in [] if self.from_dna_rna else self.sheet:
            paths |= {
                f"{self.config['counts']['sample_sheet']}, {sheet.column_of(row)}: {key}": path
                for key in ("reads", "reads_2", "table")
                for path in ([row.get(key, "")] if key == "table" else sheet.split_files(row.get(key, "")))
            }
        for key, path in paths.items():
            configs.check_path(self.fill(path), key)

    def _count_tables(self) -> tuple[list[str], list[tuple[str, int, str, bool, bool]]]:
        """Return the tables of counts, and the place of each bin's reads in them (the fields of `sheet.CountColumn`)."""
        counts = self.config["counts"]
        if not counts["table"]:
            places = [(column, 0, column, False, sheet.is_unsorted(row)) for column, row in zip(self.columns, self.bins, strict=True)]
            return ["results/{run}/counts/counts.parquet"], places
        if self.from_dna_rna:
            return [self.fill(counts["table"])], []
        tables, found = sheet.count_tables(self.bins, self.fill(counts["table"]), self.fill(counts["sample_sheet"]))
        return tables, [astuple(place) for place in found]

    # Files

    @property
    def counts_header(self) -> bool:
        """Return whether tables of counts have a header; the one that this run makes of reads always has."""
        return self.from_reads or self.config["counts"]["header"]

    @property
    def cells(self) -> str | list[str]:
        """Return the table of cell counts per bin, if it is a separate file."""
        cells = self.config["counts"]["cells"]
        return [] if cells in ("sheet", "reads") or self.from_dna_rna else self.fill(cells)

    @property
    def count_columns(self) -> dict[str, str | int]:
        """Return role -> column of the tables of counts, without roles that only the other kind of counts or several conditions have."""
        others = (*(("bin", "count") if self.from_dna_rna else ("barcode",)), *(() if self.conditions else ("condition",)))
        return {role: column for role, column in self.config["counts"]["columns"].items() if role not in others}

    @property
    def dna_rna_files(self) -> dict[str, str]:
        """Return the files that say which sequence a barcode or name stands for, of those given: ``barcodes``, ``design``."""
        files = {name: self.fill(self.config["counts"][name]) for name in ("barcodes", "design")} if self.from_dna_rna else {}
        return {name: path for name, path in files.items() if path}

    @property
    def dna_rna_options(self) -> dict[str, Any]:
        """Return the options of `dna_rna.expression_table`; none for sorted bins."""
        counts = self.config["counts"]
        names = ("empty", "minimum_dna", "barcode_dispersion", "prior", "minimum_reads")
        options = {name: counts[name] for name in names} | {"ambiguous": self.config["input"]["ambiguous"]}
        return options if self.from_dna_rna else {}

    @property
    def design(self) -> str | list[str]:
        """Return the file of designed sequences to which reads are matched, if there is one."""
        return self.fill(self.config["reads"]["design"]) or []

    @property
    def test_sequences(self) -> list[str]:
        """Return the list of test sequences, if the split uses one."""
        split = self.config["split"]
        return [self.fill(split["test_sequences"])] if split["method"] == "list" else []

    def table_of(self, dataset: str) -> dict[str, Any]:
        """Return the options for reading a table: that of the library, one that is joined to it, or that of an independent data set."""
        return self.config["input"] if dataset == LIBRARY else (self.tables | self.independent)[dataset]

    @property
    def sources(self) -> list[str]:
        """Return the tables that the library is read from: itself, or those that are joined."""
        return list(self.tables) or [LIBRARY]

    def transform_of(self, dataset: str) -> dict[str, Any]:
        """Return the transform of a table when it is read: that of the library, unless this needs the ranks of all joined tables."""
        none = {"name": "none", "floor": None}
        return none if dataset in self.tables and self.transform["name"] == "rank_normal" else self.transform

    def reading_of(self, dataset: str) -> dict[str, Any]:
        """Return the options for reading a table as keywords of `ingest.ingest`."""
        table, extras, transform = self.table_of(dataset), self.extras_of(dataset), self.transform
        return {
            "columns": self._columns_of(dataset),
            "conditions": self.measured_conditions(dataset),
            "file_format": table["format"],
            **{key: table[key] for key in ("header", "separator", "decimal", "missing", "ambiguous")},
            "expression_range": [table["expression_min"], table["expression_max"]],
            "keep": extras["keep"],
            "keep_if_there": extras["keep_if_there"],
            "positive": transform["name"] == "log2" and transform["floor"] is None,
        }

    def _columns_of(self, dataset: str) -> dict[str, str | int]:
        """Return role -> column of a table; with several conditions, measured roles such as ``expression.glucose``."""
        columns, measured_in = self.table_of(dataset)["columns"], self.measured_conditions(dataset)
        if not measured_in:
            return columns
        named = self.config["input"]["conditions"]
        own = {role: column for role, column in columns.items() if role not in conditions.ROLES}
        if self.independent.get(dataset, {}).get("condition"):
            of_condition = {role: columns[role] for role in conditions.ROLES if role in columns}
            return own | {conditions.column(role, measured_in[0]): column for role, column in of_condition.items()}
        by_condition = {name: dict.fromkeys(conditions.ROLES, "auto") | named.get(name, {}) for name in measured_in}
        return own | {
            conditions.column(role, name): conditions.column(role, name) if role == "expression" and column == "auto" else column
            for name, of_condition in by_condition.items()
            for role, column in of_condition.items()
        }

    def measured_of(self, dataset: str) -> list[str]:
        """Return the further columns of measured expression of an independent data set: replicates, and that of parents."""
        extras = self.extras_of(dataset)
        return [*extras["replicates"], *filter(None, [extras["parent_expression"]])]

    @property
    def transform(self) -> dict[str, Any]:
        """Return the transform of expression as keywords of `transform.fit`."""
        return {"name": self.config["input"]["transform"], "floor": self.config["input"]["transform_floor"]}

    def extras_of(self, dataset: str) -> dict[str, Any]:
        """Return the additional properties of an independent data set; for the library and its splits, only what its errors are."""
        pair = conditions.differences(self.conditions).get(self.readout_of(dataset), ()) if dataset in self.scored else ()
        dataset = self.dataset_of(dataset) if dataset in self.scored else dataset
        counts = self.config["counts"]
        estimated = self.from_dna_rna or (self.from_bins and counts["method"] == "maximum_likelihood")
        shrunk = estimated and counts["prior"] == "library"
        own = configs.extras_of({"sd_is": "posterior_sd"} if shrunk else {})
        extras = self.independent.get(dataset, {}).get("extras", own)
        return extras | {"difference": list(pair)} if pair else extras

    def title_of(self, dataset: str) -> str:
        """Return the title of a data set, or of one of ``scored``, in figures."""
        if dataset in self.scored and self.conditions:
            return conditions.shown(self.title_of(self.dataset_of(dataset)), self.readout_of(dataset))
        return self.independent[dataset]["title"] if dataset in self.independent else f"{dataset} split"

    def promoters_of(self, dataset: str, results: str) -> str:
        """Return the file with the promoters of a scored data set: a split of the library, or an independent table."""
        folder = "splits" if dataset in self.config["split"]["names"] else "tables"
        return f"{results}/{folder}/{dataset}.parquet"

    def files_of_bin(self, column: str, key: str) -> list[str]:
        """Return the FASTQ files of a bin in one column (``reads`` or ``reads_2``) of the sample sheet."""
        return sheet.split_files(self.bins[self.columns.index(column)].get(key, ""))

    def merges_pairs(self, column: str) -> bool:
        """Whether the reads of a bin are pairs that are merged by their overlap before they are counted."""
        return self.config["reads"]["pairs"] == "merge" and bool(self.files_of_bin(column, "reads_2"))

    def fetched(self, name: str, path: str) -> dict[str, str]:
        """Return path, DOI and checksum of a public file; empty for other files, which the user provides."""
        if name not in self.public:
            return {}
        source = self.public[name]
        return {"path": self.fill(path), "doi": source["doi"], "checksum": source["checksum"]}

    def dream_files(self) -> dict[str, tuple[str, str]]:
        """Return the files of the DREAM challenge: role -> (name in the registry of public files, path)."""
        dream = self.config["evaluation"]["dream"]
        table = self.independent.get(self.dream, {}).get("table", "")
        return {"table": (self.dream, table)} | {key: (f"dream/{key}", dream[key]) for key in ("subsets", "public")}

    def predictions_of_others(self) -> list[str]:
        """Return the existing prediction files of the runs to compare with, for the data sets of this run."""
        paths = [f"results/{run}/predictions/{dataset}.parquet" for run in self.config["comparison"]["runs"] for dataset in self.scored]
        return [path for path in paths if Path(path).is_file()]

    def input_files(self) -> list[dict[str, str]]:
        """Return the input files of the run for their digests: role and path, and DOI and checksum of public files."""
        if self.from_reads:
            library = [
                ("reads", path) for column in self.columns for key in ("reads", "reads_2") for path in self.files_of_bin(column, key)
            ]
            library += [("design", self.design)] if isinstance(self.design, str) else []
        else:
            library = (
                [("counts", table) for table in self.counts]
                if self.from_counts
                else [(name, self.table_of(name)["table"]) for name in self.sources]
            )
            library += list(self.dna_rna_files.items())
        files = [
            *library,
            *[(name, entry["table"]) for name, entry in self.independent.items()],
            *[("test sequences", path) for path in self.test_sequences],
            ("scaffolds", self.scaffolds),
            *([("motifs", self.motifs)] if isinstance(self.motifs, str) and self.motifs else []),
        ]
        return [{"what": name, "path": self.fill(path), **self.fetched(name, path)} for name, path in files]

    # Designs

    @property
    def designs(self) -> int:
        """Return the number of designs of each objective; 0 if there are none."""
        number = self.config["design"]["number"]
        return (_DESIGNS if self.from_simulation else 0) if number == "auto" else number

    @property
    def design_options(self) -> dict[str, Any]:
        """Return the config section ``design`` as `output.design_and_compare` takes it: without what other rules decide."""
        section, compared = self.config["design"], self.config["design"]["compared"]
        compared = (_COMPARED if self.from_simulation else 0) if compared == "auto" else compared
        others = ("judge", "motifs")
        own = {key: value for key, value in section.items() if key not in others}
        return own | {"number": self.designs, "compared": compared, "seed": self.seed_of("design")}

    @property
    def design_starts(self) -> str | list[str]:
        """Return the file of given starts, if there is one."""
        starts = self.fill(self.config["design"]["starts"])
        return [] if starts in ("random", "library") else starts

    @property
    def design_readout(self) -> str:
        """Return the condition or difference that is designed; empty with one condition."""
        return self.config["design"]["condition"] or self.readouts[0]

    @property
    def judge_files(self) -> list[str]:
        """Return the files of the model that judges designs; none without one."""
        judge = self.fill(self.config["design"]["judge"])
        return [f"{judge}/{name}" for name in ("model.keras", "model.json")] if judge else []

    @property
    def judged(self) -> str:
        """Return what says how designs truly do: ``truth`` (simulated), ``judge`` (a second model), or empty."""
        if not self.designs:
            return ""
        return "truth" if self.from_simulation else "judge" if self.config["design"]["judge"] else ""

    # Training

    @property
    def teacher_files(self) -> list[str]:
        """Return the files of the model whose predictions are learned; none without one."""
        return [f"{self.teacher}/{name}" for name in ("model.keras", "model.json")] if self.teacher else []

    def _teacher(self) -> str:
        teacher = self.fill(self.config["training"]["teacher"])
        try:
            return str(resources.model(teacher)) if teacher else ""
        except ConfigError as error:
            raise ConfigError(f"training.teacher: {error}") from None

    @property
    def extra_features(self) -> list[str]:
        """Return the columns of the promoter table that shards contain in addition to sequence and expression."""
        needed = registry.features_of(self.config["training"], self.architecture)
        return sorted({*self.config["shards"]["extra_features"], *needed})

    def training_options(self, **changes: Any) -> dict[str, Any]:
        """Return the training options, including the seed."""
        initial = self.fill(self.config["training"]["initial_model"])
        own = {"seed": self.seed_of("training"), "initial_model": initial, "teacher": self.teacher}
        return self.config["training"] | own | changes

    @property
    def tpu_missing(self) -> str:
        """Return the config key that training on a TPU VM lacks, with an example (``key: value``); empty if nothing is missing."""
        return "" if self.config["bucket"]["url"].startswith("gs://") else "bucket.url: gs://BUCKET/FOLDER"

    # The report

    @property
    def input_unit(self) -> str:
        """Return the unit of expression as it is estimated or read."""
        return configs.input_unit(self.config)

    @property
    def unit_of_tables(self) -> str:
        """Return the unit in which tables are joined: that of training, unless this needs the ranks of all."""
        return self.input_unit if self.transform["name"] == "rank_normal" else self.unit

    @property
    def unit(self) -> str:
        """Return the unit of expression in training and in scores."""
        return configs.unit(self.config)

    @property
    def has_replicates(self) -> bool:
        """Return True if the assay has several replicates, in each condition."""
        of_conditions: dict[str, set[str]] = {}
        for row in self.sheet:
            if not sheet.is_unsorted(row):
                of_conditions.setdefault(row.get("condition", ""), set()).add(row.get("replicate", ""))
        return self.from_counts and all(len(replicates) > 1 for replicates in of_conditions.values())

    @property
    def reads_figures(self) -> list[str]:
        """Return the names of the figures of reads, without folder and extension."""
        return ["yield", "distinct", "rarefaction", "inserts"] if self.from_reads else []

    @property
    def expression_figures(self) -> list[str]:
        """Return the names of the figures of measured expression, of which each condition has one, without folder and extension."""
        return [
            *(["depth", "expression"] if self.from_counts else []),
            *(["profiles"] if self.from_bins else []),
            *(["counts"] if self.from_dna_rna else []),
            *(["replicates"] if self.has_replicates else []),
        ]

    @property
    def report_figures(self) -> list[str]:
        """Return the figures of the report except that of cost, without extension."""
        return [
            *(["joined"] if self.tables else []),
            *["scores", "ledger", "leak/distance", "leak/demonstration", "training", "intervals"],
            *[f"assay/{figure}" for figure in self.reads_figures],
            *[f"assay{folder}/{figure}" for folder in self.folders(self.conditions) for figure in self.expression_figures],
            *[f"predictions/{dataset}" for dataset in self.scored],
            *[f"subgroups/{dataset}" for dataset in self.scored],
            *(["comparison"] if self.config["comparison"]["runs"] else []),
            *(["factors", "factor_positions"] if self.architecture.parameters and self.motifs else []),  # tables have all factors
            *(["factor_motifs"] if self.architecture.parameters and self.motifs_beside_factors else []),
            *(f"explain{folder}/motifs" for folder in self.folders(self.readouts_explained) if self.with_motifs),
            *(f"explain{folder}/de_novo" for folder in self.folders(self.readouts_explained) if self.with_de_novo),
            *(f"explain{folder}/logos" for folder in self.folders(self.readouts_explained) if self.explained),
            *(["design/designs"] if self.designs else []),
            *(["design/truth"] if self.judged else []),
        ]

    @property
    def report_tables(self) -> list[str]:
        """Return the tables of the report except that of cost, without extension."""
        return [
            *(["joined"] if self.tables else []),
            *["metrics", "checks", "subgroups", "published_models", "intervals", "ledger", "splits/summary"],
            *["neighbours/overlaps", "leak/distances", "leak/demonstration"],
            *(["comparison/scores", "comparison/tests"] if self.config["comparison"]["runs"] else []),
            *(["dream"] if self.dream else []),
            *(["factors"] if self.architecture.parameters else []),
            *(f"explain{folder}/motifs" for folder in self.folders(self.readouts_explained) if self.with_motifs),
            *(f"explain{folder}/de_novo" for folder in self.folders(self.readouts_explained) if self.with_de_novo),
            *(["design/designs"] if self.designs else []),
            *(["design/truth"] if self.judged else []),
        ]
